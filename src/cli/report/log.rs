//! The log, for developers: what the engine does (`-vv`) and what the network does (`-vvv`), written line by line beside
//! the bars, without the key and without a server's tricks.

use std::io::{self, Write};
use std::sync::Arc;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use vfetch::text::{Redactor, Untrusted};

use super::desk::Shared;

/// A log line is cut after so many characters.
const LINE_MAX: usize = 4_096;

/// What the engine does.
const ENGINE: &str = "vfetch=debug";
/// What the network does too.
const NETWORK: &str =
    "vfetch=trace,hyper=debug,hyper_util=debug,object_store=debug,reqwest=debug,rustls=debug";

/// Begins the log where it was asked for: `-vv` for the engine, `-vvv` for the network too.
pub(super) fn begin(verbose: u8, writer: LogWriter) {
    let filter = match verbose {
        0 | 1 => return,
        2 => ENGINE,
        _ => NETWORK,
    };
    let log = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(filter)).with_ansi(false);
    // A second console in one process writes into the first one's log.
    let _ = log.with_writer(writer).try_init();
}

/// Makes a writer for each log line. The lines must come without colours: escape sequences are made visible.
#[derive(Clone)]
pub(super) struct LogWriter {
    shared: Arc<Shared>,
    redactor: Redactor,
}

impl LogWriter {
    pub(super) fn new(shared: &Arc<Shared>, redactor: &Redactor) -> Self {
        Self { shared: Arc::clone(shared), redactor: redactor.clone() }
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = LogLine<'a>;

    fn make_writer(&'a self) -> LogLine<'a> {
        LogLine { log: self, bytes: Vec::new() }
    }
}

/// One line of the log; written when it is dropped.
pub(super) struct LogLine<'a> {
    log: &'a LogWriter,
    bytes: Vec<u8>,
}

impl Write for LogLine<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogLine<'_> {
    fn drop(&mut self) {
        let text = String::from_utf8_lossy(&self.bytes);
        // The key goes before the line is cut.
        let line = self.log.redactor.text(text.trim_end_matches('\n'));
        if !line.is_empty() {
            self.log.shared.err.push_if_there_is_room(&format!("{:.LINE_MAX$}\n", Untrusted(&line)));
        }
    }
}
