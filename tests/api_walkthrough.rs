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

#[test]
fn many_keys_go_and_come_in_one_call() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { engine, mut cores, .. } = Engine::open(options(&dir).cores(2)).unwrap();
    let names: Vec<String> = (0..500).map(|number| format!("user/{number:03}")).collect();
    for core in &mut cores {
        let id = core.id();
        let (own, foreign): (Vec<_>, Vec<_>) =
            names.iter().partition(|name| engine.core_of(name.as_bytes()) == id);
        let entries: Vec<_> = own.iter().map(|name| (name, name.to_uppercase())).collect();
        let lsns = core.put_many(&entries).unwrap();
        assert_eq!(lsns.end.0 - lsns.start.0, own.len() as u64);
        let values: Vec<_> = core.get_many(&own).map(|value| value.unwrap().unwrap().to_vec()).collect();
        assert_eq!(values, entries.iter().map(|(_, value)| value.clone().into_bytes()).collect::<Vec<_>>());

        // One foreign key among them: nothing is put, and only its own read fails.
        let wrong = [(own[0], "changed"), (foreign[0], "changed")];
        let refused = core.put_many(&wrong).unwrap_err();
        assert_eq!((refused.applied, refused.error.kind()), (0, ErrorKind::Invalid));
        let read: Vec<_> = core.get_many([own[0], foreign[0]]).collect();
        assert_eq!(read[0].as_ref().unwrap().as_deref(), Some(own[0].to_uppercase().as_bytes()));
        assert_eq!(read[1].as_ref().unwrap_err().kind(), ErrorKind::Invalid);
        core.close_epoch(EpochMark::new()).unwrap();
    }
    engine.close(cores).unwrap();
}

/// What a full queue took of a call is said, and is there; the rest can follow.
#[test]
fn a_call_for_many_keys_that_finds_no_room_says_how_far_it_came() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(&dir).epoch_bytes_max(10_000);
    let Opened { engine, mut cores, .. } = Engine::open(options).unwrap();
    let core = &mut cores[0];
    let entries: Vec<_> = (0..100_u64).map(|number| (number.to_le_bytes(), [7; 200])).collect();
    let mut rest = &entries[..];
    let mut calls = 1;
    while let Err(stopped) = core.put_many(rest) {
        assert_eq!(stopped.error.kind(), ErrorKind::Busy);
        assert!(0 < stopped.applied && stopped.applied < rest.len());
        rest = &rest[stopped.applied..];
        assert_eq!(core.len(), entries.len() - rest.len());
        core.commit().unwrap();
        calls += 1;
    }
    core.commit().unwrap();
    assert_eq!((calls, core.len()), (3, 100));
    engine.close(cores).unwrap();
}

#[test]
fn a_range_is_read_in_order_with_and_without_an_ordered_index() {
    let dir = tempfile::tempdir().unwrap();
    for ordered in [false, true, false] {
        let Opened { engine, mut cores, report } =
            Engine::open(options(&dir).ordered_index(ordered)).unwrap();
        let core = &mut cores[0];
        if report.created {
            for number in (0..100_u8).rev() {
                core.put(&[number], &[number; 40]).unwrap();
            }
        }
        let keys = |from: &[u8], to: &[u8]| -> Vec<u8> {
            core.range(from..to).map(|entry| entry.unwrap().0[0]).collect()
        };
        assert_eq!(keys(&[20], &[25]), [20, 21, 22, 23, 24]);
        assert_eq!(keys(&[98, 0], &[200]), [99]);
        assert!(keys(&[25], &[20]).is_empty());
        assert_eq!(core.range(..).count(), 100);
        assert_eq!(core.scan_prefix(&[7]).count(), 1);
        core.commit().unwrap();
        engine.close(cores).unwrap();
    }
}
