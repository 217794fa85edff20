//! What the API may say of a job: pending, failed, refused, busy, unreadable, odd, and done.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::shared::SOON;
use crate::support::run::Signal;
use crate::support::{Answer, Content, Seen, World, job_path};

/// A world with one job whose one output is a whole clip.
fn world_with_a_clip() -> (World, Content, String) {
    let world = World::new();
    let clip = world.content(Content::mp4(1, 60_000));
    let url = world.media.on("/clip.mp4", Answer::file(&clip));
    (world, clip, url)
}

/// The pauses between requests.
fn pauses(seen: &[Seen]) -> Vec<Duration> {
    seen.windows(2).map(|pair| pair[1].at.duration_since(pair[0].at)).collect()
}

#[test]
fn a_pending_job_is_polled_at_a_measured_pace_and_its_future_links_are_never_fetched() {
    let (world, clip, url) = world_with_a_clip();
    let future = world.media.on("/future.mp4", Answer::file(&clip));
    let pending = json!({ "status": "processing", "eta": 2.5, "output": [], "future_links": [future] });
    let done = json!({ "status": "success", "output": [url], "future_links": [future], "eta": 4 });
    world.job("147", Answer::json(&pending).times(3).then(Answer::json(&done)));
    world.get(&["147"]).run().exits(0);
    world.holds("147", 0, &clip);
    let polls = world.polls("147");
    assert_eq!(polls.len(), 4);
    let pauses = pauses(&polls);
    assert!(pauses[0] >= Duration::from_millis(2_500), "the estimate was not waited for: {pauses:?}");
    assert!(pauses.iter().all(|pause| *pause >= Duration::from_millis(250)), "{pauses:?}");
    assert!(world.media.calls("/future.mp4").is_empty());
}

#[test]
fn a_job_that_stays_pending_is_noted_and_left_for_the_next_run_when_the_wait_is_over() {
    let (world, clip, url) = world_with_a_clip();
    world.job("147", Answer::processing());
    world.get(&["147", "--wait", "3s"]).run().exits(4);
    assert_eq!((world.state("147"), world.media.log().len()), ("pending".into(), 0));
    world.job("147", Answer::success(&[url]));
    world.get(&["147"]).run().exits(0);
    world.holds("147", 0, &clip);
}

#[test]
fn a_wait_of_zero_asks_once() {
    let world = World::new();
    world.job("147", Answer::processing());
    world.get(&["147", "--wait", "0"]).run().exits(4);
    assert_eq!(world.polls("147").len(), 1);
}

#[test]
fn a_run_that_waits_for_a_job_ends_soon_after_a_signal() {
    let world = World::new();
    world.job("147", Answer::json(&json!({ "status": "processing", "eta": 60 })));
    let running = world.get(&["147"]).spawn();
    world.api.wait_for("the first poll", |log| !log.is_empty());
    let told = Instant::now();
    running.signal(Signal::TERM);
    running.wait().exits(143);
    assert!(told.elapsed() < Duration::from_secs(30), "it would have polled next after a minute");
}

#[test]
fn a_job_with_an_error_in_a_200_is_recorded_as_failed_with_what_the_service_said() {
    let world = World::new();
    world.job("147", Answer::json(&json!({ "status": "error", "message": "The GPU \u{1b}[31mburnt" })));
    world.get(&["147"]).run().exits(1);
    assert_eq!(world.state("147"), "failed");
    assert!(world.polls("147").len() <= 3);
    let error = world.manifest("147").unwrap()["error"]["detail"].clone();
    assert!(error.as_str().unwrap().contains("burnt"), "{error}");
}

