//! Cases about names, directories and locks.

use std::io::ErrorKind;
use std::path::Path;

use super::{Case, len};
use crate::vfs::{Entry, EntryKind, File, OpenMode, Vfs, retry};

pub(super) async fn check<V: Vfs>(vfs: &V, root: &Path) {
    errors_by_kind(vfs, root).await;
    directories_are_no_files(vfs, root).await;
    link_is_create_once(vfs, root).await;
    rename_replaces(vfs, root).await;
    removed_names_are_gone(vfs, root).await;
    open_files_survive_their_names(vfs, root).await;
    lists_are_sorted(vfs, root).await;
    locks_exclude(vfs, root).await;
    directories_answer(vfs, root).await;
}

async fn errors_by_kind<V: Vfs>(vfs: &V, root: &Path) {
    let case = Case::new(vfs, root, "errors_by_kind").await;
    let (missing, orphan, taken) = (case.path("missing"), case.path("no-dir/file"), case.path("taken"));
    case.file("taken", b"first").await;

    for mode in [OpenMode::Read, OpenMode::Write] {
        case.fails("open", ErrorKind::NotFound, retry(|| vfs.open(&missing, mode)).await);
    }
    case.fails("create_new", ErrorKind::AlreadyExists, retry(|| vfs.create_new(&taken)).await);
    case.fails("create_new", ErrorKind::AlreadyExists, retry(|| vfs.create_new(&case.dir)).await);
    case.fails("create_new", ErrorKind::NotFound, retry(|| vfs.create_new(&orphan)).await);
    case.fails("create_dir", ErrorKind::AlreadyExists, retry(|| vfs.create_dir(&taken)).await);
    case.fails("create_dir", ErrorKind::AlreadyExists, retry(|| vfs.create_dir(&case.dir)).await);
    case.fails("create_dir", ErrorKind::NotFound, retry(|| vfs.create_dir(&orphan)).await);
    case.fails(
        "link",
        ErrorKind::NotFound,
        retry(|| async { vfs.link(&missing, &case.path("new")).await }).await,
    );
    case.fails("link", ErrorKind::NotFound, retry(|| vfs.link(&taken, &orphan)).await);
    case.fails("rename", ErrorKind::NotFound, retry(|| vfs.rename(&missing, &taken)).await);
    case.fails("rename", ErrorKind::NotFound, retry(|| vfs.rename(&taken, &orphan)).await);
    case.fails("remove", ErrorKind::NotFound, retry(|| vfs.remove(&missing)).await);
    case.fails("list", ErrorKind::NotFound, retry(|| vfs.list(&missing)).await);
    case.fails("lock", ErrorKind::NotFound, vfs.lock(&missing).await);
    case.fails("free_space", ErrorKind::NotFound, retry(|| vfs.free_space(&missing)).await);
    case.fails("sync_dir", ErrorKind::NotFound, retry(|| vfs.sync_dir(&missing)).await);

    // None of the failures has touched what was there.
    let file = case.ok("open", retry(|| vfs.open(&taken, OpenMode::Read)).await);
    assert_eq!(case.read(&file, 0, 10).await, b"first");
    assert_eq!(case.names().await, ["taken"]);
}

async fn directories_are_no_files<V: Vfs>(vfs: &V, root: &Path) {
    let case = Case::new(vfs, root, "directories_are_no_files").await;
    let (dir, file) = (case.path("dir"), case.path("file"));
    case.ok("create_dir", retry(|| vfs.create_dir(&dir)).await);
    case.file("file", b"").await;
    for mode in [OpenMode::Read, OpenMode::Write] {
        case.fails("open of a directory", ErrorKind::InvalidInput, retry(|| vfs.open(&dir, mode)).await);
    }
    assert!(retry(|| vfs.remove(&dir)).await.is_err(), "remove takes files only");
    assert!(
        retry(|| async { vfs.link(&dir, &case.path("new")).await }).await.is_err(),
        "link takes files only"
    );
    assert!(retry(|| vfs.rename(&file, &dir)).await.is_err(), "rename replaces files only");
    assert!(retry(|| vfs.list(&file)).await.is_err(), "list takes directories only");
    assert!(vfs.lock(&file).await.is_err(), "lock takes directories only");
    assert!(retry(|| vfs.sync_dir(&file)).await.is_err(), "sync_dir takes directories only");
    assert_eq!(case.names().await, ["dir", "file"]);
}

