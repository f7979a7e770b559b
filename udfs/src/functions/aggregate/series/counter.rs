//! `counter_agg(ts, value)` and `gauge_agg(ts, value)`: how a value changes over time. A counter only grows: where it
//! falls it began again at zero, and what it had reached is added to everything after.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion_common::Result;

use super::super::super::call::Value;
use super::groups::{About, Group, Series, as_float, as_time, bytea};
use super::points::{EPOCH, Point, Points, each_point};
use super::rollup::{Mergeable, overlap};
use super::state::{Kind, Reader, Writer};
use super::stats::Joint;

/// The state. With one point all four points are the same; with two, the first and the last two are.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Counter<const GAUGE: bool> {
    pub(crate) first: Point,
    second: Point,
    penultimate: Point,
    pub(crate) last: Point,
    /// What all values before resets add up to.
    resets_sum: f64,
    pub(crate) resets: u64,
    pub(crate) changes: u64,
    /// Of the values without resets (y) over seconds since the first (x): an epoch's have too many digits.
    pub(crate) line: Joint,
}

impl<const GAUGE: bool> Counter<GAUGE> {
    const KIND: Kind = if GAUGE { Kind::Gauge } else { Kind::Counter };

    fn one(point: Point) -> Self {
        let mut line = Joint::default();
        line.push(point.value, 0.0);
        Self {
            first: point,
            second: point,
            penultimate: point,
            last: point,
            resets_sum: 0.0,
            resets: 0,
            changes: 0,
            line,
        }
    }

    fn push(&mut self, point: Point) {
        self.step_to(point);
        self.line.push(point.value + self.resets_sum, self.first.seconds_to(point));
        if self.line.count() == 2 {
            self.second = point;
        }
        self.penultimate = self.last;
        self.last = point;
    }

    /// Counts what happens between the last point and the next.
    fn step_to(&mut self, next: Point) {
        if !GAUGE && next.value < self.last.value {
            self.resets_sum += self.last.value;
            self.resets += 1;
        }
        self.changes += u64::from(next.value != self.last.value);
    }

    /// The change from one point to the next.
    fn between(from: Point, to: Point) -> f64 {
        // After a reset it began at zero.
        if !GAUGE && to.value < from.value { to.value } else { to.value - from.value }
    }

    fn per_second(change: f64, from: Point, to: Point) -> Option<f64> {
        (from.time < to.time).then(|| change / from.seconds_to(to))
    }

    pub(crate) fn delta(&self) -> f64 {
        self.last.value + self.resets_sum - self.first.value
    }

    pub(crate) fn time_delta(&self) -> f64 {
        self.first.seconds_to(self.last)
    }

    pub(crate) fn rate(&self) -> Option<f64> {
        Self::per_second(self.delta(), self.first, self.last)
    }

    pub(crate) fn idelta_left(&self) -> f64 {
        Self::between(self.first, self.second)
    }

    pub(crate) fn idelta_right(&self) -> f64 {
        Self::between(self.penultimate, self.last)
    }

    pub(crate) fn irate_left(&self) -> Option<f64> {
        Self::per_second(self.idelta_left(), self.first, self.second)
    }

    pub(crate) fn irate_right(&self) -> Option<f64> {
        Self::per_second(self.idelta_right(), self.penultimate, self.last)
    }

    /// Where the line through the values is in 2000, where PostgreSQL's time begins.
    pub(crate) fn intercept(&self) -> Option<f64> {
        Some(self.line.intercept()? - self.line.slope()? * EPOCH.seconds_to(self.first))
    }

    /// When the line through the values is zero, if that is a time that a timestamp can be.
    pub(crate) fn zero_time(&self) -> Option<i64> {
        self.first.after(self.line.x_intercept()?)
    }
}

impl<const GAUGE: bool> Mergeable for Counter<GAUGE> {
    const ORDERED: bool = true;

