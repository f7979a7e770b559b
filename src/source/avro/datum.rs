//! One datum to one line of JSON, while it is read.
//!
//! Every claim of a length is compared with the bytes there are before anything is done about it. What takes no bytes, such as an
//! array of nulls, is bounded by the document it makes.

use std::io::Write;

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveDateTime, Timelike};
use tidemill_ingest::Limits;
use uuid::Uuid;

use super::schema::{Node, Nodes};
use crate::error::SqlState;
use crate::{Error, Result};

/// Bytes of a decimal: more digits than any numeric has, and few enough that the time is no matter.
const DECIMAL_BYTES_MAX: usize = 512;
/// Zeros that a decimal of negative scale adds.
const ZEROS_MAX: usize = 1_000;
const MILLIS_OF_DAY: i64 = 86_400_000;

/// The document that a datum is.
///
/// # Errors
/// See [`super::Messages::document`].
pub(super) fn document(nodes: &Nodes, datum: &[u8]) -> Result<Vec<u8>> {
    let limits = Limits::default();
    let mut reader = Reader {
        nodes,
        datum,
        at: 0,
        out: Vec::with_capacity(datum.len() * 2 + 64),
        bytes_max: limits.row_bytes_max,
        depth_max: limits.depth_max,
    };
    reader.value(nodes.root, 0)?;
    match reader.datum.len() - reader.at {
        0 => Ok(reader.out),
        rest => Err(reader.invalid(&format!("{rest} bytes are left behind it"))),
    }
}

struct Reader<'d> {
    nodes: &'d Nodes,
    datum: &'d [u8],
    at: usize,
    out: Vec<u8>,
    bytes_max: usize,
    depth_max: usize,
}

impl<'d> Reader<'d> {
    fn invalid(&self, reason: &str) -> Error {
        let message = format!("the message is not one datum of the schema: {reason}, at byte {}", self.at);
        Error::new(SqlState::INVALID_BINARY_REPRESENTATION, message)
    }

