//! `vfetch status` and `vfetch list`.

use std::fs;
use std::process::Command;

use vfetch::manifest::Reason;
use vfetch::retry::{Cause, Failure};

use crate::bed::{Bed, CREATED, Ran, content, meta, missing};

/// An archive with a job in every state.
fn every_state() -> Bed {
    let bed = Bed::new();
    bed.complete("147", &[&content(1, 1_000), &content(2, 500)]);
    bed.complete("realtime/98", &[&content(3, 100)]);
    let mut partial = bed.record("148");
    partial.outputs = Some(2);
    partial.done_seen_at = Some(CREATED.into());
    partial.meta = Some(meta("A Red fox in the snow"));
    partial.files = vec![bed.put("148", 0, &content(4, 300))];
    partial.missing = vec![missing(1, Cause::Stalled)];
    bed.write(&partial);
    let mut pending = bed.record("149");
    pending.pending_seen_at = Some("2026-01-02T03:10:00Z".into());
    bed.write(&pending);
    let mut gone = bed.record("150");
    gone.outputs = Some(1);
    gone.missing = vec![missing(0, Cause::Absent)];
    bed.write(&gone);
    let mut failed = bed.record("AbC");
    failed.outputs = Some(0);
    failed.error = Some(Reason::of(&Failure::new(Cause::JobFailed, "out of \u{1b}[31mmemory"), None, None));
    bed.write(&failed);
    bed
}

#[test]
fn status_counts_and_tells_what_is_at_risk_and_what_failed() {
    let bed = every_state();
    let before = bed.fingerprint();
    let ran = bed.run(&["status", "out"]).exits(0);
    let text = &ran.stdout;
    assert!(text.starts_with("out: 6 jobs, 4 files, 1.9 KiB\n"), "{text}");
    let row = |name: &str| {
        let line =
            text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {text}"));
        line[name.len()..].split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("complete "), "2 3 1.6 KiB");
    assert_eq!(row("partial "), "1 1 300 B");
    assert_eq!(row("pending "), "1 0 0 B");
    assert_eq!(row("enterprise/video "), "5 3 1.8 KiB");
    assert_eq!(row("realtime "), "1 1 100 B");
    assert_eq!(row("media.test "), "3 4 1.9 KiB");
    assert!(text.contains("At risk: 2 jobs have files that are not here\n  148  partial   expected to be deleted 2026-01-02T15:04:05Z"), "{text}");
    assert!(text.contains("  149  pending   expected to be deleted 2026-01-03T03:10:00Z"), "{text}");
    assert!(text.contains("Not whole: 3 jobs lack outputs"), "{text}");
    assert!(
        text.contains("1  the job failed at the service: AbC\n           out of \\u{1b}[31mmemory\n"),
        "{text}"
    );
    assert_eq!(bed.fingerprint(), before);
}

#[test]
fn status_as_json_says_the_same() {
    let bed = every_state();
    fs::write(bed.file("147/manifest.json"), "torn").unwrap();
    let lines = bed.run(&["status", "out", "--json"]).exits(0).json();
    let [status] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!(status["all"], serde_json::json!({"jobs": 5, "files": 2, "bytes": 400}));
    assert_eq!(status["states"]["complete"]["jobs"], 1);
    assert_eq!(status["at_risk"]["jobs"], 2);
    assert_eq!(
        status["at_risk"]["first"][0],
        serde_json::json!({"job": "148", "state": "partial", "until": 1_767_366_245})
    );
    assert_eq!(status["unreadable"]["records"], 1);
    assert_eq!(status["unreadable"]["first"][0]["folder"], "147");
    assert_eq!(status["hosts"]["media.test"]["files"], 2);
}

/// The jobs that a list names.
fn jobs(bed: &Bed, filters: &[&str]) -> Vec<String> {
    let args: Vec<&str> = ["list", "out"].iter().chain(filters).copied().collect();
    let ran = bed.run(&args).exits(0);
    ran.stdout.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
}

#[test]
fn a_list_is_narrowed_by_what_people_know_a_job_by() {
    let bed = every_state();
    assert_eq!(jobs(&bed, &[]), ["147", "148", "149", "150", "realtime/98", "AbC"]);
    assert_eq!(jobs(&bed, &["--prompt", "fox RED"]), ["148"]);
    assert_eq!(jobs(&bed, &["-p", "prompt", "-p", "147"]), ["147"]);
    assert_eq!(jobs(&bed, &["--model", "SDXL", "--seed", "42"]), ["147", "148", "realtime/98"]);
    assert_eq!(jobs(&bed, &["--seed", "4"]), Vec::<String>::new());
    assert_eq!(jobs(&bed, &["--family", "realtime"]), ["realtime/98"]);
    assert_eq!(jobs(&bed, &["--state", "pending,failed"]), ["149", "AbC"]);
    assert_eq!(jobs(&bed, &["--since", "2026-01-02", "--until", "2026-01-03"]).len(), 6);
    assert_eq!(jobs(&bed, &["--since", "2026-01-03"]).len(), 0);
    assert_eq!(jobs(&bed, &["--until", "2026-01-02T03:04:05Z"]).len(), 0);
    let bad = bed.run(&["list", "out", "--family", "vidoe"]).exits(2);
    assert!(bad.stderr.contains("vidoe"), "{}", bad.stderr);
    bed.run(&["list", "out", "--since", "soon"]).exits(2);
}

