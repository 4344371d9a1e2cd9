//! What stands for Linux's additions where there is no Linux: nothing.

use std::io;
use std::path::Path;

use super::durable::Alignment;
use crate::vfs::{OpenMode, StdFile};

pub(super) fn open_direct(_: &Path, _: OpenMode, _: &StdFile) -> Option<(StdFile, Alignment)> {
    None
}

pub(super) fn read_cached(_: &StdFile, _: u64, _: &mut [u8]) -> bool {
    false
}

pub(super) fn write_by_flag(_: &StdFile, _: u64, _: &[u8]) -> Option<io::Result<usize>> {
    None
}

pub(super) fn writes_through(_: &StdFile) -> bool {
    false
}
