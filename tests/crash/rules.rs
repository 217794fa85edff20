//! Single rules of the store, each with the smallest case that could break it.

use std::path::Path;

use vfetch::layout::Key;
use vfetch::manifest::{MANIFEST_MAX, Manifest};
use vfetch::sha256::Digest;
use vfetch::store::local::LocalStore;
use vfetch::store::staging::{Checkpoint, Proven, Staging};
use vfetch::store::{Found, StoreError};

use crate::disk::{Call, Cut, EIO, Fault, FaultKind, MemoryDisk};
use crate::run::{self, ROOT, Said, Task, content, job};

type Opened = (LocalStore<MemoryDisk>, Staging<MemoryDisk>);

fn open(disk: &MemoryDisk) -> Opened {
    let store = LocalStore::open(disk.clone(), Path::new(ROOT), true).expect("the folder is there");
    let staging = store.staging().expect("nobody has it");
    (store, staging)
}

fn empty() -> MemoryDisk {
    MemoryDisk::with_folder(ROOT.trim_start_matches('/'))
}

fn stage(staging: &Staging<MemoryDisk>, id: &str, output: usize, bytes: &[u8]) -> Proven<MemoryDisk> {
    let mut partial = staging.begin(&job(id), output).expect("free");
    partial.append(bytes).expect("there is room");
    partial.prove(Digest::of(bytes), bytes.len() as u64).expect("nothing fails")
}

/// A record of one output, and the file for it.
fn single(
    staging: &Staging<MemoryDisk>,
    id: &str,
    bytes: &[u8],
) -> (Manifest, Vec<(Proven<MemoryDisk>, Key)>) {
    let proven = stage(staging, id, 0, bytes);
    let key = Key::output(&job(id), 0, "bin", None);
    let mut manifest = Manifest::new(&job(id), "1");
    manifest.outputs = Some(1);
    manifest.files = vec![run::record(0, &key, &proven, "1")];
    (manifest, vec![(proven, key)])
}

fn commit(
    (store, staging): &Opened,
    id: &str,
    (manifest, files): (Manifest, Vec<(Proven<MemoryDisk>, Key)>),
) -> Result<(), StoreError> {
    let replaces = store.look(&job(id))?.version();
    store.commit(staging, &job(id), &files, &manifest, replaces).map(drop)
}

#[test]
fn after_a_failed_sync_nothing_more_is_committed_in_this_run() {
    let bytes = content(1, 300);
    let calls = {
        let disk = empty();
        let opened = open(&disk);
        disk.fail(None);
        commit(&opened, "1", single(&opened.1, "1", &bytes)).expect("nothing fails");
        disk.calls()
    };
    let mut met = 0;
    for call in 0..calls {
        let disk = empty();
        let opened = open(&disk);
        disk.take_log();
        disk.fail(Some(Fault { call, kind: FaultKind::Errno(EIO), for_good: false }));
        let first = opened.1.begin(&job("1"), 0).and_then(|mut partial| {
            partial.append(&bytes)?;
            partial.prove(Digest::of(&bytes), bytes.len() as u64)
        });
        let first = first.and_then(|proven| {
            let key = Key::output(&job("1"), 0, "bin", None);
            let mut manifest = Manifest::new(&job("1"), "1");
            manifest.outputs = Some(1);
            manifest.files = vec![run::record(0, &key, &proven, "1")];
            commit(&opened, "1", (manifest, vec![(proven, key)]))
        });
        if disk.failed_syncs() == 0 {
            continue;
        }
        met += 1;
        assert!(first.is_err(), "call {call}");
        disk.fail(None);
        let second = commit(&opened, "2", single(&opened.1, "2", &bytes));
        assert!(matches!(second, Err(StoreError::Io { .. })), "call {call}: {second:?}");
        assert!(disk.bytes_at("/out/2/manifest.json").is_none(), "call {call}");
        drop(opened);
        let reopened = open(&disk);
        assert!(disk.take_log().contains(&Call::SyncAll), "call {call}: the next run makes sure");
        commit(&reopened, "2", single(&reopened.1, "2", &bytes)).expect("the next run is a new one");
    }
    assert_eq!(met, 5, "the file, the folder, the record, the folder again, the root");
}

