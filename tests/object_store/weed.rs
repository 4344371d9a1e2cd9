//! A server that speaks S3: `SeaweedFS`, in a folder of its own, on ports of its own.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use bytes::Bytes;
use highwater::remote::{Bucket, Created, ObjectStore, StoreError};
use rustix::process::{Pid, Signal, kill_process};

use crate::place::{Place, wait};

/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(120);

/// Those who race for a name while it is looked whether a server keeps its promise, and how many rounds in a row it must.
const RACERS: usize = 9;
const PROMISES: u32 = 5;

/// Who may do everything.
const IDENTITIES: &str = r#"{"identities": [{"name": "test", "actions": ["Admin", "Read", "Write", "List"],
    "credentials": [{"accessKey": "test", "secretKey": "testtest"}]}]}"#;

/// A server that ends with its value.
pub(crate) struct Weed {
    program: PathBuf,
    dir: tempfile::TempDir,
    ports: Vec<u16>,
    running: Option<Child>,
}

/// The program, or why there is none.
pub(crate) fn program() -> Result<PathBuf, String> {
    let named = std::env::var_os("HIGHWATER_WEED").map(PathBuf::from);
    let installed = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../servers/bin/weed");
    let program = named.unwrap_or(installed);
    if program.exists() {
        return Ok(program);
    }
    Err(format!(
        "there is no {}: .ci/servers installs SeaweedFS there, or HIGHWATER_WEED names it",
        program.display()
    ))
}

impl Weed {
    /// Starts one, and waits until it takes objects.
    pub(crate) fn start(program: &Path) -> Self {
        // All at once, so that they differ.
        let sockets: Vec<_> = (0..8).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports = sockets.iter().map(|socket| socket.local_addr().unwrap().port()).collect();
        drop(sockets);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("s3.json"), IDENTITIES).unwrap();
        std::fs::create_dir(dir.path().join("data")).unwrap();
        let mut weed = Self { program: program.to_owned(), dir, ports, running: None };
        weed.plug_in();
        weed
    }

    /// Starts it again where it was killed.
    pub(crate) fn plug_in(&mut self) {
        assert!(self.running.is_none(), "it runs");
        let began = Instant::now();
        let log = self.dir.path().join("log");
        let log = std::fs::File::options().append(true).create(true).open(log).unwrap();
        let mut command = Command::new(&self.program);
        command.args(["server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"]);
        command.args(["-master.telemetry=false", "-master.volumeSizeLimitMB=64", "-volume.max=50"]);
        command.args(["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.electionTimeout=1s"]);
        let names = ["master", "volume", "filer", "s3"].into_iter();
        for (name, ports) in names.zip(self.ports.chunks(2)) {
            command.arg(format!("-{name}.port={}", ports[0]));
            command.arg(format!("-{name}.port.grpc={}", ports[1]));
        }
        command.arg(format!("-dir={}", self.dir.path().join("data").display()));
        command.arg(format!("-s3.config={}", self.dir.path().join("s3.json").display()));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.running = Some(command.spawn().unwrap());
        let bucket = self.place().option("timeout", "1s").bucket();
        while let Err(error) = wait(bucket.put("ready", Bytes::from_static(b"?"))) {
            let log = || std::fs::read_to_string(self.dir.path().join("log")).unwrap();
            assert!(began.elapsed() < PATIENCE, "the server does not start: {error}\n{}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
        println!("    the server took objects after {:.1} s", began.elapsed().as_secs_f64());
        self.wait_for_promise(began);
    }

    /// Waits until it creates a name once. One that has just come back has been seen to tell two of nine racers that
    /// they had: what its parts know of each other is not complete as soon as it answers. The engine's probe refuses
    /// such a store, rightly, and the trials are about one that keeps its word.
    fn wait_for_promise(&self, began: Instant) {
        let buckets: Vec<Bucket> = (0..3).map(|_| self.place().option("timeout", "5s").bucket()).collect();
        let (mut kept, mut broken, mut refused) = (0, 0, None);
        for round in 0.. {
            let name = format!("promise/{}-{round}", std::process::id());
            let winners = winners(&buckets, &name);
            let _ = wait(buckets[0].delete(&name));
            match winners {
                Ok(1) => kept += 1,
                Ok(told) => {
                    println!("    {name}: {told} of {RACERS} racers were told that they have it");
                    (kept, broken) = (0, broken + 1);
                }
                Err(error) => (kept, refused) = (0, Some(error)),
            }
            if kept == PROMISES {
                break;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "the server does not keep its promise: {broken} rounds broken, the last refusal {refused:?}"
            );
        }
        if broken > 0 {
            let took = began.elapsed().as_secs_f64();
            println!("    the server kept its promise after {took:.1} s and {broken} broken rounds");
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        let mut child = self.running.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(TcpStream::connect(("127.0.0.1", self.ports[6])).is_err(), "it is gone");
    }

    /// It stays there and says nothing.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// It goes on.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let child = self.running.as_ref().unwrap();
        kill_process(Pid::from_child(child), signal).unwrap();
    }

    /// Its bucket.
    pub(crate) fn place(&self) -> Place {
        let place = Place { url: "s3://highwater".to_owned(), options: Vec::new() };
        place
            .option("endpoint", &format!("http://127.0.0.1:{}", self.ports[6]))
            .option("allow_http", "true")
            .option("region", "us-east-1")
            .option("access_key_id", "test")
            .option("secret_access_key", "testtest")
    }
}

/// How many of some racers the server told that they have created `name`; an error when one was not told.
fn winners(buckets: &[Bucket], name: &str) -> Result<usize, StoreError> {
    let start = Barrier::new(RACERS);
    let racer = |number: usize| {
        let body = Bytes::from(format!("{number:016}"));
        start.wait();
        wait(buckets[number % buckets.len()].create(name, body))
    };
    let told: Vec<Result<Created, StoreError>> = std::thread::scope(|scope| {
        let racer = &racer;
        let threads: Vec<_> = (0..RACERS).map(|number| scope.spawn(move || racer(number))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let new = told.iter().filter(|told| **told == Ok(Created::New)).count();
    // Whoever was told nothing may have created it; two who were told that they have is one too many, whatever the others heard.
    match told.into_iter().find_map(Result::err) {
        Some(error) if new < 2 => Err(error),
        _ => Ok(new),
    }
}

impl Drop for Weed {
    fn drop(&mut self) {
        if let Some(mut child) = self.running.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
