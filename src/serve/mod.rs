//! A look-alike of the API and of its media hosts, on this machine: for the demo, for trials without an account, and
//! for tests.
//!
//! A [`LookAlike`] listens at three addresses and holds a fourth: the API's; the output host's and the proxy host's,
//! which serve the same paths as the real ones do; and a dead host's, where nobody listens. What its jobs do is data, in
//! [`scenario`]; the media are real files, in [`sample`]. It speaks HTTP as the real hosts do, ranges and validators
//! included, and misbehaves only where a scenario says so. Any key is good, but there must be one; and it watches
//! whether the key ever reaches a media host.

mod api;
mod hosts;
pub mod sample;
pub mod scenario;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::handler::Handler;
use axum::serve::ListenerExt;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::{CancellationToken, DropGuard};

use scenario::{Scenario, Story};

/// How a look-alike behaves beyond its scenarios.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// So many jobs like most stand beside those with a story, from [`scenario::FIRST_PLAIN_ID`] on.
    pub plain_jobs: u64,
    /// How fast each file is sent; as fast as it goes where this is `None`.
    pub bytes_per_second: Option<u64>,
}

/// What a look-alike has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Calls of the API.
    pub api_calls: u64,
    /// Those of them that came without a key.
    pub without_key: u64,
    /// Requests at the media hosts.
    pub media_requests: u64,
    /// Those of them that were answered with the rest of a file.
    pub continued: u64,
    /// Requests for links that the API had called future ones.
    pub future_links: u64,
    /// Requests at the media hosts that held a key: there must never be any.
    pub leaked_keys: u64,
}

/// The running look-alike; dropping it ends it, after the answers that are under way.
pub struct LookAlike {
    api: SocketAddr,
    world: Arc<World>,
    /// Bound, so that nobody else takes its port, and never listening.
    _dead: TcpSocket,
    _stop: DropGuard,
}

impl LookAlike {
    /// Begins to serve at this address; port 0 takes any that is free. The media hosts take the next three ports where
    /// they are free, else any.
    ///
    /// # Errors
    /// Where the address cannot be listened at.
    pub async fn start(address: SocketAddr) -> io::Result<Self> {
        Self::start_with(address, Settings::default()).await
    }

    /// The same, with settings.
    ///
    /// # Errors
    /// As [`LookAlike::start`].
    pub async fn start_with(address: SocketAddr, settings: Settings) -> io::Result<Self> {
        let api = TcpListener::bind(address).await?;
        let address = api.local_addr()?;
        let output = listen_near(address, 1).await?;
        let proxy = listen_near(address, 2).await?;
        let dead = hold_near(address, 3)?;
        let ports = Ports {
            api: address.port(),
            output: output.local_addr()?.port(),
            proxy: proxy.local_addr()?.port(),
            dead: dead.local_addr()?.port(),
        };
        let world = Arc::new(World { settings, ports, state: Mutex::default() });
        let stop = CancellationToken::new();
        serve(api, api::answer, Arc::clone(&world), &stop);
        for (listener, place) in [(output, Place::Output), (proxy, Place::Proxy)] {
            serve(listener, hosts::answer, hosts::Host { world: Arc::clone(&world), place }, &stop);
        }
        Ok(Self { api: address, world, _dead: dead, _stop: stop.drop_guard() })
    }

    /// The API's address for clients on this machine: `http://127.0.0.1:8080`.
    #[must_use]
    pub fn base_url(&self) -> String {
        let ip = match self.api.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        format!("http://{}", SocketAddr::new(ip, self.api.port()))
    }

    /// What it has seen until now.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.world.state().seen.clone()
    }
}

async fn listen_near(address: SocketAddr, distance: u16) -> io::Result<TcpListener> {
    match TcpListener::bind(near(address, distance)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind(SocketAddr::new(address.ip(), 0)).await,
    }
}

fn hold_near(address: SocketAddr, distance: u16) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(near(address, distance)).or_else(|_| socket.bind(SocketAddr::new(address.ip(), 0)))?;
    Ok(socket)
}

fn near(address: SocketAddr, distance: u16) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port().checked_add(distance).unwrap_or(0))
}

