//! What a sink of files must keep (K1 to K6), on a real file system; `sim/` puts it on disks that fail.

use std::path::Path;

use bytes::BytesMut;

use super::buffer::{Buffer, Taken};
use super::{Commit, FileSink, Part, Sink, SinkErrorKind, SinkLife};
use crate::env::{Blocking, StdEnv};
use crate::ids::{CoreId, Epoch, FencingToken, Nonce};
use crate::vfs::{File, OpenMode, StdVfs, Vfs, read_exact_at};

fn life(token: u64, epoch: u64) -> SinkLife {
    SinkLife {
        name: "rows".into(),
        database: Nonce(0xdb),
        timeline: Nonce(0x71),
        token: FencingToken(token),
        cores: 2,
        epoch: Epoch(epoch),
    }
}

fn part(epoch: u64, core: u16) -> Part {
    Part { epoch: Epoch(epoch), core: CoreId(core) }
}

fn published(sink: &FileSink) -> Vec<(Part, Vec<u8>)> {
    let files = StdEnv.block_on(sink.published()).unwrap();
    files.into_iter().map(|file| (file.part, read(&file.path))).collect()
}

fn read(path: &Path) -> Vec<u8> {
    StdEnv.block_on(async {
        let file = StdVfs.open(path, OpenMode::Read).await.unwrap();
        let len = usize::try_from(file.len().await.unwrap()).unwrap();
        read_exact_at(&file, 0, BytesMut::zeroed(len)).await.unwrap().to_vec()
    })
}

#[test]
fn rows_appear_with_the_commit_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let sink = FileSink::new(dir.path().join("out"));
    StdEnv.block_on(async {
        assert_eq!(sink.pre_commit(part(1, 0)).await.unwrap(), None, "no rows, nothing to commit");
        assert_eq!(sink.recover(&life(1, 0)).await.unwrap().published, None);
        sink.write(CoreId(0), b"one,");
        sink.write(CoreId(0), b"two");
        sink.write(CoreId(1), b"other");
        let handle = sink.pre_commit(part(1, 0)).await.unwrap().unwrap();
        sink.write(CoreId(0), b"of the next epoch");
        assert_eq!(sink.pre_commit(part(1, 0)).await.unwrap().unwrap(), handle, "K3");
        let listed = sink.in_doubt().await.unwrap();
        assert_eq!((listed.len(), &listed[0].handle, listed[0].part), (1, &handle, part(1, 0)), "K2");
        assert_eq!(published(&sink), [], "K1");
        for _ in 0..3 {
            assert_eq!(sink.commit(&handle).await.unwrap(), Commit::Done, "K4");
            assert_eq!(published(&sink), [(part(1, 0), b"one,two".to_vec())]);
        }
        assert_eq!(sink.in_doubt().await.unwrap(), []);
    });
}

#[test]
fn a_new_life_forgets_rows_and_keeps_what_is_staged() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let sink = FileSink::new(&out);
    StdEnv.block_on(async {
        sink.recover(&life(1, 0)).await.unwrap();
        sink.write(CoreId(0), b"decided");
        let decided = sink.pre_commit(part(1, 0)).await.unwrap().unwrap();
        sink.write(CoreId(0), b"given up");
        let given_up = sink.pre_commit(part(2, 0)).await.unwrap().unwrap();
        sink.write(CoreId(0), b"forgotten");

        let sink = FileSink::new(&out);
        assert_eq!(sink.recover(&life(2, 1)).await.unwrap().published, None);
        assert_eq!(sink.in_doubt().await.unwrap().len(), 2);
        sink.abort(&given_up).await.unwrap();
        sink.abort(&given_up).await.unwrap();
        assert_eq!(sink.commit(&decided).await.unwrap(), Commit::Done);
        assert_eq!(sink.commit(&given_up).await.unwrap(), Commit::Lost, "K5: it is known not to be there");
        assert_eq!(sink.pre_commit(part(2, 0)).await.unwrap(), None, "the rows died with the life");
        assert_eq!(published(&sink), [(part(1, 0), b"decided".to_vec())]);
        assert_eq!(sink.recover(&life(3, 1)).await.unwrap().published, Some(Epoch(1)));
    });
}

