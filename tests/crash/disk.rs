//! A disk in memory that can be looked into, fails on cue, and loses what was not synced.
//!
//! Every file and every folder has two states: what a running system sees, and what is on the platter. Writes and
//! changes of names go to the first; only a sync moves them to the second, and at a power cut a chance decides about
//! each of the others. What is assumed of the real thing is what every file system with a journal gives: a rename is
//! there as a whole or not at all. Nothing else is: changes of different names survive in any combination, a file may
//! come back with any of its blocks old, new or zero, and after a failed sync the next one succeeds and saves nothing.

mod calls;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is old and what is new after a power cut is decided for this many bytes at once.
const BLOCK: usize = 64;
/// The folder that paths begin at.
const TOP: usize = 0;

/// A call as it was made, in the order of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    MakeFolder(String),
    Create(String),
    Write(usize),
    Truncate(usize),
    SyncFile(usize),
    SyncFolder(String),
    SyncAll,
    /// The file, its old place and its new one.
    Rename(usize, String, String),
    Unlink(String),
    /// What only looks.
    Look(&'static str),
}

/// What goes wrong, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The first call that it meets, counted from 0.
    pub(crate) call: usize,
    pub(crate) kind: FaultKind,
    /// Whether it meets all later calls too.
    pub(crate) for_good: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    Errno(i32),
    /// Writes take half of what they are given; other calls are not met.
    ShortWrite,
    /// The process is gone from here on: whatever it still calls does nothing.
    Death,
}

pub(crate) const EINTR: i32 = 4;
pub(crate) const EIO: i32 = 5;
pub(crate) const ENOSPC: i32 = 28;

/// How a power cut treats what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// All of it is lost.
    Loses,
    /// All of it happens to be there.
    Keeps,
    /// Any of it may be there, and files are torn.
    Tears,
}

/// The disk. Clones are the same disk.
#[derive(Clone, Debug)]
pub(crate) struct MemoryDisk(Arc<Mutex<State>>);

#[derive(Debug)]
pub(crate) struct Handle {
    node: usize,
    number: u64,
    /// A handle does not outlive its process.
    boot: u64,
    disk: MemoryDisk,
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.locks.get(&self.node) == Some(&self.number) {
            state.locks.remove(&self.node);
        }
    }
}

#[derive(Debug, Default)]
struct State {
    nodes: Vec<Node>,
    /// Changes of names that are not synced, oldest first; each holds as a whole.
    pending: Vec<Change>,
    changes: u64,
    /// Which handle holds the lock of a file.
    locks: BTreeMap<usize, u64>,
    handles: u64,
    boot: u64,
    calls: usize,
    fault: Option<Fault>,
    log: Vec<Call>,
    /// Nodes whose sync has failed in this process.
    failed_syncs: BTreeSet<usize>,
    synced_again: Vec<usize>,
    /// The most bytes of all files together.
    capacity: Option<u64>,
}

#[derive(Clone, Debug)]
enum Node {
    File {
        now: Vec<u8>,
        kept: Vec<u8>,
        /// Some of what was written was lost by a failed sync and is on no disk, whatever later syncs say.
        lost: bool,
    },
    Folder {
        now: BTreeMap<String, usize>,
        kept: BTreeMap<String, (u64, Option<usize>)>,
    },
}

/// Names that change together, with their place in the order of all changes.
#[derive(Clone, Debug)]
struct Change {
    order: u64,
    names: Vec<(usize, String, Option<usize>)>,
}

