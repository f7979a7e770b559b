//! A scan returns what a naive reading of all rows returns, whatever is pruned, cached, ordered or hot.

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::{SortOptions, filter_record_batch, prep_null_mask_filter};
use arrow::datatypes::{Int32Type, Int64Type, TimeUnit};
use datafusion_common::stats::Precision;
use datafusion_common::{ColumnStatistics, ScalarValue};
use datafusion_execution::TaskContext;
use datafusion_expr::Operator;
use datafusion_physical_expr::PhysicalSortExpr;
use datafusion_physical_expr::expressions::{DynamicFilterPhysicalExpr, binary, col, in_list, is_null, lit};
use datafusion_physical_plan::filter_pushdown::{ChildFilterPushdownResult, ChildPushdownResult, FilterPushdownPhase};
use datafusion_physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion_physical_plan::{SortOrderPushdownResult, collect_partitioned};
use rand::Rng;
use rand::rngs::StdRng;

use super::*;
use crate::record::TableDef;
use crate::table::cache::ColumnCache;
use crate::table::file::FileIndex;
use crate::table::testing::{Folder, def_of, every_type, random_batch, rng, sorted_rows, text_rows};
use crate::table::writer::{WriteOptions, is_sorted, not_after};

/// A table with files and hot chunks.
struct Table {
    folder: Folder,
    def: Arc<TableDef>,
    cache: Arc<ColumnCache>,
    state: Arc<TableState>,
    units: std::sync::OnceLock<Vec<RecordBatch>>,
}

impl Table {
    fn new(def: TableDef, files: Vec<RecordBatch>, chunks: Vec<RecordBatch>) -> Self {
        let (folder, def) = (Folder::new(), Arc::new(def));
        let entries = (1..).zip(&files).flat_map(|(lsn, batch)| {
            let options = WriteOptions { lsn_min: lsn, lsn_max: lsn, ..WriteOptions::default() };
            folder.write(&def, std::slice::from_ref(batch), options)
        });
        let mut state = TableState::new(7, Arc::clone(&def), 0);
        state.files = Arc::new(FileIndex::new(entries.collect()));
        let hot = |(id, batch): (u64, &RecordBatch)| {
            let batch = crate::table::adapt::to_physical_names(batch, &def).unwrap();
            Arc::new(HotChunk::new(id, batch, 1000 + id, 0))
        };
        state.chunks = (1..).zip(&chunks).map(hot).collect();
        Self {
            folder,
            def,
            cache: Arc::new(ColumnCache::new(64 << 20)),
            state: Arc::new(state),
            units: Default::default(),
        }
    }

    fn scan(&self) -> Arc<Scan> {
        let access = FileAccess {
            files: Arc::clone(&self.folder.files),
            dir: self.folder.dir.clone(),
            cache: Arc::clone(&self.cache),
        };
        Arc::new(Scan::new(Some(access), &self.state))
    }

    fn plan(&self, projection: &[usize], filters: &[Arc<dyn PhysicalExpr>]) -> Arc<dyn ExecutionPlan> {
        Arc::new(self.scan().plan(projection, filters, None, 3).unwrap())
    }

    /// All rows, in unit order, one batch per unit.
    fn units(&self) -> &[RecordBatch] {
        self.units.get_or_init(|| self.read_units())
    }

    fn read_units(&self) -> Vec<RecordBatch> {
        let read = |unit: &Unit| {
            let batches =
                crate::table::rewrite::read_unit(&self.folder.files, &self.folder.dir, &self.def, unit).unwrap();
            let batches: Vec<_> = batches.map(crate::Result::unwrap).collect();
            arrow::compute::concat_batches(&self.state.schema, &batches).unwrap()
        };
        self.scan().units.iter().map(read).collect()
    }

    fn naive(&self, projection: &[usize], filters: &[Arc<dyn PhysicalExpr>]) -> Vec<RecordBatch> {
        let mut batches = vec![];
        for batch in self.units() {
            let mut batch = batch.clone();
            for filter in filters {
                let mask = filter.evaluate(&batch).unwrap().into_array(batch.num_rows()).unwrap();
                let mask = mask.as_boolean();
                let mask = if mask.null_count() > 0 { prep_null_mask_filter(mask) } else { mask.clone() };
                batch = filter_record_batch(&batch, &mask).unwrap();
            }
            batches.push(batch.project(projection).unwrap());
        }
        batches
    }
}

