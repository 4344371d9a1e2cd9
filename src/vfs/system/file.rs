//! An open file: which operation goes which way.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};

use super::SystemVfs;
use super::durable::{self, Alignment, Form};
use super::machine;
use crate::vfs::uring::{self, Handle, Ring};
use crate::vfs::{File, OpenMode, StdFile};

/// Writes of as many bytes go past the page cache: copying them there costs more than it brings to who writes files
/// that are read much later.
const DIRECT_FROM_BYTES: usize = 64 * 1024;

/// Operations that are worth having in flight through a ring.
const DEPTH_MAX: usize = 16;

/// An open file of a [`SystemVfs`].
#[derive(Debug)]
pub struct SystemFile {
    vfs: SystemVfs,
    cached: Arc<Handle>,
    direct: Option<Direct>,
    /// For a file that is only read: what large reads go by.
    reading: Option<Reading>,
}

/// How large reads are done.
#[derive(Debug)]
struct Reading {
    path: PathBuf,
    /// Opened with the first read that the page cache does not serve.
    direct: OnceLock<Option<Direct>>,
}

/// The same file, open past the page cache.
#[derive(Debug)]
struct Direct {
    handle: Arc<Handle>,
    alignment: Alignment,
    writes_through: bool,
    /// The file system refused a write that it should have allowed (S2).
    refused: AtomicBool,
}

/// Whether the page cache has what is to be read.
enum Cached {
    /// It had, and it was read.
    Read,
    Perhaps,
}

impl Direct {
    fn new((file, alignment): (StdFile, Alignment), writes_through: bool) -> Self {
        Self { handle: Handle::new(file), alignment, writes_through, refused: AtomicBool::new(false) }
    }

    /// Whether an operation on `bytes` bytes at `offset` and at `memory` may go past the cache.
    fn takes(&self, offset: u64, bytes: usize, memory: *const u8) -> bool {
        !self.refused.load(Ordering::Relaxed)
            && self.alignment.allows(offset, bytes)
            && self.alignment.allows_memory(memory)
    }

    /// Uses the page cache from now on, because of `error`.
    fn refuse(&self, error: &io::Error) {
        tracing::warn!(target: "highwater::vfs", %error, "direct I/O refused: through the page cache from now on");
        self.refused.store(true, Ordering::Relaxed);
    }
}

/// Where a durable write goes.
struct Way<'a> {
    handle: &'a Arc<Handle>,
    form: Form,
}

impl SystemFile {
    pub(super) fn new(vfs: SystemVfs, file: StdFile, direct: Option<(StdFile, Alignment)>) -> Self {
        let direct = direct.map(|opened| {
            let writes_through = vfs.rings && machine::writes_through(&opened.0);
            Direct::new(opened, writes_through)
        });
        Self { vfs, cached: Handle::new(file), direct, reading: None }
    }

    /// The file at `path`, which is open for reading.
    pub(super) fn reading(vfs: SystemVfs, file: StdFile, path: &Path) -> Self {
        let reading =
            vfs.form.is_direct().then(|| Reading { path: path.to_owned(), direct: OnceLock::new() });
        Self { reading, ..Self::new(vfs, file, None) }
    }

    /// The file past the page cache, if the page cache does not have what `buffer` is to get from `offset`, and direct
    /// reads can. Else `buffer` may have it now.
    fn direct_to_read(&self, offset: u64, buffer: &mut BytesMut) -> Result<&Direct, Cached> {
        let reading =
            self.reading.as_ref().filter(|_| buffer.len() >= DIRECT_FROM_BYTES).ok_or(Cached::Perhaps)?;
        if reading.direct.get().is_none() && machine::read_cached(&self.cached.file, offset, buffer) {
            return Err(Cached::Read);
        }
        let open = || {
            let opened = machine::open_direct(&reading.path, OpenMode::Read, &self.cached.file)?;
            Some(Direct::new(opened, false))
        };
        let direct = reading.direct.get_or_init(open).as_ref();
        direct.filter(|direct| direct.takes(offset, buffer.len(), buffer.as_ptr())).ok_or(Cached::Perhaps)
    }

    /// The ring for an operation of `bytes` bytes; `None` when a plain call does better (S3).
    fn ring(&self, bytes: usize) -> Option<Rc<Ring>> {
        if !self.vfs.rings {
            return None;
        }
        uring::current().filter(|ring| bytes >= self.vfs.pipelined_from || !ring.is_idle())
    }

    /// The file past the page cache, if it takes `data` at `offset`.
    fn direct_for(&self, offset: u64, data: &Bytes) -> Option<&Direct> {
        self.direct.as_ref().filter(|direct| direct.takes(offset, data.len(), data.as_ptr()))
    }

