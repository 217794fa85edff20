//! The order of calls in which a commit makes itself durable.

use crate::disk::Call;
use crate::run::{Said, Scenario, run, scenarios};

fn log_of(scenario: &Scenario) -> Vec<Call> {
    let (disk, mut said) = scenario.disk();
    for tasks in &scenario.runs {
        run(&disk, tasks, &mut said).expect("nothing fails");
    }
    disk.take_log()
}

/// The places of all calls that this is true of.
fn places(log: &[Call], is: impl Fn(&Call) -> bool) -> Vec<usize> {
    log.iter().enumerate().filter(|(_, call)| is(call)).map(|(place, _)| place).collect()
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn is_manifest(path: &str) -> bool {
    path.ends_with("/manifest.json")
}

/// What is wrong with the order of a log, if anything.
fn disorder(log: &[Call]) -> Result<(usize, usize), String> {
    let (mut files, mut records) = (0, 0);
    let mut rooted: Vec<String> = Vec::new();
    for (place, call) in log.iter().enumerate() {
        let Call::Rename(node, _, to) = call else { continue };
        let folder = folder_of(to).to_owned();
        let synced_before = places(&log[..place], |call| *call == Call::SyncFile(*node));
        let written =
            places(&log[..place], |call| matches!(call, Call::Write(n) | Call::Truncate(n) if n == node));
        let after =
            |from: usize, what: &Call| places(&log[from..], |call| call == what).first().map(|at| from + at);
        let synced =
            synced_before.last().is_some_and(|synced| written.last().is_none_or(|write| write < synced));
        if is_manifest(to) {
            let names_files = places(
                &log[..place],
                |call| matches!(call, Call::Rename(_, _, to) if folder_of(to) == folder && !is_manifest(to)),
            );
            let is_note = names_files.is_empty() && !synced;
            if is_note {
                continue;
            }
            records += 1;
            if !synced {
                return Err(format!("the record {to} was renamed before its sync"));
            }
            let Some(settled) = after(place, &Call::SyncFolder(folder.clone())) else {
                return Err(format!("{folder} was not synced after its record"));
            };
            if !rooted.contains(&folder)
                && after(place, &Call::SyncFolder(folder_of(&folder).into())).is_none()
            {
                return Err(format!("the folder of {folder} was never synced"));
            }
            rooted.push(folder.clone());
            let removed = places(
                &log[place..settled],
                |call| matches!(call, Call::Unlink(path) if folder_of(path) == folder),
            );
            if !removed.is_empty() {
                return Err(format!(
                    "a file of {folder} was removed before the record that drops it was synced"
                ));
            }
        } else {
            files += 1;
            if !synced {
                return Err(format!("{to} was renamed before its bytes were synced"));
            }
            let named = places(
                &log[place..],
                |call| matches!(call, Call::Rename(_, _, to) if is_manifest(to) && folder_of(to) == folder),
            );
            let Some(named) = named.first().map(|named| place + named) else {
                return Err(format!("{to} is named by no record"));
            };
            if after(place, &Call::SyncFolder(folder.clone())).is_none_or(|synced| synced > named) {
                return Err(format!("{folder} was not synced between {to} and the record that names it"));
            }
        }
    }
    Ok((files, records))
}

#[test]
fn files_are_synced_then_renamed_then_their_folder_then_the_record_then_the_root() {
    let (mut files, mut records) = (0, 0);
    for scenario in scenarios().iter().filter(|scenario| scenario.before.is_empty()) {
        let log = log_of(scenario);
        let counted = disorder(&log).unwrap_or_else(|why| panic!("{}: {why}\n{log:#?}", scenario.name));
        files += counted.0;
        records += counted.1;
    }
    println!("order: {files} files and {records} records, each in order");
    assert!(files >= 7 && records >= 4, "the log was read");
}

#[test]
fn a_replaced_file_is_removed_only_after_the_new_record_is_durable() {
    let scenario = scenarios()
        .into_iter()
        .find(|scenario| scenario.name == "other contents with --force")
        .expect("there");
    let log = log_of(&scenario);
    let record = places(&log, |call| matches!(call, Call::Rename(_, _, to) if is_manifest(to)));
    let removed =
        places(&log, |call| matches!(call, Call::Unlink(path) if path.starts_with("/out/147/147-")));
    let synced = places(&log, |call| *call == Call::SyncFolder("/out/147".into()));
    assert_eq!((record.len(), removed.len()), (1, 2), "{log:#?}");
    assert!(synced.iter().any(|synced| record[0] < *synced && *synced < removed[0]), "{log:#?}");
}

#[test]
fn a_note_without_files_is_swapped_in_without_a_sync() {
    let scenario =
        scenarios().into_iter().find(|scenario| scenario.name == "a pending note, then done").expect("there");
    let (disk, mut said): (_, Said) = scenario.disk();
    run(&disk, &scenario.runs[0], &mut said).expect("nothing fails");
    let log = disk.take_log();
    assert!(log.iter().any(|call| matches!(call, Call::Rename(_, _, to) if to == "/out/147/manifest.json")));
    let syncs = places(&log, |call| matches!(call, Call::SyncFile(_) | Call::SyncFolder(_) | Call::SyncAll));
    assert!(syncs.is_empty(), "{log:#?}");
}

#[test]
fn nothing_is_removed_that_was_never_there() {
    let (mut created, mut removed) = (0, 0);
    for scenario in scenarios().iter().filter(|scenario| scenario.before.is_empty()) {
        let log = log_of(scenario);
        for (place, call) in log.iter().enumerate() {
            let Call::Unlink(path) = call else { continue };
            removed += 1;
            assert!(log[..place].contains(&Call::Create(path.clone())), "{}: {path}", scenario.name);
        }
        created += places(&log, |call| matches!(call, Call::Create(_))).len();
    }
    assert!(created >= 11 && removed < created, "{created} created, {removed} removed");
}
