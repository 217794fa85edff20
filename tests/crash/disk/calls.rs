//! The calls of a disk, as the one in memory serves them.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::Path;

use vfetch::store::disk::{Disk, Entry};

use super::{Call, Change, ENOSPC, Handle, MemoryDisk, Node};

impl Disk for MemoryDisk {
    type Folder = Handle;
    type File = Handle;

    fn open_root(&self, path: &Path) -> io::Result<Handle> {
        let mut state = self.begin(Call::Look("open_root"))?;
        let node = path.to_str().and_then(|path| state.find(path)).ok_or(ErrorKind::NotFound)?;
        state.folder(node)?;
        Ok(self.handle(&mut state, node))
    }

    fn open_folder(&self, at: &Handle, name: &str) -> io::Result<Handle> {
        let mut state = self.call(at, Call::Look("open_folder"))?;
        let node = state.lookup(at.node, name)?;
        state.folder(node)?;
        Ok(self.handle(&mut state, node))
    }

    fn make_folder(&self, at: &Handle, name: &str) -> io::Result<()> {
        let mut state = self.call(at, Call::MakeFolder(name.into()))?;
        if state.folder(at.node)?.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        state.nodes.push(Node::Folder { now: BTreeMap::new(), kept: BTreeMap::new() });
        let node = state.nodes.len() - 1;
        state.change(vec![(at.node, name.into(), Some(node))]);
        Ok(())
    }

    fn create_new(&self, at: &Handle, name: &str) -> io::Result<Handle> {
        let path = format!("{}/{name}", self.state().path(at.node));
        let mut state = self.call(at, Call::Create(path))?;
        if state.folder(at.node)?.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        state.nodes.push(Node::File { now: Vec::new(), kept: Vec::new(), lost: false });
        let node = state.nodes.len() - 1;
        state.change(vec![(at.node, name.into(), Some(node))]);
        Ok(self.handle(&mut state, node))
    }

    fn open(&self, at: &Handle, name: &str) -> io::Result<Handle> {
        let mut state = self.call(at, Call::Look("open"))?;
        let node = state.lookup(at.node, name)?;
        state.file(node)?;
        Ok(self.handle(&mut state, node))
    }

    fn open_to_read(&self, at: &Handle, name: &str) -> io::Result<Handle> {
        let mut state = self.call(at, Call::Look("open_to_read"))?;
        let node = state.lookup(at.node, name)?;
        Ok(self.handle(&mut state, node))
    }

    fn len(&self, file: &Handle) -> io::Result<u64> {
        Ok(self.call(file, Call::Look("len"))?.file(file.node)?.len() as u64)
    }

    fn write_at(&self, file: &Handle, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.call(file, Call::Write(file.node))?;
        let number = state.calls - 1;
        let short = state.fault.is_some_and(|fault| fault.shortens(number));
        let mut take = if short { bytes.len().div_ceil(2) } else { bytes.len() };
        let start = usize::try_from(offset).map_err(|_| ErrorKind::FileTooLarge)?;
        let length = state.file(file.node)?.len();
        if let Some(capacity) = state.capacity {
            let free = usize::try_from(capacity.saturating_sub(state.used())).unwrap_or(usize::MAX);
            take = take.min(length.saturating_sub(start) + free);
            if take == 0 && !bytes.is_empty() {
                return Err(io::Error::from_raw_os_error(ENOSPC));
            }
        }
        let content = state.file(file.node)?;
        content.resize(length.max(start + take), 0);
        content[start..start + take].copy_from_slice(&bytes[..take]);
        Ok(take)
    }

    fn read_at(&self, file: &Handle, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.call(file, Call::Look("read"))?;
        let content = state.file(file.node)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
        let count = buffer.len().min(content.len() - start);
        buffer[..count].copy_from_slice(&content[start..start + count]);
        Ok(count)
    }

    fn truncate(&self, file: &Handle, bytes: u64) -> io::Result<()> {
        let mut state = self.call(file, Call::Truncate(file.node))?;
        let bytes = usize::try_from(bytes).map_err(|_| ErrorKind::FileTooLarge)?;
        state.file(file.node)?.resize(bytes, 0);
        Ok(())
    }

