//! Every call of a run fails once, and from there on for good, in every way that disks have.

use crate::disk::{EINTR, EIO, ENOSPC, Fault, FaultKind};
use crate::run::{Scenario, Tally, audit, check_outcome, is_kept, run, scenarios};

const KINDS: [FaultKind; 4] =
    [FaultKind::Errno(EIO), FaultKind::Errno(ENOSPC), FaultKind::Errno(EINTR), FaultKind::ShortWrite];

/// How many calls a scenario makes where nothing fails.
fn calls_of(scenario: &Scenario) -> usize {
    let (disk, mut said) = scenario.disk();
    for tasks in &scenario.runs {
        run(&disk, tasks, &mut said).expect("nothing fails");
    }
    let calls = disk.calls();
    check_outcome(&disk, scenario.last()).expect("and everything is home");
    calls
}

/// The scenario with one fault, then without; whether a run failed.
fn meet(scenario: &Scenario, fault: Fault) -> bool {
    let (disk, mut said) = scenario.disk();
    disk.fail(Some(fault));
    let ended = scenario.runs.iter().try_for_each(|tasks| run(&disk, tasks, &mut said));
    let at = format!("{}: {fault:?}: {ended:?}", scenario.name);
    assert!(disk.synced_again().is_empty(), "{at}: a failed sync was tried again");
    disk.kill();
    if ended.is_ok() {
        check_outcome(&disk, scenario.last()).unwrap_or_else(|why| panic!("{at}: {why}"));
    }
    let mut tally = Tally::default();
    audit(&disk, scenario.last(), &said, scenario.known_damage(), &mut tally)
        .and_then(|()| is_kept(&disk, scenario))
        .unwrap_or_else(|why| panic!("{at}: {why}"));
    for tasks in &scenario.runs {
        run(&disk, tasks, &mut said).unwrap_or_else(|error| panic!("{at}: rerun: {error}"));
    }
    check_outcome(&disk, scenario.last())
        .and_then(|()| audit(&disk, scenario.last(), &said, None, &mut tally))
        .and_then(|()| is_kept(&disk, scenario))
        .unwrap_or_else(|why| panic!("{at}: rerun: {why}"));
    ended.is_err()
}

/// How many faults a scenario met, and in how many of them a run failed.
fn meet_all(scenario: &Scenario) -> (usize, usize) {
    let kinds = || KINDS.into_iter().flat_map(|kind| [(kind, false), (kind, true)]);
    let faults: Vec<Fault> = (0..calls_of(scenario))
        .flat_map(|call| kinds().map(move |(kind, for_good)| Fault { call, kind, for_good }))
        .collect();
    let failed = faults.iter().filter(|fault| meet(scenario, **fault)).count();
    (faults.len(), failed)
}

#[test]
fn whichever_call_fails_the_archive_is_sound_and_the_next_run_succeeds() {
    let scenarios = scenarios();
    let met: Vec<(usize, usize)> = std::thread::scope(|scope| {
        let threads: Vec<_> = scenarios.iter().map(|scenario| scope.spawn(|| meet_all(scenario))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let (faults, failed) = met.iter().fold((0, 0), |sum, met| (sum.0 + met.0, sum.1 + met.1));
    println!("faults: {faults} faults, {failed} runs failed, 0 archives unsound, every rerun succeeded");
    assert!(faults > failed && failed > 0);
}
