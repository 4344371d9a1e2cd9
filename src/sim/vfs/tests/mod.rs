//! A disk in use, one fault at a time.

mod faults;
mod flights;
mod rig;