#[test]
fn only_a_run_that_was_cut_short_makes_the_next_one_sync_the_file_system() {
    let disk = empty();
    let synced_all = |disk: &MemoryDisk| disk.take_log().contains(&Call::SyncAll);
    drop(open(&disk));
    assert!(!synced_all(&disk), "the first run has nothing to make up for");
    drop(open(&disk));
    assert!(!synced_all(&disk), "nor has one after a run that ended");
    let killed = open(&disk);
    disk.kill();
    drop(killed);
    disk.take_log();
    drop(open(&disk));
    assert!(synced_all(&disk));
    drop(open(&disk));
    assert!(!synced_all(&disk));
}

#[test]
fn a_record_of_another_hand_cannot_have_files_removed_that_are_not_its_jobs() {
    let disk = empty();
    let opened = open(&disk);
    let good = single(&opened.1, "147", &content(1, 50));
    let record = String::from_utf8(good.0.to_bytes()).expect("text");
    commit(&opened, "147", good).expect("nothing fails");
    disk.plant("/out/canary", b"alive");
    for path in ["../canary", "manifest.json", "148-0.bin"] {
        disk.plant("/out/147/manifest.json", record.replace("147-0.bin", path).as_bytes());
        disk.plant("/out/147/148-0.bin", b"alive");
        let other = single(&opened.1, "147", &content(2, 60));
        commit(&opened, "147", other).expect("the record is replaced");
        assert_eq!(disk.bytes_at("/out/canary").as_deref(), Some(&b"alive"[..]), "{path}");
        assert_eq!(disk.bytes_at("/out/147/148-0.bin").as_deref(), Some(&b"alive"[..]), "{path}");
        assert!(disk.bytes_at("/out/147/manifest.json").is_some(), "{path}");
        assert!(!disk.take_log().contains(&Call::Unlink(format!("/out/147/{path}"))), "{path}");
    }
}

#[test]
fn a_record_that_is_too_large_counts_as_damaged_and_is_replaced() {
    let disk = empty();
    let opened = open(&disk);
    commit(&opened, "147", single(&opened.1, "147", b"some bytes")).expect("nothing fails");
    let length = usize::try_from(MANIFEST_MAX).expect("small") + 1;
    disk.plant("/out/147/manifest.json", &vec![b'['; length]);
    let found = opened.0.look(&job("147")).expect("no error");
    assert!(matches!(found, Found::Damaged { .. }));
    commit(&opened, "147", single(&opened.1, "147", b"some bytes")).expect("and is replaced");
    assert!(matches!(opened.0.look(&job("147")), Ok(Found::Record(..))));
}

type Spoil = fn(&mut Manifest);

#[test]
fn a_record_that_could_not_be_read_again_is_not_written() {
    let disk = empty();
    let opened = open(&disk);
    let spoils: [(&str, Spoil); 4] = [
        ("an output twice", |manifest| manifest.files.push(manifest.files[0].clone())),
        ("more files than outputs", |manifest| manifest.outputs = Some(0)),
        ("a name of another job", |manifest| manifest.files[0].path = "148-0.bin".into()),
        ("too large", |manifest| {
            let long = "x".repeat(usize::try_from(MANIFEST_MAX).unwrap_or(0));
            manifest.reply.insert("long".into(), long.into());
        }),
    ];
    for (what, spoil) in spoils {
        let (mut manifest, files) = single(&opened.1, "147", b"some bytes");
        spoil(&mut manifest);
        let refused = commit(&opened, "147", (manifest, files));
        assert!(matches!(refused, Err(StoreError::Unfit { .. })), "{what}: {refused:?}");
        assert!(disk.names_at("/out/147").is_empty(), "{what}: nothing was touched");
    }
}

