//! commonware-storage: an asynchronous journal, on the runtime of its own project.

use std::path::Path;

use commonware_runtime::buffer::paged::{CacheRef, page_size};
use commonware_runtime::tokio::{Config as RuntimeConfig, Context, Runner};
use commonware_runtime::{BLOB_PAGE_SIZE, ReadOptions, Runner as _, Supervisor as _};
use commonware_storage::journal::contiguous::fixed::{Config, Journal};
use commonware_storage::journal::contiguous::{Contiguous as _, Many};
use commonware_utils::sequence::FixedBytes;
use commonware_utils::{NZU64, NZUsize};
use futures::StreamExt as _;
use tokio::task::unconstrained;

use super::{Log, LogPeer, LogSpec, ReplayPeer, Replayed, Result, Work};
use crate::record::{Check, KEY_BYTES, VALUE_BYTES};

pub(crate) struct Commonware;

/// Bytes that are given to the journal in one call.
const BATCH_BYTES: usize = 256 << 10;

type Item<const N: usize> = FixedBytes<N>;

fn config() -> Config {
    Config {
        partition: "journal".to_owned(),
        items_per_blob: NZU64!(1_000_000),
        page_cache: CacheRef::new(page_size(BLOB_PAGE_SIZE), NZUsize!(1_024)),
        write_buffer: NZUsize!(1_048_576),
        replay_buffer: NZUsize!(1_048_576),
    }
}

fn runner(dir: &Path) -> Runner {
    Runner::new(RuntimeConfig::new().with_storage_directory(dir))
}

/// Waits on the thread of the root task. That task never yields to the runtime meanwhile, so its budget of polls would
/// run out and everything would look pending for ever: it must not have one.
fn block_on<F: Future>(future: F) -> F::Output {
    futures::executor::block_on(unconstrained(future))
}

/// The journal takes itself by value: `None` only within a call, and after one that failed.
struct JournalLog<const N: usize> {
    journal: Option<Journal<Context, Item<N>>>,
    batch: Vec<Item<N>>,
}

impl<const N: usize> JournalLog<N> {
    fn take(&mut self) -> Result<Journal<Context, Item<N>>> {
        self.journal.take().ok_or_else(|| "the journal has failed".into())
    }
}

impl<const N: usize> Log for JournalLog<N> {
    fn append(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let mut item = [0; N];
        item[..KEY_BYTES].copy_from_slice(key);
        item[KEY_BYTES..].copy_from_slice(value);
        self.batch.push(FixedBytes::new(item));
        if self.batch.len() * N >= BATCH_BYTES { self.hand_over() } else { Ok(()) }
    }

    fn commit(&mut self) -> Result<()> {
        self.hand_over()?;
        let journal = self.take()?;
        self.journal = Some(block_on(journal.commit())?);
        Ok(())
    }

    fn hand_over(&mut self) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let journal = self.take()?;
        let (journal, _) = block_on(journal.append_many(Many::Flat(&self.batch)))?;
        self.journal = Some(journal);
        self.batch.clear();
        Ok(())
    }
}

/// The workload runs on the thread of the root task; the runtime's own threads complete what it waits for.
fn run<const N: usize>(dir: &Path, work: Work<'_>) -> Result<()> {
    runner(dir).start(|context| async move {
        let journal = Journal::<_, Item<N>>::init(context.child("journal"), config()).await?;
        let mut log = JournalLog { journal: Some(journal), batch: Vec::new() };
        work(&mut [Box::new(&mut log)])?;
        log.take()?.sync().await?;
        Ok(())
    })
}

impl LogPeer for Commonware {
    fn with(&self, dir: &Path, spec: &LogSpec, work: Work<'_>) -> Result<()> {
        match KEY_BYTES + spec.value_bytes {
            116 => run::<116>(dir, work),
            1_024 => run::<1_024>(dir, work),
            16_384 => run::<16_384>(dir, work),
            other => Err(format!("no items of {other} bytes were compiled in").into()),
        }
    }
}

impl ReplayPeer for Commonware {
    fn replay(&self, dir: &Path) -> Result<Replayed> {
        const ITEM_BYTES: usize = KEY_BYTES + VALUE_BYTES;
        runner(dir).start(|context| async move {
            let journal = Journal::<_, Item<ITEM_BYTES>>::init(context.child("journal"), config()).await?;
            let (_journal, reader) = journal.snapshot().await?;
            let batches = reader.replay(reader.bounds(), NZUsize!(1_048_576), ReadOptions::default()).await?;
            futures::pin_mut!(batches);
            let mut found = Check::default();
            while let Some(batch) = batches.next().await {
                for (_, item) in batch? {
                    let (key, value) = item.as_ref().split_at(KEY_BYTES);
                    found.add(key, value);
                }
            }
            Ok(Replayed::Checked(found))
        })
    }
}
