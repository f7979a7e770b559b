//! Random series against the naive implementation.
//!
//! The columns: bucket, two of the series, one that depends on them, NULL, a constant, an expression over the row, two carried
//! forward, and on lines a float, an integer and a decimal, which has a time of its own in the last column.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion_common::ScalarValue;
use datafusion_expr::Operator;
use datafusion_physical_expr::expressions::{Column, binary, lit};
use datafusion_physical_plan::ExecutionPlan;
use datafusion_physical_plan::test::TestMemoryExec;
use futures::TryStreamExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::naive::{Naive, Row, Rule, Table};
use super::{Months, context};
use crate::gapfill::{Fill, FixedSteps, GapFillExec, InterleavedGapFillExec, Lookup, Range, Sample, Steps};

pub(crate) fn time_value(data_type: &DataType, time: i64) -> ScalarValue {
    match data_type {
        DataType::Int16 => ScalarValue::Int16(Some(time as i16)),
        DataType::Int32 => ScalarValue::Int32(Some(time as i32)),
        DataType::Int64 => ScalarValue::Int64(Some(time)),
        DataType::Date32 => ScalarValue::Date32(Some(time as i32)),
        DataType::Timestamp(_, zone) => ScalarValue::TimestampMicrosecond(Some(time), zone.clone()),
        other => panic!("{other}"),
    }
}

pub(crate) fn time_of(value: &ScalarValue) -> i64 {
    match value {
        ScalarValue::Int16(Some(time)) => (*time).into(),
        ScalarValue::Int32(Some(time)) | ScalarValue::Date32(Some(time)) => (*time).into(),
        ScalarValue::Int64(Some(time)) | ScalarValue::TimestampMicrosecond(Some(time), _) => *time,
        other => panic!("{other:?}"),
    }
}

/// One random query.
struct Case {
    schema: SchemaRef,
    range: Range,
    steps: Arc<dyn Steps>,
    series: Vec<usize>,
    fills: Vec<Fill>,
    rules: Vec<Rule>,
    nulls: Vec<ScalarValue>,
    tables: Vec<Arc<Table>>,
    /// Sorted rows, by partition.
    partitions: Vec<Vec<Row>>,
}

fn text(value: Option<String>) -> ScalarValue {
    ScalarValue::Utf8View(value)
}

pub(crate) fn value(random: &mut StdRng, data_type: &DataType, nulls: f64) -> ScalarValue {
    let number = random.random_range(-50i64..50);
    if random.random_bool(nulls) {
        return ScalarValue::try_from(data_type).unwrap();
    }
    match data_type {
        DataType::Int16 => ScalarValue::Int16(Some(number as i16)),
        DataType::Int32 => ScalarValue::Int32(Some(number as i32)),
        DataType::Int64 => ScalarValue::Int64(Some(number)),
        DataType::Float32 => ScalarValue::Float32(Some(number as f32 / 4.0)),
        DataType::Float64 => ScalarValue::Float64(Some(number as f64 / 8.0)),
        DataType::Decimal128(precision, scale) => ScalarValue::Decimal128(Some(number.into()), *precision, *scale),
        DataType::Utf8View => text(Some(format!("a text that is longer than twelve bytes: {number}"))),
        DataType::Dictionary(_, _) => ScalarValue::Dictionary(
            Box::new(DataType::Int8),
            Box::new(ScalarValue::Utf8(Some(format!("word {}", number % 9)))),
        ),
        other => panic!("{other}"),
    }
}

pub(crate) fn pick<T: Clone>(random: &mut StdRng, from: &[T]) -> T {
    from[random.random_range(0..from.len())].clone()
}

