//! Manifests to test with.

use crate::forecast::Rates;
use crate::ids::{CoreId, Epoch, FencingToken, Lsn, ManifestSeq, Nonce, SegmentNo};
use crate::manifest::ident::Ident;
use crate::manifest::{
    Author, Checkpoint, CheckpointFile, CoreLife, Cut, Decided, FileKind, FileName, KeptEpoch, Life,
    Manifest, SinkEntry,
};
use crate::offset::Offset;
use crate::route::Route;

pub(crate) const DATABASE: Nonce = Nonce(0xdb);
pub(crate) const TIMELINE: Nonce = Nonce(0x71);

pub(crate) fn ident() -> Ident {
    Ident {
        write_unit: 512,
        database: DATABASE,
        timeline: TIMELINE,
        hash_seed: 0x5eed,
        hash_id: 1,
        key_groups: 64,
        route: Route::WholeKey,
        created_wall_ms: 1_700_000_000_000,
    }
}

pub(crate) fn file(kind: FileKind, core: u16, attempt: u32, from: u64, through: u64) -> CheckpointFile {
    CheckpointFile {
        name: FileName {
            token: FencingToken(2),
            attempt,
            uuid: Nonce(u128::from(attempt) << 64 | u128::from(core)),
            kind,
        },
        core: CoreId(core),
        cores: 2,
        bytes: 4096,
        crc: 0x00c0_ffee,
        entries: 3,
        tombstones: u64::from(kind == FileKind::Delta),
        live_bytes: 300,
        digest: 0x1234_5678,
        from_epoch: Epoch(from),
        through_epoch: Epoch(through),
    }
}

fn core_life(first_segment: u64, first_lsn: u64, ceiling: Option<u64>) -> CoreLife {
    CoreLife {
        first_segment: SegmentNo(first_segment),
        identity: Nonce(u128::from(first_segment) + 7),
        first_lsn: Lsn(first_lsn),
        carried_through: Lsn(first_lsn - 1),
        ceiling: ceiling.map(Lsn),
    }
}

fn checkpoint(epoch: u64, files: Vec<CheckpointFile>, segment: u64) -> Checkpoint {
    let cut = |lsn| Cut { token: FencingToken(1), segment: SegmentNo(segment), lsn: Lsn(lsn) };
    Checkpoint {
        epoch: Epoch(epoch),
        token: FencingToken(2),
        files,
        cuts: vec![cut(20), cut(30)],
        offsets: vec![
            (CoreId(0), "orders".into(), Offset::Number(42)),
            (CoreId(1), "orders".into(), Offset::Opaque(b"page 7".to_vec())),
        ],
        inherited: vec![(CoreId(6), "clicks".into(), Offset::Number(7))],
        watermarks: vec![Some(-5), None],
        sinks: vec![
            SinkEntry { lost: true, ..sink("out", epoch - 1, 1, Some(b"forgotten")) },
            sink("out", epoch, 0, Some(b"tx")),
            sink("out", epoch, 1, None),
            sink("side", epoch, 0, None),
            sink("side", epoch, 1, None),
        ],
    }
}

/// Two lives, two retained checkpoints that share a base, one retired file.
pub(crate) fn manifest() -> Manifest {
    let bases = vec![file(FileKind::Base, 0, 1, 0, 4), file(FileKind::Base, 1, 1, 0, 4)];
    let mut newer = bases.clone();
    newer.push(file(FileKind::Delta, 0, 2, 4, 6));
    newer.push(file(FileKind::Delta, 0, 3, 4, 6));
    Manifest {
        seq: ManifestSeq(9),
        nonce: Nonce(0x99),
        previous: Some((ManifestSeq(8), 0xabcd)),
        database: DATABASE,
        timeline: TIMELINE,
        token: FencingToken(2),
        cores: 2,
        author: Author::Checkpoint,
        recovered_epoch: Epoch(6),
        beginning: false,
        lives: vec![
            Life {
                token: FencingToken(1),
                recovered_epoch: Epoch(0),
                cores: vec![core_life(1, 1, Some(40)), core_life(1, 1, Some(50))],
            },
            Life {
                token: FencingToken(2),
                recovered_epoch: Epoch(6),
                cores: vec![core_life(8, 51, None), core_life(8, 61, None)],
            },
        ],
        checkpoints: vec![checkpoint(4, bases, 3), checkpoint(6, newer, 5)],
        kept: Vec::new(),
        decided: None,
        rates: Rates::default(),
        wal_floor: vec![SegmentNo(3), SegmentNo(3)],
        retired: vec![file(FileKind::Delta, 0, 0, 0, 1).name],
        attempt_floor: 4,
    }
}

/// The same with an epoch that pins hold, and one in the store.
pub(crate) fn keeper() -> Manifest {
    let mut manifest = manifest();
    let of = |epoch: u64, files: Vec<CheckpointFile>| Checkpoint {
        cuts: Vec::new(),
        sinks: Vec::new(),
        ..checkpoint(epoch, files, 0)
    };
    let old = vec![file(FileKind::Base, 1, 77, 0, 2)];
    let pins = vec!["audit".to_owned(), "before the move".to_owned()];
    manifest.kept = vec![
        KeptEpoch { checkpoint: of(3, old), pins, away: false },
        KeptEpoch { checkpoint: of(5, Vec::new()), pins: Vec::new(), away: true },
    ];
    manifest.rates = Rates { fixed_us: 80_000, load_bytes_per_s: 1 << 30, replay_bytes_per_s: 1 << 28 };
    manifest
}

/// One whose newest checkpoint was given up, after it had decided.
pub(crate) fn decider() -> Manifest {
    let mut manifest = manifest();
    let given_up = manifest.checkpoints.pop().unwrap();
    manifest.checkpoints[0].sinks.clear();
    manifest.retired.clear();
    manifest.decided = Some(Decided { epoch: given_up.epoch, sinks: given_up.sinks });
    manifest
}

fn sink(name: &str, epoch: u64, core: u16, handle: Option<&[u8]>) -> SinkEntry {
    let handle = handle.map(<[u8]>::to_vec);
    SinkEntry { name: name.into(), epoch: Epoch(epoch), core: CoreId(core), handle, lost: false }
}
