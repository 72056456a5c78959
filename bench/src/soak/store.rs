//! A file that fails as storage does: it has errors, and it loses power. It is a file of a small file system in
//! this process (FUSE), so that a server opens it as it opens any image, and what counts is what it asks the kernel for.
//!
//! What is written is volatile until the next fsync. When the power goes, each sector of each volatile write is there or
//! not, by chance, and newer writes may be there without older ones. The file system tells the kernel nothing of a cache
//! for writes, so the kernel passes each on before it says that it is done.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite,
    Request, TimeOrNow, WriteFlags,
};

use crate::model::Random;

const SECTOR: usize = 512;
/// Inode of the folder; those of the files follow.
const FOLDER: u64 = 1;
/// For how long the kernel may rely on what it was told: nobody else changes anything.
const FOREVER: Duration = Duration::from_secs(3600);
/// One in so many operations fails when some do.
const ONE_IN: u64 = 4;

/// What is wrong with the storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Some reads, writes and flushes fail (`EIO`).
    Errors,
}

/// The storage. Clones are the same one.
#[derive(Clone)]
pub struct Store(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    thawed: Condvar,
}

struct State {
    files: Vec<File>,
    fault: Fault,
    random: Random,
    /// Nothing is carried out, and nothing is answered.
    frozen: bool,
    /// How often the power was lost: what was asked before that fails.
    life: u64,
    refused: u64,
    flushes: u64,
}

struct File {
    name: String,
    /// As it is read.
    content: Vec<u8>,
    /// As it is after a loss of power, if nothing else is.
    stable: Vec<u8>,
    volatile: Vec<Write>,
}

struct Write {
    offset: usize,
    data: Vec<u8>,
}

/// Storage that can be reached by a path; not any more when this is dropped.
pub struct Mounted(Option<BackgroundSession>);

impl Store {
    /// Files with these names and contents.
    pub fn new(files: Vec<(String, Vec<u8>)>, seed: u64) -> Self {
        let files = files.into_iter().map(|(name, content)| File {
            name,
            stable: content.clone(),
            content,
            volatile: Vec::new(),
        });
        Self(Arc::new(Shared {
            state: Mutex::new(State {
                files: files.collect(),
                fault: Fault::None,
                random: Random(seed),
                frozen: false,
                life: 0,
                refused: 0,
                flushes: 0,
            }),
            thawed: Condvar::new(),
        }))
    }

    /// Makes the files appear in a folder.
    pub fn mount(&self, folder: &Path) -> Result<Mounted> {
        let life = self.state().life;
        let view = View {
            store: self.clone(),
            life,
        };
        let session = fuser::spawn_mount(view, folder, &Config::default());
        let session = session.context("mounting a file system of this process (FUSE)")?;
        Ok(Mounted(Some(session)))
    }

    /// From now on this is wrong.
    pub fn set_fault(&self, fault: Fault) {
        self.state().fault = fault;
    }

    /// How many operations have failed, and how many flushes have not.
    pub fn counts(&self) -> (u64, u64) {
        let state = self.state();
        (state.refused, state.flushes)
    }

