//! Whole units in, fewer rows out: DELETE and UPDATE read a unit and write back what remains; compaction reads it whole.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, BooleanBufferBuilder, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion_common::ScalarValue;

use crate::fault::FileLayer;
use crate::record::TableDef;
use crate::table::adapt::{self, batch_of};
use crate::table::file::FileEntry;
use crate::table::reader::{BLOCK_ROWS, ColumnReader, FileMeta};
use crate::table::scan::Unit;
use crate::table::scan::source::{Origin, origin};
use crate::{Error, Result};

/// All rows of a unit, in the table's schema now, in row order. Blocking; holds one row group's compressed bytes.
///
/// # Errors
/// `Io`, `Corrupt`; also from the iterator, which ends then.
pub fn read_unit(
    files: &Arc<dyn FileLayer>,
    dir: &Path,
    def: &Arc<TableDef>,
    unit: &Unit,
) -> Result<Box<dyn Iterator<Item = Result<RecordBatch>> + Send>> {
    match unit {
        Unit::File(file) => Ok(Box::new(FileRows::open(files, dir, def, file)?)),
        Unit::Chunk(chunk) => {
            let batch = adapt::chunk(&chunk.batch, def, None)?;
            let starts = (0..batch.num_rows()).step_by(BLOCK_ROWS);
            Ok(Box::new(starts.map(move |start| Ok(batch.slice(start, BLOCK_ROWS.min(batch.num_rows() - start))))))
        }
    }
}

/// The rows of `batches` except those whose numbers are in `drop` (ascending, counted from the first batch's first row).
pub fn remaining_rows<I>(batches: I, drop: Vec<u64>) -> impl Iterator<Item = Result<RecordBatch>>
where
    I: Iterator<Item = Result<RecordBatch>>,
{
    let mut first = 0_u64;
    let mut next = 0_usize;
    batches.filter_map(move |batch| {
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => return Some(Err(error)),
        };
        let rows = batch.num_rows();
        let end = first + rows as u64;
        let mut keep = BooleanBufferBuilder::new(rows);
        keep.append_n(rows, true);
        let mut dropped = 0;
        while let Some(&row) = drop.get(next).filter(|&&row| row < end) {
            if let Ok(at) = usize::try_from(row.saturating_sub(first)) {
                keep.set_bit(at, false);
                dropped += 1;
            }
            next += 1;
        }
        first = end;
        if dropped == 0 {
            return Some(Ok(batch));
        }
        let mask = BooleanArray::new(keep.finish(), None);
        let kept = filter_record_batch(&batch, &mask).map_err(Error::from);
        kept.map(|batch| (batch.num_rows() > 0).then_some(batch)).transpose()
    })
}

/// One column of the row group being read.
enum Column {
    Decoded(ColumnReader),
    Constant(ScalarValue),
}

/// A file's rows, block by block.
struct FileRows {
    files: Arc<dyn FileLayer>,
    meta: FileMeta,
    schema: SchemaRef,
    origins: Vec<(Origin, DataType)>,
    row_group: usize,
    block: usize,
    columns: Vec<Column>,
    failed: bool,
}

impl FileRows {
    fn open(files: &Arc<dyn FileLayer>, dir: &Path, def: &TableDef, file: &FileEntry) -> Result<Self> {
        let meta = FileMeta::load(files.as_ref(), &dir.join(&file.path), file.bytes)?;
        let origins = def.columns.iter().map(|column| Ok((origin(file, &meta, column)?, column.data_type.clone())));
        let origins = origins.collect::<Result<Vec<_>>>()?;
        let schema = def.schema();
        let files = Arc::clone(files);
        Ok(Self { files, meta, schema, origins, row_group: 0, block: 0, columns: vec![], failed: false })
    }

    fn next_block(&mut self) -> Result<Option<RecordBatch>> {
        let Some(group) = self.meta.row_groups.get(self.row_group).copied() else { return Ok(None) };
        if self.block == 0 {
            self.columns =
                self.origins.iter().map(|(origin, data_type)| self.column(origin, data_type)).collect::<Result<_>>()?;
        }
        let rows = group.block_rows(self.block);
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
        for column in &mut self.columns {
            let array = match column {
                Column::Constant(value) => value.to_array_of_size(rows)?,
                Column::Decoded(reader) => reader.next().transpose()?.ok_or_else(|| short(&self.meta))?,
            };
            if array.len() != rows {
                return Err(short(&self.meta));
            }
            arrays.push(array);
        }
        self.block += 1;
        if self.block == group.blocks() {
            (self.row_group, self.block) = (self.row_group + 1, 0);
        }
        batch_of(Arc::clone(&self.schema), arrays, rows).map(Some)
    }

    fn column(&self, origin: &Origin, data_type: &DataType) -> Result<Column> {
        Ok(match origin {
            Origin::Constant(value) => Column::Constant(value.clone()),
            Origin::File(index) => {
                let bytes = self.meta.fetch(self.files.as_ref(), self.row_group, *index)?;
                Column::Decoded(self.meta.decode(self.row_group, *index, bytes, data_type, None)?)
            }
        })
    }
}

/// A column chunk that has fewer rows than its row group says.
pub(crate) fn short(meta: &FileMeta) -> Error {
    Error::Corrupt {
        path: meta.path.display().to_string(),
        detail: "a column has fewer rows than its row group".into(),
    }
}

impl Iterator for FileRows {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let block = self.next_block().transpose();
        self.failed = matches!(block, Some(Err(_)));
        block
    }
}

#[cfg(test)]
mod tests;
