//! A sink of PostgreSQL: what a core writes in an epoch is one prepared transaction.
//!
//! ```text
//! recover      the token into highwater_writers · the connections of earlier lives are ended
//! pre_commit   BEGIN · a row in highwater_published · COPY … FROM STDIN · PREPARE TRANSACTION 'hw/…'
//! commit       COMMIT PREPARED 'hw/…'       unknown to the server? its row in highwater_published tells whether it was committed
//! abort        ROLLBACK PREPARED 'hw/…'
//! in_doubt     pg_prepared_xacts
//! name         hw/{database:032x}/{timeline:032x}/{sink}/{token}/{epoch}/{core}
//! ```
//!
//! P1. The row in `highwater_published` is part of the transaction: it is there if and only if the other rows are.
//! P2. A life begins by raising its sink's token in `highwater_writers`, and only then ends the server's processes of
//!     the lives before, which are known by their application name (K6). Every transaction looks at the token first.
//!     So one that has seen an older token is of a process that was there when the others were ended, and no later
//!     one gets so far. Nothing locks the row: a prepared transaction would hold the lock, and the life that is to
//!     commit it could not begin.
//! P3. Before a call is repeated whose reply was lost, the server's process that may still be at work on it is ended:
//!     the very one, for numbers of processes come again.
//! P4. A connection on which anything failed is not used again, for the replies that it still has are of unknown statements: a
//!     refused COPY leaves one (<https://github.com/rust-postgres/rust-postgres/issues/789>).

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use postgres::error::SqlState;
use postgres::types::ToSql;
use postgres::{Client, Config, NoTls};

use super::buffer::{Buffer, Taken};
use super::{Commit, Part, Prepared, Recovered, Sink, SinkError, SinkErrorKind, SinkLife, SinkResult};
use crate::codec::crc;
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{CoreId, Epoch, FencingToken};
use crate::sync::unpoisoned;

/// Longest name of a sink, so that the name of a transaction keeps the server's limit of 199 bytes.
const NAME_BYTES_MAX: usize = 64;

/// How long the server may take to answer a connection, and a statement unless told otherwise (K7).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes of rows in one message of a COPY: the protocol ends a message at 1 GiB, and the server holds one in memory.
const COPY_BYTES: usize = 1 << 20;

/// How often it is looked whether processes of the server that were told to end are gone, 50 ms apart.
const LOOKS_MAX: u32 = 200;

/// When a process of the server began: as a number, because how a session shows a time is a matter of its settings.
const SINCE_US: &str = "(extract(epoch FROM backend_start) * 1000000)::bigint";

/// What is said to those who make a table that another has just made.
const DUPLICATE: [SqlState; 2] = [SqlState::DUPLICATE_TABLE, SqlState::UNIQUE_VIOLATION];

/// Made only where they are not: to make an index waits for every transaction that has written to the table, and those that are
/// in doubt wait for this life.
const TABLES: [(&str, &str); 2] = [
    (
        "highwater_published",
        "CREATE TABLE highwater_published (
             database text NOT NULL, timeline text NOT NULL, sink text NOT NULL,
             epoch bigint NOT NULL, core integer NOT NULL, token bigint NOT NULL);
         CREATE INDEX ON highwater_published (database, timeline, sink, epoch, core);",
    ),
    (
        "highwater_writers",
        "CREATE TABLE highwater_writers (
             database text NOT NULL, timeline text NOT NULL, sink text NOT NULL,
             token bigint NOT NULL, PRIMARY KEY (database, timeline, sink));",
    ),
];

/// A sink of a PostgreSQL database, by prepared transactions. Clones are the same sink.
///
/// The server needs `max_prepared_transactions` of at least one for each core; how many epochs can wait for a checkpoint
/// follows from it. Calls block their thread, and must not be made on a thread of a tokio runtime: end epochs by
/// [`CoreHandle::close_epoch`](crate::CoreHandle::close_epoch) on a thread of the core's own. Connections are not
/// encrypted.
///
/// The rows of a core's epoch are held in memory, and copied within [`statement_timeout`](Self::statement_timeout). The server
/// takes no row, and no field, of 1 GiB or more.
#[derive(Clone)]
pub struct PostgresSink {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    copy: String,
    statement_timeout: Option<Duration>,
    buffer: Buffer,
    life: Mutex<Option<SinkLife>>,
    /// Connections that nobody uses now: one for each core, and one for everything else.
    lanes: Mutex<BTreeMap<Option<CoreId>, Lane>>,
}

/// A connection, or the server's process of one that failed.
enum Lane {
    Open(Box<Client>, Process),
    Broken(Process),
}

