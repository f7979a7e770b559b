//! `heartbeat_agg(ts, start, length, liveness)`: whether something was alive within a range of time, where each heartbeat is a
//! sign of life for as long as `liveness` says.
//!
//! Kept are the live ranges, joined where they touch, and not cut at the range's ends: an accessor cuts them, and a rollup of
//! neighbouring ranges then knows about life that goes over the border.

use arrow::array::{Array, ArrayRef, AsArray, IntervalMonthDayNanoArray, TimestampMicrosecondArray};
use arrow::datatypes::{FieldRef, IntervalMonthDayNanoType, TimestampMicrosecondType};
use datafusion_common::Result;
use datafusion_expr::ReturnFieldArgs;

use super::super::super::call::{Call, Interval, Timestamp, Value, fail};
use super::super::super::define::{Function, def};
use super::super::super::time::zone::Zone;
use super::super::super::time::{add_zoned, interval_order};
use super::super::records::{instants, record_list, rows_of_call, span};
use super::super::series::rollup::Mergeable;
use super::super::series::state::{Kind, Reader, Writer};
use super::super::two_step::{Summary, aggregated};
use crate::types::SqlType;

/// So many ranges wait at least until they are joined.
const WAITING_MIN: usize = 256;

/// From when (inclusive) until when (exclusive).
pub(crate) type Range = (i64, i64);

/// The signs of life seen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Heartbeat {
    start: i64,
    end: i64,
    /// Live ranges; the first `joined` in order and apart from each other.
    ranges: Vec<Range>,
    joined: usize,
}

impl Heartbeat {
    pub(crate) fn new(start: i64, end: i64) -> Self {
        Self { start, end, ranges: vec![], joined: 0 }
    }

    /// Adds a heartbeat.
    pub(crate) fn insert(&mut self, at: i64, liveness: i64) {
        let until = at.saturating_add(liveness);
        // Heartbeats mostly come in order.
        if let Some(last) = self.ranges.last_mut()
            && (last.0..=last.1).contains(&at)
        {
            last.1 = last.1.max(until);
            return;
        }
        self.ranges.push((at, until));
        if self.ranges.len() >= WAITING_MIN + 2 * self.joined {
            self.join();
        }
    }

    fn join(&mut self) {
        self.ranges.sort_unstable();
        let mut joined: Vec<Range> = vec![];
        for range in self.ranges.drain(..) {
            match joined.last_mut() {
                Some(last) if range.0 <= last.1 => last.1 = last.1.max(range.1),
                _ => joined.push(range),
            }
        }
        (self.joined, self.ranges) = (joined.len(), joined);
    }

    fn add_all(&mut self, other: Self) {
        (self.start, self.end) = (self.start.min(other.start), self.end.max(other.end));
        self.ranges.extend(other.ranges);
        self.join();
    }

    /// The live ranges within the whole.
    pub(crate) fn live(&self) -> Vec<Range> {
        let cut = self.ranges.iter().map(|range| (range.0.max(self.start), range.1.min(self.end)));
        cut.filter(|range| range.0 < range.1).collect()
    }

    /// What is between them.
    pub(crate) fn dead(&self) -> Vec<Range> {
        let mut dead = vec![];
        let mut from = self.start;
        for (start, end) in self.live().into_iter().chain([(self.end, self.end)]) {
            if from < start {
                dead.push((from, start));
            }
            from = end;
        }
        dead
    }

    pub(crate) fn live_at(&self, at: i64) -> bool {
        self.live().iter().any(|range| (range.0..range.1).contains(&at))
    }

    /// With the life that an earlier one has left.
    fn after(mut self, before: Option<Self>) -> Self {
        self.ranges.extend(before.map(|before| before.ranges).unwrap_or_default());
        self.join();
        self
    }
}

fn length(ranges: &[Range]) -> i64 {
    ranges.iter().fold(0, |sum, range| sum.saturating_add(range.1.saturating_sub(range.0)))
}

/// The arguments of rows.
pub(crate) struct Rows<'a> {
    times: &'a TimestampMicrosecondArray,
    starts: &'a TimestampMicrosecondArray,
    lengths: &'a IntervalMonthDayNanoArray,
    liveness: &'a IntervalMonthDayNanoArray,
}

impl Summary for Heartbeat {
    type Rows<'a> = Rows<'a>;

