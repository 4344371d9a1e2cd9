//! What an open has to do with an object store: is it the store of this directory, who owns it now, and what does an
//! empty directory become?
//!
//! ```text
//! probe ─► look ─► (empty store: settle) ─► (empty directory: fence, restore) ─► the local open ─► open manifest in the store
//!      ─► cores
//! ```
//!
//! A directory gets no identity that the store might not have: of both, the store is settled first.
//! No core writes before the store has this open's token.

use crate::env::{Clock, Entropy, Env};
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{Epoch, FencingToken};
use crate::manifest::ident::Ident;
use crate::manifest::opening::{Action, Contents, IdentState, Survey, survey};
use crate::manifest::store::Head;
use crate::manifest::{Author, Manifest};
use crate::offsite::{Content, Found, Landing, Site, StoreId, Writer, fenced, restore, stored};
use crate::options::Options;
use crate::recovery::Floors;

use super::open::{check_ident, fresh_ident, lay_out};

/// How often an open makes its manifest anew because one of this directory's earlier processes landed late.
const REBASES_MAX: u32 = 4;

/// A store, as an open found it or made it.
pub(super) struct Attached<E: Env> {
    pub(super) site: Site<E>,
    found: Option<Found>,
    /// What the store became before the directory became anything.
    settled: Option<StoreId>,
    /// Whether the directory was empty, and its content came from the store.
    pub(super) restored: bool,
}

/// A store that this open owns.
pub(super) struct Owned {
    pub(super) id: StoreId,
    pub(super) writer: Writer,
    pub(super) head: Head,
    pub(super) marks: u64,
}

/// What a directory is to the database in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    /// It holds nothing, or an interrupted restore of its own.
    Empty,
    /// It is the one that wrote the store's head, or may have.
    Owner,
    /// Another directory has taken the database over.
    Deposed,
    /// Another directory has, and this one holds data that no manifest names: a restore that was interrupted leaves that.
    Leftover,
    /// It is another database.
    Stranger,
    /// It is nothing that an open takes, whatever the store holds.
    Unfit,
}

fn relation(survey: &Survey, found: &Found) -> Relation {
    let wrote = |ident: &Ident| found.head.as_ref().filter(|head| head.manifest.timeline == ident.timeline);
    match (&survey.ident, survey.ident_state, survey.contents) {
        (Some(ident), ..) if ident.database != found.id.ident.database => Relation::Stranger,
        (Some(_), _, Contents::Missing | Contents::Empty | Contents::Scaffold) => Relation::Empty,
        (Some(ident), _, Contents::Data) => match wrote(ident) {
            // No log is written before the first manifest, which a restore makes last.
            Some(head) if head.manifest.author == Author::Restore => Relation::Empty,
            None if found.head.is_some() => Relation::Leftover,
            _ => Relation::Unfit,
        },
        (Some(ident), _, Contents::Manifests) if found.head.is_none() || wrote(ident).is_some() => {
            Relation::Owner
        }
        (Some(_), _, Contents::Manifests) => Relation::Deposed,
        (None, IdentState::Absent, Contents::Missing | Contents::Empty | Contents::Scaffold)
            if survey.foreign.is_empty() =>
        {
            Relation::Empty
        }
        _ => Relation::Unfit,
    }
}

impl<E: Env> Attached<E> {
    /// Looks at the store of `options`, if they name one, and restores what it holds if the directory holds nothing. The
    /// caller holds the lock of the directory.
    ///
    /// # Errors
    ///
    /// As `Engine::open`.
    pub(super) async fn attach(env: &E, vfs: &E::Vfs, options: &Options) -> Result<Option<Self>> {
        let Some(remote) = &options.remote else { return Ok(None) };
        let site = Site::new(env, remote);
        site.probe().await?;
        let found = site.look().await?;
        let mut attached = Self { site, found, settled: None, restored: false };
        if attached.found.is_none() {
            attached.settle(env, vfs, options).await?;
        }
        attached.take_over(env, vfs, options).await?;
        Ok(Some(attached))
    }

    /// Makes the store that of the database that is about to be created in the directory. First of all: a directory that was one
    /// would be of no use if the store turned out to be another's, whose creation had been on its way from a machine
    /// that was lost.
    async fn settle(&mut self, env: &E, vfs: &E::Vfs, options: &Options) -> Result<()> {
        let survey = survey(vfs, &options.path).await?;
        if survey.decide(&options.path)? == Action::Recover {
            return Ok(());
        }
        let ident = survey.ident.unwrap_or_else(|| fresh_ident(env, options));
        check_ident(options, &ident)?;
        let id = self.site.settle(&ident, env.entropy().nonce()).await?;
        if id.ident.database == ident.database {
            self.settled = Some(id);
        } else {
            self.found = self.site.look().await?;
        }
        Ok(())
    }

