//! Damage of every kind is named, with the exit code that says so.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{copy, files, folder, highwater, told};

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

const WAYS: [Way; 13] = [
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
    ("a segment gone", |root| {
        let path = oldest(root, "wal/00000");
        fs::remove_file(&path).unwrap();
        path
    }),
];

#[test]
fn every_kind_of_damage_is_named() {
    let folder = folder();
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
    assert_eq!(lost, epoch != "6", "{way}: {text}");
    assert!(!lost || text.contains("left out: "), "{way}: {text}");
    let dump = |root| {
        let output = highwater(folder, &["dump", root, "--epoch", epoch]);
        assert_eq!(output.status.code(), Some(0), "{way}: {}", told(&output));
        output.stdout
    };
    assert_eq!(dump("saved"), dump("data"), "{way}: {text}");
    fs::remove_dir_all(folder.join("saved")).unwrap();
}
