//! Gap filling of a table in the order of time: no sort by series, and one aggregation in each partition.
//!
//! ```text
//!  GapFillExec                            InterleavedGapFillExec
//!    SortExec series, bucket                ProjectionExec
//!      ProjectionExec                         AggregateExec Single, sorted by bucket
//!        AggregateExec Final          →         TableScanExec in ranges, ordered by ts
//!          RepartitionExec
//!            AggregateExec Partial
//!              TableScanExec
//! ```
//! Partitions are ranges of time that begin where a bucket does, so a group is in one of them, and it is over when the next
//! bucket begins. Comes after DataFusion's rules: whatever stands above and relies on the order by series or on a
//! partitioning by it keeps the plan on the left.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::sanity_checker::SanityCheckPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, InputOrderMode, ReplaceChildrenOptions};
use tidemill_catalog::table::scan::TableScanExec;
use tidemill_operators::gapfill::{GapFillExec, InterleavedGapFillExec};

type Plan = Arc<dyn ExecutionPlan>;

/// The rule.
#[derive(Debug)]
pub(in crate::plan) struct Interleave;

impl PhysicalOptimizerRule for Interleave {
    fn optimize(&self, mut plan: Plan, config: &ConfigOptions) -> Result<Plan> {
        let mut kept = 0;
        while let Some(gaps) = nth(&plan, kept)? {
            let Some(gaps) = gaps.downcast_ref::<GapFillExec>() else { break };
            let Some(interleaved) = interleaved(gaps)? else {
                kept += 1;
                continue;
            };
            // What stands above is checked against an input of which nothing is known but that it has these partitions.
            let partitions = interleaved.properties().partitioning.partition_count();
            let empty = Arc::new(EmptyExec::new(gaps.input().schema()).with_partitions(partitions));
            let Some(stub) = InterleavedGapFillExec::try_new(gaps, empty)? else { break };
            let stub = replaced(&plan, kept, &(Arc::new(stub) as Plan))?;
            if SanityCheckPlan::new().optimize(stub, config).is_ok() {
                plan = replaced(&plan, kept, &(Arc::new(interleaved) as Plan))?;
            } else {
                kept += 1;
            }
        }
        Ok(plan)
    }

