//! Sorted runs on disk: rows in the order of keys, each key once. Many runs become one.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch, new_null_array};
use datafusion::arrow::compute::interleave;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type};
use datafusion::arrow::ipc::CompressionType;
use datafusion::arrow::ipc::reader::StreamReader;
use datafusion::arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use datafusion::arrow::row::Rows;
use datafusion::error::DataFusionError;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SpillFile, SpillWriter};

use super::keep::{RANK, Ranks};
use crate::{Error, Result};

/// Rows of a batch in a run: each run that is merged holds one.
const BATCH_ROWS: usize = 4 * 1024;
/// Runs merged at once: their batches, of a megabyte or so, fit the least memory a server may have.
const FAN_IN: usize = 16;
/// Bytes gathered before they go to a file.
const BUFFER_BYTES: usize = 256 << 10;

/// A sorted run. Its file is deleted with it.
pub(super) struct Run {
    file: Arc<dyn SpillFile>,
    /// How often its rows were merged.
    level: u32,
}

/// All runs so far.
pub(super) struct Runs {
    runtime: Arc<RuntimeEnv>,
    ranks: Arc<Ranks>,
    list: Vec<Run>,
}

/// A run being written.
pub(super) struct RunWriter {
    writer: StreamWriter<BufWriter<Box<dyn SpillWriter>>>,
    schema: SchemaRef,
    run: Run,
}

impl Runs {
    pub(super) fn new(runtime: &Arc<RuntimeEnv>, ranks: &Arc<Ranks>) -> Self {
        Self { runtime: Arc::clone(runtime), ranks: Arc::clone(ranks), list: vec![] }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// A run with these columns, and one of ranks behind them.
    pub(super) fn begin(&self, schema: &SchemaRef) -> Result<RunWriter> {
        let file = self.runtime.disk_manager.create_tmp_file("compact_files")?;
        let rank = Field::new(RANK, DataType::UInt64, false);
        let fields: Vec<Field> = schema.fields().iter().map(|field| field.as_ref().clone()).chain([rank]).collect();
        let schema = Arc::new(Schema::new(fields));
        let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME));
        let options = options.map_err(DataFusionError::from)?;
        let output = BufWriter::with_capacity(BUFFER_BYTES, file.open_writer()?);
        let writer = StreamWriter::try_new_with_options(output, &schema, options).map_err(DataFusionError::from)?;
        Ok(RunWriter { writer, schema, run: Run { file, level: 0 } })
    }

    /// Takes a run; merges those that were merged equally often once they are many.
    pub(super) fn add(&mut self, run: Run) -> Result<()> {
        let mut level = run.level;
        self.list.push(run);
        while self.list.iter().filter(|run| run.level == level).count() >= FAN_IN {
            let (merged, rest) = std::mem::take(&mut self.list).into_iter().partition(|run: &Run| run.level == level);
            self.list = rest;
            self.merge_into_one(merged, level + 1)?;
            level += 1;
        }
        Ok(())
    }

    fn merge_into_one(&mut self, runs: Vec<Run>, level: u32) -> Result<()> {
        // The latest runs have the most columns.
        let mut fields: Vec<Field> = vec![];
        for run in &runs {
            let schema = run.reader()?.schema();
            for field in schema.fields().iter().filter(|field| field.name() != RANK) {
                if !fields.iter().any(|known| known.name() == field.name()) {
                    fields.push(field.as_ref().clone());
                }
            }
        }
        let mut writer = self.begin(&Arc::new(Schema::new(fields)))?;
        let mut merge = Merge::new(runs, &self.ranks, &writer.schema)?;
        while let Some(columns) = merge.next(BATCH_ROWS)? {
            writer.write(columns)?;
        }
        let run = Run { level, ..writer.finish()? };
        self.list.push(run);
        Ok(())
    }

    /// The rows of all runs, in the order of keys, each key once.
    pub(super) fn merge(mut self, schema: &SchemaRef) -> Result<Merge> {
        while self.list.len() > FAN_IN {
            self.list.sort_by_key(|run| Reverse(run.level));
            let some = self.list.split_off(self.list.len() - FAN_IN);
            let level = some.iter().map(|run| run.level).max().unwrap_or_default() + 1;
            self.merge_into_one(some, level)?;
        }
        Merge::new(self.list, &self.ranks, schema)
    }
}

impl RunWriter {
    pub(super) fn batch_rows(&self) -> usize {
        BATCH_ROWS
    }

    /// Rows in the order of keys, behind those before.
    pub(super) fn write(&mut self, columns: Vec<ArrayRef>) -> Result<()> {
        let columns = columns.iter().map(compact).collect();
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(DataFusionError::from)?;
        Ok(self.writer.write(&batch).map_err(DataFusionError::from)?)
    }

    pub(super) fn finish(mut self) -> Result<Run> {
        self.writer.finish().map_err(DataFusionError::from)?;
        let mut output = self.writer.into_inner().map_err(DataFusionError::from)?;
        output.flush().map_err(DataFusionError::from)?;
        output.get_mut().finish()?;
        Ok(self.run)
    }
}

