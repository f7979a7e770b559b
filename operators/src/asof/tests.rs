//! The join against a nested loop over random rows, and what random rows do not reach.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Float64Array, Int16Array, Int32Array, Int64Array, RecordBatch,
    StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use datafusion_common::{DataFusionError, JoinType, Result};
use datafusion_execution::TaskContext;
use datafusion_execution::config::SessionConfig;
use datafusion_execution::runtime_env::RuntimeEnvBuilder;
use datafusion_physical_expr::expressions::col;
use datafusion_physical_plan::test::TestMemoryExec;
use datafusion_physical_plan::{ExecutionPlan, collect, displayable};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::{AsofJoinExec, AsofOp};

const OPS: [AsofOp; 5] = [AsofOp::GtEq, AsofOp::Gt, AsofOp::LtEq, AsofOp::Lt, AsofOp::Nearest];

/// A row of either side: `id` is its place in the input.
#[derive(Debug, Clone)]
struct Row {
    keys: Vec<Option<i64>>,
    time: Option<i64>,
    id: i64,
}

#[derive(Debug, Clone)]
struct Case {
    keys: Vec<DataType>,
    time: DataType,
    op: AsofOp,
    tolerance: Option<i64>,
    join_type: JoinType,
    left_batch: usize,
    right_batch: usize,
    batch_size: usize,
    partitions: usize,
}

fn micros() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn array(data_type: &DataType, values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    match data_type {
        DataType::Int16 => Arc::new(values.map(|v| v.map(|v| v as i16)).collect::<Int16Array>()),
        DataType::Int32 => Arc::new(values.map(|v| v.map(|v| v as i32)).collect::<Int32Array>()),
        DataType::Int64 => Arc::new(values.collect::<Int64Array>()),
        DataType::Date32 => Arc::new(values.map(|v| v.map(|v| v as i32)).collect::<Date32Array>()),
        // A quarter each: `units` knows.
        DataType::Float64 => Arc::new(values.map(|v| v.map(|v| v as f64 / 4.0)).collect::<Float64Array>()),
        DataType::Timestamp(_, _) => Arc::new(values.collect::<TimestampMicrosecondArray>().with_timezone("UTC")),
        _ => Arc::new(values.map(|v| v.map(text)).collect::<StringViewArray>()),
    }
}

/// Short and long texts.
fn text(value: i64) -> String {
    if value % 2 == 0 { format!("k{value}") } else { format!("a text that is longer than a view: {value}") }
}

fn batches(case: &Case, rows: &[Row], size: usize) -> (SchemaRef, Vec<RecordBatch>) {
    let mut fields: Vec<Field> =
        case.keys.iter().enumerate().map(|(at, key)| Field::new(format!("k{at}"), key.clone(), true)).collect();
    fields.push(Field::new("time", case.time.clone(), true));
    fields.push(Field::new("id", DataType::Int64, false));
    fields.push(Field::new("name", DataType::Utf8View, false));
    let schema = Arc::new(Schema::new(fields));
    let batch = |rows: &[Row]| {
        let mut columns: Vec<ArrayRef> =
            case.keys.iter().enumerate().map(|(at, key)| array(key, rows.iter().map(|row| row.keys[at]))).collect();
        columns.push(array(&case.time, rows.iter().map(|row| row.time)));
        columns.push(array(&DataType::Int64, rows.iter().map(|row| Some(row.id))));
        columns.push(array(&DataType::Utf8View, rows.iter().map(|row| Some(row.id))));
        RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()
    };
    (Arc::clone(&schema), rows.chunks(size).map(batch).collect())
}

/// The rows by partition: rows with the same key are together.
fn source(case: &Case, rows: &[Row], size: usize) -> Arc<dyn ExecutionPlan> {
    let of_partition = |partition: usize| -> Vec<Row> {
        let place = |row: &Row| row.keys.iter().flatten().sum::<i64>() as usize % case.partitions;
        rows.iter().filter(|row| place(row) == partition).cloned().collect()
    };
    let partitions: Vec<_> = (0..case.partitions).map(|at| batches(case, &of_partition(at), size).1).collect();
    TestMemoryExec::try_new_exec(&partitions, batches(case, &[], size).0, None).unwrap()
}