#[test]
fn a_failed_job_says_why_in_either_spelling_and_as_text_or_object() {
    for (id, reply) in [
        ("1", json!({ "status": "failed", "message": "out of memory" })),
        ("2", json!({ "status": "failed", "messege": "out of memory" })),
        ("3", json!({ "status": "error", "message": { "prompt": ["out of memory", "and time"] } })),
        ("4", json!({ "status": "failed", "messege": { "base": ["out of memory"] } })),
    ] {
        let world = World::new();
        world.job(id, Answer::json(&reply));
        world.get(&[id]).run().exits(1).says("out of memory");
        let manifest = world.manifest(id).unwrap();
        assert!(manifest["error"]["detail"].as_str().unwrap().contains("out of memory"), "{manifest:#}");
        assert!(world.polls(id).len() <= 3);
    }
}

#[test]
fn a_refused_key_stops_the_whole_run_at_once() {
    let spoken = json!({ "status": "error", "message": "Invalid API key" });
    for refusal in [Answer::json(&spoken).with_status(401), Answer::status(401), Answer::json(&spoken)] {
        let world = World::new();
        let ids: Vec<String> = (100..200).map(|id| id.to_string()).collect();
        for id in &ids {
            world.job(id, refusal.clone().after(Duration::from_millis(30)));
        }
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        world.get(&ids).run().exits(3).says("the same command goes on from there");
        assert!(ids.iter().all(|id| world.polls(id).len() <= 2));
        assert!(world.api.log().len() < 80, "{} calls with a key that is no key", world.api.log().len());
        assert!(ids.iter().all(|id| world.manifest(id).is_none()));
    }
}

#[test]
fn an_odd_character_in_what_the_service_repeats_costs_no_clip() {
    let (world, clip, url) = world_with_a_clip();
    let odd: [&[u8]; 4] = [b"\"half a fox \\ud83e\"", b"\"caf\xe9\"", b"\"two\nlines\"", b"[NaN, -Infinity]"];
    for (id, odd) in (1..).zip(odd) {
        let answer = format!("{{\"status\":\"success\",\"output\":[{url:?}],\"meta\":{{\"prompt\":");
        let answer = [answer.as_bytes(), odd, b"}}"].concat();
        world.job(&i32::to_string(&id), Answer::status(200).body(Content::of(answer)));
    }
    world.get(&["1", "2", "3", "4"]).run().exits(0);
    for id in ["1", "2", "3", "4"] {
        world.holds(id, 0, &clip);
        assert_eq!(world.polls(id).len(), 1);
    }
}

#[test]
fn a_job_that_failed_over_its_input_ends_alone() {
    let (world, clip, url) = world_with_a_clip();
    let said = [
        "Unauthorized image source: init_image could not be downloaded",
        "Forbidden: init_video answered 403",
        "500 Server Error: Internal Server Error for url: https://customer.example/in.png",
    ];
    for (id, message) in (1..).zip(said) {
        world
            .job(&id.to_string(), Answer::json(&json!({ "status": "failed", "id": id, "message": message })));
    }
    world.job("147", Answer::success(&[url]).after(Duration::from_millis(500)));
    world.get(&["1", "2", "3", "147"]).run().exits(1);
    world.holds("147", 0, &clip);
    for id in ["1", "2", "3"] {
        assert_eq!((world.state(id).as_str(), world.polls(id).len()), ("failed", 1), "{id}");
    }
}

#[test]
fn no_credits_or_the_wrong_plan_end_a_job_without_another_try() {
    for (status, message) in
        [(402, "Insufficient credits to run this"), (403, "This feature requires a premium subscription")]
    {
        for as_200 in [false, true] {
            let (world, clip, url) = world_with_a_clip();
            let said = Answer::json(&json!({ "status": "error", "message": message }));
            world.job("1", if as_200 { said } else { said.with_status(status) });
            world.job("2", Answer::success(&[url]));
            world.get(&["1", "2"]).run().exits(3);
            world.holds("2", 0, &clip);
            assert_eq!((world.polls("1").len(), world.state("1").as_str()), (1, "absent"), "{message}");
        }
    }
}

#[test]
fn three_jobs_in_a_row_without_credits_end_the_run() {
    let world = World::new();
    let ids: Vec<String> = (100..400).map(|id| id.to_string()).collect();
    for id in &ids {
        world.job(id, Answer::status(402).after(Duration::from_millis(30)));
    }
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    world.get(&ids).run().exits(3);
    assert!(world.api.log().len() < 200, "{} calls without credits", world.api.log().len());
}

