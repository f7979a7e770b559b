//! InfluxDB's line protocol: bytes cut anywhere → lines → tags, fields and the time as values ([`parse`]) → rows of one table
//! for each measurement.

use std::collections::{HashMap, VecDeque};

use memchr::{memchr, memchr2};
use tidemill_udfs::types::{TextSettings, ValueError};

use crate::json::invalid_utf8;
use crate::outcome::{Decoded, Position};
use crate::rows::{KeyEnd, NONE, Place, RowFault, Rows};
use crate::shape::{Evolve, Limits, Nested, TableShape};
use crate::value::Value;

mod parse;

use parse::{Line, malformed};

/// The unit of timestamps. Columns have microseconds: nanoseconds are cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// ns, the default of the protocol
    #[default]
    Nanoseconds,
    /// us
    Microseconds,
    /// ms
    Milliseconds,
    /// s
    Seconds,
}

impl Precision {
    /// As clients spell it: `ns`, `us`, `ms`, `s`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::Microseconds => "us",
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Nanoseconds, Self::Microseconds, Self::Milliseconds, Self::Seconds]
            .into_iter()
            .find(|precision| precision.name() == name)
    }
}

/// How lines are read.
#[derive(Debug, Clone)]
pub struct LineOptions {
    /// The unit of timestamps.
    pub precision: Precision,
    /// The time of lines without one, microseconds since 1970.
    pub now_us: i64,
    /// The column of the time.
    pub time_column: String,
    /// Measurements in one decoder; lines of further ones are dead letters (54000).
    pub tables_max: usize,
    /// Bytes of a line; longer ones are dead letters (54000).
    pub row_bytes_max: usize,
    /// Bytes of lines after which the batches of all tables end.
    pub batch_bytes: usize,
}

impl Default for LineOptions {
    fn default() -> Self {
        let Limits { row_bytes_max, batch_bytes, .. } = Limits::default();
        Self {
            precision: Precision::default(),
            now_us: 0,
            time_column: "time".into(),
            // Each has builders of its own.
            tables_max: 1_000,
            row_bytes_max,
            batch_bytes,
        }
    }
}

/// What tells the table of a measurement: an empty shape for one that is to be made. An error makes the line a dead letter.
pub type ShapeOf = Box<dyn FnMut(&str) -> Result<TableShape, ValueError> + Send>;

/// Decodes line protocol. Tags are text, fields what they are written as, and the time is `timestamptz`.
///
/// Memory: as [`crate::JsonDecoder`], for all tables together.
pub struct LineDecoder {
    options: LineOptions,
    settings: TextSettings,
    shape_of: ShapeOf,
    tables: Vec<Table>,
    by_name: HashMap<String, usize>,
    /// The table of the last line.
    last: usize,
    /// Bytes not yet parsed begin at `position`.
    input: Vec<u8>,
    position: usize,
    /// No new attempt at an incomplete line before the input is this long: long lines would be scanned again and again.
    retry_at: usize,
    /// Up to this offset lines end at the first line end: one with several, in strings, made no sense. So each byte is looked
    /// at twice at most.
    single_until: u64,
    /// A line that is too long goes on: its place, so far.
    overlong: Option<Place>,
    offset: u64,
    line: u64,
    batch_bytes: usize,
    ready: VecDeque<(String, Decoded)>,
}

/// Rows of a measurement.
struct Table {
    measurement: String,
    rows: Rows,
    /// The fields' namespaces.
    tags: usize,
    time: usize,
}

/// A key ends with `=`.
const KEY_END: KeyEnd = KeyEnd { sign: b'=', escaped: |byte| matches!(byte, b',' | b'=' | b' ' | b'\\') };

/// Takes the lines that belong to no table.
const NOWHERE: usize = 0;

impl Table {
    fn new(measurement: &str, shape: TableShape, settings: TextSettings, time_column: &str) -> Self {
        let mut rows = Rows::new(shape, settings, false, KEY_END);
        let tags = rows.fields.add_root();
        let own = rows.fields.add_root();
        let time = rows.fields.find(own, NONE, time_column);
        Self { measurement: measurement.to_owned(), rows, tags, time }
    }
}

impl LineDecoder {
    /// A decoder that asks `shape_of` once for each measurement.
    pub fn new(options: LineOptions, settings: TextSettings, shape_of: ShapeOf) -> Self {
        let limits = Limits { row_bytes_max: options.row_bytes_max, ..Limits::default() };
        let nowhere = TableShape {
            name: String::new(),
            columns: vec![],
            evolve: Evolve::Off,
            nested: Nested::Jsonb,
            rest: false,
            limits,
        };
        let nowhere = Table::new("", nowhere, settings.clone(), &options.time_column);
        Self {
            options,
            settings,
            shape_of,
            tables: vec![nowhere],
            by_name: HashMap::new(),
            last: NOWHERE,
            input: vec![],
            position: 0,
            retry_at: 0,
            single_until: 0,
            overlong: None,
            offset: 0,
            line: 1,
            batch_bytes: 0,
            ready: VecDeque::new(),
        }
    }

