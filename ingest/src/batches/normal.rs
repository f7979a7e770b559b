//! Columns of any Arrow type as one of those that SQL has.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringViewBuilder, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit, TimestampNanosecondType};
use tidemill_udfs::types::{JsonEncoder, SqlType, TextSettings, ValueError};

/// The most digits of a numeric.
const DIGITS_MAX: u8 = 38;

/// Nanoseconds of a microsecond.
const NANOSECONDS: i64 = 1_000;

/// A column of the input.
pub(super) struct Normal {
    pub(super) array: ArrayRef,
    /// The type of the values as they are in `array`.
    pub(super) sql_type: SqlType,
    /// The type of a new column for them: what the field declares, else `sql_type`.
    pub(super) wanted: SqlType,
    /// Rows whose value no SQL type holds; they are NULL in `array`.
    pub(super) faults: Vec<(usize, ValueError)>,
}

impl Normal {
    /// It has the type of NULL.
    pub(super) fn is_nothing(&self) -> bool {
        *self.array.data_type() == DataType::Null
    }
}

/// The column as one of a SQL type.
///
/// # Errors
/// 0A000 for types that no column holds.
pub(super) fn normal(field: &Field, array: &ArrayRef) -> Result<Normal, ValueError> {
    if *array.data_type() == DataType::Null {
        let (sql_type, wanted) = (SqlType::Text, SqlType::Text);
        return Ok(Normal { array: Arc::clone(array), sql_type, wanted, faults: vec![] });
    }
    let extension = field.metadata().get("ARROW:extension:name").map(String::as_str);
    if extension == Some("arrow.uuid") && *array.data_type() == DataType::FixedSizeBinary(16) {
        let array = uuids(array);
        return Ok(Normal { array, sql_type: SqlType::Text, wanted: SqlType::Uuid, faults: vec![] });
    }
    let Some(sql_type) = sql_type_of(array.data_type()) else { return as_json(field, array) };
    let (array, mut faults) = cast_to(array, &sql_type)?;
    if *sql_type.innermost() == SqlType::Text {
        let error = || ValueError::new("22021", "invalid byte sequence for encoding \"UTF8\": 0x00");
        faults.extend((0..array.len()).filter(|row| has_zero(&array, *row)).map(|row| (row, error())));
    }
    let declared = SqlType::of_field(field);
    let wanted = match (&sql_type, declared) {
        (SqlType::Text, _) if extension == Some("arrow.json") => SqlType::Jsonb,
        (SqlType::Text, declared) if declared.data_type() == DataType::Utf8View && declared != SqlType::Unknown => {
            declared
        }
        (SqlType::Numeric(_), SqlType::Numeric(None)) => SqlType::Numeric(None),
        (SqlType::Int8, SqlType::Oid) if field.metadata().is_empty() => SqlType::Int8,
        (SqlType::Array(of), SqlType::Array(element))
            if **of == SqlType::Text && element.data_type() == DataType::Utf8View =>
        {
            SqlType::Array(element)
        }
        _ => sql_type.clone(),
    };
    Ok(Normal { array, sql_type, wanted, faults })
}

/// The SQL type that holds all values of an Arrow type; `None` for what only jsonb can.
fn sql_type_of(data_type: &DataType) -> Option<SqlType> {
    Some(match data_type {
        DataType::UInt32 => SqlType::Int8,
        DataType::UInt64 => SqlType::Numeric(Some((20, 0))),
        DataType::Date64 => SqlType::Date,
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => {
            // 12E3 has no scale, but more digits.
            let digits = precision.saturating_add(scale.min(&0).unsigned_abs());
            SqlType::Numeric(Some((digits.min(DIGITS_MAX), (*scale).max(0))))
        }
        DataType::Dictionary(_, value) => return sql_type_of(value),
        DataType::RunEndEncoded(_, values) => return sql_type_of(values.data_type()),
        DataType::List(element)
        | DataType::LargeList(element)
        | DataType::ListView(element)
        | DataType::LargeListView(element)
        | DataType::FixedSizeList(element, _) => SqlType::Array(Arc::new(sql_type_of(element.data_type())?)),
        DataType::Struct(_) | DataType::Map(..) | DataType::Union(..) => return None,
        other => SqlType::of_data_type(other),
    })
}

