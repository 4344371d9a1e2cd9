//! What sinks have in doubt, in copies of a database.

use std::path::Path;

use highwater::env::{Blocking, StdEnv};
use highwater::sink::FileSink;
use highwater::{Engine, Epoch, EpochMark, ErrorKind, Opened};

use crate::{copy, empty, highwater, options, told};

fn rows(sink: &FileSink) -> Vec<String> {
    let files = StdEnv.block_on(sink.published()).unwrap();
    files.into_iter().map(|file| std::fs::read_to_string(file.path).unwrap()).collect()
}

/// Ends the epoch after `row` was written.
fn end(engine: &Engine, core: &mut highwater::CoreHandle, sink: &FileSink, row: &str) -> Epoch {
    sink.write(core.id(), row.as_bytes());
    core.put(b"last", row.as_bytes()).unwrap();
    let epoch = core.close_epoch(EpochMark::new()).unwrap();
    engine.wait_durable(epoch).unwrap();
    epoch
}

/// The machine went down with rows that were acknowledged and not published. A backup of what it left publishes them, those of
/// checkpoints and those of the log; the backup of an earlier epoch only those through it; a new timeline has no part in it.
#[test]
fn a_backup_publishes_what_was_acknowledged() {
    let folder = empty();
    let path = folder.path();
    let (root, out) = (path.join("data"), path.join("out"));
    let sink = FileSink::new(&out);
    for _ in 0..3 {
        let Opened { engine, cores, .. } = Engine::open(options(&root).sink("rows", sink.clone())).unwrap();
        engine.close(cores).unwrap();
    }
    let Opened { engine, mut cores, report } =
        Engine::open(options(&root).sink("rows", sink.clone())).unwrap();
    let token = report.token;
    for row in ["one", "two"] {
        end(&engine, &mut cores[0], &sink, row);
    }
    engine.wait_published(Epoch(2)).unwrap();
    for row in ["three", "four", "five"] {
        end(&engine, &mut cores[0], &sink, row);
    }
    copy(&root, &path.join("crashed"));
    for left in ["whole", "part"] {
        copy(&out, &path.join(left).join("out"));
    }
    engine.close(cores).unwrap();

    let run = |arguments: &[&str]| {
        let output = highwater(path, arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", told(&output));
    };
    run(&["backup", "crashed", "whole/data"]);
    run(&["backup", "crashed", "part/data", "--epoch", "4"]);
    run(&["restore", "crashed", "other", "--to-epoch", "5"]);

    let published = |left: &str, through: u64| {
        let (root, sink) = (path.join(left).join("data"), FileSink::new(path.join(left).join("out")));
        let without = Engine::open(options(&root)).unwrap_err();
        assert_eq!(without.kind(), ErrorKind::Invalid, "{without}");
        let Opened { engine, cores, report } =
            Engine::open(options(&root).sink("rows", sink.clone())).unwrap();
        assert_eq!(report.epoch, Epoch(through));
        assert!(report.token > token, "a sink would take it for one that was replaced");
        engine.wait_published(Epoch(through)).unwrap();
        engine.close(cores).unwrap();
        rows(&sink)
    };
    assert_eq!(published("whole", 5), ["one", "two", "three", "four", "five"]);
    assert_eq!(published("part", 4), ["one", "two", "three", "four"]);
    let Opened { engine, cores, .. } = Engine::open(options(Path::new(&path.join("other")))).unwrap();
    engine.close(cores).unwrap();
}
