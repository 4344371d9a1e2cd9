//! The program: a bank that moves money between accounts on two cores.
//!
//! Nothing here knows of a simulation. Everything that it takes from the world comes from an [`Env`], and so the same
//! code runs on a real disk and on a simulated one.
//!
//! ```text
//! client ──► requests 1, 2, 3 … ──► service ──► both accounts and the number of the last request, in one epoch
//!    ▲                                 │ durable
//!    └───────── confirmed: n ◄─────────┘
//! ```
//!
//! What it promises
//! 1. No money appears or disappears.
//! 2. A confirmed transfer has been made, and no crash undoes it.
//! 3. No transfer is made twice, however often the client asks for it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use highwater::env::{Clock, Env};
use highwater::{CoreHandle, CoreId, Engine, Epoch, EpochMark, Error, Offset, Opened, Options};

/// How many accounts there are.
pub(crate) const ACCOUNTS: usize = 8;

/// What is in an account that nobody has touched yet.
pub(crate) const START: u64 = 100;

/// Under this name an epoch keeps the number of the last request that is part of it.
const REQUESTS: &str = "requests";

/// How many requests a client has open at a time.
const WINDOW: usize = 4;

/// How long a client waits for a confirmation before it asks again.
const PATIENCE: Duration = Duration::from_millis(50);

/// How often client and service look whether there is something to do.
const POLL: Duration = Duration::from_millis(1);

/// A request to move money, if it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transfer {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) amount: u64,
}

/// What is wrong with the service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Bug {
    /// Nothing.
    #[default]
    None,
    /// It confirms when an epoch has ended, and does not wait until that is durable.
    ConfirmEarly,
    /// It does not write down which requests an epoch holds.
    LostOffset,
}

/// What lies between a client and the service: requests on their way, which a crash loses, and the greatest number that
/// the client has seen confirmed.
#[derive(Debug, Default)]
pub(crate) struct Wire(Mutex<Traffic>);

#[derive(Debug, Default)]
struct Traffic {
    requests: VecDeque<(u64, Transfer)>,
    confirmed: u64,
    done: bool,
}

impl Wire {
    fn traffic(&self) -> MutexGuard<'_, Traffic> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All requests up to this one were confirmed to the client.
    pub(crate) fn confirmed(&self) -> u64 {
        self.traffic().confirmed
    }

    /// The service died: what was on its way to it is lost.
    pub(crate) fn hang_up(&self) {
        self.traffic().requests.clear();
    }

    fn confirm(&self, number: u64) {
        let mut traffic = self.traffic();
        traffic.confirmed = traffic.confirmed.max(number);
    }
}

/// Serves requests until the client is done. After an error, and after a crash, it is started again.
pub(crate) async fn serve<E: Env>(env: E, options: Options, wire: &Wire, bug: Bug) -> Result<(), Error> {
    let clock = env.clock();
    let mut bank = Bank::open(env, options).await?;
    loop {
        let (requests, done) = {
            let mut traffic = wire.traffic();
            (std::mem::take(&mut traffic.requests), traffic.done)
        };
        if requests.is_empty() && done {
            return bank.engine.close_async(bank.cores).await;
        }
        if requests.is_empty() {
            clock.sleep(POLL).await;
            continue;
        }
        for (number, transfer) in requests {
            bank.make(number, transfer)?;
        }
        let epoch = bank.end_epoch(bug)?;
        if bug == Bug::ConfirmEarly {
            wire.confirm(bank.made);
        }
        bank.engine.durable(epoch).await?;
        wire.confirm(bank.made);
    }
}

/// The state of the service: accounts, and how many requests are in it.
struct Bank<E: Env> {
    engine: Engine<E>,
    cores: Vec<CoreHandle>,
    made: u64,
}

impl<E: Env> Bank<E> {
    async fn open(env: E, options: Options) -> Result<Self, Error> {
        let Opened { engine, cores, report } = Engine::open_in(env, options.cores(2)).await?;
        let made = match report.offsets.get(&(CoreId(0), REQUESTS.to_owned())) {
            Some(Offset::Number(made)) => *made,
            _ => 0,
        };
        Ok(Self { engine, cores, made })
    }

    fn core(&mut self, account: usize) -> (&mut CoreHandle, String) {
        let key = format!("account/{account}");
        let core = self.engine.core_of(key.as_bytes()).index();
        (&mut self.cores[core], key)
    }

    fn balance(&mut self, account: usize) -> Result<u64, Error> {
        let (core, key) = self.core(account);
        let balance =
            core.get(key.as_bytes())?.and_then(|value| value[..].try_into().ok().map(u64::from_le_bytes));
        Ok(balance.unwrap_or(START))
    }

    fn set_balance(&mut self, account: usize, balance: u64) -> Result<(), Error> {
        let (core, key) = self.core(account);
        core.put(key.as_bytes(), &balance.to_le_bytes()).map(drop)
    }

    /// Makes the transfer unless it was made before. After an error the money may have left one account and not
    /// have reached the other: the epoch must not end, so the caller gives up and the service starts anew.
    fn make(&mut self, number: u64, transfer: Transfer) -> Result<(), Error> {
        if number <= self.made {
            return Ok(());
        }
        let Transfer { from, to, amount } = transfer;
        let there = self.balance(from)?;
        if there >= amount && from != to {
            self.set_balance(from, there - amount)?;
            let other = self.balance(to)?;
            self.set_balance(to, other + amount)?;
        }
        self.made = number;
        Ok(())
    }

    /// Ends the epoch on both cores, with the number of the last request in it.
    fn end_epoch(&mut self, bug: Bug) -> Result<Epoch, Error> {
        let mark = match bug {
            Bug::LostOffset => EpochMark::new(),
            Bug::None | Bug::ConfirmEarly => EpochMark::new().offset(REQUESTS, self.made),
        };
        let epoch = self.cores[0].close_epoch(mark)?;
        self.cores[1].close_epoch(EpochMark::new())?;
        Ok(epoch)
    }
}

/// Asks for every transfer, in order, again and again until it is confirmed. What is confirmed it forgets.
pub(crate) async fn client(clock: impl Clock, wire: &Wire, transfers: &[Transfer]) {
    let numbered: Vec<(u64, Transfer)> = (1..).zip(transfers.iter().copied()).collect();
    loop {
        let confirmed = wire.confirmed();
        let open: Vec<_> =
            numbered.iter().filter(|(number, _)| *number > confirmed).take(WINDOW).copied().collect();
        if open.is_empty() {
            wire.traffic().done = true;
            return;
        }
        wire.traffic().requests.extend(open);
        let asked = clock.now();
        while wire.confirmed() == confirmed && clock.now().since(asked) < PATIENCE {
            clock.sleep(POLL).await;
        }
    }
}

/// Opens what the service left and reads all balances.
pub(crate) async fn audit<E: Env>(env: E, options: Options) -> Result<Vec<u64>, Error> {
    let mut bank = Bank::open(env, options).await?;
    let balances = (0..ACCOUNTS).map(|account| bank.balance(account)).collect::<Result<_, _>>()?;
    bank.engine.close_async(bank.cores).await?;
    Ok(balances)
}

/// What the balances must be when these transfers, and no others, have been made in this order.
pub(crate) fn expected(transfers: &[Transfer]) -> Vec<u64> {
    let mut balances = vec![START; ACCOUNTS];
    for &Transfer { from, to, amount } in transfers {
        if balances[from] >= amount && from != to {
            balances[from] -= amount;
            balances[to] += amount;
        }
    }
    balances
}
