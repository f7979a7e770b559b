//! Pieces that need not be read because a better row of each of their keys was seen.
//!
//! ```text
//!  newest row group    a b c a b c        read: a, b and c are at 12:00
//!  the one before      dictionary {a, c}, 11:59 at most          settled: not read
//!  the one before      dictionary {a, d}                         read: no row of d was seen
//! ```

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, new_null_array};
use arrow::compute::concat;
use datafusion_common::{DataFusionError, Result, ScalarValue};

use super::source::{Origin, origin};
use super::task::{Part, Task};
use super::{Scan, Unit};
use crate::table::cache::ChunkKey;

/// Whoever reads a scan for the last (or first) row of each key.
pub trait Settled: fmt::Debug + Send + Sync {
    /// Whether no row of these keys, NULL among them, whose time is up to `bound` (or from it on) is of interest.
    ///
    /// # Errors
    /// The query ends with them.
    fn is_settled(&self, keys: &ArrayRef, bound: &ScalarValue) -> Result<bool>;
}

/// What a scan asks of each row group before it reads it. Columns are indices into the table's schema.
#[derive(Debug, Clone)]
pub(super) struct Settling {
    pub(super) key: usize,
    pub(super) time: usize,
    /// The last rows count, not the first.
    pub(super) descending: bool,
    pub(super) by: Arc<dyn Settled>,
}

impl Settling {
    pub(super) async fn is_settled(&self, scan: &Scan, task: &Task) -> Result<bool> {
        let bounds = scan.bounds(task, self.time);
        let bound = if self.descending { bounds.max } else { bounds.min };
        let (Some(bound), Some(0)) = (bound, bounds.nulls) else { return Ok(false) };
        let Some(keys) = self.keys(scan, task).await? else { return Ok(false) };
        self.by.is_settled(&keys, &bound)
    }

    /// The keys of a row group, if it says so.
    async fn keys(&self, scan: &Scan, task: &Task) -> Result<Option<ArrayRef>> {
        let (Part::RowGroup { meta, index }, Some(access), Unit::File(file)) =
            (&task.part, &scan.access, &scan.units[task.unit])
        else {
            return Ok(None);
        };
        let column = &scan.state.def.columns[self.key];
        let at = match origin(file, meta, column)? {
            Origin::Constant(value) => return Ok(Some(value.to_array_of_size(1)?)),
            Origin::File(at) => at,
        };
        let (Ok(row_group), Ok(in_file)) = (u32::try_from(*index), u32::try_from(at)) else { return Ok(None) };
        let key = ChunkKey { file: Arc::clone(&meta.path), row_group, column: in_file };
        let values = match access.cache.known_dictionary(&key) {
            Some(values) => values,
            None => {
                let (meta, index, files) = (Arc::clone(meta), *index, Arc::clone(&access.files));
                let data_type = column.data_type.clone();
                let read = tokio::task::spawn_blocking(move || meta.dictionary(files.as_ref(), index, at, &data_type));
                let values = read.await.map_err(|error| DataFusionError::External(Box::new(error)))??;
                access.cache.keep_dictionary(key, values.clone());
                values
            }
        };
        Ok(match (values, scan.bounds(task, self.key).nulls) {
            (Some(values), Some(0)) => Some(values),
            (Some(values), _) => Some(concat(&[&values, &new_null_array(values.data_type(), 1)])?),
            (None, _) => None,
        })
    }
}
