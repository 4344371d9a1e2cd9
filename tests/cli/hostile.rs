//! Directories that somebody has made to do harm, given to every command: none reads or writes outside of them but the copy
//! that was asked for, none waits for ever, takes memory without bound, or panics.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::hostile_tree::{FORGED_COUNTS, content, forge_counts, giant, linked_out, outside, pipe, seal};
use crate::{copy, files, folder, told};

/// What a command may take: the largest of them is 128 MiB of last writes, beside threads and libraries.
const MEMORY_KIB_MAX: u64 = 1 << 20;
const SECONDS_MAX: &str = "60";

/// Every command that reads a database, on the one called `bad`.
const COMMANDS: [&[&str]; 11] = [
    &["verify", "bad", "--digests"],
    &["inspect", "bad", "--frames"],
    &["dump", "bad"],
    &["diff", "bad", "4", "6"],
    &["gc", "--dry-run", "bad", "--all"],
    &["epochs", "bad"],
    &["pin", "bad", "name", "--epoch", "4"],
    &["unpin", "bad", "name"],
    &["backup", "bad", "copy"],
    &["restore", "bad", "copy", "--to-epoch", "4"],
    &["salvage", "bad", "copy"],
];

/// Runs the tool in `folder`, with bounded time and memory.
fn bounded(folder: &Path, arguments: &[&str]) -> Output {
    let bounds = format!("ulimit -v {MEMORY_KIB_MAX}; exec timeout {SECONDS_MAX} \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &bounds, "sh", env!("CARGO_BIN_EXE_highwater")]).args(arguments);
    command.current_dir(folder).output().unwrap()
}

/// Runs every command on a copy of the database that `harm` has changed. What lies outside has to stay as it is.
fn survives(whole: &Path, what: &str, mut harm: impl FnMut(&Path)) {
    for command in COMMANDS {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("bad");
        copy(whole, &root);
        let beside = outside(&root);
        harm(&root);
        let before = content(&beside);
        let output = bounded(folder.path(), command);
        let text = told(&output);
        let code = output.status.code();
        assert!(code.is_some_and(|code| [0, 1, 3, 4].contains(&code)), "{what}, {command:?}: {text}");
        assert!(!text.contains("panicked") && !text.contains("allocation"), "{what}, {command:?}: {text}");
        assert!(content(&beside) == before, "{what}, {command:?}: something outside has changed");
        let mut names: Vec<_> = files(folder.path());
        names.retain(|path| !["bad", "outside"].map(|name| folder.path().join(name)).contains(path));
        let copied = names == [folder.path().join("copy")];
        let is_half = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "tmp");
        assert!(names.iter().all(|path| is_half(path) || copied), "{what}, {command:?}: {names:?}");
        assert!(code == Some(0) || !folder.path().join("copy").exists(), "{what}, {command:?}: {text}");
    }
}

/// The files of a database, by their names below it, without those that are like others.
fn names(root: &Path) -> Vec<String> {
    let newest = |folder: &str| files(&root.join(folder)).pop().unwrap();
    let paths = [root.join("IDENT"), newest("m"), newest("f"), files(&root.join("wal/00000")).remove(0)];
    paths.iter().map(|path| path.strip_prefix(root).unwrap().to_str().unwrap().to_owned()).collect()
}

#[test]
fn links_lead_nowhere() {
    let folder = folder();
    let whole = folder.path().join("data");
    let folders = ["wal", "m", "f", "wal/00000"].map(str::to_owned);
    for name in folders.into_iter().chain(names(&whole)) {
        survives(&whole, &format!("a link for {name}"), |root| drop(linked_out(root, &name)));
    }
}

#[test]
fn pipes_are_not_waited_for_and_giants_not_read() {
    let folder = folder();
    let whole = folder.path().join("data");
    for name in names(&whole) {
        survives(&whole, &format!("a pipe for {name}"), |root| pipe(&root.join(&name)));
        survives(&whole, &format!("a giant for {name}"), |root| giant(&root.join(&name)));
    }
}

#[test]
fn counts_and_lengths_are_not_believed() {
    let folder = folder();
    let whole = folder.path().join("data");
    let edit = |root: &Path, change: &dyn Fn(&mut Vec<u8>)| {
        let head = files(&root.join("m")).pop().unwrap();
        let mut bytes = fs::read(&head).unwrap();
        change(&mut bytes);
        fs::write(head, bytes).unwrap();
    };
    for counts in FORGED_COUNTS {
        survives(&whole, &format!("{counts:?}"), |root| {
            let file = files(&root.join("f")).pop().unwrap();
            edit(root, &|manifest| forge_counts(manifest, &file, counts));
        });
    }
    // The lists of the root: lives, checkpoints, floors, retired names.
    for at in [64, 72, 80, 88] {
        survives(&whole, &format!("a list of four thousand millions at {at}"), |root| {
            edit(root, &|manifest| {
                let list = manifest.len() - 104 + at;
                manifest[list + 4..list + 8].copy_from_slice(&u32::MAX.to_le_bytes());
                seal(manifest);
            });
        });
    }
}

#[test]
fn names_that_are_no_text_are_left_alone() {
    let folder = folder();
    let whole = folder.path().join("data");
    let odd: [&[u8]; 5] =
        [b"\xff\xfe", b"a\nb", &[b'9'; 255], b"99999999999999999999", b"18446744073709551616"];
    survives(&whole, "odd names", |root| {
        for (place, name) in
            ["", "wal", "wal/00000", "m", "f"].into_iter().flat_map(|place| odd.map(|name| (place, name)))
        {
            fs::write(root.join(place).join(OsStr::from_bytes(name)), b"not ours").unwrap();
        }
        fs::create_dir(root.join("wal/99999")).unwrap();
        fs::create_dir(root.join("m/00000000000000000099")).unwrap();
    });
}
