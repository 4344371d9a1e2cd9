//! What an open does with its sinks, once nobody else can write to the database any more.
//!
//! ```text
//! recover ─► published more than the database has? refuse ─► list what is in doubt ─► abort what nobody will decide
//! ```

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::ledger::{Ledger, Participant, Pause};
use super::resolve::{Knowledge, Verdict, verdict};
use crate::env::{Clock, Env};
use crate::error::{Error, ErrorCode, ErrorKind, Result};
use crate::ids::{DatabaseId, Epoch, FencingToken, TimelineId};
use crate::manifest::SinkEntry;
use crate::options::Options;
use crate::sink::{Named, Prepared, Recovered, SinkErrorKind, SinkLife, SinkResult};

/// How often an open calls a sink that does not answer.
const TRIES_MAX: u32 = 4;

/// The wait before the second try; it doubles with each further one.
const PATIENCE_MIN: Duration = Duration::from_millis(50);

/// What a recovery has found.
#[derive(Clone, Debug)]
pub(crate) struct Beginning {
    pub(crate) database: DatabaseId,
    pub(crate) timeline: TimelineId,
    pub(crate) token: FencingToken,
    /// The epoch that was recovered.
    pub(crate) epoch: Epoch,
    /// Handles that the manifest lists or the log carries, through that epoch.
    pub(crate) known: Vec<SinkEntry>,
    /// Epochs up to this one are decided, and the directory's manifest lists those up to that one.
    pub(crate) decided: Epoch,
    pub(crate) listed: Epoch,
}

/// Begins the life of every sink of `options`; `None` when there are none.
///
/// # Errors
///
/// `Invalid` when a sink is missing that has handles, or refuses; `Corrupt` when one has published more than the database
/// holds; `Failed` when one does not answer: open again.
pub(crate) async fn begin<E: Env>(
    env: &E,
    options: &Options,
    beginning: Beginning,
) -> Result<Option<Arc<Ledger>>> {
    check_registered(options, &beginning.known)?;
    if options.sinks.is_empty() {
        return Ok(None);
    }
    let mut named = options.sinks.clone();
    named.sort_by(|a, b| a.name.cmp(&b.name));
    let mut participants = Vec::with_capacity(named.len());
    for sink in named {
        let opening = Opening { env, options, beginning: &beginning, named: &sink };
        participants.push(opening.run().await?);
    }
    let Beginning { known, decided, listed, .. } = beginning;
    let clock = env.clock();
    let pause: Pause = Box::new(move || {
        let clock = clock.clone();
        Box::pin(async move { clock.sleep(PATIENCE_MIN).await })
    });
    let sinks = (participants, options.cores, options.on_lost, pause);
    Ok(Some(Arc::new(Ledger::new(sinks, known, (decided, listed)))))
}

/// What a sink that is not there any more has in doubt, nobody could commit.
fn check_registered(options: &Options, known: &[SinkEntry]) -> Result<()> {
    let there = |name: &str| options.sinks.iter().any(|sink| sink.name == name);
    let mut missing: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in known.iter().filter(|entry| entry.handle.is_some() && !entry.lost && !there(&entry.name)) {
        *missing.entry(&entry.name).or_default() += 1;
    }
    let Some((name, count)) = missing.first_key_value() else { return Ok(()) };
    let what = format!(
        "sink `{name}` has {count} transactions that are not known to be published: open the database with it, and wait \
         until everything is published before you leave it out"
    );
    Err(Error::new(ErrorCode::SinkLeftOut, what).at(&options.path))
}

/// The opening of one sink.
struct Opening<'a, E> {
    env: &'a E,
    options: &'a Options,
    beginning: &'a Beginning,
    named: &'a Named,
}

impl<E: Env> Opening<'_, E> {
    async fn run(self) -> Result<Participant> {
        let Beginning { database, timeline, token, epoch, .. } = *self.beginning;
        let (sink, cores) = (&self.named.sink, self.options.cores);
        let life = SinkLife { name: self.named.name.clone(), database, timeline, token, cores, epoch };
        let recovered = self.patiently("recovering", || sink.recover(&life)).await?;
        self.check(recovered)?;
        let listed = self.patiently("listing what is in doubt in", || sink.in_doubt()).await?;
        let mut unclaimed = Vec::new();
        for prepared in listed {
            let Prepared { token: of, part, ref handle } = prepared;
            let known = self.knowledge(handle);
            let sink_name = &self.named.name;
            match verdict(known, (of, part.epoch), (token, epoch)) {
                Verdict::Commit => {
                    tracing::debug!(target: "highwater::sink", sink = %sink_name, %part, "found decided");
                }
                Verdict::Keep => {
                    tracing::debug!(target: "highwater::sink", sink = %sink_name, %part, "found in doubt");
                }
                Verdict::Abort => {
                    self.patiently("aborting in", || sink.abort(handle)).await?;
                    tracing::debug!(target: "highwater::sink", sink = %sink_name, %part, token = of.0, "aborted");
                }
                Verdict::Unclaimed => {
                    tracing::warn!(target: "highwater::sink", sink = %sink_name, %part, token = of.0, "unclaimed");
                    unclaimed.push((part, prepared.handle));
                }
            }
        }
        let epochs_max = recovered.in_doubt_max / u64::from(cores);
        let (name, sink) = (self.named.name.clone(), Arc::clone(sink));
        Ok(Participant { name, sink, epochs_max, unclaimed })
    }

    fn knowledge(&self, handle: &[u8]) -> Knowledge {
        let of_sink =
            self.beginning.known.iter().filter(|entry| entry.name == self.named.name && !entry.lost);
        let found = of_sink.into_iter().find(|entry| entry.handle.as_deref() == Some(handle));
        match found {
            Some(entry) if entry.epoch <= self.beginning.decided => Knowledge::Decided,
            Some(_) => Knowledge::Logged,
            None => Knowledge::None,
        }
    }

    fn check(&self, recovered: Recovered) -> Result<()> {
        let (name, epoch, cores) = (&self.named.name, self.beginning.epoch, self.options.cores);
        if let Some(published) = recovered.published.filter(|published| *published > epoch) {
            let what = format!(
                "sink `{name}` has published epoch {published}, and the directory reaches epoch {epoch}: this is an older copy, \
                 and rows would be published twice; restore a newer copy, or restore this one as a new timeline"
            );
            return Err(Error::corrupt(ErrorCode::OlderCopy, &self.options.path, what));
        }
        if recovered.in_doubt_max < u64::from(cores) {
            let what = format!(
                "sink `{name}` can have {} transactions in doubt, and {cores} cores need one each: allow it more",
                recovered.in_doubt_max
            );
            return Err(Error::new(ErrorCode::SinkTooNarrow, what));
        }
        Ok(())
    }

    /// Calls the sink until it answers, a few times.
    async fn patiently<T, F>(&self, doing: &str, mut call: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = SinkResult<T>>,
    {
        let clock = self.env.clock();
        let mut tries = 0;
        loop {
            tries += 1;
            match call().await {
                Ok(value) => return Ok(value),
                Err(error)
                    if matches!(error.kind(), SinkErrorKind::Refused | SinkErrorKind::Fenced)
                        || tries == TRIES_MAX =>
                {
                    return Err(error.of(doing, &self.named.name, ErrorKind::Failed));
                }
                Err(error) => {
                    tracing::debug!(target: "highwater::sink", sink = %self.named.name, %error, "asked again");
                    clock.sleep(PATIENCE_MIN * (1 << (tries - 1))).await;
                }
            }
        }
    }
}
