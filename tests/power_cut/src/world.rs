//! A program that uses a database on the mounted file system, and keeps account of what it was promised.
//!
//! ```text
//! life:  open, compare ─► puts, deletes, ends of epochs, checkpoints ─► close, or drop everything in the middle
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use highwater::env::Blocking;
use highwater::sim::Stream;
use highwater::vfs::SystemVfs;
use highwater::{
    Backend, CoreHandle, DurableWrite, Engine, EpochMark, Error, ErrorKind, Offset, Opened, Options,
    VerifyOptions, verify,
};

use crate::promises::{Content, Promises};
use crate::recording::{Event, Recording};
use crate::traced::TracedEnv;

const KEYS: u64 = 120;
const SOURCE: &str = "at";

const FORMS: [DurableWrite; 5] = [
    DurableWrite::Auto,
    DurableWrite::Cached,
    DurableWrite::CachedDsync,
    DurableWrite::Direct,
    DurableWrite::DirectDsync,
];

/// What stays from one life of a database to the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) backend: Backend,
    pub(crate) cores: u16,
    pub(crate) write_unit: u32,
}

impl Shape {
    pub(crate) fn draw(backend: Backend, stream: &mut Stream) -> Self {
        Self { backend, cores: *stream.pick(&[1, 2, 3]), write_unit: 4096 }
    }
}

/// See the module.
pub(crate) struct World<'a> {
    pub(crate) shape: Shape,
    pub(crate) promises: Promises,
    recording: &'a Arc<Recording>,
    root: PathBuf,
    data: PathBuf,
    /// The state in memory, and what was acknowledged in this recording.
    now: Content,
    acknowledged: u64,
}

type Told<T> = Result<T, String>;

fn told(what: &'static str) -> impl Fn(Error) -> String {
    move |error| format!("{what}: {:?}: {error}", error.kind())
}

