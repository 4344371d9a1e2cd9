//! The contract of the seam, on whatever store there is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use highwater::ErrorKind;
use highwater::remote::{Bucket, Created, ObjectStore, StoreErrorKind};
use object_store::memory::InMemory;

use crate::place::{Place, wait};

/// What most stores want of a part that is not the last.
const PART_BYTES: u64 = 5 << 20;

const NOTHING: [(&str, &str); 0] = [];

/// A bucket in a directory, which lives as long as the second.
fn directory() -> (Bucket, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    // A name that a URL has to write otherwise.
    let url = format!("file://{}/a%20place", dir.path().display());
    (Bucket::at(&url, NOTHING).unwrap(), dir)
}

/// The contract, on a store of a trial's own.
pub(crate) fn the_contract_of_the_seam_holds(place: &Place) {
    holds(|| place.fresh().bucket());
}

pub(crate) fn the_contract_of_the_seam_holds_in_memory() {
    for prefix in ["", "some/where"] {
        holds(|| Bucket::of(Arc::new(InMemory::new()), prefix).unwrap());
    }
    // And in a directory whose name a URL writes otherwise.
    let (bucket, _dir) = directory();
    wait(a_name_is_created_once(bucket));
}

/// Each part with a place of its own.
fn holds(bucket: impl Fn() -> Bucket) {
    wait(a_name_is_created_once(bucket()));
    wait(a_range_ends_where_its_object_does(bucket()));
    wait(a_listing_has_the_names_that_begin_so(bucket()));
    wait(an_upload_in_parts_shows_nothing_before_its_end(bucket()));
    wait(an_upload_that_was_given_up_is_gone(bucket()));
}

async fn a_name_is_created_once(bucket: Bucket) {
    assert_eq!(bucket.create("m/1", Bytes::from_static(b"first")).await, Ok(Created::New));
    assert_eq!(bucket.create("m/1", Bytes::from_static(b"second")).await, Ok(Created::Exists));
    assert_eq!(bucket.get("m/1", 0..100).await, Ok(Some(Bytes::from_static(b"first"))));
    bucket.put("m/1", Bytes::from_static(b"third")).await.unwrap();
    assert_eq!(bucket.get("m/1", 0..100).await, Ok(Some(Bytes::from_static(b"third"))));
}

async fn a_range_ends_where_its_object_does(bucket: Bucket) {
    bucket.put("f/x", Bytes::from_static(b"0123456789")).await.unwrap();
    bucket.put("f/empty", Bytes::new()).await.unwrap();
    for (range, there) in [(2..5, "234"), (8..20, "89"), (9..10, "9"), (10..11, ""), (50..60, ""), (3..3, "")]
    {
        let found = bucket.get("f/x", range.clone()).await.unwrap();
        assert_eq!(found.as_deref(), Some(there.as_bytes()), "{range:?}");
    }
    assert_eq!(bucket.get("f/empty", 0..10).await, Ok(Some(Bytes::new())));
    assert_eq!(bucket.get("f/y", 0..10).await, Ok(None));
    assert_eq!((bucket.size("f/x").await, bucket.size("f/y").await), (Ok(Some(10)), Ok(None)));
}

async fn a_listing_has_the_names_that_begin_so(bucket: Bucket) {
    assert_eq!(bucket.list("f/").await, Ok(Vec::new()), "nothing is there");
    for name in ["STORE", "f/b", "f/a", "m/1", "m/10"] {
        bucket.put(name, Bytes::from_static(b"xyz")).await.unwrap();
    }
    let names = async |prefix| -> Vec<String> {
        let listed = bucket.list(prefix).await.unwrap();
        assert!(listed.iter().all(|object| object.bytes == 3));
        listed.into_iter().map(|object| object.name).collect()
    };
    assert_eq!(names("f/").await, ["f/a", "f/b"]);
    assert_eq!(names("m/1").await, ["m/1", "m/10"]);
    assert_eq!(names("").await, ["STORE", "f/a", "f/b", "m/1", "m/10"]);
    bucket.delete("f/a").await.unwrap();
    bucket.delete("f/a").await.unwrap();
    assert_eq!(names("f/").await, ["f/b"]);
}

