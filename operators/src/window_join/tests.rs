//! The join against a nested loop over random rows, and what random rows do not reach.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch};
use arrow::compute::{SortOptions, concat_batches};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, SchemaRef};
use datafusion_common::{DataFusionError, Result, ScalarValue};
use datafusion_execution::TaskContext;
use datafusion_execution::config::SessionConfig;
use datafusion_execution::runtime_env::RuntimeEnvBuilder;
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use datafusion_physical_expr::PhysicalSortExpr;
use datafusion_physical_expr::aggregate::AggregateExprBuilder;
use datafusion_physical_expr::expressions::col;
use datafusion_physical_plan::test::TestMemoryExec;
use datafusion_physical_plan::{ExecutionPlan, collect, displayable};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::{Window, WindowAggregate, WindowJoin, WindowJoinExec};

/// What an aggregate of these tests does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    /// The sum of integers, which takes values back.
    Sum,
    /// The sum of floats, which says that it does.
    FloatSum,
    /// All values in their order, which does not.
    Collect,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Function(Kind, Signature);

impl AggregateUDFImpl for Function {
    fn name(&self) -> &str {
        match self.0 {
            Kind::Sum => "sum",
            Kind::FloatSum => "float_sum",
            Kind::Collect => "collect",
        }
    }

    fn signature(&self) -> &Signature {
        &self.1
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.0 {
            Kind::Sum => DataType::Int64,
            Kind::FloatSum => DataType::Float64,
            Kind::Collect => DataType::Utf8,
        })
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(State { kind: self.0, sum: 0, float: 0.0, texts: String::new() }))
    }

    fn state_fields(&self, _: StateFieldsArgs) -> Result<Vec<Arc<Field>>> {
        Ok(vec![])
    }
}

#[derive(Debug)]
struct State {
    kind: Kind,
    sum: i64,
    float: f64,
    texts: String,
}

impl State {
    fn take(&mut self, values: &[ArrayRef], sign: i64) {
        match self.kind {
            Kind::Sum => self.sum += sign * values[0].as_primitive::<Int64Type>().iter().flatten().sum::<i64>(),
            Kind::FloatSum => {
                let sum: f64 = values[0].as_primitive::<Float64Type>().iter().flatten().sum();
                self.float += sign as f64 * sum;
            }
            Kind::Collect => {
                let values = values[0].as_primitive::<Int64Type>().iter().flatten();
                values.for_each(|value| self.texts.push_str(&format!("{value},")));
            }
        }
    }
}

impl Accumulator for State {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.take(values, 1);
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.take(values, -1);
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        self.kind != Kind::Collect
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(match self.kind {
            Kind::Sum => ScalarValue::Int64(Some(self.sum)),
            Kind::FloatSum => ScalarValue::Float64(Some(self.float)),
            Kind::Collect => ScalarValue::Utf8(Some(self.texts.clone())),
        })
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![])
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        Ok(())
    }
}

/// A row of either side: `id` is its place in the input.
#[derive(Debug, Clone)]
struct Row {
    key: Option<i64>,
    time: Option<i64>,
    id: i64,
    float: f64,
}

#[derive(Debug, Clone)]
struct Case {
    keyed: bool,
    window: Window,
    kinds: Vec<Kind>,
    /// Only rows with even ids count.
    filtered: bool,
    /// Collected from the greatest id down.
    reversed: bool,
    left_batch: usize,
    right_batch: usize,
    batch_size: usize,
}

fn batches(rows: &[Row], size: usize) -> (SchemaRef, Vec<RecordBatch>) {
    let fields = [("key", DataType::Int64), ("time", DataType::Int64), ("id", DataType::Int64)].into_iter();
    let fields = fields.chain([("float", DataType::Float64), ("even", DataType::Boolean)]);
    let schema = Arc::new(Schema::new(fields.map(|(name, kind)| Field::new(name, kind, true)).collect::<Vec<_>>()));
    let batch = |rows: &[Row]| {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(rows.iter().map(|row| row.key).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|row| row.time).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|row| Some(row.id)).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|row| Some(row.float)).collect::<Float64Array>()),
            Arc::new(rows.iter().map(|row| Some(row.id % 2 == 0)).collect::<BooleanArray>()),
        ];
        RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()
    };
    (Arc::clone(&schema), rows.chunks(size).map(batch).collect())
}

fn source(rows: &[Row], size: usize) -> Arc<dyn ExecutionPlan> {
    let (schema, batches) = batches(rows, size);
    TestMemoryExec::try_new_exec(&[batches], schema, None).unwrap()
}

