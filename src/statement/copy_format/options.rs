//! COPY's options and what PostgreSQL refuses about them.

use crate::error::SqlState;
use crate::statement::control::CopyValue;
use crate::{Error, Result};

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Tabs between, backslash escapes.
    #[default]
    Text,
    /// Comma-separated values.
    Csv,
    /// PostgreSQL's binary format.
    Binary,
}

/// The first line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Header {
    /// Is a row.
    #[default]
    Absent,
    /// Has names; not looked at on input.
    Present,
    /// Has exactly the names of the columns.
    Match,
}

/// How characters are bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// UTF8
    #[default]
    Utf8,
    /// LATIN1
    Latin1,
}

/// Columns whose values are always in quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForceQuote {
    /// All of them.
    All,
    /// These.
    Columns(Vec<String>),
}

/// COPY's options, complete and consistent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyOptions {
    /// FORMAT
    pub format: Format,
    /// DELIMITER
    pub delimiter: u8,
    /// NULL
    pub null: String,
    /// HEADER
    pub header: Header,
    /// QUOTE
    pub quote: u8,
    /// ESCAPE
    pub escape: u8,
    /// FORCE_QUOTE
    pub force_quote: ForceQuote,
    /// FORCE_NOT_NULL
    pub force_not_null: Vec<String>,
    /// FORCE_NULL
    pub force_null: Vec<String>,
    /// ENCODING
    pub encoding: Encoding,
}

/// What was given, before the defaults that depend on the format.
#[derive(Default)]
struct Given {
    format: Option<Format>,
    delimiter: Option<String>,
    null: Option<String>,
    header: Option<Header>,
    quote: Option<String>,
    escape: Option<String>,
    force_quote: Option<ForceQuote>,
    force_not_null: Option<Vec<String>>,
    force_null: Option<Vec<String>>,
    encoding: Option<Encoding>,
    freeze: Option<bool>,
}

fn syntax(message: impl Into<String>) -> Error {
    Error::new(SqlState::SYNTAX_ERROR, message)
}

