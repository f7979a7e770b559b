//! How a column's type looks in files, and back.
//!
//! | in the engine | in files | why |
//! |---|---|---|
//! | Time64(µs) | long, µs of the day | Delta has no time |
//! | Interval | string, `14 mons 3 days 4000000 us` | Delta has no interval |
//! | UInt32 | long | Delta has no unsigned integers |
//! | List | list of the above, element named `element` | as Spark writes it |
//!
//! Everything else is the same on both sides. In files every column may be NULL, has its physical name, and its column id
//! as Parquet field id.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, IntervalMonthDayNanoArray, ListArray, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, IntervalMonthDayNanoType, Schema, SchemaRef, TimeUnit};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use crate::record::{ColumnDef, TableDef};
use crate::table::value::{interval_text, interval_value};
use crate::{Error, Result};

/// The type a column has in files.
pub fn storage_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Time64(_) | DataType::UInt32 => DataType::Int64,
        DataType::Interval(_) => DataType::Utf8View,
        DataType::List(item) => DataType::List(Arc::new(Field::new("element", storage_type(item.data_type()), true))),
        other => other.clone(),
    }
}

/// Values as files hold them.
///
/// # Errors
/// `Arrow` if the array is not of `storage_type`'s domain.
pub fn to_storage(array: &ArrayRef) -> Result<ArrayRef> {
    Ok(match array.data_type() {
        DataType::Time64(TimeUnit::Microsecond) | DataType::UInt32 => cast(array, &DataType::Int64)?,
        DataType::Interval(_) => {
            let values = array.as_primitive::<IntervalMonthDayNanoType>();
            Arc::new(values.iter().map(|value| value.map(interval_text)).collect::<StringViewArray>())
        }
        DataType::List(item) => {
            let list = array.as_list::<i32>();
            let element = Arc::new(Field::new("element", storage_type(item.data_type()), true));
            let values = to_storage(list.values())?;
            Arc::new(ListArray::try_new(element, list.offsets().clone(), values, list.nulls().cloned())?)
        }
        _ => Arc::clone(array),
    })
}

/// Values of a file in the engine's type.
///
/// # Errors
/// `Corrupt`-like `Invalid` if a stored text is not an interval, `Arrow` if the types do not fit.
pub fn from_storage(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    if array.data_type() == data_type {
        return Ok(Arc::clone(array));
    }
    Ok(match data_type {
        DataType::Time64(TimeUnit::Microsecond) if array.data_type() == &DataType::Int64 => {
            Arc::new(array.as_primitive::<Int64Type>().reinterpret_cast::<arrow::datatypes::Time64MicrosecondType>())
        }
        DataType::Interval(_) => {
            let texts = cast(array, &DataType::Utf8View)?;
            let mut values = IntervalMonthDayNanoArray::builder(texts.len());
            for text in texts.as_string_view() {
                values.append_option(match text {
                    None => None,
                    Some(text) => Some(
                        interval_value(text)
                            .ok_or_else(|| Error::Invalid(format!("stored value \"{text}\" is not an interval")))?,
                    ),
                });
            }
            Arc::new(values.finish())
        }
        DataType::List(item) => {
            let list = array.as_list_opt::<i32>().ok_or_else(|| {
                Error::Invalid(format!("a stored column of type {} cannot be read as {data_type}", array.data_type()))
            })?;
            let values = from_storage(list.values(), item.data_type())?;
            Arc::new(ListArray::try_new(Arc::clone(item), list.offsets().clone(), values, list.nulls().cloned())?)
        }
        _ => cast(array, data_type)?,
    })
}

/// An engine array from a storage array of a known constant, for statistics of stored columns.
pub fn stat_from_storage(array: &ArrayRef, data_type: &DataType) -> Option<ArrayRef> {
    match data_type {
        DataType::Interval(_) | DataType::List(_) | DataType::BinaryView => None,
        _ => from_storage(array, data_type).ok(),
    }
}

/// The columns whose values are in the path's place, not in the file: those of `partition_by` whose type Delta can
/// partition by.
pub fn partition_columns(def: &TableDef) -> Vec<&ColumnDef> {
    let named = def.options.partition_by.iter().filter_map(|name| def.column(name));
    named.filter(|column| crate::table::value::has_order(&column.data_type)).collect()
}

/// True if the column's values are in the file.
pub fn in_file(def: &TableDef, column: &ColumnDef) -> bool {
    !(def.options.partition_by.contains(&column.name) && crate::table::value::has_order(&column.data_type))
}

/// The schema of a table's files.
pub fn file_schema(def: &TableDef) -> SchemaRef {
    let columns = def.columns.iter().filter(|column| in_file(def, column));
    Arc::new(Schema::new(columns.map(file_field).collect::<Vec<_>>()))
}

fn file_field(column: &ColumnDef) -> Field {
    Field::new(&column.physical_name, storage_type(&column.data_type), true)
        .with_metadata([(PARQUET_FIELD_ID_META_KEY.to_owned(), column.id.to_string())].into())
}

/// The type that a column of a file decodes to: text and bytes as views.
pub fn view_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
        DataType::List(item) => {
            let field = item.as_ref().clone().with_data_type(view_type(item.data_type()));
            DataType::List(Arc::new(field))
        }
        other => other.clone(),
    }
}

/// The raw integers of a timestamp, date or integer column without NULLs, for fast order checks.
pub fn as_i64(array: &ArrayRef) -> Option<Int64Array> {
    match array.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            Some(array.as_primitive::<arrow::datatypes::TimestampMicrosecondType>().reinterpret_cast::<Int64Type>())
        }
        DataType::Int64 => Some(array.as_primitive::<Int64Type>().clone()),
        _ => None,
    }
}
