use super::*;

#[test]
fn a_report_is_one_line_for_people() {
    let created = RecoveryReport { created: true, token: FencingToken(1), ..RecoveryReport::default() };
    assert_eq!(created.to_string(), "created an empty database, token 1");

    let torn = Tail::Torn { segment: SegmentNo(4), offset: 8192, first_lost: Lsn(31) };
    let skipped = SkippedCheckpoint { epoch: Epoch(8), reason: "f/1: damaged".to_owned() };
    let report = RecoveryReport {
        epoch: Epoch(9),
        checkpoint_epoch: Epoch(7),
        token: FencingToken(3),
        live_keys: 20,
        replayed_records: 12,
        carried_records: 2,
        discarded_records: 5,
        rescaled_from: Some(1),
        tails: vec![Tail::Clean, torn],
        skipped: vec![skipped],
        took: Duration::from_millis(1500),
        ..RecoveryReport::default()
    };
    assert_eq!(
        report.to_string(),
        "recovered epoch 9 in 1.5s: checkpoint 7 + 12 replayed records = 20 keys (token 3, 2 carried, 5 discarded, 1 torn \
         tails); rescaled from 1 to 2 cores; skipped checkpoint 8: f/1: damaged"
    );
}
