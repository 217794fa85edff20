//! Which addresses a media URL may lead to.
//!
//! Links come from a server, and this machine may stand where it can reach what strangers must not: itself, the
//! office's printers, a cloud's metadata service. So private addresses are refused unless the API itself lives in the
//! same kind of network, or the user allows them. Three places ask here, and together they see every connection: the
//! check of IP literals before a request, the resolver (which returns allowed addresses only, so that what was checked
//! is what is connected to), and the redirect policy.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::job::Origin;

/// The kind of network that an address belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Reachable from everywhere.
    Public,
    /// This machine.
    Loopback,
    /// A private network (RFC 1918, RFC 4193).
    Private,
    /// This link only; clouds keep their metadata here.
    LinkLocal,
    /// Behind a carrier's translator (RFC 6598).
    Carrier,
    /// Nothing that one can connect to: unspecified, multicast, reserved.
    Unusable,
}

/// The kind of network of an address; addresses that embed an IPv4 one are judged by that.
#[must_use]
pub fn network(address: IpAddr) -> Network {
    match address {
        IpAddr::V4(address) => network_v4(address),
        IpAddr::V6(address) => embedded_v4(address).map_or_else(|| network_v6(address), network_v4),
    }
}

fn network_v4(address: Ipv4Addr) -> Network {
    match address.octets() {
        [127, ..] => Network::Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Network::Private,
        [169, 254, ..] => Network::LinkLocal,
        [100, 64..=127, ..] => Network::Carrier,
        // "This network", protocol assignments, benchmarking, documentation, multicast, reserved, broadcast.
        [0 | 224..=255, ..]
        | [192, 0, 0 | 2, _]
        | [198, 18 | 19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _] => Network::Unusable,
        _ => Network::Public,
    }
}

fn network_v6(address: Ipv6Addr) -> Network {
    let first = address.segments()[0];
    match () {
        () if address.is_loopback() => Network::Loopback,
        () if first & 0xfe00 == 0xfc00 => Network::Private,
        () if first & 0xffc0 == 0xfe80 => Network::LinkLocal,
        // Site-local addresses are deprecated, and still routed in places.
        () if first & 0xffc0 == 0xfec0 => Network::Private,
        () if address.is_unspecified() || first & 0xff00 == 0xff00 => Network::Unusable,
        () if first == 0x2001 && address.segments()[1] == 0x0db8 => Network::Unusable,
        () => Network::Public,
    }
}

/// The IPv4 address within an IPv6 one: mapped, compatible, translated (NAT64), or tunnelled (6to4).
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let octets = address.octets();
    let v4 = |at: usize| Ipv4Addr::new(octets[at], octets[at + 1], octets[at + 2], octets[at + 3]);
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] | [0x64, 0xff9b, 0 | 1, ..] => Some(v4(12)),
        [0, 0, 0, 0, 0, 0, high, _] if high != 0 => Some(v4(12)),
        [0x2002, ..] => Some(v4(2)),
        _ => None,
    }
}

/// Whether what is sent to an API may be read on its way: by plain HTTP, to a host that is not near. Near is what does
/// not leave this machine or its own network: an address of theirs, or a name that only they can know.
#[must_use]
pub fn is_overheard(api: &Origin) -> bool {
    let Ok(url) = Url::parse(api.as_str()) else { return true };
    let is_near = match url.host() {
        Some(Host::Ipv4(address)) => is_near_address(address.into()),
        Some(Host::Ipv6(address)) => is_near_address(address.into()),
        Some(Host::Domain(name)) => is_near_name(name),
        None => false,
    };
    url.scheme() != "https" && !is_near
}

fn is_near_address(address: IpAddr) -> bool {
    match network(address) {
        Network::Loopback | Network::Private | Network::LinkLocal => true,
        // Systems connect to themselves there.
        Network::Unusable => address.is_unspecified(),
        Network::Public | Network::Carrier => false,
    }
}

fn is_near_name(name: &str) -> bool {
    /// Names that no public server knows (RFC 6761, RFC 6762, and what ICANN set aside for private use).
    const NEAR: [&str; 4] = ["localhost", "local", "internal", "test"];
    let last = name.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    !name.contains('.') || NEAR.contains(&last)
}

/// Which networks media may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    everything: bool,
    also: Network,
}

/// An address that media may not come from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{host} leads to {address}, which is not a public address; --allow-private-hosts permits it")]
pub struct Refused {
    host: String,
    address: IpAddr,
}

impl Allowed {
    /// Public addresses, and the network in which the API's own host stands; `everything` allows all others too.
    #[must_use]
    pub fn beside(api: &Url, everything: bool) -> Self {
        let also = match api.host() {
            Some(Host::Ipv4(address)) => network(address.into()),
            Some(Host::Ipv6(address)) => network(address.into()),
            Some(Host::Domain(name)) if name == "localhost" || name.ends_with(".localhost") => {
                Network::Loopback
            }
            Some(Host::Domain(_)) | None => Network::Public,
        };
        Self { everything, also }
    }

    fn allows(self, address: IpAddr) -> bool {
        let network = network(address);
        self.everything
            || network == Network::Public
            || (network == self.also && network != Network::Unusable)
    }

    /// Checks a URL whose host is an address; a name is checked when it is resolved.
    pub fn check(self, url: &Url) -> Result<(), Refused> {
        let address: IpAddr = match url.host() {
            Some(Host::Ipv4(address)) => address.into(),
            Some(Host::Ipv6(address)) => address.into(),
            Some(Host::Domain(_)) | None => return Ok(()),
        };
        if self.allows(address) {
            return Ok(());
        }
        Err(Refused { host: url.host_str().unwrap_or_default().into(), address })
    }
}

