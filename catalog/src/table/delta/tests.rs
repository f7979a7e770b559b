//! The log replayed is what was committed, with checkpoints and clean-ups in between.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, TimeUnit};
use rand::Rng;
use rand::rngs::StdRng;

use super::*;
use crate::table::file::{ColumnStats, FileIndex};
use crate::table::testing::{Folder, def_of, every_type, random_batch, rng};
use crate::table::writer::WriteOptions;

fn random_file(rng: &mut StdRng, number: u64) -> Arc<FileEntry> {
    let text = |rng: &mut StdRng| rng.random_bool(0.7).then(|| format!("\"{}ü,\n", rng.random_range(0..100)));
    let stats = ["id", "note"].map(|name| {
        let (min, max) = (text(rng), text(rng));
        (name.to_owned(), ColumnStats { min, max, exact: rng.random_bool(0.5), nulls: rng.random_range(0..9) })
    });
    let partition = [("p".to_owned(), text(rng))];
    Arc::new(FileEntry {
        path: format!("part-{number}.parquet"),
        bytes: rng.random_range(1..1 << 40),
        rows: rng.random_range(0..1 << 40),
        partition_values: if rng.random_bool(0.5) { BTreeMap::from(partition) } else { BTreeMap::new() },
        stats: BTreeMap::from(stats),
        lsn_min: number,
        lsn_max: number + rng.random_range(0..3),
        sorted_by: if rng.random_bool(0.5) { vec!["id".into()] } else { vec![] },
        level: rng.random_range(0..4),
        created_ms: 1_700_000_000_000 + number as i64,
    })
}

#[test]
fn replay_is_what_was_committed() {
    let mut rng = rng();
    for _ in 0..4 {
        let folder = Folder::new();
        let (files, dir) = (folder.files.as_ref(), folder.dir.as_path());
        assert!(open(files, dir).unwrap().is_none());
        assert_eq!(checkpoint(files, dir, 0).unwrap(), None);
        let def = crate::testing::two_columns();
        let mut index = FileIndex::default();
        let mut kept: Option<DeltaState> = None;
        let mut number = 0;
        for version in 0..60_u64 {
            let adds: Vec<_> = (0..rng.random_range(0..4))
                .map(|_| {
                    number += 1;
                    random_file(&mut rng, number)
                })
                .collect();
            let removes: Vec<_> = index.files.iter().filter(|_| rng.random_bool(0.2)).map(Arc::clone).collect();
            let commit_it = DeltaCommit {
                def: &def,
                def_changed: version == 0 || rng.random_bool(0.1),
                adds: &adds,
                removes: &removes,
                app_id: "tidemill/epoch",
                lsn: version * 10,
                now_ms: version as i64,
                data_change: true,
                operation: "WRITE",
            };
            commit(files, dir, version, &commit_it).unwrap();
            assert!(matches!(commit(files, dir, version, &commit_it), Err(Error::AlreadyExists { .. })));
            let paths: Vec<_> = removes.iter().map(|file| file.path.clone()).collect();
            index = index.with(&adds, &paths).unwrap();
            if rng.random_bool(0.15) {
                assert_eq!(checkpoint(files, dir, version as i64 - 5).unwrap(), Some(version));
            }
            if rng.random_bool(0.1) {
                clean_up(files, dir, version as i64 - 7).unwrap();
            }
            let state = open(files, dir).unwrap().unwrap();
            assert_eq!((state.version, state.lsn), (version, version * 10));
            assert_eq!(state.files, index.files);
            assert!(state.metadata["schemaString"].as_str().unwrap().contains("note"));
            assert!(removes.iter().all(|file| state.removed.iter().any(|removed| removed.path == file.path)));
            // What an older state learns from the commits since is the same.
            if let Some(older) = kept.take() {
                assert_eq!(open_since(files, dir, older).unwrap().files, index.files);
            }
            if rng.random_bool(0.5) {
                kept = Some(state);
            }
        }
    }
}