    /// What the database in the directory is to be, if it is none yet.
    pub(super) fn ident(&self) -> Option<Ident> {
        self.settled.map(|id| id.ident)
    }

    async fn take_over(&mut self, env: &E, vfs: &E::Vfs, options: &Options) -> Result<()> {
        let Some(found) = &mut self.found else { return Ok(()) };
        let survey = survey(vfs, &options.path).await?;
        match relation(&survey, found) {
            Relation::Owner | Relation::Unfit => return Ok(()),
            Relation::Empty => {}
            Relation::Stranger => {
                let ident = survey.ident.unwrap_or(found.id.ident);
                return Err(found.id.foreign_to(&ident));
            }
            relation @ (Relation::Deposed | Relation::Leftover) => {
                let what = if relation == Relation::Leftover {
                    "this one holds data and no manifest, as a restore does that was interrupted: empty it, or open another \
                     empty directory, to take over again"
                } else {
                    "what this one holds beyond that is lost to it; open an empty directory to take over again"
                };
                let token = found.head.as_ref().map_or(FencingToken(0), |head| head.manifest.token);
                let what = format!(
                    "another directory has taken this database over from its object store, with token {token}: {what}"
                );
                return Err(Error::new(ErrorCode::DirectoryDeposed, what).at(&options.path));
            }
        }
        check_ident(options, &found.id.ident)?;
        // It comes back with the cores that it has in the store.
        let cores = found.head.as_ref().map_or(0, |head| head.manifest.cores).max(options.cores);
        let timeline = env.entropy().nonce();
        let created_wall_ms = env.clock().wall_ms();
        let ident = survey.ident.unwrap_or(Ident { timeline, created_wall_ms, ..found.id.ident });
        let action = match survey.ident {
            Some(_) => Action::FinishCreation,
            None => survey.decide(&options.path)?,
        };
        lay_out(env, vfs, (&options.path, cores), (action, &survey.listing), &ident).await?;
        let head = fence(env, &self.site, options.cores, (&ident, found)).await?;
        let lanes = options.remote.as_ref().map_or(1, |remote| remote.parallel);
        let from = (&ident, &head.manifest);
        let restored = restore(env, (vfs, &options.path), &self.site, from, (lanes, &|_| {})).await;
        restored.map_err(|error| with_way_back(error, &head.manifest))?;
        found.head = Some(head);
        self.restored = true;
        Ok(())
    }

    /// Whether the store held no database.
    pub(super) fn is_new(&self) -> bool {
        self.found.is_none()
    }

    /// What the local open must not fall below.
    pub(super) fn floors(&self) -> Floors {
        let head = self.found.as_ref().and_then(|found| found.head.as_ref());
        Floors { token: head.map_or(FencingToken(0), |head| head.manifest.token), epoch: newest_epoch(head) }
    }

    /// Lands this open's token in the store: from then on every other writer is fenced.
    ///
    /// # Errors
    ///
    /// `Fenced` when another took it first, `Invalid` when the store is another database's, `Corrupt` when it has come to hold
    /// more than was recovered, `Failed` when it does not answer: open again.
    pub(super) async fn own(&self, env: &E, ident: &Ident, local: &Manifest) -> Result<Owned> {
        let writer = Writer {
            database: ident.database,
            timeline: ident.timeline,
            token: local.token,
            cores: local.cores,
        };
        let (id, mut head, mut marks) = match (&self.found, self.settled) {
            (Some(found), _) => (found.id, found.head.clone(), found.marks),
            (None, Some(settled)) => (settled, None, 0),
            (None, None) => (self.site.settle(ident, env.entropy().nonce()).await?, None, 0),
        };
        if id.ident.database != ident.database {
            return Err(id.foreign_to(ident));
        }
        for _ in 0..REBASES_MAX {
            let content = head.as_ref().map_or_else(Content::default, Content::of);
            let manifest = stored(head.as_ref(), writer, (Author::Open, 0), content, &env.entropy());
            match self.site.land(&id, &manifest).await? {
                Landing::Landed(head) => {
                    let (seq, token) = (manifest.seq.0, manifest.token.0);
                    tracing::debug!(target: "highwater::offsite", seq, token, "store opened");
                    return Ok(Owned { id, writer, head: *head, marks });
                }
                Landing::Unknown(error) => return Err(error),
                Landing::Conflict(Some(other)) if is_own_past(&other, writer) => {}
                Landing::Conflict(other) => return Err(fenced(writer.token, manifest.seq, other.as_deref())),
            }
            let Some(found) = self.site.look().await? else { break };
            match &found.head {
                Some(other) if !is_own_past(&other.manifest, writer) => {
                    return Err(fenced(writer.token, manifest.seq, Some(&other.manifest)));
                }
                _ => {
                    check_reached(found.head.as_ref(), local)?;
                    (head, marks) = (found.head, found.marks);
                }
            }
        }
        let what = "earlier processes of this directory still write to the object store: open again";
        Err(Error::new(ErrorCode::StoreChanging, what))
    }
}

