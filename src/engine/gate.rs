//! The gate before every transfer: of the files that are ready, those that die first go first.
//!
//! A file goes through when two things are free at the same moment: one of the run's slots, and a turn at its host
//! ([`crate::net::lane`]). Nobody holds one of them while waiting for the other, so a host that is slow, full or asks
//! for a pause takes no slot from the others. Whoever waits stands in the line of his host, ordered by [`Rank`]; each
//! time something comes free, the best of those whose host has room goes through.
//!
//! Where a host asks to be left alone for a while, nobody has to stand in its line: whoever may have something else to try,
//! or holds something that others wait for, hears of it and leaves ([`Gate::enter_unless_away`]).
//!
//! The gate is locked when a transfer begins, ends or gives up waiting, and never while bytes flow. Whoever stops
//! waiting, at any moment, leaves nothing behind: his place in line goes with his future, and a turn that was already
//! on its way to him is handed on.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::net::lane::{Lanes, Outcome, Permit, TryEnter};
use crate::retry::Failure;

/// A host that is left alone for longer than this is away; for less than that everybody stays in line.
const AWAY_FROM: Duration = Duration::from_secs(1);

/// Who goes first: what dies first, and of those what stands first in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    /// When the file dies, in seconds since 1970; the largest number where it is not known to.
    pub(super) dies_at: u64,
    /// Its job's place in the list.
    pub(super) order: u64,
}

/// A place in a line; the number keeps equals in the order of their coming.
type Place = (Rank, u64);

/// What is waited for at one host.
#[derive(Default)]
struct Line {
    all: BTreeMap<Place, oneshot::Sender<Called>>,
    /// Those who leave where the host is away.
    leave: BTreeSet<Place>,
}

/// What somebody hears who does not wait for a host that is away.
pub(super) enum Answer {
    Through(Turn),
    /// The host is left alone until then.
    Away(Instant),
}

/// How a wait in line ends.
enum Called {
    Through(Turn),
    /// The host is left alone until then, and whoever hears this comes back in time.
    Later(Sleeper),
    /// The host is left alone until then, and whoever hears this leaves.
    Away(Instant),
    /// The host is closed.
    Closed(Failure),
}

/// The gate of a run.
pub(super) struct Gate {
    lanes: Arc<Lanes>,
    lines: Mutex<Lines>,
}

struct Lines {
    free: usize,
    came: u64,
    by_host: HashMap<String, Line>,
    /// Hosts that are left alone for a while; one of those in line sleeps until it is over.
    slept_for: HashSet<String>,
}

impl Gate {
    /// A gate that lets so many through at once.
    pub(super) fn new(slots: usize, lanes: Arc<Lanes>) -> Arc<Self> {
        let queue = Lines { free: slots.max(1), came: 0, by_host: HashMap::new(), slept_for: HashSet::new() };
        Arc::new(Self { lanes, lines: Mutex::new(queue) })
    }

    /// Waits for a slot and for the host's turn.
    ///
    /// # Errors
    /// Why the host is closed, at once where it is.
    pub(super) async fn enter(self: &Arc<Self>, host: &str, rank: Rank) -> Result<Turn, Failure> {
        loop {
            if let Answer::Through(turn) = self.wait(host, rank, false).await? {
                return Ok(turn);
            }
        }
    }

    /// The same, but for the time in which the host is away.
    ///
    /// # Errors
    /// Why the host is closed, at once where it is.
    pub(super) async fn enter_unless_away(
        self: &Arc<Self>,
        host: &str,
        rank: Rank,
    ) -> Result<Answer, Failure> {
        self.wait(host, rank, true).await
    }

