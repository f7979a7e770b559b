//! The cases that randomness does not meet, each as small as it can be.

mod naive;
mod random;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int16Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Int16Type, Schema};
use datafusion_common::{DataFusionError, Result};
use datafusion_execution::TaskContext;
use datafusion_execution::memory_pool::GreedyMemoryPool;
use datafusion_execution::runtime_env::RuntimeEnvBuilder;
use datafusion_physical_expr::{Distribution, LexOrdering, Partitioning, PhysicalSortExpr};
use datafusion_physical_plan::repartition::RepartitionExec;
use datafusion_physical_plan::test::TestMemoryExec;
use datafusion_physical_plan::{
    ChildrenPropertiesMode, ExecutionPlan, ExecutionPlanProperties, ReplaceChildrenOptions, displayable,
};
use futures::{StreamExt, TryStreamExt};

use super::{Aligned, Extent, FixedGrid, Method, Resample, ResampleExec};
use crate::gapfill::Steps;
use crate::gapfill::properties::column;
use crate::gapfill::tests::context;

/// Months of 9 to 11 days, in both directions: enough of a calendar.
#[derive(Debug)]
struct Uneven;

impl Uneven {
    fn step(k: i64) -> i64 {
        10 * k + [0, 1, -1][usize::try_from(k.rem_euclid(3)).unwrap()]
    }

    fn number(time: i64) -> i64 {
        let about = time.div_euclid(10);
        (about - 1..=about + 1).rfind(|k| Self::step(*k) <= time).unwrap()
    }
}

impl Steps for Uneven {
    fn nth(&self, start: i64, k: u64) -> Result<Option<i64>> {
        Ok(Some(Self::step(Self::number(start) + i64::try_from(k).unwrap())))
    }
}

impl Aligned for Uneven {
    fn floor(&self, time: i64) -> Result<i64> {
        Ok(Self::step(Self::number(time)))
    }

    fn next(&self, at: i64) -> Result<Option<i64>> {
        self.nth(at, 1)
    }
}

/// Of the columns `time` and `value`, in steps of ten.
fn resample(method: Method) -> Resample {
    Resample {
        time: 0,
        series: vec![],
        values: vec![(1, method)],
        steps: Arc::new(FixedGrid { origin: 0, width: 10 }),
        extent: Extent::default(),
        max_gap: None,
        filled: "filled".to_owned(),
    }
}

fn batch(time: ArrayRef, value: ArrayRef) -> RecordBatch {
    let field = |name, array: &ArrayRef| Field::new(name, array.data_type().clone(), true);
    let schema = Schema::new(vec![field("time", &time), field("value", &value)]);
    RecordBatch::try_new(Arc::new(schema), vec![time, value]).unwrap()
}

