//! What may follow what.

use arrow::datatypes::DataType;

use super::*;
use crate::record::{RoleDef, ViewDef, Write};
use crate::testing::{
    OWNER, PUBLIC, column, file, ids_of, insert, object, put_table, remove_chunks, rows, swap_files, two_columns,
};
use crate::transaction::Transaction;
use crate::{Error, hot};

/// A database (5) with the schema `public` (2200) and the table `t1` (1).
fn fresh() -> Snapshot {
    let changes = [
        Change::Put(object(OWNER, 0, "tidemill", 1, Body::Role(RoleDef::default()))),
        Change::Put(object(5, 0, "tidemill", 1, Body::Database {})),
        Change::Put(object(PUBLIC, 5, "public", 1, Body::Schema {})),
        put_table(1, 1),
    ];
    Snapshot::default().apply(&changes, 1).unwrap()
}

fn hot_ids(state: &Snapshot, table: Oid) -> Vec<i64> {
    state.table(table).unwrap().chunks.iter().flat_map(|chunk| ids_of(&chunk.batch)).collect()
}

fn paths(state: &Snapshot, table: Oid) -> Vec<String> {
    state.table(table).unwrap().files.files.iter().map(|file| file.path.clone()).collect()
}

#[track_caller]
fn is_conflict(state: &Snapshot, changes: &[Change]) {
    match state.apply(changes, state.lsn + 1) {
        Err(Error::Conflict { .. }) => {}
        other => panic!("expected a conflict, got {other:?}"),
    }
}

fn view(oid: Oid, name: &str, depends_on: &[Oid]) -> Change {
    let body = Body::View(ViewDef { query: String::new(), search_path: vec![], columns: vec![], relations: vec![] });
    let mut view = Object::clone(&object(oid, PUBLIC, name, 1, body));
    view.depends_on = depends_on.to_vec();
    Change::Put(Arc::new(view))
}

#[test]
fn names_are_unique_in_their_class() {
    let state = fresh();
    let taken = Change::Put(object(9, PUBLIC, "t1", 1, Body::Table(Arc::new(two_columns()))));
    let error = state.apply(&[taken], 2).unwrap_err();
    assert_eq!(error.to_string(), "relation \"t1\" already exists");
    let error = state.apply(&[view(9, "t1", &[])], 2).unwrap_err();
    assert_eq!(error.to_string(), "relation \"t1\" already exists");
    // A role and a database may share a name, and another schema is another place.
    let changes = [
        Change::Put(object(8, 5, "other", 1, Body::Schema {})),
        Change::Put(object(9, 8, "t1", 1, Body::Table(Arc::new(two_columns())))),
    ];
    let state = state.apply(&changes, 2).unwrap();
    assert_eq!(state.catalog.find(8, NameClass::Relation, "t1").unwrap().oid, 9);
    assert_eq!(state.catalog.children(8).count(), 1);
}

#[test]
fn a_rename_frees_the_name_and_keeps_the_rows() {
    let state = fresh().apply(&[insert(1, 1, &[1, 2])], 2).unwrap();
    let renamed = Change::Put(object(1, PUBLIC, "new", 2, Body::Table(Arc::new(two_columns()))));
    let state = state.apply(&[renamed, put_table(9, 1)], 3).unwrap();
    assert!(state.catalog.find(PUBLIC, NameClass::Relation, "t1").is_none());
    assert_eq!(state.catalog.find(PUBLIC, NameClass::Relation, "new").unwrap().oid, 1);
    assert_eq!(hot_ids(&state, 1), [1, 2]);
    assert_eq!(state.catalog.children(PUBLIC).map(|object| object.oid).collect::<Vec<_>>(), [1, 9]);
}

#[test]
fn what_is_expected_must_be_so() {
    let state = fresh();
    state.apply(&[Change::Expect(1, 1), insert(1, 1, &[1])], 2).unwrap();
    is_conflict(&state, &[insert(1, 1, &[1]), Change::Expect(1, 2)]);
    let next = state.apply(&[put_table(1, 2)], 2).unwrap();
    is_conflict(&next, &[Change::Expect(1, 1), insert(1, 1, &[1])]);
    is_conflict(&next, &[Change::Expect(99, 1)]);
}

