//! Values as text, whatever their type: what concat, format, quote_literal and the JSON functions print.

use arrow::array::ArrayRef;
use datafusion_common::Result;

use super::call::{Call, Value};
use crate::types::{ColumnEncoder, SqlType, TextSettings};

/// Prints the values of one array as PostgreSQL does.
pub(crate) struct Printer {
    encoder: ColumnEncoder,
}

impl Printer {
    /// A printer of the array's values.
    pub(crate) fn new(array: &ArrayRef, sql_type: &SqlType, settings: &TextSettings) -> Result<Self> {
        Ok(Self { encoder: ColumnEncoder::new(array, sql_type, settings)? })
    }

    /// Appends a value; nothing for NULL.
    pub(crate) fn print(&self, out: &mut String, index: usize) -> Value<()> {
        if self.encoder.is_null(index) {
            return Ok(());
        }
        // Apart: what is there already is not looked at again for each value.
        let mut bytes = vec![];
        self.encoder.write_text(index, &mut bytes);
        out.push_str(&String::from_utf8_lossy(&bytes));
        Ok(())
    }

    /// A value's text; `None` for NULL.
    pub(crate) fn text(&self, index: usize) -> Value<Option<String>> {
        if self.encoder.is_null(index) {
            return Ok(None);
        }
        let mut out = String::new();
        self.print(&mut out, index)?;
        Ok(Some(out))
    }
}

/// The settings a call prints with.
pub(crate) fn settings(call: &Call<'_>) -> Result<TextSettings> {
    Ok(TextSettings { time_zone: call.time_zone()?, ..TextSettings::default() })
}

/// A printer for every argument from `first` on.
pub(crate) fn printers(call: &Call<'_>, first: usize) -> Result<Vec<Printer>> {
    let settings = settings(call)?;
    (first..call.args.len())
        .map(|index| Printer::new(&call.args[index].array, &call.sql_type(index), &settings))
        .collect()
}
