//! Removing what no manifest needs: before a life begins what opens that did not land have left, and behind it what its
//! open manifest has given up, and the space that is not to be held back any more.

use std::path::Path;

use super::Recovery;
use super::evidence::Findings;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::manifest::opening::RESERVE_NAME;
use crate::manifest::{Manifest, gc};
use crate::vfs::{Vfs, retry};
use crate::wal::segment_path;

impl<E: Env> Recovery<'_, E> {
    /// What opens that did not land have left: files that they had not made whole, and segments, because no manifest names their
    /// token and none ever will. Removed before new segments are made, so that a process that dies in every recovery before that
    /// lands does not fill the disk. Best effort.
    ///
    /// Only tokens above the head's: its name may be in the cache alone, and an older manifest, which a power loss may
    /// bring back as the head, may still need everything up to it.
    pub(super) async fn remove_leftovers(&self, findings: &[Findings]) {
        let mut unfinished = gc::removals(&self.listing, self.old, gc::Moment::Opening);
        unfinished.retain(|decision| decision.reason == gc::Reason::LeftoverTemp);
        if let Err(error) = gc::execute(self.vfs, &self.options.path, &unfinished).await {
            tracing::debug!(target: "highwater::recovery", %error, "leftovers stay");
        }
        for (core, found) in self.cores().zip(findings) {
            let dir = self.dir(core);
            for (number, _) in found.segments().filter(|(_, token)| *token > self.old.token) {
                match self.remove(&segment_path(dir, number)).await {
                    Ok(removed) => {
                        let (core, segment) = (core.0, number.0);
                        tracing::debug!(target: "highwater::recovery", core, segment, removed, "leftover removed");
                    }
                    Err(error) => tracing::debug!(target: "highwater::recovery", %error, "leftover stays"),
                }
            }
        }
    }

    /// Step 6: best effort, because what stays is removed by the next open.
    pub(super) async fn clean(&self, head: &Manifest, findings: &[Findings]) {
        let root = &self.options.path;
        let outcome = async {
            for (core, found) in self.cores().zip(findings) {
                let dir = self.dir(core);
                let floor = head.wal_floor[core.index()];
                let mut removed = false;
                for (number, token) in found.segments().filter(|(number, _)| *number >= floor) {
                    let listed = head.lives.iter().any(|life| life.token == token);
                    // Leftovers are gone since before the manifest landed, or the next open tries again.
                    if !listed && token <= self.old.token {
                        removed |= self.remove(&segment_path(dir, number)).await?;
                    }
                }
                if removed {
                    retry(|| self.vfs.sync_dir(dir))
                        .await
                        .map_err(|e| Error::io("syncing a log folder", dir, e))?;
                }
            }
            let has_reserve = self.listing.root.iter().any(|entry| entry.name == RESERVE_NAME);
            if has_reserve && !self.options.reserve {
                self.remove(&root.join(RESERVE_NAME)).await?;
            }
            gc::execute(self.vfs, root, &gc::removals(&self.listing, head, gc::Moment::Opening)).await
        };
        if let Err(error) = outcome.await {
            tracing::warn!(target: "highwater::recovery", %error, "not everything could be cleaned up");
        }
    }

    async fn remove(&self, path: &Path) -> Result<bool> {
        match retry(|| self.vfs.remove(path)).await {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io("removing a file that nothing needs", path, error)),
        }
    }
}
