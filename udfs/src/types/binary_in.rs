//! Values from PostgreSQL's binary form.

use super::calendar::{FIRST_DAY, LAST_DAY, POSTGRES_EPOCH_DAYS, POSTGRES_EPOCH_US};
use super::text_in::{Builder, ColumnParser, utf8};
use super::{SqlType, ValueError, bytes, interval, numeric};

fn malformed() -> ValueError {
    ValueError::new("22P03", "incorrect binary data format")
}

/// The bytes as an array of that length.
fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], ValueError> {
    bytes.try_into().map_err(|_| malformed())
}

/// Appends one value to a parser.
pub(super) fn push(parser: &mut ColumnParser, bytes: &[u8]) -> Result<(), ValueError> {
    match &mut parser.builder {
        Builder::Bool(builder) => builder.append_value(fixed::<1>(bytes)?[0] != 0),
        Builder::Int2(builder) => builder.append_value(i16::from_be_bytes(fixed(bytes)?)),
        Builder::Int4(builder) => builder.append_value(i32::from_be_bytes(fixed(bytes)?)),
        Builder::Int8(builder) => builder.append_value(i64::from_be_bytes(fixed(bytes)?)),
        Builder::Float4(builder) => builder.append_value(f32::from_be_bytes(fixed(bytes)?)),
        Builder::Float8(builder) => builder.append_value(f64::from_be_bytes(fixed(bytes)?)),
        Builder::Oid(builder) => builder.append_value(u32::from_be_bytes(fixed(bytes)?)),
        Builder::Numeric(builder, target) => {
            let text = numeric::binary_to_text(bytes)
                .ok_or_else(|| ValueError::new("22P03", "invalid digit in external \"numeric\" value"))?;
            builder.append_value(numeric::parse_numeric(&text, *target)?);
        }
        Builder::Bytea(builder, _) => builder.append_value(bytes),
        Builder::Date(builder) => builder.append_value(date(i32::from_be_bytes(fixed(bytes)?))?),
        Builder::Time(builder) => {
            let us = i64::from_be_bytes(fixed(bytes)?);
            if !(0..=super::calendar::DAY).contains(&us) {
                return Err(ValueError::new("22008", "time out of range"));
            }
            builder.append_value(us);
        }
        Builder::Timestamp(builder) | Builder::TimestampTz(builder) => {
            builder.append_value(timestamp(i64::from_be_bytes(fixed(bytes)?))?);
        }
        Builder::Interval(builder) => {
            let (us, rest) = bytes.split_first_chunk::<8>().ok_or_else(malformed)?;
            let (days, months) = rest.split_first_chunk::<4>().ok_or_else(malformed)?;
            let months = i32::from_be_bytes(fixed(months)?);
            let value = interval::from_parts(months, i32::from_be_bytes(*days), i64::from_be_bytes(*us));
            builder.append_value(value.ok_or_else(|| ValueError::new("22008", "interval out of range"))?);
        }
        Builder::Text(_) => parser.push(bytes)?,
        Builder::Checked(builder) => match &parser.sql_type {
            SqlType::Uuid => builder.append_value(bytes::uuid_text(fixed(bytes)?)),
            SqlType::CharByte => {
                fixed::<1>(bytes)?;
                parser.push(if bytes == [0] { b"" } else { bytes })?;
            }
            SqlType::Jsonb => match bytes {
                [1, text @ ..] => {
                    utf8(text)?;
                    parser.push(text)?;
                }
                [version, ..] => {
                    return Err(ValueError::new("XX000", format!("unsupported jsonb version number {version}")));
                }
                [] => return Err(malformed()),
            },
            _ => parser.push(bytes)?,
        },
        Builder::List(_) => push_array(parser, bytes)?,
    }
    Ok(())
}

fn date(days: i32) -> Result<i32, ValueError> {
    if days == i32::MAX || days == i32::MIN {
        return Ok(days);
    }
    days.checked_add(POSTGRES_EPOCH_DAYS)
        .filter(|days| (FIRST_DAY..=LAST_DAY).contains(&i64::from(*days)))
        .ok_or_else(|| ValueError::new("22008", "date out of range"))
}

