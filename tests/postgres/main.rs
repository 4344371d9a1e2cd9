//! A sink of a real PostgreSQL server: the departures of a year go through it while the job is killed at every phase of the
//! two-phase commit. No row is lost, none is there twice.
//!
//! The server is started for the test: `initdb` and `postgres` are looked for in the path and where Debian has them, data and
//! socket are in a directory of the test's own, and nothing listens on the network. As root it runs as the user `postgres`.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![expect(clippy::disallowed_methods, reason = "a test of the real system")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a test says what it did not run")]

#[path = "../../examples/exactly_once/count.rs"]
mod count;
#[path = "../../examples/exactly_once/job.rs"]
mod job;
#[path = "../../examples/exactly_once/parent.rs"]
mod parent;
mod server;
#[path = "../../examples/flights/source.rs"]
#[allow(dead_code, reason = "shared with an example that uses all of it")]
mod source;
#[path = "../../examples/exactly_once/watched.rs"]
mod watched;

use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use highwater::env::{Blocking, StdEnv};
use highwater::sink::{Commit, Part, PostgresSink, Sink, SinkErrorKind, SinkLife, SinkResult};
use highwater::{
    CoreId, Engine, Epoch, EpochMark, ErrorKind, FencingToken, Nonce, Opened, Options, Standing,
};
use postgres::Client;

use server::Server;
use source::Flights;
use watched::{Stop, Watch};

/// The variables that make this binary the job: the server, the directory, and where to stop.
const URL: &str = "HIGHWATER_POSTGRES_URL";
const HOME: &str = "HIGHWATER_POSTGRES_HOME";
const STOP: &str = "HIGHWATER_POSTGRES_STOP";

const COLUMNS: &str = "number bigint, minute integer, carrier text, origin text, dest text";

#[test]
fn departures_get_through_kills_at_every_phase_once() {
    let Some(server) = Server::start(64) else { return };
    let mut client = server.client();
    client.batch_execute(&format!("CREATE TABLE highwater_departures ({COLUMNS})")).unwrap();
    let home = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    let killed = parent::run(&parent::plan(), |stop| {
        let mut command = Command::new(&program);
        command.args(["--exact", "the_job", "--nocapture", "--test-threads", "1"]);
        command.env(URL, server.url()).env(HOME, home.path());
        if let Some(stop) = stop {
            command.env(STOP, stop.to_word());
        }
        command
    });
    let killed = killed.unwrap();
    let mut text = String::new();
    client.copy_out("COPY highwater_departures TO STDOUT").unwrap().read_to_string(&mut text).unwrap();
    let count = count::count(&Flights::load().unwrap(), &text);
    let kills: u64 = killed.kills.values().sum();
    println!("{kills} kills; rows lost: {}, rows twice: {}", count.lost, count.twice);
    assert_eq!(count, count::Count::default());
    assert!(kills >= 20 && watched::Phase::ALL.iter().all(|phase| killed.kills.contains_key(phase)));
    assert_eq!(server.prepared(), 0, "nothing is in doubt");
    let markers: i64 = client.query_one("SELECT count(*) FROM highwater_published", &[]).unwrap().get(0);
    assert!(markers <= 20, "{markers} commits are remembered: they should have been forgotten");
}

/// The job's part; nothing when a person runs the tests.
#[test]
fn the_job() {
    let (Ok(url), Some(home)) = (std::env::var(URL), std::env::var_os(HOME)) else { return };
    let stop = std::env::var(STOP).ok().map(|word| Stop::of_word(&word).unwrap());
    let sink = PostgresSink::new(&url, "COPY highwater_departures FROM STDIN").unwrap();
    // The harness has begun a line of its own.
    println!();
    let write = |core, row: &[u8]| sink.write(core, row);
    job::run(&Path::new(&home).join("data"), sink.clone(), &write, &Watch::new(stop)).unwrap();
}

