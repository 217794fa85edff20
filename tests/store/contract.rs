//! What every kind of archive promises.

use std::collections::BTreeSet;

use futures::future::join_all;
use vfetch::job::JobRef;
use vfetch::layout::Key;
use vfetch::manifest::{Manifest, State};
use vfetch::sha256::Digest;
use vfetch::store::{Entry, Found, LeftoverKind, Record, StoreError};

use super::places::{Place, file, job, record};

macro_rules! on_every_kind_of_archive {
    ($($promise:ident)*) => {
        mod a_folder {
            $(#[test] fn $promise() { super::$promise(&super::Place::folder()); })*
        }
        mod a_file_url {
            $(#[test] fn $promise() { super::$promise(&super::Place::file_url()); })*
        }
        mod memory {
            $(#[test] fn $promise() { super::$promise(&super::Place::memory()); })*
        }
        mod s3 {
            $(#[test] fn $promise() { super::Place::s3().iter().for_each(super::$promise); })*
        }
        mod azure {
            $(#[test] fn $promise() { super::Place::azure().iter().for_each(super::$promise); })*
        }
        mod google {
            $(#[test] fn $promise() { super::Place::google().iter().for_each(super::$promise); })*
        }
    };
}

on_every_kind_of_archive! {
    a_new_archive_holds_nothing
    what_is_committed_is_there_byte_for_byte
    a_first_record_does_not_replace_one_that_is_there
    a_record_is_replaced_only_by_who_read_it_last
    a_file_that_the_new_record_has_no_other_for_stays
    other_content_gets_another_name_and_the_old_file_goes_after_it
    a_record_without_files_is_swapped_like_any_other
    a_file_that_a_killed_run_left_is_no_obstacle
    a_lost_file_comes_back_under_its_name
    missing_and_short_files_are_told_apart_from_present_ones
    a_damaged_record_is_found_and_replaced
    a_folder_of_another_job_is_refused
    a_bad_file_is_put_aside_and_never_over_another
    verifying_finds_what_was_planted_and_nothing_else
    many_jobs_are_committed_at_once
    every_folder_is_listed_once
    names_that_are_escaped_are_found_again
    a_reading_caller_may_stand_on_a_runtime
}

fn a_new_archive_holds_nothing(place: &Place) {
    let job = job("147");
    place.staging();
    assert!(matches!(place.store.look(&job).unwrap(), Found::Nothing));
    assert!(matches!(place.store.record_in("147").unwrap(), Record::Nothing));
    assert_eq!(place.store.folders().unwrap().count(), 0);
    assert_eq!(place.store.names("147").unwrap(), []);
    assert_eq!(place.store.leftovers().unwrap(), []);
    assert_eq!(place.store.put_aside(place.staging(), "147", "147-0.gif").unwrap(), None);
    let error = place.store.hash(&Key::output(&job, 0, "gif", None)).unwrap_err();
    assert!(
        matches!(&error, StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound),
        "{error}"
    );
}

fn what_is_committed_is_there_byte_for_byte(place: &Place) {
    let job = job("realtime/98");
    let long = vec![7; 300_000];
    let files: [(usize, &[u8]); 2] = [(0, b"one"), (1, &long)];
    let (manifest, version) = place.commit_first(&job, &files);
    assert_eq!(manifest, record(&job, &files));
    assert_eq!(place.seen(&job), (manifest.clone(), version));
    assert!(
        matches!(place.store.record_in("realtime.98").unwrap(), Record::Sound(sound, _) if *sound == manifest)
    );
    assert_eq!(place.store.present(&job, &manifest).unwrap(), [true, true]);
    assert_eq!(place.names("realtime.98"), ["98-0.gif", "98-1.gif", "manifest.json"]);
    place.holds_what_it_says(&job);
    let mut read = Vec::new();
    let mut contents = place.store.contents(&Key::output(&job, 1, "gif", None)).unwrap();
    while let bytes @ [_, ..] = contents.read().unwrap() {
        read.extend_from_slice(bytes);
    }
    assert!(read == long && contents.read().unwrap().is_empty());
    assert!(place.store.contents(&Key::output(&job, 2, "gif", None)).is_err());
    assert_eq!(place.staged(), 0, "what is committed no longer waits");
}

fn a_first_record_does_not_replace_one_that_is_there(place: &Place) {
    let job = job("147");
    let before = place.commit_first(&job, &[(0, b"first")]);
    let late: [(usize, &[u8]); 1] = [(0, b"second")];
    let mut manifest = record(&job, &late);
    manifest.files = vec![file(&job, 0, late[0].1, true)];
    let error = place.commit(&job, &late, manifest, None).unwrap_err();
    assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
    assert_eq!(place.seen(&job), before);
    place.holds_what_it_says(&job);
    assert_eq!(place.store.hash(&Key::output(&job, 0, "gif", None)).unwrap().0, Digest::of(b"first"));
}

fn a_record_is_replaced_only_by_who_read_it_last(place: &Place) {
    let job = job("147");
    let (_, first) = place.commit_first(&job, &[(0, b"a")]);
    let second = place.commit(&job, &[], failed(&job, "one"), Some(first));
    // The files of a record that names some are dropped here; what counts is the order of the swaps.
    let (_, second) = second.unwrap();
    let error = place.commit(&job, &[], failed(&job, "two"), Some(first)).unwrap_err();
    assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
    assert_eq!(place.seen(&job).1, second);
    place.commit(&job, &[], failed(&job, "two"), Some(second)).unwrap();
    assert_eq!(place.seen(&job).0, failed(&job, "two"));
}

fn a_file_that_the_new_record_has_no_other_for_stays(place: &Place) {
    let job = job("147");
    let (mut manifest, version) = place.commit_first(&job, &[(0, b"a"), (1, b"b")]);
    manifest.files.remove(0);
    manifest.outputs = Some(1);
    manifest.state = manifest.derived_state();
    place.commit(&job, &[], manifest.clone(), Some(version)).unwrap();
    assert_eq!(place.names("147"), ["147-0.gif", "147-1.gif", "manifest.json"]);
    assert_eq!(place.seen(&job).0, manifest);
    place.holds_what_it_says(&job);
}

fn other_content_gets_another_name_and_the_old_file_goes_after_it(place: &Place) {
    let job = job("147");
    let (manifest, version) = place.commit_first(&job, &[(0, b"old")]);
    let replaced = Manifest { files: vec![file(&job, 0, b"new", true)], ..manifest };
    let (committed, version) = place.commit(&job, &[(0, b"new")], replaced, Some(version)).unwrap();
    assert_eq!(place.names("147"), [committed.files[0].path.as_str(), "manifest.json"]);
    place.holds_what_it_says(&job);
    // And back: the first name is free again.
    let again = Manifest { files: vec![file(&job, 0, b"old", false)], ..committed };
    place.commit(&job, &[(0, b"old")], again, Some(version)).unwrap();
    assert_eq!(place.names("147"), ["147-0.gif", "manifest.json"]);
    place.holds_what_it_says(&job);
}

fn a_record_without_files_is_swapped_like_any_other(place: &Place) {
    let job = job("147");
    let pending = Manifest::new(&job, "2026-01-02T03:04:05Z");
    let (_, version) = place.commit(&job, &[], pending, None).unwrap();
    assert_eq!(place.seen(&job).0.state, State::Pending);
    let files: [(usize, &[u8]); 1] = [(0, b"a")];
    place.commit(&job, &files, record(&job, &files), Some(version)).unwrap();
    assert_eq!(place.seen(&job).0.state, State::Complete);
    place.holds_what_it_says(&job);
}

fn a_file_that_a_killed_run_left_is_no_obstacle(place: &Place) {
    let (whole, cut, noted) = (job("147"), job("148"), job("149"));
    for folder in ["147", "149"] {
        place.tamper(&format!("{folder}/{folder}-0.gif"), Some(b"content"));
    }
    place.tamper("148/148-0.gif", Some(b"cont"));
    let (_, pending) =
        place.commit(&noted, &[], Manifest::new(&noted, "2026-01-02T03:04:05Z"), None).unwrap();
    for (job, replaces) in [(&whole, None), (&cut, None), (&noted, Some(pending))] {
        let files: [(usize, &[u8]); 1] = [(0, b"content")];
        place.commit(job, &files, record(job, &files), replaces).unwrap();
        place.holds_what_it_says(job);
    }
    assert_eq!(place.names("147"), ["147-0.gif", "manifest.json"], "the same bytes serve");
    assert_eq!(place.names("149"), ["149-0.gif", "manifest.json"], "the same bytes serve");
}

fn a_lost_file_comes_back_under_its_name(place: &Place) {
    let job = job("147");
    let files: [(usize, &[u8]); 2] = [(0, b"a"), (1, b"b")];
    let (manifest, version) = place.commit_first(&job, &files);
    place.tamper("147/147-1.gif", None);
    assert_eq!(place.store.present(&job, &manifest).unwrap(), [true, false]);
    let (healed, _) = place.commit(&job, &files[1..], manifest.clone(), Some(version)).unwrap();
    assert_eq!(healed, manifest);
    place.holds_what_it_says(&job);
    assert_eq!(place.names("147"), ["147-0.gif", "147-1.gif", "manifest.json"]);
}

fn missing_and_short_files_are_told_apart_from_present_ones(place: &Place) {
    let job = job("147");
    let (manifest, _) = place.commit_first(&job, &[(0, b"aaa"), (1, b"bbb"), (2, b"ccc")]);
    place.tamper("147/147-0.gif", None);
    place.tamper("147/147-1.gif", Some(b"bb"));
    assert_eq!(place.store.present(&job, &manifest).unwrap(), [false, false, true]);
    let sizes: Vec<(String, Entry)> = {
        let mut names = place.store.names("147").unwrap();
        names.retain(|(name, _)| name != "manifest.json");
        names.sort_by(|a, b| a.0.cmp(&b.0));
        names
    };
    assert_eq!(sizes, [("147-1.gif".into(), Entry::File(2)), ("147-2.gif".into(), Entry::File(3))]);
}

fn a_damaged_record_is_found_and_replaced(place: &Place) {
    let job = job("147");
    place.commit_first(&job, &[(0, b"a")]);
    place.tamper("147/manifest.json", Some(b"{\"format\":"));
    let found = place.store.look(&job).unwrap();
    let Found::Damaged { version, .. } = found else { panic!("{found:?}") };
    assert!(matches!(place.store.record_in("147").unwrap(), Record::Damaged { .. }));
    let files: [(usize, &[u8]); 1] = [(0, b"again")];
    let manifest = Manifest { files: vec![file(&job, 0, files[0].1, true)], ..record(&job, &files) };
    place.commit(&job, &files, manifest, Some(version)).unwrap();
    place.holds_what_it_says(&job);
}

fn a_folder_of_another_job_is_refused(place: &Place) {
    let mine = job("147");
    let other = vfetch::job::Origin::of(&url::Url::parse("https://other.test").unwrap()).unwrap();
    let theirs = JobRef::new(other, mine.family.clone(), mine.id.clone());
    place.commit_first(&theirs, &[(0, b"a")]);
    let error = place.store.look(&mine).unwrap_err();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
    let files: [(usize, &[u8]); 1] = [(0, b"b")];
    assert!(place.commit(&mine, &files, record(&mine, &files), None).is_err());
    assert_eq!(place.store.hash(&Key::output(&theirs, 0, "gif", None)).unwrap().0, Digest::of(b"a"));
}

fn a_bad_file_is_put_aside_and_never_over_another(place: &Place) {
    let job = job("147");
    let files: [(usize, &[u8]); 1] = [(0, b"good")];
    let (manifest, mut version) = place.commit_first(&job, &files);
    let mut asides = BTreeSet::new();
    for bad in [b"bad1", b"bad2"] {
        place.tamper("147/147-0.gif", Some(bad));
        asides.insert(place.store.put_aside(place.staging(), "147", "147-0.gif").unwrap().unwrap());
        assert_eq!(place.names("147"), ["manifest.json"]);
        let (healed, next) = place.commit(&job, &files, manifest.clone(), Some(version)).unwrap();
        version = next;
        assert_eq!(healed.files[0].path, "147-0.gif");
        place.holds_what_it_says(&job);
    }
    let leftovers = place.store.leftovers().unwrap();
    let found: BTreeSet<String> = leftovers.iter().map(|leftover| leftover.place.clone()).collect();
    assert_eq!(found, asides);
    assert!(
        leftovers.iter().all(|leftover| leftover.kind == LeftoverKind::Quarantined && leftover.bytes == 4)
    );
}

fn verifying_finds_what_was_planted_and_nothing_else(place: &Place) {
    for id in 1..=30 {
        place.commit_first(&job(&id.to_string()), &[(0, &[id; 2_000]), (1, &[id; 10])]);
    }
    assert_eq!(place.verify().unwrap(), [""; 0]);
    place.tamper("3/3-0.gif", Some(&[0; 2_000]));
    place.tamper("5/5-1.gif", Some(&[5; 9]));
    place.tamper("7/7-0.gif", None);
    place.tamper("9/manifest.json", Some(b"{"));
    place.tamper("11/11-2.gif", Some(b"more"));
    let found = [
        "11/11-2.gif extra",
        "3/3-0.gif damaged",
        "5/5-1.gif damaged",
        "7/7-0.gif missing",
        "9/manifest.json unreadable",
    ];
    assert_eq!(place.verify().unwrap(), found);
}

fn many_jobs_are_committed_at_once(place: &Place) {
    let jobs: Vec<_> = (0..40).map(|id| job(&id.to_string())).collect();
    let content = |at: usize| vec![u8::try_from(at).unwrap(); 1000 + at];
    let works = jobs.iter().enumerate().map(|(at, job)| {
        let bytes = content(at);
        let manifest = record(job, &[(0, &bytes)]);
        let file = (place.proven(job, 0, &bytes), Key::output(job, 0, "gif", None));
        place.store.commit(place.staging(), job, vec![file], manifest, None)
    });
    let works: Vec<_> = works.collect();
    for done in place.runtime().block_on(join_all(works)) {
        done.unwrap();
    }
    for job in &jobs {
        place.holds_what_it_says(job);
    }
    assert_eq!(place.staged(), 0);
}

fn every_folder_is_listed_once(place: &Place) {
    /// More than a page of S3 holds.
    const JOBS: usize = 1_050;
    place.staging();
    place.tamper("Of-the-user.txt", Some(b"mine"));
    place.tamper("Of-The-User/147.txt", Some(b"mine"));
    let jobs: Vec<_> = (0..JOBS).map(|id| job(&format!("j{id}"))).collect();
    let notes = jobs.iter().map(|job| {
        let note = Manifest::new(job, "2026-01-02T03:04:05Z");
        place.store.commit(place.staging(), job, Vec::new(), note, None)
    });
    let notes: Vec<_> = notes.collect();
    place.runtime().block_on(join_all(notes)).into_iter().for_each(|done| drop(done.unwrap()));
    let listed: Vec<String> = place.store.folders().unwrap().map(Result::unwrap).collect();
    let distinct: BTreeSet<&String> = listed.iter().collect();
    assert_eq!((listed.len(), distinct.len()), (JOBS, JOBS));
    assert!(listed.iter().all(|name| name.starts_with('j')), "what is not a job's stays out");
}

fn names_that_are_escaped_are_found_again(place: &Place) {
    for id in ["AbC", "con", "a.b", "x_y-z"] {
        let job = job(id);
        let (manifest, _) = place.commit_first(&job, &[(0, id.as_bytes())]);
        assert_eq!(place.store.present(&job, &manifest).unwrap(), [true], "{id}");
        place.holds_what_it_says(&job);
    }
    let mut listed: Vec<String> = place.store.folders().unwrap().map(Result::unwrap).collect();
    listed.sort();
    assert_eq!(listed, ["a~0b", "x_y-z", "~1con", "~ab~c"]);
}

mod two_writers {
    use super::{Place, of_two_writers_one_wins_and_its_record_is_true};

    #[test]
    fn one_wins_in_a_folder() {
        of_two_writers_one_wins_and_its_record_is_true(&Place::folder());
    }

    #[test]
    fn one_wins_in_memory() {
        of_two_writers_one_wins_and_its_record_is_true(&Place::memory());
    }

    #[test]
    fn one_wins_on_azure() {
        Place::azure().iter().for_each(of_two_writers_one_wins_and_its_record_is_true);
    }

    #[test]
    fn one_wins_on_google() {
        Place::google().iter().for_each(of_two_writers_one_wins_and_its_record_is_true);
    }

    /// Through the proxy, which lets one write pass at a time: moto looks and writes in two steps.
    #[test]
    fn one_wins_on_s3() {
        if let Some(proxy) = super::super::proxy::Proxy::new() {
            of_two_writers_one_wins_and_its_record_is_true(&proxy.place());
        }
    }
}

fn of_two_writers_one_wins_and_its_record_is_true(place: &Place) {
    for round in 0..10 {
        let job = job(&format!("r{round}"));
        let contents: [&[u8]; 2] = [b"from the first writer", b"from the second writer"];
        let works: Vec<_> = contents
            .iter()
            .enumerate()
            .map(|(writer, bytes)| {
                let manifest = record(&job, &[(0, bytes)]);
                // Each writer has a staging area of its own; here its own part in the same one.
                let other = super::places::job(&format!("w{round}-{writer}"));
                let file = (place.proven(&other, 0, bytes), Key::output(&job, 0, "gif", None));
                place.store.commit(place.staging(), &job, vec![file], manifest, None)
            })
            .collect();
        let done = place.runtime().block_on(join_all(works));
        assert_eq!(done.iter().filter(|done| done.is_ok()).count(), 1, "{done:?}");
        let lost = done.into_iter().find_map(Result::err).unwrap();
        assert!(matches!(lost, StoreError::Conflict { .. }), "{lost}");
        place.holds_what_it_says(&job);
    }
}

fn a_reading_caller_may_stand_on_a_runtime(place: &Place) {
    let job = job("147");
    let (manifest, _) = place.commit_first(&job, &[(0, b"a")]);
    place.runtime().block_on(async {
        assert_eq!(place.store.present(&job, &manifest).unwrap(), [true]);
        assert_eq!(place.store.folders().unwrap().count(), 1);
    });
}

fn failed(job: &JobRef, detail: &str) -> Manifest {
    let mut manifest = Manifest::new(job, "2026-01-02T03:04:05Z");
    manifest.outputs = Some(0);
    let failure = vfetch::retry::Failure::new(vfetch::retry::Cause::JobFailed, detail);
    manifest.error = Some(vfetch::manifest::Reason::of(&failure, None, None));
    manifest.state = manifest.derived_state();
    manifest
}
