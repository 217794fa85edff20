//! Runs of the program over an archive, without the network: what they write, and what must be true afterwards.

use std::collections::BTreeMap;
use std::path::Path;

use vfetch::job::{DEFAULT_ORIGIN, Defaults, JobRef};
use vfetch::layout::{self, Key};
use vfetch::manifest::{FileRecord, Manifest, Rung, State};
use vfetch::sha256::{Digest, Sha256};
use vfetch::store::local::LocalStore;
use vfetch::store::staging::{Checkpoint, Partial, Proven, Staging};
use vfetch::store::{Found, StoreError};

use crate::disk::MemoryDisk;

/// Where every archive of these tests lies.
pub(crate) const ROOT: &str = "/out";
const SOURCE: &str = "https://media.test/";

/// How a job is worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// What is not here is fetched.
    Get,
    /// The service is still at work: the run notes that and goes away.
    Pending,
    /// What is here is fetched again.
    Force,
    /// What is here is hashed, and fetched where it is not what the record says.
    Check,
    /// The same, and bad files are put aside before others take their place.
    Repair,
}

/// One job in one run.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) id: &'static str,
    /// What the job's outputs bring in this run; `None` where no source serves.
    pub(crate) outputs: Vec<Option<Vec<u8>>>,
    pub(crate) way: Way,
    /// The run leaves after so many bytes of the last output, with a checkpoint.
    pub(crate) leaves_after: Option<usize>,
}

impl Task {
    pub(crate) fn get(id: &'static str, outputs: &[Option<&[u8]>]) -> Self {
        let outputs = outputs.iter().map(|bytes| bytes.map(<[u8]>::to_vec)).collect();
        Self { id, outputs, way: Way::Get, leaves_after: None }
    }

    pub(crate) fn pending(id: &'static str, outputs: usize) -> Self {
        Self { way: Way::Pending, ..Self::get(id, &vec![None; outputs]) }
    }

    pub(crate) fn forced(self) -> Self {
        Self { way: Way::Force, ..self }
    }

    pub(crate) fn checked(self) -> Self {
        Self { way: Way::Check, ..self }
    }

    pub(crate) fn repairing(self) -> Self {
        Self { way: Way::Repair, ..self }
    }

    pub(crate) fn leaving_after(self, bytes: usize) -> Self {
        Self { leaves_after: Some(bytes), ..self }
    }

    pub(crate) fn job(&self) -> JobRef {
        job(self.id)
    }
}

pub(crate) fn job(id: &str) -> JobRef {
    Defaults::new(DEFAULT_ORIGIN, None).and_then(|defaults| defaults.parse(id)).expect("a good id").job
}

/// Some bytes that no other call with another seed makes.
pub(crate) fn content(seed: u64, length: usize) -> Vec<u8> {
    let mut dice = fastrand::Rng::with_seed(seed);
    (0..length).map(|_| dice.u8(..)).collect()
}

/// What the runs so far have said: for each job the last record that was called committed.
#[derive(Debug, Default)]
pub(crate) struct Said {
    committed: BTreeMap<&'static str, u64>,
    records: u64,
}

impl Said {
    /// The number of the next record; records carry theirs as their time.
    fn next(&mut self) -> u64 {
        self.records += 1;
        self.records
    }

    fn committed(&mut self, task: &Task, manifest: &Manifest) {
        // Notes of jobs without files may be lost; nothing was promised of them.
        if !manifest.files.is_empty() {
            self.committed.insert(task.id, number(manifest));
        }
    }
}

fn number(manifest: &Manifest) -> u64 {
    manifest.updated_at.parse().expect("a number")
}

/// One run of the program over these tasks.
pub(crate) fn run(disk: &MemoryDisk, tasks: &[Task], said: &mut Said) -> Result<(), StoreError> {
    let store = LocalStore::create(disk.clone(), Path::new(ROOT), true)?;
    let staging = store.staging()?;
    for task in tasks {
        work(&store, &staging, task, said)?;
    }
    Ok(())
}