#[test]
fn the_second_change_of_an_object_conflicts() {
    let state = fresh();
    let next = state.apply(&[put_table(1, 2)], 2).unwrap();
    is_conflict(&next, &[put_table(1, 2)]);
    is_conflict(&next, &[put_table(1, 1)]);
    is_conflict(&next, &[put_table(7, 2)]);
    let gone = next.apply(&[Change::Remove(1)], 3).unwrap();
    is_conflict(&gone, &[put_table(1, 3)]);
    is_conflict(&gone, &[Change::Remove(1)]);
    is_conflict(&gone, &[insert(1, 1, &[1])]);
    is_conflict(&next, &[Change::Put(object(1, PUBLIC, "t1", 3, Body::Schema {}))]);
}

#[test]
fn nothing_loses_what_it_needs() {
    let state = fresh();
    is_conflict(&state, &[Change::Remove(PUBLIC)]);
    is_conflict(&state, &[Change::Remove(OWNER)]);
    is_conflict(&state, &[view(9, "v", &[77])]);
    is_conflict(&state, &[Change::Put(object(9, 77, "t9", 1, Body::Table(Arc::new(two_columns()))))]);
    let state = state.apply(&[view(9, "v", &[1])], 2).unwrap();
    is_conflict(&state, &[Change::Remove(1)]);
    let state = state.apply(&[Change::Remove(9), Change::Remove(1), Change::Remove(PUBLIC)], 3).unwrap();
    assert!(state.table(1).is_none());
    assert!(state.tables.is_empty());
}

#[test]
fn a_list_is_applied_wholly_or_not_at_all() {
    let state = fresh();
    is_conflict(&state, &[insert(1, 1, &[1]), Change::Remove(99)]);
    assert!(hot_ids(&state, 1).is_empty());
    let changes = [put_table(9, 1), insert(9, 1, &[1]), insert(9, 2, &[2]), remove_chunks(9, &[1])];
    assert_eq!(hot_ids(&state.apply(&changes, 2).unwrap(), 9), [2]);
}

#[test]
fn rows_go_once() {
    let state =
        fresh().apply(&[insert(1, 1, &[1]), insert(1, 2, &[2, 3]), swap_files(1, &["a", "b"], &[])], 2).unwrap();
    is_conflict(&state, &[remove_chunks(1, &[1, 9])]);
    is_conflict(&state, &[swap_files(1, &["c"], &["nope"])]);
    let next = state.apply(&[remove_chunks(1, &[1]), swap_files(1, &["c"], &["a"])], 3).unwrap();
    assert_eq!((hot_ids(&next, 1), paths(&next, 1)), (vec![2, 3], vec!["b".to_owned(), "c".to_owned()]));
    is_conflict(&next, &[remove_chunks(1, &[1])]);
    is_conflict(&next, &[swap_files(1, &[], &["a"])]);
    assert_eq!(next.table(1).unwrap().files.get("c").unwrap().lsn_max, 3);
    assert_eq!(next.table(1).unwrap().unpublished.len(), 2);
    // The state it was made from is as it was.
    assert_eq!((hot_ids(&state, 1), paths(&state, 1)), (vec![1, 2, 3], vec!["a".to_owned(), "b".to_owned()]));
}

#[test]
fn merged_inserts_are_no_conflict() {
    let mut state = fresh();
    let before = state.apply(&[insert(1, 0, &[0])], 2).unwrap();
    for id in 0..20 {
        state = state.apply(&[insert(1, id, &[i64::try_from(id).unwrap()])], 2 + id).unwrap();
    }
    assert!(state.table(1).unwrap().chunks.len() < 20);
    // Someone saw row 0 alone and deletes it.
    assert_eq!(before.table(1).unwrap().chunks[0].ids, [0]);
    let next = state.apply(&[remove_chunks(1, &[0])], 50).unwrap();
    assert_eq!(hot_ids(&next, 1), (1..20).collect::<Vec<_>>());
}

#[test]
fn sealed_rows_stay() {
    let mut state = fresh().apply(&[insert(1, 1, &[1])], 2).unwrap();
    state.tables.get_mut(1).unwrap().sealed = Some(Arc::new([1].into()));
    is_conflict(&state, &[remove_chunks(1, &[1])]);
    let next = state.apply(&[insert(1, 2, &[2]), remove_chunks(1, &[2])], 3).unwrap();
    assert_eq!(hot_ids(&next, 1), [1]);
}

