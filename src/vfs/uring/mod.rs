//! Operations on files through Linux's io_uring: one ring per thread, several operations in flight.
//!
//! ```text
//! thread.rs       the ring of this thread, and how its `block_on` waits in it
//! ring.rs         the ring: slots of operations in flight, submission, completion
//! setup.rs        making one, and finding out whether it works
//! operation.rs    one operation as a future, and what its completion means
//! chunks.rs       memory that the kernel knows in advance, for small writes
//! shared_sync.rs  one sync for all writes of a file that have completed
//! table.rs        files that the kernel knows in advance
//! ```
//!
//! R1. A ring belongs to the thread that made it. Files know none: an operation uses the ring of the thread that
//!     polls it first, and stays there (its future is not `Send`).
//! R2. The ring owns the memory and the file of an operation from submission to completion. What becomes of the future
//!     in between (awaited, dropped, forgotten) changes nothing for the kernel.
//! R3. Dropping the future of a write or sync in flight waits for the kernel to be done with it, as long as the
//!     same call would have blocked a thread: whoever gives up a file, or the lock of a directory, knows that nothing
//!     of it lands later. Of a read nothing is waited for; its slot comes free when it completes.
//! R4. Operations in flight are bounded, and the completion queue has room for all of them. Should it overflow
//!     nevertheless, the kernel keeps the completions ([`probe`] requires that) and the ring fetches them. What has
//!     completed makes room, whether its future is polled or not (promise 7 of [`crate::vfs`]).
//! R5. Only a thread inside `StdEnv`'s `block_on` uses its ring: nobody else would wait in it. Everywhere else the
//!     callers of this module get no ring, and use plain calls. (Another executor
//!     that runs *inside* such a `block_on` must not wait for an operation, as it must not for a sleep.)
//! R6. A sync proves nothing about a write that it may not have followed: one whose link to its write broke is repeated.

#[cfg(test)]
mod tests;

mod chunks;
mod operation;
mod ring;
mod setup;
mod shared_sync;
mod table;
mod thread;

pub(super) use operation::Durability;
pub(super) use ring::Ring;
pub(super) use table::Handle;
pub(crate) use thread::{Bell, turn, wait};
pub(super) use thread::{current, probe};
