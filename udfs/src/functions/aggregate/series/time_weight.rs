//! `time_weight(method, ts, value)`: the integral of a value over time, and with it its average weighted by time.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use datafusion_common::{Result, exec_err};

use super::super::super::call::{Value, fail};
use super::groups::{About, Group, Series, as_float, as_text, as_time, bytea};
use super::points::{Point, Points, each_point};
use super::rollup::{Mergeable, overlap};
use super::state::{Kind, Reader, Writer};

/// What the value is between two points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// The last observation is carried forward.
    Locf = 0,
    /// On the line between them.
    Linear = 1,
}

impl Method {
    fn parse(text: &str) -> Value<Self> {
        match text.to_ascii_lowercase().as_str() {
            "locf" => Ok(Self::Locf),
            "linear" | "trapezoidal" => Ok(Self::Linear),
            _ => fail("22023", format!("time_weight has no method \"{text}\", only 'LOCF' and 'linear'")),
        }
    }

    fn read(reader: &mut Reader<'_>) -> Value<Self> {
        match reader.u8()? {
            0 => Ok(Self::Locf),
            1 => Ok(Self::Linear),
            _ => Reader::invalid("unknown method of time_weight"),
        }
    }

    /// The integral between two points.
    fn area(self, from: Point, to: Point) -> f64 {
        let height = match self {
            Self::Locf => from.value,
            Self::Linear => from.value / 2.0 + to.value / 2.0,
        };
        height * from.seconds_to(to)
    }
}

/// The state.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TimeWeight {
    pub(crate) method: Method,
    pub(crate) first: Point,
    pub(crate) last: Point,
    /// The integral from first to last, in seconds.
    pub(crate) integral: f64,
}

impl TimeWeight {
    fn one(method: Method, point: Point) -> Self {
        Self { method, first: point, last: point, integral: 0.0 }
    }

    /// The average over time; a single point has no duration to be the average of.
    pub(crate) fn average(&self) -> Option<f64> {
        (self.first.time < self.last.time).then(|| self.integral / self.first.seconds_to(self.last))
    }
}

impl Mergeable for TimeWeight {
    const ORDERED: bool = true;

    fn decode(bytes: &[u8]) -> Value<Self> {
        let mut reader = Reader::open(bytes, Kind::TimeWeight)?;
        let method = Method::read(&mut reader)?;
        let (first, last) = (Point::read(&mut reader)?, Point::read(&mut reader)?);
        let integral = reader.f64()?;
        reader.end()?;
        if first.time > last.time {
            return Reader::invalid("it ends before it begins");
        }
        Ok(Self { method, first, last, integral })
    }

    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(Kind::TimeWeight);
        writer.u8(self.method as u8);
        self.first.write(&mut writer);
        self.last.write(&mut writer);
        writer.f64(self.integral);
        writer.finish()
    }

    fn start(&self) -> i64 {
        self.first.time
    }

    fn merge(&mut self, next: Self) -> Value<()> {
        if self.method != next.method {
            return fail("22023", "states of time_weight of different methods cannot be rolled up");
        }
        if self.last.time >= next.first.time {
            return overlap(Kind::TimeWeight);
        }
        self.integral += self.method.area(self.last, next.first) + next.integral;
        self.last = next.last;
        Ok(())
    }
}

/// The function.
pub(crate) fn function() -> Series {
    let about = About {
        name: "time_weight",
        signatures: &["time_weight(text, timestamptz, float8) → bytea", "time_weight(text, timestamp, float8) → bytea"],
        description: "The state of a value over time, 'LOCF' or 'linear' between points, for average and integral.",
        example: "average(time_weight('LOCF', ts, temperature))",
    };
    Series::new::<Weights>(about, |types: &[DataType]| match types {
        [method, time, value] => Some(vec![as_text(method)?, as_time(time)?, as_float(value)?]),
        _ => None,
    })
}

/// The points of one group.
#[derive(Debug, Default)]
struct Weights {
    /// The same in every row.
    method: Option<Method>,
    points: Points,
}

impl Weights {
    fn agree(&mut self, method: Method) -> Value<()> {
        match self.method {
            Some(known) if known != method => fail("22023", "the method of time_weight must be the same in every row"),
            _ => {
                self.method = Some(method);
                Ok(())
            }
        }
    }

    fn state(&mut self) -> Option<TimeWeight> {
        let method = self.method?;
        let mut points = self.points.sorted();
        let mut state = TimeWeight::one(method, points.next()?);
        for point in points {
            state.integral += method.area(state.last, point);
            state.last = point;
        }
        Some(state)
    }
}

impl Group for Weights {
    fn update(
        groups: &mut [Self],
        arguments: &[ArrayRef],
        rows: impl Iterator<Item = (usize, usize)>,
    ) -> Result<usize> {
        let Some(methods) = arguments[0].as_string_view_opt() else {
            return exec_err!("the method of time_weight is text, not {}", arguments[0].data_type());
        };
        let (mut bytes, mut parsed) = (0, None);
        each_point(&arguments[1], &arguments[2], rows, |row, group, point| {
            if methods.is_null(row) {
                return Ok(fail("22023", "the method of time_weight must not be null")?);
            }
            // Nearly always a constant.
            let text = methods.value(row);
            let method = match parsed {
                Some((known, method)) if known == text => method,
                _ => Method::parse(text)?,
            };
            parsed = Some((text, method));
            groups[group].agree(method)?;
            groups[group].points.push(point);
            bytes += size_of::<Point>();
            Ok(())
        })?;
        Ok(bytes)
    }

    fn merge(&mut self, partial: &[u8]) -> Value<()> {
        let mut reader = Reader::open(partial, Kind::TimeWeight)?;
        self.agree(Method::read(&mut reader)?)?;
        self.points.read(reader)
    }

    fn partial(&mut self) -> Value<Option<Vec<u8>>> {
        let Some(method) = self.method else { return Ok(None) };
        let mut writer = Writer::new(Kind::TimeWeight);
        writer.u8(method as u8);
        self.points.write(&mut writer);
        Ok(Some(writer.finish()))
    }

    fn results(groups: &mut [Self]) -> Result<ArrayRef> {
        bytea(groups.iter_mut().map(|group| Ok(group.state().map(|state| state.encode()))))
    }

    fn heap_bytes(&self) -> usize {
        self.points.heap_bytes()
    }
}