/// R7 of the protocol: a restore to the past publishes beside the history that it left, not into it.
#[test]
fn timelines_do_not_see_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let sink = FileSink::new(dir.path().join("out"));
    StdEnv.block_on(async {
        sink.recover(&life(1, 0)).await.unwrap();
        sink.write(CoreId(0), b"first");
        let handle = sink.pre_commit(part(1, 0)).await.unwrap().unwrap();
        sink.recover(&SinkLife { timeline: Nonce(0x72), ..life(1, 0) }).await.unwrap();
        assert_eq!((sink.in_doubt().await.unwrap(), published(&sink)), (vec![], vec![]));
        assert_eq!(sink.commit(&handle).await.unwrap(), Commit::Done, "a handle says where it belongs");
        assert_eq!(published(&sink), []);
    });
}

/// Two sinks of one database name the same parts: in one folder the rows of one would replace those of the other.
#[test]
fn two_sinks_in_one_directory_keep_their_rows() {
    let dir = tempfile::tempdir().unwrap();
    let names = ["rows", "rows-2", "with space/and %", "", "äöü"];
    let sinks = names.map(|_| FileSink::new(dir.path().join("out")));
    StdEnv.block_on(async {
        let mut handles = Vec::new();
        for (name, sink) in names.iter().zip(&sinks) {
            let life = SinkLife { name: (*name).into(), ..life(1, 0) };
            assert_eq!(sink.recover(&life).await.unwrap().published, None);
            sink.write(CoreId(0), name.as_bytes());
            sink.write(CoreId(0), b"!");
            handles.push(sink.pre_commit(part(1, 0)).await.unwrap().unwrap());
        }
        for (sink, handle) in sinks.iter().zip(&handles) {
            assert_eq!(sink.in_doubt().await.unwrap().len(), 1);
            assert_eq!(sink.commit(handle).await.unwrap(), Commit::Done);
        }
        for (name, sink) in names.iter().zip(&sinks) {
            assert_eq!(published(sink), [(part(1, 0), [name.as_bytes(), b"!"].concat())], "{name}");
        }
        let long = SinkLife { name: "x".repeat(181), ..life(1, 0) };
        assert_eq!(sinks[0].recover(&long).await.unwrap_err().kind(), SinkErrorKind::Refused);
        let longest = SinkLife { name: "x".repeat(180), ..life(1, 0) };
        sinks[0].recover(&longest).await.unwrap();
    });
}

#[test]
fn a_handle_of_something_else_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let sink = FileSink::new(dir.path().join("out"));
    StdEnv.block_on(async {
        sink.recover(&life(1, 0)).await.unwrap();
        let name = format!("{}-{}", Nonce(1), Nonce(2));
        let stem = format!("{:020}-{:05}-{:020}", 1, 2, 3);
        for bad in [
            "",
            "/",
            "../../etc/passwd",
            "x/y",
            &name,
            &format!("{name}/"),
            &format!("../{stem}"),
            &format!("{name}/../{stem}"),
            &format!("{name}/{stem}.rows"),
            &format!("{}/{stem}", &name[1..]),
            &format!("{name}-a b/{stem}"),
            &format!("{name}-a%2fb/{stem}"),
            &format!("{name}-%41/{stem}"),
            &format!("{name}-%/{stem}"),
            &format!("{name}-%FF/{stem}"),
        ] {
            for kind in [
                sink.commit(bad.as_bytes()).await.map(|_| ()).unwrap_err().kind(),
                sink.abort(bad.as_bytes()).await.unwrap_err().kind(),
            ] {
                assert_eq!(kind, SinkErrorKind::Refused, "{bad:?}");
            }
        }
        assert_eq!(sink.commit(&[0xff, 0xfe]).await.unwrap_err().kind(), SinkErrorKind::Refused);
    });
}

#[test]
fn what_was_taken_for_a_part_stays_its_rows() {
    let buffer = Buffer::default();
    buffer.write(CoreId(0), b"a");
    let rows = |taken: Taken| match taken {
        Taken::Rows(rows) => rows.to_vec(),
        Taken::Done(handle) => panic!("done: {handle:?}"),
    };
    assert_eq!(rows(buffer.take(part(1, 0))), b"a");
    buffer.write(CoreId(0), b"b");
    assert_eq!(rows(buffer.take(part(1, 0))), b"a", "a repeated call finds the same rows");
    buffer.done(part(1, 0), b"h".to_vec());
    assert!(matches!(buffer.take(part(1, 0)), Taken::Done(Some(handle)) if handle == b"h"));
    assert_eq!(rows(buffer.take(part(2, 0))), b"b");
    buffer.clear();
    assert!(matches!(buffer.take(part(3, 0)), Taken::Done(None)));
}