fn integers(values: &[Option<i64>]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

/// Over these rows, each in a batch of its own.
fn exec(batch: RecordBatch, resample: Resample) -> Result<ResampleExec> {
    let rows: Vec<_> = (0..batch.num_rows()).map(|row| batch.slice(row, 1)).collect();
    ResampleExec::try_new(TestMemoryExec::try_new_exec(&[rows], batch.schema(), None)?, resample)
}

async fn resampled(batch: RecordBatch, resample: Resample) -> RecordBatch {
    let exec = Arc::new(exec(batch, resample).unwrap());
    let batches: Vec<RecordBatch> = exec.execute(0, context(2)).unwrap().try_collect().await.unwrap();
    concat_batches(&exec.schema(), &batches).unwrap()
}

/// What becomes of 1 at 0 and 4 at 30, from -10 to 50.
async fn check(method: Method, max_gap: Option<i64>, expected: &[Option<i64>]) {
    let samples = batch(integers(&[Some(0), Some(30)]), integers(&[Some(1), Some(4)]));
    let extent = Extent { start: Some(-10), finish: Some(50) };
    let output = resampled(samples, Resample { extent, max_gap, ..resample(method) }).await;
    assert_eq!(output.column(0), &integers(&[-10, 0, 10, 20, 30, 40].map(Some)));
    assert_eq!(output.column(1), &integers(expected), "{method}");
    let filled = BooleanArray::from(vec![true, false, true, true, false, true]);
    assert_eq!(output.column(2).as_boolean(), &filled);
}

#[tokio::test]
async fn each_method_has_its_values_within_the_gap() {
    let (one, four) = (Some(1), Some(4));
    check(Method::Linear, None, &[None, one, Some(2), Some(3), four, None]).await;
    check(Method::Linear, Some(30), &[None, one, Some(2), Some(3), four, None]).await;
    check(Method::Linear, Some(29), &[None, one, None, None, four, None]).await;
    check(Method::Locf, None, &[None, one, one, one, four, four]).await;
    check(Method::Locf, Some(10), &[None, one, one, None, four, four]).await;
    check(Method::Next, None, &[one, one, four, four, four, None]).await;
    check(Method::Next, Some(10), &[one, one, None, four, four, None]).await;
    check(Method::Nearest, None, &[one, one, one, four, four, four]).await;
    check(Method::Nearest, Some(9), &[None, one, None, None, four, None]).await;
    check(Method::None, None, &[None, one, None, None, four, None]).await;
}

#[tokio::test]
async fn of_two_equally_near_samples_the_earlier_counts_and_of_simultaneous_ones_the_last() {
    let times = integers(&[0, 0, 0, 20].map(Some));
    let samples = batch(times, integers(&[Some(1), Some(2), None, Some(3)]));
    let output = resampled(samples, resample(Method::Nearest)).await;
    assert_eq!(output.column(1), &integers(&[Some(2), Some(2), Some(3)]));
}

#[tokio::test]
async fn a_sample_at_the_very_end_of_the_gap_is_waited_for() {
    let samples = batch(integers(&[0, 20, 20, 20].map(Some)), integers(&[Some(1), None, Some(4), Some(5)]));
    let expected = [
        (Method::Linear, 20, [Some(1), Some(3), Some(5)]),
        (Method::Nearest, 10, [Some(1), Some(1), Some(5)]),
        (Method::Next, 10, [Some(1), Some(5), Some(5)]),
    ];
    for (method, max_gap, expected) in expected {
        let resample = Resample { max_gap: Some(max_gap), ..resample(method) };
        assert_eq!(resampled(samples.clone(), resample).await.column(1), &integers(&expected), "{method}");
    }
}

#[tokio::test]
async fn nothing_comes_of_nothing() {
    let all = Extent { start: Some(0), finish: Some(50) };
    for samples in [batch(integers(&[]), integers(&[])), batch(integers(&[None]), integers(&[Some(1)]))] {
        assert_eq!(resampled(samples, Resample { extent: all, ..resample(Method::Locf) }).await.num_rows(), 0);
    }
}

#[tokio::test]
async fn small_types_begin_and_end_where_they_do() {
    let times: ArrayRef = Arc::new(Int16Array::from(vec![i16::MIN, i16::MIN + 10, i16::MAX]));
    let samples = batch(times, integers(&[Some(1), Some(2), Some(3)]));
    let extent = Extent { start: None, finish: Some(i64::MAX) };
    let output = resampled(samples, Resample { extent, ..resample(Method::Locf) }).await;
    let steps = output.column(0).as_primitive::<Int16Type>().values();
    assert_eq!((steps[0], steps[1], steps[steps.len() - 1]), (-32_760, -32_750, 32_760));
    let grid = FixedGrid { origin: 0, width: 10 };
    assert_eq!(grid.floor(i64::MAX).unwrap(), i64::MAX - 7);
    assert_eq!(grid.next(i64::MAX - 7).unwrap(), None);
    assert!(grid.floor(i64::MIN).is_err());
}

#[tokio::test]
async fn a_long_series_is_made_no_further_than_it_is_read() {
    let ends = [Some(0), Some(999_999_999)];
    let steps = Arc::new(FixedGrid { origin: 0, width: 1 });
    let exec = exec(batch(integers(&ends), integers(&ends)), Resample { steps, ..resample(Method::Linear) }).unwrap();
    let mut stream = exec.execute(0, context(8192)).unwrap();
    for number in 0..3 {
        let batch = stream.next().await.unwrap().unwrap();
        let expected: ArrayRef = Arc::new(Int64Array::from_iter_values(number * 8192..(number + 1) * 8192));
        assert_eq!((batch.column(0), batch.column(1)), (&expected, &expected));
    }
    assert_eq!(exec.metrics().unwrap().output_rows(), Some(3 * 8192));
}

#[tokio::test]
async fn a_long_series_yields() {
    let steps = Arc::new(FixedGrid { origin: 0, width: 1 });
    let ends = integers(&[Some(0), Some(i64::MAX)]);
    let exec = exec(batch(Arc::clone(&ends), ends), Resample { steps, ..resample(Method::None) }).unwrap();
    let mut stream = exec.execute(0, context(1)).unwrap();
    // An endless loop unless the stream gives way to the timer.
    let all = async { while stream.next().await.is_some() {} };
    assert!(tokio::time::timeout(std::time::Duration::from_millis(5), all).await.is_err());
}

/// How many rows come, within a limit of memory, of a column with a sample in its first and its last row only and one with a
/// sample in each, which may have to wait for the other. Each row is a batch.
async fn within_limit(rows: i64, width: i64, method: Method, max_gap: Option<i64>) -> Result<usize> {
    let fields = ["time", "sparse", "dense"].map(|name| Field::new(name, DataType::Int64, true));
    let schema = Arc::new(Schema::new(fields.to_vec()));
    let one = |time| {
        let (all, sparse) = (integers(&[Some(time)]), integers(&[(time % (rows - 1) == 0).then_some(time)]));
        RecordBatch::try_new(Arc::clone(&schema), vec![Arc::clone(&all), sparse, all]).unwrap()
    };
    let input = TestMemoryExec::try_new_exec(&[(0..rows).map(one).collect::<Vec<_>>()], Arc::clone(&schema), None)?;
    let resample = Resample {
        values: vec![(1, method), (2, Method::Locf)],
        steps: Arc::new(FixedGrid { origin: 0, width }),
        max_gap,
        ..resample(method)
    };
    let exec = ResampleExec::try_new(input, resample)?;
    let pool = Arc::new(GreedyMemoryPool::new(200_000));
    let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc()?;
    let context = TaskContext::default().with_runtime(Arc::clone(&runtime));
    let output: Vec<RecordBatch> = exec.execute(0, Arc::new(context))?.try_collect().await?;
    assert_eq!(runtime.memory_pool.reserved(), 0);
    Ok(output.iter().map(RecordBatch::num_rows).sum())
}

#[tokio::test]
async fn reading_ahead_counts_against_the_limit_of_memory() {
    assert_eq!(within_limit(20, 1, Method::Linear, None).await.unwrap(), 20);
    let error = within_limit(10_000, 1, Method::Linear, None).await.unwrap_err();
    assert!(matches!(error.find_root(), DataFusionError::ResourcesExhausted(_)), "{error}");
    // No further than a sample may be.
    assert_eq!(within_limit(10_000, 1, Method::Linear, Some(50)).await.unwrap(), 10_000);
    assert_eq!(within_limit(10_000, 1, Method::Next, Some(50)).await.unwrap(), 10_000);
    assert_eq!(within_limit(10_000, 1, Method::Locf, None).await.unwrap(), 10_000);
    // Few steps of many rows: what lies between them is let go.
    assert_eq!(within_limit(10_000, 100, Method::Locf, None).await.unwrap(), 100);
}

/// A plan over the columns time, a, b and value, sorted by `order`.
fn sorted(series: Vec<usize>, order: &[usize], method: Method) -> Result<ResampleExec> {
    let columns =
        [("time", DataType::Int64), ("a", DataType::Utf8), ("b", DataType::Int64), ("value", DataType::Int64)];
    let fields = columns.map(|(name, data_type)| Field::new(name, data_type, false));
    let schema = Arc::new(Schema::new(fields.to_vec()));
    let by = order.iter().map(|&index| PhysicalSortExpr::new_default(column(&schema, index)).nulls_last());
    let input = TestMemoryExec::try_new(&[vec![]], Arc::clone(&schema), None)?;
    let input = Arc::new(input.try_with_sort_information(LexOrdering::new(by).into_iter().collect())?);
    let input = Arc::new(TestMemoryExec::update_cache(&input));
    ResampleExec::try_new(input, Resample { series, values: vec![(3, method)], ..resample(method) })
}

#[test]
fn the_order_of_series_and_time_is_kept_and_no_other() {
    let order = |series: &[usize], order: &[usize]| {
        let exec = sorted(series.to_vec(), order, Method::Locf).unwrap();
        exec.properties().output_ordering().map(ToString::to_string)
    };
    assert_eq!(order(&[1, 2], &[1, 2, 0]).unwrap(), "a@0 ASC NULLS LAST, b@1 ASC NULLS LAST, time@2 ASC NULLS LAST");
    assert_eq!(order(&[1, 2], &[2, 1, 0]).unwrap(), "b@1 ASC NULLS LAST, a@0 ASC NULLS LAST, time@2 ASC NULLS LAST");
    assert_eq!(order(&[1], &[0, 1]), None);
    assert_eq!(order(&[], &[0]).unwrap(), "time@0 ASC NULLS LAST");
}

#[test]
fn a_series_is_wanted_in_one_partition_and_in_order() {
    let one = sorted(vec![], &[0], Method::Locf).unwrap();
    let requirements = one.input_distribution_requirements().into_per_child();
    assert!(matches!(requirements.as_slice(), [Distribution::SinglePartition]));
    let many = Arc::new(sorted(vec![2, 1], &[2, 1, 0], Method::Locf).unwrap());
    let requirements = many.input_distribution_requirements().into_per_child();
    assert!(matches!(requirements.as_slice(), [Distribution::KeyPartitioned(keys)] if keys.len() == 2));
    let required = many.required_input_ordering()[0].clone().unwrap().into_single();
    assert!(many.input().equivalence_properties().ordering_satisfy_requirement(required).unwrap());
    let text = displayable(many.as_ref()).one_line().to_string();
    assert_eq!(text.trim(), "ResampleExec: time=time, series=[b, a], values=[value locf], steps=[, )");
    // Hash partitions by the series stay what they are, of anything else only their number is known.
    let partitions = |index: usize| {
        let by = column(&many.input().schema(), index);
        let hashed = RepartitionExec::try_new(Arc::clone(many.input()), Partitioning::Hash(vec![by], 3)).unwrap();
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        let again = Arc::clone(&many).replace_children(vec![Arc::new(hashed)], options).unwrap();
        again.output_partitioning().to_string()
    };
    assert_eq!(partitions(2), "Hash([b@0], 3)");
    assert_eq!(partitions(3), "UnknownPartitioning(3)");
}

#[test]
fn values_become_nullable_and_the_time_does_not() {
    let exec = sorted(vec![1], &[1, 0], Method::Linear).unwrap();
    let schema = exec.schema();
    let fields: Vec<_> = schema.fields().iter().map(|field| (field.name().as_str(), field.is_nullable())).collect();
    assert_eq!(fields, [("a", false), ("time", false), ("value", true), ("filled", false)]);
}

#[test]
fn what_does_not_fit_is_an_error_of_the_plan() {
    let check = |change: &dyn Fn(&mut Resample), expected: &str| {
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
        let mut resample = resample(Method::Locf);
        change(&mut resample);
        match exec(batch(integers(&[Some(0)]), texts), resample) {
            Err(DataFusionError::Plan(message)) => assert!(message.contains(expected), "{message}"),
            other => panic!("{other:?}"),
        }
    };
    check(&|it| it.values[0].1 = Method::Linear, "column \"value\" of type Utf8 cannot be interpolated");
    check(&|it| it.values = vec![], "there is no column of values");
    check(&|it| it.values[0].0 = 2, "there is no column 2");
    check(&|it| it.series = vec![1], "column \"value\" has two roles");
    check(&|it| (it.time, it.values) = (1, vec![(0, Method::Locf)]), "by a time of type Utf8");
    check(&|it| it.filled = "value".to_owned(), "column name \"value\" is already used");
    check(&|it| it.steps = Arc::new(FixedGrid { origin: 0, width: 0 }), "a step cannot be 0 wide");
    check(&|it| it.max_gap = Some(-1), "max_gap cannot be negative");
    check(&|it| it.extent.start = Some(5), "the first step cannot be 5");
}
