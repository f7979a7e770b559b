//! Decoded columns kept in memory for repeated reads.
//!
//! A column chunk is admitted when it is asked for the second time within a window, so one pass over a huge table leaves
//! no trace. When the budget is full, a newcomer replaces the least recently used entry only if that was idle for longer
//! than the newcomer's own two requests are apart: what is read again and again stays, what is no longer read goes at
//! once, and repeated passes over more than fits keep a part of it instead of replacing all of it all the time.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayData, ArrayRef};
use parking_lot::Mutex;

use crate::Result;
use crate::fault::FileLayer;
use crate::table::latest::LatestCache;
use crate::table::reader::FileMeta;
use crate::table::writer::ColumnSummary;

pub(crate) mod blocks;

use blocks::BlockTexts;

/// Column chunks remembered as asked for once: the window, about 100 bytes each.
const GHOSTS_MAX: usize = 65_536;
/// Footers kept, bytes.
const FOOTER_BYTES_MAX: usize = 64 << 20;
/// Statistics of hot columns kept.
const SUMMARIES_MAX: usize = 16_384;
/// Dictionaries kept, bytes.
const DICTIONARY_BYTES_MAX: usize = 64 << 20;

/// What is cached: one column of one row group of a file. Files are immutable, so entries never go stale.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChunkKey {
    /// The file.
    pub file: Arc<Path>,
    /// The row group.
    pub row_group: u32,
    /// The column's index in the file.
    pub column: u32,
}

/// A decoded column chunk: its blocks.
#[derive(Debug)]
pub struct CachedColumn {
    /// Arrays of [`crate::table::reader::BLOCK_ROWS`] rows, the last one shorter.
    pub blocks: Vec<ArrayRef>,
    /// Memory they take, with what [`CachedColumn::know_texts`] makes, bytes.
    pub bytes: u64,
    texts: OnceLock<Vec<BlockTexts>>,
}

impl CachedColumn {
    /// Counts the memory: buffers that blocks share are counted once.
    pub fn new(blocks: Vec<ArrayRef>) -> Self {
        let mut seen = HashSet::new();
        let buffers: usize = blocks.iter().map(|block| buffer_bytes(&block.to_data(), &mut seen)).sum();
        let texts: u64 = blocks.iter().map(blocks::bytes_of).sum();
        let bytes = (buffers + 128 * blocks.len()) as u64 + texts;
        Self { blocks, bytes, texts: OnceLock::new() }
    }

    /// From now on [`Self::lacks`] knows; nothing for a column that is no text.
    pub(crate) fn know_texts(&self) {
        if self.texts.get().is_none()
            && self.blocks.first().is_some_and(blocks::is_text)
            && let Ok(texts) = self.blocks.iter().map(BlockTexts::new).collect::<datafusion_common::Result<_>>()
        {
            // Another scan may have been first.
            let _ = self.texts.set(texts);
        }
    }

    /// [`Self::lacks`] knows.
    pub(crate) fn knows_texts(&self) -> bool {
        self.texts.get().is_some()
    }

    /// True if no row of a block has a text with one of these hashes ([`blocks::hash`]).
    pub(crate) fn lacks(&self, block: usize, hashes: &[u64]) -> bool {
        let texts = self.texts.get().and_then(|texts| texts.get(block));
        texts.is_some_and(|texts| !hashes.iter().any(|hash| texts.may_have(*hash)))
    }
}

fn buffer_bytes(data: &ArrayData, seen: &mut HashSet<usize>) -> usize {
    let nulls = data.nulls().map(|nulls| nulls.buffer());
    let own = data.buffers().iter().chain(nulls);
    let own: usize = own.filter(|buffer| seen.insert(buffer.data_ptr().as_ptr() as usize)).map(|b| b.capacity()).sum();
    own + data.child_data().iter().map(|child| buffer_bytes(child, seen)).sum::<usize>()
}

/// The cache's answer.
#[derive(Debug, Clone)]
pub enum Lookup {
    /// Here it is.
    Hit(Arc<CachedColumn>),
    /// Not here; with `admit` it is worth offering it to [`ColumnCache::insert`].
    Miss {
        /// It was asked for before.
        admit: bool,
    },
}

/// A memory-budgeted cache of decoded column chunks, of file footers, and of statistics of hot rows.
#[derive(Debug)]
pub struct ColumnCache {
    budget: u64,
    columns: Mutex<Columns>,
    footers: Mutex<Footers>,
    summaries: Mutex<HashMap<(u64, usize, String), Arc<ColumnSummary>>>,
    dictionaries: Mutex<Dictionaries>,
    /// Which rows of upsert tables were replaced.
    pub(crate) latest: LatestCache,
}

