//! Memory that the kernel knows in advance: small writes are copied there. A copy of a few KiB costs less than the
//! kernel's look at foreign pages, and it is aligned whatever the caller's memory is.

use bytes::BytesMut;
use io_uring::Submitter;

/// Most bytes of a write that is copied.
pub(super) const CHUNK_BYTES: usize = 16 * 1024;

/// What direct I/O may ask of memory, at most.
const ALIGN_BYTES: usize = 4096;

const CHUNKS: usize = 16;

/// One piece: with whoever holds it, and else in [`Chunks`].
pub(super) struct Chunk {
    index: u16,
    bytes: BytesMut,
}

impl Chunk {
    /// Takes a copy of `data`.
    pub(super) fn fill(&mut self, data: &[u8]) {
        self.bytes[..data.len()].copy_from_slice(data);
    }

    pub(super) fn as_ptr(&self) -> *const u8 {
        self.bytes.as_ptr()
    }

    /// The number under which the kernel knows it, if `chunks` could tell it.
    pub(super) fn registered(&self, chunks: &Chunks) -> Option<u16> {
        chunks.registered.then_some(self.index)
    }
}

/// The pieces of one ring that nobody uses; made with the first small write.
#[derive(Default)]
pub(super) struct Chunks {
    free: Vec<Chunk>,
    made: bool,
    registered: bool,
}

impl Chunks {
    /// A piece; `None` while all are in use.
    pub(super) fn take(&mut self, kernel: &Submitter<'_>) -> Option<Chunk> {
        if !self.made {
            self.make(kernel);
        }
        self.free.pop()
    }

    pub(super) fn put(&mut self, chunk: Chunk) {
        assert!(self.free.len() < CHUNKS, "more than {CHUNKS} chunks came back");
        self.free.push(chunk);
    }

    #[expect(unsafe_code, reason = "the kernel is told of memory by its address")]
    fn make(&mut self, kernel: &Submitter<'_>) {
        self.made = true;
        let mut whole = BytesMut::zeroed(CHUNKS * CHUNK_BYTES + ALIGN_BYTES);
        let mut rest = whole.split_off(whole.as_ptr().align_offset(ALIGN_BYTES));
        for index in 0..u16::try_from(CHUNKS).unwrap_or(u16::MAX) {
            self.free.push(Chunk { index, bytes: rest.split_to(CHUNK_BYTES) });
        }
        let vector = |chunk: &mut Chunk| libc::iovec {
            iov_base: chunk.bytes.as_mut_ptr().cast(),
            iov_len: chunk.bytes.len(),
        };
        let vectors: Vec<libc::iovec> = self.free.iter_mut().map(vector).collect();
        // SAFETY: the vectors describe live memory of this process. The kernel pins its pages and touches them only
        // for operations that name them; each of those holds its chunk (R2).
        let registered = unsafe { kernel.register_buffers(&vectors) };
        match registered {
            Ok(()) => self.registered = true,
            Err(error) => {
                tracing::debug!(target: "highwater::vfs", %error, "io_uring registers no memory");
            }
        }
    }
}