impl MemoryDisk {
    /// An empty disk with this folder on it.
    pub(crate) fn with_folder(name: &str) -> Self {
        let folder = || Node::Folder { now: BTreeMap::new(), kept: BTreeMap::new() };
        let mut state = State { nodes: vec![folder(), folder()], ..State::default() };
        state.change(vec![(TOP, name.into(), Some(1))]);
        state.keep_all();
        Self(Arc::new(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this goes wrong; calls are counted from here.
    pub(crate) fn fail(&self, fault: Option<Fault>) {
        let mut state = self.state();
        state.fault = fault;
        state.calls = 0;
    }

    /// How many calls were made since [`MemoryDisk::fail`].
    pub(crate) fn calls(&self) -> usize {
        self.state().calls
    }

    /// The calls since the last time.
    pub(crate) fn take_log(&self) -> Vec<Call> {
        std::mem::take(&mut self.state().log)
    }

    /// How many files and folders of this process have failed to sync.
    pub(crate) fn failed_syncs(&self) -> usize {
        self.state().failed_syncs.len()
    }

    /// Files and folders that were synced once more after a sync of theirs had failed.
    pub(crate) fn synced_again(&self) -> Vec<usize> {
        self.state().synced_again.clone()
    }

    /// Takes no more than so many bytes from now on.
    pub(crate) fn limit(&self, capacity: Option<u64>) {
        self.state().capacity = capacity;
    }

    /// The process ends, the system goes on.
    pub(crate) fn kill(&self) {
        let mut state = self.state();
        state.boot += 1;
        state.locks.clear();
        state.fault = None;
        state.log.clear();
        state.failed_syncs.clear();
    }

    /// The power goes, and comes back.
    pub(crate) fn cut(&self, cut: Cut, dice: &mut fastrand::Rng) {
        self.kill();
        let mut state = self.state();
        let pending = std::mem::take(&mut state.pending);
        for change in pending {
            let survives = match cut {
                Cut::Loses => false,
                Cut::Keeps => true,
                Cut::Tears => dice.bool(),
            };
            if survives {
                state.keep(&change);
            }
        }
        for node in &mut state.nodes {
            match node {
                Node::File { now, kept, lost } => {
                    let after = match (cut, *lost) {
                        (Cut::Keeps, false) => now.clone(),
                        (Cut::Loses, _) | (Cut::Keeps, true) => kept.clone(),
                        (Cut::Tears, _) => torn(kept, now, dice),
                    };
                    now.clone_from(&after);
                    (*kept, *lost) = (after, false);
                }
                Node::Folder { now, kept } => {
                    *now =
                        kept.iter().filter_map(|(name, (_, node))| Some((name.clone(), (*node)?))).collect();
                }
            }
        }
    }

    /// The bytes of the file at this path as a running system sees them.
    pub(crate) fn bytes_at(&self, path: &str) -> Option<Vec<u8>> {
        let state = self.state();
        match &state.nodes[state.find(path)?] {
            Node::File { now, .. } => Some(now.clone()),
            Node::Folder { .. } => None,
        }
    }

    /// Puts a file somewhere, synced, as another hand would.
    pub(crate) fn plant(&self, path: &str, bytes: &[u8]) {
        let mut state = self.state();
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let Some(folder) = state.find(folder) else { panic!("there is no {folder}") };
        let node = Node::File { now: bytes.to_vec(), kept: bytes.to_vec(), lost: false };
        state.nodes.push(node);
        let node = state.nodes.len() - 1;
        state.change(vec![(folder, name.into(), Some(node))]);
        if let Some(change) = state.pending.pop() {
            state.keep(&change);
        }
    }

    /// The names in the folder at this path.
    pub(crate) fn names_at(&self, path: &str) -> Vec<String> {
        let state = self.state();
        match state.find(path).map(|node| &state.nodes[node]) {
            Some(Node::Folder { now, .. }) => now.keys().cloned().collect(),
            _ => Vec::new(),
        }
    }

    fn call(&self, at: &Handle, call: Call) -> io::Result<MutexGuard<'_, State>> {
        let state = self.begin(call)?;
        if at.boot != state.boot {
            // Code of a killed process that is still on its stack: nobody hears it.
            return Err(ErrorKind::BrokenPipe.into());
        }
        Ok(state)
    }

    fn begin(&self, call: Call) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        let number = state.calls;
        state.calls += 1;
        let failed = state.fault.filter(|fault| fault.meets(number, &call));
        match failed.map(|fault| fault.kind) {
            Some(FaultKind::Errno(errno)) => {
                state.note_failure(&call);
                Err(io::Error::from_raw_os_error(errno))
            }
            Some(FaultKind::Death) => Err(ErrorKind::BrokenPipe.into()),
            Some(FaultKind::ShortWrite) | None => {
                state.log.push(call);
                Ok(state)
            }
        }
    }

    fn handle(&self, state: &mut State, node: usize) -> Handle {
        state.handles += 1;
        Handle { node, number: state.handles, boot: state.boot, disk: self.clone() }
    }
}

impl Fault {
    fn meets(&self, number: usize, call: &Call) -> bool {
        let is_transfer = matches!(call, Call::Write(_) | Call::Look("read"));
        match self.kind {
            FaultKind::ShortWrite => false,
            // Interrupted for ever is not interrupted: every other read or write gets through.
            FaultKind::Errno(EINTR) if self.for_good && is_transfer => {
                number >= self.call && number.is_multiple_of(2)
            }
            FaultKind::Errno(_) => number == self.call || self.for_good && number > self.call,
            FaultKind::Death => number >= self.call,
        }
    }

