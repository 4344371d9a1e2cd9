//! `cargo run --manifest-path fuzz/Cargo.toml --example seeds` writes `fuzz/seeds/<target>/…`: what the engine itself writes,
//! cut down to what a target reads.

use std::fs;
use std::path::Path;

use highwater_fuzz::directory;

/// Files of one target.
const FILES_MAX: usize = 6;

fn write(target: &str, name: &str, bytes: &[u8]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    fs::create_dir_all(&folder).expect("a folder");
    // A few of each kind: what is between them the fuzzer finds.
    if fs::read_dir(&folder).expect("a folder").count() >= FILES_MAX {
        return;
    }
    fs::write(folder.join(name), bytes).expect("a file");
}

fn main() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let data = scratch.path().join("data");
    directory::make(&data);
    for (at, (path, bytes)) in directory::files_of(&data).into_iter().enumerate() {
        let name = path.to_string_lossy().replace('/', "-");
        let short: String = name.chars().rev().take(24).collect::<Vec<_>>().into_iter().rev().collect();
        let which = u8::try_from(at).expect("few files");
        if name == "IDENT" {
            write("ident", "ident", &bytes);
            let store = [b"HWSTORE\0\x01\0\0\0\x40\0\0\0", &[7; 16][..], &bytes, &[0; 4]].concat();
            write("store", "store", &store);
            write("directory", "ident", &[&[which, 0], &bytes[..]].concat());
        } else if name.starts_with("m-") {
            write("manifest", &short, &bytes);
            write("directory", &short, &[&[which, 0], &bytes[..]].concat());
        } else if name.starts_with("f-") {
            write("checkpoint_file", &short, &bytes);
            write("directory", &short, &[&[which, 0], &bytes[..]].concat());
        } else {
            write("segment_header", &short, &bytes[..128]);
            // Frames stand on units of 4,096 bytes and say how long they are.
            for (number, frame) in bytes[4096..].chunks(4096).enumerate() {
                let length = u32::from_le_bytes(frame[..4].try_into().expect("four bytes")) as usize;
                let Some(frame) = frame.get(..length).filter(|frame| frame.len() >= 64) else { continue };
                write("frame", &format!("{short}-{number}"), frame);
                if frame[4] == 2 {
                    write("record", &format!("{short}-{number}"), &frame[64..]);
                    if let Some(end) = last_record(&frame[64..]) {
                        write("epoch_end", &format!("{short}-{number}"), end);
                    }
                }
            }
            write("directory", &short, &[&[which, 0], &bytes[..128]].concat());
        }
    }
}

/// The value of the last record, if that ends an epoch.
fn last_record(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        let value = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        let key = usize::from(u16::from_le_bytes(bytes.get(4..6)?.try_into().ok()?));
        let (kind, rest) = (bytes[6], bytes.get(8 + key..)?);
        let (value, rest) = rest.split_at_checked(value)?;
        if rest.is_empty() {
            return (kind == 4).then_some(value);
        }
        bytes = rest;
    }
}
