//! Rows to Parquet files.
//!
//! ```text
//! batches → a run (bounded rows and bytes) → sorted if it is not → by partition → output: Parquet, statistics → fsync
//! ```
//! One run is sorted as a whole; several runs in one file are sorted only if each begins where the one before ended, and
//! the file says which it is. So memory is bounded for any input: one run and one row group per open file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{concat, filter, take};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use datafusion_common::ScalarValue;

use crate::fault::FileLayer;
use crate::record::TableDef;
use crate::table::file::FileEntry;
use crate::table::latest::replaced_within;
use crate::table::{adapt, physical, value};
use crate::{Lsn, Result};

mod output;
mod sort;
pub(crate) mod stats;

pub(crate) use output::ROW_GROUP_ROWS;
pub(crate) use sort::{SortKey, is_sorted, not_after, sort_indices};
pub(crate) use stats::ColumnSummary;

use output::{Layout, Output};

/// Rows sorted together: eight row groups.
const RUN_ROWS: usize = 8 * ROW_GROUP_ROWS;
/// Bytes sorted together: the largest flush and a half.
const RUN_BYTES: usize = 192 << 20;
/// Files above this are complete and a new one begins: large enough to scan well, small enough to rewrite for a DELETE.
const FILE_BYTES: u64 = 128 << 20;
/// Partitions written at once; with more, the one with the most rows is completed first.
const OPEN_FILES_MAX: usize = 32;

/// How much work goes into making a file small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Cheap to write: files that compaction will soon replace.
    #[default]
    Fast,
    /// Small: files that stay.
    Small,
}

/// What a [`TableWriter`] needs to know besides the table.
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    /// The log range the rows came from; for files not yet committed, the commit's LSN replaces it.
    pub lsn_min: Lsn,
    /// See `lsn_min`.
    pub lsn_max: Lsn,
    /// How many times the rows were merged.
    pub level: u32,
    /// See [`Compression`].
    pub compression: Compression,
    /// Now, milliseconds since the epoch.
    pub now_ms: i64,
    /// Sort rows by these columns (names now) within what the sort buffer holds. Empty: by the time column, if there is one.
    pub sort_by: Vec<String>,
}

/// Writes a table's rows to Parquet files of bounded size, using bounded memory. Blocking. Dropped before
/// [`TableWriter::finish`], it leaves files that nothing refers to.
#[derive(Debug)]
pub struct TableWriter {
    files: Arc<dyn FileLayer>,
    dir: PathBuf,
    def: Arc<TableDef>,
    options: WriteOptions,
    layout: Arc<Layout>,
    /// Indices of the sort columns in the definition.
    sort_columns: Vec<usize>,
    /// Indices of the partition columns in the definition.
    partition_columns: Vec<usize>,
    run: Vec<Vec<ArrayRef>>,
    run_rows: usize,
    run_bytes: usize,
    open: HashMap<Vec<Option<String>>, Output>,
    done: Vec<Arc<FileEntry>>,
}

impl TableWriter {
    /// A writer of files in the table's folder `dir`.
    pub fn new(files: Arc<dyn FileLayer>, dir: &Path, def: &Arc<TableDef>, options: WriteOptions) -> Self {
        let by_time = def.options.time_column.iter().cloned().collect();
        let sort_by = if options.sort_by.is_empty() { by_time } else { options.sort_by.clone() };
        let index_of = |name: &String| def.columns.iter().position(|column| &column.name == name);
        let sort_columns: Vec<usize> = sort_by
            .iter()
            .filter_map(index_of)
            .filter(|&index| value::has_order(&def.columns[index].data_type))
            .filter(|&index| physical::in_file(def, &def.columns[index]))
            .collect();
        let partitions = physical::partition_columns(def);
        let partition_columns = partitions.iter().filter_map(|column| index_of(&column.name)).collect();
        let layout = Arc::new(Layout::new(def, &sort_columns, options.compression));
        Self {
            files,
            dir: dir.to_owned(),
            def: Arc::clone(def),
            options,
            layout,
            sort_columns,
            partition_columns,
            run: vec![],
            run_rows: 0,
            run_bytes: 0,
            open: HashMap::new(),
            done: vec![],
        }
    }

