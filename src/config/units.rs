//! How sizes, durations and switches are written in flags, environment and file.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

/// A number of bytes, written `512MB`, `8GB` or plain `1048576`. Units are powers of 1024, as in postgresql.conf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub struct ByteSize(u64);

/// A length of time, written `500ms`, `30s`, `5min`, `2h` or `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub struct Interval(Duration);

/// `on` or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub struct Switch(bool);

/// What a TOML file may hold for them: numbers and booleans without quotes too.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Number(u64),
    Bool(bool),
}

const BYTE_UNITS: [(&str, u64); 5] = [("TB", 1 << 40), ("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10), ("B", 1)];
const TIME_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000), ("ms", 1)];

impl ByteSize {
    /// That many bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// As bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl Interval {
    /// As a duration.
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl Switch {
    /// True for `on`.
    pub const fn is_on(self) -> bool {
        self.0
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, size) =
            BYTE_UNITS.iter().find(|(_, size)| self.0 >= *size && self.0.is_multiple_of(*size)).unwrap_or(&("B", 1));
        write!(f, "{}{unit}", self.0 / size)
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split(text)?;
        // People write 512MB, 512mb, 512M and 512MiB and mean the same.
        let unit = unit.to_ascii_lowercase();
        let unit = unit.trim_end_matches('b').trim_end_matches('i');
        let size = BYTE_UNITS
            .iter()
            .find(|(name, _)| name.to_ascii_lowercase().trim_end_matches('b') == unit)
            .map(|(_, size)| size);
        let size = size.ok_or_else(|| format!("\"{text}\" is not a size: write e.g. 512MB or 8GB"))?;
        number.checked_mul(*size).map(Self).ok_or_else(|| format!("\"{text}\" is too large"))
    }
}

impl FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split(text)?;
        let size = TIME_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, size)| size);
        let size =
            size.ok_or_else(|| format!("\"{text}\" is not a duration: write e.g. 500ms, 30s, 5min, 2h or 7d"))?;
        let millis = number.checked_mul(*size).ok_or_else(|| format!("\"{text}\" is too large"))?;
        Ok(Self(Duration::from_millis(millis)))
    }
}

impl FromStr for Switch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "on" | "true" | "yes" | "1" => Ok(Self(true)),
            "off" | "false" | "no" | "0" => Ok(Self(false)),
            _ => Err(format!("\"{text}\" is neither on nor off")),
        }
    }
}

impl TryFrom<Scalar> for ByteSize {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        match scalar {
            Scalar::Text(text) => text.parse(),
            Scalar::Number(bytes) => Ok(Self(bytes)),
            Scalar::Bool(value) => Err(format!("{value} is not a size")),
        }
    }
}

impl TryFrom<Scalar> for Interval {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        match scalar {
            Scalar::Text(text) => text.parse(),
            // A bare number could be seconds or milliseconds: refuse to guess.
            Scalar::Number(number) => Err(format!("{number} needs a unit: \"{number}s\", \"{number}ms\"")),
            Scalar::Bool(value) => Err(format!("{value} is not a duration")),
        }
    }
}

impl TryFrom<Scalar> for Switch {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        match scalar {
            Scalar::Text(text) => text.parse(),
            Scalar::Bool(value) => Ok(Self(value)),
            Scalar::Number(number) => number.to_string().parse(),
        }
    }
}

/// Number and unit of `30 s` or `512MB`.
fn split(text: &str) -> Result<(u64, &str), String> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number = text[..end].parse().map_err(|_| format!("\"{text}\" does not begin with a number"))?;
    Ok((number, text[end..].trim()))
}