async fn link_is_create_once<V: Vfs>(vfs: &V, root: &Path) {
    let case = Case::new(vfs, root, "link_is_create_once").await;
    let first = case.file("a.tmp", b"first").await;
    let second = case.file("b.tmp", b"second").await;
    let name = case.path("name");
    assert_eq!(case.ok("link_count", first.link_count().await), 1);

    case.ok("link", retry(|| async { vfs.link(&case.path("a.tmp"), &name).await }).await);
    let loser = retry(|| async { vfs.link(&case.path("b.tmp"), &name).await }).await;
    case.fails("link to a taken name", ErrorKind::AlreadyExists, loser);
    let again = retry(|| async { vfs.link(&case.path("a.tmp"), &name).await }).await;
    case.fails("link of the same file again", ErrorKind::AlreadyExists, again);
    assert_eq!(case.ok("link_count", first.link_count().await), 2);
    assert_eq!(case.ok("link_count", second.link_count().await), 1);

    // Both names are one file.
    let named = case.ok("open", retry(|| vfs.open(&name, OpenMode::Write)).await);
    case.write(&named, 0, b"F").await;
    assert_eq!(case.read(&first, 0, 10).await, b"First");
    case.ok("remove", retry(|| async { vfs.remove(&case.path("a.tmp")).await }).await);
    assert_eq!(case.ok("link_count", named.link_count().await), 1);
    assert_eq!(case.names().await, ["b.tmp", "name"]);
}

async fn rename_replaces<V: Vfs>(vfs: &V, root: &Path) {
    let case = Case::new(vfs, root, "rename_replaces").await;
    let (from, to) = (case.path("from"), case.path("to"));
    let moved = case.file("from", b"new").await;
    let replaced = case.file("to", b"old").await;
    case.ok("rename", retry(|| vfs.rename(&from, &to)).await);
    assert_eq!(case.names().await, ["to"]);
    let opened = case.ok("open", retry(|| vfs.open(&to, OpenMode::Read)).await);
    assert_eq!(case.read(&opened, 0, 10).await, b"new");
    // Open files go with the file, not with the name.
    assert_eq!(case.read(&moved, 0, 10).await, b"new");
    assert_eq!(case.read(&replaced, 0, 10).await, b"old");
    assert_eq!(case.ok("link_count", moved.link_count().await), 1);
    assert_eq!(case.ok("link_count", replaced.link_count().await), 0);

    // Into another directory, under a free name.
    let far = case.path("dir/far");
    case.ok("create_dir", retry(|| async { vfs.create_dir(&case.path("dir")).await }).await);
    case.ok("rename", retry(|| vfs.rename(&to, &far)).await);
    case.ok("rename to itself", retry(|| vfs.rename(&far, &far)).await);
    assert_eq!(case.names().await, ["dir"]);
    let opened = case.ok("open", retry(|| vfs.open(&far, OpenMode::Read)).await);
    assert_eq!(case.read(&opened, 0, 10).await, b"new");

    let (folder, aside) = (case.path("folder"), case.path("aside"));
    case.ok("create_dir", retry(|| vfs.create_dir(&folder)).await);
    case.ok("rename of a directory", retry(|| vfs.rename(&folder, &aside)).await);
    case.ok("create_dir", retry(|| vfs.create_dir(&folder)).await);
    assert!(
        retry(|| vfs.rename(&aside, &folder)).await.is_err(),
        "a directory replaces nothing, not even an empty one"
    );
}

