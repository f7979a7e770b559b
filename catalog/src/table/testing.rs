//! What the tests of tables share: a table with a column of every type, random rows, folders, and rows as text.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, IntervalMonthDayNano, IntervalUnit, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::fault::{FileLayer, OsFiles};
use crate::record::{ColumnDef, TableDef};
use crate::table::file::FileEntry;
use crate::table::rewrite::read_unit;
use crate::table::scan::Unit;
use crate::table::writer::{TableWriter, WriteOptions};
use crate::testing;

/// A random generator whose seed is printed, and taken from `SEED` if that is set.
pub(crate) fn rng() -> StdRng {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random::<u64>);
    #[expect(clippy::print_stderr, reason = "a failing test must tell its seed")]
    {
        eprintln!("SEED={seed}");
    }
    StdRng::seed_from_u64(seed)
}

/// A table's folder.
#[derive(Debug)]
pub(crate) struct Folder {
    _temporary: tempfile::TempDir,
    pub(crate) dir: PathBuf,
    pub(crate) files: Arc<dyn FileLayer>,
}

impl Folder {
    pub(crate) fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        Self { dir: temporary.path().to_owned(), _temporary: temporary, files: Arc::new(OsFiles) }
    }

    pub(crate) fn write(
        &self,
        def: &Arc<TableDef>,
        batches: &[RecordBatch],
        options: WriteOptions,
    ) -> Vec<Arc<FileEntry>> {
        let mut writer = TableWriter::new(Arc::clone(&self.files), &self.dir, def, options);
        for batch in batches {
            writer.write(batch.clone()).unwrap();
        }
        writer.finish().unwrap()
    }

    pub(crate) fn read(&self, def: &Arc<TableDef>, entries: &[Arc<FileEntry>]) -> Vec<RecordBatch> {
        let read = |entry| read_unit(&self.files, &self.dir, def, &Unit::File(Arc::clone(entry))).unwrap();
        entries.iter().flat_map(read).map(Result::unwrap).collect()
    }
}

