//! What the program shows: its results, its JSON lines, its list of failed jobs, and the last words.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test may panic, looks for itself, and says what it skips"
)]

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::json;
use support::run::Signal;
use support::{Answer, Content, KEY, World};

/// A world in which jobs end in all the ways that need no waiting.
fn world_of_all_ends() -> World {
    let world = World::new();
    let clip = world.content(Content::gif(1, 40_000));
    let good = world.media.on("/good.gif", Answer::file(&clip));
    let dead = world.media.on("/dead.gif", Answer::html());
    let inline = format!("data:image/gif;base64,{}", data_encoding::BASE64.encode(&clip.bytes()));
    world.job("1", Answer::success(&[good.clone(), good.clone()]));
    world.job("2", Answer::success_with_proxies(std::slice::from_ref(&dead), std::slice::from_ref(&good)));
    world.job("3", Answer::success(&[inline]));
    world.job("4", Answer::failed("the prompt \u{1b}[31mwas refused"));
    world.job("5", Answer::success(&[good, dead]));
    world.job("6", Answer::processing());
    world
}

#[test]
fn every_json_line_is_as_the_schema_says_and_every_start_has_exactly_one_end() {
    let world = world_of_all_ends();
    let list = world.file("ids.txt", "1\n2\n3\n4\n5\n6\n../7\n");
    let run = world.get(&[]).args(&["-i"]).args(&[list]).args(&["--json", "--wait", "0"]);
    let done = run.run().exits(1);
    let lines = done.events();

    let mut open: BTreeMap<String, i32> = BTreeMap::new();
    for line in &lines {
        let name = format!("{} {}", line["job"], line["output"]);
        let change = match line["type"].as_str().unwrap() {
            "job_started" | "file_started" => 1,
            "job_ended" | "file_ended" => -1,
            "file_sized" | "file_received" => {
                assert_eq!(open.get(&name), Some(&1), "{line} before its start");
                0
            }
            _ => continue,
        };
        let count = open.entry(name).or_default();
        *count += change;
        assert!((0..=1).contains(count), "{line}");
    }
    assert!(open.values().all(|count| *count == 0), "{open:?}");

    let ends = lines.iter().filter(|line| line["type"] == "job_ended");
    let ends: BTreeMap<_, _> = ends.map(|line| (line["job"].as_str(), line["end"].as_str())).collect();
    let want = ["archived", "archived", "archived", "failed", "partial", "pending"];
    assert_eq!(ends.into_values().flatten().collect::<Vec<_>>(), want);

    let summary = lines.last().unwrap();
    assert_eq!(summary["type"], "summary");
    let proven = lines.iter().filter(|line| line["end"] == "proven").count();
    let bytes = 5 * Content::gif(1, 40_000).len();
    assert_eq!((proven, &summary["files"], &summary["file_bytes"]), (5, &json!(5), &json!(bytes)));
    assert_eq!((&summary["refused_refs"], &summary["exit_code"]), (&json!(1), &json!(1)));
}

#[test]
fn results_are_accepted_by_sha256sum_and_are_the_same_on_a_rerun() {
    let world = world_of_all_ends();
    let first = world.get(&["1", "2", "3", "4"]).run().exits(1);
    let again = world.get(&["1", "2", "3"]).run().exits(0);
    let sorted = |text: String| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(first.stdout()), sorted(again.stdout()));
    assert_eq!(sorted(first.stdout()).len(), 4);
    let address = format!("file://{}", world.archive().display());
    let by_address = world.command("get").args(&["1", "2", "3", "-o", &address]).run().exits(0);
    assert_eq!(sorted(by_address.stdout()), sorted(first.stdout()));
    let sums = world.file("SHA256SUMS", first.stdout());
    match Command::new("sha256sum").args(["--strict", "-c"]).arg(sums).output() {
        Ok(checked) => assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr)),
        Err(_) => println!("skipped: no sha256sum here"),
    }
}

#[test]
fn a_list_that_is_read_and_written_is_left_as_it_was_by_a_run_that_is_stopped() {
    let world = World::new();
    world.job("1", Answer::stall_at_once());
    let text = "# what is left\n1\n2\nno job at all\n";
    let list = world.file("todo.txt", text);
    let get = world.get(&[]).args(&["-i"]).args(&[&list]).args(&["--failed"]).args(&[&list]).may_write(&list);
    let running = get.spawn();
    world.api.wait_for("the request", |log| !log.is_empty());
    running.signal(Signal::INT);
    running.wait().exits(130).says("todo.txt is as it was");
    assert_eq!(std::fs::read_to_string(&list).unwrap(), text);
}

#[test]
fn a_run_that_is_stopped_says_that_its_list_of_failed_jobs_ends_where_it_did() {
    let world = World::new();
    world.job("147", Answer::processing());
    let list = world.path("not-home.txt");
    let running = world.get(&["147"]).args(&["--failed"]).args(&[&list]).may_write(&list).spawn();
    world.wait_for_state("147", "pending");
    running.signal(Signal::INT);
    let said = "names what the run came to, and nothing behind that";
    running.wait().exits(130).says(said).never_says("-i ");
    assert_eq!(std::fs::read_to_string(list).unwrap().trim_end(), "147");
}

