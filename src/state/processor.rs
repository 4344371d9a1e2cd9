//! What a processor can do and safe code cannot say: the only `unsafe` of the state.
//!
//! Every function has a plain form for processors without the instruction, which does the same, or nothing where
//! nothing can be seen of it.

#![expect(unsafe_code, reason = "instructions without a safe face; each block says why it is sound")]

/// Bit i: whether word i is `wanted`.
#[cfg(target_arch = "x86_64")]
#[inline]
#[expect(clippy::cast_ptr_alignment, reason = "the loads need none")]
pub(super) fn equal_words(words: &[u32; 8], wanted: u32) -> u32 {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi32, _mm_loadu_si128, _mm_movemask_epi8, _mm_packs_epi16, _mm_packs_epi32,
        _mm_set1_epi32, _mm_setzero_si128,
    };
    let from = words.as_ptr().cast::<__m128i>();
    // SAFETY: SSE2 is part of x86_64. Both loads lie within the eight words, and need no alignment.
    unsafe {
        let wanted = _mm_set1_epi32(wanted.cast_signed());
        let front = _mm_cmpeq_epi32(_mm_loadu_si128(from), wanted);
        let back = _mm_cmpeq_epi32(_mm_loadu_si128(from.add(1)), wanted);
        let bytes = _mm_packs_epi16(_mm_packs_epi32(front, back), _mm_setzero_si128());
        _mm_movemask_epi8(bytes).cast_unsigned()
    }
}

/// Bit i: whether word i is `wanted`.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(super) fn equal_words(words: &[u32; 8], wanted: u32) -> u32 {
    words.iter().zip(0..).fold(0, |bits, (word, at)| bits | u32::from(*word == wanted) << at)
}

/// Asks for the line of the cache in which `bytes` begin, and waits for nothing.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) fn prefetch<T>(target: &T) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch reads nothing that the program could see, and faults at no address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(target).cast()) }
}

/// Nothing, where the processor has no such instruction or the compiler no name for it.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(super) fn prefetch<T>(_target: &T) {}
