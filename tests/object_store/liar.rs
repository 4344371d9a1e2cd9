//! A store whose conditional create creates twice: some that speak S3 do.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_core::stream::BoxStream;
use highwater::remote::{Bucket, Remote};
use highwater::{Engine, ErrorKind, Options};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// What the methods of the trait return.
type Reply<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

#[derive(Debug)]
struct Liar(InMemory);

impl fmt::Display for Liar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a liar")
    }
}

impl ObjectStore for Liar {
    fn put_opts<'l, 'p, 'a>(
        &'l self,
        path: &'p Path,
        body: PutPayload,
        options: PutOptions,
    ) -> Reply<'a, PutResult>
    where
        'l: 'a,
        'p: 'a,
        Self: 'a,
    {
        // It takes the condition, and forgets it.
        self.0.put_opts(path, body, PutOptions { mode: PutMode::Overwrite, ..options })
    }

    fn put_multipart_opts<'l, 'p, 'a>(
        &'l self,
        path: &'p Path,
        options: PutMultipartOptions,
    ) -> Reply<'a, Box<dyn MultipartUpload>>
    where
        'l: 'a,
        'p: 'a,
        Self: 'a,
    {
        self.0.put_multipart_opts(path, options)
    }

    fn get_opts<'l, 'p, 'a>(&'l self, path: &'p Path, options: GetOptions) -> Reply<'a, GetResult>
    where
        'l: 'a,
        'p: 'a,
        Self: 'a,
    {
        self.0.get_opts(path, options)
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    fn list_with_delimiter<'l, 'p, 'a>(&'l self, prefix: Option<&'p Path>) -> Reply<'a, ListResult>
    where
        'l: 'a,
        'p: 'a,
        Self: 'a,
    {
        self.0.list_with_delimiter(prefix)
    }

    fn copy_opts<'l, 'f, 't, 'a>(
        &'l self,
        from: &'f Path,
        to: &'t Path,
        options: CopyOptions,
    ) -> Reply<'a, ()>
    where
        'l: 'a,
        'f: 'a,
        't: 'a,
        Self: 'a,
    {
        self.0.copy_opts(from, to, options)
    }
}

pub(crate) fn a_store_that_lies_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let open = |store: Arc<dyn ObjectStore>| {
        let remote = Remote::new(Bucket::of(store, "some/where").unwrap());
        Engine::open(Options::new(dir.path().join("data")).remote(remote))
    };
    let error = open(Arc::new(Liar(InMemory::new()))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    println!("    {error}");
    // Nothing was begun there: with one that keeps its word the directory opens.
    let opened = open(Arc::new(InMemory::new())).unwrap();
    assert!(opened.report.created);
    opened.engine.close(opened.cores).unwrap();
}