async fn removed_names_are_gone<V: Vfs>(vfs: &V, root: &Path) {
    let case = Case::new(vfs, root, "removed_names_are_gone").await;
    let path = case.path("file");
    case.file("file", b"old").await;
    case.ok("remove", retry(|| vfs.remove(&path)).await);
    case.fails("remove", ErrorKind::NotFound, retry(|| vfs.remove(&path)).await);
    case.fails("open", ErrorKind::NotFound, retry(|| vfs.open(&path, OpenMode::Read)).await);
    assert!(case.names().await.is_empty());
    let file = case.file("file", b"").await;
    assert_eq!(case.ok("len", len(&file).await), 0, "a new file of an old name is empty");
}

async fn open_files_survive_their_names<V: Vfs>(vfs: &V, root: &Path) {
    let case = Case::new(vfs, root, "open_files_survive_their_names").await;
    let file = case.file("file", b"content").await;
    case.ok("remove", retry(|| async { vfs.remove(&case.path("file")).await }).await);
    case.write(&file, 7, b" goes on").await;
    assert_eq!(case.read(&file, 0, 100).await, b"content goes on");
    assert_eq!(case.ok("link_count", file.link_count().await), 0);
}

async fn lists_are_sorted<V: Vfs>(vfs: &V, root: &Path) {
    let case = Case::new(vfs, root, "lists_are_sorted").await;
    assert!(case.names().await.is_empty());
    for name in ["b", "a10", "ä", "a2", "A", "a"] {
        case.file(name, b"").await;
    }
    case.ok("create_dir", retry(|| async { vfs.create_dir(&case.path("aa")).await }).await);
    case.ok("create_new", retry(|| async { vfs.create_new(&case.path("aa/hidden")).await }).await);
    let entries = case.ok("list", retry(|| vfs.list(&case.dir)).await);
    let expected = ["A", "a", "a10", "a2", "aa", "b", "ä"].map(|name| {
        let kind = if name == "aa" { EntryKind::Directory } else { EntryKind::File };
        Entry { name: name.to_owned(), kind }
    });
    assert_eq!(entries, expected);
}

async fn locks_exclude<V: Vfs>(vfs: &V, root: &Path) {
    let case = Case::new(vfs, root, "locks_exclude").await;
    let (one, two) = (case.path("one"), case.path("two"));
    case.ok("create_dir", retry(|| vfs.create_dir(&one)).await);
    case.ok("create_dir", retry(|| vfs.create_dir(&two)).await);
    let lock = case.ok("lock", vfs.lock(&one).await);
    case.fails("second lock", ErrorKind::WouldBlock, vfs.lock(&one).await);
    case.fails("second lock by a clone", ErrorKind::WouldBlock, vfs.clone().lock(&one).await);
    let other = case.ok("lock of another directory", vfs.lock(&two).await);
    // A locked directory is used as any other.
    case.ok("create_new", retry(|| async { vfs.create_new(&one.join("file")).await }).await);
    case.ok("sync_dir", retry(|| vfs.sync_dir(&one)).await);
    case.fails("lock after use", ErrorKind::WouldBlock, vfs.lock(&one).await);
    drop(lock);
    let again = case.ok("lock after release", vfs.lock(&one).await);
    case.fails("second lock", ErrorKind::WouldBlock, vfs.lock(&one).await);
    drop((other, again));
}

async fn directories_answer<V: Vfs>(vfs: &V, root: &Path) {
    let case = Case::new(vfs, root, "directories_answer").await;
    assert!(case.ok("free_space", retry(|| vfs.free_space(&case.dir)).await) > 0);
    case.ok("sync_dir", retry(|| vfs.sync_dir(&case.dir)).await);
    case.file("file", b"").await;
    case.ok("sync_dir", retry(|| vfs.sync_dir(&case.dir)).await);
    case.ok("sync_dir of the root", retry(|| vfs.sync_dir(root)).await);
}
