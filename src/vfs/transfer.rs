//! The loops that finish what the seam may leave short or interrupted. They stand above the seam so that the
//! simulator, which shortens and interrupts far more often than a device, tests them too.

use std::future::Future;
use std::io;
use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};

use super::{File, aligned_zeroes};

/// How often an operation that did nothing is repeated before its error is believed.
const RETRY_MAX: u32 = 64;

/// How often a failed read is repeated: a device may need a second try, and a read can do no harm.
const READ_TRIES_MAX: u32 = 3;

/// Zeroes are written in pieces of so many: enough that each is worth going past the page cache.
const ZEROES_BYTES: u64 = 1 << 20;

/// Repeats `operation` while it reports that nothing was done (promise 4 of [`crate::vfs`]).
pub(crate) async fn retry<T, F: Future<Output = io::Result<T>>>(
    mut operation: impl FnMut() -> F,
) -> io::Result<T> {
    for _ in 1..RETRY_MAX {
        match operation().await {
            Err(error) if nothing_done(&error) => {}
            result => return result,
        }
    }
    operation().await
}

/// Reads until `buffer` is full or the file ends; returns the count of bytes read.
pub(crate) async fn read_full_at<F: File>(
    file: &F,
    offset: u64,
    mut buffer: BytesMut,
) -> io::Result<(BytesMut, usize)> {
    let want = buffer.len();
    let mut done = 0;
    let mut tries = 0;
    while done < want {
        let rest = split_off(&mut buffer, done);
        match file.read_at(offset + done as u64, rest).await {
            Ok((rest, 0)) => {
                unsplit(&mut buffer, rest);
                break;
            }
            Ok((rest, count)) => {
                assert!(count <= rest.len(), "a backend read {count} bytes into {}", rest.len());
                unsplit(&mut buffer, rest);
                done += count;
                tries = 0;
            }
            Err(error) => {
                tries += 1;
                let bound = if nothing_done(&error) { RETRY_MAX } else { READ_TRIES_MAX };
                if tries >= bound {
                    return Err(error);
                }
                // The backend kept the rest of the buffer; its contents were still to be read.
                buffer.resize(want, 0);
            }
        }
    }
    Ok((buffer, done))
}

/// Takes what is behind the first `at` bytes. Of most reads that is all, and the buffer need not become a shared one.
pub(crate) fn split_off(buffer: &mut BytesMut, at: usize) -> BytesMut {
    if at == 0 { std::mem::take(buffer) } else { buffer.split_off(at) }
}

/// Undoes [`split_off`].
pub(crate) fn unsplit(buffer: &mut BytesMut, rest: BytesMut) {
    if buffer.is_empty() {
        *buffer = rest;
    } else {
        buffer.unsplit(rest);
    }
}

/// Reads exactly `buffer.len()` bytes.
///
/// # Errors
///
/// `UnexpectedEof` when the file ends before.
pub(crate) async fn read_exact_at<F: File>(file: &F, offset: u64, buffer: BytesMut) -> io::Result<BytesMut> {
    let want = buffer.len();
    let (buffer, done) = read_full_at(file, offset, buffer).await?;
    if done < want {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("{done} of {want} bytes at offset {offset}"),
        ));
    }
    Ok(buffer)
}

/// Writes all of `data`; durable after the file's next sync.
pub(crate) async fn write_all_at<F: File>(file: &F, mut offset: u64, mut data: Bytes) -> io::Result<()> {
    while !data.is_empty() {
        let count = retry(|| file.write_at(offset, data.clone())).await?;
        assert!(count <= data.len(), "a backend wrote {count} bytes of {}", data.len());
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::WriteZero, format!("no progress at offset {offset}")));
        }
        data.advance(count);
        offset += count as u64;
    }
    Ok(())
}

/// Writes all of `data` by a durable write; whether that took all of it, which is durable then. The rest of one that
/// was cut short waits, like the part before it, for a sync of the file.
pub(crate) async fn write_all_durably<F: File>(file: &F, offset: u64, mut data: Bytes) -> io::Result<bool> {
    let count = retry(|| file.write_at_and_sync(offset, data.clone())).await?;
    assert!(count <= data.len(), "a backend wrote {count} bytes of {}", data.len());
    if count == data.len() {
        return Ok(true);
    }
    data.advance(count);
    write_all_at(file, offset + count as u64, data).await?;
    Ok(false)
}

/// Writes all of `data` and makes it durable: one operation, unless the device takes it in pieces.
pub(crate) async fn write_all_and_sync<F: File>(file: &F, offset: u64, data: Bytes) -> io::Result<()> {
    if write_all_durably(file, offset, data).await? {
        return Ok(());
    }
    retry(|| file.sync_data()).await
}

/// [`File::allocate`], where the file system has the means; whether it has.
pub(crate) async fn allocate<F: File>(file: &F, bytes: u64) -> io::Result<bool> {
    match retry(|| file.allocate(bytes)).await {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(false),
        result => result.map(|()| true),
    }
}

/// Takes the space of the first `bytes` bytes of an empty file, which read as zero then; durable after its next sync.
/// On a file system that neither reserves space nor stores zeroes as they are, it is as long and holds none.
pub(crate) async fn hold_space<F: File>(file: &F, bytes: u64) -> io::Result<()> {
    if allocate(file, bytes).await? { Ok(()) } else { write_zeroes(file, 0..bytes).await }
}

/// Writes zeroes over `stretch`; durable after the file's next sync.
pub(crate) async fn write_zeroes<F: File>(file: &F, stretch: Range<u64>) -> io::Result<()> {
    let piece = stretch.end.saturating_sub(stretch.start).min(ZEROES_BYTES);
    let zeroes = aligned_zeroes(usize::try_from(piece).expect("one MiB")).freeze();
    let mut offset = stretch.start;
    while offset < stretch.end {
        let count = (stretch.end - offset).min(piece);
        let count = usize::try_from(count).expect("at most one piece");
        write_all_at(file, offset, zeroes.slice(..count)).await?;
        offset += count as u64;
    }
    Ok(())
}

fn nothing_done(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}