fn join(case: &Case, left: &[Row], right: &[Row]) -> Result<AsofJoinExec> {
    let left = source(case, left, case.left_batch);
    let right = source(case, right, case.right_batch);
    let both = |name: &str| (col(name, &left.schema()).unwrap(), col(name, &right.schema()).unwrap());
    let on = (0..case.keys.len()).map(|at| both(&format!("k{at}"))).collect();
    let (l, r) = both("time");
    AsofJoinExec::try_new(left, right, on, (l, r, case.op), case.tolerance, case.join_type)
}

fn context(batch_size: usize, memory: Option<usize>) -> Arc<TaskContext> {
    let mut runtime = RuntimeEnvBuilder::new();
    if let Some(bytes) = memory {
        runtime = runtime.with_memory_limit(bytes, 1.0);
    }
    let config = SessionConfig::new().with_batch_size(batch_size);
    Arc::new(TaskContext::default().with_session_config(config).with_runtime(runtime.build_arc().unwrap()))
}

async fn run(plan: AsofJoinExec, batch_size: usize) -> Vec<RecordBatch> {
    collect(Arc::new(plan), context(batch_size, None)).await.unwrap()
}

/// The ids of the joined rows. What else is in the row must belong to them.
fn ids(case: &Case, batches: &[RecordBatch]) -> Vec<(i64, Option<i64>)> {
    let mut pairs = vec![];
    for batch in batches {
        let side = case.keys.len() + 3;
        let id = |at: usize| batch.column(side * at + side - 2).as_primitive::<Int64Type>();
        let name = |at: usize| batch.column(side * at + side - 1).as_string_view();
        for row in 0..batch.num_rows() {
            let right = id(1).is_valid(row).then(|| id(1).value(row));
            assert_eq!(name(0).value(row), text(id(0).value(row)));
            assert_eq!(name(1).is_valid(row).then(|| name(1).value(row).to_owned()), right.map(text));
            pairs.push((id(0).value(row), right));
        }
    }
    pairs
}

/// The nested loop.
fn expected(case: &Case, left: &[Row], right: &[Row]) -> Vec<(i64, Option<i64>)> {
    let units = if case.time == DataType::Float64 { 4 } else { 1 };
    let mut pairs = vec![];
    for l in left {
        let mut best: Option<(&Row, (i64, bool))> = None;
        for r in right {
            let keys_match = l.keys.iter().zip(&r.keys).all(|(l, r)| l.is_some() && l == r);
            let (true, Some(lt), Some(rt)) = (keys_match, l.time, r.time) else { continue };
            let meets = match case.op {
                AsofOp::GtEq => lt >= rt,
                AsofOp::Gt => lt > rt,
                AsofOp::LtEq => lt <= rt,
                AsofOp::Lt => lt < rt,
                AsofOp::Nearest => true,
            };
            if !meets || case.tolerance.is_some_and(|tolerance| (lt - rt).abs() > tolerance * units) {
                continue;
            }
            let rank = ((lt - rt).abs(), rt > lt);
            if best.is_none_or(|(_, best)| rank <= best) {
                best = Some((r, rank));
            }
        }
        match best {
            Some((r, _)) => pairs.push((l.id, Some(r.id))),
            None if case.join_type == JoinType::Left => pairs.push((l.id, None)),
            None => {}
        }
    }
    pairs
}

fn random_rows(rng: &mut StdRng, case: &Case, count: usize) -> Vec<Row> {
    let (keys, times, nulls) = (rng.random_range(1..6), rng.random_range(1..60), rng.random_bool(0.5));
    let nulls = if nulls { 0.1 } else { 0.0 };
    let some = |rng: &mut StdRng, range: i64| (!rng.random_bool(nulls)).then(|| rng.random_range(0..range));
    let row = |rng: &mut StdRng| Row {
        keys: case.keys.iter().map(|_| some(rng, keys)).collect(),
        time: some(rng, times).map(|time| time - 20),
        id: 0,
    };
    let mut rows: Vec<Row> = (0..count).map(|_| row(rng)).collect();
    // As `required_input_ordering` says: ascending with NULL last, or descending with NULL first.
    rows.sort_by_key(|row| (row.time.is_none(), row.time));
    if case.op.is_descending() {
        rows.reverse();
    }
    for (id, row) in (0..).zip(&mut rows) {
        row.id = id;
    }
    rows
}

