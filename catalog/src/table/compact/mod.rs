//! Small files to large ones, sorted by the table's sort key.
//!
//! [`plan`] decides, [`merge`] does. Inputs that are sorted already are merged as they stream; others are first cut into
//! sorted runs on disk, so memory is bounded by one run and a row group's bytes per input.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;

use crate::Result;
use crate::fault::FileLayer;
use crate::record::TableDef;
use crate::table::file::{FileEntry, FileIndex};
use crate::table::latest::Replaced;
use crate::table::physical::in_file;
use crate::table::rewrite::{read_unit, remaining_rows};
use crate::table::scan::Unit;
use crate::table::value::has_order;
use crate::table::writer::{Compression, ROW_GROUP_ROWS, TableWriter, WriteOptions, bytes_of};

mod kway;

/// Files of this size or larger are left alone once they were compacted, bytes.
const LARGE_BYTES: u64 = 64 << 20;
/// So many small files of a level are merged: fewer would write the same rows too often.
const FILES_MIN: usize = 8;
/// Files merged at once at most: each holds a row group's bytes in memory.
const FILES_MAX: usize = 64;
/// Bytes merged at once at most.
const BYTES_MAX: u64 = 1 << 30;
/// Bytes in files that surely fit a writer's run in memory.
const SMALL_BYTES: u64 = 16 << 20;
/// Rows of a sorted run; few in tests, so that they see several.
const RUN_ROWS: usize = if cfg!(test) { 50_000 } else { 8 * ROW_GROUP_ROWS };
/// Bytes of a sorted run, in memory.
const RUN_BYTES: usize = 128 << 20;

/// Which files to merge with which: each group becomes one or a few sorted files. `full`: all of them. Pure.
pub fn plan(index: &FileIndex, def: &TableDef, replaced: Option<&Replaced>, full: bool) -> Vec<Vec<Arc<FileEntry>>> {
    let is_whole = |file: &FileEntry| replaced.is_none_or(|replaced| replaced.of_file(file).is_none());
    let mut partitions: BTreeMap<_, Vec<&Arc<FileEntry>>> = BTreeMap::new();
    for file in &index.files {
        partitions.entry(&file.partition_values).or_default().push(file);
    }
    let sort_key = sort_key_names(def);
    let mut groups = vec![];
    for files in partitions.into_values() {
        if full {
            let is_done = |only: &FileEntry| only.level > 0 && only.sorted_by.starts_with(&sort_key) && is_whole(only);
            let done = matches!(files.as_slice(), [only] if is_done(only));
            if !done {
                groups.extend(cut(files));
            }
            continue;
        }
        let mut levels: BTreeMap<u32, Vec<&Arc<FileEntry>>> = BTreeMap::new();
        for file in files {
            if replaced.is_some_and(|replaced| replaced.is_worth_rewriting(file)) {
                groups.push(vec![Arc::clone(file)]);
            } else if file.level == 0 || file.bytes < LARGE_BYTES {
                levels.entry(file.level).or_default().push(file);
            }
        }
        for files in levels.into_values() {
            for group in cut(files) {
                let bytes: u64 = group.iter().map(|file| file.bytes).sum();
                if group.len() >= FILES_MIN || bytes >= LARGE_BYTES {
                    groups.push(group);
                }
            }
        }
    }
    groups
}

/// Groups of neighbours within the limits.
fn cut(files: Vec<&Arc<FileEntry>>) -> Vec<Vec<Arc<FileEntry>>> {
    let mut groups: Vec<Vec<Arc<FileEntry>>> = vec![];
    let mut bytes = 0;
    for file in files {
        match groups.last_mut() {
            Some(group) if group.len() < FILES_MAX && bytes + file.bytes <= BYTES_MAX => {
                bytes += file.bytes;
                group.push(Arc::clone(file));
            }
            _ => {
                bytes = file.bytes;
                groups.push(vec![Arc::clone(file)]);
            }
        }
    }
    groups
}

/// The columns compacted files are sorted by: names now.
fn sort_columns(def: &TableDef) -> Vec<String> {
    let time: Vec<String> = def.options.time_column.iter().cloned().collect();
    let names = if def.options.sort_key.is_empty() { &time } else { &def.options.sort_key };
    let sortable =
        |name: &&String| def.column(name).is_some_and(|column| has_order(&column.data_type) && in_file(def, column));
    names.iter().filter(sortable).cloned().collect()
}

/// As [`sort_columns`], physical names.
fn sort_key_names(def: &TableDef) -> Vec<String> {
    let columns = sort_columns(def);
    columns.iter().filter_map(|name| def.column(name)).map(|column| column.physical_name.clone()).collect()
}

