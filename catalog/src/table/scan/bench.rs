//! Measurements: `cargo test --release -p tidemill-catalog --lib -- --ignored --nocapture scan::bench`.

use std::time::Instant;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, TimeUnit};
use datafusion_common::ScalarValue;
use datafusion_execution::TaskContext;
use datafusion_expr::Operator;
use datafusion_physical_expr::expressions::{binary, col, lit};
use datafusion_physical_plan::collect_partitioned;
use rand::{Rng, SeedableRng};

use super::*;
use crate::table::cache::ColumnCache;
use crate::table::compact;
use crate::table::file::FileIndex;
use crate::table::testing::{Folder, def_of};
use crate::table::writer::{Compression, WriteOptions};

/// Rows, unless `ROWS` says otherwise.
const ROWS: i64 = 10_000_000;
const HOSTS: i64 = 1000;

/// Rows like the benchmark's: 1,000 hosts, each every 10 s, five random walks of two decimals.
fn batches(schema: &SchemaRef) -> Vec<RecordBatch> {
    let mut rng = rand::rngs::StdRng::seed_from_u64(1);
    let mut walks = vec![[50.0_f64; 5]; HOSTS as usize];
    let mut batches = vec![];
    let all = std::env::var("ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(ROWS);
    for start in (0..all).step_by(100_000) {
        let rows = start..start + 100_000;
        let times = TimestampMicrosecondArray::from_iter_values(rows.clone().map(|row| row / HOSTS * 10_000_000));
        let times = times.with_timezone("UTC");
        let hosts = StringViewArray::from_iter_values(rows.clone().map(|row| format!("host_{}", row % HOSTS)));
        let regions =
            StringViewArray::from_iter_values(rows.clone().map(|row| format!("eu-central-{}", row % HOSTS % 9)));
        let mut values: [Vec<f64>; 5] = Default::default();
        for row in rows {
            for (value, out) in walks[(row % HOSTS) as usize].iter_mut().zip(&mut values) {
                *value = (*value + rng.random_range(-1.0..1.0)).clamp(0.0, 100.0);
                out.push((*value * 100.0).round() / 100.0);
            }
        }
        let mut columns: Vec<ArrayRef> = vec![Arc::new(times), Arc::new(hosts), Arc::new(regions)];
        columns.extend(values.into_iter().map(|values| Arc::new(Float64Array::from(values)) as ArrayRef));
        batches.push(RecordBatch::try_new(Arc::clone(schema), columns).unwrap());
    }
    batches
}

#[test]
#[ignore = "a measurement"]
#[expect(clippy::print_stderr, reason = "a measurement")]
fn scan_speed() {
    let tz = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let mut columns = vec![("ts", tz), ("hostname", DataType::Utf8View), ("region", DataType::Utf8View)];
    columns.extend(["u1", "u2", "u3", "u4", "u5"].map(|name| (name, DataType::Float64)));
    let mut def = def_of(&columns);
    def.options.time_column = Some("ts".into());
    if std::env::var_os("SORT_HOST").is_some() {
        def.options.sort_key = vec!["hostname".into(), "ts".into()];
    }
    let (folder, def) = (Folder::new(), Arc::new(def));
    let batches = batches(&def.schema());
    for compression in [Compression::Fast, Compression::Small] {
        let start = Instant::now();
        let entries = folder.write(&def, &batches, WriteOptions { compression, ..WriteOptions::default() });
        let bytes: u64 = entries.iter().map(|entry| entry.bytes).sum();
        eprintln!("write {compression:?}: {:?}, {} files, {} MB", start.elapsed(), entries.len(), bytes >> 20);
        measure(&folder, &def, &entries, 2);
        if compression == Compression::Fast {
            let start = Instant::now();
            let merged = compact::merge(&folder.files, &folder.dir, &def, &entries, 0).unwrap();
            let bytes: u64 = merged.iter().map(|entry| entry.bytes).sum();
            eprintln!("compact: {:?}, {} files, {} MB", start.elapsed(), merged.len(), bytes >> 20);
            measure(&folder, &def, &merged, 2);
        }
    }
}

#[expect(clippy::print_stderr, reason = "a measurement")]
fn measure(folder: &Folder, def: &Arc<crate::record::TableDef>, entries: &[Arc<FileEntry>], partitions: usize) {
    let mut state = TableState::new(1, Arc::clone(def), 0);
    state.files = Arc::new(FileIndex::new(entries.to_vec()));
    let state = Arc::new(state);
    let cache = Arc::new(ColumnCache::new(2 << 30));
    let schema = def.schema();
    let column = |name: &str| col(name, &schema).unwrap();
    let time = |seconds: i64| lit(ScalarValue::TimestampMicrosecond(Some(seconds * 1_000_000), Some("UTC".into())));
    let between = |from: i64, to: i64| {
        vec![
            binary(column("ts"), Operator::GtEq, time(from), &schema).unwrap(),
            binary(column("ts"), Operator::Lt, time(to), &schema).unwrap(),
        ]
    };
    let over = binary(column("u1"), Operator::Gt, lit(85.0), &schema).unwrap();
    let host =
        binary(column("hostname"), Operator::Eq, lit(ScalarValue::Utf8View(Some("host_77".into()))), &schema).unwrap();
    let cases = [
        ("host, u1", vec![1, 3], vec![]),
        ("host, u1 over 12 h", vec![1, 3], between(20_000, 63_200)),
        ("count u1 > 85 over 12 h", vec![], [between(20_000, 63_200), vec![over]].concat()),
        ("ts, u1 of one host over 1 h", vec![0, 3], [between(20_000, 23_600), vec![host]].concat()),
        ("all columns", (0..8).collect(), vec![]),
    ];
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for (name, projection, filters) in cases {
        let mut times = vec![];
        let mut rows = 0;
        for _ in 0..5 {
            let access =
                FileAccess { files: Arc::clone(&folder.files), dir: folder.dir.clone(), cache: Arc::clone(&cache) };
            let start = Instant::now();
            let plan = Scan::new(Some(access), &state);
            let plan = Arc::new(Arc::new(plan).plan(&projection, &filters, None, partitions).unwrap());
            let out = runtime.block_on(collect_partitioned(plan, Arc::new(TaskContext::default()))).unwrap();
            times.push(format!("{:.1}", start.elapsed().as_secs_f64() * 1000.0));
            rows = out.iter().flatten().map(RecordBatch::num_rows).sum();
        }
        eprintln!("  {name}: {rows} rows, ms {}", times.join(" "));
    }
    eprintln!("  {:?}", cache.status());
}
