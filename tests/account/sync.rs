//! `vfetch sync`.

use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::listing::{Account, FIRST_PATH, SECOND_PATH, asked, pages, ready, row, wait_until};
use crate::support::run::Signal;
use crate::support::{Answer, Content, Get, World, job_path};

fn sync<'w>(world: &'w World, args: &[&str]) -> Get<'w> {
    world.command("sync").args(&["-o", world.archive().to_str().unwrap()]).args(args)
}

#[test]
fn all_that_is_listed_comes_home_and_a_second_sync_fetches_nothing() {
    let world = World::new();
    let account = Account::of(&world);
    let clips: Vec<_> = (1..=3).map(|id| ready(&world, &account, &id.to_string())).collect();
    let image = world.content(Content::gif(9, 500));
    let url = world.media.on("/9.gif", Answer::file(&image));
    world.api.on("/api/v1/enterprise/images/fetch/9", Answer::success(std::slice::from_ref(&url)));
    account.add(row("image", "9", &[url]));
    let done = sync(&world, &[]).run().exits(0);
    for (id, clip) in (1..).zip(&clips) {
        world.holds(&id.to_string(), 0, clip);
    }
    world.holds("enterprise.images.9", 0, &image);
    assert_eq!(done.stdout().lines().count(), 4, "{}", done.shown());
    let (media, jobs) = (world.media.log().len(), asked(&world, "1"));
    let again = sync(&world, &[]).run().exits(0).says("listed as video: 3 jobs, 3 of them home and whole");
    assert_eq!((world.media.log().len(), asked(&world, "1")), (media, jobs));
    assert_eq!(again.stdout(), "");
}

#[test]
fn one_type_alone_is_listed_where_it_is_named_and_one_family_holds_for_all() {
    let world = World::new();
    let account = Account::of(&world);
    let clip = world.content(Content::mp4(5, 900));
    let url = world.media.on("/5.mp4", Answer::file(&clip));
    world.api.on("/api/v6/video/fetch/5", Answer::success(std::slice::from_ref(&url)));
    account.add(row("video", "5", &[url]));
    account.add(row("image", "6", &[]));
    sync(&world, &["--type", "video", "--family", "video"]).run().exits(0);
    world.holds("video.5", 0, &clip);
    assert_eq!(world.api.log().len(), 2, "one page and one job");
}

#[test]
fn the_second_documented_path_is_asked_where_the_first_is_not_there() {
    let world = World::new();
    let account = Account::at(&world, SECOND_PATH);
    let clip = ready(&world, &account, "7");
    sync(&world, &[]).run().exits(0);
    world.holds("7", 0, &clip);
    assert_eq!(world.api.calls(FIRST_PATH).len(), 1, "the way is learnt once");
}

#[test]
fn pages_that_shift_while_jobs_arrive_and_vanish_hide_no_job() {
    let world = World::new();
    let account = Account::of(&world);
    let mut clips: Vec<(String, Content)> = Vec::new();
    for id in 1..=75 {
        let id = id.to_string();
        clips.push((id.clone(), ready(&world, &account, &id)));
    }
    // Two more are done while the first page is read; one of them and an old one are removed while the second is.
    let late = Account::default();
    let new: Vec<_> = ["80", "81"].map(|id| (id.to_owned(), ready(&world, &late, id))).into();
    let links = |id: &str| vec![world.media.url(&format!("/{id}.mp4"))];
    let (first, second) = (row("video", "80", &links("80")), row("video", "81", &links("81")));
    account.then(move |rows| {
        rows.insert(0, first);
        rows.insert(0, second);
    });
    account.then(|rows| {
        rows.remove(0);
        rows.remove(20);
    });
    sync(&world, &["--type", "video"]).run().exits(0);
    for (id, clip) in clips.iter().chain(&new[..1]) {
        world.holds(id, 0, clip);
    }
    assert!(clips.iter().all(|(id, _)| asked(&world, id) == 1), "each id is asked once");
}

