//! Batches of other shapes brought to a table's schema now.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{Schema, SchemaRef};

use crate::record::{ColumnDef, TableDef};
use crate::table::physical::from_storage;
use crate::table::value::{null, sql_value};
use crate::{Error, Result};

/// A hot chunk's rows in the table's schema now. The chunk's columns are matched by physical name; a column that came
/// later has its missing value, or NULL. Columns named in `projection` only (indices into `def.columns`), in that order.
///
/// # Errors
/// `Invalid` if a column's values cannot become its type now.
pub fn chunk(batch: &RecordBatch, def: &TableDef, projection: Option<&[usize]>) -> Result<RecordBatch> {
    let chosen: Vec<&ColumnDef> = match projection {
        Some(indices) => indices.iter().filter_map(|&index| def.columns.get(index)).collect(),
        None => def.columns.iter().collect(),
    };
    let arrays: Vec<ArrayRef> = chosen.iter().map(|column| chunk_column(batch, column)).collect::<Result<_>>()?;
    let schema = Arc::new(Schema::new(chosen.iter().map(|column| column.field()).collect::<Vec<_>>()));
    batch_of(schema, arrays, batch.num_rows())
}

/// One column of a hot chunk in its type now.
///
/// # Errors
/// As [`chunk`].
pub fn chunk_column(batch: &RecordBatch, column: &ColumnDef) -> Result<ArrayRef> {
    match batch.column_by_name(&column.physical_name) {
        Some(array) => from_storage(array, &column.data_type),
        None => missing(column, batch.num_rows()),
    }
}

/// What rows written before the column came hold in it.
///
/// # Errors
/// `Invalid` if the definition's text is not a value of the type.
pub fn missing(column: &ColumnDef, rows: usize) -> Result<ArrayRef> {
    Ok(match &column.missing_value {
        None => new_null_array(&column.data_type, rows),
        Some(_) => missing_scalar(column)?.to_array_of_size(rows)?,
    })
}

/// As [`missing`], as one value.
///
/// # Errors
/// As [`missing`].
pub fn missing_scalar(column: &ColumnDef) -> Result<datafusion_common::ScalarValue> {
    match &column.missing_value {
        None => null(&column.data_type),
        Some(text) => sql_value(text, &column.data_type),
    }
}

/// A batch in a table's schema (names now), its columns renamed to their physical names: what a hot chunk holds.
/// Columns the table does not have are left out.
///
/// # Errors
/// `Invalid` if a column has another type than the table says.
pub fn to_physical_names(batch: &RecordBatch, def: &TableDef) -> Result<RecordBatch> {
    let (mut fields, mut arrays) = (vec![], vec![]);
    for column in &def.columns {
        let Some(array) = batch.column_by_name(&column.name) else { continue };
        if array.data_type() != &column.data_type {
            return Err(wrong_type(column, array));
        }
        fields.push(column.field().with_name(&column.physical_name).with_nullable(true));
        arrays.push(Arc::clone(array));
    }
    batch_of(Arc::new(Schema::new(fields)), arrays, batch.num_rows())
}

/// A batch in exactly the table's schema: columns by name, absent ones NULL. Nullability is not checked.
///
/// # Errors
/// `Invalid` if a column has another type than the table says.
pub fn to_table_columns(batch: &RecordBatch, def: &TableDef) -> Result<Vec<ArrayRef>> {
    def.columns
        .iter()
        .map(|column| match batch.column_by_name(&column.name) {
            None => Ok(new_null_array(&column.data_type, batch.num_rows())),
            Some(array) if array.data_type() == &column.data_type => Ok(Arc::clone(array)),
            Some(array) => Err(wrong_type(column, array)),
        })
        .collect()
}

fn wrong_type(column: &ColumnDef, array: &ArrayRef) -> Error {
    Error::Invalid(format!(
        "column \"{}\" is of type {} but rows have {}",
        column.name,
        column.data_type,
        array.data_type()
    ))
}

/// A batch, also without columns.
pub(crate) fn batch_of(schema: SchemaRef, arrays: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema, arrays, &options)?)
}
