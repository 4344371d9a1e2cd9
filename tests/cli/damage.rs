//! Damage of every kind is named, with the exit code that says so.

use std::fs;
use std::path::{Path, PathBuf};

use highwater::{Engine, EpochMark, Opened};

use crate::{copy, files, folder, highwater, make, options, told};

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    let at = if at < bytes.len() { at } else { bytes.len() - 1 };
    bytes[at] ^= 4;
    fs::write(path, bytes).unwrap();
}

fn cut(path: &Path, bytes: usize) {
    let whole = fs::read(path).unwrap();
    fs::write(path, &whole[..bytes]).unwrap();
}

/// What is done to which file.
type Way = (&'static str, fn(&Path) -> PathBuf);

fn newest(root: &Path, folder: &str) -> PathBuf {
    files(&root.join(folder)).pop().unwrap()
}

fn oldest(root: &Path, folder: &str) -> PathBuf {
    files(&root.join(folder)).remove(0)
}

/// The only file that speaks of the last epoch is not found any more.
const SWAPPED: &str = "two segments in each other's place";

pub(crate) const WAYS: [Way; 18] = [
    ("a bit of IDENT", |root| {
        flip(&root.join("IDENT"), 30);
        root.join("IDENT")
    }),
    ("IDENT gone", |root| {
        fs::remove_file(root.join("IDENT")).unwrap();
        root.join("IDENT")
    }),
    ("a bit of the newest manifest's header", |root| {
        flip(&newest(root, "m"), 40);
        newest(root, "m")
    }),
    ("the newest manifest cut short", |root| {
        cut(&newest(root, "m"), 100);
        newest(root, "m")
    }),
    ("a bit of a block", |root| {
        flip(&oldest(root, "f"), 140);
        oldest(root, "f")
    }),
    ("a bit of a trailer", |root| {
        flip(&newest(root, "f"), usize::MAX);
        newest(root, "f")
    }),
    ("a checkpoint file gone", |root| {
        let path = newest(root, "f");
        fs::remove_file(&path).unwrap();
        path
    }),
    ("a checkpoint file cut short", |root| {
        cut(&oldest(root, "f"), 90);
        oldest(root, "f")
    }),
    ("another checkpoint file in its place", |root| {
        fs::copy(newest(root, "f"), oldest(root, "f")).unwrap();
        oldest(root, "f")
    }),
    ("a bit of a segment's header", |root| {
        flip(&oldest(root, "wal/00000"), 33);
        oldest(root, "wal/00000")
    }),
    ("a bit of a record", |root| {
        flip(&oldest(root, "wal/00000"), 8192 + 80);
        oldest(root, "wal/00000")
    }),
    ("a segment cut short", |root| {
        cut(&oldest(root, "wal/00000"), 20_000);
        oldest(root, "wal/00000")
    }),
    ("a bit of a delta's block", |root| {
        let is_delta = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "delta");
        // What a job has left may be bases only.
        let delta = files(&root.join("f")).into_iter().rfind(is_delta).unwrap_or_else(|| newest(root, "f"));
        flip(&delta, 120);
        delta
    }),
    (SWAPPED, |root| {
        let (first, second) = (oldest(root, "wal/00000"), files(&root.join("wal/00000")).remove(1));
        fs::rename(&first, root.join("aside")).unwrap();
        fs::rename(&second, &first).unwrap();
        fs::rename(root.join("aside"), &second).unwrap();
        first
    }),
    ("the manifest of another database", |root| {
        let theirs = newest(&root.with_file_name(FOREIGN), "m");
        fs::copy(theirs, newest(root, "m")).unwrap();
        newest(root, "m")
    }),
    ("a segment of another database", |root| {
        let theirs = oldest(&root.with_file_name(FOREIGN), "wal/00000");
        fs::copy(theirs, oldest(root, "wal/00000")).unwrap();
        oldest(root, "wal/00000")
    }),
    ("a file full of zeroes", |root| {
        let path = newest(root, "m");
        fs::write(&path, vec![0; fs::read(&path).unwrap().len()]).unwrap();
        path
    }),
    ("a segment gone", |root| {
        let path = oldest(root, "wal/00000");
        fs::remove_file(&path).unwrap();
        path
    }),
];

