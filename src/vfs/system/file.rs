//! An open file: which operation goes which way.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};

use super::SystemVfs;
use super::durable::{self, Alignment, Form};
use super::machine;
use crate::vfs::uring::{self, Handle, Ring};
use crate::vfs::{File, StdFile};

/// Operations that are worth having in flight through a ring.
const DEPTH_MAX: usize = 16;

/// An open file of a [`SystemVfs`].
#[derive(Debug)]
pub struct SystemFile {
    vfs: SystemVfs,
    cached: Arc<Handle>,
    direct: Option<Direct>,
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

/// Where a durable write goes.
struct Way<'a> {
    handle: &'a Arc<Handle>,
    form: Form,
}

impl SystemFile {
    pub(super) fn new(vfs: SystemVfs, file: StdFile, direct: Option<(StdFile, Alignment)>) -> Self {
        let direct = direct.map(|(file, alignment)| Direct {
            writes_through: vfs.rings && machine::writes_through(&file),
            handle: Handle::new(file),
            alignment,
            refused: AtomicBool::new(false),
        });
        Self { vfs, cached: Handle::new(file), direct }
    }

    /// The ring for an operation of `bytes` bytes; `None` when a plain call does better (S3).
    fn ring(&self, bytes: usize) -> Option<Rc<Ring>> {
        if !self.vfs.rings {
            return None;
        }
        uring::current().filter(|ring| bytes >= self.vfs.pipelined_from || !ring.is_idle())
    }

    /// The way past the page cache, if a write of `data` may go there.
    fn direct(&self, offset: u64, data: &Bytes) -> Option<&Direct> {
        self.direct.as_ref().filter(|direct| {
            !direct.refused.load(Ordering::Relaxed)
                && direct.alignment.allows(offset, data.len())
                && direct.alignment.allows_memory(data.as_ptr())
        })
    }

    /// The way for a durable write of `data`.
    fn way(&self, offset: u64, data: &Bytes) -> Way<'_> {
        let form = self.vfs.form;
        match self.direct(offset, data) {
            Some(direct) => Way { handle: &direct.handle, form },
            None => Way { handle: &self.cached, form: form.cached() },
        }
    }

    /// The file system refused a direct write: none is tried again (S2).
    fn refuse(&self, error: &io::Error) {
        tracing::warn!(target: "highwater::vfs", %error, "direct I/O refused: through the page cache from now on");
        let direct = self.direct.as_ref().expect("a direct way has its file");
        direct.refused.store(true, Ordering::Relaxed);
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

    async fn read_at(&self, offset: u64, buffer: BytesMut) -> io::Result<(BytesMut, usize)> {
        match self.ring(buffer.len()) {
            Some(ring) => ring.read(&self.cached, offset, buffer).await,
            None => self.cached.file.read_at(offset, buffer).await,
        }
    }

    async fn write_at(&self, offset: u64, data: Bytes) -> io::Result<usize> {
        if data.len() >= self.vfs.pipelined_from
            && let Some(ring) = self.ring(data.len())
            && let Some(direct) = self.direct(offset, &data)
        {
            match ring.write(&direct.handle, offset, data.clone()).await {
                // It took nothing, so that the page cache may have all of it.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => self.refuse(&error),
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
                self.refuse(&error);
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

    /// Past the cache each write has its own; through it no two syncs run at a time ([`Form::in_flight`]), unless every
    /// call goes through the ring.
    fn failures_are_own(&self) -> bool {
        self.vfs.pipelined_from > 0
    }
}
