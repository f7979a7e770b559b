//! Background work: flush, checkpoint, compaction, clean-up, and when each is due.

use super::*;

/// A file made the way a bulk COPY makes it, and the transaction that adds it.
pub(super) fn bulk(store: &Store, table: Oid, ids: &[i64]) -> Result<Change> {
    let state = Arc::clone(store.snapshot().table(table).unwrap());
    let dir = store.table_dir(table);
    store.files().create_dir(&dir)?;
    let mut writer = TableWriter::new(Arc::clone(store.files()), &dir, &state.def, WriteOptions::default());
    writer.write(rows(ids))?;
    let add_files = writer.finish()?;
    Ok(Change::Write(Write { table, add_files, data_change: true, ..Write::default() }))
}

#[test]
fn a_flush_moves_rows_to_files_once() {
    let mut bed = Bed::new();
    bed.commit(vec![put_table(16_384, 1)]).unwrap();
    bed.insert(16_384, &[3, 1, 2]);
    let before = bed.store().snapshot();
    bed.flush(16_384);
    let after = bed.store().snapshot();
    assert_eq!((before.table(16_384).unwrap().chunks.len(), after.table(16_384).unwrap().chunks.len()), (1, 0));
    assert_eq!(after.table(16_384).unwrap().files.rows(), 3);
    assert_eq!(after.table(16_384).unwrap().published.lsn, 2);
    for snapshot in [&before, &after] {
        assert_eq!(ids_in(snapshot, bed.dir.path(), 16_384), [1, 2, 3]);
    }
    assert!(!after.table(16_384).unwrap().is_dirty());
    bed.flush(16_384);
    assert_eq!(bed.store().snapshot().table(16_384).unwrap().published.version, Some(0), "nothing to publish");
    bed.insert(16_384, &[4]);
    bed.reopen();
    assert_eq!(bed.ids(16_384), [1, 2, 3, 4]);
    bed.store().flush(99_999, 0).unwrap();
}

#[test]
fn bulk_files_and_deletes_are_published_with_the_rows() {
    let mut bed = Bed::new();
    bed.commit(vec![put_table(16_384, 1)]).unwrap();
    bed.insert(16_384, &[1]);
    for id in [10, 20, 30] {
        let change = bulk(bed.store(), 16_384, &[id, id + 1]).unwrap();
        bed.commit(vec![change]).unwrap();
    }
    let file_of = |bed: &Bed, id: i64| {
        let state = Arc::clone(bed.store().snapshot().table(16_384).unwrap());
        let dir = bed.store().table_dir(16_384);
        state.files.files.iter().find(|file| ids_in_file(&dir.join(&file.path)).contains(&id)).unwrap().path.clone()
    };
    let delete = |bed: &Bed, id| {
        let remove_files = vec![file_of(bed, id)];
        bed.commit(vec![Change::Write(Write { table: 16_384, remove_files, data_change: true, ..Write::default() })])
            .unwrap();
    };
    // Gone before anyone but us saw it.
    delete(&bed, 20);
    bed.reopen();
    assert_eq!(bed.ids(16_384), [1, 10, 11, 30, 31]);
    bed.flush(16_384);
    delete(&bed, 30);
    bed.reopen();
    assert_eq!(bed.ids(16_384), [1, 10, 11]);
    bed.flush(16_384);
    bed.reopen();
    assert_eq!(bed.ids(16_384), [1, 10, 11]);
    assert!(!bed.store().snapshot().table(16_384).unwrap().is_dirty());
}

#[test]
fn a_checkpoint_deletes_the_log_that_no_table_needs() {
    let mut bed = Bed::new();
    bed.commit(vec![put_table(16_384, 1), put_table(16_385, 1)]).unwrap();
    bed.insert(16_385, &[1]);
    (0..100).for_each(|id| bed.insert(16_384, &[id]));
    let all = bed.segments();
    assert!(all > 5);
    bed.flush(16_384);
    bed.checkpoint();
    assert_eq!(bed.segments(), all, "the other table holds it back");
    bed.flush(16_385);
    bed.checkpoint();
    assert_eq!(bed.segments(), 1);
    bed.reopen();
    assert_eq!(bed.ids(16_384).len(), 100);
    assert_eq!(bed.ids(16_385), [1]);
    assert_eq!(bed.store().next_chunk_id(), 102);
}

#[test]
fn a_checkpoint_publishes_tables_without_rows() {
    let bed = Bed::new();
    bed.commit(vec![put_table(16_384, 1)]).unwrap();
    assert!(bed.store().snapshot().table(16_384).unwrap().is_dirty());
    bed.checkpoint();
    assert_eq!(bed.store().snapshot().table(16_384).unwrap().published.version, Some(0));
    assert!(bed.store().table_dir(16_384).join("_delta_log/00000000000000000000.json").exists());
}

