//! A checkpoint for another number of cores: its keys, divided anew.
//!
//! ```text
//! chains of N cores ─► (one base each, if they are too many files) ─► one merge ─► at most M bases, read back
//! ```
//!
//! Nothing that a manifest names is touched; the bases are for the manifest that the caller lands.

use super::checkpointer::Checkpointer;
use super::file::Header;
use super::merge::{READERS_MAX, distribute, merge};
use super::pace::Pace;
use super::reader::verify;
use super::writer::{Written, remove, seal};
use crate::codec::core_of;
use crate::env::{Entropy, Env};
use crate::error::Result;
use crate::ids::{CoreId, Epoch};
use crate::manifest::{Checkpoint, CheckpointFile, FileKind, FileName};

impl<E: Env> Checkpointer<E> {
    /// The files of the newest checkpoint for `cores` cores, durable with their names; none when nothing has a value. They
    /// are as old as their checkpoint: the caller names them in the next manifest, or nobody ever does.
    ///
    /// # Errors
    ///
    /// `Corrupt` naming a damaged file, `Full` or `Failed`: nothing of it is left.
    pub(crate) async fn distribute(&mut self, cores: u16) -> Result<Vec<CheckpointFile>> {
        self.attempt += 1;
        let divided = self.divide(cores).await;
        if divided.is_err() {
            self.discard().await;
        }
        divided
    }

    async fn divide(&self, cores: u16) -> Result<Vec<CheckpointFile>> {
        let Some(newest) = self.head.manifest.newest_checkpoint() else { return Ok(Vec::new()) };
        let epoch = newest.epoch;
        let chains = self.shortened(self.chains(newest), epoch).await?;
        let headers: Vec<Header> =
            (0..cores).map(|core| self.base_header((CoreId(core), cores), epoch)).collect();
        let grouping = self.spec.grouping();
        let groups = grouping.groups;
        let owner = |key: &[u8]| core_of((grouping.group_of)(key), groups, cores);
        let how = (grouping.clone(), Pace::default());
        let bases = distribute(&self.vfs, &self.spec.root, &chains, &headers, how, owner).await?;
        for base in &bases {
            self.verify(base).await?;
        }
        let made = chains.iter().flatten().filter(|file| file.name.attempt == self.attempt);
        for file in made.filter(|file| file.name.token == self.head.manifest.token) {
            remove(&self.vfs, &self.spec.root, &file.name).await;
        }
        seal(&self.vfs, &self.spec.root, bases).await
    }

    /// The files of each core.
    fn chains(&self, checkpoint: &Checkpoint) -> Vec<Vec<CheckpointFile>> {
        let cores = (0..self.head.manifest.cores).map(CoreId);
        cores.map(|core| checkpoint.files_of(core).copied().collect()).collect()
    }

    /// `chains` with few enough files to have them all open: each as one base, if they are more.
    async fn shortened(
        &self,
        mut chains: Vec<Vec<CheckpointFile>>,
        epoch: Epoch,
    ) -> Result<Vec<Vec<CheckpointFile>>> {
        if chains.iter().map(Vec::len).sum::<usize>() <= READERS_MAX {
            return Ok(chains);
        }
        for chain in chains.iter_mut().filter(|chain| chain.len() > 1) {
            let header = || self.base_header((chain[0].core, chain[0].cores), epoch);
            let how = (self.spec.grouping(), Pace::default());
            let base = merge(&self.vfs, &self.spec.root, chain, header, how).await?;
            *chain = vec![*base.file()];
        }
        Ok(chains)
    }

    async fn verify(&self, base: &Written) -> Result<()> {
        let database = self.head.manifest.database;
        verify(&self.vfs, &self.spec.root, database, base.file(), Some(&self.spec.grouping())).await
    }

    fn base_header(&self, (core, cores): (CoreId, u16), epoch: Epoch) -> Header {
        let manifest = &self.head.manifest;
        let (token, attempt, uuid) = (manifest.token, self.attempt, self.entropy.nonce());
        let name = FileName { token, attempt, uuid, kind: FileKind::Base };
        Header { database: manifest.database, name, core, cores, from_epoch: Epoch(0), through_epoch: epoch }
    }
}
