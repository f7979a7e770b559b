//! Rows to one Parquet file: row groups are encoded by several threads and appended in order.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::mpsc::sync_channel;

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowRowGroupWriterFactory, compute_leaves};
use datafusion::parquet::basic::{Compression, Encoding, ZstdLevel};
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::metadata::{KeyValue, SortingColumn};
use datafusion::parquet::file::properties::{EnabledStatistics, WriterProperties};
use datafusion::parquet::schema::types::ColumnPath;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::keep::{Latest, Pieces, Place};
use super::runs::Merge;
use super::{canceled, io_error};
use crate::Result;

/// Rows of a row group: as in the tables' own files.
const GROUP_ROWS: usize = 128 * 1024;
/// Rows of a page: what a reader skips at least.
const PAGE_ROWS: usize = 16 * 1024;
/// Dictionaries above this cost more than they save, bytes.
const DICTIONARY_BYTES_MAX: usize = 256 << 10;
/// Compression that is fast to write: the next run reads the file and writes it anew.
const ZSTD_LEVEL: i32 = 1;
/// Bytes gathered before they go to the file.
const BUFFER_BYTES: usize = 1 << 20;

/// Rows on their way into a file.
enum Source<'a> {
    /// Rows of pieces, from `next` on.
    Memory {
        pieces: &'a Pieces,
        winners: &'a [Place],
        next: usize,
    },
    Merge(Box<Merge>),
}

/// What a row group is made of.
enum Group<'a> {
    Places(&'a Pieces, &'a [Place]),
    Columns(Vec<ArrayRef>),
}

