//! A folder as a text, and every golden directory.
//!
//! ```text
//! folder wal                            folders and files by their names, from the root, in order
//! file IDENT 96                         a file's length in bytes
//! 0 48574944…                           an offset and at most 32 bytes from there; rows of zeroes are left out
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Bytes of a row.
const ROW_BYTES: usize = 32;

/// What is in a folder, by path below it: no bytes for a folder.
pub(crate) type Tree = BTreeMap<String, Option<Vec<u8>>>;

/// One database, one log, or what an object store has of a database, as a released format has it.
pub(crate) struct Golden {
    /// The version whose format it is, and its name: `tests/golden/VERSION/NAME.files`.
    pub(crate) version: &'static str,
    pub(crate) name: &'static str,
    /// The folder.
    pub(crate) files: &'static str,
    /// What is in it, as [`crate::held`] writes it.
    pub(crate) held: &'static str,
}

macro_rules! golden {
    ($version:literal, $name:literal) => {
        Golden {
            version: $version,
            name: $name,
            files: include_str!(concat!($version, "/", $name, ".files")),
            held: include_str!(concat!($version, "/", $name, ".held")),
        }
    };
}

/// All of them: every later build reads each.
pub(crate) const ALL: [Golden; 6] = [
    golden!("0.1", "one-core"),
    golden!("0.1", "three-cores"),
    golden!("0.1", "rescaled"),
    golden!("0.1", "given-up"),
    golden!("0.1", "log-alone"),
    golden!("0.1", "stored"),
];

/// The text of `tree`.
pub(crate) fn print(tree: &Tree) -> String {
    let mut text = String::new();
    for (path, bytes) in tree {
        let Some(bytes) = bytes else {
            writeln!(text, "folder {path}").unwrap();
            continue;
        };
        writeln!(text, "file {path} {}", bytes.len()).unwrap();
        for (row, bytes) in bytes.chunks(ROW_BYTES).enumerate() {
            if bytes.iter().any(|byte| *byte != 0) {
                write!(text, "{} ", row * ROW_BYTES).unwrap();
                for byte in bytes {
                    write!(text, "{byte:02x}").unwrap();
                }
                text.push('\n');
            }
        }
    }
    text
}

/// The tree of `text`.
///
/// # Panics
///
/// When it is none: somebody has edited a golden file.
pub(crate) fn parse(text: &str) -> Tree {
    let mut tree = Tree::new();
    let mut file = "";
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["folder", path] => drop(tree.insert(path.to_owned(), None)),
            ["file", path, bytes] => {
                tree.insert(path.to_owned(), Some(vec![0; bytes.parse().unwrap()]));
                file = path;
            }
            [offset, hex] => {
                let offset: usize = offset.parse().unwrap();
                let row = tree.get_mut(file).unwrap().as_mut().unwrap();
                for (at, pair) in hex.as_bytes().chunks(2).enumerate() {
                    row[offset + at] = u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
                }
            }
            _ => panic!("no line of a golden file: {line}"),
        }
    }
    tree
}