#[tokio::test]
async fn random_rows_join_like_a_nested_loop() {
    let seed = rand::rng().random();
    let mut rng = StdRng::seed_from_u64(seed);
    let keys = [vec![], vec![DataType::Int64], vec![DataType::Utf8View], vec![DataType::Int32, DataType::Utf8View]];
    let times = [DataType::Int16, DataType::Int32, DataType::Int64, DataType::Date32, DataType::Float64, micros()];
    for round in 0..800 {
        let mut case = Case {
            keys: keys.choose(&mut rng).unwrap().clone(),
            time: times.choose(&mut rng).unwrap().clone(),
            op: *OPS.choose(&mut rng).unwrap(),
            tolerance: rng.random_bool(0.4).then(|| rng.random_range(0..10)),
            join_type: *[JoinType::Inner, JoinType::Left].choose(&mut rng).unwrap(),
            left_batch: *[1, 2, 7, 30].choose(&mut rng).unwrap(),
            right_batch: *[1, 2, 7, 30].choose(&mut rng).unwrap(),
            batch_size: *[1, 2, 7, 8192].choose(&mut rng).unwrap(),
            partitions: 1,
        };
        if !case.keys.is_empty() && rng.random_bool(0.3) {
            case.partitions = 2;
        }
        let (left, right) = (*[0, 1, 5, 90].choose(&mut rng).unwrap(), *[0, 1, 5, 90, 400].choose(&mut rng).unwrap());
        let (left, right) = (random_rows(&mut rng, &case, left), random_rows(&mut rng, &case, right));
        let plan = join(&case, &left, &right).unwrap();
        let joined = run(plan, case.batch_size).await;
        assert!(joined.iter().all(|batch| batch.num_rows() <= case.batch_size), "{case:?}");
        let mut found = ids(&case, &joined);
        if case.op == AsofOp::Nearest || case.partitions > 1 {
            found.sort();
        }
        let expected = expected(&case, &left, &right);
        assert_eq!(found, expected, "seed {seed}, round {round}: {case:?}\nleft {left:?}\nright {right:?}");
    }
}

fn case(op: AsofOp, join_type: JoinType) -> Case {
    let (keys, time, tolerance) = (vec![DataType::Int64], micros(), None);
    Case { keys, time, op, tolerance, join_type, left_batch: 10, right_batch: 10, batch_size: 64, partitions: 1 }
}

fn rows(count: i64, keys: i64, step: i64) -> Vec<Row> {
    (0..count).map(|id| Row { keys: vec![Some(id % keys)], time: Some(id * step), id }).collect()
}

#[tokio::test]
async fn projections_show_only_their_columns() {
    let (left, right) = (rows(50, 3, 2), rows(100, 3, 1));
    for op in OPS {
        let mut case = case(op, JoinType::Inner);
        let (mut left, mut right) = (left.clone(), right.clone());
        if op.is_descending() {
            left.reverse();
            right.reverse();
        }
        case.tolerance = Some(1);
        let whole = run(join(&case, &left, &right).unwrap(), 64).await;
        for projection in [vec![], vec![2], vec![6], vec![7, 1, 2], vec![4, 5, 6, 7]] {
            let plan = join(&case, &left, &right).unwrap().with_projection(Some(projection.clone())).unwrap();
            assert_eq!(plan.projection(), Some(projection.as_slice()));
            let schema = plan.schema();
            let found = arrow::compute::concat_batches(&schema, &run(plan, 64).await).unwrap();
            let expected = arrow::compute::concat_batches(&whole[0].schema(), &whole).unwrap();
            assert_eq!(found, expected.project(&projection).unwrap(), "{op} {projection:?}");
        }
    }
    // A projection of a projection counts the columns that are left.
    let plan = join(&case(AsofOp::GtEq, JoinType::Left), &left, &right).unwrap();
    let plan = plan.with_projection(Some(vec![7, 1, 2])).unwrap().with_projection(Some(vec![2, 0])).unwrap();
    assert_eq!(plan.projection(), Some([2, 7].as_slice()));
}