fn run_partitions(plan: Arc<dyn ExecutionPlan>) -> Vec<Vec<RecordBatch>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(collect_partitioned(plan, Arc::new(TaskContext::default()))).unwrap()
}

fn run(plan: Arc<dyn ExecutionPlan>) -> Vec<RecordBatch> {
    run_partitions(plan).into_iter().flatten().collect()
}

/// A table of random rows: files of several row groups, small files, hot chunks, partitions.
fn random_table(rng: &mut StdRng) -> Table {
    let mut def = def_of(&every_type());
    if rng.random_bool(0.7) {
        def.options.time_column = Some("ts".into());
    }
    if rng.random_bool(0.3) {
        def.options.partition_by = vec!["b".into()];
    }
    let mut batches = |count: usize, most: usize| -> Vec<RecordBatch> {
        (0..count)
            .map(|_| {
                let rows = rng.random_range(1..most);
                random_batch(rng, &def, rows)
            })
            .collect()
    };
    let (mut files, chunks) = (batches(3, 5_000), batches(2, 10_000));
    files.extend(batches(1, 60_000));
    Table::new(def, files, chunks)
}

/// A random condition on some column, with a constant that occurs in it or not.
fn random_filter(rng: &mut StdRng, table: &Table) -> Arc<dyn PhysicalExpr> {
    let schema = &table.state.schema;
    let columns: Vec<usize> = (0..schema.fields().len())
        .filter(|&index| crate::table::value::has_order(schema.field(index).data_type()))
        .collect();
    let index = columns[rng.random_range(0..columns.len())];
    let column = col(schema.field(index).name(), schema).unwrap();
    let units = table.units();
    let mut constant = || {
        let batch = &units[rng.random_range(0..units.len())];
        ScalarValue::try_from_array(batch.column(index), rng.random_range(0..batch.num_rows())).unwrap()
    };
    let (value, other) = (constant(), constant());
    let operators = [Operator::Eq, Operator::NotEq, Operator::Lt, Operator::LtEq, Operator::Gt, Operator::GtEq];
    match rng.random_range(0..10) {
        0 => is_null(column).unwrap(),
        1 => in_list(column, vec![lit(value), lit(other)], &rng.random_bool(0.3), schema).unwrap(),
        2 => {
            let low = binary(Arc::clone(&column), Operator::Lt, lit(value), schema).unwrap();
            let high = binary(column, Operator::Gt, lit(other), schema).unwrap();
            binary(low, Operator::Or, high, schema).unwrap()
        }
        _ => binary(column, operators[rng.random_range(0..6)], lit(value), schema).unwrap(),
    }
}

#[test]
fn pruning_and_caching_lose_no_row() {
    let mut rng = rng();
    for _ in 0..4 {
        let table = random_table(&mut rng);
        let width = table.def.columns.len();
        for _ in 0..12 {
            let filters: Vec<_> = (0..rng.random_range(0..3)).map(|_| random_filter(&mut rng, &table)).collect();
            let projection: Vec<usize> = (0..width).filter(|_| rng.random_bool(0.15)).collect();
            let plan = table.plan(&projection, &filters);
            let expected = sorted_rows(&table.naive(&projection, &filters));
            assert_eq!(sorted_rows(&run(Arc::clone(&plan))), expected, "{filters:?}");
            assert_eq!(sorted_rows(&run(plan)), expected, "a second run of the same plan");
        }
        assert!(table.cache.status().hits > 0);
    }
}

