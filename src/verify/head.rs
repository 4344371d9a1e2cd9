//! Who the database is, and what its newest manifest says.

use std::path::Path;

use super::decode::ident::{IDENT_BYTES, Ident};
use super::decode::manifest::{MANIFEST_BYTES_MAX, Manifest};
use super::report::{DamageKind, Finding};
use super::source::Directory;
use super::version;
use crate::error::{Error, ErrorCode, Result};
use crate::ids::ManifestSeq;
use crate::vfs::Vfs;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) ident: Option<Ident>,
    /// The greatest number of a manifest, readable or not.
    pub(crate) greatest: Option<u64>,
    pub(crate) manifest: Option<Manifest>,
    wal_bytes: u64,
}

/// The file of manifest `number`.
pub(crate) fn manifest_path(number: u64) -> String {
    format!("m/{number:020}")
}

impl Head {
    /// Looks at the database at `path`; what is damaged is given to `found`.
    ///
    /// # Errors
    ///
    /// As [`super::verify`].
    pub(crate) async fn find<V: Vfs>(
        directory: &Directory<V>,
        path: &Path,
        found: &mut dyn FnMut(Finding),
    ) -> Result<Self> {
        let mut head = Self::default();
        let names = match directory.names("").await {
            Ok(Some(names)) => names,
            Ok(None) => return Err(Error::new(ErrorCode::NoSuchFolder, "there is no such folder").at(path)),
            Err(finding) => return Err(Error::new(ErrorCode::FolderUnreadable, finding.to_string()).at(path)),
        };
        if let Err(finding) = directory.check_folders().await {
            found(finding);
            return Ok(head);
        }
        let mut numbers = match directory.numbers("m").await {
            Ok(numbers) => numbers,
            Err(finding) => {
                found(finding);
                return Ok(head);
            }
        };
        if !names.iter().any(|entry| entry.name == "IDENT") {
            if numbers.is_empty() {
                let what = "there is no database: no IDENT and no manifest";
                return Err(Error::new(ErrorCode::NotADatabase, what).at(path));
            }
            found(Finding::new(DamageKind::Missing, "IDENT".as_ref(), "is missing, and there are manifests"));
        }
        head.greatest = numbers.last().copied();
        match ident(directory).await {
            Ok(ident) => head.ident = Some(ident),
            Err(finding) if finding.kind == DamageKind::Newer => return Err(unsupported(path, &finding)),
            Err(finding) => found(finding),
        }
        let Some(ident) = head.ident else { return Ok(head) };
        let Some(greatest) = numbers.pop() else {
            if has_data(directory).await {
                let what = "there is no manifest, but segments or checkpoint files are there";
                found(Finding::new(DamageKind::Missing, "m".as_ref(), what));
            }
            return Ok(head);
        };
        let mut previous = None;
        match manifest(directory, greatest, &ident).await {
            Ok((manifest, _)) => {
                previous = manifest.previous;
                head.manifest = Some(manifest);
            }
            Err(finding) if finding.kind == DamageKind::Newer => return Err(unsupported(path, &finding)),
            Err(finding) => found(finding),
        }
        for number in numbers {
            match manifest(directory, number, &ident).await {
                Ok((_, crc))
                    if previous.is_some_and(|(previous, stated)| previous == number && stated != crc) =>
                {
                    let what =
                        format!("manifest {greatest} was derived from another manifest of this number");
                    found(Finding::new(DamageKind::Damaged, manifest_path(number).as_ref(), what));
                }
                Ok(_) => {}
                // A collection may have removed it meanwhile.
                Err(finding) if finding.kind == DamageKind::Missing => {}
                Err(finding) => found(finding),
            }
        }
        head.wal_bytes = wal_bytes(directory, head.manifest.as_ref()).await;
        Ok(head)
    }

    /// The manifest's file.
    pub(crate) fn path(&self) -> String {
        manifest_path(self.greatest.unwrap_or(0))
    }

    /// About as many bytes have to be read.
    pub(crate) fn bytes(&self) -> u64 {
        let retained = self.manifest.iter().flat_map(|manifest| &manifest.checkpoints);
        let files = retained.chain(self.manifest.iter().flat_map(Manifest::kept_here));
        let mut files: Vec<_> =
            files.flat_map(|checkpoint| &checkpoint.files).map(|file| (file.uuid, file.bytes)).collect();
        files.sort_unstable();
        files.dedup();
        files.iter().fold(self.wal_bytes, |sum, (_, bytes)| sum.saturating_add(*bytes))
    }
}

/// Without this file nothing is known of the database at `path`.
fn unsupported(path: &Path, finding: &Finding) -> Error {
    Error::new(ErrorCode::NewerFormat, finding.what.clone()).at(&path.join(&finding.path))
}

/// IDENT.
pub(crate) async fn ident<V: Vfs>(directory: &Directory<V>) -> Result<Ident, Finding> {
    let bytes = directory.whole("IDENT", IDENT_BYTES as u64, version::IDENT).await?;
    Ident::read(&bytes).map_err(|why| Finding::new(DamageKind::Damaged, "IDENT".as_ref(), why).at(0))
}

/// A manifest, and its header's crc.
pub(crate) async fn manifest<V: Vfs>(
    directory: &Directory<V>,
    number: u64,
    ident: &Ident,
) -> Result<(Manifest, u32), Finding> {
    let path = manifest_path(number);
    let bytes = directory.whole(&path, MANIFEST_BYTES_MAX, version::MANIFEST).await?;
    let read = Manifest::read(&bytes, number, ident.database, ident.timeline);
    let read = read.and_then(|manifest| Ok((manifest, Manifest::header_crc(&bytes)?)));
    read.map_err(|why| Finding::new(DamageKind::Damaged, path.as_ref(), why))
}

/// Whether there is a segment or a checkpoint file.
async fn has_data<V: Vfs>(directory: &Directory<V>) -> bool {
    let files = directory.names("f").await.ok().flatten().unwrap_or_default();
    if files.iter().any(|entry| !is_temp(&entry.name)) {
        return true;
    }
    for core in directory.names("wal").await.ok().flatten().unwrap_or_default() {
        let segments = directory.numbers(&format!("wal/{}", core.name)).await.unwrap_or_default();
        if !segments.is_empty() {
            return true;
        }
    }
    false
}

fn is_temp(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "tmp")
}

/// The bytes of the segments from the floors on, by the first one of each core: all have one length, mostly.
async fn wal_bytes<V: Vfs>(directory: &Directory<V>, manifest: Option<&Manifest>) -> u64 {
    let mut bytes = 0;
    let Some(manifest) = manifest else { return bytes };
    for (core, floor) in (0..manifest.cores).zip(&manifest.floors) {
        let numbers = directory.numbers(&format!("wal/{core:05}")).await.unwrap_or_default();
        let needed = numbers.iter().filter(|number| *number >= floor);
        let Some(last) = numbers.last() else { continue };
        let length = match directory.open(super::log::segment_path(core, *last)).await {
            Ok(source) => source.bytes,
            Err(_) => 0,
        };
        bytes += length * needed.count() as u64;
    }
    bytes
}

/// Whether there is a manifest above `seen` now.
pub(crate) async fn is_newer<V: Vfs>(vfs: &V, path: &Path, seen: Option<ManifestSeq>) -> bool {
    let directory = Directory::new(vfs.clone(), path, None);
    if directory.check_folders().await.is_err() {
        return false;
    }
    let numbers = directory.numbers("m").await.unwrap_or_default();
    numbers.last().copied() > seen.map(|seen| seen.0)
}
