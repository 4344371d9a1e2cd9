//! A sink of files: what a core writes in an epoch becomes one file, which appears whole when the epoch is published.
//!
//! ```text
//! dir/{database:032x}-{timeline:032x}-{name}/    the sink's name, with %XX for a byte that is no letter, digit, _ - or .
//!     {epoch:020}-{core:05}-{token:020}.staged   pre-committed: its bytes and its name are durable
//!     {epoch:020}-{core:05}-{token:020}.rows     published
//!     {epoch:020}-{core:05}-{token:020}.tmp      its bytes, before it has either name for good
//!     {epoch:020}-{core:05}-{token:020}.aborted  aborted: the name that it had may come back
//! ```
//!
//! A reader takes the files `.rows` in the order of their names: that is by epoch, and by core within it. One file may appear
//! after a greater one; those of one core appear in order. Each sink of a database has a folder of its own: two may share `dir`.
//!
//! F1. A file is complete and durable before it is called staged, and never changed again.
//! F2. Publishing is one rename, durable before the commit says so.
//! F3. A name that is found, and whose sync may have failed in an earlier process, proves nothing (promise 3 of
//!     [`crate::vfs`]): a published file that is to be committed again gets a new inode under its name, a staged name that
//!     has gone is made and removed once more.
//! F4. From the giving of a name that counts, or its removal, to the sync of the folder nobody else gives one: a sync that
//!     fails loses the names of all, and tells only one of them. Bytes are written side by side.
//! F5. What was in doubt and is not listed any more never comes back. What is aborted keeps a mark until its staged name is gone
//!     for good: without, a process that dies behind a sync that failed leaves a name that the cache does not have and the disk
//!     does. What is published again takes its staged name along.

use std::fmt::{self, Write as _};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Bytes, BytesMut};

use super::buffer::{Buffer, Taken};
use super::{Commit, Part, Prepared, Recovered, Sink, SinkError, SinkErrorKind, SinkLife, SinkResult};
use crate::env::{Entropy, Env, StdEnv};
use crate::error::is_full;
use crate::ids::{CoreId, Epoch, FencingToken, Nonce};
use crate::sync::unpoisoned;
use crate::turns::Turns;
use crate::vfs::{File, OpenMode, Vfs, read_full_at, renew_dir, retry, write_all_at};

/// Transactions that may be in doubt, unless told otherwise.
const IN_DOUBT_MAX: u64 = 4_096;

/// Bytes that the sink's name takes in that of its folder: with the rest, a file system takes it.
const NAME_BYTES_MAX: usize = 180;

/// Bytes that are copied at once.
const COPY_BYTES: usize = 1 << 20;

/// A sink of files, below a directory of its own. Clones are the same sink.
///
/// ```no_run
/// use highwater::sink::FileSink;
/// use highwater::{CoreId, Engine, EpochMark, Opened, Options};
///
/// # fn main() -> Result<(), highwater::Error> {
/// let sink = FileSink::new("out");
/// let options = Options::new("data").sink("rows", sink.clone());
/// let Opened { engine, mut cores, .. } = Engine::open(options)?;
/// cores[0].put(b"balance", b"100")?;
/// sink.write(CoreId(0), b"balance is 100 now\n");
/// let epoch = cores[0].close_epoch(EpochMark::new())?; // the rows are staged, and in doubt
/// engine.wait_published(epoch)?; // a checkpoint decided them, and they are a file that anybody may read
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct FileSink<E: Env = StdEnv> {
    inner: Arc<Inner<E>>,
}

struct Inner<E> {
    env: E,
    dir: PathBuf,
    in_doubt_max: u64,
    buffer: Buffer,
    life: Mutex<Option<SinkLife>>,
    /// Who gives names (F4).
    naming: Arc<Turns>,
}

/// A file that a [`FileSink`] has published.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Published {
    /// Whose rows it holds.
    pub part: Part,
    /// The life that wrote it.
    pub token: FencingToken,
    /// Where it is.
    pub path: PathBuf,
}