#[test]
fn a_job_that_the_api_does_not_know_is_failed_after_few_calls() {
    let said = json!({ "status": "failed", "message": "Request not found" });
    for answer in [Answer::json(&said).with_status(404), Answer::json(&said), Answer::status(404)] {
        let world = World::new();
        world.job("147", answer);
        world.get(&["147"]).run().exits(1);
        assert_eq!(world.state("147"), "failed");
        assert!(world.polls("147").len() <= 3);
    }
}

#[test]
fn a_job_that_was_just_submitted_is_pending_where_nobody_waits_until_it_is_known() {
    let world = World::new();
    let submitted = json!({ "status": "processing", "id": 147 }).to_string();
    let run = world.get(&["-i", "-"]).args(&["--wait", "0"]).stdin(submitted).run();
    run.exits(4).says("still processing when the wait was over");
}

#[test]
fn a_job_that_was_just_submitted_may_be_unknown_for_a_moment() {
    let (world, clip, url) = world_with_a_clip();
    world.job("147", Answer::status(404).then(Answer::success(&[url])));
    let submitted = json!({ "status": "processing", "id": 147 }).to_string();
    world.get(&["-i", "-"]).stdin(submitted).run().exits(0);
    world.holds("147", 0, &clip);
}

#[test]
fn a_429_with_retry_after_is_waited_out_by_all_jobs_of_the_host() {
    waits_out(&Answer::status(429).header("Retry-After", "2"));
}

#[test]
fn a_429_with_retry_after_in_its_body_is_waited_out_by_all_jobs_of_the_host() {
    let said = json!({ "status": "error", "message": "Rate limit exceeded", "retry_after": 2 });
    waits_out(&Answer::json(&said).with_status(429));
}

#[test]
fn a_rate_limit_told_in_a_200_is_waited_out_too() {
    let said = json!({ "status": "error", "message": "Rate limit exceeded, try again in 2 seconds" });
    waits_out(&Answer::json(&said));
}

/// One job is told to wait for 2 s; nobody may ask before that.
fn waits_out(told: &Answer) {
    let (world, clip, url) = world_with_a_clip();
    let ids = ["1", "2", "3", "4", "5"];
    // One request at a time, so that the others cannot be on their way already.
    world.job("1", told.clone().then(Answer::success(std::slice::from_ref(&url))));
    for id in &ids[1..] {
        world.job(id, Answer::success(std::slice::from_ref(&url)));
    }
    world.get(&ids).args(&["-x", "1"]).run().exits(0);
    for id in ids {
        world.holds(id, 0, &clip);
    }
    let log = world.api.log();
    let told_at = log.iter().position(|seen| seen.target == job_path("1")).unwrap();
    let pause = log[told_at + 1].at.duration_since(log[told_at].at);
    assert!(pause >= Duration::from_secs(2), "asked again after {pause:?}");
}

#[test]
fn an_absurd_retry_after_is_capped_and_moves_no_deadline() {
    for absurd in
        ["999999999", "18446744073709551615", "99999999999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"]
    {
        let world = World::new();
        world.job("147", Answer::status(429).header("Retry-After", absurd));
        let done = world.get(&["147", "--timeout", "2s"]).run().exits(4);
        assert!(
            done.took < Duration::from_secs(30),
            "{absurd}: the deadline was 2 s, it took {:?}",
            done.took
        );
        assert_eq!(world.polls("147").len(), 1, "{absurd}");
    }
}

#[test]
fn a_run_that_was_told_to_retry_much_later_ends_soon_after_a_signal() {
    let world = World::new();
    world.job("147", Answer::status(429).header("Retry-After", "999999999"));
    let running = world.get(&["147"]).spawn();
    world.api.wait_for("the first poll", |log| !log.is_empty());
    let told = Instant::now();
    running.signal(Signal::INT);
    running.wait().exits(130);
    assert!(told.elapsed() < Duration::from_secs(30), "it would have waited for a minute");
}

