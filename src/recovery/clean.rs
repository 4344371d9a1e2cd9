//! Removing what no manifest needs: before a life begins what opens that did not land have left, and behind it what its
//! open manifest has given up, and the space that is not to be held back any more.

use std::path::Path;

use super::Recovery;
use super::evidence::Findings;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::ids::{CoreId, FencingToken, SegmentNo};
use crate::manifest::opening::RESERVE_NAME;
use crate::manifest::{Manifest, gc};
use crate::vfs::{Vfs, retry};
use crate::wal::segment_path;

/// A segment of an open that did not land.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leftover {
    core: CoreId,
    number: SegmentNo,
}

impl<E: Env> Recovery<'_, E> {
    /// What opens that did not land have left: files that they had not made whole, and segments, because no manifest names their
    /// token and none ever will. Removed before new segments are made, so that a process that dies in every recovery before that
    /// lands does not fill the disk. Best effort.
    ///
    /// Returns one segment that it leaves, of the greatest token: nothing else says that this token was used. If all were
    /// removed and the sync of their folder failed, the next open would not see them and take the token anew, and a power loss
    /// could bring them back as segments of that life. It is removed when one of a greater token is there.
    ///
    /// Only tokens above the head's: its name may be in the cache alone, and an older manifest, which a power loss may
    /// bring back as the head, may still need everything up to it.
    pub(super) async fn remove_leftovers(&self, findings: &[Findings]) -> Option<Leftover> {
        let mut unfinished = gc::removals(&self.listing, self.old, gc::Moment::Opening);
        unfinished.retain(|decision| decision.reason == gc::Reason::LeftoverTemp);
        if let Err(error) = gc::execute(self.vfs, &self.options.path, &unfinished).await {
            tracing::debug!(target: "highwater::recovery", %error, "leftovers stay");
        }
        let leftovers = self.cores().zip(findings).flat_map(|(core, found)| {
            let segments = found.segments().filter(|(_, token)| *token > self.old.token);
            segments.map(move |(number, token)| (token, Leftover { core, number }))
        });
        let mut leftovers: Vec<(FencingToken, Leftover)> = leftovers.collect();
        let greatest = (0..leftovers.len()).max_by_key(|at| leftovers[*at].0);
        let witness = greatest.map(|at| leftovers.remove(at).1);
        for (_, leftover) in leftovers {
            self.remove_leftover(leftover).await;
        }
        witness
    }

    /// Best effort.
    pub(super) async fn remove_leftover(&self, Leftover { core, number }: Leftover) {
        match self.remove(&segment_path(self.dir(core), number)).await {
            Ok(removed) => {
                let (core, segment) = (core.0, number.0);
                tracing::debug!(target: "highwater::recovery", core, segment, removed, "leftover removed");
            }
            Err(error) => tracing::debug!(target: "highwater::recovery", %error, "leftover stays"),
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
