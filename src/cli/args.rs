//! Arguments that several commands share: the account, the transfers, the output.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ArgAction;
use url::Url;
use vfetch::engine::Options;
use vfetch::job::{DEFAULT_ORIGIN, Defaults};
use vfetch::net::address::is_overheard;
use vfetch::net::{Api, ClientOptions, Http};
use vfetch::store::{Open, Store, StoreError};
use vfetch::text::Redactor;

use super::error::CliError;
use super::key::KeyArgs;
use super::look::ShowArgs;
use super::names::Names;
use super::report::{Looks, Progress, Results, Settings};
use super::values;

/// Files that are transferred at once need a socket, a part and a share of what commits need.
const FILES_PER_TRANSFER: u64 = 6;
/// Open files that have nothing to do with transfers.
const FILES_BESIDE: u64 = 24;

/// Which account, at which API.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Account")]
pub(crate) struct AccountArgs {
    /// The API: scheme, host and port, or with a family's path behind it (/api/v6/realtime).
    #[arg(long, value_name = "URL", env = "MODELSLAB_BASE_URL", default_value = DEFAULT_ORIGIN, hide_default_value = false)]
    pub(crate) base_url: String,
    /// The family of bare ids: enterprise/video, realtime, v7/images, … [default: that of --base-url, else enterprise/video]
    #[arg(long, value_name = "NAME", env = "VFETCH_FAMILY")]
    pub(crate) family: Option<String>,
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    /// Trust the certificates in this PEM file too.
    #[arg(long, value_name = "FILE", env = "VFETCH_CA_CERT")]
    pub(crate) ca_cert: Vec<PathBuf>,
    /// Let media come from private addresses (always allowed beside an API that has such an address itself).
    #[arg(long, env = "VFETCH_ALLOW_PRIVATE_HOSTS")]
    pub(crate) allow_private_hosts: bool,
    /// Send the key in clear text where --base-url says http:// (always allowed within this machine and its network).
    #[arg(long, env = "VFETCH_ALLOW_HTTP")]
    pub(crate) allow_http: bool,
    /// Whether no proxy is asked, whatever the environment says.
    #[arg(skip)]
    pub(crate) without_proxies: bool,
}

impl AccountArgs {
    /// What a bare id stands for.
    pub(crate) fn defaults(&self) -> Result<Defaults, CliError> {
        let defaults = Defaults::new(&self.base_url, self.family.as_deref())
            .map_err(|error| CliError::usage(error.to_string()))?;
        if !self.allow_http && is_overheard(&defaults.origin) {
            let error =
                format!("{} would get the key in clear text, for all to read on its way", defaults.origin);
            let way_out = "write https:// there, or --allow-http (VFETCH_ALLOW_HTTP=true) if it is meant";
            return Err(CliError::usage(error).hint(way_out));
        }
        Ok(defaults)
    }

    /// The two clients: the API's, which holds the key, and the media's, which does not.
    pub(crate) fn clients(
        &self,
        defaults: &Defaults,
        transfer: &TransferArgs,
    ) -> Result<(Api, Http), CliError> {
        check_proxies(!self.without_proxies)?;
        let options = ClientOptions {
            origin: defaults.origin.clone(),
            ca_certificates: self.ca_certificates()?,
            allow_private_hosts: self.allow_private_hosts,
            through_proxies: !self.without_proxies,
            max_per_host: within_limits(transfer.max_per_host),
            max_idle_per_host: within_limits(transfer.max_per_host.min(transfer.jobs)),
            connect_within: transfer.connect_timeout,
            idle: transfer.idle_timeout,
            patience: transfer.timeout,
        };
        Ok((Api::new(self.key.read()?, &options)?, Http::new(&options)?))
    }

