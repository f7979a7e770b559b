//! One call of a function: arguments come in as Arrow arrays, are read as Rust values, and results go out as one array.
//!
//! A body is usually a plain Rust function over values (`fn left(s: &str, n: i32) -> Value<String>`) that [`Call::map2`]
//! applies to every row whose arguments are all not null. Bodies that want nulls read columns with [`Call::column`] and
//! make their result with [`Call::collect`]. Constant arguments stay arrays of one row.

use std::cell::OnceCell;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayAccessor, ArrayRef, AsArray, BinaryViewArray, BinaryViewBuilder, BooleanArray, BooleanBuilder,
    ListArray, PrimitiveArray, StringViewArray, StringViewBuilder,
};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Field, FieldRef, Float32Type, Float64Type, Int16Type,
    Int32Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, Time64MicrosecondType,
    TimestampMicrosecondType, UInt32Type,
};
use datafusion_common::config::ConfigOptions;
use datafusion_common::{DataFusionError, Result, exec_err};

use super::number::Num;
use crate::types::{SqlType, ValueError};

/// What a function over values gives.
pub(crate) type Value<T> = std::result::Result<T, ValueError>;

/// Shorthand for an error with SQLSTATE.
pub(crate) fn fail<T>(code: &'static str, message: impl Into<String>) -> Value<T> {
    Err(ValueError::new(code, message))
}

/// One argument: an array of `rows` values, or of one that stands for all rows.
#[derive(Debug, Clone)]
pub(crate) struct Argument {
    pub(crate) array: ArrayRef,
    pub(crate) constant: bool,
}

impl Argument {
    /// The index of a row's value in the array.
    pub(crate) fn at(&self, row: usize) -> usize {
        if self.constant { 0 } else { row }
    }
}

/// One call: its arguments, their fields, and where the result goes.
pub(crate) struct Call<'c> {
    pub(crate) args: Vec<Argument>,
    pub(crate) fields: &'c [FieldRef],
    pub(crate) rows: usize,
    pub(crate) returns: &'c Field,
    pub(crate) config: &'c ConfigOptions,
    pub(crate) zone: OnceCell<chrono_tz::Tz>,
}

impl<'c> Call<'c> {
    /// The session's time zone.
    pub(crate) fn time_zone(&self) -> Result<chrono_tz::Tz> {
        if let Some(zone) = self.zone.get() {
            return Ok(*zone);
        }
        let zone = match &self.config.execution.time_zone {
            None => chrono_tz::Tz::UTC,
            Some(name) => super::time::zone::find_name(name)?,
        };
        Ok(*self.zone.get_or_init(|| zone))
    }

    /// The SQL type of an argument.
    pub(crate) fn sql_type(&self, index: usize) -> SqlType {
        SqlType::of_field(&self.fields[index])
    }

    /// An argument's values as Rust values.
    pub(crate) fn column<'a, A: FromArgument<'a>>(&'a self, index: usize) -> Result<Column<'a, A>> {
        let argument = &self.args[index];
        Ok(Column { values: A::open(&argument.array)?, constant: argument.constant })
    }

    /// The value of a constant argument; `None` if it is not constant.
    pub(crate) fn constant<'a, A: FromArgument<'a>>(&'a self, index: usize) -> Result<Option<Option<A>>> {
        Ok(if self.args[index].constant { Some(self.column::<A>(index)?.get(0)) } else { None })
    }

    /// Makes the result, row by row.
    pub(crate) fn collect<R: IntoResult>(&self, mut row: impl FnMut(usize) -> Value<R>) -> Result<ArrayRef> {
        R::build(self.rows, self.returns.data_type(), |index| row(index).map(R::into_option))
    }

    /// A function of no arguments.
    pub(crate) fn map0<R: IntoResult>(&self, mut f: impl FnMut() -> Value<R>) -> Result<ArrayRef> {
        self.collect(|_| f())
    }

    /// A strict function of one argument.
    pub(crate) fn map1<'a, A: FromArgument<'a>, R: IntoResult>(
        &'a self,
        mut f: impl FnMut(A) -> Value<R>,
    ) -> Result<ArrayRef> {
        let a = self.column::<A>(0)?;
        R::build(self.rows, self.returns.data_type(), |row| match a.get(row) {
            Some(a) => f(a).map(R::into_option),
            None => Ok(None),
        })
    }

    /// A strict function of two arguments.
    pub(crate) fn map2<'a, A: FromArgument<'a>, B: FromArgument<'a>, R: IntoResult>(
        &'a self,
        mut f: impl FnMut(A, B) -> Value<R>,
    ) -> Result<ArrayRef> {
        let (a, b) = (self.column::<A>(0)?, self.column::<B>(1)?);
        R::build(self.rows, self.returns.data_type(), |row| match (a.get(row), b.get(row)) {
            (Some(a), Some(b)) => f(a, b).map(R::into_option),
            _ => Ok(None),
        })
    }

