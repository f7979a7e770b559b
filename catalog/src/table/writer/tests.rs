//! What is written reads back; statistics are exact; order is what the file says it is.

use arrow::array::{Float64Array, Int64Array, StringViewArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, TimeUnit};
use rand::Rng;

use super::*;
use crate::table::file::ColumnStats;
use crate::table::testing::{Folder, def_of, every_type, random_batch, rng, sorted_rows, text_rows};

#[test]
fn every_type_reads_back() {
    let mut rng = rng();
    for round in 0..8 {
        let folder = Folder::new();
        let def = Arc::new(def_of(&every_type()));
        let rows = [0, 1, 8192, 20_000][round % 4];
        let batches = [random_batch(&mut rng, &def, rows), random_batch(&mut rng, &def, 100)];
        let compression = if round < 4 { Compression::Fast } else { Compression::Small };
        let entries = folder.write(&def, &batches, WriteOptions { compression, ..WriteOptions::default() });
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].rows, rows as u64 + 100);
        assert_eq!(text_rows(&folder.read(&def, &entries)), text_rows(&batches));
        let on_disk = folder.files.list(&folder.dir).unwrap();
        assert_eq!(on_disk, vec![(folder.dir.join(&entries[0].path), entries[0].bytes)]);
    }
}

#[test]
fn statistics_are_exact() {
    let mut rng = rng();
    let folder = Folder::new();
    let def = Arc::new(def_of(&every_type()));
    for _ in 0..10 {
        let batches = [random_batch(&mut rng, &def, 500), random_batch(&mut rng, &def, 300)];
        let entry = &folder.write(&def, &batches, WriteOptions::default())[0];
        for (index, column) in def.columns.iter().enumerate() {
            let stats = &entry.stats[&column.physical_name];
            let parts: Vec<&dyn Array> = batches.iter().map(|batch| batch.column(index).as_ref()).collect();
            let all = concat(&parts).unwrap();
            assert_eq!(stats.nulls, all.null_count() as u64, "{}", column.name);
            if !value::has_order(&column.data_type) {
                assert_eq!((&stats.min, &stats.max, stats.exact), (&None, &None, false));
                continue;
            }
            let values: Vec<ScalarValue> = (0..all.len())
                .filter(|&row| all.is_valid(row))
                .map(|row| ScalarValue::try_from_array(&all, row).unwrap())
                .collect();
            if values.iter().any(|v| matches!(v, ScalarValue::Float64(Some(v)) if v.is_nan())) {
                assert_eq!((&stats.min, &stats.max, stats.exact), (&None, &None, false));
                continue;
            }
            let least = values.iter().min_by(|a, b| a.partial_cmp(b).unwrap());
            let greatest = values.iter().max_by(|a, b| a.partial_cmp(b).unwrap());
            let read =
                |text: &Option<String>| text.as_ref().map(|text| value::raw_value(text, &column.data_type).unwrap());
            if stats.exact {
                assert_eq!(read(&stats.min).as_ref(), least, "{}", column.name);
                assert_eq!(read(&stats.max).as_ref(), greatest, "{}", column.name);
            } else {
                assert!(read(&stats.min).is_none_or(|min| min <= *least.unwrap()), "{}", column.name);
                assert!(read(&stats.max).is_none_or(|max| max >= *greatest.unwrap()), "{}", column.name);
            }
        }
    }
}

#[test]
fn long_text_is_cut_to_bounds() {
    let check = |texts: &[&str], min: &str, max: Option<&str>| {
        let mut summary = ColumnSummary::default();
        summary.add(&(Arc::new(StringViewArray::from_iter_values(texts)) as ArrayRef)).unwrap();
        let expected = ColumnStats { min: Some(min.into()), max: max.map(str::to_owned), exact: false, nulls: 0 };
        assert_eq!(summary.finish(&DataType::Utf8View), expected);
    };
    let (a, b) = ("a".repeat(64), "a".repeat(63) + "b");
    check(&[&"a".repeat(100)], &a, Some(&b));
    check(&["b", &"a".repeat(65)], &a, Some("b"));
    let top = "\u{10ffff}".repeat(16);
    check(&[&"\u{10ffff}".repeat(20)], &top, None);
    check(
        &[&("a".repeat(60) + &"\u{10ffff}".repeat(20))],
        &("a".repeat(60) + "\u{10ffff}"),
        Some(&("a".repeat(59) + "b")),
    );
    check(&[&"\u{d7ff}".repeat(22)], &"\u{d7ff}".repeat(21), Some(&("\u{d7ff}".repeat(20) + "\u{e000}")));
}