/// Writes the rows; how many there are. `note`: what later runs must know, kept with the file.
pub(super) fn write(
    file: &File,
    schema: &SchemaRef,
    latest: Latest,
    (key, note): (&[String], KeyValue),
    threads: usize,
    cancel: &CancellationToken,
) -> Result<u64> {
    let output = BufWriter::with_capacity(BUFFER_BYTES, file);
    let writer = ArrowWriter::try_new(output, SchemaRef::clone(schema), Some(properties(schema, key, note)));
    let (mut writer, factory) = writer.and_then(ArrowWriter::into_serialized_writer).map_err(failed)?;
    let memory;
    let source = match latest {
        Latest::Memory { pieces, winners, reservation } => {
            memory = (pieces, winners, reservation);
            Source::Memory { pieces: &memory.0, winners: &memory.1, next: 0 }
        }
        Latest::Runs(runs) => Source::Merge(Box::new(runs.merge(schema)?)),
    };
    // The number of the next group, and where its rows come from.
    let source = Mutex::new((0, source));
    let rows = std::thread::scope(|scope| -> Result<u64> {
        // Each thread may be one group ahead: a few row groups are in memory, whatever the file has.
        let (sender, receiver) = sync_channel::<Result<(usize, usize, Vec<ArrowColumnChunk>)>>(1);
        for _ in 0..threads {
            let sender = sender.clone();
            let (source, factory) = (&source, &factory);
            scope.spawn(move || {
                while let Some(group) = next(source, cancel).transpose() {
                    let chunks = group.and_then(|(number, group)| {
                        Ok((number, group.rows(), encode(&group, factory, number, schema)?))
                    });
                    let is_over = chunks.is_err();
                    if sender.send(chunks).is_err() || is_over {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let (mut waiting, mut number, mut rows) = (BTreeMap::new(), 0, 0);
        for encoded in receiver {
            let (at, count, chunks) = encoded?;
            rows += count as u64;
            waiting.insert(at, chunks);
            while let Some(chunks) = waiting.remove(&number) {
                let mut group = writer.next_row_group().map_err(failed)?;
                for chunk in chunks {
                    chunk.append_to_row_group(&mut group).map_err(failed)?;
                }
                group.close().map_err(failed)?;
                number += 1;
            }
        }
        Ok(rows)
    })?;
    let mut output = writer.into_inner().map_err(failed)?;
    output.flush().map_err(|error| io_error("written", &error))?;
    Ok(rows)
}

fn failed(error: ParquetError) -> crate::Error {
    match error {
        ParquetError::External(error) => match error.downcast::<std::io::Error>() {
            Ok(error) => io_error("written", &error),
            Err(error) => io_error("written", &std::io::Error::other(error)),
        },
        error => io_error("written", &std::io::Error::other(error)),
    }
}

fn next<'a>(source: &Mutex<(usize, Source<'a>)>, cancel: &CancellationToken) -> Result<Option<(usize, Group<'a>)>> {
    if cancel.is_cancelled() {
        return Err(canceled());
    }
    let mut source = source.lock();
    let (number, source) = &mut *source;
    let group = match source {
        Source::Memory { pieces, winners, next } => {
            let from = *next;
            *next = winners.len().min(from + GROUP_ROWS);
            (from < *next).then(|| Group::Places(pieces, &winners[from..*next]))
        }
        Source::Merge(merge) => merge.next(GROUP_ROWS)?.map(Group::Columns),
    };
    let at = *number;
    *number += 1;
    Ok(group.map(|group| (at, group)))
}

impl Group<'_> {
    fn rows(&self) -> usize {
        match self {
            Self::Places(_, places) => places.len(),
            Self::Columns(columns) => columns.first().map_or(0, |column| column.len()),
        }
    }
}

fn encode(
    group: &Group<'_>,
    factory: &ArrowRowGroupWriterFactory,
    number: usize,
    schema: &SchemaRef,
) -> Result<Vec<ArrowColumnChunk>> {
    let mut writers = factory.create_column_writers(number).map_err(failed)?.into_iter();
    let mut chunks = Vec::with_capacity(writers.len());
    for (at, field) in schema.fields().iter().enumerate() {
        let array = match group {
            Group::Places(pieces, places) => pieces.column(places, field)?,
            Group::Columns(columns) => ArrayRef::clone(&columns[at]),
        };
        for leaf in compute_leaves(field, &array).map_err(failed)? {
            let mut writer = writers.next().ok_or_else(|| crate::Error::internal("a column without a writer"))?;
            writer.write(&leaf).map_err(failed)?;
            chunks.push(writer.close().map_err(failed)?);
        }
    }
    Ok(chunks)
}

/// Sorted by the key, with statistics of pages and filters of keys: a reader that looks for one finds its page.
fn properties(schema: &SchemaRef, key: &[String], note: KeyValue) -> WriterProperties {
    let sorting = |name: &String| {
        let column_idx = i32::try_from(schema.index_of(name).ok()?).ok()?;
        Some(SortingColumn { column_idx, descending: false, nulls_first: true })
    };
    // Places of columns are those of leaves: an array is one, too.
    let sorting: Vec<SortingColumn> = key.iter().filter_map(sorting).collect();
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("tidemill version ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL).unwrap_or_default()))
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_dictionary_page_size_limit(DICTIONARY_BYTES_MAX)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_statistics_truncate_length(Some(64))
        .set_column_index_truncate_length(Some(64))
        .set_key_value_metadata(Some(vec![note]))
        .set_sorting_columns(Some(sorting));
    for field in schema.fields() {
        let path = || ColumnPath::new(vec![field.name().clone()]);
        if matches!(field.data_type(), DataType::Int64 | DataType::Int32 | DataType::Timestamp(_, _) | DataType::Date32)
        {
            // What a dictionary does not fit is mostly ids and times, whose differences are small.
            builder = builder.set_column_encoding(path(), Encoding::DELTA_BINARY_PACKED);
        }
        if key.contains(field.name()) && matches!(field.data_type(), DataType::Utf8View | DataType::Int64) {
            builder = builder.set_column_bloom_filter_enabled(path(), true);
            builder = builder.set_column_bloom_filter_max_ndv(path(), GROUP_ROWS as u64);
        }
    }
    builder.build()
}
