//! What can be asked of the states of `state_agg` and `compact_state_agg`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringViewArray};
use arrow::datatypes::FieldRef;
use datafusion_common::Result;
use datafusion_expr::ReturnFieldArgs;

use super::super::super::call::{Argument, Call, Interval, Timestamp, Value, fail};
use super::super::super::define::{Function, def};
use super::super::super::time::add_zoned;
use super::super::super::time::zone::Zone;
use super::super::records::{instants, record_list, rows_of_call, span, spans};
use super::super::series::rollup::Mergeable;
use super::states::{History, Run, States, periods, state_names};
use crate::types::SqlType;

/// From when (inclusive) until when (exclusive).
type Range = (i64, i64);
/// A state's name, and from when until when it lasted.
type Period = (Arc<str>, i64, i64);

impl States {
    fn runs(&self) -> Value<&[Run]> {
        match &self.history {
            History::Runs(runs) => Ok(runs),
            History::Sums(_) => fail("22023", "compact_state_agg does not know when states were, use state_agg"),
        }
    }

    /// How long a state lasted, within a range if there is one.
    pub(crate) fn duration_in(&self, state: &str, range: Option<Range>) -> Value<i64> {
        let Some(state) = self.find(state) else { return Ok(0) };
        let Some((start, end)) = range else {
            return Ok(match &self.history {
                History::Runs(runs) => total(periods(runs).filter(|period| period.2 == state), (i64::MIN, i64::MAX)),
                History::Sums(sums) => sums
                    .iter()
                    .flat_map(|sums| &sums.durations)
                    .filter(|(other, _)| *other == state)
                    .fold(0, |sum, (_, span)| sum.saturating_add(*span)),
            });
        };
        Ok(total(periods(self.runs()?).filter(|period| period.2 == state), (start, end)))
    }

    /// As [`Self::duration_in`], where the last state goes on until the end, and that of `before` until the first.
    pub(crate) fn interpolated_duration_in(&self, state: &str, range: Range, before: Option<&Self>) -> Value<i64> {
        let inner = match &self.history {
            History::Runs(_) => self.duration_in(state, Some(range))?,
            History::Sums(_) => self.duration_in(state, None)?,
        };
        let clipped = |from: i64, to: i64| to.min(range.1).saturating_sub(from.max(range.0)).max(0);
        let head = match before.and_then(States::end) {
            Some((at, last)) if last == state => clipped(at, self.start()),
            _ => 0,
        };
        let tail = match self.end() {
            Some((at, last)) if last == state => clipped(at, range.1),
            _ => 0,
        };
        Ok(inner.saturating_add(head).saturating_add(tail))
    }

    /// When the time line ends, and with which state.
    fn end(&self) -> Option<(i64, &str)> {
        let (at, state) = match &self.history {
            History::Runs(runs) => runs.last().map(|run| (run.to, run.state))?,
            History::Sums(sums) => sums.last().map(|sums| (sums.to, sums.last))?,
        };
        Some((at, self.names[state as usize].as_ref()))
    }

    /// The state at a time; the last goes on.
    pub(crate) fn state_at(&self, at: i64) -> Value<Option<&str>> {
        let runs = self.runs()?;
        let before = runs.partition_point(|run| run.from <= at);
        Ok(before.checked_sub(1).map(|index| self.names[runs[index].state as usize].as_ref()))
    }

    pub(crate) fn timeline(&self) -> Value<Vec<Period>> {
        Ok(periods(self.runs()?).map(|(from, to, state)| (Arc::clone(&self.names[state as usize]), from, to)).collect())
    }

    /// How long each state lasted, in their order as text.
    pub(crate) fn durations(&self) -> Value<Vec<(Arc<str>, i64)>> {
        let mut names = self.names.clone();
        names.sort();
        let with = |name: Arc<str>| self.duration_in(&name, None).map(|span| (name, span));
        names.into_iter().map(with).collect()
    }
}

/// The second argument, which names a state.
struct Names<'c> {
    argument: &'c Argument,
    names: StringViewArray,
}

impl<'c> Names<'c> {
    fn of(call: &'c Call<'_>) -> Self {
        let argument = &call.args[1];
        Self { argument, names: state_names(&argument.array) }
    }

    fn get(&self, row: usize) -> Option<&str> {
        let at = self.argument.at(row);
        self.names.is_valid(at).then(|| self.names.value(at))
    }
}

/// The time of periods that is within a range.
fn total(periods: impl Iterator<Item = (i64, i64, u32)>, (start, end): Range) -> i64 {
    periods.fold(0_i64, |sum, (from, to, _)| sum.saturating_add(to.min(end).saturating_sub(from.max(start)).max(0)))
}

/// A range from its start and its length, as the clock of the session's zone goes; `None` is without end.
fn range(zone: Zone, start: i64, length: Option<Interval>) -> Value<Range> {
    let end = match length {
        None => i64::MAX,
        Some(length) => add_zoned(start, length, zone)?,
    };
    if end < start { fail("22023", "the length of a time range must not be negative") } else { Ok((start, end)) }
}

/// `duration_in(state, value [, start [, length]])`
fn duration_in(call: &Call<'_>) -> Result<ArrayRef> {
    let (states, names) = (call.column::<&[u8]>(0)?, Names::of(call));
    let starts = if call.args.len() > 2 { Some(call.column::<Timestamp>(2)?) } else { None };
    let lengths = if call.args.len() > 3 { Some(call.column::<Interval>(3)?) } else { None };
    let zone = Zone::Named(call.time_zone()?);
    call.collect(|row| {
        let (Some(state), Some(name)) = (states.get(row), names.get(row)) else { return Ok(None) };
        let range = match &starts {
            None => None,
            Some(starts) => match starts.get(row) {
                None => return Ok(None),
                Some(start) => Some(range(zone, start.0, lengths.as_ref().and_then(|lengths| lengths.get(row)))?),
            },
        };
        let state = States::decode(state)?;
        span(state.duration_in(name, range)?).map(Some)
    })
}

