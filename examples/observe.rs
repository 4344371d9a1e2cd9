//! What an operator sees: `cargo run --release --features metrics --example observe`, then `curl localhost:9187/metrics`.
//!
//! ```text
//! two cores put and commit ─► engine ─► recorder of `metrics-exporter-prometheus` ◄─ GET /metrics
//!                                └────► events and spans of `tracing` ─► standard error
//! ```
//!
//! Everything about a scrape is in `answer`: the engine is asked for its statistics, which tells the recorder, and the
//! recorder's text goes out. With `--quick` the program scrapes itself once, says what it saw, and ends.
#![expect(clippy::print_stdout, reason = "what the example shows")]
#![expect(clippy::disallowed_methods, reason = "a program has threads of its own")]

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use highwater::{CoreHandle, Engine, Epoch, EpochMark, ErrorKind, Opened, Options};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::fmt::format::FmtSpan;

type Failure = Box<dyn Error + Send + Sync>;
type Result<T> = std::result::Result<T, Failure>;

/// Seconds: from a sync of a fast device to a checkpoint of a large state.
const BUCKETS: [f64; 9] = [0.000_1, 0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 1.0, 10.0];
const EPOCHS_QUICK: u64 = 50;
const KEYS: u32 = 10_000;

fn main() -> Result<()> {
    let quick = std::env::args().any(|argument| argument == "--quick");
    // Stages as they end, with how long they took, and events of note. More: `with_max_level(Level::DEBUG)`.
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_span_events(FmtSpan::CLOSE).init();
    // Before the open: the engine tells the recorder that it finds there.
    let recorder = PrometheusBuilder::new().set_buckets(&BUCKETS)?.install_recorder()?;

    let dir = tempfile::tempdir()?;
    let options = Options::new(dir.path().join("data")).cores(2).checkpoint_wal_bytes(8 << 20);
    let Opened { engine, mut cores, report } = Engine::open(options)?;
    println!("{report}");
    let engine = Arc::new(engine);
    let listener = TcpListener::bind(if quick { "127.0.0.1:0" } else { "127.0.0.1:9187" })?;
    let address = listener.local_addr()?;
    println!("http://{address}/metrics");
    let done = Arc::new(AtomicBool::new(false));
    let server = thread::spawn({
        let (engine, done) = (Arc::clone(&engine), Arc::clone(&done));
        move || serve(&listener, &engine, &recorder, &done)
    });

    for round in 0.. {
        let epoch = work(&engine, &mut cores, round)?;
        engine.wait_durable(epoch)?;
        if quick && round == EPOCHS_QUICK {
            break;
        }
        if !quick {
            thread::sleep(Duration::from_millis(5));
        }
    }
    engine.checkpoint()?;
    let text = scrape(address)?;
    let is_value = |line: &&str| line.starts_with("highwater_") && !line.contains("_bucket");
    for line in text.lines().filter(is_value) {
        println!("{line}");
    }
    let closed = format!("highwater_closed_epoch {}", engine.durable_epoch());
    assert!(text.contains(&closed), "{closed} is not what was scraped");
    assert!(text.contains("highwater_commit_wait_seconds_count"), "nobody waited");
    done.store(true, Ordering::Release);
    TcpStream::connect(address)?;
    server.join().map_err(|_| "the server panicked")??;
    engine.close(cores)?;
    Ok(())
}

/// Some changes on every core, and the end of an epoch.
fn work(engine: &Engine, cores: &mut [CoreHandle], round: u64) -> Result<Epoch> {
    for key in (0..KEYS).step_by(37) {
        let key = key.to_le_bytes();
        let core = &mut cores[engine.core_of(&key).index()];
        while let Err(error) = core.put(&key, &[round.to_le_bytes()[0]; 200]) {
            match error.kind() {
                ErrorKind::Busy => core.ready().wait()?,
                _ => return Err(error.into()),
            }
        }
    }
    let mut epoch = Epoch(0);
    for core in cores {
        epoch = core.close_epoch(EpochMark::new().offset("source", round))?;
    }
    Ok(epoch)
}

/// Answers one request after the other.
fn serve(
    listener: &TcpListener,
    engine: &Engine,
    recorder: &PrometheusHandle,
    done: &AtomicBool,
) -> Result<()> {
    for connection in listener.incoming() {
        if done.load(Ordering::Acquire) {
            break;
        }
        if let Err(error) = answer(connection?, engine, recorder) {
            tracing::warn!(%error, "a scrape was cut off");
        }
    }
    Ok(())
}

fn answer(mut connection: TcpStream, engine: &Engine, recorder: &PrometheusHandle) -> Result<()> {
    connection.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut lines = BufReader::new(connection.try_clone()?).lines();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let stats = engine.stats();
    tracing::info!(closed = stats.closed_epoch.0, health = ?stats.health, "scraped");
    recorder.run_upkeep();
    let body = recorder.render();
    write!(
        connection,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )?;
    Ok(())
}

/// What a Prometheus server would do.
fn scrape(address: std::net::SocketAddr) -> Result<String> {
    let mut connection = TcpStream::connect(address)?;
    write!(connection, "GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    Ok(body.to_owned())
}
