//! Where and when a run was made.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory: String,
    pub(crate) kernel: String,
    pub(crate) file_system: String,
    pub(crate) device: String,
    pub(crate) compiler: String,
    pub(crate) load_before: String,
    pub(crate) load_after: String,
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// The value of the first line that begins with `name`.
fn field(text: &str, name: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_once(':')).map_or("unknown", |(_, value)| value.trim()).to_owned()
}

/// The machine, and the device that `dir` is on.
pub(crate) fn of(dir: &Path) -> Machine {
    Machine {
        processor: field(&read("/proc/cpuinfo"), "model name"),
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        memory: field(&read("/proc/meminfo"), "MemTotal"),
        kernel: read("/proc/sys/kernel/osrelease"),
        file_system: file_system(dir),
        device: device(dir),
        compiler: said_by("rustc", &["--version"]),
        load_before: load(),
        load_after: String::new(),
    }
}

pub(crate) fn load() -> String {
    read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// What a program prints, or that it is unknown.
pub(crate) fn said_by(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    text.map_or("unknown".to_owned(), |text| String::from_utf8_lossy(&text).trim().to_owned())
}

/// Type and options of the mount that holds `dir`.
fn file_system(dir: &Path) -> String {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let mounts = read("/proc/self/mounts");
    let on = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (at, kind, options) = (words.next()?, words.next()?, words.next()?);
        dir.starts_with(at).then(|| (at.len(), format!("{kind} ({options})")))
    });
    on.max_by_key(|(length, _)| *length).map_or("unknown".to_owned(), |(_, text)| text)
}

/// What the block device of `dir` says about itself.
fn device(dir: &Path) -> String {
    let Ok(number) = fs::metadata(dir).map(|metadata| metadata.dev()) else { return "unknown".to_owned() };
    let node = format!("/sys/dev/block/{}:{}", libc::major(number), libc::minor(number));
    let Ok(node) = fs::canonicalize(node) else { return "unknown".to_owned() };
    // A partition's queue is its disk's.
    let disk = if node.join("queue").exists() { node.clone() } else { node.join("..") };
    let queue = |name: &str| read(disk.join("queue").join(name));
    format!(
        "{}: {}, fua {}, scheduler {}, sectors of {} / {} B",
        node.file_name().unwrap_or_default().to_string_lossy(),
        queue("write_cache"),
        queue("fua"),
        queue("scheduler"),
        queue("logical_block_size"),
        queue("physical_block_size"),
    )
}

/// The date and minute, UTC.
pub(crate) fn date() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (year, month, day) = civil((seconds / 86_400) as i64);
    let (hour, minute) = (seconds / 3_600 % 24, seconds / 60 % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

/// Year, month and day of so many days after 1970-01-01, which is no earlier.
fn civil(days: i64) -> (i64, i64, i64) {
    // Counted from the first of March of year 0, so that a leap day is a year's last.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::civil;

    #[test]
    fn days_become_dates() {
        let dates = [0, 58, 59, 11_016, 19_782, 20_454].map(civil);
        let said = [(1970, 1, 1), (1970, 2, 28), (1970, 3, 1), (2000, 2, 29), (2024, 2, 29), (2026, 1, 1)];
        assert_eq!(dates, said);
    }
}