fn join(case: &Case, left: &[Row], right: &[Row]) -> Result<WindowJoinExec> {
    let (left, right) = (source(left, case.left_batch), source(right, case.right_batch));
    let schema = right.schema();
    let column = |name: &str| col(name, &schema).unwrap();
    let aggregate = |kind: &Kind| {
        let function = Arc::new(AggregateUDF::from(Function(*kind, Signature::any(1, Volatility::Immutable))));
        let arg = if *kind == Kind::FloatSum { "float" } else { "id" };
        let mut builder = AggregateExprBuilder::new(function, vec![column(arg)]).schema(Arc::clone(&schema)).alias("x");
        if case.reversed && *kind == Kind::Collect {
            let options = SortOptions { descending: true, nulls_first: true };
            builder = builder.order_by(vec![PhysicalSortExpr::new(column("id"), options)]);
        }
        WindowAggregate { function: Arc::new(builder.build().unwrap()), filter: case.filtered.then(|| column("even")) }
    };
    let aggregates: Vec<_> = case.kinds.iter().map(aggregate).collect();
    let field = |(at, aggregate): (usize, &WindowAggregate)| {
        Field::new(format!("a{at}"), aggregate.function.field().data_type().clone(), true)
    };
    let fields = aggregates.iter().enumerate().map(field).collect();
    let on = if case.keyed { vec![(column("key"), column("key"))] } else { vec![] };
    let join = WindowJoin { on, times: (column("time"), column("time")), window: case.window, aggregates };
    WindowJoinExec::try_new(left, right, join, fields)
}

fn context(batch_size: usize, memory: Option<usize>) -> Arc<TaskContext> {
    let mut runtime = RuntimeEnvBuilder::new();
    if let Some(bytes) = memory {
        runtime = runtime.with_memory_limit(bytes, 1.0);
    }
    let config = SessionConfig::new().with_batch_size(batch_size);
    Arc::new(TaskContext::default().with_session_config(config).with_runtime(runtime.build_arc().unwrap()))
}

/// Each left id with its values as texts.
fn found(plan: &WindowJoinExec, batches: &[RecordBatch]) -> Vec<(i64, Vec<String>)> {
    let batch = concat_batches(&plan.schema(), batches).unwrap();
    let ids = batch.column(2).as_primitive::<Int64Type>();
    let values = |row: usize| {
        let columns = batch.columns()[5..].iter();
        columns.map(|column| ScalarValue::try_from_array(column, row).unwrap().to_string()).collect()
    };
    (0..batch.num_rows()).map(|row| (ids.value(row), values(row))).collect()
}

/// The nested loop.
fn expected(case: &Case, left: &[Row], right: &[Row]) -> Vec<(i64, Vec<String>)> {
    let of_row = |l: &Row| {
        let own = right.iter().filter(|r| !case.keyed || l.key.is_some() && l.key == r.key);
        let own: Vec<&Row> = own.filter(|r| l.time.is_some() && r.time.is_some()).collect();
        let time = |row: &Row| row.time.unwrap_or_default();
        let (low, high) = (time(l) + case.window.low, time(l) + case.window.high);
        let mut rows: Vec<&Row> = own.iter().filter(|r| (low..=high).contains(&time(r))).copied().collect();
        if case.window.prevailing
            && let Some(prevailing) = own.iter().rev().find(|r| time(r) <= low)
            && time(prevailing) < low
        {
            rows.insert(0, prevailing);
        }
        rows.retain(|row| !case.filtered || row.id % 2 == 0);
        let value = |kind: &Kind| match kind {
            Kind::Sum => rows.iter().map(|row| row.id).sum::<i64>().to_string(),
            Kind::FloatSum => ScalarValue::Float64(Some(rows.iter().fold(0.0, |sum, row| sum + row.float))).to_string(),
            Kind::Collect => {
                let mut rows = rows.clone();
                if case.reversed {
                    rows.reverse();
                }
                rows.iter().map(|row| format!("{},", row.id)).collect()
            }
        };
        (l.id, case.kinds.iter().map(value).collect())
    };
    left.iter().map(of_row).collect()
}

