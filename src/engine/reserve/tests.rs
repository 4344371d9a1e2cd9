use std::io::ErrorKind;
use std::path::Path;

use super::{Change, Keeper, Space, bytes_of};
use crate::ids::Nonce;
use crate::manifest::opening::RESERVE_NAME;
use crate::manifest::tests::disk::{MemoryVfs, block_on};
use crate::options::Options;

fn held(vfs: &MemoryVfs, options: &Options) -> (Change, Vec<u8>) {
    let (mut keeper, space) = (Keeper::new(options), Space::new(true));
    let change = block_on(keeper.hold(vfs, &space, false, || Nonce(1)));
    let path = Path::new("/").join(RESERVE_NAME);
    let there = vfs.image().iter().any(|(name, _)| *name == path);
    (change, if there { vfs.bytes(&path) } else { Vec::new() })
}

/// Where the file system reserves no space, the file was a hole of its length: giving it up freed nothing.
#[test]
fn zeroes_are_written_where_no_space_is_reserved() {
    let options = Options::new("/").cores(2).segment_bytes(3 << 20);
    let bytes = usize::try_from(bytes_of(&options)).unwrap();
    for reserves in [true, false] {
        let vfs = MemoryVfs::new();
        vfs.short();
        if !reserves {
            // On this disk an allocation is one of these.
            vfs.fail("set_len", 0, ErrorKind::Unsupported, false);
        }
        let (change, content) = held(&vfs, &options);
        assert_eq!(change, Change::None, "it is held as it was said to be");
        assert!(content.len() == bytes && content.iter().all(|byte| *byte == 0), "{reserves}");
    }
}

#[test]
fn where_there_is_no_space_nothing_is_left_behind() {
    let options = Options::new("/").cores(1);
    let vfs = MemoryVfs::new();
    vfs.fail("set_len", 0, ErrorKind::StorageFull, false);
    assert_eq!(held(&vfs, &options), (Change::GivenUp, Vec::new()));
    assert_eq!(vfs.image().len(), 1, "the directory alone");
}
