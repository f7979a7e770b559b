//! What gap filling means, one row at a time and with all rows in memory: what the operator is compared with.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use datafusion_common::{Result, ScalarValue};

use crate::gapfill::{Lookup, Range, Sample, Steps};

pub(super) type Row = Vec<ScalarValue>;

/// Samples by series; remembers what it was asked.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) samples: Mutex<HashMap<Row, Sample>>,
    pub(super) asked: Mutex<Vec<Row>>,
}

impl Table {
    fn ask(&self, series: &[ScalarValue]) -> Option<Sample> {
        self.asked.lock().unwrap().push(series.to_vec());
        self.samples.lock().unwrap().get(series).cloned()
    }

    /// The series it was asked for so far, sorted.
    pub(super) fn take_asked(&self) -> Vec<String> {
        let mut asked: Vec<String> = self.asked.lock().unwrap().drain(..).map(|row| format!("{row:?}")).collect();
        asked.sort();
        asked
    }
}

#[async_trait]
impl Lookup for Table {
    async fn row(&self, series: &[ScalarValue]) -> Result<Option<Sample>> {
        Ok(self.ask(series))
    }
}

/// How a column is filled.
#[derive(Debug, Clone)]
pub(super) enum Rule {
    Time,
    Series,
    Constant(ScalarValue),
    Locf { missing: bool, prev: Option<Arc<Table>> },
    Line { missing: bool, prev: Option<Arc<Table>>, next: Option<Arc<Table>>, at: Option<usize> },
}

pub(super) struct Naive<'a> {
    pub(super) steps: &'a dyn Steps,
    pub(super) range: Range,
    pub(super) series: &'a [usize],
    pub(super) rules: &'a [Rule],
    /// A NULL of each column's type.
    pub(super) nulls: &'a [ScalarValue],
    /// Makes a value of the type of time.
    pub(super) time: &'a dyn Fn(i64) -> ScalarValue,
}

/// A row of the output: its time, and the row of the input if it has one.
struct Slot<'a> {
    time: i64,
    row: Option<&'a Row>,
}

