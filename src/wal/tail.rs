//! The one decision that separates a torn tail from corruption.
//!
//! A reader stands behind the last frame that it could follow and looks at what comes next. A checksum that fails
//! cannot say which it is, nor can a valid frame further on: with several writes in flight a hole with valid frames
//! behind it is an ordinary crash. Only evidence decides: a mark, from any valid frame of the token, of the segment
//! that follows, or of the manifest, that says how far the log was durable.
//!
//! | what comes next | below the evidence | evidence met, last segment | evidence met, sealed segment |
//! |--|--|--|--|
//! | valid frame | replay | replay | replay |
//! | zeroes, a bad header, a bad payload | corrupt | end of the log | next segment |
//! | the segment's end | corrupt | end of the log | next segment |
//! | the end of its life, stated by its last frame | corrupt | end of the log | corrupt |
//! | a valid frame that contradicts (chain, LSN, fields, records, or beyond a sealed end) | corrupt | corrupt | corrupt |
//!
//! The first frame of a segment that a manifest or a later segment names must be valid: it was durable before it
//! was named.

/// What stands behind the last frame that could be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// A frame that continues the log.
    Valid,
    /// Zeroes where a header would be.
    Zero,
    /// No valid header: torn, rotten, or bytes of an earlier use of the segment.
    BadHeader,
    /// A valid header whose payload does not match: torn or rotten.
    BadPayload,
    /// A valid frame with another chain value: a frame before it was lost or exchanged.
    WrongChain,
    /// A valid frame with another LSN than the next.
    WrongLsn,
    /// A valid frame that says of itself what no writer writes, or whose records are none.
    Foreign,
    /// A valid frame with records above the last LSN of a sealed segment.
    Beyond,
    /// No room for another frame.
    SegmentEnd,
    /// Nothing, because the last frame says that none follows.
    Closed,
}

/// Whether the frames followed so far reach what is proven durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Proven records are missing.
    Short,
    /// Nothing proven is missing.
    Met,
}

/// What is known about the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Its first frame is still to be read, and somebody has named it.
    Start,
    /// No segment says that it follows.
    Last,
    /// A valid `SegmentStart` names it.
    Sealed,
}

/// What the reader does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Take the frame.
    Replay,
    /// Go to the segment that follows.
    NextSegment,
    /// Nothing was begun here: the log ends.
    End,
    /// Something was begun, or is left from an earlier use, and nobody was promised it: the log ends before it.
    Torn,
    /// Refuse.
    Corrupt,
}

/// The table. Every combination has exactly one answer.
#[expect(clippy::match_same_arms, reason = "each arm is one row of the table above")]
pub(crate) fn judge(next: Next, reach: Reach, place: Place) -> Verdict {
    match (next, reach, place) {
        (Next::Valid, Reach::Short | Reach::Met, Place::Start | Place::Last | Place::Sealed) => {
            Verdict::Replay
        }

        (
            Next::WrongChain | Next::WrongLsn | Next::Foreign | Next::Beyond,
            Reach::Short | Reach::Met,
            Place::Start | Place::Last | Place::Sealed,
        ) => Verdict::Corrupt,

        (
            Next::Zero | Next::BadHeader | Next::BadPayload | Next::SegmentEnd | Next::Closed,
            Reach::Short | Reach::Met,
            Place::Start,
        ) => Verdict::Corrupt,

        (
            Next::Zero | Next::BadHeader | Next::BadPayload | Next::SegmentEnd | Next::Closed,
            Reach::Short,
            Place::Last | Place::Sealed,
        ) => Verdict::Corrupt,

        (Next::Closed, Reach::Met, Place::Sealed) => Verdict::Corrupt,

        (Next::Zero | Next::SegmentEnd | Next::Closed, Reach::Met, Place::Last) => Verdict::End,
        (Next::BadHeader | Next::BadPayload, Reach::Met, Place::Last) => Verdict::Torn,

        (Next::Zero | Next::BadHeader | Next::BadPayload | Next::SegmentEnd, Reach::Met, Place::Sealed) => {
            Verdict::NextSegment
        }
    }
}

impl Next {
    /// What was found, for an error message.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Valid => "a valid frame",
            Self::Zero => "zeroes where a frame must stand",
            Self::BadHeader => "a frame header whose checksum does not match",
            Self::BadPayload => "a frame whose payload does not match its checksum",
            Self::WrongChain => "a valid frame that does not continue the chain of the frames before it",
            Self::WrongLsn => "a valid frame that does not continue the LSNs before it",
            Self::Foreign => "a frame with a valid checksum that no writer of this format writes",
            Self::Beyond => "records above the last LSN that the next segment states for this one",
            Self::SegmentEnd => "the end of the segment",
            Self::Closed => "the last frame of a log that was closed",
        }
    }
}
