//! Values of documents as values of columns that exist, as PostgreSQL's `json_populate_record` converts them: strings and
//! numbers through the type's input function, arrays element by element, anything to json.

use arrow::array::{Array, ArrayRef, AsArray};
use tidemill_udfs::types::{ColumnEncoder, ColumnParser, SqlType, TextSettings, ValueError, input, json};

use super::slot::{Scratch, Slot};
use crate::json::lex::Lexer;
use crate::json::value::read_value;
use crate::value::{Number, Span, Value};

/// What values become: a type, and what is asked about it for every value.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) sql_type: SqlType,
    pub(crate) kind: Kind,
    element: Option<Box<Target>>,
}

/// Types by how values are converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric(Option<(u8, i8)>),
    Oid,
    Text,
    /// Text that the type checks or changes.
    Checked,
    Uuid,
    Json,
    Jsonb,
    Bytea,
    Date,
    Time,
    Timestamp,
    TimestampTz,
    Interval,
    Array,
    /// No column has such values.
    Unsupported,
}

impl Target {
    pub(crate) fn new(sql_type: &SqlType) -> Self {
        let element = match sql_type {
            SqlType::Array(element) => Some(Box::new(Self::new(element))),
            _ => None,
        };
        Self { sql_type: sql_type.clone(), kind: kind_of(sql_type), element }
    }

    /// What an array is of.
    pub(crate) fn element(&self) -> Option<&Self> {
        self.element.as_deref()
    }

    /// json or jsonb: objects are values of it.
    pub(crate) fn is_json(&self) -> bool {
        matches!(self.kind, Kind::Json | Kind::Jsonb)
    }
}

fn kind_of(sql_type: &SqlType) -> Kind {
    match sql_type {
        SqlType::Bool => Kind::Bool,
        SqlType::Int2 => Kind::Int2,
        SqlType::Int4 => Kind::Int4,
        SqlType::Int8 => Kind::Int8,
        SqlType::Float4 => Kind::Float4,
        SqlType::Float8 => Kind::Float8,
        SqlType::Numeric(modifier) => Kind::Numeric(*modifier),
        SqlType::Text | SqlType::Varchar(None) => Kind::Text,
        SqlType::Varchar(_) | SqlType::Char(_) | SqlType::CharByte | SqlType::Name | SqlType::Enum(_) => Kind::Checked,
        SqlType::Uuid => Kind::Uuid,
        SqlType::Json => Kind::Json,
        SqlType::Jsonb => Kind::Jsonb,
        SqlType::Bytea => Kind::Bytea,
        SqlType::Date => Kind::Date,
        SqlType::Time => Kind::Time,
        SqlType::Timestamp => Kind::Timestamp,
        SqlType::TimestampTz => Kind::TimestampTz,
        SqlType::Interval => Kind::Interval,
        SqlType::Array(_) => Kind::Array,
        other if other.is_oid() => Kind::Oid,
        _ => Kind::Unsupported,
    }
}

/// Where values are and how their text is read.
pub(crate) struct Conversion<'a> {
    pub(crate) doc: &'a str,
    pub(crate) scratch: &'a mut Scratch,
    pub(crate) settings: &'a TextSettings,
    /// A string for json is the JSON string; otherwise it is JSON text.
    pub(crate) json_strings: bool,
}