    /// Takes rows in the table's schema (names now; a missing column is NULL).
    ///
    /// # Errors
    /// `DiskFull`, `Io`, `Invalid` for a batch of other types.
    #[expect(clippy::needless_pass_by_value, reason = "the writer keeps the rows")]
    pub fn write(&mut self, batch: RecordBatch) -> Result<()> {
        let columns = adapt::to_table_columns(&batch, &self.def)?;
        let rows = batch.num_rows();
        let mut start = 0;
        while start < rows {
            let length = (rows - start).min(RUN_ROWS - self.run_rows);
            let slice: Vec<ArrayRef> = columns.iter().map(|column| column.slice(start, length)).collect();
            self.run_bytes += slice.iter().map(bytes_of).sum::<usize>();
            self.run.push(slice);
            self.run_rows += length;
            start += length;
            if self.run_rows >= RUN_ROWS || self.run_bytes >= RUN_BYTES {
                self.flush_run()?;
            }
        }
        Ok(())
    }

    /// Completes the files; they and their folder are fsynced.
    ///
    /// # Errors
    /// As [`TableWriter::write`].
    pub fn finish(mut self) -> Result<Vec<Arc<FileEntry>>> {
        self.flush_run()?;
        let mut open: Vec<_> = std::mem::take(&mut self.open).into_iter().collect();
        open.sort_by(|a, b| a.0.cmp(&b.0));
        for (_, output) in open {
            self.done.push(output.finish()?);
        }
        if !self.done.is_empty() {
            self.files.sync_dir(&self.dir)?;
        }
        Ok(self.done)
    }

    /// Sorts the buffered rows if they are not sorted, and writes them.
    fn flush_run(&mut self) -> Result<()> {
        let run = std::mem::take(&mut self.run);
        self.run_rows = 0;
        self.run_bytes = 0;
        if run.is_empty() {
            return Ok(());
        }
        // Before they are sorted: of equal versions of a key the later counts.
        let keeps_latest = self.def.version_column().is_some() && self.options.level == 0;
        if self.partition_columns.is_empty() && !keeps_latest && self.run_is_sorted(&run)? {
            for columns in run {
                self.write_sorted(vec![], columns)?;
            }
            return Ok(());
        }
        let mut columns = concat_columns(&run)?;
        drop(run);
        if let Some(replaced) = if keeps_latest { replaced_within(&self.def, &columns)? } else { None } {
            let keep = BooleanArray::new(!&replaced, None);
            columns = columns.iter().map(|column| filter(column, &keep)).collect::<Result<_, _>>()?;
        }
        for (partition, rows) in self.partitions(&columns)? {
            let keys: Vec<ArrayRef> = self.sort_columns.iter().map(|&index| Arc::clone(&columns[index])).collect();
            let order = sort_indices(&keys, rows)?;
            // Gathered in pieces, so that the sorted copy is never whole in memory.
            for start in (0..order.len()).step_by(ROW_GROUP_ROWS) {
                let piece = order.slice(start, ROW_GROUP_ROWS.min(order.len() - start));
                let taken = columns.iter().map(|column| take(column, &piece, None)).collect::<Result<Vec<_>, _>>()?;
                self.write_sorted(partition.clone(), taken)?;
            }
        }
        Ok(())
    }

    fn run_is_sorted(&self, run: &[Vec<ArrayRef>]) -> Result<bool> {
        let mut before: Option<SortKey> = None;
        for columns in run {
            let key: SortKey = self.sort_columns.iter().map(|&index| Arc::clone(&columns[index])).collect();
            if let Some(before) = &before
                && !not_after(before, &key)?
            {
                return Ok(false);
            }
            if !is_sorted(&key)? {
                return Ok(false);
            }
            before = Some(key);
        }
        Ok(true)
    }

