//! Casts as PostgreSQL does them, where Arrow's differ: to and from text, rounding, ranges, time zones, modifiers, arrays,
//! object identifiers.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Int32Array, ListArray, PrimitiveArray, StringViewArray,
    UInt32Array, new_null_array,
};
use datafusion::arrow::compute::CastOptions;
use datafusion::arrow::compute::cast_with_options;
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Field, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType,
    UInt32Type, i256,
};
use datafusion::common::{Result as DfResult, ScalarValue, internal_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use tidemill_udfs::types::{
    NUMERIC_DEFAULT_SCALE, NUMERIC_PRECISION_MAX, SqlType, TextSettings, ValueError, array_from_text, array_to_text,
    parse_scalar, power_of_ten, rounded, truncate_text,
};

use super::engine::StatementOptions;
use super::types::{Category, category, is_integer, is_oid, is_text};
use super::typing::{Typed, type_metadata};
use super::{Scope, system};
use crate::Result;
use crate::error::Error;

/// Decimal digits that every double precision and real keeps through text.
const DBL_DIG: usize = 15;
/// See [`DBL_DIG`].
const FLT_DIG: usize = 6;

/// Who asked for the cast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Mode {
    /// Nobody: the types did. Text too long for varchar(n) is an error.
    Implicit,
    /// `CAST`, `::`. Text is cut to varchar(n).
    Explicit,
}

/// The cast function of one pair of types.
#[derive(Debug, PartialEq, Eq, Hash)]
struct CastFunction {
    from: SqlType,
    to: SqlType,
    data_type: DataType,
    mode: Mode,
    signature: Signature,
}

/// `CAST(expr AS to)`.
///
/// # Errors
/// 42846 if there is no such cast.
pub(super) fn call(
    _scope: &Arc<Scope>,
    expr: Expr,
    from: &SqlType,
    to: &SqlType,
    data_type: &DataType,
    mode: Mode,
) -> Result<Expr> {
    let volatility = if depends_on_settings(from, to) || from_text_clock(from, to) {
        Volatility::Stable
    } else {
        Volatility::Immutable
    };
    let function = CastFunction {
        from: from.clone(),
        to: to.clone(),
        data_type: data_type.clone(),
        mode,
        signature: Signature::any(1, volatility),
    };
    Ok(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::new_from_impl(function)), vec![expr])))
}

/// True if the session's settings decide the value: its time zone, or how values print and parse.
fn depends_on_settings(from: &SqlType, to: &SqlType) -> bool {
    use SqlType as T;
    let printed = |sql_type: &SqlType| {
        matches!(sql_type, T::TimestampTz | T::Interval | T::Date | T::Timestamp | T::Float4 | T::Float8 | T::Bytea)
    };
    match (from, to) {
        (SqlType::Array(from), SqlType::Array(to)) => depends_on_settings(from, to),
        (SqlType::Array(from), to) => depends_on_settings(from, to),
        (from, SqlType::Array(to)) => depends_on_settings(from, to),
        (from, to) if is_oid(from) || is_oid(to) => true,
        (from, to) if is_text(from) || is_text(to) => printed(from) || printed(to),
        (from, to) => (*from == SqlType::TimestampTz) != (*to == SqlType::TimestampTz),
    }
}

fn from_text_clock(from: &SqlType, to: &SqlType) -> bool {
    is_text(from) && category(to) == Category::Time
}

/// The type a call made by [`call`] casts to.
pub(super) fn target(udf: &ScalarUDF) -> Option<(SqlType, DataType)> {
    (udf.inner().as_ref() as &dyn std::any::Any)
        .downcast_ref::<CastFunction>()
        .map(|function| (function.to.clone(), function.data_type.clone()))
}

/// What an implicit cast made by [`call`] is of, from which type and to which.
pub(super) fn implicit(expr: &Expr) -> Option<(&Expr, &SqlType, &SqlType)> {
    let Expr::ScalarFunction(call) = expr else { return None };
    let function = (call.func.inner().as_ref() as &dyn std::any::Any).downcast_ref::<CastFunction>()?;
    let argument = call.args.first().filter(|_| function.mode == Mode::Implicit)?;
    Some((argument, &function.from, &function.to))
}

