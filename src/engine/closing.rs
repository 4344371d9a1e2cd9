//! Closing: whether everything that the caller counts on has been handed over.
//!
//! An epoch counts as a whole. While one core has not ended it, what the others have put into it and ended is open, too, and
//! would be gone with the close.

use std::sync::Arc;

use super::core::CoreHandle;
use super::shared::Shared;
use crate::error::{Error, ErrorCode, Result};

/// # Errors
///
/// `Invalid` when `cores` are not all cores of the engine, each once, or an epoch is open with records that were not given up.
pub(super) fn check(shared: &Arc<Shared>, cores: &[CoreHandle]) -> Result<()> {
    check_all(shared, cores)?;
    // It ends no epochs any more, and says so itself.
    if shared.failed() {
        return Ok(());
    }
    if let Some(open) = cores.iter().find(|core| core.open_records() > 0) {
        let what = format!(
            "core {} has {} records in the open epoch {}: end the epoch, or call discard_open",
            open.id(),
            open.open_records(),
            open.open_epoch()
        );
        return Err(Error::new(ErrorCode::EpochOpen, what));
    }
    check_even(cores)
}

/// # Errors
///
/// `Invalid` when a core is missing, is there twice, or belongs to another engine.
fn check_all(shared: &Arc<Shared>, cores: &[CoreHandle]) -> Result<()> {
    let refuse = |what: String| {
        let what = format!("{what}: close with all handles of this engine, or drop it as a crash would");
        Err(Error::new(ErrorCode::OtherCores, what))
    };
    let mut given = vec![false; shared.cores().count()];
    for core in cores {
        if !core.is_of(shared) {
            return refuse(format!("core {} is of another engine", core.id()));
        }
        if std::mem::replace(&mut given[core.id().index()], true) {
            return refuse(format!("core {} is there twice", core.id()));
        }
    }
    match given.iter().position(|given| !given) {
        Some(missing) => refuse(format!("core {missing} is missing")),
        None => Ok(()),
    }
}

/// # Errors
///
/// `Invalid` when some cores have ended epochs that others have not, unless either gave them up.
fn check_even(cores: &[CoreHandle]) -> Result<()> {
    let open = |core: &&CoreHandle| core.open_epoch();
    let (Some(behind), Some(ahead)) = (cores.iter().min_by_key(open), cores.iter().max_by_key(open)) else {
        return Ok(());
    };
    let (least, most) = (behind.open_epoch(), ahead.open_epoch());
    let by_the_fast = cores.iter().filter(|core| core.open_epoch() > least).all(CoreHandle::is_discarded);
    let by_the_slow = cores.iter().filter(|core| core.open_epoch() < most).all(CoreHandle::is_discarded);
    if by_the_fast || by_the_slow {
        return Ok(());
    }
    let what = format!(
        "core {} has ended epoch {least}, and core {} has not: end it there too, or call discard_open on one of them",
        ahead.id(),
        behind.id(),
    );
    Err(Error::new(ErrorCode::EpochOpen, what))
}