    /// The API's client alone, for what reads no media.
    pub(crate) fn api(&self, defaults: &Defaults) -> Result<Api, CliError> {
        check_proxies(true)?;
        let options = ClientOptions {
            ca_certificates: self.ca_certificates()?,
            allow_private_hosts: self.allow_private_hosts,
            max_per_host: 1,
            max_idle_per_host: 1,
            ..ClientOptions::new(defaults.origin.clone())
        };
        Ok(Api::new(self.key.read()?, &options)?)
    }

    #[expect(clippy::disallowed_methods, reason = "files of the user's, not of an archive")]
    fn ca_certificates(&self) -> Result<Vec<Vec<u8>>, CliError> {
        let read = |path: &PathBuf| {
            std::fs::read(path)
                .map_err(|error| CliError::usage(format!("reading --ca-cert {}: {error}", path.display())))
        };
        self.ca_cert.iter().map(read).collect()
    }
}

/// How much at once, how long, how often.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Transfers")]
pub(crate) struct TransferArgs {
    /// Files that are transferred at once.
    #[arg(short, long, value_name = "N", env = "VFETCH_JOBS", default_value_t = vfetch::engine::DEFAULT_TRANSFERS, value_parser = positive)]
    pub(crate) jobs: usize,
    /// The most requests at once to one host; fewer are begun with, and while a host complains.
    #[arg(short = 'x', long, value_name = "N", env = "VFETCH_MAX_PER_HOST", default_value_t = vfetch::net::DEFAULT_MAX_PER_HOST, value_parser = positive)]
    pub(crate) max_per_host: usize,
    /// How long a job that is still processing is waited for; 0 asks once.
    #[arg(long, value_name = "DURATION", env = "VFETCH_WAIT", default_value = "20m", value_parser = values::duration)]
    pub(crate) wait: Duration,
    /// How long a whole job may take, whatever progress it makes, and how long a host may refuse everything.
    #[arg(long, value_name = "DURATION", env = "VFETCH_TIMEOUT", default_value = "6h", value_parser = values::some_time)]
    pub(crate) timeout: Duration,
    /// How often in a row a source or the API may fail in a way that may pass; new bytes begin the count again. With 1 or
    /// more, a job that the service was seen to work on is asked for until --wait is over.
    #[arg(short = 'R', long, value_name = "N", env = "VFETCH_RETRIES", default_value = "5", value_parser = retries)]
    pub(crate) retries: u32,
    /// The most bytes per second over all transfers: 800k, 2.5M; 0 is no limit.
    #[arg(short = 'r', long, value_name = "BYTES", env = "VFETCH_LIMIT_RATE", value_parser = values::bytes)]
    pub(crate) limit_rate: Option<u64>,
    /// The largest file that is taken.
    #[arg(long, value_name = "BYTES", env = "VFETCH_MAX_FILE_SIZE", default_value = "16G", value_parser = values::bytes)]
    pub(crate) max_file_size: u64,
    /// A connection is made within this time or not at all.
    #[arg(long, value_name = "DURATION", env = "VFETCH_CONNECT_TIMEOUT", default_value = "10s", value_parser = values::some_time)]
    pub(crate) connect_timeout: Duration,
    /// The longest silence of a media host.
    #[arg(long, value_name = "DURATION", env = "VFETCH_IDLE_TIMEOUT", default_value = "30s", value_parser = values::some_time)]
    pub(crate) idle_timeout: Duration,
    /// A transfer that brings fewer bytes per second over a minute is too slow; 0 is never.
    #[arg(long, value_name = "BYTES", env = "VFETCH_MIN_SPEED", default_value = "1k", value_parser = values::bytes)]
    pub(crate) min_speed: u64,
    /// Files die so long after their job is done: the order in which they are fetched follows from it. [default: what is
    /// learnt of each host, the ends of signed links, and a day for enterprise families]
    #[arg(long, value_name = "DURATION", env = "VFETCH_DEADLINE", value_parser = values::duration)]
    pub(crate) deadline: Option<Duration>,
    /// Do not wait for the disk: faster, and not safe against a power cut.
    #[arg(long, env = "VFETCH_NO_SYNC")]
    pub(crate) no_sync: bool,
    /// Where parts wait on their way into buckets, each archive's in a folder of its own [default: vfetch/ in the user's cache].
    #[arg(long, value_name = "DIR", env = "VFETCH_STAGING")]
    pub(crate) staging: Option<PathBuf>,
}