/// A literal of unknown type as a value of type `to`.
///
/// # Errors
/// 22P02 and its kin: the text is no value of the type.
pub(super) fn literal(scope: &Arc<Scope>, text: Option<&str>, to: &SqlType) -> Result<Typed> {
    let Some(text) = text else {
        return Ok(Typed::literal(ScalarValue::try_from(&to.data_type())?, to.clone()));
    };
    if is_oid(to) && !matches!(to, SqlType::Oid | SqlType::Xid) {
        let oid = resolve_oid(scope, to, text)?;
        return Ok(Typed::literal(ScalarValue::UInt32(Some(oid)), to.clone()));
    }
    if *to == SqlType::Numeric(None)
        && let Some(value) = plain_decimal(text)
    {
        return Ok(Typed::literal(value, to.clone()));
    }
    Ok(Typed::literal(parse_scalar(to, text, &scope.text)?, to.clone()))
}

fn resolve_oid(scope: &Arc<Scope>, to: &SqlType, text: &str) -> Result<u32> {
    system::resolve_reg(scope, to, text)
}

/// Digits with or without a point: the numeric has as many digits after it.
fn plain_decimal(text: &str) -> Option<ScalarValue> {
    let text = text.trim();
    let digits = text.trim_start_matches(['+', '-']);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    if text.len() > digits.len() + 1 || all.is_empty() || all.len() > 38 || !all.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: i128 = all.parse().ok()?;
    let value = if text.starts_with('-') { -value } else { value };
    let scale = i8::try_from(fraction.len()).ok()?;
    let precision = u8::try_from(all.len().max(fraction.len()).max(1)).ok()?;
    Some(ScalarValue::Decimal128(Some(value), precision, scale))
}

/// The expression itself, if its values already are values of the other type.
pub(super) fn in_place(value: &Typed, to: &SqlType, data_type: &DataType) -> Option<Expr> {
    if value.data_type != *data_type {
        return None;
    }
    let from = &value.sql_type;
    let same = match (from, to) {
        _ if from == to => true,
        (from, SqlType::Text | SqlType::Varchar(None)) if is_text(from) => true,
        (SqlType::Varchar(Some(short)), SqlType::Varchar(Some(long))) => short <= long,
        (SqlType::Jsonb, SqlType::Json) => true,
        (SqlType::Enum(_), SqlType::Text | SqlType::Varchar(None)) => true,
        (SqlType::Int2Vector | SqlType::OidVector, SqlType::Array(_)) => true,
        (SqlType::Numeric(_), SqlType::Numeric(None)) => true,
        (from, to) => is_oid(from) && is_oid(to),
    };
    same.then(|| value.expr.clone())
}

/// True if `CAST(from AS to)` exists.
pub(super) fn exists(from: &SqlType, to: &SqlType) -> bool {
    use SqlType as T;
    if from == to || is_text(from) || is_text(to) {
        return true;
    }
    match (from, to) {
        (T::Array(from), T::Array(to)) => exists(from, to),
        (T::Int2Vector, T::Array(to)) => exists(&T::Int2, to),
        (T::OidVector, T::Array(to)) => exists(&T::Oid, to),
        (T::Bool, T::Int4) | (T::Int4, T::Bool) => true,
        (T::Json, T::Jsonb) | (T::Jsonb, T::Json) => true,
        (T::Jsonb, T::Bool) => true,
        (T::Jsonb, to) => category(to) == Category::Number && !is_oid(to),
        (T::Time, T::Interval) | (T::Interval, T::Time) => true,
        (T::Timestamp | T::TimestampTz, T::Time) => true,
        (T::Float4 | T::Float8 | T::Numeric(_), to) if is_oid(to) => false,
        _ => {
            let (from, to) = (category(from), category(to));
            from == to && matches!(from, Category::Number | Category::Time)
        }
    }
}

impl ScalarUDFImpl for CastFunction {
    fn name(&self) -> &str {
        "cast"
    }