#[test]
fn a_page_that_is_empty_once_hides_no_job() {
    let world = World::new();
    let account = Account::default();
    for id in 1..=75 {
        ready(&world, &account, &id.to_string());
    }
    let empty = json!({"status": "success", "data": [], "pagination": {"total": 75, "last_page": 3}});
    let hidden = AtomicBool::new(false);
    let answer = Answer::decide(move |seen| {
        let asked: Value = serde_json::from_slice(&seen.body).unwrap();
        let hides = asked["page"] == 2 && !hidden.swap(true, Ordering::Relaxed);
        if hides { Answer::json(&empty) } else { account.page(seen) }
    });
    world.api.on(FIRST_PATH, answer);
    sync(&world, &["--type", "video"]).run().exits(0);
    assert_eq!(pages(&world.api), [1, 2, 2, 3]);
    assert!((1..=75).all(|id| world.state(&id.to_string()) == "complete"));
}

#[test]
fn a_sync_reads_to_where_the_last_one_that_ended_well_began() {
    let world = World::new();
    let account = Account::of(&world);
    for id in 1..=95 {
        ready(&world, &account, &id.to_string());
    }
    sync(&world, &["--type", "video"]).run().exits(0);
    assert_eq!(pages(&world.api), [1, 2, 3, 4]);
    for id in 101..=140 {
        ready(&world, &account, &id.to_string());
    }
    // One of the new ones is here already, and does not end the reading.
    world.get(&["140", "139", "138"]).run().exits(0);
    let before = pages(&world.api).len();
    sync(&world, &["--type", "video"]).run().exits(0);
    assert_eq!(pages(&world.api)[before..], [1, 2], "the second page holds the newest job of the first sync");
    assert!((101..=140).all(|id| world.state(&id.to_string()) == "complete"));
    sync(&world, &["--type", "video", "--full"]).run().exits(0);
    assert_eq!(pages(&world.api)[before + 2..], [1, 2, 3, 4, 5]);
}

#[test]
fn what_was_vouched_for_in_an_archive_that_was_emptied_since_comes_home_again() {
    let world = World::new();
    let account = Account::of(&world);
    for id in 1..=40 {
        ready(&world, &account, &id.to_string());
    }
    sync(&world, &["--type", "video"]).run().exits(0);
    for id in 1..=40 {
        std::fs::remove_dir_all(world.archive().join(id.to_string())).unwrap();
    }
    sync(&world, &["--type", "video"]).run().exits(0);
    assert!((1..=40).all(|id| world.state(&id.to_string()) == "complete"));
}

#[test]
fn a_sync_that_left_something_behind_is_no_reason_to_read_less() {
    let world = World::new();
    let account = Account::of(&world);
    for id in 1..=40 {
        ready(&world, &account, &id.to_string());
    }
    let clip = world.content(Content::mp4(1, 2_000));
    world.job("1", Answer::status(503).then(Answer::success(&[world.media.url("/1.mp4")])));
    sync(&world, &["--type", "video", "-R", "0"]).run().exits(4);
    assert_eq!(world.state("1"), "absent");
    let before = pages(&world.api).len();
    sync(&world, &["--type", "video"]).run().exits(0);
    world.holds("1", 0, &clip);
    assert_eq!(pages(&world.api)[before..], [1, 2]);
}

#[test]
fn a_job_that_its_family_does_not_know_is_rescued_from_the_listing() {
    let world = World::new();
    let account = Account::of(&world);
    let clip = ready(&world, &account, "147");
    world.job("147", Answer::failed("Request not found").with_status(404));
    sync(&world, &[]).run().exits(0).says("taken from the account's listing");
    world.holds("147", 0, &clip);
    assert_eq!(world.entry("147", 0)["rung"], "listed");
    let calls = world.api.log().len();
    world.get(&["147"]).run().exits(0);
    assert_eq!(world.api.log().len(), calls, "it is home, whoever asks");
}

