//! `generate_series` in FROM: values made one batch at a time, however long the series is.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, Decimal128Array, Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{IntervalMonthDayNano, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use tidemill_udfs::types::SqlType;

use super::Scope;
use super::typing::{Typed, named_field};
use crate::Result;
use crate::error::{Error, SqlState};

/// A series, and where it is.
#[derive(Debug, Clone)]
enum Series {
    Int4 {
        next: i64,
        stop: i64,
        step: i64,
    },
    Int8 {
        next: i64,
        stop: i64,
        step: i64,
    },
    Numeric {
        next: i128,
        stop: i128,
        step: i128,
        scale: i8,
    },
    Timestamp {
        next: i64,
        stop: i64,
        step: IntervalMonthDayNano,
        zone: Option<chrono_tz::Tz>,
    },
    /// An argument is NULL.
    Empty(SqlType),
}

const ROWS: usize = 8192;

/// The table of a series: `arguments` are constants.
///
/// # Errors
/// 42883 for arguments of other types, 22023 for a step of zero.
pub(super) fn table(scope: &Arc<Scope>, arguments: &[(ScalarValue, SqlType)]) -> Result<Arc<dyn TableProvider>> {
    let arguments = &known(scope, arguments)?[..];
    let series = series(scope, arguments)?;
    let schema = Arc::new(Schema::new(vec![named_field("generate_series", &series.sql_type(), true)]));
    let schema = match &series {
        Series::Numeric { scale, .. } => Arc::new(Schema::new(vec![
            schema.field(0).clone().with_data_type(datafusion::arrow::datatypes::DataType::Decimal128(38, *scale)),
        ])),
        _ => schema,
    };
    let partition = Arc::new(Partition { series, schema: Arc::clone(&schema) });
    Ok(Arc::new(StreamingTable::try_new(schema, vec![partition])?))
}

/// Untyped literals beside a time are times, and the step an interval; beside numbers they are numbers.
fn known(scope: &Arc<Scope>, arguments: &[(ScalarValue, SqlType)]) -> Result<Vec<(ScalarValue, SqlType)>> {
    let typed = arguments.iter().take(2).map(|(_, sql_type)| sql_type).find(|sql_type| **sql_type != SqlType::Unknown);
    let step_is_interval = arguments.get(2).is_some_and(|(_, sql_type)| *sql_type == SqlType::Interval);
    arguments
        .iter()
        .enumerate()
        .map(|(place, (value, sql_type))| {
            if *sql_type != SqlType::Unknown {
                return Ok((value.clone(), sql_type.clone()));
            }
            let time = matches!(typed, Some(SqlType::Date | SqlType::Timestamp | SqlType::TimestampTz));
            let to = match (place, typed) {
                (2, _) if time => SqlType::Interval,
                (_, Some(SqlType::Date)) => SqlType::TimestampTz,
                (_, Some(typed)) => typed.clone(),
                (_, None) if step_is_interval => SqlType::TimestampTz,
                (_, None) => SqlType::Int4,
            };
            let text = match value {
                ScalarValue::Utf8(text) | ScalarValue::Utf8View(text) => text.as_deref(),
                _ => None,
            };
            match super::cast::literal(scope, text, &to)?.expr {
                datafusion::logical_expr::Expr::Literal(value, _) => Ok((value, to)),
                _ => Err(Error::internal("a literal that is none")),
            }
        })
        .collect()
}

fn undefined(arguments: &[(ScalarValue, SqlType)]) -> Error {
    let args: Vec<Typed> =
        arguments.iter().map(|(value, sql_type)| Typed::literal(value.clone(), sql_type.clone())).collect();
    super::typing::undefined_function("generate_series", &args)
}

