//! What this crate's tests share: small tables, rows for them, and what a state holds of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};

use crate::record::{Body, Change, ColumnDef, NewChunk, Object, TableDef, TableOptions, Write};
use crate::table::file::FileEntry;
use crate::{Lsn, Oid};

/// The schema `public` of a fresh directory and its owner.
pub(crate) const PUBLIC: Oid = 2200;
pub(crate) const OWNER: Oid = 10;

pub(crate) fn column(id: i32, name: &str, data_type: DataType) -> ColumnDef {
    let sql_type = match &data_type {
        DataType::Int64 => "bigint",
        DataType::Utf8View => "text",
        _ => "other",
    };
    ColumnDef {
        id,
        name: name.to_owned(),
        physical_name: name.to_owned(),
        sql_type: sql_type.to_owned(),
        data_type,
        nullable: true,
        default: None,
        missing_value: None,
        user_type: None,
        sequence: None,
        source_field: None,
        comment: None,
    }
}

/// A table's definition.
pub(crate) fn def(columns: Vec<ColumnDef>) -> TableDef {
    TableDef {
        next_column_id: i32::try_from(columns.len()).unwrap() + 1,
        columns,
        checks: vec![],
        indexes: vec![],
        foreign_keys: vec![],
        primary_key: vec![],
        primary_key_name: None,
        options: TableOptions {
            time_column: None,
            sort_key: vec![],
            partition_by: vec![],
            flush_interval_ms: 10_000,
            flush_bytes: 64 << 20,
            upsert: None,
            evolve: false,
            widen: false,
            flatten: None,
        },
        given_options: BTreeMap::new(),
        column_mapping: false,
    }
}

/// (id bigint, note text)
pub(crate) fn two_columns() -> TableDef {
    def(vec![column(1, "id", DataType::Int64), column(2, "note", DataType::Utf8View)])
}

pub(crate) fn object(oid: Oid, parent: Oid, name: &str, version: u64, body: Body) -> Arc<Object> {
    Arc::new(Object {
        oid,
        parent,
        name: name.to_owned(),
        owner: OWNER,
        version,
        comment: None,
        acl: vec![],
        depends_on: vec![],
        body,
    })
}

/// The table `t<oid>` with [`two_columns`].
pub(crate) fn put_table(oid: Oid, version: u64) -> Change {
    Change::Put(object(oid, PUBLIC, &format!("t{oid}"), version, Body::Table(Arc::new(two_columns()))))
}

/// Rows for [`two_columns`]; the note says the number.
pub(crate) fn rows(ids: &[i64]) -> RecordBatch {
    let notes: Vec<_> = ids.iter().map(|id| format!("the note of row number {id}")).collect();
    let schema =
        Schema::new(vec![Field::new("id", DataType::Int64, true), Field::new("note", DataType::Utf8View, true)]);
    let columns: Vec<ArrayRef> =
        vec![Arc::new(Int64Array::from(ids.to_vec())), Arc::new(StringViewArray::from_iter_values(notes))];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

pub(crate) fn insert(table: Oid, chunk: u64, ids: &[i64]) -> Change {
    let chunk = Arc::new(NewChunk { id: chunk, batch: rows(ids) });
    Change::Write(Write { table, add_chunks: vec![chunk], data_change: true, ..Write::default() })
}

pub(crate) fn remove_chunks(table: Oid, chunks: &[u64]) -> Change {
    Change::Write(Write { table, remove_chunks: chunks.to_vec(), data_change: true, ..Write::default() })
}

pub(crate) fn swap_files(table: Oid, adds: &[&str], removes: &[&str]) -> Change {
    Change::Write(Write {
        table,
        add_files: adds.iter().map(|path| file(path, 0)).collect(),
        remove_files: removes.iter().map(|path| (*path).to_owned()).collect(),
        data_change: true,
        ..Write::default()
    })
}

pub(crate) fn file(path: &str, lsn: Lsn) -> Arc<FileEntry> {
    Arc::new(FileEntry {
        path: path.to_owned(),
        bytes: 100,
        rows: 1,
        partition_values: BTreeMap::new(),
        stats: BTreeMap::new(),
        lsn_min: lsn,
        lsn_max: lsn,
        sorted_by: vec![],
        level: 0,
        created_ms: 0,
    })
}

/// The first column of a batch.
pub(crate) fn ids_of(batch: &RecordBatch) -> Vec<i64> {
    let Some(ids) = batch.column_by_name("id") else { return vec![] };
    let ids = ids.as_primitive::<Int64Type>();
    assert_eq!(ids.null_count(), 0);
    ids.values().to_vec()
}