#[test]
fn a_job_that_nobody_knew_when_it_was_listed_without_a_link_comes_home_when_it_has_one() {
    let world = World::new();
    let account = Account::of(&world);
    world.job("915", Answer::failed("Request not found").with_status(404));
    account.add(row("video", "915", &[]));
    sync(&world, &[]).run().exits(1);
    let clip = world.content(Content::mp4(915, 900));
    let url = world.media.on("/915.mp4", Answer::file(&clip));
    account.then(move |rows| rows[0] = row("video", "915", &[url]));
    // The page that this request gets is the old one; the link is listed from the next one on.
    sync(&world, &[]).run().exits(1);
    for id in 1_000..1_040 {
        ready(&world, &account, &id.to_string());
    }
    sync(&world, &[]).run().exits(0);
    world.holds("915", 0, &clip);
}

#[test]
fn a_dry_run_passes_over_what_the_run_would() {
    let world = World::new();
    let account = Account::of(&world);
    world.job("1", Answer::failed("out of memory"));
    account.add(row("video", "1", &[]));
    account.add(row("video", "2", &[]));
    world.get(&["1"]).run().exits(1);
    let dry = |args: &[&str]| sync(&world, &["-n", "--type", "video"]).args(args).quietly().run().exits(0);
    assert_eq!(dry(&[]).stdout(), "2\n1\n");
    let told = dry(&["--skip-gone"]);
    assert_eq!(told.stdout(), "2\n");
    told.says("1 job would be asked for, 1 passed over");
}

#[test]
fn a_link_of_the_listing_is_one_more_source() {
    let world = World::new();
    let account = Account::of(&world);
    let (clip, other) = (world.content(Content::mp4(1, 700)), world.content(Content::mp4(2, 800)));
    let dead = ["/a.mp4", "/b.mp4"].map(|path| world.media.on(path, Answer::html()));
    world.job("147", Answer::success(&dead));
    let host = world.host();
    let listed = [host.on("/x.mp4", Answer::file(&clip)), host.on("/y.mp4", Answer::file(&other))];
    account.add(row("video", "147", &listed));
    sync(&world, &[]).run().exits(0);
    world.holds("147", 0, &clip);
    world.holds("147", 1, &other);
    let entry = world.entry("147", 1);
    assert_eq!((&entry["rung"], &entry["left"][0]["cause"]), (&"listed".into(), &"not_media".into()));
}

#[test]
fn every_json_line_of_a_sync_is_as_the_schema_says() {
    let world = World::new();
    let account = Account::of(&world);
    ready(&world, &account, "1");
    ready(&world, &account, "147");
    world.job("147", Answer::failed("Request not found").with_status(404));
    let events = sync(&world, &["--json"]).run().exits(0).events();
    let has = |name: &str, word: &str| events.iter().any(|event| event[name] == word);
    assert!(has("type", "listed") && has("rung", "listed") && has("rung", "output"), "{events:#?}");
}

#[test]
fn a_file_that_only_the_listing_had_is_kept_when_the_job_is_asked_by_name() {
    let world = World::new();
    let account = Account::of(&world);
    let (clip, late) = (world.content(Content::mp4(1, 700)), world.content(Content::mp4(2, 800)));
    let (dead, slow) = (world.media.on("/a.mp4", Answer::html()), world.media.on("/b.mp4", Answer::html()));
    world.job("147", Answer::success(&[dead.clone(), slow.clone()]));
    let listed = [world.media.on("/x.mp4", Answer::file(&clip)), slow.clone()];
    account.add(row("video", "147", &listed));
    sync(&world, &[]).run().exits(1);
    assert_eq!(world.state("147"), "partial");
    world.media.on("/b.mp4", Answer::file(&late));
    world.get(&["147"]).run().exits(0);
    world.holds("147", 0, &clip);
    world.holds("147", 1, &late);
}

