//! The background part that keeps the store up to date.
//!
//! ```text
//! take the newest local manifest ─► files ─► the store's manifest ─► marks ─► some removals ─► nothing newer? one after the other
//!     ▲                               │ trouble: wait, take again          └─ fenced: stop, touch nothing more
//!     └───────────────────────────────┘
//! ```
//!
//! A manifest goes before files, files before removals: while one of them is due, the later wait. But behind each manifest
//! that lands some removals are made, more than it brought names: where uploads never catch up, the store does not
//! grow. What was on its way when the engine stopped is found in the store by the next open, and not sent again.

use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument;

use super::chain::{Landing, Site};
use super::collect::Known;
use super::identity::StoreId;
use super::mirror::{Mirror, Pins, pins_of};
use super::stored::{Content, Writer, stored};
use super::transfer::{Sent, send};
use super::{file_name, manifest_name};
use crate::env::{Clock, Env, Spawn};
use crate::error::{Error, ErrorCode, ErrorKind, Result};
use crate::ids::{Epoch, FencingToken, ManifestSeq};
use crate::manifest::store::Head;
use crate::manifest::{Author, Checkpoint, FileName, KeptEpoch, Manifest};
use crate::meter::{Begun, Timer};
use crate::parallel::beside;
use crate::race::{First, race};
use crate::remote::{Class, Remote};

/// The wait behind an attempt that failed: it doubles with each further one.
const PATIENCE_MIN: Duration = Duration::from_millis(200);
/// The longest of these waits.
const PATIENCE_MAX: Duration = Duration::from_secs(5);

/// Objects that are removed behind a manifest that landed, beside as many as it brought files.
const REMOVALS_MIN: usize = 8;

/// How long that may take if the upload itself took less: a store that wants removals to be slow does not hold up
/// what comes next.
const REMOVALS_TIME_MIN: Duration = Duration::from_millis(200);

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
    /// Of each checkpoint that it brings there.
    pub(crate) time: Timer,
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
                mirror.failed(
                    Error::io("opening the disk on a thread of its own", &self.root, error)
                        .coded(ErrorCode::DiskNotOpened),
                );
                mirror.stopped().await;
                return Ok(());
            }
        };
        let clock = self.env.clock();
        let mut work = Work {
            pins: pins_of(&self.head.manifest),
            next_pins: Pins::new(),
            up: self,
            vfs,
            begun: None,
            unresolved: None,
            held: BTreeSet::new(),
            sweeps: true,
            doomed: VecDeque::new(),
            share: 0,
        };
        match race(work.run(&clock), mirror.stopped()).await {
            First::A(ended) => ended,
            First::B(()) => Ok(()),
        }
    }
}

struct Work<E: Env> {
    up: Uploader<E>,
    vfs: E::Vfs,
    /// When what is on its way began.
    begun: Option<Begun>,
    /// What the head keeps, and what the manifest that is to land next does.
    pins: Pins,
    next_pins: Pins,
    /// A manifest of this writer that may be the head: nothing else is tried before that is known (O4).
    unresolved: Option<Manifest>,
    /// Files that the store does not need any more, and the directory still names (O8).
    held: BTreeSet<FileName>,
    /// Whether the names of the store are to be looked through.
    sweeps: bool,
    /// Objects that nobody needs, to be removed in this order.
    doomed: VecDeque<String>,
    /// How many of them go before anything else is taken: none, unless a manifest has landed.
    share: usize,
}

