//! Arrays of rows: what functions give that PostgreSQL's would return as a set, for the planner to unnest.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, IntervalMonthDayNanoArray, ListArray, NullBufferBuilder, StructArray, TimestampMicrosecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion_common::{Result, exec_err};

use super::super::call::{Call, Interval, Value};
use crate::types::SqlType;

/// The field of an array of rows with these columns.
pub(crate) fn record_list(columns: &[(&str, SqlType)]) -> Result<FieldRef> {
    let fields: Fields = columns.iter().map(|(name, sql_type)| sql_type.field(name, true)).collect();
    let item = Field::new(Field::LIST_FIELD_DEFAULT_NAME, DataType::Struct(fields), true);
    Ok(Arc::new(Field::new_list("rows", item, true)))
}

/// Lists of rows of that type: `lists` has the rows of each list, `columns` makes arrays of all rows.
pub(crate) fn lists_of<T>(
    returns: &DataType,
    count: usize,
    mut lists: impl FnMut(usize) -> Value<Option<Vec<T>>>,
    columns: impl FnOnce(Vec<T>) -> Result<Vec<ArrayRef>>,
) -> Result<ArrayRef> {
    let DataType::List(item) = returns else { return exec_err!("a list of rows was expected, not {returns}") };
    let DataType::Struct(fields) = item.data_type() else {
        return exec_err!("a list of rows was expected, not {returns}");
    };
    let mut nulls = NullBufferBuilder::new(count);
    let (mut lengths, mut rows) = (Vec::with_capacity(count), vec![]);
    for list in 0..count {
        let found = lists(list)?;
        nulls.append(found.is_some());
        let found = found.unwrap_or_default();
        lengths.push(found.len());
        rows.extend(found);
    }
    let length = rows.len();
    let arrays = columns(rows)?
        .into_iter()
        .zip(fields)
        .map(|(array, field)| arrow::compute::cast(&array, field.data_type()))
        .collect::<Result<Vec<_>, _>>()?;
    let rows = StructArray::try_new_with_length(fields.clone(), arrays, None, length)?;
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(Arc::clone(item), offsets, Arc::new(rows), nulls.finish())?))
}

/// As [`lists_of`], a list for each row of a call.
pub(crate) fn rows_of_call<T>(
    call: &Call<'_>,
    lists: impl FnMut(usize) -> Value<Option<Vec<T>>>,
    columns: impl FnOnce(Vec<T>) -> Result<Vec<ArrayRef>>,
) -> Result<ArrayRef> {
    lists_of(call.returns.data_type(), call.rows, lists, columns)
}

/// Instants, as microseconds.
pub(crate) fn instants(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(values).with_timezone("UTC"))
}

/// Spans of time.
pub(crate) fn spans(values: impl Iterator<Item = i64>) -> Result<ArrayRef> {
    let values = values.map(span).collect::<Value<Vec<_>>>()?;
    Ok(Arc::new(IntervalMonthDayNanoArray::from(values)))
}

/// Microseconds as an interval of days and time, as the difference of two timestamps is.
pub(crate) fn span(micros: i64) -> Value<Interval> {
    use crate::types::calendar::DAY;
    super::super::time::interval(0, micros / DAY, micros % DAY)
}
