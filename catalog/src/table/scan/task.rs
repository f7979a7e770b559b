//! Pieces of a scan, and what is known of each before it is read.

use std::sync::Arc;

use datafusion_common::Result;

use super::source::{Origin, UnitBounds, chunk_bounds, constant_bounds, file_bounds, no_nan, origin};
use super::{Scan, Unit};
use crate::table::reader::{Bounds, FileMeta};
use crate::table::writer::ROW_GROUP_ROWS;

/// A piece of a scan: what one partition reads at a time.
#[derive(Debug, Clone)]
pub(super) struct Task {
    /// Index of its unit.
    pub(super) unit: usize,
    /// Which rows of it.
    pub(super) part: Part,
}

/// Rows of a unit.
#[derive(Debug, Clone)]
pub(super) enum Part {
    /// A whole file, its footer not read yet.
    File,
    /// One row group.
    RowGroup {
        /// The file's footer.
        meta: Arc<FileMeta>,
        /// Which.
        index: usize,
    },
    /// Some rows of a hot chunk.
    Rows {
        /// The first.
        start: usize,
        /// How many.
        rows: usize,
    },
}

impl Scan {
    /// The pieces a scan begins with, in unit order: files, and hot chunks in pieces of a row group's size.
    pub(super) fn tasks(&self) -> Vec<Task> {
        let mut tasks = vec![];
        for (unit, source) in self.units.iter().enumerate() {
            match source {
                Unit::File(_) => tasks.push(Task { unit, part: Part::File }),
                Unit::Chunk(chunk) => {
                    let all = chunk.batch.num_rows();
                    for start in (0..all).step_by(ROW_GROUP_ROWS) {
                        let rows = ROW_GROUP_ROWS.min(all - start);
                        tasks.push(Task { unit, part: Part::Rows { start, rows } });
                    }
                }
            }
        }
        tasks
    }

    /// The row groups of a file.
    pub(super) fn row_groups(unit: usize, meta: &Arc<FileMeta>) -> Vec<Task> {
        let part = |index| Part::RowGroup { meta: Arc::clone(meta), index };
        (0..meta.row_groups.len()).map(|index| Task { unit, part: part(index) }).collect()
    }

    /// A task's rows.
    pub(super) fn task_rows(&self, task: &Task) -> u64 {
        match (&task.part, &self.units[task.unit]) {
            (Part::RowGroup { meta, index }, _) => meta.row_groups[*index].rows as u64,
            (Part::Rows { rows, .. }, _) => *rows as u64,
            (Part::File, Unit::File(file)) => file.rows,
            (Part::File, Unit::Chunk(chunk)) => chunk.batch.num_rows() as u64,
        }
    }

    /// A task's rows that were not replaced.
    pub(super) fn latest_rows(&self, task: &Task) -> u64 {
        let all = self.task_rows(task);
        let Some(mask) = self.replaced(task.unit) else { return all };
        let replaced = match &task.part {
            Part::File => mask.count_set_bits(),
            Part::RowGroup { meta, index } => {
                let group = meta.row_groups[*index];
                usize::try_from(group.start).map_or(0, |start| mask.slice(start, group.rows).count_set_bits())
            }
            Part::Rows { start, rows } => mask.slice(*start, *rows).count_set_bits(),
        };
        all - replaced as u64
    }

    /// What is known of a column (index into the table's schema) in a task. What cannot be found out is not known.
    pub(super) fn bounds(&self, task: &Task, column: usize) -> Bounds {
        let Some(column) = self.state.def.columns.get(column) else { return Bounds::default() };
        match (&task.part, &self.units[task.unit]) {
            (Part::RowGroup { meta, index }, Unit::File(file)) => match origin(file, meta, column) {
                Ok(Origin::File(at)) => meta.bounds(*index, at, &column.data_type, no_nan(file, column)),
                Ok(Origin::Constant(value)) => constant_bounds(&value, meta.row_groups[*index].rows as u64),
                Err(_) => Bounds::default(),
            },
            // The NULLs of a piece of a chunk are not those of the chunk.
            (Part::Rows { rows, .. }, Unit::Chunk(chunk)) => {
                let whole = *rows == chunk.batch.num_rows();
                let known = chunk_bounds(self.access.as_ref(), chunk, column, false).unwrap_or_default().bounds;
                let none = known.nulls.filter(|&nulls| nulls == 0 || whole);
                Bounds { nulls: none, ..known }
            }
            (_, unit) => self.unit_bounds_of(unit, column, false).unwrap_or_default().bounds,
        }
    }

    /// What is known of a column in a whole unit. `small_too`: also of small hot chunks.
    pub(super) fn unit_bounds(&self, unit: usize, column: usize, small_too: bool) -> Result<UnitBounds> {
        let Some(column) = self.state.def.columns.get(column) else { return Ok(UnitBounds::default()) };
        self.unit_bounds_of(&self.units[unit], column, small_too)
    }

    fn unit_bounds_of(&self, unit: &Unit, column: &crate::record::ColumnDef, small_too: bool) -> Result<UnitBounds> {
        Ok(match unit {
            Unit::File(file) => file_bounds(file, column)?,
            Unit::Chunk(chunk) => chunk_bounds(self.access.as_ref(), chunk, column, small_too)?,
        })
    }
}
