//! The power goes at any moment, and the disk keeps, loses or tears what was not synced.

use crate::disk::{Cut, Fault, FaultKind, MemoryDisk};
use crate::run::{Said, Scenario, Tally, audit, check_outcome, is_kept, run, scenarios};

/// Power cuts that begin a case; the cases themselves hold more of them.
const CASES: u64 = 2_000;

fn dies_at(call: usize) -> Fault {
    Fault { call, kind: FaultKind::Death, for_good: true }
}

/// How the process ends: by a kill, or with the power.
fn end(disk: &MemoryDisk, dice: &mut fastrand::Rng) -> &'static str {
    let (cut, word) = match dice.u8(0..7) {
        0 => return kill(disk),
        1 => (Cut::Loses, "loses"),
        2 => (Cut::Keeps, "keeps"),
        _ => (Cut::Tears, "tears"),
    };
    disk.cut(cut, dice);
    word
}

fn kill(disk: &MemoryDisk) -> &'static str {
    disk.kill();
    "kill"
}

/// One case: up to four runs that are cut off, each followed by a look at the archive, then one that is not.
fn case(
    scenario: &Scenario,
    calls: usize,
    dice: &mut fastrand::Rng,
    tally: &mut Tally,
) -> Result<u64, String> {
    let (disk, mut said) = scenario.disk();
    let mut ends = Vec::new();
    for round in 0..dice.usize(1..=4) {
        let runs =
            if round == 0 { &scenario.runs[..] } else { &scenario.runs[dice.usize(..scenario.runs.len())..] };
        disk.fail(Some(dies_at(dice.usize(..=calls))));
        let _ = runs.iter().try_for_each(|tasks| run(&disk, tasks, &mut said));
        ends.push(end(&disk, dice));
        audit(&disk, scenario.last(), &said, scenario.known_damage(), tally)
            .and_then(|()| is_kept(&disk, scenario))
            .map_err(|why| format!("after {ends:?}: {why}"))?;
    }
    for tasks in &scenario.runs {
        run(&disk, tasks, &mut said).map_err(|error| format!("after {ends:?}: the rerun fails: {error}"))?;
    }
    disk.cut(Cut::Loses, dice);
    audit(&disk, scenario.last(), &said, None, tally)
        .and_then(|()| check_outcome(&disk, scenario.last()))
        .and_then(|()| is_kept(&disk, scenario))
        .map_err(|why| format!("after {ends:?}, a whole run and a last cut: {why}"))?;
    Ok(ends.iter().filter(|end| **end != "kill").count() as u64 + 1)
}

#[test]
fn no_record_names_absent_or_other_bytes_after_a_power_cut_at_any_moment() {
    let scenarios = scenarios();
    let calls: Vec<usize> = scenarios.iter().map(calls_of).collect();
    let (mut tally, mut cuts) = (Tally::default(), 0);
    for seed in 0..CASES {
        let mut dice = fastrand::Rng::with_seed(seed);
        let which = dice.usize(..scenarios.len());
        let done = case(&scenarios[which], calls[which], &mut dice, &mut tally);
        cuts += done.unwrap_or_else(|why| panic!("seed {seed}, {}: {why}", scenarios[which].name));
    }
    println!(
        "power cuts: {cuts} in {CASES} cases, 0 records name absent or other bytes; looked at: {tally:?}"
    );
    assert!(cuts >= CASES && tally.files > 0 && tally.nothing > 0);
}

fn calls_of(scenario: &Scenario) -> usize {
    let (disk, mut said): (_, Said) = scenario.disk();
    for tasks in &scenario.runs {
        run(&disk, tasks, &mut said).expect("nothing fails");
    }
    disk.calls()
}
