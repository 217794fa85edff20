//! `vfetch export`: an archive for other programs.

use std::io;
use std::path::Path;

use clap::ValueEnum;
use vfetch::store::Store;
use vfetch::text::quoted;
use vfetch::view::export::{self, ExportError, Format};
use vfetch::view::table::counted;

use super::args;
use super::error::{CliError, INCOMPLETE};
use super::look::{self, ArchiveArg, Desk, ShowArgs};

/// Shown under the command's help.
const EXAMPLES: &str = "\
sha256sums  one line a file; paths begin with the archive as it was written here
jsonl       one record a line, as in its manifest.json
csv         one row a file, with a head; a job without files has one row too
Jobs come in natural order. Exit code 1: some records cannot be used and are missing in the export.

Examples:
  vfetch export out > SHA256SUMS               and then: sha256sum -c SHA256SUMS
  cd out && vfetch export > SHA256SUMS         the same for whoever gets the folder
  vfetch export out -f jsonl | jq -r .meta.prompt
  vfetch export out -f csv > jobs.csv";

/// Write checksums, records or a table of an archive for other programs.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    archive: ArchiveArg,
    /// What is written.
    #[arg(short, long, value_name = "FORMAT", env = "VFETCH_FORMAT", value_enum, default_value_t = FormatArg::Sha256sums, conflicts_with = "json")]
    format: FormatArg,
    #[command(flatten)]
    show: ShowArgs,
}

/// A format, as it is written on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FormatArg {
    /// As sha256sum -c reads it.
    Sha256sums,
    /// One record a line.
    Jsonl,
    /// One row a file.
    Csv,
}

impl FormatArg {
    fn format(self) -> Format {
        match self {
            Self::Sha256sums => Format::Sha256Sums,
            Self::Jsonl => Format::JsonLines,
            Self::Csv => Format::Csv,
        }
    }
}

/// Runs the command; its exit code.
pub(crate) async fn run(args: ExportArgs) -> Result<u8, CliError> {
    let store = args.archive.open()?;
    let format = if args.show.json { Format::JsonLines } else { args.format.format() };
    let archive = args.archive.archive;
    // Paths in an archive that is not a folder are relative to it.
    let prefix = if Store::stages_in_itself(&archive)? {
        args::folder_of(Path::new(&archive)).display().to_string()
    } else {
        String::new()
    };
    let work = move |desk: &Desk| {
        let mut out = io::BufWriter::with_capacity(64 * 1024, io::stdout());
        let exported = match export::export(&store, format, &prefix, &desk.stop, &desk.progress, &mut out) {
            Ok(exported) => exported,
            Err(ExportError::Store(error)) => return Err(error.into()),
            Err(ExportError::Write(error)) => return look::ended(Err(error)),
        };
        if exported.unreadable == 0 {
            return Ok(None);
        }
        desk.say(format_args!(
            "left out: {} that cannot be used; vfetch verify {} says why",
            counted(exported.unreadable, "record"),
            quoted(&archive)
        ));
        Ok(Some(INCOMPLETE))
    };
    let (done, caught) = look::watched(&args.show, "exporting", work).await?;
    Ok(caught.exit_code().or(done?).unwrap_or(0))
}
