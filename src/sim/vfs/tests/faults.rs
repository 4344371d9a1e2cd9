//! Each class of faults, always on.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use super::rig::{Rig, read, sectors};
use crate::env::Tick;
use crate::sim::{AfterFailedSync, Damage, FaultClass, FaultPlan, Firing, Latency, Personality};
use crate::vfs::{File, Vfs};

fn always(class: FaultClass) -> FaultPlan {
    FaultPlan::none().with(class, 1.0)
}

/// After power loss, with everything unsynced lost.
fn all_lost(rig: &Rig) -> Option<Vec<u8>> {
    rig.disk.disk().images(0, 0).nth(1).unwrap_or_else(|| rig.disk.disk()).read_file("d/a")
}

#[test]
fn without_faults_synced_bytes_survive_every_power_loss() {
    let rig = Rig::new(FaultPlan::none());
    let file = rig.file("a");
    rig.run(async {
        assert_eq!(file.write_at(0, sectors(1, 4)).await.unwrap(), 2048);
        file.sync_data().await.unwrap();
    });
    rig.disk.power_loss();
    assert_eq!(rig.bytes("a"), Some(vec![1; 2048]));
    assert_eq!(rig.disk.ledger().count(FaultClass::PowerLoss), 1);
}

#[test]
fn a_failed_sync_is_an_error_and_in_the_ledger() {
    let rig = Rig::new(FaultPlan::none());
    let file = rig.file("a");
    drop(file);
    let rig = Rig::on(rig.disk.disk(), always(FaultClass::SyncError), 1);
    let file = rig.installed("a", &[0; 512]);
    rig.run(async {
        file.write_at(0, sectors(1, 1)).await.unwrap();
        file.sync_data().await.unwrap_err();
    });
    let ledger = rig.disk.ledger();
    assert_eq!(ledger.count(FaultClass::SyncError), 1);
    assert_eq!(ledger.entries()[0].path, Path::new("d/a"));
    assert_eq!(ledger.out_of_contract().count(), 0);
}

#[test]
fn after_a_sync_that_fails_once_the_next_sync_lies_and_the_cache_agrees() {
    let rig = Rig::new(FaultPlan::none().with(FaultClass::SyncErrorOnce, 1.0));
    let file = rig.installed("a", &[7; 1024]);
    rig.run(async {
        file.write_at(0, sectors(1, 2)).await.unwrap();
        file.sync_data().await.unwrap_err();
        rig.disk.stop_faults();
        file.sync_data().await.expect("the pages are clean: there is nothing to write");
        assert_eq!(read(&file, 0, 1024).await.unwrap(), vec![1; 1024], "the cache has what it lost");
    });
    rig.disk.crash(crate::sim::Crash::Process);
    assert_eq!(rig.bytes("a"), Some(vec![1; 1024]), "the cache survives the process");
    rig.disk.power_loss();
    assert_eq!(rig.bytes("a"), Some(vec![7; 1024]), "the platter never had it");
}

#[test]
fn a_write_whose_own_sync_fails_may_lose_what_another_wrote() {
    let rig = Rig::new(always(FaultClass::SyncErrorOnce));
    let file = rig.installed("a", &[7; 1024]);
    rig.run(async {
        file.write_at(0, sectors(1, 1)).await.unwrap();
        file.write_at_and_sync(512, sectors(2, 1)).await.unwrap_err();
        rig.disk.stop_faults();
        file.sync_data().await.expect("the pages are clean: there is nothing to write");
    });
    rig.disk.power_loss();
    assert_eq!(rig.bytes("a"), Some(vec![7; 1024]), "neither reached the platter");
}

#[test]
fn after_a_failed_sync_an_old_personality_shows_old_bytes_and_a_mixed_one_both() {
    for habit in [AfterFailedSync::Old, AfterFailedSync::Mixed] {
        let personality = Personality { after_failed_sync: habit, ..Personality::default() };
        let rig = Rig::with(personality, always(FaultClass::SyncErrorOnce), 3);
        let file = rig.installed("a", &vec![7; 64 * 512]);
        rig.run(async {
            file.write_at(0, sectors(1, 64)).await.unwrap();
            file.sync_data().await.unwrap_err();
            let bytes = read(&file, 0, 64 * 512).await.unwrap();
            let old = bytes.chunks(512).filter(|sector| sector == &[7; 512]).count();
            assert_eq!(old == 64, habit == AfterFailedSync::Old, "{old} of 64 are old");
            assert!(old > 0);
        });
    }
}