impl Case {
    fn new(random: &mut StdRng) -> Self {
        let micros = |zone: Option<&str>| DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
        let times =
            [DataType::Int16, DataType::Int32, DataType::Int64, DataType::Date32, micros(None), micros(Some("UTC"))];
        let time = pick(random, &times);
        let integer = pick(random, &[DataType::Int16, DataType::Int32, DataType::Int64]);
        let float = pick(random, &[DataType::Float32, DataType::Float64]);
        let word = pick(
            random,
            &[DataType::Utf8View, DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8))],
        );
        let types = [
            time.clone(),
            DataType::Utf8View,
            DataType::Int64,
            DataType::Utf8View,
            DataType::Int64,
            DataType::Int64,
            DataType::Boolean,
            word,
            DataType::Utf8View,
            float,
            integer,
            DataType::Decimal128(10, 2),
            time.clone(),
        ];
        let field =
            |(index, data_type): (usize, &DataType)| Field::new(format!("c{index}"), data_type.clone(), index > 0);
        let schema = Arc::new(Schema::new(types.iter().enumerate().map(field).collect::<Vec<_>>()));
        let nulls: Vec<ScalarValue> = types.iter().map(|data_type| ScalarValue::try_from(data_type).unwrap()).collect();
        let series: Vec<usize> = pick(random, &[vec![], vec![1], vec![2], vec![1, 2]]);
        let (width, steps): (i64, Arc<dyn Steps>) = if random.random_bool(0.3) {
            (30 * 8, Arc::new(Months { unit: 8 }))
        } else {
            (10, Arc::new(FixedSteps(10)))
        };
        let start = width * random.random_range(-3..3);
        let range = Range { start, finish: start + random.random_range(-5..width * 20) };
        let partitions = if series.is_empty() { 1 } else { random.random_range(1..4) };
        let mut case = Self {
            schema,
            range,
            steps,
            fills: vec![],
            rules: vec![],
            nulls,
            tables: vec![],
            partitions: vec![],
            series,
        };
        case.choose_rules(random);
        case.make_rows(random, partitions, width);
        case
    }

    fn choose_rules(&mut self, random: &mut StdRng) {
        let mut table = |random: &mut StdRng| -> Option<Arc<Table>> {
            let table = random.random_bool(0.7).then(|| Arc::new(Table::default()))?;
            self.tables.push(Arc::clone(&table));
            Some(table)
        };
        let seven = ScalarValue::Int64(Some(7));
        self.rules = vec![
            Rule::Time,
            Rule::Series,
            Rule::Series,
            Rule::Series,
            Rule::Constant(ScalarValue::Int64(None)),
            Rule::Constant(seven),
            // The constant's column is 7 in these rows, the one before NULL.
            Rule::Constant(ScalarValue::Boolean(Some(true))),
            Rule::Locf { missing: random.random_bool(0.5), prev: table(random) },
            Rule::Locf { missing: random.random_bool(0.5), prev: table(random) },
            Rule::Line { missing: random.random_bool(0.3), prev: table(random), next: table(random), at: None },
            Rule::Line { missing: random.random_bool(0.8), prev: table(random), next: table(random), at: None },
            Rule::Line { missing: random.random_bool(0.5), prev: table(random), next: table(random), at: Some(12) },
            Rule::Constant(self.nulls[12].clone()),
        ];
        if !self.series.contains(&1) {
            self.rules[1] = Rule::Constant(self.nulls[1].clone());
        }
        if !self.series.contains(&2) {
            self.rules[2] = Rule::Constant(self.nulls[2].clone());
        }
        let lookup = |table: &Option<Arc<Table>>| table.clone().map(|table| table as Arc<dyn Lookup>);
        let column = |index: usize| Arc::new(Column::new(&format!("c{index}"), index)) as _;
        self.fills = self
            .rules
            .iter()
            .enumerate()
            .map(|(index, rule)| match rule {
                Rule::Time => Fill::Time,
                Rule::Series => Fill::Series,
                Rule::Constant(ScalarValue::Boolean(_)) => {
                    Fill::Row(binary(column(5), Operator::Eq, lit(7i64), &self.schema).unwrap())
                }
                Rule::Constant(value) if index == 5 => Fill::Value(lit(value.clone())),
                Rule::Constant(_) => Fill::Null,
                Rule::Locf { missing, prev } => Fill::Locf { treat_null_as_missing: *missing, prev: lookup(prev) },
                Rule::Line { missing, prev, next, at } => Fill::Interpolate {
                    treat_null_as_missing: *missing,
                    prev: lookup(prev),
                    next: lookup(next),
                    at: *at,
                },
            })
            .collect();
    }

    fn make_rows(&mut self, random: &mut StdRng, partitions: usize, width: i64) {
        let count = if self.series.is_empty() { 1 } else { random.random_range(0..7) };
        let keys: BTreeSet<(Option<i64>, Option<i64>)> = (0..count)
            .map(|_| {
                let mut part = |column| {
                    (self.series.contains(&column) && random.random_bool(0.9)).then(|| random.random_range(0..3))
                };
                (part(1), part(2))
            })
            .collect();
        self.partitions = vec![vec![]; partitions];
        let density = pick(random, &[0.05, 0.5, 0.9, 1.0]);
        let nulls = pick(random, &[0.0, 0.1, 0.5, 0.9]);
        let empty = if self.series.is_empty() { 0.2 } else { 0.0 };
        for (a, b) in keys {
            let partition = random.random_range(0..partitions);
            let a = a.map(|a| format!("a series with a long name: {a}"));
            let series: Row = [(1, text(a.clone())), (2, ScalarValue::Int64(b))]
                .into_iter()
                .filter_map(|(column, value)| self.series.contains(&column).then_some(value))
                .collect();
            self.fill_tables(random, &series, nulls);
            let mut rows = vec![];
            for time in self.candidates(random, width) {
                if random.random_bool(density) {
                    let mut row: Row = (0..self.nulls.len()).map(|_| ScalarValue::Null).collect();
                    for (column, cell) in row.iter_mut().enumerate().skip(4) {
                        if column != 6 && column != 12 {
                            *cell = value(random, self.schema.field(column).data_type(), nulls);
                        }
                    }
                    let data_type = self.schema.field(0).data_type();
                    row[0] = time_value(data_type, time);
                    row[1] = text(a.clone());
                    row[2] = ScalarValue::Int64(b);
                    row[3] = text(a.as_ref().map(|a| format!("of {a} and {b:?}")));
                    row[6] = ScalarValue::Boolean(Some(false));
                    row[12] = time_value(data_type, time + random.random_range(0..width));
                    rows.push(row);
                }
            }
            if rows.is_empty() && !self.series.is_empty() {
                continue;
            }
            if !random.random_bool(empty) {
                self.partitions[partition].extend(rows);
            }
        }
    }

    /// Times that rows may have: the buckets, some before and after, now and then one between two.
    fn candidates(&self, random: &mut StdRng, width: i64) -> Vec<i64> {
        let Range { start, finish } = self.range;
        let mut times: BTreeSet<i64> =
            (1..4).flat_map(|k| [start - k * width, start.max(finish) + k * width]).collect();
        let buckets = (0..).map_while(|k| self.steps.nth(start, k).unwrap()).take_while(|&time| time < finish);
        times.extend(buckets);
        times.extend(random.random_bool(0.2).then(|| start + width * random.random_range(-2..8) + 3));
        times.into_iter().collect()
    }

    fn fill_tables(&self, random: &mut StdRng, series: &Row, nulls: f64) {
        let mut tables = self.tables.iter();
        for (column, rule) in self.rules.iter().enumerate() {
            let (prev, next) = match rule {
                Rule::Locf { prev, .. } => (prev, &None),
                Rule::Line { prev, next, .. } => (prev, next),
                _ => continue,
            };
            let Range { start, finish } = self.range;
            let times = [start - random.random_range(1..50), finish + random.random_range(0..50)];
            for (table, time) in [prev, next].into_iter().zip(times) {
                if let Some(table) = table {
                    assert!(Arc::ptr_eq(table, tables.next().unwrap()));
                    if random.random_bool(0.8) {
                        let value = value(random, self.schema.field(column).data_type(), nulls);
                        let sample = Sample { time, value };
                        table.samples.lock().unwrap().insert(series.clone(), sample);
                    }
                }
            }
        }
    }

    fn batches(&self, random: &mut StdRng, rows: &[Row]) -> Vec<RecordBatch> {
        let mut batches = vec![];
        let mut rest = rows;
        // The keys of a dictionary are bytes, and `iter_to_array` gives each row a word of its own.
        let max = pick(random, &[1, 3, 20, 127]);
        while !rest.is_empty() {
            if random.random_bool(0.1) {
                batches.push(RecordBatch::new_empty(Arc::clone(&self.schema)));
            }
            let (rows, others) = rest.split_at(random.random_range(1..=max).min(rest.len()));
            let column = |index: usize| ScalarValue::iter_to_array(rows.iter().map(|row| row[index].clone())).unwrap();
            let columns = (0..self.nulls.len()).map(column).collect();
            batches.push(RecordBatch::try_new(Arc::clone(&self.schema), columns).unwrap());
            rest = others;
        }
        batches
    }
}