/// Whether `other` is of an earlier process in the directory of `writer`: it holds the lock, and what is seen of them
/// now was on its way when they ended.
fn is_own_past(other: &Manifest, writer: Writer) -> bool {
    other.timeline == writer.timeline && other.token < writer.token
}

/// The epoch that a restore from `head` brings back.
fn newest_epoch(head: Option<&Head>) -> Epoch {
    head.and_then(|head| head.manifest.newest_checkpoint()).map_or(Epoch(0), |newest| newest.epoch)
}

/// A head that was not there when the local open looked: an epoch of it that was not recovered would be given up with the next
/// manifest.
///
/// # Errors
///
/// `Corrupt`: the directory is older than the store.
fn check_reached(head: Option<&Head>, local: &Manifest) -> Result<()> {
    let (stored, recovered) = (newest_epoch(head), local.recovered_epoch);
    if stored <= recovered {
        return Ok(());
    }
    let what = format!(
        "the directory reaches epoch {recovered}, its object store has come to epoch {stored} meanwhile, by an earlier process: this \
         is an older copy; open an empty directory to restore what the store holds"
    );
    Err(Error::new(ErrorCode::OlderCopy, what))
}

/// `error` of a restore from `head`; when that is no good, with what else the store holds.
fn with_way_back(error: Error, head: &Manifest) -> Error {
    let is_rotten = matches!(
        error.code(),
        ErrorCode::ObjectMissing | ErrorCode::ObjectDamaged | ErrorCode::CheckpointDamaged
    );
    let newest = head.newest_checkpoint().map(|newest| newest.epoch);
    let others = head.retained_epochs().into_iter().filter(|epoch| Some(*epoch) != newest);
    let others: Vec<String> = others.map(|epoch| epoch.to_string()).collect();
    let Some(last) = others.last().filter(|_| is_rotten) else { return error };
    error.adding(&format!(
        "; nothing in the store was given up, and it holds earlier epochs ({}): `highwater fetch URL TARGET --to-epoch {last}` \
         brings one down, as a new timeline that needs a store of its own",
        others.join(", ")
    ))
}

/// Takes the next token in the store for the directory of `ident`: whoever had it lands nothing any more. A token that the
/// same directory took for a restore that was interrupted is good still.
///
/// Until then the owner may go on to land manifests, and what dead processes sent may still arrive, also of another takeover:
/// the number that is taken is the one behind those. Of two takeovers the later one wins.
///
/// Every checkpoint that the head names stays named: whether the newest can be restored is known only later, and what is
/// older goes with the first upload of this directory.
async fn fence<E: Env>(
    env: &E,
    site: &Site<E>,
    cores: u16,
    (ident, found): (&Ident, &mut Found),
) -> Result<Head> {
    let own = |manifest: &Manifest| manifest.timeline == ident.timeline && manifest.author == Author::Restore;
    for _ in 0..REBASES_MAX {
        if let Some(head) = found.head.as_ref().filter(|head| own(&head.manifest)) {
            return Ok(head.clone());
        }
        let before = found.head.as_ref();
        let token = FencingToken(before.map_or(0, |head| head.manifest.token.0) + 1);
        let writer = Writer { database: ident.database, timeline: ident.timeline, token, cores };
        let content = before.map_or_else(Content::default, Content::of);
        let author = (Author::Restore, 0);
        let manifest = stored(before, writer, author, content, &env.entropy());
        match site.land(&found.id, &manifest).await? {
            Landing::Landed(head) => return Ok(*head),
            Landing::Unknown(error) => return Err(error),
            Landing::Conflict(_) => {}
        }
        *found = site.look().await?.ok_or_else(|| {
            Error::new(
                ErrorCode::StoreChanging,
                "the object store lost its database while it was taken over: open again",
            )
        })?;
    }
    let what = "others land one manifest after another in the object store: open again";
    Err(Error::new(ErrorCode::StoreChanging, what))
}