/// Every type a column may have.
pub(crate) fn every_type() -> Vec<(&'static str, DataType)> {
    let list = |item: DataType| DataType::List(Arc::new(Field::new_list_field(item, true)));
    let interval = DataType::Interval(IntervalUnit::MonthDayNano);
    let time = DataType::Time64(TimeUnit::Microsecond);
    vec![
        ("b", DataType::Boolean),
        ("i2", DataType::Int16),
        ("i4", DataType::Int32),
        ("i8", DataType::Int64),
        ("u4", DataType::UInt32),
        ("f4", DataType::Float32),
        ("f8", DataType::Float64),
        ("n", DataType::Decimal128(10, 2)),
        ("nn", DataType::Decimal128(38, 16)),
        ("t", DataType::Utf8View),
        ("by", DataType::BinaryView),
        ("d", DataType::Date32),
        ("ti", time.clone()),
        ("ts", DataType::Timestamp(TimeUnit::Microsecond, None)),
        ("tz", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        ("iv", interval.clone()),
        ("ai", list(DataType::Int32)),
        ("at", list(DataType::Utf8View)),
        ("ati", list(time)),
        ("aiv", list(interval)),
        ("aa", list(list(DataType::UInt32))),
    ]
}

pub(crate) fn def_of(columns: &[(&str, DataType)]) -> TableDef {
    let columns: Vec<ColumnDef> =
        (1..).zip(columns).map(|(id, (name, data_type))| testing::column(id, name, data_type.clone())).collect();
    testing::def(columns)
}

/// Random rows: NULLs, NaN, infinities, extremes, empty and huge text.
pub(crate) fn random_batch(rng: &mut StdRng, def: &TableDef, rows: usize) -> RecordBatch {
    let arrays = def.columns.iter().map(|column| random_array(rng, &column.data_type, rows)).collect();
    RecordBatch::try_new(def.schema(), arrays).unwrap()
}

fn random_array(rng: &mut StdRng, data_type: &DataType, rows: usize) -> ArrayRef {
    // Few or many different values, no, some or only NULLs.
    let spread: i64 = [3, 1000, i64::from(i32::MAX)][rng.random_range(0..3)];
    let null_share = [0.0, 0.0, 0.1, 0.9, 1.0][rng.random_range(0..5)];
    macro_rules! values {
        ($array:ident, $value:expr) => {{
            let values: Vec<_> =
                (0..rows).map(|_| if rng.random_bool(null_share) { None } else { Some($value) }).collect();
            $array::from(values)
        }};
    }
    let small = |rng: &mut StdRng| rng.random_range(-spread..=spread);
    match data_type {
        DataType::Boolean => Arc::new(values!(BooleanArray, rng.random_bool(0.5))),
        DataType::Int16 => Arc::new(values!(Int16Array, rng.random())),
        DataType::Int32 => Arc::new(values!(Int32Array, i32::try_from(small(rng)).unwrap())),
        DataType::Int64 => Arc::new(values!(Int64Array, small(rng) * 1000)),
        DataType::UInt32 => Arc::new(values!(UInt32Array, rng.random())),
        DataType::Float32 => Arc::new(values!(Float32Array, [0.5, -1.25, 1e30, f32::INFINITY][rng.random_range(0..4)])),
        DataType::Float64 => {
            let nan = rng.random_bool(0.3);
            Arc::new(values!(
                Float64Array,
                match rng.random_range(0..50) {
                    0 if nan => f64::NAN,
                    1 => f64::NEG_INFINITY,
                    2 => -0.0,
                    _ => small(rng) as f64 / 8.0,
                }
            ))
        }
        DataType::Decimal128(p, s) => Arc::new(
            values!(Decimal128Array, i128::from(small(rng)) * if *p > 20 { 10_i128.pow(20) } else { 1 })
                .with_precision_and_scale(*p, *s)
                .unwrap(),
        ),
        DataType::Utf8View => Arc::new(values!(StringViewArray, random_text(rng, spread))),
        DataType::BinaryView => {
            let values: Vec<Option<Vec<u8>>> = (0..rows)
                .map(|_| (!rng.random_bool(null_share)).then(|| random_text(rng, spread).into_bytes()))
                .collect();
            Arc::new(values.iter().map(Option::as_deref).collect::<BinaryViewArray>())
        }
        DataType::Date32 => Arc::new(values!(Date32Array, [19_000, -1, i32::MAX, i32::MIN][rng.random_range(0..4)])),
        DataType::Time64(_) => Arc::new(values!(Time64MicrosecondArray, rng.random_range(0..86_400_000_000))),
        DataType::Timestamp(_, zone) => {
            let extremes = rng.random_bool(0.2);
            let array = values!(
                TimestampMicrosecondArray,
                match rng.random_range(0..30) {
                    0 if extremes => i64::MAX,
                    1 if extremes => i64::MIN,
                    _ => 1_700_000_000_000_000 + small(rng) * 1000,
                }
            );
            Arc::new(array.with_timezone_opt(zone.clone()))
        }
        DataType::Interval(_) => Arc::new(values!(
            IntervalMonthDayNanoArray,
            IntervalMonthDayNano { months: rng.random(), days: rng.random(), nanoseconds: rng.random::<i64>() }
        )),
        DataType::List(item) => {
            let lengths: Vec<usize> = (0..rows).map(|_| rng.random_range(0..4)).collect();
            let values = random_array(rng, item.data_type(), lengths.iter().sum());
            let nulls: NullBuffer = (0..rows).map(|_| !rng.random_bool(null_share)).collect::<Vec<bool>>().into();
            Arc::new(ListArray::new(Arc::clone(item), OffsetBuffer::from_lengths(lengths), values, Some(nulls)))
        }
        other => panic!("no random values of {other}"),
    }
}

fn random_text(rng: &mut StdRng, spread: i64) -> String {
    match rng.random_range(0..40) {
        0 => String::new(),
        1 => "ü\u{10ffff}".repeat(rng.random_range(1..60)),
        2 if spread == 3 => "x".repeat(if rng.random_bool(0.02) { 1_000_000 } else { 100 }),
        _ => format!("text {}", rng.random_range(0..=spread)),
    }
}

/// Every row as text, sorted: equal for equal multisets of rows.
pub(crate) fn sorted_rows(batches: &[RecordBatch]) -> Vec<String> {
    let mut rows = text_rows(batches);
    rows.sort_unstable();
    rows
}

/// Every row as text.
pub(crate) fn text_rows(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL").with_display_error(true);
    let mut rows = vec![];
    for batch in batches {
        // Arrow cannot print dates and times out of the calendar: as integers it can.
        let columns: Vec<ArrayRef> = batch.columns().iter().map(printable).collect();
        let formatters: Vec<_> =
            columns.iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            rows.push(formatters.iter().map(|f| f.value(row).to_string()).collect::<Vec<_>>().join("|"));
        }
    }
    rows
}

fn printable(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Timestamp(_, _) => arrow::compute::cast(array, &DataType::Int64).unwrap(),
        DataType::Date32 => arrow::compute::cast(array, &DataType::Int32).unwrap(),
        _ => Arc::clone(array),
    }
}
