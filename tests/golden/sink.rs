//! A sink that has every transaction it is asked for, and shows which were published.

use std::sync::{Arc, Mutex};

use highwater::sink::{
    Commit, Part, Prepared, Recovered, Sink, SinkError, SinkErrorKind, SinkLife, SinkResult,
};
use highwater::{CoreId, Epoch};

/// See the module. Clones are one sink.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stand {
    /// Whether it can be reached to publish.
    commits: bool,
    published: Arc<Mutex<Vec<String>>>,
}

impl Stand {
    /// One that publishes; else none does.
    pub(crate) fn reachable() -> Self {
        Self { commits: true, ..Self::default() }
    }

    /// What was published, in order of the alphabet, each once.
    pub(crate) fn published(&self) -> Vec<String> {
        let mut published = self.published.lock().unwrap().clone();
        published.sort();
        published.dedup();
        published
    }
}

impl Sink for Stand {
    async fn recover(&self, _life: &SinkLife) -> SinkResult<Recovered> {
        Ok(Recovered::new(1 << 20))
    }

    async fn pre_commit(&self, part: Part) -> SinkResult<Option<Vec<u8>>> {
        // One core never has a row.
        Ok((part.core < CoreId(2)).then(|| part.to_string().into_bytes()))
    }

    async fn commit(&self, handle: &[u8]) -> SinkResult<Commit> {
        if !self.commits {
            return Err(SinkError::new(SinkErrorKind::Unavailable, "it is away"));
        }
        self.published.lock().unwrap().push(String::from_utf8(handle.to_vec()).unwrap());
        Ok(Commit::Done)
    }

    async fn abort(&self, _handle: &[u8]) -> SinkResult<()> {
        Ok(())
    }

    async fn in_doubt(&self) -> SinkResult<Vec<Prepared>> {
        Ok(Vec::new())
    }

    async fn forget(&self, _through: Epoch) -> SinkResult<()> {
        Ok(())
    }
}
