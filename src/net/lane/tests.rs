#![expect(clippy::disallowed_methods, reason = "a test makes its own moments")]
use std::sync::Arc;

use super::*;
use crate::retry::Cause;

const S: fn(u64) -> Duration = Duration::from_secs;

/// Ends a request that began at this moment; one of the very moment of the last cut began after it.
fn done(lane: &mut Lane, outcome: Outcome, began: Instant, now: Instant) {
    let is_new = lane.last_cut.is_none_or(|cut| began >= cut);
    lane.done(outcome, Began { at: began, number: if is_new { u64::MAX } else { 0 } }, now);
}

fn full(lane: &mut Lane, now: Instant) -> usize {
    let mut admitted = 0;
    while lane.admit(now) == Admit::Go {
        admitted += 1;
    }
    admitted
}

/// More than happens for no reason.
fn refuse_several(lane: &mut Lane, now: Instant) {
    for outcome in [Outcome::Complaint(None), Outcome::Good, Outcome::Complaint(None), Outcome::Good] {
        done(lane, outcome, now, now);
    }
    done(lane, Outcome::Complaint(None), now, now);
}

#[test]
fn the_window_doubles_each_round_until_the_first_complaint_and_then_comes_back_to_where_it_was_calm() {
    let now = Instant::now();
    let mut lane = Lane::new(64, DEFAULT_PATIENCE);
    for want in [8, 16, 32, 64, 64] {
        assert_eq!(full(&mut lane, now), want);
        assert_eq!(lane.admit(now), Admit::Full);
        for _ in 0..want {
            done(&mut lane, Outcome::Good, now, now);
        }
    }
    refuse_several(&mut lane, now);
    assert_eq!(lane.window(), 32);
    assert_eq!(full(&mut lane, now), 32);
    let rounds = |lane: &mut Lane, count: usize| {
        let round = |_| {
            for _ in 0..lane.window() {
                done(lane, Outcome::Good, now, now);
            }
            lane.window()
        };
        (0..count).map(round).collect::<Vec<_>>()
    };
    // 64 was calm for a round before it brought a complaint, so it says nothing any more.
    assert_eq!(rounds(&mut lane, 4), [32, 33, 34, 35]);
    refuse_several(&mut lane, now + S(1));
    assert_eq!(
        (lane.window(), rounds(&mut lane, 3)),
        (18, vec![34, 34, 34]),
        "back to what was calm, and wary"
    );
}

/// A host that bears so many requests at once, each of which takes 100 ms, and answers the others with 429.
fn work_at(bears: usize, most: usize) -> (u64, u64) {
    const TAKES: Duration = Duration::from_millis(100);
    const REFUSES_IN: Duration = Duration::from_millis(5);
    let began = Instant::now();
    let end = began + S(120);
    let mut lane = Lane::new(most, DEFAULT_PATIENCE);
    let mut under_way: Vec<(Instant, Instant, bool)> = Vec::new();
    let (mut now, mut good, mut refused, mut served) = (began, 0, 0, 0);
    while now < end {
        while lane.admit(now) == Admit::Go {
            let is_good = served < bears;
            served += usize::from(is_good);
            under_way.push((now + if is_good { TAKES } else { REFUSES_IN }, now, is_good));
        }
        let next = (0..under_way.len()).min_by_key(|place| under_way[*place].0).expect("never idle");
        let (ended, started, is_good) = under_way.swap_remove(next);
        now = ended;
        if is_good {
            (good, served) = (good + 1, served - 1);
            done(&mut lane, Outcome::Good, started, now);
        } else {
            refused += 1;
            done(&mut lane, Outcome::Complaint(None), started, now);
        }
    }
    (good, refused)
}

#[test]
fn a_throttling_host_gives_nine_tenths_of_what_it_has_and_hears_few_requests_too_many() {
    for (bears, most) in [(4, 64), (10, 64), (16, 64), (25, 64), (48, 64), (100, 256), (16, 16)] {
        let (good, refused) = work_at(bears, most);
        let ideal = 120 * 10 * bears as u64;
        assert!(good * 10 >= ideal * 9, "bears {bears}: {good} of {ideal}");
        assert!(refused * 50 <= good + refused, "bears {bears}: {refused} of {}", good + refused);
    }
}

#[test]
fn one_overload_halves_the_window_once() {
    let began = Instant::now();
    let later = began + S(1);
    let mut lane = Lane::new(8, DEFAULT_PATIENCE);
    assert_eq!(full(&mut lane, began), 8);
    for _ in 0..7 {
        done(&mut lane, Outcome::Complaint(None), began, later);
    }
    assert_eq!(lane.window(), 4);
    done(&mut lane, Outcome::Complaint(None), later, later);
    assert_eq!(lane.window(), 2);
    for _ in 0..9 {
        done(&mut lane, Outcome::Complaint(None), later, later);
    }
    assert_eq!(lane.window(), 1);
}

