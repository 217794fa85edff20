//! What operators do: keys that are missing or misplaced, lists of all kinds.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use crate::support::{Answer, Content, KEY, World, job_path};

fn world_with_a_job() -> (World, Content) {
    let world = World::new();
    let clip = world.content(Content::mp4(1, 60_000));
    let url = world.media.on("/clip.mp4", Answer::file(&clip));
    world.job("147", Answer::success(&[url]));
    (world, clip)
}

#[test]
fn what_is_typed_overrules_what_the_environment_says_against_it() {
    let table: [(&str, &str, &[&str]); 4] = [
        ("VFETCH_FAILED", "failed.txt", &["-n"]),
        ("VFETCH_KEY_FILE", "/nowhere", &["--key-command", "echo a-key"]),
        ("VFETCH_VERBOSE", "2", &["-q"]),
        ("VFETCH_STAGING", "elsewhere", &[]),
    ];
    for (name, value, args) in table {
        let (world, _) = world_with_a_job();
        world.get(&["147"]).quietly().args(args).env(name, value).run().exits(0);
    }
    let (world, _) = world_with_a_job();
    let held_back = world.get(&["147", "--failed", "failed.txt"]).env("VFETCH_DRY_RUN", "1");
    held_back.run().exits(2).says("cannot be used with");
    assert_eq!(world.api.connections(), 0);
    world.get(&["147", "-q", "-v"]).quietly().run().exits(2).says("cannot be used with");
}

#[test]
fn a_job_is_called_so_that_whoever_reads_it_in_the_same_environment_means_the_same_job() {
    let (world, _) = world_with_a_job();
    let list = world.path("failed.txt");
    let get = |refs: &[&str]| world.get(refs).env("VFETCH_FAMILY", "realtime").args(&["--wait", "0"]);
    world.job("888", Answer::failed("no"));
    let done =
        get(&["enterprise/video/888"]).args(&["--failed"]).args(&[&list]).may_write(&list).run().exits(1);
    assert_eq!(std::fs::read_to_string(&list).unwrap(), "enterprise/video/888\n");
    assert!(done.stderr().contains("--family enterprise/video"), "{}", done.stderr());
    let listed = |family: &str| {
        let list = world.command("list").args(&[world.archive()]).args(&["--json"]).quietly();
        let listed = list.env("VFETCH_FAMILY", family).run().exits(0).stdout();
        serde_json::from_str::<serde_json::Value>(&listed).unwrap()["job"].as_str().unwrap().to_owned()
    };
    assert_eq!([listed("realtime"), listed("")], ["enterprise/video/888", "888"]);
}

#[test]
fn a_key_that_is_missing_or_cannot_be_one_is_told_before_any_connection() {
    let world = World::new();
    let keys: [Option<&[u8]>; 8] = [
        None,
        Some(b""),
        Some(b" \t "),
        Some(b"\n"),
        Some(b"two\nlines"),
        Some(b"with space"),
        Some(b"bell\x07"),
        Some(b"\xff\xfe"),
    ];
    for key in keys {
        let key = key.map(|key| OsString::from_vec(key.to_vec()));
        let done = world.get(&["147"]).key(key).run().exits(2);
        assert!(done.stderr().to_lowercase().contains("key"), "{}", done.shown());
    }
    assert_eq!(world.api.connections(), 0);
}

#[test]
fn a_variable_for_the_key_that_is_empty_is_as_good_as_none() {
    let (world, clip) = world_with_a_job();
    world.get(&["147"]).key(Some("")).run().exits(2).says("no API key").says("set MODELSLAB_API_KEY");
    assert_eq!(world.api.connections(), 0);
    let get = world.get(&["147"]).key(Some("")).args(&["--key-command", &format!("printf '%s' '{KEY}'")]);
    get.run().exits(0);
    world.holds("147", 0, &clip);
}

