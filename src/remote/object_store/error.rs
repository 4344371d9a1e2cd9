//! What an error of the crate `object_store` says about a request: was it done or not, and does it help to try again?
//!
//! ```text
//!                                     the request changes something      it only reads
//! no connection                       Unavailable                        Unavailable
//! 429, or 503 that says "slow down"   Throttled                          Throttled
//! other 503                           Unknown                            Throttled
//! other 5xx, 408, a lost reply        Unknown                            Unavailable
//! 409: two requests met               Unavailable                        Unavailable
//! other 4xx, not found, no right      Refused                            Refused
//! anything else                       Unknown                            Unavailable
//! ```
//!
//! The crate keeps the status of a reply to itself, but for its text. Tests with a server that gives these replies notice if
//! that changes; until then a status that is not found is "anything else", which is never wrong, only slow.

use std::error::Error as StdError;
use std::io;

use super::thread::NoReply;
use crate::remote::{StoreError, StoreErrorKind};

/// What stands before the status in the text of an error.
const STATUS: &str = "status code: ";

/// Codes of stores that ask for fewer requests, beside status 503.
const SLOW_DOWN: [&str; 3] = ["SlowDown", "ServerBusy", "RequestLimitExceeded"];

/// What status 400 means when the body came too slowly.
const BODY_TIMED_OUT: &str = "RequestTimeout";

/// Characters of an error's text that are kept.
const TEXT_MAX: usize = 400;

/// Whether a request changes something in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Changes,
    Reads,
}

/// What is said of a request that ended with `error`.
pub(super) fn told(error: &object_store::Error, effect: Effect) -> StoreError {
    StoreError::new(kind(error, effect), brief(&error.to_string()))
}

/// What is said of a request that did not end.
pub(super) fn unheard(why: NoReply, effect: Effect) -> StoreError {
    let what = match why {
        NoReply::TimedOut => "no reply in time",
        NoReply::Died => "the request was given up in the middle",
    };
    StoreError::new(uncertain(effect), what)
}

/// Whether the error says that a range begins behind the end of its object, perhaps: only the object's length tells.
pub(super) fn may_be_behind_the_end(error: &object_store::Error) -> bool {
    let is_generic = matches!(error, object_store::Error::Generic { .. });
    is_generic && matches!(status(error), None | Some(416)) && transport(error).is_none()
}

fn uncertain(effect: Effect) -> StoreErrorKind {
    match effect {
        Effect::Changes => StoreErrorKind::Unknown,
        Effect::Reads => StoreErrorKind::Unavailable,
    }
}

fn kind(error: &object_store::Error, effect: Effect) -> StoreErrorKind {
    use object_store::Error as E;
    match error {
        E::NotFound { .. }
        | E::InvalidPath { .. }
        | E::NotSupported { .. }
        | E::NotImplemented { .. }
        | E::Precondition { .. }
        | E::NotModified { .. }
        | E::PermissionDenied { .. }
        | E::Unauthenticated { .. }
        | E::UnknownConfigurationKey { .. } => StoreErrorKind::Refused,
        // Status 409, but for a create, whose caller looks for itself.
        E::AlreadyExists { .. } => StoreErrorKind::Unavailable,
        _ => kind_of_other(error, effect),
    }
}

fn kind_of_other(error: &object_store::Error, effect: Effect) -> StoreErrorKind {
    if let Some(kind) = transport(error) {
        return if kind == Transport::NotConnected { StoreErrorKind::Unavailable } else { uncertain(effect) };
    }
    if causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).any(is_denied) {
        return StoreErrorKind::Refused;
    }
    let text = error.to_string();
    match status(error) {
        Some(429) => StoreErrorKind::Throttled,
        Some(503) if SLOW_DOWN.iter().any(|code| text.contains(code)) => StoreErrorKind::Throttled,
        Some(503) if effect == Effect::Reads => StoreErrorKind::Throttled,
        Some(400) if text.contains(BODY_TIMED_OUT) => uncertain(effect),
        Some(408) => uncertain(effect),
        Some(409) => StoreErrorKind::Unavailable,
        Some(400..=499) => StoreErrorKind::Refused,
        _ => uncertain(effect),
    }
}

/// Whether a local directory says no.
fn is_denied(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(error.kind(), K::PermissionDenied | K::ReadOnlyFilesystem | K::NotADirectory)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "cloud"),
    expect(dead_code, reason = "a directory is not reached through a network")
)]
enum Transport {
    NotConnected,
    Broken,
}

/// What became of the way to the store, if that is what failed.
#[cfg(feature = "cloud")]
fn transport(error: &object_store::Error) -> Option<Transport> {
    use object_store::client::{HttpError, HttpErrorKind};
    causes(error).find_map(|cause| {
        let http = cause.downcast_ref::<HttpError>()?;
        let connected = http.kind() != HttpErrorKind::Connect;
        Some(if connected { Transport::Broken } else { Transport::NotConnected })
    })
}

#[cfg(not(feature = "cloud"))]
fn transport(_: &object_store::Error) -> Option<Transport> {
    None
}

/// The status of the reply, if there was one.
fn status(error: &object_store::Error) -> Option<u16> {
    causes(error).find_map(|cause| {
        let text = cause.to_string();
        let (_, behind) = text.split_once(STATUS)?;
        behind.get(..3)?.parse().ok()
    })
}

/// The error and what it came from.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&cause| cause.source())
}

/// The text in one line. Of what the store sent, only its code and message are kept: some repeat the request.
fn brief(text: &str) -> String {
    let sent = |tag: &str| {
        let (_, behind) = text.split_once(&format!("<{tag}>"))?;
        behind.split_once(&format!("</{tag}>")).map(|(sent, _)| sent)
    };
    let ours = text.split('<').next().unwrap_or_default().trim_end_matches("\u{feff}");
    let parts = [Some(ours), sent("Code"), sent("Message")];
    let words = parts.into_iter().flatten().flat_map(str::split_whitespace);
    let flat = words.collect::<Vec<_>>().join(" ");
    match flat.char_indices().nth(TEXT_MAX) {
        Some((at, _)) => format!("{}…", &flat[..at]),
        None => flat,
    }
}