/// What a fault does is its own affair: whatever else a plan has, the same firing leaves the same bytes in the cache.
#[test]
fn what_a_sync_that_fails_once_leaves_depends_on_no_other_fault() {
    let personality = Personality { after_failed_sync: AfterFailedSync::Mixed, ..Personality::default() };
    let once = Firing { scope: 1, class: FaultClass::SyncErrorOnce, number: 0 };
    let another = Firing { scope: 0, class: FaultClass::SyncError, number: 0 };
    let left = |firings: &[Firing]| {
        let rig = Rig::with(personality, FaultPlan::none().only(firings.iter().copied()), 3);
        let file = rig.installed("a", &vec![7; 64 * 512]);
        rig.run(async {
            assert_eq!(file.sync_data().await.is_err(), firings.contains(&another));
            rig.disk.enter(once.scope);
            file.write_at(0, sectors(1, 64)).await.unwrap();
            file.sync_data().await.unwrap_err();
            read(&file, 0, 64 * 512).await.unwrap()
        })
    };
    assert_eq!(left(&[once]), left(&[another, once]));
}

/// The caller makes damage: no plan can name it as one of its faults.
#[test]
fn damage_at_rest_is_no_firing_of_the_plan() {
    let rig = Rig::new(always(FaultClass::BitRot));
    let file = rig.installed("a", &[0; 512]);
    rig.run(async { read(&file, 0, 512).await.unwrap() });
    rig.disk.damage("d/a", &Damage::BitRot { offset: 7, mask: 1 }).unwrap();
    let firings: Vec<_> = rig.disk.ledger().entries().iter().map(|hit| hit.firing.is_some()).collect();
    assert_eq!(firings, [true, false]);
}

#[test]
fn a_failed_directory_sync_loses_the_name_for_good() {
    let rig = Rig::new(always(FaultClass::SyncErrorOnce));
    let vfs = rig.disk.vfs();
    rig.run(async {
        vfs.create_new(Path::new("d/a")).await.unwrap();
        vfs.sync_dir(Path::new("d")).await.unwrap_err();
        rig.disk.stop_faults();
        vfs.sync_dir(Path::new("d")).await.unwrap();
    });
    assert!(rig.bytes("a").is_some(), "the cache still has the name");
    rig.disk.power_loss();
    assert_eq!(rig.bytes("a"), None);
}

#[test]
fn a_directory_sync_can_fail_by_itself() {
    let rig = Rig::new(always(FaultClass::DirSyncError));
    let vfs = rig.disk.vfs();
    rig.run(async {
        let file = vfs.create_new(Path::new("d/a")).await.unwrap();
        file.sync_data().await.unwrap();
        vfs.sync_dir(Path::new("d")).await.unwrap_err();
    });
}

#[test]
fn a_failed_write_may_be_there_or_not() {
    let mut seen = [false; 2];
    for seed in 0..16 {
        let rig = Rig::with(Personality::default(), always(FaultClass::WriteError), seed);
        let file = rig.installed("a", &[7; 512]);
        rig.run(async { file.write_at(0, sectors(1, 1)).await.unwrap_err() });
        seen[usize::from(rig.bytes("a").unwrap()[0] == 1)] = true;
    }
    assert_eq!(seen, [true; 2]);
}

#[test]
fn a_failed_read_does_no_harm() {
    let rig = Rig::new(always(FaultClass::ReadError));
    let file = rig.installed("a", &[7; 512]);
    rig.run(async {
        read(&file, 0, 512).await.unwrap_err();
        rig.disk.stop_faults();
        assert_eq!(read(&file, 0, 512).await.unwrap(), vec![7; 512]);
    });
}

