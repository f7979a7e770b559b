//! Which background work is due: a decision without side effects.

use std::sync::Arc;

use super::Work;
use super::shared::Shared;
use crate::Lsn;
use crate::snapshot::{Snapshot, TableState};
use crate::table::compact;

/// A checkpoint is due this long after the last one, if anything was committed since.
const CHECKPOINT_INTERVAL_US: i64 = 60_000_000;
/// And this soon if there is something to delete, or a definition that other programs do not see yet.
const CHECKPOINT_SOON_US: i64 = 5_000_000;
/// Fewer small files than this are not worth a look.
const SMALL_FILES_MIN: usize = 4;
/// What a small file is, for that look; `compact::plan` knows better.
const SMALL_FILE_BYTES: u64 = 64 << 20;

/// What the decision is made of.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) snapshot: Arc<Snapshot>,
    /// First LSN and bytes of each segment, oldest first.
    pub(super) segments: Vec<(Lsn, u64)>,
    pub(super) wal_bytes_max: u64,
    pub(super) checkpoint_lsn: Lsn,
    pub(super) checkpoint_us: i64,
    pub(super) has_garbage: bool,
    pub(super) now_us: i64,
}

/// The pieces of work that are due, most urgent first.
pub(super) fn due(input: &Input) -> Vec<Work> {
    let mut dirty: Vec<_> = input.snapshot.tables.values().filter(|table| table.is_dirty()).collect();
    dirty.sort_by_key(|table| (table.replay_from, table.oid));
    let mut work = Vec::new();
    let wal_bytes: u64 = input.segments.iter().map(|(_, bytes)| bytes).sum();
    let is_pressed = wal_bytes > input.wal_bytes_max;
    let hot_bytes: u64 = dirty.iter().map(|table| table.hot_bytes() as u64).sum();
    if is_pressed && let Some(oldest) = dirty.first() {
        work.push(Work::Flush(oldest.oid));
    }
    // Memory is bounded by the same number as the log.
    if hot_bytes > input.wal_bytes_max
        && let Some(largest) = dirty.iter().max_by_key(|table| table.hot_bytes())
    {
        work.push(Work::Flush(largest.oid));
    }
    work.extend(dirty.iter().filter(|table| is_full(table)).map(|table| Work::Flush(table.oid)));
    work.extend(dirty.iter().filter(|table| is_old(table, input.now_us)).map(|table| Work::Flush(table.oid)));
    if is_checkpoint_due(input, is_pressed, &dirty) {
        work.push(Work::Checkpoint(0));
    }
    work.extend(
        input.snapshot.tables.values().filter(|table| wants_compaction(table)).map(|table| Work::Compact(table.oid)),
    );
    let mut seen = std::collections::HashSet::new();
    work.retain(|work| match work {
        Work::Flush(oid) => seen.insert(*oid),
        _ => true,
    });
    work
}

fn is_full(table: &TableState) -> bool {
    table.hot_bytes() as u64 >= table.def.options.flush_bytes.max(1)
}

/// True if its oldest rows or file swaps have waited for the table's flush interval.
fn is_old(table: &TableState, now_us: i64) -> bool {
    let chunks = table.chunks.iter().map(|chunk| chunk.created_us);
    let swaps = table.unpublished.iter().map(|swap| swap.created_us);
    let interval_us = i64::try_from(table.def.options.flush_interval_ms.saturating_mul(1000)).unwrap_or(i64::MAX);
    chunks.chain(swaps).min().is_some_and(|oldest| now_us.saturating_sub(oldest) >= interval_us)
}

fn is_checkpoint_due(input: &Input, is_pressed: bool, dirty: &[&Arc<TableState>]) -> bool {
    let age_us = input.now_us.saturating_sub(input.checkpoint_us);
    let snapshot = &input.snapshot;
    let needed_after = Shared::needed_after(snapshot, snapshot.lsn);
    let is_deletable = input.segments.get(1).is_some_and(|(first_lsn, _)| *first_lsn <= needed_after.saturating_add(1));
    let is_unseen = dirty.iter().any(|table| table.is_def_unpublished());
    (snapshot.lsn > input.checkpoint_lsn && age_us >= CHECKPOINT_INTERVAL_US)
        || ((is_deletable || is_unseen || input.has_garbage) && age_us >= CHECKPOINT_SOON_US)
        || (is_pressed && is_deletable)
}

fn wants_compaction(table: &TableState) -> bool {
    let small = table.files.files.iter().filter(|file| file.bytes < SMALL_FILE_BYTES).take(SMALL_FILES_MIN).count();
    small >= SMALL_FILES_MIN && !compact::plan(&table.files, &table.def, None, false).is_empty()
}
