//! What stands for Linux's additions where there is no Linux: nothing.

use std::io;
use std::path::Path;

use super::durable::Alignment;
use crate::vfs::StdFile;

pub(super) fn open_direct(_: &Path, _: &StdFile) -> Option<(StdFile, Alignment)> {
    None
}

pub(super) fn write_by_flag(_: &StdFile, _: u64, _: &[u8]) -> Option<io::Result<usize>> {
    None
}

pub(super) fn writes_through(_: &StdFile) -> bool {
    false
}
