//! The background part that keeps the store up to date.
//!
//! ```text
//! take the newest local manifest ─► files ─► the store's manifest ─► marks ─► nothing newer? one removal after the other
//!     ▲                               │ trouble: wait, take again          └─ fenced: stop, touch nothing more
//!     └───────────────────────────────┘
//! ```
//!
//! A manifest goes before files, files before removals: while one of them is due, the later wait. What was on its way when the
//! engine stopped is found in the store by the next open, and not sent again.

use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::chain::{Landing, Site};
use super::identity::StoreId;
use super::mirror::Mirror;
use super::stored::{Writer, stored};
use super::transfer::{Sent, send};
use super::{file_name, manifest_name};
use crate::env::{Clock, Env, Spawn};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{FencingToken, ManifestSeq};
use crate::manifest::store::Head;
use crate::manifest::{Author, Checkpoint, FileName, Manifest};
use crate::parallel::beside;
use crate::race::{First, race};
use crate::remote::{Class, Remote};

/// The wait behind an attempt that failed: it doubles with each further one.
const PATIENCE_MIN: Duration = Duration::from_millis(200);
/// The longest of these waits.
const PATIENCE_MAX: Duration = Duration::from_secs(5);

/// What an uploader begins with.
pub(crate) struct Uploader<E: Env> {
    pub(crate) env: E,
    pub(crate) site: Site<E>,
    pub(crate) id: StoreId,
    pub(crate) remote: Remote,
    /// The database's directory.
    pub(crate) root: PathBuf,
    pub(crate) writer: Writer,
    /// The manifest with which this writer opened the store.
    pub(crate) head: Head,
    /// The greatest boundary mark that is there.
    pub(crate) marks: u64,
    /// The head of the directory at its opening.
    pub(crate) local: Manifest,
    pub(crate) mirror: Arc<Mirror>,
}

impl<E: Env> Uploader<E> {
    /// Runs until the engine stops.
    ///
    /// # Errors
    ///
    /// `Fenced` when another writer owns the store.
    pub(crate) async fn run(self) -> Result<()> {
        let mirror = Arc::clone(&self.mirror);
        self.env.spawn().give_way();
        let vfs = match self.env.vfs() {
            Ok(vfs) => vfs,
            Err(error) => {
                mirror.failed(Error::io("opening the disk on a thread of its own", &self.root, error));
                mirror.stopped().await;
                return Ok(());
            }
        };
        let clock = self.env.clock();
        let mut work = Work { up: self, vfs, unresolved: None, doomed: VecDeque::new() };
        match race(work.run(&clock), mirror.stopped()).await {
            First::A(ended) => ended,
            First::B(()) => Ok(()),
        }
    }
}

struct Work<E: Env> {
    up: Uploader<E>,
    vfs: E::Vfs,
    /// A manifest of this writer that may be the head: nothing else is tried before that is known (O4).
    unresolved: Option<Manifest>,
    /// Objects that nobody needs, to be removed in this order.
    doomed: VecDeque<String>,
}

impl<E: Env> Work<E> {
    async fn run(&mut self, clock: &E::Clock) -> Result<()> {
        let mirror = Arc::clone(&self.up.mirror);
        self.doom_retired();
        self.doom_orphans().await;
        let mut failures = 0;
        loop {
            let wanted = mirror.wanted();
            let Some(local) = mirror.take() else {
                match self.doomed.pop_front() {
                    Some(name) => self.remove(&name).await,
                    None => wanted.await,
                }
                continue;
            };
            match self.bring(&local).await {
                Ok(()) => failures = 0,
                Err(error) if error.kind() == ErrorKind::Fenced => return Err(error),
                Err(error) => {
                    tracing::warn!(target: "highwater::offsite", %error, "upload failed");
                    mirror.failed(error);
                    let patience = PATIENCE_MIN.saturating_mul(1 << failures.min(16)).min(PATIENCE_MAX);
                    failures += 1;
                    clock.sleep(patience).await;
                }
            }
        }
    }

    /// Brings the newest checkpoint of the directory's manifest `local` into the store.
    async fn bring(&mut self, local: &Manifest) -> Result<()> {
        if let Some(manifest) = self.unresolved.clone() {
            self.land(manifest).await?;
        }
        let head = &self.up.head.manifest;
        let Some(newest) = local.newest_checkpoint() else { return Ok(()) };
        if head.newest_checkpoint().is_some_and(|there| there.epoch >= newest.epoch) {
            self.up.mirror.landed(newest.epoch, head.seq);
            return Ok(());
        }
        let there = head.referenced_files();
        self.send_all(newest, &there).await?;
        // Of the older ones, those that cost nothing more.
        let stays = |checkpoint: &&Checkpoint| {
            checkpoint.epoch == newest.epoch || checkpoint.files.iter().all(|file| there.contains(&file.name))
        };
        let checkpoints = local.checkpoints.iter().filter(stays).cloned().collect();
        let author = (Author::Checkpoint, local.attempt_floor);
        let manifest =
            stored(Some(&self.up.head), self.up.writer, author, checkpoints, &self.up.env.entropy());
        self.land(manifest).await
    }

