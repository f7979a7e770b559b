//! Parquet files to arrays, one column chunk at a time.
//!
//! A column chunk (one column of one row group) is fetched whole and decoded in blocks of [`BLOCK_ROWS`] rows, in the
//! engine's types. All columns of a row group have the same blocks, so they can be decoded, cached and skipped apart.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int16Array, Int32Array, Int64Array, StringViewBuilder};
use arrow::datatypes::{DataType, Schema};
use bytes::Bytes;
use datafusion_common::ScalarValue;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::basic::{Encoding, Type as PhysicalType};
use parquet::bloom_filter::Sbbf;
use parquet::column::page::{Page, PageReader};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;

use crate::fault::FileLayer;
use crate::table::physical::{from_storage, stat_from_storage, view_type};
use crate::{Error, Result};

/// Rows of a block: DataFusion's batch size.
pub const BLOCK_ROWS: usize = 8192;

/// What a file's footer says.
#[derive(Debug)]
pub struct FileMeta {
    /// Where the file is: the key of what is cached of it.
    pub path: Arc<Path>,
    /// Its row groups.
    pub row_groups: Vec<RowGroup>,
    /// Memory the footer takes, bytes.
    pub bytes: usize,
    reader: ArrowReaderMetadata,
    columns: HashMap<String, usize>,
    length: u64,
}

/// A row group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowGroup {
    /// The number of its first row in the file.
    pub start: u64,
    /// Its rows.
    pub rows: usize,
}

impl RowGroup {
    /// Its blocks.
    pub fn blocks(&self) -> usize {
        self.rows.div_ceil(BLOCK_ROWS)
    }

    /// The rows of one of its blocks.
    pub fn block_rows(&self, block: usize) -> usize {
        BLOCK_ROWS.min(self.rows - block * BLOCK_ROWS)
    }
}

/// Least and greatest value and NULLs of some rows; `None` where that is not known.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bounds {
    /// Not above any value.
    pub min: Option<ScalarValue>,
    /// Not below any value.
    pub max: Option<ScalarValue>,
    /// NULLs.
    pub nulls: Option<u64>,
}

impl FileMeta {
    /// Reads the footer of a file of `length` bytes. Blocking.
    ///
    /// # Errors
    /// `Io`, `Corrupt`.
    pub fn load(files: &dyn FileLayer, path: &Path, length: u64) -> Result<Self> {
        let corrupt = |error: ParquetError| corrupt(path, &error);
        let source = LayerFile { files, path, length };
        let metadata = ParquetMetaDataReader::new()
            .with_column_index_policy(PageIndexPolicy::Skip)
            .with_offset_index_policy(PageIndexPolicy::Optional)
            .parse_and_finish(&source)
            .map_err(corrupt)?;
        let bytes = metadata.memory_size();
        let metadata = Arc::new(metadata);
        // Types as Parquet alone tells them, then text and bytes as views.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let plain = ArrowReaderMetadata::try_new(Arc::clone(&metadata), options.clone()).map_err(corrupt)?;
        let fields = plain.schema().fields().iter();
        let fields: Vec<_> =
            fields.map(|field| field.as_ref().clone().with_data_type(view_type(field.data_type()))).collect();
        let columns = fields.iter().enumerate().map(|(index, field)| (field.name().clone(), index)).collect();
        let reader =
            ArrowReaderMetadata::try_new(Arc::clone(&metadata), options.with_schema(Arc::new(Schema::new(fields))))
                .map_err(corrupt)?;
        let mut start = 0;
        let mut row_groups = Vec::with_capacity(metadata.num_row_groups());
        for group in metadata.row_groups() {
            let rows = usize::try_from(group.num_rows()).map_err(|_| corrupt(negative("rows")))?;
            row_groups.push(RowGroup { start, rows });
            start += rows as u64;
        }
        Ok(Self { path: path.into(), row_groups, bytes, reader, columns, length })
    }

    /// The index of the column with that physical name, if the file has it.
    pub fn column(&self, physical_name: &str) -> Option<usize> {
        self.columns.get(physical_name).copied()
    }

    /// What the footer says of a column of a row group, in the engine's type. Of floating-point columns nothing is
    /// told unless `no_nan`: Parquet leaves NaN out.
    pub fn bounds(&self, row_group: usize, column: usize, data_type: &DataType, no_nan: bool) -> Bounds {
        let metadata = self.reader.metadata();
        let (Some(group), schema) = (metadata.row_groups().get(row_group), self.reader.schema()) else {
            return Bounds::default();
        };
        let Some(field) = schema.fields().get(column) else { return Bounds::default() };
        let Ok(converter) = StatisticsConverter::try_new(field.name(), schema, self.reader.parquet_schema()) else {
            return Bounds::default();
        };
        let scalar = |array: parquet::errors::Result<ArrayRef>| {
            let array = stat_from_storage(&array.ok()?, data_type)?;
            if array.is_null(0) { None } else { ScalarValue::try_from_array(&array, 0).ok() }
        };
        let nulls = converter.row_group_null_counts([group]).ok();
        let nulls = nulls.filter(|nulls| nulls.len() == 1 && nulls.is_valid(0)).map(|nulls| nulls.value(0));
        if data_type.is_floating() && !no_nan {
            return Bounds { nulls, ..Bounds::default() };
        }
        Bounds {
            min: scalar(converter.row_group_mins([group])),
            max: scalar(converter.row_group_maxes([group])),
            nulls,
        }
    }

