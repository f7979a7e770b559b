//! Batches of other shapes brought to a table's schema now.

use arrow::array::RecordBatch;

use crate::Result;
use crate::record::TableDef;

/// A hot chunk's rows in the table's schema now. The chunk's columns are matched by physical name; a column that came
/// later has its missing value, or NULL. Columns named in `projection` only (indices into `def.columns`), in that order.
///
/// # Errors
/// `Invalid` if a column's values cannot become its type now.
pub fn chunk(batch: &RecordBatch, def: &TableDef, projection: Option<&[usize]>) -> Result<RecordBatch> {
    let _ = (batch, def, projection);
    todo!()
}

/// A batch in a table's schema (names now), its columns renamed to their physical names: what a hot chunk holds.
/// Columns the table does not have are left out.
///
/// # Errors
/// `Invalid` if a column has another type than the table says.
pub fn to_physical_names(batch: &RecordBatch, def: &TableDef) -> Result<RecordBatch> {
    let _ = (batch, def);
    todo!()
}