#[test]
fn locators_find_the_rows() {
    let mut rng = rng();
    let table = random_table(&mut rng);
    let width = table.def.columns.len();
    let units = table.units();
    for _ in 0..10 {
        let filter = random_filter(&mut rng, &table);
        let projection: Vec<usize> = (0..width + 2).collect();
        let mut found = 0;
        for batch in run(table.plan(&projection, &[Arc::clone(&filter)])) {
            assert_eq!(batch.schema().field(width).name(), UNIT_COLUMN);
            let unit = batch.column(width).as_primitive::<Int32Type>();
            let row = batch.column(width + 1).as_primitive::<Int64Type>();
            let own = batch.project(&(0..width).collect::<Vec<_>>()).unwrap();
            for at in (0..batch.num_rows()).step_by(97) {
                let there = units[unit.value(at) as usize].slice(row.value(at) as usize, 1);
                assert_eq!(text_rows(&[there]), text_rows(&[own.slice(at, 1)]));
            }
            found += batch.num_rows();
        }
        let all: Vec<usize> = (0..width).collect();
        assert_eq!(found, table.naive(&all, &[filter]).iter().map(RecordBatch::num_rows).sum::<usize>());
    }
}

#[test]
fn statistics_are_exact_or_say_that_they_are_not() {
    let mut rng = rng();
    for _ in 0..3 {
        let table = random_table(&mut rng);
        let all: Vec<usize> = (0..table.def.columns.len()).collect();
        let statistics =
            StatisticsContext::new().compute(table.plan(&all, &[]).as_ref(), &StatisticsArgs::new()).unwrap();
        let units = table.units();
        let rows: usize = units.iter().map(RecordBatch::num_rows).sum();
        assert_eq!(statistics.num_rows, Precision::Exact(rows));
        for (index, column) in statistics.column_statistics.iter().enumerate() {
            check_column(column, units, index);
        }
        let filtered = table.plan(&all, &[random_filter(&mut rng, &table)]);
        let statistics = StatisticsContext::new().compute(filtered.as_ref(), &StatisticsArgs::new()).unwrap();
        assert!(!matches!(statistics.num_rows, Precision::Exact(_)));
        assert!(statistics.column_statistics.iter().all(|column| !matches!(column.min_value, Precision::Exact(_))));
    }
}

fn check_column(statistics: &ColumnStatistics, units: &[RecordBatch], index: usize) {
    let nulls: usize = units.iter().map(|batch| batch.column(index).null_count()).sum();
    assert_eq!(statistics.null_count, Precision::Exact(nulls));
    let values = units.iter().flat_map(|batch| {
        let column = batch.column(index);
        (0..column.len())
            .filter(|&row| column.is_valid(row))
            .map(|row| ScalarValue::try_from_array(column, row).unwrap())
    });
    let values: Vec<ScalarValue> = values.collect();
    if let Precision::Exact(min) = &statistics.min_value {
        assert_eq!(Some(min), values.iter().min_by(|a, b| a.partial_cmp(b).unwrap()));
    }
    if let Precision::Exact(max) = &statistics.max_value {
        assert_eq!(Some(max), values.iter().max_by(|a, b| a.partial_cmp(b).unwrap()));
    }
}

/// Files and chunks with ascending times, `step` apart, from `starts`.
fn timed_table(file_starts: &[i64], chunk_starts: &[i64], rows: i64, step: i64) -> Table {
    let mut def = def_of(&[("ts", DataType::Timestamp(TimeUnit::Microsecond, None)), ("id", DataType::Int64)]);
    def.options.time_column = Some("ts".into());
    let schema = def.schema();
    let batch = |&start: &i64| {
        let times = TimestampMicrosecondArray::from_iter_values((0..rows).map(|row| start + row * step));
        let ids = Int64Array::from_iter_values(start..start + rows);
        let columns: Vec<ArrayRef> = vec![Arc::new(times), Arc::new(ids)];
        RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()
    };
    Table::new(def, file_starts.iter().map(batch).collect(), chunk_starts.iter().map(batch).collect())
}

fn by_time(plan: &Arc<dyn ExecutionPlan>, descending: bool) -> SortOrderPushdownResult<Arc<dyn ExecutionPlan>> {
    let options = SortOptions { descending, nulls_first: descending };
    plan.try_pushdown_sort(&[PhysicalSortExpr { expr: col("ts", &plan.schema()).unwrap(), options }]).unwrap()
}