    /// The bytes of a column chunk. Blocking.
    ///
    /// # Errors
    /// `Io`, `Corrupt`.
    pub fn fetch(&self, files: &dyn FileLayer, row_group: usize, column: usize) -> Result<ChunkBytes> {
        let (start, length) = self.chunk_range(row_group, column)?;
        Ok(ChunkBytes { start, bytes: files.read_range(&self.path, start, length)?, length: self.length })
    }

    /// As [`FileMeta::fetch`], without waiting for a disk: `None` if that would be needed.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn fetch_at_once(&self, files: &dyn FileLayer, row_group: usize, column: usize) -> Result<Option<ChunkBytes>> {
        let (start, length) = self.chunk_range(row_group, column)?;
        let bytes = files.read_range_at_once(&self.path, start, length);
        Ok(bytes.map(|bytes| ChunkBytes { start, bytes, length: self.length }))
    }

    /// Where a column chunk begins, and its bytes.
    fn chunk_range(&self, row_group: usize, column: usize) -> Result<(u64, usize)> {
        let leaf = self.leaf(column)?;
        let (start, length) = self.reader.metadata().row_group(row_group).column(leaf).byte_range();
        let length = usize::try_from(length).map_err(|_| corrupt(&self.path, &negative("bytes")))?;
        if start.checked_add(length as u64).is_none_or(|end| end > self.length) {
            return Err(corrupt(&self.path, &ParquetError::EOF(format!("column chunk at {start} is beyond the end"))));
        }
        Ok((start, length))
    }

    /// Decodes a fetched column chunk to the engine's type: all of it, or the selected rows.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn decode(
        &self,
        row_group: usize,
        column: usize,
        bytes: ChunkBytes,
        data_type: &DataType,
        selection: Option<RowSelection>,
    ) -> Result<ColumnReader> {
        let mask = ProjectionMask::roots(self.reader.parquet_schema(), [column]);
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(bytes, self.reader.clone())
            .with_projection(mask)
            .with_row_groups(vec![row_group])
            .with_batch_size(BLOCK_ROWS);
        if let Some(selection) = selection {
            builder = builder.with_row_selection(selection);
        }
        let reader = builder.build().map_err(|error| corrupt(&self.path, &error))?;
        Ok(ColumnReader { reader, data_type: data_type.clone(), path: Arc::clone(&self.path) })
    }

    /// The values that a column chunk of texts or integers has, NULL aside, if it has a dictionary of all of them: that is
    /// much less to read than the column. Blocking.
    ///
    /// # Errors
    /// `Io`, `Corrupt`.
    pub fn dictionary(
        &self,
        files: &dyn FileLayer,
        row_group: usize,
        column: usize,
        data_type: &DataType,
    ) -> Result<Option<ArrayRef>> {
        let chunk = self.reader.metadata().row_group(row_group).column(self.leaf(column)?);
        let Some(encodings) = chunk.page_encoding_stats_mask() else { return Ok(None) };
        if !encodings.is_only(Encoding::RLE_DICTIONARY) && !encodings.is_only(Encoding::PLAIN_DICTIONARY) {
            return Ok(None);
        }
        let start = chunk.dictionary_page_offset().and_then(|offset| u64::try_from(offset).ok());
        let end = u64::try_from(chunk.data_page_offset()).ok();
        let Some((start, length)) = start.zip(end).and_then(|(start, end)| {
            let length = usize::try_from(end.checked_sub(start)?).ok()?;
            (end <= self.length).then_some((start, length))
        }) else {
            return Ok(None);
        };
        let corrupt = |error: ParquetError| corrupt(&self.path, &error);
        let bytes = ChunkBytes { start, bytes: files.read_range(&self.path, start, length)?, length: self.length };
        let rows = usize::try_from(chunk.num_values()).unwrap_or(0);
        let mut pages = SerializedPageReader::new(Arc::new(bytes), chunk, rows, None).map_err(corrupt)?;
        match pages.get_next_page().map_err(corrupt)? {
            Some(Page::DictionaryPage { buf, num_values, .. }) => {
                Ok(dictionary_values(&buf, num_values as usize, chunk.column_type(), data_type))
            }
            _ => Ok(None),
        }
    }

    /// The bloom filter of a column chunk, if it has one. Blocking.
    ///
    /// # Errors
    /// `Io`, `Corrupt`.
    pub fn bloom_filter(&self, files: &dyn FileLayer, row_group: usize, column: usize) -> Result<Option<Sbbf>> {
        let leaf = self.leaf(column)?;
        let chunk = self.reader.metadata().row_group(row_group).column(leaf);
        if chunk.bloom_filter_offset().is_none() {
            return Ok(None);
        }
        let source = LayerFile { files, path: &self.path, length: self.length };
        Sbbf::read_from_column_chunk(chunk, &source).map_err(|error| corrupt(&self.path, &error))
    }

    /// A root column's only leaf: lists nest, but no type has several.
    fn leaf(&self, column: usize) -> Result<usize> {
        let schema = self.reader.parquet_schema();
        (0..schema.num_columns())
            .find(|&leaf| schema.get_column_root_idx(leaf) == column)
            .ok_or_else(|| corrupt(&self.path, &ParquetError::General(format!("there is no column {column}"))))
    }
}