    fn schema_name(&self, args: &[Expr]) -> DfResult<String> {
        match args {
            [value] => Ok(format!("{}::{}", value.schema_name(), self.to.name())),
            _ => internal_err!("a cast has one argument"),
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> DfResult<DataType> {
        Ok(self.data_type.clone())
    }

    fn return_field_from_args(&self, _args: ReturnFieldArgs) -> DfResult<Arc<Field>> {
        Ok(Arc::new(Field::new("", self.data_type.clone(), true).with_metadata(type_metadata(&self.to))))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let options = args.config_options.extensions.get::<StatementOptions>();
        let scope = options.and_then(|options| options.scope.as_ref());
        let [value] = args.args.as_slice() else { return internal_err!("a cast has one argument") };
        let array = value.to_array(if matches!(value, ColumnarValue::Scalar(_)) { 1 } else { args.number_rows })?;
        let plain = Arc::new(TextSettings::default());
        let context =
            Context { scope, text: scope.map_or(&plain, |scope| &scope.text), explicit: self.mode == Mode::Explicit };
        let result = context
            .cast(&array, &self.from, &self.to, &self.data_type)
            .map_err(|error| -> datafusion::common::DataFusionError { error.into() })?;
        match (value, result.data_type()) {
            // A scalar made of a list's values would forget what its field says of them.
            (ColumnarValue::Scalar(_), DataType::List(_)) => {
                Ok(ColumnarValue::Scalar(ScalarValue::List(Arc::new(result.as_list().clone()))))
            }
            (ColumnarValue::Scalar(_), _) => ScalarValue::try_from_array(&result, 0).map(ColumnarValue::Scalar),
            (ColumnarValue::Array(_), _) => Ok(ColumnarValue::Array(result)),
        }
    }
}

/// What a cast depends on besides the value.
pub(super) struct Context<'a> {
    pub(super) scope: Option<&'a Arc<Scope>>,
    pub(super) text: &'a Arc<TextSettings>,
    pub(super) explicit: bool,
}

impl Context<'_> {
    /// Casts an array.
    pub(super) fn cast(
        &self,
        array: &ArrayRef,
        from: &SqlType,
        to: &SqlType,
        data_type: &DataType,
    ) -> Result<ArrayRef> {
        use SqlType as T;
        if array.data_type() == data_type && from == to {
            return Ok(Arc::clone(array));
        }
        if matches!(array.data_type(), DataType::Null) {
            return Ok(new_null_array(data_type, array.len()));
        }
        Ok(match (from, to) {
            (from, to) if is_text(from) => self.text_to(array, to, data_type)?,
            (from, to) if is_text(to) => self.to_text(array, from, to)?,
            (T::Array(_) | T::Int2Vector | T::OidVector, T::Array(item)) => self.list(array, from, item, data_type)?,
            (T::Bool, T::Int4) => {
                let values: &BooleanArray = array.as_boolean();
                Arc::new(values.iter().map(|value| value.map(i32::from)).collect::<Int32Array>())
            }
            (T::Int4, T::Bool) => {
                let values = array.as_primitive::<Int32Type>();
                Arc::new(values.iter().map(|value| value.map(|value| value != 0)).collect::<BooleanArray>())
            }
            (from, to) if is_integer(from) && is_integer(to) => integers(array, to)?,
            (from, to) if is_oid(from) && is_integer(to) => integers(&arrow(array, &DataType::Int64)?, to)?,
            (from, to) if is_integer(from) && is_oid(to) => oids(array)?,
            (T::Float4 | T::Float8, to) if is_integer(to) => float_to_integer(array, to)?,
            (T::Float8, T::Float4) => Arc::new(narrow_float(array)?),
            (T::Float4 | T::Float8, T::Numeric(_)) => self.floats_to_decimals(array, from, to, data_type)?,
            (T::Numeric(_), to) if is_integer(to) => integers(
                &arrow(&rescale(array, &DataType::Decimal128(38, 0), to)?, &DataType::Int64)
                    .map_err(|_| out_of_range(to))?,
                to,
            )?,
            (T::Numeric(_), T::Numeric(_)) => rescale(array, data_type, to)?,
            (from, T::Numeric(_)) if is_integer(from) => {
                let plain = arrow(array, &super::typing::integer_decimal(from))?;
                rescale(&plain, data_type, to)?
            }
            (T::Numeric(_), T::Float4 | T::Float8) => decimals_to_floats(array, data_type)?,
            (T::Date, T::Timestamp) => dates_to_timestamps(array)?,
            (T::Date, T::TimestampTz) => self.local_to_utc(&dates_to_timestamps(array)?)?,
            (T::Timestamp, T::TimestampTz) => self.local_to_utc(array)?,
            (T::TimestampTz, T::Timestamp) => self.utc_to_local(array),
            (T::Timestamp, T::Date) => timestamps_to_dates(array)?,
            (T::TimestampTz, T::Date) => timestamps_to_dates(&self.utc_to_local(array))?,
            (T::Timestamp, T::Time) => timestamps_to_times(array)?,
            (T::TimestampTz, T::Time) => timestamps_to_times(&self.utc_to_local(array))?,
            (T::Time, T::Interval) => {
                let values = array.as_primitive::<Time64MicrosecondType>();
                Arc::new(values.unary::<_, IntervalMonthDayNanoType>(|micros| IntervalMonthDayNano {
                    months: 0,
                    days: 0,
                    nanoseconds: micros * 1000,
                }))
            }
            (T::Interval, T::Time) => {
                let values = array.as_primitive::<IntervalMonthDayNanoType>();
                Arc::new(values.unary::<_, Time64MicrosecondType>(|interval| {
                    (interval.nanoseconds / 1000).rem_euclid(86_400_000_000)
                }))
            }
            (T::Jsonb, to) if *to != T::Json => self.json_scalar(array, to, data_type)?,
            (from, to) if is_oid(from) && is_oid(to) => Arc::clone(array),
            (from, to) if super::types::arrow_casts(from, to) => arrow(array, data_type)?,
            _ => self.through_text(array, from, to, data_type)?,
        })
    }