fn life(token: u64) -> SinkLife {
    let mut life = SinkLife::new("rows", Nonce(0xdb), Nonce(0x71));
    life.token = FencingToken(token);
    life
}

fn part(epoch: u64) -> Part {
    Part { epoch: Epoch(epoch), core: CoreId(0) }
}

/// K1 to K6, by the server's own tables.
#[test]
fn a_prepared_transaction_keeps_the_contract() {
    let Some(server) = Server::start(8) else { return };
    let mut client = server.client();
    client.batch_execute("CREATE TABLE rows (number bigint)").unwrap();
    let count =
        |client: &mut Client| -> i64 { client.query_one("SELECT count(*) FROM rows", &[]).unwrap().get(0) };
    let sink = PostgresSink::new(&server.url(), "COPY rows FROM STDIN").unwrap();
    StdEnv.block_on(async {
        let recovered = sink.recover(&life(1)).await.unwrap();
        assert_eq!((recovered.published, recovered.in_doubt_max), (None, 8));
        assert_eq!(sink.pre_commit(part(1)).await.unwrap(), None, "no rows, nothing to commit");
        let mut handles = Vec::new();
        for epoch in 2..=4 {
            sink.write(CoreId(0), b"1\n2\n");
            let handle = sink.pre_commit(part(epoch)).await.unwrap().unwrap();
            assert_eq!(sink.pre_commit(part(epoch)).await.unwrap().unwrap(), handle, "K3");
            handles.push(handle);
        }
        assert_eq!(count(&mut client), 0, "K1");
        let listed = sink.in_doubt().await.unwrap();
        assert_eq!(listed.iter().map(|one| one.handle.clone()).collect::<Vec<_>>(), handles, "K2");
        assert_eq!((listed[0].token, listed[0].part), (FencingToken(1), part(2)));
        for _ in 0..2 {
            assert_eq!(sink.commit(&handles[0]).await.unwrap(), Commit::Done, "K4");
            sink.abort(&handles[1]).await.unwrap();
            assert_eq!(count(&mut client), 2);
        }
        assert_eq!(sink.commit(&handles[1]).await.unwrap(), Commit::Lost, "K5");
        let gid = String::from_utf8(handles[2].clone()).unwrap();
        client.batch_execute(&format!("ROLLBACK PREPARED '{gid}'")).unwrap();
        assert_eq!(sink.commit(&handles[2]).await.unwrap(), Commit::Lost, "somebody rolled it back");
        assert_eq!(
            sink.commit(b"hw/x'; DROP TABLE rows; --").await.unwrap_err().kind(),
            SinkErrorKind::Refused
        );

        let next = PostgresSink::new(&server.url(), "COPY rows FROM STDIN").unwrap();
        assert_eq!(next.recover(&life(2)).await.unwrap().published, Some(Epoch(2)));
        let other = SinkLife::new("rows", Nonce(0xdb), Nonce(0x72));
        assert_eq!(next.recover(&other).await.unwrap().published, None, "another timeline");
    });
}

/// K6 and P3: the server may still be at work for a life that is over, or for a call whose reply was lost.
#[test]
fn connections_that_are_lost_leave_nothing_behind() {
    let Some(server) = Server::start(8) else { return };
    let mut client = server.client();
    client.batch_execute("CREATE TABLE rows (number bigint)").unwrap();
    let sink = PostgresSink::new(&server.url(), "COPY rows FROM STDIN").unwrap();
    StdEnv.block_on(async {
        sink.recover(&life(1)).await.unwrap();
        for epoch in 1..=6 {
            sink.write(CoreId(0), format!("{epoch}\n").as_bytes());
            let handle = until_answered(|| sink.pre_commit(part(epoch))).await.unwrap();
            // Every connection of the sink dies, and the next call finds out.
            let kill =
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'hw/%'";
            client.execute(kill, &[]).unwrap();
            assert_eq!(until_answered(|| sink.commit(&handle)).await, Commit::Done);
        }
        sink.write(CoreId(0), b"7\n");
        until_answered(|| sink.pre_commit(part(7))).await.unwrap();
        let before: i64 = connections(&mut client);
        assert!(before > 0);
        let next = PostgresSink::new(&server.url(), "COPY rows FROM STDIN").unwrap();
        next.recover(&life(2)).await.unwrap();
        assert_eq!(connections(&mut client), 1, "those of the life before are gone");
        assert_eq!(next.in_doubt().await.unwrap().len(), 1, "and what they had pre-committed is not");
    });
    let numbers = client.query("SELECT number FROM rows ORDER BY number", &[]).unwrap();
    let numbers: Vec<i64> = numbers.iter().map(|row| row.get(0)).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
}