    /// A strict function of three arguments.
    pub(crate) fn map3<'a, A: FromArgument<'a>, B: FromArgument<'a>, C: FromArgument<'a>, R: IntoResult>(
        &'a self,
        mut f: impl FnMut(A, B, C) -> Value<R>,
    ) -> Result<ArrayRef> {
        let (a, b, c) = (self.column::<A>(0)?, self.column::<B>(1)?, self.column::<C>(2)?);
        R::build(self.rows, self.returns.data_type(), |row| match (a.get(row), b.get(row), c.get(row)) {
            (Some(a), Some(b), Some(c)) => f(a, b, c).map(R::into_option),
            _ => Ok(None),
        })
    }

    /// A strict function of four arguments.
    pub(crate) fn map4<
        'a,
        A: FromArgument<'a>,
        B: FromArgument<'a>,
        C: FromArgument<'a>,
        D: FromArgument<'a>,
        R: IntoResult,
    >(
        &'a self,
        mut f: impl FnMut(A, B, C, D) -> Value<R>,
    ) -> Result<ArrayRef> {
        let (a, b, c, d) = (self.column::<A>(0)?, self.column::<B>(1)?, self.column::<C>(2)?, self.column::<D>(3)?);
        R::build(self.rows, self.returns.data_type(), |row| match (a.get(row), b.get(row), c.get(row), d.get(row)) {
            (Some(a), Some(b), Some(c), Some(d)) => f(a, b, c, d).map(R::into_option),
            _ => Ok(None),
        })
    }
}

/// An argument's values.
pub(crate) struct Column<'a, A: FromArgument<'a>> {
    values: A::Values,
    constant: bool,
}

impl<'a, A: FromArgument<'a>> Column<'a, A> {
    /// The row's value; `None` is NULL.
    pub(crate) fn get(&self, row: usize) -> Option<A> {
        A::get(&self.values, if self.constant { 0 } else { row })
    }
}

/// A Rust type that values of an array can be read as.
pub(crate) trait FromArgument<'a>: Sized {
    /// The array, with its type known.
    type Values;
    /// Checks the array's type.
    fn open(array: &'a ArrayRef) -> Result<Self::Values>;
    /// A value by its index; `None` is NULL.
    fn get(values: &Self::Values, index: usize) -> Option<Self>;
}

/// A Rust type that results are made from.
pub(crate) trait IntoResult: Sized {
    /// What one value is built from.
    type Item;
    /// `None` is NULL.
    fn into_option(self) -> Option<Self::Item>;
    /// The array of all rows' values.
    fn build(
        rows: usize,
        data_type: &DataType,
        next: impl FnMut(usize) -> Value<Option<Self::Item>>,
    ) -> Result<ArrayRef>;
}

fn not_a<T>(what: &str, array: &ArrayRef) -> Result<T> {
    exec_err!("a value of type {what} was expected, not {}", array.data_type())
}

fn get_from<A: ArrayAccessor>(array: A, index: usize) -> Option<A::Item> {
    if array.is_null(index) { None } else { Some(array.value(index)) }
}

impl<'a> FromArgument<'a> for &'a str {
    type Values = &'a StringViewArray;
    fn open(array: &'a ArrayRef) -> Result<Self::Values> {
        array.as_string_view_opt().map_or_else(|| not_a("text", array), Ok)
    }
    fn get(values: &Self::Values, index: usize) -> Option<Self> {
        get_from(*values, index)
    }
}

impl<'a> FromArgument<'a> for &'a [u8] {
    type Values = &'a BinaryViewArray;
    fn open(array: &'a ArrayRef) -> Result<Self::Values> {
        array.as_binary_view_opt().map_or_else(|| not_a("bytea", array), Ok)
    }
    fn get(values: &Self::Values, index: usize) -> Option<Self> {
        get_from(*values, index)
    }
}

impl<'a> FromArgument<'a> for bool {
    type Values = &'a BooleanArray;
    fn open(array: &'a ArrayRef) -> Result<Self::Values> {
        array.as_boolean_opt().map_or_else(|| not_a("boolean", array), Ok)
    }
    fn get(values: &Self::Values, index: usize) -> Option<Self> {
        get_from(*values, index)
    }
}

/// A list's elements.
impl<'a> FromArgument<'a> for ArrayRef {
    type Values = &'a ListArray;
    fn open(array: &'a ArrayRef) -> Result<Self::Values> {
        array.as_list_opt().map_or_else(|| not_a("array", array), Ok)
    }
    fn get(values: &Self::Values, index: usize) -> Option<Self> {
        get_from(*values, index)
    }
}