/// The values in the Arrow type of the SQL type; what has none there is NULL and a fault.
fn cast_to(array: &ArrayRef, sql_type: &SqlType) -> Result<(ArrayRef, Vec<(usize, ValueError)>), ValueError> {
    let to = sql_type.data_type();
    if *array.data_type() == to {
        check_digits(array, sql_type)?;
        return Ok((Arc::clone(array), vec![]));
    }
    let cast = |array: &ArrayRef, to: &DataType| {
        let options = CastOptions { safe: true, ..CastOptions::default() };
        cast_with_options(array, to, &options).map_err(|_| unsupported(array.data_type()))
    };
    let from = match array.data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
            // To the nearest microsecond, as text with more digits is read.
            let rounded =
                array.as_primitive::<TimestampNanosecondType>().unary::<_, TimestampNanosecondType>(|value| {
                    let rest = value.rem_euclid(NANOSECONDS);
                    let down = value.saturating_sub(rest);
                    if rest >= NANOSECONDS / 2 { down.saturating_add(NANOSECONDS) } else { down }
                });
            Arc::new(rounded.with_timezone_opt(zone.clone())) as ArrayRef
        }
        DataType::FixedSizeBinary(_) => cast(array, &DataType::Binary)?,
        DataType::Duration(_) => cast(array, &DataType::Interval(IntervalUnit::MonthDayNano))?,
        // Any zone: the values are of UTC.
        _ => Arc::clone(array),
    };
    let result = cast(&from, &to)?;
    check_digits(&result, sql_type)?;
    let lost = (0..array.len()).filter(|row| result.is_null(*row) && array.is_valid(*row));
    // A dictionary's values may be NULL.
    let nulls = array.logical_nulls();
    let lost = lost.filter(|row| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(*row)));
    let error = || ValueError::new("22003", format!("value out of range for type {}", sql_type.plain_name()));
    let faults = lost.map(|row| (row, error())).collect();
    Ok((result, faults))
}

/// A text, or one of an array, has the byte that SQL's texts cannot have.
fn has_zero(array: &ArrayRef, row: usize) -> bool {
    if array.is_null(row) {
        return false;
    }
    match array.as_list_opt::<i32>() {
        Some(list) => {
            let elements = list.value(row);
            (0..elements.len()).any(|element| has_zero(&elements, element))
        }
        None => memchr::memchr(0, array.as_string_view().value(row).as_bytes()).is_some(),
    }
}

/// Files and streams may hold more digits than their type says.
fn check_digits(array: &ArrayRef, sql_type: &SqlType) -> Result<(), ValueError> {
    let (SqlType::Numeric(Some((precision, _))), DataType::Decimal128(..)) = (sql_type, array.data_type()) else {
        return Ok(());
    };
    let decimals = array.as_primitive::<arrow::datatypes::Decimal128Type>();
    decimals.validate_decimal_precision(*precision).map_err(|error| ValueError::new("22P04", error.to_string()))
}

/// Structs and maps are objects.
fn as_json(field: &Field, array: &ArrayRef) -> Result<Normal, ValueError> {
    let nulls = array.logical_nulls();
    let mut builder = StringViewBuilder::with_capacity(array.len());
    let mut text = vec![];
    let settings = TextSettings::default();
    let writer = ObjectWriter::new(field, array, &settings)?;
    for row in 0..array.len() {
        if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            builder.append_null();
            continue;
        }
        text.clear();
        writer.write(row, &mut text);
        builder.append_value(std::str::from_utf8(&text).expect("JSON is UTF-8"));
    }
    let array = Arc::new(builder.finish());
    Ok(Normal { array, sql_type: SqlType::Json, wanted: SqlType::Jsonb, faults: vec![] })
}

/// Writes values of nested types as JSON; what is not nested is as `to_json` has it.
enum ObjectWriter {
    Plain(JsonEncoder),
    Struct(ArrayRef, Vec<(String, Self)>),
    /// Ends of each row's entries; keys; values.
    Map(ArrayRef, Box<Self>, Box<Self>),
    List(ArrayRef, Vec<usize>, Box<Self>),
}

