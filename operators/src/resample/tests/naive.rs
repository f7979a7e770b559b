//! Resampling of one series, step by step, each looked up among all samples.

use std::collections::BTreeMap;

use datafusion_common::ScalarValue;

use crate::resample::{Extent, Method};

/// The rows of a series: their times, and the values of the columns that are resampled.
pub(super) type Rows = Vec<(i64, Vec<ScalarValue>)>;

/// A row of the output: the step, the values, and whether one was not measured.
pub(super) type Made = (i64, Vec<ScalarValue>, bool);

/// `steps` are all there are, far beyond the rows on both sides.
pub(super) fn resample(
    rows: &Rows,
    steps: &[i64],
    extent: Extent,
    methods: &[Method],
    max_gap: Option<i64>,
) -> Vec<Made> {
    let (Some((first, _)), Some((last, _))) = (rows.first(), rows.last()) else { return vec![] };
    let start = extent.start.unwrap_or_else(|| *steps.iter().rfind(|step| *step <= first).unwrap());
    let finish = extent.finish.unwrap_or(last + 1);
    let mut columns = vec![BTreeMap::new(); methods.len()];
    for (time, values) in rows {
        for (column, value) in columns.iter_mut().zip(values) {
            if !value.is_null() {
                column.insert(*time, value.clone());
            }
        }
    }
    let nulls: Vec<ScalarValue> =
        rows[0].1.iter().map(|value| ScalarValue::try_from(&value.data_type()).unwrap()).collect();
    let steps = steps.iter().copied().filter(|step| (start..finish).contains(step));
    steps
        .map(|step| {
            let mut invented = false;
            let mut known = false;
            let mut values = vec![];
            for ((samples, method), null) in columns.iter().zip(methods).zip(&nulls) {
                let value = samples.get(&step).cloned().or_else(|| {
                    let value = invent(samples, step, *method, max_gap.unwrap_or(i64::MAX));
                    invented |= value.is_some();
                    value
                });
                known |= value.is_some();
                values.push(value.unwrap_or_else(|| null.clone()));
            }
            (step, values, invented || !known)
        })
        .collect()
}

fn invent(samples: &BTreeMap<i64, ScalarValue>, step: i64, method: Method, max_gap: i64) -> Option<ScalarValue> {
    let before = samples.range(..step).next_back();
    let after = samples.range(step..).next();
    let near = |sample: &(&i64, &ScalarValue)| (sample.0 - step).abs() <= max_gap;
    let sample = match method {
        Method::Linear => {
            let (from, to) = before.zip(after)?;
            return (to.0 - from.0 <= max_gap).then(|| line((*from.0, from.1), (*to.0, to.1), step));
        }
        Method::Locf => before,
        Method::Next => after,
        Method::Nearest => match (before, after) {
            (Some(before), Some(after)) if after.0 - step < step - before.0 => Some(after),
            (Some(before), _) => Some(before),
            (None, after) => after,
        },
        Method::None => None,
    };
    sample.filter(near).map(|(_, value)| value.clone())
}

fn line((x0, from): (i64, &ScalarValue), (x1, to): (i64, &ScalarValue), x: i64) -> ScalarValue {
    let float = |y0: f64, y1: f64| {
        if y0 == y1 { y0 } else { (y0 * (x1 - x) as f64 + y1 * (x - x0) as f64) / (x1 - x0) as f64 }
    };
    let exact = |y0: i128, y1: i128| -> i128 {
        let (before, span) = (i128::from(x - x0), i128::from(x1 - x0));
        let sum = 2 * (y0 * (span - before) + y1 * before)
            + if y0 * (span - before) + y1 * before < 0 { -span } else { span };
        sum / (2 * span)
    };
    use ScalarValue::{Decimal128, Float32, Float64, Int16, Int32, Int64};
    match (from, to) {
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