fn timestamp(us: i64) -> Result<i64, ValueError> {
    if us == i64::MAX || us == i64::MIN {
        return Ok(us);
    }
    us.checked_add(POSTGRES_EPOCH_US)
        .filter(|us| *us != i64::MAX && us.div_euclid(super::calendar::DAY) >= FIRST_DAY)
        .ok_or_else(|| ValueError::new("22008", "timestamp out of range"))
}

/// The words of an array's binary form.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn word(&mut self) -> Result<i32, ValueError> {
        let (word, rest) = self.rest.split_first_chunk::<4>().ok_or_else(malformed)?;
        self.rest = rest;
        Ok(i32::from_be_bytes(*word))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], ValueError> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or_else(malformed)?;
        self.rest = rest;
        Ok(bytes)
    }
}

fn push_array(parser: &mut ColumnParser, bytes: &[u8]) -> Result<(), ValueError> {
    let mut reader = Reader { rest: bytes };
    let dimensions = reader.word()?;
    if !(0..=6).contains(&dimensions) {
        return Err(ValueError::new("54000", format!("number of array dimensions ({dimensions}) is out of range")));
    }
    let flags = reader.word()?;
    if flags != 0 && flags != 1 {
        return Err(ValueError::new("22P03", "invalid array flags"));
    }
    let element_oid = reader.word()?.cast_unsigned();
    let expected = parser.sql_type.element().expect("a list has elements").innermost().clone();
    let compatible = |given: u32| {
        given == expected.oid() || SqlType::from_oid(given, -1).is_some_and(|t| t.is_string() && expected.is_string())
    };
    if !compatible(element_oid) {
        let message = format!(
            "binary data has array element type {element_oid} ({}) instead of expected {} ({})",
            SqlType::from_oid(element_oid, -1).map_or_else(|| "???".into(), |found| found.name()),
            expected.oid(),
            expected.name()
        );
        return Err(ValueError::new("42804", message));
    }
    let mut lengths = vec![];
    for _ in 0..dimensions {
        let length = usize::try_from(reader.word()?).map_err(|_| malformed())?;
        reader.word()?;
        lengths.push(length);
    }
    // Each element takes at least its length word: refuse counts that cannot be in the message.
    let count = lengths.iter().try_fold(1usize, |count, length| count.checked_mul(*length));
    if count.is_none_or(|count| !lengths.is_empty() && count > reader.rest.len() / 4) {
        return Err(malformed());
    }
    if lengths.contains(&0) {
        lengths.clear();
    }
    push_level(parser, &lengths, &mut reader)?;
    if reader.rest.is_empty() { Ok(()) } else { Err(malformed()) }
}

fn push_level(parser: &mut ColumnParser, lengths: &[usize], reader: &mut Reader<'_>) -> Result<(), ValueError> {
    let name = parser.sql_type.name();
    let Builder::List(list) = &mut parser.builder else {
        let mut error = ValueError::new(
            "0A000",
            format!("a value of type {name}[] cannot have more dimensions than its declaration"),
        );
        error.hint = Some(format!("Declare the type as {name}[][]."));
        return Err(error);
    };
    let (length, inner) = match lengths {
        [] => return list.end_list(0),
        [length, inner @ ..] => (*length, inner),
    };
    for _ in 0..length {
        if !inner.is_empty() {
            push_level(&mut list.elements, inner, reader)?;
            continue;
        }
        if matches!(list.elements.builder, Builder::List(_)) {
            return Err(ValueError::new("22P03", format!("a value of type {name} has fewer dimensions than its type")));
        }
        match reader.word()? {
            -1 => list.elements.push_null(),
            length => {
                let bytes = reader.take(usize::try_from(length).map_err(|_| malformed())?)?;
                list.elements.push_binary(bytes)?;
            }
        }
    }
    list.end_list(length)
}
