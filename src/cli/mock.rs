//! `vfetch mock`: the look-alike of the API, for trials without an account.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};

use clap::value_parser;
use tokio_util::sync::CancellationToken;
use vfetch::serve::scenario::{FIRST_PLAIN_ID, SCENARIOS};
use vfetch::serve::{LookAlike, Settings};

use super::error::CliError;
use super::{say, signals, values};

/// Shown under the command's help.
const EXAMPLES: &str = "\
Examples:
  vfetch mock                                    at http://127.0.0.1:8147
  vfetch mock --listen 127.0.0.1:0               at any port that is free; the first line names it
  vfetch mock --extra 1000 --pace 64k            1,000 more jobs, and files that take their time
  MODELSLAB_API_KEY=x vfetch get 147 -o out --base-url http://127.0.0.1:8147";

/// So many more jobs have ids that are numbers.
const EXTRA_MAX: u64 = 1_000_000_000;

/// Serve a look-alike of the API on this machine, for trials without an account.
///
/// It answers as the real API does, any key will do, and its jobs show every turn that real ones take: still processing,
/// dead hosts, expired links, cut connections, and more. Its media hosts listen at the next ports. Nothing is asked of
/// the real API.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct MockArgs {
    /// Where to listen: an address and a port, or a port of 127.0.0.1 alone; port 0 is any that is free.
    #[arg(long, value_name = "ADDR", env = "VFETCH_LISTEN", default_value = "127.0.0.1:8147", value_parser = address)]
    listen: SocketAddr,
    /// Serve N more jobs, each ready at once, with ids from 10001 on.
    #[arg(long, value_name = "N", env = "VFETCH_EXTRA", default_value_t = 0, value_parser = value_parser!(u64).range(..=EXTRA_MAX))]
    extra: u64,
    /// Send each file at this many bytes per second [default: as fast as it goes]
    #[arg(long, value_name = "BYTES", env = "VFETCH_PACE", value_parser = values::bytes)]
    pace: Option<u64>,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let port = text.trim().trim_start_matches(':').parse::<u16>();
    port.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .or_else(|_| text.trim().replace("localhost", "127.0.0.1").parse())
        .map_err(|_| "write an address and a port (127.0.0.1:8147), or a port".into())
}

/// Runs the command; its exit code.
pub(crate) async fn run(args: MockArgs) -> Result<u8, CliError> {
    let settings = Settings { plain_jobs: args.extra, bytes_per_second: args.pace };
    let started = LookAlike::start_with(args.listen, settings).await;
    let look_alike = started.map_err(|error| {
        CliError::local(format!("listening at {}: {error}", args.listen))
            .hint("--listen 127.0.0.1:0 takes any port that is free")
    })?;
    let stop = CancellationToken::new();
    let caught = signals::watch(stop.clone())?;
    say(&how_to_use(&look_alike.base_url(), args.extra));
    stop.cancelled().await;
    let seen = look_alike.seen();
    say(&format!(
        "vfetch mock: {} calls of the API, {} requests for media, {} of them continued\n",
        seen.api_calls, seen.media_requests, seen.continued
    ));
    Ok(caught.exit_code().unwrap_or_default())
}

fn how_to_use(base_url: &str, extra: u64) -> String {
    let mut text = format!(
        "vfetch mock: a look-alike of the API at {base_url} (Ctrl-C ends it)

Any key will do. In another terminal:
  export MODELSLAB_API_KEY=any-key MODELSLAB_BASE_URL={base_url}
  vfetch get 147 -o ./out
  curl -d '{{\"key\":\"any-key\"}}' {base_url}/api/v1/enterprise/video/fetch/147

Its jobs:
"
    );
    let width = SCENARIOS.iter().map(|scenario| scenario.reference().len()).max().unwrap_or(0);
    for scenario in SCENARIOS {
        let _ = writeln!(text, "  {:width$}  {}", scenario.reference(), scenario.title);
    }
    if extra > 0 {
        let ids = format!("{FIRST_PLAIN_ID} to {}", FIRST_PLAIN_ID + extra - 1);
        let _ = writeln!(text, "  {ids:width$}  ready at once, one file each");
    }
    text.push_str(
        "
Each tells its story once, from the first time that it is asked for; a mock that is started anew
tells them again. The account is listed at /api/assets_generated, its balance is at
/api/wallet_balance.
",
    );
    text
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn an_address_may_be_a_port_alone() {
        let table = [
            ("8080", "127.0.0.1:8080"),
            (":8080", "127.0.0.1:8080"),
            ("localhost:1", "127.0.0.1:1"),
            ("0.0.0.0:80", "0.0.0.0:80"),
            ("[::1]:80", "[::1]:80"),
        ];
        for (text, want) in table {
            assert_eq!(address(text).unwrap(), want.parse().unwrap(), "{text}");
        }
        for bad in ["", "99999", "127.0.0.1", "http://127.0.0.1:80"] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_job_is_named() {
        let text = how_to_use("http://127.0.0.1:1", 3);
        for scenario in SCENARIOS {
            assert!(text.contains(&scenario.reference()) && text.contains(scenario.title));
        }
        assert!(text.contains("10001 to 10003"));
        assert!(!how_to_use("http://127.0.0.1:1", 0).contains("10001"));
    }
}
