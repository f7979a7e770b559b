//! One Parquet file being written.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, SchemaRef};
use parking_lot::Mutex;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Encoding, ZstdLevel};
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::sort::{SortKey, not_after};
use super::stats::ColumnSummary;
use super::{Compression, WriteOptions};
use crate::fault::{FileLayer, LogFile};
use crate::record::TableDef;
use crate::table::adapt::batch_of;
use crate::table::file::FileEntry;
use crate::table::physical::{file_schema, in_file, partition_columns, to_storage};
use crate::{Error, Result};

/// Rows of a row group: the unit of pruning, caching and parallel scans; 16 batches of 8192. Fewer in tests, so that small
/// tables have several.
pub(crate) const ROW_GROUP_ROWS: usize = if cfg!(test) { 16_384 } else { 131_072 };
/// Rows of a page: two batches, so that skipping pages skips whole batches.
const PAGE_ROWS: usize = 16_384;
/// Dictionaries above this cost more than they save in a row group of this size, bytes.
const DICTIONARY_BYTES_MAX: usize = 256 << 10;
/// Bytes gathered before they go to the file.
const BUFFER_BYTES: usize = 1 << 20;

/// What all files of one writer have in common.
#[derive(Debug)]
pub(crate) struct Layout {
    schema: SchemaRef,
    /// For each column in the file: its index in the definition, its physical name, its type in the engine.
    columns: Vec<(usize, String, DataType)>,
    /// Indices in the definition.
    sort_columns: Vec<usize>,
    /// Physical names.
    sorted_by: Vec<String>,
    partition_columns: Vec<String>,
    properties: WriterProperties,
}

impl Layout {
    pub(crate) fn new(def: &TableDef, sort_columns: &[usize], compression: Compression) -> Self {
        let columns: Vec<(usize, String, DataType)> = (def.columns.iter().enumerate())
            .filter(|(_, column)| in_file(def, column))
            .map(|(index, column)| (index, column.physical_name.clone(), column.data_type.clone()))
            .collect();
        let sorting: Vec<SortingColumn> = (sort_columns.iter())
            .filter_map(|index| columns.iter().position(|column| column.0 == *index))
            .filter_map(|index| i32::try_from(index).ok())
            .map(|column_idx| SortingColumn { column_idx, descending: false, nulls_first: false })
            .collect();
        Self {
            schema: file_schema(def),
            properties: properties(def, sorting, compression),
            sort_columns: sort_columns.to_vec(),
            sorted_by: sort_columns.iter().map(|&index| def.columns[index].physical_name.clone()).collect(),
            partition_columns: partition_columns(def).iter().map(|column| column.physical_name.clone()).collect(),
            columns,
        }
    }
}

fn properties(def: &TableDef, sorting: Vec<SortingColumn>, compression: Compression) -> WriterProperties {
    let level = |level| parquet::basic::Compression::ZSTD(ZstdLevel::try_new(level).unwrap_or_default());
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("tidemill version ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(match compression {
            Compression::Fast => parquet::basic::Compression::LZ4_RAW,
            Compression::Small => level(3),
        })
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_dictionary_page_size_limit(DICTIONARY_BYTES_MAX)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_statistics_truncate_length(Some(64))
        .set_column_index_truncate_length(Some(64))
        .set_sorting_columns((!sorting.is_empty()).then_some(sorting));
    for column in def.columns.iter().filter(|column| in_file(def, column)) {
        let path = || ColumnPath::new(vec![column.physical_name.clone()]);
        let whole_number = matches!(
            column.data_type,
            DataType::Int64 | DataType::Int32 | DataType::Timestamp(_, _) | DataType::Date32 | DataType::Time64(_)
        );
        if whole_number {
            // What a dictionary does not fit is mostly ids and times, whose differences are small.
            builder = builder.set_column_encoding(path(), Encoding::DELTA_BINARY_PACKED);
        }
        let is_indexed =
            def.indexes.iter().any(|index| index.keys.first().is_some_and(|key| key.column == Some(column.id)));
        let is_key =
            is_indexed || def.primary_key.contains(&column.name) || def.options.sort_key.contains(&column.name);
        let is_time = matches!(column.data_type, DataType::Timestamp(_, _) | DataType::Date32);
        let equality = matches!(column.data_type, DataType::Utf8View | DataType::Int64 | DataType::Int32);
        if is_key && equality && !is_time {
            builder = builder.set_column_bloom_filter_enabled(path(), true);
            builder = builder.set_column_bloom_filter_max_ndv(path(), ROW_GROUP_ROWS as u64);
        }
    }
    builder.build()
}

