//! What a directory is, and what opening it does: look at everything, decide by one table, change nothing on refusal.

use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorCode, ErrorKind, Result};
use crate::vfs::{Entry, EntryKind, Vfs};

use super::gc::Listing;
use super::ident::{IDENT_NAME, Ident, read as read_ident};
use super::store::{Head, folder as manifest_folder, head_among, list, path_of};
use super::{FileName, decimal, hex};

/// What IDENT is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdentState {
    Absent,
    Good,
    /// Damaged, or no regular file.
    Bad,
    /// Of a format that this build does not read.
    Newer,
}

/// What else the directory holds of ours, the most telling first from the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contents {
    /// No directory of that name.
    Missing,
    /// Nothing, or what a fresh file system holds.
    Empty,
    /// Folders, LOCK, RESERVE and temps: what a creation makes before anything counts.
    Scaffold,
    /// A segment or a checkpoint file, and no manifest.
    Data,
    /// Manifests, the greatest of them readable. Without an IDENT none is read, and this means: manifests.
    Manifests,
    /// Manifests, the greatest of them damaged or of another database.
    BadHead,
    /// Manifests, the greatest of them of a newer format.
    NewerHead,
}

/// What to do with a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Create a database: directory, folders, IDENT, first manifest.
    Create,
    /// A creation was interrupted before its IDENT landed: begin it again.
    CreateAgain,
    /// A creation was interrupted between IDENT and the first manifest: go on with the IDENT that is there.
    FinishCreation,
    /// Recover from the head.
    Recover,
    /// Stop, and change nothing.
    Refuse(Refusal),
}

/// Why a directory is not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Somebody else's files, and none of ours.
    Foreign,
    /// IDENT is damaged. It landed whole, so this is no interrupted creation.
    IdentDamaged,
    /// A newer program wrote it.
    NewerFormat,
    /// Manifests or data, and nothing that says whose.
    DataWithoutIdent,
    /// Segments or checkpoint files, and no manifest: it was durable before the first of them.
    DataWithoutManifest,
    /// The greatest manifest is damaged or of another database.
    HeadDamaged,
}

/// Everything that the decision rests on, and what was read on the way.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) ident_state: IdentState,
    pub(crate) contents: Contents,
    /// Names that are not ours, below the directory: left alone and reported.
    pub(crate) foreign: Vec<String>,
    pub(crate) ident: Option<Ident>,
    pub(crate) head: Option<Head>,
    /// The names that are there, listed before the head was read.
    pub(crate) listing: Listing,
    /// Why IDENT or the head is no good.
    cause: Option<Error>,
    /// What stands where a folder of the database belongs: a link there would lead out of the directory.
    misplaced: Option<PathBuf>,
}

/// The decision table. Every combination has its line; the tests prove that none is missing.
#[expect(clippy::match_same_arms, reason = "a line for each case that is thought of as one")]
pub(crate) fn decide(ident: IdentState, contents: Contents, foreign: bool) -> Action {
    use Contents::{BadHead, Data, Empty, Manifests, Missing, NewerHead, Scaffold};
    match (ident, contents, foreign) {
        (IdentState::Bad, _, _) => Action::Refuse(Refusal::IdentDamaged),
        (IdentState::Newer, _, _) => Action::Refuse(Refusal::NewerFormat),

        (IdentState::Absent, Missing, _) => Action::Create,
        (IdentState::Absent, Data | Manifests | BadHead | NewerHead, _) => {
            Action::Refuse(Refusal::DataWithoutIdent)
        }
        (IdentState::Absent, Empty | Scaffold, true) => Action::Refuse(Refusal::Foreign),
        (IdentState::Absent, Empty, false) => Action::Create,
        (IdentState::Absent, Scaffold, false) => Action::CreateAgain,

        // A stranger's file beside ours does no harm.
        (IdentState::Good, Missing | Empty | Scaffold, _) => Action::FinishCreation,
        (IdentState::Good, Data, _) => Action::Refuse(Refusal::DataWithoutManifest),
        (IdentState::Good, Manifests, _) => Action::Recover,
        (IdentState::Good, BadHead, _) => Action::Refuse(Refusal::HeadDamaged),
        (IdentState::Good, NewerHead, _) => Action::Refuse(Refusal::NewerFormat),
    }
}

impl Survey {
    /// What to do with the surveyed directory `root`.
    ///
    /// # Errors
    ///
    /// The refusal: `Invalid` for a directory of somebody else's, `Unsupported` for a newer format, else `Corrupt`
    /// naming the file, or what is in a folder's place.
    pub(crate) fn decide(&self, root: &Path) -> Result<Action> {
        if let Some(path) = &self.misplaced {
            let what = "this must be a folder of the database, and is something else (links are not followed): put the \
                        folder back";
            return Err(Error::corrupt(ErrorCode::Misplaced, path, what));
        }
        match decide(self.ident_state, self.contents, !self.foreign.is_empty()) {
            Action::Refuse(refusal) => Err(self.refuse(root, refusal)),
            action => Ok(action),
        }
    }

