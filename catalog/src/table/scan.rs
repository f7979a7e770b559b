//! A table at a snapshot as DataFusion reads it.

use std::sync::Arc;

use crate::snapshot::TableState;
use crate::store::Store;

/// Hidden column: which file or chunk a row is in (Int32 index into [`SnapshotTable::units`]).
pub const UNIT_COLUMN: &str = "_tm_unit";
/// Hidden column: the row's number in its file or chunk (Int64).
pub const ROW_COLUMN: &str = "_tm_row";

/// A table at a snapshot: a DataFusion `TableProvider`.
#[derive(Debug)]
pub struct SnapshotTable {
    /// The open data directory (none for temporary tables, which have no files).
    pub store: Option<Arc<Store>>,
    /// The rows.
    pub state: Arc<TableState>,
    /// Expose [`UNIT_COLUMN`] and [`ROW_COLUMN`] after the table's own columns: for DELETE and UPDATE.
    pub locators: bool,
}
