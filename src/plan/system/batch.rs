//! Rows of a system relation, built column by column: only the columns that a query reads are computed.
//!
//! A relation's fill function hands an iterator for each column to [`Batch::column`]; iterators of columns that are not
//! projected are dropped unread. Columns nobody fills get NULL, or the type's zero where they are declared not null.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray,
    ListArray, RecordBatch, RecordBatchOptions, StringViewArray, StringViewBuilder, TimestampMicrosecondArray,
    UInt32Array, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, IntervalMonthDayNano, IntervalUnit, TimeUnit};
use datafusion::error::{DataFusionError, Result};

use tidemill_catalog::Oid;

use super::registry::Relation;

/// One cell. The column's type decides what it becomes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value<'a> {
    /// NULL
    Null,
    /// boolean
    Bool(bool),
    /// Any integer, an oid, or microseconds of a timestamp or interval.
    Int(i64),
    /// real, double precision
    Float(f64),
    /// Any text.
    Text(Cow<'a, str>),
    /// An array, or a vector.
    List(Vec<Value<'a>>),
}

macro_rules! value_from {
    ($($from:ty => |$value:ident| $to:expr),* $(,)?) => {
        $(impl<'a> From<$from> for Value<'a> {
            fn from($value: $from) -> Self {
                $to
            }
        })*
    };
}

value_from! {
    bool => |value| Value::Bool(value),
    i16 => |value| Value::Int(i64::from(value)),
    i32 => |value| Value::Int(i64::from(value)),
    i64 => |value| Value::Int(value),
    u32 => |value| Value::Int(i64::from(value)),
    u64 => |value| Value::Int(i64::try_from(value).unwrap_or(i64::MAX)),
    usize => |value| Value::Int(i64::try_from(value).unwrap_or(i64::MAX)),
    f64 => |value| Value::Float(value),
    &'a str => |value| Value::Text(Cow::Borrowed(value)),
    &'a String => |value| Value::Text(Cow::Borrowed(value)),
    String => |value| Value::Text(Cow::Owned(value)),
    Cow<'a, str> => |value| Value::Text(value),
}

impl<'a, V: Into<Value<'a>>> From<Option<V>> for Value<'a> {
    fn from(value: Option<V>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

impl<'a, V: Into<Value<'a>>> From<Vec<V>> for Value<'a> {
    fn from(values: Vec<V>) -> Self {
        Value::List(values.into_iter().map(Into::into).collect())
    }
}

/// The rows of one relation in the making.
pub(crate) struct Batch<'r> {
    relation: &'r Relation,
    /// Positions of the wanted columns, in the order of the result.
    projection: Vec<usize>,
    rows: usize,
    columns: Vec<Option<ArrayRef>>,
    /// The object that the rows are asked for; they may be about others too.
    pub(crate) about: Option<Oid>,
}

impl<'r> Batch<'r> {
    /// No rows yet.
    pub(crate) fn new(relation: &'r Relation, projection: Vec<usize>) -> Self {
        let columns = vec![None; relation.columns.len()];
        Self { relation, projection, rows: 0, columns, about: None }
    }

    /// Says how many rows there are. Comes before the columns.
    pub(crate) fn rows(&mut self, rows: usize) -> &mut Self {
        self.rows = rows;
        self
    }

    /// True if the relation has that column: for fill functions that several relations share.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.relation.position(name).is_some()
    }

    /// Fills a column with one value per row.
    pub(crate) fn column<'a, V: Into<Value<'a>>>(
        &mut self,
        name: &str,
        values: impl IntoIterator<Item = V>,
    ) -> &mut Self {
        let position = self.relation.position(name);
        debug_assert!(position.is_some(), "{} has no column {name}", self.relation.name);
        if let Some(index) = position.filter(|index| self.projection.contains(index)) {
            let column = &self.relation.columns[index];
            let field = self.relation.schema.field(index);
            let array = array(field.data_type(), column.not_null, self.rows, values.into_iter().map(Into::into));
            debug_assert_eq!(array.len(), self.rows, "rows of {}.{name}", self.relation.name);
            self.columns[index] = Some(array);
        }
        self
    }

    /// Fills a column with the same value in every row.
    pub(crate) fn constant<'a>(&mut self, name: &str, value: impl Into<Value<'a>>) -> &mut Self {
        let value = value.into();
        let rows = self.rows;
        self.column(name, std::iter::repeat_n(value, rows))
    }

    /// Fills the numeric columns that nothing is counted for with 0.
    pub(crate) fn zeros(&mut self) {
        let relation = self.relation;
        for (index, field) in relation.schema.fields().iter().enumerate() {
            if self.columns[index].is_none() && matches!(field.data_type(), DataType::Int64 | DataType::Float64) {
                self.constant(relation.columns[index].name, 0);
            }
        }
    }

    /// The projected columns as one Arrow batch.
    ///
    /// # Errors
    /// A column with another number of rows: a bug of ours.
    pub(crate) fn finish(mut self) -> Result<RecordBatch> {
        let rows = self.rows;
        let mut arrays = Vec::with_capacity(self.projection.len());
        for &index in &self.projection {
            let data_type = self.relation.schema.field(index).data_type();
            let not_null = self.relation.columns[index].not_null;
            arrays.push(match self.columns[index].take() {
                Some(array) => array,
                None if not_null => array(data_type, true, rows, std::iter::repeat_n(Value::Null, rows)),
                None => new_null_array(data_type, rows),
            });
        }
        let schema = Arc::new(self.relation.schema.project(&self.projection)?);
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(schema, arrays, &options).map_err(DataFusionError::from)
    }
}