#[test]
fn a_pause_that_one_answer_asks_for_holds_for_the_whole_host() {
    let now = Instant::now();
    let mut lane = Lane::new(8, DEFAULT_PATIENCE);
    assert_eq!(lane.admit(now), Admit::Go);
    done(&mut lane, Outcome::Complaint(Some(S(3))), now, now);
    assert_eq!(lane.admit(now + S(2)), Admit::NotBefore(now + S(3)));
    done(&mut lane, Outcome::Complaint(Some(S(1))), now, now);
    assert_eq!(lane.admit(now + S(2)), Admit::NotBefore(now + S(3)), "a shorter pause does not shorten it");
    assert_eq!(lane.admit(now + S(3)), Admit::Go);
}

#[test]
fn a_host_that_cannot_be_reached_is_closed_and_probed_by_one() {
    let now = Instant::now();
    let mut lane = Lane::new(8, DEFAULT_PATIENCE);
    assert_eq!(full(&mut lane, now), 8);
    done(&mut lane, Outcome::Unreachable, now, now);
    done(&mut lane, Outcome::Unreachable, now, now);
    assert_eq!(lane.window(), 8);
    done(&mut lane, Outcome::Unreachable, now, now);
    assert_eq!((lane.window(), lane.admit(now)), (0, Admit::Closed(now + S(2))));
    let probe = now + S(2);
    assert_eq!(lane.admit(probe), Admit::Go);
    assert!(matches!(lane.admit(probe), Admit::Closed(_)), "one probe at a time");
    done(&mut lane, Outcome::Unreachable, probe, probe);
    assert_eq!(lane.admit(probe), Admit::Closed(probe + S(4)));
    assert_eq!(lane.admit(probe + S(4)), Admit::Go);
    done(&mut lane, Outcome::Good, probe, probe + S(4));
    assert_eq!(lane.admit(probe + S(4)), Admit::Go, "and it is open again");
}

