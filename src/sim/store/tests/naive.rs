//! What a store may answer, written down naively: per name the values that it may have, and the requests that were given
//! up and may still take effect.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::super::{SimStore, StoreFaults};
use crate::remote::{Created, ObjectStore, StoreError, StoreErrorKind};
use crate::sim::{Executor, Simulator, Stream, Streams, Trace};

type Value = Option<Bytes>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Put,
    Create,
    Delete,
}

/// One name.
struct Name {
    may_be: BTreeSet<Value>,
    given_up: Vec<(What, Value)>,
    /// Everything that it ever may have been, for listings.
    ever: BTreeSet<Option<u64>>,
}

impl Default for Name {
    fn default() -> Self {
        Self { may_be: [None].into(), given_up: Vec::new(), ever: [None].into() }
    }
}

impl Name {
    /// Adds what the requests that were given up may have made of it.
    fn spread(&mut self) {
        for _ in 0..=self.given_up.len() {
            for (what, value) in &self.given_up {
                if *what != What::Create || self.may_be.contains(&None) {
                    self.may_be.insert(value.clone());
                }
            }
        }
        let lengths = self.may_be.iter().map(|value| value.as_ref().map(|body| body.len() as u64));
        self.ever.extend(lengths);
    }

    /// A request was made, and this is what was told; `free` is what a create may say.
    fn changed(&mut self, what: What, value: &Value, told: &Result<Option<Created>, StoreError>) {
        self.spread();
        match told {
            Ok(Some(Created::New)) => {
                assert!(self.may_be.contains(&None), "a name that is taken was created");
                self.may_be = [value.clone()].into();
            }
            Ok(Some(Created::Exists)) => {
                // Somebody's, its own, or nobody's.
                if self.may_be.contains(&None) {
                    self.may_be.insert(value.clone());
                }
            }
            Ok(None) => self.may_be = [value.clone()].into(),
            Err(error) if error.kind() == StoreErrorKind::Unknown => {
                self.given_up.push((what, value.clone()));
            }
            Err(_) => {}
        }
        self.spread();
    }

    fn seen(&mut self, value: &Value) {
        self.spread();
        assert!(self.may_be.contains(value), "{value:?} is none of {:?}", self.may_be);
        self.may_be = [value.clone()].into();
        self.spread();
    }
}

fn run(seed: u64) {
    let done = Simulator::new(seed).run(async move |sim| {
        let streams = Streams::new(seed);
        let faults = StoreFaults::swarm(&streams);
        let store = SimStore::new(&streams, faults, Trace::new());
        let client = store.client("test", Arc::new(sim.clone()));
        let mut names: BTreeMap<String, Name> = BTreeMap::new();
        let mut dice = streams.stream("test");
        for number in 0..200_u32 {
            let name = format!("n/{}", dice.below(4));
            let body = Bytes::from(vec![7; number as usize + 1]);
            let known = names.entry(name.clone()).or_default();
            match dice.below(6) {
                0 => {
                    let told = client.put(&name, body.clone()).await.map(|()| None);
                    known.changed(What::Put, &Some(body), &told);
                }
                1 => {
                    let told = client.create(&name, body.clone()).await.map(Some);
                    known.changed(What::Create, &Some(body), &told);
                }
                2 => {
                    let told = client.delete(&name).await.map(|()| None);
                    known.changed(What::Delete, &None, &told);
                }
                3 => look(&client, &name, known).await,
                4 => list(&client, &mut names).await,
                _ => sim.sleep(pause(&mut dice)).await,
            }
        }
    });
    done.unwrap();
}

async fn look(client: &super::StoreClient, name: &str, known: &mut Name) {
    let Ok(size) = client.size(name).await else { return };
    known.spread();
    let sizes: Vec<_> =
        known.may_be.iter().map(|value| value.as_ref().map(|body| body.len() as u64)).collect();
    assert!(sizes.contains(&size), "{size:?} is none of {sizes:?}");
    let Some(length) = size else { return };
    if let Ok(Some(got)) = client.get(name, 0..length).await
        && got.len() as u64 == length
    {
        known.seen(&Some(got));
    }
}

async fn list(client: &super::StoreClient, names: &mut BTreeMap<String, Name>) {
    let Ok(listed) = client.list("n/").await else { return };
    assert!(listed.is_sorted());
    for (name, known) in names {
        known.spread();
        let there = listed.iter().find(|listed| listed.name == *name).map(|listed| listed.bytes);
        assert!(known.ever.contains(&there), "{name} never was {there:?}");
    }
}

fn pause(dice: &mut Stream) -> Duration {
    Duration::from_millis(dice.range(0, 20_000))
}

#[test]
fn it_never_does_what_a_naive_model_forbids() {
    for seed in 0..300 {
        run(seed);
    }
}