fn random_rows(rng: &mut StdRng, count: usize) -> Vec<Row> {
    let (keys, times, nulls) = (rng.random_range(1..5), rng.random_range(1..80), rng.random_bool(0.5));
    let nulls = if nulls { 0.1 } else { 0.0 };
    let floats = [1.0, 1e300, -1e300, 0.1, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    let some = |rng: &mut StdRng, range: i64| (!rng.random_bool(nulls)).then(|| rng.random_range(0..range));
    let mut rows: Vec<Row> = (0..count)
        .map(|_| Row {
            key: some(rng, keys),
            time: some(rng, times).map(|time| time - 20),
            id: 0,
            float: if rng.random_bool(0.9) { 0.25 } else { *floats.choose(rng).unwrap() },
        })
        .collect();
    rows.sort_by_key(|row| (row.time.is_none(), row.time));
    for (id, row) in (0..).zip(&mut rows) {
        row.id = id;
    }
    rows
}

#[tokio::test]
async fn random_rows_join_like_a_nested_loop() {
    let seed = rand::rng().random();
    let mut rng = StdRng::seed_from_u64(seed);
    let kinds = [
        vec![Kind::Sum],
        vec![Kind::Collect],
        vec![Kind::FloatSum, Kind::Sum],
        vec![Kind::Sum, Kind::Collect, Kind::Sum],
    ];
    for round in 0..1500 {
        let low = rng.random_range(-30..20);
        let case = Case {
            keyed: rng.random_bool(0.7),
            window: Window { low, high: low + rng.random_range(0..30), prevailing: rng.random_bool(0.5) },
            kinds: kinds.choose(&mut rng).unwrap().clone(),
            filtered: rng.random_bool(0.3),
            reversed: rng.random_bool(0.3),
            left_batch: *[1, 2, 7, 30].choose(&mut rng).unwrap(),
            right_batch: *[1, 2, 7, 30].choose(&mut rng).unwrap(),
            batch_size: *[1, 2, 7, 8192].choose(&mut rng).unwrap(),
        };
        let (left, right) = (*[0, 1, 5, 90].choose(&mut rng).unwrap(), *[0, 1, 5, 90, 400].choose(&mut rng).unwrap());
        let (left, right) = (random_rows(&mut rng, left), random_rows(&mut rng, right));
        let plan = Arc::new(join(&case, &left, &right).unwrap());
        let joined = collect(Arc::clone(&plan) as _, context(case.batch_size, None)).await.unwrap();
        assert!(joined.iter().all(|batch| batch.num_rows() <= case.batch_size), "{case:?}");
        let expected = expected(&case, &left, &right);
        assert_eq!(
            found(&plan, &joined),
            expected,
            "seed {seed}, round {round}: {case:?}\nleft {left:?}\nright {right:?}"
        );
    }
}

fn case(low: i64, high: i64, kind: Kind) -> Case {
    let window = Window { low, high, prevailing: false };
    let (kinds, filtered, reversed) = (vec![kind], false, false);
    Case { keyed: true, window, kinds, filtered, reversed, left_batch: 64, right_batch: 64, batch_size: 64 }
}

fn rows(count: i64, keys: i64, step: i64) -> Vec<Row> {
    let row = |id: i64| Row { key: Some(id % keys), time: Some(id * step), id, float: 0.5 };
    (0..count).map(row).collect()
}

#[tokio::test]
async fn rows_that_no_window_reaches_are_dropped() {
    for (prevailing, kind) in [(false, Kind::Sum), (true, Kind::Sum), (false, Kind::Collect)] {
        let mut case = case(-50, 0, kind);
        case.window.prevailing = prevailing;
        // Keys 4 to 9 have no left rows.
        let left: Vec<Row> = rows(50_000, 10, 1).into_iter().filter(|row| row.key < Some(4)).collect();
        let right = rows(50_000, 10, 1);
        let plan = Arc::new(join(&case, &left, &right).unwrap());
        let joined = collect(Arc::clone(&plan) as _, context(64, Some(300_000))).await.unwrap();
        let found = found(&plan, &joined);
        assert_eq!(found.len(), left.len());
        let (at, last) = (left.len() - 1, &left[left.len() - 1..]);
        assert_eq!(found[at..], expected(&case, last, &right));
        let kept = plan.metrics().unwrap().sum_by_name("kept_rows_max").unwrap().as_usize();
        assert!(kept <= 600, "{kept} rows are kept");
    }
}

#[tokio::test]
async fn open_windows_must_fit_into_memory() {
    let case = case(0, 100_000, Kind::Sum);
    let (left, right) = (rows(10, 1, 1), rows(100_000, 1, 1));
    let plan = Arc::new(join(&case, &left, &right).unwrap());
    let error = collect(Arc::clone(&plan) as _, context(64, Some(1_000_000))).await.unwrap_err();
    assert!(matches!(error.find_root(), DataFusionError::ResourcesExhausted(_)), "{error}");
    let joined = collect(Arc::clone(&plan) as _, context(64, None)).await.unwrap();
    assert_eq!(found(&plan, &joined), expected(&case, &left, &right));
}

#[test]
fn infinite_times_have_windows_of_their_own() {
    let window = Window { low: -5, high: 5, prevailing: false };
    assert_eq!((window.begin(i64::MAX), window.end(i64::MAX)), (i64::MAX, i64::MAX));
    assert_eq!((window.begin(i64::MIN), window.end(i64::MIN)), (i64::MIN, i64::MIN));
    assert_eq!((window.begin(i64::MIN + 1), window.end(i64::MAX - 1)), (i64::MIN, i64::MAX));
}

#[test]
fn a_plan_tells_what_it_does() {
    let mut case = case(-5, 3, Kind::Sum);
    case.window.prevailing = true;
    let plan: Arc<dyn ExecutionPlan> = Arc::new(join(&case, &[], &[]).unwrap());
    let text = displayable(plan.as_ref()).one_line().to_string();
    let wanted = "WindowJoinExec: on=[(key@0, key@0)], times=(time@1, time@1), window=[-5, 3], prevailing, aggr=[x]";
    assert_eq!(text.trim(), wanted);
    assert_eq!(plan.maintains_input_order(), [true, false]);
    let error = join(&self::case(1, 0, Kind::Sum), &[], &[]).unwrap_err();
    assert!(error.strip_backtrace().contains("ends before it begins"));
}