    fn text_to(&self, array: &ArrayRef, to: &SqlType, data_type: &DataType) -> Result<ArrayRef> {
        if let (true, Some(scope)) = (is_oid(to), self.scope) {
            let texts = arrow(array, &DataType::Utf8View)?;
            let oids = texts
                .as_string_view()
                .iter()
                .map(|text| text.map(|text| resolve_oid(scope, to, text)).transpose())
                .collect::<Result<Vec<_>>>()?;
            return Ok(Arc::new(oids.into_iter().collect::<UInt32Array>()));
        }
        if self.explicit
            && matches!(to, SqlType::Varchar(Some(_)) | SqlType::Char(_) | SqlType::Name | SqlType::CharByte)
        {
            let texts = arrow(array, &DataType::Utf8View)?;
            let cut: StringViewArray =
                texts.as_string_view().iter().map(|text| text.map(|text| truncate_text(text, to))).collect();
            return Ok(Arc::new(cut));
        }
        if let (SqlType::Numeric(None), DataType::Decimal128(38, scale)) = (to, data_type)
            && *scale != tidemill_udfs::types::NUMERIC_DEFAULT_SCALE
        {
            let parsed = array_from_text(array, to, self.text)?;
            return rescale(&parsed, data_type, to);
        }
        Ok(array_from_text(array, to, self.text)?)
    }

    fn to_text(&self, array: &ArrayRef, from: &SqlType, to: &SqlType) -> Result<ArrayRef> {
        let texts: ArrayRef = match (is_oid(from), self.scope) {
            (true, Some(scope)) => {
                let oids = array.as_primitive::<UInt32Type>();
                let texts: StringViewArray =
                    oids.iter().map(|oid| oid.map(|oid| system::reg_text(scope, from, oid))).collect();
                Arc::new(texts)
            }
            _ => {
                let field = Field::new("", array.data_type().clone(), true).with_metadata(type_metadata(from));
                Arc::new(array_to_text(array, &field, self.text)?)
            }
        };
        match to {
            SqlType::Text | SqlType::Varchar(None) => Ok(texts),
            to => self.text_to(&texts, to, &to.data_type()),
        }
    }

    fn through_text(&self, array: &ArrayRef, from: &SqlType, to: &SqlType, data_type: &DataType) -> Result<ArrayRef> {
        let texts = self.to_text(array, from, &SqlType::Text)?;
        let values = self.text_to(&texts, to, data_type)?;
        if values.data_type() == data_type { Ok(values) } else { rescale(&values, data_type, to) }
    }

    /// By the digits that a value prints with; by those that every value of the type keeps through text, as in PostgreSQL,
    /// where it has more than can be stored: `0.1 + 0.2` is 0.3.
    fn floats_to_decimals(
        &self,
        array: &ArrayRef,
        from: &SqlType,
        to: &SqlType,
        data_type: &DataType,
    ) -> Result<ArrayRef> {
        let floats = arrow(array, &DataType::Float64)?;
        let digits = if *from == SqlType::Float4 { FLT_DIG } else { DBL_DIG };
        let text = |value: f64| format!("{value:.*e}", digits - 1);
        let texts: StringViewArray = floats.as_primitive::<Float64Type>().iter().map(|value| value.map(text)).collect();
        let texts: ArrayRef = Arc::new(texts);
        // With a scale, what is behind it is rounded, not refused.
        let stored = match to {
            SqlType::Numeric(None) => SqlType::Numeric(Some((NUMERIC_PRECISION_MAX, NUMERIC_DEFAULT_SCALE))),
            other => other.clone(),
        };
        self.through_text(&texts, &SqlType::Text, &stored, data_type)
    }