    fn out_of_range(&self, what: &str) -> Error {
        Error::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("{what} out of range, before byte {}", self.at))
    }

    fn take(&mut self, length: usize) -> Result<&'d [u8]> {
        let rest = &self.datum[self.at..];
        let taken = rest
            .get(..length)
            .ok_or_else(|| self.invalid(&format!("{length} bytes should follow where {} are left", rest.len())))?;
        self.at += length;
        Ok(taken)
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    /// An integer of 64 bits: seven at a time, the sign in the lowest.
    fn long(&mut self) -> Result<i64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.chunk()?;
            // Of the tenth byte one bit is left.
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        Err(self.invalid("an integer has more than 64 bits"))
    }

    fn int(&mut self) -> Result<i32> {
        let value = self.long()?;
        i32::try_from(value).map_err(|_| self.invalid(&format!("{value} is no integer of 32 bits")))
    }

    fn bytes(&mut self) -> Result<&'d [u8]> {
        let length = self.long()?;
        let length = usize::try_from(length).map_err(|_| self.invalid(&format!("a length is {length}")))?;
        self.take(length)
    }

    fn text(&mut self) -> Result<&'d str> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map_err(|_| {
            let message = "invalid byte sequence for encoding \"UTF8\"";
            Error::new(SqlState::CHARACTER_NOT_IN_REPERTOIRE, format!("{message}, before byte {}", self.at))
        })
    }

    fn put(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    /// Text in which nothing needs an escape.
    fn put_plain(&mut self, text: &str) {
        self.out.push(b'"');
        self.put(text);
        self.out.push(b'"');
    }

    fn put_text(&mut self, text: &str) -> Result<()> {
        serde_json::to_writer(&mut self.out, text).map_err(|error| Error::internal(error.to_string()))
    }

    /// As bytea's text.
    fn put_bytes(&mut self, bytes: &[u8]) {
        self.put("\"\\\\x");
        for byte in bytes {
            let _ = write!(self.out, "{byte:02x}");
        }
        self.out.push(b'"');
    }

    /// `text` is the shortest that gives the number back.
    fn put_float(&mut self, value: f64, text: &str) {
        if value.is_finite() {
            return self.put(text);
        }
        self.put_plain(match value {
            value if value.is_nan() => "NaN",
            value if value > 0.0 => "Infinity",
            _ => "-Infinity",
        });
    }

    /// A value of that node.
    fn value(&mut self, node: usize, depth: usize) -> Result<()> {
        if self.out.len() > self.bytes_max {
            let message = format!("the message is a document of more than {} MB", self.bytes_max >> 20);
            return Err(Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
        }
        if depth > self.depth_max {
            let message = format!("the message is nested more than {} levels deep", self.depth_max);
            return Err(Error::new(SqlState::STATEMENT_TOO_COMPLEX, message));
        }
        let nodes = self.nodes;
        match nodes.get(node) {
            Node::Null => self.put("null"),
            Node::Boolean => match self.chunk()? {
                [0] => self.put("false"),
                [1] => self.put("true"),
                [other] => return Err(self.invalid(&format!("{other} is no boolean"))),
            },
            Node::Int => {
                let value = self.int()?;
                self.put(&value.to_string());
            }
            Node::Long => {
                let value = self.long()?;
                self.put(&value.to_string());
            }
            Node::Float => {
                let value = f32::from_le_bytes(self.chunk()?);
                self.put_float(value.into(), &format!("{value:?}"));
            }
            Node::Double => {
                let value = f64::from_le_bytes(self.chunk()?);
                self.put_float(value, &format!("{value:?}"));
            }
            Node::Bytes => {
                let bytes = self.bytes()?;
                self.put_bytes(bytes);
            }
            Node::Fixed(length) => {
                let bytes = self.take(*length)?;
                self.put_bytes(bytes);
            }
            Node::String => {
                let text = self.text()?;
                self.put_text(text)?;
            }
            Node::Enum(symbols) => {
                let index = self.int()?;
                let symbol = usize::try_from(index).ok().and_then(|index| symbols.get(index));
                let symbol = symbol.ok_or_else(|| self.invalid(&format!("the enumeration has no symbol {index}")))?;
                self.put(symbol);
            }
            Node::Union(branches) => {
                let index = self.long()?;
                let branch = usize::try_from(index).ok().and_then(|index| branches.get(index));
                let branch = *branch.ok_or_else(|| self.invalid(&format!("the union has no branch {index}")))?;
                // A branch is no level of the document.
                return self.value(branch, depth);
            }
            Node::Record(fields) => {
                self.out.push(b'{');
                for (number, (name, field)) in fields.iter().enumerate() {
                    self.put(if number == 0 { "" } else { "," });
                    self.put(name);
                    self.out.push(b':');
                    self.value(*field, depth + 1)?;
                }
                self.out.push(b'}');
            }
            Node::Array(items) => {
                self.out.push(b'[');
                self.blocks(|reader| reader.value(*items, depth + 1))?;
                self.out.push(b']');
            }
            Node::Map(values) => {
                self.out.push(b'{');
                self.blocks(|reader| {
                    let key = reader.text()?;
                    reader.put_text(key)?;
                    reader.out.push(b':');
                    reader.value(*values, depth + 1)
                })?;
                self.out.push(b'}');
            }
            Node::Decimal { scale, bytes: length, .. } => {
                let bytes = match length {
                    Some(length) => self.take(*length)?,
                    None => self.bytes()?,
                };
                self.decimal(bytes, i64::try_from(*scale).unwrap_or(i64::MAX))?;
            }
            Node::BigDecimal => self.big_decimal()?,
            Node::UuidText => {
                let text = self.text()?;
                let uuid = Uuid::parse_str(text).map_err(|_| self.invalid("a text is no UUID"))?;
                self.put_plain(&uuid.to_string());
            }
            Node::UuidBytes => {
                let uuid = Uuid::from_bytes(self.chunk()?);
                self.put_plain(&uuid.to_string());
            }
            Node::Date => {
                let days = self.int()?;
                let epoch = DateTime::UNIX_EPOCH.date_naive();
                let distance = Days::new(days.unsigned_abs().into());
                let date = if days < 0 { epoch.checked_sub_days(distance) } else { epoch.checked_add_days(distance) };
                let date = date.ok_or_else(|| self.out_of_range("date"))?;
                let (date, era) = spelled(date);
                self.put_plain(&format!("{date}{era}"));
            }
            Node::TimeMillis => {
                let millis = i64::from(self.int()?);
                self.time(millis, 1_000, 3)?;
            }
            Node::TimeMicros => {
                let micros = self.long()?;
                self.time(micros, 1_000_000, 6)?;
            }
            Node::Timestamp { digits, zoned } => {
                let value = self.long()?;
                let per_second = 10_i64.pow(*digits);
                let nanos = value.rem_euclid(per_second) * 10_i64.pow(9 - *digits);
                let time = u32::try_from(nanos)
                    .ok()
                    .and_then(|nanos| DateTime::from_timestamp(value.div_euclid(per_second), nanos))
                    .ok_or_else(|| self.out_of_range("timestamp"))?;
                let text = timestamp(&time.naive_utc(), *digits, if *zoned { "Z" } else { "" });
                self.put_plain(&text);
            }
            Node::Duration => {
                let mut number = || -> Result<u32> { Ok(u32::from_le_bytes(self.chunk()?)) };
                let (months, days, millis) = (number()?, number()?, number()?);
                let (seconds, millis) = (millis / 1_000, millis % 1_000);
                self.put_plain(&format!("{months} mons {days} days {seconds}.{millis:03} seconds"));
            }
        }
        Ok(())
    }

    /// The items of an array or a map, which come in blocks: a count, if negative with the block's bytes behind it.
    fn blocks(&mut self, mut item: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        let mut is_first = true;
        loop {
            let count = self.long()?;
            if count < 0 {
                self.long()?;
            }
            if count == 0 {
                return Ok(());
            }
            for _ in 0..count.unsigned_abs() {
                self.put(if is_first { "" } else { "," });
                is_first = false;
                item(self)?;
            }
        }
    }

    /// A time of day in so many units of a second.
    fn time(&mut self, value: i64, per_second: i64, digits: usize) -> Result<()> {
        if !(0..=MILLIS_OF_DAY / 1_000 * per_second).contains(&value) {
            return Err(self.out_of_range("time"));
        }
        let (seconds, fraction) = (value / per_second, value % per_second);
        let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        self.put_plain(&format!("{hours:02}:{minutes:02}:{seconds:02}.{fraction:0digits$}"));
        Ok(())
    }

    /// Bytes and scale, within bytes.
    fn big_decimal(&mut self) -> Result<()> {
        let within = self.bytes()?;
        let mut reader = Reader { nodes: self.nodes, datum: within, at: 0, out: vec![], bytes_max: 0, depth_max: 0 };
        let (bytes, scale) = (reader.bytes()?, reader.long()?);
        if reader.at != within.len() {
            return Err(self.invalid("a decimal has bytes behind it"));
        }
        self.decimal(bytes, scale)
    }

    /// An integer in two's complement, times ten to the power of minus `scale`.
    fn decimal(&mut self, bytes: &[u8], scale: i64) -> Result<()> {
        if bytes.len() > DECIMAL_BYTES_MAX {
            return Err(self.invalid(&format!("a decimal has more than {DECIMAL_BYTES_MAX} bytes")));
        }
        let (is_negative, mut digits) = digits(bytes);
        if let Some(zeros) = scale.checked_neg().and_then(|zeros| usize::try_from(zeros).ok()) {
            if zeros > ZEROS_MAX {
                return Err(self.invalid("the scale of a decimal is out of range"));
            }
            digits.push_str(&"0".repeat(zeros));
        } else {
            let scale = usize::try_from(scale).ok().filter(|scale| *scale <= DECIMAL_BYTES_MAX * 3);
            let scale = scale.ok_or_else(|| self.invalid("the scale of a decimal is out of range"))?;
            digits = format!("{digits:0>width$}", width = scale + 1);
            digits.insert(digits.len() - scale, '.');
        }
        let digits = match digits.trim_start_matches('0') {
            "" => "0".to_owned(),
            rest if rest.starts_with('.') => format!("0{rest}"),
            rest => rest.to_owned(),
        };
        self.put(if is_negative { "-" } else { "" });
        self.put(&digits);
        Ok(())
    }
}

/// Sign and decimal digits of an integer in two's complement, its highest byte first.
fn digits(bytes: &[u8]) -> (bool, String) {
    const GROUP: u64 = 1_000_000_000;
    let is_negative = bytes.first().is_some_and(|byte| *byte >= 0x80);
    // Groups of nine digits, the lowest first.
    let mut groups: Vec<u64> = vec![];
    let carry_in = |groups: &mut Vec<u64>, factor: u64, add: u64| {
        let mut carry = add;
        for group in groups.iter_mut() {
            let value = *group * factor + carry;
            (*group, carry) = (value % GROUP, value / GROUP);
        }
        if carry > 0 {
            groups.push(carry);
        }
    };
    for byte in bytes {
        // Of a negative number -n this makes n - 1.
        let byte = if is_negative { !byte } else { *byte };
        carry_in(&mut groups, 256, byte.into());
    }
    if is_negative {
        carry_in(&mut groups, 1, 1);
    }
    let mut text = String::new();
    for group in groups.iter().rev() {
        text.push_str(&format!("{group:09}"));
    }
    let text = text.trim_start_matches('0');
    (is_negative, if text.is_empty() { "0".to_owned() } else { text.to_owned() })
}

/// A date as PostgreSQL reads it, and what follows behind the time of years before the first.
fn spelled(date: NaiveDate) -> (String, &'static str) {
    let (year, era) = if date.year() > 0 { (date.year(), "") } else { (1 - date.year(), " BC") };
    (format!("{year:04}-{:02}-{:02}", date.month(), date.day()), era)
}

fn timestamp(time: &NaiveDateTime, digits: u32, zone: &str) -> String {
    let (date, era) = spelled(time.date());
    let fraction = time.nanosecond() / 10_u32.pow(9 - digits);
    let width = digits as usize;
    format!("{date}T{:02}:{:02}:{:02}.{fraction:0width$}{zone}{era}", time.hour(), time.minute(), time.second())
}
