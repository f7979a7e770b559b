//! Reads one piece of a scan: filter columns first, the others only for blocks with rows that pass.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int32Array, Int64Array};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion_common::{DataFusionError, Result, ScalarValue};
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};

use super::filter::{Filter, Selected, Texts};
use super::metrics::ScanMetrics;
use super::source::{Origin, chunk_slice, origin};
use super::task::{Part, Task};
use super::turn::Turn;
use super::{Scan, Unit};
use crate::table::cache::{CachedColumn, ChunkKey, Lookup};
use crate::table::reader::{BLOCK_ROWS, ChunkBytes, ColumnReader, FileMeta, RowGroup};
use crate::table::rewrite::short;

/// One block of the result: the projected columns and which rows pass.
#[derive(Debug)]
pub(super) struct Block {
    /// The projected columns.
    pub(super) columns: Vec<ArrayRef>,
    /// Rows, before the selection.
    pub(super) rows: usize,
    /// Which pass: `All` or `Some`.
    pub(super) selected: Selected,
}

/// A column of the piece being read.
#[derive(Debug)]
enum Column {
    /// All blocks at hand.
    Ready(Arc<CachedColumn>),
    /// One value for all rows.
    Constant(ScalarValue),
    /// Decoded block by block.
    Decoding(Decoding),
    /// The unit's index.
    Unit,
    /// The row's number.
    Row,
    /// Rows of a hot chunk.
    Hot(ArrayRef),
}

/// A column chunk being decoded.
#[derive(Debug)]
struct Decoding {
    reader: ColumnReader,
    /// The next block the reader yields; it yields only wanted ones if `sparse`.
    next: usize,
    sparse: bool,
    /// Blocks decoded so far that are needed later: for the cache (all), or because they were decoded for the filter.
    kept: Vec<Option<ArrayRef>>,
    /// Where to keep all blocks in the end.
    cache: Option<ChunkKey>,
}

/// A column chunk to fetch.
struct Wanted {
    column: usize,
    index: usize,
    key: Option<ChunkKey>,
}

/// The reader of one task.
#[derive(Debug)]
pub(super) struct TaskReader {
    scan: Arc<Scan>,
    projection: Arc<[usize]>,
    task: Task,
    group: RowGroup,
    meta: Option<Arc<FileMeta>>,
    columns: HashMap<usize, Column>,
    /// What passes, per block.
    selected: Vec<Selected>,
    block: usize,
}

impl TaskReader {
    /// Opens a task and evaluates the filter on it. `None` if no row passes. With `last_rows`, only about so many rows
    /// are needed, from the end.
    pub(super) async fn open(
        scan: &Arc<Scan>,
        projection: &Arc<[usize]>,
        filter: Option<&Filter>,
        last_rows: Option<usize>,
        task: Task,
        turn: &mut Turn,
        metrics: &ScanMetrics,
    ) -> Result<Option<Self>> {
        metrics.read.add(1);
        let (group, meta) = match &task.part {
            Part::RowGroup { meta, index } => (meta.row_groups[*index], Some(Arc::clone(meta))),
            Part::Rows { start, rows } => (RowGroup { start: *start as u64, rows: *rows }, None),
            Part::File => return Err(DataFusionError::Internal("a file is read by its row groups".into())),
        };
        let filter = match filter {
            Some(filter) => filter.within(&scan.schema, |column| scan.bounds(&task, column))?,
            None => None,
        };
        let (scan, projection) = (Arc::clone(scan), Arc::clone(projection));
        let mut reader =
            Self { scan, projection, task, group, meta, columns: HashMap::new(), selected: vec![], block: 0 };
        reader.selected = reader.latest();
        let all_count = reader.selected.iter().all(|selected| matches!(selected, Selected::All));
        if let (None, Some(rows), true) = (&filter, last_rows, all_count) {
            let first = group.rows.saturating_sub(rows) / BLOCK_ROWS;
            reader.selected[..first].fill(Selected::None);
        }
        if reader.selected.iter().all(|selected| matches!(selected, Selected::None)) {
            return Ok(None);
        }
        if let Some(filter) = filter {
            reader.fetch(&filter.columns, turn, metrics).await?;
            reader.evaluate(&filter, turn, metrics).await?;
            if reader.selected.iter().all(|selected| matches!(selected, Selected::None)) {
                reader.finish();
                return Ok(None);
            }
        }
        let rest: Vec<usize> = reader.projection.iter().copied().filter(|c| !reader.columns.contains_key(c)).collect();
        reader.fetch(&rest, turn, metrics).await?;
        Ok(Some(reader))
    }