/// An array of text; its elements may be null.
pub(crate) struct Texts(ArrayRef);

impl Texts {
    /// The elements.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Option<&str>> {
        self.0.as_string_view().iter()
    }
}

impl<'a> FromArgument<'a> for Texts {
    type Values = &'a ListArray;
    fn open(array: &'a ArrayRef) -> Result<Self::Values> {
        match array.as_list_opt::<i32>() {
            Some(list) if list.value_type() == DataType::Utf8View => Ok(list),
            _ => not_a("text[]", array),
        }
    }
    fn get(values: &Self::Values, index: usize) -> Option<Self> {
        get_from(*values, index).map(Texts)
    }
}

/// An array of integers; its elements may be null.
pub(crate) struct Ints(pub(crate) Vec<Option<i32>>);

impl<'a> FromArgument<'a> for Ints {
    type Values = &'a ListArray;
    fn open(array: &'a ArrayRef) -> Result<Self::Values> {
        match array.as_list_opt::<i32>() {
            Some(list) if list.value_type() == DataType::Int32 => Ok(list),
            _ => not_a("integer[]", array),
        }
    }
    fn get(values: &Self::Values, index: usize) -> Option<Self> {
        get_from(*values, index).map(|list| Self(list.as_primitive::<Int32Type>().iter().collect()))
    }
}

macro_rules! primitive {
    ($rust:ty, $arrow:ty, $name:literal, $from:expr, $into:expr) => {
        impl<'a> FromArgument<'a> for $rust {
            type Values = &'a PrimitiveArray<$arrow>;
            fn open(array: &'a ArrayRef) -> Result<Self::Values> {
                array.as_primitive_opt::<$arrow>().map_or_else(|| not_a($name, array), Ok)
            }
            fn get(values: &Self::Values, index: usize) -> Option<Self> {
                get_from(*values, index).map($from)
            }
        }
        impl IntoResult for $rust {
            type Item = $rust;
            fn into_option(self) -> Option<$rust> {
                Some(self)
            }
            fn build(
                rows: usize,
                data_type: &DataType,
                mut next: impl FnMut(usize) -> Value<Option<$rust>>,
            ) -> Result<ArrayRef> {
                primitive_array::<$arrow>(rows, data_type, |row| Ok(next(row)?.map($into)))
            }
        }
    };
}

/// Builds a primitive array; `data_type` may carry a time zone or a decimal's scale.
pub(crate) fn primitive_array<T: ArrowPrimitiveType>(
    rows: usize,
    data_type: &DataType,
    mut next: impl FnMut(usize) -> Result<Option<T::Native>>,
) -> Result<ArrayRef> {
    let mut values = Vec::with_capacity(rows);
    let mut nulls = arrow::array::NullBufferBuilder::new(rows);
    for row in 0..rows {
        match next(row)? {
            Some(value) => {
                values.push(value);
                nulls.append_non_null();
            }
            None => {
                values.push(T::Native::default());
                nulls.append_null();
            }
        }
    }
    let array = PrimitiveArray::<T>::try_new(values.into(), nulls.finish())?;
    Ok(Arc::new(array.with_data_type(data_type.clone())))
}

/// Days since 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Date(pub(crate) i32);
/// Microseconds since midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) i64);
/// Microseconds since 1970-01-01 00:00, of the local clock or of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timestamp(pub(crate) i64);
/// Months, days, nanoseconds.
pub(crate) type Interval = IntervalMonthDayNano;

primitive!(i16, Int16Type, "smallint", |v| v, |v| v);
primitive!(i32, Int32Type, "integer", |v| v, |v| v);
primitive!(i64, Int64Type, "bigint", |v| v, |v| v);
primitive!(u32, UInt32Type, "oid", |v| v, |v| v);
primitive!(f32, Float32Type, "real", |v| v, |v| v);
primitive!(f64, Float64Type, "double precision", |v| v, |v| v);
primitive!(Date, Date32Type, "date", Date, |v: Date| v.0);
primitive!(Time, Time64MicrosecondType, "time", Time, |v: Time| v.0);
primitive!(Timestamp, TimestampMicrosecondType, "timestamp", Timestamp, |v: Timestamp| v.0);
primitive!(Interval, IntervalMonthDayNanoType, "interval", |v| v, |v| v);

