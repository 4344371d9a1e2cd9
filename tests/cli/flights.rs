//! The tool on a database that a real job has left behind: the example `flights`, killed while it ran.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use highwater::Engine;

use crate::aggregate::{Aggregate, KINDS, key_of};
use crate::damage::{WAYS, make_foreign};
use crate::page::page;
use crate::protocol::{Line, Phase};
use crate::source::Flights;
use crate::{copy, empty, highwater, job, told};

/// The variable that makes this binary the job, and says where its database is.
const CHILD: &str = "HIGHWATER_FLIGHTS_DIR";

const CORES: u16 = 2;

/// Events per second that its source delivers, so that it is still at work when it is killed.
const RATE: u32 = 30_000;

/// After how many checkpoints it is killed.
const CHECKPOINTS: usize = 2;

/// The job's part; nothing when the tests are run by a person.
#[test]
fn the_job() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    job::run(job::options(Path::new(&path), CORES), RATE).unwrap();
}

/// Runs the job in `folder` until it has taken [`CHECKPOINTS`], and kills it; the epoch and the events of its last promise.
fn kill_the_job(folder: &Path) -> (u64, u64) {
    let mut job = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "flights::the_job", "--nocapture"])
        .env(CHILD, folder.join("data"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut promised, mut checkpoints) = ((0, 0), 0);
    for line in BufReader::new(job.stdout.take().unwrap()).lines() {
        match line.unwrap().parse() {
            Ok(Line::Acked { epoch, events }) => promised = (epoch, events),
            Ok(Line::End(Phase::Checkpoint)) => checkpoints += 1,
            Ok(Line::Done) => panic!("the job ended by itself, after {checkpoints} checkpoints"),
            _ => {}
        }
        if checkpoints == CHECKPOINTS {
            break;
        }
    }
    job.kill().unwrap();
    job.wait().unwrap();
    assert!(promised.1 > 0, "a checkpoint holds what is durable");
    promised
}

fn json(folder: &Path, command: &[&str]) -> serde_json::Value {
    let output = highwater(folder, command);
    assert_eq!(output.status.code(), Some(0), "{command:?}: {}", told(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The epochs that the examples of the page are about: two that are retained, and the newest.
fn epochs(folder: &Path) -> [String; 3] {
    let retained = json(folder, &["epochs", "data", "--json"]);
    let retained: Vec<u64> =
        retained.as_array().unwrap().iter().map(|of| of["epoch"].as_u64().unwrap()).collect();
    let newest = json(folder, &["verify", "data", "--json"])["recoverable_epoch"].as_u64().unwrap();
    let [first, .., last] = retained[..] else { panic!("{retained:?}") };
    assert!(first < last && last <= newest);
    [first, last, newest].map(|epoch| epoch.to_string())
}

#[test]
fn every_command_of_the_page_works_on_what_a_killed_job_left() {
    let folder = empty();
    let path = folder.path();
    let (epoch, events) = kill_the_job(path);
    let [first, last, newest] = epochs(path);
    assert!(newest.parse::<u64>().unwrap() >= epoch, "epoch {epoch} was promised");

    copy(&path.join("data"), &path.join("damaged"));
    let listed = json(path, &["inspect", "data", "--json"]);
    let base = path.join("damaged").join(listed["checkpoints"][0]["files"][0]["path"].as_str().unwrap());
    let mut bytes = fs::read(&base).unwrap();
    bytes[200] ^= 1;
    fs::write(&base, bytes).unwrap();
    for shown in page() {
        let words: Vec<&str> = shown
            .command
            .split_whitespace()
            .map(|word| match word {
                "4" => &first,
                "5" => &last,
                "6" => &newest,
                "99" => "99999",
                "user/4" => "route/JFK",
                word => word,
            })
            .collect();
        let output = highwater(path, &words);
        assert_eq!(output.status.code(), Some(shown.code), "{words:?}: {}", told(&output));
        assert!(output.stdout.len() + output.stderr.len() > 10, "{words:?} says nothing");
    }
    for copied in ["copy", "earlier", "saved"] {
        let output = highwater(path, &["verify", copied]);
        assert_eq!(output.status.code(), Some(0), "{copied}: {}", told(&output));
    }
    holds_what_was_counted(path, &newest, events);
}

/// The newest epoch holds of every hour what a plain computation over the same events comes to.
fn holds_what_was_counted(folder: &Path, epoch: &str, promised: u64) {
    let output = highwater(folder, &["dump", "data", "--epoch", epoch, "--prefix", KINDS[0], "--hex"]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let number = |line: &str| {
        let digits = line.split_once("\"flights\":").unwrap().1;
        digits.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse::<u64>().unwrap()
    };
    let events = text.lines().filter(|line| line.starts_with("# core")).map(number).max().unwrap();
    assert!(events >= promised, "{events} events, {promised} were promised");

    let flights = Flights::load().unwrap();
    let mut counted: BTreeMap<Vec<u8>, Aggregate> = BTreeMap::new();
    let mut key = Vec::new();
    for flight in &flights.rows[..usize::try_from(events).unwrap()] {
        key_of(0, flight, &flights, &mut key);
        counted.entry(key.clone()).or_insert(Aggregate::EMPTY).add(flight);
    }
    let dumped: BTreeMap<Vec<u8>, Aggregate> = text
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(key, value)| (bytes_of(key), Aggregate::decode(&bytes_of(value)).unwrap()))
        .collect();
    assert!(dumped == counted, "{} hours in the database, {} counted", dumped.len(), counted.len());
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn every_kind_of_damage_is_named_in_what_a_job_left() {
    let folder = empty();
    let path = folder.path();
    kill_the_job(path);
    make_foreign(path);
    // An open collects what nothing needs: of that no damage would be told.
    let opened = Engine::open(job::options(&path.join("data"), CORES)).unwrap();
    opened.engine.close(opened.cores).unwrap();
    for (way, damage) in WAYS {
        let root = path.join("damaged");
        copy(&path.join("data"), &root);
        let named: PathBuf = damage(&root);
        let named = named.strip_prefix(&root).unwrap().to_str().unwrap();
        let output = highwater(path, &["verify", "damaged"]);
        assert_eq!(output.status.code(), Some(1), "{way}: {}", told(&output));
        assert!(told(&output).contains(named), "{way}, {named}: {}", told(&output));
        fs::remove_dir_all(root).unwrap();
    }
}
