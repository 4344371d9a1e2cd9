//! The stages that a subscriber sees are those of docs/operations.md.

#![expect(clippy::unwrap_used, reason = "a test says what it expects")]
#![expect(clippy::disallowed_methods, reason = "it reads a page of the documentation")]

mod shelf;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use highwater::remote::Remote;
use highwater::{Engine, Opened, Options};
use tracing::span::{Attributes, Id};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, registry};

use shelf::Shelf;

/// Target, name, and the name of the span around it.
type Seen = BTreeSet<(String, String, Option<String>)>;

/// Keeps what spans there were.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Seen>>);

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let metadata = attributes.metadata();
        let around = context.span(id).and_then(|span| span.parent()).map(|parent| parent.name().to_owned());
        let seen = (metadata.target().to_owned(), metadata.name().to_owned(), around);
        self.0.lock().unwrap().insert(seen);
    }
}

/// The rows of the table in the documentation: target and name.
fn documented() -> BTreeSet<(String, String)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let page = std::fs::read_to_string(page).unwrap();
    let table = page.lines().skip_while(|line| !line.starts_with("| span |")).skip(2);
    let rows = table.take_while(|line| line.starts_with('|')).map(|row| {
        let cells: Vec<&str> = row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        (cells[2].to_owned(), cells[1].to_owned())
    });
    rows.collect()
}

#[test]
fn every_documented_stage_is_seen_and_no_other() {
    let spans = Spans::default();
    tracing::subscriber::set_global_default(registry().with(spans.clone())).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new(dir.path().join("data")).remote(Remote::new(Shelf::default()));
    let Opened { engine, mut cores, .. } = Engine::open(options).unwrap();
    for value in [b"one", b"two"] {
        cores[0].put(b"key", value).unwrap();
        let epoch = cores[0].commit().unwrap();
        engine.checkpoint().unwrap();
        engine.wait_remote(epoch).unwrap();
    }
    // The uploader looks through the store when it has nothing else to do, and files go behind the checkpoint's answer.
    let has = |target: &str| {
        let seen = spans.0.lock().unwrap();
        seen.iter().any(|(of, name, _)| of == target && name == "collect")
    };
    while !(has("highwater::offsite") && has("highwater::engine")) {
        std::thread::yield_now();
    }
    engine.close(cores).unwrap();

    let seen = spans.0.lock().unwrap();
    let names: BTreeSet<_> = seen.iter().map(|(target, name, _)| (target.clone(), name.clone())).collect();
    assert_eq!(names, documented());
    for (_, stage, around) in &*seen {
        let within = match stage.as_str() {
            "look" | "decide" | "rebuild" | "begin" | "land" | "clean" => Some("recovery"),
            "recovery" => Some("open"),
            _ => continue,
        };
        assert_eq!(around.as_deref(), within, "{stage}");
    }
}