    fn list(&self, array: &ArrayRef, from: &SqlType, item: &SqlType, data_type: &DataType) -> Result<ArrayRef> {
        let DataType::List(field) = data_type else { return Err(Error::internal("an array that is no list")) };
        let from_item = super::typing::element_of(from).unwrap_or(SqlType::Text);
        let list = arrow(array, &DataType::List(Arc::new(Field::new_list_field(inner_type(array.data_type()), true))))?;
        let list: &ListArray = list.as_list();
        // An array of arrays has more dimensions of the same items.
        let values = match (list.value_type(), field.data_type()) {
            (DataType::List(_), _) => self.list(list.values(), from, item, data_type)?,
            (_, wanted) => self.cast(list.values(), &from_item, item, wanted)?,
        };
        let field = Arc::new(
            Field::new(field.name(), values.data_type().clone(), true).with_metadata(field.metadata().clone()),
        );
        Ok(Arc::new(
            ListArray::try_new(field, list.offsets().clone(), values, list.nulls().cloned())
                .map_err(datafusion::common::DataFusionError::from)?,
        ))
    }

    fn json_scalar(&self, array: &ArrayRef, to: &SqlType, data_type: &DataType) -> Result<ArrayRef> {
        let texts = arrow(array, &DataType::Utf8View)?;
        let words: Vec<Option<&str>> = texts.as_string_view().iter().collect();
        for word in words.iter().flatten() {
            let kind = match word.as_bytes().first() {
                Some(b'{') => "object",
                Some(b'[') => "array",
                Some(b'"') => "string",
                Some(b't' | b'f') if *to != SqlType::Bool => "boolean",
                Some(b'-' | b'0'..=b'9') if *to == SqlType::Bool => "numeric",
                _ => continue,
            };
            return Err(Error::new(
                crate::error::SqlState::INVALID_PARAMETER_VALUE,
                format!("cannot cast jsonb {kind} to type {}", to.plain_name()),
            ));
        }
        let words: StringViewArray = words.into_iter().map(|word| word.filter(|word| *word != "null")).collect();
        let words: ArrayRef = Arc::new(words);
        if is_integer(to) {
            let numbers = self.text_to(&words, &SqlType::Numeric(None), &SqlType::Numeric(None).data_type())?;
            return self.cast(&numbers, &SqlType::Numeric(None), to, data_type);
        }
        self.text_to(&words, to, data_type)
    }

    /// Times of the session's time zone as instants.
    fn local_to_utc(&self, array: &ArrayRef) -> Result<ArrayRef> {
        let values = array.as_primitive::<TimestampMicrosecondType>();
        let zone = self.text.time_zone;
        let result: PrimitiveArray<TimestampMicrosecondType> = values.unary(|micros| to_utc(micros, zone));
        Ok(Arc::new(result.with_timezone("UTC")))
    }

    /// Instants as times of the session's time zone.
    fn utc_to_local(&self, array: &ArrayRef) -> ArrayRef {
        let values = array.as_primitive::<TimestampMicrosecondType>();
        let zone = self.text.time_zone;
        let result: PrimitiveArray<TimestampMicrosecondType> = values.unary(|micros| to_local(micros, zone));
        Arc::new(result.with_timezone_opt(None::<&str>))
    }
}

fn inner_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => item.data_type().clone(),
        other => other.clone(),
    }
}

fn is_infinite(micros: i64) -> bool {
    micros == i64::MAX || micros == i64::MIN
}

fn to_utc(micros: i64, zone: chrono_tz::Tz) -> i64 {
    use chrono::TimeZone;
    if zone == chrono_tz::Tz::UTC || is_infinite(micros) {
        return micros;
    }
    let Some(local) = chrono::DateTime::from_timestamp_micros(micros).map(|time| time.naive_utc()) else {
        return micros;
    };
    let found = zone.from_local_datetime(&local);
    // In a gap PostgreSQL uses the offset before it; where a time comes twice, standard time: the later.
    match found.latest() {
        Some(time) => time.timestamp_micros(),
        None => {
            let before = zone.from_local_datetime(&(local - chrono::Duration::hours(3))).latest();
            before.map_or(micros, |time| time.timestamp_micros() + 3 * 3_600_000_000)
        }
    }
}

