//! The source: 336,776 real departures in the order of their schedule.
//!
//! `examples/data/README.md` lays out the file, says where it is from, and how to make it again.

use std::io::{self, Read};

/// The file, as shipped.
const COMPRESSED: &[u8] = include_bytes!("../data/flights.bin.xz");

const MAGIC: &[u8] = b"flights1";

/// Stands for "not available" in the file: the flight was cancelled, or diverted.
const NOT_AVAILABLE: i16 = i16::MIN;

/// One departure. Names are places in the lists of [`Flights`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flight {
    /// Scheduled departure, in minutes of New York time since the year 2013 began.
    pub(crate) minute: u32,
    /// Minutes behind the schedule; none when the flight was cancelled.
    pub(crate) departure_delay: Option<i16>,
    /// Minutes behind the schedule; none when the flight did not arrive where it was to.
    pub(crate) arrival_delay: Option<i16>,
    pub(crate) carrier: u8,
    pub(crate) origin: u8,
    pub(crate) dest: u8,
    pub(crate) tail: u16,
    pub(crate) number: u16,
    pub(crate) distance_miles: u16,
}

/// The whole year, and the names that it uses.
#[derive(Debug)]
pub(crate) struct Flights {
    pub(crate) rows: Vec<Flight>,
    pub(crate) carriers: Vec<String>,
    pub(crate) origins: Vec<String>,
    pub(crate) dests: Vec<String>,
    pub(crate) tails: Vec<String>,
}

impl Flights {
    /// Unpacks and reads the shipped file.
    pub(crate) fn load() -> io::Result<Self> {
        parse(&decompress()?)
    }
}

/// The shipped file, unpacked.
pub(crate) fn decompress() -> io::Result<Vec<u8>> {
    let mut data = Vec::new();
    lzma_rust2::XzReader::new(COMPRESSED, false).read_to_end(&mut data)?;
    Ok(data)
}

/// Reads an unpacked file.
pub(crate) fn parse(data: &[u8]) -> io::Result<Flights> {
    let mut rest = Rest(data);
    if rest.take(MAGIC.len())? != MAGIC {
        return Err(bad("it does not begin with `flights1`"));
    }
    let count = usize::try_from(u32::from_le_bytes(rest.array()?)).map_err(io::Error::other)?;
    let carriers = rest.names()?;
    let origins = rest.names()?;
    let dests = rest.names()?;
    let tails = rest.names()?;

    let gaps = rest.column::<2>(count)?;
    let departure_delays = rest.column::<2>(count)?;
    let arrival_delays = rest.column::<2>(count)?;
    let of_carrier = rest.column::<1>(count)?;
    let of_origin = rest.column::<1>(count)?;
    let of_dest = rest.column::<1>(count)?;
    let of_tail = rest.column::<2>(count)?;
    let numbers = rest.column::<2>(count)?;
    let distances = rest.column::<2>(count)?;
    if !rest.0.is_empty() {
        return Err(bad("bytes follow the last column"));
    }

    let mut minute = 0;
    let mut rows = Vec::with_capacity(count);
    for row in 0..count {
        minute += u32::from(u16::from_le_bytes(gaps[row]));
        let flight = Flight {
            minute,
            departure_delay: delay(departure_delays[row]),
            arrival_delay: delay(arrival_delays[row]),
            carrier: of_carrier[row][0],
            origin: of_origin[row][0],
            dest: of_dest[row][0],
            tail: u16::from_le_bytes(of_tail[row]),
            number: u16::from_le_bytes(numbers[row]),
            distance_miles: u16::from_le_bytes(distances[row]),
        };
        let named = usize::from(flight.carrier) < carriers.len()
            && usize::from(flight.origin) < origins.len()
            && usize::from(flight.dest) < dests.len()
            && usize::from(flight.tail) < tails.len();
        if !named {
            return Err(bad("a row uses a name that is not in its list"));
        }
        rows.push(flight);
    }
    Ok(Flights { rows, carriers, origins, dests, tails })
}

fn delay(bytes: [u8; 2]) -> Option<i16> {
    let minutes = i16::from_le_bytes(bytes);
    (minutes != NOT_AVAILABLE).then_some(minutes)
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("flights.bin: {what}"))
}

/// What has not been read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, bytes: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or_else(|| bad("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        self.take(N)?.try_into().map_err(io::Error::other)
    }

    /// A list of names: a count of two bytes, then each with its length in one byte.
    fn names(&mut self) -> io::Result<Vec<String>> {
        let count = u16::from_le_bytes(self.array()?);
        (0..count)
            .map(|_| {
                let [bytes] = self.array()?;
                let name = self.take(usize::from(bytes))?;
                String::from_utf8(name.to_vec()).map_err(|_| bad("a name is no text"))
            })
            .collect()
    }

    /// One column: `count` cells of `N` bytes.
    fn column<const N: usize>(&mut self, count: usize) -> io::Result<&'a [[u8; N]]> {
        let bytes = count.checked_mul(N).ok_or_else(|| bad("its row count is too large"))?;
        Ok(self.take(bytes)?.as_chunks::<N>().0)
    }
}
