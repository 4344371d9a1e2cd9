use super::*;
use crate::checkpoint::policy::{Due, base_due};

fn file(kind: FileKind, bytes: u64, entries: u64, tombstones: u64) -> CheckpointFile {
    CheckpointFile {
        name: header(kind, 1, 0, 1).name,
        core: CoreId(0),
        cores: 2,
        bytes,
        crc: 0,
        entries,
        tombstones,
        live_bytes: bytes / 2,
        digest: 0,
        from_epoch: Epoch(0),
        through_epoch: Epoch(1),
    }
}

const MIB: u64 = 1 << 20;

#[test]
fn a_base_is_due_when_a_chain_is_long_heavy_or_full_of_deletes() {
    let base = |entries| file(FileKind::Base, 100 * MIB, entries, 0);
    let delta = |bytes, tombstones| file(FileKind::Delta, bytes, 10, tombstones);
    let large = |mib| file(FileKind::Base, mib * MIB, 1000, 0);
    let cases: [(Vec<CheckpointFile>, Option<Due>); 14] = [
        (vec![], None),
        (vec![base(1000)], None),
        ([vec![large(0)], vec![delta(1, 0); 8]].concat(), None),
        ([vec![large(0)], vec![delta(1, 0); 9]].concat(), Some(Due::Deltas)),
        ([vec![large(100)], vec![delta(1, 0); 108]].concat(), None),
        ([vec![large(100)], vec![delta(1, 0); 109]].concat(), Some(Due::Deltas)),
        ([vec![large(9000)], vec![delta(1, 0); 256]].concat(), None),
        ([vec![large(9000)], vec![delta(1, 0); 257]].concat(), Some(Due::Deltas)),
        (vec![delta(1, 0); 9], Some(Due::Deltas)),
        (vec![base(1000), delta(50 * MIB, 0)], None),
        (vec![base(1000), delta(50 * MIB, 0), delta(1, 0)], Some(Due::Bytes)),
        (vec![delta(MIB, 0)], None),
        (vec![base(10_000), delta(MIB, 5005)], None),
        (vec![base(10_000), delta(MIB, 5006)], Some(Due::Tombstones)),
    ];
    for (chain, due) in cases {
        assert_eq!(base_due(&chain, u64::MAX), due, "{} files", chain.len());
    }
    assert_eq!(base_due(&[file(FileKind::Delta, 1, 0, 1024)], u64::MAX), None, "a few deletes are no burden");
}

#[test]
fn a_budget_makes_a_base_due_sooner_but_not_for_every_delta() {
    let chain =
        |deltas: u64| [file(FileKind::Base, 80 * MIB, 1000, 0), file(FileKind::Delta, deltas * MIB, 10, 0)];
    assert_eq!(base_due(&chain(20), u64::MAX), None);
    assert_eq!(base_due(&chain(20), 100 * MIB), None, "it is met");
    assert_eq!(base_due(&chain(20), 99 * MIB), Some(Due::Budget));
    assert_eq!(base_due(&chain(10), 1), None, "a rewrite would not make it much smaller");
    assert_eq!(base_due(&chain(11), 1), Some(Due::Budget));
    assert_eq!(base_due(&chain(0)[..1], 0), None, "it is a base already");
}
