//! Where a database is, for commands that read directories and object stores: a place with a scheme is a store.

use std::path::PathBuf;

#[cfg(feature = "object-store")]
use super::Outcome;
#[cfg(feature = "object-store")]
use crate::remote::{Bucket, Remote};

/// See the module.
#[derive(clap::Args)]
pub(crate) struct Place {
    /// The database's folder, or its object store as `Bucket::at` takes it: `s3://bucket/prefix`, `file:///directory`, …
    #[arg(value_name = "DIR|URL")]
    place: String,
    #[cfg(feature = "object-store")]
    #[command(flatten)]
    store: StoreOptions,
}

/// How a store is reached.
#[cfg(feature = "object-store")]
#[derive(clap::Args)]
pub(crate) struct StoreOptions {
    /// An option of the store, such as `endpoint=http://127.0.0.1:8333`; secrets belong into the environment.
    #[arg(long = "option", short, value_name = "NAME=VALUE", value_parser = option)]
    options: Vec<(String, String)>,
}

#[cfg(feature = "object-store")]
fn option(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("NAME=VALUE is needed")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(feature = "object-store")]
impl StoreOptions {
    /// The store at `url`.
    pub(super) fn remote(&self, url: &str) -> Outcome<Remote> {
        Ok(Remote::new(Bucket::at(url, self.options.clone())?))
    }
}

impl Place {
    /// The store, if it is one.
    #[cfg(feature = "object-store")]
    pub(super) fn remote(&self) -> Outcome<Option<Remote>> {
        self.place.contains("://").then(|| self.store.remote(&self.place)).transpose()
    }

    /// The folder that it is, if it is no store.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(&self.place)
    }
}
