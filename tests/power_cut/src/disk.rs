//! A file system on the recorded device: making one, mounting it, reading what is in it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use highwater::sim::FoundTree;

use crate::blocks::Blocks;
use crate::device::{Device, run};

/// Bytes of the device.
const DEVICE_BYTES: u64 = 64 << 20;

/// Threads of an engine that was dropped end on their own, and hold files until then.
const UNMOUNT_PATIENCE: Duration = Duration::from_secs(20);

/// A real file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// ext4, as mkfs.ext4 makes it.
    Ext4,
    /// XFS, as mkfs.xfs makes it.
    Xfs,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }

    /// An empty one, made in a file below `scratch`.
    pub(crate) fn make(self, scratch: &Path) -> Result<Blocks, String> {
        let path = scratch.join("empty");
        let file = std::fs::File::create(&path).and_then(|file| file.set_len(DEVICE_BYTES));
        file.map_err(|error| format!("{}: {error}", path.display()))?;
        // All of it at once: nothing is left for the kernel to write later. 64 MiB is less than XFS is meant for.
        let options: &[&str] = match self {
            Self::Ext4 => {
                &["-q", "-F", "-b", "4096", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"]
            }
            Self::Xfs => &["-q", "-f", "-K", "--unsupported"],
        };
        run(Command::new(format!("mkfs.{}", self.name())).args(options).arg(&path))?;
        let bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Blocks::of(&bytes))
    }

    /// Mounts what is installed, which replays the journal.
    pub(crate) fn mount(self, device: &Device, folder: &Path) -> Result<Mounted, String> {
        // Once it is mounted the loop device goes when the mount does, also when this process is killed.
        let attached = device.attach()?;
        let mut command = Command::new("mount");
        run(command.args(["-t", self.name(), attached.path()]).arg(folder))?;
        Ok(Mounted { folder: folder.to_owned(), mounted: true })
    }
}

/// A mounted file system.
pub(crate) struct Mounted {
    folder: PathBuf,
    mounted: bool,
}

impl Mounted {
    pub(crate) fn unmount(mut self) -> Result<(), String> {
        self.unmount_now()
    }

    fn unmount_now(&mut self) -> Result<(), String> {
        let began = Instant::now();
        while self.mounted {
            match run(Command::new("umount").arg(&self.folder)) {
                Ok(_) => self.mounted = false,
                Err(error) if began.elapsed() > UNMOUNT_PATIENCE => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        }
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = self.unmount_now() {
            eprintln!("{error}");
        }
    }
}

/// All that is below `root`, but for what the file system puts there itself.
pub(crate) fn tree(root: &Path) -> Result<FoundTree, String> {
    let mut found = FoundTree::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let at = root.join(&folder);
        let told = |error: std::io::Error| format!("{}: {error}", at.display());
        for entry in std::fs::read_dir(&at).map_err(told)? {
            let entry = entry.map_err(told)?;
            let path = folder.join(entry.file_name());
            if path == Path::new("lost+found") {
                continue;
            }
            if entry.file_type().map_err(told)?.is_dir() {
                folders.push(path.clone());
                found.insert(path, None);
            } else {
                found.insert(path, Some(std::fs::read(entry.path()).map_err(told)?));
            }
        }
    }
    Ok(found)
}
