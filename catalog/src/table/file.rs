//! A Parquet file of a table, and the index of all of them.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Lsn;

/// One immutable Parquet file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Relative to the table's folder; unique forever.
    pub path: String,
    /// Its size, bytes.
    pub bytes: u64,
    /// Its rows.
    pub rows: u64,
    /// Delta partition values in Delta's text form, by physical column name.
    #[serde(default)]
    pub partition_values: BTreeMap<String, Option<String>>,
    /// Statistics by physical column name.
    pub stats: BTreeMap<String, ColumnStats>,
    /// The log range its rows came from.
    pub lsn_min: Lsn,
    /// See `lsn_min`.
    pub lsn_max: Lsn,
    /// The columns its rows are sorted by, if they are (physical names).
    #[serde(default)]
    pub sorted_by: Vec<String>,
    /// How many times its rows were merged.
    #[serde(default)]
    pub level: u32,
    /// When it was made, milliseconds since the epoch (Delta's modificationTime).
    pub created_ms: i64,
}

/// Exact statistics of one column of one file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnStats {
    /// Least value in the stored text form (see `table/file.rs` helpers), absent if all are NULL or unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<String>,
    /// Greatest value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<String>,
    /// False where min/max are bounds, not values (long text is cut).
    pub exact: bool,
    /// NULLs.
    pub nulls: u64,
}

/// The files of a table, oldest first: by `(lsn_max, lsn_min, path)`. Immutable; the next index is made from this one.
#[derive(Debug, Default)]
pub struct FileIndex {
    /// The files.
    pub files: Vec<Arc<FileEntry>>,
}

impl FileIndex {
    /// An index of these files, in any order.
    pub fn new(mut files: Vec<Arc<FileEntry>>) -> Self {
        files.sort_by(|a, b| (a.lsn_max, a.lsn_min, &a.path).cmp(&(b.lsn_max, b.lsn_min, &b.path)));
        Self { files }
    }

    /// This index without the files of those paths, and with those added.
    ///
    /// # Errors
    /// The path of a removed file that is not here.
    pub fn with(&self, adds: &[Arc<FileEntry>], removes: &[String]) -> Result<Self, String> {
        let mut gone: HashSet<&str> = removes.iter().map(String::as_str).collect();
        let mut files: Vec<_> =
            self.files.iter().filter(|file| !gone.remove(file.path.as_str())).map(Arc::clone).collect();
        if let Some(missing) = gone.into_iter().next() {
            return Err(missing.to_owned());
        }
        files.extend(adds.iter().map(Arc::clone));
        Ok(Self::new(files))
    }

    /// The file of that path.
    pub fn get(&self, path: &str) -> Option<&Arc<FileEntry>> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Rows of all files.
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}