pub(crate) fn rows_of(batches: &[RecordBatch]) -> Vec<Row> {
    let row = |batch: &RecordBatch, row| -> Row {
        batch.columns().iter().map(|column| ScalarValue::try_from_array(column, row).unwrap()).collect()
    };
    batches.iter().flat_map(|batch| (0..batch.num_rows()).map(move |at| row(batch, at))).collect()
}

async fn check_random(seed: u64) {
    let random = &mut StdRng::seed_from_u64(seed);
    let case = Case::new(random);
    let batches: Vec<_> = case.partitions.iter().map(|rows| case.batches(random, rows)).collect();
    let input = TestMemoryExec::try_new_exec(&batches, Arc::clone(&case.schema), None).unwrap();
    let (steps, fills) = (Arc::clone(&case.steps), case.fills.clone());
    let exec = Arc::new(GapFillExec::try_new(input, 0, case.series.clone(), case.range, steps, fills).unwrap());
    let batch_rows = pick(random, &[1, 2, 3, 7, 50, 8192]);
    let data_type = case.schema.field(0).data_type().clone();
    let time = |time| time_value(&data_type, time);
    let naive = Naive {
        steps: case.steps.as_ref(),
        range: case.range,
        series: &case.series,
        rules: &case.rules,
        nulls: &case.nulls,
        time: &time,
    };
    for (partition, rows) in case.partitions.iter().enumerate() {
        let output: Vec<RecordBatch> =
            exec.execute(partition, context(batch_rows)).unwrap().try_collect().await.unwrap();
        let asked: Vec<_> = case.tables.iter().map(|table| table.take_asked()).collect();
        let expected = naive.fill(rows, &time_of, 0);
        let expected_asked: Vec<_> = case.tables.iter().map(|table| table.take_asked()).collect();
        for batch in &output {
            assert!(0 < batch.num_rows() && batch.num_rows() <= batch_rows, "seed {seed}: {} rows", batch.num_rows());
            assert_eq!(batch.schema(), exec.schema());
        }
        let output = rows_of(&output);
        for (row, (output, expected)) in output.iter().zip(&expected).enumerate() {
            assert_eq!(
                output, expected,
                "seed {seed}, partition {partition}, row {row}: {:?} {:?}",
                case.range, case.rules
            );
        }
        assert_eq!(output.len(), expected.len(), "seed {seed}, partition {partition}");
        assert_eq!(asked, expected_asked, "seed {seed}, partition {partition}: lookups");
    }
}

