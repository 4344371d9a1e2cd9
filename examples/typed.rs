//! Typed keys and values over the engine's bytes: `cargo run --release --example typed`.
//!
//! ```text
//! Table<Order>  ─► key: prefix, then the number in big endian, so that byte order is number order
//!               ─► value: one byte of layout, then the archive of crate rkyv, read where it lies
//! ```
//!
//! The engine keeps bytes, and copies none to answer a `get`. A thin layer gives them types: writes archive a value, reads
//! check the archive and look into it without building the value anew. The byte in front is the layout's version; a
//! program that learns a new layout says here how it reads the old one.
#![expect(clippy::print_stdout, reason = "what the example shows")]
#![expect(clippy::big_endian_bytes, reason = "the order of the bytes is the order of the numbers")]

use std::error::Error;
use std::marker::PhantomData;

use highwater::{CoreHandle, Engine, EpochMark, Opened, Options};
use rkyv::api::high::{HighSerializer, HighValidator};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor;
use rkyv::ser::allocator::ArenaHandle;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// The layout that this program writes.
const LAYOUT: u8 = 1;

/// Values of one type under keys of their own, on whichever core it is used with.
struct Table<V> {
    prefix: &'static [u8],
    /// Archives are read at addresses that suit them; the state's values lie anywhere.
    aligned: AlignedVec,
    value: PhantomData<V>,
}

impl<V> Table<V>
where
    V: Archive + for<'a> Serialize<HighSerializer<AlignedVec, ArenaHandle<'a>, rancor::Error>>,
    V::Archived: for<'a> CheckBytes<HighValidator<'a, rancor::Error>>,
{
    fn new(prefix: &'static str) -> Self {
        Self { prefix: prefix.as_bytes(), aligned: AlignedVec::new(), value: PhantomData }
    }

    fn key(&self, number: u64) -> Vec<u8> {
        [self.prefix, &number.to_be_bytes()].concat()
    }

    fn put(&self, core: &mut CoreHandle, number: u64, value: &V) -> Result<()> {
        let archive = rkyv::to_bytes::<rancor::Error>(value)?;
        let stored = [&[LAYOUT], &archive[..]].concat();
        core.put(&self.key(number), &stored)?;
        Ok(())
    }

    /// The value as it is stored, until the next call.
    fn get(&mut self, core: &CoreHandle, number: u64) -> Result<Option<&V::Archived>> {
        let key = self.key(number);
        core.get(&key)?.map(|stored| Self::read(&mut self.aligned, &stored)).transpose()
    }

    /// Calls `each` with the values of a range, in the order of their numbers.
    fn for_each(
        &mut self,
        core: &CoreHandle,
        numbers: std::ops::Range<u64>,
        mut each: impl FnMut(u64, &V::Archived),
    ) -> Result<()> {
        let (start, end) = (self.key(numbers.start), self.key(numbers.end));
        for entry in core.range(&start[..]..&end[..]) {
            let (key, stored) = entry?;
            let number = key[self.prefix.len()..].try_into()?;
            each(u64::from_be_bytes(number), Self::read(&mut self.aligned, &stored)?);
        }
        Ok(())
    }

    fn read<'a>(aligned: &'a mut AlignedVec, stored: &[u8]) -> Result<&'a V::Archived> {
        let (layout, archive) = stored.split_first().ok_or("an empty value")?;
        if *layout != LAYOUT {
            return Err(format!("layout {layout}: this program knows layout {LAYOUT}").into());
        }
        aligned.clear();
        aligned.extend_from_slice(archive);
        Ok(rkyv::access::<V::Archived, rancor::Error>(aligned)?)
    }
}

/// An order of a matching engine.
#[derive(Archive, Serialize, Deserialize, Debug, PartialEq)]
struct Order {
    account: u64,
    symbol: String,
    /// In hundredths.
    limit: u64,
    fills: Vec<u64>,
}

fn order(number: u64) -> Order {
    let fills = (0..number % 4).map(|fill| 10 * fill + 1).collect();
    Order { account: number % 10, symbol: format!("SYM{}", number % 3), limit: 10_000 + number, fills }
}

fn main() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let options = || Options::new(dir.path().join("data")).ordered_index(true);
    let mut orders = Table::<Order>::new("order/");

    let Opened { engine, mut cores, .. } = Engine::open(options())?;
    for number in 0..1_000 {
        orders.put(&mut cores[0], number, &order(number))?;
    }
    cores[0].commit_with(EpochMark::new().offset("orders", 1_000))?;
    engine.close(cores)?;

    let Opened { engine, cores, report } = Engine::open(options())?;
    println!("{report}");
    let found = orders.get(&cores[0], 42)?.ok_or("order 42 is gone")?;
    println!("order 42: {} at {} with {} fills, read in place", found.symbol, found.limit, found.fills.len());
    let whole: Order = rkyv::deserialize::<_, rancor::Error>(found)?;
    assert_eq!(whole, order(42), "what was put");

    let (mut count, mut filled) = (0, 0);
    orders.for_each(&cores[0], 100..200, |number, order| {
        assert_eq!(order.limit.to_native(), 10_000 + number, "in the order of numbers");
        count += 1;
        filled += order.fills.iter().map(|fill| fill.to_native()).sum::<u64>();
    })?;
    println!("orders 100 to 199: {count}, of which {filled} pieces are filled");
    assert_eq!(count, 100, "none is missing");
    Ok(engine.close(cores)?)
}
