//! A database of which one file is anything: it is verified, its log is read, it is opened. Each may refuse; none may panic,
//! hang, or touch what lies beside the directory.
#![no_main]

use highwater_fuzz::{bounded, directory};

// Options of some hundred KiB of log buffers and read-ahead, two engines' worth of threads, and reports.
const CONSTANT_BYTES: usize = 24 << 20;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bounded(bytes, CONSTANT_BYTES, directory::open));
