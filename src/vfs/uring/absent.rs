//! What stands for io_uring where there is none: no ring, ever.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::StdFile;

/// There is none.
pub(super) enum Ring {}

/// How a durable write becomes durable.
#[derive(Clone, Copy)]
pub(super) enum Durability {
    ByFlag,
    ByLink,
    Shared,
}

/// An open file.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) file: StdFile,
}

impl Handle {
    pub(super) fn new(file: StdFile) -> Arc<Self> {
        Arc::new(Self { file })
    }
}

impl Ring {
    pub(super) fn is_idle(&self) -> bool {
        match *self {}
    }

    pub(super) async fn read(
        self: Rc<Self>,
        _: &Arc<Handle>,
        _: u64,
        _: BytesMut,
    ) -> io::Result<(BytesMut, usize)> {
        match *self {}
    }

    pub(super) async fn write(self: Rc<Self>, _: &Arc<Handle>, _: u64, _: Bytes) -> io::Result<usize> {
        match *self {}
    }

    pub(super) async fn write_durably(
        self: Rc<Self>,
        _: &Arc<Handle>,
        _: u64,
        _: Bytes,
        _: Durability,
    ) -> io::Result<usize> {
        match *self {}
    }

    pub(super) async fn sync(self: Rc<Self>, _: &Arc<Handle>) -> io::Result<()> {
        match *self {}
    }
}

pub(super) fn current() -> Option<Rc<Ring>> {
    None
}

pub(super) fn probe() -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "io_uring exists on Linux only"))
}

/// What wakes a thread that waits in its ring.
#[derive(Default)]
pub(crate) struct Bell;

impl Bell {
    pub(crate) fn of_this_thread() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn ring(&self) -> bool {
        false
    }
}

pub(crate) fn turn() {}

pub(crate) fn wait(_: &AtomicBool, _: Option<Duration>) -> bool {
    false
}
