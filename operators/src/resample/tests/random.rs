//! Random series against the naive implementation.
//!
//! The columns: time, two that may be of the series, and values of five kinds. Some of these are resampled, in any order.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion_common::ScalarValue;
use datafusion_physical_plan::ExecutionPlan;
use datafusion_physical_plan::test::TestMemoryExec;
use futures::TryStreamExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::naive::{self, Rows};
use super::{Uneven, context};
use crate::gapfill::tests::random::{pick, rows_of, time_value, value};
use crate::resample::{Aligned, Extent, FixedGrid, Method, Resample, ResampleExec};

/// The values of the columns of a series, and its rows.
type Series = (Vec<ScalarValue>, Vec<(Option<i64>, Vec<ScalarValue>)>);

/// One random query.
struct Case {
    schema: SchemaRef,
    resample: Resample,
    /// All steps anywhere near the rows.
    steps: Vec<i64>,
    /// Sorted, by partition.
    partitions: Vec<Vec<Series>>,
}

fn schema(random: &mut StdRng) -> SchemaRef {
    let micros = |zone: Option<&str>| DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
    let times =
        [DataType::Int16, DataType::Int32, DataType::Int64, DataType::Date32, micros(None), micros(Some("UTC"))];
    let types = [
        pick(random, &times),
        DataType::Utf8View,
        DataType::Int64,
        pick(random, &[DataType::Float32, DataType::Float64]),
        pick(random, &[DataType::Int16, DataType::Int32, DataType::Int64]),
        DataType::Decimal128(10, 2),
        DataType::Utf8View,
        DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8)),
    ];
    let field = |(index, data_type): (usize, DataType)| Field::new(format!("c{index}"), data_type, true);
    Arc::new(Schema::new(types.into_iter().enumerate().map(field).collect::<Vec<_>>()))
}

impl Case {
    fn new(random: &mut StdRng) -> Self {
        let schema = schema(random);
        let (aligned, steps): (Arc<dyn Aligned>, Vec<i64>) = if random.random_bool(0.3) {
            (Arc::new(Uneven), (-400..400).map(Uneven::step).collect())
        } else {
            let (origin, width) = (random.random_range(-20..20), pick(random, &[1, 5, 10]));
            (Arc::new(FixedGrid { origin, width }), (-3000..3000).map(|k| origin + k * width).collect())
        };
        let mut columns: Vec<usize> = (3..8).collect();
        columns.shuffle(random);
        columns.truncate(random.random_range(1..6));
        let methods = [Method::Linear, Method::Locf, Method::Nearest, Method::Next, Method::None];
        let method = |random: &mut StdRng, column: usize| {
            let is_number = column < 6;
            pick(random, if is_number { &methods } else { &methods[1..] })
        };
        let side = |random: &mut StdRng| random.random_bool(0.5).then(|| random.random_range(-250..250i64));
        let start = side(random).map(|start| aligned.floor(start).unwrap());
        let finish = side(random);
        let resample = Resample {
            time: 0,
            series: pick(random, &[vec![], vec![1], vec![2], vec![2, 1]]),
            values: columns.into_iter().map(|column| (column, method(random, column))).collect(),
            steps: aligned,
            extent: Extent { start, finish },
            // Often one that samples at steps are just within, or just not.
            max_gap: match random.random_range(0..4) {
                0 | 1 => None,
                2 => Some(pick(random, &[9, 10, 20, 30])),
                _ => Some(random.random_range(0..60)),
            },
            filled: "filled".to_owned(),
        };
        let partitions = if resample.series.is_empty() { 1 } else { 2 };
        let mut case = Self { schema, resample, steps, partitions: vec![vec![]; partitions] };
        case.make_series(random);
        case
    }

    fn make_series(&mut self, random: &mut StdRng) {
        let series = &self.resample.series;
        let count = random.random_range(0..if series.is_empty() { 2 } else { 7 });
        let mut part =
            |column| (series.contains(&column) && random.random_bool(0.9)).then(|| random.random_range(0..3));
        // In any order: that of the series is not looked at.
        let keys: BTreeSet<(Option<i64>, Option<i64>)> = (0..count).map(|_| (part(1), part(2))).collect();
        for (a, b) in keys {
            let text = a.map(|a| format!("a series with a long name: {a}"));
            let key = vec![ScalarValue::Utf8View(text), ScalarValue::Int64(b)];
            let partition = random.random_range(0..self.partitions.len());
            let rows = self.make_rows(random);
            if !rows.is_empty() {
                self.partitions[partition].push((key, rows));
            }
        }
    }