#[test]
fn nan_leaves_no_bounds() {
    let mut summary = ColumnSummary::default();
    summary.add(&(Arc::new(Float64Array::from(vec![1.0, 2.0])) as ArrayRef)).unwrap();
    assert_eq!(summary.finish(&DataType::Float64).max.as_deref(), Some("2"));
    summary.add(&(Arc::new(Float64Array::from(vec![f64::NAN])) as ArrayRef)).unwrap();
    summary.add(&(Arc::new(Float64Array::from(vec![3.0])) as ArrayRef)).unwrap();
    assert_eq!(summary.finish(&DataType::Float64), ColumnStats { min: None, max: None, exact: false, nulls: 0 });
}

fn timed() -> TableDef {
    let mut def = def_of(&[("ts", DataType::Timestamp(TimeUnit::Microsecond, None)), ("id", DataType::Int64)]);
    def.options.time_column = Some("ts".into());
    def
}

fn timed_batch(def: &TableDef, times: Vec<Option<i64>>) -> RecordBatch {
    let ids = Int64Array::from_iter_values(0..times.len() as i64);
    RecordBatch::try_new(def.schema(), vec![Arc::new(TimestampMicrosecondArray::from(times)), Arc::new(ids)]).unwrap()
}

fn times(batches: &[RecordBatch]) -> Vec<Option<i64>> {
    let column = |batch: &RecordBatch| {
        batch.column(0).as_primitive::<arrow::datatypes::TimestampMicrosecondType>().iter().collect::<Vec<_>>()
    };
    batches.iter().flat_map(column).collect()
}

#[test]
fn rows_are_sorted_by_time_with_nulls_last() {
    let mut rng = rng();
    let (folder, def) = (Folder::new(), Arc::new(timed()));
    let random: Vec<_> = (0..100_000).map(|_| Some(rng.random_range(0..1000))).collect();
    for times_in in [vec![Some(3), None, Some(1), Some(2), None], random] {
        let batch = timed_batch(&def, times_in.clone());
        let entries = folder.write(&def, std::slice::from_ref(&batch), WriteOptions::default());
        let read = folder.read(&def, &entries);
        let mut expected = times_in;
        expected.sort_by_key(|time| (time.is_none(), *time));
        assert_eq!(times(&read), expected);
        assert_eq!(entries[0].sorted_by, ["ts"]);
        assert_eq!(sorted_rows(&read), sorted_rows(&[batch]));
    }
}

#[test]
fn a_file_of_runs_that_overlap_is_not_called_sorted() {
    let (folder, def) = (Folder::new(), Arc::new(timed()));
    let ascending = |from: i64| timed_batch(&def, (from..from + RUN_ROWS as i64).map(Some).collect());
    let entries = folder.write(&def, &[ascending(0), ascending(10)], WriteOptions::default());
    assert_eq!((entries.len(), entries[0].rows), (1, 2 * RUN_ROWS as u64));
    assert!(entries[0].sorted_by.is_empty());
    let entries = folder.write(&def, &[ascending(0), ascending(RUN_ROWS as i64 - 1)], WriteOptions::default());
    assert_eq!(entries[0].sorted_by, ["ts"]);
}

#[test]
fn partitions_go_to_files_of_their_own() {
    let folder = Folder::new();
    let mut def = timed();
    def.columns.push(crate::testing::column(3, "p", DataType::Utf8View));
    def.options.partition_by = vec!["p".into()];
    let def = Arc::new(def);
    let names: Vec<Option<String>> = (0..1000).map(|i| (i % 40 != 7).then(|| format!("p{}", i % 40))).collect();
    let batch = RecordBatch::try_new(
        def.schema(),
        vec![
            Arc::new(TimestampMicrosecondArray::from_iter_values((0..1000).rev())),
            Arc::new(Int64Array::from_iter_values(0..1000)),
            Arc::new(StringViewArray::from_iter(names)),
        ],
    )
    .unwrap();
    let entries = folder.write(&def, std::slice::from_ref(&batch), WriteOptions::default());
    assert_eq!(entries.len(), 40);
    assert_eq!(entries.iter().filter(|entry| entry.partition_values["p"].is_none()).count(), 1);
    assert!(
        entries.iter().all(|entry| entry.rows == 25 && entry.sorted_by == ["ts"] && !entry.stats.contains_key("p"))
    );
    assert_eq!(sorted_rows(&folder.read(&def, &entries)), sorted_rows(&[batch]));
}

#[test]
fn wrong_types_are_refused() {
    let (folder, def) = (Folder::new(), Arc::new(timed()));
    let mut writer = TableWriter::new(Arc::clone(&folder.files), &folder.dir, &def, WriteOptions::default());
    let other = def_of(&[("id", DataType::Int32)]);
    let batch = random_batch(&mut rng(), &other, 3);
    let error = writer.write(batch).unwrap_err().to_string();
    assert_eq!(error, "column \"id\" is of type Int64 but rows have Int32");
}
