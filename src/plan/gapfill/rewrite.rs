//! From a typed plan with calls of the functions to one with [`GapFill`] nodes.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DataFusionError, ExprSchema};
use datafusion::logical_expr::logical_plan::builder::LogicalPlanBuilder;
use datafusion::logical_expr::{Aggregate, EmptyRelation, Expr, Extension, Filter, LogicalPlan, Projection, Window};

use super::node::{Filling, GapFill};
use super::range::{Bound, Side, bounds};
use super::{BUCKET, FILLS, call_of};
use crate::Result;
use crate::error::{Error, SqlState};
use crate::plan::Scope;
use crate::plan::extension::{has_subquery, rewritten};

/// Puts the node under every projection of a query grouped by `time_bucket_gapfill`.
///
/// # Errors
/// 0A000 for calls where they cannot stand, as TimescaleDB words it.
pub(in crate::plan) fn rewrite(scope: &Arc<Scope>, plan: LogicalPlan) -> Result<LogicalPlan> {
    if !mentions(&plan)? {
        return Ok(plan);
    }
    rewritten(plan, |node| match node {
        LogicalPlan::Projection(projection) => projected(scope, projection),
        other => Ok(Transformed::no(other)),
    })
}

/// True if a bucket is grouped by anywhere.
fn mentions(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Aggregate(aggregate) = node {
            found = found || aggregate.group_expr.iter().any(|expr| calls(expr, &[BUCKET]) > 0);
        }
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// How many calls of these functions an expression has.
fn calls(expr: &Expr, names: &[&str]) -> usize {
    let mut count = 0;
    let _ = expr.apply(|expr| {
        count += usize::from(call_of(expr, names).is_some());
        Ok(TreeNodeRecursion::Continue)
    });
    count
}

fn refuse<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::unsupported(message))
}

/// What stands between a projection and its aggregation, top down.
struct Stack {
    windows: Vec<Window>,
    having: Vec<Expr>,
    aggregate: Aggregate,
}

fn stack(plan: &LogicalPlan) -> Option<Stack> {
    let (mut windows, mut having) = (vec![], vec![]);
    let mut plan = plan;
    loop {
        plan = match plan {
            LogicalPlan::Window(window) if having.is_empty() => {
                windows.push(window.clone());
                &window.input
            }
            LogicalPlan::Filter(filter) => {
                having.push(filter.predicate.clone());
                &filter.input
            }
            LogicalPlan::Aggregate(aggregate) => {
                return Some(Stack { windows, having, aggregate: aggregate.clone() });
            }
            _ => return None,
        };
    }
}

fn projected(scope: &Arc<Scope>, projection: Projection) -> Result<Transformed<LogicalPlan>> {
    let unchanged = |projection| Ok(Transformed::no(LogicalPlan::Projection(projection)));
    let Some(Stack { windows, having, aggregate }) = stack(&projection.input) else { return unchanged(projection) };
    let count: usize = aggregate.group_expr.iter().map(|expr| calls(expr, &[BUCKET])).sum();
    if count == 0 {
        return unchanged(projection);
    }
    if count > 1 {
        return refuse("multiple time_bucket_gapfill calls not allowed");
    }
    let top = |expr: &Expr| call_of(unaliased(expr), &[BUCKET]).map(|(_, args)| args.to_vec());
    let Some((time, args)) = (0..).zip(&aggregate.group_expr).find_map(|(at, expr)| Some((at, top(expr)?))) else {
        return refuse("no top level time_bucket_gapfill in group by clause");
    };
    for name in FILLS {
        if aggregate.aggr_expr.iter().any(|expr| calls(expr, &[name]) > 0) {
            return refuse(format!("aggregate functions must be below {name}"));
        }
    }
    let mut filling = Building::new(scope, aggregate, time, &args, having)?;
    // Windows last: what they refer to is found under the names they know.
    let exprs = projection.expr.iter().map(|expr| filling.without_calls(expr, &windows)).collect::<Result<Vec<_>>>()?;
    let mut above = vec![];
    for window in &windows {
        let exprs =
            window.window_expr.iter().map(|expr| filling.without_calls(expr, &[])).collect::<Result<Vec<_>>>()?;
        above.push(exprs);
    }
    let used = exprs.iter().chain(above.iter().flatten()).flat_map(Expr::column_refs).cloned().collect();
    let mut plan = filling.finish(&args, &used)?;
    for exprs in above.into_iter().rev() {
        plan = LogicalPlan::Window(Window::try_new(exprs, Arc::new(plan))?);
    }
    Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?)))
}

fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}

/// The name of a column the node fills.
fn fill_name(at: usize) -> String {
    format!("\u{1}fill{at}")
}

/// The node while it is put together.
struct Building {
    /// The aggregation, with HAVING.
    base: LogicalPlan,
    /// What the calls fill, below the node: the base's columns, then one for each call, then times of values.
    below: Vec<Expr>,
    fillings: Vec<Filling>,
    time: usize,
    series: Vec<usize>,
    /// The calls, and where their columns are.
    calls: Vec<(Expr, Column)>,
    constants: Vec<Expr>,
    lookups: Vec<LogicalPlan>,
    bounds: Vec<Bound>,
}

impl Building {
    fn new(scope: &Arc<Scope>, aggregate: Aggregate, time: usize, args: &[Expr], having: Vec<Expr>) -> Result<Self> {
        let groups = aggregate.group_expr.len();
        let mut bounds = match unaliased(&args[1]) {
            Expr::Column(column) => bounds(scope, &aggregate.input, column),
            _ => vec![],
        };
        // What is given explicitly counts instead.
        for (side, given) in [(Side::Start, &args[2]), (Side::Finish, &args[3])] {
            if !is_null(given) {
                bounds.retain(|bound| bound.side != side);
                bounds.push(Bound { side, inclusive: side == Side::Start, value: given.clone() });
            }
        }
        let (relation, field) = aggregate.schema.qualified_field(time);
        let (relation, name) = (relation.cloned(), field.name().clone());
        let mut group_expr = aggregate.group_expr;
        group_expr[time] = args[0].clone().alias_qualified(relation, name);
        let mut base = LogicalPlan::Aggregate(Aggregate::try_new(aggregate.input, group_expr, aggregate.aggr_expr)?);
        for predicate in having.into_iter().rev() {
            base = LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(base))?);
        }
        let below: Vec<Expr> = base.schema().iter().map(|field| Expr::Column(Column::from(field))).collect();
        let fillings = (0..below.len())
            .map(|at| match at {
                at if at == time => Filling::Time,
                at if at < groups => Filling::Series,
                _ => Filling::Null,
            })
            .collect();
        let series = (0..groups).filter(|at| *at != time).collect();
        Ok(Self { base, below, fillings, time, series, calls: vec![], constants: vec![], lookups: vec![], bounds })
    }

    /// The expression over the node's columns. `windows`: those between, whose columns are not there yet.
    fn without_calls(&mut self, expr: &Expr, windows: &[Window]) -> Result<Expr> {
        let mut failure = None;
        let name = expr.qualified_name();
        let replaced = expr.clone().transform_down(|expr| {
            if call_of(&expr, &FILLS).is_none() {
                return Ok(Transformed::no(expr));
            }
            match self.column_of(&expr, windows) {
                Ok(column) => Ok(Transformed::new(Expr::Column(column), true, TreeNodeRecursion::Jump)),
                Err(error) => {
                    failure = Some(error);
                    Err(DataFusionError::Plan(String::new()))
                }
            }
        });
        match replaced {
            Ok(replaced)
                if replaced.transformed && !matches!(replaced.data, Expr::Alias(_) | Expr::WindowFunction(_)) =>
            {
                let (relation, name) = name;
                Ok(replaced.data.alias_qualified(relation, name))
            }
            Ok(replaced) => Ok(replaced.data),
            Err(error) => Err(failure.unwrap_or_else(|| error.into())),
        }
    }

    /// The node's column of a call.
    fn column_of(&mut self, call: &Expr, windows: &[Window]) -> Result<Column> {
        if let Some((_, column)) = self.calls.iter().find(|(known, _)| known == call) {
            return Ok(column.clone());
        }
        let Some((name, args)) = call_of(call, &FILLS) else { return Err(Error::internal("not a call that fills")) };
        let value = &args[0];
        if calls(value, &FILLS) > 0 {
            return refuse("multiple interpolate/locf function calls per resultset column not supported");
        }
        let above_aggregate = |expr: &Expr| {
            let known = self.base.schema();
            expr.column_refs().into_iter().any(|column| known.maybe_index_of_column(column).is_none())
        };
        if above_aggregate(value) && !windows.is_empty() {
            return refuse(format!("window functions must not be below {name}"));
        }
        let filling = match (name, args) {
            ("locf", [_, prev, flag]) => Filling::Locf { null_is_missing: is_true(flag), prev: self.lookup(prev)? },
            ("interpolate", [_, prev, next, flag]) => Filling::Interpolate {
                null_is_missing: is_true(flag),
                prev: self.lookup(prev)?,
                next: self.lookup(next)?,
                at: None,
            },
            ("interpolate_at", [_, at, prev, next, flag]) => {
                let at = at.clone();
                let (prev, next) = (self.lookup(prev)?, self.lookup(next)?);
                let place = self.add(at, Filling::Null);
                Filling::Interpolate { null_is_missing: is_true(flag), prev, next, at: Some(place) }
            }
            ("fill_with", [_, constant]) => {
                if !constant.column_refs().is_empty() || has_subquery(constant) {
                    return refuse("invalid fill_with argument: the second must be a constant");
                }
                self.constants.push(constant.clone());
                Filling::Value(self.constants.len() - 1)
            }
            _ => return Err(Error::internal("a call that was not typed")),
        };
        let place = self.add(value.clone(), filling);
        let column = Column::new_unqualified(fill_name(place));
        self.calls.push((call.clone(), column.clone()));
        Ok(column)
    }

    fn add(&mut self, value: Expr, filling: Filling) -> usize {
        let place = self.below.len();
        self.below.push(unaliased(&value).clone().alias(fill_name(place)));
        self.fillings.push(filling);
        place
    }

    /// A query of one value; the columns of the series it names are those of the gap.
    fn lookup(&mut self, value: &Expr) -> Result<Option<usize>> {
        if is_null(value) {
            return Ok(None);
        }
        let one = LogicalPlan::EmptyRelation(EmptyRelation {
            produce_one_row: true,
            schema: Arc::new(datafusion::common::DFSchema::empty()),
        });
        let value = unaliased(value).clone().alias("value");
        // Columns are the series': not those of the one row.
        let schema = Arc::clone(self.base.schema());
        let value = value
            .transform_up(|expr| match expr {
                Expr::Column(column) => {
                    let field = Arc::clone(schema.as_ref().field_from_column(&column)?);
                    Ok(Transformed::yes(Expr::OuterReferenceColumn(field, column)))
                }
                other => Ok(Transformed::no(other)),
            })?
            .data;
        self.lookups.push(LogicalPlanBuilder::from(one).project(vec![value])?.build()?);
        Ok(Some(self.lookups.len() - 1))
    }

    /// Leaves out the base's columns that only the calls read: there would be two of each.
    fn prune(&mut self, used: &HashSet<Column>) {
        let (groups, base) = (self.series.len() + 1, self.base.schema().fields().len());
        let column = |at: usize| Column::from(self.base.schema().qualified_field(at));
        let kept: Vec<usize> =
            (0..self.below.len()).filter(|at| *at < groups || *at >= base || used.contains(&column(*at))).collect();
        let place = |at: usize| kept.iter().position(|kept| *kept == at).unwrap_or(at);
        self.below = kept.iter().map(|at| self.below[*at].clone()).collect();
        self.fillings = kept
            .iter()
            .map(|at| match self.fillings[*at].clone() {
                Filling::Interpolate { null_is_missing, prev, next, at: Some(at) } => {
                    Filling::Interpolate { null_is_missing, prev, next, at: Some(place(at)) }
                }
                other => other,
            })
            .collect();
    }

    fn finish(mut self, args: &[Expr], used: &HashSet<Column>) -> Result<LogicalPlan> {
        self.prune(used);
        for (side, word) in [(Side::Start, "start"), (Side::Finish, "finish")] {
            if !self.bounds.iter().any(|bound| bound.side == side) {
                let message = format!("missing time_bucket_gapfill argument: could not infer {word} from WHERE clause");
                return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
                    .hint("Specify start and finish as arguments or in the WHERE clause."));
            }
        }
        let input = LogicalPlan::Projection(Projection::try_new(self.below, Arc::new(self.base))?);
        let schema = GapFill::schema_of(&input, &self.fillings)?;
        let bucket = [args[4].clone(), args[5].clone(), args[6].clone(), args[7].clone()];
        let node = GapFill {
            input,
            schema,
            time: self.time,
            series: self.series,
            fillings: self.fillings,
            bucket,
            bounds: self.bounds,
            constants: self.constants,
            lookups: self.lookups,
        };
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }
}

fn is_null(expr: &Expr) -> bool {
    matches!(unaliased(expr), Expr::Literal(value, _) if value.is_null())
}

fn is_true(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(datafusion::common::ScalarValue::Boolean(Some(true)), _))
}
