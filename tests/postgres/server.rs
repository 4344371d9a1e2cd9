//! A PostgreSQL server for one test.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use postgres::{Client, NoTls};
use tempfile::TempDir;

/// The user that a server runs as when the tests run as root, which it refuses.
const USER: &str = "postgres";

/// A running server; it ends with this value.
pub(crate) struct Server {
    process: Child,
    home: TempDir,
}

impl Server {
    /// Starts one with so many prepared transactions. `None`, with a word about why, where that is not possible.
    pub(crate) fn start(prepared_max: u32) -> Option<Self> {
        let Some(programs) = programs() else {
            println!("NOT RUN: there is no PostgreSQL server here (apt-get install postgresql)");
            return None;
        };
        let is_root = rustix_uid() == 0;
        if is_root
            && !Command::new("id").arg(USER).stdout(Stdio::null()).status().is_ok_and(|id| id.success())
        {
            println!("NOT RUN: as root, and there is no user `{USER}` for the server to run as");
            return None;
        }
        // The path of a socket is short.
        let home = tempfile::Builder::new().prefix("hw-pg-").tempdir_in("/tmp").unwrap();
        fs::set_permissions(home.path(), Permissions::from_mode(0o777)).unwrap();
        let run = |program: &str| {
            let mut command = if is_root {
                let mut command = Command::new("setpriv");
                command
                    .args(["--reuid", USER, "--regid", USER, "--init-groups", "--"])
                    .arg(programs.join(program));
                command
            } else {
                Command::new(programs.join(program))
            };
            command.current_dir(home.path()).stdin(Stdio::null());
            command
        };
        let data = home.path().join("data");
        let mut initdb = run("initdb");
        initdb.args(["--username", USER, "--auth", "trust", "--no-sync", "--pgdata"]).arg(&data);
        let made = initdb.stdout(Stdio::null()).status().unwrap();
        assert!(made.success(), "initdb: {made}");
        let mut process = run("postgres")
            .arg("-D")
            .arg(&data)
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "shared_buffers=16MB"])
            .args(["-c", &format!("max_prepared_transactions={prepared_max}")])
            .args(["-c", &format!("unix_socket_directories={}", home.path().display())])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        let ready =
            log.by_ref().map_while(Result::ok).any(|line| line.contains("ready to accept connections"));
        assert!(ready, "the server ended before it was ready");
        // What it says later goes nowhere; a full pipe would stop it.
        thread::spawn(move || log.for_each(drop));
        Some(Self { process, home })
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("host={} user={USER} dbname=postgres", self.home.path().display())
    }

    /// A connection of the test's own.
    pub(crate) fn client(&self) -> Client {
        for _ in 0..100 {
            if let Ok(client) = Client::connect(&self.url(), NoTls) {
                return client;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("the server does not answer");
    }

    /// How many transactions are in doubt.
    pub(crate) fn prepared(&self) -> i64 {
        self.client().query_one("SELECT count(*) FROM pg_prepared_xacts", &[]).unwrap().get(0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGINT is its fast shutdown: sessions end, and nothing of it stays in memory.
        let stopped = Command::new("kill").args(["-INT", &self.process.id().to_string()]).status();
        if !stopped.is_ok_and(|status| status.success()) {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

fn rustix_uid() -> u32 {
    rustix::process::getuid().as_raw()
}

/// The folder of the server's programs.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut debian: Vec<PathBuf> = debian.map(|version| version.path().join("bin")).collect();
    debian.sort();
    let has_both = |folder: &Path| ["initdb", "postgres"].iter().all(|name| folder.join(name).is_file());
    debian.into_iter().rev().chain(std::env::split_paths(&path)).find(|folder| has_both(folder))
}