    fn refuse(&self, root: &Path, refusal: Refusal) -> Error {
        if let Some(cause) = &self.cause {
            return cause.duplicate();
        }
        match refusal {
            Refusal::Foreign => {
                let name = self.foreign.first().map_or("", String::as_str);
                let message = format!("the directory is not empty and no database: it holds {name}");
                Error::new(ErrorCode::NotADatabase, message).at(root)
            }
            Refusal::IdentDamaged => {
                Error::corrupt(ErrorCode::IdentDamaged, &root.join(IDENT_NAME), "IDENT is damaged")
            }
            Refusal::NewerFormat => Error::new(ErrorCode::NewerFormat, "a newer format").at(root),
            Refusal::DataWithoutIdent => Error::corrupt(
                ErrorCode::IdentMissing,
                &root.join(IDENT_NAME),
                "IDENT is missing, and there is data",
            ),
            Refusal::DataWithoutManifest => Error::corrupt(
                ErrorCode::ManifestsMissing,
                &manifest_folder(root),
                "there is data, and every manifest is missing",
            ),
            Refusal::HeadDamaged => Error::corrupt(
                ErrorCode::ManifestDamaged,
                &manifest_folder(root),
                "the greatest manifest is damaged",
            ),
        }
    }
}

/// Looks at the directory `root` and changes nothing. The caller holds its lock, unless it is missing.
///
/// # Errors
///
/// `Failed` when something cannot be listed or read. Damage is no error here: it is what the survey tells.
pub(crate) async fn survey<V: Vfs>(vfs: &V, root: &Path) -> Result<Survey> {
    let mut survey = Survey {
        ident_state: IdentState::Absent,
        contents: Contents::Missing,
        foreign: Vec::new(),
        ident: None,
        head: None,
        listing: Listing::default(),
        cause: None,
        misplaced: None,
    };
    match crate::vfs::retry(|| vfs.list(root)).await {
        Ok(names) => {
            survey.contents = Contents::Empty;
            survey.listing.root = names;
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(survey),
        Err(error) => return Err(Error::io("listing the database", root, error)),
    }
    survey.look_at_ident(vfs, root).await?;
    survey.look_at_names(vfs, root).await?;
    if survey.contents == Contents::Manifests {
        survey.look_at_head(vfs, root).await?;
    }
    Ok(survey)
}

impl Survey {
    async fn look_at_ident<V: Vfs>(&mut self, vfs: &V, root: &Path) -> Result<()> {
        match read_ident(vfs, root).await {
            Ok(None) => {}
            Ok(Some(ident)) => {
                self.ident_state = IdentState::Good;
                self.ident = Some(ident);
            }
            Err(error) => {
                self.ident_state = match error.kind() {
                    ErrorKind::Corrupt => IdentState::Bad,
                    ErrorKind::Unsupported => IdentState::Newer,
                    _ => return Err(error),
                };
                self.cause = Some(error);
            }
        }
        Ok(())
    }

    /// Goes through the names of the directory and of its folders.
    async fn look_at_names<V: Vfs>(&mut self, vfs: &V, root: &Path) -> Result<()> {
        let names = std::mem::take(&mut self.listing.root);
        for entry in &names {
            match root_name(&entry.name, entry.kind) {
                Some(RootName::Fixture) => {}
                Some(RootName::Scaffold) => self.saw(Contents::Scaffold),
                Some(RootName::Folder) => {
                    self.saw(Contents::Scaffold);
                    self.look_into(vfs, root, &entry.name).await?;
                }
                None => {
                    if matches!(&*entry.name, "wal" | "m" | "f") {
                        self.misplaced = Some(root.join(&entry.name));
                    }
                    self.foreign.push(entry.name.clone());
                }
            }
        }
        self.listing.root = names;
        Ok(())
    }

    async fn look_into<V: Vfs>(&mut self, vfs: &V, root: &Path, folder: &str) -> Result<()> {
        let names = list(vfs, &root.join(folder)).await?;
        for entry in &names {
            let is_file = entry.kind == EntryKind::File;
            match folder {
                "m" if is_file && decimal(&entry.name).is_some() => self.saw(Contents::Manifests),
                "f" if is_file && FileName::parse(&entry.name).is_some() => self.saw(Contents::Data),
                "m" if is_file && super::temp(&entry.name).is_some() => {}
                "wal" if entry.kind == EntryKind::Directory && core_folder(&entry.name).is_some() => {
                    let segments = self.look_into_core(vfs, root, &entry.name).await?;
                    self.listing.wal.push((entry.clone(), segments));
                    continue;
                }
                "wal" if entry.kind == EntryKind::Directory && is_core_aside(&entry.name) => {}
                "wal" if core_folder(&entry.name).is_some() => {
                    self.misplaced = Some(root.join(folder).join(&entry.name));
                }
                _ => self.foreign.push(format!("{folder}/{}", entry.name)),
            }
            if folder == "wal" {
                self.listing.wal.push((entry.clone(), Vec::new()));
            }
        }
        match folder {
            "m" => self.listing.manifests = names,
            "f" => self.listing.files = names,
            _ => {}
        }
        Ok(())
    }

    async fn look_into_core<V: Vfs>(&mut self, vfs: &V, root: &Path, core: &str) -> Result<Vec<Entry>> {
        let names = list(vfs, &root.join("wal").join(core)).await?;
        for entry in &names {
            let is_file = entry.kind == EntryKind::File;
            if is_file && decimal(&entry.name).is_some() {
                self.saw(Contents::Data);
            } else if !is_file || super::temp(&entry.name).is_none() {
                self.foreign.push(format!("wal/{core}/{}", entry.name));
            }
        }
        Ok(names)
    }

    async fn look_at_head<V: Vfs>(&mut self, vfs: &V, root: &Path) -> Result<()> {
        let Some(ident) = self.ident else { return Ok(()) };
        match head_among(vfs, root, ident.database, &self.listing.manifests).await {
            Ok(Some(head)) if head.manifest.timeline == ident.timeline => self.head = Some(head),
            Ok(Some(head)) => {
                self.contents = Contents::BadHead;
                let path = path_of(root, head.manifest.seq);
                self.cause = Some(Error::corrupt(
                    ErrorCode::ManifestForeign,
                    &path,
                    "the manifest is of another timeline than IDENT",
                ));
            }
            Ok(None) => {
                self.contents = Contents::BadHead;
                let message = "the manifests vanished between listing and reading";
                self.cause =
                    Some(Error::corrupt(ErrorCode::ManifestVanished, &manifest_folder(root), message));
            }
            Err(error) => {
                self.contents = match error.kind() {
                    ErrorKind::Corrupt => Contents::BadHead,
                    ErrorKind::Unsupported => Contents::NewerHead,
                    _ => return Err(error),
                };
                self.cause = Some(error);
            }
        }
        Ok(())
    }

    /// Keeps the most telling of what was seen. The head is judged later.
    fn saw(&mut self, contents: Contents) {
        let telling = |contents| match contents {
            Contents::Missing => 0,
            Contents::Empty => 1,
            Contents::Scaffold => 2,
            Contents::Data => 3,
            Contents::Manifests | Contents::BadHead | Contents::NewerHead => 4,
        };
        if telling(contents) > telling(self.contents) {
            self.contents = contents;
        }
    }
}

/// The file that holds space back; see `engine::reserve`.
pub(crate) const RESERVE_NAME: &str = "RESERVE";

/// What a name of ours in the database's own directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RootName {
    /// IDENT, or what the file system put there.
    Fixture,
    /// Ours, and no sign of data.
    Scaffold,
    Folder,
}

