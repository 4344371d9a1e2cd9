//! The same program in the real world: threads, the system's clock, files.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use highwater::Options;
use highwater::env::{Blocking, Env, Spawn, StdEnv};

use crate::service::{ACCOUNTS, Bug, Transfer, Wire, audit, client, expected, serve};

/// How long the service gets for all of it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the service on a fresh database in `dir`, in a thread of its own, until a client has had all its transfers
/// confirmed; then opens the database once more and compares.
pub(crate) fn run(dir: &Path) -> Result<(), Box<dyn Error>> {
    let home = tempfile::Builder::new().prefix("highwater-bank-").tempdir_in(dir)?;
    let options = Options::new(home.path().join("bank")).segment_bytes(1 << 20);
    let transfers: Vec<Transfer> = (0..100)
        .map(|number| Transfer {
            from: number % ACCOUNTS,
            to: (number * 5 + 3) % ACCOUNTS,
            amount: number as u64,
        })
        .collect();

    let wire = Arc::new(Wire::default());
    let (served, outcome) = std::sync::mpsc::channel();
    let (line, its_options) = (Arc::clone(&wire), options.clone());
    StdEnv.spawn().spawn("service", async move || {
        // Nobody listens any more only when this function has given up.
        let _ = served.send(serve(StdEnv, its_options, &line, Bug::None).await);
    })?;
    StdEnv.block_on(client(StdEnv.clock(), &wire, &transfers));
    outcome.recv_timeout(PATIENCE)??;

    let balances = StdEnv.block_on(audit(StdEnv, options))?;
    if balances != expected(&transfers) {
        return Err(format!("on the real disk the balances are {balances:?}").into());
    }
    println!("on the real disk: {} transfers confirmed, and found again", wire.confirmed());
    Ok(())
}
