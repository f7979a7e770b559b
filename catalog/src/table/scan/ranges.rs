//! A scan cut into ranges of time, one for each partition, so that rows of one time are in one partition.
//!
//! ```text
//!  files      |······|·········|····|        the order of time, without overlaps
//!  rows/2     ────────────▲                  interpolated in its file, then moved down to where a bucket begins
//!  partitions [ ts < cut ) [ cut ≤ ts ]      a row group across the cut is read by both, each filters its rows
//! ```

use std::sync::Arc;

use datafusion_common::{Result, ScalarValue};
use datafusion_expr::Operator;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{BinaryExpr, Column, Literal};

use super::filter::Filter;
use super::order::exact_order;
use super::task::Task;
use super::{Scan, prune};

/// What one partition reads.
#[derive(Debug)]
pub(super) struct Range {
    /// The scan's filters and the range, over the table's schema.
    pub(super) filters: Vec<Arc<dyn PhysicalExpr>>,
    pub(super) filter: Option<Filter>,
    /// In the order of time.
    pub(super) tasks: Vec<Task>,
}

impl Range {
    fn new(scan: &Scan, filters: Vec<Arc<dyn PhysicalExpr>>, mut tasks: Vec<Task>) -> Result<Self> {
        prune::retain(&filters, scan, &mut tasks)?;
        Ok(Self { filter: Filter::new(&filters, &scan.schema)?, filters, tasks })
    }
}

/// A partition may have as many rows as this times its fair share.
const UNFAIR_MAX: f64 = 1.5;

/// Cuts a scan of `tasks` with these `filters` into `partitions` ranges of a column (an index into the table's schema) whose bounds
/// `align` has moved. `None` if the pieces do not have the order of that column, or where aligned ranges would leave most of
/// the work to one partition.
pub(super) fn ranges(
    scan: &Scan,
    tasks: &[Task],
    filters: &[Arc<dyn PhysicalExpr>],
    column: usize,
    partitions: usize,
    align: &dyn Fn(i64) -> Option<i64>,
) -> Result<Option<Vec<Range>>> {
    let Some(tasks) = exact_order(scan, tasks, column, false)? else { return Ok(None) };
    let (least, greatest) = limits(filters, column);
    let mut pieces = vec![];
    for unit in tasks.chunk_by(|a, b| a.unit == b.unit) {
        let bounds = scan.unit_bounds(unit[0].unit, column, true)?.bounds;
        let (Some(min), Some(max)) = (number(bounds.min.as_ref()), number(bounds.max.as_ref())) else {
            return Ok(None);
        };
        let rows: u64 = unit.iter().map(|task| scan.task_rows(task)).sum();
        pieces.push(Piece { min, max, rows: rows as f64 }.within(least, greatest));
    }
    let total: f64 = pieces.iter().map(|piece| piece.rows).sum();
    let fair = total / partitions as f64;
    let mut bounds: Vec<i64> = vec![];
    for partition in 1..partitions {
        let Some(at) = time_of_row(&pieces, fair * partition as f64).and_then(align) else { return Ok(None) };
        if bounds.last().is_none_or(|last| *last < at) {
            bounds.push(at);
        }
    }
    let edges: Vec<f64> = bounds.iter().map(|at| rows_before(&pieces, *at)).chain([total]).collect();
    let largest =
        edges.iter().scan(0.0, |before, edge| Some(edge - std::mem::replace(before, *edge))).fold(0.0, f64::max);
    if partitions > 1 && largest > fair * UNFAIR_MAX {
        return Ok(None);
    }
    let starts = std::iter::once(None).chain(bounds.iter().copied().map(Some));
    let ends = bounds.iter().copied().map(Some).chain([None]);
    let condition = |at: Option<i64>, op| at.map(|at| compare(scan, column, op, at));
    let conditions = starts.zip(ends).map(|(start, end)| -> Option<Vec<_>> {
        let own = condition(start, Operator::GtEq).into_iter().chain(condition(end, Operator::Lt));
        filters.iter().map(|filter| Some(Arc::clone(filter))).chain(own).collect()
    });
    let Some(conditions) = conditions.collect::<Option<Vec<_>>>() else { return Ok(None) };
    conditions.into_iter().map(|filters| Range::new(scan, filters, tasks.clone())).collect::<Result<_>>().map(Some)
}