impl FileSink {
    /// A sink below the directory `dir`, which is made if its parent is there.
    pub fn new(dir: impl AsRef<Path>) -> Self {
        Self::in_env(StdEnv, dir)
    }
}

impl<E: Env> FileSink<E> {
    /// [`FileSink::new`] in any environment.
    pub fn in_env(env: E, dir: impl AsRef<Path>) -> Self {
        let dir = dir.as_ref().to_owned();
        let (buffer, life, naming) = (Buffer::default(), Mutex::default(), Arc::default());
        Self { inner: Arc::new(Inner { env, dir, in_doubt_max: IN_DOUBT_MAX, buffer, life, naming }) }
    }

    /// How many files may wait for a checkpoint, over all cores: then epochs do not end. Default 4,096.
    ///
    /// # Panics
    ///
    /// When there are clones already.
    #[must_use]
    pub fn in_doubt_max(mut self, files: u64) -> Self {
        let inner = Arc::get_mut(&mut self.inner).expect("set before the sink is cloned");
        inner.in_doubt_max = files;
        self
    }

    /// Writes rows in the open epoch of `core`. They are held in memory until it ends.
    pub fn write(&self, core: CoreId, rows: &[u8]) {
        self.inner.buffer.write(core, rows);
    }

    /// What this database and timeline have published, in order.
    ///
    /// # Errors
    ///
    /// Those of listing the directory. `Other` before an open has recovered the sink: which database it is of is not known
    /// until then.
    pub async fn published(&self) -> io::Result<Vec<Published>> {
        let folder = self.folder().map_err(io::Error::other)?;
        let names = self.names(&folder).await?;
        let published = names.into_iter().filter(|(_, kind)| *kind == Kind::Rows);
        Ok(published
            .map(|(name, kind)| Published {
                part: name.part,
                token: name.token,
                path: folder.join(name.file(kind)),
            })
            .collect())
    }

    fn folder(&self) -> SinkResult<PathBuf> {
        match &*self.life() {
            Some(life) => Ok(self.inner.dir.join(folder_of(life))),
            None => {
                Err(SinkError::new(SinkErrorKind::Refused, "the sink has not been opened with a database"))
            }
        }
    }