    fn open<'a>(arrays: &'a [ArrayRef], _: &'a [FieldRef]) -> Result<Rows<'a>> {
        Ok(Rows {
            times: arrays[0].as_primitive::<TimestampMicrosecondType>(),
            starts: arrays[1].as_primitive::<TimestampMicrosecondType>(),
            lengths: arrays[2].as_primitive::<IntervalMonthDayNanoType>(),
            liveness: arrays[3].as_primitive::<IntervalMonthDayNanoType>(),
        })
    }

    fn add(group: &mut Option<Self>, rows: &Rows<'_>, row: usize) -> Value<()> {
        if rows.times.is_null(row) {
            return Ok(());
        }
        if rows.starts.is_null(row) || rows.lengths.is_null(row) || rows.liveness.is_null(row) {
            return fail("22023", "start, length and liveness of heartbeat_agg must not be null");
        }
        let liveness = match i64::try_from(interval_order(rows.liveness.value(row))) {
            Ok(liveness) if liveness > 0 => liveness,
            _ => return fail("22023", "the liveness of heartbeats must be positive"),
        };
        let summary = match group {
            Some(summary) => summary,
            None => {
                let start = rows.starts.value(row);
                let end = end_of(start, rows.lengths.value(row))?;
                group.insert(Self::new(start, end))
            }
        };
        summary.insert(rows.times.value(row), liveness);
        Ok(())
    }

    fn merge(&mut self, other: Self) -> Value<()> {
        self.add_all(other);
        Ok(())
    }

    fn write(&mut self) -> Vec<u8> {
        self.join();
        self.encode()
    }

    fn read(bytes: &[u8]) -> Value<Self> {
        Self::decode(bytes)
    }

    fn heap_bytes(&self) -> usize {
        self.ranges.capacity() * size_of::<Range>()
    }
}

/// When a range ends; days and months as in UTC, for a state must not depend on a session.
fn end_of(start: i64, length: Interval) -> Value<i64> {
    let end = add_zoned(start, length, Zone::Named(chrono_tz::Tz::UTC))?;
    if end > start { Ok(end) } else { fail("22023", "the length of a time range must be positive") }
}

impl Mergeable for Heartbeat {
    const ORDERED: bool = false;

    fn decode(bytes: &[u8]) -> Value<Self> {
        let mut reader = Reader::open(bytes, Kind::Heartbeat)?;
        let mut summary = Self::new(reader.i64()?, reader.i64()?);
        let count = reader.u32()? as usize;
        if count > reader.left() / size_of::<Range>() {
            return Reader::invalid("number of ranges");
        }
        for _ in 0..count {
            summary.ranges.push((reader.i64()?, reader.i64()?));
        }
        reader.end()?;
        let apart = summary.ranges.is_sorted_by(|a, b| a.1 < b.0);
        if summary.start > summary.end || !apart || summary.ranges.iter().any(|range| range.0 > range.1) {
            return Reader::invalid("times");
        }
        summary.joined = count;
        Ok(summary)
    }

    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(Kind::Heartbeat);
        writer.i64(self.start);
        writer.i64(self.end);
        writer.u32(u32::try_from(self.ranges.len()).expect("a state is below 4 GiB"));
        for (from, to) in &self.ranges {
            writer.i64(*from);
            writer.i64(*to);
        }
        writer.finish()
    }

    fn merge(&mut self, next: Self) -> Value<()> {
        self.add_all(next);
        Ok(())
    }
}

/// The aggregate.
pub(super) fn aggregate() -> Function {
    def(
        "heartbeat_agg",
        "A state that knows when something was alive, from a start on for a length of time; each heartbeat is a sign of life for \
         as long as the last argument says.",
        "uptime(heartbeat_agg(ts, '2026-01-01', '1 day', '5 minutes'))",
    )
    .on("timestamptz, timestamptz, interval, interval -> bytea", aggregated)
}

fn range_rows(_: &ReturnFieldArgs<'_>) -> Result<FieldRef> {
    record_list(&[("start", SqlType::TimestampTz), ("end", SqlType::TimestampTz)])
}