/// The values that column chunks have; none for those that do not say.
#[derive(Debug, Default)]
struct Dictionaries {
    entries: HashMap<ChunkKey, Option<ArrayRef>>,
    bytes: usize,
}

/// Numbers about the cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheStatus {
    /// Decoded columns kept, bytes.
    pub bytes: u64,
    /// Their limit.
    pub budget: u64,
    /// Column chunks kept.
    pub entries: u64,
    /// Requests answered since start.
    pub hits: u64,
    /// Requests not answered since start.
    pub misses: u64,
}

#[derive(Debug, Default)]
struct Columns {
    entries: HashMap<ChunkKey, Entry>,
    /// Last use → key.
    order: BTreeMap<u64, ChunkKey>,
    /// Chunks asked for while they were not here.
    ghosts: HashMap<ChunkKey, Ghost>,
    /// Ghosts by their last request; an older request of the same chunk may be left in it.
    ghost_order: VecDeque<(u64, ChunkKey)>,
    bytes: u64,
    clock: u64,
    hits: u64,
    misses: u64,
}

#[derive(Debug)]
struct Entry {
    column: Arc<CachedColumn>,
    used: u64,
    /// Someone asked for it since it came.
    is_read: bool,
}

/// Requests of a chunk that is not here, in ticks of the cache's clock.
#[derive(Debug, Clone, Copy)]
struct Ghost {
    last: u64,
    /// Between the last two.
    distance: u64,
}

#[derive(Debug, Default)]
struct Footers {
    entries: HashMap<Arc<Path>, (Arc<FileMeta>, u64)>,
    bytes: usize,
    clock: u64,
}

impl ColumnCache {
    /// A cache of at most `bytes` bytes of decoded columns.
    pub fn new(bytes: u64) -> Self {
        Self {
            budget: bytes,
            columns: Mutex::default(),
            footers: Mutex::default(),
            summaries: Mutex::default(),
            dictionaries: Mutex::default(),
            latest: LatestCache::default(),
        }
    }

    /// Asks for a column chunk.
    pub fn get(&self, key: &ChunkKey) -> Lookup {
        let mut columns = self.columns.lock();
        let columns = &mut *columns;
        columns.clock += 1;
        if let Some(entry) = columns.entries.get_mut(key) {
            columns.hits += 1;
            columns.order.remove(&entry.used);
            entry.used = columns.clock;
            entry.is_read = true;
            columns.order.insert(entry.used, key.clone());
            return Lookup::Hit(Arc::clone(&entry.column));
        }
        columns.misses += 1;
        Lookup::Miss { admit: columns.remember(key) && self.budget > 0 }
    }

    /// Offers a column chunk that [`ColumnCache::get`] said is worth it.
    pub fn insert(&self, key: ChunkKey, column: Arc<CachedColumn>) {
        let mut columns = self.columns.lock();
        if columns.entries.contains_key(&key) || column.bytes > self.budget {
            return;
        }
        let distance = columns.ghosts.get(&key).map_or(0, |ghost| ghost.distance);
        // Memory is given back when the lock is: queries wait for that, and this may be a thread that gives way to all others.
        let mut evicted = vec![];
        while columns.bytes + column.bytes > self.budget {
            match columns.evict_idle(distance) {
                Some(column) => evicted.push(column),
                None => return,
            }
        }
        columns.clock += 1;
        let used = columns.clock;
        columns.bytes += column.bytes;
        columns.order.insert(used, key.clone());
        columns.entries.insert(key, Entry { column, used, is_read: false });
        drop(columns);
        drop(evicted);
    }

    /// A column chunk that is here and was asked for since it came. This does not count as asking.
    pub(crate) fn read(&self, key: &ChunkKey) -> Option<Arc<CachedColumn>> {
        let columns = self.columns.lock();
        columns.entries.get(key).filter(|entry| entry.is_read).map(|entry| Arc::clone(&entry.column))
    }

    /// Drops the column chunks of files that are no longer in their table; older snapshots may bring them back.
    pub(crate) fn forget(&self, files: &HashSet<PathBuf>) {
        let mut columns = self.columns.lock();
        let gone: Vec<ChunkKey> = columns.entries.keys().filter(|key| files.contains(&*key.file)).cloned().collect();
        let gone: Vec<Entry> = gone.iter().filter_map(|key| columns.remove(key)).collect();
        drop(columns);
        drop(gone);
    }

