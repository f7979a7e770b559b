//! New files take the place of others in the column cache: what was read of those is decoded while nobody waits for it.
//!
//! Without it the first two queries after each flush and each compaction would decode all of a new file, and a compaction's is
//! large. Columns that nobody has read since they came into the cache are not followed: so it ends with the reading.

use std::sync::Arc;

use crate::record::{ColumnDef, TableDef};
use crate::table::cache::{CachedColumn, ChunkKey};
use crate::table::file::FileEntry;
use crate::table::reader::FileMeta;
use crate::table::scan::source::{FileAccess, Origin, origin};
use crate::{Error, Result};

/// Puts columns of `new` files into the cache that were read of one of the `old` ones. Blocking. Best effort: what cannot be
/// read now is found to be so by the query that wants it.
pub(crate) fn warm(access: &FileAccess, def: &TableDef, old: &[Arc<FileEntry>], new: &[Arc<FileEntry>]) {
    for column in &def.columns {
        // How the column is read, if it is: texts that are looked for are known in advance in new files, too.
        let mut by_text: Option<bool> = None;
        for file in old {
            let meta = access.cache.known_footer(&access.dir.join(&file.path));
            if let Some(meta) = meta
                && let Ok(Origin::File(at)) = origin(file, &meta, column)
            {
                by_text = by_text.max(reading(access, &meta, at));
            }
        }
        let Some(by_text) = by_text else { continue };
        for file in new {
            let warmed = access.footer(file).and_then(|meta| match origin(file, &meta, column)? {
                Origin::File(at) => decode(access, &meta, at, column, by_text),
                Origin::Constant(_) => Ok(()),
            });
            if let Err(error) = warmed {
                tracing::debug!(file = file.path, column = column.name, %error, "a new file's column is not in the cache");
            }
        }
    }
}

/// `None` unless most chunks of the column are in the cache and were read since they came there; else whether some text of it
/// was looked for.
fn reading(access: &FileAccess, meta: &FileMeta, column: usize) -> Option<bool> {
    let keys = (0..meta.row_groups.len()).filter_map(|row_group| key(meta, row_group, column).ok());
    let read: Vec<Arc<CachedColumn>> = keys.filter_map(|key| access.cache.read(&key)).collect();
    let is_most = !read.is_empty() && read.len() * 2 >= meta.row_groups.len();
    is_most.then(|| read.iter().any(|column| column.knows_texts()))
}

fn key(meta: &FileMeta, row_group: usize, column: usize) -> Result<ChunkKey> {
    let beyond = |_| Error::Invalid("a file with too many row groups or columns".to_owned());
    let (row_group, column) = (u32::try_from(row_group).map_err(beyond)?, u32::try_from(column).map_err(beyond)?);
    Ok(ChunkKey { file: Arc::clone(&meta.path), row_group, column })
}

fn decode(access: &FileAccess, meta: &FileMeta, at: usize, column: &ColumnDef, by_text: bool) -> Result<()> {
    for row_group in 0..meta.row_groups.len() {
        let bytes = meta.fetch(access.files.as_ref(), row_group, at)?;
        let blocks = meta.decode(row_group, at, bytes, &column.data_type, None)?.collect::<Result<Vec<_>>>()?;
        let cached = CachedColumn::new(blocks);
        if by_text {
            cached.know_texts();
        }
        access.cache.insert(key(meta, row_group, at)?, Arc::new(cached));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