#[test]
fn behind_a_short_read_the_buffer_is_garbage() {
    let rig = Rig::new(always(FaultClass::ShortRead));
    let file = rig.installed("a", &[7; 512]);
    rig.run(async {
        let (buffer, count) = file.read_at(0, bytes::BytesMut::zeroed(512)).await.unwrap();
        assert!((1..512).contains(&count));
        assert!(buffer[..count].iter().all(|byte| *byte == 7));
        assert!(buffer[count..].iter().all(|byte| !matches!(byte, 0 | 7)), "nobody gets away with it");
    });
}

#[test]
fn a_short_write_takes_a_front_and_no_more() {
    let rig = Rig::new(always(FaultClass::ShortWrite));
    let file = rig.installed("a", &[7; 512]);
    rig.run(async {
        let count = file.write_at(0, sectors(1, 1)).await.unwrap();
        assert!((1..512).contains(&count));
        let bytes = read(&file, 0, 512).await.unwrap();
        assert!(bytes[..count].iter().all(|byte| *byte == 1) && bytes[count..].iter().all(|byte| *byte == 7));
    });
}

#[test]
fn an_interrupted_call_did_nothing() {
    let rig = Rig::new(always(FaultClass::Interrupted));
    rig.run(async {
        for _ in 0..20 {
            let error = rig.disk.vfs().create_new(Path::new("d/a")).await.unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock));
        }
    });
    assert_eq!(rig.bytes("a"), None);
}

#[test]
fn a_call_that_is_to_be_repeated_says_so_in_three_ways() {
    let rig = Rig::new(always(FaultClass::Interrupted));
    let said: std::collections::BTreeSet<String> = rig.run(async {
        let mut said = std::collections::BTreeSet::new();
        for _ in 0..60 {
            said.insert(rig.disk.vfs().list(Path::new("d")).await.unwrap_err().to_string());
        }
        said
    });
    assert_eq!(said.len(), 3, "EINTR, EAGAIN and ECANCELED: {said:?}");
}

#[test]
fn space_runs_out_on_the_device_or_in_the_quota() {
    let rig = Rig::new(always(FaultClass::Full));
    let kinds: Vec<_> = rig.run(async {
        let mut kinds = Vec::new();
        for _ in 0..60 {
            kinds.push(rig.disk.vfs().create_new(Path::new("d/a")).await.unwrap_err().kind());
        }
        kinds
    });
    assert!(kinds.contains(&ErrorKind::StorageFull) && kinds.contains(&ErrorKind::QuotaExceeded));
}

#[test]
fn latency_stays_in_its_range_but_for_one_call_in_64() {
    let rig = Rig::new(FaultPlan::none().with_latency(Latency::FLASH));
    let file = rig.installed("a", &[7; 512]);
    let (lo, hi) = Latency::FLASH.read_us;
    let mut took = Vec::new();
    rig.run(async {
        for _ in 0..500 {
            let from = rig.disk.shared.executor.now();
            read(&file, 0, 512).await.unwrap();
            took.push(u64::try_from(rig.disk.shared.executor.now().since(from).as_micros()).unwrap());
        }
    });
    let usual = took.iter().filter(|us| (lo..=hi).contains(us)).count();
    assert!(took.iter().all(|us| (lo..=10 * hi).contains(us)));
    assert!((470..500).contains(&usual), "{usual} of 500 reads were as fast as usual");
}

#[test]
fn after_a_process_crash_unsynced_bytes_are_there_and_still_unsynced() {
    let rig = Rig::new(FaultPlan::none());
    let file = rig.installed("a", &[7; 512]);
    rig.run(async { file.write_at(0, sectors(1, 1)).await.unwrap() });
    rig.disk.crash(crate::sim::Crash::Process);
    assert_eq!(rig.bytes("a"), Some(vec![1; 512]));
    assert_eq!(all_lost(&rig), Some(vec![7; 512]));
}

#[test]
fn damage_at_rest_is_in_the_ledger_under_its_name() {
    let rig = Rig::new(FaultPlan::none());
    rig.installed("a", &[7; 1024]);
    assert_eq!(rig.disk.damage("d/a", &Damage::BitRot { offset: 600, mask: 1 }).unwrap(), 1);
    let ledger = rig.disk.ledger();
    assert!(ledger.excuses(rig.disk.disk().file_number("d/a").unwrap(), &(512..1024)));
    for path in ["d/a", "d"] {
        assert_eq!(ledger.touching(Path::new(path)).count(), 1, "{path}");
    }
    assert_eq!(ledger.touching(Path::new("d/b")).count(), 0);
    let same = Damage::Exchanged { with: rig.disk.disk(), path: "d".into() };
    assert_eq!(rig.disk.damage("d", &same).unwrap(), 0);
    assert_eq!(rig.disk.ledger().out_of_contract().count(), 1, "what changes nothing excuses nothing");
}