#[test]
fn clean_up_deletes_what_is_old() {
    let folder = Folder::new();
    let (files, dir) = (folder.files.as_ref(), folder.dir.as_path());
    let def = crate::testing::two_columns();
    let file = crate::testing::file("part-1.parquet", 1);
    files.put(&dir.join(&file.path), b"rows", true).unwrap();
    let mut version = 0;
    let mut commit_files = |adds: &[Arc<FileEntry>], removes: &[Arc<FileEntry>]| {
        let now_ms = 100 * version as i64;
        let def_changed = version == 0;
        let (app_id, operation) = ("tidemill/x", "WRITE");
        let one = DeltaCommit {
            def: &def,
            def_changed,
            adds,
            removes,
            app_id,
            lsn: version,
            now_ms,
            data_change: true,
            operation,
        };
        commit(files, dir, version, &one).unwrap();
        version += 1;
    };
    commit_files(&[Arc::clone(&file)], &[]);
    commit_files(&[], &[Arc::clone(&file)]);
    commit_files(&[], &[]);
    assert_eq!(clean_up(files, dir, 100).unwrap(), 0, "removed at 100, not before");
    checkpoint(files, dir, 0).unwrap();
    commit_files(&[], &[]);
    assert_eq!(clean_up(files, dir, 150).unwrap(), 1);
    assert!(files.list(dir).unwrap().is_empty());
    let names = |folder: &Folder| {
        let listed = folder.files.list(&dir.join(LOG_DIR)).unwrap();
        listed
            .iter()
            .map(|(path, _)| path.file_name().unwrap().to_string_lossy().trim_start_matches('0').to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&folder), ["2.checkpoint.parquet", "2.json", "3.json", "_last_checkpoint"]);
    assert_eq!(open(files, dir).unwrap().unwrap().removed.len(), 1);
    checkpoint(files, dir, 150).unwrap();
    assert_eq!(open(files, dir).unwrap().unwrap().removed.len(), 0);
}

#[test]
fn damage_is_found() {
    let folder = Folder::new();
    let (files, dir) = (folder.files.as_ref(), folder.dir.as_path());
    let def = crate::testing::two_columns();
    for version in 0..3 {
        let (app_id, operation) = ("tidemill/x", "WRITE");
        let one = DeltaCommit {
            def: &def,
            def_changed: true,
            adds: &[],
            removes: &[],
            app_id,
            lsn: 1,
            now_ms: 0,
            data_change: true,
            operation,
        };
        commit(files, dir, version, &one).unwrap();
    }
    let path = commit_path(&dir.join(LOG_DIR), 1);
    let good = files.read(&path).unwrap();
    let is_corrupt = || matches!(open(files, dir), Err(Error::Corrupt { .. }));
    files.put(&path, &good[..good.len() - 5], false).unwrap();
    assert!(is_corrupt(), "a torn commit");
    files.put(&path, b"{\"add\":{\"path\":\"x\",\"size\":1}}", false).unwrap();
    assert!(is_corrupt(), "a file of another program");
    files.remove(&path).unwrap();
    assert!(is_corrupt(), "a missing commit");
    files.put(&path, &good, true).unwrap();
    assert_eq!(open(files, dir).unwrap().unwrap().version, 2);
}

#[test]
fn the_protocol_is_the_lowest_that_describes_the_table() {
    let mut def = def_of(&[("id", DataType::Int64)]);
    assert_eq!(schema::protocol(&def), json!({"minReaderVersion": 1, "minWriterVersion": 2}));
    def.columns.push(crate::testing::column(2, "ts", DataType::Timestamp(TimeUnit::Microsecond, None)));
    assert_eq!(schema::protocol(&def)["readerFeatures"], json!(["timestampNtz"]));
    def.columns.pop();
    def.column_mapping = true;
    assert_eq!(schema::protocol(&def)["readerFeatures"], json!(["columnMapping", "timestampNtz"]));
    def.columns[0].name = "renamed".into();
    let metadata = schema::metadata(&def, "x", 0);
    assert_eq!(
        metadata["configuration"],
        json!({"delta.columnMapping.mode": "name", "delta.columnMapping.maxColumnId": "1"})
    );
    let schema: Value = serde_json::from_str(metadata["schemaString"].as_str().unwrap()).unwrap();
    assert_eq!(schema["fields"][0]["name"], "renamed");
    assert_eq!(schema["fields"][0]["metadata"]["delta.columnMapping.physicalName"], "id");
}

