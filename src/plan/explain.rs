//! EXPLAIN: the physical plan as lines of text or as JSON, both shaped as PostgreSQL's, which tools read.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::streaming::StreamingTableExec;
use futures::TryStreamExt;
use serde_json::{Map, Value, json};
use tidemill_catalog::Oid;
use tidemill_catalog::table::scan::TableScanExec;

use super::{Plan, Planner, Scope};
use crate::Result;

/// What EXPLAIN was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    /// Of the query part: run it, and tell what it took.
    pub(crate) analyze: bool,
    pub(crate) verbose: bool,
    pub(crate) costs: bool,
    pub(crate) json: bool,
    /// The change that the plan finds rows for.
    pub(crate) change: Option<Change>,
}

/// INSERT, UPDATE, DELETE or MERGE.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change {
    /// As PostgreSQL's plans call it.
    pub(crate) operation: &'static str,
    pub(crate) table: Oid,
    /// What it took, microseconds, where ANALYZE ran it.
    pub(crate) took: Option<i64>,
}

/// See [`Planner::explain`].
pub(super) async fn explain(
    planner: &Planner,
    scope: &Arc<Scope>,
    plan: &Plan,
    parameters: &[ScalarValue],
    options: Options,
) -> Result<Vec<String>> {
    let started = scope.instance.clock.now();
    let physical = planner.physical(scope, plan, parameters).await?;
    let planned = scope.instance.clock.now();
    let mut times = None;
    if options.analyze {
        let mut stream = planner.run(scope, Arc::clone(&physical))?;
        while stream.try_next().await?.is_some() {}
        times = Some((planned - started, scope.instance.clock.now() - planned));
    }
    if let Some(took) = options.change.and_then(|change| change.took) {
        times = Some((planned - started, took));
    }
    if options.json {
        let mut whole = Map::new();
        let mut plan = node(scope, physical.as_ref(), options);
        if let Some(change) = options.change {
            plan = change_node(scope, change, plan, options.costs.then(|| Estimate::of(physical.as_ref())));
        }
        whole.insert("Plan".into(), plan);
        if let Some((planning, execution)) = times {
            whole.insert("Planning Time".into(), json!(milliseconds(planning)));
            whole.insert("Execution Time".into(), json!(milliseconds(execution)));
        }
        let text = serde_json::to_string_pretty(&Value::Array(vec![Value::Object(whole)]))
            .map_err(|error| crate::Error::internal(error.to_string()))?;
        return Ok(vec![text]);
    }
    let mut lines = vec![];
    if let Some(change) = options.change {
        let mut line = change.operation.to_owned();
        if let Some((_, table)) = named(scope, change.table) {
            line.push_str(&format!(" on {table}"));
        }
        if options.costs {
            let Estimate { startup, total, .. } = Estimate::of(physical.as_ref());
            line.push_str(&format!("  (cost={startup:.2}..{total:.2} rows=0 width=0)"));
        }
        if let Some(took) = change.took {
            line.push_str(&actual(milliseconds(took), 0));
        }
        lines.push(line);
    }
    write(scope, physical.as_ref(), usize::from(options.change.is_some()), options, &mut lines);
    if let Some((planning, execution)) = times {
        lines.push(format!("Planning Time: {:.3} ms", milliseconds(planning)));
        lines.push(format!("Execution Time: {:.3} ms", milliseconds(execution)));
    }
    Ok(lines)
}

#[expect(clippy::cast_precision_loss, reason = "times of statements are far below 2^53 microseconds")]
fn milliseconds(micros: i64) -> f64 {
    micros as f64 / 1000.0
}

/// A table's schema and name.
fn named(scope: &Scope, oid: Oid) -> Option<(String, String)> {
    let object = scope.object(oid)?;
    let schema = if object.parent >= super::TEMP_SCHEMA {
        "pg_temp".to_owned()
    } else {
        scope.object(object.parent)?.name.clone()
    };
    Some((schema, object.name.clone()))
}

/// Schema and name of the relation that an operator reads.
fn relation(scope: &Arc<Scope>, plan: &dyn ExecutionPlan) -> Option<(String, String)> {
    if let Some(scan) = plan.downcast_ref::<TableScanExec>() {
        return named(scope, scan.table());
    }
    let rows = plan.downcast_ref::<StreamingTableExec>()?.partitions().first()?;
    // A relation of the system calls itself by its name.
    let text = format!("{rows:?}");
    let (schema, name) = text.split_once('.')?;
    super::system::relation(scope, schema, name)?;
    Some((schema.to_owned(), name.to_owned()))
}

/// The operator below those that only pass rows on, or choose and compute columns: PostgreSQL's plans have no nodes for these.
/// With the condition of a filter right above a relation, which is part of its scan there.
fn shown(plan: &dyn ExecutionPlan) -> (&dyn ExecutionPlan, Option<String>) {
    let mut plan = plan;
    loop {
        let [child] = plan.children()[..] else { return (plan, None) };
        let child = child.as_ref();
        if plan.is::<CooperativeExec>() || plan.is::<ProjectionExec>() {
            plan = child;
            continue;
        }
        let Some(filter) = plan.downcast_ref::<FilterExec>() else { return (plan, None) };
        return match shown(child) {
            (scan, None) if scan.children().is_empty() => (scan, Some(filter.predicate().to_string())),
            _ => (plan, None),
        };
    }
}

