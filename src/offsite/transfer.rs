//! Checkpoint files on their way up and down. What goes either way is compared with the checksum in the manifest.

use std::io;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};

use super::file_name;
use crate::codec::crc;
use crate::env::{Clock, Entropy};
use crate::error::{Error, ErrorCode, Result};
use crate::manifest::CheckpointFile;
use crate::remote::{Class, Client, PartTag, StoreError, StoreErrorKind, UploadId};
use crate::vfs::{File, OpenMode, Vfs, read_exact_at, retry, write_all_at};

/// Bytes asked for at once.
const DOWN_BYTES: u64 = 4 << 20;

/// Whether a file had to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Now,
    /// It was there, whole: objects are whole or not there (R1), and the name has had one content only.
    Before,
}

fn local_path(root: &Path, file: &CheckpointFile) -> PathBuf {
    root.join("f").join(file.name.to_string())
}

/// Brings `file` from the database at `root` up, if it is not there.
///
/// # Errors
///
/// `Corrupt` when the file is not what was written: nothing of it gets a name. `Failed` when disk or store do.
pub(super) async fn send<V: Vfs, C: Clock, N: Entropy>(
    client: &Client<C, N>,
    (vfs, root): (&V, &Path),
    file: &CheckpointFile,
    part_bytes: usize,
) -> Result<Sent> {
    let name = file_name(&file.name);
    let size = client.size(Class::File, &name).await.map_err(|error| error.of("looking for", &name))?;
    if size == Some(file.bytes) {
        return Ok(Sent::Before);
    }
    let path = local_path(root, file);
    let failed = |error| Error::io("reading a checkpoint file to send it", &path, error);
    let source = retry(|| vfs.open(&path, OpenMode::Read)).await.map_err(failed)?;
    if file.bytes <= part_bytes as u64 {
        let body = read_part(&source, 0, file.bytes).await.map_err(failed)?;
        check_crc(&path, file, crc(0, &body))?;
        client.put(Class::File, &name, body).await.map_err(|error| error.of("putting", &name))?;
        return Ok(Sent::Now);
    }
    let upload = client.begin_upload(&name).await.map_err(|error| error.of("beginning", &name))?;
    let sent = send_parts(client, (&source, &path), file, &upload, part_bytes).await;
    if sent.is_err() {
        client.abort_upload(&name, &upload).await;
    }
    sent.map(|()| Sent::Now)
}

async fn send_parts<F: File, C: Clock, N: Entropy>(
    client: &Client<C, N>,
    (source, path): (&F, &Path),
    file: &CheckpointFile,
    upload: &UploadId,
    part_bytes: usize,
) -> Result<()> {
    let name = file_name(&file.name);
    let of = |doing: &'static str| {
        let name = name.clone();
        move |error: StoreError| error.of(doing, &name)
    };
    let (mut tags, mut sum, mut at): (Vec<PartTag>, u32, u64) = (Vec::new(), 0, 0);
    while at < file.bytes {
        let count = (file.bytes - at).min(part_bytes as u64);
        let read = read_part(source, at, count).await;
        let part = read.map_err(|error| Error::io("reading a checkpoint file to send it", path, error))?;
        sum = crc(sum, &part);
        let number = u32::try_from(tags.len()).unwrap_or(u32::MAX);
        tags.push(client.put_part(&name, upload, number, part).await.map_err(of("putting a part of"))?);
        at += count;
    }
    check_crc(path, file, sum)?;
    match client.complete_upload(&name, upload, &tags).await {
        Ok(()) => Ok(()),
        // An earlier try may have completed it, without a reply.
        Err(error) if error.kind() == StoreErrorKind::Refused => {
            let size = client.size(Class::File, &name).await.map_err(of("looking for"))?;
            if size == Some(file.bytes) {
                Ok(())
            } else {
                Err(of("completing")(error).with_kind(crate::ErrorKind::Failed))
            }
        }
        Err(error) => Err(of("completing")(error)),
    }
}

async fn read_part<F: File>(source: &F, at: u64, count: u64) -> io::Result<Bytes> {
    let count = usize::try_from(count).map_err(|_| io::ErrorKind::OutOfMemory)?;
    read_exact_at(source, at, BytesMut::zeroed(count)).await.map(BytesMut::freeze)
}

fn check_crc(path: &Path, file: &CheckpointFile, sum: u32) -> Result<()> {
    if sum == file.crc {
        return Ok(());
    }
    let what = format!("offset 0: the file has crc {sum:08x}, the manifest says {:08x}", file.crc);
    Err(Error::corrupt(ErrorCode::CheckpointDamaged, path, what))
}

/// Brings `file` down into the database at `root`, and makes its bytes durable. The caller syncs the folder. `progress` is told
/// of bytes as they come.
///
/// # Errors
///
/// `Corrupt` naming the object when it is missing or not what the manifest says; `Full` or `Failed` when the disk is, or
/// the store does not answer.
pub(super) async fn fetch<V: Vfs, C: Clock, N: Entropy>(
    client: &Client<C, N>,
    (vfs, root): (&V, &Path),
    file: &CheckpointFile,
    progress: &dyn Fn(u64),
) -> Result<()> {
    let (name, path) = (file_name(&file.name), local_path(root, file));
    let object = Path::new(&name);
    let failed = |error| Error::io("writing a checkpoint file from the object store", &path, error);
    match retry(|| vfs.remove(&path)).await {
        // What an interrupted restore has left.
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let target = retry(|| vfs.create_new(&path)).await.map_err(failed)?;
    let (mut at, mut sum) = (0, 0);
    while at < file.bytes {
        let range = at..(at + DOWN_BYTES).min(file.bytes);
        let got = client.get(Class::File, &name, range).await.map_err(|error| error.of("getting", &name))?;
        let part = match got {
            None => {
                return Err(Error::corrupt(
                    ErrorCode::ObjectMissing,
                    object,
                    "the head names this object, and it is missing",
                ));
            }
            Some(part) if part.is_empty() => {
                let what = format!("offset {at}: the object ends, the head says {} bytes", file.bytes);
                return Err(Error::corrupt(ErrorCode::ObjectDamaged, object, what));
            }
            Some(part) => part,
        };
        sum = crc(sum, &part);
        let count = part.len() as u64;
        write_all_at(&target, at, part).await.map_err(failed)?;
        progress(count);
        at += count;
    }
    check_crc(object, file, sum)?;
    retry(|| target.sync_data()).await.map_err(failed)
}
