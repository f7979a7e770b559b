//! Where a table's columns come from, unit by unit: a file's column, a hot chunk's column, or one value for all rows.

use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use datafusion_common::ScalarValue;

use super::Unit;
use crate::Result;
use crate::fault::FileLayer;
use crate::record::{ColumnDef, TableDef};
use crate::snapshot::TableState;
use crate::table::cache::ColumnCache;
use crate::table::file::FileEntry;
use crate::table::reader::{Bounds, FileMeta};
use crate::table::writer::ColumnSummary;
use crate::table::{adapt, value};

/// Hot chunks of fewer rows are scanned without asking for their statistics first.
const SUMMARY_ROWS_MIN: usize = 8192;

/// Access to a table's files.
#[derive(Debug, Clone)]
pub(crate) struct FileAccess {
    /// The files.
    pub(crate) files: Arc<dyn FileLayer>,
    /// The table's folder.
    pub(crate) dir: PathBuf,
    /// Decoded columns and footers.
    pub(crate) cache: Arc<ColumnCache>,
}

impl FileAccess {
    /// A file's footer. Blocking if it is not cached.
    pub(crate) fn footer(&self, file: &FileEntry) -> Result<Arc<FileMeta>> {
        self.cache.footer(self.files.as_ref(), &self.dir.join(&file.path), file.bytes)
    }
}

/// Where the values of one column of one file are.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    /// The file's column of that index.
    File(usize),
    /// All rows have this value: a partition value, or a column that is younger than the file.
    Constant(ScalarValue),
}

/// Finds a column in a file.
pub(crate) fn origin(file: &FileEntry, meta: &FileMeta, column: &ColumnDef) -> Result<Origin> {
    Ok(match constant(file, column)? {
        Some(value) => Origin::Constant(value),
        None => match meta.column(&column.physical_name) {
            Some(index) => Origin::File(index),
            None => Origin::Constant(adapt::missing_scalar(column)?),
        },
    })
}

/// The value that all rows of a file have in a column, where the file itself does not hold it.
fn constant(file: &FileEntry, column: &ColumnDef) -> Result<Option<ScalarValue>> {
    if let Some(text) = file.partition_values.get(&column.physical_name) {
        return value::partition_value(text.as_deref(), &column.data_type).map(Some);
    }
    match file.stats.contains_key(&column.physical_name) {
        true => Ok(None),
        false => adapt::missing_scalar(column).map(Some),
    }
}

/// Statistics of one column of a file or hot chunk.
#[derive(Debug, Clone, Default)]
pub(crate) struct UnitBounds {
    /// Bounds.
    pub(crate) bounds: Bounds,
    /// They are the least and the greatest value.
    pub(crate) exact: bool,
}

/// What the index says of a column of a file.
pub(crate) fn file_bounds(file: &FileEntry, column: &ColumnDef) -> Result<UnitBounds> {
    if let Some(value) = constant(file, column)? {
        return Ok(UnitBounds { bounds: constant_bounds(&value, file.rows), exact: true });
    }
    let Some(stats) = file.stats.get(&column.physical_name) else { return Ok(UnitBounds::default()) };
    let read = |text: &Option<String>| text.as_ref().and_then(|text| value::raw_value(text, &column.data_type));
    let bounds = Bounds { min: read(&stats.min), max: read(&stats.max), nulls: Some(stats.nulls) };
    Ok(UnitBounds { bounds, exact: stats.exact })
}

/// Bounds of `rows` rows that all have one value.
pub(crate) fn constant_bounds(value: &ScalarValue, rows: u64) -> Bounds {
    if value.is_null() {
        return Bounds { min: None, max: None, nulls: Some(rows) };
    }
    let is_nan = matches!(value, ScalarValue::Float32(Some(v)) if v.is_nan())
        || matches!(value, ScalarValue::Float64(Some(v)) if v.is_nan());
    let known = (!is_nan && value::has_order(&value.data_type())).then(|| value.clone());
    Bounds { min: known.clone(), max: known, nulls: Some(0) }
}

/// True if the column surely holds no NaN in the file.
pub(crate) fn no_nan(file: &FileEntry, column: &ColumnDef) -> bool {
    file.stats.get(&column.physical_name).is_some_and(|stats| stats.exact)
}

/// Statistics of a column of a hot chunk, from the cache where there is one.
pub(crate) fn chunk_bounds(
    access: Option<&FileAccess>,
    chunk: &crate::hot::HotChunk,
    column: &ColumnDef,
    small_too: bool,
) -> Result<UnitBounds> {
    let rows = chunk.batch.num_rows();
    if rows < SUMMARY_ROWS_MIN && !small_too {
        return Ok(UnitBounds::default());
    }
    let compute = || {
        let mut summary = ColumnSummary::default();
        summary.add(&adapt::chunk_column(&chunk.batch, column)?)?;
        Ok(summary)
    };
    let summary = match access {
        Some(access) => {
            // A chunk is the inserts it holds; those never change.
            let mut hasher = std::hash::DefaultHasher::new();
            chunk.ids.hash(&mut hasher);
            access.cache.summary(hasher.finish(), rows, &column.physical_name, compute)?
        }
        None => Arc::new(compute()?),
    };
    let bounds = Bounds { min: summary.min.clone(), max: summary.max.clone(), nulls: Some(summary.nulls) };
    Ok(UnitBounds { bounds, exact: value::has_order(&column.data_type) && !summary.nan })
}

/// The units of a table's state: files in index order, then hot chunks, oldest first.
pub(crate) fn units(state: &TableState) -> Vec<Unit> {
    let files = state.files.files.iter().map(|file| Unit::File(Arc::clone(file)));
    files.chain(state.chunks.iter().map(|chunk| Unit::Chunk(Arc::clone(chunk)))).collect()
}

/// A range of rows of one column of a hot chunk.
pub(crate) fn chunk_slice(
    batch: &RecordBatch,
    def: &TableDef,
    column: usize,
    start: usize,
    rows: usize,
) -> Result<ArrayRef> {
    adapt::chunk_column(&batch.slice(start, rows), &def.columns[column])
}