/// A process of the server: its number, and when it began, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: i32,
    since_us: i64,
}

impl PostgresSink {
    /// A sink of the database that `url` names (`postgres://user:password@host/database`, or `key=value …`). `copy` is the
    /// statement that takes the rows: `COPY departures (id, carrier) FROM STDIN`.
    ///
    /// # Errors
    ///
    /// `Invalid` when the URL cannot be read, or the statement copies from anywhere else.
    pub fn new(url: &str, copy: impl Into<String>) -> Result<Self> {
        let mut config: Config = url.parse().map_err(|error| {
            Error::new(ErrorCode::SinkSettings, format!("the URL of the PostgreSQL server: {error}"))
        })?;
        config.connect_timeout(CONNECT_TIMEOUT).keepalives_idle(CONNECT_TIMEOUT);
        // A server that is gone without a word is noticed.
        config.tcp_user_timeout(3 * CONNECT_TIMEOUT);
        let copy = copy.into();
        let upper = copy.to_uppercase();
        if !upper.trim_start().starts_with("COPY ") || !upper.contains("FROM STDIN") {
            return Err(Error::new(ErrorCode::SinkSettings, format!("\"{copy}\" is no COPY … FROM STDIN")));
        }
        let (buffer, life, lanes) = (Buffer::default(), Mutex::default(), Mutex::default());
        Ok(Self { inner: Arc::new(Inner { config, copy, statement_timeout: None, buffer, life, lanes }) })
    }

    /// How long the server may take for one statement: a COPY of an epoch's rows takes the longest. Default: what the URL says
    /// (`options='-c statement_timeout=…'`), else 60 seconds. A statement that takes longer has failed, and is made again.
    ///
    /// # Panics
    ///
    /// When it is shorter than a millisecond, or there are clones already.
    #[must_use]
    pub fn statement_timeout(mut self, limit: Duration) -> Self {
        assert!(limit.as_millis() > 0, "a statement takes some time, and {limit:?} is none");
        let inner = Arc::get_mut(&mut self.inner).expect("set before the sink is cloned");
        inner.statement_timeout = Some(limit);
        self
    }

    /// Writes rows in the open epoch of `core`, in the format of the COPY statement: as text, a line each, columns apart by
    /// tabs. They are held in memory until the epoch ends.
    pub fn write(&self, core: CoreId, rows: &[u8]) {
        self.inner.buffer.write(core, rows);
    }

    fn life(&self) -> SinkResult<SinkLife> {
        let life = unpoisoned(self.inner.life.lock()).clone();
        life.ok_or_else(|| refused("the sink has not been opened with a database"))
    }