    /// The time of lines without one, from now on.
    pub fn set_now_us(&mut self, now_us: i64) {
        self.options.now_us = now_us;
    }

    /// Takes bytes as they come.
    pub fn push(&mut self, chunk: &[u8]) {
        self.input.extend_from_slice(chunk);
        if self.input.len() - self.position >= self.retry_at {
            self.parse(false);
        }
    }

    /// What was pushed so far is whole lines, whatever quotes they have.
    pub fn end_document(&mut self) {
        self.parse(true);
    }

    /// The data is complete. Take the last batches after it.
    pub fn finish(&mut self) {
        self.parse(true);
        self.flush();
    }

    /// Ends the batches under construction.
    pub fn flush(&mut self) {
        self.batch_bytes = 0;
        let end = self.position();
        for table in &mut self.tables {
            if let Some(decoded) = table.rows.take(end) {
                self.ready.push_back((table.measurement.clone(), decoded));
            }
        }
    }

    /// A full batch and its measurement, if there is one. Lines of which no measurement can be told, or whose measurement
    /// has no table, come with the empty name, as dead letters.
    pub fn take_batch(&mut self) -> Option<(String, Decoded)> {
        self.ready.pop_front()
    }

    /// The table of a measurement as it is with all changes so far.
    pub fn shape(&self, measurement: &str) -> Option<TableShape> {
        self.by_name.get(measurement).map(|table| self.tables[*table].rows.shape())
    }

    /// Behind the lines so far.
    fn position(&self) -> Position {
        Position { offset: self.offset, line: self.line, in_array: false }
    }

    fn parse(&mut self, is_last: bool) {
        let input = std::mem::take(&mut self.input);
        while self.position < input.len() {
            let rest = &input[self.position..];
            let is_single = self.offset < self.single_until;
            let (mut length, mut lines) = match line_length(rest, is_last, is_single) {
                Some(found) => found,
                // A string without its end must not swallow all lines to come.
                None if rest.len() > self.options.row_bytes_max => match memchr(b'\n', rest) {
                    Some(end) => (end, 1),
                    None => break,
                },
                None => break,
            };
            if !self.take_line(&rest[..length], rest.len().min(length + 1), lines) {
                self.single_until = self.offset + wide(length);
                (length, lines) = (memchr(b'\n', rest).expect("there are several lines"), 1);
                self.take_line(&rest[..length], length + 1, lines);
            }
            self.position += rest.len().min(length + 1);
            self.line += lines;
            if self.batch_bytes >= self.options.batch_bytes {
                self.flush();
            }
        }
        if input.len() - self.position > self.options.row_bytes_max {
            self.begin_overlong(&input[self.position..]);
            self.position = input.len();
        }
        self.input = input;
        self.input.drain(..self.position);
        self.position = 0;
        self.retry_at = 2 * self.input.len();
        // A long line must not keep its memory for the rest of the data.
        if self.input.is_empty() {
            self.input.shrink_to(4 * 1024 * 1024);
        }
    }

    /// `next`: bytes of the line with its end; `lines`: how many it is because of strings with line ends. False: it cannot be
    /// more than one, and nothing happened.
    fn take_line(&mut self, raw: &[u8], next: usize, lines: u64) -> bool {
        let start = self.offset;
        self.offset += wide(next);
        if let Some(place) = self.overlong.take() {
            // Its beginning is a dead letter already; this is the end of it.
            debug_assert!(place.offset < start, "an overlong line began before");
            return true;
        }
        let trimmed = raw.trim_ascii();
        if trimmed.is_empty() || trimmed[0] == b'#' {
            return true;
        }
        let place = Place { offset: start, line: self.line, bytes: wide(raw.len()) };
        let mut table = NOWHERE;
        match self.take_row(raw, trimmed, &mut table) {
            Ok(()) => self.tables[table].rows.locate(place),
            Err(_) if lines > 1 => {
                self.tables[table].rows.undo();
                self.offset = start;
                return false;
            }
            Err(fault) => self.tables[table].rows.abandon(raw, place, *fault),
        }
        self.batch_bytes += raw.len();
        if self.tables[table].rows.count(raw.len()) {
            let end = Position { line: self.line + lines, ..self.position() };
            let taken = self.tables[table].rows.take(end);
            let measurement = &self.tables[table].measurement;
            self.ready.extend(taken.map(|decoded| (measurement.clone(), decoded)));
        }
        true
    }

    fn take_row(&mut self, raw: &[u8], trimmed: &[u8], table: &mut usize) -> Result<(), Box<RowFault>> {
        self.tables[NOWHERE].rows.begin();
        if raw.len() > self.options.row_bytes_max {
            return Err(RowFault::new(too_large(self.options.row_bytes_max)));
        }
        let text = std::str::from_utf8(trimmed).map_err(|error| RowFault::new(invalid_utf8(trimmed, &error)))?;
        if memchr(0, trimmed).is_some() {
            return Err(RowFault::new(ValueError::new("22021", "invalid byte sequence for encoding \"UTF8\": 0x00")));
        }
        let line = Line::new(text).map_err(RowFault::new)?;
        *table = self.table(&line.measurement)?;
        let Table { rows, tags, time, .. } = &mut self.tables[*table];
        rows.begin();
        let (written, end) = line.timestamp();
        let us = match written {
            None => self.options.now_us,
            Some(written) => microseconds(written, self.options.precision).map_err(RowFault::new)?,
        };
        rows.set(text, *time, Value::Instant(us))?;
        line.values(rows, *tags, end)?;
        rows.commit(text)
    }

