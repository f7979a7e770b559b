//! Opening, committing, closing, opening again.

use super::*;

#[test]
fn a_fresh_directory_has_a_role_a_database_and_a_schema() {
    let bed = Bed::new();
    let catalog = Arc::clone(&bed.store().snapshot().catalog);
    assert_eq!(catalog.find(0, NameClass::Role, "tidemill").unwrap().oid, 10);
    let database = catalog.find(0, NameClass::Database, "tidemill").unwrap();
    assert_eq!(catalog.find(database.oid, NameClass::Schema, "public").unwrap().oid, PUBLIC);
    assert_eq!(bed.store().next_oid(), 16_384);
}

#[test]
fn what_was_committed_is_there_after_a_restart() {
    let mut bed = Bed::new();
    assert_eq!(bed.commit(vec![put_table(16_384, 1)]).unwrap(), 1);
    bed.insert(16_384, &[1, 2, 3]);
    assert_eq!(block_on(bed.store().commit(vec![])).unwrap(), 2);
    for _ in 0..3 {
        bed.reopen();
        assert_eq!(bed.ids(16_384), [1, 2, 3]);
        assert_eq!(bed.store().snapshot().lsn, 2);
    }
    bed.insert(16_384, &[4]);
    bed.reopen();
    assert_eq!(bed.ids(16_384), [1, 2, 3, 4]);
    assert!(bed.store().next_oid() > 16_384);
    assert_eq!(bed.store().next_chunk_id(), 3);
}

#[test]
fn a_second_server_is_kept_out() {
    let mut bed = Bed::new();
    let error = Store::open(bed.options.clone(), Arc::new(OsFiles), 0).unwrap_err();
    assert!(matches!(error, Error::Locked(_)));
    assert_eq!(
        error.to_string(),
        format!("data directory \"{}\" is in use by another server", bed.dir.path().display())
    );
    bed.reopen();
}

#[test]
fn the_first_to_commit_wins() {
    let bed = Bed::new();
    bed.commit(vec![put_table(16_384, 1)]).unwrap();
    let error = bed.commit(vec![put_table(16_384, 1)]).unwrap_err();
    assert!(matches!(error, Error::Conflict { oid: 16_384, .. }));
    let taken = object(16_999, PUBLIC, "t16384", 1, Body::Table(Arc::new(two_columns())));
    assert!(matches!(bed.commit(vec![Change::Put(taken)]), Err(Error::AlreadyExists { kind: "relation", .. })));
    // What was refused has no LSN.
    bed.insert(16_384, &[1]);
    assert_eq!(bed.store().snapshot().lsn, 2);
}

#[test]
fn concurrent_clients_share_fsyncs() {
    let bed = Bed::new();
    bed.commit(vec![put_table(16_384, 1)]).unwrap();
    std::thread::scope(|scope| {
        for client in 0..16 {
            let bed = &bed;
            scope.spawn(move || (0..50).for_each(|row| bed.insert(16_384, &[client * 100 + row])));
        }
    });
    let status = bed.store().wal_status();
    assert_eq!((status.commits, status.durable_lsn, bed.ids(16_384).len()), (801, 801, 800));
    assert!(status.syncs < status.commits, "{} fsyncs for {} commits", status.syncs, status.commits);
}

#[test]
fn oids_of_dropped_objects_are_not_given_again() {
    let mut bed = Bed::new();
    let oid = bed.store().next_oid();
    bed.commit(vec![put_table(oid, 1)]).unwrap();
    bed.commit(vec![Change::Remove(oid)]).unwrap();
    bed.reopen();
    assert!(bed.store().next_oid() > oid);
    bed.checkpoint();
    let last = bed.store().next_oid();
    bed.checkpoint();
    bed.reopen();
    assert!(bed.store().next_oid() > last);
}

#[test]
fn a_directory_without_its_catalog_file_or_log_is_not_fresh() {
    let mut bed = Bed::new();
    bed.commit(vec![put_table(16_384, 1)]).unwrap();
    bed.checkpoint();
    drop(bed.store.take());
    let wal = bed.options.dir.join("wal");
    let aside = bed.options.dir.join("aside");
    std::fs::rename(&wal, &aside).unwrap();
    let error = bed.try_open().unwrap_err();
    assert!(error.to_string().contains("the log is missing"), "{error}");
    std::fs::remove_dir_all(&wal).unwrap();
    std::fs::rename(&aside, &wal).unwrap();
    let catalog = bed.options.dir.join("catalog.json");
    let whole = std::fs::read(&catalog).unwrap();
    for at in (0..whole.len()).step_by(7) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        std::fs::write(&catalog, damaged).unwrap();
        assert!(matches!(bed.try_open(), Err(Error::Corrupt { .. })), "byte {at}");
    }
    std::fs::remove_file(&catalog).unwrap();
    assert!(matches!(bed.try_open(), Err(Error::Corrupt { .. })));
    std::fs::write(&catalog, whole).unwrap();
    bed.reopen();
}

#[test]
fn every_kind_of_change_survives_flush_checkpoint_and_restart() {
    let mut bed = Bed::new();
    bed.commit(vec![put_table(16_384, 1), put_table(16_385, 1)]).unwrap();
    bed.insert(16_384, &[1, 2]);
    bed.flush(16_384);
    // Renamed and widened after the flush: the old file's rows have the new column's missing value.
    let mut def = two_columns();
    def.columns[1].name = "remark".to_owned();
    def.column_mapping = true;
    let renamed = object(16_384, PUBLIC, "renamed", 2, Body::Table(Arc::new(def.clone())));
    bed.commit(vec![Change::Put(renamed), Change::Remove(16_385)]).unwrap();
    bed.insert_renamed(&[3]);
    for round in 0..3 {
        assert_eq!(bed.ids(16_384), [1, 2, 3], "round {round}");
        let snapshot = bed.store().snapshot();
        assert_eq!(*snapshot.table(16_384).unwrap().def, def);
        assert!(snapshot.table(16_385).is_none());
        match round {
            0 => bed.flush(16_384),
            _ => bed.checkpoint(),
        }
        bed.reopen();
    }
    assert!(!bed.store().snapshot().table(16_384).unwrap().is_dirty());
}

impl Bed {
    fn insert_renamed(&self, ids: &[i64]) {
        let batch = rows(ids);
        let columns = [("id", Arc::clone(batch.column(0))), ("remark", Arc::clone(batch.column(1)))];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let chunk = Arc::new(crate::record::NewChunk { id: self.store().next_chunk_id(), batch });
        let write = Write { table: 16_384, add_chunks: vec![chunk], data_change: true, ..Write::default() };
        self.commit(vec![Change::Write(write)]).unwrap();
    }
}

#[test]
fn commits_may_move_between_threads() {
    fn check<T: Send>(_: T) {}
    let bed = Bed::new();
    check(bed.store().commit(vec![]));
    check(bed.store().hold(1));
    check(bed.store().poisoned());
}
