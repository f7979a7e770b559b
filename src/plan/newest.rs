//! The last point of each series without reading the others: `DISTINCT ON (k) … ORDER BY k, ts DESC`, `last(v, ts)`,
//! `max(ts)`, with one key; and the first point the same way.
//!
//! ```text
//!  AggregateExec gby=[k] last(v, ts)        AggregateExec gby=[k] last(v, ts)
//!    TableScanExec                     →      NewestRowsExec k, ts DESC
//!                                               TableScanExec visiting ts DESC until every k is settled
//! ```
//! The scan reads what has the last times first. A row group that comes later is read only if its dictionary has a key of which
//! nothing newer was seen.

use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, ScalarValue};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions};
use tidemill_catalog::table::scan::{Settled, TableScanExec};
use tidemill_operators::newest::{Newest, NewestRowsExec};
use tidemill_udfs::functions::decided_by;

type Plan = Arc<dyn ExecutionPlan>;

/// The rule.
#[derive(Debug)]
pub(super) struct NewestFirst;

impl PhysicalOptimizerRule for NewestFirst {
    fn optimize(&self, plan: Plan, _: &ConfigOptions) -> Result<Plan> {
        // What was seen is of one execution.
        if plan.exists(|node| Ok(node.is::<RecursiveQueryExec>()))? {
            return Ok(plan);
        }
        let plan = plan.transform_up(|node| {
            let Some(aggregate) = node.downcast_ref::<AggregateExec>() else { return Ok(Transformed::no(node)) };
            Ok(match newest(aggregate)? {
                Some(input) => Transformed::yes(over(&node, input)?),
                None => Transformed::no(node),
            })
        })?;
        Ok(plan.data)
    }

    fn name(&self) -> &'static str {
        "NewestFirst"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn over(plan: &Plan, input: Plan) -> Result<Plan> {
    Arc::clone(plan).replace_children(vec![input], ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
}

/// The input of an aggregation without the rows that cannot be the last of their key.
fn newest(aggregate: &AggregateExec) -> Result<Option<Plan>> {
    let reads_rows =
        matches!(aggregate.mode(), AggregateMode::Partial | AggregateMode::Single | AggregateMode::SinglePartitioned);
    let group = aggregate.group_expr();
    let [(key, _)] = group.expr() else { return Ok(None) };
    let (true, true, Some(key)) = (reads_rows, group.is_single(), column(key)) else { return Ok(None) };
    if aggregate.filter_expr().iter().any(Option::is_some) {
        return Ok(None);
    }
    let mut decided = aggregate.aggr_expr().iter().map(|call| {
        let (argument, last) = decided_by(call.fun())?;
        column(call.expressions().get(argument)?).map(|time| (time, last))
    });
    let Some(Some((time, last))) = decided.next() else { return Ok(None) };
    if decided.any(|other| other != Some((time, last))) {
        return Ok(None);
    }
    let schema = aggregate.input().schema();
    // Rows are near the order of time; other numbers are anywhere.
    let is_extreme = aggregate.aggr_expr().iter().all(|call| matches!(call.fun().name(), "max" | "min"));
    if is_extreme && !schema.field(time).data_type().is_temporal() {
        return Ok(None);
    }
    let has_dictionary = matches!(
        schema.field(key).data_type(),
        DataType::Utf8View | DataType::Int16 | DataType::Int32 | DataType::Int64
    );
    if !has_dictionary || !is_number(schema.field(time).data_type()) {
        return Ok(None);
    }
    let newest = Arc::new(Newest::new(schema.field(key).data_type(), last)?);
    let by = Arc::new(SettledBy(Arc::clone(&newest)));
    let Some(input) = settled(aggregate.input(), key, time, last, &by)? else { return Ok(None) };
    Ok(Some(Arc::new(NewestRowsExec::try_new(input, key, time, newest)?)))
}

fn column(expr: &Arc<dyn PhysicalExpr>) -> Option<usize> {
    expr.downcast_ref::<Column>().map(Column::index)
}

fn is_number(data_type: &DataType) -> bool {
    use datafusion::arrow::datatypes::TimeUnit::Microsecond;
    matches!(
        data_type,
        DataType::Timestamp(Microsecond, _) | DataType::Date32 | DataType::Int16 | DataType::Int32 | DataType::Int64
    )
}

/// The rows of a table that asks what is settled.
fn settled(plan: &Plan, key: usize, time: usize, last: bool, by: &Arc<SettledBy>) -> Result<Option<Plan>> {
    if let Some(scan) = plan.downcast_ref::<TableScanExec>() {
        let by = Arc::clone(by);
        return Ok(scan.settled_by(key, time, last, by).map(|scan| Arc::new(scan) as Plan));
    }
    let below = |at: usize| -> Option<usize> {
        if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
            return column(&projection.expr().get(at)?.expr);
        }
        if let Some(filter) = plan.downcast_ref::<FilterExec>().filter(|filter| filter.fetch().is_none()) {
            return filter.projection().as_ref().map_or(Some(at), |columns| columns.get(at).copied());
        }
        plan.is::<CooperativeExec>().then_some(at)
    };
    let (Some(key), Some(time)) = (below(key), below(time)) else { return Ok(None) };
    let input = settled(plan.children()[0], key, time, last, by)?;
    input.map(|input| over(plan, input)).transpose()
}

#[derive(Debug)]
struct SettledBy(Arc<Newest>);

impl Settled for SettledBy {
    fn is_settled(&self, keys: &ArrayRef, bound: &ScalarValue) -> Result<bool> {
        let bound = match bound {
            ScalarValue::Int16(Some(bound)) => i64::from(*bound),
            ScalarValue::Int32(Some(bound)) | ScalarValue::Date32(Some(bound)) => i64::from(*bound),
            ScalarValue::Int64(Some(bound)) | ScalarValue::TimestampMicrosecond(Some(bound), _) => *bound,
            _ => return Ok(false),
        };
        self.0.is_settled(keys, bound)
    }
}