/// `interpolated_duration_in(state, value, start, length [, before])`
fn interpolated(call: &Call<'_>) -> Result<ArrayRef> {
    let (states, names) = (call.column::<&[u8]>(0)?, Names::of(call));
    let (starts, lengths) = (call.column::<Timestamp>(2)?, call.column::<Interval>(3)?);
    let before = if call.args.len() > 4 { Some(call.column::<&[u8]>(4)?) } else { None };
    let zone = Zone::Named(call.time_zone()?);
    call.collect(|row| {
        let (Some(state), Some(name)) = (states.get(row), names.get(row)) else { return Ok(None) };
        let (Some(start), Some(length)) = (starts.get(row), lengths.get(row)) else { return Ok(None) };
        let range = range(zone, start.0, Some(length))?;
        let before = before.as_ref().and_then(|before| before.get(row)).map(States::decode).transpose()?;
        let state = States::decode(state)?;
        span(state.interpolated_duration_in(name, range, before.as_ref())?).map(Some)
    })
}

fn timeline_rows(_: &ReturnFieldArgs<'_>) -> Result<FieldRef> {
    record_list(&[("state", SqlType::Text), ("start_time", SqlType::TimestampTz), ("end_time", SqlType::TimestampTz)])
}

fn timeline(call: &Call<'_>) -> Result<ArrayRef> {
    let states = call.column::<&[u8]>(0)?;
    let rows = |row| states.get(row).map(|state| States::decode(state)?.timeline()).transpose();
    rows_of_call(call, rows, |rows: Vec<Period>| {
        let names = StringViewArray::from_iter_values(rows.iter().map(|row| &row.0));
        Ok(vec![Arc::new(names), instants(rows.iter().map(|row| row.1)), instants(rows.iter().map(|row| row.2))])
    })
}

fn period_rows(_: &ReturnFieldArgs<'_>) -> Result<FieldRef> {
    record_list(&[("start_time", SqlType::TimestampTz), ("end_time", SqlType::TimestampTz)])
}

fn state_periods(call: &Call<'_>) -> Result<ArrayRef> {
    let (states, names) = (call.column::<&[u8]>(0)?, Names::of(call));
    let rows = |row| {
        let (Some(state), Some(name)) = (states.get(row), names.get(row)) else { return Ok(None) };
        let mut periods = States::decode(state)?.timeline()?;
        periods.retain(|period| &*period.0 == name);
        Ok(Some(periods))
    };
    rows_of_call(call, rows, |rows: Vec<Period>| {
        Ok(vec![instants(rows.iter().map(|row| row.1)), instants(rows.iter().map(|row| row.2))])
    })
}

fn duration_rows(_: &ReturnFieldArgs<'_>) -> Result<FieldRef> {
    record_list(&[("state", SqlType::Text), ("duration", SqlType::Interval)])
}

fn state_durations(call: &Call<'_>) -> Result<ArrayRef> {
    let states = call.column::<&[u8]>(0)?;
    let rows = |row| states.get(row).map(|state| States::decode(state)?.durations()).transpose();
    rows_of_call(call, rows, |rows: Vec<(Arc<str>, i64)>| {
        let names = StringViewArray::from_iter_values(rows.iter().map(|row| &row.0));
        Ok(vec![Arc::new(names), spans(rows.iter().map(|row| row.1))?])
    })
}

/// The accessors.
pub(super) fn accessors() -> Vec<Function> {
    vec![
        def(
            "duration_in",
            "How long a state lasted, in all or from a time on, for a length of time.",
            "duration_in(state_agg(ts, status), 'ok', '2026-01-01', '1 day')",
        )
        .on("bytea, text [, timestamptz [, interval]] -> interval", duration_in)
        .on("bytea, int8 [, timestamptz [, interval]] -> interval", duration_in),
        def(
            "interpolated_duration_in",
            "How long a state lasted from a time on for a length of time: the last one to the end, and before the first that \
             with which an earlier state ends.",
            "interpolated_duration_in(state_agg(ts, status), 'ok', '2026-01-01', '1 day')",
        )
        .on("bytea, text, timestamptz, interval [, bytea] -> interval", interpolated)
        .on("bytea, int8, timestamptz, interval [, bytea] -> interval", interpolated),
        def("state_at", "Which state there was at a time.", "state_at(state_agg(ts, status), '2026-01-01')")
            .on("bytea, timestamptz -> text", |c| {
                c.map2(|state: &[u8], at: Timestamp| {
                    Ok(States::decode(state)?.state_at(at.0)?.map(str::to_owned))
                })
            }),
        def(
            "state_timeline",
            "Which state there was from when until when, as an array of rows (state, start_time, end_time).",
            "state_timeline(state_agg(ts, status))",
        )
        .computed("bytea -> record[]", timeline_rows, timeline),
        def(
            "state_periods",
            "From when until when there was a state, as an array of rows (start_time, end_time).",
            "state_periods(state_agg(ts, status), 'ok')",
        )
        .computed("bytea, text -> record[]", period_rows, state_periods)
        .computed("bytea, int8 -> record[]", period_rows, state_periods),
        def(
            "state_durations",
            "How long each state lasted, as an array of rows (state, duration).",
            "state_durations(compact_state_agg(ts, status))",
        )
        .computed("bytea -> record[]", duration_rows, state_durations),
    ]
}