    fn lanes(&self) -> MutexGuard<'_, BTreeMap<Option<CoreId>, Lane>> {
        unpoisoned(self.inner.lanes.lock())
    }

    /// Does `work` on the connection of `lane`. `again` says that an earlier try may be under way still (P3).
    fn on<T>(
        &self,
        lane: Option<CoreId>,
        work: impl FnOnce(&mut Client, bool) -> SinkResult<T>,
    ) -> SinkResult<T> {
        let there = self.lanes().remove(&lane);
        let (mut client, process, again) = match there {
            Some(Lane::Open(client, process)) if !client.is_closed() => (client, process, false),
            Some(Lane::Open(_, before) | Lane::Broken(before)) => {
                let connected = self.connect().and_then(|(mut client, process)| {
                    let Process { pid, since_us } = before;
                    let those = format!("pid = $1 AND {SINCE_US} = $2 AND application_name = $3");
                    end(&mut client, &those, &[&pid, &since_us, &application(&self.life()?)])?;
                    Ok((client, process))
                });
                match connected {
                    Ok((client, process)) => (Box::new(client), process, true),
                    Err(error) => {
                        self.lanes().insert(lane, Lane::Broken(before));
                        return Err(error);
                    }
                }
            }
            None => self.connect().map(|(client, process)| (Box::new(client), process, false))?,
        };
        let done = work(&mut client, again);
        let lane_now = if done.is_ok() { Lane::Open(client, process) } else { Lane::Broken(process) };
        self.lanes().insert(lane, lane_now);
        done
    }

    fn connect(&self) -> SinkResult<(Client, Process)> {
        let doing = |error: postgres::Error| failed("connecting", &error);
        let mut config = self.inner.config.clone();
        config.application_name(&application(&self.life()?));
        let mut client = config.connect(NoTls).map_err(doing)?;
        // What only this sink asks for must last, too: the token of a life.
        let set = "SET standard_conforming_strings = on; \
                   SELECT set_config('synchronous_commit', 'on', false) \
                   WHERE current_setting('synchronous_commit') = 'off'";
        client.batch_execute(set).map_err(doing)?;
        if let Some(limit) = self.statement_limit() {
            let limit_ms = limit.as_millis().min(i32::MAX as u128);
            client.batch_execute(&format!("SET statement_timeout = {limit_ms}")).map_err(doing)?;
        }
        let query = format!("SELECT pid, {SINCE_US} FROM pg_stat_activity WHERE pid = pg_backend_pid()");
        let row = client.query_one(&query, &[]).map_err(doing)?;
        Ok((client, Process { pid: row.get(0), since_us: row.get(1) }))
    }

    /// What a connection sets; `None` when its URL does.
    fn statement_limit(&self) -> Option<Duration> {
        let of_url = self.inner.config.get_options().unwrap_or_default();
        match self.inner.statement_timeout {
            None if of_url.contains("statement_timeout") => None,
            limit => Some(limit.unwrap_or(STATEMENT_TIMEOUT)),
        }
    }

    /// Prepares the transaction `gid`, unless a later life has begun (P2).
    fn prepare(&self, client: &mut Client, name: &Name, gid: &str, rows: &[u8]) -> SinkResult<()> {
        let doing = |error: postgres::Error| failed("preparing", &error);
        client.batch_execute("BEGIN").map_err(doing)?;
        let (epoch, token) = (signed(name.part.epoch.0), signed(name.token.0));
        let marker = "INSERT INTO highwater_published \
                      SELECT $1::text, $2::text, $3::text, $4::bigint, $5::integer, $6::bigint \
                      WHERE NOT EXISTS (SELECT 1 FROM highwater_writers \
                          WHERE database = $1 AND timeline = $2 AND sink = $3 AND token > $6)";
        let core = i32::from(name.part.core.0);
        let values: [&(dyn ToSql + Sync); 6] =
            [&name.database, &name.timeline, &name.sink, &epoch, &core, &token];
        if client.execute(marker, &values).map_err(doing)? == 0 {
            return Err(over(name.token));
        }
        let mut writer = client.copy_in(self.inner.copy.as_str()).map_err(doing)?;
        for chunk in rows.chunks(COPY_BYTES) {
            // What went wrong is told by the end of the copy.
            let _ = writer.write_all(chunk);
        }
        writer.finish().map_err(doing)?;
        client.batch_execute(&format!("PREPARE TRANSACTION '{gid}'")).map_err(doing)
    }
}