impl TransferArgs {
    /// The archive that `-o` names, made where it is not there.
    pub(crate) fn open_store(&self, output: &Path) -> Result<Store, CliError> {
        self.check_staging(output)?;
        let store = match output.to_str() {
            Some(place) => Store::open(place, Open::Create, !self.no_sync)?,
            // No address, then, but a folder may have any name.
            None => Store::create(output, !self.no_sync)?,
        };
        Ok(self.stage(store))
    }

    /// The archive that `-o` names, where it is there already.
    pub(crate) fn open_if_there(&self, output: &Path) -> Result<Option<Store>, CliError> {
        self.check_staging(output)?;
        let opened = match output.to_str() {
            Some(place) => Store::open(place, Open::Existing, true),
            None => Store::existing(output, true),
        };
        match opened {
            Ok(store) => Ok(Some(self.stage(store))),
            Err(StoreError::NoArchive { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// An archive that must be there.
    pub(crate) fn open_existing(&self, place: &str) -> Result<Store, CliError> {
        self.check_staging(Path::new(place))?;
        Ok(self.stage(Store::open(place, Open::Existing, !self.no_sync)?))
    }

    /// What was set once for all archives is not meant for folders; what was typed is a mistake there.
    fn check_staging(&self, archive: &Path) -> Result<(), CliError> {
        let is_typed = self.staging.is_some() && self.staging != staging_of_environment();
        if is_typed && archive.to_str().map_or(Ok(true), Store::stages_in_itself)? {
            let error = format!("{} is a folder, which stages its parts in itself", archive.display());
            return Err(CliError::usage(error).hint("--staging is for buckets; leave it out"));
        }
        Ok(())
    }

    fn stage(&self, store: Store) -> Store {
        if let Some(staging) = &self.staging {
            store.stage_in(staging.clone());
        }
        store
    }

    /// The engine's options, with the limits of this process in mind.
    pub(crate) fn options(&self) -> Options {
        Options {
            transfers: within_limits(self.jobs),
            wait: self.wait,
            timeout: self.timeout,
            retries: self.retries,
            max_file_bytes: self.max_file_size,
            limit_rate: self.limit_rate.filter(|rate| *rate > 0),
            min_speed: self.min_speed,
            lifetime: self.deadline,
            ..Options::default()
        }
    }
}

/// The variables from which the client takes its proxies.
const PROXY_VARIABLES: [&str; 6] =
    ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];

/// The client passes over a proxy that it cannot read, and would go past it: that is an error here.
#[expect(clippy::disallowed_methods, reason = "the client reads these variables, so no option does")]
fn check_proxies(are_used: bool) -> Result<(), CliError> {
    for name in PROXY_VARIABLES.into_iter().filter(|_| are_used) {
        let set = std::env::var_os(name).filter(|text| !text.is_empty());
        // It may hold a password, so it is not shown.
        if set.is_some_and(|text| !text.to_str().is_some_and(is_proxy)) {
            return Err(CliError::usage(format!("what {name} holds is no proxy's address"))
                .hint("write http://host:port, or https, socks4, socks4a, socks5, socks5h in its place"));
        }
    }
    Ok(())
}

fn is_proxy(text: &str) -> bool {
    let url = if text.contains("://") { Url::parse(text) } else { Url::parse(&format!("http://{text}")) };
    let schemes = ["http", "https", "socks4", "socks4a", "socks5", "socks5h"];
    let is_sound = |url: Url| {
        schemes.contains(&url.scheme())
            && url.host_str().is_some_and(|host| !host.is_empty())
            && matches!(url.path(), "" | "/")
    };
    text.trim() == text && url.is_ok_and(is_sound)
}

/// The archive's folder, where its address is that of one; else what the user wrote.
pub(crate) fn folder_of(archive: &Path) -> PathBuf {
    const SCHEME: &str = "file://";
    let is_address =
        |text: &&str| text.get(..SCHEME.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(SCHEME));
    let address = archive.to_str().filter(is_address);
    let folder = address.and_then(|text| Url::parse(text).ok()?.to_file_path().ok());
    folder.unwrap_or_else(|| archive.into())
}

/// The archive with its parts where the environment says, if it is in a bucket.
pub(crate) fn staged_as_set(store: Store) -> Store {
    if let Some(staging) = staging_of_environment() {
        store.stage_in(staging);
    }
    store
}

#[expect(clippy::disallowed_methods, reason = "whether the environment said it, and not the command line")]
fn staging_of_environment() -> Option<PathBuf> {
    std::env::var_os("VFETCH_STAGING").filter(|folder| !folder.is_empty()).map(PathBuf::from)
}

/// As many at once as were asked for, or as many as this process may have files open for.
fn within_limits(asked: usize) -> usize {
    let files = open_files().saturating_sub(FILES_BESIDE) / FILES_PER_TRANSFER;
    asked.min(usize::try_from(files).unwrap_or(usize::MAX)).max(1)
}

/// How many files this process may have open, after asking for as many as it may ask for.
fn open_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let now = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    now.unwrap_or(u64::MAX)
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("write a number from 1".into()),
        Ok(number) => Ok(number),
    }
}

fn retries(text: &str) -> Result<u32, String> {
    if text == "inf" {
        return Ok(u32::MAX);
    }
    text.parse().map_err(|_| "write a number, or inf".into())
}

/// What is shown, and how.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// One JSON line an event on stdout, the summary last.
    #[arg(long, env = "VFETCH_JSON")]
    pub(crate) json: bool,
    /// How progress is shown on stderr.
    #[arg(long, value_name = "HOW", env = "VFETCH_PROGRESS", value_enum, default_value_t = Progress::Auto)]
    pub(crate) progress: Progress,
    /// Nothing but results and final failures.
    #[arg(short, long, env = "VFETCH_QUIET", conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// More: sources that were left (-v), what the engine does (-vv), what the network does (-vvv).
    #[arg(short, long, env = "VFETCH_VERBOSE", action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

impl OutputArgs {
    /// The same for a command that only looks.
    pub(crate) fn for_a_look(&self) -> ShowArgs {
        ShowArgs { json: self.json, progress: self.progress, quiet: self.quiet }
    }

