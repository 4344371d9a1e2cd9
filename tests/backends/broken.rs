//! Backends that each break one promise: the suite must refuse every one of them.

use std::io;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use highwater::vfs::{Entry, File, OpenMode, StdFile, StdVfs, Vfs};

/// What is wrong with a [`BrokenVfs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    ListIsUnsorted,
    LinkReplaces,
    LockIsShared,
    RenameIsACopy,
    CreateOpensWhatIsThere,
    OpenMakesWhatIsMissing,
    RemoveForgivesMissing,
    WriteCountsTooMuch,
    ReadCountsThePad,
    ReadDropsTheBuffer,
    ReadAtEndIsAnError,
    CutBytesComeBack,
    AllocateShortens,
    SyncedWriteGoesToTheFront,
    LinkCountIsOne,
    ReadModeWrites,
}

pub(crate) const FLAWS: [Flaw; 16] = [
    Flaw::ListIsUnsorted,
    Flaw::LinkReplaces,
    Flaw::LockIsShared,
    Flaw::RenameIsACopy,
    Flaw::CreateOpensWhatIsThere,
    Flaw::OpenMakesWhatIsMissing,
    Flaw::RemoveForgivesMissing,
    Flaw::WriteCountsTooMuch,
    Flaw::ReadCountsThePad,
    Flaw::ReadDropsTheBuffer,
    Flaw::ReadAtEndIsAnError,
    Flaw::CutBytesComeBack,
    Flaw::AllocateShortens,
    Flaw::SyncedWriteGoesToTheFront,
    Flaw::LinkCountIsOne,
    Flaw::ReadModeWrites,
];

/// The std backend with one flaw, or with none.
#[derive(Clone)]
pub(crate) struct BrokenVfs(pub(crate) Option<Flaw>);

pub(crate) struct BrokenFile {
    inner: StdFile,
    flaw: Option<Flaw>,
}

impl BrokenVfs {
    fn has(&self, flaw: Flaw) -> bool {
        self.0 == Some(flaw)
    }

    fn wrap(&self, inner: StdFile) -> BrokenFile {
        BrokenFile { inner, flaw: self.0 }
    }
}

impl Vfs for BrokenVfs {
    type File = BrokenFile;
    type Lock = Option<<StdVfs as Vfs>::Lock>;

    async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<BrokenFile> {
        let mode = if self.has(Flaw::ReadModeWrites) { OpenMode::Write } else { mode };
        match StdVfs.open(path, mode).await {
            Err(error)
                if error.kind() == io::ErrorKind::NotFound && self.has(Flaw::OpenMakesWhatIsMissing) =>
            {
                Ok(self.wrap(StdVfs.create_new(path).await?))
            }
            result => Ok(self.wrap(result?)),
        }
    }

    async fn create_new(&self, path: &Path) -> io::Result<BrokenFile> {
        match StdVfs.create_new(path).await {
            Err(_) if self.has(Flaw::CreateOpensWhatIsThere) => {
                Ok(self.wrap(StdVfs.open(path, OpenMode::Write).await?))
            }
            result => Ok(self.wrap(result?)),
        }
    }

    async fn create_dir(&self, path: &Path) -> io::Result<()> {
        StdVfs.create_dir(path).await
    }

    async fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.has(Flaw::LinkReplaces) {
            let _ = StdVfs.remove(to).await;
        }
        StdVfs.link(from, to).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.has(Flaw::RenameIsACopy) {
            let _ = StdVfs.remove(to).await;
            return StdVfs.link(from, to).await;
        }
        StdVfs.rename(from, to).await
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        let result = StdVfs.remove(path).await;
        if self.has(Flaw::RemoveForgivesMissing) { Ok(()) } else { result }
    }

    async fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = StdVfs.list(path).await?;
        if self.has(Flaw::ListIsUnsorted) {
            entries.reverse();
        }
        Ok(entries)
    }

    async fn lock(&self, path: &Path) -> io::Result<Self::Lock> {
        match StdVfs.lock(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && self.has(Flaw::LockIsShared) => {
                Ok(None)
            }
            result => result.map(Some),
        }
    }

    async fn free_space(&self, path: &Path) -> io::Result<u64> {
        StdVfs.free_space(path).await
    }

    async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        StdVfs.sync_dir(path).await
    }
}

impl BrokenFile {
    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }
}

impl File for BrokenFile {
    async fn len(&self) -> io::Result<u64> {
        self.inner.len().await
    }

    async fn link_count(&self) -> io::Result<u64> {
        if self.has(Flaw::LinkCountIsOne) { Ok(1) } else { self.inner.link_count().await }
    }

    async fn read_at(&self, offset: u64, buffer: BytesMut) -> io::Result<(BytesMut, usize)> {
        let (mut buffer, count) = self.inner.read_at(offset, buffer).await?;
        match self.flaw {
            Some(Flaw::ReadAtEndIsAnError) if count == 0 => Err(io::ErrorKind::UnexpectedEof.into()),
            Some(Flaw::ReadCountsThePad) if count > 0 => Ok((buffer, count.next_multiple_of(512))),
            Some(Flaw::ReadDropsTheBuffer) => {
                buffer.truncate(count);
                Ok((buffer, count))
            }
            _ => Ok((buffer, count)),
        }
    }

    async fn write_at(&self, offset: u64, data: Bytes) -> io::Result<usize> {
        if self.has(Flaw::WriteCountsTooMuch) && data.len() > 4096 {
            self.inner.write_at(offset, data.slice(..4096)).await?;
            return Ok(data.len());
        }
        self.inner.write_at(offset, data).await
    }

    async fn write_at_and_sync(&self, offset: u64, data: Bytes) -> io::Result<usize> {
        let offset = if self.has(Flaw::SyncedWriteGoesToTheFront) { 0 } else { offset };
        self.inner.write_at_and_sync(offset, data).await
    }

    async fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data().await
    }

    async fn allocate(&self, bytes: u64) -> io::Result<()> {
        if self.has(Flaw::AllocateShortens) {
            return self.inner.set_len(bytes).await;
        }
        self.inner.allocate(bytes).await
    }

    async fn set_len(&self, bytes: u64) -> io::Result<()> {
        if self.has(Flaw::CutBytesComeBack) && bytes < self.inner.len().await? {
            return Ok(());
        }
        self.inner.set_len(bytes).await
    }

    fn depth_max(&self) -> usize {
        self.inner.depth_max()
    }

    fn failures_are_own(&self) -> bool {
        self.inner.failures_are_own()
    }

    fn write_unit(&self) -> u32 {
        self.inner.write_unit()
    }
}