impl Naive<'_> {
    /// Fills rows that are sorted by series and time; `time_of` reads a value of the type of time.
    pub(super) fn fill(&self, rows: &[Row], time_of: &dyn Fn(&ScalarValue) -> i64, time: usize) -> Vec<Row> {
        let key = |row: &Row| -> Row { self.series.iter().map(|&column| row[column].clone()).collect() };
        let mut groups: Vec<(Row, Vec<&Row>)> = vec![];
        for row in rows {
            match groups.last_mut() {
                Some((last, group)) if *last == key(row) => group.push(row),
                _ => groups.push((key(row), vec![row])),
            }
        }
        if groups.is_empty() && self.series.is_empty() {
            groups.push((vec![], vec![]));
        }
        let fill = |(key, group): (Row, Vec<&Row>)| {
            let times: Vec<i64> = group.iter().map(|row| time_of(&row[time])).collect();
            self.fill_series(&key, &group, &times, time_of)
        };
        groups.into_iter().flat_map(fill).collect()
    }

    fn fill_series(&self, key: &Row, group: &[&Row], times: &[i64], of: &dyn Fn(&ScalarValue) -> i64) -> Vec<Row> {
        let mut buckets = (0..)
            .map_while(|k| self.steps.nth(self.range.start, k).unwrap())
            .take_while(|&bucket| bucket < self.range.finish)
            .peekable();
        let mut slots = vec![];
        for (row, &time) in group.iter().zip(times) {
            while let Some(bucket) = buckets.next_if(|&bucket| bucket < time) {
                slots.push(Slot { time: bucket, row: None });
            }
            buckets.next_if(|&bucket| bucket == time);
            slots.push(Slot { time, row: Some(row) });
        }
        slots.extend(buckets.map(|bucket| Slot { time: bucket, row: None }));
        let columns: Vec<Row> = (0..self.rules.len())
            .map(|column| match &self.rules[column] {
                Rule::Time => slots.iter().map(|slot| (self.time)(slot.time)).collect(),
                Rule::Series => {
                    let value = group.first().map_or(self.nulls[column].clone(), |row| row[column].clone());
                    vec![value; slots.len()]
                }
                Rule::Constant(value) => {
                    slots.iter().map(|slot| slot.row.map_or(value.clone(), |row| row[column].clone())).collect()
                }
                Rule::Locf { missing, prev } => self.locf(column, key, &slots, *missing, prev.as_deref()),
                Rule::Line { missing, prev, next, at } => {
                    let tables = (prev.as_deref(), next.as_deref());
                    self.line(column, key, &slots, *missing, tables, |row| at.map(|at| of(&row[at])))
                }
            })
            .collect();
        (0..slots.len()).map(|slot| columns.iter().map(|column| column[slot].clone()).collect()).collect()
    }

    fn is_inside(&self, time: i64) -> bool {
        self.range.start <= time && time < self.range.finish
    }

    fn locf(&self, column: usize, key: &Row, slots: &[Slot], missing: bool, prev: Option<&Table>) -> Row {
        let mut carried = self.nulls[column].clone();
        let mut asked = false;
        let mut output = vec![];
        for slot in slots {
            let given = slot.row.map(|row| row[column].clone());
            let is_filled = match &given {
                None => true,
                Some(value) => value.is_null() && missing && self.is_inside(slot.time),
            };
            if is_filled {
                if carried.is_null() && slot.time == self.range.start && !std::mem::replace(&mut asked, true) {
                    let found = prev.and_then(|prev| prev.ask(key));
                    carried = found.map_or(carried, |sample| sample.value);
                }
                output.push(carried.clone());
                continue;
            }
            let value = given.unwrap();
            if !(value.is_null() && missing) {
                carried = value.clone();
            }
            output.push(value);
        }
        output
    }

    fn line(
        &self,
        column: usize,
        key: &Row,
        slots: &[Slot],
        missing: bool,
        (prev, next): (Option<&Table>, Option<&Table>),
        at: impl Fn(&Row) -> Option<i64>,
    ) -> Row {
        let null = &self.nulls[column];
        type Point = (i64, ScalarValue);
        // None: not a row that lines go to. Some(None): one that breaks them.
        let point = |slot: &Slot| -> Option<Option<Point>> {
            let row = slot.row?;
            match &row[column] {
                value if !value.is_null() => Some(Some((at(row).unwrap_or(slot.time), value.clone()))),
                _ if missing => None,
                _ => Some(None),
            }
        };
        let find = |table: Option<&Table>| -> Option<Point> {
            let sample = table?.ask(key).filter(|sample| !sample.value.is_null())?;
            Some((sample.time, sample.value))
        };
        let mut from: Option<Point> = None;
        let mut after: Option<Option<Point>> = None;
        let mut output = vec![];
        for (index, slot) in slots.iter().enumerate() {
            if let Some(row) = slot.row {
                let value = row[column].clone();
                if let Some(point) = point(slot) {
                    from = point;
                }
                if !(value.is_null() && missing && self.is_inside(slot.time)) {
                    output.push(value);
                    continue;
                }
            }
            let to = slots[index..].iter().find_map(point);
            if to == Some(None) {
                output.push(null.clone());
                continue;
            }
            if from.is_none() && slot.time == self.range.start {
                from = find(prev);
            }
            let to = match (&from, to) {
                (None, _) => None,
                (_, Some(to)) => to,
                (_, None) => after.get_or_insert_with(|| find(next)).clone(),
            };
            output.push(match (&from, &to) {
                (Some(from), Some(to)) => interpolated(from, to, slot.time, null),
                _ => null.clone(),
            });
        }
        output
    }
}

fn interpolated(
    (x0, y0): &(i64, ScalarValue),
    (x1, y1): &(i64, ScalarValue),
    x: i64,
    null: &ScalarValue,
) -> ScalarValue {
    use ScalarValue::{Decimal128, Float32, Float64, Int16, Int32, Int64};
    if y0 == y1 {
        return y0.clone();
    }
    if x0 == x1 {
        return null.clone();
    }
    let (before, after, span) = (i128::from(x - x0), i128::from(x1 - x), i128::from(x1 - x0));
    let exact = |y0: i128, y1: i128| {
        let (sum, span) = ((y0 * after + y1 * before) * span.signum(), span.abs());
        (2 * sum + sum.signum() * span) / (2 * span)
    };
    let float = |y0: f64, y1: f64| (y0 * after as f64 + y1 * before as f64) / span as f64;
    match (y0, y1) {
        (Int16(Some(y0)), Int16(Some(y1))) => Int16(Some(exact((*y0).into(), (*y1).into()) as i16)),
        (Int32(Some(y0)), Int32(Some(y1))) => Int32(Some(exact((*y0).into(), (*y1).into()) as i32)),
        (Int64(Some(y0)), Int64(Some(y1))) => Int64(Some(exact((*y0).into(), (*y1).into()) as i64)),
        (Float32(Some(y0)), Float32(Some(y1))) => Float32(Some(float((*y0).into(), (*y1).into()) as f32)),
        (Float64(Some(y0)), Float64(Some(y1))) => Float64(Some(float(*y0, *y1))),
        (Decimal128(Some(y0), precision, scale), Decimal128(Some(y1), _, _)) => {
            Decimal128(Some(exact(*y0, *y1)), *precision, *scale)
        }
        other => panic!("{other:?}"),
    }
}