fn unsupported(message: impl Into<String>) -> Error {
    Error::new(SqlState::FEATURE_NOT_SUPPORTED, message)
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

impl CopyOptions {
    /// The options of a statement's list. `from`: COPY FROM, else COPY TO.
    ///
    /// # Errors
    /// As PostgreSQL: 42601, 22023, 0A000.
    pub fn from_pairs(pairs: &[(String, CopyValue)], from: bool) -> Result<Self> {
        let mut given = Given::default();
        for (name, value) in pairs {
            given.take(name, value, from)?;
        }
        given.complete(from)
    }
}

/// Fills an option that may be given once.
fn once<T>(option: &mut Option<T>, value: T) -> Result<()> {
    match option.replace(value) {
        None => Ok(()),
        Some(_) => Err(syntax("conflicting or redundant options")),
    }
}

/// An option's value as text.
fn text(name: &str, value: &CopyValue) -> Result<String> {
    match value {
        CopyValue::Text(text) => Ok(text.clone()),
        CopyValue::Absent => Err(syntax(format!("{name} requires a parameter"))),
        CopyValue::Star => Ok("*".into()),
        CopyValue::Columns(names) => Ok(names.join(", ")),
    }
}

fn boolean(value: &CopyValue) -> Option<bool> {
    let CopyValue::Text(text) = value else { return matches!(value, CopyValue::Absent).then_some(true) };
    match text.to_ascii_lowercase().as_str() {
        "true" | "on" | "1" => Some(true),
        "false" | "off" | "0" => Some(false),
        _ => None,
    }
}

fn names(name: &str, value: &CopyValue) -> Result<Vec<String>> {
    match value {
        CopyValue::Columns(names) => Ok(names.clone()),
        _ => Err(invalid(format!("argument to option \"{name}\" must be a list of column names"))),
    }
}

impl Given {
    fn take(&mut self, name: &str, value: &CopyValue, from: bool) -> Result<()> {
        match name {
            "format" => {
                let format = text(name, value)?;
                let format = match format.as_str() {
                    "text" => Format::Text,
                    "csv" => Format::Csv,
                    "binary" => Format::Binary,
                    _ => return Err(invalid(format!("COPY format \"{format}\" not recognized"))),
                };
                once(&mut self.format, format)
            }
            "freeze" => {
                let freeze = boolean(value).ok_or_else(|| syntax("freeze requires a Boolean value"))?;
                once(&mut self.freeze, freeze)
            }
            "delimiter" => once(&mut self.delimiter, text(name, value)?),
            "null" => once(&mut self.null, text(name, value)?),
            "header" => {
                let header = match (boolean(value), value) {
                    (Some(true), _) => Header::Present,
                    (Some(false), _) => Header::Absent,
                    (None, CopyValue::Text(text)) if text.eq_ignore_ascii_case("match") => {
                        if !from {
                            return Err(unsupported("cannot use \"match\" with HEADER in COPY TO"));
                        }
                        Header::Match
                    }
                    _ => return Err(syntax("header requires a Boolean value or \"match\"")),
                };
                once(&mut self.header, header)
            }
            "quote" => once(&mut self.quote, text(name, value)?),
            "escape" => once(&mut self.escape, text(name, value)?),
            "force_quote" => {
                let columns = match value {
                    CopyValue::Star => ForceQuote::All,
                    other => ForceQuote::Columns(names(name, other)?),
                };
                once(&mut self.force_quote, columns)
            }
            "force_not_null" => once(&mut self.force_not_null, names(name, value)?),
            "force_null" => once(&mut self.force_null, names(name, value)?),
            "encoding" => {
                let encoding = text(name, value)?;
                let plain: String = encoding.chars().filter(char::is_ascii_alphanumeric).collect();
                let encoding = match plain.to_ascii_lowercase().as_str() {
                    "utf8" | "unicode" | "sqlascii" => Encoding::Utf8,
                    "latin1" | "iso88591" => Encoding::Latin1,
                    _ => return Err(invalid("argument to option \"encoding\" must be a valid encoding name")),
                };
                once(&mut self.encoding, encoding)
            }
            _ => Err(syntax(format!("option \"{name}\" not recognized"))),
        }
    }

    fn complete(self, from: bool) -> Result<CopyOptions> {
        let format = self.format.unwrap_or_default();
        let (is_csv, is_binary) = (format == Format::Csv, format == Format::Binary);
        if is_binary && self.delimiter.is_some() {
            return Err(syntax("cannot specify DELIMITER in BINARY mode"));
        }
        if is_binary && self.null.is_some() {
            return Err(syntax("cannot specify NULL in BINARY mode"));
        }
        let delimiter = self.delimiter.unwrap_or_else(|| if is_csv { ",".into() } else { "\t".into() });
        let [delimiter] = *delimiter.as_bytes() else {
            return Err(unsupported("COPY delimiter must be a single one-byte character"));
        };
        if matches!(delimiter, b'\r' | b'\n') {
            return Err(invalid("COPY delimiter cannot be newline or carriage return"));
        }
        let null = self.null.unwrap_or_else(|| if is_csv { String::new() } else { "\\N".into() });
        if null.contains(['\r', '\n']) {
            return Err(invalid("COPY null representation cannot use newline or carriage return"));
        }
        // These would clash with the escapes of the text format.
        if !is_csv && b"\\.abcdefghijklmnopqrstuvwxyz0123456789".contains(&delimiter) {
            return Err(invalid(format!("COPY delimiter cannot be \"{}\"", char::from(delimiter))));
        }
        let header = self.header.unwrap_or_default();
        if is_binary && header != Header::Absent {
            return Err(unsupported("cannot specify HEADER in BINARY mode"));
        }
        let one_byte = |given: Option<String>, what: &str, default: u8| match given {
            None => Ok(default),
            Some(_) if !is_csv => Err(unsupported(format!("COPY {what} available only in CSV mode"))),
            Some(text) => match *text.as_bytes() {
                [byte] => Ok(byte),
                _ => Err(unsupported(format!("COPY {what} must be a single one-byte character"))),
            },
        };
        let quote = one_byte(self.quote, "quote", b'"')?;
        if is_csv && delimiter == quote {
            return Err(invalid("COPY delimiter and quote must be different"));
        }
        let escape = one_byte(self.escape, "escape", quote)?;
        for (given, is_from, what) in [
            (self.force_quote.is_some(), false, "force quote"),
            (self.force_not_null.is_some(), true, "force not null"),
            (self.force_null.is_some(), true, "force null"),
        ] {
            if given && !is_csv {
                return Err(unsupported(format!("COPY {what} available only in CSV mode")));
            }
            if given && is_from != from {
                let direction = if is_from { "FROM" } else { "TO" };
                return Err(unsupported(format!("COPY {what} only available using COPY {direction}")));
            }
        }
        if null.as_bytes().contains(&delimiter) && !is_binary {
            return Err(unsupported("COPY delimiter must not appear in the NULL specification"));
        }
        if is_csv && null.as_bytes().contains(&quote) {
            return Err(unsupported("CSV quote character must not appear in the NULL specification"));
        }
        Ok(CopyOptions {
            format,
            delimiter,
            null,
            header,
            quote,
            escape,
            force_quote: self.force_quote.unwrap_or(ForceQuote::Columns(vec![])),
            force_not_null: self.force_not_null.unwrap_or_default(),
            force_null: self.force_null.unwrap_or_default(),
            encoding: self.encoding.unwrap_or_default(),
        })
    }
}