async fn an_upload_in_parts_shows_nothing_before_its_end(bucket: Bucket) {
    let upload = bucket.begin_upload("f/big").await.unwrap();
    let mut tags = Vec::new();
    for number in 0..3_u8 {
        let part = Bytes::from(vec![number; usize::try_from(PART_BYTES).unwrap()]);
        tags.push(bucket.put_part("f/big", &upload, number.into(), part).await.unwrap());
    }
    assert_eq!(bucket.size("f/big").await, Ok(None));
    bucket.complete_upload("f/big", &upload, &tags).await.unwrap();
    assert_eq!(bucket.size("f/big").await, Ok(Some(3 * PART_BYTES)));
    let seam = 2 * PART_BYTES - 1..2 * PART_BYTES + 1;
    assert_eq!(bucket.get("f/big", seam).await, Ok(Some(Bytes::from_static(&[1, 2]))));
    // Some stores remember it.
    if let Err(again) = bucket.complete_upload("f/big", &upload, &tags).await {
        assert_eq!(again.kind(), StoreErrorKind::Refused, "{again}");
    }
    assert_eq!(bucket.size("f/big").await, Ok(Some(3 * PART_BYTES)));
}

async fn an_upload_that_was_given_up_is_gone(bucket: Bucket) {
    let upload = bucket.begin_upload("f/big").await.unwrap();
    bucket.abort_upload("f/big", &upload).await.unwrap();
    bucket.abort_upload("f/big", &upload).await.unwrap();
    // Azure has parts without uploads, and nothing to be given up.
    if let Err(late) = bucket.put_part("f/big", &upload, 0, Bytes::from_static(b"x")).await {
        assert_eq!(late.kind(), StoreErrorKind::Refused, "{late}");
    }
    assert_eq!(bucket.list("").await, Ok(Vec::new()));
}

/// Without names for uploads a store gets parts in their order, each once.
pub(crate) fn an_upload_that_lost_a_part_is_gone() {
    let (bucket, _dir) = directory();
    wait(async {
        let upload = bucket.begin_upload("f/big").await.unwrap();
        for number in [1, 0] {
            let part = Bytes::from_static(b"x");
            let refused = bucket.put_part("f/big", &upload, number, part).await.unwrap_err();
            assert_eq!(refused.kind(), StoreErrorKind::Refused, "{refused}");
        }
    });
}

pub(crate) fn a_bucket_is_told_what_is_wrong_with_its_url() {
    for (url, kind) in [
        ("nonsense", ErrorKind::Invalid),
        ("ftp://host/path", ErrorKind::Invalid),
        ("memory:///", ErrorKind::Invalid),
        ("s3://name:secret@bucket/prefix", ErrorKind::Invalid),
    ] {
        let error = Bucket::at(url, NOTHING).unwrap_err();
        assert_eq!(error.kind(), kind, "{url}: {error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    let error = Bucket::at("file:///tmp", [("region", "here")]).unwrap_err();
    assert!(error.to_string().contains("`region` is no option"), "{error}");
}

pub(crate) fn the_thread_of_a_bucket_ends_with_its_last_clone() {
    let threads = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
        names.filter(|name| name.starts_with("highwater-store")).count()
    };
    let until_none = || {
        let began = Instant::now();
        while threads() > 0 {
            assert!(began.elapsed() < Duration::from_secs(60), "a thread stays");
            std::thread::yield_now();
        }
    };
    // Those of earlier trials may be on their way out.
    until_none();
    let (bucket, _dir) = directory();
    let clone = bucket.clone();
    drop(bucket);
    assert_eq!(wait(clone.size("STORE")), Ok(None));
    assert_eq!(threads(), 1);
    drop(clone);
    until_none();
}