/// The array with nothing but its own values: gathered views refer to all buffers they came from.
fn compact(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Utf8View => Arc::new(array.as_string_view().gc()),
        DataType::BinaryView => Arc::new(array.as_binary_view().gc()),
        DataType::List(field) => {
            let list = array.as_list::<i32>();
            let values = compact(list.values());
            Arc::new(ListArray::new(Arc::clone(field), list.offsets().clone(), values, list.nulls().cloned()))
        }
        _ => Arc::clone(array),
    }
}

impl Run {
    fn reader(&self) -> Result<StreamReader<BufReader<File>>> {
        let path = self.file.path().ok_or_else(|| Error::internal("a spill file without a path"))?;
        let file = File::open(path).map_err(DataFusionError::from)?;
        let reader = StreamReader::try_new(BufReader::with_capacity(BUFFER_BYTES, file), None);
        Ok(reader.map_err(DataFusionError::from)?)
    }
}

/// The next row of a run.
struct Head {
    key: Box<[u8]>,
    order: Box<[u8]>,
    rank: u64,
    run: usize,
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By key; of equal ones the latest first.
impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_key = self.key.cmp(&other.key);
        by_key.then_with(|| other.order.cmp(&self.order)).then_with(|| other.rank.cmp(&self.rank))
    }
}

struct Cursor {
    reader: StreamReader<BufReader<File>>,
    batch: RecordBatch,
    keys: Rows,
    orders: Option<Rows>,
    row: usize,
    /// The batch's number among those that the output refers to.
    number: Option<usize>,
    /// Keeps the file.
    _run: Run,
}

/// Runs on their way to one.
pub(super) struct Merge {
    ranks: Arc<Ranks>,
    schema: SchemaRef,
    cursors: Vec<Cursor>,
    heads: BinaryHeap<Reverse<Head>>,
    last: Option<Box<[u8]>>,
}

impl Merge {
    fn new(runs: Vec<Run>, ranks: &Arc<Ranks>, schema: &SchemaRef) -> Result<Self> {
        let (ranks, schema) = (Arc::clone(ranks), Arc::clone(schema));
        let mut merge = Self { ranks, schema, cursors: vec![], heads: BinaryHeap::new(), last: None };
        for run in runs {
            let reader = run.reader()?;
            let batch = RecordBatch::new_empty(reader.schema());
            let (keys, orders) = (merge.ranks.key_of(&batch)?, merge.ranks.order_of(&batch)?);
            merge.cursors.push(Cursor { reader, batch, keys, orders, row: 0, number: None, _run: run });
            merge.advance(merge.cursors.len() - 1)?;
        }
        Ok(merge)
    }

    /// Puts the next row of a run among the heads, if it has one.
    fn advance(&mut self, run: usize) -> Result<()> {
        let cursor = &mut self.cursors[run];
        while cursor.row >= cursor.batch.num_rows() {
            let Some(batch) = cursor.reader.next().transpose().map_err(DataFusionError::from)? else { return Ok(()) };
            (cursor.keys, cursor.orders) = (self.ranks.key_of(&batch)?, self.ranks.order_of(&batch)?);
            (cursor.batch, cursor.row, cursor.number) = (batch, 0, None);
        }
        let rank = cursor.batch.column_by_name(RANK).ok_or_else(|| Error::internal("a run without ranks"))?;
        let order = cursor.orders.as_ref().map(|orders| orders.row(cursor.row).data().into()).unwrap_or_default();
        let key = cursor.keys.row(cursor.row).data().into();
        let rank = rank.as_primitive::<UInt64Type>().value(cursor.row);
        self.heads.push(Reverse(Head { key, order, rank, run }));
        Ok(())
    }

    /// The columns of the next rows, at most so many; `None` at the end.
    pub(super) fn next(&mut self, rows: usize) -> Result<Option<Vec<ArrayRef>>> {
        let mut batches: Vec<RecordBatch> = vec![];
        let mut places = vec![];
        for cursor in &mut self.cursors {
            cursor.number = None;
        }
        while places.len() < rows {
            let Some(Reverse(head)) = self.heads.pop() else { break };
            let cursor = &mut self.cursors[head.run];
            if self.last.as_ref() != Some(&head.key) {
                let number = *cursor.number.get_or_insert_with(|| {
                    batches.push(cursor.batch.clone());
                    batches.len() - 1
                });
                places.push((number, cursor.row));
                self.last = Some(head.key);
            }
            cursor.row += 1;
            self.advance(head.run)?;
        }
        if places.is_empty() {
            return Ok(None);
        }
        let columns = self.schema.fields().iter().map(|field| {
            let missing = |batch: &RecordBatch| new_null_array(field.data_type(), batch.num_rows());
            let of =
                |batch: &RecordBatch| batch.column_by_name(field.name()).map_or_else(|| missing(batch), Arc::clone);
            let arrays: Vec<ArrayRef> = batches.iter().map(of).collect();
            let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
            interleave(&arrays, &places).map_err(DataFusionError::from)
        });
        Ok(Some(columns.collect::<Result<_, _>>()?))
    }
}