/// Another database, beside the one that is damaged.
const FOREIGN: &str = "foreign";

/// Makes [`FOREIGN`] in `folder`.
pub(crate) fn make_foreign(folder: &Path) {
    make(&folder.join(FOREIGN));
}

#[test]
fn every_kind_of_damage_is_named() {
    let folder = folder();
    make_foreign(folder.path());
    for (way, damage) in WAYS {
        let root = folder.path().join("damaged");
        copy(&folder.path().join("data"), &root);
        let path = damage(&root);
        let named = path.strip_prefix(&root).unwrap().to_str().unwrap();
        let output = highwater(folder.path(), &["verify", "damaged"]);
        let text = told(&output);
        assert_eq!(output.status.code(), Some(1), "{way}: {text}");
        assert!(text.contains(named), "{way}, {named}: {text}");

        let output = highwater(folder.path(), &["verify", "damaged", "--json"]);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["sound"], false, "{way}");

        // Whatever the others can still do, they never print half a result as a whole one.
        for command in [&["inspect", "damaged"][..], &["dump", "damaged"], &["backup", "damaged", "copy"]] {
            let output = highwater(folder.path(), command);
            let code = output.status.code().unwrap();
            assert!([0, 1, 3].contains(&code), "{way}, {command:?}: {}", told(&output));
            assert_eq!(code == 0, output.stderr.is_empty(), "{way}, {command:?}: {}", told(&output));
        }
        if folder.path().join("copy").exists() {
            let output = highwater(folder.path(), &["verify", "copy"]);
            assert_eq!(output.status.code(), Some(0), "{way}: {}", told(&output));
            fs::remove_dir_all(folder.path().join("copy")).unwrap();
        }
        salvage(folder.path(), way, !named.starts_with("IDENT"));
        fs::remove_dir_all(root).unwrap();
    }
}

/// Of what is left a whole epoch is copied, with exactly what it held.
fn salvage(folder: &Path, way: &str, possible: bool) {
    let output = highwater(folder, &["salvage", "damaged", "saved"]);
    let text = told(&output);
    assert_eq!(output.status.code(), Some(i32::from(!possible)), "{way}: {text}");
    if !possible {
        return;
    }
    let line = text.lines().find(|line| line.starts_with("epoch ")).unwrap();
    let epoch = line["epoch ".len()..].split(':').next().unwrap();
    let lost = text.contains("lost: ");
    assert_eq!(lost, epoch != "6" && way != SWAPPED, "{way}: {text}");
    assert!(epoch == "6" || text.contains("left out: "), "{way}: {text}");
    let dump = |root| {
        let output = highwater(folder, &["dump", root, "--epoch", epoch]);
        assert_eq!(output.status.code(), Some(0), "{way}: {}", told(&output));
        output.stdout
    };
    assert_eq!(dump("saved"), dump("data"), "{way}: {text}");
    fs::remove_dir_all(folder.join("saved")).unwrap();
}

/// A crash tears what nobody was promised. That is no damage, and an open does without it.
#[test]
fn a_torn_tail_is_no_damage() {
    let folder = folder();
    let (root, torn) = (folder.path().join("data"), folder.path().join("torn"));
    let quiet = options(&root).idle_seal_after(std::time::Duration::from_secs(3_600));
    let Opened { engine, mut cores, .. } = Engine::open(quiet).unwrap();
    cores[0].put(b"user/00", &[b'v'; 100]).unwrap();
    engine.wait_durable(cores[0].close_epoch(EpochMark::new()).unwrap()).unwrap();
    // As a power loss leaves it: the last frame is in the file, and nothing behind it says so.
    copy(&root, &torn);
    engine.close(cores).unwrap();
    let mut segments = files(&torn.join("wal/00000"));
    segments.retain(|path| fs::read(path).unwrap().windows(100).any(|bytes| bytes == [b'v'; 100]));
    let [segment] = &segments[..] else { panic!("{segments:?}") };
    let at = fs::read(segment).unwrap().windows(100).position(|bytes| bytes == [b'v'; 100]).unwrap();

    let recovers = |epoch: &str| {
        let output = highwater(folder.path(), &["verify", "torn"]);
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        assert!(told(&output).contains(&format!("an open recovers epoch {epoch}")), "{}", told(&output));
        let output = highwater(folder.path(), &["dump", "torn", "--limit", "1"]);
        assert!(told(&output).contains(&format!("# epoch {epoch}")), "{}", told(&output));
    };
    recovers("7");
    flip(segment, at);
    recovers("6");
}