/// More keys than the first table of keys holds, at every scale at which it grows.
#[tokio::test]
async fn many_keys_are_told_apart() {
    for keys in [vec![DataType::Int16], vec![DataType::Int64], vec![DataType::Utf8View], vec![DataType::Int32; 2]] {
        let count = 20_000;
        let mut case = case(AsofOp::GtEq, JoinType::Left);
        (case.left_batch, case.right_batch, case.batch_size) = (1000, 700, 1000);
        case.keys = keys;
        // Each key once on the right, in disorder, then each once on the left.
        let key = |id: i64| (id * 7919) % count - count / 2;
        let row = |id: i64, key: i64, time: i64| Row { keys: vec![Some(key); case.keys.len()], time: Some(time), id };
        let right: Vec<Row> = (0..count).map(|id| row(id, key(id), id)).collect();
        let left: Vec<Row> = (0..count).map(|id| row(id, key(count - 1 - id), count + id)).collect();
        let joined = run(join(&case, &left, &right).unwrap(), 1000).await;
        let expected: Vec<_> = (0..count).map(|id| (id, Some(count - 1 - id))).collect();
        assert_eq!(ids(&case, &joined), expected, "{case:?}");
    }
}

#[tokio::test]
async fn floats_are_ordered_like_in_postgresql() {
    let source = |values: Vec<f64>| {
        let array: ArrayRef = Arc::new(Float64Array::from(values));
        let batch = RecordBatch::try_from_iter([("v", array)]).unwrap();
        TestMemoryExec::try_new_exec(&[vec![batch.clone()]], batch.schema(), None).unwrap() as Arc<dyn ExecutionPlan>
    };
    let inf = f64::INFINITY;
    for (op, tolerance, expected) in [
        (AsofOp::GtEq, None, [Some(-inf), Some(0.0), Some(0.0), Some(0.0), Some(inf), Some(f64::NAN)]),
        (AsofOp::Gt, None, [None, Some(-inf), Some(-inf), Some(0.0), Some(0.0), Some(inf)]),
        (AsofOp::Nearest, Some(3), [Some(-inf), Some(0.0), Some(0.0), Some(0.0), Some(inf), Some(f64::NAN)]),
    ] {
        let left = source(vec![-inf, -0.0, 0.0, 2.5, inf, f64::NAN]);
        let right = source(vec![-inf, 0.0, inf, f64::NAN]);
        let condition = (col("v", &left.schema()).unwrap(), col("v", &right.schema()).unwrap(), op);
        let plan = AsofJoinExec::try_new(left, right, vec![], condition, tolerance, JoinType::Left).unwrap();
        let plan = plan.with_projection(Some(vec![0, 1])).unwrap();
        let mut found: Vec<(f64, Option<f64>)> = vec![];
        for batch in run(plan, 64).await {
            let column = |at: usize| batch.column(at).as_primitive::<arrow::datatypes::Float64Type>().clone();
            found.extend(column(0).values().iter().copied().zip(&column(1)));
        }
        found.sort_by(|a, b| a.0.total_cmp(&b.0));
        let found: Vec<String> = found.iter().map(|(_, right)| format!("{right:?}")).collect();
        assert_eq!(found, expected.map(|right| format!("{right:?}")), "{op}");
    }
}

