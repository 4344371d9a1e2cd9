//! The manifests of a store: which one is the head, and landing the next.
//!
//! ```text
//! create m/{head + 1} ─► ours? ─► no mark on the number? ─► landed
//!                          │            └─ a mark: the number was freed and taken again: another writer is far ahead
//!                          ├─ another's: fenced
//!                          └─ nobody can say: unknown
//! ```
//!
//! The head is found from a listing's hint, upwards by name until there is no next, and from the greatest mark upwards when
//! the hint is of no use. That it is not dead is looked at last.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::identity::{STORE_BYTES, STORE_NAME, StoreId};
use super::{manifest_name, mark_name};
use crate::codec::{Writer, crc};
use crate::env::Env;
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{ManifestSeq, Nonce};
use crate::manifest::ident::Ident;
use crate::manifest::store::Head;
use crate::manifest::{MANIFEST_BYTES_MAX, Manifest, decode, encode_object};
use crate::remote::{Class, Client, Outcome, Remote, Traffic};

const MARK_MAGIC: &[u8; 8] = b"HWBOUND\0";

/// How often the head is looked for while others move it.
const LOOKS_MAX: u32 = 16;

/// What became of a manifest that was to land in the store.
#[derive(Debug)]
pub(crate) enum Landing {
    /// It is the head.
    Landed(Box<Head>),
    /// Another has its number; `None` when that is long past and forgotten.
    Conflict(Option<Box<Manifest>>),
    /// It may be the head, now or later.
    Unknown(Error),
}

/// A database found in a store.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) id: StoreId,
    /// `None` when its creation was interrupted.
    pub(crate) head: Option<Head>,
    /// The greatest boundary mark; zero when there is none.
    pub(crate) marks: u64,
}

/// A store as the place of one database.
#[derive(Debug)]
pub(crate) struct Site<E: Env> {
    pub(super) client: Client<E::Clock, E::Entropy>,
    stride: u32,
}

impl<E: Env> Clone for Site<E> {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), stride: self.stride }
    }
}

impl<E: Env> Site<E> {
    /// The place that `remote` names.
    pub(crate) fn new(env: &E, remote: &Remote) -> Self {
        let client = Client::new(remote, env.clock(), env.entropy());
        Self { client, stride: remote.boundary_stride }
    }

    /// What was asked of the store.
    pub(crate) fn traffic(&self) -> Arc<Traffic> {
        self.client.traffic()
    }

    /// Makes sure that the store creates a name once.
    ///
    /// # Errors
    ///
    /// `Unsupported` when it does not, `Failed` when it does not answer.
    pub(crate) async fn probe(&self) -> Result<()> {
        self.client.probe().await
    }

    /// What is in the store; `None` when there is no database.
    ///
    /// # Errors
    ///
    /// `Corrupt` or `Unsupported` naming the object, `Failed` when the store does not answer, `Busy` when others write
    /// faster than this one reads.
    pub(crate) async fn look(&self) -> Result<Option<Found>> {
        let read = self.client.read(Class::Manifest, STORE_NAME, STORE_BYTES as u64).await;
        let Some(bytes) = read.map_err(|error| error.of("reading", STORE_NAME))? else { return Ok(None) };
        let id = StoreId::decode(&bytes)?;
        let (head, marks) = self.head(&id).await?;
        Ok(Some(Found { id, head, marks }))
    }

    /// Makes the store that of the database `ident`, and says whose it is: of a store that is one already, no new one is made.
    ///
    /// # Errors
    ///
    /// `Failed` when the store does not answer.
    pub(crate) async fn settle(&self, ident: &Ident, nonce: Nonce) -> Result<StoreId> {
        let wanted = StoreId { stride: self.stride, nonce, ident: *ident };
        let created = self.client.create(STORE_NAME, wanted.encode(), STORE_BYTES as u64).await;
        match created.map_err(|error| error.of("creating", STORE_NAME))? {
            Outcome::Landed => Ok(wanted),
            Outcome::Conflict(found) => StoreId::decode(&found),
            Outcome::Unknown(error) => Err(error.of("creating", STORE_NAME)),
        }
    }

    async fn head(&self, id: &StoreId) -> Result<(Option<Head>, u64)> {
        let stride = u64::from(id.stride);
        for _ in 0..LOOKS_MAX {
            // A mark's last number, and the number behind a manifest's, are numbers.
            let mut marks = self.greatest("b/", u64::MAX / stride - 2).await?;
            while self.has_mark(marks + 1).await? {
                marks += 1;
            }
            let dead = marks * stride;
            let mut at = self.greatest("m/", u64::MAX - 1).await?.max(dead);
            let mut head = if at > dead { self.manifest(id, at).await? } else { None };
            if head.is_none() {
                at = dead;
            }
            while let Some(next) = self.manifest(id, at + 1).await? {
                (head, at) = (Some(next), at + 1);
            }
            // Numbers are freed only behind a mark that was not there when the look began.
            if self.has_mark(at.max(1).div_ceil(stride)).await? {
                continue;
            }
            if head.is_some() || dead == 0 {
                return Ok((head, marks));
            }
        }
        let what = "the manifests in the object store change faster than they can be read: open again";
        Err(Error::new(ErrorCode::StoreChanging, what))
    }