/// Writes tables for `tests/clients/delta_readers.py` where `DELTA_TABLES` says, with what readers must find.
#[test]
fn tables_for_other_readers() {
    let keep = std::env::var_os("DELTA_TABLES").map(std::path::PathBuf::from);
    let folder = Folder::new();
    let root = keep.unwrap_or_else(|| folder.dir.clone());
    let mut rng = rng();
    let mut expected = vec![];
    for (name, checkpointed) in [("plain", false), ("checkpointed", true), ("partitioned", true), ("renamed", true)] {
        let mut def = def_of(&every_type());
        def.columns.retain(|column| column.name != "d" && column.name != "iv" && column.name != "aiv");
        let mut extra = |name: &str, data_type: DataType| {
            def.columns.push(crate::testing::column(def.next_column_id, name, data_type));
            def.next_column_id += 1;
        };
        extra("key", DataType::Int64);
        extra("day", DataType::Date32);
        extra("part", DataType::Utf8View);
        def.columns.retain(|column| name != "plain" || column.name != "ts");
        if name == "partitioned" {
            def.options.partition_by = vec!["part".into(), "day".into()];
        }
        let dir = root.join(name);
        folder.files.create_dir(&dir).unwrap();
        let (mut sum, mut count, mut old) = (0, 0, vec![]);
        for version in 0..6 {
            let mut removes = vec![];
            if version == 3 {
                removes = std::mem::take(&mut old);
                (sum, count) = (0, 0);
            }
            if version == 4 && name == "renamed" {
                def.column_mapping = true;
                let column = def.columns.iter_mut().find(|column| column.name == "key").unwrap();
                column.name = "key renamed".into();
            }
            let shared = Arc::new(def.clone());
            let batch = reader_batch(&mut rng, &shared, 1000);
            count += 1000;
            sum += (0..1000).sum::<i64>();
            let mut writer = crate::table::writer::TableWriter::new(
                Arc::clone(&folder.files),
                &dir,
                &shared,
                WriteOptions::default(),
            );
            writer.write(batch).unwrap();
            let adds = writer.finish().unwrap();
            let (app_id, operation) = ("tidemill/x", "WRITE");
            let def_changed = version == 0 || version == 4;
            let one = DeltaCommit {
                def: &def,
                def_changed,
                adds: &adds,
                removes: &removes,
                app_id,
                lsn: version,
                now_ms: 1_700_000_000_000,
                data_change: true,
                operation,
            };
            commit(folder.files.as_ref(), &dir, version, &one).unwrap();
            old.extend(adds);
            if checkpointed && version == 4 {
                checkpoint(folder.files.as_ref(), &dir, 0).unwrap();
            }
        }
        let column = if name == "renamed" { "key renamed" } else { "key" };
        expected.push(json!({"table": name, "column": column, "rows": count, "sum": sum}));
        assert_eq!(
            open(folder.files.as_ref(), &dir).unwrap().unwrap().files.iter().map(|file| file.rows).sum::<u64>(),
            count
        );
    }
    std::fs::write(root.join("expected.json"), Value::from(expected).to_string()).unwrap();
}

/// Random rows of values that every reader's language has; `key` counts from 0.
fn reader_batch(rng: &mut StdRng, def: &TableDef, rows: i64) -> arrow::array::RecordBatch {
    use arrow::array::{ArrayRef, Date32Array, Int64Array, StringViewArray, TimestampMicrosecondArray};
    let batch = random_batch(rng, def, 1000);
    let arrays = def.columns.iter().zip(batch.columns()).map(|(column, array)| -> ArrayRef {
        match column.physical_name.as_str() {
            "key" => Arc::new(Int64Array::from_iter_values(0..rows)),
            "day" => {
                Arc::new(Date32Array::from_iter_values((0..rows).map(|row| 19_000 + i32::try_from(row % 3).unwrap())))
            }
            "part" => Arc::new(StringViewArray::from_iter(
                (0..rows).map(|row| (row % 4 > 0).then(|| format!("ä/{} %", row % 4))),
            )),
            "ts" | "tz" => {
                let values =
                    TimestampMicrosecondArray::from_iter_values((0..rows).map(|row| 1_700_000_000_123_456 + row));
                let DataType::Timestamp(_, zone) = &column.data_type else { panic!("a timestamp") };
                Arc::new(values.with_timezone_opt(zone.clone()))
            }
            _ => Arc::clone(array),
        }
    });
    arrow::array::RecordBatch::try_new(batch.schema(), arrays.collect()).unwrap()
}
