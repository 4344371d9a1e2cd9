//! The bytes of one file at one level: what the page cache holds, or what is on the platter.
//!
//! Pages and the lists of them are shared between copies, so that copying a disk copies pointers. A page that was never
//! written is a hole and reads as zero. The length is kept beside the pages: on a platter the two are made durable
//! apart, so bytes may be found behind the length, and [`Content::clip`] is what a reboot does to them.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use xxhash_rust::xxh3::xxh3_128;

use crate::limits::SECTOR_BYTES;

/// Bytes of one page of the cache.
pub(super) const PAGE_BYTES: usize = 4096;

/// Bytes of one sector: what tears as one.
pub(super) const SECTOR: usize = SECTOR_BYTES as usize;

const SECTORS_PER_PAGE: usize = PAGE_BYTES / SECTOR;
const ZEROES: [u8; PAGE_BYTES] = [0; PAGE_BYTES];

const _: () = assert!(PAGE_BYTES.is_multiple_of(SECTOR), "a page is whole sectors");

/// One page of one file.
#[derive(Clone, Default)]
enum Page {
    /// Takes up no space and reads as zero.
    #[default]
    Hole,
    /// Takes up space and reads as zero, as most of a fresh log file does: it needs no memory here.
    Zero,
    Bytes(Arc<Filled>),
}

/// The bytes of a page, and their digest once somebody has asked for it.
struct Filled {
    bytes: [u8; PAGE_BYTES],
    digest: OnceLock<u128>,
}

impl Clone for Filled {
    /// The copy is about to change: it has no digest yet.
    fn clone(&self) -> Self {
        Self { bytes: self.bytes, digest: OnceLock::new() }
    }
}

impl Page {
    fn bytes(&self) -> &[u8; PAGE_BYTES] {
        match self {
            Self::Hole | Self::Zero => &ZEROES,
            Self::Bytes(filled) => &filled.bytes,
        }
    }

    fn is_hole(&self) -> bool {
        matches!(self, Self::Hole)
    }

    /// Equal for pages that read equal.
    fn digest(&self) -> u128 {
        static OF_ZEROES: OnceLock<u128> = OnceLock::new();
        match self {
            Self::Hole | Self::Zero => *OF_ZEROES.get_or_init(|| xxh3_128(&ZEROES)),
            Self::Bytes(filled) => *filled.digest.get_or_init(|| xxh3_128(&filled.bytes)),
        }
    }

    /// Makes the page hold `bytes`, of which it takes all.
    fn replace(&mut self, bytes: &[u8]) {
        if let Self::Bytes(filled) = self
            && let Some(filled) = Arc::get_mut(filled)
        {
            filled.digest = OnceLock::new();
            filled.bytes.copy_from_slice(bytes);
            return;
        }
        let bytes = bytes.try_into().expect("a whole page");
        *self = Self::Bytes(Arc::new(Filled { bytes, digest: OnceLock::new() }));
    }

    /// The bytes, to change them.
    fn filled(&mut self) -> &mut [u8; PAGE_BYTES] {
        if let Self::Hole | Self::Zero = self {
            *self = Self::Bytes(Arc::new(Filled { bytes: ZEROES, digest: OnceLock::new() }));
        }
        let Self::Bytes(filled) = self else { unreachable!("filled above") };
        let filled = Arc::make_mut(filled);
        filled.digest = OnceLock::new();
        &mut filled.bytes
    }
}

/// See the module.
#[derive(Clone, Default)]
pub(super) struct Content {
    pages: Arc<Vec<Page>>,
    len: u64,
}