impl ObjectWriter {
    fn new(field: &Field, array: &ArrayRef, settings: &TextSettings) -> Result<Self, ValueError> {
        let kept = Arc::clone(array);
        Ok(match array.data_type() {
            DataType::Null => {
                let nulls = new_null_array(&DataType::Utf8View, array.len());
                Self::Plain(JsonEncoder::new(&nulls, &SqlType::Text, settings)?)
            }
            DataType::Struct(fields) => {
                let members = fields.iter().zip(array.as_struct().columns());
                let members =
                    members.map(|(field, column)| Ok((field.name().clone(), Self::new(field, column, settings)?)));
                Self::Struct(kept, members.collect::<Result<_, ValueError>>()?)
            }
            DataType::Map(..) => {
                let map = array.as_map();
                let (keys, values) = map.entries_fields();
                let keys = Self::new(keys, map.keys(), settings)?;
                Self::Map(Arc::clone(array), Box::new(keys), Box::new(Self::new(values, map.values(), settings)?))
            }
            DataType::List(element) => {
                let list = array.as_list::<i32>();
                let offsets = list.value_offsets().iter().map(|at| usize::try_from(*at).unwrap_or(0)).collect();
                Self::List(Arc::clone(array), offsets, Box::new(Self::new(element, list.values(), settings)?))
            }
            DataType::LargeList(element) | DataType::FixedSizeList(element, _) => {
                let list = cast_with_options(array, &DataType::List(Arc::clone(element)), &CastOptions::default());
                return Self::new(field, &list.map_err(|_| unsupported(array.data_type()))?, settings);
            }
            other if sql_type_of(other).is_none() => return Err(unsupported(other)),
            _ => {
                let normal = super::normal::normal(field, array)?;
                if let Some((_, error)) = normal.faults.into_iter().next() {
                    return Err(error);
                }
                Self::Plain(JsonEncoder::new(&normal.array, &normal.sql_type, settings)?)
            }
        })
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) {
        let array = match self {
            Self::Plain(encoder) => return encoder.write(row, out),
            Self::Struct(array, _) | Self::Map(array, ..) | Self::List(array, ..) => array,
        };
        if array.is_null(row) {
            out.extend_from_slice(b"null");
            return;
        }
        match self {
            Self::Plain(_) => {}
            Self::Struct(_, members) => {
                out.push(b'{');
                for (at, (name, member)) in members.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    tidemill_udfs::types::json::write_string(name, out);
                    out.push(b':');
                    member.write(row, out);
                }
                out.push(b'}');
            }
            Self::Map(array, keys, values) => {
                let offsets = array.as_map().value_offsets();
                let at = |row: usize| usize::try_from(offsets[row]).unwrap_or(0);
                out.push(b'{');
                for entry in at(row)..at(row + 1) {
                    if entry > at(row) {
                        out.push(b',');
                    }
                    let start = out.len();
                    keys.write(entry, out);
                    if out.get(start) != Some(&b'"') {
                        let key = out.split_off(start);
                        tidemill_udfs::types::json::write_string(&String::from_utf8_lossy(&key), out);
                    }
                    out.push(b':');
                    values.write(entry, out);
                }
                out.push(b'}');
            }
            Self::List(_, offsets, elements) => {
                out.push(b'[');
                for element in offsets[row]..offsets[row + 1] {
                    if element > offsets[row] {
                        out.push(b',');
                    }
                    elements.write(element, out);
                }
                out.push(b']');
            }
        }
    }
}

/// 16 bytes as the text of a uuid.
fn uuids(array: &ArrayRef) -> ArrayRef {
    let mut builder = StringViewBuilder::with_capacity(array.len());
    for value in array.as_fixed_size_binary() {
        let Some(bytes) = value else {
            builder.append_null();
            continue;
        };
        let mut text = String::with_capacity(36);
        for (at, byte) in bytes.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            let digits = [byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0'));
            text.extend(digits);
        }
        builder.append_value(text);
    }
    Arc::new(builder.finish())
}

fn unsupported(data_type: &DataType) -> ValueError {
    let mut error = ValueError::new("0A000", format!("values of Arrow type {data_type} are not supported"));
    error.hint = Some("Cast the column before it is sent.".to_owned());
    error
}