    /// The footer of a file of `bytes` bytes, read if it is not here. Blocking if it is not.
    ///
    /// # Errors
    /// As [`FileMeta::load`].
    pub fn footer(&self, files: &dyn FileLayer, path: &Path, bytes: u64) -> Result<Arc<FileMeta>> {
        if let Some(meta) = self.known_footer(path) {
            return Ok(meta);
        }
        let meta = Arc::new(FileMeta::load(files, path, bytes)?);
        let mut footers = self.footers.lock();
        footers.clock += 1;
        let used = footers.clock;
        footers.bytes += meta.bytes;
        if let Some((old, _)) = footers.entries.insert(Arc::clone(&meta.path), (Arc::clone(&meta), used)) {
            footers.bytes -= old.bytes;
        }
        if footers.bytes > FOOTER_BYTES_MAX {
            footers.drop_oldest_half();
        }
        Ok(meta)
    }

    /// The footer of a file if it is here.
    pub fn known_footer(&self, path: &Path) -> Option<Arc<FileMeta>> {
        let mut footers = self.footers.lock();
        footers.clock += 1;
        let now = footers.clock;
        let (meta, used) = footers.entries.get_mut(path)?;
        *used = now;
        Some(Arc::clone(meta))
    }

    /// What [`FileMeta::dictionary`] says of a column chunk, if it is here.
    pub(crate) fn known_dictionary(&self, key: &ChunkKey) -> Option<Option<ArrayRef>> {
        self.dictionaries.lock().entries.get(key).cloned()
    }

    /// Keeps what [`FileMeta::dictionary`] says of a column chunk.
    pub(crate) fn keep_dictionary(&self, key: ChunkKey, values: Option<ArrayRef>) {
        let bytes = values.as_ref().map_or(0, |values| values.get_array_memory_size()) + 128;
        let mut dictionaries = self.dictionaries.lock();
        if dictionaries.bytes + bytes > DICTIONARY_BYTES_MAX {
            *dictionaries = Dictionaries::default();
        }
        if dictionaries.entries.insert(key, values).is_none() {
            dictionaries.bytes += bytes;
        }
    }

    /// Statistics of a column of a hot chunk, computed if they are not here. `chunk` stands for the
    /// inserts it holds.
    pub(crate) fn summary(
        &self,
        chunk: u64,
        rows: usize,
        column: &str,
        compute: impl FnOnce() -> Result<ColumnSummary>,
    ) -> Result<Arc<ColumnSummary>> {
        let key = (chunk, rows, column.to_owned());
        if let Some(summary) = self.summaries.lock().get(&key) {
            return Ok(Arc::clone(summary));
        }
        let summary = Arc::new(compute()?);
        let mut summaries = self.summaries.lock();
        if summaries.len() >= SUMMARIES_MAX {
            summaries.clear();
        }
        summaries.insert(key, Arc::clone(&summary));
        Ok(summary)
    }

    /// Numbers about the cache.
    pub fn status(&self) -> CacheStatus {
        let columns = self.columns.lock();
        CacheStatus {
            bytes: columns.bytes,
            budget: self.budget,
            entries: columns.entries.len() as u64,
            hits: columns.hits,
            misses: columns.misses,
        }
    }
}

impl Columns {
    /// Notes that a chunk was asked for; true if it was before.
    fn remember(&mut self, key: &ChunkKey) -> bool {
        let now = self.clock;
        let before = self.ghosts.get(key).map(|ghost| ghost.last);
        let distance = before.map_or(0, |before| now - before);
        self.ghosts.insert(key.clone(), Ghost { last: now, distance });
        self.ghost_order.push_back((now, key.clone()));
        while self.ghost_order.len() > GHOSTS_MAX {
            let Some((last, oldest)) = self.ghost_order.pop_front() else { break };
            if self.ghosts.get(&oldest).is_some_and(|ghost| ghost.last == last) {
                self.ghosts.remove(&oldest);
            }
        }
        before.is_some()
    }

    /// Takes out the least recently used entry if it was idle for longer than `distance`.
    fn evict_idle(&mut self, distance: u64) -> Option<Entry> {
        let (&used, key) = self.order.first_key_value()?;
        if self.clock - used <= distance {
            return None;
        }
        let key = key.clone();
        self.remove(&key)
    }

    fn remove(&mut self, key: &ChunkKey) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.order.remove(&entry.used);
        self.bytes -= entry.column.bytes;
        Some(entry)
    }
}

impl Footers {
    fn drop_oldest_half(&mut self) {
        let mut uses: Vec<u64> = self.entries.values().map(|entry| entry.1).collect();
        uses.sort_unstable();
        let Some(&middle) = uses.get(uses.len() / 2) else { return };
        self.entries.retain(|_, entry| entry.1 >= middle);
        self.bytes = self.entries.values().map(|entry| entry.0.bytes).sum();
    }
}

#[cfg(test)]
mod tests;
