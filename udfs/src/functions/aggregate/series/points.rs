//! Points in time as they arrive, in any order: collected, and sorted when a state is made of them.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{Float64Type, TimestampMicrosecondType};
use datafusion_common::{Result, exec_err};

use super::super::super::call::Value;
use super::state::{Reader, Writer};

/// A value at a time, in microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    pub(crate) time: i64,
    pub(crate) value: f64,
}

/// Where PostgreSQL's time begins: 2000-01-01 00:00 UTC.
pub(crate) const EPOCH: Point = Point { time: 946_684_800_000_000, value: 0.0 };

impl Point {
    pub(crate) fn write(self, writer: &mut Writer) {
        writer.i64(self.time);
        writer.f64(self.value);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Value<Self> {
        Ok(Self { time: reader.i64()?, value: reader.f64()? })
    }

    /// The time from here to another point.
    #[expect(clippy::cast_precision_loss, reason = "centuries of microseconds fit 53 bits")]
    pub(crate) fn seconds_to(self, other: Self) -> f64 {
        (i128::from(other.time) - i128::from(self.time)) as f64 / 1e6
    }

    /// The time so many seconds later, unless a timestamp cannot be that.
    #[expect(clippy::cast_possible_truncation, reason = "checked before")]
    pub(crate) fn after(self, seconds: f64) -> Option<i64> {
        let us = (seconds * 1e6).round();
        if us.abs() < 9.2e18 { self.time.checked_add(us as i64) } else { None }
    }
}

/// Collected points.
#[derive(Debug, Default)]
pub(crate) struct Points(Vec<Point>);

impl Points {
    pub(crate) fn push(&mut self, point: Point) {
        self.0.push(point);
    }

    /// By time, each time once: of several points the one that arrived first. Points that arrive later still count.
    pub(crate) fn sorted(&mut self) -> impl Iterator<Item = Point> {
        self.0.sort_by_key(|point| point.time);
        self.0.dedup_by_key(|point| point.time);
        self.0.iter().copied()
    }

    pub(crate) fn write(&self, writer: &mut Writer) {
        self.0.iter().for_each(|point| point.write(writer));
    }

    /// Adds all points that are left to read.
    pub(crate) fn read(&mut self, mut reader: Reader<'_>) -> Value<()> {
        self.0.reserve(reader.left() / size_of::<Point>());
        while reader.left() > 0 {
            self.push(Point::read(&mut reader)?);
        }
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.0.len() * size_of::<Point>()
    }
}

/// Reads rows with a time and a value; those without do not count.
pub(crate) fn each_point(
    times: &ArrayRef,
    values: &ArrayRef,
    rows: impl Iterator<Item = (usize, usize)>,
    mut each: impl FnMut(usize, usize, Point) -> Result<()>,
) -> Result<()> {
    let (Some(times), Some(values)) =
        (times.as_primitive_opt::<TimestampMicrosecondType>(), values.as_primitive_opt::<Float64Type>())
    else {
        return exec_err!(
            "points of timestamps and double precision were expected, not of {} and {}",
            times.data_type(),
            values.data_type()
        );
    };
    for (row, group) in rows {
        if times.is_valid(row) && values.is_valid(row) {
            each(row, group, Point { time: times.value(row), value: values.value(row) })?;
        }
    }
    Ok(())
}
