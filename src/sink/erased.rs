//! [`Sink`] behind a pointer, so that options have no type parameter: a call to an external system takes long enough for
//! a boxed future not to matter.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use super::{Commit, Part, Prepared, Recovered, Sink, SinkLife, SinkResult};
use crate::ids::Epoch;

/// What a call comes to.
type Reply<'a, T> = Pin<Box<dyn Future<Output = SinkResult<T>> + 'a>>;

pub(crate) trait Erased: fmt::Debug + Send + Sync {
    fn recover<'a>(&'a self, life: &'a SinkLife) -> Reply<'a, Recovered>;
    fn pre_commit(&self, part: Part) -> Reply<'_, Option<Vec<u8>>>;
    fn commit<'a>(&'a self, handle: &'a [u8]) -> Reply<'a, Commit>;
    fn abort<'a>(&'a self, handle: &'a [u8]) -> Reply<'a, ()>;
    fn in_doubt(&self) -> Reply<'_, Vec<Prepared>>;
    fn forget(&self, through: Epoch) -> Reply<'_, ()>;
}

impl<S: Sink> Erased for S {
    fn recover<'a>(&'a self, life: &'a SinkLife) -> Reply<'a, Recovered> {
        Box::pin(Sink::recover(self, life))
    }

    fn pre_commit(&self, part: Part) -> Reply<'_, Option<Vec<u8>>> {
        Box::pin(Sink::pre_commit(self, part))
    }

    fn commit<'a>(&'a self, handle: &'a [u8]) -> Reply<'a, Commit> {
        Box::pin(Sink::commit(self, handle))
    }

    fn abort<'a>(&'a self, handle: &'a [u8]) -> Reply<'a, ()> {
        Box::pin(Sink::abort(self, handle))
    }

    fn in_doubt(&self) -> Reply<'_, Vec<Prepared>> {
        Box::pin(Sink::in_doubt(self))
    }

    fn forget(&self, through: Epoch) -> Reply<'_, ()> {
        Box::pin(Sink::forget(self, through))
    }
}