fn series(scope: &Arc<Scope>, arguments: &[(ScalarValue, SqlType)]) -> Result<Series> {
    use SqlType as T;
    let (start, stop, step) = match arguments {
        [start, stop] => (start, stop, None),
        [start, stop, step] => (start, stop, Some(step)),
        _ => return Err(undefined(arguments)),
    };
    let zero = || Error::new(SqlState::INVALID_PARAMETER_VALUE, "step size cannot equal zero");
    let numbers = arguments
        .iter()
        .all(|(_, sql_type)| super::types::is_integer(sql_type) || matches!(sql_type, T::Numeric(_) | T::Unknown));
    if numbers {
        let numeric = arguments.iter().any(|(_, sql_type)| matches!(sql_type, T::Numeric(_)));
        let wide = arguments.iter().any(|(_, sql_type)| *sql_type == T::Int8);
        let sql_type = if numeric {
            T::Numeric(None)
        } else if wide {
            T::Int8
        } else {
            T::Int4
        };
        if arguments.iter().any(|(value, _)| value.is_null()) {
            return Ok(Series::Empty(sql_type));
        }
        if numeric {
            return numeric_series(&start.0, &stop.0, step.map(|step| &step.0), zero);
        }
        let integer = |value: &ScalarValue| match value {
            ScalarValue::Int16(Some(value)) => Some(i64::from(*value)),
            ScalarValue::Int32(Some(value)) => Some(i64::from(*value)),
            ScalarValue::Int64(Some(value)) => Some(*value),
            ScalarValue::Utf8View(Some(text)) => text.trim().parse().ok(),
            _ => None,
        };
        let (Some(next), Some(stop), Some(step)) =
            (integer(&start.0), integer(&stop.0), step.map_or(Some(1), |step| integer(&step.0)))
        else {
            return Err(undefined(arguments));
        };
        if step == 0 {
            return Err(zero());
        }
        return Ok(if wide { Series::Int8 { next, stop, step } } else { Series::Int4 { next, stop, step } });
    }
    let Some((step, T::Interval)) = step else { return Err(undefined(arguments)) };
    let time = |sql_type: &T| matches!(sql_type, T::Date | T::Timestamp | T::TimestampTz);
    if !time(&start.1) || !time(&stop.1) {
        return Err(undefined(arguments));
    }
    // Dates count as timestamps with time zone, as in PostgreSQL, unless the other side has none.
    let local = start.1 == T::Timestamp || stop.1 == T::Timestamp;
    let local = local && start.1 != T::TimestampTz && stop.1 != T::TimestampTz;
    let sql_type = if local { T::Timestamp } else { T::TimestampTz };
    let context = super::cast::Context { scope: Some(scope), text: &scope.text, explicit: true };
    let micros = |value: &ScalarValue, from: &T| -> Result<Option<i64>> {
        let array = context.cast(&value.to_array()?, from, &sql_type, &sql_type.data_type())?;
        match ScalarValue::try_from_array(&array, 0)? {
            ScalarValue::TimestampMicrosecond(value, _) => Ok(value),
            _ => Ok(None),
        }
    };
    let (next, end) = (micros(&start.0, &start.1)?, micros(&stop.0, &stop.1)?);
    let (Some(next), Some(stop), ScalarValue::IntervalMonthDayNano(Some(step))) = (next, end, step) else {
        return Ok(Series::Empty(sql_type));
    };
    if *step == IntervalMonthDayNano::default() {
        return Err(zero());
    }
    let zone = (!local).then_some(scope.text.time_zone);
    Ok(Series::Timestamp { next, stop, step: *step, zone })
}

fn numeric_series(
    start: &ScalarValue,
    stop: &ScalarValue,
    step: Option<&ScalarValue>,
    zero: impl Fn() -> Error,
) -> Result<Series> {
    let one = ScalarValue::Decimal128(Some(1), 1, 0);
    let step = step.unwrap_or(&one);
    let parts = |value: &ScalarValue| match value {
        ScalarValue::Decimal128(Some(value), _, scale) => Some((*value, *scale)),
        ScalarValue::Int16(Some(value)) => Some((i128::from(*value), 0)),
        ScalarValue::Int32(Some(value)) => Some((i128::from(*value), 0)),
        ScalarValue::Int64(Some(value)) => Some((i128::from(*value), 0)),
        _ => None,
    };
    let out = || Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "numeric field overflow");
    let values = [start, stop, step].map(parts);
    let scale = values.iter().flatten().map(|(_, scale)| *scale).max().unwrap_or(0);
    let mut scaled = [0_i128; 3];
    for (slot, value) in scaled.iter_mut().zip(values) {
        let (value, own) = value.ok_or_else(out)?;
        let factor = 10_i128.checked_pow(u32::try_from(scale - own).unwrap_or(0)).ok_or_else(out)?;
        *slot = value.checked_mul(factor).ok_or_else(out)?;
    }
    let [next, stop, step] = scaled;
    if step == 0 {
        return Err(zero());
    }
    Ok(Series::Numeric { next, stop, step, scale })
}