fn work(
    store: &LocalStore<MemoryDisk>,
    staging: &Staging<MemoryDisk>,
    task: &Task,
    said: &mut Said,
) -> Result<(), StoreError> {
    let job = task.job();
    let found = store.look(&job)?;
    let present = present(store, &job, task, &found)?;
    let mut manifest = match &found {
        Found::Record(manifest, _) => manifest.as_ref().clone(),
        Found::Nothing | Found::Damaged { .. } => Manifest::new(&job, "0"),
    };
    if manifest.state == State::Complete && present.len() == manifest.files.len() && task.way != Way::Force {
        said.committed(task, &manifest);
        return Ok(());
    }
    manifest.updated_at = said.next().to_string();
    if task.way == Way::Pending {
        if manifest.files.is_empty() && manifest.pending_seen_at.is_none() {
            manifest.pending_seen_at = Some(manifest.updated_at.clone());
            store.commit(staging, &job, &[], &manifest, found.version())?;
        }
        return Ok(());
    }
    let visible = std::mem::take(&mut manifest.files);
    let mut came = Vec::new();
    for (output, bytes) in task.outputs.iter().enumerate() {
        let here = present.iter().find(|file| file.output == output);
        match (here, bytes) {
            (Some(here), None) => manifest.files.push(here.clone()),
            (Some(here), Some(_)) if task.way != Way::Force => manifest.files.push(here.clone()),
            (None | Some(_), Some(bytes)) => match bring(staging, task, output, bytes)? {
                Some(proven) => came.push((output, proven)),
                None => return Ok(()),
            },
            (None, None) => {}
        }
    }
    if task.way == Way::Repair {
        for bad in visible.iter().filter(|file| !present.contains(file)) {
            store.put_aside(staging, &layout::folder(&job), &bad.path)?;
        }
    }
    manifest.outputs = Some(task.outputs.len());
    let kept = manifest.files.clone();
    let mut files = Vec::new();
    for (output, proven) in came {
        let key = Key::free(&job, output, "bin", proven.digest, &visible, &kept);
        manifest.files.push(record(output, &key, &proven, &manifest.updated_at));
        files.push((proven, key));
    }
    manifest.files.sort_by_key(|file| file.output);
    manifest.state = manifest.derived_state();
    store.commit(staging, &job, &files, &manifest, found.version())?;
    said.committed(task, &manifest);
    Ok(())
}

/// The record's files that are there.
fn present(
    store: &LocalStore<MemoryDisk>,
    job: &JobRef,
    task: &Task,
    found: &Found,
) -> Result<Vec<FileRecord>, StoreError> {
    let Found::Record(manifest, _) = found else { return Ok(Vec::new()) };
    let present = store.present(job, manifest)?;
    let mut here = Vec::new();
    for (file, present) in manifest.files.iter().zip(present) {
        let key = Key::recorded(job, &file.path).filter(|_| present);
        let Some(key) = key else { continue };
        if !matches!(task.way, Way::Check | Way::Repair) || store.hash(&key)? == (file.sha256, file.bytes) {
            here.push(file.clone());
        }
    }
    Ok(here)
}

/// Stages one output as a download would, in chunks, going on with what an earlier run left; `None` where this run
/// leaves half way.
fn bring(
    staging: &Staging<MemoryDisk>,
    task: &Task,
    output: usize,
    bytes: &[u8],
) -> Result<Option<Proven<MemoryDisk>>, StoreError> {
    const CHUNK: usize = 100;
    let job = task.job();
    let etag = format!("\"{}\"", Digest::of(bytes));
    let goes_on = staging.left_over(&job, output).is_some_and(|part| part.etag.as_deref() == Some(&*etag));
    let resumed = if goes_on { staging.resume(&job, output, |_| ())? } else { None };
    let (mut partial, mut hasher) = match resumed {
        Some(resumed) => resumed,
        None => (staging.begin(&job, output)?, Sha256::default()),
    };
    let start = usize::try_from(partial.bytes()).expect("small");
    let leaves_at = task.leaves_after.filter(|_| output + 1 == task.outputs.len());
    for chunk in bytes[start..].chunks(CHUNK) {
        partial.append(chunk)?;
        hasher.update(chunk);
        let checkpoint = Checkpoint { bytes: partial.bytes(), sha256: hasher.digest() };
        partial.checkpoint(SOURCE, &etag, Some(bytes.len() as u64), checkpoint);
        if leaves_at.is_some_and(|leaves_at| partial.bytes() >= leaves_at as u64) {
            return Ok(None);
        }
    }
    prove(partial, &hasher).map(Some)
}

fn prove(partial: Partial<MemoryDisk>, hasher: &Sha256) -> Result<Proven<MemoryDisk>, StoreError> {
    let bytes = partial.bytes();
    partial.prove(hasher.digest(), bytes)
}

