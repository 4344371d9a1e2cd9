//! Does a store keep R3? Everything rests on it, and some stores that speak S3 do not: asked before each open.

use bytes::Bytes;

use super::client::Client;
use super::{Class, Created, StoreError, StoreErrorKind};
use crate::env::{Clock, Entropy};
use crate::error::{Error, ErrorCode, Result};
use crate::parallel::beside;

/// Creates of one name at once.
const RACERS: u8 = 8;

/// What a name has shown.
enum Verdict {
    Kept,
    Broken(String),
    /// Too little, perhaps for this reason.
    Open(Option<StoreError>),
}

/// Names that are tried when the store's answers leave the question open.
const NAMES_MAX: u32 = 4;

impl<C: Clock, N: Entropy> Client<C, N> {
    /// Creates one name several times at once, then once more, and reads it.
    ///
    /// # Errors
    ///
    /// `Unsupported` when a name was created twice, or holds what no winner wrote. `Invalid` when the store refuses, `Failed`
    /// when it does not answer.
    pub(crate) async fn probe(&self) -> Result<()> {
        let mut attempt = 0;
        loop {
            let name = format!("probe/{}", self.entropy.nonce());
            let verdict = self.probe_name(&name).await;
            // Nobody looks at it; what stays is a few bytes.
            let _ = self.delete(&name).await;
            match verdict {
                Verdict::Kept => return Ok(()),
                Verdict::Broken(what) => {
                    let what = format!(
                        "the object store does not keep its promise to create a name once: {what}; use one that does"
                    );
                    return Err(Error::new(ErrorCode::StoreNotConditional, what).at(name.as_ref()));
                }
                Verdict::Open(Some(error)) if error.kind() == StoreErrorKind::Refused => {
                    return Err(error.of("trying a conditional create", &name));
                }
                Verdict::Open(_) if attempt + 1 < NAMES_MAX => self.back_off(attempt).await,
                Verdict::Open(error) => {
                    let why = error.map_or_else(String::new, |error| format!(": {error}"));
                    let what = format!(
                        "the object store does not answer; nothing was changed, open again later{why}"
                    );
                    return Err(Error::new(ErrorCode::StoreUnavailable, what));
                }
            }
            attempt += 1;
        }
    }

    async fn probe_name(&self, name: &str) -> Verdict {
        let nonce = self.entropy.nonce();
        let body = |racer: u8| Bytes::from(format!("{nonce}-{racer}"));
        let races = (0..RACERS).map(|racer| self.create_once(name, body(racer))).collect();
        let mut answers = beside(races).await;
        answers.push(self.create_once(name, body(RACERS)).await);
        let won: Vec<usize> = (0..answers.len()).filter(|&at| answers[at] == Ok(Created::New)).collect();
        if won.len() > 1 {
            return Verdict::Broken(format!(
                "{} of {} racers were told that they had",
                won.len(),
                answers.len()
            ));
        }
        let error = answers.into_iter().find_map(Result::err);
        let found = match self.read(Class::Manifest, name, 64).await {
            Ok(Some(found)) => found,
            Ok(None) => return Verdict::Open(error),
            Err(unread) => return Verdict::Open(error.or(Some(unread))),
        };
        let winner = (0..=RACERS).find(|racer| found == body(*racer));
        match (won.first(), winner) {
            (_, None) => Verdict::Broken("it holds what nobody wrote".to_owned()),
            (Some(&told), Some(winner)) if told != usize::from(winner) => Verdict::Broken(format!(
                "racer {told} was told that it had, and it holds what racer {winner} wrote"
            )),
            (Some(_), Some(_)) => Verdict::Kept,
            // The winner's reply was lost, or came to its second try.
            (None, Some(_)) => Verdict::Open(error),
        }
    }
}
