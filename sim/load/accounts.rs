//! An account per core, and money that goes from one to another: what a run has of it is the same in every closed epoch.

use highwater::CoreHandle;

use super::{Stop, User};
use crate::oracle::Change;
use crate::world::lock;

/// What every account begins with.
pub(crate) const DEPOSIT: u64 = 1_000;
/// What the key of an account contains, and no other key.
const ACCOUNT: &str = "acct";

/// The balance of the account of `core`, if it has one. Which of the keys with this word is its account depends on
/// the hash, and there is only one.
pub(crate) fn account_balance(core: &CoreHandle) -> Option<u64> {
    core.scan_prefix(b"").find_map(|entry| {
        let (key, value) = entry.unwrap_or_else(|error| panic!("a scan: {error}"));
        key.windows(ACCOUNT.len()).any(|word| word == ACCOUNT.as_bytes()).then(|| balance(&value))
    })
}

/// The balance that a value says.
fn balance(value: &[u8]) -> u64 {
    let digits = value.split(|byte| *byte == b' ').next().unwrap_or_default();
    let parsed = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    parsed.unwrap_or_else(|| panic!("I4: a balance of \"{}\"", value.escape_ascii()))
}

impl User {
    /// The key of the account of each core.
    pub(super) fn owned_accounts(&self) -> Vec<Vec<u8>> {
        (0..self.cores.len()).map(|core| self.owned(ACCOUNT, core)).collect()
    }

    pub(super) async fn clear(&mut self, core: usize) -> Result<(), Stop> {
        let account = self.accounts[core].clone();
        let balance = lock(&self.run.oracle).live(core).keys.get(&account).cloned();
        match balance {
            None => self.attempt(core, Change::Clear).await,
            Some(balance) => {
                // The money comes back in the same epoch, or the epoch never closes.
                self.insist(core, Change::Clear).await?;
                self.insist(core, Change::Put(account, balance)).await
            }
        }
    }

    /// Gives every core an account in the same epoch, if they have none.
    pub(super) async fn open_accounts(&mut self) -> Result<(), Stop> {
        if !self.run.plan.load.transfers || account_balance(&self.cores[0]).is_some() {
            return Ok(());
        }
        for core in 0..self.cores.len() {
            let balance = format!("{DEPOSIT:08} {}.0", self.life_name());
            self.insist(core, Change::Put(self.accounts[core].clone(), balance.into_bytes().into())).await?;
        }
        Ok(())
    }

    pub(super) async fn transfer(&mut self, from: usize, to: usize) -> Result<(), Stop> {
        let same_epoch = self.cores[from].open_epoch() == self.cores[to].open_epoch();
        if !self.run.plan.load.transfers || from == to || !same_epoch {
            return Ok(());
        }
        let (rich, poor) = (self.balance(from), self.balance(to));
        let amount = self.stream.below(rich + 1).min(100);
        for (core, balance) in [(from, rich - amount), (to, poor + amount)] {
            let text = format!("{balance:08} {}.{}", self.life_name(), self.step);
            self.insist(core, Change::Put(self.accounts[core].clone(), text.into_bytes().into())).await?;
        }
        Ok(())
    }

    fn balance(&self, core: usize) -> u64 {
        let value =
            self.cores[core].get(&self.accounts[core]).unwrap_or_else(|error| panic!("I4: get: {error}"));
        balance(&value.unwrap_or_else(|| panic!("core {core} has lost its account")))
    }
}