/// Merges files into large ones sorted by the table's sort key, without rows that were replaced. Blocking; memory is bounded.
/// The inputs stay.
///
/// # Errors
/// `DiskFull`, `Io`, `Corrupt`.
pub fn merge(
    files: &Arc<dyn FileLayer>,
    dir: &Path,
    def: &Arc<TableDef>,
    replaced: Option<&Replaced>,
    inputs: &[Arc<FileEntry>],
    now_ms: i64,
) -> Result<Vec<Arc<FileEntry>>> {
    let mut temporary = vec![];
    let result = merge_into(files, dir, def, replaced, inputs, now_ms, &mut temporary);
    for run in temporary {
        files.remove(&dir.join(&run.path))?;
    }
    result
}

fn merge_into(
    files: &Arc<dyn FileLayer>,
    dir: &Path,
    def: &Arc<TableDef>,
    replaced: Option<&Replaced>,
    inputs: &[Arc<FileEntry>],
    now_ms: i64,
    temporary: &mut Vec<Arc<FileEntry>>,
) -> Result<Vec<Arc<FileEntry>>> {
    let options = WriteOptions {
        lsn_min: inputs.iter().map(|file| file.lsn_min).min().unwrap_or(0),
        // Without what was replaced until then, its rows are those that counted then.
        lsn_max: match replaced {
            Some(replaced) => replaced.as_of(),
            None => inputs.iter().map(|file| file.lsn_max).max().unwrap_or(0),
        },
        level: inputs.iter().map(|file| file.level).max().unwrap_or(0) + 1,
        compression: Compression::Small,
        now_ms,
        sort_by: sort_columns(def),
    };
    let sort_key = sort_key_names(def);
    let read = |file: &Arc<FileEntry>| -> Result<Box<dyn Iterator<Item = Result<RecordBatch>> + Send>> {
        let batches = read_unit(files, dir, def, &Unit::File(Arc::clone(file)))?;
        Ok(match replaced.and_then(|replaced| replaced.of_file(file)) {
            Some(mask) => Box::new(remaining_rows(batches, mask.set_indices().map(|row| row as u64).collect())),
            None => batches,
        })
    };
    let mut writer = TableWriter::new(Arc::clone(files), dir, def, options.clone());
    let rows: u64 = inputs.iter().map(|file| file.rows).sum();
    let bytes: u64 = inputs.iter().map(|file| file.bytes).sum();
    if sort_key.is_empty() || (rows <= RUN_ROWS as u64 && bytes <= SMALL_BYTES) {
        // Nothing to sort by, or little enough for the writer to sort.
        for file in inputs {
            for batch in read(file)? {
                writer.write(batch?)?;
            }
        }
        return writer.finish();
    }
    let mut sorted = vec![];
    for file in inputs {
        if file.sorted_by.starts_with(&sort_key) {
            sorted.push(read(file)?);
            continue;
        }
        let first = temporary.len();
        sort_runs(files, dir, def, read(file)?, &options, temporary)?;
        for run in &temporary[first..] {
            sorted.push(read(run)?);
        }
    }
    let key: Vec<usize> =
        options.sort_by.iter().filter_map(|name| def.columns.iter().position(|column| &column.name == name)).collect();
    for batch in kway::KWayMerge::new(def.schema(), sorted, &key)? {
        writer.write(batch?)?;
    }
    writer.finish()
}

/// Cuts rows into runs, and writes each as a sorted file.
fn sort_runs(
    files: &Arc<dyn FileLayer>,
    dir: &Path,
    def: &Arc<TableDef>,
    batches: impl Iterator<Item = Result<RecordBatch>>,
    options: &WriteOptions,
    runs: &mut Vec<Arc<FileEntry>>,
) -> Result<()> {
    let options = WriteOptions { compression: Compression::Fast, ..options.clone() };
    let new_writer = || TableWriter::new(Arc::clone(files), dir, def, options.clone());
    let (mut writer, mut rows, mut bytes) = (new_writer(), 0, 0);
    for batch in batches {
        let batch = batch?;
        let batch_bytes: usize = batch.columns().iter().map(bytes_of).sum();
        if rows > 0 && (rows + batch.num_rows() > RUN_ROWS || bytes + batch_bytes > RUN_BYTES) {
            runs.extend(std::mem::replace(&mut writer, new_writer()).finish()?);
            (rows, bytes) = (0, 0);
        }
        rows += batch.num_rows();
        bytes += batch_bytes;
        writer.write(batch)?;
    }
    runs.extend(writer.finish()?);
    Ok(())
}

#[cfg(test)]
mod tests;
