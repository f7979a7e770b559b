//! The latest rows with little memory and with much, against a map.

use std::collections::BTreeMap;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray, RecordBatch, StringViewArray};
use datafusion::arrow::datatypes::{Int64Type, Schema, SchemaRef};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::statement::files::compact::keep::Piece;

/// Of every key: time, number of the row among all.
type Expected = BTreeMap<String, (Option<i64>, i64)>;

fn schema(with_more: bool) -> SchemaRef {
    let named = |name: &str, sql_type: &str| SqlType::parse(sql_type).expect("a type").field(name, true);
    let mut fields = vec![named("id", "text"), named("ts", "bigint"), named("row", "bigint")];
    if with_more {
        fields.push(named("tags", "bigint[]"));
        fields.push(named("pad", "text"));
    }
    Arc::new(Schema::new(fields))
}

/// A batch of random rows, which the map gets, too.
fn batch(random: &mut StdRng, first: i64, with_more: bool, expected: &mut Expected) -> RecordBatch {
    let rows = random.random_range(1..400_i64);
    let (mut ids, mut times, mut numbers) = (vec![], vec![], vec![]);
    for row in first..first + rows {
        // Keys that begin alike, are empty, or have a zero byte.
        let id = match random.random_range(0..900) {
            0 => String::new(),
            1 => "a\0".to_owned(),
            2 => "a".to_owned(),
            n => format!("a long beginning that keys have in common {n}"),
        };
        let ts = random.random_bool(0.9).then(|| random.random_range(0..50));
        let latest = expected.entry(id.clone()).or_insert((ts, row));
        *latest = (ts, row).max(*latest);
        ids.push(Some(id));
        times.push(ts);
        numbers.push(row);
    }
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(ids.into_iter().collect::<StringViewArray>()),
        Arc::new(times.into_iter().collect::<Int64Array>()),
        Arc::new(Int64Array::from(numbers.clone())),
    ];
    if with_more {
        let tags = numbers.iter().map(|row| Some((0..row % 3).map(Some).collect::<Vec<_>>()));
        columns.push(Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(tags)));
        columns.push(Arc::new(numbers.iter().map(|row| Some(format!("{row:30}"))).collect::<StringViewArray>()));
    }
    RecordBatch::try_new(schema(with_more), columns).expect("a batch")
}

fn check(memory: usize, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut columns = Columns::new(&["id".to_owned()]);
    for (place, field) in schema(true).fields().iter().enumerate() {
        columns.add(field.name(), &SqlType::of_field(field), None, (0, place)).expect("added");
    }
    let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(GreedyMemoryPool::new(memory))).build_arc();
    let runtime = runtime.expect("a runtime");
    let ranks = Arc::new(Ranks::new(&columns, &["id".to_owned()], Some("ts")).expect("ranks"));
    let mut kept = Kept::new(&runtime, &ranks, 2);
    let (mut expected, mut first) = (Expected::new(), 0);
    for number in 0..60 {
        let with_more = number > 20;
        let batch = batch(&mut random, first, with_more, &mut expected);
        let rows = i64::try_from(batch.num_rows()).expect("few");
        let piece = Piece::new(batch, (number, 0), &ranks).expect("a piece");
        kept.take(piece, || schema(with_more)).expect("taken");
        first += rows;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("out.parquet");
    let file = File::create(&path).expect("a file");
    let schema = columns.schema();
    let latest = kept.finish(&schema).expect("the latest");
    let note = KeyValue::new("note".to_owned(), String::new());
    let cancel = CancellationToken::new();
    let rows = write::write(&file, &schema, latest, (&["id".to_owned()], note), 2, &cancel).expect("written");
    assert_eq!(rows, expected.len() as u64, "seed {seed}");
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).expect("there")).expect("Parquet");
    let mut found = vec![];
    for batch in reader.build().expect("a reader") {
        let batch = batch.expect("a batch");
        let column = |at: usize| batch.column(at).as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            let ts = column(1).is_valid(row).then(|| column(1).value(row));
            let number = column(2).value(row);
            found.push((batch.column(0).as_string_view().value(row).to_owned(), (ts, number)));
            let (tags, pad) = (batch.column(3).as_list::<i32>(), batch.column(4).as_string_view());
            if pad.is_valid(row) {
                assert_eq!(pad.value(row), format!("{number:30}"), "seed {seed}: columns of one row");
                assert_eq!(i64::from(tags.value_length(row)), number % 3, "seed {seed}");
            }
        }
    }
    assert!(expected.into_iter().eq(found), "seed {seed}, {memory} bytes: each key once, in order, its latest row");
}

#[test]
fn latest_rows_with_much_memory_and_little() {
    let seed = rand::random();
    check(1 << 30, seed);
    // A few runs; a run per batch, which are merged several times.
    check(1 << 20, seed);
    check(1, seed);
}