/// `None` for a stranger's name, or for one of ours with the wrong kind of thing behind it.
pub(super) fn root_name(name: &str, kind: EntryKind) -> Option<RootName> {
    match (name, kind) {
        (IDENT_NAME, _) | ("lost+found", EntryKind::Directory) => Some(RootName::Fixture),
        ("LOCK" | RESERVE_NAME, EntryKind::File) => Some(RootName::Scaffold),
        ("wal" | "m" | "f", EntryKind::Directory) => Some(RootName::Folder),
        (_, EntryKind::File) if is_root_temp(name) => Some(RootName::Scaffold),
        (_, EntryKind::Directory) if is_folder_aside(name) => Some(RootName::Scaffold),
        _ => None,
    }
}

/// Whether `name` is `{IDENT or RESERVE}.{nonce:032x}.tmp`.
pub(super) fn is_root_temp(name: &str) -> bool {
    let Some((stem, rest)) = name.split_once('.') else { return false };
    let nonce = rest.strip_suffix(".tmp").and_then(|nonce| hex(nonce, 32));
    (stem == IDENT_NAME || stem == RESERVE_NAME) && nonce.is_some()
}

/// What stands before `.{nonce:032x}.tmp` in the name of a folder that was being renewed.
fn aside_stem(name: &str) -> Option<&str> {
    let (stem, rest) = name.split_once('.')?;
    hex(rest.strip_suffix(".tmp")?, 32).map(|_| stem)
}

fn is_folder_aside(name: &str) -> bool {
    matches!(aside_stem(name), Some("wal" | "m" | "f"))
}

fn is_core_aside(name: &str) -> bool {
    aside_stem(name).and_then(core_folder).is_some()
}

/// The core of the log folder `name`, which is five digits.
pub(super) fn core_folder(name: &str) -> Option<u16> {
    let digits = name.len() == 5 && name.bytes().all(|byte| byte.is_ascii_digit());
    if digits { name.parse().ok() } else { None }
}