/// What people call an operator. `reads`: it reads a relation.
fn name(plan: &dyn ExecutionPlan, reads: bool) -> String {
    let name = plan.name();
    match name {
        _ if reads => "Seq Scan".into(),
        "HashJoinExec" => "Hash Join".into(),
        "SortMergeJoinExec" => "Merge Join".into(),
        "NestedLoopJoinExec" | "CrossJoinExec" => "Nested Loop".into(),
        "AggregateExec" => "Aggregate".into(),
        "SortExec" => "Sort".into(),
        "SortPreservingMergeExec" => "Gather Merge".into(),
        "CoalescePartitionsExec" => "Gather".into(),
        "GlobalLimitExec" | "LocalLimitExec" => "Limit".into(),
        "ProjectionExec" => "Projection".into(),
        "FilterExec" => "Filter".into(),
        "UnionExec" | "InterleaveExec" => "Append".into(),
        "WindowAggExec" | "BoundedWindowAggExec" => "WindowAgg".into(),
        "PlaceholderRowExec" => "Result".into(),
        "StreamingTableExec" => "Function Scan".into(),
        other => {
            let words = other.trim_end_matches("Exec");
            let mut spaced = String::new();
            for (at, letter) in words.char_indices() {
                if at > 0 && letter.is_uppercase() {
                    spaced.push(' ');
                }
                spaced.push(letter);
            }
            spaced
        }
    }
}

/// An operator's own words, without its name.
fn detail(plan: &dyn ExecutionPlan, verbose: bool) -> String {
    let text = if verbose {
        datafusion::physical_plan::displayable(plan).set_show_schema(false).indent(true).to_string()
    } else {
        datafusion::physical_plan::displayable(plan).one_line().to_string()
    };
    let text = text.lines().next().unwrap_or_default();
    let text = text.trim().trim_start_matches(plan.name()).trim_start_matches(':').trim();
    // The relation is told by its name.
    let rest = text.strip_prefix("table=").and_then(|rest| rest.split_once(", ")).map(|(_, rest)| rest);
    rest.unwrap_or(text).to_owned()
}

fn metrics(plan: &dyn ExecutionPlan) -> (Option<usize>, Option<f64>) {
    let Some(metrics) = plan.metrics() else { return (None, None) };
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds of one operator")]
    let time = metrics.elapsed_compute().map(|nanos| nanos as f64 / 1_000_000.0);
    (metrics.output_rows(), time)
}

/// What ANALYZE tells of an operator: the time it computed for, in milliseconds; when its first row came is not known.
fn actual(time: f64, rows: usize) -> String {
    format!(" (actual time=0.000..{time:.3} rows={rows} loops=1)")
}

/// What an operator is thought to give and to take, in PostgreSQL's units: a page of 8 KiB read in order costs 1, a row 0.01. No
/// plan is chosen by these costs; clients compare them, and ask for rows that they need not count.
struct Estimate {
    startup: f64,
    total: f64,
    rows: f64,
    /// Bytes of a row, about.
    width: usize,
}

/// seq_page_cost over a page's bytes.
const BYTE_COST: f64 = 1.0 / 8192.0;
/// cpu_tuple_cost
const ROW_COST: f64 = 0.01;
/// Rows of what does not say, as PostgreSQL thinks of functions.
const ROWS_UNKNOWN: f64 = 1000.0;
/// Rows of a group, where nothing is known, as PostgreSQL thinks.
const ROWS_PER_GROUP: f64 = 5.0;
/// Bytes of a value of varying length, as PostgreSQL thinks.
const WIDTH_UNKNOWN: usize = 32;

impl Estimate {
    #[expect(clippy::cast_precision_loss, reason = "estimates")]
    fn of(plan: &dyn ExecutionPlan) -> Self {
        let inputs: Vec<Self> = plan.children().into_iter().map(|child| Self::of(child.as_ref())).collect();
        let statistics = StatisticsContext::new().compute(plan, &StatisticsArgs::new()).ok();
        let known = statistics.as_ref().and_then(|statistics| statistics.num_rows.get_value()).copied();
        let most = inputs.iter().map(|input| input.rows).reduce(f64::max);
        let rows = match (known, most, plan.downcast_ref::<AggregateExec>()) {
            (Some(rows), ..) => rows as f64,
            (_, Some(_), Some(aggregate)) if aggregate.group_expr().is_true_no_grouping() => 1.0,
            (_, Some(most), Some(_)) => (most / ROWS_PER_GROUP).ceil(),
            (_, Some(most), _) => plan.fetch().map_or(most, |fetch| most.min(fetch as f64)),
            (_, None, _) => ROWS_UNKNOWN,
        };
        let bytes = statistics.as_ref().and_then(|statistics| statistics.total_byte_size.get_value()).copied();
        let read = if inputs.is_empty() { bytes.unwrap_or(0) as f64 * BYTE_COST } else { 0.0 };
        let taken: f64 = inputs.iter().map(|input| input.rows).sum();
        let total = inputs.iter().map(|input| input.total).sum::<f64>() + read + ROW_COST * taken.max(rows);
        // Sorts and aggregates see all rows before they give one, joins those of the left side.
        let startup = match inputs.first() {
            None => 0.0,
            Some(first) if plan.name().ends_with("JoinExec") || plan.is::<SortExec>() || plan.is::<AggregateExec>() => {
                first.total
            }
            Some(first) => first.startup,
        };
        let schema = plan.schema();
        let widths = schema.fields().iter().map(|field| field.data_type().primitive_width().unwrap_or(WIDTH_UNKNOWN));
        Self { startup, total, rows, width: widths.sum() }
    }

