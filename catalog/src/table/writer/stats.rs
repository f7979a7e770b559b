//! Exact statistics of a column, collected while it is written.

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray};
use arrow::compute::{max, max_boolean, max_string_view, min, min_boolean, min_string_view};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    Time64MicrosecondType, TimestampMicrosecondType, UInt32Type,
};
use datafusion_common::ScalarValue;

use crate::Result;
use crate::table::file::ColumnStats;
use crate::table::value::{has_order, raw_text};

/// Text of statistics is cut here, bytes.
const TEXT_BYTES_MAX: usize = 64;

/// What is known of a column so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct ColumnSummary {
    /// The least value. Not kept once a NaN was seen: PostgreSQL orders NaN above all, other readers do not.
    pub(crate) min: Option<ScalarValue>,
    /// The greatest value.
    pub(crate) max: Option<ScalarValue>,
    /// NULLs.
    pub(crate) nulls: u64,
    /// A floating-point column holds NaN.
    pub(crate) nan: bool,
}

impl ColumnSummary {
    /// Takes more values in.
    ///
    /// # Errors
    /// `DataFusion` for a type that tables do not hold.
    pub(crate) fn add(&mut self, array: &ArrayRef) -> Result<()> {
        self.nulls += array.logical_null_count() as u64;
        self.nan = self.nan || has_nan(array);
        if self.nan {
            (self.min, self.max) = (None, None);
        } else if let Some((low, high)) = extremes(array) {
            if self.min.as_ref().is_none_or(|min| low < *min) {
                self.min = Some(low);
            }
            if self.max.as_ref().is_none_or(|max| high > *max) {
                self.max = Some(high);
            }
        }
        Ok(())
    }

    /// The statistics to store.
    pub(crate) fn finish(&self, data_type: &DataType) -> ColumnStats {
        let mut stats = ColumnStats {
            min: self.min.as_ref().and_then(raw_text),
            max: self.max.as_ref().and_then(raw_text),
            exact: has_order(data_type) && !self.nan,
            nulls: self.nulls,
        };
        if data_type == &DataType::Utf8View {
            let cut = |text: &Option<String>| text.as_ref().is_some_and(|text| text.len() > TEXT_BYTES_MAX);
            stats.exact = stats.exact && !cut(&stats.min) && !cut(&stats.max);
            stats.min = stats.min.map(|text| prefix(&text).to_owned());
            stats.max = stats.max.and_then(|text| upper_bound(&text));
        }
        stats
    }
}

/// At most the first [`TEXT_BYTES_MAX`] bytes, whole characters.
fn prefix(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

/// A short text that is not before `text`; `None` if there is none.
fn upper_bound(text: &str) -> Option<String> {
    if text.len() <= TEXT_BYTES_MAX {
        return Some(text.to_owned());
    }
    let mut characters: Vec<char> = prefix(text).chars().collect();
    while let Some(last) = characters.pop() {
        // After the last character before the surrogates comes the first one after them.
        let next = if last == '\u{d7ff}' { Some('\u{e000}') } else { char::from_u32(u32::from(last) + 1) };
        if let Some(next) = next {
            characters.push(next);
            return Some(characters.into_iter().collect());
        }
    }
    None
}

fn has_nan(array: &ArrayRef) -> bool {
    match array.data_type() {
        DataType::Float32 => array.as_primitive::<Float32Type>().iter().flatten().any(f32::is_nan),
        DataType::Float64 => array.as_primitive::<Float64Type>().iter().flatten().any(f64::is_nan),
        _ => false,
    }
}

/// The least and the greatest value that is not NULL.
pub(crate) fn extremes(array: &ArrayRef) -> Option<(ScalarValue, ScalarValue)> {
    fn pair<T: ArrowPrimitiveType>(
        array: &ArrayRef,
        scalar: impl Fn(T::Native) -> ScalarValue,
    ) -> Option<(ScalarValue, ScalarValue)> {
        let array = array.as_primitive::<T>();
        Some((scalar(min(array)?), scalar(max(array)?)))
    }
    match array.data_type() {
        DataType::Boolean => {
            let array = array.as_boolean();
            Some((min_boolean(array)?.into(), max_boolean(array)?.into()))
        }
        DataType::Int16 => pair::<Int16Type>(array, |v| v.into()),
        DataType::Int32 => pair::<Int32Type>(array, |v| v.into()),
        DataType::Int64 => pair::<Int64Type>(array, |v| v.into()),
        DataType::UInt32 => pair::<UInt32Type>(array, |v| v.into()),
        DataType::Float32 => pair::<Float32Type>(array, |v| v.into()),
        DataType::Float64 => pair::<Float64Type>(array, |v| v.into()),
        DataType::Date32 => pair::<Date32Type>(array, |v| ScalarValue::Date32(Some(v))),
        DataType::Time64(_) => pair::<Time64MicrosecondType>(array, |v| ScalarValue::Time64Microsecond(Some(v))),
        DataType::Timestamp(_, zone) => {
            pair::<TimestampMicrosecondType>(array, |v| ScalarValue::TimestampMicrosecond(Some(v), zone.clone()))
        }
        DataType::Decimal128(p, s) => pair::<Decimal128Type>(array, |v| ScalarValue::Decimal128(Some(v), *p, *s)),
        DataType::Utf8View => {
            let array = array.as_string_view();
            let scalar = |text: &str| ScalarValue::Utf8View(Some(text.to_owned()));
            Some((scalar(min_string_view(array)?), scalar(max_string_view(array)?)))
        }
        _ => None,
    }
}
