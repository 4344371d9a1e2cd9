//! The one error type: what went wrong, where, and what the caller does next.

mod code;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::limits::FORMAT_VERSION;
pub use code::ErrorCode;

/// What the caller must do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A bounded queue is full, or another process has the database open. Wait and try again.
    Busy,
    /// There is no room: on the device, or in the state of a core. Make some, and try again what was refused. Of the
    /// device free space, and the engine resumes by itself. Of a state delete keys, or open with more cores
    /// ([`ErrorCode::StateFull`], [`ErrorCode::StateFullAtOpen`]). Lost is only what [`ErrorCode::ClosedWhileFull`]
    /// says.
    Full,
    /// A newer writer owns the database. Stop: this one can land nothing any more.
    Fenced,
    /// Bytes on disk contradict what was promised. Nothing was changed; restore the named file or a backup.
    Corrupt,
    /// A sink has forgotten what was decided: rows are missing there. Say what is to become of it
    /// ([`Options::on_lost`](crate::Options::on_lost)).
    Lost,
    /// A write or sync failed, or an invariant broke. Reads go on; reopen the database to go on writing.
    Failed,
    /// The directory, file or device needs something that this build does not offer. Use one that does.
    Unsupported,
    /// The call itself is wrong. Change the program or the options.
    Invalid,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Busy => "busy",
            Self::Full => "full",
            Self::Fenced => "fenced",
            Self::Corrupt => "corrupt",
            Self::Lost => "lost",
            Self::Failed => "failed",
            Self::Unsupported => "unsupported",
            Self::Invalid => "invalid",
        };
        f.write_str(name)
    }
}

/// Every failure of the public interface. [`Error::kind`] says what to do; the text says what and where.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(Box<Inner>);

/// A `Result` of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
struct Inner {
    kind: ErrorKind,
    code: ErrorCode,
    message: String,
    path: Option<PathBuf>,
    #[source]
    source: Option<io::Error>,
}

impl fmt::Display for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)?;
        if let Some(path) = &self.path {
            write!(f, " ({})", path.display())?;
        }
        if let Some(source) = &self.source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

impl Error {
    /// What the caller must do.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What caused it: docs/errors.md says more. The text of the error does not hold it.
    pub fn code(&self) -> ErrorCode {
        self.0.code
    }

    /// The file or directory that the error is about.
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// Of the kind that `code` usually has. `message` says what happened, and what would be right.
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind: code.kind(), code, message: message.into(), path: None, source: None }))
    }

    /// `message` names the offset and what contradicts what.
    pub(crate) fn corrupt(code: ErrorCode, path: &Path, message: impl Into<String>) -> Self {
        Self::new(code, message).at(path)
    }

    /// A file that this build cannot know how to read; `what` is a phrase for it.
    pub(crate) fn newer_format(path: &Path, what: &str, format: u32) -> Self {
        let message = format!(
            "{what} of format {format}; this build reads formats up to {FORMAT_VERSION}: use a newer build"
        );
        Self::new(ErrorCode::NewerFormat, message).at(path)
    }

    /// An I/O error: `Full` when the device has no space, else `Failed`.
    pub(crate) fn io(doing: &str, path: &Path, source: io::Error) -> Self {
        let code = if is_full(&source) { ErrorCode::NoSpace } else { ErrorCode::Io };
        Self(Box::new(Inner {
            kind: code.kind(),
            code,
            message: doing.to_owned(),
            path: Some(path.to_owned()),
            source: Some(source),
        }))
    }

    /// The same error, about `path`.
    #[must_use]
    pub(crate) fn at(mut self, path: &Path) -> Self {
        self.0.path = Some(path.to_owned());
        self
    }

    /// The same story with another cause.
    #[must_use]
    pub(crate) fn coded(mut self, code: ErrorCode) -> Self {
        self.0.code = code;
        self
    }

    /// The same story with another demand on the caller.
    #[must_use]
    pub(crate) fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// The same story with `more` behind what happened.
    #[must_use]
    pub(crate) fn adding(mut self, more: &str) -> Self {
        self.0.message.push_str(more);
        self
    }

    /// A copy for a second listener; the source becomes text, because `io::Error` cannot be cloned.
    pub(crate) fn duplicate(&self) -> Self {
        let mut message = self.0.message.clone();
        if let Some(source) = &self.0.source {
            message = format!("{message}: {source}");
        }
        let Inner { kind, code, ref path, .. } = *self.0;
        Self(Box::new(Inner { kind, code, message, path: path.clone(), source: None }))
    }
}

/// Whether `error` says that the device or the quota has no space left.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
