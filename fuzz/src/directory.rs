//! A small database, made once, and copies of it with one file changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use highwater::{CoreHandle, Engine, EpochMark, Opened, Options, VerifyOptions, verify};
use tempfile::TempDir;

/// Files of a database, by where they are.
struct Template {
    files: Vec<(PathBuf, Vec<u8>)>,
    /// Where each iteration makes its copy, with a file beside it that nobody may touch.
    scratch: TempDir,
}

const BESIDE: &[u8] = b"not the database's";

static TEMPLATE: LazyLock<Template> = LazyLock::new(|| {
    let scratch =
        tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a scratch folder");
    let data = scratch.path().join("template");
    make(&data);
    let template = Template { files: files_of(&data), scratch };
    fs::write(template.scratch.path().join("beside"), BESIDE).expect("a scratch file");
    template
});

fn options(path: &Path) -> Options {
    Options::new(path)
        .cores(2)
        .segment_bytes(16 << 10)
        .batch_bytes(1 << 10)
        .queue_bytes(8 << 10)
        .checkpoint_memory_bytes(64 << 10)
        .checkpoint_interval(None)
        .idle_seal_after(Duration::from_secs(3600))
}

/// A database of two cores, with a base, a delta and some log behind it.
pub fn make(path: &Path) {
    let Opened { engine, mut cores, .. } = Engine::open(options(path)).expect("a new database");
    for epoch in 1..=6_u64 {
        for number in 0..8 {
            let key = format!("key/{}", (epoch * 5 + number) % 20);
            let core = &mut cores[engine.core_of(key.as_bytes()).index()];
            core.put(key.as_bytes(), &[b'v'; 30]).expect("room");
        }
        let mark =
            |core: &mut CoreHandle| core.close_epoch(EpochMark::new().offset("source", epoch).watermark(7));
        let ended = cores.iter_mut().map(mark).last().expect("two cores").expect("room");
        engine.wait_durable(ended).expect("a working disk");
        if epoch == 2 || epoch == 4 {
            engine.checkpoint().expect("a working disk");
        }
    }
    engine.close(cores).expect("a working disk");
}

/// The files below `root`, in order.
pub fn files_of(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else {
                let bytes = fs::read(&entry).expect("a file");
                files.push((entry.strip_prefix(root).expect("below it").to_owned(), bytes));
            }
        }
    }
    files.sort();
    files
}

/// One file of a copy is replaced: the first byte of the input says which, the second where its bytes go, or all of the file.
/// Checksums are put right where that is a matter of one file's own bytes.
pub fn open(input: &[u8]) {
    let Some(([which, place], bytes)) = input.split_first_chunk::<2>() else { return };
    let template = &*TEMPLATE;
    let data = template.scratch.path().join("data");
    let _ = fs::remove_dir_all(&data);
    let chosen = usize::from(*which) % template.files.len();
    for (at, (path, whole)) in template.files.iter().enumerate() {
        let path = data.join(path);
        fs::create_dir_all(path.parent().expect("in a folder")).expect("room");
        if at == chosen {
            fs::write(&path, changed(whole, *place, bytes)).expect("room");
        } else {
            fs::write(&path, whole).expect("room");
        }
    }
    let _ = verify(&data, VerifyOptions::new());
    if let Ok(Opened { engine, mut cores, .. }) = Engine::open(options(&data)) {
        cores.iter_mut().for_each(CoreHandle::discard_open);
        let _ = engine.close(cores);
        let _ = verify(&data, VerifyOptions::new());
    }
    assert_eq!(fs::read(template.scratch.path().join("beside")).expect("still there"), BESIDE);
}

fn changed(whole: &[u8], place: u8, bytes: &[u8]) -> Vec<u8> {
    if place == u8::MAX {
        return bytes.to_vec();
    }
    let mut changed = whole.to_vec();
    // Frames stand on units, headers at fronts, trailers at ends.
    let at = if place % 2 == 0 {
        usize::from(place / 2) * 512
    } else {
        whole.len().saturating_sub(usize::from(place / 2))
    };
    let at = at.min(changed.len());
    let count = bytes.len().min(changed.len() - at);
    changed[at..at + count].copy_from_slice(&bytes[..count]);
    if changed.len() >= 48 && changed.starts_with(b"HWMANIF\0") {
        let sum = |bytes: &[u8]| crc32c(bytes).to_le_bytes();
        let body = sum(&changed[48..]);
        changed[16..20].copy_from_slice(&body);
        let header = sum(&changed[..44]);
        changed[44..48].copy_from_slice(&header);
    }
    if changed.len() == 96 && changed.starts_with(b"HWIDENT\0") {
        let sum = crc32c(&changed[..92]).to_le_bytes();
        changed[92..].copy_from_slice(&sum);
    }
    changed
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}
