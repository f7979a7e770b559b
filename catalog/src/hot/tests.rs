//! Chunks: merging, taking apart, and the form their rows have.

use arrow::array::StringViewArray;

use super::*;
use crate::testing::{column, def, ids_of, rows, two_columns};

fn chunk(id: u64, ids: &[i64]) -> Arc<HotChunk> {
    let def = two_columns();
    let new = Arc::new(NewChunk { id, batch: rows(ids) });
    let physical = to_physical(&new, &def, &physical_schema(&def)).unwrap();
    Arc::new(HotChunk::new(id, physical.batch.clone(), id, 0))
}

#[test]
fn many_one_row_inserts_make_few_chunks() {
    let mut chunks = Vec::new();
    for id in 0..10_000 {
        chunks.push(chunk(id, &[i64::try_from(id).unwrap()]));
        coalesce(&mut chunks).unwrap();
        assert!(chunks.len() <= 32 + usize::try_from(id).unwrap() / MERGE_ROWS_MAX, "{} chunks", chunks.len());
    }
    let ids: Vec<i64> = chunks.iter().flat_map(|chunk| ids_of(&chunk.batch)).collect();
    assert_eq!(ids, (0..10_000).collect::<Vec<_>>());
    let inserts: Vec<u64> = chunks.iter().flat_map(|chunk| chunk.ids.clone()).collect();
    assert_eq!(inserts, (0..10_000).collect::<Vec<_>>());
    for chunk in &chunks {
        assert_eq!((chunk.lsn_min, chunk.lsn_max), (chunk.ids[0], *chunk.ids.last().unwrap()));
        // Merged text is in few buffers, not in one per insert.
        let notes = chunk.batch.column(1).as_string_view();
        assert!(notes.data_buffers().len() <= MERGE_COUNT, "{} buffers", notes.data_buffers().len());
    }
}

#[test]
fn inserts_are_taken_out_of_a_merged_chunk() {
    let parts = [chunk(1, &[10, 11]), chunk(2, &[20]), chunk(3, &[]), chunk(4, &[40]), chunk(5, &[50, 51, 52])];
    let merged = HotChunk::merge(&parts).unwrap();
    let left = |gone: &[u64]| -> Vec<(Vec<u64>, Vec<i64>, Lsn, Lsn)> {
        let gone = gone.iter().copied().collect();
        let left = merged.without(&gone);
        left.iter().map(|chunk| (chunk.ids.clone(), ids_of(&chunk.batch), chunk.lsn_min, chunk.lsn_max)).collect()
    };
    assert_eq!(left(&[2]), [(vec![1], vec![10, 11], 1, 1), (vec![3, 4, 5], vec![40, 50, 51, 52], 3, 5)]);
    assert_eq!(left(&[1, 5]), [(vec![2, 3, 4], vec![20, 40], 2, 4)]);
    assert_eq!(left(&[1, 2, 3, 4, 5]), []);
    // And again out of what is left.
    let rest = &merged.without(&[1].into())[0];
    let again = rest.without(&[4].into());
    assert_eq!(ids_of(&again[1].batch), [50, 51, 52]);
}

#[test]
fn rows_are_kept_under_physical_names() {
    let mut def = two_columns();
    def.columns[0].name = "renamed".to_owned();
    let schema = physical_schema(&def);
    let new = |batch| Arc::new(NewChunk { id: 1, batch });
    let wrong = to_physical(&new(rows(&[1])), &def, &schema).unwrap_err();
    assert_eq!(wrong.to_string(), "column \"id\" does not exist");
    let batch = rows(&[1]);
    let renamed = RecordBatch::try_from_iter([("renamed", Arc::clone(batch.column(0)))]).unwrap();
    let physical = to_physical(&new(renamed), &def, &schema).unwrap();
    assert_eq!(physical.batch.schema().field(0).name(), "id");
    assert!(is_physical(&physical.batch));
    let again = to_physical(&physical, &two_columns(), &schema).unwrap();
    assert!(Arc::ptr_eq(&again, &physical));
}

#[test]
fn a_table_without_columns_has_rows() {
    let def = def(vec![]);
    let options = RecordBatchOptions::new().with_row_count(Some(3));
    let batch = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
    let new = Arc::new(NewChunk { id: 1, batch });
    let physical = to_physical(&new, &def, &physical_schema(&def)).unwrap();
    let chunk = Arc::new(HotChunk::new(1, physical.batch.clone(), 1, 0));
    assert_eq!(HotChunk::merge(&[Arc::clone(&chunk), chunk]).unwrap().rows(), 6);
}

#[test]
fn text_that_is_not_shown_is_let_go() {
    let long = StringViewArray::from_iter_values((0..1000).map(|row| format!("a text that is not inline {row}")));
    let def = def(vec![column(1, "note", DataType::Utf8View)]);
    let batch = RecordBatch::try_from_iter([("note", Arc::new(long.slice(5, 1)) as ArrayRef)]).unwrap();
    let new = Arc::new(NewChunk { id: 1, batch });
    let physical = to_physical(&new, &def, &physical_schema(&def)).unwrap();
    let notes = physical.batch.column(0).as_string_view();
    assert_eq!(notes.value(0), "a text that is not inline 5");
    assert!(notes.data_buffers()[0].capacity() < 200);
}
