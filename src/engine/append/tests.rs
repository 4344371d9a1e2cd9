//! What is open, what is handed over, and what a refused record waits for.

use std::sync::Arc;

use super::{Appender, Shared};
use crate::codec::{Record, RecordKind};
use crate::engine::meters::Meters;
use crate::engine::reserve::Space;
use crate::error::ErrorKind;
use crate::ids::{CoreId, Epoch, Lsn};
use crate::wal::{Batch, Pool};

const BATCH_BYTES: usize = 512;

struct Rig {
    shared: Arc<Shared>,
    pool: Arc<Pool>,
    queue: rtrb::Consumer<Batch>,
    appender: Appender,
}

fn rig() -> Rig {
    let meters = Meters::none(1);
    let shared = Arc::new(Shared::new(meters, Epoch(0), 1, Space::new(false)));
    let pool = Pool::new(3, BATCH_BYTES);
    let (producer, queue) = rtrb::RingBuffer::new(4);
    let parts = (producer, Arc::clone(&pool));
    let appender = Appender::new(CoreId(0), Arc::clone(&shared), parts, Lsn(1), 1 << 20);
    Rig { shared, pool, queue, appender }
}

impl Rig {
    fn put(&mut self, value_bytes: usize) -> crate::Result<Lsn> {
        let value = vec![b'v'; value_bytes];
        self.appender.append(&Record { kind: RecordKind::Put, key: b"key", value: &value })
    }

    fn end(&mut self, value_bytes: usize) -> crate::Result<()> {
        let mut value = vec![0; value_bytes];
        value[..8].copy_from_slice(&1u64.to_le_bytes());
        self.appender.append_end(&value)
    }

    /// Puts until no batch is left.
    fn fill(&mut self) {
        while let Ok(lsn) = self.put(100) {
            assert!(lsn < Lsn(100), "no bound is in sight");
        }
    }
}

/// The log writer took the end of an epoch that nobody had announced: its invariant broke, and the engine hung.
#[test]
fn the_end_of_an_epoch_stays_open_until_it_is_announced_however_large_it_is() {
    for value_bytes in [100, BATCH_BYTES - 8, BATCH_BYTES, 10 * BATCH_BYTES] {
        let mut rig = rig();
        rig.put(10).unwrap();
        rig.end(value_bytes).unwrap();
        let queued: Vec<_> = std::iter::from_fn(|| rig.queue.pop().ok()).collect();
        assert!(
            queued.iter().all(|batch| batch.next_lsn() <= Lsn(2)),
            "{value_bytes} bytes: the end is queued"
        );
        drop(queued);
        rig.shared.end(CoreId(0), Epoch(1));
        rig.appender.hand_over();
        let last = std::iter::from_fn(|| rig.queue.pop().ok()).last().unwrap();
        assert_eq!(last.next_lsn(), Lsn(3));
    }
}

#[test]
fn a_change_with_a_batch_of_its_own_is_handed_over_at_once() {
    let mut rig = rig();
    rig.put(2 * BATCH_BYTES).unwrap();
    assert_eq!(rig.queue.pop().unwrap().next_lsn(), Lsn(2));
    assert_eq!(rig.put(2 * BATCH_BYTES).unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(rig.appender.awaited_lsn(), Some(Lsn(1)));
    rig.put(1).unwrap();
    assert_eq!(rig.appender.awaited_lsn(), None, "what came last was taken");
}

/// `ready` looked only whether a batch was open, and one is: the full one that stays until there is another.
#[test]
fn a_record_that_found_no_batch_waits_for_the_pool_until_one_is_taken() {
    let mut rig = rig();
    rig.put(100).unwrap();
    assert!(rig.appender.awaited_pool().is_none(), "a batch is open");
    rig.fill();
    assert!(rig.appender.awaited_pool().is_some_and(|pool| !pool.has_room()));
    assert_eq!(rig.end(100).unwrap_err().kind(), ErrorKind::Busy, "the end of the epoch finds none either");
    assert!(rig.appender.awaited_pool().is_some_and(|pool| !pool.has_room()));

    drop(rig.queue.pop().unwrap());
    assert!(rig.appender.awaited_pool().is_some_and(|pool| pool.has_room()));
    rig.put(100).unwrap();
    assert!(rig.appender.awaited_pool().is_none() && !rig.pool.has_room());
}

#[test]
fn a_record_that_the_epoch_has_no_room_for_waits_for_no_batch() {
    let mut rig = rig();
    rig.fill();
    rig.appender.freeze();
    assert_eq!(rig.put(1).unwrap_err().kind(), ErrorKind::Busy);
    assert!(rig.appender.awaited_pool().is_none(), "only the end of the epoch helps");
}