    fn sync_file(&self, file: &Handle) -> io::Result<()> {
        let mut state = self.call(file, Call::SyncFile(file.node))?;
        state.note_sync(file.node);
        if let Node::File { now, kept, lost: false } = &mut state.nodes[file.node] {
            kept.clone_from(now);
        }
        Ok(())
    }

    fn sync_folder(&self, folder: &Handle) -> io::Result<()> {
        let path = self.state().path(folder.node);
        let mut state = self.call(folder, Call::SyncFolder(path))?;
        state.note_sync(folder.node);
        let touches = |change: &Change| change.names.iter().any(|(at, ..)| *at == folder.node);
        let (synced, pending) = std::mem::take(&mut state.pending).into_iter().partition(touches);
        state.pending = pending;
        let synced: Vec<Change> = synced;
        for change in &synced {
            state.keep(change);
        }
        Ok(())
    }

    fn sync_all(&self, folder: &Handle) -> io::Result<()> {
        let mut state = self.call(folder, Call::SyncAll)?;
        state.keep_all();
        for node in &mut state.nodes {
            if let Node::File { now, kept, lost: false } = node {
                kept.clone_from(now);
            }
        }
        Ok(())
    }

    fn free_bytes(&self, folder: &Handle) -> io::Result<u64> {
        let state = self.call(folder, Call::Look("free_bytes"))?;
        Ok(state.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(state.used())))
    }

    fn rename(&self, from: &Handle, name: &str, to: &Handle, new_name: &str) -> io::Result<()> {
        let (old, new) = {
            let state = self.state();
            (format!("{}/{name}", state.path(from.node)), format!("{}/{new_name}", state.path(to.node)))
        };
        let node = self.state().lookup(from.node, name);
        let mut state = self.call(from, Call::Rename(node.as_ref().map_or(0, |node| *node), old, new))?;
        let node = node?;
        if let Some(there) = state.folder(to.node)?.get(new_name).copied()
            && state.folder(there).is_ok()
        {
            return Err(ErrorKind::IsADirectory.into());
        }
        state.change(vec![(from.node, name.into(), None), (to.node, new_name.into(), Some(node))]);
        Ok(())
    }

    fn unlink(&self, at: &Handle, name: &str) -> io::Result<()> {
        let path = format!("{}/{name}", self.state().path(at.node));
        let mut state = self.call(at, Call::Unlink(path))?;
        let node = state.lookup(at.node, name)?;
        state.file(node)?;
        state.change(vec![(at.node, name.into(), None)]);
        Ok(())
    }

    fn entry(&self, at: &Handle, name: &str) -> io::Result<Option<Entry>> {
        let mut state = self.call(at, Call::Look("entry"))?;
        let Some(node) = state.folder(at.node)?.get(name).copied() else { return Ok(None) };
        Ok(Some(match &state.nodes[node] {
            Node::File { now, .. } => Entry::File(now.len() as u64),
            Node::Folder { .. } => Entry::Folder,
        }))
    }

    fn names(&self, at: &Handle) -> io::Result<Box<dyn Iterator<Item = io::Result<String>> + Send>> {
        let mut state = self.call(at, Call::Look("names"))?;
        let names: Vec<String> = state.folder(at.node)?.keys().cloned().collect();
        Ok(Box::new(names.into_iter().map(Ok)))
    }

    fn lock_folder(&self, folder: &Handle) -> io::Result<()> {
        // One process at a time is all that these tests have; a lock that is held would be a fault of theirs.
        self.call(folder, Call::Look("lock_folder")).map(drop)
    }

    fn try_lock(&self, file: &Handle) -> io::Result<bool> {
        let mut state = self.call(file, Call::Look("try_lock"))?;
        if state.locks.contains_key(&file.node) {
            return Ok(false);
        }
        state.locks.insert(file.node, file.number);
        Ok(true)
    }
}