fn serve<H, T, S>(listener: TcpListener, handler: H, state: S, stop: &CancellationToken)
where
    H: Handler<T, S>,
    T: 'static,
    S: Clone + Send + Sync + 'static,
{
    // Small pieces go out as they come: nothing here is so much that the network would mind.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let app = Router::new().fallback(handler).with_state(state);
    let stopped = stop.clone().cancelled_owned();
    tokio::spawn(async move { axum::serve(listener, app).with_graceful_shutdown(stopped).await });
}

/// A media host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    Output,
    Proxy,
    Dead,
}

struct Ports {
    api: u16,
    output: u16,
    proxy: u16,
    dead: u16,
}

/// What the API and the hosts share.
struct World {
    settings: Settings,
    ports: Ports,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    seen: Seen,
    jobs: HashMap<&'static str, Progress>,
    requests: HashMap<(Place, String), u32>,
    keys: BTreeSet<String>,
}

/// How far the story of a job is.
struct Progress {
    began: Instant,
    asked: u32,
    done: Option<Instant>,
}

/// What the API says of a job now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The gateway answers in its place.
    GatewayError,
    /// The service works on it.
    Working,
    /// It is done; `again` says that it has said so before.
    Done { again: bool },
    /// It failed, for this reason.
    Failed(&'static str),
}

impl World {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, id: &str) -> Option<&'static Scenario> {
        scenario::find(id, self.settings.plain_jobs)
    }

    /// Tells the next piece of a job's story.
    fn ask(&self, scenario: &'static Scenario) -> Stage {
        if scenario.is_plain() {
            return Stage::Done { again: false };
        }
        let now = now();
        let mut state = self.state();
        let progress = state.jobs.entry(scenario.id).or_insert(Progress { began: now, asked: 0, done: None });
        let told = stage(&scenario.story, progress.asked, now - progress.began, progress.done.is_some());
        progress.asked += 1;
        if matches!(told, Stage::Done { .. }) {
            progress.done.get_or_insert(now);
        }
        told
    }

    /// How long ago the API first said that a job is done.
    fn done_for(&self, scenario: &Scenario) -> Option<Duration> {
        self.state().jobs.get(scenario.id).and_then(|progress| progress.done).map(|done| now() - done)
    }

    /// How many requests for this path a host has had, and counts this one where it is one of them.
    fn count_request(&self, place: Place, path: &str, counts: bool) -> u32 {
        let mut state = self.state();
        let count = state.requests.entry((place, path.to_owned())).or_default();
        let before = *count;
        *count += u32::from(counts);
        before
    }

    /// A link to a file; `host` is the name under which the client knows this machine.
    fn link(&self, host: &str, place: Place, path: &str) -> String {
        let port = match place {
            Place::Output => self.ports.output,
            Place::Proxy => self.ports.proxy,
            Place::Dead => self.ports.dead,
        };
        format!("http://{host}:{port}{path}")
    }
}

/// What the API says of a job at the `asked`-th time, from 0, so long after the first.
fn stage(story: &Story, asked: u32, since_first: Duration, again: bool) -> Stage {
    match story.fails {
        _ if asked < story.gateway_errors => Stage::GatewayError,
        _ if since_first < story.works_for => Stage::Working,
        Some(why) => Stage::Failed(why),
        None => Stage::Done { again },
    }
}

#[expect(clippy::disallowed_methods, reason = "stories are told in real time")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn a_story_is_told_in_its_order() {
        let story = |id| &scenario::find(id, 0).unwrap().story;
        let seconds = Duration::from_secs;
        let table = [
            ("147", 0, 0, false, Stage::Done { again: false }),
            ("147", 1, 1, true, Stage::Done { again: true }),
            ("148", 0, 0, false, Stage::Working),
            ("148", 1, 4, false, Stage::Working),
            ("148", 2, 5, false, Stage::Done { again: false }),
            ("207", 0, 0, false, Stage::GatewayError),
            ("207", 1, 0, false, Stage::Done { again: false }),
        ];
        for (id, asked, since, again, want) in table {
            assert_eq!(stage(story(id), asked, seconds(since), again), want, "{id} at {asked}");
        }
        assert!(matches!(stage(story("301"), 0, seconds(0), false), Stage::Failed(_)));
    }

    #[tokio::test]
    async fn a_port_beyond_the_last_one_is_any_port() {
        let address: SocketAddr = "127.0.0.1:65535".parse().unwrap();
        assert_eq!(near(address, 1).port(), 0);
        assert_eq!(near("127.0.0.1:8080".parse().unwrap(), 2).port(), 8082);
    }
}