pub(crate) fn record(output: usize, key: &Key, proven: &Proven<MemoryDisk>, now: &str) -> FileRecord {
    FileRecord {
        output,
        path: key.name().into(),
        bytes: proven.bytes,
        sha256: proven.digest,
        kind: "unknown".into(),
        source: format!("{SOURCE}{output}"),
        rung: Rung::Output,
        etag: None,
        last_modified: None,
        attempts: 1,
        archived_at: now.into(),
        left: Vec::new(),
        unknown: serde_json::Map::new(),
    }
}

/// How many records were looked at, and what they were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) nothing: u64,
    pub(crate) damaged_notes: u64,
    pub(crate) records: u64,
    pub(crate) files: u64,
}

/// What must be true of an archive whatever happened to it: no record names absent or other bytes, and what was called
/// committed is there. `known` is damage that another hand did, path and bytes, and that no run has healed yet; what it
/// put there is not lost either where the runs put it aside.
pub(crate) fn audit(
    disk: &MemoryDisk,
    tasks: &[Task],
    said: &Said,
    known: Option<(&str, &[u8])>,
    tally: &mut Tally,
) -> Result<(), String> {
    let store = LocalStore::open(disk.clone(), Path::new(ROOT), true).map_err(|error| error.to_string())?;
    for task in tasks {
        let promised = said.committed.get(task.id).copied();
        let manifest = match store.look(&task.job()).map_err(|error| error.to_string())? {
            Found::Nothing => {
                tally.nothing += 1;
                promised
                    .map_or(Ok(()), |n| Err(format!("{}: record {n} was committed and is gone", task.id)))?;
                continue;
            }
            Found::Damaged { why, .. } => {
                tally.damaged_notes += 1;
                promised
                    .map_or(Ok(()), |n| Err(format!("record {n} was committed and is damaged: {why}")))?;
                continue;
            }
            Found::Record(manifest, _) => manifest,
        };
        tally.records += 1;
        if promised.is_some_and(|promised| promised > number(&manifest)) {
            return Err(format!(
                "{}: record {promised:?} was committed, {} is there",
                task.id,
                number(&manifest)
            ));
        }
        for file in &manifest.files {
            tally.files += 1;
            let path = format!("{ROOT}/{}/{}", layout::folder(&task.job()), file.path);
            let Some(bytes) = disk.bytes_at(&path) else {
                let aside = known.is_some_and(|(known, _)| known == path) && task.way == Way::Repair;
                let missing = || format!("{path} is named and not there");
                aside.then_some(()).ok_or_else(missing)?;
                continue;
            };
            let right = Digest::of(&bytes) == file.sha256 && bytes.len() as u64 == file.bytes;
            if !right && known != Some((path.as_str(), &bytes)) {
                return Err(format!("{path} is named with other bytes than it has"));
            }
        }
    }
    Ok(())
}

/// What another hand has put in a file's place is not thrown away by runs that put it aside.
pub(crate) fn is_kept(disk: &MemoryDisk, scenario: &Scenario) -> Result<(), String> {
    const QUARANTINE: &str = "/out/.vfetch/quarantine/147";
    let Some((path, bytes)) = scenario.known_damage() else { return Ok(()) };
    if !scenario.last().iter().any(|task| task.way == Way::Repair) {
        return Ok(());
    }
    let aside = disk.names_at(QUARANTINE).into_iter().map(|name| format!("{QUARANTINE}/{name}"));
    let kept = aside.chain([path.to_owned()]).any(|place| disk.bytes_at(&place).as_deref() == Some(bytes));
    if kept { Ok(()) } else { Err(format!("what lay at {path} is lost")) }
}

/// After a run that ended well: each task's outputs are there, byte for byte, under names that the record gives them.
pub(crate) fn check_outcome(disk: &MemoryDisk, tasks: &[Task]) -> Result<(), String> {
    let store = LocalStore::open(disk.clone(), Path::new(ROOT), true).map_err(|error| error.to_string())?;
    for task in tasks {
        let Ok(Found::Record(manifest, _)) = store.look(&task.job()) else {
            return Err(format!("{} has no record", task.id));
        };
        if task.way == Way::Pending {
            continue;
        }
        for (output, want) in task.outputs.iter().enumerate() {
            let Some(want) = want else { continue };
            let file = manifest.files.iter().find(|file| file.output == output);
            let file = file.ok_or_else(|| format!("{}: output {output} is not in the record", task.id))?;
            let path = format!("{ROOT}/{}/{}", layout::folder(&task.job()), file.path);
            if disk.bytes_at(&path).as_ref() != Some(want) {
                return Err(format!("{path} does not hold what came"));
            }
        }
    }
    Ok(())
}

