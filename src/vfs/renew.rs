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
/// A directory that cannot be renamed (a mount point, one in somebody else's directory, or one of a lower layer of an
/// overlay) was not made by an unfinished creation, and is left as it is. So is one that the path ends in without a name.
///
/// # Errors
///
/// Whatever the file system reports. The directory may have the name `{path}.{nonce}.tmp` then.
pub(crate) async fn renew_dir<V: Vfs>(vfs: &V, path: &Path, nonce: Nonce) -> io::Result<()> {
    let Some(name) = path.file_name() else { return Ok(()) };
    let mut aside = name.to_os_string();
    aside.push(format!(".{nonce}.tmp"));
    let aside = path.with_file_name(aside);
    match retry(|| vfs.rename(path, &aside)).await {
        Ok(()) => retry(|| vfs.rename(&aside, path)).await,
        Err(error) if is_not_ours(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

fn is_not_ours(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ResourceBusy
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::CrossesDevices
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{Blocking, StdEnv};
    use crate::vfs::StdVfs;

    /// What an overlay says of a directory of a lower layer, and a mount point of itself.
    #[test]
    fn a_directory_that_cannot_be_renamed_is_left_as_it_is() {
        for kind in [io::ErrorKind::CrossesDevices, io::ErrorKind::ResourceBusy] {
            assert!(is_not_ours(&kind.into()), "{kind}");
        }
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::InvalidInput, io::ErrorKind::NotFound] {
            assert!(!is_not_ours(&kind.into()), "{kind}");
        }
    }

    /// A name that is not UTF-8 was left as it was, and might have been in the cache alone.
    #[cfg(target_os = "linux")]
    #[test]
    #[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "it looks past the seam")]
    fn a_directory_of_any_name_is_renamed_away_and_back() {
        use std::os::unix::ffi::OsStrExt;
        let home = tempfile::tempdir().unwrap();
        for name in [&b"log"[..], b"l\xf6g"] {
            let path = home.path().join(std::ffi::OsStr::from_bytes(name));
            StdEnv.block_on(StdVfs.create_dir(&path)).unwrap();
            let before = std::fs::metadata(home.path()).unwrap().modified().unwrap();
            // A rename is the only thing here that touches the parent.
            let untouched = before - std::time::Duration::from_secs(60);
            std::fs::File::open(home.path()).unwrap().set_modified(untouched).unwrap();
            StdEnv.block_on(renew_dir(&StdVfs, &path, Nonce(7))).unwrap();
            assert!(path.is_dir());
            assert_ne!(std::fs::metadata(home.path()).unwrap().modified().unwrap(), untouched, "{path:?}");
        }
    }
}