pub(super) fn to_local(micros: i64, zone: chrono_tz::Tz) -> i64 {
    if zone == chrono_tz::Tz::UTC || is_infinite(micros) {
        return micros;
    }
    chrono::DateTime::from_timestamp_micros(micros)
        .map_or(micros, |time| time.with_timezone(&zone).naive_local().and_utc().timestamp_micros())
}

/// An instant or local time moved by an interval; with a zone, months and days are those of its calendar.
pub(super) fn shifted(micros: i64, step: IntervalMonthDayNano, zone: Option<chrono_tz::Tz>) -> Option<i64> {
    let local = zone.map_or(micros, |zone| to_local(micros, zone));
    let moved = if step.months == 0 && step.days == 0 {
        local
    } else {
        let time = chrono::DateTime::from_timestamp_micros(local)?.naive_utc();
        let months = chrono::Months::new(step.months.unsigned_abs());
        let time = if step.months >= 0 { time.checked_add_months(months)? } else { time.checked_sub_months(months)? };
        time.checked_add_signed(chrono::Duration::try_days(i64::from(step.days))?)?.and_utc().timestamp_micros()
    };
    let moved = if moved == local { micros } else { zone.map_or(moved, |zone| to_utc(moved, zone)) };
    moved.checked_add(step.nanoseconds / 1000)
}

fn arrow(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    Ok(cast_with_options(array, to, &strict).map_err(datafusion::common::DataFusionError::from)?)
}

fn out_of_range(to: &SqlType) -> Error {
    ValueError::new("22003", format!("{} out of range", to.plain_name())).into()
}

fn integers(array: &ArrayRef, to: &SqlType) -> Result<ArrayRef> {
    let wide = arrow(array, &DataType::Int64)?;
    let wide = wide.as_primitive::<Int64Type>();
    Ok(match to {
        SqlType::Int2 => {
            let values: PrimitiveArray<Int16Type> =
                wide.try_unary(|value| i16::try_from(value).map_err(|_| out_of_range(to)))?;
            Arc::new(values)
        }
        SqlType::Int4 => {
            let values: PrimitiveArray<Int32Type> =
                wide.try_unary(|value| i32::try_from(value).map_err(|_| out_of_range(to)))?;
            Arc::new(values)
        }
        _ => Arc::new(wide.clone()),
    })
}

fn oids(array: &ArrayRef) -> Result<ArrayRef> {
    let wide = arrow(array, &DataType::Int64)?;
    let values: PrimitiveArray<UInt32Type> = wide.as_primitive::<Int64Type>().try_unary(|value| {
        // int4 -1 is the greatest oid, as in PostgreSQL.
        let value = if (i64::from(i32::MIN)..0).contains(&value) { value + (1 << 32) } else { value };
        u32::try_from(value).map_err(|_| Error::from(ValueError::new("22003", "OID out of range")))
    })?;
    Ok(Arc::new(values))
}

#[expect(clippy::cast_possible_truncation, reason = "the range is checked before")]
fn float_to_integer(array: &ArrayRef, to: &SqlType) -> Result<ArrayRef> {
    let floats = arrow(array, &DataType::Float64)?;
    let values: PrimitiveArray<Int64Type> = floats.as_primitive::<Float64Type>().try_unary(|value| {
        let rounded = value.round_ties_even();
        if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&rounded) {
            Ok(rounded as i64)
        } else {
            Err(out_of_range(to))
        }
    })?;
    let values: ArrayRef = Arc::new(values);
    integers(&values, to)
}

#[expect(clippy::cast_possible_truncation, reason = "this is the rounding to real, checked for overflow")]
fn narrow_float(array: &ArrayRef) -> Result<PrimitiveArray<Float32Type>> {
    array.as_primitive::<Float64Type>().try_unary(|value| {
        let narrow = value as f32;
        if narrow.is_infinite() && value.is_finite() {
            return Err(ValueError::new("22003", "value out of range: overflow").into());
        }
        Ok(narrow)
    })
}

/// A number written in the statement as a float, without a numeric in between: all its digits count once.
pub(super) fn float_literal(expr: &Expr, to: &SqlType) -> Option<Typed> {
    let Expr::Literal(value, _) = expr else { return None };
    let text = match value {
        ScalarValue::Decimal128(Some(value), _, scale) => format!("{value}e{}", -i16::from(*scale)),
        ScalarValue::Decimal256(Some(value), _, scale) => format!("{value}e{}", -i16::from(*scale)),
        _ => return None,
    };
    let value = match to {
        SqlType::Float8 => ScalarValue::Float64(Some(text.parse().ok()?)),
        // What is too large fails when the cast is made.
        SqlType::Float4 => ScalarValue::Float32(Some(text.parse().ok().filter(|value: &f32| value.is_finite())?)),
        _ => return None,
    };
    Some(Typed::literal(value, to.clone()))
}