    fn name(&self) -> &'static str {
        "Interleave"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The n-th gap filling of a plan, from the root.
fn nth(plan: &Plan, n: usize) -> Result<Option<Plan>> {
    let (mut found, mut seen) = (None, 0);
    plan.apply(|node| {
        if node.is::<GapFillExec>() {
            if seen == n {
                found = Some(Arc::clone(node));
                return Ok(TreeNodeRecursion::Stop);
            }
            seen += 1;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

fn replaced(plan: &Plan, n: usize, by: &Plan) -> Result<Plan> {
    let mut seen = 0;
    let plan = Arc::clone(plan).transform_down(|node| {
        if !node.is::<GapFillExec>() {
            return Ok(Transformed::no(node));
        }
        seen += 1;
        if seen - 1 != n {
            return Ok(Transformed::no(node));
        }
        Ok(Transformed::new(Arc::clone(by), true, TreeNodeRecursion::Stop))
    })?;
    Ok(plan.data)
}

/// The other form of a gap filling, if there is one.
fn interleaved(gaps: &GapFillExec) -> Result<Option<InterleavedGapFillExec>> {
    let Some(width) = gaps.steps().fixed() else { return Ok(None) };
    let start = gaps.range().start;
    let align = |at: i64| {
        let (start, width) = (i128::from(start), i128::from(width));
        i64::try_from(start + (i128::from(at) - start).div_euclid(width) * width).ok()
    };
    let Some(input) = aggregated(gaps.input(), gaps.time(), &align)? else { return Ok(None) };
    InterleavedGapFillExec::try_new(gaps, input)
}

/// The plan of an aggregation as rows in the order of time, one of whose columns is the bucket.
fn aggregated(plan: &Plan, time: usize, align: &dyn Fn(i64) -> Option<i64>) -> Result<Option<Plan>> {
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let Some(column) = projected(projection, time) else { return Ok(None) };
        let input = aggregated(projection.input(), column, align)?;
        return input.map(|input| over(plan, input)).transpose();
    }
    if is_arrangement(plan) {
        return aggregated(plan.children()[0], time, align);
    }
    let Some(aggregate) = plan.downcast_ref::<AggregateExec>() else { return Ok(None) };
    let first = match aggregate.mode() {
        AggregateMode::Single | AggregateMode::SinglePartitioned => Some(aggregate),
        AggregateMode::Final | AggregateMode::FinalPartitioned => partial(aggregate.input()),
        AggregateMode::Partial | AggregateMode::PartialReduce => None,
    };
    let Some(first) = first.filter(|first| first.limit_options().is_none() && aggregate.limit_options().is_none())
    else {
        return Ok(None);
    };
    let group: &PhysicalGroupBy = first.group_expr();
    let schema: SchemaRef = first.input().schema();
    let Some(column) = group.expr().get(time).filter(|_| group.is_single()).and_then(|(expr, _)| bucketed(expr)) else {
        return Ok(None);
    };
    // The cuts are in the unit of the bucket.
    if schema.field(column).data_type() != aggregate.schema().field(time).data_type() {
        return Ok(None);
    }
    let Some(input) = in_ranges(first.input(), column, align)? else { return Ok(None) };
    let single = AggregateExec::try_new(
        AggregateMode::Single,
        group.clone(),
        first.aggr_expr().to_vec(),
        first.filter_expr().to_vec(),
        input,
        schema,
    )?;
    let is_ordered = match single.input_order_mode() {
        InputOrderMode::Sorted => true,
        InputOrderMode::PartiallySorted(columns) => columns.first() == Some(&time),
        InputOrderMode::Linear => false,
    };
    Ok((is_ordered && single.schema() == aggregate.schema()).then(|| Arc::new(single) as Plan))
}

fn over(plan: &Plan, input: Plan) -> Result<Plan> {
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    Arc::clone(plan).replace_children(vec![input], options)
}

/// What changes only where rows are, or in which order.
fn is_arrangement(plan: &Plan) -> bool {
    plan.is::<RepartitionExec>()
        || plan.is::<CoalescePartitionsExec>()
        || plan.is::<SortPreservingMergeExec>()
        || plan.is::<CooperativeExec>()
        || plan.downcast_ref::<SortExec>().is_some_and(|sort| sort.fetch().is_none())
}

fn partial(plan: &Plan) -> Option<&AggregateExec> {
    if is_arrangement(plan) {
        return partial(plan.children()[0]);
    }
    plan.downcast_ref::<AggregateExec>().filter(|aggregate| *aggregate.mode() == AggregateMode::Partial)
}

/// The column whose bucket an expression is.
fn bucketed(expr: &Arc<dyn PhysicalExpr>) -> Option<usize> {
    let call = expr.downcast_ref::<ScalarFunctionExpr>().filter(|call| call.name() == "time_bucket")?;
    let (time, others): (Vec<_>, Vec<_>) = call.args().iter().partition(|arg| arg.is::<Column>());
    match time.as_slice() {
        [time] if others.iter().all(|arg| arg.is::<Literal>()) => time.downcast_ref::<Column>().map(Column::index),
        _ => None,
    }
}

fn projected(projection: &ProjectionExec, column: usize) -> Option<usize> {
    projection.expr().get(column)?.expr.downcast_ref::<Column>().map(Column::index)
}

/// The rows of a table in ranges of a column.
fn in_ranges(plan: &Plan, column: usize, align: &dyn Fn(i64) -> Option<i64>) -> Result<Option<Plan>> {
    if let Some(scan) = plan.downcast_ref::<TableScanExec>() {
        return Ok(scan.in_ranges(column, align)?.map(|scan| Arc::new(scan) as Plan));
    }
    if plan.is::<RepartitionExec>() || plan.is::<CoalescePartitionsExec>() {
        return in_ranges(plan.children()[0], column, align);
    }
    let below = if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        projected(projection, column)
    } else if let Some(filter) = plan.downcast_ref::<FilterExec>().filter(|filter| filter.fetch().is_none()) {
        match filter.projection() {
            Some(columns) => columns.get(column).copied(),
            None => Some(column),
        }
    } else {
        plan.is::<CooperativeExec>().then_some(column)
    };
    let Some(below) = below else { return Ok(None) };
    let input = in_ranges(plan.children()[0], below, align)?;
    input.map(|input| over(plan, input)).transpose()
}
