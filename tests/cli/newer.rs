//! What a newer build wrote: named as that, with exit code 3, and never as damage.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{copy, files, folder, highwater, told};

/// Gives the header of a file format 2, with the right crc at `crc_at`.
fn renumber(path: &Path, crc_at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[8..12].copy_from_slice(&2_u32.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..crc_at]);
    bytes[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
    fs::write(path, bytes).unwrap();
}

const COMMANDS: [&[&str]; 12] = [
    &["verify", "newer"],
    &["inspect", "newer"],
    &["inspect", "newer", "--frames"],
    &["dump", "newer"],
    &["diff", "newer", "4", "6"],
    &["gc", "--dry-run", "newer"],
    &["epochs", "newer"],
    &["pin", "newer", "name"],
    &["unpin", "newer", "name"],
    &["backup", "newer", "copy"],
    &["restore", "newer", "copy", "--to-epoch", "6"],
    &["salvage", "newer", "copy"],
];

/// A file, where its crc is, and whether every command needs it.
fn cases(root: &Path) -> [(PathBuf, usize, bool); 4] {
    let newest = |folder: &str| files(&root.join(folder)).pop().unwrap();
    [
        (root.join("IDENT"), 92, true),
        (newest("m"), 44, true),
        (newest("wal/00000"), 124, false),
        (newest("f"), 92, false),
    ]
}

#[test]
fn a_newer_format_is_told_from_damage() {
    let folder = folder();
    let path = folder.path();
    for case in 0..4 {
        for command in COMMANDS {
            let root = path.join("newer");
            copy(&path.join("data"), &root);
            let (file, crc_at, needed) = cases(&root)[case].clone();
            renumber(&file, crc_at);
            let output = highwater(path, command);
            let (code, text) = (output.status.code().unwrap(), told(&output));
            let name = file.strip_prefix(&root).unwrap().to_str().unwrap();
            let reads = needed || ["verify", "backup", "salvage"].contains(&command[0]);
            assert!(code == 3 || (code == 0 && !reads), "{name}, {command:?}: {text}");
            assert!(!text.to_lowercase().contains("damage"), "{name}, {command:?}: {text}");
            if code == 3 && command[0] != "unpin" {
                for words in [name, "of format 2", "formats up to 1", "use a newer build"] {
                    assert!(text.contains(words), "{words}, {name}, {command:?}: {text}");
                }
            }
            assert!(!path.join("copy").exists() || code == 0, "{name}, {command:?}");
            let _ = fs::remove_dir_all(path.join("copy"));
            fs::remove_dir_all(root).unwrap();
        }
    }
}
