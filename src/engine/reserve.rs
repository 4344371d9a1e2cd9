//! RESERVE: space that is held back, so that a full device can still be left.
//!
//! ```text
//!        ┌──── a log or a checkpoint finds no space ────┐
//!        │                                              ▼
//!      held ◄── as much again would be left free ── given up
//! ```
//!
//! The file is as long as a log file for each core and some manifests. With its space the cores go on to the next end
//! of an epoch, and a checkpoint of that lets older files and logs go.
//!
//! Invariants
//! 1. Nothing is read from it: it counts for nothing in a recovery, whatever its length, and may be removed at any time.
//! 2. It is made again only where as much again stays free: what comes back in small pieces is for the logs.
//! 3. It is given up before a core is told that there is no space ([`Space::is_gone`]). Who asked for a checkpoint is
//!    told at once.

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::ids::Nonce;
use crate::manifest::opening::RESERVE_NAME;
use crate::options::Options;
use crate::sync::atomic::{AtomicU8, Ordering};
use crate::vfs::{File, Vfs, hold_space, retry};

/// For manifests.
const MANIFESTS_BYTES: u64 = 256 << 10;

/// How the space of an engine stands.
#[derive(Debug)]
pub(crate) struct Space(AtomicU8);

/// None is held back, as the options say.
const OFF: u8 = 0;
/// It is held, or about to be made for the first time.
const HELD: u8 = 1;
/// Somebody found no space: it is to be given up.
const ASKED: u8 = 2;
/// It has been given up, or there was no room for it.
const GONE: u8 = 3;

impl Space {
    /// With a reserve that is held, or none.
    pub(crate) fn new(held: bool) -> Self {
        Self(AtomicU8::new(if held { HELD } else { OFF }))
    }

    fn state(&self) -> u8 {
        self.0.load(Ordering::Acquire)
    }

    /// Whether there is nothing left to be given up.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self.state(), OFF | GONE)
    }

    /// Whether space is short: what is held back is given up, or will be.
    pub(crate) fn is_short(&self) -> bool {
        matches!(self.state(), ASKED | GONE)
    }

    /// There is no space: what is held back is to be given up. Whether that is news.
    pub(crate) fn ask(&self) -> bool {
        self.go(HELD, ASKED)
    }

    /// Nobody gives anything up from now on.
    pub(crate) fn end(&self) {
        self.0.store(OFF, Ordering::Release);
    }

    /// Whether what is held back is about to be given up.
    pub(crate) fn is_asked(&self) -> bool {
        self.state() == ASKED
    }

    /// Goes from one state to another, unless somebody has asked meanwhile. Whether it did.
    fn go(&self, from: u8, to: u8) -> bool {
        self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// Gives the reserve up and makes it again. One for an engine.
pub(crate) struct Keeper {
    root: PathBuf,
    /// What it is to hold; zero for none.
    bytes: u64,
    /// Whether the file is there, in its length.
    is_there: bool,
}

/// What has become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    None,
    GivenUp,
    Held,
}

impl Keeper {
    pub(crate) fn new(options: &Options) -> Self {
        Self { root: options.path.clone(), bytes: bytes_of(options), is_there: false }
    }

    /// Gives it up if somebody asked for that.
    pub(crate) async fn give_up<V: Vfs>(&mut self, vfs: &V, space: &Space) -> Change {
        if !space.is_asked() {
            return Change::None;
        }
        if let Err(error) = give_up(vfs, &self.root).await {
            // It cannot be counted on, and somebody waits for the answer.
            tracing::debug!(target: "highwater::engine", %error, "the reserve stays");
        }
        self.is_there = false;
        space.go(ASKED, GONE);
        Change::GivenUp
    }

    /// Makes it if it is not there and there is room. `is_full`: somebody waits for space.
    pub(crate) async fn hold<V: Vfs>(
        &mut self,
        vfs: &V,
        space: &Space,
        is_full: bool,
        nonce: impl FnOnce() -> Nonce,
    ) -> Change {
        if self.bytes == 0 || self.is_there || is_full || space.is_asked() {
            return Change::None;
        }
        let made = if self.is_of_length(vfs).await { Ok(true) } else { self.make(vfs, nonce()).await };
        self.is_there = made.as_ref().is_ok_and(|made| *made);
        if let Err(error) = made {
            tracing::debug!(target: "highwater::engine", %error, "no reserve is made");
        }
        match self.is_there {
            true if space.go(GONE, HELD) => Change::Held,
            false if space.go(HELD, GONE) => Change::GivenUp,
            _ => Change::None,
        }
    }

    /// Whether an engine before this one has left it, and it fits.
    async fn is_of_length<V: Vfs>(&self, vfs: &V) -> bool {
        let path = self.root.join(RESERVE_NAME);
        match vfs.open(&path, crate::vfs::OpenMode::Read).await {
            Ok(file) => file.len().await.is_ok_and(|len| len == self.bytes),
            Err(_) => false,
        }
    }

    /// Whether there was room for it.
    async fn make<V: Vfs>(&self, vfs: &V, nonce: Nonce) -> Result<bool> {
        give_up(vfs, &self.root).await?;
        let told = |error| Error::io("looking for space", &self.root, error);
        let free = retry(|| vfs.free_space(&self.root)).await.map_err(told)?;
        if free < self.bytes.saturating_mul(2) {
            return Ok(false);
        }
        let temp = self.root.join(format!("{RESERVE_NAME}.{nonce}.tmp"));
        let made = self.make_as(vfs, &temp).await;
        if made.is_err() {
            // A temp that stays is removed by the next open.
            let _ = retry(|| vfs.remove(&temp)).await;
        }
        made.map(|()| true)
    }

    async fn make_as<V: Vfs>(&self, vfs: &V, temp: &Path) -> Result<()> {
        let failed = |error| Error::io("making the reserve", temp, error);
        let file = retry(|| vfs.create_new(temp)).await.map_err(failed)?;
        hold_space(&file, self.bytes).await.map_err(failed)?;
        retry(|| file.sync_data()).await.map_err(failed)?;
        drop(file);
        let path = self.root.join(RESERVE_NAME);
        retry(|| vfs.rename(temp, &path)).await.map_err(failed)
    }
}

/// A log file for each core, and manifests.
fn bytes_of(options: &Options) -> u64 {
    if options.reserve { options.segment_bytes * u64::from(options.cores) + MANIFESTS_BYTES } else { 0 }
}

/// Removes the reserve of the database at `root`. Whether it was there.
///
/// # Errors
///
/// What kept it from going.
pub(crate) async fn give_up<V: Vfs>(vfs: &V, root: &Path) -> Result<bool> {
    let path = root.join(RESERVE_NAME);
    match retry(|| vfs.remove(&path)).await {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("giving up the reserve", &path, error)),
    }
}
