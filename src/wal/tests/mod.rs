//! Tests of the log, on a disk that forgets, fails and fills up on demand.

mod corruption;
mod crashes;
mod disk;
mod group_commit;
mod logs;
mod pipeline;
mod rig;
mod segments;
mod table;
mod trims;
