//! The bytes of a device, in blocks that copies share: an image costs what it differs in.

use std::sync::Arc;

/// Bytes of a block.
const BLOCK: usize = 4096;

/// See the module. A block that nobody wrote is not there, and reads as zero.
#[derive(Clone, Default)]
pub(crate) struct Blocks(Vec<Option<Arc<[u8; BLOCK]>>>);

impl Blocks {
    /// Of `bytes`, whole blocks.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let block = |bytes: &[u8]| {
            let block: [u8; BLOCK] = bytes.try_into().expect("a device is whole blocks");
            (block != [0; BLOCK]).then(|| Arc::new(block))
        };
        Self(bytes.chunks(BLOCK).map(block).collect())
    }

    pub(crate) fn bytes(&self) -> u64 {
        (self.0.len() * BLOCK) as u64
    }

    pub(crate) fn read(&self, offset: u64, into: &mut [u8]) {
        let mut at = usize::try_from(offset).expect("a device fits into memory");
        let mut rest = into;
        while !rest.is_empty() {
            let within = at % BLOCK;
            let count = rest.len().min(BLOCK - within);
            let (here, further) = rest.split_at_mut(count);
            match self.0.get(at / BLOCK).and_then(Option::as_ref) {
                Some(block) => here.copy_from_slice(&block[within..within + here.len()]),
                None => here.fill(0),
            }
            at += here.len();
            rest = further;
        }
    }

    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) {
        let mut at = usize::try_from(offset).expect("a device fits into memory");
        let mut rest = data;
        while !rest.is_empty() {
            let within = at % BLOCK;
            let (here, further) = rest.split_at(rest.len().min(BLOCK - within));
            let block = self.0[at / BLOCK].get_or_insert_with(|| Arc::new([0; BLOCK]));
            Arc::make_mut(block)[within..within + here.len()].copy_from_slice(here);
            at += here.len();
            rest = further;
        }
    }

    /// All bytes, for a file.
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.0.len() * BLOCK];
        self.read(0, &mut bytes);
        bytes
    }
}