#[test]
fn a_lock_can_be_lost_without_its_holder() {
    let rig = Rig::new(FaultPlan::none());
    let (first, second) = (rig.disk.vfs(), rig.disk.vfs());
    rig.run(async {
        let held = first.lock(Path::new("d")).await.unwrap();
        second.lock(Path::new("d")).await.unwrap_err();
        rig.disk.lose_locks();
        let taken = second.lock(Path::new("d")).await.unwrap();
        drop((held, taken));
    });
    assert_eq!(rig.disk.ledger().count(FaultClass::LostLock), 1);
}

#[test]
fn a_full_device_takes_overwrites_only_and_its_space_comes_back() {
    let rig = Rig::new(always(FaultClass::Full));
    let file = rig.installed("a", &[7; 4096]);
    rig.run(async {
        let error = file.write_at(4096, sectors(1, 1)).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded));
        file.write_at(0, sectors(1, 1)).await.expect("an overwrite needs no space");
        assert_eq!(rig.disk.vfs().free_space(Path::new("d")).await.unwrap(), 0);
        rig.disk.vfs().remove(Path::new("d/a")).await.expect("removing frees space");
        rig.timers.advance(Duration::from_secs(1));
        assert!(rig.disk.vfs().free_space(Path::new("d")).await.unwrap() > 0);
    });
}