    /// Brings the files of `checkpoint` up that are not `there`, some at a time.
    async fn send_all(&self, checkpoint: &Checkpoint, there: &BTreeSet<FileName>) -> Result<()> {
        let Uploader { site, remote, root, .. } = &self.up;
        let files: Vec<_> = checkpoint.files.iter().filter(|file| !there.contains(&file.name)).collect();
        let files = &files;
        let lanes = (0..remote.parallel).map(|lane| async move {
            let (mut sent, mut bytes) = (0_u64, 0);
            for file in files.iter().skip(lane).step_by(remote.parallel) {
                if send(&site.client, (&self.vfs, root), file, remote.part_bytes).await? == Sent::Now {
                    (sent, bytes) = (sent + 1, bytes + file.bytes);
                }
            }
            Ok::<_, Error>((sent, bytes))
        });
        let (mut sent, mut bytes) = (0, 0);
        for lane in beside(lanes.collect()).await {
            let (of_lane, bytes_of_lane) = lane?;
            (sent, bytes) = (sent + of_lane, bytes + bytes_of_lane);
        }
        let (epoch, files) = (checkpoint.epoch.0, files.len());
        tracing::debug!(target: "highwater::offsite", epoch, files, sent, bytes, "files are in the store");
        Ok(())
    }

    /// Lands `manifest`, which follows the head. Once its outcome was not known, no error says any more that it did not land.
    async fn land(&mut self, manifest: Manifest) -> Result<()> {
        match self.up.site.land(&self.up.id, &manifest).await? {
            Landing::Landed(head) => {
                let newest = manifest.newest_checkpoint().map(|newest| newest.epoch).unwrap_or_default();
                tracing::debug!(
                    target: "highwater::offsite",
                    seq = manifest.seq.0,
                    epoch = newest.0,
                    "manifest landed in the store"
                );
                (self.up.head, self.unresolved) = (*head, None);
                self.up.mirror.landed(newest, manifest.seq);
                self.doom_retired();
                self.advance_marks().await;
                Ok(())
            }
            Landing::Conflict(found) => Err(fenced(self.up.writer.token, manifest.seq, found.as_deref())),
            Landing::Unknown(error) => {
                self.unresolved = Some(manifest);
                Err(error)
            }
        }
    }

    /// What the head, which landed, retires goes.
    fn doom_retired(&mut self) {
        self.doomed.extend(self.up.head.manifest.retired.iter().map(file_name));
    }

    /// Keeps one stride of manifests and what has begun of the next. What cannot be marked now is marked later.
    async fn advance_marks(&mut self) {
        let stride = u64::from(self.up.id.stride);
        let due = ((self.up.head.manifest.seq.0 - 1) / stride).saturating_sub(1);
        while self.up.marks < due {
            if !self.up.site.land_mark(&self.up.id, self.up.marks + 1).await {
                return;
            }
            let dead = self.up.marks * stride + 1..=(self.up.marks + 1) * stride;
            self.up.marks += 1;
            self.doomed.extend(dead.map(|number| manifest_name(ManifestSeq(number))));
            tracing::debug!(target: "highwater::offsite", mark = self.up.marks, "boundary moved");
        }
    }

    /// Finds files that no manifest names and none ever will: what writers before this one brought and did not name. The
    /// head was read, and is this writer's, before the listing; what the directory may still bring up under its old name is
    /// none of them.
    async fn doom_orphans(&mut self) {
        let Ok(listed) = self.up.site.client.list(Class::Collect, "f/").await else { return };
        let (head, token) = (&self.up.head.manifest, self.up.writer.token);
        let mut needed = head.referenced_files();
        needed.extend(self.up.local.referenced_files());
        let orphans = listed.into_iter().filter(|object| {
            let name = object.name.strip_prefix("f/").and_then(FileName::parse);
            name.is_some_and(|name| name.token < token && !needed.contains(&name))
        });
        let before = self.doomed.len();
        self.doomed.extend(orphans.map(|object| object.name));
        let found = self.doomed.len() - before;
        tracing::debug!(target: "highwater::offsite", found, "orphans looked for");
    }

    async fn remove(&mut self, name: &str) {
        match self.up.site.client.delete(name).await {
            Ok(()) => tracing::debug!(target: "highwater::offsite", name, "removed from the store"),
            // The next open finds it among the orphans, or nobody does, and it costs its room.
            Err(error) => tracing::debug!(target: "highwater::offsite", name, %error, "stays in the store"),
        }
    }
}

/// Another writer has landed `found` where the manifest `seq` of token `own` was to land.
pub(crate) fn fenced(own: FencingToken, seq: ManifestSeq, found: Option<&Manifest>) -> Error {
    let who = match found {
        Some(found) => {
            format!("manifest {seq} in the object store is another writer's, with token {}", found.token)
        }
        None => format!("manifest {seq} in the object store has long been another writer's"),
    };
    let what = format!(
        "{who}; this one, with token {own}, lands and removes nothing any more: stop it, and restore into an empty \
         directory if it is to take over again"
    );
    Error::new(ErrorKind::Fenced, what).at(manifest_name(seq).as_ref())
}