/// Resolves names with the system's resolver and returns only the addresses that are allowed.
#[derive(Clone, Copy, Debug)]
pub(super) struct FilteringResolver(pub(super) Allowed);

impl Resolve for FilteringResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = self.0;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let good: Vec<SocketAddr> =
                found.iter().copied().filter(|address| allowed.allows(address.ip())).collect();
            match (good.is_empty(), found.first()) {
                (true, Some(refused)) => {
                    Err(Refused { host: name.as_str().into(), address: refused.ip() }.into())
                }
                _ => Ok(Box::new(good.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn addresses_belong_to_the_network_that_their_number_says() {
        let table = [
            ("8.8.8.8", Network::Public),
            ("127.0.0.1", Network::Loopback),
            ("127.255.0.1", Network::Loopback),
            ("10.1.2.3", Network::Private),
            ("172.15.0.1", Network::Public),
            ("172.16.0.1", Network::Private),
            ("172.31.255.255", Network::Private),
            ("172.32.0.1", Network::Public),
            ("192.168.0.1", Network::Private),
            ("192.169.0.1", Network::Public),
            ("169.254.169.254", Network::LinkLocal),
            ("100.63.0.1", Network::Public),
            ("100.64.0.1", Network::Carrier),
            ("100.127.0.1", Network::Carrier),
            ("100.128.0.1", Network::Public),
            ("0.0.0.0", Network::Unusable),
            ("0.1.2.3", Network::Unusable),
            ("224.0.0.1", Network::Unusable),
            ("255.255.255.255", Network::Unusable),
            ("192.0.2.1", Network::Unusable),
            ("198.18.0.1", Network::Unusable),
            ("198.51.100.1", Network::Unusable),
            ("203.0.113.1", Network::Unusable),
            ("::1", Network::Loopback),
            ("::", Network::Unusable),
            ("2606:4700::1111", Network::Public),
            ("fc00::1", Network::Private),
            ("fdff::1", Network::Private),
            ("fec0::1", Network::Private),
            ("fe80::1", Network::LinkLocal),
            ("febf::1", Network::LinkLocal),
            ("ff02::1", Network::Unusable),
            ("2001:db8::1", Network::Unusable),
            ("::ffff:169.254.169.254", Network::LinkLocal),
            ("::ffff:8.8.8.8", Network::Public),
            ("::127.0.0.1", Network::Loopback),
            ("64:ff9b::10.0.0.1", Network::Private),
            ("64:ff9b:1::10.0.0.1", Network::Private),
            ("64:ff9b::8.8.8.8", Network::Public),
            ("2002:7f00:1::", Network::Loopback),
            ("2002:808:808::", Network::Public),
            ("::ffff:0:127.0.0.1", Network::Loopback),
        ];
        for (text, want) in table {
            assert_eq!(network(text.parse().unwrap()), want, "{text}");
        }
    }

    #[test]
    fn a_key_in_clear_text_is_overheard_where_it_leaves_this_network() {
        let table = [
            ("http://modelslab.com", true),
            ("http://modelslab.com:8080", true),
            ("http://8.8.8.8", true),
            ("http://[2606:4700::1111]", true),
            ("http://100.64.0.1", true),
            ("http://203.0.113.1", true),
            ("http://localhost.example", true),
            ("http://xlocal.example", true),
            ("http://ai./", true),
            ("https://modelslab.com", false),
            ("https://8.8.8.8", false),
            ("http://127.0.0.1:8147", false),
            ("http://[::1]:8147", false),
            ("http://0.0.0.0:8147", false),
            ("http://10.1.2.3", false),
            ("http://192.168.0.1:80", false),
            ("http://169.254.1.1", false),
            ("http://[fe80::1]", false),
            ("http://[fd00::1]", false),
            ("http://localhost:1", false),
            ("http://LOCALHOST.", false),
            ("http://api.localhost", false),
            ("http://mock", false),
            ("http://nas.local", false),
            ("http://api.internal", false),
            ("http://api.corp.test", false),
        ];
        for (url, want) in table {
            let origin = Origin::of(&Url::parse(url).unwrap()).unwrap();
            assert_eq!(is_overheard(&origin), want, "{url}");
        }
    }

    #[test]
    fn media_may_come_from_the_network_of_the_api_and_from_no_other_private_one() {
        let check = |api: &str, everything: bool, url: &str| {
            Allowed::beside(&Url::parse(api).unwrap(), everything).check(&Url::parse(url).unwrap()).is_ok()
        };
        assert!(check("http://127.0.0.1:1", false, "http://127.0.0.2/a"));
        assert!(check("http://localhost:1", false, "http://[::1]/a"));
        assert!(check("http://127.0.0.1:1", false, "http://9.9.9.9/a"));
        assert!(!check("http://127.0.0.1:1", false, "http://10.0.0.1/a"));
        assert!(!check("http://0.0.0.0:1", false, "http://0.0.0.0/a"));
        assert!(!check("https://modelslab.com", false, "http://127.0.0.1/a"));
        assert!(check("https://modelslab.com", true, "http://127.0.0.1/a"));
        assert!(check("https://modelslab.com", false, "http://name.test/a"));
        for metadata in [
            "http://169.254.169.254/",
            "http://[::ffff:a9fe:a9fe]/",
            "http://2852039166/",
            "http://0xa9.0376.0xa9fe/",
        ] {
            assert!(!check("http://127.0.0.1:1", false, metadata), "{metadata}");
        }
    }
}
