//! Which peers take part in which workload, and what a reader has to know about each.
#![allow(unused, reason = "a build may be without some peer, or without any")]
#![allow(clippy::vec_init_then_push, reason = "each push is of a peer that may not be built")]

use super::{Entry, LogPeer, LogSpec, MapPeer, ReplayPeer, StorePeer};
use crate::workload::Row;

/// Adds a row if its peer is built.
macro_rules! entry {
    ($entries:ident, $feature:literal, $row:expr, $peer:expr) => {
        #[cfg(feature = $feature)]
        $entries.push(Entry::new($row, Box::new($peer)));
    };
}

/// Peers with a log: W1, W2, W3, W6. `sled` counts only where nothing has to be durable.
pub(crate) fn logs(spec: &LogSpec) -> Vec<Entry<dyn LogPeer>> {
    let mut entries: Vec<Entry<dyn LogPeer>> = Vec::new();
    entry!(
        entries,
        "laminar",
        Row::peer("laminar", "growing file, record with a clock read and two copies, crc32c each"),
        super::laminar::Laminar
    );
    entry!(
        entries,
        "okaywal",
        Row::peer("okaywal", "zero-filled segments; every commit syncs, there is no other mode"),
        super::okaywal::OkayWal
    );
    entry!(entries, "fjall", Row::peer("fjall", "journal and memtable, `SyncData`"), super::fjall::Fjall);
    entry!(
        entries,
        "raft-engine",
        Row::peer("raft-engine", "no compression; all values stay in memory"),
        super::raft_engine::RaftEngine
    );
    entry!(
        entries,
        "walrus",
        Row::peer("walrus", "writes synced twice; a write error is ignored"),
        super::walrus::WalrusLog
    );
    #[cfg(feature = "commonware")]
    if spec.writers == 1 {
        entries.push(Entry::new(
            Row::peer("commonware", "journal of fixed-size items on its own tokio runtime, `commit`"),
            Box::new(super::commonware::Commonware),
        ));
    }
    entry!(entries, "redb", Row::peer("redb", "copy-on-write B-tree, no log"), super::redb::Redb);
    #[cfg(feature = "sled")]
    {
        // Where nothing has to be durable, it does the same work as the others.
        let row = if spec.durable { Row::reference } else { Row::peer };
        let row = row("sled", "**never flushes the device's cache**: not comparable where commits count");
        entries.push(Entry::new(row, Box::new(super::sled::Sled)));
    }
    entry!(
        entries,
        "rocksdb",
        Row::reference("rocksdb", "the system's library; a build with assertions proves nothing about CPU"),
        super::rocksdb::Rocks
    );
    entries
}

/// Peers that read their log back: W4.
pub(crate) fn replays() -> Vec<Entry<dyn ReplayPeer>> {
    let mut entries: Vec<Entry<dyn ReplayPeer>> = Vec::new();
    let reader = "its streaming reader; a bad crc ends the log silently";
    let recovery = "`recover_wal_only`: collects and sorts everything in memory";
    entry!(entries, "laminar", Row::peer("laminar-reader", reader), super::laminar::Laminar);
    entry!(entries, "laminar", Row::peer("laminar", recovery), super::laminar::LaminarRecovery);
    entry!(
        entries,
        "okaywal",
        Row::peer("okaywal", "its recovery, crc of every chunk checked"),
        super::okaywal::OkayWal
    );
    entry!(
        entries,
        "commonware",
        Row::peer("commonware", "replay of the journal"),
        super::commonware::Commonware
    );
    entry!(entries, "walrus", Row::peer("walrus", "batch reads of 1 MiB"), super::walrus::WalrusLog);
    let scan = "reopen and scan, the memtable rebuilt";
    entry!(entries, "fjall", Row::peer("fjall", scan), super::fjall::Fjall);
    entry!(entries, "raft-engine", Row::peer("raft-engine", scan), super::raft_engine::RaftEngine);
    entry!(entries, "redb", Row::peer("redb", "reopen and scan of the tree"), super::redb::Redb);
    entry!(entries, "sled", Row::peer("sled", "reopen and scan of the tree"), super::sled::Sled);
    entry!(
        entries,
        "rocksdb",
        Row::reference("rocksdb", "the system's library; a build with assertions proves nothing about CPU"),
        super::rocksdb::Rocks
    );
    entries
}

/// Peers with checkpoints, or something in their place: W5.
pub(crate) fn stores() -> Vec<Entry<dyn StorePeer>> {
    let mut entries: Vec<Entry<dyn StorePeer>> = Vec::new();
    let laminar = "`IncrementalCheckpointManager`: no sync, no checksum, never incremental";
    entry!(entries, "laminar", Row::peer("laminar", laminar), super::laminar::Laminar);
    entry!(
        entries,
        "fjall",
        Row::peer("fjall", "flush of the memtable; it has no checkpoint"),
        super::fjall::Fjall
    );
    let redb = "a durable commit; nothing to load at an open";
    entry!(entries, "redb", Row::reference("redb", redb), super::redb::Redb);
    entry!(
        entries,
        "sled",
        Row::reference("sled", "**never flushes the device's cache**"),
        super::sled::Sled
    );
    entry!(entries, "rocksdb", Row::peer("rocksdb", "`create_checkpoint`"), super::rocksdb::Rocks);
    entries
}

/// Peers with state in memory: W7.
pub(crate) fn maps() -> Vec<Entry<dyn MapPeer>> {
    let mut entries: Vec<Entry<dyn MapPeer>> = Vec::new();
    let hash_only =
        "`AHashMapStore` and `StateChangelogBuffer`: the key's hash is captured, no key and no value";
    let with_log = "`AHashMapStore` and an append to its log";
    entry!(entries, "laminar", Row::peer("laminar-changelog", hash_only), super::laminar::Capture::Changelog);
    entry!(entries, "laminar", Row::peer("laminar-wal", with_log), super::laminar::Capture::Wal);
    entries
}
