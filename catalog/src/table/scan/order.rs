//! The order in which a scan visits its pieces.

use std::cmp::Ordering;
use std::fmt;

use datafusion_common::{Result, ScalarValue};

use super::task::{Part, Task};
use super::{Scan, Unit};
use crate::table::adapt::chunk_column;
use crate::table::writer::is_sorted;

/// The order in which a scan visits its pieces. Columns are indices into the table's schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order {
    /// Files in index order, then hot chunks.
    Units,
    /// Pieces that may hold the first rows by that column first, so that a TopK soon rules out the others.
    By {
        /// The column.
        column: usize,
        /// Greatest first.
        descending: bool,
    },
    /// Rows come out in the order of that column, which has no NULLs; partitions follow one another.
    Exact {
        /// The column.
        column: usize,
        /// Greatest first.
        descending: bool,
    },
}

impl Order {
    pub(super) fn is_exact(&self) -> bool {
        matches!(self, Self::Exact { .. })
    }

    /// Rows of a piece go out last to first.
    pub(super) fn reversed(&self) -> bool {
        matches!(self, Self::Exact { descending: true, .. })
    }

    /// Brings pieces that stand in row order into this order.
    pub(super) fn arrange(&self, scan: &Scan, tasks: &mut [Task]) {
        match *self {
            Self::Units => {}
            Self::Exact { descending, .. } => {
                if descending {
                    tasks.reverse();
                }
            }
            Self::By { column, descending } => {
                let key = |task: &Task| {
                    let bounds = scan.bounds(task, column);
                    if descending { bounds.max } else { bounds.min }
                };
                tasks.sort_by_cached_key(|task| Rank { value: key(task), descending });
            }
        }
    }

    pub(super) fn display(&self, f: &mut fmt::Formatter, scan: &Scan) -> fmt::Result {
        let (how, column, descending) = match self {
            Self::Units => return Ok(()),
            Self::By { column, descending } => ("visiting", column, descending),
            Self::Exact { column, descending } => ("ordered by", column, descending),
        };
        let direction = if *descending { "DESC" } else { "ASC" };
        write!(f, ", {how} {} {direction}", scan.schema.field(*column).name())
    }
}

/// A bound to visit by; pieces whose bound is not known come first: they may hold anything.
struct Rank {
    value: Option<ScalarValue>,
    descending: bool,
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.value, &other.value) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(a), Some(b)) => {
                let order = a.partial_cmp(b).unwrap_or(Ordering::Equal);
                if self.descending { order.reverse() } else { order }
            }
        }
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Rank {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Rank {}

/// The pieces in the order of a column, if every piece is sorted by it, has no NULLs in it, and none overlaps another.
pub(super) fn exact_order(scan: &Scan, tasks: &[Task], column: usize, descending: bool) -> Result<Option<Vec<Task>>> {
    let definition = &scan.state.def.columns[column];
    if definition.data_type.is_floating() {
        return Ok(None);
    }
    let mut units: Vec<(ScalarValue, ScalarValue, Vec<Task>)> = vec![];
    let mut at = 0;
    while let Some(first) = tasks.get(at) {
        let pieces = tasks[at..].iter().take_while(|task| task.unit == first.unit).count();
        let pieces_of_unit = tasks[at..at + pieces].to_vec();
        at += pieces;
        let known = scan.unit_bounds(first.unit, column, true)?;
        let (true, Some(min), Some(max), Some(0)) =
            (known.exact, known.bounds.min, known.bounds.max, known.bounds.nulls)
        else {
            return Ok(None);
        };
        let sorted = match &scan.units[first.unit] {
            Unit::File(file) => file.sorted_by.first() == Some(&definition.physical_name),
            Unit::Chunk(chunk) => is_sorted(&vec![chunk_column(&chunk.batch, definition)?])?,
        };
        if !sorted {
            return Ok(None);
        }
        units.push((min, max, pieces_of_unit));
    }
    let order = |a: &ScalarValue, b: &ScalarValue| a.partial_cmp(b).unwrap_or(Ordering::Equal);
    units.sort_by(|a, b| order(&a.0, &b.0).then(order(&a.1, &b.1)));
    if units.windows(2).any(|pair| order(&pair[0].1, &pair[1].0).is_gt()) {
        return Ok(None);
    }
    let mut sorted: Vec<Task> = units.into_iter().flat_map(|unit| unit.2).collect();
    debug_assert!(sorted.iter().all(|task| !matches!(task.part, Part::RowGroup { .. })), "files are not open yet");
    if descending {
        sorted.reverse();
    }
    Ok(Some(sorted))
}
