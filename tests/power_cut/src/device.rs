//! The recording file system: one file, which is the device. A loop device over it makes a disk of it.
//!
//! V1. Requests are taken in the order in which the kernel sends them, one after the other.
//! V2. Some writes are kept waiting for their answer, so that a flush may overtake them: it says nothing about them then.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyWrite, Request, WriteFlags,
};

use crate::recording::{Event, Recording};

/// The one file.
const DEVICE: INodeNo = INodeNo(2);
const NAME: &str = "device";

/// Attributes are asked for each time: the device changes its size behind the kernel's back.
const NO_TIME: Duration = Duration::ZERO;

/// One write in so many waits, up to so long.
const WAITS: u64 = 6;
const WAIT_MAX: Duration = Duration::from_micros(800);

struct Held {
    until: Instant,
    write: u64,
    bytes: u32,
    reply: ReplyWrite,
}

struct Recorder {
    recording: Arc<Recording>,
    held: mpsc::Sender<Held>,
    dice: AtomicU64,
}

/// The mounted recording file system. Dropping it unmounts it.
pub(crate) struct Device {
    folder: PathBuf,
    _session: BackgroundSession,
}

/// A loop device over the recorded one. Dropping it detaches it.
pub(crate) struct Attached(String);

impl Device {
    /// Mounts it at `folder`, which exists.
    pub(crate) fn mount(folder: &Path, recording: Arc<Recording>) -> Result<Self, String> {
        let (held, waiting) = mpsc::channel::<Held>();
        let answers = Arc::clone(&recording);
        std::thread::spawn(move || {
            for Held { until, write, bytes, reply } in waiting {
                std::thread::sleep(until.saturating_duration_since(Instant::now()));
                answers.push(Event::Completed { write });
                reply.written(bytes);
            }
        });
        let recorder = Recorder { recording, held, dice: AtomicU64::new(1) };
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("highwater-power-cut".to_owned())];
        let session = fuser::spawn_mount(recorder, folder, &config)
            .map_err(|error| format!("mounting a user-space file system: {error}"))?;
        Ok(Self { folder: folder.to_owned(), _session: session })
    }

    /// Makes a disk of what is installed in the recording.
    pub(crate) fn attach(&self) -> Result<Attached, String> {
        let told = run(Command::new("losetup").args(["-f", "--show"]).arg(self.folder.join(NAME)))?;
        Ok(Attached(told.trim().to_owned()))
    }
}

impl Attached {
    pub(crate) fn path(&self) -> &str {
        &self.0
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        if let Err(error) = run(Command::new("losetup").args(["-d", &self.0])) {
            eprintln!("{error}");
        }
    }
}

/// Runs a command to its end, and returns what it printed.
pub(crate) fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}

impl Recorder {
    fn attributes(&self, file: INodeNo) -> Option<FileAttr> {
        let (kind, size) = match file {
            INodeNo::ROOT => (FileType::Directory, 0),
            DEVICE => (FileType::RegularFile, self.recording.device_bytes()),
            _ => return None,
        };
        Some(FileAttr {
            ino: file,
            size,
            blocks: size / 512,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm: 0o700,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    /// How long a write waits for its answer, if it does.
    fn wait(&self) -> Option<Duration> {
        let mut bits = self.dice.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits ^= bits >> 27;
        bits.is_multiple_of(WAITS).then(|| WAIT_MAX * u32::from((bits >> 32) as u8) / 256)
    }
}

impl Filesystem for Recorder {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.attributes(DEVICE) {
            Some(attributes) if name == NAME => reply.entry(&NO_TIME, &attributes, Generation(0)),
            _ => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, file: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(file) {
            Some(attributes) => reply.attr(&NO_TIME, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // Past the page cache of this file system: the device is what the recording holds.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let left = self.recording.device_bytes().saturating_sub(offset).min(u64::from(size));
        let mut bytes = vec![0; usize::try_from(left).expect("at most a u32")];
        self.recording.read(offset, &mut bytes);
        reply.data(&bytes);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        if offset + data.len() as u64 > self.recording.device_bytes() {
            return reply.error(Errno::ENOSPC);
        }
        let bytes = u32::try_from(data.len()).expect("a request is small");
        let write = self.recording.written(offset, data);
        if let Some(wait) = self.wait() {
            let held = Held { until: Instant::now() + wait, write, bytes, reply };
            if let Err(mpsc::SendError(held)) = self.held.send(held) {
                held.reply.error(Errno::EIO);
            }
            return;
        }
        self.recording.push(Event::Completed { write });
        reply.written(bytes);
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.recording.push(Event::Flushed);
        reply.ok();
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }
}