    async fn wait(self: &Arc<Self>, host: &str, rank: Rank, leaves: bool) -> Result<Answer, Failure> {
        loop {
            let (caller, call) = oneshot::channel();
            let in_line = InLine::stand(self, host, (rank, leaves), caller);
            self.let_through();
            let answer = call.await;
            drop(in_line);
            match answer {
                Ok(Called::Through(turn)) => return Ok(Answer::Through(turn)),
                Ok(Called::Later(sleeper)) => sleeper.sleep().await,
                Ok(Called::Away(until)) => return Ok(Answer::Away(until)),
                Ok(Called::Closed(failure)) => return Err(failure),
                // Only leaving the line drops a caller, and whoever left it is not here any more.
                Err(_) => {}
            }
        }
    }

    /// Lets through whoever can go, the best first.
    fn let_through(self: &Arc<Self>) {
        // Hosts whose window is full, or that are left alone for a while: a transfer under way, or a sleeper, comes back.
        let mut full: Vec<String> = Vec::new();
        while let Some((caller, called)) = self.next(&mut full) {
            // Whoever left a moment ago gives his turn back. While it was on its way, transfers may have ended that found
            // no slot free for those behind them, so the next look passes no host over.
            match caller.send(called) {
                Err(Called::Through(turn)) => {
                    turn.take_back();
                    full.clear();
                }
                Err(Called::Later(mut sleeper)) => {
                    sleeper.goes = false;
                    full.clear();
                }
                Ok(()) | Err(Called::Away(_) | Called::Closed(_)) => {}
            }
        }
    }

    /// The best of those in line whose host does not say that it is full, and what he hears.
    fn next(self: &Arc<Self>, full: &mut Vec<String>) -> Option<(oneshot::Sender<Called>, Called)> {
        let mut lines = self.lock();
        while lines.free > 0 {
            let heads = lines.by_host.iter().filter(|(host, _)| !full.contains(host));
            let best = heads.filter_map(|(host, line)| Some((*line.all.first_key_value()?.0, host))).min()?;
            let (mut place, host) = (best.0, best.1.clone());
            let answer = match self.lanes.try_enter(&host) {
                TryEnter::Go(permit) => {
                    Called::Through(Turn { permit: Some(permit), gate: Some(Arc::clone(self)) })
                }
                TryEnter::NotBefore(until) => {
                    if let Some(leaves) = lines.who_leaves(&host, until) {
                        place = leaves;
                        Called::Away(until)
                    } else if lines.slept_for.contains(&host) {
                        full.push(host);
                        continue;
                    } else {
                        Called::Later(Sleeper {
                            gate: Arc::clone(self),
                            host: host.clone(),
                            until,
                            goes: true,
                        })
                    }
                }
                TryEnter::Closed(failure) => Called::Closed(failure),
                TryEnter::Full => {
                    full.push(host);
                    continue;
                }
            };
            let caller = lines.leave(&host, place)?;
            match &answer {
                Called::Through(_) => lines.free -= 1,
                Called::Later(_) => drop(lines.slept_for.insert(host)),
                Called::Away(_) | Called::Closed(_) => {}
            }
            return Some((caller, answer));
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        // Nothing in here panics between two writes, so what a panic elsewhere leaves is whole.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn leave(&mut self, host: &str, place: Place) -> Option<oneshot::Sender<Called>> {
        let line = self.by_host.get_mut(host)?;
        let caller = line.all.remove(&place);
        line.leave.remove(&place);
        if line.all.is_empty() {
            self.by_host.remove(host);
        }
        caller
    }

    /// The first of those in line who leaves where the host is left alone until then.
    fn who_leaves(&self, host: &str, until: Instant) -> Option<Place> {
        let is_away = until.saturating_duration_since(super::now()) > AWAY_FROM;
        self.by_host.get(host).filter(|_| is_away)?.leave.first().copied()
    }
}

/// A place in line; dropping it leaves the line.
struct InLine<'a> {
    gate: &'a Gate,
    host: &'a str,
    place: Place,
}

impl<'a> InLine<'a> {
    fn stand(
        gate: &'a Gate,
        host: &'a str,
        (rank, leaves): (Rank, bool),
        caller: oneshot::Sender<Called>,
    ) -> Self {
        let mut lines = gate.lock();
        lines.came += 1;
        let place = (rank, lines.came);
        let line = lines.by_host.entry(host.to_owned()).or_default();
        line.all.insert(place, caller);
        if leaves {
            line.leave.insert(place);
        }
        Self { gate, host, place }
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.gate.lock().leave(self.host, self.place);
    }
}