    fn make_rows(&self, random: &mut StdRng) -> Vec<(Option<i64>, Vec<ScalarValue>)> {
        let nulls = pick(random, &[0.0, 0.1, 0.5, 0.95]);
        let longest = pick(random, &[1, 2, 40]);
        let at_steps = pick(random, &[0.2, 0.9]);
        let pause = pick(random, &[2, 12, 60]);
        let mut time = random.random_range(-200..100);
        let row = |random: &mut StdRng, time| {
            let values = (3..8).map(|column| value(random, self.schema.field(column).data_type(), nulls));
            (time, values.collect())
        };
        let mut rows = vec![];
        for _ in 0..random.random_range(0..=longest) {
            time += random.random_range(0..pause);
            // At a step more often than chance has it.
            if random.random_bool(at_steps) {
                time = *self.steps.iter().find(|step| **step >= time).unwrap();
            }
            rows.push(row(random, Some(time)));
        }
        if random.random_bool(0.2) {
            rows.push(row(random, None));
        }
        rows
    }

    fn batches(&self, random: &mut StdRng, series: &[Series]) -> Vec<RecordBatch> {
        let time_type = self.schema.field(0).data_type();
        let no_time = ScalarValue::try_from(time_type).unwrap();
        let mut rows: Vec<Vec<ScalarValue>> = vec![];
        for (key, of_series) in series {
            for (time, values) in of_series {
                let time = time.map_or_else(|| no_time.clone(), |time| time_value(time_type, time));
                rows.push([time].iter().chain(key).chain(values).cloned().collect());
            }
        }
        let mut batches = vec![];
        let max = pick(random, &[1, 2, 3, 20, 1000]);
        let mut rest = rows.as_slice();
        while !rest.is_empty() {
            if random.random_bool(0.1) {
                batches.push(RecordBatch::new_empty(Arc::clone(&self.schema)));
            }
            let (rows, others) = rest.split_at(random.random_range(1..=max).min(rest.len()));
            let column = |index: usize| ScalarValue::iter_to_array(rows.iter().map(|row| row[index].clone())).unwrap();
            batches.push(RecordBatch::try_new(Arc::clone(&self.schema), (0..8).map(column).collect()).unwrap());
            rest = others;
        }
        batches
    }

    /// The rows of the output, as they should be.
    fn expected(&self, series: &[Series]) -> Vec<Vec<ScalarValue>> {
        let Resample { extent, max_gap, values, .. } = &self.resample;
        let methods: Vec<Method> = values.iter().map(|(_, method)| *method).collect();
        let mut output = vec![];
        for (key, rows) in series {
            let chosen = |row: &[ScalarValue]| values.iter().map(|(column, _)| row[column - 3].clone()).collect();
            let rows: Rows = rows.iter().filter_map(|(time, row)| Some(((*time)?, chosen(row)))).collect();
            for (step, values, filled) in naive::resample(&rows, &self.steps, *extent, &methods, *max_gap) {
                let mut row: Vec<_> = self.resample.series.iter().map(|column| key[column - 1].clone()).collect();
                row.push(time_value(self.schema.field(0).data_type(), step));
                row.extend(values);
                row.push(ScalarValue::Boolean(Some(filled)));
                output.push(row);
            }
        }
        output
    }
}

async fn check_random(seed: u64) -> usize {
    let random = &mut StdRng::seed_from_u64(seed);
    let case = Case::new(random);
    let batches: Vec<_> = case.partitions.iter().map(|series| case.batches(random, series)).collect();
    let input = TestMemoryExec::try_new_exec(&batches, Arc::clone(&case.schema), None).unwrap();
    let exec = Arc::new(ResampleExec::try_new(input, case.resample.clone()).unwrap());
    let batch_rows = pick(random, &[1, 2, 3, 7, 8192]);
    let mut rows = 0;
    for (partition, series) in case.partitions.iter().enumerate() {
        let output: Vec<RecordBatch> =
            exec.execute(partition, context(batch_rows)).unwrap().try_collect().await.unwrap();
        for batch in &output {
            assert!(0 < batch.num_rows() && batch.num_rows() <= batch_rows, "seed {seed}: {} rows", batch.num_rows());
            assert_eq!(batch.schema(), exec.schema());
        }
        let (output, expected) = (rows_of(&output), case.expected(series));
        for (row, (output, expected)) in output.iter().zip(&expected).enumerate() {
            assert_eq!(output, expected, "seed {seed}, partition {partition}, row {row}: {:?}", case.resample);
        }
        assert_eq!(output.len(), expected.len(), "seed {seed}, partition {partition}: {:?}", case.resample);
        rows += output.len();
    }
    rows
}

#[tokio::test]
async fn random_series_are_resampled_as_the_naive_implementation_does() {
    let first: u64 = rand::rng().random_range(0..1 << 40);
    let mut rows = 0;
    for seed in (0..500).chain(first..first + 500) {
        rows += check_random(seed).await;
    }
    assert!(rows > 10_000, "{rows} rows in all");
}