#[test]
fn a_retry_after_that_is_garbage_or_past_counts_as_absent() {
    let (world, clip, url) = world_with_a_clip();
    let garbage =
        ["", "-5", "soon", "1e9", "0x10", "Mon, 01 Jan 2001 00:00:00 GMT", "Fri, 32 Foo 2026 99:99:99 GMT"];
    let ids: Vec<String> = (1..=garbage.len()).map(|id| id.to_string()).collect();
    for (id, garbage) in ids.iter().zip(garbage) {
        let told = Answer::status(429).header("Retry-After", garbage);
        world.job(id, told.then(Answer::success(std::slice::from_ref(&url))));
    }
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let done = world.get(&ids).run().exits(0);
    assert!(done.took < Duration::from_secs(50), "it waited {:?} for nobody", done.took);
    for id in ids {
        world.holds(id, 0, &clip);
        assert_eq!(world.polls(id).len(), 2);
    }
}

#[test]
fn an_api_in_trouble_is_asked_again_and_the_job_is_not_lost() {
    let (world, clip, url) = world_with_a_clip();
    let page = Answer::html();
    let trouble = Answer::status(500).then(page.clone().with_status(502)).then(page.with_status(503));
    world.job("147", trouble.then(Answer::status(504)).then(Answer::success(&[url])));
    world.get(&["147"]).run().exits(0);
    world.holds("147", 0, &clip);
    let pauses = pauses(&world.polls("147"));
    assert!(pauses.iter().all(|pause| *pause >= Duration::from_millis(250)), "{pauses:?}");
}

#[test]
fn an_api_that_stays_in_trouble_leaves_the_job_for_another_run() {
    let world = World::new();
    world.job("147", Answer::status(503));
    world.get(&["147"]).run().exits(4);
    assert!((2..=30).contains(&world.polls("147").len()), "{} calls", world.polls("147").len());
    assert_eq!(world.state("147"), "absent");
}

#[test]
fn trouble_of_the_api_is_waited_out_for_a_job_that_it_was_seen_to_work_on() {
    let (world, clip, url) = world_with_a_clip();
    let trouble = Answer::processing().then(Answer::status(503).times(4));
    world.job("147", trouble.then(Answer::success(&[url])));
    world.get(&["147", "-R", "1"]).run().exits(0);
    world.holds("147", 0, &clip);
    // Not beyond --wait, and not where nothing is to be tried again.
    world.job("148", Answer::processing().then(Answer::status(503)));
    world.get(&["148", "-R", "1", "--wait", "8s"]).run().exits(4);
    world.job("149", Answer::processing().then(Answer::status(503)));
    world.get(&["149", "-R", "0"]).run().exits(4);
    assert_eq!(world.polls("149").len(), 2);
}

#[test]
fn trouble_of_the_api_over_a_job_that_it_works_on_is_waited_out_no_longer_than_the_job() {
    let world = World::new();
    world.job("147", Answer::processing().then(Answer::status(503)));
    let begun = Instant::now();
    world.get(&["147", "-R", "100", "--wait", "5s", "--timeout", "40s"]).run().exits(4);
    assert!(begun.elapsed() < Duration::from_secs(20), "it took {:?}", begun.elapsed());
}

#[test]
fn a_gateways_page_with_200_is_no_answer_and_the_job_is_asked_for_again() {
    let (world, clip, url) = world_with_a_clip();
    world.job("147", Answer::html().then(Answer::success(&[url])));
    world.get(&["147"]).run().exits(0);
    world.holds("147", 0, &clip);
}