#[test]
fn an_error_that_nobody_can_be_told_of_has_its_exit_code_all_the_same() {
    if !std::path::Path::new("/dev/full").exists() {
        println!("skipped: this machine has no /dev/full");
        return;
    }
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_vfetch"));
    let status = command.args(["list", "/nowhere/at/all"]).stderr(full).status().unwrap();
    assert_eq!(status.code(), Some(2));
}

#[test]
fn what_is_seen_of_a_host_that_cannot_be_reached_is_told_of_every_job() {
    let world = World::new();
    let refusing = world.refusing();
    let run = world.get(&["1", "2", "3", "4", "5", "6", "--json"]).base_url(Some(&refusing)).quietly().run();
    let ended = run.exits(4).events().into_iter().filter(|line| line["type"] == "job_ended");
    let details: Vec<String> = ended.map(|line| line.to_string()).collect();
    assert_eq!(details.len(), 6, "{details:?}");
    assert!(details.iter().all(|detail| detail.contains("Connection refused")), "{details:?}");
}

#[test]
fn a_list_that_is_read_and_written_is_left_as_it_was_where_it_holds_what_no_other_list_would() {
    let world = world_of_all_ends();
    let get = |list: &std::path::Path| {
        let get = world.get(&[]).quietly().args(&["-i"]).args(&[list]).args(&["--failed"]).args(&[list]);
        get.may_write(list)
    };
    // With a job that fails the list would be replaced, without one it would be taken away.
    for text in ["1\n../2\n4\n", "1\nno job at all\n", "[1,\n"] {
        let list = world.file("todo.txt", text);
        let done = get(&list).run().exits(1).says("todo.txt is as it was, since what was passed over");
        assert!(!done.stderr().contains(" -i "), "{}", done.shown());
        assert_eq!(std::fs::read_to_string(&list).unwrap(), text);
        let told = get(&list).args(&["--progress", "json"]).run().exits(1);
        assert!(told.stderr().contains("is as it was"), "{}", told.shown());
        assert!(told.stderr().lines().last().unwrap().contains("\"type\":\"summary\""), "{}", told.shown());
    }
    // What was passed over in a list that the run only reads stays there.
    let (read, written) = (world.file("ids.txt", "4\n../2\n"), world.path("failed.txt"));
    let get = world.get(&[]).args(&["-i"]).args(&[&read]).args(&["--failed"]).args(&[&written]);
    get.may_write(&written).run().exits(1).never_says("is as it was");
    assert_eq!(std::fs::read_to_string(&written).unwrap(), "4\n");
}

#[test]
fn the_summary_has_the_exit_code_of_the_process_where_the_list_cannot_be_written() {
    let world = World::new();
    world.job("4", Answer::failed("no"));
    let done = world.get(&["4", "--json", "--failed", "/dev/full"]).run().exits(5);
    let summary = done.events().pop().unwrap();
    assert_eq!(summary["exit_code"], 5);
    assert!(summary["stopped"].as_str().is_some_and(|why| why.contains("/dev/full")), "{summary}");
}

#[test]
fn the_summary_on_standard_error_says_that_standard_output_could_not_be_written() {
    let world = world_of_all_ends();
    // A result, an event, the summary's own line, and nothing at all.
    let table = [(&["1"][..], 5), (&["1", "--json"], 5), (&["-i", "-", "--json"], 5), (&["4"], 1)];
    for (args, code) in table {
        let get = world.get(args).args(&["--progress", "json"]).quietly().after_shell("exec >/dev/full");
        let done = get.stdin("").run().exits(code);
        let stderr = done.stderr();
        let summary: serde_json::Value = serde_json::from_str(stderr.lines().last().unwrap()).unwrap();
        assert_eq!((&summary["type"], &summary["exit_code"]), (&json!("summary"), &json!(code)));
        let why = summary["stopped"].as_str().unwrap_or_default();
        assert_eq!(why.starts_with("writing standard output: "), code == 5, "{summary}");
    }
}

