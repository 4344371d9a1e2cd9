//! From a URL to a store.
//!
//! ```text
//! file:///directory                        a local directory
//! s3://bucket/prefix                       S3 and what speaks like it         feature s3
//! az://container/prefix                    Azure Blob Storage                 feature azure
//! gs://bucket/prefix                       Google Cloud Storage               feature gcs
//! ```
//!
//! Retries are switched off in the crate: a create that was tried twice cannot say whose object it met. `Client` retries,
//! and looks.

use std::sync::Arc;

use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreScheme};
use url::Url;

use super::uploads::Multipart;
use crate::error::{Error, ErrorCode, Result};

/// A store, and where in it.
pub(super) struct Place {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) multipart: Multipart,
    pub(super) prefix: Path,
}

/// # Errors
///
/// `Invalid`: not such a URL, or an option that its store does not know. `Unsupported`: this build lacks the feature.
pub(super) fn find(text: &str, options: &[(String, String)]) -> Result<Place> {
    // The text may hold a secret that does not belong there, and is not repeated.
    let url = Url::parse(text).map_err(|error| {
        Error::new(ErrorCode::StoreUrl, format!("this is no URL of an object store: {error}"))
    })?;
    if url.password().is_some() {
        let what = "the URL of an object store holds a password: give it as an option or in the environment";
        return Err(Error::new(ErrorCode::StoreUrl, what));
    }
    let scheme = url.scheme();
    let (kind, prefix) = ObjectStoreScheme::parse(&url).map_err(|_| unknown(scheme))?;
    match kind {
        ObjectStoreScheme::Local => local(&url, options),
        ObjectStoreScheme::AmazonS3 => s3(&url, options, prefix),
        ObjectStoreScheme::MicrosoftAzure => azure(&url, options, prefix),
        ObjectStoreScheme::GoogleCloudStorage => gcs(&url, options, prefix),
        _ => Err(unknown(scheme)),
    }
}

fn unknown(scheme: &str) -> Error {
    let what = format!(
        "{scheme} names no object store: there are s3://bucket/prefix, az://container/prefix, gs://bucket/prefix and \
         file:///directory"
    );
    Error::new(ErrorCode::StoreUrl, what)
}

fn local(url: &Url, options: &[(String, String)]) -> Result<Place> {
    if let Some((name, _)) = options.first() {
        return Err(unknown_option(name, "a local directory"));
    }
    let path = url
        .to_file_path()
        .map_err(|()| Error::new(ErrorCode::StoreUrl, "the URL names no local directory"))?;
    let prefix = Path::from_absolute_path(&path).map_err(|error| {
        Error::new(
            ErrorCode::StoreUrl,
            format!("the directory has a name that the store cannot have: {error}"),
        )
    })?;
    // Directories are made by the first object in them.
    let store = Arc::new(LocalFileSystem::new().with_fsync(true));
    Ok(Place { store, multipart: Multipart::by_handle(), prefix })
}

fn unknown_option(name: &str, of: &str) -> Error {
    Error::new(ErrorCode::StoreOption, format!("`{name}` is no option of {of}"))
}

#[cfg(not(all(feature = "s3", feature = "azure", feature = "gcs")))]
fn not_built(feature: &str) -> Error {
    let what = format!("this build has no such object store: build highwater with the feature `{feature}`");
    Error::new(ErrorCode::StoreNotBuilt, what)
}

#[cfg(feature = "cloud")]
mod cloud {
    use object_store::{BackoffConfig, RetryConfig};

    use super::{Error, ErrorCode};

    /// One try.
    pub(super) fn no_retry() -> RetryConfig {
        RetryConfig { max_retries: 0, backoff: BackoffConfig::default(), ..RetryConfig::default() }
    }

    /// Ciphers for the process, if it has chosen none.
    pub(super) fn choose_ciphers() {
        // An error says that somebody was faster.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }

    pub(super) fn unusable(error: &object_store::Error) -> Error {
        Error::new(ErrorCode::StoreOption, format!("the object store cannot be used so: {error}"))
    }
}

/// Builds a store of the environment's variables, the URL and the options, the later before the earlier.
#[cfg(feature = "cloud")]
macro_rules! build {
    ($builder:ty, $url:expr, $options:expr, $prefix:expr, $of:expr) => {{
        cloud::choose_ciphers();
        let mut builder = <$builder>::from_env().with_url($url.as_str()).with_retry(cloud::no_retry());
        for (name, value) in $options {
            let key = name.to_ascii_lowercase().parse().map_err(|_| unknown_option(name, $of))?;
            builder = builder.with_config(key, value);
        }
        let store = Arc::new(builder.build().map_err(|error| cloud::unusable(&error))?);
        let multipart = Multipart::by_name(Arc::clone(&store) as _);
        Ok(Place { store, multipart, prefix: $prefix })
    }};
}

#[cfg(feature = "s3")]
fn s3(url: &Url, options: &[(String, String)], prefix: Path) -> Result<Place> {
    build!(object_store::aws::AmazonS3Builder, url, options, prefix, "S3")
}

#[cfg(not(feature = "s3"))]
fn s3(_: &Url, _: &[(String, String)], _: Path) -> Result<Place> {
    Err(not_built("s3"))
}

#[cfg(feature = "azure")]
fn azure(url: &Url, options: &[(String, String)], prefix: Path) -> Result<Place> {
    build!(object_store::azure::MicrosoftAzureBuilder, url, options, prefix, "Azure")
}

#[cfg(not(feature = "azure"))]
fn azure(_: &Url, _: &[(String, String)], _: Path) -> Result<Place> {
    Err(not_built("azure"))
}

#[cfg(feature = "gcs")]
fn gcs(url: &Url, options: &[(String, String)], prefix: Path) -> Result<Place> {
    build!(object_store::gcp::GoogleCloudStorageBuilder, url, options, prefix, "Google Cloud Storage")
}

#[cfg(not(feature = "gcs"))]
fn gcs(_: &Url, _: &[(String, String)], _: Path) -> Result<Place> {
    Err(not_built("gcs"))
}
