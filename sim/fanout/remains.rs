//! What outlives a process: the disk of its machine, and the object store of its database. What a crash may leave of both,
//! and the moments at which that is asked.

use std::fmt;
use std::sync::{Arc, Mutex};

use highwater::sim::{BoundaryInfo, Disk, Phase, SimDisk, SimStore, StoreEffect, StoreImage, Stream};
use xxhash_rust::xxh3::xxh3_128;

use crate::explain::record::{self, At};
use crate::world::lock;

/// Outcomes of the requests on their way that are tried at one moment.
const OUTCOMES_MAX: usize = 8;

/// Objects with which an open tries its store. Nobody looks at them again.
const PROBE: &str = "probe/";

/// A disk, and the store if there is one.
#[derive(Clone)]
pub(crate) struct Remains {
    /// The disk of the machine.
    pub(crate) disk: Disk,
    /// The object store, with the requests on their way there.
    pub(crate) store: Option<StoreImage>,
}

impl Remains {
    /// A digest of what a program can read.
    pub(crate) fn hash(&self) -> u128 {
        let disk = self.disk.hash();
        let Some(store) = &self.store else { return disk };
        let both = [disk, store.hash()].map(u128::to_le_bytes);
        xxh3_128(both.as_flattened())
    }

    /// Bytes of all files and objects.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.disk.used_bytes() + self.store.as_ref().map_or(0, StoreImage::used_bytes)
    }

    /// An empty disk like the one that was here.
    pub(crate) fn another_disk(&self) -> Disk {
        Disk::new(self.disk.personality())
    }

    /// What may become of the requests on their way, the corners first: none of them takes effect, all do. All outcomes when
    /// they are few, else some.
    pub(crate) fn outcomes(&self, draws: &mut Stream) -> Vec<Outcome> {
        let Some(store) = &self.store else { return vec![Outcome { store: None, landed: String::new() }] };
        let ways = store.on_the_way();
        let matter: Vec<usize> =
            ways.enumerate().filter(|(_, (_, name))| !name.starts_with(PROBE)).map(first).collect();
        let mut sets = vec![vec![], matter.clone()];
        if matter.len() < 2 {
            sets.truncate(1 + matter.len());
        } else if 1 << matter.len().min(OUTCOMES_MAX) <= OUTCOMES_MAX {
            let others = 1..(1_usize << matter.len()) - 1;
            let chosen = |set: usize| (0..matter.len()).filter(move |at| set >> at & 1 == 1);
            sets.extend(others.map(|set| chosen(set).map(|at| matter[at]).collect()));
        } else {
            while sets.len() < OUTCOMES_MAX {
                sets.push(matter.iter().copied().filter(|_| draws.chance(0.5)).collect());
            }
        }
        let outcome = |landing: Vec<usize>| {
            let landed: Vec<String> = landing.iter().map(|at| named(store, *at)).collect();
            let all: Vec<String> = matter.iter().map(|at| named(store, *at)).collect();
            let landed = match (&all[..], &landed[..]) {
                ([], _) => String::new(),
                (all, []) => format!("never: {}", all.join("+")),
                (all, landed) => format!("on their way {}, then there {}", all.join("+"), landed.join("+")),
            };
            Outcome { store: Some(store.settled(landing)), landed }
        };
        sets.into_iter().map(outcome).collect()
    }
}

fn first<A, B>((a, _): (A, B)) -> A {
    a
}

fn named(store: &StoreImage, at: usize) -> String {
    store.on_the_way().nth(at).map_or_else(String::new, |(operation, name)| format!("{operation} {name}"))
}

/// The store after one outcome of the requests that were on their way there.
pub(crate) struct Outcome {
    /// The store.
    pub(crate) store: Option<StoreImage>,
    /// Which requests took effect, for people; empty when there was nothing to decide.
    pub(crate) landed: String,
}

/// What there was at the moment a call took effect, or somebody was told something behind it.
#[derive(Clone)]
pub(crate) struct Shot {
    /// Disk and store.
    pub(crate) remains: Remains,
    /// The call, for people.
    pub(crate) call: String,
    /// Which one it was.
    pub(crate) at: At,
}

impl Shot {
    /// Whether the call gives, takes or syncs names, or is one of the store.
    pub(super) fn is_about_names(&self) -> bool {
        let operation = self.call.split(' ').nth(1).unwrap_or_default();
        let of_disk = ["create_new", "link", "rename", "remove", "sync_dir"].contains(&operation);
        of_disk || matches!(self.at, At::Request(_))
    }
}

/// Ends with its drop.
#[must_use]
pub(crate) struct Watch(Option<(SimDisk, SimStore)>);

impl Drop for Watch {
    fn drop(&mut self) {
        // Each has a hook that holds the other.
        if let Some((disk, store)) = self.0.take() {
            disk.on_boundary(Box::new(|_, _| {}));
            store.on_effect(Box::new(|_, _| {}));
        }
    }
}

/// Calls `with` at the moment each call takes effect that may change the disk, and each request that changes the store.
pub(crate) fn watch(
    disk: &SimDisk,
    store: Option<&SimStore>,
    with: impl FnMut(Shot) + Send + 'static,
) -> Watch {
    let with = Arc::new(Mutex::new(with));
    if let Some(store) = store {
        let (disk, with) = (disk.clone(), Arc::clone(&with));
        store.on_effect(Box::new(move |store: StoreImage, effect: &StoreEffect| {
            record::effect(effect);
            if !effect.name.starts_with(PROBE) {
                let remains = Remains { disk: disk.with_disk(|disk| disk.clone()), store: Some(store) };
                let call = format!("request {} {} {}", effect.request, effect.operation, effect.name);
                (lock(&with))(Shot { remains, call, at: At::Request(effect.request) });
            }
        }));
    }
    let of_disk = store.cloned();
    disk.on_boundary(Box::new(move |disk: &Disk, info: BoundaryInfo| {
        record::boundary(&info);
        let looks = ["read_at", "len", "link_count", "list", "lock", "free_space", "open"];
        if info.phase == Phase::Applied && !looks.contains(&info.operation) {
            let call = format!("{} {} {}", info.call, info.operation, info.path.display());
            let remains = Remains { disk: disk.clone(), store: of_disk.as_ref().map(SimStore::image) };
            (lock(&with))(Shot { remains, call, at: At::Call(info.call) });
        }
    }));
    Watch(store.map(|store| (disk.clone(), store.clone())))
}

/// A list of shots that a hook fills.
#[derive(Clone, Default)]
pub(crate) struct Shots(Arc<Mutex<Vec<Shot>>>);

impl Shots {
    /// Watches `disk`, and `store` if there is one.
    pub(crate) fn watch(&self, disk: &SimDisk, store: Option<&SimStore>) -> Watch {
        let shots = self.clone();
        watch(disk, store, move |shot| lock(&shots.0).push(shot))
    }

    /// What was seen.
    pub(crate) fn take(&self) -> Vec<Shot> {
        std::mem::take(&mut lock(&self.0))
    }
}

impl fmt::Debug for Remains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {:?}", self.disk, self.store)
    }
}