/// K6, P2: a writer that was deposed and goes on is told so by the server, however often it connects again; and it
/// ends nothing of the life that came after it.
#[test]
fn a_deposed_writer_prepares_nothing() {
    let Some(server) = Server::start(8) else { return };
    let mut client = server.client();
    client.batch_execute("CREATE TABLE rows (number bigint)").unwrap();
    let sink = || PostgresSink::new(&server.url(), "COPY rows FROM STDIN").unwrap();
    let (old, new) = (sink(), sink());
    StdEnv.block_on(async {
        old.recover(&life(1)).await.unwrap();
        old.write(CoreId(0), b"1\n");
        let decided = old.pre_commit(part(1)).await.unwrap().unwrap();
        new.recover(&life(2)).await.unwrap();
        new.write(CoreId(0), b"2\n");
        let handle = new.pre_commit(part(2)).await.unwrap().unwrap();
        let of_new = connections(&mut client);
        old.write(CoreId(0), b"3\n");
        for _ in 0..3 {
            let fenced = loop {
                match old.pre_commit(part(2)).await {
                    Err(error) if error.kind() == SinkErrorKind::Unknown => {}
                    told => break told.expect_err("it is deposed"),
                }
            };
            assert_eq!(fenced.kind(), SinkErrorKind::Fenced, "{fenced}");
        }
        let fenced = sink().recover(&life(1)).await.unwrap_err();
        assert_eq!(fenced.kind(), SinkErrorKind::Fenced, "{fenced}");
        assert!(connections(&mut client) >= of_new, "the new life's connections stay");
        for handle in [decided, handle] {
            assert_eq!(
                new.commit(&handle).await.unwrap(),
                Commit::Done,
                "what was decided is published by anybody"
            );
        }
        assert_eq!(new.in_doubt().await.unwrap(), []);
        // In a place of its own nobody is deposed.
        let mut elsewhere = SinkLife::new("rows", Nonce(0xdb), Nonce(0x72));
        elsewhere.token = FencingToken(1);
        sink().recover(&elsewhere).await.unwrap();
    });
    let numbers = client.query("SELECT number FROM rows ORDER BY number", &[]).unwrap();
    let numbers: Vec<i64> = numbers.iter().map(|row| row.get(0)).collect();
    assert_eq!(numbers, [1, 2]);
}

