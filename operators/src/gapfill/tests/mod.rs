//! The cases that randomness does not meet, each as small as it can be.

mod naive;
pub(crate) mod random;

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::array::{Array, ArrayRef, Decimal128Array, Float64Array, Int16Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use datafusion_common::{DataFusionError, Result, ScalarValue};
use datafusion_execution::TaskContext;
use datafusion_execution::config::SessionConfig;
use datafusion_execution::memory_pool::GreedyMemoryPool;
use datafusion_execution::runtime_env::RuntimeEnvBuilder;
use datafusion_physical_expr::expressions::{Column, lit};
use datafusion_physical_expr::{Distribution, LexOrdering, Partitioning, PhysicalSortExpr};
use datafusion_physical_plan::repartition::RepartitionExec;
use datafusion_physical_plan::test::TestMemoryExec;
use datafusion_physical_plan::{
    ChildrenPropertiesMode, ExecutionPlan, ExecutionPlanProperties, ReplaceChildrenOptions, displayable,
};
use futures::{StreamExt, TryStreamExt};

use super::{Fill, FixedSteps, GapFillExec, Lookup, Range, Sample, Steps};
use naive::Table;

/// Months of 28 to 31 days that never come back: enough of a calendar.
#[derive(Debug)]
pub(super) struct Months {
    pub(super) unit: i64,
}

impl Steps for Months {
    fn nth(&self, start: i64, k: u64) -> Result<Option<i64>> {
        let days = 30 * i64::try_from(k).unwrap() + [0, 1, -1][usize::try_from(k % 3).unwrap()];
        Ok(days.checked_mul(self.unit).and_then(|time| start.checked_add(time)))
    }
}

pub(crate) fn context(batch_rows: usize) -> Arc<TaskContext> {
    Arc::new(TaskContext::default().with_session_config(SessionConfig::new().with_batch_size(batch_rows)))
}

fn locf(treat_null_as_missing: bool, prev: Option<Arc<dyn Lookup>>) -> Fill {
    Fill::Locf { treat_null_as_missing, prev }
}

fn line(treat_null_as_missing: bool) -> Fill {
    Fill::Interpolate { treat_null_as_missing, prev: None, next: None, at: None }
}

/// A batch of the columns `time` and `value`.
fn batch(time: ArrayRef, value: ArrayRef) -> RecordBatch {
    let field = |name, array: &ArrayRef| Field::new(name, array.data_type().clone(), true);
    let schema = Schema::new(vec![field("time", &time), field("value", &value)]);
    RecordBatch::try_new(Arc::new(schema), vec![time, value]).unwrap()
}

fn integers(values: &[Option<i64>]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn exec(batch: RecordBatch, range: Range, width: i64, fill: Fill) -> Result<GapFillExec> {
    let schema = batch.schema();
    let input = TestMemoryExec::try_new_exec(&[vec![batch]], schema, None)?;
    GapFillExec::try_new(input, 0, vec![], range, Arc::new(FixedSteps(width)), vec![Fill::Time, fill])
}

/// The values of the buckets [0, finish) of one series, ten wide.
async fn filled(batch: RecordBatch, finish: i64, fill: Fill) -> Result<ArrayRef> {
    let exec = Arc::new(exec(batch, Range { start: 0, finish }, 10, fill)?);
    let batches: Vec<RecordBatch> = exec.execute(0, context(2))?.try_collect().await?;
    Ok(Arc::clone(concat_batches(&exec.schema(), &batches)?.column(1)))
}

async fn check(times: &[i64], values: &[Option<i64>], fill: Fill, expected: &[Option<i64>]) {
    let times = Arc::new(Int64Array::from(times.to_vec()));
    let output = filled(batch(times, integers(values)), 60, fill).await.unwrap();
    assert_eq!(&output, &integers(expected));
}

#[tokio::test]
async fn null_is_carried_forward_unless_it_is_missing() {
    let (times, values) = ([10, 30, 40], [Some(1), None, None]);
    check(&times, &values, locf(false, None), &[None, Some(1), Some(1), None, None, None]).await;
    check(&times, &values, locf(true, None), &[None, Some(1), Some(1), Some(1), Some(1), Some(1)]).await;
}

#[tokio::test]
async fn rows_before_the_range_pass_and_are_carried_into_it() {
    let expected = [Some(5), Some(5), Some(5), Some(7), Some(7), Some(7), Some(7), None];
    check(&[-10, 20, 70], &[Some(5), Some(7), None], locf(false, None), &expected).await;
}

#[tokio::test]
async fn a_line_breaks_at_null_unless_it_is_missing() {
    let (times, values) = ([0, 20, 50], [Some(0), None, Some(50)]);
    check(&times, &values, line(false), &[Some(0), None, None, None, None, Some(50)]).await;
    check(&times, &values, line(true), &[Some(0), Some(10), Some(20), Some(30), Some(40), Some(50)]).await;
}

#[tokio::test]
async fn integers_are_exact_and_halves_go_away_from_zero() {
    check(&[0, 20], &[Some(0), Some(5)], line(false), &[Some(0), Some(3), Some(5), None, None, None]).await;
    check(&[0, 20], &[Some(0), Some(-5)], line(false), &[Some(0), Some(-3), Some(-5), None, None, None]).await;
    let (min, max) = (Some(i64::MIN), Some(i64::MAX));
    // The middle of the two is -1/2.
    check(&[0, 20], &[min, max], line(false), &[min, Some(-1), max, None, None, None]).await;
    check(
        &[0, 20],
        &[max, Some(i64::MAX - 2)],
        line(false),
        &[max, Some(i64::MAX - 1), Some(i64::MAX - 2), None, None, None],
    )
    .await;
}

#[tokio::test]
async fn points_may_be_as_far_apart_as_the_type_allows() {
    let times = Arc::new(Int64Array::from(vec![i64::MIN, i64::MAX]));
    let output = filled(batch(times, integers(&[Some(i64::MIN), Some(i64::MAX)])), 10, line(false)).await.unwrap();
    assert_eq!(output.as_primitive::<Int64Type>().value(1), 0);
}

#[tokio::test]
async fn decimals_of_all_digits_are_exact() {
    let decimals = |values: Vec<Option<i128>>| -> ArrayRef {
        Arc::new(Decimal128Array::from(values).with_precision_and_scale(38, 3).unwrap())
    };
    let largest = 10i128.pow(38) - 1;
    for sign in [1, -1] {
        let times = Arc::new(Int64Array::from(vec![0, 1 << 62]));
        let values = decimals(vec![Some(sign * largest), Some(sign * (largest - 1))]);
        let exec =
            exec(batch(times, values), Range { start: 1 << 61, finish: (1 << 61) + 1 }, 10, line(false)).unwrap();
        let output: Vec<RecordBatch> = exec.execute(0, context(9)).unwrap().try_collect().await.unwrap();
        let output = concat_batches(&exec.schema(), &output).unwrap();
        // Half way, the half rounded away from zero.
        assert_eq!(
            output.column(1),
            &decimals(vec![Some(sign * largest), Some(sign * largest), Some(sign * (largest - 1))])
        );
    }
}

#[tokio::test]
async fn floats_are_flat_where_both_ends_are_the_same_and_do_not_overflow_on_the_way() {
    let check = async |values: [f64; 2], middle: f64| {
        let times = Arc::new(Int64Array::from(vec![0, 20]));
        let output =
            filled(batch(times, Arc::new(Float64Array::from(values.to_vec()))), 30, line(false)).await.unwrap();
        let expected: ArrayRef = Arc::new(Float64Array::from(vec![Some(values[0]), Some(middle), Some(values[1])]));
        assert_eq!(&output, &expected);
    };
    let infinity = f64::INFINITY;
    check([infinity, infinity], infinity).await;
    check([infinity, 1.0], infinity).await;
    check([1e308, 1.5e308], 1.25e308).await;
}

#[tokio::test]
async fn small_types_end_where_they_end() {
    let times: ArrayRef = Arc::new(Int16Array::from(vec![32_757]));
    let steps = Range { start: 32_747, finish: i64::MAX };
    let exec = exec(batch(times, integers(&[Some(1)])), steps, 10, locf(false, None)).unwrap();
    let output: Vec<RecordBatch> = exec.execute(0, context(9)).unwrap().try_collect().await.unwrap();
    let expected: ArrayRef = Arc::new(Int16Array::from(vec![32_747, 32_757, 32_767]));
    assert_eq!(output[0].column(0), &expected);
    assert_eq!(FixedSteps(i64::MAX).nth(i64::MIN, u64::MAX).unwrap(), None);
    assert_eq!(FixedSteps(i64::MAX).nth(i64::MIN, 2).unwrap(), Some(i64::MAX - 1));
}

#[tokio::test]
async fn what_is_not_needed_is_not_looked_up() {
    let table = Arc::new(Table::default());
    let all = || Fill::Interpolate {
        treat_null_as_missing: false,
        prev: Some(Arc::clone(&table) as _),
        next: Some(Arc::clone(&table) as _),
        at: None,
    };
    let full: Vec<i64> = (0..6).map(|k| k * 10).collect();
    let values: Vec<Option<i64>> = vec![Some(1); 6];
    check(&full, &values, all(), &values).await;
    check(&full, &values, locf(true, Some(Arc::clone(&table) as _)), &values).await;
    // No line would come of it.
    check(&[10, 50], &[None, None], all(), &[None; 6]).await;
    assert!(table.take_asked().is_empty());
    table.samples.lock().unwrap().insert(vec![], Sample { time: -10, value: ScalarValue::Int64(Some(3)) });
    check(&[10, 50], &[Some(5), None], all(), &[Some(4), Some(5), None, None, None, None]).await;
    assert_eq!(table.take_asked().len(), 1);
    // Once for all of the buckets, which are made in several batches.
    check(&[], &[], locf(false, Some(Arc::clone(&table) as _)), &[Some(3); 6]).await;
    assert_eq!(table.take_asked().len(), 1);
}

#[tokio::test]
async fn a_value_of_another_type_is_not_taken() {
    let table = Arc::new(Table::default());
    table.samples.lock().unwrap().insert(vec![], Sample { time: 0, value: ScalarValue::Float64(Some(3.0)) });
    let input = batch(integers(&[Some(10)]), integers(&[Some(1)]));
    let error = filled(input, 60, locf(false, Some(table))).await.unwrap_err();
    assert!(error.to_string().contains("type Float64 was looked up for a column of type Int64"), "{error}");
}

#[tokio::test]
async fn buckets_cannot_be_null() {
    let input = batch(integers(&[Some(10), None]), integers(&[Some(1), Some(2)]));
    let error = filled(input, 60, Fill::Null).await.unwrap_err();
    let expected = "invalid time_bucket_gapfill argument: ts cannot be NULL";
    assert!(matches!(&error, DataFusionError::Execution(message) if message == expected), "{error}");
}

#[tokio::test]
async fn a_gap_is_made_no_further_than_it_is_read() {
    let range = Range { start: 0, finish: 1_000_000_000 };
    let input = batch(integers(&[Some(0), Some(999_999_999)]), integers(&[Some(0), Some(999_999_999)]));
    let exec = exec(input, range, 1, line(true)).unwrap();
    let mut stream = exec.execute(0, context(8192)).unwrap();
    for number in 0..3 {
        let batch = stream.next().await.unwrap().unwrap();
        let expected: ArrayRef = Arc::new(Int64Array::from_iter_values(number * 8192..(number + 1) * 8192));
        assert_eq!((batch.column(0), batch.column(1)), (&expected, &expected));
    }
    assert_eq!(exec.metrics().unwrap().output_rows(), Some(3 * 8192));
}

#[tokio::test]
async fn a_long_gap_yields() {
    let range = Range { start: 0, finish: i64::MAX };
    let exec = exec(batch(integers(&[]), integers(&[])), range, 1, Fill::Null).unwrap();
    let mut stream = exec.execute(0, context(1)).unwrap();
    // An endless loop unless the stream gives way to the timer.
    let all = async { while stream.next().await.is_some() {} };
    assert!(tokio::time::timeout(std::time::Duration::from_millis(5), all).await.is_err());
}

#[tokio::test]
async fn reading_ahead_counts_against_the_limit_of_memory() {
    let ahead = |rows: i64| {
        let one = |time: i64| batch(integers(&[Some(time)]), integers(&[(time == 0).then_some(1)]));
        let batches: Vec<_> = (0..rows).map(one).collect();
        let input = TestMemoryExec::try_new_exec(std::slice::from_ref(&batches), batches[0].schema(), None).unwrap();
        let range = Range { start: 0, finish: rows };
        let fills = vec![Fill::Time, line(true)];
        let exec = GapFillExec::try_new(input, 0, vec![], range, Arc::new(FixedSteps(1)), fills).unwrap();
        let pool = Arc::new(GreedyMemoryPool::new(100_000));
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc().unwrap();
        let context = TaskContext::default().with_runtime(Arc::clone(&runtime));
        (exec.execute(0, Arc::new(context)).unwrap(), runtime)
    };
    let (stream, runtime) = ahead(20);
    let output: Vec<RecordBatch> = stream.try_collect().await.unwrap();
    assert_eq!(output.iter().map(RecordBatch::num_rows).sum::<usize>(), 20);
    assert_eq!(runtime.memory_pool.reserved(), 0);
    let error = ahead(10_000).0.try_collect::<Vec<_>>().await.unwrap_err();
    assert!(matches!(error.find_root(), DataFusionError::ResourcesExhausted(_)), "{error}");
}

/// A plan over the columns time, a, b and value, sorted by `order`.
fn sorted(series: Vec<usize>, order: &[usize], fill: Fill) -> Result<GapFillExec> {
    let field = |name: &str, data_type| Field::new(name, data_type, false);
    let columns =
        [("time", DataType::Int64), ("a", DataType::Utf8), ("b", DataType::Int64), ("value", DataType::Int64)];
    let schema = Arc::new(Schema::new(columns.map(|(name, data_type)| field(name, data_type)).to_vec()));
    let by = order.iter().map(|&index| PhysicalSortExpr::new_default(super::properties::column(&schema, index)));
    let input = TestMemoryExec::try_new(&[vec![]], Arc::clone(&schema), None)?;
    let input = Arc::new(input.try_with_sort_information(LexOrdering::new(by).into_iter().collect())?);
    let input = Arc::new(TestMemoryExec::update_cache(&input));
    let mut fills = vec![Fill::Time, Fill::Null, Fill::Null, fill];
    series.iter().for_each(|&index| fills[index] = Fill::Series);
    GapFillExec::try_new(input, 0, series, Range { start: 0, finish: 50 }, Arc::new(FixedSteps(10)), fills)
}

#[test]
fn the_order_of_series_and_time_is_kept_and_no_other() {
    let order = |series: &[usize], order: &[usize]| {
        let exec = sorted(series.to_vec(), order, Fill::Null).unwrap();
        exec.properties().output_ordering().map(ToString::to_string)
    };
    assert_eq!(order(&[1, 2], &[1, 2, 0]).unwrap(), "a@1 ASC, b@2 ASC, time@0 ASC NULLS LAST");
    assert_eq!(order(&[1, 2], &[2, 1, 0]).unwrap(), "b@2 ASC, a@1 ASC, time@0 ASC NULLS LAST");
    assert_eq!(order(&[1], &[0, 1]), None);
    assert_eq!(order(&[1], &[1, 3, 0]).unwrap(), "a@1 ASC, time@0 ASC NULLS LAST");
    assert_eq!(order(&[], &[0]).unwrap(), "time@0 ASC NULLS LAST");
}

#[test]
fn a_series_is_wanted_in_one_partition_and_in_order() {
    let one = Arc::new(sorted(vec![], &[0], Fill::Null).unwrap());
    let requirements = one.input_distribution_requirements().into_per_child();
    assert!(matches!(requirements.as_slice(), [Distribution::SinglePartition]));
    let many = Arc::new(sorted(vec![1, 2], &[1, 2, 0], Fill::Null).unwrap());
    let requirements = many.input_distribution_requirements().into_per_child();
    assert!(matches!(requirements.as_slice(), [Distribution::KeyPartitioned(keys)] if keys.len() == 2));
    let required = many.required_input_ordering()[0].clone().unwrap().into_single();
    let given = many.input().equivalence_properties();
    assert!(given.ordering_satisfy_requirement(required).unwrap());
    let text = displayable(many.as_ref()).one_line().to_string();
    let expected = "GapFillExec: time=time, series=[a, b], buckets=[0, 50), fill=[time, series, series, null]";
    assert_eq!(text.trim(), expected);
    // Hash partitions by the series stay what they are, of anything else only their number is known.
    let partitions = |column: usize| {
        let by = super::properties::column(&many.schema(), column);
        let hashed = RepartitionExec::try_new(Arc::clone(many.input()), Partitioning::Hash(vec![by], 3)).unwrap();
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        let again = Arc::clone(&many).replace_children(vec![Arc::new(hashed)], options).unwrap();
        again.output_partitioning().to_string()
    };
    assert_eq!(partitions(2), "Hash([b@2], 3)");
    assert_eq!(partitions(3), "UnknownPartitioning(3)");
}

#[test]
fn only_columns_that_may_stay_null_become_nullable() {
    let nullable = |fill| sorted(vec![1], &[1, 0], fill).unwrap().schema().field(3).is_nullable();
    assert!(nullable(Fill::Null) && nullable(locf(false, None)) && nullable(line(false)));
    assert!(!nullable(Fill::Value(lit(0i64))));
    assert!(nullable(Fill::Value(lit(ScalarValue::Int64(None)))));
}

#[test]
fn what_does_not_fit_is_an_error_of_the_plan() {
    let check = |exec: Result<GapFillExec>, expected: &str| match exec {
        Err(DataFusionError::Plan(message)) => assert!(message.contains(expected), "{message}"),
        other => panic!("{other:?}"),
    };
    check(sorted(vec![1, 1], &[], Fill::Null), "column 1 is not filled as one of the series");
    check(sorted(vec![], &[], Fill::Time), "the columns [0, 3] are filled as such");
    check(sorted(vec![], &[], Fill::Value(lit("x"))), "of type Int64 cannot be filled with Utf8");
    check(sorted(vec![], &[], Fill::Value(Arc::new(Column::new("b", 2)))), "which is not constant");
    let at = Fill::Interpolate { treat_null_as_missing: false, prev: None, next: None, at: Some(1) };
    check(sorted(vec![], &[], at), "is not a time of \"value\"");
    let texts = || batch(integers(&[]), Arc::new(StringArray::from(Vec::<&str>::new())));
    let range = Range { start: 0, finish: 1 };
    check(exec(texts(), range, 10, line(false)), "cannot be interpolated");
    check(exec(texts(), range, 0, Fill::Null), "a bucket cannot be 0 wide");
    let time = batch(Arc::new(Float64Array::from(vec![1.0])), integers(&[None]));
    check(exec(time, range, 1, Fill::Null), "buckets of type Float64 cannot be filled");
}