#[test]
fn a_list_of_failed_jobs_is_read_and_rewritten_by_the_next_run_and_gone_in_the_end() {
    let world = world_of_all_ends();
    let list = world.path("failed.txt");
    let get = |refs: &[&str]| {
        let get = world.get(refs).args(&["--wait", "0", "--failed"]).args(&[list.as_path()]);
        get.may_write(&list)
    };
    let sorted = || {
        let text = std::fs::read_to_string(&list).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    get(&["1", "4", "5", "6"]).run().exits(1).says("again: vfetch get -o");
    assert_eq!(sorted(), ["4", "5", "6"]);

    let clip = world.content(Content::gif(2, 30_000));
    let late = world.media.on("/late.gif", Answer::file(&clip));
    for id in ["4", "6"] {
        world.job(id, Answer::success(std::slice::from_ref(&late)));
    }
    get(&[]).args(&["-i"]).args(&[list.as_path()]).run().exits(1);
    assert_eq!(sorted(), ["5"]);

    world.media.on("/dead.gif", Answer::file(&clip));
    get(&[]).args(&["-i"]).args(&[list.as_path()]).run().exits(0);
    assert!(!list.exists());
}

#[test]
fn two_runs_do_not_write_the_same_list_and_the_refused_one_takes_nothing_away() {
    let world = World::new();
    world.job("1", Answer::stall_at_once());
    world.job("4", Answer::failed("no"));
    let (list, elsewhere) = (world.path("failed.txt"), world.path("elsewhere"));
    let draft = world.path("failed.txt.part");
    std::fs::create_dir(&elsewhere).unwrap();
    let own = || world.get(&["4", "1"]).args(&["--failed"]).args(&[&list]).may_write(&list).may_write(&draft);
    let running = own().spawn();
    world.api.wait_for("the stalled request", |log| log.iter().any(|seen| seen.target.ends_with("/1")));
    while std::fs::read_to_string(&draft).unwrap_or_default() != "4\n" {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let other =
        || world.command("get").args(&["4", "-o"]).args(&[&elsewhere]).args(&["--failed"]).args(&[&list]);
    for refused in [other(), own()] {
        let refused = refused.run().exits(7).says("failed.txt").says("another vfetch");
        assert!(refused.stderr().contains("another --failed"), "{}", refused.shown());
        assert!(draft.exists(), "{}", refused.shown());
    }
    running.signal(Signal::INT);
    running.wait().exits(130);
    let left = std::fs::read_to_string(&list).unwrap();
    assert_eq!(left.lines().collect::<std::collections::BTreeSet<_>>(), ["1", "4"].into());
    assert!(!draft.exists());
}

#[test]
fn the_list_that_a_killed_run_was_writing_is_taken_over() {
    let world = World::new();
    world.job("1", Answer::stall_at_once().then(Answer::failed("no")));
    let (list, draft) = (world.path("failed.txt"), world.path("failed.txt.part"));
    let get = || world.get(&["1"]).args(&["--failed"]).args(&[&list]).may_write(&list).may_write(&draft);
    let running = get().spawn();
    world.api.wait_for("the request", |log| !log.is_empty());
    running.signal(Signal::KILL);
    running.wait().exits(137);
    std::fs::write(&draft, "what a longer list has left behind\n").unwrap();
    get().run().exits(1);
    assert_eq!((std::fs::read_to_string(&list).unwrap().as_str(), draft.exists()), ("1\n", false));
}

#[test]
fn failures_are_the_last_words_grouped_by_cause_with_the_way_to_try_again() {
    let world = world_of_all_ends();
    world.job("7", Answer::failed("the queue is closed"));
    let done = world.get(&["1", "4", "7"]).quietly().run().exits(1);
    let stderr = done.stderr();
    let (counts, last) = stderr.split_once(" in ").unwrap();
    assert!(counts.ends_with("3 jobs: 1 archived, 2 failed; 2 files, 78.5 KiB"), "{stderr}");
    let (_, last) = last.split_once('\n').unwrap();
    let archive = world.archive();
    let group = format!(
        "2 jobs: the job failed at the service\n    {{}}\n    seen: {{}}\n    again: vfetch get -o {} --base-url {} {{}}\n",
        archive.display(),
        world.api.url(""),
    );
    let say = |jobs: &str, seen: &str| {
        let mut words = [jobs, seen, jobs].into_iter();
        group.split("{}").map(|part| part.to_owned() + words.next().unwrap_or_default()).collect::<String>()
    };
    let either = [
        say("4 7", "the prompt \\u{1b}[31mwas refused"),
        say("7 4", "the queue is closed"),
        say("4 7", "the queue is closed"),
        say("7 4", "the prompt \\u{1b}[31mwas refused"),
    ];
    assert!(either.iter().any(|words| words == last), "{last}\nnot one of {either:#?}");
}

#[test]
fn the_way_to_try_again_says_where_the_key_is() {
    let world = world_of_all_ends();
    let key = world.path("home/my key");
    std::fs::write(&key, KEY).unwrap();
    let get = world.get(&["4"]).args(&["--key-file".into(), key]).key(None::<&str>);
    let told = get.quietly().run().exits(1).stderr();
    let (_, again) = told.split_once("again: vfetch ").unwrap();
    let again = again.lines().next().unwrap();
    let program = env!("CARGO_BIN_EXE_vfetch");
    let rerun = Command::new("sh")
        .args(["-c", &format!("exec \"$0\" {again}"), program])
        .env_clear()
        .output()
        .unwrap();
    assert_eq!(rerun.status.code(), Some(1), "{again}: {}", String::from_utf8_lossy(&rerun.stderr));
}
