//! The stored form of aggregates in two steps: what `time_weight(…)`, `counter_agg(…)` and their like give, what
//! `rollup` puts together and what accessors such as `average` read.
//!
//! ```text
//! byte 0  magic 0xD7     byte 1  version 1     byte 2  kind     then the kind's fields, all little-endian
//! ```
//! States are `bytea` that people store and send back, so that any bytes at all can come in: reading them gives an
//! error, never a panic, and nothing is allocated on the word of a length that the bytes do not cover.

use super::super::super::call::{Value, fail};
use crate::types::ValueError;

const MAGIC: u8 = 0xD7;
/// Raised when the fields of a kind change; older ones have to stay readable.
const VERSION: u8 = 1;

/// What a state is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Kind {
    TimeWeight = 1,
    Counter = 2,
    Gauge = 3,
    Stats1 = 4,
    Stats2 = 5,
    Candlestick = 6,
    State = 7,
    Heartbeat = 8,
    TDigest = 9,
    HyperLogLog = 10,
    Freq = 11,
}

impl Kind {
    const ALL: [Self; 11] = [
        Self::TimeWeight,
        Self::Counter,
        Self::Gauge,
        Self::Stats1,
        Self::Stats2,
        Self::Candlestick,
        Self::State,
        Self::Heartbeat,
        Self::TDigest,
        Self::HyperLogLog,
        Self::Freq,
    ];

    /// The function that makes it, for messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::TimeWeight => "time_weight",
            Self::Counter => "counter_agg",
            Self::Gauge => "gauge_agg",
            Self::Stats1 => "stats_agg(x)",
            Self::Stats2 => "stats_agg(y, x)",
            Self::Candlestick => "candlestick_agg",
            Self::State => "state_agg",
            Self::Heartbeat => "heartbeat_agg",
            Self::TDigest => "tdigest",
            Self::HyperLogLog => "hyperloglog",
            Self::Freq => "freq_agg",
        }
    }
}

/// Writes a state.
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    /// Begins a state of that kind.
    pub(crate) fn new(kind: Kind) -> Self {
        Self(vec![MAGIC, VERSION, kind as u8])
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.0.extend(value.to_le_bytes());
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.0.extend(value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.0.extend(value.to_le_bytes());
    }

    pub(crate) fn f64(&mut self, value: f64) {
        self.0.extend(value.to_le_bytes());
    }

    /// Bytes after their length. A state is a value, which has less than 4 GiB.
    pub(crate) fn bytes(&mut self, value: &[u8]) {
        self.u32(u32::try_from(value.len()).expect("a part of a state is below 4 GiB"));
        self.0.extend(value);
    }

    /// The whole state.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Reads a state.
#[derive(Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

fn damaged(what: &str) -> ValueError {
    ValueError::new("22P02", format!("invalid state: {what}"))
}

/// An accessor or an aggregate was given a state of another kind than it works on.
pub(crate) fn mismatch<T>(expected: &str, got: Kind) -> Value<T> {
    fail("22023", format!("invalid state: expected {expected}, got {}", got.name()))
}

impl<'a> Reader<'a> {
    /// The kind of a state.
    ///
    /// # Errors
    /// 22P02 for bytes that are no state, or one of a later version.
    pub(crate) fn kind_of(bytes: &[u8]) -> Value<Kind> {
        let (&[magic, version, kind], _) =
            bytes.split_first_chunk::<3>().ok_or_else(|| damaged("too short to be the state of an aggregate"))?;
        if magic != MAGIC {
            return Err(damaged("not the state of an aggregate"));
        }
        if version != VERSION {
            return Err(damaged(&format!("unknown version {version}")));
        }
        let found = Kind::ALL.into_iter().find(|known| *known as u8 == kind);
        found.ok_or_else(|| damaged(&format!("unknown kind {kind}")))
    }

    /// Begins to read a state of that kind.
    ///
    /// # Errors
    /// 22023 for a state of another kind, 22P02 for what is none.
    pub(crate) fn open(bytes: &'a [u8], kind: Kind) -> Value<Self> {
        match Self::kind_of(bytes)? {
            found if found == kind => Ok(Self(&bytes[3..])),
            found => mismatch(kind.name(), found),
        }
    }

    fn take<const N: usize>(&mut self) -> Value<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or_else(|| damaged("truncated"))?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Value<u8> {
        Ok(u8::from_le_bytes(self.take()?))
    }

    pub(crate) fn u32(&mut self) -> Value<u32> {
        Ok(u32::from_le_bytes(self.take()?))
    }

    pub(crate) fn i64(&mut self) -> Value<i64> {
        Ok(i64::from_le_bytes(self.take()?))
    }

    pub(crate) fn u64(&mut self) -> Value<u64> {
        Ok(u64::from_le_bytes(self.take()?))
    }

    pub(crate) fn f64(&mut self) -> Value<f64> {
        Ok(f64::from_le_bytes(self.take()?))
    }

    /// Bytes after their length.
    pub(crate) fn bytes(&mut self) -> Value<&'a [u8]> {
        let length = self.u32()? as usize;
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(|| damaged("truncated"))?;
        self.0 = rest;
        Ok(taken)
    }

    /// How many bytes are left; what a count of fields is checked against before room is made for them.
    pub(crate) fn left(&self) -> usize {
        self.0.len()
    }

    /// Ends reading.
    ///
    /// # Errors
    /// 22P02 if bytes are left.
    pub(crate) fn end(self) -> Value<()> {
        if self.0.is_empty() { Ok(()) } else { Err(damaged("bytes are left at its end")) }
    }

    /// An error about fields that cannot be.
    pub(crate) fn invalid<T>(what: &str) -> Value<T> {
        Err(damaged(what))
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, Reader, Writer};

    fn sample() -> Vec<u8> {
        let mut writer = Writer::new(Kind::Freq);
        writer.u8(7);
        writer.u32(u32::MAX);
        writer.i64(i64::MIN);
        writer.u64(u64::MAX);
        writer.f64(-0.5);
        writer.bytes(b"abc");
        writer.finish()
    }

    fn read(bytes: &[u8]) -> super::Value<(u8, u32, i64, u64, f64, Vec<u8>)> {
        let mut reader = Reader::open(bytes, Kind::Freq)?;
        let fields =
            (reader.u8()?, reader.u32()?, reader.i64()?, reader.u64()?, reader.f64()?, reader.bytes()?.to_vec());
        reader.end()?;
        Ok(fields)
    }

    #[test]
    fn what_is_written_is_read() {
        let fields = read(&sample()).expect("readable");
        assert_eq!(fields, (7, u32::MAX, i64::MIN, u64::MAX, -0.5, b"abc".to_vec()));
        for kind in Kind::ALL {
            assert_eq!(Reader::kind_of(&Writer::new(kind).finish()).expect("a kind"), kind);
        }
    }

    #[test]
    fn bad_bytes_are_errors() {
        let bytes = sample();
        for length in 0..bytes.len() {
            assert_eq!(read(&bytes[..length]).expect_err("truncated").code, "22P02", "{length} bytes");
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!(read(&longer).expect_err("too long").code, "22P02");
        for at in 0..3 {
            let mut other = bytes.clone();
            other[at] = 99;
            assert_eq!(read(&other).expect_err("another header").code, "22P02", "byte {at}");
        }
        let other = read(&Writer::new(Kind::Counter).finish()).expect_err("another kind");
        assert_eq!(
            (other.code, other.message.as_str()),
            ("22023", "invalid state: expected freq_agg, got counter_agg")
        );
    }
}
