use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use super::{Error, ErrorCode, ErrorKind};

#[test]
fn a_code_says_its_kind_and_its_number() {
    let error = Error::new(ErrorCode::ForeignKey, "of core 1");
    assert_eq!((error.kind(), error.code()), (ErrorKind::Invalid, ErrorCode::ForeignKey));
    assert_eq!((error.code().to_string(), error.to_string()), ("HW-811".into(), "invalid: of core 1".into()));
}

#[test]
fn the_first_digit_is_the_kind_and_no_number_is_given_twice() {
    use ErrorKind::{Busy, Corrupt, Failed, Fenced, Full, Invalid, Lost, Unsupported};
    let kinds = [Busy, Full, Fenced, Corrupt, Lost, Failed, Unsupported, Invalid];
    for code in ErrorCode::ALL {
        assert_eq!(kinds[usize::from(code.number() / 100) - 1], code.kind(), "{code}");
    }
    let numbers: BTreeSet<_> = ErrorCode::ALL.iter().map(|code| code.number()).collect();
    assert_eq!(numbers.len(), ErrorCode::ALL.len());
}

/// Who hears of it later is told the same cause, whatever it asks of them.
#[test]
fn a_cause_stays_when_the_demand_changes() {
    let io = Error::io("writing", Path::new("file"), io::Error::from(io::ErrorKind::StorageFull));
    assert_eq!((io.kind(), io.code()), (ErrorKind::Full, ErrorCode::NoSpace));
    let told = io.duplicate().with_kind(ErrorKind::Failed).duplicate();
    assert_eq!((told.kind(), told.code()), (ErrorKind::Failed, ErrorCode::NoSpace));
    assert_eq!(told.path(), Some(Path::new("file")));
    let broken =
        Error::io("writing", Path::new("file"), io::Error::other("broken")).coded(ErrorCode::LogWriteFailed);
    assert_eq!((broken.kind(), broken.code()), (ErrorKind::Failed, ErrorCode::LogWriteFailed));
}
