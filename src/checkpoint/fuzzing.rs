//! A checkpoint file from anywhere, read as a restore reads it; for `crate::fuzzing`.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};

use super::file::{HEADER_BYTES, TRAILER_BYTES, Trailer};
use super::footer::{FOOTER_BYTES_MAX, Footer};
use super::reader::FileReader;
use crate::codec::{Reader, crc, seal};
use crate::ids::{CoreId, DatabaseId, Epoch, FencingToken, Nonce};
use crate::manifest::{CheckpointFile, FileKind, FileName};
use crate::vfs::{Entry, File, OpenMode, Vfs};

/// A file system with one file, whatever its name.
#[derive(Clone)]
struct OneFile(Rc<RefCell<Vec<u8>>>);

/// Reads `bytes` as the file that their own header and footer say they are: a manifest that names it would say the same.
pub(crate) fn read_file(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    let Some(expected) = set_right(&mut bytes) else { return };
    let vfs = OneFile(Rc::new(RefCell::new(bytes)));
    let read = async {
        let reader = FileReader::open(&vfs, Path::new(""), expected.1, &expected.0).await.ok()?;
        let mut stream = reader.stream();
        let mut entries = 0;
        while let Some(block) = stream.next().await.ok()? {
            entries += block.entries().count() as u64;
        }
        Some(entries)
    };
    // Nothing in it waits for anything.
    let Poll::Ready(read) = pin!(read).poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("a file in memory makes nobody wait")
    };
    if let Some(entries) = read {
        // A file that is good has what it says it has, and perhaps a Clear.
        assert!(entries >= expected.0.entries && entries <= expected.0.entries + expected.0.tombstones + 1);
    }
}

/// Puts the checksums right, from the header to the trailer, and says what the file is; `None` when it has no room for its parts.
fn set_right(bytes: &mut [u8]) -> Option<(CheckpointFile, DatabaseId)> {
    let trailer_at = bytes.len().checked_sub(TRAILER_BYTES).filter(|at| *at >= HEADER_BYTES)?;
    bytes[..12].copy_from_slice(b"HWSTATE\0\x01\0\0\0");
    seal(bytes, 0, 0, HEADER_BYTES - 4);
    let salt = crc(0, &bytes[..HEADER_BYTES - 4]);
    bytes[trailer_at..trailer_at + 8].copy_from_slice(b"HWSTEND\0");
    seal(&mut bytes[trailer_at..], salt, 0, TRAILER_BYTES - 4);
    let length = bytes.len() as u64;
    let trailer = Trailer::decode(Path::new(""), &bytes[trailer_at..], salt, length).ok()?;
    let index_at = usize::try_from(trailer.index_offset).ok()?;
    let footer_at = index_at + usize::try_from(trailer.index_bytes).ok()?;
    set_blocks_right(bytes, salt, index_at, footer_at);
    let sum = crc(salt, &bytes[index_at..footer_at]);
    bytes[trailer_at + 32..trailer_at + 36].copy_from_slice(&sum.to_le_bytes());
    let sum = crc(salt, &bytes[footer_at..trailer_at]);
    bytes[trailer_at + 40..trailer_at + 44].copy_from_slice(&sum.to_le_bytes());
    seal(&mut bytes[trailer_at..], salt, 0, TRAILER_BYTES - 4);
    if trailer.footer_bytes > FOOTER_BYTES_MAX {
        return None;
    }
    let footer = Footer::decode(Path::new(""), &bytes[footer_at..trailer_at], sum, salt, 0).ok()?;
    said(bytes, &footer)
}

/// Of each block in front of `index_at`: its crcs, and the one in its index entry.
fn set_blocks_right(bytes: &mut [u8], salt: u32, index_at: usize, index_end: usize) {
    let u32_at = |bytes: &[u8], at: usize| {
        let front = bytes.get(at..at + 4)?.first_chunk()?;
        Some(u32::from_le_bytes(*front) as usize)
    };
    let (mut at, mut entry) = (HEADER_BYTES, index_at);
    while at + 16 <= index_at {
        let Some(end) = u32_at(bytes, at).map(|count| at + 16 + count).filter(|end| *end <= index_at) else {
            return;
        };
        let sum = crc(salt, &bytes[at + 16..end]).to_le_bytes();
        bytes[at + 8..at + 12].copy_from_slice(&sum);
        let seed = crc(salt, &(at as u64).to_le_bytes());
        seal(&mut bytes[at..], seed, 0, 12);
        if entry + 24 <= index_end {
            bytes[entry + 16..entry + 20].copy_from_slice(&sum);
            entry += 24 + usize::from(u16::from_le_bytes([bytes[entry + 20], bytes[entry + 21]]));
        }
        at = end;
    }
}

/// What the header and the footer say.
fn said(bytes: &[u8], footer: &Footer) -> Option<(CheckpointFile, DatabaseId)> {
    let mut fields = Reader(bytes.get(12..)?);
    let kind = match fields.u8()? {
        1 => FileKind::Base,
        _ => FileKind::Delta,
    };
    fields.u8()?;
    let core = CoreId(fields.u16()?);
    let database = Nonce(fields.u128()?);
    let uuid = Nonce(fields.u128()?);
    let token = FencingToken(fields.u64()?);
    let attempt = fields.u32()?;
    let cores = fields.u16()?;
    fields.u16()?;
    let (from_epoch, through_epoch) = (Epoch(fields.u64()?), Epoch(fields.u64()?));
    // Manifests are checked for these.
    let listed =
        core.0 < cores && from_epoch < through_epoch && (kind == FileKind::Delta || from_epoch.0 == 0);
    listed.then(|| {
        let file = CheckpointFile {
            name: FileName { uuid, token, attempt, kind },
            core,
            cores,
            bytes: bytes.len() as u64,
            crc: crc(0, bytes),
            entries: footer.entries,
            tombstones: footer.tombstones,
            live_bytes: footer.live_bytes,
            digest: footer.digest.0,
            from_epoch,
            through_epoch,
        };
        (file, database)
    })
}

impl Vfs for OneFile {
    type File = Self;
    type Lock = ();

    async fn open(&self, _: &Path, _: OpenMode) -> io::Result<Self> {
        Ok(self.clone())
    }

    async fn create_new(&self, _: &Path) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn create_dir(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn link(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn remove(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn list(&self, _: &Path) -> io::Result<Vec<Entry>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn lock(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn free_space(&self, _: &Path) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl File for OneFile {
    async fn len(&self) -> io::Result<u64> {
        Ok(self.0.borrow().len() as u64)
    }

    async fn link_count(&self) -> io::Result<u64> {
        Ok(1)
    }

    async fn read_at(&self, offset: u64, mut buffer: BytesMut) -> io::Result<(BytesMut, usize)> {
        let bytes = self.0.borrow();
        let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or(&[]);
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok((buffer, count))
    }

    async fn write_at(&self, _: u64, _: Bytes) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn write_at_and_sync(&self, _: u64, _: Bytes) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn sync_data(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn allocate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn depth_max(&self) -> usize {
        1
    }

    fn write_unit(&self) -> u32 {
        512
    }

    fn failures_are_own(&self) -> bool {
        false
    }
}