/// Numerics as the nearest floats.
#[expect(clippy::cast_precision_loss, reason = "integers below 2^53, and powers of ten that are exact")]
fn decimals_to_floats(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    let nearest = |value: i256, scale: i8| -> f64 {
        match value.to_i128() {
            Some(small) if small.unsigned_abs() < 1 << 53 && (0..=22).contains(&scale) => {
                small as f64 / 10_f64.powi(i32::from(scale))
            }
            _ => format!("{value}e{}", -i16::from(scale)).parse().unwrap_or(f64::NAN),
        }
    };
    let wide: PrimitiveArray<Float64Type> = match array.data_type() {
        DataType::Decimal128(_, scale) => {
            array.as_primitive::<Decimal128Type>().unary(|value| nearest(i256::from_i128(value), *scale))
        }
        DataType::Decimal256(_, scale) => array.as_primitive::<Decimal256Type>().unary(|value| nearest(value, *scale)),
        _ => return arrow(array, data_type),
    };
    let wide: ArrayRef = Arc::new(wide);
    if *data_type == DataType::Float32 { Ok(Arc::new(narrow_float(&wide)?)) } else { Ok(wide) }
}

/// A decimal of another scale and precision: half away from zero, 22003 if the digits before the point do not fit.
pub(super) fn rescale(array: &ArrayRef, data_type: &DataType, to: &SqlType) -> Result<ArrayRef> {
    let (
        DataType::Decimal128(_, from_scale) | DataType::Decimal256(_, from_scale),
        DataType::Decimal128(precision, scale),
    ) = (array.data_type(), data_type)
    else {
        return arrow(array, data_type);
    };
    let shift = i32::from(*scale) - i32::from(*from_scale);
    let limit = 10_i128.checked_pow(u32::from(*precision)).unwrap_or(i128::MAX);
    let overflow = || -> Error {
        if is_integer(to) {
            return out_of_range(to);
        }
        let detail = match to {
            SqlType::Numeric(Some((precision, scale))) => format!(
                "A field with precision {precision}, scale {scale} must round to an absolute value less than 10^{}.",
                i16::from(*precision) - i16::from(*scale)
            ),
            _ => "A numeric holds at most 38 digits.".to_owned(),
        };
        ValueError { detail: Some(detail), ..ValueError::new("22003", "numeric field overflow") }.into()
    };
    if matches!(array.data_type(), DataType::Decimal256(..)) {
        let factor = power_of_ten(shift.abs())?;
        let values: Decimal128Array = array.as_primitive::<Decimal256Type>().try_unary(|value| -> Result<i128> {
            let value = if shift >= 0 { value.checked_mul(factor) } else { Some(rounded(value, factor)) };
            let value = value.and_then(i256::to_i128).ok_or_else(overflow)?;
            if value.checked_abs().is_none_or(|size| size >= limit) { Err(overflow()) } else { Ok(value) }
        })?;
        return Ok(Arc::new(
            values.with_precision_and_scale(*precision, *scale).map_err(datafusion::common::DataFusionError::from)?,
        ));
    }
    let factor = 10_i128
        .checked_pow(shift.unsigned_abs())
        .ok_or_else(|| Error::internal("numeric scales that are too far apart"))?;
    let values: Decimal128Array = array.as_primitive::<Decimal128Type>().try_unary(|value| -> Result<i128> {
        let value = if shift >= 0 {
            value.checked_mul(factor).ok_or_else(overflow)?
        } else {
            let (quotient, remainder) = (value / factor, value % factor);
            if remainder.unsigned_abs() * 2 >= factor.unsigned_abs() { quotient + value.signum() } else { quotient }
        };
        if value.checked_abs().is_none_or(|size| size >= limit) { Err(overflow()) } else { Ok(value) }
    })?;
    Ok(Arc::new(
        values.with_precision_and_scale(*precision, *scale).map_err(datafusion::common::DataFusionError::from)?,
    ))
}

const DAY: i64 = 86_400_000_000;

