//! Does a store keep R3? Everything rests on it, and some stores that speak S3 do not: asked before each open.

use bytes::Bytes;

use super::client::Client;
use super::{Class, Created};
use crate::env::{Clock, Entropy};
use crate::error::{Error, ErrorKind, Result};
use crate::parallel::beside;

/// Creates of one name at once.
const RACERS: u8 = 8;

/// Names that are tried when the store's answers leave the question open.
const NAMES_MAX: u32 = 4;

impl<C: Clock, N: Entropy> Client<C, N> {
    /// Creates one name several times at once, then once more, and reads it.
    ///
    /// # Errors
    ///
    /// `Unsupported` when a name was created twice, or holds what no winner wrote. `Failed` when the store does not
    /// answer.
    pub(crate) async fn probe(&self) -> Result<()> {
        let mut attempt = 0;
        loop {
            let name = format!("probe/{}", self.entropy.nonce());
            let verdict = self.probe_name(&name).await;
            // Nobody looks at it; what stays is a few bytes.
            let _ = self.delete(&name).await;
            match verdict {
                Some(Ok(())) => return Ok(()),
                Some(Err(what)) => {
                    let what = format!(
                        "the object store does not keep its promise to create a name once: {what}; use one that does"
                    );
                    return Err(Error::new(ErrorKind::Unsupported, what).at(name.as_ref()));
                }
                None if attempt + 1 < NAMES_MAX => self.back_off(attempt).await,
                None => {
                    let what = "the object store does not answer; nothing was changed, open again later";
                    return Err(Error::new(ErrorKind::Failed, what));
                }
            }
            attempt += 1;
        }
    }

    /// `None` when the answers say too little.
    async fn probe_name(&self, name: &str) -> Option<Result<(), String>> {
        let nonce = self.entropy.nonce();
        let body = |racer: u8| Bytes::from(format!("{nonce}-{racer}"));
        let races = (0..RACERS).map(|racer| self.create_once(name, body(racer))).collect();
        let mut answers = beside(races).await;
        answers.push(self.create_once(name, body(RACERS)).await);
        let won: Vec<usize> = (0..answers.len()).filter(|&at| answers[at] == Ok(Created::New)).collect();
        if won.len() > 1 {
            return Some(Err(format!("{} of {} racers were told that they had", won.len(), answers.len())));
        }
        let found = self.read(Class::Manifest, name, 64).await.ok()??;
        let winner = (0..=RACERS).find(|racer| found == body(*racer));
        match (won.first(), winner) {
            (_, None) => Some(Err("it holds what nobody wrote".to_owned())),
            (Some(&told), Some(winner)) if told != usize::from(winner) => Some(Err(format!(
                "racer {told} was told that it had, and it holds what racer {winner} wrote"
            ))),
            (Some(_), Some(_)) => Some(Ok(())),
            // The winner's reply was lost, or came to its second try.
            (None, Some(_)) => None,
        }
    }
}