    /// The next block with rows that pass.
    pub(super) fn next(&mut self) -> Result<Option<Block>> {
        while self.block < self.selected.len() {
            let block = self.block;
            self.block += 1;
            let selected = std::mem::replace(&mut self.selected[block], Selected::None);
            if matches!(selected, Selected::None) {
                continue;
            }
            let projection = Arc::clone(&self.projection);
            let columns = projection.iter().map(|&column| self.array(column, block)).collect::<Result<_>>()?;
            return Ok(Some(Block { columns, rows: self.group.block_rows(block), selected }));
        }
        self.finish();
        Ok(None)
    }

    /// The rows of each block that were not replaced.
    fn latest(&self) -> Vec<Selected> {
        let blocks = self.group.blocks();
        let (Some(replaced), Ok(start)) = (self.scan.replaced(self.task.unit), usize::try_from(self.group.start))
        else {
            return vec![Selected::All; blocks];
        };
        let of_block = |block| {
            let rows = self.group.block_rows(block);
            let replaced = replaced.slice(start + block * BLOCK_ROWS, rows);
            match replaced.count_set_bits() {
                0 => Selected::All,
                all if all == rows => Selected::None,
                _ => Selected::Some(BooleanArray::new(!&replaced, None)),
            }
        };
        (0..blocks).map(of_block).collect()
    }

    async fn evaluate(&mut self, filter: &Filter, turn: &mut Turn, metrics: &ScanMetrics) -> Result<()> {
        let (mut evaluated, mut empty) = (0, 0);
        for block in 0..self.group.blocks() {
            let latest = match std::mem::replace(&mut self.selected[block], Selected::None) {
                Selected::None => continue,
                Selected::All => None,
                Selected::Some(mask) => Some(mask),
            };
            if self.cached_texts(filter).any(|(cached, texts)| cached.lacks(block, &texts.hashes)) {
                metrics.skipped.add(1);
                self.forget(block);
                continue;
            }
            evaluated += 1;
            let arrays = filter.columns.iter().map(|&column| self.array(column, block)).collect::<Result<Vec<_>>>()?;
            self.selected[block] = filter.evaluate(arrays, self.group.block_rows(block), latest)?;
            if matches!(self.selected[block], Selected::None) {
                empty += 1;
                self.forget(block);
            }
            turn.pass().await;
        }
        // Worth the work only where most blocks turned out to have been looked at in vain.
        if empty > evaluated / 2 {
            self.cached_texts(filter).for_each(|(cached, _)| cached.know_texts());
        }
        Ok(())
    }