    /// The greatest number under `prefix`, as far as a listing tells. None is over `max` that a writer has ever come to.
    async fn greatest(&self, prefix: &str, max: u64) -> Result<u64> {
        let listed = self.client.list(Class::Manifest, prefix).await;
        let listed = listed.map_err(|error| error.of("listing", prefix))?;
        let numbers =
            listed.iter().filter_map(|object| crate::manifest::decimal(&object.name[prefix.len()..]));
        let greatest = numbers.max().unwrap_or(0);
        if greatest > max {
            let name = format!("{prefix}{greatest:020}");
            let what = "no writer has come to this number: the object was put there by somebody else; look at it, and remove it";
            return Err(Error::corrupt(ErrorCode::ManifestForeign, Path::new(&name), what));
        }
        Ok(greatest)
    }

    /// Every name in the store, in order.
    ///
    /// # Errors
    ///
    /// `Failed` when the store does not answer.
    #[cfg(all(feature = "cli", feature = "object-store"))]
    pub(crate) async fn names(&self) -> Result<Vec<String>> {
        let listed =
            self.client.list(Class::Manifest, "").await.map_err(|error| error.of("listing", "it"))?;
        let mut names: Vec<String> = listed.into_iter().map(|object| object.name).collect();
        names.sort_unstable();
        Ok(names)
    }

    async fn has_mark(&self, mark: u64) -> Result<bool> {
        let name = mark_name(mark);
        let size = self.client.size(Class::Manifest, &name).await;
        Ok(size.map_err(|error| error.of("looking for", &name))?.is_some())
    }

    async fn manifest(&self, id: &StoreId, number: u64) -> Result<Option<Head>> {
        let name = manifest_name(ManifestSeq(number));
        let read = self.client.read(Class::Manifest, &name, MANIFEST_BYTES_MAX).await;
        let Some(bytes) = read.map_err(|error| error.of("reading", &name))? else { return Ok(None) };
        let (manifest, crc) = decode(Path::new(&name), &bytes)?;
        if manifest.seq.0 != number || manifest.database != id.ident.database {
            let (seq, database) = (manifest.seq, manifest.database);
            let what = format!("offset 0: this is manifest {seq} of database {database}");
            return Err(Error::corrupt(ErrorCode::ManifestForeign, Path::new(&name), what));
        }
        Ok(Some(Head { manifest, crc }))
    }

    /// Lands `manifest`, whose predecessor is the head as far as its writer knows.
    ///
    /// # Errors
    ///
    /// It did not land and will not. `Invalid` when it is too large or the store refuses it.
    ///
    /// # Panics
    ///
    /// When it breaks a rule of manifests.
    pub(crate) async fn land(&self, id: &StoreId, manifest: &Manifest) -> Result<Landing> {
        let (bytes, crc) = encode_object(manifest)?;
        let name = manifest_name(manifest.seq);
        let created = self.client.create(&name, Bytes::from(bytes), MANIFEST_BYTES_MAX).await;
        match created.map_err(|error| error.of("creating", &name))? {
            Outcome::Landed => {}
            Outcome::Conflict(found) => {
                let (found, _) = decode(Path::new(&name), &found)?;
                return Ok(Landing::Conflict(Some(Box::new(found))));
            }
            Outcome::Unknown(error) => return Ok(Landing::Unknown(error.of("creating", &name))),
        }
        match self.has_mark(manifest.seq.0.div_ceil(u64::from(id.stride))).await {
            Ok(false) => Ok(Landing::Landed(Box::new(Head { manifest: manifest.clone(), crc }))),
            Ok(true) => Ok(Landing::Conflict(None)),
            Err(error) => Ok(Landing::Unknown(error)),
        }
    }

    /// Lands boundary mark `mark`; whether it is there now.
    pub(super) async fn land_mark(&self, id: &StoreId, mark: u64) -> bool {
        let name = mark_name(mark);
        let mut body = Vec::new();
        Writer(&mut body).bytes(MARK_MAGIC).u64(mark * u64::from(id.stride));
        let crc = crc(0, &body);
        Writer(&mut body).u32(crc);
        // Every writer's mark of a number has the same body.
        let bytes = body.len() as u64;
        matches!(self.client.create(&name, body.into(), bytes).await, Ok(Outcome::Landed))
    }
}
