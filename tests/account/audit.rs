//! `vfetch audit`.

use std::process::Command;

use serde_json::{Value, json};

use crate::listing::{Account, FIRST_PATH, ready, row};
use crate::support::run::Signal;
use crate::support::{Answer, Content, Done, Get, World, job_path};

fn audit<'w>(world: &'w World, args: &[&str]) -> Get<'w> {
    world.command("audit").args(&[world.archive().to_str().unwrap()]).args(args).quietly()
}

/// The last line that was said.
fn sentence(done: &Done) -> String {
    done.stderr().trim_end().lines().last().unwrap_or_default().to_owned()
}

fn archive_of(world: &World, ids: &[&str]) -> Account {
    let account = Account::of(world);
    for id in ids {
        ready(world, &account, id);
    }
    world.get(ids).run().exits(0);
    account
}

#[test]
fn an_audit_of_what_is_home_ends_in_one_sentence_and_with_0() {
    let world = World::new();
    archive_of(&world, &["1", "2", "3"]);
    let log = format!(
        "start\nsubmitted id=1\n{{\"status\":\"success\",\"id\":2,\"output\":[]}}\nGET {}\n",
        world.api.url(&job_path("3"))
    );
    let log = world.file("log.txt", log);
    let done = audit(&world, &["-i", log.to_str().unwrap()]).run().exits(0);
    assert_eq!(sentence(&done), "3 jobs known, 3 home and whole; nothing at risk");
    assert_eq!(done.stdout(), "");
    audit(&world, &["-i", "-"]).stdin("no\nno\n").run().exits(0).says("in 2 lines, 2 of which name none");
    let done = done.says("the listing of type video: 3 jobs").says("no dates and no families");
    done.says("log.txt: 3 mentions of jobs in 4 lines, 1 of which names none");
}

#[test]
fn what_is_not_home_is_printed_soonest_to_die_first_as_get_takes_it() {
    let world = World::new();
    let account = archive_of(&world, &["1", "2"]);
    let clips: Vec<Content> = ["3", "4", "5"].iter().map(|id| ready(&world, &account, id)).collect();
    let now = std::time::SystemTime::now();
    let ago = |hours: u64| {
        humantime::format_rfc3339(now - std::time::Duration::from_secs(hours * 3_600)).to_string()
    };
    let log = format!("{} id=4 done\n{} id=5 done\n{} id=1 done\n", ago(2), ago(22), ago(23));
    let done = audit(&world, &["-i", "-"]).stdin(log).run().exits(1);
    // 5 has two hours left, 3 is of unknown age, 4 has most of its day.
    assert_eq!(done.stdout(), "5\n3\n4\n");
    assert_eq!(sentence(&done), "5 jobs known, 2 home and whole; 3 not home");
    world.get(&["-i", "-"]).stdin(done.stdout()).run().exits(0);
    for (id, clip) in ["3", "4", "5"].iter().zip(&clips) {
        world.holds(id, 0, clip);
    }
    audit(&world, &[]).run().exits(0);
}

#[test]
fn a_file_that_was_cut_or_removed_is_not_home() {
    let world = World::new();
    archive_of(&world, &["1", "2", "3"]);
    std::fs::remove_file(world.archive().join("1/1-0.mp4")).unwrap();
    let cut = std::fs::OpenOptions::new().write(true).open(world.archive().join("2/2-0.mp4")).unwrap();
    cut.set_len(7).unwrap();
    // The check after every run is not for an archive that is meant to be damaged.
    let done = Command::new(env!("CARGO_BIN_EXE_vfetch"))
        .args(["audit", "--offline"])
        .arg(world.archive())
        .env("MODELSLAB_BASE_URL", world.api.url(""))
        .output()
        .unwrap();
    assert_eq!((done.status.code(), String::from_utf8_lossy(&done.stdout).as_ref()), (Some(1), "1\n2\n"));
    assert!(String::from_utf8_lossy(&done.stderr).contains("the account's listing was not read (--offline)"));
}