impl<'a> FromArgument<'a> for Num {
    type Values = (&'a PrimitiveArray<Decimal128Type>, i8);
    fn open(array: &'a ArrayRef) -> Result<Self::Values> {
        match array.as_primitive_opt::<Decimal128Type>() {
            Some(decimals) => Ok((decimals, decimals.scale())),
            None => not_a("numeric", array),
        }
    }
    fn get((values, scale): &Self::Values, index: usize) -> Option<Self> {
        get_from(*values, index).map(|value| Num::new(value, *scale))
    }
}

impl IntoResult for Num {
    type Item = Num;
    fn into_option(self) -> Option<Num> {
        Some(self)
    }
    fn build(rows: usize, data_type: &DataType, mut next: impl FnMut(usize) -> Value<Option<Num>>) -> Result<ArrayRef> {
        let DataType::Decimal128(precision, scale) = data_type else {
            return exec_err!("numeric results need a decimal array, not {data_type}");
        };
        primitive_array::<Decimal128Type>(rows, data_type, |row| {
            Ok(next(row)?.map(|n| n.fit(*precision, *scale)).transpose()?)
        })
    }
}

impl IntoResult for bool {
    type Item = bool;
    fn into_option(self) -> Option<bool> {
        Some(self)
    }
    fn build(rows: usize, _: &DataType, mut next: impl FnMut(usize) -> Value<Option<bool>>) -> Result<ArrayRef> {
        let mut builder = BooleanBuilder::with_capacity(rows);
        for row in 0..rows {
            builder.append_option(next(row)?);
        }
        Ok(Arc::new(builder.finish()))
    }
}

fn build_text<S: AsRef<str>>(rows: usize, mut next: impl FnMut(usize) -> Value<Option<S>>) -> Result<ArrayRef> {
    let mut builder = StringViewBuilder::with_capacity(rows);
    for row in 0..rows {
        match next(row)? {
            Some(text) => builder.try_append_value(text.as_ref())?,
            None => builder.append_null(),
        }
    }
    Ok(Arc::new(builder.finish()))
}

macro_rules! text {
    ($($rust:ty),*) => {$(
        impl IntoResult for $rust {
            type Item = Self;
            fn into_option(self) -> Option<Self> {
                Some(self)
            }
            fn build(
                rows: usize,
                _: &DataType,
                next: impl FnMut(usize) -> Value<Option<Self>>,
            ) -> Result<ArrayRef> {
                build_text(rows, next)
            }
        }
    )*};
}

text!(String, &str, std::borrow::Cow<'_, str>);

impl IntoResult for Vec<u8> {
    type Item = Vec<u8>;
    fn into_option(self) -> Option<Vec<u8>> {
        Some(self)
    }
    fn build(rows: usize, _: &DataType, mut next: impl FnMut(usize) -> Value<Option<Vec<u8>>>) -> Result<ArrayRef> {
        let mut builder = BinaryViewBuilder::with_capacity(rows);
        for row in 0..rows {
            match next(row)? {
                Some(bytes) => builder.try_append_value(bytes)?,
                None => builder.append_null(),
            }
        }
        Ok(Arc::new(builder.finish()))
    }
}

/// A list of results; elements may be null.
pub(crate) struct Many<R>(pub(crate) Vec<Option<R>>);

impl<R: IntoResult<Item = R>> IntoResult for Many<R> {
    type Item = Vec<Option<R>>;
    fn into_option(self) -> Option<Vec<Option<R>>> {
        Some(self.0)
    }
    fn build(
        rows: usize,
        data_type: &DataType,
        mut next: impl FnMut(usize) -> Value<Option<Vec<Option<R>>>>,
    ) -> Result<ArrayRef> {
        let DataType::List(element) = data_type else {
            return exec_err!("a list of results needs a list type, not {data_type}");
        };
        let mut nulls = arrow::array::NullBufferBuilder::new(rows);
        let mut lengths = Vec::with_capacity(rows);
        let mut values = Vec::new();
        for row in 0..rows {
            match next(row)? {
                Some(list) => {
                    nulls.append_non_null();
                    lengths.push(list.len());
                    values.extend(list);
                }
                None => {
                    nulls.append_null();
                    lengths.push(0);
                }
            }
        }
        let count = values.len();
        let mut values = values.into_iter();
        let values = R::build(count, element.data_type(), |_| Ok(values.next().flatten()))?;
        let offsets = arrow::buffer::OffsetBuffer::from_lengths(lengths);
        Ok(Arc::new(ListArray::try_new(Arc::clone(element), offsets, values, nulls.finish())?))
    }
}

impl<R: IntoResult> IntoResult for Option<R> {
    type Item = R::Item;
    fn into_option(self) -> Option<R::Item> {
        self.and_then(R::into_option)
    }
    fn build(
        rows: usize,
        data_type: &DataType,
        next: impl FnMut(usize) -> Value<Option<Self::Item>>,
    ) -> Result<ArrayRef> {
        R::build(rows, data_type, next)
    }
}

/// A user error as DataFusion carries it.
pub(crate) fn error(code: &'static str, message: impl Into<String>) -> DataFusionError {
    ValueError::new(code, message).into()
}