/// Whoever sleeps for those in line at a host that is left alone for a while; if he goes, another one sleeps.
struct Sleeper {
    gate: Arc<Gate>,
    host: String,
    until: Instant,
    goes: bool,
}

impl Sleeper {
    async fn sleep(mut self) {
        tokio::time::sleep_until(self.until).await;
        // He stands in line again at once, and looks then.
        self.goes = false;
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.gate.lock().slept_for.remove(&self.host);
        if self.goes {
            self.gate.let_through();
        }
    }
}

/// A slot and a turn at a host; dropping it ends both and lets others through.
#[must_use = "the transfer's turn ends when this is dropped"]
pub(super) struct Turn {
    permit: Option<Permit>,
    gate: Option<Arc<Gate>>,
}

impl Turn {
    /// Says that the host gives something, before the turn ends.
    pub(super) fn brings(&self) {
        if let Some(permit) = &self.permit {
            permit.brings();
        }
    }

    /// Ends the turn with what it showed of the host.
    pub(super) fn end(mut self, outcome: Outcome) {
        if let Some(permit) = self.permit.take() {
            permit.end(outcome);
        }
    }

    /// Ends the turn with a failure, of which those hear who find the host closed.
    pub(super) fn fail(mut self, failure: &Failure) {
        if let Some(permit) = self.permit.take() {
            permit.fail(failure);
        }
    }