    fn tell(&self, node: &mut Map<String, Value>) {
        let hundredths = |cost: f64| (cost * 100.0).round() / 100.0;
        node.insert("Startup Cost".into(), json!(hundredths(self.startup)));
        node.insert("Total Cost".into(), json!(hundredths(self.total)));
        #[expect(clippy::cast_possible_truncation, reason = "estimates")]
        node.insert("Plan Rows".into(), json!(self.rows as i64));
        node.insert("Plan Width".into(), json!(self.width));
    }
}

fn write(scope: &Arc<Scope>, plan: &dyn ExecutionPlan, depth: usize, options: Options, lines: &mut Vec<String>) {
    let indent = match depth {
        0 => String::new(),
        depth => format!("{}->  ", " ".repeat(depth * 6 - 4)),
    };
    let (plan, filter) = shown(plan);
    let relation = relation(scope, plan);
    let mut line = format!("{indent}{}", name(plan, relation.is_some()));
    if let Some((_, relation)) = relation {
        line.push_str(&format!(" on {relation}"));
    }
    if options.costs {
        let Estimate { startup, total, rows, width } = Estimate::of(plan);
        line.push_str(&format!("  (cost={startup:.2}..{total:.2} rows={rows:.0} width={width})"));
    }
    if options.analyze {
        let (rows, time) = metrics(plan);
        line.push_str(&actual(time.unwrap_or(0.0), rows.unwrap_or(0)));
    }
    lines.push(line);
    let below = " ".repeat(depth * 6 + 2);
    if let Some(filter) = filter {
        lines.push(format!("{below}Filter: {filter}"));
    }
    let detail = detail(plan, options.verbose);
    if !detail.is_empty() {
        lines.push(format!("{below}Detail: {detail}"));
    }
    for child in plan.children() {
        write(scope, child.as_ref(), depth + 1, options, lines);
    }
}

/// The node of a change over that of the rows that it is about.
fn change_node(scope: &Scope, change: Change, rows: Value, estimate: Option<Estimate>) -> Value {
    let mut object = Map::new();
    object.insert("Node Type".into(), json!("ModifyTable"));
    object.insert("Operation".into(), json!(change.operation));
    object.insert("Parallel Aware".into(), Value::Bool(false));
    if let Some((schema, name)) = named(scope, change.table) {
        object.insert("Relation Name".into(), Value::String(name));
        object.insert("Schema".into(), Value::String(schema));
    }
    if let Some(estimate) = estimate {
        Estimate { rows: 0.0, width: 0, ..estimate }.tell(&mut object);
    }
    if let Some(took) = change.took {
        object.insert("Actual Startup Time".into(), json!(0.0));
        object.insert("Actual Total Time".into(), json!(milliseconds(took)));
        object.insert("Actual Rows".into(), json!(0));
        object.insert("Actual Loops".into(), json!(1));
    }
    object.insert("Plans".into(), Value::Array(vec![rows]));
    Value::Object(object)
}

fn node(scope: &Arc<Scope>, plan: &dyn ExecutionPlan, options: Options) -> Value {
    let (plan, filter) = shown(plan);
    let mut object = Map::new();
    let relation = relation(scope, plan);
    object.insert("Node Type".into(), Value::String(name(plan, relation.is_some())));
    object.insert("Parallel Aware".into(), Value::Bool(false));
    if let Some((schema, name)) = relation {
        object.insert("Relation Name".into(), Value::String(name));
        object.insert("Schema".into(), Value::String(schema));
    }
    if options.costs {
        Estimate::of(plan).tell(&mut object);
    }
    if options.analyze {
        let (rows, time) = metrics(plan);
        object.insert("Actual Startup Time".into(), json!(0.0));
        object.insert("Actual Total Time".into(), json!(time.unwrap_or(0.0)));
        object.insert("Actual Rows".into(), json!(rows.unwrap_or(0)));
        object.insert("Actual Loops".into(), json!(1));
    }
    if let Some(filter) = filter {
        object.insert("Filter".into(), Value::String(filter));
    }
    let detail = detail(plan, options.verbose);
    if !detail.is_empty() {
        object.insert("Detail".into(), Value::String(detail));
    }
    let children: Vec<Value> = plan.children().into_iter().map(|child| node(scope, child.as_ref(), options)).collect();
    if !children.is_empty() {
        object.insert("Plans".into(), Value::Array(children));
    }
    Value::Object(object)
}
