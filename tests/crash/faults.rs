//! Every call of a run fails once, and from there on for good, in every way that disks have.

use crate::disk::{EINTR, EIO, ENOSPC, Fault, FaultKind};
use crate::run::{Tally, audit, check_outcome, run, scenarios};

const KINDS: [FaultKind; 4] =
    [FaultKind::Errno(EIO), FaultKind::Errno(ENOSPC), FaultKind::Errno(EINTR), FaultKind::ShortWrite];

#[test]
fn whichever_call_fails_the_archive_is_sound_and_the_next_run_succeeds() {
    let (mut faults, mut failed_runs) = (0_u32, 0_u32);
    for scenario in scenarios() {
        let calls = {
            let (disk, mut said) = scenario.disk();
            for tasks in &scenario.runs {
                run(&disk, tasks, &mut said).expect("nothing fails");
            }
            let calls = disk.calls();
            check_outcome(&disk, scenario.last()).expect("and everything is home");
            calls
        };
        for call in 0..calls {
            for (kind, for_good) in KINDS.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
                let fault = Fault { call, kind, for_good };
                let (disk, mut said) = scenario.disk();
                disk.fail(Some(fault));
                let ended = scenario.runs.iter().try_for_each(|tasks| run(&disk, tasks, &mut said));
                let at = format!("{}: {fault:?}: {ended:?}", scenario.name);
                faults += 1;
                failed_runs += u32::from(ended.is_err());
                assert!(disk.synced_again().is_empty(), "{at}: a failed sync was tried again");
                disk.kill();
                if ended.is_ok() {
                    check_outcome(&disk, scenario.last()).unwrap_or_else(|why| panic!("{at}: {why}"));
                }
                let mut tally = Tally::default();
                audit(&disk, scenario.last(), &said, scenario.known_damage(), &mut tally)
                    .unwrap_or_else(|why| panic!("{at}: {why}"));
                for tasks in &scenario.runs {
                    run(&disk, tasks, &mut said).unwrap_or_else(|error| panic!("{at}: rerun: {error}"));
                }
                check_outcome(&disk, scenario.last()).unwrap_or_else(|why| panic!("{at}: rerun: {why}"));
                audit(&disk, scenario.last(), &said, None, &mut tally)
                    .unwrap_or_else(|why| panic!("{at}: rerun: {why}"));
            }
        }
    }
    println!("faults: {faults} faults, {failed_runs} runs failed, 0 archives unsound, every rerun succeeded");
}
