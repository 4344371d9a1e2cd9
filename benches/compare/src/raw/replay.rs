//! Reading a log back by plain reads: a checksum per record, or one per block.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::file::Form;
use super::unframe;
use crate::peer::{Log, LogPeer, LogSpec, ReplayPeer, Replayed, Result, Work};
use crate::record::{Check, KEY_BYTES};

const READ_BYTES: usize = 1 << 20;

/// The growing file of `raw::file`.
pub(crate) struct Records;

impl LogPeer for Records {
    fn with(&self, dir: &Path, spec: &LogSpec, work: Work<'_>) -> Result<()> {
        Form::Append.with(dir, spec, work)
    }
}

impl ReplayPeer for Records {
    fn replay(&self, dir: &Path) -> Result<Replayed> {
        let mut file = File::open(dir.join("log-0"))?;
        let mut buffer = vec![0; 2 * READ_BYTES];
        let (mut filled, mut found) = (0, Check::default());
        loop {
            let count = file.read(&mut buffer[filled..])?;
            filled += count;
            let mut rest = &buffer[..filled];
            while let Some((key, value, behind)) = unframe(rest) {
                found.add(key, value);
                rest = behind;
            }
            let (begin, left) = (filled - rest.len(), rest.len());
            if count == 0 {
                return if left == 0 { Ok(Replayed::Checked(found)) } else { Err("a record is torn".into()) };
            }
            buffer.copy_within(begin..filled, 0);
            filled = left;
        }
    }
}

/// Blocks of records behind one length and one checksum.
pub(crate) struct Blocks;

const BLOCK_BYTES: usize = 256 << 10;
const BLOCK_HEADER_BYTES: usize = 8;

struct BlockLog {
    file: File,
    block: Vec<u8>,
}

impl BlockLog {
    fn write(&mut self) -> Result<()> {
        let bytes = (self.block.len() as u32).to_le_bytes();
        let crc = crc32c::crc32c(&self.block[BLOCK_HEADER_BYTES..]).to_le_bytes();
        self.block[..4].copy_from_slice(&bytes);
        self.block[4..BLOCK_HEADER_BYTES].copy_from_slice(&crc);
        self.file.write_all(&self.block)?;
        self.block.truncate(BLOCK_HEADER_BYTES);
        Ok(())
    }
}

impl Log for BlockLog {
    fn append(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.block.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.block.extend_from_slice(key);
        self.block.extend_from_slice(value);
        if self.block.len() >= BLOCK_BYTES { self.write() } else { Ok(()) }
    }

    fn commit(&mut self) -> Result<()> {
        self.write()?;
        Ok(self.file.sync_data()?)
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join("blocks")
}

impl LogPeer for Blocks {
    fn with(&self, dir: &Path, _spec: &LogSpec, work: Work<'_>) -> Result<()> {
        let log = BlockLog { file: File::create_new(path(dir))?, block: vec![0; BLOCK_HEADER_BYTES] };
        work(&mut [Box::new(log)])
    }
}

impl ReplayPeer for Blocks {
    fn replay(&self, dir: &Path) -> Result<Replayed> {
        let mut file = File::open(path(dir))?;
        let (mut header, mut block) = ([0; BLOCK_HEADER_BYTES], Vec::new());
        let mut found = Check::default();
        while file.read(&mut header)? == BLOCK_HEADER_BYTES {
            let word =
                |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
            block.resize(word(0) as usize - BLOCK_HEADER_BYTES, 0);
            file.read_exact(&mut block)?;
            if crc32c::crc32c(&block) != word(4) {
                return Err("a block fails its crc".into());
            }
            let mut rest = block.as_slice();
            while let Some((bytes, record)) = rest.split_first_chunk::<4>() {
                let (key, behind) = record.split_at(KEY_BYTES);
                let (value, behind) = behind.split_at(u32::from_le_bytes(*bytes) as usize);
                found.add(key, value);
                rest = behind;
            }
        }
        Ok(Replayed::Checked(found))
    }
}

/// One record framed and read: what the two above rest on.
#[cfg(test)]
mod tests {
    use super::unframe;
    use crate::raw::frame;

    #[test]
    fn a_frame_is_read_back_and_a_flipped_bit_is_not() {
        let mut bytes = Vec::new();
        frame(&mut bytes, b"key", b"value");
        let (key, value, rest) = unframe(&bytes).unwrap();
        assert_eq!((key, value, rest), (&b"key"[..], &b"value"[..], &[][..]));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(unframe(&bad).is_none_or(|read| read != (b"key", b"value", &[][..])), "byte {at}");
        }
        assert!(unframe(&bytes[..bytes.len() - 1]).is_none());
    }
}