fn ranges(call: &Call<'_>, pick: fn(&Heartbeat) -> Vec<Range>) -> Result<ArrayRef> {
    let states = call.column::<&[u8]>(0)?;
    let rows = |row| states.get(row).map(|state| Ok(pick(&Heartbeat::decode(state)?))).transpose();
    rows_of_call(call, rows, |rows: Vec<Range>| {
        Ok(vec![instants(rows.iter().map(|row| row.0)), instants(rows.iter().map(|row| row.1))])
    })
}

fn time_of(call: &Call<'_>, pick: fn(&Heartbeat) -> Vec<Range>) -> Result<ArrayRef> {
    call.map1(|state: &[u8]| span(length(&pick(&Heartbeat::decode(state)?))))
}

/// The time with the life that an earlier state has left; NULL is none.
fn interpolated(call: &Call<'_>, pick: fn(&Heartbeat) -> Vec<Range>) -> Result<ArrayRef> {
    let (states, before) = (call.column::<&[u8]>(0)?, call.column::<&[u8]>(1)?);
    call.collect(|row| {
        let Some(state) = states.get(row) else { return Ok(None) };
        let before = before.get(row).map(Heartbeat::decode).transpose()?;
        span(length(&pick(&Heartbeat::decode(state)?.after(before)))).map(Some)
    })
}

fn count(call: &Call<'_>, pick: fn(&Heartbeat) -> Vec<Range>) -> Result<ArrayRef> {
    call.map1(|state: &[u8]| Ok(i64::try_from(pick(&Heartbeat::decode(state)?).len()).unwrap_or(i64::MAX)))
}

/// The accessors.
pub(super) fn accessors() -> Vec<Function> {
    vec![
        def("uptime", "How long it was alive.", "uptime(heartbeat_agg(ts, '2026-01-01', '1 day', '5 minutes'))")
            .on("bytea -> interval", |c| time_of(c, Heartbeat::live)),
        def(
            "downtime",
            "How long it was not alive.",
            "downtime(heartbeat_agg(ts, '2026-01-01', '1 day', '5 minutes'))",
        )
        .on("bytea -> interval", |c| time_of(c, Heartbeat::dead)),
        def(
            "interpolated_uptime",
            "How long it was alive, counting what the heartbeats of an earlier state reach into this one.",
            "interpolated_uptime(heartbeat_agg(ts, '2026-01-01', '1 day', '5 minutes'), NULL)",
        )
        .on("bytea, bytea -> interval", |c| interpolated(c, Heartbeat::live)),
        def(
            "interpolated_downtime",
            "How long it was not alive, counting what the heartbeats of an earlier state reach into this one.",
            "interpolated_downtime(heartbeat_agg(ts, '2026-01-01', '1 day', '5 minutes'), NULL)",
        )
        .on("bytea, bytea -> interval", |c| interpolated(c, Heartbeat::dead)),
        def(
            "live_at",
            "Was it alive at a time?",
            "live_at(heartbeat_agg(ts, '2026-01-01', '1 day', '5 minutes'), '2026-01-01 12:00')",
        )
        .on("bytea, timestamptz -> bool", |c| {
            c.map2(|state: &[u8], at: Timestamp| Ok(Heartbeat::decode(state)?.live_at(at.0)))
        }),
        def(
            "num_live_ranges",
            "How many ranges of time it was alive.",
            "num_live_ranges(heartbeat_agg(ts, '2026-01-01', '1 day', '5 minutes'))",
        )
        .on("bytea -> int8", |c| count(c, Heartbeat::live)),
        def(
            "num_gaps",
            "How many ranges of time it was not alive.",
            "num_gaps(heartbeat_agg(ts, '2026-01-01', '1 day', '5 minutes'))",
        )
        .on("bytea -> int8", |c| count(c, Heartbeat::dead)),
        def(
            "live_ranges",
            "From when until when it was alive, as an array of rows (start, end).",
            "live_ranges(heartbeat_agg(ts, '2026-01-01', '1 day', '5 minutes'))",
        )
        .computed("bytea -> record[]", range_rows, |c| ranges(c, Heartbeat::live)),
        def(
            "dead_ranges",
            "From when until when it was not alive, as an array of rows (start, end).",
            "dead_ranges(heartbeat_agg(ts, '2026-01-01', '1 day', '5 minutes'))",
        )
        .computed("bytea -> record[]", range_rows, |c| ranges(c, Heartbeat::dead)),
    ]
}