#[test]
fn compaction_merges_files_and_old_ones_go_after_the_retention() {
    let mut bed = Bed::new();
    bed.commit(vec![put_table(16_384, 1)]).unwrap();
    for id in 0..8 {
        bed.insert(16_384, &[id]);
        bed.flush(16_384);
    }
    assert_eq!(bed.parquet_files(16_384).len(), 8);
    let old = bed.store().snapshot();
    bed.store().compact(16_384, true, bed.now_us).unwrap();
    assert_eq!(bed.store().snapshot().table(16_384).unwrap().files.files.len(), 1);
    bed.flush(16_384);
    assert_eq!(bed.ids(16_384), (0..8).collect::<Vec<_>>());
    bed.now_us += 60 * SECOND;
    bed.checkpoint();
    assert_eq!(bed.parquet_files(16_384).len(), 9, "a snapshot still names them");
    assert_eq!(ids_in(&old, bed.dir.path(), 16_384), (0..8).collect::<Vec<_>>());
    drop(old);
    bed.now_us += 60 * SECOND;
    bed.checkpoint();
    assert_eq!(bed.parquet_files(16_384).len(), 1);
    bed.reopen();
    assert_eq!(bed.ids(16_384), (0..8).collect::<Vec<_>>());
}

#[test]
fn removed_files_are_remembered_over_a_restart() {
    let mut bed = Bed::new();
    bed.commit(vec![put_table(16_384, 1)]).unwrap();
    for id in 0..8 {
        bed.insert(16_384, &[id]);
        bed.flush(16_384);
    }
    bed.store().compact(16_384, true, bed.now_us).unwrap();
    bed.flush(16_384);
    bed.reopen();
    bed.checkpoint();
    assert_eq!(bed.parquet_files(16_384).len(), 9);
    bed.now_us += 60 * SECOND;
    bed.checkpoint();
    assert_eq!(bed.parquet_files(16_384).len(), 1);
}

#[test]
fn folders_of_dropped_tables_go_after_the_retention() {
    let mut bed = Bed::new();
    bed.commit(vec![put_table(16_384, 1)]).unwrap();
    bed.insert(16_384, &[1]);
    bed.flush(16_384);
    let dir = bed.store().table_dir(16_384);
    bed.commit(vec![Change::Remove(16_384)]).unwrap();
    bed.checkpoint();
    assert!(dir.exists());
    bed.reopen();
    bed.checkpoint();
    assert!(dir.exists());
    bed.now_us += 60 * SECOND;
    bed.checkpoint();
    assert!(!dir.exists());
    bed.reopen();
}

#[test]
fn orphans_of_an_earlier_run_are_deleted() {
    let mut bed = Bed::new();
    bed.commit(vec![put_table(16_384, 1)]).unwrap();
    let committed = bulk(bed.store(), 16_384, &[1]).unwrap();
    bed.commit(vec![committed]).unwrap();
    bulk(bed.store(), 16_384, &[2]).unwrap();
    bed.checkpoint();
    assert_eq!(bed.parquet_files(16_384).len(), 2, "it may still be committed");
    bed.reopen();
    bed.checkpoint();
    assert_eq!(bed.parquet_files(16_384).len(), 1);
    assert_eq!(bed.ids(16_384), [1]);
}

#[test]
fn rows_deleted_during_a_flush_stay_deleted() {
    let bed = Bed::new();
    bed.commit(vec![put_table(16_384, 1)]).unwrap();
    let mut next = 0;
    let mut expected = BTreeSet::new();
    std::thread::scope(|scope| {
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let bed = &bed;
        let flusher = scope.spawn(move || {
            while receiver.try_recv().is_err() {
                bed.flush(16_384);
            }
        });
        for _ in 0..300 {
            let chunk = bed.store().next_chunk_id();
            bed.commit(vec![insert(16_384, chunk, &[next, next + 1])]).unwrap();
            match bed.commit(vec![remove_chunks(16_384, &[chunk])]) {
                Ok(_) => {}
                Err(Error::Conflict { .. }) => expected.extend([next, next + 1]),
                Err(error) => panic!("{error}"),
            }
            next += 2;
        }
        sender.send(()).unwrap();
        flusher.join().unwrap();
    });
    assert_eq!(bed.ids(16_384), expected.into_iter().collect::<Vec<_>>());
}

#[test]
fn held_rows_are_not_moved() {
    let bed = Bed::new();
    bed.commit(vec![put_table(16_384, 1)]).unwrap();
    for id in 0..8 {
        bed.insert(16_384, &[id]);
        bed.flush(16_384);
    }
    bed.insert(16_384, &[8]);
    let hold = block_on(bed.store().hold(16_384));
    let other = block_on(bed.store().hold(16_384));
    let snapshot = bed.store().snapshot();
    bed.flush(16_384);
    bed.store().compact(16_384, true, bed.now_us).unwrap();
    assert!(Arc::ptr_eq(&snapshot, &bed.store().snapshot()));
    drop((hold, other));
    bed.flush(16_384);
    assert!(bed.store().snapshot().table(16_384).unwrap().chunks.is_empty());
}

