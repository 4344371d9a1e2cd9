//! The public interface, told as a story: what a user does on the first day.

use highwater::{CoreId, Engine, Epoch, EpochMark, ErrorKind, Offset, Opened, Options};

fn options(dir: &tempfile::TempDir) -> Options {
    Options::new(dir.path().join("data")).segment_bytes(64 << 10).batch_bytes(8 << 10).queue_bytes(64 << 10)
}

#[test]
fn what_was_waited_for_is_there_after_a_reopen() {
    let dir = tempfile::tempdir().unwrap();
    for inline in [false, true] {
        let options = options(&dir).cores(2).inline(inline);
        let Opened { engine, mut cores, report } = Engine::open(options.clone()).unwrap();
        let before = report.epoch;
        let owner = engine.core_of(b"user/42").index();
        cores[owner].put(b"user/42", b"100").unwrap();
        let foreign = cores[1 - owner].put(b"user/42", b"1").unwrap_err();
        assert_eq!(foreign.kind(), ErrorKind::Invalid);
        let mut epoch = Epoch(0);
        for (number, core) in (0_i64..).zip(&mut cores) {
            let mark = EpochMark::new().offset("orders", 7 + number.unsigned_abs()).watermark(100 - number);
            epoch = core.close_epoch(mark).unwrap();
        }
        assert_eq!(epoch, Epoch(before.0 + 1));
        engine.wait_durable(epoch).unwrap();
        cores[owner].put(b"user/42", b"an open epoch's value").unwrap();
        drop((engine, cores));

        let Opened { engine, cores, report } = loop {
            match Engine::open(options.clone()) {
                // The background of the dropped engine may still hold the lock.
                Err(error) if error.kind() == ErrorKind::Busy => std::thread::yield_now(),
                opened => break opened.unwrap(),
            }
        };
        assert_eq!(report.epoch, epoch);
        assert_eq!(report.watermark, Some(99));
        assert_eq!(report.offsets[&(CoreId(1), "orders".to_owned())], Offset::Number(8));
        assert_eq!(cores[owner].get(b"user/42").unwrap().as_deref(), Some(&b"100"[..]));
        engine.close(cores).unwrap();
    }
}

#[test]
fn a_single_core_commits() {
    let dir = tempfile::tempdir().unwrap();
    for inline in [true, false] {
        let Opened { engine, mut cores, .. } = Engine::open(options(&dir).inline(inline)).unwrap();
        let core = &mut cores[0];
        for number in 0..200u64 {
            core.put(&number.to_le_bytes(), &[7; 300]).unwrap();
            let epoch = core.commit().unwrap();
            assert!(engine.durable_epoch() >= epoch);
        }
        assert_eq!(core.len(), 200);
        engine.close(cores).unwrap();
    }
    let Opened { cores, report, .. } = Engine::open(options(&dir)).unwrap();
    assert_eq!(report.epoch, Epoch(400));
    assert_eq!(cores[0].len(), 200);
}

#[test]
fn a_checkpoint_shortens_the_next_recovery() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { engine, mut cores, .. } = Engine::open(options(&dir)).unwrap();
    for number in 0..500u64 {
        cores[0].put(&(number % 100).to_le_bytes(), &number.to_le_bytes()).unwrap();
        if number % 10 == 9 {
            cores[0].commit_with(EpochMark::new().offset("numbers", number + 1)).unwrap();
        }
    }
    let full = engine.checkpoint().unwrap();
    assert_eq!((full.epoch, full.bases_written), (Epoch(50), 1));
    cores[0].put(&5u64.to_le_bytes(), b"later").unwrap();
    cores[0].delete(&6u64.to_le_bytes()).unwrap();
    cores[0].commit().unwrap();
    let delta = engine.checkpoint().unwrap();
    assert!(delta.bytes_written < full.bytes_written / 4, "{delta:?} after {full:?}");
    cores[0].put(&7u64.to_le_bytes(), b"latest").unwrap();
    cores[0].commit().unwrap();
    engine.close(cores).unwrap();

    let Opened { engine, cores, report } = Engine::open(options(&dir)).unwrap();
    assert_eq!((report.epoch, report.checkpoint_epoch), (Epoch(52), Epoch(51)));
    assert_eq!(report.replayed_records, 2, "a put and the end of its epoch");
    assert_eq!(report.offsets[&(CoreId(0), "numbers".to_owned())], Offset::Number(500));
    assert_eq!(cores[0].len(), 99);
    assert_eq!(cores[0].get(&5u64.to_le_bytes()).unwrap().as_deref(), Some(&b"later"[..]));
    assert_eq!(cores[0].get(&6u64.to_le_bytes()).unwrap(), None);
    assert_eq!(cores[0].get(&7u64.to_le_bytes()).unwrap().as_deref(), Some(&b"latest"[..]));
    let keys: Vec<_> = cores[0].scan_prefix(b"").map(|entry| entry.unwrap().0.to_vec()).collect();
    assert!(keys.is_sorted() && keys.len() == 99);
    engine.close(cores).unwrap();
}

#[test]
fn close_refuses_to_forget_an_open_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { engine, mut cores, .. } = Engine::open(options(&dir)).unwrap();
    cores[0].put(b"k", b"v").unwrap();
    assert_eq!(engine.close(&mut cores[..]).unwrap_err().kind(), ErrorKind::Invalid);
    cores[0].commit().unwrap();
    cores[0].put(b"k", b"w").unwrap();
    cores[0].discard_open();
    engine.close(cores).unwrap();
    let Opened { cores, .. } = Engine::open(options(&dir)).unwrap();
    assert_eq!(cores[0].get(b"k").unwrap().as_deref(), Some(&b"v"[..]));
}

/// One source may be marked any number of times in an epoch: the last call counts, and no limit is near.
#[test]
fn the_last_offset_of_a_name_counts() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { engine, mut cores, .. } = Engine::open(options(&dir)).unwrap();
    let mark = (0..1_000u64).fold(EpochMark::new(), |mark, offset| mark.offset("orders", offset));
    cores[0].commit_with(mark).unwrap();
    engine.close(cores).unwrap();
    let Opened { report, .. } = Engine::open(options(&dir)).unwrap();
    assert_eq!(report.offsets[&(CoreId(0), "orders".to_owned())], Offset::Number(999));
}