#[test]
fn a_job_that_is_here_under_another_family_is_not_fetched_again() {
    let world = World::new();
    let account = Account::of(&world);
    let clip = world.content(Content::mp4(5, 900));
    let url = world.media.on("/5.mp4", Answer::file(&clip));
    world.api.on("/api/v6/realtime/fetch/5", Answer::success(std::slice::from_ref(&url)));
    world.get(&["realtime/5"]).run().exits(0);
    account.add(row("video", "5", &[url]));
    // The same id, but other files: another job.
    let other = world.content(Content::mp4(6, 900));
    let elsewhere = world.media.on("/6.mp4", Answer::file(&other));
    world.api.on("/api/v6/realtime/fetch/6", Answer::success(&[world.media.url("/5.mp4")]));
    world.get(&["realtime/6"]).run().exits(0);
    world.job("6", Answer::success(std::slice::from_ref(&elsewhere)));
    account.add(row("video", "6", &[elsewhere]));
    sync(&world, &[]).run().exits(0).says("listed as video: 2 jobs, 1 of them home and whole");
    assert_eq!((asked(&world, "5"), world.state("5")), (0, "absent".into()));
    world.holds("6", 0, &other);
}

#[test]
fn a_dry_run_prints_what_get_takes_and_changes_nothing() {
    let world = World::new();
    let account = Account::of(&world);
    let clip = ready(&world, &account, "1");
    ready(&world, &account, "2");
    account.add(row("image", "3", &[]));
    world.get(&["2"]).run().exits(0);
    let names = world.names("");
    let done = sync(&world, &["--dry-run"]).quietly().run().exits(0);
    assert_eq!(done.stdout(), "1\nenterprise/images/3\n");
    assert_eq!(done.stderr(), "2 jobs would be asked for, 1 passed over\n");
    assert_eq!((asked(&world, "1"), world.names("")), (0, names));
    assert_eq!(sync(&world, &["-nq"]).quietly().run().exits(0).stderr(), "");
    let rows = sync(&world, &["-n", "--json", "--type", "video"]).quietly().run().exits(0).stdout();
    let row: Value = serde_json::from_str(&rows).unwrap();
    assert_eq!(
        (&row["id"], &row["type"], &row["family"]),
        (&"1".into(), &"video".into(), &"enterprise/video".into())
    );
    assert_eq!(row["fetch_result"], world.api.url(&job_path("1")));
    world.get(&["-i", "-"]).stdin(rows).run().exits(0);
    world.holds("1", 0, &clip);
    let empty = World::new();
    ready(&empty, &Account::of(&empty), "4");
    assert_eq!(sync(&empty, &["-n"]).quietly().run().exits(0).stdout(), "4\n");
    assert!(!empty.archive().exists(), "a dry run makes no archive");
}

#[test]
fn a_folder_that_cannot_be_looked_into_spoils_its_own_job_only() {
    let world = World::new();
    let account = Account::of(&world);
    let clips = ["1", "2", "3"].map(|id| ready(&world, &account, id));
    world.get(&["3"]).run().exits(0);
    let elsewhere = world.path("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    for folder in ["2", "realtime.1"] {
        symlink(&elsewhere, world.archive().join(folder)).unwrap();
    }
    assert_eq!(sync(&world, &["-n", "--type", "video"]).quietly().run().exits(0).stdout(), "2\n1\n");
    sync(&world, &["--type", "video"]).run().exits(5).says("2: ");
    world.holds("1", 0, &clips[0]);
    world.holds("3", 0, &clips[2]);
    std::fs::remove_file(world.archive().join("2")).unwrap();
    sync(&world, &["--type", "video"]).run().exits(0);
    world.holds("2", 0, &clips[1]);
}

#[test]
fn a_watch_brings_home_what_arrives_until_a_signal() {
    let world = World::new();
    let account = Account::of(&world);
    let first = ready(&world, &account, "1");
    // A round that fails is followed by another.
    world.api.on(FIRST_PATH, account.answer().times(4).then(Answer::status(400)).then(account.answer()));
    let running = sync(&world, &["--watch", "1s"]).spawn();
    world
        .api
        .wait_for("a second round", |log| log.iter().filter(|seen| seen.path() == FIRST_PATH).count() > 5);
    let second = ready(&world, &account, "2");
    world.media.wait_for("the new job's file", |log| log.iter().any(|seen| seen.path() == "/2.mp4"));
    wait_until("the new job's record", || world.state("2") == "complete");
    running.signal(Signal::TERM);
    running.wait().exits(128 + 15).says("the account's listing cannot be read");
    world.holds("1", 0, &first);
    world.holds("2", 0, &second);
}