#[test]
fn statements_that_hold_a_table_conflict_with_nothing_in_the_background() {
    let bed = Bed::with(|options| options.wal_bytes_max = 1 << 30);
    bed.commit(vec![put_table(16_384, 1)]).unwrap();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (bed, is_over) = (&bed, &is_over);
        scope.spawn(move || {
            while !is_over.load(Ordering::Acquire) {
                bed.flush(16_384);
                match bed.store().compact(16_384, true, bed.now_us) {
                    Ok(()) | Err(Error::Conflict { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
        for id in 0..100 {
            bed.insert(16_384, &[id, id + 1000]);
            let _hold = block_on(bed.store().hold(16_384));
            let state = Arc::clone(bed.store().snapshot().table(16_384).unwrap());
            // DELETE of all rows but the newest hundred: rewrites everything.
            let kept: Vec<i64> = bed.ids(16_384).into_iter().filter(|id| *id >= 1000).collect();
            let write = Write {
                table: 16_384,
                remove_chunks: state.chunks.iter().flat_map(|chunk| chunk.ids.clone()).collect(),
                remove_files: state.files.files.iter().map(|file| file.path.clone()).collect(),
                data_change: true,
                ..Write::default()
            };
            let changes = vec![Change::Write(write), insert(16_384, bed.store().next_chunk_id(), &kept)];
            bed.commit(changes).unwrap();
        }
        is_over.store(true, Ordering::Release);
    });
    assert_eq!(bed.ids(16_384), (1000..1100).collect::<Vec<_>>());
}

#[test]
fn work_is_due_by_size_age_and_pressure() {
    let mut bed = Bed::new();
    bed.commit(vec![put_table(16_384, 1), put_table(16_385, 1)]).unwrap();
    bed.checkpoint();
    assert_eq!(bed.store().due(bed.now_us), []);
    bed.insert(16_385, &[1]);
    assert_eq!(bed.store().due(bed.now_us), []);
    // Age: 10 s. A clock that goes back does not make rows younger.
    bed.now_us += 10 * SECOND;
    assert_eq!(bed.store().due(bed.now_us), [Work::Flush(16_385)]);
    assert_eq!(bed.store().due(bed.now_us - 100 * SECOND), [Work::Flush(16_385)]);
    bed.flush(16_385);
    assert_eq!(bed.store().due(bed.now_us), []);
    // Pressure: the table that holds back the oldest record.
    bed.insert(16_385, &[1]);
    (0..300).for_each(|id| bed.insert(16_384, &[id]));
    assert_eq!(bed.store().due(bed.now_us)[0], Work::Flush(16_385));
    bed.flush(16_385);
    assert_eq!(bed.store().due(bed.now_us)[0], Work::Flush(16_384));
    bed.flush(16_384);
    assert_eq!(bed.store().due(bed.now_us), [Work::Checkpoint(0)]);
    for work in bed.store().due(bed.now_us) {
        bed.store().work(&work, bed.now_us).unwrap();
    }
    assert_eq!(bed.store().due(bed.now_us), []);
}

#[test]
fn a_clock_that_goes_back_is_no_harm() {
    let mut bed = Bed::new();
    bed.commit(vec![put_table(16_384, 1)]).unwrap();
    for (step, id) in [(5, 1), (-1_000_000, 2), (3, 3), (-2_000_000_000, 4)] {
        bed.now_us += step * SECOND;
        bed.insert(16_384, &[id]);
        bed.flush(16_384);
        bed.checkpoint();
        if id == 3 {
            bed.reopen();
        }
    }
    bed.store().compact(16_384, true, bed.now_us).unwrap();
    bed.checkpoint();
    bed.reopen();
    assert_eq!(bed.ids(16_384), [1, 2, 3, 4]);
    assert!(bed.store().due(i64::MIN).is_empty());
}

#[test]
fn many_flushes_make_delta_checkpoints() {
    let mut bed = Bed::new();
    bed.commit(vec![put_table(16_384, 1)]).unwrap();
    for id in 0..120 {
        bed.insert(16_384, &[id]);
        bed.flush(16_384);
        if id % 10 == 0 {
            bed.checkpoint();
        }
    }
    let log = bed.store().table_dir(16_384).join("_delta_log");
    let checkpoints = std::fs::read_dir(&log)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(".checkpoint.parquet"));
    assert!(checkpoints.count() >= 1);
    bed.reopen();
    assert_eq!(bed.ids(16_384), (0..120).collect::<Vec<_>>());
}