impl Sink for PostgresSink {
    async fn recover(&self, life: &SinkLife) -> SinkResult<Recovered> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        if life.name.len() > NAME_BYTES_MAX || !life.name.bytes().all(plain) {
            let what =
                format!("`{}`: letters, digits, _ - . name a sink, {NAME_BYTES_MAX} at most", life.name);
            return Err(refused(what));
        }
        self.lanes().clear();
        self.inner.buffer.clear();
        *unpoisoned(self.inner.life.lock()) = Some(life.clone());
        self.on(None, |client, _| {
            let doing = |error: postgres::Error| failed("recovering", &error);
            make_tables(client)?;
            raise_token(client, life)?;
            end(client, "application_name = $1", &[&application(life)])?;
            let row = client
                .query_one("SELECT current_setting('max_prepared_transactions')::bigint", &[])
                .map_err(doing)?;
            let in_doubt_max = u64::try_from(row.get::<_, i64>(0)).unwrap_or(0);
            if in_doubt_max == 0 {
                return Err(refused("the server has max_prepared_transactions = 0: set it, and restart the server"));
            }
            let of = [life.database.to_string(), life.timeline.to_string(), life.name.clone()];
            let row = client
                .query_one(
                    "SELECT max(epoch) FROM highwater_published WHERE database = $1 AND timeline = $2 AND sink = $3",
                    &[&of[0], &of[1], &of[2]],
                )
                .map_err(doing)?;
            let published = row.get::<_, Option<i64>>(0).and_then(|epoch| u64::try_from(epoch).ok()).map(Epoch);
            Ok(Recovered { published, in_doubt_max })
        })
    }

    async fn pre_commit(&self, part: Part) -> SinkResult<Option<Vec<u8>>> {
        let rows = match self.inner.buffer.take(part) {
            Taken::Done(handle) => return Ok(handle),
            Taken::Rows(rows) => rows,
        };
        let name = Name::of(&self.life()?, part);
        let gid = name.gid();
        self.on(Some(part.core), |client, again| {
            if again && is_prepared(client, &gid)? {
                return Ok(());
            }
            self.prepare(client, &name, &gid, &rows)
        })?;
        let handle = gid.into_bytes();
        self.inner.buffer.done(part, handle.clone());
        Ok(Some(handle))
    }

    async fn commit(&self, handle: &[u8]) -> SinkResult<Commit> {
        let name = Name::parse(handle)?;
        self.on(None, |client, _| match client.batch_execute(&format!("COMMIT PREPARED '{}'", name.gid())) {
            Ok(()) => Ok(Commit::Done),
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_OBJECT) => {
                let there = name.is_published(client)?;
                Ok(if there { Commit::Done } else { Commit::Lost })
            }
            Err(error) => Err(failed("committing", &error)),
        })
    }

    async fn abort(&self, handle: &[u8]) -> SinkResult<()> {
        let name = Name::parse(handle)?;
        self.on(None, |client, _| {
            match client.batch_execute(&format!("ROLLBACK PREPARED '{}'", name.gid())) {
                Err(error) if error.code() != Some(&SqlState::UNDEFINED_OBJECT) => {
                    Err(failed("rolling back", &error))
                }
                _ => Ok(()),
            }
        })
    }

    async fn in_doubt(&self) -> SinkResult<Vec<Prepared>> {
        let life = self.life()?;
        let prefix = format!("hw/{}/{}/{}/", life.database, life.timeline, life.name);
        let rows = self.on(None, |client, _| {
            let query = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database() AND \
                         left(gid, length($1)) = $1 ORDER BY gid";
            client.query(query, &[&prefix]).map_err(|error| failed("listing", &error))
        })?;
        let prepared = rows.iter().map(|row| {
            let gid: String = row.get(0);
            let name = Name::parse(gid.as_bytes())?;
            Ok(Prepared { token: name.token, part: name.part, handle: gid.into_bytes() })
        });
        prepared.collect()
    }

    async fn forget(&self, through: Epoch) -> SinkResult<()> {
        let life = self.life()?;
        let of = [life.database.to_string(), life.timeline.to_string(), life.name];
        self.on(None, |client, _| {
            // The last one stays: it says how far the database has published.
            let delete = "DELETE FROM highwater_published AS old \
                          WHERE database = $1 AND timeline = $2 AND sink = $3 AND epoch <= $4 AND epoch < ( \
                              SELECT max(epoch) FROM highwater_published \
                              WHERE database = $1 AND timeline = $2 AND sink = $3)";
            let done = client.execute(delete, &[&of[0], &of[1], &of[2], &signed(through.0)]);
            done.map(|_| ()).map_err(|error| failed("forgetting", &error))
        })
    }
}

impl fmt::Debug for PostgresSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the configuration, which has a password.
        write!(f, "PostgresSink({})", self.inner.copy)
    }
}

/// The name of a transaction, in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    database: String,
    timeline: String,
    sink: String,
    token: FencingToken,
    part: Part,
}

impl Name {
    fn of(life: &SinkLife, part: Part) -> Self {
        Self {
            database: life.database.to_string(),
            timeline: life.timeline.to_string(),
            sink: life.name.clone(),
            token: life.token,
            part,
        }
    }

    fn gid(&self) -> String {
        let Self { database, timeline, sink, token, part } = self;
        format!("hw/{database}/{timeline}/{sink}/{token}/{}/{}", part.epoch, part.core)
    }

    /// # Errors
    ///
    /// `Refused` unless it is exactly what [`Name::gid`] says of some name: it becomes part of a statement.
    fn parse(handle: &[u8]) -> SinkResult<Self> {
        let parsed = || {
            let text = std::str::from_utf8(handle).ok()?;
            let [_, database, timeline, sink, token, epoch, core] =
                text.split('/').collect::<Vec<_>>().try_into().ok()?;
            let part = Part { epoch: Epoch(epoch.parse().ok()?), core: CoreId(core.parse().ok()?) };
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
            let name = Self {
                database: database.to_owned(),
                timeline: timeline.to_owned(),
                sink: sink.to_owned(),
                token: FencingToken(token.parse().ok()?),
                part,
            };
            let words = [database, timeline, sink];
            (name.gid() == text && words.iter().all(|word| word.bytes().all(plain))).then_some(name)
        };
        parsed().ok_or_else(|| {
            refused(format!("\"{}\" is no handle of a sink of PostgreSQL", handle.escape_ascii()))
        })
    }