#[test]
fn a_list_for_a_program_is_whole_and_one_for_json_has_named_fields() {
    let bed = every_state();
    let ran = bed.run(&["list", "out", "--prompt", "fox"]).exits(0);
    assert_eq!(ran.stdout, "148\tpartial\t1\t300 B\t2026-01-02 03:04\tsdxl\t42\tA Red fox in the snow\n");
    let lines = bed.run(&["list", "out", "--json", "--prompt", "fox"]).exits(0).json();
    let want = serde_json::json!({"job": "148", "folder": "148", "state": "partial", "files": 1, "missing": 1, "bytes": 300,
        "created_at": CREATED, "model": "sdxl", "seed": "42", "prompt": "A Red fox in the snow"});
    assert_eq!(lines, [want]);
}

#[test]
fn a_list_is_in_natural_order_and_says_what_it_cannot_read() {
    let bed = Bed::new();
    let ids = [10, 9, 1_000, 2, 100];
    for id in ids {
        bed.complete(&id.to_string(), &[&content(id, 10)]);
    }
    fs::write(bed.file("9/manifest.json"), "{").unwrap();
    assert_eq!(jobs(&bed, &[]), ["2", "10", "100", "1000"]);
    let ran = bed.run(&["list", "out"]).exits(0);
    assert_eq!(ran.stderr, "left out: 1 record that cannot be used; vfetch verify out says why\n");
}

#[test]
fn commands_that_are_shown_can_be_pasted_whatever_the_archive_is_called() {
    let bed = every_state();
    for id in 1_000..1_030 {
        bed.write(&bed.record(&id.to_string()));
    }
    fs::create_dir(bed.file("9")).unwrap();
    fs::write(bed.file("9/manifest.json"), "{").unwrap();
    fs::rename(bed.archive(), bed.path("it's here")).unwrap();
    let mut shown = Vec::new();
    for command in ["status", "list", "export", "verify"] {
        let ran = bed.run(&[command, "it's here"]);
        let text = [ran.stdout, ran.stderr].concat();
        for said in text.split("vfetch ").skip(1) {
            let end = [" says why", " fetches", " puts right", " lists them", "\n"];
            let end = end.iter().filter_map(|end| said.find(end)).min().unwrap();
            shown.push(said[..end].to_owned());
        }
    }
    shown.sort();
    shown.dedup();
    let commands: Vec<&str> = shown.iter().filter_map(|shown| shown.split(' ').next()).collect();
    assert_eq!(commands, ["list", "repair", "resume", "verify"], "{shown:#?}");
    for command in &shown {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("printf '%s\\n' {command}")]);
        assert_eq!(Ran::of(shell).stdout.lines().nth(1), Some("it's here"), "{command}");
    }
}

#[test]
fn a_flag_is_switched_in_the_environment_by_any_of_the_usual_words() {
    let bed = Bed::new();
    bed.complete("1", &[&content(1, 500)]);
    let ran = |args: &[&str], env: &[(&str, &str)]| {
        let mut command = bed.command(args);
        command.envs(env.iter().copied());
        Ran::of(command)
    };
    for (word, on) in [("1", true), ("yes", true), ("ON", true), ("true", true), ("0", false), ("no", false)]
    {
        let listed = ran(&["list", "out"], &[("VFETCH_JSON", word)]).exits(0);
        assert_eq!(listed.stdout.starts_with('{'), on, "{word}");
        let verified = ran(&["verify", "out"], &[("VFETCH_QUIET", word)]).exits(0);
        assert_eq!(verified.stderr.is_empty(), on, "{word}");
    }
    let all_off = [("VFETCH_QUIET", "off"), ("VFETCH_CHECK", "n"), ("VFETCH_NO_SYNC", "f")];
    ran(&["get", "1", "-o", "out", "--dry-run", "-v"], &all_off).exits(0);
    ran(&["audit", "out"], &[("VFETCH_OFFLINE", "y"), ("VFETCH_SKIP_GONE", "t")]).exits(0);
    let refused = ran(&["list", "out"], &[("VFETCH_JSON", "perhaps")]).exits(2);
    assert!(refused.stderr.contains("'perhaps'"), "{}", refused.stderr);
}