    /// The rows of each partition, in their order; one partition without values if the table has none.
    fn partitions(&self, columns: &[ArrayRef]) -> Result<Vec<(Vec<Option<String>>, UInt32Array)>> {
        let rows = columns.first().map_or(0, |column| column.len());
        let count = u32::try_from(rows).map_err(|_| crate::Error::Invalid("too many rows in one run".into()))?;
        if self.partition_columns.is_empty() {
            return Ok(vec![(vec![], (0..count).collect())]);
        }
        let keys: Vec<ArrayRef> = self.partition_columns.iter().map(|&index| Arc::clone(&columns[index])).collect();
        let fields = keys.iter().map(|key| SortField::new(key.data_type().clone())).collect();
        let converted = RowConverter::new(fields)?.convert_columns(&keys)?;
        let mut groups: HashMap<&[u8], usize> = HashMap::new();
        let mut members: Vec<Vec<u32>> = vec![];
        for row in 0..count {
            let group = *groups.entry(converted.row(row as usize).data()).or_insert(members.len());
            match members.get_mut(group) {
                Some(list) => list.push(row),
                None => members.push(vec![row]),
            }
        }
        members
            .into_iter()
            .map(|list| {
                let first = list[0] as usize;
                let text = |key: &ArrayRef| Ok(value::partition_text(&ScalarValue::try_from_array(key, first)?));
                Ok((keys.iter().map(text).collect::<Result<_>>()?, UInt32Array::from(list)))
            })
            .collect()
    }

    /// Appends rows, sorted among themselves, to their partition's file.
    fn write_sorted(&mut self, partition: Vec<Option<String>>, columns: Vec<ArrayRef>) -> Result<()> {
        let mut output = match self.open.remove(&partition) {
            Some(output) => output,
            None => {
                self.make_room()?;
                // A bulk load may come before the table's first flush.
                self.files.create_dir(&self.dir)?;
                Output::create(&self.files, &self.dir, &self.layout, &partition, &self.options)?
            }
        };
        output.write(&columns)?;
        if output.bytes() >= FILE_BYTES {
            self.done.push(output.finish()?);
        } else {
            self.open.insert(partition, output);
        }
        Ok(())
    }

    fn make_room(&mut self) -> Result<()> {
        if self.open.len() >= OPEN_FILES_MAX {
            let largest = self.open.iter().max_by_key(|(_, output)| output.rows()).map(|(key, _)| key.clone());
            if let Some(output) = largest.and_then(|key| self.open.remove(&key)) {
                self.done.push(output.finish()?);
            }
        }
        Ok(())
    }
}

fn concat_columns(run: &[Vec<ArrayRef>]) -> Result<Vec<ArrayRef>> {
    let width = run.first().map_or(0, Vec::len);
    (0..width)
        .map(|index| {
            let parts: Vec<&dyn Array> = run.iter().map(|columns| columns[index].as_ref()).collect();
            Ok(concat(&parts)?)
        })
        .collect()
}

/// About how many bytes the values of an array take, whatever larger buffers it shares.
pub(crate) fn bytes_of(array: &ArrayRef) -> usize {
    match array.data_type() {
        DataType::Utf8View => {
            16 * array.len() + array.as_string_view().lengths().filter(|&length| length > 12).sum::<u32>() as usize
        }
        DataType::BinaryView => {
            16 * array.len() + array.as_binary_view().lengths().filter(|&length| length > 12).sum::<u32>() as usize
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let (first, last) = (list.value_offsets()[0], list.value_offsets()[list.len()]);
            let (first, last) = (first.max(0).unsigned_abs() as usize, last.max(0).unsigned_abs() as usize);
            4 * array.len() + bytes_of(&list.values().slice(first, last - first))
        }
        other => other.primitive_width().unwrap_or(1) * array.len(),
    }
}

#[cfg(test)]
mod tests;