#[test]
fn a_small_device_takes_the_front_that_fits_and_then_nothing() {
    let mut disk = crate::sim::Disk::new(Personality::default()).with_capacity(2 * 4096);
    disk.install_dir("d").unwrap();
    let rig = Rig::on(disk, FaultPlan::none(), 0);
    let file = rig.file("a");
    rig.run(async {
        assert_eq!(file.write_at(0, sectors(1, 24)).await.unwrap(), 2 * 4096);
        assert_eq!(file.write_at(8192, sectors(1, 8)).await.unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(file.allocate(12288).await.unwrap_err().kind(), ErrorKind::StorageFull);
    });
}

#[test]
fn a_file_without_a_name_takes_up_space_while_it_is_open() {
    let mut disk = crate::sim::Disk::new(Personality::default()).with_capacity(2 * 4096);
    disk.install_dir("d").unwrap();
    let rig = Rig::on(disk, FaultPlan::none(), 0);
    let (gone, kept) = (rig.file("a"), rig.file("b"));
    rig.run(async {
        assert_eq!(gone.write_at(0, sectors(1, 16)).await.unwrap(), 2 * 4096);
        rig.disk.vfs().remove(Path::new("d/a")).await.unwrap();
        assert_eq!(rig.disk.free_bytes(), 0);
        assert_eq!(kept.write_at(0, sectors(1, 8)).await.unwrap_err().kind(), ErrorKind::StorageFull);
        drop(gone);
        assert_eq!(rig.disk.free_bytes(), 2 * 4096);
        assert_eq!(kept.write_at(0, sectors(1, 8)).await.unwrap(), 4096);
    });
}

#[test]
fn a_stall_takes_its_time() {
    let rig = Rig::new(always(FaultClass::Stall));
    let file = rig.installed("a", &[7; 512]);
    let mut end = Tick(0);
    rig.run(async {
        read(&file, 0, 512).await.unwrap();
        end = rig.disk.shared.executor.now();
    });
    assert!(end.since(Tick(0)) >= Duration::from_secs(2));
}

#[test]
fn a_lying_device_forgets_what_it_confirmed() {
    let plan = always(FaultClass::LostSync);
    let honest = Rig::with(Personality::default(), plan.clone(), 1);
    let lying = Rig::with(Personality { lying: true, ..Personality::default() }, plan, 1);
    for rig in [&honest, &lying] {
        let file = rig.installed("a", &[7; 512]);
        rig.run(async {
            file.write_at(0, sectors(1, 1)).await.unwrap();
            file.sync_data().await.unwrap();
        });
    }
    assert_eq!(all_lost(&honest), Some(vec![1; 512]));
    assert_eq!(all_lost(&lying), Some(vec![7; 512]));
    assert_eq!(lying.disk.ledger().out_of_contract().count(), 1);
}

#[test]
fn rot_flips_one_bit_and_stays() {
    let rig = Rig::new(always(FaultClass::BitRot));
    let file = rig.installed("a", &[0; 512]);
    rig.run(async { read(&file, 0, 512).await.unwrap() });
    rig.disk.power_loss();
    let bytes = rig.bytes("a").unwrap();
    assert_eq!(bytes.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
    let at = bytes.iter().position(|byte| *byte != 0).unwrap() as u64;
    let number = rig.disk.disk().file_number("d/a").unwrap();
    assert!(rig.disk.ledger().excuses(number, &(at..at + 1)));
    assert!(!rig.disk.ledger().excuses(number, &(512..1024)));
}

#[test]
fn a_misdirected_write_damages_two_places() {
    let rig = Rig::new(always(FaultClass::MisdirectedWrite));
    let file = rig.installed("a", &[7; 512]);
    rig.installed("b", &vec![8; 64 * 512]);
    rig.run(async {
        for _ in 0..8 {
            file.write_at(0, sectors(1, 1)).await.unwrap();
        }
    });
    assert!(rig.bytes("b").unwrap().contains(&1));
    let ledger = rig.disk.ledger();
    assert!(ledger.excuses(rig.disk.disk().file_number("d/b").unwrap(), &(0..64 * 512)));
    assert!(ledger.excuses(rig.disk.disk().file_number("d/a").unwrap(), &(0..512)));
}

#[test]
fn a_misdirected_read_finds_other_bytes_and_leaves_the_disk_alone() {
    let rig = Rig::new(always(FaultClass::MisdirectedRead));
    let contents: Vec<u8> = (0..64_u8).flat_map(|sector| [sector; 512]).collect();
    let file = rig.installed("a", &contents);
    let wrong = rig.run(async {
        let mut wrong = 0;
        for _ in 0..8 {
            wrong += usize::from(read(&file, 0, 512).await.unwrap()[0] != 0);
        }
        wrong
    });
    assert!(wrong > 0);
    assert_eq!(rig.bytes("a"), Some(contents));
}

#[test]
fn a_latent_sector_error_lasts_until_the_sector_is_written() {
    let rig = Rig::new(always(FaultClass::LatentSector));
    let file = rig.installed("a", &[7; 512]);
    rig.run(async {
        read(&file, 0, 512).await.unwrap_err();
        rig.disk.stop_faults();
        read(&file, 0, 512).await.unwrap_err();
    });
    rig.disk.power_loss();
    let file = rig.run(rig.disk.vfs().open(Path::new("d/a"), crate::vfs::OpenMode::Write)).unwrap();
    rig.run(async {
        read(&file, 0, 512).await.unwrap_err();
        file.write_at(0, sectors(1, 1)).await.unwrap();
        assert_eq!(read(&file, 0, 512).await.unwrap(), vec![1; 512]);
    });
}

#[test]
fn write_back_makes_unsynced_bytes_durable() {
    let mut durable = 0;
    for seed in 0..16 {
        let rig = Rig::with(Personality::default(), always(FaultClass::WriteBack), seed);
        let file = rig.installed("a", &[7; 512]);
        rig.run(async {
            file.write_at(0, sectors(1, 1)).await.unwrap();
            for _ in 0..4 {
                file.len().await.unwrap();
            }
        });
        durable += usize::from(rig.disk.disk().pending() == 0);
    }
    assert!(durable > 0, "no unsynced byte ever reached the platter");
}

#[test]
fn a_site_that_is_not_active_sees_no_fault() {
    let mut plan = always(FaultClass::ReadError).with_latency(Latency::FLASH);
    plan.site_chance = 0.0;
    let rig = Rig::new(plan);
    let file = rig.installed("a", &[7; 512]);
    rig.run(async { read(&file, 0, 512).await.unwrap() });
    assert!(rig.disk.ledger().entries().is_empty());
}