impl Conversion<'_> {
    /// A value as one of the target's type.
    ///
    /// # Errors
    /// As PostgreSQL's input functions.
    #[inline]
    pub(crate) fn convert(&mut self, target: &Target, value: &Value) -> Result<Slot, ValueError> {
        match *value {
            Value::Null if target.sql_type != SqlType::Record => Ok(Slot::Null),
            Value::Null => Err(no_input(&target.sql_type)),
            Value::Number(ref number) => self.number(target, number),
            Value::Text(span) => match target.kind {
                Kind::Text => Ok(Slot::Text(span)),
                Kind::Json | Kind::Jsonb if self.json_strings => self.json_string(span),
                _ => self.text(target, span),
            },
            Value::Untyped(span) => self.text(target, span),
            Value::Bool(value) => match target.kind {
                Kind::Bool => Ok(Slot::Bool(value)),
                _ => {
                    let span = self.scratch.keep(if value { "true" } else { "false" });
                    self.text(target, span)
                }
            },
            Value::Array(span) if target.kind == Kind::Array => self.array(target, span),
            Value::Array(span) | Value::Object(span) => match target.kind {
                // It was read as JSON already.
                Kind::Json => Ok(Slot::Text(span)),
                Kind::Array => Err(expected_array()),
                _ => self.text(target, span),
            },
            Value::Instant(us) => match target.kind {
                Kind::Timestamp | Kind::TimestampTz | Kind::Int8 => Ok(Slot::Int(us)),
                _ => {
                    let name = target.sql_type.plain_name();
                    let mut error = ValueError::new("42804", format!("a time stamp is no value of type {name}"));
                    error.hint = Some("The column of the time must be of type timestamp with time zone.".into());
                    Err(error)
                }
            },
        }
    }

    #[inline]
    fn number(&mut self, target: &Target, number: &Number) -> Result<Slot, ValueError> {
        match target.kind {
            Kind::Int8 => {
                if let Some(value) = number.small_integer() {
                    return Ok(Slot::Int(value));
                }
            }
            Kind::Float8 => {
                if let Some(value) = number.small_float() {
                    return Ok(Slot::Float(value));
                }
            }
            Kind::Int4 => {
                if let Some(value) = number.small_integer().filter(|value| i32::try_from(*value).is_ok()) {
                    return Ok(Slot::Int(value));
                }
            }
            Kind::Text => return Ok(Slot::Text(number.span)),
            Kind::Json => return Ok(Slot::Text(number.span)),
            Kind::Array => return Err(expected_array()),
            _ => {}
        }
        self.text(target, number.span)
    }

    /// A text through the input function of the type.
    pub(crate) fn text(&mut self, target: &Target, span: Span) -> Result<Slot, ValueError> {
        let text = self.scratch.text(self.doc, span);
        let bytes = text.as_bytes();
        Ok(match target.kind {
            Kind::Text => Slot::Text(span),
            Kind::TimestampTz => Slot::Int(input::timestamptz(bytes, self.settings)?),
            Kind::Float8 => Slot::Float(input::float8(bytes)?),
            Kind::Int8 => Slot::Int(input::int8(bytes)?),
            Kind::Int4 => Slot::Int(input::int4(bytes)?.into()),
            Kind::Bool => Slot::Bool(input::boolean(bytes)?),
            Kind::Int2 => Slot::Int(input::int2(bytes)?.into()),
            Kind::Float4 => Slot::Float(input::float4(bytes)?.into()),
            Kind::Numeric(modifier) => Slot::Decimal(input::numeric(bytes, modifier)?),
            Kind::Oid => Slot::Int(input::oid(bytes)?.into()),
            Kind::Uuid if is_canonical_uuid(bytes) => Slot::Text(span),
            Kind::Checked | Kind::Uuid | Kind::Json | Kind::Jsonb => {
                let kept = input::checked_text(&target.sql_type, text)?;
                if kept.len() == text.len() && *kept == *text {
                    Slot::Text(span)
                } else {
                    let kept = kept.into_owned();
                    Slot::Text(self.scratch.keep(&kept))
                }
            }
            Kind::Bytea => {
                let mut value = vec![];
                input::bytea(bytes, &mut value)?;
                let start = self.scratch.bytes.len();
                self.scratch.bytes.extend_from_slice(&value);
                let end = self.scratch.bytes.len();
                Slot::Bytes(start, end)
            }
            Kind::Date => Slot::Int(input::date(bytes, self.settings)?.into()),
            Kind::Time => Slot::Int(input::time(bytes, self.settings)?),
            Kind::Timestamp => Slot::Int(input::timestamp(bytes, self.settings)?),
            Kind::Interval => Slot::Interval(input::interval(bytes, self.settings)?),
            Kind::Array => {
                let mut parser = ColumnParser::with_capacity(&target.sql_type, self.settings, 1)?;
                parser.push(bytes)?;
                return self.slot_of_array(target, &parser.finish(), 0);
            }
            Kind::Unsupported => return Err(no_input(&target.sql_type)),
        })
    }

    fn json_string(&mut self, span: Span) -> Result<Slot, ValueError> {
        let mut quoted = vec![];
        json::write_string(self.scratch.text(self.doc, span), &mut quoted);
        let quoted = String::from_utf8(quoted).expect("made of UTF-8 text");
        Ok(Slot::Text(self.scratch.keep(&quoted)))
    }

    /// A JSON array as one of SQL.
    fn array(&mut self, target: &Target, span: Span) -> Result<Slot, ValueError> {
        let element = target.element.as_deref().expect("arrays have elements");
        let mut lexer = Lexer::new(self.doc, span.start);
        let mut slots = vec![];
        let mut inner_length = None;
        while let Some(value) = next_element(&mut lexer, span, self.scratch)? {
            let slot = match (value, element.kind) {
                (Value::Array(_), Kind::Array) | (Value::Null, _) | (_, Kind::Json | Kind::Jsonb) => {
                    self.convert(element, &value)?
                }
                (Value::Array(_), _) => return Err(too_many_dimensions(&target.sql_type)),
                (_, Kind::Array) => return Err(expected_array()),
                _ => self.convert(element, &value)?,
            };
            if let Slot::List(start, end) = slot
                && *inner_length.get_or_insert(end - start) != end - start
            {
                let mut error = ValueError::new("22P02", "malformed JSON array");
                error.detail =
                    Some("Multidimensional arrays must have sub-arrays with matching dimensions.".to_owned());
                return Err(error);
            }
            slots.push(slot);
        }
        Ok(self.list(&slots))
    }

    fn list(&mut self, slots: &[Slot]) -> Slot {
        let start = self.scratch.list.len();
        self.scratch.list.extend_from_slice(slots);
        Slot::List(start, self.scratch.list.len())
    }

    /// A value of an Arrow array, through its text.
    pub(crate) fn slot_of_array(&mut self, target: &Target, array: &ArrayRef, row: usize) -> Result<Slot, ValueError> {
        if array.is_null(row) {
            return Ok(Slot::Null);
        }
        if let (Some(element), Some(list)) = (target.element.as_deref(), array.as_list_opt::<i32>()) {
            let values = list.value(row);
            let slots =
                (0..values.len()).map(|at| self.slot_of_array(element, &values, at)).collect::<Result<Vec<_>, _>>()?;
            return Ok(self.list(&slots));
        }
        let written = SqlType::of_data_type(array.data_type());
        let mut text = vec![];
        ColumnEncoder::new(array, &written, self.settings)?.write_text(row, &mut text);
        let text = String::from_utf8(text).expect("the text of values is UTF-8");
        let span = self.scratch.keep(&text);
        self.text(target, span)
    }
}