/// A byte position that is inside memory.
pub(super) fn index(position: u64) -> usize {
    usize::try_from(position).expect("a simulated file fits into memory")
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Sets the length and leaves the bytes as they are.
    pub(super) fn set_len_only(&mut self, len: u64) {
        self.len = len;
    }

    /// Pages that take up space.
    pub(super) fn page_count(&self) -> u64 {
        self.pages.iter().filter(|page| !page.is_hole()).count() as u64
    }

    /// How many more pages the bytes of `range` would take up.
    pub(super) fn pages_missing(&self, range: &Range<u64>) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let pages = index(range.start) / PAGE_BYTES..index(range.end).div_ceil(PAGE_BYTES);
        pages.filter(|&page| self.pages.get(page).is_none_or(Page::is_hole)).count() as u64
    }

    /// Takes up space for the first `bytes`, which read as before.
    pub(super) fn reserve(&mut self, bytes: u64) {
        for page in 0..index(bytes).div_ceil(PAGE_BYTES) {
            if self.pages.get(page).is_none_or(Page::is_hole) {
                *self.page_mut(page) = Page::Zero;
            }
        }
    }

    /// Copies the bytes from `offset` to the front of `into`; the count ends at the length.
    pub(super) fn read(&self, offset: u64, into: &mut [u8]) -> usize {
        let count = index(self.len.saturating_sub(offset).min(into.len() as u64));
        self.read_raw(offset, &mut into[..count]);
        count
    }

    /// Like [`Content::read`], also behind the length.
    pub(super) fn read_raw(&self, offset: u64, into: &mut [u8]) {
        let mut done = 0;
        while done < into.len() {
            let at = index(offset) + done;
            let within = at % PAGE_BYTES;
            let count = (PAGE_BYTES - within).min(into.len() - done);
            let target = &mut into[done..done + count];
            match self.pages.get(at / PAGE_BYTES) {
                Some(Page::Bytes(page)) => target.copy_from_slice(&page.bytes[within..within + count]),
                _ => target.fill(0),
            }
            done += count;
        }
    }

    /// Writes bytes and leaves the length as it is.
    pub(super) fn write_raw(&mut self, offset: u64, data: &[u8]) {
        self.write_beside(offset, data, None);
    }

    /// [`Content::write_raw`]. Whole pages that `twin` holds already are shared with it.
    pub(super) fn write_beside(&mut self, offset: u64, data: &[u8], twin: Option<&Self>) {
        let mut done = 0;
        while done < data.len() {
            let at = index(offset) + done;
            let within = at % PAGE_BYTES;
            let count = (PAGE_BYTES - within).min(data.len() - done);
            let part = &data[done..done + count];
            let page = self.page_mut(at / PAGE_BYTES);
            match page {
                Page::Bytes(_) if *part == ZEROES[..] => *page = Page::Zero,
                Page::Hole | Page::Zero if *part == ZEROES[..count] => *page = Page::Zero,
                _ if count == PAGE_BYTES => match twin.and_then(|twin| twin.pages.get(at / PAGE_BYTES)) {
                    Some(Page::Bytes(twin)) if twin.bytes == *part => *page = Page::Bytes(Arc::clone(twin)),
                    _ => page.replace(part),
                },
                _ => page.filled()[within..within + count].copy_from_slice(part),
            }
            done += count;
        }
    }

    /// Makes the bytes of `range` zero; holes stay holes.
    pub(super) fn zero(&mut self, range: Range<u64>) {
        let end = index(range.end).min(self.pages.len() * PAGE_BYTES);
        let mut at = index(range.start);
        while at < end {
            let within = at % PAGE_BYTES;
            let count = (PAGE_BYTES - within).min(end - at);
            if let Page::Bytes(_) = &self.pages[at / PAGE_BYTES] {
                let page = self.page_mut(at / PAGE_BYTES);
                if count == PAGE_BYTES {
                    *page = Page::Zero;
                } else {
                    page.filled()[within..within + count].fill(0);
                }
            }
            at += count;
        }
    }

    /// Overwrites one sector.
    pub(super) fn put_sector(&mut self, sector: u64, data: &[u8]) {
        debug_assert_eq!(data.len(), SECTOR, "a sector is whole");
        self.write_raw(sector * SECTOR as u64, data);
    }

    /// Makes one sector zero.
    pub(super) fn zero_sector(&mut self, sector: u64) {
        self.zero(sector * SECTOR as u64..(sector + 1) * SECTOR as u64);
    }

    /// Copies one sector from `other`.
    pub(super) fn copy_sector(&mut self, sector: u64, other: &Self) {
        let page = index(sector) / SECTORS_PER_PAGE;
        let within = index(sector) % SECTORS_PER_PAGE * SECTOR;
        match other.pages.get(page) {
            Some(Page::Bytes(page)) => self.put_sector(sector, &page.bytes[within..within + SECTOR]),
            _ => self.zero_sector(sector),
        }
    }

    /// Cuts or extends to `len`: nothing is found behind it afterwards.
    pub(super) fn clip(&mut self, len: u64) {
        self.len = len;
        let pages = index(len).div_ceil(PAGE_BYTES);
        if pages < self.pages.len() {
            Arc::make_mut(&mut self.pages).truncate(pages);
        }
        self.zero(len..pages as u64 * PAGE_BYTES as u64);
    }

    /// The bytes up to the length.
    pub(super) fn to_vec(&self) -> Vec<u8> {
        let len = index(self.len);
        let mut bytes = Vec::with_capacity(len);
        for page in 0..len.div_ceil(PAGE_BYTES) {
            let count = (len - bytes.len()).min(PAGE_BYTES);
            bytes.extend_from_slice(&self.pages.get(page).unwrap_or(&Page::Hole).bytes()[..count]);
        }
        bytes
    }

    /// Adds to `text` what stands for the length and the bytes up to it: equal for files that read equal.
    pub(super) fn digest_into(&self, text: &mut Vec<u8>) {
        text.extend_from_slice(&self.len.to_le_bytes());
        let (whole, rest) = (index(self.len) / PAGE_BYTES, index(self.len) % PAGE_BYTES);
        for page in 0..whole {
            let digest = self.pages.get(page).unwrap_or(&Page::Hole).digest();
            text.extend_from_slice(&digest.to_le_bytes());
        }
        text.extend_from_slice(&self.pages.get(whole).unwrap_or(&Page::Hole).bytes()[..rest]);
    }

    fn page_mut(&mut self, page: usize) -> &mut Page {
        let pages = Arc::make_mut(&mut self.pages);
        if pages.len() <= page {
            pages.resize(page + 1, Page::Hole);
        }
        &mut pages[page]
    }
}