#[test]
fn rows_come_in_time_order_where_nothing_overlaps() {
    for (files, chunks, exact) in [
        (vec![0, 300_000, 150_000], vec![500_000, 700_000], true),
        (vec![0, 149_999, 300_000], vec![], true),
        (vec![0, 149_998], vec![], false),
        (vec![0, 300_000], vec![100_000], false),
    ] {
        let table = timed_table(&files, &chunks, 150_000, 1);
        let plan = table.plan(&[0, 1], &[]);
        for descending in [false, true] {
            let SortOrderPushdownResult::Exact { inner } = by_time(&plan, descending) else {
                assert!(!exact, "{files:?} {chunks:?}");
                continue;
            };
            assert!(exact, "{files:?} {chunks:?}");
            let mut rows = 0;
            for partition in run_partitions(inner) {
                let mut before = None;
                for batch in &partition {
                    rows += batch.num_rows();
                    let time = vec![if descending { reversed(batch.column(0)) } else { Arc::clone(batch.column(0)) }];
                    assert!(is_sorted(&time).unwrap());
                    if let Some(before) = before.replace(time.clone()) {
                        assert!(
                            if descending { not_after(&time, &before) } else { not_after(&before, &time) }.unwrap()
                        );
                    }
                }
            }
            assert_eq!(rows, 150_000 * (files.len() + chunks.len()));
        }
    }
}

#[test]
fn rows_of_one_bucket_are_in_one_range() {
    let table = timed_table(&[0, 300_000, 150_000], &[450_000, 600_000], 150_000, 1);
    let schema =
        TableProvider::schema(&SnapshotTable { store: None, state: Arc::clone(&table.state), locators: false });
    let time = col("ts", &schema).unwrap();
    let after =
        binary(time, Operator::GtEq, lit(ScalarValue::TimestampMicrosecond(Some(200_003), None)), &schema).unwrap();
    for (filters, width, expected) in [(vec![], 7_000, 750_000), (vec![Arc::clone(&after)], 7_000, 549_997)] {
        let plan = table.scan().plan(&[1, 0], &filters, None, 3).unwrap();
        let scan = plan.in_ranges(1, &|at| Some(at.div_euclid(width) * width)).unwrap().expect("it has the order");
        let (mut rows, mut last) = (0, i64::MIN);
        let partitions = run_partitions(Arc::new(scan));
        assert_eq!(partitions.len(), 3);
        for partition in partitions {
            let bucket_before = if last == i64::MIN { last } else { last.div_euclid(width) };
            let mut share = 0;
            for batch in partition {
                share += batch.num_rows();
                for value in batch.column(1).as_primitive::<arrow::datatypes::TimestampMicrosecondType>().values() {
                    assert!(*value >= last && value.div_euclid(width) > bucket_before);
                    last = *value;
                }
            }
            assert!(share > 150_000, "{share}");
            rows += share;
        }
        assert_eq!(rows, expected);
    }
    let plan = table.scan().plan(&[1, 0], &[], None, 3).unwrap();
    assert!(plan.in_ranges(1, &|_| Some(0)).unwrap().is_none(), "one bucket cannot be shared");
    assert!(plan.in_ranges(0, &Some).unwrap().is_none(), "no order");
    let overlapping = timed_table(&[0, 149_998], &[], 150_000, 1);
    assert!(overlapping.scan().plan(&[0], &[], None, 3).unwrap().in_ranges(0, &Some).unwrap().is_none());
}

fn reversed(array: &ArrayRef) -> ArrayRef {
    let backwards = arrow::array::UInt64Array::from_iter_values((0..array.len() as u64).rev());
    arrow::compute::take(array, &backwards, None).unwrap()
}

