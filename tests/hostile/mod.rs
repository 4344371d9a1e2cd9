//! What somebody does to a database's directory who means harm: for the tests of the engine and of the tool.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Length of a file that takes no space and would fill any memory.
const GIANT_BYTES: u64 = 1 << 42;

/// Everything below a folder; no bytes for what has none to read.
pub(crate) type Content = BTreeMap<PathBuf, Vec<u8>>;

/// The folder beside the database at `root`, which is none of its business.
pub(crate) fn outside(root: &Path) -> PathBuf {
    let outside = root.with_file_name("outside");
    fs::create_dir_all(&outside).unwrap();
    outside
}

pub(crate) fn content(folder: &Path) -> Content {
    let mut content = Content::new();
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let kind = fs::symlink_metadata(&path).unwrap();
        if kind.is_dir() {
            content.append(&mut self::content(&path));
        }
        let bytes = if kind.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        content.insert(path, bytes);
    }
    content
}

/// Moves `what` of the database out of it, and puts a link in its place.
pub(crate) fn linked_out(root: &Path, what: &str) -> PathBuf {
    let outside = outside(root).join(what.replace('/', "-"));
    fs::rename(root.join(what), &outside).unwrap();
    symlink(&outside, root.join(what)).unwrap();
    outside
}

/// Puts a pipe in the place of a file: whoever opens it without care waits for ever.
pub(crate) fn pipe(path: &Path) {
    fs::remove_file(path).unwrap();
    let (fifo, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
    rustix::fs::mknodat(rustix::fs::CWD, path, fifo, mode, 0).unwrap();
}

/// Makes a file longer than any memory.
pub(crate) fn giant(path: &Path) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(GIANT_BYTES).unwrap();
}

/// Puts the checksums of a manifest right, as somebody who forges one does.
pub(crate) fn seal(bytes: &mut [u8]) {
    let body = crc32c::crc32c(&bytes[48..]).to_le_bytes();
    bytes[16..20].copy_from_slice(&body);
    let header = crc32c::crc32c(&bytes[..44]).to_le_bytes();
    bytes[44..48].copy_from_slice(&header);
}

/// What a manifest may state of a file: its bytes, its puts, its deletes, the bytes of its puts.
pub(crate) const FORGED_COUNTS: [[u64; 4]; 4] = [
    [u64::MAX >> 1, u64::MAX >> 5, 0, u64::MAX >> 1],
    [1 << 50, 1 << 44, 0, 1 << 50],
    [1 << 40, 0, 1 << 40, 0],
    [u64::MAX, u64::MAX, u64::MAX, u64::MAX],
];

/// Has a manifest state `counts` of the checkpoint file `file`, with the right checksums.
pub(crate) fn forge_counts(manifest: &mut [u8], file: &Path, [bytes, puts, deletes, live]: [u64; 4]) {
    let name = file.file_stem().unwrap().to_str().unwrap();
    let uuid = u128::from_str_radix(&name[name.len() - 32..], 16).unwrap().to_le_bytes();
    let listed = manifest.windows(16).position(|window| window == uuid).unwrap();
    for (at, value) in [(48, bytes), (56, puts), (64, deletes), (72, live)] {
        manifest[listed + at..listed + at + 8].copy_from_slice(&value.to_le_bytes());
    }
    seal(manifest);
}