/// An epoch's rows in many messages: all of them, or the server's own words about the first one that it does not take.
#[test]
fn an_epoch_of_many_messages_is_copied_whole() {
    let Some(server) = Server::start(8) else { return };
    let mut client = server.client();
    client.batch_execute("CREATE TABLE rows (number bigint)").unwrap();
    let url = format!("{} options='-c statement_timeout=45s'", server.url());
    let sink = PostgresSink::new(&url, "COPY rows FROM STDIN").unwrap();
    let rows: String =
        (1_000_000..1_500_000).flat_map(|number: u32| [number.to_string(), "\n".to_owned()]).collect();
    StdEnv.block_on(async {
        sink.recover(&life(1)).await.unwrap();
        sink.write(CoreId(0), rows.as_bytes());
        let handle = sink.pre_commit(part(1)).await.unwrap().unwrap();
        assert_eq!(sink.commit(&handle).await.unwrap(), Commit::Done);
        sink.write(CoreId(0), b"no number\n");
        sink.write(CoreId(0), rows.as_bytes());
        for _ in 0..2 {
            let refused = sink.pre_commit(part(2)).await.unwrap_err();
            assert_eq!(refused.kind(), SinkErrorKind::Refused, "{refused}");
            assert!(refused.to_string().contains("bigint"), "{refused}");
        }
        let limited = PostgresSink::new(&url, "COPY rows FROM STDIN").unwrap();
        let limited = limited.statement_timeout(Duration::from_secs(2));
        limited.recover(&life(2)).await.unwrap();
        limited.write(CoreId(0), b"1\n");
        let mut held_up = server.client();
        held_up.batch_execute("BEGIN; LOCK TABLE rows").unwrap();
        let began = Instant::now();
        let slow = limited.pre_commit(part(2)).await.unwrap_err();
        assert_eq!(slow.kind(), SinkErrorKind::Unknown, "{slow}");
        assert!(began.elapsed() < Duration::from_secs(40), "the sink's limit counts more than the URL's");
    });
    let count: i64 = client.query_one("SELECT count(*) FROM rows", &[]).unwrap().get(0);
    assert_eq!(count, 500_000);
}

/// Makes a call until its reply is not lost.
async fn until_answered<T, F: Future<Output = SinkResult<T>>>(mut call: impl FnMut() -> F) -> T {
    loop {
        match call().await {
            Err(error) => assert_eq!(error.kind(), SinkErrorKind::Unknown, "{error}"),
            Ok(answer) => return answer,
        }
    }
}

fn connections(client: &mut Client) -> i64 {
    let query = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'hw/%'";
    client.query_one(query, &[]).unwrap().get(0)
}

/// A server without prepared transactions, rows that it does not take, and a transaction that an operator rolled back.
#[test]
fn what_is_wrong_is_told() {
    let Some(server) = Server::start(0) else { return };
    let dir = tempfile::tempdir().unwrap();
    let options = |sink: &PostgresSink| {
        let options = Options::new(dir.path().join("data")).segment_bytes(64 << 10).batch_bytes(8 << 10);
        options.queue_bytes(64 << 10).checkpoint_interval(None).sink("rows", sink.clone())
    };
    let sink = PostgresSink::new(&server.url(), "COPY rows FROM STDIN").unwrap();
    let refused = Engine::open(options(&sink)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
    assert!(refused.to_string().contains("max_prepared_transactions"), "{refused}");
    drop(server);

    let Some(server) = Server::start(8) else { return };
    let sink = PostgresSink::new(&server.url(), "COPY rows FROM STDIN").unwrap();
    let Opened { engine, mut cores, .. } = Engine::open(options(&sink)).unwrap();
    let core = &mut cores[0];
    sink.write(CoreId(0), b"1\n");
    let refused = core.close_epoch(EpochMark::new()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid, "there is no such table: {refused}");
    let mut client = server.client();
    client.batch_execute("CREATE TABLE rows (number bigint)").unwrap();
    let epoch = core.close_epoch(EpochMark::new()).unwrap();
    engine.wait_published(epoch).unwrap();

    sink.write(CoreId(0), b"2\n");
    let epoch = core.close_epoch(EpochMark::new()).unwrap();
    let in_doubt = engine.in_doubt();
    assert_eq!((in_doubt.len(), in_doubt[0].standing), (1, Standing::InDoubt));
    let gid = String::from_utf8(in_doubt[0].handle.clone()).unwrap();
    client.batch_execute(&format!("ROLLBACK PREPARED '{gid}'")).unwrap();
    let lost = engine.wait_published(epoch).unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::Lost, "{lost}");
    assert!(PostgresSink::new("no url", "COPY rows FROM STDIN").is_err());
    assert!(PostgresSink::new(&server.url(), "COPY rows FROM '/etc/passwd'").is_err());
}
