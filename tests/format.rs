//! docs/format.md shows what the code writes.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![expect(clippy::disallowed_methods, reason = "it reads the page and the files that it describes")]

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use highwater::env::{Blocking, Entropy, Env, StdClock, StdEnv, StdSpawn};
use highwater::vfs::StdVfs;
use highwater::wal::{CoreWal, WalOptions, WalRecord};
use highwater::{CoreId, Epoch, Nonce};

/// Production, but for its dice.
#[derive(Clone, Debug)]
struct FixedDice(StdEnv);

#[derive(Clone)]
struct Dice;

impl Entropy for Dice {
    fn bits(&self) -> u64 {
        0x0123_4567_89ab_cdef
    }
}

impl Env for FixedDice {
    type Vfs = StdVfs;
    type InlineVfs = StdVfs;
    type Clock = StdClock;
    type Spawn = StdSpawn;
    type Entropy = Dice;

    fn vfs(&self) -> io::Result<StdVfs> {
        self.0.vfs()
    }

    fn inline_vfs(&self) -> io::Result<StdVfs> {
        self.0.inline_vfs()
    }

    fn clock(&self) -> StdClock {
        self.0.clock()
    }

    fn spawn(&self) -> StdSpawn {
        self.0.spawn()
    }

    fn entropy(&self) -> Dice {
        Dice
    }
}

impl Blocking for FixedDice {
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.0.block_on(future)
    }
}

/// Offset and bytes, sixteen in a row; rows of zeroes are left out.
fn dump(bytes: &[u8]) -> String {
    let mut out = String::new();
    for (row, bytes) in bytes.chunks(16).enumerate().filter(|(_, bytes)| bytes.iter().any(|byte| *byte != 0))
    {
        write!(out, "{:05}", row * 16).unwrap();
        for (at, byte) in bytes.iter().enumerate() {
            write!(out, "{}{byte:02x}", if at % 8 == 0 { "  " } else { " " }).unwrap();
        }
        out.push('\n');
    }
    out
}

fn page() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/format.md")).unwrap()
}

#[test]
fn the_example_of_a_segment_is_what_is_written() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("00003");
    let database = Nonce(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
    let options = WalOptions::new().core(CoreId(3)).database(database).segment_bytes(16 << 10);
    let opened = CoreWal::open_blocking(FixedDice(StdEnv), &dir, options).unwrap();
    let mut wal = opened.wal;
    wal.append(&WalRecord::Put { key: b"balance", value: b"100" }).unwrap();
    wal.append(&WalRecord::Delete { key: b"name" }).unwrap();
    wal.append(&WalRecord::EpochEnd { epoch: Epoch(1) }).unwrap();
    wal.sync_blocking().unwrap();
    wal.close_blocking().unwrap();
    let bytes = std::fs::read(dir.join("00000000000000000001")).unwrap();
    let dump = dump(&bytes);
    assert!(page().contains(&dump), "docs/format.md, \"A segment, byte by byte\", should be\n{dump}");
}