/// An array of `rows` values; NULL becomes the type's zero if `not_null`.
pub(crate) fn array<'a>(
    data_type: &DataType,
    not_null: bool,
    rows: usize,
    values: impl Iterator<Item = Value<'a>>,
) -> ArrayRef {
    match data_type {
        DataType::Boolean => {
            Arc::new(values.map(|value| boolean(&value).or(not_null.then_some(false))).collect::<BooleanArray>())
        }
        DataType::Int16 => Arc::new(integers(values, not_null).map(|v| v.map(saturate::<i16>)).collect::<Int16Array>()),
        DataType::Int32 => Arc::new(integers(values, not_null).map(|v| v.map(saturate::<i32>)).collect::<Int32Array>()),
        DataType::Int64 => Arc::new(integers(values, not_null).collect::<Int64Array>()),
        DataType::UInt32 => {
            Arc::new(integers(values, not_null).map(|v| v.map(saturate::<u32>)).collect::<UInt32Array>())
        }
        #[expect(clippy::cast_possible_truncation, reason = "real is what the column holds")]
        DataType::Float32 => {
            Arc::new(floats(values, not_null).map(|value| value.map(|value| value as f32)).collect::<Float32Array>())
        }
        DataType::Float64 => Arc::new(floats(values, not_null).collect::<Float64Array>()),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            Arc::new(integers(values, not_null).collect::<TimestampMicrosecondArray>().with_timezone_opt(zone.clone()))
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => Arc::new(
            integers(values, not_null)
                .map(|value| value.map(|us| IntervalMonthDayNano::new(0, 0, us.saturating_mul(1000))))
                .collect::<IntervalMonthDayNanoArray>(),
        ),
        DataType::List(item) => list(item, not_null, values),
        DataType::Utf8View => Arc::new(text(rows, not_null, values)),
        // bytea: no relation has rows of it.
        other => {
            arrow::compute::cast(&text(rows, not_null, values), other).unwrap_or_else(|_| new_null_array(other, rows))
        }
    }
}

fn boolean(value: &Value<'_>) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        _ => None,
    }
}

fn integers<'a>(values: impl Iterator<Item = Value<'a>>, not_null: bool) -> impl Iterator<Item = Option<i64>> {
    values.map(move |value| match value {
        Value::Int(value) => Some(value),
        _ => not_null.then_some(0),
    })
}

fn floats<'a>(values: impl Iterator<Item = Value<'a>>, not_null: bool) -> impl Iterator<Item = Option<f64>> {
    values.map(move |value| match value {
        Value::Float(value) => Some(value),
        #[expect(clippy::cast_precision_loss, reason = "counts are estimates where a column is a float")]
        Value::Int(value) => Some(value as f64),
        _ => not_null.then_some(0.0),
    })
}

/// The nearest value that the narrower type holds.
fn saturate<T: TryFrom<i64> + Bounded>(value: i64) -> T {
    T::try_from(value).unwrap_or(if value < 0 { T::MIN_VALUE } else { T::MAX_VALUE })
}

trait Bounded {
    const MIN_VALUE: Self;
    const MAX_VALUE: Self;
}

macro_rules! bounded {
    ($($t:ty),*) => { $(impl Bounded for $t { const MIN_VALUE: Self = <$t>::MIN; const MAX_VALUE: Self = <$t>::MAX; })* };
}
bounded!(i16, i32, u32);

fn text<'a>(rows: usize, not_null: bool, values: impl Iterator<Item = Value<'a>>) -> StringViewArray {
    let mut builder = StringViewBuilder::with_capacity(rows);
    for value in values {
        match value {
            Value::Text(value) => builder.append_value(value),
            Value::Int(value) => builder.append_value(value.to_string()),
            _ if not_null => builder.append_value(""),
            _ => builder.append_null(),
        }
    }
    builder.finish()
}

fn list<'a>(item: &Arc<Field>, not_null: bool, values: impl Iterator<Item = Value<'a>>) -> ArrayRef {
    let (mut items, mut lengths, mut valid) = (Vec::new(), Vec::new(), Vec::new());
    for value in values {
        let before = items.len();
        let present = match value {
            Value::List(values) => {
                items.extend(values);
                true
            }
            _ => not_null,
        };
        valid.push(present);
        lengths.push(items.len() - before);
    }
    let count = items.len();
    let items = array(item.data_type(), false, count, items.into_iter());
    let nulls = valid.contains(&false).then(|| NullBuffer::from(valid));
    Arc::new(ListArray::new(Arc::clone(item), OffsetBuffer::from_lengths(lengths), items, nulls))
}
