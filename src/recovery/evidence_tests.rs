use super::*;
use crate::error::ErrorKind;

/// A log that goes on behind LSN 10 and epoch 3, and ends at LSN 20.
fn checked(ends: &[(u64, u64)]) -> Result<()> {
    let question = Question {
        database: DatabaseId::default(),
        core: CoreId(0),
        life: None,
        cut: None,
        base_epoch: Epoch(3),
        manifests: PathBuf::from("m"),
    };
    let ends: Vec<_> = ends.iter().map(|(epoch, lsn)| (Epoch(*epoch), Lsn(*lsn))).collect();
    check_ends(&question, (Lsn(10), Lsn(20)), &ends)
}

#[test]
fn epochs_follow_one_another_within_the_log() {
    for sound in [&[][..], &[(4, 11)], &[(4, 10)], &[(4, 20)], &[(4, 11), (5, 12), (6, 20)]] {
        checked(sound).unwrap();
    }
    for forged in
        [&[(5, 11)][..], &[(3, 11)], &[(4, 9)], &[(4, 21)], &[(4, 11), (4, 12)], &[(4, 11), (6, 12)]]
    {
        let error = checked(forged).unwrap_err();
        assert_eq!(
            (error.kind(), error.code()),
            (ErrorKind::Corrupt, ErrorCode::ManifestOlder),
            "{forged:?}"
        );
    }
}
