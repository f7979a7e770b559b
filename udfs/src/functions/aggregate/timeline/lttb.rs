//! `lttb(ts, value, resolution)`: a series with fewer points that looks the same, as an array of rows (time, value).
//!
//! Largest triangle three buckets (Steinarsson, "Downsampling Time Series for Visual Representation", 2013): the first and the
//! last point stay; the others go to as many buckets as points are left to choose, and of each bucket the point is taken that
//! spans the largest triangle with the point taken before and the mean of the next bucket.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int32Array, PrimitiveArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, FieldRef, Float64Type, Int32Type, TimestampMicrosecondType};
use datafusion_common::Result;
use datafusion_expr::ReturnFieldArgs;

use super::super::super::call::{Value, fail};
use super::super::super::define::{Function, def};
use super::super::records::{lists_of, record_list};
use super::super::two_step::{Summary, aggregated};
use crate::types::SqlType;

/// A time in microseconds and a value.
pub(crate) type Point = (i64, f64);

/// The points seen.
#[derive(Debug, Clone)]
pub(crate) struct Points {
    resolution: i32,
    points: Vec<Point>,
}

/// The points to keep of points in order of time.
#[expect(clippy::cast_precision_loss, reason = "times and places are only weighed")]
pub(crate) fn downsampled(points: &[Point], resolution: usize) -> Vec<Point> {
    let ([first, .., last], true) = (points, points.len() > resolution && resolution >= 3) else {
        return points.to_vec();
    };
    let (inner, buckets) = (points.len() - 2, resolution - 2);
    // Where a bucket begins; the first point has one of its own.
    let begin = |bucket: usize| 1 + usize::try_from(bucket as u128 * inner as u128 / buckets as u128).unwrap_or(inner);
    // Times from the first on, as doubles do not have all digits of a time since 1970.
    let place = |point: &Point| (point.0.wrapping_sub(first.0).cast_unsigned() as f64, point.1);
    let mut kept = Vec::with_capacity(resolution);
    kept.push(*first);
    let mut before = place(first);
    for bucket in 0..buckets {
        let candidates = &points[begin(bucket)..begin(bucket + 1)];
        let next = if bucket + 1 < buckets { &points[begin(bucket + 1)..begin(bucket + 2)] } else { &[*last][..] };
        let sum = next.iter().map(place).fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        let after = (sum.0 / next.len() as f64, sum.1 / next.len() as f64);
        let area = |point: &Point| {
            let (time, value) = place(point);
            ((before.0 - after.0) * (value - before.1) - (before.0 - time) * (after.1 - before.1)).abs()
        };
        let (mut best, mut largest) = (&candidates[0], -1.0);
        for candidate in candidates {
            let area = area(candidate);
            if area > largest {
                (best, largest) = (candidate, area);
            }
        }
        before = place(best);
        kept.push(*best);
    }
    kept.push(*last);
    kept
}

/// The arguments of rows.
pub(crate) struct Rows<'a> {
    times: &'a PrimitiveArray<TimestampMicrosecondType>,
    values: &'a Float64Array,
    resolutions: &'a Int32Array,
}

impl Summary for Points {
    type Rows<'a> = Rows<'a>;

    fn open<'a>(arrays: &'a [ArrayRef], _: &'a [FieldRef]) -> Result<Rows<'a>> {
        Ok(Rows {
            times: arrays[0].as_primitive::<TimestampMicrosecondType>(),
            values: arrays[1].as_primitive::<Float64Type>(),
            resolutions: arrays[2].as_primitive::<Int32Type>(),
        })
    }

    fn add(group: &mut Option<Self>, rows: &Rows<'_>, row: usize) -> Value<()> {
        if rows.times.is_null(row) || rows.values.is_null(row) {
            return Ok(());
        }
        let summary = match group {
            Some(summary) => summary,
            None if rows.resolutions.is_null(row) => return fail("22023", "the resolution must not be null"),
            None => {
                let resolution = rows.resolutions.value(row);
                if resolution < 3 {
                    return fail("22023", format!("resolution {resolution} is less than 3"));
                }
                group.insert(Self { resolution, points: vec![] })
            }
        };
        summary.points.push((rows.times.value(row), rows.values.value(row)));
        Ok(())
    }

    fn merge(&mut self, other: Self) -> Value<()> {
        self.resolution = self.resolution.max(other.resolution);
        self.points.extend(other.points);
        Ok(())
    }

    /// Only ever a partial result, so that it needs no version: resolution, then times and values.
    fn write(&mut self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4 + self.points.len() * size_of::<Point>());
        bytes.extend(self.resolution.to_le_bytes());
        for (time, value) in &self.points {
            bytes.extend(time.to_le_bytes());
            bytes.extend(value.to_le_bytes());
        }
        bytes
    }

    fn read(bytes: &[u8]) -> Value<Self> {
        let Some((resolution, points)) = bytes.split_first_chunk() else {
            return fail("22P02", "not a partial result of lttb");
        };
        let (points, _) = points.as_chunks::<16>();
        let point = |bytes: &[u8; 16]| {
            let bits = u128::from_le_bytes(*bytes);
            let half = |shift: u32| u64::try_from((bits >> shift) & u128::from(u64::MAX)).unwrap_or_default();
            (half(0).cast_signed(), f64::from_bits(half(64)))
        };
        Ok(Self { resolution: i32::from_le_bytes(*resolution), points: points.iter().map(point).collect() })
    }

    fn heap_bytes(&self) -> usize {
        self.points.capacity() * size_of::<Point>()
    }

    fn results(groups: Vec<Option<Self>>, returns: &DataType) -> Result<ArrayRef> {
        let count = groups.len();
        let mut groups = groups.into_iter();
        let lists = |_| {
            let Some(mut group) = groups.next().flatten() else { return Ok(None) };
            group.points.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.total_cmp(&b.1)));
            Ok(Some(downsampled(&group.points, usize::try_from(group.resolution).unwrap_or(0))))
        };
        lists_of(returns, count, lists, |rows: Vec<Point>| {
            let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|point| point.0));
            // Not cast later, which would take a local time for one in UTC.
            let times: ArrayRef = match time_type(returns) {
                Some(zone) => Arc::new(times.with_timezone(zone)),
                None => Arc::new(times),
            };
            Ok(vec![times, Arc::new(Float64Array::from_iter_values(rows.iter().map(|point| point.1)))])
        })
    }
}

/// The zone of the times in an array of rows.
fn time_type(returns: &DataType) -> Option<Arc<str>> {
    let DataType::List(item) = returns else { return None };
    let DataType::Struct(fields) = item.data_type() else { return None };
    match fields.first()?.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    }
}

fn rows_of(time: SqlType) -> Result<FieldRef> {
    record_list(&[("time", time), ("value", SqlType::Float8)])
}

fn zoned(_: &ReturnFieldArgs<'_>) -> Result<FieldRef> {
    rows_of(SqlType::TimestampTz)
}

fn local(_: &ReturnFieldArgs<'_>) -> Result<FieldRef> {
    rows_of(SqlType::Timestamp)
}

/// The aggregate.
pub(super) fn aggregate() -> Function {
    def(
        "lttb",
        "A series with at most that many points which looks the same, as an array of rows (time, value).",
        "lttb(ts, temperature, 100)",
    )
    .computed("timestamptz, float8, int4 -> record[]", zoned, aggregated)
    .computed("timestamp, float8, int4 -> record[]", local, aggregated)
}
