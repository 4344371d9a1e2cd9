use std::path::Path;

use super::disk::{MemoryVfs, block_on};
use super::samples;
use crate::error::ErrorKind;
use crate::ids::Nonce;
use crate::manifest::gc::Listing;
use crate::manifest::ident::{self, Ident};
use crate::route::Route;

fn path() -> &'static Path {
    Path::new("IDENT")
}

#[test]
fn an_ident_reads_back_as_it_was_written() {
    for route in [Route::WholeKey, Route::Prefix(9), Route::Until(b'/'), Route::Until(0)] {
        let ident = Ident { route, ..samples::ident() };
        let bytes = ident.encode();
        assert_eq!(bytes.len(), 96);
        assert_eq!(Ident::decode(path(), &bytes).unwrap(), ident);
    }
}

#[test]
fn every_flipped_bit_and_every_other_length_is_corrupt() {
    let bytes = samples::ident().encode();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            assert_eq!(Ident::decode(path(), &damaged).unwrap_err().kind(), ErrorKind::Corrupt);
        }
        assert_eq!(Ident::decode(path(), &bytes[..at]).unwrap_err().kind(), ErrorKind::Corrupt);
    }
    let extended = [&bytes[..], &[0]].concat();
    assert_eq!(Ident::decode(path(), &extended).unwrap_err().kind(), ErrorKind::Corrupt);
}

/// `bytes` with a value at an offset and a crc that fits.
fn edited(at: usize, value: u8) -> Vec<u8> {
    let mut bytes = samples::ident().encode();
    bytes[at] = value;
    let crc = crate::codec::crc(0, &bytes[..92]);
    bytes[92..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

#[test]
fn values_that_this_build_cannot_use_are_refused() {
    let corrupt =
        [(8, 0), (13, 9), (56, 2), (58, 0), (59, 0xff), (60, 3), (60, 1), (61, 1), (62, 1), (72, 1)];
    for (at, value) in corrupt {
        let bytes = if at == 58 { edited_groups_zero() } else { edited(at, value) };
        assert_eq!(Ident::decode(path(), &bytes).unwrap_err().kind(), ErrorKind::Corrupt, "byte {at}");
    }
    assert_eq!(Ident::decode(path(), &edited(8, 2)).unwrap_err().kind(), ErrorKind::Unsupported);
}

fn edited_groups_zero() -> Vec<u8> {
    assert_eq!(samples::ident().encode()[59], 0, "64 groups fit the low byte");
    edited(58, 0)
}

#[test]
fn a_landed_ident_and_its_folders_survive_a_crash() {
    let vfs = MemoryVfs::new();
    let root = Path::new("/data");
    block_on(async {
        ident::make_folders(&vfs, root, 2, &Listing::default()).await.unwrap();
        ident::land(&vfs, root, &samples::ident(), Nonce(1)).await.unwrap();
        vfs.crash();
        assert_eq!(ident::read(&vfs, root).await.unwrap(), Some(samples::ident()));
        let names: Vec<_> = vfs.image().into_iter().map(|(path, _)| path.display().to_string()).collect();
        for folder in ["/data/wal/00000", "/data/wal/00001", "/data/m", "/data/f"] {
            assert!(names.iter().any(|name| name == folder), "{folder} of {names:?}");
        }
        ident::make_folders(&vfs, root, 3, &Listing::default()).await.unwrap();
        let again = ident::land(&vfs, root, &samples::ident(), Nonce(2)).await.unwrap_err();
        assert_eq!(again.kind(), ErrorKind::Invalid);
    });
}
