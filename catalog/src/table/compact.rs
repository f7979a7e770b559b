//! Small files to large ones, sorted by the table's sort key.

use std::path::Path;
use std::sync::Arc;

use crate::Result;
use crate::fault::FileLayer;
use crate::record::TableDef;
use crate::table::file::{FileEntry, FileIndex};

/// Which files to merge with which: each group becomes one or a few sorted files. `full`: all of them. Pure.
pub fn plan(index: &FileIndex, def: &TableDef, full: bool) -> Vec<Vec<Arc<FileEntry>>> {
    let _ = (index, def, full);
    todo!()
}

/// Merges files into large ones sorted by the table's sort key. Blocking; memory is bounded. The inputs stay.
///
/// # Errors
/// `DiskFull`, `Io`, `Corrupt`.
pub fn merge(
    files: &Arc<dyn FileLayer>,
    dir: &Path,
    def: &Arc<TableDef>,
    inputs: &[Arc<FileEntry>],
    now_ms: i64,
) -> Result<Vec<Arc<FileEntry>>> {
    let _ = (files, dir, def, inputs, now_ms);
    todo!()
}