    /// How a run into this archive is shown.
    pub(crate) fn settings(
        &self,
        archive: &Path,
        redactor: Redactor,
        failed: Option<PathBuf>,
        names: Names,
    ) -> Settings {
        Settings {
            progress: self.progress,
            json: self.json,
            results: Results::default(),
            quiet: self.quiet,
            verbose: self.verbose,
            destination: folder_of(archive).display().to_string(),
            redactor,
            failed,
            failed_is_read: false,
            looks: Looks::default(),
            names,
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use clap::{Args as _, FromArgMatches as _};

    #[test]
    fn who_says_nothing_gets_what_the_library_gives_to_whoever_says_nothing() {
        let command = TransferArgs::augment_args(clap::Command::new("transfers").no_binary_name(true));
        let command = command.mut_args(|arg| arg.env(None::<&'static str>));
        let args = TransferArgs::from_arg_matches(&command.get_matches_from([""; 0])).unwrap();
        // Fewer where this process may have few files open.
        let options = Options { transfers: args.jobs, ..args.options() };
        assert_eq!(options, Options::default());
        let clients = ClientOptions::new(Defaults::new(DEFAULT_ORIGIN, None).unwrap().origin);
        assert_eq!(
            (args.max_per_host, args.connect_timeout, args.idle_timeout, args.timeout),
            (clients.max_per_host, clients.connect_within, clients.idle, clients.patience)
        );
    }
}