    fn shortens(&self, number: usize) -> bool {
        self.kind == FaultKind::ShortWrite && (number == self.call || self.for_good && number > self.call)
    }
}

impl State {
    fn find(&self, path: &str) -> Option<usize> {
        path.split('/').filter(|name| !name.is_empty() && *name != ".").try_fold(TOP, |at, name| match &self
            .nodes[at]
        {
            Node::Folder { now, .. } => now.get(name).copied(),
            Node::File { .. } => None,
        })
    }

    /// Where a folder is, for the log.
    fn path(&self, node: usize) -> String {
        let parent = self.nodes.iter().enumerate().find_map(|(above, folder)| match folder {
            Node::Folder { now, .. } => {
                now.iter().find(|(_, below)| **below == node).map(|(name, _)| (above, name.clone()))
            }
            Node::File { .. } => None,
        });
        match parent {
            Some((above, name)) => format!("{}/{name}", self.path(above)),
            None => String::new(),
        }
    }

    fn folder(&mut self, node: usize) -> io::Result<&mut BTreeMap<String, usize>> {
        match &mut self.nodes[node] {
            Node::Folder { now, .. } => Ok(now),
            Node::File { .. } => Err(ErrorKind::NotADirectory.into()),
        }
    }

    fn file(&mut self, node: usize) -> io::Result<&mut Vec<u8>> {
        match &mut self.nodes[node] {
            Node::File { now, .. } => Ok(now),
            Node::Folder { .. } => Err(ErrorKind::IsADirectory.into()),
        }
    }

    fn lookup(&mut self, folder: usize, name: &str) -> io::Result<usize> {
        self.folder(folder)?.get(name).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// Changes names at once, for the running system; for the platter only later.
    fn change(&mut self, names: Vec<(usize, String, Option<usize>)>) {
        for (folder, name, node) in &names {
            if let Node::Folder { now, .. } = &mut self.nodes[*folder] {
                match node {
                    Some(node) => now.insert(name.clone(), *node),
                    None => now.remove(name),
                };
            }
        }
        self.changes += 1;
        self.pending.push(Change { order: self.changes, names });
    }

    /// Puts a change on the platter, unless a later one of the same name is there.
    fn keep(&mut self, change: &Change) {
        for (folder, name, node) in &change.names {
            if let Node::Folder { kept, .. } = &mut self.nodes[*folder] {
                let there = kept.entry(name.clone()).or_insert((0, None));
                if there.0 <= change.order {
                    *there = (change.order, *node);
                }
            }
        }
    }

    fn keep_all(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            self.keep(&change);
        }
    }

    fn note_failure(&mut self, call: &Call) {
        match call {
            Call::SyncFile(node) => {
                self.failed_syncs.insert(*node);
                if let Node::File { now, kept, lost } = &mut self.nodes[*node] {
                    *lost |= now != kept;
                }
            }
            Call::SyncFolder(path) => {
                if let Some(node) = self.find(path) {
                    self.failed_syncs.insert(node);
                }
            }
            _ => {}
        }
    }

    fn note_sync(&mut self, node: usize) {
        if self.failed_syncs.contains(&node) {
            self.synced_again.push(node);
        }
    }

    fn used(&self) -> u64 {
        let length = |node: &Node| match node {
            Node::File { now, .. } => now.len() as u64,
            Node::Folder { .. } => 0,
        };
        let named: BTreeSet<usize> = self.nodes.iter().fold(BTreeSet::new(), |mut named, node| {
            if let Node::Folder { now, .. } = node {
                named.extend(now.values());
            }
            named
        });
        named.into_iter().map(|node| length(&self.nodes[node])).sum()
    }
}

/// A file between two contents: any length between theirs, each block old, new or never written.
fn torn(kept: &[u8], now: &[u8], dice: &mut fastrand::Rng) -> Vec<u8> {
    if kept == now {
        return now.to_vec();
    }
    let (short, long) = (kept.len().min(now.len()), kept.len().max(now.len()));
    let length = match dice.u8(0..4) {
        0 => kept.len(),
        1 => now.len(),
        _ => dice.usize(short..=long),
    };
    let mut after = vec![0; length];
    for (block, bytes) in after.chunks_mut(BLOCK).enumerate() {
        let from: &[u8] = match dice.u8(0..5) {
            0 => &[],
            1 | 2 => kept,
            _ => now,
        };
        let start = (block * BLOCK).min(from.len());
        let end = (start + bytes.len()).min(from.len());
        bytes[..end - start].copy_from_slice(&from[start..end]);
    }
    after
}
