//! What need not be read: predicates against what is known of files, row groups and hot chunks.

use std::sync::Arc;

use arrow::array::{ArrayRef, UInt64Array};
use arrow::datatypes::SchemaRef;
use datafusion_common::pruning::PruningStatistics;
use datafusion_common::{Column, Result, ScalarValue};
use datafusion_physical_expr::{PhysicalExpr, conjunction_opt};
use datafusion_pruning::{PruningPredicate, PruningPredicateBuilder};

use super::Scan;
use super::task::Task;
use crate::table::reader::Bounds;
use crate::table::value::has_order;

/// The predicate that tells which tasks may hold rows for which all of `filters` are true; `None` if none can be ruled out.
pub(super) fn predicate(filters: &[Arc<dyn PhysicalExpr>], schema: &SchemaRef) -> Option<Arc<PruningPredicate>> {
    let all = conjunction_opt(filters.iter().map(Arc::clone))?;
    // A filter that statistics cannot answer is no error: it rules nothing out.
    PruningPredicateBuilder::new().with_file_schema(Arc::clone(schema)).build(all)
}

/// For each task, whether it must be read.
pub(super) fn keep(predicate: &PruningPredicate, scan: &Scan, tasks: &[&Task]) -> Result<Vec<bool>> {
    if tasks.is_empty() {
        return Ok(vec![]);
    }
    predicate.prune(&TaskStatistics { scan, tasks })
}

/// Drops the tasks that hold no rows for which all of `filters` are true.
pub(super) fn retain(filters: &[Arc<dyn PhysicalExpr>], scan: &Scan, tasks: &mut Vec<Task>) -> Result<()> {
    if let Some(predicate) = predicate(filters, &scan.schema) {
        let keep = keep(&predicate, scan, &tasks.iter().collect::<Vec<_>>())?;
        let mut keep = keep.into_iter();
        tasks.retain(|_| keep.next().unwrap_or(true));
    }
    Ok(())
}

/// Tasks as DataFusion's pruning sees them.
struct TaskStatistics<'a> {
    scan: &'a Scan,
    tasks: &'a [&'a Task],
}

impl TaskStatistics<'_> {
    fn values(&self, column: &Column, pick: impl Fn(Bounds) -> Option<ScalarValue>) -> Option<ArrayRef> {
        let index = self.scan.column_index(&column.name)?;
        let data_type = self.scan.schema.field(index).data_type();
        if !has_order(data_type) {
            return None;
        }
        let unknown = ScalarValue::try_from(data_type).ok()?;
        let values = self.tasks.iter().map(|task| {
            pick(self.scan.bounds(task, index))
                .filter(|value| &value.data_type() == data_type)
                .unwrap_or(unknown.clone())
        });
        ScalarValue::iter_to_array(values).ok()
    }
}

impl PruningStatistics for TaskStatistics<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |bounds| bounds.min)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |bounds| bounds.max)
    }

    fn num_containers(&self) -> usize {
        self.tasks.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let index = self.scan.column_index(&column.name)?;
        let counts = self.tasks.iter().map(|task| self.scan.bounds(task, index).nulls);
        Some(Arc::new(counts.collect::<UInt64Array>()))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(self.tasks.iter().map(|task| Some(self.scan.task_rows(task))).collect::<UInt64Array>()))
    }

    fn contained(
        &self,
        _column: &Column,
        _values: &std::collections::HashSet<ScalarValue>,
    ) -> Option<arrow::array::BooleanArray> {
        None
    }
}
