//! The console as a whole: events in, bytes on both streams out.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and reads files")]

use std::io::{self, Read, Write};

use tracing_subscriber::fmt::MakeWriter;
use vfetch::event::FileRef;
use vfetch::job::JobRef;
use vfetch::manifest::Rung;
use vfetch::retry::{Cause, Failure};
use vfetch::text::Secret;

use super::fixtures::{complete, job, partial};
use super::*;

const KEY: &str = "sk-0123456789abcdef";
const AGAIN: &str = "vfetch get -o out";

/// Bytes that were written.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Written {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn settings() -> Settings {
    Settings {
        progress: Progress::Plain,
        json: false,
        results: Results::Lines,
        quiet: false,
        verbose: 0,
        destination: "out".into(),
        redactor: Redactor::new(&Secret::new(KEY.into()).unwrap()),
        failed: None,
        failed_is_read: false,
        looks: Looks::Once,
        names: Names::here(),
    }
}

fn start(settings: Settings, out: impl Write + Send + 'static, err: &Written) -> Arc<Console> {
    start_on(settings, out, err, false)
}

fn start_on(
    settings: Settings,
    out: impl Write + Send + 'static,
    err: &Written,
    terminal: bool,
) -> Arc<Console> {
    let terminal = Terminal { tty: terminal, term: "xterm".into(), ..Terminal::default() };
    let look = look::look(settings.progress, settings.quiet, &terminal);
    let began = clock();
    let desk = Desk {
        shared: Arc::default(),
        out: Some(settings.redactor.writer(Box::new(out))),
        out_is_terminal: terminal.tty,
        err: Box::new(err.clone()),
        redactor: settings.redactor.clone(),
        show: show(look, began),
        size: || Size { columns: 80, rows: 24 },
        failed: settings.failed.as_deref().map(|path| FailedList::begin(path, &settings.redactor).unwrap()),
        out_error: None,
    };
    Console::start(settings, look, desk, began).unwrap()
}

fn finish(console: &Console) -> Summary {
    console.finish(&Finish { stop: None, signal: None, retry_command: Some(AGAIN) })
}

fn archive(console: &Console, job: &JobRef) {
    let manifest = complete(job, &[b"GIF89a"]);
    console.event(&Event::JobStarted { job });
    console.event(&Event::JobEnded { job, end: JobEnd::Archived(&manifest) });
}

fn fail(console: &Console, job: &JobRef) {
    let manifest = partial(job, Cause::Absent, "status 404");
    console.event(&Event::JobStarted { job });
    console.event(&Event::JobEnded { job, end: JobEnd::Incomplete(&manifest) });
}

#[test]
fn results_go_to_standard_output_and_failures_come_last_on_standard_error() {
    let (out, err) = (Written::default(), Written::default());
    let console = start(settings(), out.clone(), &err);
    fail(&console, &job("1"));
    archive(&console, &job("2"));
    let kept = complete(&job("3"), &[b"GIF89a", b"second"]);
    console.event(&Event::JobEnded { job: &job("3"), end: JobEnd::Kept(&kept) });
    let summary = finish(&console);

    assert_eq!((summary.jobs, summary.exit_code()), (3, 1));
    let paths: Vec<String> =
        out.text().lines().map(|line| line.split_once("  ").unwrap().1.to_owned()).collect();
    assert_eq!(paths, ["out/2/2-0.gif", "out/3/3-0.gif", "out/3/3-1.gif"]);
    let want = "\
1: partial: 1 of 2 outputs missing; output 1: the file is not there (status 404)
3 jobs: 1 archived, 1 here before, 1 partial; 0 files, 0 B in 0s
1 job: the file is not there
    1
    seen: status 404
    again: vfetch get -o out 1
";
    assert_eq!(err.text(), want);
    assert_eq!(finish(&console), summary, "the last words are said once");
    assert_eq!(err.text(), want);
}

#[test]
fn a_result_is_the_digest_two_spaces_and_the_path_as_the_user_wrote_it_and_json_names_the_same_path() {
    let digest = vfetch::sha256::Digest::of(b"GIF89a");
    let table = [
        ("out", "", "out/98/98-0.gif"),
        ("./out/", "", "./out/98/98-0.gif"),
        (".", "", "98/98-0.gif"),
        ("/", "", "/98/98-0.gif"),
        ("a b", "", "a b/98/98-0.gif"),
        ("a\\b", "\\", "a\\\\b/98/98-0.gif"),
        ("a\nb", "\\", "a\\nb/98/98-0.gif"),
        ("a\rb", "\\", "a\\rb/98/98-0.gif"),
    ];
    for (destination, mark, path) in table {
        let of = |json| {
            let (out, err) = (Written::default(), Written::default());
            let settings = Settings { destination: destination.into(), json, ..settings() };
            archive(&start(settings, out.clone(), &err), &job("98"));
            out.text()
        };
        assert_eq!(of(false), format!("{mark}{digest}  {path}\n"));
        if mark.is_empty() {
            assert!(of(true).contains(&format!("\"path\":\"{path}\"")), "{}", of(true));
        }
    }
}

