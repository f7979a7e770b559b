//! Random upsert tables, through all that moves rows, against a map that takes the rows as they come.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Int64Type};
use datafusion_common::ScalarValue;
use datafusion_common::stats::Precision;
use datafusion_execution::TaskContext;
use datafusion_expr::Operator;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{BinaryExpr, Column, Literal};
use datafusion_physical_plan::ExecutionPlan;
use datafusion_physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use futures::TryStreamExt;
use rand::Rng;
use rand::rngs::StdRng;

use super::replaced;
use crate::Oid;
use crate::fault::OsFiles;
use crate::record::{Body, Change, NewChunk, TableDef, Write};
use crate::snapshot::Snapshot;
use crate::store::{Durability, Store, StoreOptions};
use crate::table::scan::Scan;
use crate::table::testing::{def_of, rng};
use crate::table::writer::{TableWriter, WriteOptions};
use crate::testing::{PUBLIC, object};

const TABLE: Oid = 20_000;

/// Key → (version, what else is in the row).
type Model = BTreeMap<(i64, String), (Option<i64>, i64)>;

/// A table `k, name` → `version`, `v`.
fn def(rng: &mut StdRng) -> TableDef {
    let columns =
        [("k", DataType::Int64), ("name", DataType::Utf8View), ("version", DataType::Float64), ("v", DataType::Int64)];
    let mut def = def_of(&columns);
    def.primary_key = vec!["k".into()];
    if rng.random_bool(0.5) {
        def.primary_key.push("name".into());
    }
    def.options.upsert = Some("version".into());
    def.options.time_column = [None, Some("v"), Some("k")][rng.random_range(0..3)].map(str::to_owned);
    def.options.sort_key = def.options.time_column.iter().cloned().collect();
    def
}

struct Bed {
    dir: tempfile::TempDir,
    store: Option<Arc<Store>>,
    def: Arc<TableDef>,
    now_us: i64,
    /// Numbers the rows.
    next: i64,
}

impl Bed {
    fn open(&mut self) {
        self.store = None;
        let options = StoreOptions {
            dir: self.dir.path().to_owned(),
            durability: Durability::Os,
            wal_segment_bytes: 1 << 20,
            wal_bytes_max: 1 << 24,
            cache_bytes: 1 << 20,
            file_retention: Duration::from_secs(5),
            repair_wal: false,
        };
        self.store = Some(Store::open(options, Arc::new(OsFiles), self.now_us).unwrap());
    }

    fn store(&self) -> &Arc<Store> {
        self.store.as_ref().unwrap()
    }

    /// Random rows, which the model takes too.
    fn rows(&mut self, rng: &mut StdRng, keys: i64, model: &mut Model) -> RecordBatch {
        let rows = [1, 3, 50, 800][rng.random_range(0..4)];
        let with_name = self.def.primary_key.len() > 1;
        let (mut k, mut name, mut version, mut v) = (vec![], vec![], vec![], vec![]);
        for _ in 0..rows {
            let key = rng.random_range(0..keys);
            let word = if with_name { ["a", "b"][rng.random_range(0..2)] } else { "" };
            let at = (!rng.random_bool(0.05)).then(|| rng.random_range(0..6_i64) + self.next / 500);
            let row = (at, self.next);
            let old = model.entry((key, word.to_owned())).or_insert(row);
            if row.0 >= old.0 {
                *old = row;
            }
            k.push(key);
            name.push(word);
            version.push(at.map(|at| at as f64));
            v.push(self.next);
            self.next += 1;
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(k)),
            Arc::new(StringViewArray::from(name)),
            Arc::new(Float64Array::from(version)),
            Arc::new(Int64Array::from(v)),
        ];
        RecordBatch::try_new(self.def.schema(), columns).unwrap()
    }

    fn insert(&self, batch: RecordBatch, bulk: bool) -> Change {
        let mut write = Write { table: TABLE, data_change: true, ..Write::default() };
        if bulk {
            let (files, dir) = (Arc::clone(self.store().files()), self.store().table_dir(TABLE));
            let mut writer = TableWriter::new(files, &dir, &self.def, WriteOptions::default());
            writer.write(batch).unwrap();
            write.add_files = writer.finish().unwrap();
        } else {
            write.add_chunks = vec![Arc::new(NewChunk { id: self.store().next_chunk_id(), batch })];
        }
        Change::Write(write)
    }

    /// The rows that count in a state, by a scan whose filter, if any, is `v >= bound`.
    async fn read(&self, snapshot: &Arc<Snapshot>, bound: Option<i64>) -> Model {
        let state = snapshot.table(TABLE).unwrap();
        let access = self.store().access(TABLE);
        let found = replaced(&access, state, || self.store().snapshot()).await.unwrap();
        let mut scan = Scan::new(Some(access), state);
        scan.replaced = scan.units.iter().map(|unit| found.of_unit(unit)).collect();
        let filter = bound.map(|bound| -> Arc<dyn PhysicalExpr> {
            let bound = Arc::new(Literal::new(ScalarValue::Int64(Some(bound))));
            Arc::new(BinaryExpr::new(Arc::new(Column::new("v", 3)), Operator::GtEq, bound))
        });
        let filters: Vec<_> = filter.into_iter().collect();
        let plan: Arc<dyn ExecutionPlan> = Arc::new(Arc::new(scan).plan(&[0, 1, 2, 3], &filters, None, 3).unwrap());
        let with_name = self.def.primary_key.len() > 1;
        let (mut model, mut rows) = (Model::new(), 0);
        for partition in 0..plan.properties().partitioning.partition_count() {
            let stream = plan.execute(partition, Arc::new(TaskContext::default())).unwrap();
            for batch in stream.try_collect::<Vec<_>>().await.unwrap() {
                for row in 0..batch.num_rows() {
                    let name = if with_name { batch.column(1).as_string_view().value(row) } else { "" };
                    let version = batch.column(2).as_primitive::<arrow::datatypes::Float64Type>();
                    let version = version.is_valid(row).then(|| version.value(row) as i64);
                    let int = |column| batch.column(column).as_primitive::<Int64Type>().value(row);
                    let before = model.insert((int(0), name.to_owned()), (version, int(3)));
                    assert!(before.is_none(), "two rows of the key {} {name}", int(0));
                    rows += 1;
                }
            }
        }
        let statistics = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new()).unwrap();
        if bound.is_none() {
            assert_eq!(statistics.num_rows, Precision::Exact(rows));
        }
        for (column, of) in [(0, 0), (3, 1)] {
            let values = model.iter().map(|(key, row)| if of == 0 { key.0 } else { row.1 });
            if let Precision::Exact(min) = &statistics.column_statistics[column].min_value {
                assert_eq!(*min, ScalarValue::Int64(values.min()));
            }
        }
        model
    }
}

