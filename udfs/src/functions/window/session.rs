//! `session_window`: rows without long pauses between them.

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, IntervalMonthDayNanoType, TimestampMicrosecondType};

use super::super::call::{Value, fail};
use super::super::time::{add, interval_order, is_infinite};
use super::{Memory, Running, running, value, with};

/// The session's start and its last row's time.
#[derive(Debug)]
struct Session(Option<(i64, i64)>);

impl Memory for Session {
    type Result = TimestampMicrosecondType;

    fn next(&mut self, args: &[ArrayRef], row: usize) -> Value<Option<i64>> {
        let gap = value::<IntervalMonthDayNanoType>(&args[1], row);
        let Some((time, gap)) = value::<TimestampMicrosecondType>(&args[0], row).zip(gap) else { return Ok(None) };
        if interval_order(gap) <= 0 {
            return fail("22023", "session gap must be greater than 0");
        }
        let start = match self.0 {
            // Rows may be in descending order.
            Some((start, last)) if within(last.min(time), last.max(time), gap) => start,
            _ => time,
        };
        self.0 = Some((start, time));
        Ok(Some(start))
    }
}

/// Is the later time no more than the gap after the earlier one? Months and days are those of UTC.
fn within(early: i64, late: i64, gap: super::super::call::Interval) -> bool {
    if is_infinite(early) || is_infinite(late) {
        return early == late;
    }
    // A gap that reaches beyond all times ends no session.
    add(early, gap).map_or(true, |until| late <= until)
}

/// session_window(ts, gap)
pub(super) fn function() -> Running {
    let start = |data_type: &DataType| with(Session(None), data_type);
    running(
        "session_window",
        "The time at which the row's session started: one ends where no row follows within the gap.",
        "session_window(ts, '30 minutes') OVER (PARTITION BY visitor ORDER BY ts)",
    )
    .on("timestamp, interval -> timestamp", start)
    .on("timestamptz, interval -> timestamptz", start)
}