/// The values of a dictionary page, which are in PLAIN encoding. `None` if they are of other types, or torn.
fn dictionary_values(bytes: &[u8], count: usize, stored: PhysicalType, data_type: &DataType) -> Option<ArrayRef> {
    let integers = || -> Option<Vec<i64>> {
        let values: Vec<i64> = match stored {
            PhysicalType::INT32 => {
                bytes.as_chunks::<4>().0.iter().map(|bytes| i32::from_le_bytes(*bytes).into()).collect()
            }
            PhysicalType::INT64 => bytes.as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect(),
            _ => return None,
        };
        (values.len() == count).then_some(values)
    };
    Some(match (data_type, stored) {
        (DataType::Int64, _) => Arc::new(Int64Array::from(integers()?)),
        (DataType::Int32, _) => Arc::new(integers()?.into_iter().map(|value| value as i32).collect::<Int32Array>()),
        (DataType::Int16, _) => Arc::new(integers()?.into_iter().map(|value| value as i16).collect::<Int16Array>()),
        (DataType::Utf8View, PhysicalType::BYTE_ARRAY) => {
            let mut rest = bytes;
            let mut texts = StringViewBuilder::with_capacity(count);
            for _ in 0..count {
                let (length, after) = rest.split_first_chunk::<4>()?;
                let (text, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
                texts.append_value(std::str::from_utf8(text).ok()?);
                rest = after;
            }
            Arc::new(texts.finish())
        }
        _ => return None,
    })
}

/// The bytes of one column chunk, in their place in the file.
#[derive(Debug, Clone)]
pub struct ChunkBytes {
    start: u64,
    bytes: Bytes,
    length: u64,
}

impl ChunkBytes {
    /// The column chunk's bytes.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    fn tail(&self, start: u64) -> parquet::errors::Result<Bytes> {
        let at = start.checked_sub(self.start).and_then(|at| usize::try_from(at).ok());
        match at.filter(|&at| at <= self.bytes.len()) {
            Some(at) => Ok(self.bytes.slice(at..)),
            None => Err(ParquetError::EOF(format!("offset {start} is outside the column chunk"))),
        }
    }
}

impl Length for ChunkBytes {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for ChunkBytes {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(bytes::Buf::reader(self.tail(start)?))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let tail = self.tail(start)?;
        if tail.len() < length {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} are beyond the column chunk")));
        }
        Ok(tail.slice(..length))
    }
}

/// The blocks of a column chunk.
pub struct ColumnReader {
    reader: ParquetRecordBatchReader,
    data_type: DataType,
    path: Arc<Path>,
}

impl std::fmt::Debug for ColumnReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ColumnReader")
            .field("path", &self.path)
            .field("data_type", &self.data_type)
            .finish_non_exhaustive()
    }
}

impl Iterator for ColumnReader {
    type Item = Result<ArrayRef>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.reader.next()?;
        Some(match batch {
            Ok(batch) => from_storage(batch.column(0), &self.data_type),
            Err(error) => Err(Error::Corrupt { path: self.path.display().to_string(), detail: error.to_string() }),
        })
    }
}

/// A file read piece by piece.
#[derive(Debug)]
struct LayerFile<'a> {
    files: &'a dyn FileLayer,
    path: &'a Path,
    length: u64,
}

impl Length for LayerFile<'_> {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for LayerFile<'_> {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        let length = usize::try_from(self.length.saturating_sub(start)).unwrap_or(usize::MAX);
        Ok(bytes::Buf::reader(self.get_bytes(start, length)?))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let bytes = self.files.read_range(self.path, start, length).map_err(|e| ParquetError::External(Box::new(e)))?;
        if bytes.len() < length {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} are beyond the end")));
        }
        Ok(bytes)
    }
}

fn negative(what: &str) -> ParquetError {
    ParquetError::General(format!("a negative number of {what}"))
}

fn corrupt(path: &Path, error: &ParquetError) -> Error {
    Error::Corrupt { path: path.display().to_string(), detail: error.to_string() }
}