    fn table(&mut self, measurement: &str) -> Result<usize, Box<RowFault>> {
        if self.last != NOWHERE && self.tables[self.last].measurement == measurement {
            return Ok(self.last);
        }
        if let Some(table) = self.by_name.get(measurement) {
            self.last = *table;
            return Ok(*table);
        }
        if self.tables.len() > self.options.tables_max {
            let message = format!("more than {} measurements in one request", self.options.tables_max);
            return Err(RowFault::new(ValueError::new("54000", message)));
        }
        let shape = (self.shape_of)(measurement).map_err(RowFault::new)?;
        self.tables.push(Table::new(measurement, shape, self.settings.clone(), &self.options.time_column));
        self.last = self.tables.len() - 1;
        self.by_name.insert(measurement.to_owned(), self.last);
        Ok(self.last)
    }

    /// A line that is longer than the limit and has no end yet: what is kept of it is a dead letter now.
    fn begin_overlong(&mut self, bytes: &[u8]) {
        let place = Place { offset: self.offset, line: self.line, bytes: wide(bytes.len()) };
        self.offset += wide(bytes.len());
        if self.overlong.is_some() {
            return;
        }
        self.overlong = Some(place);
        let rows = &mut self.tables[NOWHERE].rows;
        rows.begin();
        rows.abandon(bytes, place, *RowFault::new(too_large(self.options.row_bytes_max)));
        rows.count(0);
    }
}

fn wide(length: usize) -> u64 {
    u64::try_from(length).expect("lengths have at most 64 bits")
}

fn too_large(bytes_max: usize) -> ValueError {
    let mut error = ValueError::new("54000", "line is too large");
    error.detail = Some(format!("The limit is {bytes_max} bytes."));
    error
}

/// Bytes up to the line's end, and how many lines that are: strings may have line ends in them. `None`: it is not here yet.
#[inline]
fn line_length(bytes: &[u8], is_last: bool, is_single: bool) -> Option<(usize, u64)> {
    let end = memchr(b'\n', bytes);
    let whole = end.unwrap_or(bytes.len());
    if is_single || memchr(b'"', &bytes[..whole]).is_none() || bytes.trim_ascii_start().first() == Some(&b'#') {
        return (end.is_some() || is_last).then_some((whole, 1));
    }
    quoted_length(bytes, is_last)
}

/// As [`line_length`]. A quote begins a string only as the first sign of a field's value.
fn quoted_length(bytes: &[u8], is_last: bool) -> Option<(usize, u64)> {
    let mut lines = 1;
    let mut at = 0;
    let mut in_fields = false;
    let blanks = bytes.iter().take_while(|byte| **byte == b' ').count();
    at += blanks;
    while let Some(byte) = bytes.get(at).copied() {
        match byte {
            b'\n' => return Some((at, lines)),
            b'\\' => at += usize::from(bytes.get(at + 1).is_some_and(|next| *next != b'\n')),
            b' ' => in_fields = true,
            b'"' if in_fields && at > 0 && bytes[at - 1] == b'=' => {
                at += 1;
                loop {
                    let Some(stop) = memchr2(b'"', b'\\', &bytes[at..]) else {
                        // Without its end the string is no string: the line ends where it would without quotes.
                        let end = memchr(b'\n', bytes).unwrap_or(bytes.len());
                        return is_last.then_some((end, 1));
                    };
                    lines += u64::try_from(memchr::memchr_iter(b'\n', &bytes[at..at + stop]).count()).unwrap_or(0);
                    at += stop;
                    if bytes[at] == b'"' {
                        break;
                    }
                    at = (at + 2).min(bytes.len());
                }
            }
            _ => {}
        }
        at += 1;
    }
    is_last.then_some((bytes.len(), lines))
}

/// A timestamp in microseconds.
fn microseconds(written: &str, precision: Precision) -> Result<i64, ValueError> {
    let value: i64 = written.parse().map_err(|_| malformed("invalid timestamp"))?;
    let us = match precision {
        Precision::Nanoseconds => Some(value.div_euclid(1_000)),
        Precision::Microseconds => Some(value),
        Precision::Milliseconds => value.checked_mul(1_000),
        Precision::Seconds => value.checked_mul(1_000_000),
    };
    // The extreme values stand for infinity.
    us.filter(|us| *us != i64::MAX && *us != i64::MIN)
        .ok_or_else(|| ValueError::new("22008", format!("timestamp out of range: \"{written}\"")))
}

#[cfg(test)]
mod tests;