/// A file or hot rows: from `min` to `max`, evenly.
struct Piece {
    min: i64,
    max: i64,
    rows: f64,
}

impl Piece {
    /// The rows up to a time.
    fn before(&self, at: i64) -> f64 {
        let span = self.max as f64 - self.min as f64;
        if span <= 0.0 {
            return if at > self.min { self.rows } else { 0.0 };
        }
        self.rows * ((at as f64 - self.min as f64) / span).clamp(0.0, 1.0)
    }

    fn within(self, least: i64, greatest: i64) -> Self {
        let (min, max) = (self.min.max(least), self.max.min(greatest));
        let rows = (self.before(max) - self.before(min)).max(0.0);
        if min == self.min && max == self.max { self } else { Self { min, max: max.max(min), rows } }
    }
}

fn rows_before(pieces: &[Piece], at: i64) -> f64 {
    pieces.iter().map(|piece| piece.before(at)).sum()
}

fn time_of_row(pieces: &[Piece], row: f64) -> Option<i64> {
    let mut before = 0.0;
    for piece in pieces {
        if piece.rows > 0.0 && before + piece.rows >= row {
            let part = (row - before) / piece.rows;
            return Some(piece.min.saturating_add((part * (piece.max as f64 - piece.min as f64)) as i64));
        }
        before += piece.rows;
    }
    None
}

/// What the filters say of the column at once.
fn limits(filters: &[Arc<dyn PhysicalExpr>], column: usize) -> (i64, i64) {
    let (mut least, mut greatest) = (i64::MIN, i64::MAX);
    for filter in filters {
        let Some(comparison) = filter.downcast_ref::<BinaryExpr>() else { continue };
        let here = comparison.left().downcast_ref::<Column>().is_some_and(|left| left.index() == column);
        let constant = comparison.right().downcast_ref::<Literal>().and_then(|right| number(Some(right.value())));
        let (true, Some(constant)) = (here, constant) else { continue };
        match comparison.op() {
            Operator::Gt | Operator::GtEq => least = least.max(constant),
            Operator::Lt | Operator::LtEq => greatest = greatest.min(constant),
            _ => {}
        }
    }
    (least, greatest)
}

fn number(value: Option<&ScalarValue>) -> Option<i64> {
    match value? {
        ScalarValue::Int16(value) => value.map(i64::from),
        ScalarValue::Int32(value) | ScalarValue::Date32(value) => value.map(i64::from),
        ScalarValue::Int64(value) | ScalarValue::TimestampMicrosecond(value, _) => *value,
        _ => None,
    }
}

/// `column op at`; `None` if the column's type does not have the value.
fn compare(scan: &Scan, column: usize, op: Operator, at: i64) -> Option<Arc<dyn PhysicalExpr>> {
    use arrow::datatypes::DataType;
    let field = scan.schema.field(column);
    let constant = match field.data_type() {
        DataType::Int16 => ScalarValue::Int16(Some(i16::try_from(at).ok()?)),
        DataType::Int32 => ScalarValue::Int32(Some(i32::try_from(at).ok()?)),
        DataType::Date32 => ScalarValue::Date32(Some(i32::try_from(at).ok()?)),
        DataType::Timestamp(_, zone) => ScalarValue::TimestampMicrosecond(Some(at), zone.clone()),
        _ => ScalarValue::Int64(Some(at)),
    };
    let left = Arc::new(Column::new(field.name(), column));
    Some(Arc::new(BinaryExpr::new(left, op, Arc::new(Literal::new(constant)))))
}