/// The log's last frames are damaged, and marks behind them say what was durable and closed: an open refuses, and so does whoever
/// would take the log for whole. What is in files is there all the same.
#[test]
fn a_log_that_ends_before_what_it_claims_is_not_taken_for_whole() {
    let folder = folder();
    let (path, root) = (folder.path(), folder.path().join("damaged"));
    copy(&path.join("data"), &root);
    let place = |path: &PathBuf| {
        let bytes = fs::read(path).unwrap();
        bytes.windows(9).position(|bytes| bytes == b"visits=5.")
    };
    let segments = files(&root.join("wal/00000"));
    let segment = segments.iter().rfind(|path| place(path).is_some()).unwrap();
    flip(segment, place(segment).unwrap());

    let run = |arguments: &[&str], code: i32| {
        let output = highwater(path, arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", told(&output));
        output
    };
    let named = segment.strip_prefix(&root).unwrap().to_str().unwrap();
    let refused: [&[&str]; 6] = [
        &["verify", "damaged"],
        &["dump", "damaged"],
        &["dump", "damaged", "--epoch", "6"],
        &["diff", "damaged", "4", "6"],
        &["backup", "damaged", "copy"],
        &["restore", "damaged", "copy", "--to-epoch", "6"],
    ];
    for arguments in refused {
        let output = run(arguments, 1);
        assert!(told(&output).contains(named), "{arguments:?}: {}", told(&output));
    }
    assert!(!path.join("copy").exists());
    let error = Engine::open(options(&root)).unwrap_err();
    assert_eq!(error.kind(), highwater::ErrorKind::Corrupt, "{error}");

    for epoch in ["3", "4", "5"] {
        let of = |root| run(&["dump", root, "--epoch", epoch], 0).stdout;
        assert_eq!(of("damaged"), of("data"));
    }
    run(&["diff", "damaged", "3", "5"], 0);
    run(&["restore", "damaged", "earlier", "--to-epoch", "5"], 0);

    let output = run(&["salvage", "damaged", "saved"], 0);
    let text = told(&output);
    assert!(text.contains("lost: epochs 6 to 6") && text.contains("left out: wal/00000/"), "{text}");
    let output = run(&["salvage", "damaged", "again", "--json"], 0);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["epoch"], &report["lost"]["from"]), (&5.into(), &6.into()), "{report}");
    assert!(report["left_out"][0].as_str().unwrap().contains(named), "{report}");
}

/// What a command has found is told by its exit code, also where nobody reads to the end.
#[test]
fn damage_is_damage_where_nobody_reads() {
    let folder = folder();
    let root = folder.path().join("damaged");
    copy(&folder.path().join("data"), &root);
    flip(&oldest(&root, "f"), 140);
    let cases: [(&[&str], i32); 4] = [
        (&["verify", "damaged"], 1),
        (&["verify", "damaged", "--json"], 1),
        (&["verify", "data"], 0),
        (&["dump", "data"], 0),
    ];
    for (arguments, code) in cases {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_highwater"))
            .current_dir(folder.path())
            .args(arguments)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", told(&output));
        assert!(output.stderr.is_empty(), "{arguments:?}: {}", told(&output));
    }
}