#[test]
fn a_key_is_taken_from_a_file_from_standard_input_or_from_a_command_without_the_space_around_it() {
    let file = |world: &World| world.file("key.txt", format!("\n {KEY}\r\nsecond line\n")).into_os_string();
    let quoted = format!("printf '%s\\n' '{KEY}'");
    for place in ["environment", "file", "stdin", "command"] {
        let (world, clip) = world_with_a_job();
        let get = world.get(&["147"]);
        let get = match place {
            "environment" => get.key(Some(format!("  {KEY}\n"))),
            "file" => get.key(None::<&str>).args(&["--key-file".into(), file(&world)]),
            "stdin" => get.key(None::<&str>).args(&["--key-file", "-"]).stdin(format!("{KEY}\n")),
            _ => get.key(None::<&str>).args(&["--key-command", &quoted]),
        };
        get.run().exits(0);
        world.holds("147", 0, &clip);
        let body: serde_json::Value = serde_json::from_slice(&world.polls("147")[0].body).unwrap();
        assert_eq!(body["key"], KEY, "from the {place}");
    }
}

#[test]
fn a_key_is_read_from_a_pipe_that_stays_open_behind_its_line() {
    for place in ["-", "pipe"] {
        let (world, clip) = world_with_a_job();
        let pipe = world.path("pipe");
        let file = if place == "-" { place.into() } else { pipe.clone().into_os_string() };
        // Who holds both ends of a pipe open never sees its end.
        let open = "mkfifo \"$PIPE\"; exec 3<>\"$PIPE\" <\"$PIPE\"; printf '\\n  %s\\n' \"$LINE\" >&3";
        let get = world.get(&["147"]).args(&["--key-file".into(), file]).key(None::<&str>);
        let get = get.env("PIPE", &pipe).env("LINE", KEY).after_shell(open).may_write(&pipe);
        get.run().exits(0);
        world.holds("147", 0, &clip);
    }
}

#[test]
fn a_key_that_cannot_be_read_is_told_before_any_connection() {
    let world = World::new();
    for args in [
        &["--key-file", "/nowhere/key"][..],
        &["--key-file", "/"],
        &["--key-command", "exit 3"],
        &["--key-command", "true"],
        &["--key-file", "x", "--key-command", "true"],
        &["--key-file", "-", "-i", "-"],
    ] {
        world.get(&["147"]).key(None::<&str>).args(args).run().exits(2);
    }
    assert_eq!(world.api.connections(), 0);
}

#[test]
fn a_key_among_the_arguments_is_refused_and_not_repeated() {
    let world = World::new();
    for args in [&["--key", KEY][..], &["--api-key", KEY], &[KEY], &["--family", KEY], &["--wait", KEY]] {
        world.get(&["147"]).args(args).run().exits(2);
    }
    let with_equals = format!("--key={KEY}");
    world.get(&["147", &with_equals]).run().exits(2);
    assert_eq!(world.api.connections(), 0);
}

#[test]
fn a_key_goes_out_in_clear_text_only_where_it_stays_near_or_where_that_is_meant() {
    let world = World::new();
    let far = "http://api.example.invalid";
    for arguments in [&["147"][..], &["147", "--dry-run"]] {
        let done = world.get(arguments).base_url(Some(far)).run().exits(2).says(far);
        assert!(
            done.stderr().contains("https://") && done.stderr().contains("--allow-http"),
            "{}",
            done.shown()
        );
    }
    world.get(&["147"]).args(&["--allow-http", "-R", "0"]).base_url(Some(far)).run().exits(4);
    world.get(&["147", "-R", "0"]).env("VFETCH_ALLOW_HTTP", "true").base_url(Some(far)).run().exits(4);
}