/// The element that the lexer is before, which moves behind it; `None` at the array's end. `span`: the array.
pub(crate) fn next_element(
    lexer: &mut Lexer<'_>,
    span: Span,
    scratch: &mut Scratch,
) -> Result<Option<Value>, ValueError> {
    const VALID: &str = "the array was read before";
    // Behind the opening bracket, or behind an element and before a comma.
    lexer.at += usize::from(lexer.at == span.start);
    lexer.skip_space();
    match lexer.peek() {
        Some(b']') => return Ok(None),
        Some(b',') => {
            lexer.at += 1;
            lexer.skip_space();
        }
        _ => {}
    }
    // Only the meaning of escapes is still to be checked.
    let text = lexer.text;
    read_value(lexer, scratch, usize::MAX, &mut vec![]).map(Some).map_err(|_| {
        let element = Span { start: span.start, end: span.end, changed: false };
        json::canonical(&text[element.start..element.end]).err().unwrap_or_else(|| ValueError::new("22P02", VALID))
    })
}

fn no_input(sql_type: &SqlType) -> ValueError {
    ValueError::new("0A000", format!("type {} has no input", sql_type.name()))
}

fn expected_array() -> ValueError {
    ValueError::new("22P02", "expected JSON array")
}

/// As PostgreSQL's arrays would not say: ours have the dimensions of their type.
fn too_many_dimensions(sql_type: &SqlType) -> ValueError {
    let name = sql_type.name();
    let message = format!("a value of type {name} cannot have more dimensions than its declaration");
    let mut error = ValueError::new("0A000", message);
    error.hint = Some(format!("Declare the type as {name}[]."));
    error
}

/// 36 characters, lower-case digits.
pub(crate) fn is_canonical_uuid(text: &[u8]) -> bool {
    text.len() == 36
        && text.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}
