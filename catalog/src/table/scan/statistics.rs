//! What the planner may know without reading rows. Without filters it is exact, so COUNT, MIN and MAX need no scan.

use std::collections::BTreeSet;

use arrow::datatypes::Schema;
use datafusion_common::stats::Precision;
use datafusion_common::{ColumnStatistics, Result, ScalarValue, Statistics};

use super::Scan;
use super::exec::TableScanExec;

/// The share of rows that pass a filter about which nothing is known, as DataFusion assumes it: one in so many.
const FILTER_SELECTIVITY: usize = 5;

/// Statistics of a scan's output.
pub(super) fn of_scan(exec: &TableScanExec, fetch: Option<usize>) -> Result<Statistics> {
    let scan = &exec.scan;
    let units: BTreeSet<usize> = exec.tasks.iter().map(|task| task.unit).collect();
    let exact = exec.filters.is_empty() && fetch.is_none();
    let rows: u64 = exec.tasks.iter().map(|task| scan.latest_rows(task)).sum();
    let columns = exec.projection.iter().map(|&column| of_column(scan, &units, column, exact));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let rows = usize::try_from(rows).unwrap_or(usize::MAX);
    let bytes = rows.saturating_mul(row_bytes(&exec.scan.schema, &exec.projection));
    let statistics = Statistics {
        num_rows: Precision::Exact(rows),
        total_byte_size: Precision::Inexact(bytes),
        column_statistics: columns,
    };
    if exact {
        return Ok(statistics);
    }
    let passing = if exec.filters.is_empty() { rows } else { rows.div_ceil(FILTER_SELECTIVITY) };
    let passing = fetch.map_or(passing, |fetch| passing.min(fetch.saturating_mul(exec_partitions(exec))));
    let mut statistics = statistics.to_inexact();
    statistics.num_rows = Precision::Inexact(passing);
    statistics.total_byte_size =
        Precision::Inexact(passing.saturating_mul(row_bytes(&exec.scan.schema, &exec.projection)));
    Ok(statistics)
}

/// Statistics of a table, cheap: hot rows are counted but not looked at.
pub(super) fn of_table(scan: &Scan) -> Result<Statistics> {
    let units: BTreeSet<usize> = (0..scan.units.len()).collect();
    let rows: u64 = scan.tasks().iter().map(|task| scan.task_rows(task)).sum();
    let columns = (0..scan.schema.fields().len()).map(|column| of_column(scan, &units, column, false));
    Ok(Statistics {
        num_rows: Precision::Exact(usize::try_from(rows).unwrap_or(usize::MAX)),
        total_byte_size: Precision::Absent,
        column_statistics: columns.collect::<Result<_>>()?,
    })
}

/// One of several partitions: about its share.
pub(super) fn share(whole: Statistics, partitions: usize) -> Statistics {
    let mut share = whole.to_inexact();
    let part = |of: Precision<usize>| match of.get_value() {
        Some(value) => Precision::Inexact(value / partitions),
        None => Precision::Absent,
    };
    share.num_rows = part(share.num_rows);
    share.total_byte_size = part(share.total_byte_size);
    share
}

fn exec_partitions(exec: &TableScanExec) -> usize {
    use datafusion_physical_plan::ExecutionPlan;
    exec.properties().partitioning.partition_count()
}

fn of_column(scan: &Scan, units: &BTreeSet<usize>, column: usize, small_too: bool) -> Result<ColumnStatistics> {
    let mut whole = ColumnStatistics::new_unknown();
    if column >= scan.state.def.columns.len() {
        return Ok(whole);
    }
    let (mut min, mut max): (Option<ScalarValue>, Option<ScalarValue>) = (None, None);
    let (mut nulls, mut exact, mut known, mut nulls_known) = (0_u64, true, true, true);
    let mut nulls_exact = true;
    for &unit in units {
        let of_unit = scan.unit_bounds(unit, column, small_too)?;
        // The extremes may be those of rows that were replaced.
        let all_count = scan.replaced(unit).is_none();
        (exact, nulls_exact) = (exact && all_count, nulls_exact && all_count);
        let all_null = of_unit.bounds.nulls == Some(scan.unit_rows(unit));
        match of_unit.bounds.nulls {
            Some(count) => nulls += count,
            None => nulls_known = false,
        }
        match (of_unit.bounds.min, of_unit.bounds.max) {
            (Some(low), Some(high)) => {
                exact &= of_unit.exact;
                if min.as_ref().is_none_or(|min| low < *min) {
                    min = Some(low);
                }
                if max.as_ref().is_none_or(|max| high > *max) {
                    max = Some(high);
                }
            }
            _ => known &= all_null,
        }
    }
    let precision = |value: Option<ScalarValue>| match value {
        Some(value) if known && exact => Precision::Exact(value),
        Some(value) if known => Precision::Inexact(value),
        _ => Precision::Absent,
    };
    whole.min_value = precision(min);
    whole.max_value = precision(max);
    if let (true, Ok(nulls)) = (nulls_known, usize::try_from(nulls)) {
        whole.null_count = if nulls_exact { Precision::Exact(nulls) } else { Precision::Inexact(nulls) };
    }
    Ok(whole)
}

/// A guess at the memory of one row.
fn row_bytes(schema: &Schema, projection: &[usize]) -> usize {
    projection.iter().map(|&column| schema.field(column).data_type().primitive_width().unwrap_or(24)).sum()
}