/// The same rows in the order of time, cut into partitions, by the operator that takes them so.
async fn check_interleaved(seed: u64) {
    let random = &mut StdRng::seed_from_u64(seed);
    let mut case = Case::new(random);
    while case.series.is_empty() || case.steps.fixed().is_none() {
        case = Case::new(random);
    }
    case.rules.truncate(6);
    case.rules.extend([
        Rule::Constant(case.nulls[6].clone()),
        Rule::Locf { missing: false, prev: None },
        Rule::Locf { missing: false, prev: None },
        Rule::Line { missing: false, prev: None, next: None, at: None },
        Rule::Line { missing: false, prev: None, next: None, at: None },
        Rule::Line { missing: false, prev: None, next: None, at: None },
        Rule::Constant(case.nulls[12].clone()),
    ]);
    case.fills[6] = Fill::Null;
    case.fills[7..9].fill(Fill::Locf { treat_null_as_missing: false, prev: None });
    case.fills[9..12].fill(Fill::Interpolate { treat_null_as_missing: false, prev: None, next: None, at: None });
    let data_type = case.schema.field(0).data_type().clone();
    let mut rows: Vec<Row> = case.partitions.concat();
    let naive = Naive {
        steps: case.steps.as_ref(),
        range: case.range,
        series: &case.series,
        rules: &case.rules,
        nulls: &case.nulls,
        time: &|time| time_value(&data_type, time),
    };
    let mut expected: Vec<String> =
        case.partitions.iter().flat_map(|rows| naive.fill(rows, &time_of, 0)).map(|row| format!("{row:?}")).collect();
    rows.sort_by_key(|row| time_of(&row[0]));
    let mut partitions = vec![vec![]];
    for bucket in rows.chunk_by(|a, b| a[0] == b[0]) {
        while random.random_bool(0.1) {
            partitions.push(vec![]);
        }
        partitions.last_mut().unwrap().extend_from_slice(bucket);
    }
    let batches: Vec<_> = partitions.iter().map(|rows| case.batches(random, rows)).collect();
    let input: Arc<dyn ExecutionPlan> = TestMemoryExec::try_new_exec(&batches, Arc::clone(&case.schema), None).unwrap();
    let (steps, fills) = (Arc::clone(&case.steps), case.fills.clone());
    let gaps = GapFillExec::try_new(Arc::clone(&input), 0, case.series.clone(), case.range, steps, fills).unwrap();
    let exec = InterleavedGapFillExec::try_new(&gaps, input).unwrap().expect("it is simple");
    let batch_rows = pick(random, &[1, 2, 3, 7, 50, 8192]);
    // As often as it is asked, and whichever partition ends last.
    for _ in 0..2 {
        let mut streams: Vec<_> = (0..partitions.len())
            .map(|partition| Some(exec.execute(partition, context(batch_rows)).unwrap()))
            .collect();
        let mut output = vec![];
        while streams.iter().any(Option::is_some) {
            let at = random.random_range(0..streams.len());
            if let Some(stream) = &mut streams[at] {
                match stream.try_next().await.unwrap() {
                    Some(batch) => {
                        assert_eq!(batch.schema(), exec.schema());
                        output.push(batch);
                    }
                    None => streams[at] = None,
                }
            }
        }
        let mut output: Vec<String> = rows_of(&output).into_iter().map(|row| format!("{row:?}")).collect();
        output.sort();
        expected.sort();
        for (output, expected) in output.iter().zip(&expected) {
            assert_eq!(output, expected, "seed {seed}: {:?}, {} partitions", case.range, partitions.len());
        }
        assert_eq!(output.len(), expected.len(), "seed {seed}");
    }
}

#[tokio::test]
async fn random_series_that_take_turns_are_filled_as_the_naive_implementation_does() {
    let first: u64 = rand::rng().random_range(0..1 << 40);
    for seed in (0..300).chain(first..first + 300) {
        check_interleaved(seed).await;
    }
}

#[tokio::test]
async fn random_series_are_filled_as_the_naive_implementation_does() {
    let first: u64 = rand::rng().random_range(0..1 << 40);
    for seed in (0..300).chain(first..first + 300) {
        check_random(seed).await;
    }
}