async fn check(seed_rng: &mut StdRng, steps: usize) {
    let rng = seed_rng;
    let keys = [3, 100, 3000][rng.random_range(0..3)];
    let dir = tempfile::tempdir().unwrap();
    let mut bed = Bed { dir, store: None, def: Arc::new(def(rng)), now_us: 1_700_000_000_000_000, next: 0 };
    bed.open();
    let table = object(TABLE, PUBLIC, "t", 1, Body::Table(Arc::clone(&bed.def)));
    bed.store().commit(vec![Change::Put(table)]).await.unwrap();
    let mut model = Model::new();
    // An older state somebody still reads.
    let mut old: Option<(Arc<Snapshot>, Model)> = None;
    for step in 0..steps {
        bed.now_us += 1_000_000;
        match rng.random_range(0..20) {
            0..=9 => {
                let count = rng.random_range(1..3);
                let mut changes = vec![];
                for _ in 0..count {
                    let batch = bed.rows(rng, keys, &mut model);
                    // In one transaction the order of files and chunks is lost: one kind of them.
                    changes.push(bed.insert(batch, false));
                }
                bed.store().commit(changes).await.unwrap();
            }
            10 | 11 => {
                let batch = bed.rows(rng, keys, &mut model);
                let change = bed.insert(batch, true);
                bed.store().commit(vec![change]).await.unwrap();
            }
            12..=14 => in_background(&bed, |store, now| store.flush(TABLE, now)).await,
            15 | 16 => {
                let full = rng.random_bool(0.5);
                in_background(&bed, move |store, now| store.compact(TABLE, full, now)).await;
                if full {
                    let snapshot = bed.store().snapshot();
                    let state = snapshot.table(TABLE).unwrap();
                    let hot: usize = state.hot_rows();
                    if hot == 0 {
                        assert_eq!(state.files.rows(), model.len() as u64, "step {step}: replaced rows in files");
                    }
                }
            }
            17 => bed.open(),
            18 => old = Some((bed.store().snapshot(), model.clone())),
            _ => {
                // What a transaction sees of its own rows is no one else's.
                let mut private = model.clone();
                let next = bed.next;
                let batch = bed.rows(rng, keys, &mut private);
                let change = bed.insert(batch, false);
                let snapshot = bed.store().snapshot();
                let view = Arc::new(snapshot.apply(&[change], snapshot.lsn).unwrap());
                assert_eq!(bed.read(&view, None).await, private, "step {step}: in a transaction");
                bed.next = next;
            }
        }
        if rng.random_bool(0.5) {
            let bound = rng.random_bool(0.3).then(|| rng.random_range(0..=bed.next));
            let mut wanted = model.clone();
            wanted.retain(|_, row| bound.is_none_or(|bound| row.1 >= bound));
            assert_eq!(bed.read(&bed.store().snapshot(), bound).await, wanted, "step {step}, v >= {bound:?}");
        }
        if let Some((snapshot, wanted)) = &old
            && rng.random_bool(0.2)
        {
            assert_eq!(bed.read(snapshot, None).await, *wanted, "step {step}: an older state");
        }
    }
    assert_eq!(bed.read(&bed.store().snapshot(), None).await, model);
}

async fn in_background(bed: &Bed, work: impl FnOnce(&Store, i64) -> crate::Result<()> + Send + 'static) {
    let (store, now) = (Arc::clone(bed.store()), bed.now_us);
    tokio::task::spawn_blocking(move || work(&store, now)).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_random_table_keeps_the_latest_rows() {
    let mut rng = rng();
    for _ in 0..8 {
        check(&mut rng, 60).await;
    }
}