#[test]
fn an_answer_that_is_cut_or_empty_is_asked_for_again() {
    let (world, clip, url) = world_with_a_clip();
    let success = Answer::success(&[url]);
    let cut = Answer::text("application/json", "{\"status\":\"success\",\"output\":[\"http://127.0.0.1/a");
    let lost = success.clone().cut_at(20);
    for (id, odd) in [("1", cut), ("2", lost), ("3", Answer::status(200)), ("4", Answer::status(204))] {
        world.job(id, odd.then(success.clone()));
    }
    world.get(&["1", "2", "3", "4"]).run().exits(0);
    for id in ["1", "2", "3", "4"] {
        world.holds(id, 0, &clip);
        assert_eq!(world.polls(id).len(), 2);
    }
}

#[test]
fn an_output_that_is_one_url_as_text_is_taken() {
    let (world, clip, url) = world_with_a_clip();
    world.job("147", Answer::json(&json!({ "status": "success", "output": url })));
    world.get(&["147"]).run().exits(0);
    world.holds("147", 0, &clip);
}

#[test]
fn fields_of_the_wrong_type_are_never_a_success() {
    let success = |output: Value| json!({ "status": "success", "output": output });
    let replies = [
        success(Value::Null),
        success(json!(7)),
        success(json!(true)),
        success(json!({ "a": 1 })),
        success(json!([null])),
        success(json!([7])),
        success(json!([["x"]])),
        success(json!([{}])),
        success(json!("")),
        json!({ "status": null, "output": ["http://127.0.0.1:1/a"] }),
        json!({ "status": 1, "output": ["http://127.0.0.1:1/a"] }),
        json!({ "status": ["success"], "output": [] }),
        json!({ "status": "success" }),
        json!({}),
        json!([]),
        json!("success"),
        json!(200),
        Value::Null,
    ];
    std::thread::scope(|threads| {
        for reply in &replies {
            threads.spawn(move || {
                let world = World::new();
                world.job("147", Answer::json(reply));
                let done = world.get(&["147", "--wait", "1s", "-R", "1", "--timeout", "8s"]).run();
                assert!(matches!(done.code(), 1 | 4), "{reply} ended with {}\n{}", done.code(), done.shown());
            });
        }
    });
}

#[test]
fn a_success_without_an_output_is_asked_for_again_and_is_no_success() {
    let (world, clip, url) = world_with_a_clip();
    world.job("1", Answer::success(&[]));
    world.get(&["1", "--wait", "2s"]).run().exits_with(&[1, 4]);
    assert!((1..=3).contains(&world.polls("1").len()));
    world.job("2", Answer::success(&[]).then(Answer::success(&[url])));
    world.get(&["2"]).run().exits(0);
    world.holds("2", 0, &clip);
}

#[test]
fn a_place_that_is_still_empty_is_asked_for_again_and_is_not_lost_for_good() {
    let (world, clip, url) = world_with_a_clip();
    let other = world.content(Content::mp4(2, 60_000));
    let later = world.media.on("/later.mp4", Answer::file(&other));
    for (id, empty) in [("1", Value::Null), ("2", json!(""))] {
        let half = Answer::json(&json!({ "status": "success", "output": [url, empty] }));
        world.job(id, half.clone().then(Answer::success(&[url.clone(), later.clone()])));
        world.get(&[id]).args(&SOON).run().exits(0);
        world.holds(id, 0, &clip);
        world.holds(id, 1, &other);
        assert_eq!(world.polls(id).len(), 2);
    }
    world.job("3", Answer::json(&json!({ "status": "success", "output": [url, null] })));
    world.get(&["3"]).args(&SOON).run().exits(4).says("has no link for it");
    assert_eq!((world.polls("3").len(), world.state("3")), (2, "partial".into()));
    let missing = &world.manifest("3").unwrap()["missing"][0];
    assert_eq!((&missing["output"], &missing["reasons"][0]["cause"]), (&1.into(), &"not_ready".into()));
    world.get(&["3"]).args(&SOON).run().exits(4);
}

#[test]
fn a_list_that_is_json_in_a_text_is_taken() {
    let (world, clip, url) = world_with_a_clip();
    let output = json!([url]).to_string();
    world.job("147", Answer::json(&json!({ "status": "success", "output": output })));
    world.get(&["147"]).run().exits(0);
    world.holds("147", 0, &clip);
}