#[test]
fn what_an_archive_has_is_not_removed_by_a_record_that_lacks_something() {
    let (first, other) = (content(1, 90), content(2, 80));
    let disk = empty();
    let opened = open(&disk);
    let two = |second: Option<&[u8]>, first: &[u8]| {
        let mut manifest = Manifest::new(&job("147"), "1");
        let (mut files, names) = (Vec::new(), [Some(first), second]);
        for (output, bytes) in names.into_iter().enumerate() {
            let Some(bytes) = bytes else { continue };
            let proven = stage(&opened.1, "147", output, bytes);
            let key = Key::free(&job("147"), output, "bin", proven.digest, &visible(&opened.0), &[]);
            manifest.files.push(run::record(output, &key, &proven, "1"));
            files.push((proven, key));
        }
        manifest.outputs = Some(2);
        commit(&opened, "147", (manifest, files)).expect("nothing fails");
    };
    two(Some(&other), &first);
    two(None, &other);
    assert_eq!(disk.bytes_at("/out/147/147-0.bin"), Some(first), "the second output is missing now");
    assert_eq!(disk.bytes_at("/out/147/147-1.bin"), Some(other.clone()));
    two(Some(&other), &content(3, 70));
    assert_eq!(
        disk.names_at("/out/147"),
        ["147-0.bin", "147-1.bin", "manifest.json"],
        "once all is there, what no record names is replaced or removed"
    );
}

fn visible(store: &LocalStore<MemoryDisk>) -> Vec<vfetch::manifest::FileRecord> {
    match store.look(&job("147")) {
        Ok(Found::Record(manifest, _)) => manifest.files,
        _ => Vec::new(),
    }
}

/// The checkpoint after these bytes.
fn at(bytes: &[u8]) -> Checkpoint {
    Checkpoint { bytes: bytes.len() as u64, sha256: Digest::of(bytes) }
}

/// A part of which so many bytes are on record and some more came after, left by a killed run.
fn left(disk: &MemoryDisk, bytes: &[u8], noted: usize) {
    let (_store, staging) = open(disk);
    let mut partial = staging.begin(&job("147"), 0).expect("free");
    partial.append(&bytes[..noted]).expect("there is room");
    partial.checkpoint("https://media.test/a", "\"v1\"", None, at(&bytes[..noted]));
    partial.append(&bytes[noted..]).expect("there is room");
    disk.kill();
}

#[test]
fn a_part_is_cut_to_its_checkpoint_when_it_is_taken_up() {
    let disk = empty();
    let bytes = content(1, 500);
    left(&disk, &bytes, 200);
    let (_store, staging) = open(&disk);
    assert_eq!(staging.left_over(&job("147"), 0).expect("there").bytes, 200);
    let (partial, hasher) = staging.resume(&job("147"), 0, |_| ()).expect("no error").expect("sound");
    assert_eq!((partial.bytes(), hasher.digest()), (200, Digest::of(&bytes[..200])));
    assert_eq!(disk.bytes_at("/out/.vfetch/staging/147-0.part").as_deref(), Some(&bytes[..200]));
}

#[test]
fn a_part_that_is_torn_or_cannot_be_read_is_not_taken_up() {
    let bytes = content(1, 500);
    let disk = empty();
    left(&disk, &bytes, 200);
    let mut torn = bytes.clone();
    torn[77] ^= 1;
    disk.plant("/out/.vfetch/staging/147-0.part", &torn);
    let (_store, staging) = open(&disk);
    assert!(staging.resume(&job("147"), 0, |_| ()).expect("no error").is_none());
    disk.plant("/out/.vfetch/staging/147-0.part", &bytes[..199]);
    assert!(staging.left_over(&job("147"), 0).is_none(), "shorter than its checkpoint");
    assert!(staging.resume(&job("147"), 0, |_| ()).expect("no error").is_none());
    disk.plant("/out/.vfetch/staging/147-0.part", &bytes);
    for call in 0..3 {
        disk.fail(Some(Fault { call, kind: FaultKind::Errno(EIO), for_good: true }));
        assert!(staging.resume(&job("147"), 0, |_| ()).expect("no error").is_none(), "call {call}");
    }
    disk.fail(None);
    assert!(staging.resume(&job("147"), 0, |_| ()).expect("no error").is_some());
    assert!(staging.left_over(&job("realtime/147"), 0).is_none(), "another job's");
}

