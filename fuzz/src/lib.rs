//! What the targets share: an allocator that counts, and databases to damage.
//!
//! A target may take four times its input and a constant that it states, all threads together: a length that comes from the
//! input must be held against what is there before memory is taken for it.

pub mod directory;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a decoder may take beside four times its input: messages, and reads ahead of a file.
pub const DECODER_CONSTANT_BYTES: usize = 4 << 20;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn took(bytes: usize) {
    let now = NOW.fetch_add(bytes, Ordering::Relaxed) + bytes;
    MOST.fetch_max(now, Ordering::Relaxed);
}

// SAFETY: every call is the system allocator's; counting beside it touches no memory of theirs.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        took(bytes);
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(place, layout, bytes) }
    }
}

/// Runs `target`.
///
/// # Panics
///
/// When it took more than four times the input and `constant` at any moment.
pub fn bounded(bytes: &[u8], constant: usize, target: impl FnOnce(&[u8])) {
    let before = NOW.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    target(bytes);
    let most = MOST.load(Ordering::Relaxed).saturating_sub(before);
    assert!(most <= 4 * bytes.len() + constant, "{most} bytes of memory for an input of {}", bytes.len());
}

/// The fuzz target of a decoder in `highwater::fuzzing`.
#[macro_export]
macro_rules! decoder {
    ($name:ident) => {
        libfuzzer_sys::fuzz_target!(|bytes: &[u8]| $crate::bounded(
            bytes,
            $crate::DECODER_CONSTANT_BYTES,
            highwater::fuzzing::$name
        ));
    };
}