    /// The filter's text columns that are in the cache.
    fn cached_texts<'r>(&'r self, filter: &'r Filter) -> impl Iterator<Item = (&'r CachedColumn, &'r Texts)> {
        filter.texts.iter().filter_map(|texts| match self.columns.get(&texts.column) {
            Some(Column::Ready(cached)) => Some((cached.as_ref(), texts)),
            _ => None,
        })
    }

    /// Drops decoded blocks that neither the result nor the cache needs.
    fn forget(&mut self, block: usize) {
        for column in self.columns.values_mut() {
            if let Column::Decoding(Decoding { kept, cache: None, .. }) = column
                && let Some(kept) = kept.get_mut(block)
            {
                *kept = None;
            }
        }
    }

    /// Makes columns (indices into the table's schema) available. What is not in memory is read off the async threads: on a
    /// busy machine each change of threads waits for a turn of the processor.
    async fn fetch(&mut self, columns: &[usize], turn: &mut Turn, metrics: &ScanMetrics) -> Result<()> {
        let mut wanted = vec![];
        for &column in columns {
            if self.columns.contains_key(&column) || wanted.iter().any(|w: &Wanted| w.column == column) {
                continue;
            }
            match self.find(column, metrics)? {
                Ok(found) => {
                    self.columns.insert(column, found);
                }
                Err(missing) => wanted.push(missing),
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let (Some(access), Some(meta), Part::RowGroup { index: row_group, .. }) =
            (self.scan.access.clone(), self.meta.clone(), self.task.part.clone())
        else {
            return Err(DataFusionError::Internal("a hot chunk has no files".into()));
        };
        let (mut read, mut missing) = (vec![], vec![]);
        for wanted in wanted {
            match meta.fetch_at_once(access.files.as_ref(), row_group, wanted.index)? {
                Some(bytes) => read.push((wanted, bytes)),
                None => missing.push(wanted),
            }
        }
        if !missing.is_empty() {
            let from = Arc::clone(&meta);
            let late = tokio::task::spawn_blocking(move || {
                let fetch = |wanted: Wanted| {
                    let bytes = from.fetch(access.files.as_ref(), row_group, wanted.index)?;
                    Ok((wanted, bytes))
                };
                missing.into_iter().map(fetch).collect::<crate::Result<Vec<(Wanted, ChunkBytes)>>>()
            });
            read.extend(turn.without(late).await.map_err(|error| DataFusionError::External(Box::new(error)))??);
        }
        for (wanted, bytes) in read {
            metrics.decoded.add(1);
            metrics.bytes.add(bytes.size());
            let decoding = self.decode(&meta, row_group, &wanted, bytes)?;
            self.columns.insert(wanted.column, Column::Decoding(decoding));
        }
        Ok(())
    }

    /// The column without reading a file, or what to read.
    fn find(&self, column: usize, metrics: &ScanMetrics) -> Result<Result<Column, Wanted>> {
        let def = &self.scan.state.def;
        let Some(definition) = def.columns.get(column) else {
            return Ok(Ok(if column == def.columns.len() { Column::Unit } else { Column::Row }));
        };
        match (&self.scan.units[self.task.unit], &self.meta, &self.task.part) {
            (Unit::Chunk(chunk), _, Part::Rows { start, rows }) => {
                Ok(Ok(Column::Hot(chunk_slice(&chunk.batch, def, column, *start, *rows)?)))
            }
            (Unit::File(file), Some(meta), Part::RowGroup { index: row_group, .. }) => {
                let index = match origin(file, meta, definition)? {
                    Origin::Constant(value) => return Ok(Ok(Column::Constant(value))),
                    Origin::File(index) => index,
                };
                let (Ok(row_group), Ok(at)) = (u32::try_from(*row_group), u32::try_from(index)) else {
                    return Ok(Err(Wanted { column, index, key: None }));
                };
                let key = ChunkKey { file: Arc::clone(&meta.path), row_group, column: at };
                let access = self.scan.access.as_ref();
                match access.map_or(Lookup::Miss { admit: false }, |access| access.cache.get(&key)) {
                    Lookup::Hit(cached) if cached_fits(&cached, &definition.data_type, self.group) => {
                        metrics.cached.add(1);
                        Ok(Ok(Column::Ready(cached)))
                    }
                    Lookup::Miss { admit: true } => Ok(Err(Wanted { column, index, key: Some(key) })),
                    _ => Ok(Err(Wanted { column, index, key: None })),
                }
            }
            _ => Err(DataFusionError::Internal("a scan's task is not of its unit's kind".into())),
        }
    }

    fn decode(&self, meta: &FileMeta, row_group: usize, wanted: &Wanted, bytes: ChunkBytes) -> Result<Decoding> {
        let data_type = self.scan.schema.field(wanted.column).data_type();
        let sparse = wanted.key.is_none() && self.selected.iter().any(|selected| matches!(selected, Selected::None));
        let selection = sparse.then(|| self.selection());
        Ok(Decoding {
            reader: meta.decode(row_group, wanted.index, bytes, data_type, selection)?,
            next: 0,
            sparse,
            kept: vec![None; self.group.blocks()],
            cache: wanted.key.clone(),
        })
    }

    /// The rows of the blocks that have rows that pass.
    fn selection(&self) -> RowSelection {
        let blocks = self.selected.iter().enumerate().map(|(block, selected)| {
            let rows = self.group.block_rows(block);
            if matches!(selected, Selected::None) { RowSelector::skip(rows) } else { RowSelector::select(rows) }
        });
        blocks.collect::<Vec<_>>().into()
    }

    /// One block of a column that was fetched.
    fn array(&mut self, column: usize, block: usize) -> Result<ArrayRef> {
        let rows = self.group.block_rows(block);
        let first = self.group.start + (block * BLOCK_ROWS) as u64;
        let missing = || DataFusionError::Internal(format!("column {column} was not fetched"));
        match self.columns.get_mut(&column).ok_or_else(missing)? {
            Column::Ready(cached) => Ok(Arc::clone(cached.blocks.get(block).ok_or_else(missing)?)),
            Column::Constant(value) => value.to_array_of_size(rows),
            Column::Hot(array) => Ok(array.slice(block * BLOCK_ROWS, rows)),
            Column::Unit => {
                let unit = i32::try_from(self.task.unit)
                    .map_err(|_| DataFusionError::ResourcesExhausted("too many files in one table".into()))?;
                Ok(Arc::new(Int32Array::from_value(unit, rows)))
            }
            Column::Row => {
                let first = i64::try_from(first).map_err(|error| DataFusionError::External(Box::new(error)))?;
                Ok(Arc::new(Int64Array::from_iter_values((first..).take(rows))))
            }
            Column::Decoding(decoding) => {
                let array = decoding.block(block, &self.selected)?;
                match array.filter(|array| array.len() == rows) {
                    Some(array) => Ok(array),
                    None => Err(self.meta.as_ref().map_or_else(missing, |meta| short(meta).into())),
                }
            }
        }
    }

    /// Offers completely decoded columns to the cache.
    fn finish(&mut self) {
        let Some(access) = &self.scan.access else { return };
        for column in self.columns.drain().map(|(_, column)| column) {
            if let Column::Decoding(decoding) = column
                && let Some((key, blocks)) = decoding.complete()
            {
                access.cache.insert(key, Arc::new(CachedColumn::new(blocks)));
            }
        }
    }
}

impl Decoding {
    /// Decodes up to a block. `None` if the column chunk ends before.
    fn block(&mut self, block: usize, selected: &[Selected]) -> Result<Option<ArrayRef>> {
        if block < self.next {
            return Ok(self.kept.get(block).cloned().flatten());
        }
        while self.next <= block {
            let at = self.next;
            self.next += 1;
            if self.sparse && matches!(selected.get(at), Some(Selected::None)) && at != block {
                continue;
            }
            let Some(array) = self.reader.next().transpose()? else { return Ok(None) };
            if at == block || self.cache.is_some() {
                self.kept[at] = Some(array);
            }
        }
        Ok(self.kept.get(block).cloned().flatten())
    }

    /// All blocks, with the key to cache them by, if the cache wants them. Decodes what nobody asked for yet.
    fn complete(mut self) -> Option<(ChunkKey, Vec<ArrayRef>)> {
        let key = self.cache.take()?;
        let decoded = self.kept.into_iter().take(self.next).collect::<Option<Vec<_>>>()?;
        let rest = self.reader.collect::<crate::Result<Vec<_>>>().ok()?;
        Some((key, decoded.into_iter().chain(rest).collect()))
    }
}

/// A cached column is of the type now wanted and has all rows.
fn cached_fits(cached: &CachedColumn, data_type: &DataType, group: RowGroup) -> bool {
    cached.blocks.len() == group.blocks() && cached.blocks.first().is_none_or(|block| block.data_type() == data_type)
}

/// The schema of a projection.
pub(super) fn projected(schema: &SchemaRef, projection: &[usize]) -> Result<SchemaRef> {
    Ok(Arc::new(schema.project(projection)?))
}