#[test]
fn an_answer_with_another_id_is_kept_under_the_id_that_was_asked_for() {
    let (world, clip, url) = world_with_a_clip();
    world.job("147", Answer::json(&json!({ "status": "success", "id": 9_000, "output": [url] })));
    world.get(&["147"]).run().exits(0).says("9000");
    world.holds("147", 0, &clip);
    assert_eq!(world.manifest("147").unwrap()["job"]["answered_id"], "9000");
    assert!(!world.archive().join("9000").exists());
}

#[test]
fn odd_but_readable_answers_are_read() {
    let (world, clip, url) = world_with_a_clip();
    let odd = json!({
        "status": "success", "id": "147", "generationTime": 12.751_234_567_89, "eta": 1e-3, "new_field": { "a": [1.5] },
        "output": [format!("  {url}")], "proxy_links": null, "meta": { "seed": 18_446_744_073_709_551_615_u64 },
    });
    world.job("147", Answer::text("text/plain; charset=latin1", &format!("\u{feff} \r\n\t{odd}\n\n")));
    world.get(&["147"]).run().exits(0);
    world.holds("147", 0, &clip);
}

#[test]
fn an_expired_link_is_replaced_by_asking_the_job_once_more() {
    let (world, clip, url) = world_with_a_clip();
    let expired = world.media.on("/expired.mp4", Answer::status(403));
    world.job("147", Answer::success(&[expired]).then(Answer::success(&[url])));
    world.get(&["147"]).run().exits(0);
    world.holds("147", 0, &clip);
    assert_eq!(world.entry("147", 0)["rung"], "fresh_output");
    assert_eq!((world.polls("147").len(), world.media.calls("/expired.mp4").len()), (2, 2));
}

#[test]
fn trouble_of_the_api_when_it_is_asked_for_fresh_links_is_waited_out() {
    let (world, clip, url) = world_with_a_clip();
    let expired = world.media.on("/expired.mp4", Answer::status(403));
    let trouble = Answer::status(503).then(Answer::status(429).header("retry-after", "1"));
    let first = Answer::success(std::slice::from_ref(&expired));
    world.job("147", first.clone().then(trouble).then(Answer::success(&[url])));
    world.get(&["147"]).run().exits(0);
    world.holds("147", 0, &clip);
    assert_eq!(world.polls("147").len(), 4);
    // Not more often than is to be tried again, and not when the run is told to stop.
    world.job("148", first.clone().then(Answer::status(503)));
    world.get(&["148", "-R", "1"]).run().exits(4);
    assert_eq!(world.polls("148").len(), 3);
    world.job("149", first.then(Answer::status(503).header("retry-after", "60")));
    let running = world.get(&["149"]).spawn();
    let polls = |log: &[Seen]| log.iter().filter(|seen| seen.path() == job_path("149")).count();
    world.api.wait_for("the second question", |log| polls(log) == 2);
    let told = Instant::now();
    running.signal(Signal::TERM);
    running.wait().exits(143);
    assert!(told.elapsed() < Duration::from_secs(30), "it would have asked next after a minute");
}

#[test]
fn a_status_word_that_nobody_knows_means_that_the_service_still_works() {
    let (world, clip, url) = world_with_a_clip();
    let words = ["queued", "in_queue", "warming up"];
    for (id, word) in ["1", "2", "3"].iter().zip(words) {
        let pending = Answer::json(&json!({ "status": word, "eta": 1 }));
        world.job(id, pending.then(Answer::success(std::slice::from_ref(&url))));
    }
    world.job("4", Answer::json(&json!({ "status": "SUCCESS", "output": [url] })));
    world.get(&["1", "2", "3", "4"]).run().exits(0);
    for id in ["1", "2", "3", "4"] {
        world.holds(id, 0, &clip);
    }
    world.job("5", Answer::json(&json!({ "status": "warming up", "output": [url] })));
    world.get(&["5", "--wait", "1s"]).run().exits(4);
}