    fn life(&self) -> MutexGuard<'_, Option<SinkLife>> {
        unpoisoned(self.inner.life.lock())
    }

    fn vfs(&self) -> io::Result<E::Vfs> {
        self.inner.env.vfs()
    }

    /// The sink's files in `folder`, sorted.
    async fn names(&self, folder: &Path) -> io::Result<Vec<(Name, Kind)>> {
        let vfs = self.vfs()?;
        let entries = retry(|| vfs.list(folder)).await?;
        let mut names: Vec<_> = entries.iter().filter_map(|entry| Name::parse(&entry.name)).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Makes the folder of `life`, durably.
    async fn make_folder(&self, life: &SinkLife) -> io::Result<PathBuf> {
        let (vfs, dir, name) = (self.vfs()?, &self.inner.dir, folder_of(life));
        let folder = dir.join(&name);
        let is_used = match retry(|| vfs.list(&folder)).await {
            Ok(entries) => !entries.is_empty(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        // What is in it was put there after its name was durable. Before, a sync of the name may have failed (F3).
        if !is_used {
            self.make_again(dir, |entry| *entry == name).await?;
            self.make_again(&folder, |_| false).await?;
        }
        retry(|| vfs.sync_dir(dir)).await?;
        match dir.parent() {
            Some(parent) if parent.as_os_str().is_empty() => retry(|| vfs.sync_dir(Path::new("."))).await?,
            Some(parent) => retry(|| vfs.sync_dir(parent)).await?,
            None => {}
        }
        Ok(folder)
    }

    /// Makes the directory `path`, or its name anew if it is there and holds nothing but what is `unused`.
    async fn make_again(&self, path: &Path, unused: impl Fn(&String) -> bool) -> io::Result<()> {
        let vfs = self.vfs()?;
        match retry(|| vfs.create_dir(path)).await {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made,
        }
        let entries = retry(|| vfs.list(path)).await?;
        if entries.iter().all(|entry| unused(&entry.name)) {
            renew_dir(&vfs, path, self.inner.env.entropy().nonce()).await?;
        }
        Ok(())
    }

    /// Writes a file, durably but for its name, in the place of whatever has the name.
    async fn write_file(&self, path: &Path, rows: Bytes) -> io::Result<()> {
        let vfs = self.vfs()?;
        remove_if_there(&vfs, path).await?;
        let file = retry(|| vfs.create_new(path)).await?;
        write_all_at(&file, 0, rows).await?;
        retry(|| file.sync_data()).await
    }

    /// Removes those of `names` that never became anything, and what was not aborted to its end; what stays is removed by the
    /// next life.
    async fn clear(&self, folder: &Path, names: &[(Name, Kind)]) -> io::Result<()> {
        let vfs = self.vfs()?;
        for (name, kind) in names {
            match kind {
                Kind::Temp => drop(remove_if_there(&vfs, &folder.join(name.file(*kind))).await?),
                Kind::Aborted => self.bury(folder, *name).await?,
                Kind::Staged | Kind::Rows => {}
            }
        }
        Ok(())
    }

    /// Makes sure that the staged name of what has a mark is gone for good, and removes the mark (F5).
    async fn bury(&self, folder: &Path, name: Name) -> io::Result<()> {
        let (vfs, [staged, mark]) = (self.vfs()?, name.places(folder, [Kind::Staged, Kind::Aborted]));
        let turn = Arc::clone(&self.inner.naming).take().await;
        if !remove_if_there(&vfs, &staged).await? {
            // Its removal may be known to the cache alone (F3).
            drop(retry(|| vfs.create_new(&staged)).await?);
            retry(|| vfs.remove(&staged)).await?;
        }
        retry(|| vfs.sync_dir(folder)).await?;
        drop(turn);
        remove_if_there(&vfs, &mark).await.map(drop)
    }

    /// Gives the published file of `name` a new inode under its name (F3).
    async fn publish_again(&self, folder: &Path, name: Name) -> io::Result<()> {
        let vfs = self.vfs()?;
        let [staged, rows, temp] = name.places(folder, [Kind::Staged, Kind::Rows, Kind::Temp]);
        let source = retry(|| vfs.open(&rows, OpenMode::Read)).await?;
        remove_if_there(&vfs, &temp).await?;
        let target = retry(|| vfs.create_new(&temp)).await?;
        let mut at = 0;
        loop {
            let (mut bytes, count) = read_full_at(&source, at, BytesMut::zeroed(COPY_BYTES)).await?;
            bytes.truncate(count);
            if count == 0 {
                break;
            }
            write_all_at(&target, at, bytes.freeze()).await?;
            at += count as u64;
        }
        retry(|| target.sync_data()).await?;
        // The staged name may have gone from the cache alone (F5).
        self.rename(folder, &[&temp, &staged, &rows]).await
    }

    /// Gives a file in `folder` the next of its `names` until it has the last, durably (F4).
    async fn rename(&self, folder: &Path, names: &[&Path]) -> io::Result<()> {
        let vfs = self.vfs()?;
        let _turn = Arc::clone(&self.inner.naming).take().await;
        for step in names.windows(2) {
            retry(|| vfs.rename(step[0], step[1])).await?;
        }
        retry(|| vfs.sync_dir(folder)).await
    }
}

impl<E: Env> Sink for FileSink<E> {
    async fn recover(&self, life: &SinkLife) -> SinkResult<Recovered> {
        let name_bytes = escaped(&life.name).len();
        if name_bytes > NAME_BYTES_MAX {
            let what = format!(
                "`{}` takes {name_bytes} bytes in the name of a folder, over {NAME_BYTES_MAX}: give the sink a shorter name",
                life.name
            );
            return Err(SinkError::new(SinkErrorKind::Refused, what));
        }
        *self.life() = Some(life.clone());
        self.inner.buffer.clear();
        let folder = self.make_folder(life).await.map_err(|error| failed("making the folder", &error))?;
        let names = self.names(&folder).await.map_err(|error| failed("listing", &error))?;
        self.clear(&folder, &names).await.map_err(|error| failed("removing a file", &error))?;
        let published = names.iter().filter(|(_, kind)| *kind == Kind::Rows);
        let published = published.map(|(name, _)| name.part.epoch).max();
        Ok(Recovered { published, in_doubt_max: self.inner.in_doubt_max })
    }

    async fn pre_commit(&self, part: Part) -> SinkResult<Option<Vec<u8>>> {
        let rows = match self.inner.buffer.take(part) {
            Taken::Done(handle) => return Ok(handle),
            Taken::Rows(rows) => rows,
        };
        let folder = self.folder()?;
        let Some(token) = self.life().as_ref().map(|life| life.token) else {
            return Err(SinkError::new(SinkErrorKind::Refused, "the sink has no life"));
        };
        let name = Name { part, token };
        let [staged, temp] = name.places(&folder, [Kind::Staged, Kind::Temp]);
        let written = self.write_file(&temp, rows).await;
        let named = match written {
            Ok(()) => self.rename(&folder, &[&temp, &staged]).await,
            failed => failed,
        };
        named.map_err(|error| failed("staging", &error))?;
        let handle = name.handle(&folder);
        self.inner.buffer.done(part, handle.clone());
        Ok(Some(handle))
    }

    async fn commit(&self, handle: &[u8]) -> SinkResult<Commit> {
        let (folder, name) = self.place_of(handle)?;
        let [staged, rows] = name.places(&folder, [Kind::Staged, Kind::Rows]);
        let published = match self.rename(&folder, &[&staged, &rows]).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match self.publish_again(&folder, name).await {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        return self.missing(&folder, name).await;
                    }
                    again => again,
                }
            }
            done => done,
        };
        published.map(|()| Commit::Done).map_err(|error| failed("publishing", &error))
    }

    async fn abort(&self, handle: &[u8]) -> SinkResult<()> {
        let (folder, name) = self.place_of(handle)?;
        let [staged, mark] = name.places(&folder, [Kind::Staged, Kind::Aborted]);
        let aborted = async {
            match self.rename(&folder, &[&staged, &mark]).await {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let names = self.names(&folder).await?;
                    if names.contains(&(name, Kind::Aborted)) {
                        self.bury(&folder, name).await
                    } else {
                        Ok(())
                    }
                }
                Ok(()) => remove_if_there(&self.vfs()?, &mark).await.map(drop),
                failed => failed,
            }
        };
        aborted.await.map_err(|error| failed("removing a staged file", &error))
    }

    async fn in_doubt(&self) -> SinkResult<Vec<Prepared>> {
        let folder = self.folder()?;
        let names = self.names(&folder).await.map_err(|error| failed("listing", &error))?;
        let staged = names.iter().filter(|(name, kind)| {
            // What has both names was published, and the removal of the first one did not last.
            *kind == Kind::Staged && names.binary_search(&(*name, Kind::Rows)).is_err()
        });
        let prepared = staged.map(|(name, _)| Prepared {
            token: name.token,
            part: name.part,
            handle: name.handle(&folder),
        });
        Ok(prepared.collect())
    }

    async fn forget(&self, _: Epoch) -> SinkResult<()> {
        Ok(())
    }
}