#[test]
fn a_probe_that_brings_bytes_opens_its_host_before_it_ends() {
    let now = Instant::now();
    let mut lane = Lane::new(8, DEFAULT_PATIENCE);
    assert_eq!(full(&mut lane, now), 8);
    for _ in 0..8 {
        done(&mut lane, Outcome::Unreachable, now, now);
    }
    let probe = now + S(2);
    assert_eq!(lane.admit(probe), Admit::Go);
    lane.brings();
    assert_eq!((lane.window(), full(&mut lane, probe)), (8, 7), "and the probe is one of them");
    done(&mut lane, Outcome::Unreachable, now, probe);
    lane.brings();
    done(&mut lane, Outcome::Unreachable, now, probe);
    done(&mut lane, Outcome::Unreachable, now, probe);
    assert_eq!(lane.window(), 0, "what others bring says nothing of what cannot be reached now");
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_turn_gets_it_when_one_ends() {
    let lanes = Arc::new(Lanes::new(1, DEFAULT_PATIENCE));
    let first = lanes.enter("m.test").await;
    let second = tokio::spawn({
        let lanes = Arc::clone(&lanes);
        async move { lanes.enter("m.test").await.map(drop) }
    });
    tokio::task::yield_now().await;
    assert!(!second.is_finished() && lanes.enter("other.test").await.is_ok());
    drop(first);
    assert!(matches!(second.await, Ok(Ok(()))));
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_turn_is_told_when_the_host_closes() {
    let lanes = Arc::new(Lanes::new(3, DEFAULT_PATIENCE));
    let mut permits = Vec::new();
    for _ in 0..3 {
        permits.extend(lanes.enter("dead.test").await);
    }
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let lanes = Arc::clone(&lanes);
            tokio::spawn(async move { lanes.enter("dead.test").await.map(drop) })
        })
        .collect();
    tokio::task::yield_now().await;
    for permit in permits {
        permit.end(Outcome::Unreachable);
    }
    for waiter in waiting {
        let told = tokio::time::timeout(S(1), waiter).await;
        assert!(matches!(told, Ok(Ok(Err(_)))), "{told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_gives_up_while_he_sleeps_for_a_host_leaves_nobody_waiting_for_ever() {
    let lanes = Arc::new(Lanes::new(8, DEFAULT_PATIENCE));
    let mut under_way = Vec::new();
    for _ in 0..8 {
        under_way.push(lanes.enter("m.test").await);
    }
    let wait = |patience: Duration| {
        let lanes = Arc::clone(&lanes);
        tokio::spawn(async move {
            tokio::time::timeout(patience, lanes.enter("m.test")).await.map(|permit| drop(permit.ok()))
        })
    };
    let (hasty, patient) = (wait(S(1)), wait(S(600)));
    tokio::task::yield_now().await;
    for permit in under_way {
        permit.map(|permit| permit.end(Outcome::Complaint(Some(S(60))))).expect("open");
    }
    assert!(hasty.await.expect("ran").is_err(), "its time ends while the host is left alone");
    assert!(patient.await.expect("ran").is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_closed_host_fails_at_once_and_says_when_to_come_back() {
    let lanes = Lanes::new(4, DEFAULT_PATIENCE);
    for _ in 0..3 {
        if let Ok(permit) = lanes.enter("dead.test").await {
            permit.end(Outcome::Unreachable);
        }
    }
    let failure = lanes.enter("dead.test").await.map(drop).expect_err("closed");
    assert_eq!((failure.cause, failure.retry_after.is_some()), (Cause::Unreachable, true));
    tokio::time::advance(S(2)).await;
    assert!(lanes.enter("dead.test").await.is_ok());
}

/// Asks as soon as it may, alone, and gets this outcome at once; answers when the request went out.
fn alone(lane: &mut Lane, mut now: Instant, outcome: Outcome) -> Instant {
    loop {
        match lane.admit(now) {
            Admit::Go => break,
            Admit::NotBefore(until) | Admit::Closed(until) => now = until,
            Admit::Full => panic!("nothing else is under way"),
        }
    }
    done(lane, outcome, now, now);
    now
}

#[test]
fn a_host_that_refuses_single_requests_is_asked_less_and_less_often_and_then_closed_and_probed() {
    let mut now = Instant::now();
    let mut lane = Lane::new(8, DEFAULT_PATIENCE);
    now = alone(&mut lane, now, Outcome::Complaint(None));
    let mut gaps_ms = Vec::new();
    for _ in 0..9 {
        let next = alone(&mut lane, now, Outcome::Complaint(None));
        gaps_ms.push((next - now).as_millis());
        now = next;
    }
    assert_eq!(gaps_ms, [0, 50, 95, 192, 390, 790, 1_590, 2_000, 4_000]);
    assert_eq!((lane.window(), lane.admit(now)), (0, Admit::Closed(now + S(8))));
    assert_eq!(alone(&mut lane, now, Outcome::Good), now + S(8));
    assert_eq!(lane.admit(now + S(8)), Admit::Go, "and it is open again");
}

#[test]
fn a_host_that_says_later_for_ever_is_closed_when_patience_is_over_and_probed_from_then_on() {
    let began = Instant::now();
    let mut lane = Lane::new(8, S(60));
    let later = Outcome::Complaint(Some(S(25)));
    let asked = [0, 25, 50].map(|second| {
        assert_eq!(alone(&mut lane, began + S(second), later), began + S(second));
        lane.admit(began + S(second))
    });
    assert_eq!(asked, [25, 50, 75].map(|second| Admit::NotBefore(began + S(second))));
    let now = began + S(75);
    assert_eq!(alone(&mut lane, now, later), now);
    assert_eq!(
        (lane.window(), lane.admit(now)),
        (0, Admit::Closed(now + S(25))),
        "since 75 s it gave nothing"
    );
    let probe = now + S(25);
    assert_eq!(lane.admit(probe), Admit::Go);
    assert!(matches!(lane.admit(probe), Admit::Closed(_)), "one probe at a time");
    done(&mut lane, later, probe, probe);
    assert_eq!(lane.admit(probe), Admit::Closed(probe + S(25)));
    assert_eq!(alone(&mut lane, probe, Outcome::Good), probe + S(25));
    assert_eq!(alone(&mut lane, probe + S(25), later), probe + S(25));
    assert!(matches!(lane.admit(probe + S(25)), Admit::NotBefore(_)), "it is patience from the beginning");
}

#[test]
fn patience_is_not_spent_while_nobody_asks_and_a_late_refusal_of_many_closes_nothing_again() {
    let began = Instant::now();
    let mut lane = Lane::new(8, S(60));
    let later = Outcome::Complaint(Some(S(1)));
    for second in 0..3 {
        alone(&mut lane, began + S(second), later);
    }
    let hours = began + S(7_200);
    assert_eq!(alone(&mut lane, hours, later), hours);
    assert!(matches!(lane.admit(hours), Admit::NotBefore(_)), "nobody asked in between");
    let mut now = hours;
    while !matches!(lane.admit(now), Admit::Closed(_)) {
        now += S(1);
        alone(&mut lane, now, later);
    }
    let closed = lane.admit(now);
    // It began long before, and is answered now.
    lane.done(later, Began { at: began, number: 0 }, now);
    assert_eq!(lane.admit(now), closed);
    assert_eq!(lane.closings, 1);
}

#[test]
fn a_host_that_minds_how_often_it_is_asked_is_asked_as_often_as_it_answered_between_two_refusals() {
    let began = Instant::now();
    let mut lane = Lane::new(8, DEFAULT_PATIENCE);
    let ask = |lane: &mut Lane, at_ms: u64, outcome| {
        let at = began + Duration::from_millis(at_ms);
        assert_eq!(lane.admit(at), Admit::Go, "at {at_ms} ms");
        done(lane, outcome, at, at + Duration::from_millis(100));
    };
    for answer in 0..8 {
        ask(&mut lane, 100 * answer, Outcome::Good);
    }
    refuse_several(&mut lane, began + Duration::from_millis(800));
    for answer in 0..40 {
        ask(&mut lane, 900 + 100 * answer, Outcome::Good);
    }
    // For an hour nobody asked, which says nothing of what the host gives.
    let at = 3_600_000;
    for answer in 0..40 {
        ask(&mut lane, at + 100 * answer, Outcome::Good);
    }
    ask(&mut lane, at + 4_000, Outcome::Complaint(Some(S(1))));
    let now = began + Duration::from_millis(at + 5_100);
    assert_eq!(alone(&mut lane, now, Outcome::Good), now);
    let next = alone(&mut lane, now, Outcome::Good);
    let gap = next - now;
    assert!(gap + LATE >= Duration::from_millis(100) && gap < Duration::from_millis(103), "{gap:?}");
}

#[test]
fn a_refusal_out_of_the_blue_and_a_connection_that_breaks_now_and_then_change_nothing() {
    for trouble in [Outcome::Complaint(None), Outcome::Broke] {
        let now = Instant::now();
        let mut lane = Lane::new(8, DEFAULT_PATIENCE);
        let round = |lane: &mut Lane| {
            for _ in 0..full(lane, now) {
                done(lane, Outcome::Good, now, now);
            }
        };
        for _ in 0..30 {
            round(&mut lane);
        }
        assert_eq!(lane.window(), 8);
        for _ in 0..20 {
            assert_eq!(full(&mut lane, now), 8);
            done(&mut lane, trouble, now, now);
            for _ in 0..7 {
                done(&mut lane, Outcome::Good, now, now);
            }
            for _ in 0..6 {
                round(&mut lane);
            }
            assert_eq!((lane.window(), lane.pace), (8, None), "{trouble:?}");
        }
        for _ in 0..3 {
            done(&mut lane, trouble, now, now);
        }
        assert!(lane.window() == 4 || lane.pace.is_some(), "{trouble:?}: several at once are none");
    }
}

#[test]
fn after_two_refusals_one_request_finds_out_whether_the_host_gives_anything() {
    let now = Instant::now();
    let mut lane = Lane::new(8, DEFAULT_PATIENCE);
    assert_eq!(full(&mut lane, now), 8);
    for _ in 0..8 {
        assert_eq!(lane.admit(now), Admit::Full);
        done(&mut lane, Outcome::Complaint(None), now, now + S(1));
    }
    assert_eq!(full(&mut lane, now + S(1)), 1);
    done(&mut lane, Outcome::Good, now + S(1), now + S(2));
    assert_eq!(full(&mut lane, now + S(2)), 4);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_was_closed_by_its_refusals_is_not_said_to_be_out_of_reach() {
    let lanes = Lanes::new(4, DEFAULT_PATIENCE);
    let failure = loop {
        match lanes.enter("busy.test").await {
            Ok(permit) => permit.end(Outcome::Complaint(None)),
            Err(failure) => break failure,
        }
    };
    assert_eq!(
        failure.to_string(),
        "the host asks to slow down: busy.test refused every request a moment ago"
    );
    assert_eq!(failure.retry_after, Some(S(2)));
}

#[test]
fn what_a_failure_says_of_its_host_follows_from_its_cause() {
    let pause = Some(S(7));
    let table = [
        (Cause::RateLimited, None, Outcome::Complaint(None)),
        (Cause::RateLimited, pause, Outcome::Complaint(pause)),
        (Cause::ServerError, pause, Outcome::Complaint(pause)),
        (Cause::ServerError, None, Outcome::Broke),
        (Cause::Broken, None, Outcome::Broke),
        (Cause::Unreachable, None, Outcome::Unreachable),
        (Cause::Stalled, None, Outcome::Unreachable),
        (Cause::Absent, None, Outcome::Good),
        (Cause::Forbidden, None, Outcome::Unknown),
        (Cause::TooSlow, None, Outcome::Unknown),
    ];
    for (cause, asked, want) in table {
        assert_eq!(Outcome::of(&Failure::new(cause, "").after(asked)), want, "{cause:?}");
    }
}