    fn decode(bytes: &[u8]) -> Value<Self> {
        let mut reader = Reader::open(bytes, Self::KIND)?;
        let mut point = || Point::read(&mut reader);
        let (first, second, penultimate, last) = (point()?, point()?, point()?, point()?);
        let state = Self {
            first,
            second,
            penultimate,
            last,
            resets_sum: reader.f64()?,
            resets: reader.u64()?,
            changes: reader.u64()?,
            line: Joint::read(&mut reader)?,
        };
        reader.end()?;
        if first.time > second.time || first.time > penultimate.time || penultimate.time > last.time {
            return Reader::invalid("its points are not in the order of time");
        }
        if state.changes >= state.line.count() || state.resets > state.changes {
            return Reader::invalid("it has more changes than values");
        }
        Ok(state)
    }

    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(Self::KIND);
        for point in [self.first, self.second, self.penultimate, self.last] {
            point.write(&mut writer);
        }
        writer.f64(self.resets_sum);
        writer.u64(self.resets);
        writer.u64(self.changes);
        self.line.write(&mut writer);
        writer.finish()
    }

    fn start(&self) -> i64 {
        self.first.time
    }

    fn merge(&mut self, mut next: Self) -> Value<()> {
        if self.last.time >= next.first.time {
            return overlap(Self::KIND);
        }
        self.step_to(next.first);
        if self.line.count() == 1 {
            self.second = next.first;
        }
        self.penultimate = if next.line.count() == 1 { self.last } else { next.penultimate };
        self.last = next.last;
        next.line.y.shift(self.resets_sum);
        next.line.x.shift(self.first.seconds_to(next.first));
        self.line.add(&next.line);
        self.resets_sum += next.resets_sum;
        self.resets = self.resets.saturating_add(next.resets);
        self.changes = self.changes.saturating_add(next.changes);
        Ok(())
    }
}

/// Both functions.
pub(crate) fn functions() -> [Series; 2] {
    let coerce = |types: &[DataType]| match types {
        [time, value] => Some(vec![as_time(time)?, as_float(value)?]),
        _ => None,
    };
    let counter = About {
        name: "counter_agg",
        signatures: &["counter_agg(timestamptz, float8) → bytea", "counter_agg(timestamp, float8) → bytea"],
        description: "The state of a counter, which begins again at zero where it falls, for delta, rate and more.",
        example: "rate(counter_agg(ts, bytes_sent))",
    };
    let gauge = About {
        name: "gauge_agg",
        signatures: &["gauge_agg(timestamptz, float8) → bytea", "gauge_agg(timestamp, float8) → bytea"],
        description: "The state of a value that rises and falls over time, for delta, rate and more.",
        example: "delta(gauge_agg(ts, temperature))",
    };
    [Series::new::<Collected<false>>(counter, coerce), Series::new::<Collected<true>>(gauge, coerce)]
}

/// The points of one group.
#[derive(Debug, Default)]
struct Collected<const GAUGE: bool>(Points);

impl<const GAUGE: bool> Collected<GAUGE> {
    fn state(&mut self) -> Option<Counter<GAUGE>> {
        let mut points = self.0.sorted();
        let mut state = Counter::one(points.next()?);
        points.for_each(|point| state.push(point));
        Some(state)
    }
}

impl<const GAUGE: bool> Group for Collected<GAUGE> {
    fn update(
        groups: &mut [Self],
        arguments: &[ArrayRef],
        rows: impl Iterator<Item = (usize, usize)>,
    ) -> Result<usize> {
        let mut bytes = 0;
        each_point(&arguments[0], &arguments[1], rows, |_, group, point| {
            groups[group].0.push(point);
            bytes += size_of::<Point>();
            Ok(())
        })?;
        Ok(bytes)
    }

    fn merge(&mut self, partial: &[u8]) -> Value<()> {
        self.0.read(Reader::open(partial, Counter::<GAUGE>::KIND)?)
    }

    fn partial(&mut self) -> Value<Option<Vec<u8>>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let mut writer = Writer::new(Counter::<GAUGE>::KIND);
        self.0.write(&mut writer);
        Ok(Some(writer.finish()))
    }

    fn results(groups: &mut [Self]) -> Result<ArrayRef> {
        bytea(groups.iter_mut().map(|group| Ok(group.state().map(|state| state.encode()))))
    }

    fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }
}