#[test]
fn a_note_written_over_a_longer_one_can_be_read() {
    let disk = empty();
    let (_store, staging) = open(&disk);
    let mut partial = staging.begin(&job("147"), 0).expect("free");
    partial.append(b"some").expect("there is room");
    partial.checkpoint("https://media.test/a/long/path", "\"v1\"", Some(1_000_000), at(b"some"));
    partial.append(b"thing").expect("there is room");
    partial.checkpoint("https://media.test/a", "\"v1\"", None, at(b"something"));
    drop(partial);
    let part = staging.left_over(&job("147"), 0).expect("readable");
    assert_eq!((part.bytes, part.source.as_str(), part.total), (9, "https://media.test/a", None));
}

#[test]
fn a_file_that_was_proven_but_not_committed_can_be_taken_up_by_the_next_run() {
    let disk = empty();
    let bytes = content(1, 500);
    let (store, staging) = open(&disk);
    let mut partial = staging.begin(&job("147"), 0).expect("free");
    partial.append(&bytes[..400]).expect("there is room");
    partial.checkpoint("https://media.test/a", "\"v1\"", Some(500), at(&bytes[..400]));
    partial.append(&bytes[400..]).expect("there is room");
    let proven = partial.prove(Digest::of(&bytes), 500).expect("nothing fails");
    disk.kill();
    drop((proven, store, staging));
    let (_store, staging) = open(&disk);
    let (mut partial, mut hasher) = staging.resume(&job("147"), 0, |_| ()).expect("no error").expect("sound");
    assert_eq!(partial.bytes(), 400);
    partial.append(&bytes[400..]).expect("there is room");
    hasher.update(&bytes[400..]);
    assert_eq!(hasher.digest(), Digest::of(&bytes));
}

#[test]
fn an_output_is_written_by_one_download_at_a_time() {
    let disk = empty();
    let opened = open(&disk);
    let first = single(&opened.1, "147", b"the first");
    let second = opened.1.begin(&job("147"), 0);
    assert!(matches!(second, Err(StoreError::Io { .. })));
    opened.1.discard(&job("147"), 0);
    commit(&opened, "147", first).expect("what is being written is not another's to remove");
    assert!(opened.1.begin(&job("147"), 0).is_ok(), "and it is free again");
}

#[test]
fn a_full_disk_is_said_with_what_was_missing_and_leaves_finished_jobs_alone() {
    let (small, large) = (content(1, 400), content(2, 5_000));
    let disk = empty();
    let tasks = [Task::get("1", &[Some(&small)]), Task::get("2", &[Some(&large)])];
    let mut said = Said::default();
    disk.limit(Some(4_000));
    let full = run::run(&disk, &tasks, &mut said).expect_err("it does not fit");
    assert!(matches!(full, StoreError::Full { needed: Some(1..), free: Some(0), .. }), "{full:?}");
    let text = full.to_string();
    assert!(text.starts_with("writing /out/.vfetch/staging/2-0.part: No space left"), "{text}");
    assert!(text.contains("more needed, 0 bytes free"), "{text}");
    disk.kill();
    let mut tally = run::Tally::default();
    run::audit(&disk, &tasks, &said, None, &mut tally).expect("sound");
    run::check_outcome(&disk, &tasks[..1]).expect("the finished job is intact");
    disk.limit(None);
    run::run(&disk, &tasks, &mut said).expect("there is room now");
    run::check_outcome(&disk, &tasks).expect("and everything is home");
}

#[test]
fn a_folder_that_came_back_without_its_record_is_filled_again() {
    let disk = empty();
    let bytes = content(1, 300);
    let tasks = [Task::get("147", &[Some(&bytes)])];
    run::run(&disk, &tasks, &mut Said::default()).expect("nothing fails");
    disk.plant("/out/147/manifest.json", b"");
    disk.cut(Cut::Keeps, &mut fastrand::Rng::with_seed(1));
    run::run(&disk, &tasks, &mut Said::default()).expect("an empty record is none");
    run::check_outcome(&disk, &tasks).expect("home again");
}
