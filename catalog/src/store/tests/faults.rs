//! Disks that fail or are full.

use super::*;
use crate::fault::Fault;

#[test]
fn a_failed_fsync_poisons() {
    let mut bed = Bed::new();
    bed.commit(vec![put_table(16_384, 1)]).unwrap();
    bed.insert(16_384, &[1]);
    bed.files.fail_sync(0, Fault::Io);
    let failed = bed.commit(vec![insert(16_384, bed.store().next_chunk_id(), &[2])]).unwrap_err();
    assert!(matches!(failed, Error::Poisoned(_)));
    assert!(failed.to_string().starts_with("write-ahead log failed: "), "{failed}");
    assert!(block_on(bed.store().poisoned()).contains("injected fault"));
    // For good: the next fsync would say that all is well.
    for _ in 0..3 {
        assert!(matches!(bed.commit(vec![insert(16_384, 99, &[3])]), Err(Error::Poisoned(_))));
        assert!(matches!(bed.store().flush(16_384, bed.now_us), Err(Error::Poisoned(_))));
    }
    assert_eq!(bed.ids(16_384), [1], "nothing that was not acknowledged is seen");
    bed.crash_and_reopen(1);
    assert_eq!(bed.ids(16_384)[0], 1);
    bed.insert(16_384, &[4]);
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_space() {
    let mut bed = Bed::new();
    bed.commit(vec![put_table(16_384, 1)]).unwrap();
    bed.insert(16_384, &[1]);
    bed.files.set_full(true);
    for _ in 0..3 {
        let error = bed.commit(vec![insert(16_384, bed.store().next_chunk_id(), &[2])]).unwrap_err();
        assert!(matches!(error, Error::DiskFull { .. }), "{error}");
        assert!(error.to_string().ends_with("no space left on device"), "{error}");
    }
    assert!(matches!(bed.store().flush(16_384, bed.now_us), Err(Error::DiskFull { .. })));
    assert!(matches!(bed.store().checkpoint(bed.now_us), Err(Error::DiskFull { .. })));
    assert_eq!(bed.ids(16_384), [1], "reads go on");
    bed.files.set_full(false);
    bed.insert(16_384, &[3]);
    bed.flush(16_384);
    bed.insert(16_384, &[4]);
    bed.checkpoint();
    bed.reopen();
    assert_eq!(bed.ids(16_384), [1, 3, 4]);
}

#[test]
fn one_transaction_too_large_for_the_disk_fails_alone() {
    let mut bed = Bed::new();
    bed.commit(vec![put_table(16_384, 1)]).unwrap();
    for kept in [0, 5, 30] {
        bed.files.fail_write(0, Fault::Tear(kept));
        assert!(matches!(
            bed.commit(vec![insert(16_384, bed.store().next_chunk_id(), &[9])]),
            Err(Error::DiskFull { .. })
        ));
        bed.insert(16_384, &[i64::try_from(kept).unwrap()]);
    }
    bed.reopen();
    assert_eq!(bed.ids(16_384), [0, 5, 30]);
}

#[test]
fn a_flush_that_fails_anywhere_leaves_the_rows_and_can_be_repeated() {
    let mut bed = Bed::new();
    bed.commit(vec![put_table(16_384, 1)]).unwrap();
    let mut expected = vec![];
    for n in 0..6 {
        for fault in [Fault::Io, Fault::DiskFull, Fault::Tear(3)] {
            let id = i64::try_from(expected.len()).unwrap();
            bed.insert(16_384, &[id]);
            expected.push(id);
            bed.files.fail_write(n, fault);
            let result = bed.store().flush(16_384, bed.now_us);
            assert_eq!(bed.ids(16_384), expected, "write {n} {fault:?}: {result:?}");
            // Not used up: it must not hit the next round.
            bed.files.fail_write(u64::MAX >> 1, fault);
            bed.flush(16_384);
            assert_eq!(bed.ids(16_384), expected);
        }
    }
    bed.reopen();
    assert_eq!(bed.ids(16_384), expected);
}

#[test]
fn damage_in_the_log_stops_the_start_until_repair_is_asked_for() {
    let mut bed = Bed::with(|options| options.wal_segment_bytes = 1 << 20);
    bed.commit(vec![put_table(16_384, 1)]).unwrap();
    (0..20).for_each(|id| bed.insert(16_384, &[id]));
    drop(bed.store.take());
    let segment = std::fs::read_dir(bed.options.dir.join("wal")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(&segment, bytes).unwrap();
    let error = bed.try_open().unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }));
    assert!(error.to_string().contains("--repair-wal"), "{error}");
    bed.options.repair_wal = true;
    bed.reopen();
    let left = bed.ids(16_384);
    assert!(!left.is_empty() && left.len() < 20);
    bed.options.repair_wal = false;
    bed.insert(16_384, &[100]);
    bed.reopen();
    assert_eq!(bed.ids(16_384), [left, vec![100]].concat());
}

#[test]
fn a_log_repaired_to_before_a_flush_goes_on_above_it() {
    let mut bed = Bed::with(|options| options.wal_segment_bytes = 1 << 20);
    bed.commit(vec![put_table(16_384, 1)]).unwrap();
    (0..5).for_each(|id| bed.insert(16_384, &[id]));
    bed.flush(16_384);
    drop(bed.store.take());
    let segment = std::fs::read_dir(bed.options.dir.join("wal")).unwrap().next().unwrap().unwrap().path();
    let length = std::fs::metadata(&segment).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&segment).unwrap().set_len(length - 300).unwrap();
    bed.reopen();
    assert_eq!(bed.store().snapshot().lsn, 6, "what Delta has was committed");
    bed.insert(16_384, &[7]);
    for _ in 0..2 {
        bed.reopen();
        assert_eq!(bed.ids(16_384), [0, 1, 2, 3, 4, 7]);
    }
}

#[test]
fn an_unwritable_directory_is_told() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut options = Bed::new().options;
    options.dir = file.path().join("data");
    let error = Store::open(options, Arc::new(OsFiles), 0).unwrap_err();
    assert!(error.to_string().starts_with("could not access "), "{error}");
}