#[test]
fn quiet_leaves_results_and_final_failures() {
    let (out, err) = (Written::default(), Written::default());
    let console = start(Settings { quiet: true, ..settings() }, out.clone(), &err);
    archive(&console, &job("1"));
    console.event(&Event::Warning { job: None, text: "odd" });
    finish(&console);
    assert_eq!((out.text().lines().count(), err.text().as_str()), (1, ""));

    let console = start(Settings { quiet: true, ..settings() }, out.clone(), &err);
    fail(&console, &job("1"));
    finish(&console);
    assert!(err.text().starts_with("1 job: the file is not there\n"), "{}", err.text());
}

#[test]
fn json_lines_take_the_place_of_results_and_end_with_the_summary() {
    let (out, err) = (Written::default(), Written::default());
    let console = start(Settings { json: true, ..settings() }, out.clone(), &err);
    archive(&console, &job("1"));
    console.finish(&Finish { stop: None, signal: Some(15), retry_command: Some(AGAIN) });
    let text = out.text();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<&str> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["job_started", "job_ended", "summary"]);
    assert_eq!(lines[2]["exit_code"], 143);
    assert!(err.text().contains("vfetch: stopped by SIGTERM"), "{}", err.text());
}

#[test]
fn json_progress_goes_to_standard_error_beside_results() {
    let (out, err) = (Written::default(), Written::default());
    let console = start(Settings { progress: Progress::Json, ..settings() }, out.clone(), &err);
    fail(&console, &job("1"));
    archive(&console, &job("2"));
    finish(&console);
    assert!(out.text().ends_with("  out/2/2-0.gif\n"));
    let text = err.text();
    let mut kinds = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    assert_eq!(kinds.next_back().unwrap()["type"], "summary");
    assert_eq!(text.lines().count(), 5);
}

#[test]
fn the_key_is_in_nothing_that_is_written() {
    let list = tempfile::tempdir().unwrap();
    let coded = data_encoding::BASE64.encode(KEY.as_bytes());
    // The second time it stands where a text is cut, and must not be cut itself.
    let said = format!("your key {KEY} is {coded}{}{KEY}{KEY}", " ".repeat(420));
    let failure = Failure::new(Cause::JobFailed, said.as_str());
    for (progress, json) in [
        (Progress::Bar, false),
        (Progress::Plain, false),
        (Progress::Json, false),
        (Progress::None, true),
        (Progress::Bar, true),
    ] {
        let (out, err) = (Written::default(), Written::default());
        let failed = Some(list.path().join("failed.txt"));
        let destination = format!("out/{KEY}");
        let settings = Settings { progress, json, verbose: 3, destination, failed, ..settings() };
        let console = start_on(settings, out.clone(), &err, true);
        let job = job(&format!("realtime/{KEY}"));
        let file = FileRef { job: &job, output: 0 };
        console.event(&Event::RefRefused { place: &said, why: &said });
        console.event(&Event::JobWaiting { job: &job, why: &said, eta: None, wait: WAIT });
        console.event(&Event::Warning { job: Some(&job), text: &said });
        console.event(&Event::JobStarted { job: &job });
        console.event(&Event::FileStarted { file, rung: Rung::Output, source: &said });
        if progress == Progress::Bar {
            wait_until(|| err.text().contains("[key]-0"));
        }
        console.event(&Event::FileEnded { file, end: vfetch::event::FileEnd::Left { failure: &failure } });
        console.event(&Event::JobEnded { job: &job, end: JobEnd::Failed(&failure) });
        archive(&console, &job);
        write!(console.log_writer().make_writer(), "{said}").unwrap();
        let stop = Stop::Account(failure.clone());
        console.finish(&Finish { stop: Some(&stop), signal: None, retry_command: Some(AGAIN) });
        let list = std::fs::read_to_string(list.path().join("failed.txt")).unwrap();
        for text in [out.text(), err.text(), list] {
            assert!(!text.contains(&KEY[..6]) && !text.contains(&coded[..6]), "{progress:?}: {text}");
            assert!(text.contains("[key]"), "{progress:?}: {text}");
        }
    }
}

const WAIT: std::time::Duration = std::time::Duration::from_secs(5);

/// Waits for what the writing thread does in its own time.
fn wait_until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        std::thread::yield_now();
    }
}