    /// Whether the transaction was committed (P1).
    fn is_published(&self, client: &mut Client) -> SinkResult<bool> {
        let query = "SELECT 1 FROM highwater_published WHERE database = $1 AND timeline = $2 AND sink = $3 \
                     AND epoch = $4 AND core = $5 AND token = $6";
        let (epoch, token) = (signed(self.part.epoch.0), signed(self.token.0));
        let core = i32::from(self.part.core.0);
        let row =
            client.query_opt(query, &[&self.database, &self.timeline, &self.sink, &epoch, &core, &token]);
        row.map(|row| row.is_some()).map_err(|error| failed("looking for a commit", &error))
    }
}

fn is_prepared(client: &mut Client, gid: &str) -> SinkResult<bool> {
    let row = client.query_opt("SELECT 1 FROM pg_prepared_xacts WHERE gid = $1", &[&gid]);
    row.map(|row| row.is_some()).map_err(|error| failed("looking for a transaction", &error))
}

fn make_tables(client: &mut Client) -> SinkResult<()> {
    let doing = |error: postgres::Error| failed("making the tables", &error);
    for (name, statements) in TABLES {
        let is_missing = client.query_one("SELECT to_regclass($1) IS NULL", &[&name]).map_err(doing)?;
        if is_missing.get(0) {
            match client.batch_execute(statements) {
                // Another database came first.
                Err(error) if DUPLICATE.iter().any(|code| error.code() == Some(code)) => {}
                made => made.map_err(doing)?,
            }
        }
    }
    Ok(())
}

/// From here on no transaction of an earlier life is prepared, but by those that are under way (P2).
///
/// # Errors
///
/// `Fenced` when a later life has come first.
fn raise_token(client: &mut Client, life: &SinkLife) -> SinkResult<()> {
    let raise = "INSERT INTO highwater_writers AS old VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (database, timeline, sink) DO UPDATE SET token = GREATEST(old.token, EXCLUDED.token) \
                 RETURNING token";
    let (database, timeline) = (life.database.to_string(), life.timeline.to_string());
    let own = signed(life.token.0);
    let raised = client.query_one(raise, &[&database, &timeline, &life.name, &own]);
    let token: i64 = raised.map_err(|error| failed("taking the token", &error))?.get(0);
    if token > own { Err(over(life.token)) } else { Ok(()) }
}

fn over(token: FencingToken) -> SinkError {
    let what = format!("a later life of the database writes to this sink; that of token {token} is over");
    SinkError::new(SinkErrorKind::Fenced, what)
}

/// Ends the server's processes that `which` selects, but for this one, and waits until they are gone.
fn end(client: &mut Client, which: &str, value: &[&(dyn ToSql + Sync)]) -> SinkResult<()> {
    let those = format!("FROM pg_stat_activity WHERE {which} AND pid <> pg_backend_pid()");
    for look in 0..LOOKS_MAX {
        let told = format!("SELECT pg_terminate_backend(pid) {those}");
        let rows =
            client.query(&told, value).map_err(|error| failed("ending an earlier connection", &error))?;
        if rows.is_empty() {
            return Ok(());
        }
        if look > 0 {
            let waited = client.batch_execute("SELECT pg_sleep(0.05)");
            waited.map_err(|error| failed("ending an earlier connection", &error))?;
        }
    }
    Err(SinkError::new(SinkErrorKind::Unavailable, "an earlier connection does not end"))
}

/// What the server's processes of a sink's lives are known by, in the 63 bytes that it keeps.
fn application(life: &SinkLife) -> String {
    let name = format!("{}/{}/{}", life.database, life.timeline, life.name);
    format!("hw/{}/{:08x}", life.database, crc(0, name.as_bytes()))
}

/// Epochs and tokens as the server counts: neither ever gets beyond it.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn refused(what: impl Into<String>) -> SinkError {
    SinkError::new(SinkErrorKind::Refused, what)
}

/// What is known after `error`: what the server said, it has not done; else its reply was lost.
fn failed(doing: &str, error: &postgres::Error) -> SinkError {
    let kind = match error.code().map(SqlState::code) {
        // Of the connection, of the operator, of the system: the statement may have been done.
        Some(code) if ["08", "57", "58", "XX"].iter().any(|class| code.starts_with(class)) => {
            SinkErrorKind::Unknown
        }
        // No room for now, a conflict, a lock: to be tried again.
        Some(code) if ["40", "53", "55"].iter().any(|class| code.starts_with(class)) => {
            SinkErrorKind::Unavailable
        }
        Some(_) => SinkErrorKind::Refused,
        None => SinkErrorKind::Unknown,
    };
    let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    SinkError::new(kind, format!("{doing}: {error}{source}"))
}
