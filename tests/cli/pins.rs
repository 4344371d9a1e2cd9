//! Epochs that are held on to, from outside of the program that writes them.

use std::fs;
use std::path::Path;

use highwater::{Engine, EpochMark, Opened};

use crate::{copy, files, folder, highwater, options, told};

/// Spoils every checkpoint file of the lives behind the second.
fn spoil_later_lives(root: &Path) {
    for file in files(&root.join("f")) {
        let name = file.file_name().unwrap().to_str().unwrap();
        if !name.starts_with("0000000000000001-") && !name.starts_with("0000000000000002-") {
            fs::write(&file, b"rotten").unwrap();
        }
    }
}

/// Pinned with one core, and left behind by ten checkpoints of three.
#[test]
fn a_pinned_epoch_is_read_and_restored_whatever_has_become_of_the_cores() {
    let folder = folder();
    let (path, root) = (folder.path(), folder.path().join("data"));
    let run = |arguments: &[&str], code: i32| {
        let output = highwater(path, arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", told(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let dump = |root: &str, epoch: &str| {
        let text = run(&["dump", root, "--epoch", epoch, "--json"], 0);
        text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    let held = dump("data", "4");
    run(&["pin", "data", "audit", "--epoch", "4"], 0);
    run(&["pin", "data", "audit", "--epoch", "4"], 0);
    run(&["pin", "data", "audit", "--epoch", "5"], 3);
    run(&["pin", "data", "gone", "--epoch", "1"], 3);

    let wide = options(&root).cores(3).retain_checkpoints(1).fallback_bytes_max(0);
    let Opened { engine, mut cores, report } = Engine::open(wide).unwrap();
    assert_eq!(report.rescaled_from, Some(1));
    run(&["pin", "data", "late"], 4);
    for number in 0..30_u64 {
        let key = format!("user/{:02}", number % 60).into_bytes();
        cores[engine.core_of(&key).index()].put(&key, b"wide").unwrap();
        let mut epoch = None;
        for core in &mut cores {
            epoch = Some(core.close_epoch(EpochMark::new().offset("orders", number)).unwrap());
        }
        engine.wait_durable(epoch.unwrap()).unwrap();
        engine.checkpoint().unwrap();
    }
    let epochs: Vec<_> = engine.retained().into_iter().map(|retained| retained.epoch.0).collect();
    assert_eq!(epochs, [4, 36]);
    engine.close(cores).unwrap();

    let verified = run(&["verify", "data"], 0);
    assert!(verified.contains("epoch 4:") && verified.contains("sound"), "{verified}");
    assert!(run(&["inspect", "data"], 0).contains("pin \"audit\""));
    assert!(run(&["gc", "--dry-run", "data", "--all"], 0).contains("epoch 4, which is kept, needs it"));
    assert_eq!(dump("data", "4"), held);
    run(&["dump", "data", "--epoch", "5"], 3);
    let told = run(&["diff", "data", "4", "36"], 0);
    assert!(told.contains("keys added") && told.contains("changed user/00"), "{told}");

    run(&["restore", "data", "past", "--to-epoch", "4"], 0);
    assert_eq!(dump("past", "4"), held);
    let Opened { engine, cores, report } = Engine::open(options(&path.join("past"))).unwrap();
    assert_eq!((report.epoch.0, report.live_keys), (4, held.len() as u64 - 1));
    assert!(engine.retained().iter().all(|retained| retained.pins.is_empty()), "another history");
    engine.close(cores).unwrap();

    // What later lives have written is rotten, and nothing leads to any epoch but the one that is kept.
    copy(&root, &path.join("rotten"));
    spoil_later_lives(&path.join("rotten"));
    assert_eq!(dump("rotten", "4"), held);
    let told = run(&["salvage", "rotten", "saved"], 0);
    assert!(told.contains("epoch 4: ") && told.contains("lost: epochs 5 to 36"), "{told}");
    assert_eq!(dump("saved", "4"), held);

    let told = run(&["pin", "data", "more", "--json"], 0);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told, serde_json::json!({ "pin": "more", "epoch": 36 }));
    let told = run(&["unpin", "data", "more", "--json"], 0);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told, serde_json::json!({ "pin": "more", "epoch": 36 }));

    run(&["unpin", "data", "audit"], 0);
    run(&["unpin", "data", "audit"], 3);
    let Opened { engine, mut cores, .. } = Engine::open(options(&root).cores(3)).unwrap();
    let mut epoch = None;
    for core in &mut cores {
        epoch = Some(core.close_epoch(EpochMark::new()).unwrap());
    }
    engine.wait_durable(epoch.unwrap()).unwrap();
    engine.checkpoint().unwrap();
    engine.close(cores).unwrap();
    run(&["dump", "data", "--epoch", "4"], 3);
}