impl<'a> World<'a> {
    /// On the file system that is mounted at `root`, after `promises` were made.
    pub(crate) fn new(shape: Shape, promises: Promises, recording: &'a Arc<Recording>, root: &Path) -> Self {
        let acknowledged = promises.floor();
        let (root, data) = (root.to_owned(), root.join("data"));
        Self { shape, promises, recording, root, data, now: Content::default(), acknowledged }
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    fn options(&self, stream: &mut Stream) -> Options {
        let ms = Duration::from_millis;
        Options::new(&self.data)
            .cores(self.shape.cores)
            .write_unit_bytes(self.shape.write_unit)
            .inline(stream.chance(0.25))
            .segment_bytes(*stream.pick(&[32 << 10, 64 << 10, 256 << 10]))
            .batch_bytes(*stream.pick(&[1 << 10, 8 << 10]))
            .queue_bytes(*stream.pick(&[32 << 10, 256 << 10]))
            .depth(*stream.pick(&[1, 2, 4, 16]))
            .idle_seal_after(ms(*stream.pick(&[1, 20])))
            .checkpoint_interval(*stream.pick(&[None, Some(ms(5)), Some(ms(40))]))
            .checkpoint_wal_bytes(*stream.pick(&[32 << 10, 1 << 30]))
            .checkpoint_memory_bytes(*stream.pick(&[64 << 10, 1 << 20]))
            .retain_checkpoints(*stream.pick(&[1, 2, 3]))
    }

    /// One life of so many steps. On a thread of its own, whose ring ends with it: what a ring has not heard of yet keeps
    /// its file open, and the file system mounted.
    pub(crate) fn life(&mut self, steps: u64, stream: &mut Stream) -> Told<()> {
        std::thread::scope(|scope| {
            let lived = scope.spawn(|| self.live(steps, stream)).join();
            lived.unwrap_or_else(|_| Err("PANIC: the message is above".to_owned()))
        })
    }

    fn live(&mut self, steps: u64, stream: &mut Stream) -> Told<()> {
        let form = *stream.pick(&FORMS);
        let vfs = SystemVfs::new(self.shape.backend, form).map_err(|error| error.to_string())?;
        // Small writes through the ring, too, in every other life.
        let vfs = if stream.chance(0.5) { vfs.pipelined_from(0) } else { vfs };
        let env = TracedEnv::new(vfs, &self.root, Arc::clone(self.recording));
        let options = self.options(stream);
        let opened = loop {
            match env.block_on(Engine::open_in(env.clone(), options.clone())) {
                // The life before was dropped, and its threads have to notice.
                Err(error) if error.kind() == ErrorKind::Busy => std::thread::sleep(Duration::from_millis(1)),
                opened => break opened.map_err(told("REFUSED"))?,
            }
        };
        self.compare(&opened)?;
        let Opened { engine, mut cores, .. } = opened;
        for _ in 0..steps {
            self.step(&engine, &mut cores, stream)?;
        }
        if stream.chance(0.5) {
            return Ok(());
        }
        cores.iter_mut().for_each(CoreHandle::discard_open);
        engine.close(&mut cores).map_err(told("close"))?;
        // What close returns from is durable.
        self.acknowledge(cores.iter().map(|core| core.open_epoch().0 - 1).min().unwrap_or(0));
        Ok(())
    }

    fn compare(&mut self, opened: &Opened<TracedEnv>) -> Told<()> {
        let epoch = opened.report.epoch.0;
        let mut found = Content::default();
        for core in &opened.cores {
            for entry in core.scan_prefix(b"") {
                let (key, value) = entry.map_err(told("scan"))?;
                found.entries.insert(key.to_vec(), value.to_vec());
            }
        }
        let offsets: Vec<_> = opened.report.offsets.values().cloned().collect();
        found.offset = match &offsets[..] {
            [] => None,
            [Offset::Number(first), rest @ ..] if rest.iter().all(|other| *other == offsets[0]) => {
                Some(*first)
            }
            _ => return Err(format!("WRONG: the offsets of one epoch differ: {offsets:?}")),
        };
        self.promises.recovered(epoch, &found, self.acknowledged, self.recording.len())?;
        self.now = found;
        self.acknowledge(epoch);
        Ok(())
    }

    fn acknowledge(&mut self, epoch: u64) {
        assert!(epoch >= self.acknowledged, "epoch {epoch} after {}", self.acknowledged);
        self.acknowledged = epoch;
        self.recording.push(Event::Acknowledged { epoch });
    }

    fn step(
        &mut self,
        engine: &Engine<TracedEnv>,
        cores: &mut [CoreHandle],
        stream: &mut Stream,
    ) -> Told<()> {
        match stream.below(16) {
            0 => {
                // There is nothing to take before the first epoch.
                if self.acknowledged > 0 {
                    engine.checkpoint().map_err(told("checkpoint"))?;
                }
            }
            1 if stream.chance(0.3) => {
                for core in &mut *cores {
                    patiently(engine, core, |core| core.clear().map(drop))?;
                }
                self.now.entries.clear();
            }
            2..8 => self.end_epoch(engine, cores, stream)?,
            _ => {
                for _ in 0..stream.range(1, 25) {
                    self.change(engine, cores, stream)?;
                }
            }
        }
        Ok(())
    }

    fn change(
        &mut self,
        engine: &Engine<TracedEnv>,
        cores: &mut [CoreHandle],
        stream: &mut Stream,
    ) -> Told<()> {
        let key = format!("key/{}", stream.below(KEYS)).into_bytes();
        let core = &mut cores[engine.core_of(&key).index()];
        if stream.chance(0.2) {
            patiently(engine, core, |core| core.delete(&key).map(drop))?;
            self.now.entries.remove(&key);
            return Ok(());
        }
        let mut value = vec![0; *stream.pick(&[0, 8, 100, 100, 1_000, 5_000])];
        stream.fill(&mut value);
        patiently(engine, core, |core| core.put(&key, &value).map(drop))?;
        self.now.entries.insert(key, value);
        Ok(())
    }

    fn end_epoch(
        &mut self,
        engine: &Engine<TracedEnv>,
        cores: &mut [CoreHandle],
        stream: &mut Stream,
    ) -> Told<()> {
        let epoch = cores[0].open_epoch();
        self.now.offset = Some(epoch.0 * 7 + self.recording.len() as u64);
        self.promises.end(epoch.0, self.recording.len(), Arc::new(self.now.clone()));
        let offset = self.now.offset.expect("set above");
        for core in cores {
            patiently(engine, core, |core| {
                core.close_epoch(EpochMark::new().offset(SOURCE, offset)).map(drop)
            })?;
        }
        if stream.chance(0.6) {
            engine.wait_durable(epoch).map_err(told("wait_durable"))?;
            self.acknowledge(epoch.0);
        } else if engine.durable_epoch().0 > self.acknowledged {
            self.acknowledge(engine.durable_epoch().0);
        }
        Ok(())
    }

    /// The database, closed or dropped, proves its invariant.
    pub(crate) fn verify(&self) -> Told<()> {
        let report = verify(&self.data, VerifyOptions::new()).map_err(told("verify"))?;
        if report.is_sound() { Ok(()) } else { Err(format!("verify: not sound: {report}")) }
    }
}

/// `change`, and again when there is room for it.
fn patiently(
    engine: &Engine<TracedEnv>,
    core: &mut CoreHandle,
    mut change: impl FnMut(&mut CoreHandle) -> highwater::Result<()>,
) -> Told<()> {
    loop {
        match change(core) {
            Err(error) if error.kind() == ErrorKind::Busy => {}
            done => return done.map_err(told("change")),
        }
        let waited = engine.env().block_on(async {
            engine.drive().await;
            core.ready().await
        });
        waited.map_err(told("waiting for room"))?;
    }
}