#[test]
fn a_watch_tells_each_job_once_in_the_end_and_as_it_ended_last() {
    let world = World::new();
    let account = Account::of(&world);
    // One is never done, one is in the second round, and one is not listed any more by then.
    let good = ready(&world, &account, "301");
    for id in ["302", "303", "304"] {
        ready(&world, &account, id);
        let well = Answer::success(&[world.media.url(&format!("/{id}.mp4"))]);
        let times = if id == "302" { 9 } else { 1 };
        world.job(id, Answer::processing().times(times).then(well));
    }
    account.then(|rows| drop(rows.remove(0)));
    let list = world.path("failed.txt");
    let watch = sync(&world, &["--type", "video", "--watch", "3s", "--wait", "0"]).quietly();
    let running = watch.args(&["--failed"]).args(&[&list]).may_write(&list).spawn();
    wait_until("the second round", || running.stderr().matches("302: ").count() == 2);
    wait_until("the job's record", || world.state("303") == "complete");
    running.signal(Signal::TERM);
    let done = running.wait().exits(128 + 15);
    world.holds("301", 0, &good);
    assert_eq!(std::fs::read_to_string(&list).unwrap(), "302\n304\n");
    let stderr = done.stderr();
    let (_, words) = stderr.split_once("4 jobs: 2 archived, 2 still processing; 2 files").expect(&stderr);
    assert!(
        words.contains("2 jobs: still processing when the wait was over\n    302 304\n"),
        "{}",
        done.shown()
    );
}

#[test]
fn a_listing_that_cannot_be_read_says_so_with_its_exit_code() {
    let table = [
        (Answer::status(401).body(Content::of(r#"{"status":"error","message":"Invalid API key"}"#)), 3),
        (Answer::status(503), 4),
        (Answer::status(400), 1),
        (Answer::html(), 4),
    ];
    for (answer, code) in table {
        let world = World::new();
        world.api.on(FIRST_PATH, answer.clone());
        let done = sync(&world, &["-R", "0"]).quietly().run().exits(code);
        done.never_says("listed as").never_says("0 jobs");
        sync(&world, &["-R", "0", "-n"])
            .quietly()
            .run()
            .exits(code)
            .says("the account's listing cannot be read");
    }
    let world = World::new();
    let account = Account::of(&world);
    let clip = ready(&world, &account, "1");
    world.api.on(FIRST_PATH, Answer::status(503).then(account.answer()));
    sync(&world, &[]).run().exits(0);
    world.holds("1", 0, &clip);
}

#[test]
fn a_listing_that_fails_midway_says_how_far_it_was_read() {
    let world = World::new();
    let account = Account::of(&world);
    for id in 1..=40 {
        ready(&world, &account, &id.to_string());
    }
    world.api.on(FIRST_PATH, account.answer().times(1).then(Answer::status(400)));
    let done = sync(&world, &["--type", "video"]).quietly().run().exits(1);
    let done = done.says("listed as video: 30 jobs, 0 of them home and whole");
    done.says("30 jobs: 30 archived").says("the account's listing cannot be read");
}

#[test]
fn a_signal_before_the_first_page_leaves_nothing_to_count() {
    let world = World::new();
    world.api.on(FIRST_PATH, Answer::stall_at_once());
    let running = sync(&world, &[]).quietly().spawn();
    world.api.wait_for("the question", |log| !log.is_empty());
    running.signal(Signal::INT);
    let done = running.wait().exits(130).says("stopped by SIGINT");
    done.never_says("listed as").never_says("0 jobs");
}