/// A file being written.
#[derive(Debug)]
pub(crate) struct Output {
    layout: Arc<Layout>,
    writer: ArrowWriter<Sink>,
    failure: Failure,
    summaries: Vec<ColumnSummary>,
    last: Option<SortKey>,
    sorted: bool,
    rows: u64,
    entry: FileEntry,
}

impl Output {
    pub(crate) fn create(
        files: &Arc<dyn FileLayer>,
        dir: &Path,
        layout: &Arc<Layout>,
        partition: &[Option<String>],
        options: &WriteOptions,
    ) -> Result<Self> {
        let name = format!("part-{}.parquet", uuid::Uuid::now_v7());
        let path = dir.join(&name);
        let failure = Failure::default();
        let sink = Sink { file: files.create(&path)?, buffer: vec![], failure: Arc::clone(&failure) };
        let settings =
            ArrowWriterOptions::new().with_properties(layout.properties.clone()).with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(sink, Arc::clone(&layout.schema), settings)?;
        let entry = FileEntry {
            path: name,
            bytes: 0,
            rows: 0,
            partition_values: layout.partition_columns.iter().cloned().zip(partition.iter().cloned()).collect(),
            stats: BTreeMap::new(),
            lsn_min: options.lsn_min,
            lsn_max: options.lsn_max,
            sorted_by: vec![],
            level: options.level,
            created_ms: options.now_ms,
        };
        let summaries = vec![ColumnSummary::default(); layout.columns.len()];
        let layout = Arc::clone(layout);
        Ok(Self { layout, writer, failure, summaries, last: None, sorted: true, rows: 0, entry })
    }

    /// Rows, in the definition's column order, sorted among themselves.
    pub(crate) fn write(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let rows = columns.first().map_or(0, |column| column.len());
        if rows == 0 {
            return Ok(());
        }
        self.keep_order(columns, rows)?;
        let mut stored = Vec::with_capacity(self.layout.columns.len());
        for ((index, _, _), summary) in self.layout.columns.iter().zip(&mut self.summaries) {
            summary.add(&columns[*index])?;
            stored.push(to_storage(&columns[*index])?);
        }
        let batch = batch_of(Arc::clone(&self.layout.schema), stored, rows)?;
        let result = self.writer.write(&batch);
        self.check(result)?;
        self.rows += rows as u64;
        Ok(())
    }

    /// Notes whether these rows follow the ones before; a row group never mixes rows that do not.
    fn keep_order(&mut self, columns: &[ArrayRef], rows: usize) -> Result<()> {
        let key: SortKey = self.layout.sort_columns.iter().map(|&index| Arc::clone(&columns[index])).collect();
        if let Some(last) = &self.last
            && !not_after(last, &key)?
        {
            self.sorted = false;
            let result = self.writer.flush();
            self.check(result)?;
        }
        self.last = Some(key.iter().map(|column| column.slice(rows - 1, 1)).collect());
        Ok(())
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes so far, about.
    pub(crate) fn bytes(&self) -> u64 {
        (self.writer.bytes_written() + self.writer.in_progress_size()) as u64
    }

    /// Completes the file durably.
    pub(crate) fn finish(mut self) -> Result<Arc<FileEntry>> {
        let result = self.writer.finish();
        self.check(result)?;
        let bytes = self.writer.bytes_written() as u64;
        let sink = self.writer.inner_mut();
        sink.write_buffer().and_then(|()| sink.file.sync())?;
        let stats = self.layout.columns.iter().zip(&self.summaries);
        let stats = stats.map(|((_, name, data_type), summary)| (name.clone(), summary.finish(data_type))).collect();
        let sorted_by = if self.sorted { self.layout.sorted_by.clone() } else { vec![] };
        Ok(Arc::new(FileEntry { bytes, rows: self.rows, stats, sorted_by, ..self.entry }))
    }

    /// The file's own error where there was one: Parquet would wrap it beyond recognition.
    fn check<T>(&self, result: parquet::errors::Result<T>) -> Result<T> {
        result.map_err(|error| match self.failure.lock().take() {
            Some(cause) => cause,
            None => error.into(),
        })
    }
}

type Failure = Arc<Mutex<Option<Error>>>;

/// Parquet's `Write` over a file.
#[derive(Debug)]
struct Sink {
    file: Box<dyn LogFile>,
    buffer: Vec<u8>,
    failure: Failure,
}

impl Sink {
    fn write_buffer(&mut self) -> Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        if !buffer.is_empty() {
            self.file.write(&buffer)?;
        }
        Ok(())
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES
            && let Err(error) = self.write_buffer()
        {
            let answer = io::Error::other(error.to_string());
            *self.failure.lock() = Some(error);
            return Err(answer);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