#[test]
fn a_proxy_that_cannot_be_read_is_an_error_and_not_passed_over() {
    let world = World::new();
    for (name, proxy) in [
        ("http_proxy", "garbage::"),
        ("HTTPS_PROXY", "socks9://127.0.0.1:1"),
        ("all_proxy", "http//127.0.0.1:1"),
        ("https_proxy", " http://127.0.0.1:1"),
    ] {
        world.get(&["147"]).env(name, proxy).run().exits(2).says(name);
    }
    assert_eq!(world.api.connections(), 0);
    let clip = world.content(Content::mp4(1, 6_000));
    world.job("147", Answer::success(&[world.media.on("/clip.mp4", Answer::file(&clip))]));
    world.get(&["147"]).env("https_proxy", "user:word@127.0.0.1:9").env("all_proxy", "").run().exits(0);
}

#[test]
fn a_file_that_is_no_saved_answer_is_no_job_whatever_it_is_called() {
    let world = World::new();
    let names = ["ids", "answer", "list.md"];
    for path in names.map(|name| world.file(name, "147\n")) {
        let path = path.to_str().unwrap();
        world.get(&[path]).run().exits(2).says("is a file");
    }
    assert_eq!(world.api.connections(), 0);
}

#[test]
fn a_list_with_every_kind_of_dirt_gives_its_good_jobs_and_names_its_bad_lines() {
    let world = World::new();
    let clip = world.content(Content::mp4(1, 60_000));
    let url = world.media.on("/clip.mp4", Answer::file(&clip));
    let good = ["1", "2", "3", "4", "5", "a.b-c_d"];
    for id in good {
        world.job(id, Answer::success(std::slice::from_ref(&url)));
    }
    let huge = format!("1{}", "0".repeat(30));
    let bad = [
        "../x",
        "..",
        ".",
        "-1",
        "%2e%2e%2fx",
        "1/../2",
        "/etc/passwd",
        "a b",
        "🦀",
        "x\u{202e}y",
        "\u{1b}[2J",
        "a\\b",
        "file:///etc/passwd",
        "http://203.0.113.1/api/v1/enterprise/video/fetch/9",
        "{\"id\":\"../x\"}",
        "{\"a\":",
    ];
    let long = "9".repeat(200);
    let list = format!(
        "\u{feff}1\r\n\r\n# a comment\r\n   2   # the same\r\n1\n{}\n{long}\n3\n{huge}\n\n{{\"id\": 4}}\n\t5\t\n\n{}\na.b-c_d",
        bad[..8].join("\n"),
        bad[8..].join("\n"),
    );
    let path = world.file("ids.txt", list);
    let path = path.to_str().unwrap();
    let done = world.get(&["-i", path]).run().exits(1);
    for id in ["1", "2", "3", "4", "5"] {
        world.holds(id, 0, &clip);
    }
    assert!(good.iter().all(|id| world.polls(id).len() == 1));
    let allowed: Vec<String> = good.iter().chain([&huge.as_str()]).map(|id| job_path(id)).collect();
    for seen in world.api.log() {
        assert!(allowed.contains(&seen.target), "{} was asked for", seen.target);
    }
    for line in (6..=14).chain(21..=27) {
        assert!(
            done.stderr().contains(&format!("ids.txt:{line}")),
            "line {line} is not named\n{}",
            done.shown()
        );
    }
}

#[test]
fn an_argument_that_names_no_job_is_a_usage_error_before_any_connection() {
    let world = World::new();
    for id in [
        "../x",
        "..",
        "-1",
        "a/b",
        "%2e%2e",
        "",
        " ",
        "a\nb",
        "https://example.com/api/v1/enterprise/video/fetch/1",
    ] {
        world.get(&["--", id]).run().exits(2);
    }
    world.get(&[]).run().exits(2);
    world.get(&["-i", "/nowhere/ids.txt"]).run().exits(2);
    assert_eq!(world.api.connections(), 0);
}