    /// Ends the turn without letting others through: whoever calls this is about to.
    fn take_back(mut self) {
        drop(self.permit.take());
        if let Some(gate) = self.gate.take() {
            gate.lock().free += 1;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // The host's turn first: whoever is let through may need it.
        drop(self.permit.take());
        if let Some(gate) = self.gate.take() {
            gate.lock().free += 1;
            gate.let_through();
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use std::time::Duration;

    use super::*;
    use crate::net::lane::DEFAULT_PATIENCE;
    use crate::retry::Cause;

    fn gate(slots: usize, per_host: usize) -> Arc<Gate> {
        Gate::new(slots, Arc::new(Lanes::new(per_host, DEFAULT_PATIENCE)))
    }

    /// How many slots are free, and how many hosts are waited for.
    fn state(gate: &Gate) -> (usize, usize) {
        let lines = gate.lock();
        (lines.free, lines.by_host.len())
    }

    fn rank(dies_at: u64, order: u64) -> Rank {
        Rank { dies_at, order }
    }

    /// Stands in line on a task of its own, and notes its name when it is let through.
    fn stand(
        gate: &Arc<Gate>,
        host: &'static str,
        rank: Rank,
        name: &'static str,
        through: &Arc<Mutex<Vec<&'static str>>>,
    ) -> tokio::task::JoinHandle<Turn> {
        let (gate, through) = (Arc::clone(gate), Arc::clone(through));
        tokio::spawn(async move {
            let turn = gate.enter(host, rank).await.unwrap();
            through.lock().unwrap().push(name);
            turn
        })
    }

    async fn settle() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_dies_first_goes_first_and_equals_keep_the_order_of_the_list() {
        let gate = gate(1, 8);
        let through = Arc::default();
        let holder = gate.enter("a.test", rank(0, 0)).await.unwrap();
        let table = [
            ("a.test", rank(u64::MAX, 1), "never, first"),
            ("b.test", rank(50, 9), "at 50"),
            ("a.test", rank(u64::MAX, 0), "never, before it in the list"),
            ("a.test", rank(20, 8), "at 20"),
            ("c.test", rank(u64::MAX, 1), "never, first in the list too, but came later"),
        ];
        for (host, rank, name) in table {
            // Each holder lets go at once, so the next one goes through.
            let task = stand(&gate, host, rank, name, &through);
            tokio::spawn(async move { drop(task.await) });
            settle().await;
        }
        assert!(through.lock().unwrap().is_empty(), "the one slot is held");
        drop(holder);
        settle().await;
        let want = [
            "at 20",
            "at 50",
            "never, before it in the list",
            "never, first",
            "never, first in the list too, but came later",
        ];
        assert_eq!(*through.lock().unwrap(), want);
        assert_eq!(state(&gate), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_host_takes_no_slot_from_another() {
        let gate = gate(2, 1);
        let through = Arc::default();
        let busy = gate.enter("full.test", rank(0, 0)).await.unwrap();
        let urgent = stand(&gate, "full.test", rank(1, 0), "urgent", &through);
        settle().await;
        let other = stand(&gate, "free.test", rank(u64::MAX, 9), "other", &through);
        settle().await;
        assert_eq!(*through.lock().unwrap(), ["other"]);
        drop(busy);
        settle().await;
        assert_eq!(*through.lock().unwrap(), ["other", "urgent"]);
        drop((urgent, other));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_waited_out_without_a_slot_and_in_order() {
        let gate = gate(1, 8);
        let through = Arc::default();
        let pause = Outcome::Complaint(Some(Duration::from_secs(5)));
        gate.enter("a.test", rank(0, 0)).await.unwrap().end(pause);
        let late = stand(&gate, "a.test", rank(9, 0), "late", &through);
        let soon = stand(&gate, "a.test", rank(3, 0), "soon", &through);
        settle().await;
        assert_eq!(state(&gate), (1, 1), "one sleeps for both of them");
        assert!(gate.enter("b.test", rank(9, 9)).await.is_ok(), "another host is served meanwhile");
        tokio::time::advance(Duration::from_secs(5)).await;
        settle().await;
        assert_eq!(*through.lock().unwrap(), ["soon"]);
        drop((soon.await.map(drop), late.await.map(drop)));
        settle().await;
        assert_eq!((through.lock().unwrap().len(), state(&gate)), (2, (1, 0)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_need_not_stand_in_line_for_a_host_that_is_away_hears_of_it_and_the_others_wait() {
        let gate = gate(4, 1);
        let through = Arc::default();
        let busy = gate.enter("a.test", rank(0, 0)).await.unwrap();
        let stays = stand(&gate, "a.test", rank(1, 0), "stays", &through);
        let leave = |order| {
            let gate = Arc::clone(&gate);
            tokio::spawn(async move { gate.enter_unless_away("a.test", rank(0, order)).await.ok() })
        };
        let leaving = [leave(1), leave(2)];
        settle().await;
        assert_eq!(gate.lock().by_host["a.test"].all.len(), 3);
        busy.end(Outcome::Complaint(Some(Duration::from_secs(5))));
        for left in leaving {
            assert!(matches!(left.await.unwrap(), Some(Answer::Away(until)) if until > crate::engine::now()));
        }
        assert_eq!((state(&gate), gate.lock().slept_for.len()), ((4, 0), 1), "one sleeps");
        tokio::time::advance(Duration::from_secs(5)).await;
        settle().await;
        assert_eq!(*through.lock().unwrap(), ["stays"]);
        drop(stays.await.unwrap());
        // Nobody leaves for a moment's sake.
        let paced = gate.enter("b.test", rank(0, 0)).await.unwrap();
        paced.end(Outcome::Complaint(Some(AWAY_FROM)));
        assert!(matches!(gate.enter_unless_away("b.test", rank(0, 3)).await, Ok(Answer::Through(_))));
        assert_eq!(state(&gate), (4, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_sleeps_for_a_line_and_gives_up_leaves_the_next_one_to_sleep() {
        let gate = gate(4, 8);
        let through = Arc::default();
        gate.enter("a.test", rank(0, 0)).await.unwrap().end(Outcome::Complaint(Some(Duration::from_secs(5))));
        let names = ["first", "second", "third"];
        let tasks: Vec<_> = (1_u64..)
            .zip(names)
            .map(|(order, name)| stand(&gate, "a.test", rank(order, 0), name, &through))
            .collect();
        settle().await;
        assert_eq!(state(&gate), (4, 1), "one sleeps, two stand in line");
        tokio::time::advance(Duration::from_secs(2)).await;
        tasks[0].abort();
        settle().await;
        tokio::time::advance(Duration::from_secs(3)).await;
        settle().await;
        assert_eq!(*through.lock().unwrap(), ["second", "third"]);
        drop(tasks);
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_host_fails_all_who_wait_for_it_at_once() {
        let gate = gate(8, 4);
        for _ in 0..3 {
            gate.enter("dead.test", rank(0, 0)).await.unwrap().end(Outcome::Unreachable);
        }
        for order in 0..100 {
            assert_eq!(
                gate.enter("dead.test", rank(0, order)).await.err().map(|failure| failure.cause),
                Some(Cause::Unreachable)
            );
        }
        assert_eq!(state(&gate), (8, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_says_later_for_ever_holds_nobody_longer_than_patience() {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        let gate = Gate::new(8, Arc::new(Lanes::new(4, minutes(10))));
        let began = crate::engine::now();
        let mut tasks = tokio::task::JoinSet::new();
        for order in 0..500 {
            let gate = Arc::clone(&gate);
            tasks.spawn(async move {
                loop {
                    match gate.enter("later.test", rank(0, order)).await {
                        Ok(turn) => turn.end(Outcome::Complaint(Some(minutes(1)))),
                        Err(failure) => return failure.cause,
                    }
                }
            });
        }
        while let Some(cause) = tasks.join_next().await {
            assert_eq!(cause.unwrap(), Cause::RateLimited);
        }
        assert!(began.elapsed() >= minutes(10) && began.elapsed() <= minutes(11), "{:?}", began.elapsed());
        assert_eq!(state(&gate), (8, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_gives_up_leaves_nothing_behind_and_his_turn_goes_on() {
        let gate = gate(1, 8);
        let through = Arc::default();
        let holder = gate.enter("a.test", rank(0, 0)).await.unwrap();
        let gone = stand(&gate, "a.test", rank(1, 0), "gone", &through);
        let stays = stand(&gate, "a.test", rank(2, 0), "stays", &through);
        settle().await;
        // The turn is on its way to the first of them, who will never be polled again.
        drop(holder);
        gone.abort();
        settle().await;
        let turn = stays.await.unwrap();
        assert_eq!(*through.lock().unwrap(), ["stays"]);
        let left = stand(&gate, "a.test", rank(1, 1), "left", &through);
        settle().await;
        left.abort();
        settle().await;
        assert!(gate.lock().by_host.is_empty(), "he stood in line, and does no more");
        drop(turn);
        assert_eq!(gate.lock().free, 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn however_turns_end_no_slot_is_lost_and_never_are_there_too_many() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let (gate, inside) = (gate(5, 3), Arc::new(AtomicUsize::new(0)));
        let mut tasks = tokio::task::JoinSet::new();
        for order in 0..2_000_u64 {
            let (gate, inside) = (Arc::clone(&gate), Arc::clone(&inside));
            tasks.spawn(async move {
                let host = ["a.test", "b.test", "c.test"][usize::try_from(order % 3).unwrap()];
                let enter = gate.enter(host, rank(order % 7, order));
                let Ok(Ok(turn)) = tokio::time::timeout(Duration::from_micros(order % 900), enter).await
                else {
                    return;
                };
                assert!(inside.fetch_add(1, Ordering::SeqCst) < 5);
                tokio::task::yield_now().await;
                inside.fetch_sub(1, Ordering::SeqCst);
                match order % 4 {
                    0 => turn.end(Outcome::Good),
                    1 => turn.end(Outcome::Complaint(None)),
                    _ => drop(turn),
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        assert_eq!(state(&gate), (5, 0));
        assert!(gate.enter("a.test", rank(0, 0)).await.is_ok());
    }
}
