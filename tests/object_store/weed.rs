//! A server that speaks S3: `SeaweedFS`, in a folder of its own, on ports of its own.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use highwater::remote::ObjectStore;
use rustix::process::{Pid, Signal, kill_process};

use crate::place::{Place, wait};

/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

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

impl Drop for Weed {
    fn drop(&mut self) {
        if let Some(mut child) = self.running.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