#[test]
fn a_dynamic_filter_rules_out_pieces_while_the_query_runs() {
    let table = timed_table(&(0..40).map(|file| file * 1000).collect::<Vec<_>>(), &[50_000], 1000, 2);
    let plan: Arc<dyn ExecutionPlan> = Arc::new(table.scan().plan(&[1, 0], &[], None, 1).unwrap());
    let SortOrderPushdownResult::Inexact { inner } = by_time(&plan, true) else { panic!("files overlap") };
    let schema = inner.schema();
    let time = col("ts", &schema).unwrap();
    let dynamic = Arc::new(DynamicFilterPhysicalExpr::new(vec![Arc::clone(&time)], lit(true)));
    let pushed = ChildPushdownResult {
        parent_filters: vec![ChildFilterPushdownResult { filter: Arc::clone(&dynamic) as _, child_results: vec![] }],
        self_filters: vec![],
    };
    let inner = inner.handle_child_pushdown_result(FilterPushdownPhase::Post, pushed, &Default::default()).unwrap();
    let plan = inner.updated_node.expect("the scan takes the filter");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let rows = runtime.block_on(async {
        use futures::StreamExt;
        let mut stream = plan.execute(0, Arc::new(TaskContext::default())).unwrap();
        let first = stream.next().await.unwrap().unwrap();
        // The newest piece comes first: the hot chunk.
        assert_eq!(first.column(0).as_primitive::<Int64Type>().value(0), 50_000);
        let bound = lit(ScalarValue::TimestampMicrosecond(Some(40_000), None));
        dynamic.update(binary(time, Operator::Gt, bound, &schema).unwrap()).unwrap();
        let mut rows = 0;
        while let Some(batch) = stream.next().await {
            rows += batch.unwrap().num_rows();
        }
        rows
    });
    assert_eq!(rows, 1000, "the one file that ends after 40,000");
}

#[test]
fn limits_stop_the_scan() {
    let table = timed_table(&[0, 1000, 2000], &[3000], 1000, 1);
    for (limit, expected) in [(0, 0), (10, 10), (1500, 1500), (9000, 4000)] {
        let plan = Arc::new(table.scan().plan(&[0], &[], Some(limit), 1).unwrap());
        assert_eq!(run(plan).iter().map(RecordBatch::num_rows).sum::<usize>(), expected);
    }
}

#[test]
fn younger_columns_have_their_missing_value_in_older_rows() {
    let table = timed_table(&[0], &[10], 5, 1);
    let mut def = table.def.as_ref().clone();
    let mut late = crate::testing::column(3, "late", DataType::Int64);
    late.missing_value = Some("42".into());
    def.columns.push(late);
    def.columns.push(crate::testing::column(4, "later", DataType::Utf8View));
    def.columns[1].name = "renamed".into();
    let def = Arc::new(def);
    let mut state = TableState::new(7, Arc::clone(&def), 0);
    state.files = Arc::clone(&table.state.files);
    state.chunks = table.state.chunks.clone();
    let table = Table { def, state: Arc::new(state), units: Default::default(), ..table };
    let schema = &table.state.schema;
    let rows = text_rows(&run(table.plan(&[1, 2, 3], &[])));
    assert_eq!(rows.len(), 10);
    assert!(rows.iter().all(|row| row.ends_with("|42|NULL")), "{rows:?}");
    let filter = |value: i64| binary(col("late", schema).unwrap(), Operator::Eq, lit(value), schema).unwrap();
    assert_eq!(text_rows(&run(table.plan(&[2], &[filter(42)]))).len(), 10);
    assert_eq!(text_rows(&run(table.plan(&[2], &[filter(41)]))).len(), 0);
    let none = is_null(col("later", schema).unwrap()).unwrap();
    assert_eq!(text_rows(&run(table.plan(&[0], &[none]))).len(), 10);
}

#[test]
fn later_conditions_see_only_rows_that_passed() {
    let table = timed_table(&[0], &[100], 50, 1);
    let schema = &table.state.schema;
    let id = || col("id", schema).unwrap();
    let not_zero = binary(id(), Operator::NotEq, lit(0_i64), schema).unwrap();
    let divided = binary(lit(1000_i64), Operator::Divide, id(), schema).unwrap();
    let positive = binary(divided, Operator::Gt, lit(10_i64), schema).unwrap();
    // 1000 / id fails for id 0, which the first condition excludes.
    let rows = text_rows(&run(table.plan(&[1], &[not_zero, positive])));
    assert_eq!(rows.len(), 49);
}

#[test]
fn counting_needs_no_column() {
    let table = timed_table(&[0, 1000], &[2000], 1000, 1);
    let schema = &table.state.schema;
    let filter = binary(col("id", schema).unwrap(), Operator::GtEq, lit(500_i64), schema).unwrap();
    let count = |filters: &[_]| run(table.plan(&[], filters)).iter().map(RecordBatch::num_rows).sum::<usize>();
    assert_eq!((count(&[]), count(&[filter])), (3000, 2500));
}
