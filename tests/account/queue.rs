//! Which of the files that are ready goes first, and what that costs the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::listing::{asked, wait_until};
use crate::support::run::Signal;
use crate::support::{Answer, Content, World, job_path};

/// A first job whose file takes the only slot until a last job, which is pending at first, has been asked for a second
/// time: by then the links of all jobs between them are known. What stands between them is answered once the slot is
/// taken: [`HeldBack::then`].
struct HeldBack(Arc<AtomicBool>);

impl HeldBack {
    fn new(world: &World, first: &str, clip: &Content) -> Self {
        let questions = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&questions);
        world.job(
            "999",
            Answer::decide(move |_| {
                if counted.fetch_add(1, Ordering::SeqCst) == 0 {
                    Answer::processing()
                } else {
                    Answer::failed("of no use")
                }
            }),
        );
        let (clip, begun) = (clip.clone(), Arc::new(AtomicBool::new(false)));
        let begins = Arc::clone(&begun);
        let held = Answer::decide(move |_| {
            begins.store(true, Ordering::SeqCst);
            wait_until("the second question", || questions.load(Ordering::SeqCst) > 1);
            Answer::file(&clip)
        });
        world.api.on(first, Answer::success(&[world.media.on("/first.mp4", held)]));
        Self(begun)
    }

    fn then(&self, answer: Answer) -> Answer {
        let begun = Arc::clone(&self.0);
        Answer::decide(move |_| {
            wait_until("the first file", || begun.load(Ordering::SeqCst));
            answer.clone()
        })
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The paths of the files in the order in which they were asked for.
fn order(world: &World) -> Vec<String> {
    world.media.log().iter().map(|seen| seen.path().to_owned()).collect()
}

#[test]
fn of_the_files_that_are_ready_those_that_die_first_go_first() {
    let world = World::new();
    let clips: Vec<Content> = (0..6).map(|id| world.content(Content::mp4(id, 3_000))).collect();
    let held = HeldBack::new(&world, &job_path("1"), &clips[1]);
    // Asked for in this order: one of unknown age, which has half a day to live, and three signed links.
    for (id, ends) in [(2, None), (3, Some(86_400)), (4, Some(600)), (5, Some(3_600))] {
        let path = format!("/{id}.mp4");
        world.media.on(&path, Answer::file(&clips[id]));
        let query = ends.map_or(String::new(), |ends| format!("?Expires={}&Signature=x", now() + ends));
        let answer = Answer::success(&[world.media.url(&(path + &query))]);
        world.job(&id.to_string(), held.then(answer));
    }
    world.get(&["1", "2", "3", "4", "5", "999"]).args(&["--jobs", "1"]).run().exits(1);
    // The link of 3 outlives its file, as far as anybody knows, so 3 keeps its place behind 2.
    assert_eq!(order(&world), ["/first.mp4", "/4.mp4", "/5.mp4", "/2.mp4", "/3.mp4"]);
}

#[test]
fn a_deadline_that_is_given_holds_where_nothing_is_documented() {
    for (deadline, want) in
        [(None, ["/first.mp4", "/3.mp4", "/2.mp4"]), (Some("1h"), ["/first.mp4", "/2.mp4", "/3.mp4"])]
    {
        let world = World::new();
        let clips: Vec<Content> = (0..4).map(|id| world.content(Content::mp4(id, 3_000))).collect();
        let held = HeldBack::new(&world, "/api/v6/video/fetch/1", &clips[1]);
        for (id, query) in [(2, String::new()), (3, format!("?Expires={}", now() + 7_200))] {
            let path = format!("/{id}.mp4");
            world.media.on(&path, Answer::file(&clips[id]));
            let answer = Answer::success(&[world.media.url(&(path + &query))]);
            world.api.on(&format!("/api/v6/video/fetch/{id}"), held.then(answer));
        }
        let get = world.get(&["video/1", "video/2", "video/3", "999"]).args(&["--jobs", "1"]);
        let get = deadline.iter().fold(get, |get, deadline| get.args(&["--deadline", deadline]));
        get.run().exits(1);
        assert_eq!(order(&world), want, "{deadline:?}");
    }
}

#[test]
fn time_in_which_other_files_go_first_is_not_taken_from_a_job() {
    let world = World::new();
    let ids: Vec<String> = (1..=6).map(|id: u32| id.to_string()).collect();
    let clips: Vec<Content> = (1..=6).map(|id| world.content(Content::mp4(id, 3_000))).collect();
    for (id, clip) in ids.iter().zip(&clips) {
        let slow = Answer::file(clip).after(Duration::from_millis(1_200));
        world.job(id, Answer::success(&[world.media.on(&format!("/{id}.mp4"), slow)]));
    }
    let refs: Vec<&str> = ids.iter().map(String::as_str).collect();
    // Six files, one after the other, take longer than any of the jobs may.
    world.get(&refs).args(&["--jobs", "1", "--timeout", "5s"]).run().exits(0);
    assert!(ids.iter().all(|id| asked(&world, id) == 1));
}

#[test]
fn jobs_behind_thousands_that_the_service_still_works_on_are_not_kept_waiting() {
    let world = World::new();
    // More than may be under way at once.
    let pending = 3_200;
    for id in 1..=pending {
        world.job(&id.to_string(), Answer::processing());
    }
    let clip = world.content(Content::mp4(1, 3_000));
    world.job("9999", Answer::success(&[world.media.on("/9999.mp4", Answer::file(&clip))]));
    let ids: Vec<String> = (1..=pending).chain([9_999]).map(|id: u32| id.to_string()).collect();
    let running = world.get(&["-i", "-"]).args(&["--wait", "1h"]).stdin(ids.join("\n")).quietly().spawn();
    wait_until("the job behind all others", || world.state("9999") == "complete");
    running.signal(Signal::TERM);
    let done = running.wait().exits(128 + 15);
    world.holds("9999", 0, &clip);
    assert!(done.peak_rss < 100 << 20, "{} bytes of memory for jobs that wait", done.peak_rss);
}
