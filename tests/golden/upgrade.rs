//! How an upgrade is tried: on a copy, with the original left alone (docs/operations.md, "Before an upgrade").

use highwater::{Engine, EpochMark, VerifyOptions, verify};

use crate::archive::parse;
use crate::sink::Stand;
use crate::{FOLDER, at, lay_out, on_any_device, open, tree};

#[test]
fn a_copy_is_opened_written_and_proven_and_the_original_is_as_it_was() {
    for golden in on_any_device() {
        let folder = tempfile::tempdir().unwrap();
        let (original, copy) = (folder.path().join(FOLDER), folder.path().join("copy"));
        lay_out(golden, &original);
        lay_out(golden, &copy);

        let (opened, held) = open(&copy, golden.name);
        let (engine, mut cores) = (opened.engine, opened.cores);
        for epoch in 1..=3_u64 {
            for number in 0..200_u64 {
                let key = format!("new/{number}");
                let core = engine.core_of(key.as_bytes()).index();
                cores[core].put(key.as_bytes(), &epoch.to_le_bytes()).unwrap();
            }
            let mark = EpochMark::new().offset("source", epoch).watermark(1 << 40);
            let ends = cores.iter_mut().map(|core| core.close_epoch(mark.clone()).unwrap());
            let closed = ends.last().unwrap();
            assert_eq!(closed.0, held.epoch + epoch);
            engine.wait_durable(closed).unwrap();
            engine.checkpoint().unwrap();
        }
        engine.close(cores).unwrap();
        let report = verify(&copy, VerifyOptions::new()).unwrap();
        assert!(report.is_sound(), "{}: {report}", golden.name);

        // What was there before is there still, and what was written since.
        let stand = Stand::reachable();
        let opened = Engine::open(at(&copy, golden.name, &stand)).unwrap();
        assert_eq!(opened.report.epoch.0, held.epoch + 3);
        for (key, value) in held.keys.iter().flatten() {
            let core = opened.engine.core_of(key).index();
            assert_eq!(opened.cores[core].get(key).unwrap().as_deref(), Some(&value[..]), "{}", golden.name);
        }
        let pins = opened.engine.retained().into_iter().flat_map(|retained| retained.pins);
        assert!(pins.eq(held.pins.into_keys()), "{}", golden.name);
        let keys = held.keys.iter().map(|keys| keys.len() as u64).sum::<u64>() + 200;
        assert_eq!(opened.report.live_keys, keys, "{}", golden.name);
        opened.engine.close(opened.cores).unwrap();

        assert!(tree(&original) == parse(golden.files), "{}: the original has changed", golden.name);
    }
}
