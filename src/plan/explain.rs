//! EXPLAIN: the physical plan as lines of text or as PostgreSQL's JSON.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::physical_plan::ExecutionPlan;
use futures::TryStreamExt;
use serde_json::{Map, Value, json};

use super::{Plan, Planner, Scope};
use crate::Result;

/// What EXPLAIN was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options {
    pub(super) analyze: bool,
    pub(super) verbose: bool,
    pub(super) json: bool,
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
    if options.json {
        let mut whole = Map::new();
        whole.insert("Plan".into(), node(physical.as_ref(), options));
        if let Some((planning, execution)) = times {
            whole.insert("Planning Time".into(), json!(milliseconds(planning)));
            whole.insert("Execution Time".into(), json!(milliseconds(execution)));
        }
        let text = serde_json::to_string_pretty(&Value::Array(vec![Value::Object(whole)]))
            .map_err(|error| crate::Error::internal(error.to_string()))?;
        return Ok(vec![text]);
    }
    let mut lines = vec![];
    write(physical.as_ref(), 0, options, &mut lines);
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

/// What people call an operator.
fn name(plan: &dyn ExecutionPlan) -> String {
    let name = plan.name();
    match name {
        "DataSourceExec" => "Table Scan".into(),
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
    text.trim().trim_start_matches(plan.name()).trim_start_matches(':').trim().to_owned()
}

fn metrics(plan: &dyn ExecutionPlan) -> (Option<usize>, Option<f64>) {
    let Some(metrics) = plan.metrics() else { return (None, None) };
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds of one operator")]
    let time = metrics.elapsed_compute().map(|nanos| nanos as f64 / 1_000_000.0);
    (metrics.output_rows(), time)
}

fn write(plan: &dyn ExecutionPlan, depth: usize, options: Options, lines: &mut Vec<String>) {
    let indent = match depth {
        0 => String::new(),
        depth => format!("{}->  ", " ".repeat(depth * 6 - 4)),
    };
    let mut line = format!("{indent}{}", name(plan));
    let detail = detail(plan, options.verbose);
    if !detail.is_empty() {
        line.push_str(&format!(": {detail}"));
    }
    if options.analyze {
        let (rows, time) = metrics(plan);
        let rows = rows.map_or_else(|| "?".into(), |rows| rows.to_string());
        let time = time.map_or_else(|| "?".into(), |time| format!("{time:.3}"));
        line.push_str(&format!(" (actual time={time} rows={rows})"));
    }
    lines.push(line);
    for child in plan.children() {
        write(child.as_ref(), depth + 1, options, lines);
    }
}

fn node(plan: &dyn ExecutionPlan, options: Options) -> Value {
    let mut object = Map::new();
    object.insert("Node Type".into(), Value::String(name(plan)));
    object.insert("Parallel Aware".into(), Value::Bool(false));
    let detail = detail(plan, options.verbose);
    if !detail.is_empty() {
        object.insert("Detail".into(), Value::String(detail));
    }
    if options.analyze {
        let (rows, time) = metrics(plan);
        if let Some(time) = time {
            object.insert("Actual Total Time".into(), json!(time));
        }
        if let Some(rows) = rows {
            object.insert("Actual Rows".into(), json!(rows));
        }
    }
    let children: Vec<Value> = plan.children().into_iter().map(|child| node(child.as_ref(), options)).collect();
    if !children.is_empty() {
        object.insert("Plans".into(), Value::Array(children));
    }
    Value::Object(object)
}
