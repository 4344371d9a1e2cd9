//! A stable code for each cause that an error can have: docs/errors.md says what to do about it.
//!
//! Codes are for programs that watch, for search engines and for manuals: a number keeps its meaning for ever, and one
//! that is not used any more is not given again. Its first digit is the kind that it usually has;
//! [`Error::kind`](super::Error::kind) says what it is this time.

use std::fmt;

use super::ErrorKind;

/// Defines the codes: kind by kind, with number and cause.
macro_rules! codes {
    ($($kind:ident { $($number:literal $name:ident $cause:literal,)* })*) => {
        /// What caused an [`Error`](crate::Error): `HW-` and three digits. docs/errors.md lists them with their remedies.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        #[repr(u16)]
        pub enum ErrorCode {
            $($(
                #[doc = $cause]
                $name = $number,
            )*)*
        }

        impl ErrorCode {
            /// Every code, in ascending order.
            pub const ALL: &'static [Self] = &[$($(Self::$name,)*)*];

            /// The kind of an error that says nothing else.
            pub(super) fn kind(self) -> ErrorKind {
                match self {
                    $($(Self::$name)|* => ErrorKind::$kind,)*
                }
            }
        }
    };
}

codes! {
    Busy {
        101 DatabaseOpen "Another process, or another engine in this one, has the database or log open.",
        102 RaceAtOpen "Another process created or restored the same directory at the same moment.",
        103 StoreChanging "Others write to the object store faster than an open can read it.",
        104 VerifyOutpaced "Checkpoints land faster than the database can be verified.",
        105 BuffersFull "Every log buffer of the core waits for the disk.",
        106 EpochTooLarge "The open epoch holds `epoch_bytes_max`.",
        107 EpochEnding "The end of the epoch has begun, and its sinks have pre-committed.",
        108 EpochSkew "The core is `epoch_skew_max` epochs ahead of the slowest one.",
        109 StoreBehind "The core is `epoch_lag_max` epochs ahead of the object store.",
        110 UploadDelayed "An upload failed while somebody waited for it.",
        111 SinkBehind "A sink has as many transactions in doubt as it can have.",
        112 PublishDelayed "A sink did not commit while somebody waited for it.",
        113 SinkUnavailable "A sink does not answer, or what it did is not known.",
    }
    Full {
        201 NoSpace "The device or the quota has no space.",
        202 NoSpaceForLog "The device is full, and so is the queue of the core.",
        203 EpochWaitsForSpace "An epoch becomes durable when the device has space again.",
        204 ClosedWhileFull "The database was closed while the device was full: its last epochs are lost.",
        205 StateFull "The state of a core has no room for the record.",
        206 StateFullAtOpen "A core has more records than its state can hold, or would have with so few cores.",
    }
    Fenced {
        301 ManifestOvertaken "Another writer landed a manifest in the directory.",
        302 DirectoryDeposed "Another directory has taken the database over from its object store.",
        303 StoreOvertaken "Another writer has landed a manifest in the object store.",
        304 SinkFenced "The sink belongs to a later life of the database.",
    }
    Corrupt {
        401 Misplaced "Something else is in the place of a folder of the database.",
        402 IdentMissing "There is data, and no IDENT.",
        403 IdentDamaged "IDENT does not decode.",
        404 ManifestsMissing "There is data, and no manifest.",
        405 ManifestDamaged "A manifest does not decode.",
        406 ManifestVanished "A manifest was removed while it was being read.",
        407 ManifestForeign "A manifest is of another number, database or timeline than its place says.",
        408 FileImpossible "What should be a small file is none, or is too long.",
        409 SegmentDamaged "The header of a log file is damaged, or contradicts its name.",
        410 SegmentForeign "A log file belongs to another log, or was exchanged.",
        411 SegmentShort "A log file is shorter than it was made.",
        412 SegmentMissing "A log file that is needed is missing.",
        413 LifeDamaged "The first frame of a life is damaged, or contradicts the life before.",
        414 LogDamaged "The log is damaged where something says that it was durable.",
        415 LogEndsEarly "A log ends before an epoch that was closed.",
        416 OlderCopy "The directory is older than what its object store or a sink has.",
        417 NoBeginning "The manifest names neither a checkpoint nor the beginning of the log.",
        418 ManifestOlder "The newest manifest does not fit the logs: it is of another moment, or database.",
        419 EpochEndDamaged "The end of an epoch in the log does not decode.",
        420 CheckpointMissing "A file that a manifest names is missing.",
        421 CheckpointDamaged "A checkpoint file does not decode, or is not what the manifest says.",
        422 ObjectMissing "An object that the store's head names is missing.",
        423 ObjectDamaged "An object is not what the store's head says.",
        424 StoreIdentityDamaged "The object that says whose store it is does not decode.",
    }
    Lost {
        501 SinkForgot "A sink has forgotten what was decided: its rows are lost.",
    }
    Failed {
        601 Io "An operation of the file system failed; the text says which, of which file.",
        602 LogWriteFailed "A durable write or a sync of the log failed.",
        603 ManifestUnknown "Nobody knows whether a manifest landed.",
        604 DriveDropped "A future that drove the log was dropped half-way.",
        605 PipelineDropped "A pipeline was given up while writes were under way.",
        606 SegmentExists "A log file has a number that was never to be used again.",
        607 ThreadRefused "The system started no thread.",
        608 Panicked "A part of the background panicked: a defect of this crate, or of a sink.",
        609 EngineFailed "The engine has failed; the first failure was told before.",
        610 DiskNotOpened "The disk could not be opened on a thread.",
        611 StoreUnavailable "The object store does not answer, or what it did is not known.",
        612 Unencodable "A checkpoint's footer could not be encoded: a defect of this crate.",
        613 FolderUnreadable "The folder cannot be listed.",
    }
    Unsupported {
        701 NewerFormat "A file was written by a newer format.",
        702 BackendMissing "The backend does not work on this machine.",
        703 UnitTooLarge "The device overwrites more bytes at once than the log was made for.",
        704 StoreNotConditional "The object store does not keep its promise to create a name once.",
        705 StoreNotBuilt "This build has no such object store.",
        706 NoPinning "The thread cannot be pinned to that processor.",
    }
    Invalid {
        801 BadOption "An option is out of its range.",
        802 OtherOptions "The options contradict what the database was created with.",
        803 NotADatabase "The directory is not empty and no database.",
        804 DatabaseExists "There is a database already where one was to be made.",
        805 NoSuchFolder "There is no such folder.",
        806 OtherLog "The log belongs to another database or core.",
        807 SegmentsTooSmall "The log holds a record that does not fit into segments of these options.",
        808 KeyTooLong "The key is over its limit.",
        809 ValueTooLong "The value is over its limit.",
        810 RecordTooLong "The record does not fit into a segment.",
        811 ForeignKey "The key belongs to another core.",
        812 LsnNotGiven "The LSN was not given out yet.",
        813 OffsetTooLong "A source's name or offset is over its limit.",
        814 TooManyOffsets "A core would keep the offsets of too many sources.",
        815 ManifestTooLarge "The manifest does not fit its bounds.",
        816 CheckpointTooLarge "A checkpoint file is too large for one index.",
        817 CommitOfMany "`commit` is for databases of one core.",
        818 CannotBlock "The environment cannot block the thread.",
        819 EngineClosed "The engine was closed: it takes no changes, and what was waited for does not happen.",
        820 EpochOpen "The database is closed while an epoch is open with records.",
        821 PinNameTooLong "A pin's name is empty or over its limit.",
        822 NothingToPin "There is no checkpoint yet.",
        823 PinTaken "The pin holds another epoch.",
        824 NoSuchPin "There is no pin of that name.",
        825 EpochNotRetained "The epoch is not retained.",
        826 NoStore "There is no object store.",
        827 OtherStore "The object store holds another database.",
        828 StoreRefused "The object store refused: no permission, no such bucket, a bad request.",
        829 StoreUrl "This is no place in an object store.",
        830 StoreOption "The object store has no such option, or cannot be used so.",
        831 NoSink "There is no sink.",
        832 SinkLeftOut "A sink has transactions that are not known to be published.",
        833 SinkTooNarrow "A sink can have fewer transactions in doubt than there are cores.",
        834 SinkHandleTooLong "A sink's handle is over its limit.",
        835 SinkRefused "A sink refused its rows.",
        836 SinkSettings "A sink's URL or statement is none.",
        837 OtherCores "A database is closed with handles that are not all of its own, each once.",
    }
}

impl ErrorCode {
    /// The number behind `HW-`.
    pub fn number(self) -> u16 {
        self as u16
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HW-{:03}", self.number())
    }
}