impl<E: Env> FileSink<E> {
    /// Where the file of `handle` is.
    fn place_of(&self, handle: &[u8]) -> SinkResult<(PathBuf, Name)> {
        let parsed = std::str::from_utf8(handle).ok().and_then(|text| {
            let (folder, stem) = text.split_once('/')?;
            let (name, _) = Name::parse(&format!("{stem}.{}", Kind::Rows.extension()))?;
            is_folder(folder).then(|| (self.inner.dir.join(folder), name))
        });
        parsed.ok_or_else(|| {
            let what = format!("\"{}\" is no handle of a sink of files", handle.escape_ascii());
            SinkError::new(SinkErrorKind::Refused, what)
        })
    }

    /// What is neither staged nor published is lost, if the folder can be read.
    async fn missing(&self, folder: &Path, name: Name) -> SinkResult<Commit> {
        let names = self.names(folder).await.map_err(|error| failed("listing", &error))?;
        if names.iter().any(|(found, kind)| *found == name && *kind != Kind::Temp) {
            return Err(SinkError::new(SinkErrorKind::Unavailable, "the folder has changed meanwhile"));
        }
        Ok(Commit::Lost)
    }
}

impl<E: Env> fmt::Debug for FileSink<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileSink({})", self.inner.dir.display())
    }
}