/// What several runs do to one archive, one after the other.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// Runs that are over, and all of which is on the platter, when the trouble begins.
    pub(crate) before: Vec<Vec<Task>>,
    /// A file that another hand writes then, with what it puts there.
    pub(crate) planted: Option<(&'static str, Vec<u8>)>,
    /// Runs that may meet trouble.
    pub(crate) runs: Vec<Vec<Task>>,
}

impl Scenario {
    /// A disk on which the trouble may begin, with what was said so far.
    pub(crate) fn disk(&self) -> (MemoryDisk, Said) {
        let disk = MemoryDisk::with_folder(ROOT.trim_start_matches('/'));
        let mut said = Said::default();
        for tasks in &self.before {
            run(&disk, tasks, &mut said).expect("nothing fails yet");
        }
        disk.cut(crate::disk::Cut::Keeps, &mut fastrand::Rng::with_seed(0));
        if let Some((path, bytes)) = &self.planted {
            disk.plant(path, bytes);
        }
        disk.fail(None);
        disk.take_log();
        (disk, said)
    }

    pub(crate) fn known_damage(&self) -> Option<(&str, &[u8])> {
        self.planted.as_ref().map(|(path, bytes)| (*path, bytes.as_slice()))
    }

    /// The last run, which must bring everything home in the end.
    pub(crate) fn last(&self) -> &[Task] {
        self.runs.last().expect("a scenario has runs")
    }
}

/// Everything that these tests put an archive through.
pub(crate) fn scenarios() -> Vec<Scenario> {
    let [a, b, c] = [content(1, 700), content(2, 130), content(3, 333)];
    let [other_a, other_b] = [content(4, 650), content(5, 130)];
    let three = || Task::get("147", &[Some(&a), Some(&b), Some(&c)]);
    let second_job = || Task::get("realtime/98", &[Some(&other_a)]);
    let scenario = |name, before, runs| Scenario { name, before, planted: None, runs };
    vec![
        scenario("a first commit of three files", vec![], vec![vec![three()]]),
        scenario("two jobs", vec![], vec![vec![three(), second_job()]]),
        scenario("a pending note, then done", vec![], vec![vec![Task::pending("147", 3)], vec![three()]]),
        scenario(
            "a partial job, then the rest",
            vec![vec![Task::get("147", &[Some(&a), None, Some(&c)])]],
            vec![vec![three()]],
        ),
        scenario(
            "a partial job that stays partial, then the rest",
            vec![vec![Task::get("147", &[Some(&a), None, Some(&c)])]],
            vec![vec![Task::get("147", &[Some(&a), None, Some(&c)])], vec![three()]],
        ),
        scenario(
            "other contents with --force",
            vec![vec![three()]],
            vec![vec![Task::get("147", &[Some(&other_a), Some(&other_b), Some(&c)]).forced()]],
        ),
        scenario(
            "other contents with --force, and back",
            vec![vec![three()]],
            vec![
                vec![Task::get("147", &[Some(&other_a), Some(&other_b), Some(&c)]).forced()],
                vec![three().forced()],
            ],
        ),
        scenario(
            "--force while one source is down",
            vec![vec![three()]],
            vec![vec![Task::get("147", &[Some(&other_a), None, Some(&c)]).forced()]],
        ),
        scenario(
            "a part that a later run goes on with",
            vec![vec![three().leaving_after(200)]],
            vec![vec![three()]],
        ),
        Scenario {
            name: "after a run that was killed",
            before: vec![vec![three()]],
            planted: Some(("/out/.vfetch/staging/lock", b"4711      \n".to_vec())),
            runs: vec![vec![three(), second_job()]],
        },
        Scenario {
            name: "a damaged file, healed with the same bytes",
            before: vec![vec![three()]],
            planted: Some(("/out/147/147-1.bin", content(6, 130))),
            runs: vec![vec![three().checked()]],
        },
        Scenario {
            name: "a damaged file, put aside and healed",
            before: vec![vec![three()]],
            planted: Some(("/out/147/147-1.bin", content(6, 130))),
            runs: vec![vec![three().repairing()]],
        },
        Scenario {
            name: "a damaged file, replaced by other bytes",
            before: vec![vec![three()]],
            planted: Some(("/out/147/147-0.bin", content(7, 700))),
            runs: vec![vec![Task::get("147", &[Some(&other_a), Some(&b), Some(&c)]).checked()]],
        },
    ]
}
