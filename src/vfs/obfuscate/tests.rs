use std::num::NonZeroUsize;

use bytes::{Bytes, BytesMut};

use super::{GARBAGE, ObfuscatedVfs, obscure, reveal};
use crate::env::{Blocking, StdEnv};
use crate::vfs::{File, StdVfs, Vfs};

#[test]
fn every_byte_but_zero_is_another_on_disk() {
    for byte in 0..=u8::MAX {
        assert_eq!(reveal(obscure(byte)), byte);
        assert_eq!(obscure(byte) == byte, byte == 0);
    }
}

#[test]
fn transfers_are_short_and_what_they_leave_is_garbage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let vfs = ObfuscatedVfs::new(StdVfs, NonZeroUsize::new(3).unwrap());
    StdEnv.block_on(async {
        let file = vfs.create_new(&path).await.unwrap();
        assert_eq!(file.write_at(0, Bytes::from_static(b"hello")).await.unwrap(), 3);
        assert_eq!(file.write_at_and_sync(3, Bytes::from_static(b"lo")).await.unwrap(), 2);
        let (buffer, count) = file.read_at(1, BytesMut::zeroed(5)).await.unwrap();
        assert_eq!((&buffer[..], count), (&[b'e', b'l', b'l', GARBAGE, GARBAGE][..], 3));
        // Past the seam the bytes make no sense.
        let plain = StdVfs.open(&path, crate::vfs::OpenMode::Read).await.unwrap();
        let (buffer, _) = plain.read_at(0, BytesMut::zeroed(5)).await.unwrap();
        assert_eq!(&buffer[..], b"ifmmp");
    });
}
