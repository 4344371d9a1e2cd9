//! What goes wrong between a program and an object store.

use std::fmt;
use std::time::Duration;

use crate::sim::rng::Streams;

/// A kind of fault of an object store. All are in contract: a program must survive them without losing what it promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum StoreFault {
    /// A request is not done: slow down.
    Throttled,
    /// A request is not done: the store is not reached.
    Unavailable,
    /// A request is not done, and nobody says so.
    RequestLost,
    /// A request is done, and nobody says so.
    ReplyLost,
    /// A request is given up, and done later: its process may have ended, and another may own the database.
    Late,
    /// A conditional put is done, tried again on the way, and answered with its own success: the name is taken.
    TriedTwice,
    /// A conditional put is told that the name is taken, and nothing has it.
    FalseConflict,
    /// A listing shows an earlier moment.
    StaleList,
    /// Fewer bytes come than were asked for.
    ShortGet,
    /// An upload in parts is gone before it was completed.
    UploadLost,
    /// From this request on no reply comes for a while: requests are done, or not, or later.
    Outage,
}

impl StoreFault {
    /// Every fault, in order.
    pub const ALL: [Self; 11] = [
        Self::Throttled,
        Self::Unavailable,
        Self::RequestLost,
        Self::ReplyLost,
        Self::Late,
        Self::TriedTwice,
        Self::FalseConflict,
        Self::StaleList,
        Self::ShortGet,
        Self::UploadLost,
        Self::Outage,
    ];
}

/// How often an object store does what. `Display` gives every rate above zero.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreFaults {
    rates: [f64; StoreFault::ALL.len()],
    /// How long one way takes, in milliseconds, from and to (included). One in 64 takes ten times as long.
    pub latency_ms: (u64, u64),
    /// How much later a request that was given up takes effect at most.
    pub late_max: Duration,
    /// How long no reply comes at most.
    pub outage_max: Duration,
    /// How old a listing is at most.
    pub stale_max: Duration,
    /// Out of contract: a create puts the object in the place of another, and says that the name was free.
    pub create_lies: bool,
}

impl StoreFaults {
    /// A store that does everything right, in no time.
    #[must_use]
    pub fn none() -> Self {
        Self {
            rates: [0.0; StoreFault::ALL.len()],
            latency_ms: (0, 0),
            late_max: Duration::from_secs(30),
            outage_max: Duration::from_secs(30),
            stale_max: Duration::from_secs(60),
            create_lies: false,
        }
    }

    /// Draws one: about half of the faults are off, the others rare or frequent.
    #[must_use]
    pub fn swarm(streams: &Streams) -> Self {
        let mut stream = streams.stream("store.plan");
        let mut plan = Self::none();
        plan.latency_ms = *stream.pick(&[(0, 2), (2, 20), (20, 80)]);
        plan.late_max = Duration::from_millis(*stream.pick(&[10, 1_000, 60_000]));
        plan.outage_max = Duration::from_millis(*stream.pick(&[1_000, 20_000, 120_000]));
        plan.stale_max = Duration::from_millis(*stream.pick(&[100, 10_000, 3_600_000]));
        for fault in StoreFault::ALL {
            let on = stream.chance(0.5);
            let rate = *stream.pick(&[0.003, 0.01, 0.03, 0.1]);
            if on {
                // An outage meets many requests.
                let rate = if fault == StoreFault::Outage { rate / 10.0 } else { rate };
                plan.rates[fault as usize] = rate;
            }
        }
        plan
    }

    /// The same with this rate, from 0 (never) to 1 (always).
    ///
    /// # Panics
    ///
    /// When the rate is no probability.
    #[must_use]
    pub fn with(mut self, fault: StoreFault, rate: f64) -> Self {
        assert!((0.0..=1.0).contains(&rate), "{rate} is no probability");
        self.rates[fault as usize] = rate;
        self
    }

    /// The same, and creates lie.
    #[must_use]
    pub fn lying(mut self) -> Self {
        self.create_lies = true;
        self
    }

    /// The same with ways that take from `lo` to `hi` milliseconds (included).
    #[must_use]
    pub fn with_latency_ms(mut self, lo: u64, hi: u64) -> Self {
        self.latency_ms = (lo, hi);
        self
    }

    /// The rate of `fault`.
    pub fn rate(&self, fault: StoreFault) -> f64 {
        self.rates[fault as usize]
    }
}

impl fmt::Display for StoreFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "latency={}..{}ms", self.latency_ms.0, self.latency_ms.1)?;
        if self.create_lies {
            f.write_str(" create-lies")?;
        }
        for fault in StoreFault::ALL.into_iter().filter(|fault| self.rate(*fault) > 0.0) {
            write!(f, " {fault:?}={}", self.rate(fault))?;
        }
        Ok(())
    }
}