#[test]
fn a_set_is_never_called_closed_where_a_witness_could_not_be_heard() {
    let refused = Answer::status(401).body(Content::of(r#"{"status":"error","message":"Invalid API key"}"#));
    for (answer, code) in [(refused, 3), (Answer::status(400), 1)] {
        let world = World::new();
        archive_of(&world, &["1"]);
        world.api.on(FIRST_PATH, answer);
        let done = audit(&world, &["--type", "video"]).run().exits(code);
        done.says("the listing of type video could not be read");
        audit(&world, &["--offline"]).run().exits(0);
        for key in [None, Some("")] {
            audit(&world, &[]).key(key).run().exits(0).says("no key was given");
        }
    }
    let world = World::new();
    archive_of(&world, &["1"]);
    let elsewhere = "https://other.example/api/v6/video/fetch/9\n";
    audit(&world, &["--offline", "-i", "-"])
        .stdin(elsewhere)
        .run()
        .exits(1)
        .says("1 fetch URL of other APIs")
        .says("nothing at risk; but jobs of another API were not looked at");
    let quiet = audit(&world, &["--offline", "-q", "-i", "-"]).stdin(elsewhere).quietly().run().exits(1);
    assert!(quiet.stderr().ends_with("but jobs of another API were not looked at\n"), "{}", quiet.stderr());
    audit(&world, &["-i", "/nowhere/ids.txt"]).run().exits(2);
}

#[test]
fn a_job_of_another_api_is_not_taken_for_this_ones() {
    let (other, world) = (World::new(), World::new());
    archive_of(&other, &["1"]);
    // The archive was filled from one API, and is heard for another one.
    let audit = other.command("audit").quietly().args(&[other.archive()]);
    let audit = audit.base_url(Some(&world.api.url(""))).args(&["--offline", "-i", "-"]);
    let done = audit.stdin(world.api.url("/api/v1/enterprise/video/fetch/1")).run().exits(1);
    assert_eq!(done.stdout(), "1\n");
    done.says("1 of them of another API than");
}

#[test]
fn an_audit_that_is_stopped_while_it_reads_the_listing_says_so() {
    let world = World::new();
    archive_of(&world, &["1"]);
    world.api.on(FIRST_PATH, Answer::stall_at_once());
    let running = audit(&world, &[]).spawn();
    world.api.wait_for("the listing", |log| log.iter().any(|seen| seen.path() == FIRST_PATH));
    running.signal(Signal::INT);
    let done = running.wait().exits(130).says("stopped: not all witnesses were heard");
    assert_eq!(done.stdout(), "");
}

#[test]
fn jobs_that_can_never_come_home_are_told_apart() {
    let world = World::new();
    archive_of(&world, &["1"]);
    world.job("2", Answer::failed("the model broke"));
    world.get(&["2"]).run().exits(1);
    let done = audit(&world, &[]).run().exits(0);
    assert_eq!(sentence(&done), "2 jobs known, 1 home and whole, 1 without outputs; nothing at risk");
    let record = world.archive().join("2/manifest.json");
    let mut gone: Value = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    gone["state"] = "gone".into();
    gone["outputs"] = 1.into();
    gone["missing"] = json!([{"output": 0, "gone": true, "reasons": []}]);
    gone.as_object_mut().unwrap().remove("error");
    std::fs::write(&record, gone.to_string()).unwrap();
    let done = audit(&world, &[]).run().exits(1);
    assert_eq!(
        (sentence(&done), done.stdout()),
        ("2 jobs known, 1 home and whole, 1 gone; nothing at risk".into(), "2\n".into())
    );
    assert_eq!(audit(&world, &["--skip-gone"]).run().exits(0).stdout(), "");
}

#[test]
fn an_id_without_a_family_is_the_job_that_has_it() {
    let world = World::new();
    let account = archive_of(&world, &["1"]);
    let clip = world.content(Content::mp4(98, 700));
    let url = world.media.on("/98.mp4", Answer::file(&clip));
    world.api.on(
        "/api/v6/realtime/fetch/98",
        Answer::json(&json!({"status": "success", "id": 4_498, "output": [url]})),
    );
    world.get(&["realtime/98"]).run().exits(0);
    account.add(row("video", "98", &[url]));
    // The service called it by another id in its answer, and so does its webhook.
    let done =
        audit(&world, &["-i", "-"]).stdin(r#"{"status":"success","id":"4498","output":[]}"#).run().exits(0);
    assert_eq!(sentence(&done), "2 jobs known, 2 home and whole; nothing at risk");
    done.says("3 ids named without a family");
}

#[test]
fn scripts_get_one_line_a_job_and_the_result_last() {
    let world = World::new();
    let account = archive_of(&world, &["1"]);
    account.add(row("image", "5", &[]));
    let done = audit(&world, &["--json", "-i", "-"]).stdin("realtime/7\n").run().exits(1);
    let lines: Vec<Value> = done.stdout().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let jobs: Vec<(&str, &Value)> =
        lines[..2].iter().map(|line| (line["job"].as_str().unwrap(), &line["known_by"])).collect();
    assert_eq!(jobs, [("enterprise/images/5", &json!(["listing"])), ("realtime/7", &json!(["text"]))]);
    assert!(lines[0]["dies_at"].is_string() && lines[1]["dies_at"].is_null());
    let last = &lines[2];
    assert_eq!(
        (&last["known"], &last["whole"], &last["not_home"], &last["closed"]),
        (&json!(3), &json!(1), &json!(2), &json!(false))
    );
    assert_eq!(last["exit_code"], 1);
    world.api.on("/api/v1/enterprise/images/fetch/5", Answer::failed("x"));
    let fields: Vec<&Value> =
        last["witnesses"].as_array().unwrap().iter().map(|witness| &witness["witness"]).collect();
    assert!(
        fields.contains(&&json!("archive"))
            && fields.contains(&&json!("listing"))
            && fields.contains(&&json!("text"))
    );
}