#[test]
fn what_is_named_twice_is_asked_for_once() {
    let (world, clip, url) = world_with_a_clip();
    world.job("147", Answer::success(&[url.clone(), url.clone()]));
    world.get(&["147", "147"]).args(&["-i", "-"]).stdin("147\n147\n").run().exits(0);
    world.holds("147", 0, &clip);
    world.holds("147", 1, &clip);
    assert_eq!(world.polls("147").len(), 1);
    assert!(world.media.calls("/clip.mp4").len() <= 2);
}

#[test]
fn a_job_with_200_outputs_is_fetched_whole_and_the_host_is_not_overrun() {
    let world = World::new();
    let clips: Vec<Content> = (0..200).map(|seed| world.content(Content::mp4(seed, 3_000))).collect();
    let urls: Vec<String> = clips
        .iter()
        .enumerate()
        .map(|(place, clip)| {
            let answer = Answer::file(clip).after(Duration::from_millis(20));
            world.media.on(&format!("/{place}.mp4"), answer)
        })
        .collect();
    world.job("147", Answer::success(&urls));
    world.get(&["147", "-x", "16"]).run().exits(0);
    for (place, clip) in clips.iter().enumerate() {
        world.holds("147", place, clip);
    }
    assert!(world.media.most_at_once() <= 16, "{} requests at once", world.media.most_at_once());
    assert_eq!(world.media.log().len(), 200);
}

#[test]
fn one_poisoned_job_among_twenty_spoils_none_of_the_others() {
    let (world, clip, url) = world_with_a_clip();
    let ids: Vec<String> = (1..=20).map(|id| id.to_string()).collect();
    for id in &ids {
        world.job(id, Answer::success(std::slice::from_ref(&url)));
    }
    world.job("13", Answer::failed("no"));
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    world.get(&ids).run().exits(1);
    for id in ids.into_iter().filter(|id| *id != "13") {
        world.holds(id, 0, &clip);
    }
    assert_eq!(world.state("13"), "failed");
}

#[test]
fn proxies_are_paired_with_outputs_by_their_place_however_many_there_are() {
    let world = World::new();
    let clips: Vec<Content> = (0..3).map(|seed| world.content(Content::mp4(seed, 20_000))).collect();
    let proxy = world.host();
    let output = |place: usize| world.media.on(&format!("/{place}.mp4"), Answer::file(&clips[place]));
    let mirror = |place: usize| proxy.on(&format!("/p{place}.mp4"), Answer::file(&clips[place]));
    let outputs: Vec<String> = (0..3).map(output).collect();
    let proxies: Vec<String> = (0..3).map(mirror).collect();
    // The second output lives at its proxy alone.
    world.media.on("/1.mp4", Answer::status(410));
    world.job("1", Answer::success_with_proxies(&outputs, &proxies[..2]));
    world.job("2", Answer::success_with_proxies(&outputs[..2], &proxies));
    world.get(&["1", "2"]).run().exits(0);
    for (id, place) in [("1", 0), ("1", 1), ("1", 2), ("2", 0), ("2", 1)] {
        world.holds(id, place, &clips[place]);
        let rung = if place == 1 { "proxy" } else { "output" };
        assert_eq!(world.entry(id, place)["rung"], rung, "output {place} of job {id}");
    }
    assert!(proxy.calls("/p0.mp4").is_empty());
}

#[test]
fn a_key_that_is_refused_when_links_are_asked_for_again_stops_the_run_and_loses_nothing_for_good() {
    let world = World::new();
    let dead = |id: &str| Answer::success(&[world.media.on(&format!("/{id}.mp4"), Answer::status(404))]);
    for id in ["1", "2", "3"] {
        world.job(id, dead(id).then(Answer::status(401)));
    }
    world.get(&["1", "2", "3", "-j", "1"]).run().exits(3).says("key");
    for id in ["1", "2", "3"] {
        assert!(["pending", "absent"].contains(&world.state(id).as_str()), "{id}: {}", world.state(id));
    }
}
