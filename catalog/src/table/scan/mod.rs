//! A table at a snapshot as DataFusion reads it.
//!
//! ```text
//! SnapshotTable (TableProvider) → TableScanExec (plan: projection, filters, order, statistics)
//!    execute → queue of tasks (file → row groups, hot rows), pruned → stream: filter first, then the other columns
//! ```

use std::sync::Arc;

use crate::hot::HotChunk;
use crate::snapshot::TableState;
use crate::store::Store;
use crate::table::file::FileEntry;

pub(crate) mod source;

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

/// What a table's rows are in.
#[derive(Debug, Clone)]
pub enum Unit {
    /// A Parquet file.
    File(Arc<FileEntry>),
    /// Rows not yet in files.
    Chunk(Arc<HotChunk>),
}

impl SnapshotTable {
    /// What [`UNIT_COLUMN`] counts: files in index order, then hot chunks, oldest first.
    pub fn units(&self) -> Vec<Unit> {
        source::units(&self.state)
    }
}