    /// The way for a durable write of `data`.
    fn way(&self, offset: u64, data: &Bytes) -> Way<'_> {
        let form = self.vfs.form;
        match self.direct_for(offset, data) {
            Some(direct) => Way { handle: &direct.handle, form },
            None => Way { handle: &self.cached, form: form.cached() },
        }
    }

    async fn write_durably(&self, way: &Way<'_>, offset: u64, data: Bytes) -> io::Result<usize> {
        let Some(ring) = self.ring(data.len()) else {
            return durable::write(&way.handle.file, way.form, offset, &data);
        };
        let writes_through = self.direct.as_ref().is_some_and(|direct| direct.writes_through);
        ring.write_durably(way.handle, offset, data, way.form.in_flight(writes_through)).await
    }
}

impl File for SystemFile {
    async fn len(&self) -> io::Result<u64> {
        self.cached.file.len().await
    }

    async fn link_count(&self) -> io::Result<u64> {
        self.cached.file.link_count().await
    }

    async fn read_at(&self, offset: u64, mut buffer: BytesMut) -> io::Result<(BytesMut, usize)> {
        let length = buffer.len();
        match self.direct_to_read(offset, &mut buffer) {
            Err(Cached::Read) => return Ok((buffer, length)),
            Err(Cached::Perhaps) => {}
            Ok(direct) => {
                let read = match self.ring(length) {
                    Some(ring) => ring.read(&direct.handle, offset, buffer).await,
                    None => direct.handle.file.read_at(offset, buffer).await,
                };
                match read {
                    Err(error) if error.kind() == io::ErrorKind::InvalidInput => direct.refuse(&error),
                    result => return result,
                }
                buffer = BytesMut::zeroed(length);
            }
        }
        match self.ring(buffer.len()) {
            Some(ring) => ring.read(&self.cached, offset, buffer).await,
            None => self.cached.file.read_at(offset, buffer).await,
        }
    }

    async fn write_at(&self, offset: u64, data: Bytes) -> io::Result<usize> {
        // Past the page cache if that is large, or goes through the ring.
        let ring = self.ring(data.len());
        let large = data.len() >= DIRECT_FROM_BYTES;
        if (large || (ring.is_some() && data.len() >= self.vfs.pipelined_from))
            && let Some(direct) = self.direct_for(offset, &data)
        {
            let written = match ring {
                Some(ring) => ring.write(&direct.handle, offset, data.clone()).await,
                None => direct.handle.file.write_at(offset, data.clone()).await,
            };
            match written {
                // It took nothing, so that the page cache may have all of it.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => direct.refuse(&error),
                result => return result,
            }
        }
        // It copies memory: from a ring, most file systems have another thread do that.
        let ring = if self.vfs.pipelined_from == 0 { self.ring(data.len()) } else { None };
        match ring {
            Some(ring) => ring.write(&self.cached, offset, data).await,
            None => self.cached.file.write_at(offset, data).await,
        }
    }

    async fn write_at_and_sync(&self, offset: u64, data: Bytes) -> io::Result<usize> {
        let way = self.way(offset, &data);
        match self.write_durably(&way, offset, data.clone()).await {
            // It took nothing, so that the page cache may have all of it.
            Err(error) if way.form.is_direct() && error.kind() == io::ErrorKind::InvalidInput => {
                self.direct.as_ref().expect("a direct way has its file").refuse(&error);
                let way = Way { handle: &self.cached, form: self.vfs.form.cached() };
                self.write_durably(&way, offset, data).await
            }
            result => result,
        }
    }

    async fn sync_data(&self) -> io::Result<()> {
        // From a ring another thread does it, whose turn may be late; writes in flight go on meanwhile.
        let ring = if self.vfs.pipelined_from == 0 { self.ring(0) } else { None };
        match ring {
            Some(ring) => ring.sync(&self.cached).await,
            None => self.cached.file.sync_data().await,
        }
    }

    async fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.cached.file.allocate(bytes).await
    }

    async fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.cached.file.set_len(bytes).await
    }

    fn depth_max(&self) -> usize {
        if self.vfs.rings { DEPTH_MAX } else { 1 }
    }

    /// Not smaller past the page cache: what is small and unaligned goes through it.
    fn write_unit(&self) -> u32 {
        self.cached.file.write_unit()
    }

    /// Past the cache each write has its own; through it no two syncs run at a time (`Form::in_flight`), unless every
    /// call goes through the ring.
    fn failures_are_own(&self) -> bool {
        self.vfs.pipelined_from > 0
    }
}
