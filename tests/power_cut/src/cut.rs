//! The images that a power loss may leave of the device.

use std::fmt;

use bytes::Bytes;
use highwater::sim::Stream;

use crate::blocks::Blocks;
use crate::recording::Event;

const SECTOR: usize = 512;
const BLOCK: usize = 4096;

/// Which of the writes that no flush had covered are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    None,
    All,
    /// Each write, whole, or not.
    Writes,
    /// Each block of 4,096 bytes, or not.
    Blocks,
    /// Each sector of 512 bytes, or not.
    Sectors,
    /// Those up to one, and the front of that.
    Front,
    /// All sectors but a few.
    MostSectors,
}

impl Kept {
    /// Whether it may keep a part of a block of 4,096 bytes.
    pub(crate) fn tears_blocks(self) -> bool {
        matches!(self, Self::Sectors | Self::Front | Self::MostSectors)
    }
}

const KINDS: [Kept; 7] =
    [Kept::None, Kept::All, Kept::Writes, Kept::Blocks, Kept::Sectors, Kept::Front, Kept::MostSectors];

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

struct Pending {
    write: u64,
    offset: u64,
    data: Bytes,
    completed: bool,
}

impl Pending {
    fn overlaps(&self, other: &Self) -> bool {
        let end = |write: &Self| write.offset + write.data.len() as u64;
        self.offset < end(other) && other.offset < end(self)
    }
}

/// Follows a recording: what the device surely keeps, and what it may keep.
pub(crate) struct Cutter {
    durable: Blocks,
    pending: Vec<Pending>,
}

impl Cutter {
    pub(crate) fn new(blocks: Blocks) -> Self {
        Self { durable: blocks, pending: Vec::new() }
    }

    pub(crate) fn follow(&mut self, event: &Event) {
        match event {
            Event::Written { write, offset, data } => {
                let (write, offset, data) = (*write, *offset, data.clone());
                self.pending.push(Pending { write, offset, data, completed: false });
            }
            Event::Completed { write } => {
                for pending in self.pending.iter_mut().filter(|pending| pending.write == *write) {
                    pending.completed = true;
                }
            }
            Event::Flushed => self.flush(),
            _ => {}
        }
    }

    fn flush(&mut self) {
        let mut kept: Vec<Pending> = Vec::new();
        let mut left = Vec::new();
        for pending in std::mem::take(&mut self.pending).into_iter().rev() {
            // What lies below bytes that are kept cannot come up through them.
            if pending.completed || kept.iter().any(|later| later.overlaps(&pending)) {
                kept.push(pending);
            } else {
                left.push(pending);
            }
        }
        for pending in kept.iter().rev() {
            self.durable.write(pending.offset, &pending.data);
        }
        left.reverse();
        self.pending = left;
    }

    /// Sectors that a power loss decides about.
    pub(crate) fn undecided(&self) -> usize {
        self.pending.iter().map(|pending| pending.data.len() / SECTOR).sum()
    }

    /// An image, and how it was drawn.
    pub(crate) fn image(&self, stream: &mut Stream) -> (Blocks, Kept) {
        let kind = *stream.pick(&KINDS);
        let mut image = self.durable.clone();
        let last = stream.below(self.pending.len() as u64 + 1);
        for (at, pending) in (0_u64..).zip(&self.pending) {
            let whole = match kind {
                Kept::None => false,
                Kept::All => true,
                Kept::Writes => stream.chance(0.5),
                Kept::Front if at != last => at < last,
                _ => {
                    let step = if kind == Kept::Blocks { BLOCK } else { SECTOR };
                    let count = pending.data.len().div_ceil(step) as u64;
                    let front = stream.below(count + 1);
                    for (part, bytes) in (0_u64..).zip(pending.data.chunks(step)) {
                        let keeps = match kind {
                            Kept::Front => part < front,
                            Kept::MostSectors => !stream.chance(0.1),
                            _ => stream.chance(0.5),
                        };
                        if keeps {
                            image.write(pending.offset + part * step as u64, bytes);
                        }
                    }
                    continue;
                }
            };
            if whole {
                image.write(pending.offset, &pending.data);
            }
        }
        (image, kind)
    }
}