    /// The content of a file.
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state();
        let file = state.files.iter().find(|file| file.name == name)?;
        Some(file.content.clone())
    }

    /// Another content of a file, while it is not mounted.
    pub fn replace(&self, name: &str, content: Vec<u8>) {
        let mut state = self.state();
        let mut files = state.files.iter_mut();
        if let Some(file) = files.find(|file| file.name == name) {
            file.stable = content.clone();
            file.content = content;
        }
    }

    /// The power goes. Nothing is answered from now on, until [`Store::lose`].
    pub fn freeze(&self) {
        self.state().frozen = true;
    }

    /// Loses what the storage does not keep, and comes back. What was asked before fails.
    pub fn lose(&self) {
        let mut state = self.state();
        let State { files, random, .. } = &mut *state;
        for file in files {
            file.lose(random);
        }
        state.life += 1;
        state.frozen = false;
        self.0.thawed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl File {
    fn write(&mut self, offset: usize, data: Vec<u8>) {
        put(&mut self.content, offset, &data);
        self.volatile.push(Write { offset, data });
    }

    fn flush(&mut self) {
        self.stable.resize(self.content.len(), 0);
        for write in self.volatile.drain(..) {
            put(&mut self.stable, write.offset, &write.data);
        }
    }

    fn lose(&mut self, random: &mut Random) {
        for Write { offset, data } in self.volatile.drain(..) {
            // All of it, nothing of it, or some of its sectors.
            let fate = random.below(3);
            let mut at = 0;
            while at < data.len() {
                let next = ((offset + at) / SECTOR + 1) * SECTOR - offset;
                let piece = &data[at..next.min(data.len())];
                if fate == 0 || fate == 1 && random.below(2) == 0 {
                    put(&mut self.stable, offset + at, piece);
                }
                at += piece.len();
            }
        }
        self.content = self.stable.clone();
    }

    fn attributes(&self, inode: u64) -> FileAttr {
        attributes(inode, FileType::RegularFile, self.content.len() as u64)
    }
}

fn put(content: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(data);
}

fn attributes(inode: u64, kind: FileType, size: u64) -> FileAttr {
    let user = rustix::process::getuid().as_raw();
    let group = rustix::process::getgid().as_raw();
    let time = SystemTime::UNIX_EPOCH;
    FileAttr {
        ino: INodeNo(inode),
        size,
        blocks: size.div_ceil(512),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind,
        perm: if kind == FileType::Directory { 0o700 } else { 0o600 },
        nlink: 1,
        uid: user,
        gid: group,
        rdev: 0,
        blksize: SECTOR as u32,
        flags: 0,
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(session) = self.0.take() {
            // It ends when nobody has a file open any more, and is not needed by then.
            let _ = session.umount_and_join();
        }
    }
}

/// What the kernel sees of the storage, until it loses power.
struct View {
    store: Store,
    life: u64,
}

/// What an operation is, for the faults that there may be.
#[derive(PartialEq, Eq)]
enum Kind {
    Reads,
    Writes,
    Flushes,
    Asks,
}

impl View {
    /// Carries an operation on a file out, unless something is wrong.
    fn perform<R>(
        &self,
        inode: INodeNo,
        kind: Kind,
        operation: impl FnOnce(&mut File) -> R,
    ) -> Result<R, Errno> {
        let mut state = self.store.state();
        while state.frozen && state.life == self.life {
            let woken = self.store.0.thawed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
        if state.life != self.life {
            return Err(Errno::EIO);
        }
        let fault = state.fault;
        let failure = match fault {
            Fault::Errors if kind != Kind::Asks && state.random.below(ONE_IN) == 0 => Some(Errno::EIO),
            _ => None,
        };
        if let Some(error) = failure {
            state.refused += 1;
            return Err(error);
        }
        state.flushes += u64::from(kind == Kind::Flushes);
        let index = inode.0.checked_sub(FOLDER + 1).map(|index| index as usize);
        let file = index.and_then(|index| state.files.get_mut(index));
        file.map(operation).ok_or(Errno::ENOENT)
    }
}

impl Filesystem for View {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let state = self.store.state();
        let mut files = (FOLDER + 1..).zip(&state.files);
        match files.find(|(_, file)| file.name.as_str() == name) {
            Some((inode, file)) => reply.entry(&FOREVER, &file.attributes(inode), Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        if inode.0 == FOLDER {
            return reply.attr(&FOREVER, &attributes(FOLDER, FileType::Directory, 0));
        }
        match self.perform(inode, Kind::Asks, |file| file.attributes(inode.0)) {
            Ok(attributes) => reply.attr(&FOREVER, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        inode: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let outcome = self.perform(inode, Kind::Writes, |file| {
            // File systems keep the order of changes of one file's size; they need not keep it to what is written.
            if let Some(size) = size {
                file.content.resize(size as usize, 0);
                file.stable.resize(size as usize, 0);
            }
            file.attributes(inode.0)
        });
        match outcome {
            Ok(attributes) => reply.attr(&FOREVER, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.perform(inode, Kind::Asks, |_| ()) {
            Ok(()) => reply.opened(FileHandle(0), FopenFlags::empty()),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let outcome = self.perform(inode, Kind::Reads, |file| {
            let start = (offset as usize).min(file.content.len());
            let end = (start + size as usize).min(file.content.len());
            file.content[start..end].to_vec()
        });
        match outcome {
            Ok(data) => reply.data(&data),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let outcome = self.perform(inode, Kind::Writes, |file| {
            file.write(offset as usize, data.to_vec())
        });
        match outcome {
            Ok(()) => reply.written(data.len() as u32),
            Err(error) => reply.error(error),
        }
    }

    fn fsync(&self, _: &Request, inode: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        match self.perform(inode, Kind::Flushes, File::flush) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn fallocate(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        /// `FALLOC_FL_PUNCH_HOLE` and `FALLOC_FL_ZERO_RANGE` of `linux/falloc.h`.
        const ZEROES: i32 = 0x02 | 0x10;
        if mode & ZEROES == 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        let outcome = self.perform(inode, Kind::Writes, |file| {
            let end = (offset + length).min(file.content.len() as u64);
            let length = end.saturating_sub(offset);
            file.write(offset as usize, vec![0; length as usize]);
        });
        match outcome {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }
}