#[test]
fn a_file_that_is_not_there_is_no_job_and_leaves_no_record() {
    let world = World::new();
    world.file("ids.txt", "147\n");
    let there = world.path("ids.txt");
    for file in ["submittd.json", "gone/submit.jsonl", "ids.txt", "hooks.LOG", "jobs.csv"] {
        world.get(&[file]).run().exits(2).says("there is no file");
    }
    world.get(&[there.to_str().unwrap()]).run().exits(2).says("-i");
    world.get(&["1", "submittd.json"]).run().exits(2);
    assert!(!world.archive().exists(), "something was written");
    assert_eq!(world.api.connections(), 0);
    // A list says that it is a job.
    world.job("x.json", Answer::failed("no"));
    world.get(&["-i", "-"]).stdin("x.json\n").run().exits(1);
    assert_eq!(world.polls("x.json").len(), 1);
}

#[test]
fn a_list_of_failures_is_written_over_nothing_that_is_read_or_archived() {
    let (world, _) = world_with_a_job();
    let answer = world.file("submit.json", "{\"id\": 147}");
    let answer = answer.to_str().unwrap();
    world.get(&[answer, "--failed", answer]).run().exits(2).says("--failed");
    world.get(&["147", "--failed", "-"]).run().exits(2).says("standard output has the results");
    let inside = world.archive().join("failed.txt");
    let inside = inside.to_str().unwrap();
    world.get(&["147", "--failed", inside]).run().exits(2).says("--failed");
    let archive = world.archive().display().to_string();
    for args in [&["sync", "-o", &archive][..], &["resume", &archive]] {
        let run = world.command(args[0]).args(&args[1..]).env("VFETCH_FAILED", inside);
        run.run().exits(2).says("--failed");
    }
    assert_eq!(std::fs::read_to_string(answer).unwrap(), "{\"id\": 147}");
    assert!(!world.archive().exists() && world.api.connections() == 0);
}

#[test]
fn waits_that_no_clock_can_count_are_very_long_ones() {
    for long in ["1e19", "300000000000y"] {
        let (world, clip) = world_with_a_job();
        let ready = Answer::success(&[world.media.url("/clip.mp4")]);
        world.job("147", Answer::processing().then(ready));
        let waits = ["--timeout", "--wait", "--deadline", "--idle-timeout", "--connect-timeout"];
        let args: Vec<&str> = waits.iter().flat_map(|option| [*option, long]).collect();
        world.get(&["147"]).args(&args).run().exits(0);
        world.holds("147", 0, &clip);
    }
}

#[test]
fn times_in_which_nothing_could_happen_are_refused_and_name_the_way_to_wait_for_ever() {
    let (world, _) = world_with_a_job();
    for option in ["--timeout", "--idle-timeout", "--connect-timeout"] {
        world.get(&["147", option, "0"]).run().exits(2).says(option).says("write 100y");
    }
    assert_eq!(world.api.connections(), 0);
}

#[test]
fn a_saved_answer_that_is_empty_is_no_job_done() {
    let (world, clip) = world_with_a_job();
    for nothing in ["", "[]", "\n# nothing\n"] {
        let answer = world.file("empty.json", nothing);
        let run = world.get(&[answer.to_str().unwrap(), "147"]).run();
        run.exits(1).says("the saved answer is empty");
        world.holds("147", 0, &clip);
    }
    let list = world.file("rows.jsonl", "");
    world.get(&[list.to_str().unwrap()]).run().exits(0);
}

#[test]
fn a_list_of_a_million_lines_is_streamed() {
    let (world, clip) = world_with_a_job();
    let mut list = String::with_capacity(16 << 20);
    list.push_str("147\n");
    for line in 0..1_000_000 {
        list.push_str(if line % 2 == 0 { "# nothing here\n" } else { "\r\n" });
    }
    list.push_str("148");
    let done = world.get(&["-i", "-"]).stdin(list).run().exits(1);
    world.holds("147", 0, &clip);
    assert_eq!(world.state("148"), "failed");
    assert!(done.peak_rss < 64 << 20, "{} MiB", done.peak_rss >> 20);
}