#[tokio::test]
async fn right_rows_are_not_kept_when_their_key_has_a_later_one() {
    for (op, left_rows) in [(AsofOp::GtEq, 1), (AsofOp::GtEq, 200), (AsofOp::Nearest, 1), (AsofOp::Nearest, 200)] {
        let case = case(op, JoinType::Left);
        let right = rows(20_000, 5, 1);
        let left: Vec<Row> = rows(left_rows, 5, 1).into_iter().map(|row| Row { time: Some(19_990), ..row }).collect();
        let plan = Arc::new(join(&case, &left, &right).unwrap());
        let joined = collect(Arc::clone(&plan) as _, context(64, Some(300_000))).await.unwrap();
        let mut found = ids(&case, &joined);
        found.sort();
        assert_eq!(found, expected(&case, &left, &right));
        let kept = plan.metrics().unwrap().sum_by_name("kept_rows_max").unwrap().as_usize();
        assert!(kept <= 600, "{kept} rows are kept");
    }
}

#[tokio::test]
async fn rows_that_wait_must_fit_into_memory() {
    let case = case(AsofOp::Nearest, JoinType::Left);
    // Key 1 has no right row before the last.
    let left: Vec<Row> = rows(50_000, 1, 1).into_iter().map(|row| Row { keys: vec![Some(1)], ..row }).collect();
    let mut right = rows(60_000, 1, 1);
    right.last_mut().unwrap().keys = vec![Some(1)];
    let plan = Arc::new(join(&case, &left, &right).unwrap());
    let error = collect(Arc::clone(&plan) as _, context(64, Some(1_000_000))).await.unwrap_err();
    assert!(matches!(error.find_root(), DataFusionError::ResourcesExhausted(_)), "{error}");
    let joined = collect(plan, context(64, None)).await.unwrap();
    assert_eq!(ids(&case, &joined).iter().filter(|pair| pair.1 == Some(59_999)).count(), 50_000);
}

#[tokio::test]
async fn the_right_side_is_not_read_beyond_the_last_left_row() {
    let case = case(AsofOp::GtEq, JoinType::Inner);
    let plan = Arc::new(join(&case, &rows(10, 1, 1), &rows(100_000, 1, 1)).unwrap());
    collect(Arc::clone(&plan) as _, context(64, None)).await.unwrap();
    assert!(plan.metrics().unwrap().sum_by_name("kept_rows_max").unwrap().as_usize() <= 20);
}

#[test]
fn a_plan_tells_what_it_does() {
    let mut case = case(AsofOp::LtEq, JoinType::Left);
    case.tolerance = Some(5);
    let plan: Arc<dyn ExecutionPlan> = Arc::new(join(&case, &[], &[]).unwrap());
    let text = displayable(plan.as_ref()).one_line().to_string();
    assert_eq!(text.trim(), "AsofJoinExec: join_type=Left, on=[(k0@0, k0@0)], match=time@1 <= time@1, tolerance=5");
    assert_eq!(plan.maintains_input_order(), [true, false]);
    assert!(plan.schema().field(5).is_nullable(), "unmatched rows have NULL on the right");
    let orderings = plan.required_input_ordering();
    let ordering = orderings[0].clone().unwrap().into_single();
    assert!(ordering[0].options.unwrap().descending && ordering[0].options.unwrap().nulls_first);
}

#[test]
fn types_that_cannot_be_joined_are_refused() {
    let good = case(AsofOp::GtEq, JoinType::Inner);
    let message = |case: &Case| join(case, &[], &[]).unwrap_err().strip_backtrace();
    let negative = Case { tolerance: Some(-1), ..good.clone() };
    assert!(message(&negative).contains("cannot be negative"));
    let text = Case { time: DataType::Utf8View, ..good.clone() };
    assert!(message(&text).contains("cannot match values of type Utf8View"));
    let full = Case { join_type: JoinType::Full, ..good };
    assert!(message(&full).contains("cannot be a Full join"));
    let ints: Arc<dyn ExecutionPlan> = source(&Case { time: DataType::Int64, ..full.clone() }, &[], 1);
    let times: Arc<dyn ExecutionPlan> = source(&full, &[], 1);
    let condition = (col("time", &ints.schema()).unwrap(), col("time", &times.schema()).unwrap(), AsofOp::GtEq);
    let error = AsofJoinExec::try_new(ints, times, vec![], condition, None, JoinType::Inner).unwrap_err();
    assert!(error.to_string().contains("have different types"), "{error}");
}