fn dates_to_timestamps(array: &ArrayRef) -> Result<ArrayRef> {
    let values: PrimitiveArray<TimestampMicrosecondType> =
        array.as_primitive::<Date32Type>().try_unary(|days| match days {
            i32::MAX => Ok(i64::MAX),
            i32::MIN => Ok(i64::MIN),
            days => i64::from(days)
                .checked_mul(DAY)
                .ok_or_else(|| Error::from(ValueError::new("22008", "date out of range for timestamp"))),
        })?;
    Ok(Arc::new(values))
}

fn timestamps_to_dates(array: &ArrayRef) -> Result<ArrayRef> {
    let values: PrimitiveArray<Date32Type> =
        array.as_primitive::<TimestampMicrosecondType>().try_unary(|micros| match micros {
            i64::MAX => Ok(i32::MAX),
            i64::MIN => Ok(i32::MIN),
            micros => i32::try_from(micros.div_euclid(DAY))
                .map_err(|_| Error::from(ValueError::new("22008", "timestamp out of range"))),
        })?;
    Ok(Arc::new(values))
}

fn timestamps_to_times(array: &ArrayRef) -> Result<ArrayRef> {
    let values: PrimitiveArray<Time64MicrosecondType> = array
        .as_primitive::<TimestampMicrosecondType>()
        .unary_opt(|micros| (!is_infinite(micros)).then(|| micros.rem_euclid(DAY)));
    Ok(Arc::new(values))
}

#[cfg(test)]
fn primitive<T: datafusion::arrow::datatypes::ArrowPrimitiveType>(values: Vec<T::Native>) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::from_iter_values(values))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cast(array: &ArrayRef, from: &SqlType, to: &SqlType) -> Result<ArrayRef> {
        let text = Arc::new(TextSettings { time_zone: chrono_tz::Tz::Europe__Berlin, ..TextSettings::default() });
        Context { scope: None, text: &text, explicit: true }.cast(array, from, to, &to.data_type())
    }

    #[test]
    fn numbers_round_as_postgresql_rounds_them() {
        let floats = primitive::<Float64Type>(vec![0.5, 1.5, 2.5, -0.5, -1.5]);
        let ints = cast(&floats, &SqlType::Float8, &SqlType::Int4).unwrap();
        assert_eq!(ints.as_primitive::<Int32Type>().values(), &[0, 2, 2, 0, -2]);
        let decimals: ArrayRef =
            Arc::new(Decimal128Array::from(vec![5, 15, 25, -5, -15]).with_precision_and_scale(3, 1).unwrap());
        let ints = cast(&decimals, &SqlType::Numeric(Some((3, 1))), &SqlType::Int4).unwrap();
        assert_eq!(ints.as_primitive::<Int32Type>().values(), &[1, 2, 3, -1, -2]);
    }

    #[test]
    fn values_out_of_range_are_named_by_their_type() {
        let check = |array: &ArrayRef, from: SqlType, to: SqlType, code: &str, message: &str| {
            let error = cast(array, &from, &to).unwrap_err();
            assert_eq!((error.code().code(), error.report().message.as_str()), (code, message));
        };
        let big = primitive::<Int64Type>(vec![1 << 40]);
        check(&big, SqlType::Int8, SqlType::Int4, "22003", "integer out of range");
        check(&big, SqlType::Int8, SqlType::Int2, "22003", "smallint out of range");
        let nan = primitive::<Float64Type>(vec![f64::NAN]);
        check(&nan, SqlType::Float8, SqlType::Int8, "22003", "bigint out of range");
        let wide: ArrayRef = Arc::new(Decimal128Array::from(vec![12_345]).with_precision_and_scale(5, 1).unwrap());
        check(&wide, SqlType::Numeric(Some((5, 1))), SqlType::Numeric(Some((4, 2))), "22003", "numeric field overflow");
    }

    #[test]
    fn times_follow_the_session_zone() {
        // 2024-07-01 12:00 in Berlin is 10:00 UTC; the night of 31 March has no 02:30.
        let noon = primitive::<TimestampMicrosecondType>(vec![1_719_835_200_000_000]);
        let utc = cast(&noon, &SqlType::Timestamp, &SqlType::TimestampTz).unwrap();
        assert_eq!(utc.as_primitive::<TimestampMicrosecondType>().value(0), 1_719_828_000_000_000);
        let back = cast(&utc, &SqlType::TimestampTz, &SqlType::Timestamp).unwrap();
        assert_eq!(back.as_primitive::<TimestampMicrosecondType>().value(0), 1_719_835_200_000_000);
        assert_eq!(to_utc(1_711_852_200_000_000, chrono_tz::Tz::Europe__Berlin), 1_711_848_600_000_000);
    }
}