/// What a file of the sink is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Rows,
    Staged,
    Temp,
    Aborted,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Rows, Self::Staged, Self::Temp, Self::Aborted];

    fn extension(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Staged => "staged",
            Self::Temp => "tmp",
            Self::Aborted => "aborted",
        }
    }
}

/// The name of a file, without its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    part: Part,
    token: FencingToken,
}

impl Name {
    fn stem(self) -> String {
        let Self { part: Part { epoch, core }, token } = self;
        format!("{:020}-{:05}-{:020}", epoch.0, core.0, token.0)
    }

    fn file(self, kind: Kind) -> String {
        format!("{}.{}", self.stem(), kind.extension())
    }

    /// Where the files of these kinds are in `folder`.
    fn places<const N: usize>(self, folder: &Path, kinds: [Kind; N]) -> [PathBuf; N] {
        kinds.map(|kind| folder.join(self.file(kind)))
    }

    /// The handle of a file in `folder`.
    fn handle(self, folder: &Path) -> Vec<u8> {
        let folder = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        format!("{folder}/{}", self.stem()).into_bytes()
    }

    /// The name and kind of the file `name`; `None` unless it is exactly what [`Name::file`] says.
    fn parse(name: &str) -> Option<(Self, Kind)> {
        let (stem, extension) = name.split_once('.')?;
        let kind = Kind::ALL.into_iter().find(|kind| kind.extension() == extension)?;
        let mut numbers = stem.split('-').map(str::parse::<u64>);
        let [epoch, core, token] = [(); 3].map(|()| numbers.next());
        let part = Part { epoch: Epoch(epoch?.ok()?), core: CoreId(core?.ok()?.try_into().ok()?) };
        let parsed = Self { part, token: FencingToken(token?.ok()?) };
        (parsed.stem() == stem).then_some((parsed, kind))
    }
}

/// The folder of a life's files: two sinks of one database name the same parts, and must not have them in one place.
fn folder_of(life: &SinkLife) -> String {
    format!("{}-{}-{}", life.database, life.timeline, escaped(&life.name))
}

/// Whether `name` is what [`folder_of`] says of some life: 32 hexadecimal digits, twice, and a name; or nothing behind them, as
/// in handles that were given when folders had no name in theirs.
fn is_folder(name: &str) -> bool {
    let number =
        |text: &str| u128::from_str_radix(text, 16).ok().filter(|value| Nonce(*value).to_string() == text);
    let mut parts = name.splitn(3, '-');
    let mut is_number = || parts.next().is_some_and(|part| number(part).is_some());
    is_number() && is_number() && parts.next().is_none_or(is_escaped)
}

/// A sink's name as a part of a file's.
fn escaped(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        if is_plain(byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// Whether `text` is what [`escaped`] says of some name.
fn is_escaped(text: &str) -> bool {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let digits = if first == b'%' { behind.get(..2) } else { None };
        let code = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &behind[2..] } else { behind };
    }
    String::from_utf8(bytes).is_ok_and(|name| escaped(&name) == text)
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-.".contains(&byte)
}

async fn remove_if_there<V: Vfs>(vfs: &V, path: &Path) -> io::Result<bool> {
    match retry(|| vfs.remove(path)).await {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn failed(doing: &str, error: &io::Error) -> SinkError {
    let kind = if is_full(error) { SinkErrorKind::Unavailable } else { SinkErrorKind::Unknown };
    SinkError::new(kind, format!("{doing}: {error}"))
}