impl Series {
    fn sql_type(&self) -> SqlType {
        match self {
            Self::Int4 { .. } => SqlType::Int4,
            Self::Int8 { .. } => SqlType::Int8,
            Self::Numeric { .. } => SqlType::Numeric(None),
            Self::Timestamp { zone: None, .. } => SqlType::Timestamp,
            Self::Timestamp { .. } => SqlType::TimestampTz,
            Self::Empty(sql_type) => sql_type.clone(),
        }
    }

    /// The next values, none at the end.
    fn values(&mut self) -> std::result::Result<Option<ArrayRef>, Error> {
        Ok(match self {
            Self::Int4 { next, stop, step } => {
                let values = integers(next, stop, *step);
                // Both ends are int4, so all between are.
                (!values.is_empty()).then(|| {
                    Arc::new(values.into_iter().filter_map(|value| i32::try_from(value).ok()).collect::<Int32Array>())
                        as ArrayRef
                })
            }
            Self::Int8 { next, stop, step } => {
                let values = integers(next, stop, *step);
                (!values.is_empty()).then(|| Arc::new(Int64Array::from(values)) as ArrayRef)
            }
            Self::Numeric { next, stop, step, scale } => {
                let mut values = vec![];
                while values.len() < ROWS && (if *step > 0 { *next <= *stop } else { *next >= *stop }) {
                    values.push(*next);
                    match next.checked_add(*step) {
                        Some(following) => *next = following,
                        None => {
                            *step = 1;
                            (*next, *stop) = (1, 0);
                        }
                    }
                }
                if values.is_empty() {
                    return Ok(None);
                }
                let array = Decimal128Array::from(values)
                    .with_precision_and_scale(38, *scale)
                    .map_err(DataFusionError::from)?;
                Some(Arc::new(array))
            }
            Self::Timestamp { next, stop, step, zone } => {
                let forward = step.months > 0 || step.days > 0 || step.nanoseconds > 0;
                let mut values = vec![];
                while values.len() < ROWS && (if forward { *next <= *stop } else { *next >= *stop }) {
                    values.push(*next);
                    *next = super::cast::shifted(*next, *step, *zone)
                        .ok_or_else(|| Error::new(SqlState::DATETIME_FIELD_OVERFLOW, "timestamp out of range"))?;
                }
                if values.is_empty() {
                    return Ok(None);
                }
                let array = TimestampMicrosecondArray::from(values);
                Some(Arc::new(if zone.is_some() { array.with_timezone("UTC") } else { array }))
            }
            Self::Empty(_) => None,
        })
    }
}

/// The next values; where the following one is no integer any more, `stop` becomes what `next` is past.
fn integers(next: &mut i64, stop: &mut i64, step: i64) -> Vec<i64> {
    let mut values = vec![];
    while values.len() < ROWS && (if step > 0 { *next <= *stop } else { *next >= *stop }) {
        values.push(*next);
        match next.checked_add(step) {
            Some(following) => *next = following,
            None => (*next, *stop) = if step > 0 { (i64::MAX, i64::MIN) } else { (i64::MIN, i64::MAX) },
        }
    }
    values
}

#[derive(Debug)]
struct Partition {
    series: Series,
    schema: SchemaRef,
}

impl PartitionStream for Partition {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let schema = Arc::clone(&self.schema);
        let batches = futures::stream::unfold(Some(self.series.clone()), move |series| {
            let schema = Arc::clone(&schema);
            async move {
                let mut series = series?;
                match series.values() {
                    Ok(None) => None,
                    Ok(Some(values)) => {
                        let batch = RecordBatch::try_new(schema, vec![values]).map_err(DataFusionError::from);
                        Some((batch, Some(series)))
                    }
                    Err(error) => Some((Err(error.into()), None)),
                }
            }
        });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches))
    }
}