#[test]
fn on_one_terminal_results_and_lines_stand_above_the_bars_and_no_bar_is_left() {
    let terminal = Written::default();
    let console =
        start_on(Settings { progress: Progress::Auto, ..settings() }, terminal.clone(), &terminal, true);
    let (one, two) = (job("1"), job("2"));
    let file = FileRef { job: &one, output: 0 };
    console.event(&Event::JobStarted { job: &one });
    console.event(&Event::FileStarted { file, rung: Rung::Output, source: "" });
    console.event(&Event::JobWaiting { job: &two, why: "processing", eta: None, wait: WAIT });
    let shown = || {
        let mut screen = vt100::Parser::new(24, 80, 0);
        screen.process(terminal.text().replace('\n', "\r\n").as_bytes());
        screen.screen().contents()
    };
    wait_until(|| shown().contains("2            processing"));
    archive(&console, &two);
    fail(&console, &one);
    writeln!(console.log_writer().make_writer(), "a log line").unwrap();
    finish(&console);
    let shown = shown();
    let lines: Vec<&str> = shown.trim_end().lines().collect();
    assert!(lines[0].ends_with("  out/2/2-0.gif"), "{shown}");
    assert_eq!(lines[1], "1: partial: 1 of 2 outputs missing; output 1: the file is not there (status 404)");
    assert_eq!(lines[2], "a log line");
    assert!(lines[3].starts_with("2 jobs: 1 archived, 1 partial"), "{shown}");
    assert_eq!(lines.len(), 8, "{shown}");
}

#[test]
fn a_reader_that_goes_away_ends_results_and_nothing_else() {
    let (reader, writer) = io::pipe().unwrap();
    let err = Written::default();
    let console = start(settings(), writer, &err);
    archive(&console, &job("1"));
    drop(reader);
    for id in 2..100 {
        archive(&console, &job(&id.to_string()));
    }
    let summary = finish(&console);
    assert_eq!((summary.archived, summary.exit_code()), (99, 0));
    assert_eq!(err.text(), "99 jobs: 99 archived; 0 files, 0 B in 0s\n");
}

#[test]
fn results_that_cannot_be_written_are_a_failure_of_this_machine() {
    let Ok(full) = std::fs::File::options().write(true).open("/dev/full") else { return };
    let err = Written::default();
    let console = start(settings(), full, &err);
    archive(&console, &job("1"));
    assert_eq!(finish(&console).exit_code(), 5);
    assert!(err.text().contains("vfetch: writing standard output: No space left"), "{}", err.text());
}

#[test]
fn a_reader_that_is_slow_holds_up_no_download_and_gets_everything() {
    const JOBS: usize = 20_000;
    let (mut reader, writer) = io::pipe().unwrap();
    let err = Written::default();
    let console = start(settings(), writer, &err);
    // More than any pipe takes, and nobody has read a byte.
    for id in 0..JOBS {
        archive(&console, &job(&id.to_string()));
    }
    let read = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).map(|_| text.lines().count())
    });
    assert_eq!(finish(&console).archived, JOBS as u64);
    drop(console);
    assert_eq!(read.join().unwrap().unwrap(), JOBS);
}

#[test]
fn many_threads_may_report_at_once_and_every_line_stays_whole() {
    const JOBS: usize = 4_000;
    let (out, err) = (Written::default(), Written::default());
    let console = start(settings(), out.clone(), &err);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let console = &console;
            scope.spawn(move || {
                for id in 0..JOBS / 4 {
                    let job = job(&format!("{thread}-{id}"));
                    let manifest = complete(&job, &[b"GIF89a"]);
                    console.event(&Event::JobStarted { job: &job });
                    console.event(&Event::JobEnded { job: &job, end: JobEnd::Kept(&manifest) });
                }
            });
        }
    });
    assert_eq!(finish(&console).kept, JOBS as u64);
    let text = out.text();
    let digest = vfetch::sha256::Digest::of(b"GIF89a").to_string();
    assert!(text.lines().all(|line| line.starts_with(&digest) && line.ends_with("-0.gif")));
    assert_eq!(text.lines().collect::<std::collections::HashSet<_>>().len(), JOBS);
}

#[test]
fn jobs_that_did_not_end_complete_are_listed_for_another_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("failed list.txt");
    let (out, err) = (Written::default(), Written::default());
    let console = start(Settings { failed: Some(path.clone()), ..settings() }, out, &err);
    for id in 0..12 {
        fail(&console, &job(&id.to_string()));
    }
    archive(&console, &job("12"));
    let cut_short = job("realtime/13");
    console.event(&Event::JobEnded { job: &cut_short, end: JobEnd::Cancelled });
    finish(&console);
    let list = std::fs::read_to_string(&path).unwrap();
    assert_eq!(list, "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\nrealtime/13\n");
    let again = format!("again: {AGAIN} -i '{}'\n", path.display());
    assert!(err.text().ends_with(&again), "{}", err.text());
}

#[test]
fn a_run_that_could_not_begin_leaves_the_list_of_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("failed.txt");
    std::fs::write(&path, "1\n").unwrap();
    let (out, err) = (Written::default(), Written::default());
    drop(start(Settings { failed: Some(path.clone()), ..settings() }, out, &err));
    assert_eq!(err.text(), "");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
}

#[test]
fn a_log_line_shows_escapes_and_is_one_line() {
    let (out, err) = (Written::default(), Written::default());
    let console = start(settings(), out, &err);
    writeln!(console.log_writer().make_writer(), "DEBUG a\n\u{1b}[2Jb\u{202e}").unwrap();
    finish(&console);
    assert!(err.text().starts_with("DEBUG a\\n\\u{1b}[2Jb\\u{202e}\n"), "{}", err.text());
}