impl<E: Env> Work<E> {
    async fn run(&mut self, clock: &E::Clock) -> Result<()> {
        let mirror = Arc::clone(&self.up.mirror);
        self.doom_retired();
        let mut failures = 0;
        loop {
            let wanted = mirror.wanted();
            let Some(local) = mirror.take() else {
                match self.doomed.pop_front() {
                    Some(name) => {
                        self.remove(&name).await;
                    }
                    None if self.sweeps => {
                        let span = tracing::debug_span!(target: "highwater::offsite", "collect");
                        self.sweep().instrument(span).await;
                    }
                    None => wanted.await,
                }
                continue;
            };
            self.begun = Some(self.up.time.start());
            let span = tracing::debug_span!(target: "highwater::offsite", "upload", manifest = local.seq.0);
            let begun = clock.now();
            match self.bring(&local).instrument(span).await {
                Ok(()) => {
                    failures = 0;
                    let took = clock.now().since(begun);
                    self.remove_some(clock, took.max(REMOVALS_TIME_MIN)).await;
                }
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

    /// Brings the newest checkpoint of the directory's manifest `local` into the store, and what is kept.
    async fn bring(&mut self, local: &Manifest) -> Result<()> {
        self.up.local = local.clone();
        if let Some(manifest) = self.unresolved.clone() {
            self.land(manifest).await?;
        }
        let head = &self.up.head.manifest;
        let Some(newest) = local.newest_checkpoint() else { return Ok(()) };
        let epoch = head.newest_checkpoint().map_or(Epoch(0), |there| there.epoch);
        if epoch >= newest.epoch && pins_of(local) == self.pins {
            self.up.mirror.landed(epoch, head.seq, &self.pins);
            return Ok(());
        }
        let there = head.referenced_files();
        let kept = self.bring_kept(local, &there).await?;
        let checkpoints = if epoch >= newest.epoch {
            self.up.head.manifest.checkpoints.clone()
        } else {
            self.send_all(newest, &there).await?;
            // Of the older ones, those that cost nothing more.
            let stays = |checkpoint: &&Checkpoint| {
                checkpoint.epoch == newest.epoch
                    || checkpoint.files.iter().all(|file| there.contains(&file.name))
            };
            local.checkpoints.iter().filter(stays).cloned().collect()
        };
        let author = (Author::Checkpoint, local.attempt_floor);
        let content = Content { checkpoints, kept };
        let manifest = stored(Some(&self.up.head), self.up.writer, author, content, &self.up.env.entropy());
        self.next_pins = pins_of(local);
        self.land(manifest).await
    }

    /// Brings the files up of what `local` keeps and are not `there`; what the store keeps then. What the directory has not,
    /// and the store has not either, is in another store.
    async fn bring_kept(&self, local: &Manifest, there: &BTreeSet<FileName>) -> Result<Vec<KeptEpoch>> {
        let mut kept = local.kept.clone();
        kept.retain(|kept| !kept.away || kept.checkpoint.files.iter().all(|file| there.contains(&file.name)));
        for kept in &kept {
            self.send_all(&kept.checkpoint, there).await?;
        }
        Ok(kept)
    }

    /// Brings the files of `checkpoint` up that are not `there`, some at a time.
    async fn send_all(&self, checkpoint: &Checkpoint, there: &BTreeSet<FileName>) -> Result<()> {
        let Uploader { site, remote, root, .. } = &self.up;
        let files: Vec<_> = checkpoint.files.iter().filter(|file| !there.contains(&file.name)).collect();
        // Not more lanes than files, whatever was asked for.
        let (files, parallel) = (&files, remote.parallel.clamp(1, files.len().max(1)));
        let lanes = (0..parallel).map(|lane| async move {
            let (mut sent, mut bytes) = (0_u64, 0);
            for file in files.iter().skip(lane).step_by(parallel) {
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
                let brought = head
                    .manifest
                    .referenced_files()
                    .difference(&self.up.head.manifest.referenced_files())
                    .count();
                self.share = brought + REMOVALS_MIN;
                (self.up.head, self.unresolved) = (*head, None);
                self.pins.clone_from(&self.next_pins);
                if let Some(begun) = self.begun.take() {
                    self.up.time.stop(begun);
                }
                self.up.mirror.landed(newest, manifest.seq, &self.pins);
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

    /// What the head, which landed, retires goes as soon as the directory does not name it any more.
    fn doom_retired(&mut self) {
        let named = self.up.local.referenced_files();
        let head = &self.up.head.manifest;
        self.held.extend(&head.retired);
        let needed = head.referenced_files();
        self.held.retain(|name| !needed.contains(name));
        let held = std::mem::take(&mut self.held).into_iter();
        let (held, free): (BTreeSet<_>, BTreeSet<_>) = held.partition(|name| named.contains(name));
        self.held = held;
        self.doomed.extend(free.iter().map(file_name));
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
            self.sweeps = true;
            tracing::debug!(target: "highwater::offsite", mark = self.up.marks, "boundary moved");
        }
    }

    /// Finds what no manifest names and none ever will: what writers before this one brought and did not name, what this one
    /// sent and left out for something newer, what an interrupted collection has left. If the store does not answer, it is tried
    /// again when the boundary moves.
    async fn sweep(&mut self) {
        self.sweeps = false;
        let (id, client) = (&self.up.id, &self.up.site.client);
        let mut named = BTreeSet::new();
        named.extend(self.up.local.referenced_files());
        let boundary = self.up.marks * u64::from(id.stride);
        let known = Known::of(&self.up.head.manifest, boundary, named);
        let before = self.doomed.len();
        for prefix in ["f/", "m/"] {
            let Ok(listed) = client.list(Class::Collect, prefix).await else { continue };
            let names = listed.into_iter().map(|object| object.name);
            self.doomed.extend(names.filter(|name| known.reason(name).deletes()));
        }
        let found = self.doomed.len() - before;
        tracing::debug!(target: "highwater::offsite", found, "orphans looked for");
    }

    /// Removes the share of the manifest that has landed, unless that takes longer than `limit` or the store is in
    /// trouble: uploads come first then.
    async fn remove_some(&mut self, clock: &E::Clock, limit: Duration) {
        let begun = clock.now();
        for _ in 0..std::mem::take(&mut self.share) {
            if clock.now().since(begun) >= limit {
                return;
            }
            let Some(name) = self.doomed.pop_front() else { return };
            if !self.remove(&name).await {
                return;
            }
        }
    }

    /// Whether `name` is removed now.
    async fn remove(&mut self, name: &str) -> bool {
        match self.up.site.client.delete(name).await {
            Ok(()) => {
                tracing::debug!(target: "highwater::offsite", name, "removed from the store");
                true
            }
            // The next open finds it among the orphans, or nobody does, and it costs its room.
            Err(error) => {
                tracing::debug!(target: "highwater::offsite", name, %error, "stays in the store");
                false
            }
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
    Error::new(ErrorCode::StoreOvertaken, what).at(manifest_name(seq).as_ref())
}