#[test]
fn a_write_shares_all_that_it_does_not_change() {
    let state = fresh().apply(&[put_table(9, 1)], 2).unwrap();
    let next = state.apply(&[insert(1, 1, &[1])], 3).unwrap();
    assert!(Arc::ptr_eq(&state.catalog, &next.catalog));
    assert!(Arc::ptr_eq(state.table(9).unwrap(), next.table(9).unwrap()));
    assert!(!Arc::ptr_eq(state.table(1).unwrap(), next.table(1).unwrap()));
}

#[test]
fn replay_begins_where_a_clean_table_got_dirty() {
    let mut state = fresh().apply(&[insert(1, 1, &[1])], 7).unwrap();
    {
        let table = state.tables.get_mut(1).unwrap();
        table.published = Published { version: Some(0), lsn: 7 };
        table.chunks.clear();
    }
    let clean = state.clone();
    assert!(!clean.table(1).unwrap().is_dirty());
    let state = clean.apply(&[insert(1, 2, &[2])], 20).unwrap();
    assert_eq!(state.table(1).unwrap().replay_from, 19);
    let state = state.apply(&[insert(1, 3, &[3])], 21).unwrap();
    assert_eq!(state.table(1).unwrap().replay_from, 19);
    let altered =
        clean.apply(&[Change::Put(object(1, PUBLIC, "t1", 2, Body::Table(Arc::new(crate::testing::def(vec![])))))], 30);
    assert_eq!(altered.unwrap().table(1).unwrap().replay_from, 29);
}

#[test]
fn a_transaction_keeps_its_columns_through_a_rename() {
    let base = Arc::new(fresh());
    let mut transaction = Transaction::new(Arc::clone(&base));
    transaction.apply(vec![insert(1, 1, &[7])]).unwrap();
    // Someone renames id to key, and adds another id.
    let mut altered = two_columns();
    altered.columns[0].name = "key".to_owned();
    altered
        .columns
        .push(crate::record::ColumnDef { physical_name: "id-2".to_owned(), ..column(3, "id", DataType::Int64) });
    let newest = base.apply(&[Change::Put(object(1, PUBLIC, "t1", 2, Body::Table(Arc::new(altered))))], 2).unwrap();
    let committed = newest.apply(&transaction.into_changes(), 3).unwrap();
    let batch = &committed.table(1).unwrap().chunks[0].batch;
    assert!(hot::is_physical(batch));
    assert_eq!(ids_of(batch), [7]);
    assert!(batch.column_by_name("id-2").is_none());
}

#[test]
fn a_savepoint_brings_back_the_rows() {
    let mut transaction = Transaction::new(Arc::new(fresh()));
    transaction.apply(vec![insert(1, 1, &[1])]).unwrap();
    let savepoint = transaction.savepoint();
    transaction.apply(vec![insert(1, 2, &[2]), Change::Remove(1)]).unwrap();
    assert!(transaction.view().table(1).is_none());
    transaction.rollback_to(&savepoint);
    assert_eq!(hot_ids(transaction.view(), 1), [1]);
    assert_eq!(transaction.into_changes().len(), 1);
}

#[test]
fn catalog_versions_are_never_used_twice() {
    let state = fresh();
    let one = state.apply(&[put_table(7, 1)], 2).unwrap();
    let other = state.apply(&[put_table(8, 1)], 2).unwrap();
    assert_ne!(one.catalog.version, other.catalog.version);
    let write = Write { table: 1, add_files: vec![file("x", 1)], ..Write::default() };
    assert_eq!(state.apply(&[Change::Write(write)], 2).unwrap().catalog.version, state.catalog.version);
    assert_eq!(rows(&[1]).num_rows(), 1);
}

/// A flush writes files of the types that the rows had when it began.
#[test]
fn types_do_not_change_while_rows_move_to_files() {
    let base = fresh().apply(&[insert(1, 1, &[1])], 2).unwrap();
    let mut wider = two_columns();
    let numeric = arrow::datatypes::DataType::Decimal128(38, 0);
    wider.columns[0].data_type = numeric.clone();
    let change = [Change::Put(object(1, PUBLIC, "t1", 2, Body::Table(Arc::new(wider))))];
    let retyped = base.apply(&change, 3).unwrap();
    assert_eq!(retyped.table(1).unwrap().shaped_lsn, 3);
    assert_eq!(*retyped.table(1).unwrap().chunks[0].batch.column(0).data_type(), numeric);
    let mut moving = Snapshot::clone(&base);
    moving.tables.get_mut(1).unwrap().sealed = Some(Arc::new([1].into()));
    assert!(matches!(moving.apply(&change, 3), Err(Error::Conflict { .. })));
}
