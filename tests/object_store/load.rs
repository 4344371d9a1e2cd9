//! What the trials write: what an epoch puts depends on its number alone, so that the state at each epoch is known.

use std::collections::BTreeMap;
use std::path::Path;

use highwater::remote::Remote;
use highwater::{CoreHandle, Engine, Epoch, EpochMark, Error, ErrorKind, Opened, Options};

/// Keys of the trials that count epochs.
const KEYS: u64 = 20_000;

/// Keys that one epoch puts.
pub(crate) const KEYS_PER_EPOCH: u64 = 400;

/// What the state at an epoch is.
pub(crate) type Model = BTreeMap<Vec<u8>, Vec<u8>>;

pub(crate) fn open(dir: &Path, cores: u16, remote: Remote) -> Result<Opened, Error> {
    let options = Options::new(dir).cores(cores).segment_bytes(4 << 20).remote(remote);
    Engine::open(options.checkpoint_interval(Some(std::time::Duration::from_millis(200))))
}

fn changes(epoch: u64) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    (0..KEYS_PER_EPOCH).map(move |number| {
        let key = (epoch * 7_919 + number * 31) % KEYS;
        let value = format!("epoch {epoch}, put {number}; {:0>200}", epoch ^ number);
        (format!("key/{key:06}").into_bytes(), value.into_bytes())
    })
}

/// The state at `epoch`.
pub(crate) fn model(epoch: Epoch) -> Model {
    (1..=epoch.0).flat_map(changes).collect()
}

/// Puts what belongs to the open epoch.
pub(crate) fn put_epoch(opened: &mut Opened) {
    let epoch = opened.cores[0].open_epoch().0;
    for (key, value) in changes(epoch) {
        let core = opened.engine.core_of(&key).index();
        put(&mut opened.cores[core], &key, &value);
    }
}

/// Ends the epoch on every core, as soon as they may.
pub(crate) fn end_epoch(opened: &mut Opened) -> Epoch {
    let mut ended = Epoch(0);
    for core in &mut opened.cores {
        ended = retry(core, |core| core.close_epoch(EpochMark::new()));
    }
    ended
}

pub(crate) fn write_epoch(opened: &mut Opened) -> Epoch {
    put_epoch(opened);
    end_epoch(opened)
}

pub(crate) fn put(core: &mut CoreHandle, key: &[u8], value: &[u8]) {
    retry(core, |core| core.put(key, value));
}

fn retry<T>(core: &mut CoreHandle, mut call: impl FnMut(&mut CoreHandle) -> Result<T, Error>) -> T {
    loop {
        match call(core) {
            Ok(done) => return done,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
                core.ready().wait().unwrap();
            }
        }
    }
}

/// Waits until `epoch` is in the store, whatever happens to single uploads.
pub(crate) fn wait_remote(opened: &Opened, epoch: Epoch) {
    while let Err(error) = opened.engine.wait_remote(epoch) {
        assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    }
}

/// All keys and values, in key order.
pub(crate) fn state(cores: &[CoreHandle]) -> Model {
    let entries = cores.iter().flat_map(|core| core.scan_prefix(b""));
    entries.map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())).unwrap()).collect()
}

/// The sorted export, as bytes.
pub(crate) fn export(cores: &[CoreHandle]) -> Vec<u8> {
    let mut entries: Vec<_> =
        cores.iter().flat_map(|core| core.scan_prefix(b"")).map(Result::unwrap).collect();
    entries.sort_unstable_by(|(one, _), (other, _)| one[..].cmp(&other[..]));
    let mut bytes = Vec::new();
    for (key, value) in entries {
        bytes.extend_from_slice(&key);
        bytes.push(b'=');
        bytes.extend_from_slice(&value);
        bytes.push(b'\n');
    }
    bytes
}
