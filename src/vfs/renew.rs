//! Making a directory's name anew.
//!
//! A process that was interrupted while it made a directory may have seen the sync of the name fail. Then the name may
//! be in the cache and nowhere else: whoever finds it later can sync as often as they like, every sync says `Ok`, and
//! a power loss takes the directory with everything in it (promise 3 of [`crate::vfs`]). Only a new name, and a
//! sync after it, is proof. So a directory that an unfinished creation left behind is renamed away and back.

use std::io;
use std::path::Path;

use super::{Vfs, retry};
use crate::ids::Nonce;

/// Renames the directory `path` away and back; its name is durable after the next sync of its parent. `nonce` makes the
/// name in between unique.
///
/// A directory that cannot be renamed (a mount point, or one in somebody else's directory) was not made by an
/// unfinished creation, and is left as it is.
///
/// # Errors
///
/// Whatever the file system reports. The directory may have the name `{path}.{nonce}.tmp` then.
pub(crate) async fn renew_dir<V: Vfs>(vfs: &V, path: &Path, nonce: Nonce) -> io::Result<()> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Ok(()) };
    let aside = path.with_file_name(format!("{name}.{nonce}.tmp"));
    match retry(|| vfs.rename(path, &aside)).await {
        Ok(()) => retry(|| vfs.rename(&aside, path)).await,
        Err(error) if is_not_ours(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

fn is_not_ours(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ResourceBusy | io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    )
}
