//! Subqueries that DataFusion cannot turn into joins: evaluated once per distinct binding of the outer columns they name.
//!
//! ```text
//! (SELECT x FROM t WHERE t.a = o.a ORDER BY y LIMIT 1)   →   apply(o.a): runs the plan with $outer1 = o.a
//! FROM o, LATERAL (…)                                    →   unnest(apply(o.a)): a list of rows
//! FROM o, unnest(o.items)                                →   the function's plan on top of o, no subquery at all
//! ```
//! A fallback: [`physical`] lets DataFusion try first.

use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use datafusion::arrow::array::{Array, ArrayRef, ListArray, RecordBatch, StructArray};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{
    Column, DFSchema, DataFusionError, NullHandling, Result, ScalarValue, UnnestOptions, internal_err,
};
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::builder::unnest_with_options;
use datafusion::logical_expr::expr::{
    Case, Exists, InSubquery, Placeholder, ScalarFunction, SetComparison, SetQuantifier,
};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    ColumnarValue, Expr, Join, JoinType, LogicalPlan, LogicalPlanBuilder, Operator, Projection, ScalarFunctionArgs,
    ScalarUDFImpl, Signature, Subquery, Unnest, Volatility,
};
use datafusion::physical_plan::collect;
use parking_lot::Mutex;

use super::driver;
use super::engine::{Engine, StatementOptions};
use super::extension::has_subquery;
use super::run;
use crate::error::{Error, SqlState};

/// Optimizes a plan and makes its physical plan; where DataFusion refuses a subquery, with that subquery applied.
pub(super) async fn physical(
    engine: &Engine,
    plan: LogicalPlan,
) -> Result<Arc<dyn datafusion::physical_plan::ExecutionPlan>> {
    let catalog;
    let engine = if driver::is_about_catalog(&plan) {
        catalog = engine.about_catalog();
        &catalog
    } else {
        engine
    };
    let plan = super::gapfill::with_bounds(engine, plan).await?;
    let plan = grafted(plan)?;
    if !has_subqueries(&plan) {
        let plan = engine.optimized(plan)?;
        return engine.physical(&plan).await;
    }
    let plan = super::not_in::exact(spread(plan)?)?;
    // What DataFusion would read otherwise than PostgreSQL is never left to it.
    let plan = if misread_anywhere(&plan) { applied(plan, Reach::Misread)? } else { plan };
    let mut failure = None;
    for reach in [None, Some(Reach::Scalars), Some(Reach::All)] {
        let attempt = match reach {
            None => Ok(plan.clone()),
            Some(reach) => applied(plan.clone(), reach),
        };
        let result = match attempt.and_then(|plan| engine.optimized(plan)) {
            Ok(plan) => engine.physical(&plan).await,
            Err(error) => Err(error),
        };
        match result {
            Ok(physical) => return Ok(physical),
            // What a constant subexpression says is the user's error, not a refusal.
            Err(error)
                if matches!(error.find_root(), DataFusionError::External(_) | DataFusionError::ArrowError(..)) =>
            {
                return Err(error);
            }
            Err(error) => failure = Some(error),
        }
    }
    failure.map_or_else(|| internal_err!("no attempt was made"), Err)
}

/// Which subqueries are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Only those whose meaning DataFusion's rewriting would change.
    Misread,
    /// Correlated scalar ones, lateral ones, and those that are not conditions of a WHERE.
    Scalars,
    /// All but scalar ones without correlation.
    All,
}

fn has_subqueries(plan: &LogicalPlan) -> bool {
    let mut found = false;
    let _ = plan.apply(|node| {
        found = found || matches!(node, LogicalPlan::Subquery(_));
        let _ = node.apply_expressions(|expr| {
            expr.apply(|expr| {
                found = found
                    || matches!(
                        expr,
                        Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_)
                    );
                Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
            })
        });
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    found
}

/// The plan with VALUES that hold subqueries as rows computed one by one: the engine takes VALUES for constants.
fn spread(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_up(|node| match node {
        LogicalPlan::Values(values) if values.values.iter().flatten().any(has_subquery) => {
            let fields = values.schema.fields();
            let mut rows = values.values.into_iter().map(|row| {
                let exprs = row.into_iter().zip(fields).map(|(expr, field)| {
                    let metadata = FieldMetadata::from(field.metadata().clone());
                    expr.unalias().alias_with_metadata(field.name(), Some(metadata))
                });
                LogicalPlanBuilder::empty(true).project(exprs)?.build()
            });
            let Some(first) = rows.next() else { return internal_err!("VALUES without rows") };
            let plan = rows.try_fold(LogicalPlanBuilder::from(first?), |all, row| all.union(row?))?.build()?;
            Ok(Transformed::yes(plan))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(plan.data)
}

fn misread_anywhere(plan: &LogicalPlan) -> bool {
    let mut found = false;
    let _ = plan.apply(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                found = found
                    || match expr {
                        Expr::SetComparison(_) => true,
                        Expr::ScalarSubquery(subquery) => is_misread(subquery, Use::Value),
                        Expr::InSubquery(within) => is_misread(&within.subquery, Use::Value),
                        Expr::Exists(exists) => is_misread(&exists.subquery, Use::Existence),
                        _ => false,
                    };
                Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
            })
        })
    });
    found
}

/// What a subquery is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Value,
    Existence,
}

/// True if DataFusion, making a join of a correlated subquery, would forget its LIMIT or OFFSET, which count for each
/// outer row.
fn is_misread(subquery: &Subquery, asked: Use) -> bool {
    if subquery.outer_ref_columns.is_empty() {
        return false;
    }
    subquery
        .subquery
        .exists(|node| {
            Ok(match node {
                LogicalPlan::Limit(limit) => asked == Use::Value || limit.skip.is_some(),
                _ => false,
            })
        })
        .unwrap_or(false)
}

/// What a subquery's rows become.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// The only row's only column; NULL without a row.
    Scalar(DataType),
    /// Is there a row?
    Exists { negated: bool },
    /// Is the first argument among the rows?
    In { negated: bool },
    /// The first argument compared with every row: is it so for all, or for any?
    Compared { op: Operator, all: bool },
    /// All rows, as a list of structs.
    Rows(Fields),
}

/// A subquery as a function of the outer columns it names.
struct Apply {
    id: u64,
    kind: Kind,
    /// With placeholders `$outer1…` for the arguments.
    plan: LogicalPlan,
    signature: Signature,
    /// The rows, where no outer column changes them.
    fixed: tokio::sync::OnceCell<RecordBatch>,
    /// Their values, if there are many and of a type whose equal values have one form.
    members: OnceLock<Option<HashSet<ScalarValue>>>,
    memo: Mutex<HashMap<Vec<ScalarValue>, ScalarValue>>,
}

static NEXT: AtomicU64 = AtomicU64::new(0);

/// The name of the function a subquery becomes.
const SUBPLAN: &str = "subplan";

/// Fewer rows are compared one by one.
const MEMBERS_MIN: usize = 64;

/// Results remembered; past this many the memory starts again.
const MEMO_MAX: usize = 65_536;

impl std::fmt::Debug for Apply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Apply({})", self.id)
    }
}

impl PartialEq for Apply {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Apply {}

impl Hash for Apply {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl Apply {
    fn call(kind: Kind, plan: LogicalPlan, args: Vec<Expr>) -> Expr {
        let apply = Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            kind,
            plan,
            signature: Signature::one_of(
                vec![
                    datafusion::logical_expr::TypeSignature::Nullary,
                    datafusion::logical_expr::TypeSignature::VariadicAny,
                ],
                Volatility::Volatile,
            ),
            fixed: tokio::sync::OnceCell::new(),
            members: OnceLock::new(),
            memo: Mutex::default(),
        };
        let udf = AsyncScalarUDF::new(Arc::new(apply)).into_scalar_udf();
        Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(udf), args))
    }

    /// The subquery's rows for these outer values.
    async fn rows(&self, engine: &Engine, values: &[ScalarValue]) -> Result<RecordBatch> {
        if values.is_empty() {
            return self.fixed.get_or_try_init(|| self.run(engine, values)).await.cloned();
        }
        self.run(engine, values).await
    }

    async fn run(&self, engine: &Engine, values: &[ScalarValue]) -> Result<RecordBatch> {
        let bound = self.plan.clone().transform_down_with_subqueries(|node| {
            node.map_expressions(|expr| {
                expr.transform(|expr| match &expr {
                    Expr::Placeholder(Placeholder { id, field }) => {
                        let Some(value) = outer_index(id).and_then(|at| values.get(at)) else {
                            return Ok(Transformed::no(expr));
                        };
                        // The type in SQL goes with it: of an int2vector indexes begin at 0.
                        let metadata = field.as_ref().map(|field| FieldMetadata::from(field.metadata().clone()));
                        Ok(Transformed::yes(Expr::Literal(value.clone(), metadata)))
                    }
                    _ => Ok(Transformed::no(expr)),
                })
            })
        })?;
        let physical = Box::pin(physical(engine, bound.data)).await?;
        let schema = physical.schema();
        let batches = collect(physical, engine.task()).await?;
        Ok(concat_batches(&schema, &batches)?)
    }

    /// The values to look among, where rows are always the same.
    fn members(&self, rows: &ArrayRef) -> Result<Option<&HashSet<ScalarValue>>> {
        if let Some(members) = self.members.get() {
            return Ok(members.as_ref());
        }
        let data_type = rows.data_type();
        let has_one_form =
            data_type.is_integer() || matches!(data_type, DataType::Utf8View | DataType::Utf8 | DataType::Date32);
        let members = (has_one_form && rows.len() >= MEMBERS_MIN)
            .then(|| {
                let valid = (0..rows.len()).filter(|row| rows.is_valid(*row));
                valid.map(|row| ScalarValue::try_from_array(rows, row)).collect::<Result<HashSet<_>>>()
            })
            .transpose()?;
        Ok(self.members.get_or_init(|| members).as_ref())
    }

    async fn evaluate(&self, engine: &Engine, values: &[ScalarValue]) -> Result<ScalarValue> {
        let (needle, values) = match self.kind {
            Kind::In { .. } | Kind::Compared { .. } => (values.first(), &values[1..]),
            _ => (None, values),
        };
        let rows = self.rows(engine, values).await?;
        Ok(match &self.kind {
            Kind::Exists { negated } => ScalarValue::Boolean(Some((rows.num_rows() > 0) != *negated)),
            Kind::Scalar(data_type) => match rows.num_rows() {
                0 => ScalarValue::try_from(data_type)?,
                1 => ScalarValue::try_from_array(rows.column(0), 0)?.cast_to(data_type)?,
                _ => {
                    return Err(Error::new(
                        SqlState::CARDINALITY_VIOLATION,
                        "more than one row returned by a subquery used as an expression",
                    )
                    .into());
                }
            },
            Kind::In { negated } => {
                let (needle, rows) = (needle.unwrap_or(&ScalarValue::Null), rows.column(0));
                let members = if values.is_empty() && !needle.is_null() { self.members(rows)? } else { None };
                let found = match members {
                    Some(members) if members.contains(&needle.cast_to(rows.data_type())?) => Some(true),
                    Some(_) => (rows.null_count() == 0).then_some(false),
                    None => compared(needle, Operator::Eq, false, rows)?,
                };
                ScalarValue::Boolean(found.map(|found| found != *negated))
            }
            Kind::Compared { op, all } => {
                ScalarValue::Boolean(compared(needle.unwrap_or(&ScalarValue::Null), *op, *all, rows.column(0))?)
            }
            Kind::Rows(fields) => {
                let columns = rows
                    .columns()
                    .iter()
                    .zip(fields)
                    .map(|(column, field)| Ok(datafusion::arrow::compute::cast(column, field.data_type())?))
                    .collect::<Result<Vec<_>>>()?;
                let rows: ArrayRef =
                    Arc::new(StructArray::try_new_with_length(fields.clone(), columns, None, rows.num_rows())?);
                let list = ListArray::try_new(
                    Arc::new(Field::new_list_field(rows.data_type().clone(), true)),
                    OffsetBuffer::from_lengths([rows.len()]),
                    rows,
                    None,
                )?;
                ScalarValue::List(Arc::new(list))
            }
        })
    }
}

/// `x op ALL (values)`, `x op ANY (values)` with SQL's NULLs.
fn compared(value: &ScalarValue, op: Operator, all: bool, values: &ArrayRef) -> Result<Option<bool>> {
    use datafusion::arrow::compute::kernels::cmp;
    if values.is_empty() {
        return Ok(Some(all));
    }
    if value.is_null() {
        return Ok(None);
    }
    let value = value.cast_to(values.data_type())?.to_scalar()?;
    let results = match op {
        Operator::Eq => cmp::eq(&value, values)?,
        Operator::NotEq => cmp::neq(&value, values)?,
        Operator::Lt => cmp::lt(&value, values)?,
        Operator::LtEq => cmp::lt_eq(&value, values)?,
        Operator::Gt => cmp::gt(&value, values)?,
        Operator::GtEq => cmp::gt_eq(&value, values)?,
        other => return Err(Error::unsupported(format!("{other} ANY/ALL with a subquery is not supported")).into()),
    };
    let decided = if all { results.false_count() > 0 } else { results.true_count() > 0 };
    Ok(match decided {
        true => Some(!all),
        false if results.null_count() > 0 => None,
        false => Some(all),
    })
}

impl ScalarUDFImpl for Apply {
    fn name(&self) -> &str {
        SUBPLAN
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn schema_name(&self, _args: &[Expr]) -> Result<String> {
        Ok(format!("subplan {}", self.id))
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(match &self.kind {
            Kind::Scalar(data_type) => data_type.clone(),
            Kind::Exists { .. } | Kind::In { .. } | Kind::Compared { .. } => DataType::Boolean,
            Kind::Rows(fields) => DataType::new_list(DataType::Struct(fields.clone()), true),
        })
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("a subplan runs asynchronously")
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for Apply {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let options = args.config_options.extensions.get::<StatementOptions>();
        let Some(scope) = options.and_then(|options| options.scope.as_ref()) else {
            return internal_err!("a subplan without a statement");
        };
        let engine = Engine::new(scope, run::runtime(scope));
        let columns = args.args.iter().map(|arg| arg.to_array(args.number_rows)).collect::<Result<Vec<_>>>()?;
        let mut results = Vec::with_capacity(args.number_rows);
        for row in 0..args.number_rows {
            let key =
                columns.iter().map(|column| ScalarValue::try_from_array(column, row)).collect::<Result<Vec<_>>>()?;
            let known = self.memo.lock().get(&key).cloned();
            let value = match known {
                Some(value) => value,
                None => {
                    let value = self.evaluate(&engine, &key).await?;
                    let mut memo = self.memo.lock();
                    if memo.len() >= MEMO_MAX {
                        memo.clear();
                    }
                    memo.insert(key, value.clone());
                    value
                }
            };
            results.push(value);
        }
        if results.is_empty() {
            return Ok(ColumnarValue::Array(datafusion::arrow::array::new_empty_array(args.return_field.data_type())));
        }
        Ok(ColumnarValue::Array(ScalarValue::iter_to_array(results)?))
    }
}

fn outer_index(id: &str) -> Option<usize> {
    id.strip_prefix("$outer")?.parse::<usize>().ok()?.checked_sub(1)
}

/// A subquery's plan as a function: placeholders for outer columns, and the expressions that give them.
fn detached(plan: LogicalPlan, outer: &DFSchema) -> Result<(LogicalPlan, Vec<Expr>)> {
    // Columns that the plan's own nodes have: a nested subquery's outer columns are among them.
    let mut own = vec![];
    plan.apply(|node| {
        own.push(Arc::clone(node.schema()));
        Ok(TreeNodeRecursion::Continue)
    })?;
    let mut args: Vec<Expr> = vec![];
    let plan = plan
        .transform_up_with_subqueries(|node| {
            node.map_expressions(|expr| {
                expr.transform(|expr| match expr {
                    Expr::OuterReferenceColumn(field, column) => {
                        let arg = if outer.has_column(&column) {
                            Expr::Column(column.clone())
                        } else if own.iter().any(|schema| schema.has_column(&column)) {
                            return Ok(Transformed::no(Expr::OuterReferenceColumn(field, column)));
                        } else {
                            Expr::OuterReferenceColumn(Arc::clone(&field), column.clone())
                        };
                        let at = args.iter().position(|known| *known == arg).unwrap_or_else(|| {
                            args.push(arg);
                            args.len() - 1
                        });
                        let placeholder = Placeholder::new_with_field(format!("$outer{}", at + 1), Some(field));
                        Ok(Transformed::yes(Expr::Placeholder(placeholder)))
                    }
                    Expr::ScalarSubquery(subquery) => Ok(Transformed::yes(Expr::ScalarSubquery(again(subquery)))),
                    Expr::Exists(exists) => Ok(Transformed::yes(Expr::Exists(Exists {
                        subquery: again(exists.subquery),
                        negated: exists.negated,
                    }))),
                    Expr::InSubquery(within) => Ok(Transformed::yes(Expr::InSubquery(InSubquery::new(
                        within.expr,
                        again(within.subquery),
                        within.negated,
                    )))),
                    Expr::SetComparison(comparison) => Ok(Transformed::yes(Expr::SetComparison(SetComparison::new(
                        comparison.expr,
                        again(comparison.subquery),
                        comparison.op,
                        comparison.quantifier,
                    )))),
                    other => Ok(Transformed::no(other)),
                })
            })
        })?
        .data;
    Ok((plan, args))
}

/// A subquery whose plan changed: which outer columns it still names.
fn again(subquery: Subquery) -> Subquery {
    let outer_ref_columns = subquery.subquery.all_out_ref_exprs();
    Subquery { outer_ref_columns, ..subquery }
}

/// The plan with subqueries applied.
fn applied(plan: LogicalPlan, reach: Reach) -> Result<LogicalPlan> {
    Ok(plan
        .transform_up(|node| {
            if reach != Reach::Misread
                && let LogicalPlan::Join(join) = &node
                && let Some(subquery) = lateral(&join.right)
            {
                return Ok(Transformed::yes(applied_lateral(join, subquery)?));
            }
            if let LogicalPlan::Join(join) = &node
                && join.join_type == JoinType::Inner
                && join.filter.as_ref().is_some_and(has_subquery)
            {
                let mut join = join.clone();
                let filter = join.filter.take();
                let schema = Arc::clone(&join.schema);
                let condition = filter.map_or_else(
                    || Ok(Transformed::no(Expr::default())),
                    |filter| applied_expression(filter, &schema, reach, true),
                )?;
                let plan = LogicalPlanBuilder::from(LogicalPlan::Join(join)).filter(condition.data)?.build()?;
                return Ok(Transformed::yes(plan));
            }
            let condition = matches!(node, LogicalPlan::Filter(_));
            let inputs = node.inputs();
            if inputs.is_empty() {
                return Ok(Transformed::no(node));
            }
            let schema = merge_schema(&inputs);
            let names = NamePreserver::new(&node);
            let node = node.map_expressions(|expr| {
                let saved = names.save(&expr);
                Ok(applied_expression(expr, &schema, reach, condition)?.update_data(|expr| saved.restore(expr)))
            })?;
            if !node.transformed {
                return Ok(node);
            }
            node.map_data(|node| match node {
                LogicalPlan::Sort(_) | LogicalPlan::Window(_) => lifted(node),
                node => node.recompute_schema(),
            })
        })?
        .data)
}

/// A node whose operator does not wait for subqueries, with them computed below it.
pub(super) fn lifted(node: LogicalPlan) -> Result<LogicalPlan> {
    let output = Arc::clone(node.schema());
    let input = node.inputs().first().map(|input| (*input).clone());
    let Some(input) = input else { return internal_err!("a node without an input") };
    let mut calls: Vec<Expr> = vec![];
    let node = node
        .map_expressions(|expr| {
            expr.transform_down(|expr| match &expr {
                Expr::ScalarFunction(call) if call.func.name() == SUBPLAN => {
                    let name = format!("\u{1}{SUBPLAN}{}", calls.len());
                    calls.push(expr.alias(&name));
                    Ok(Transformed::new(Expr::Column(Column::new_unqualified(name)), true, TreeNodeRecursion::Jump))
                }
                _ => Ok(Transformed::no(expr)),
            })
        })?
        .data;
    let exprs = node.expressions();
    let mut below = columns_of(input.schema());
    below.extend(calls);
    let below = LogicalPlan::Projection(Projection::try_new(below, Arc::new(input))?);
    let node = node.with_new_exprs(exprs, vec![below])?;
    Ok(LogicalPlan::Projection(Projection::try_new(columns_of(&output), Arc::new(node))?))
}

fn applied_expression(expr: Expr, schema: &DFSchema, reach: Reach, condition: bool) -> Result<Transformed<Expr>> {
    let tests = reach == Reach::All || reach == Reach::Scalars && !condition;
    let wanted = |subquery: &Subquery, asked: Use| tests || is_misread(subquery, asked);
    expr.transform_up(|expr| match expr {
        Expr::SetComparison(SetComparison { expr, subquery, op, quantifier }) => {
            let (plan, mut args) = detached(Arc::unwrap_or_clone(subquery.subquery), schema)?;
            args.insert(0, *expr);
            let all = quantifier == SetQuantifier::All;
            Ok(Transformed::yes(Apply::call(Kind::Compared { op, all }, plan, args)))
        }
        Expr::ScalarSubquery(subquery)
            if !subquery.outer_ref_columns.is_empty()
                && (reach != Reach::Misread || is_misread(&subquery, Use::Value)) =>
        {
            let data_type = subquery.subquery.schema().field(0).data_type().clone();
            let (plan, args) = detached(Arc::unwrap_or_clone(subquery.subquery), schema)?;
            Ok(Transformed::yes(Apply::call(Kind::Scalar(data_type), plan, args)))
        }
        Expr::Exists(Exists { subquery, negated }) if wanted(&subquery, Use::Existence) => {
            let (plan, args) = detached(Arc::unwrap_or_clone(subquery.subquery), schema)?;
            let plan = LogicalPlanBuilder::from(plan).limit(0, Some(1))?.build()?;
            Ok(Transformed::yes(Apply::call(Kind::Exists { negated }, plan, args)))
        }
        Expr::InSubquery(within) if wanted(&within.subquery, Use::Value) => {
            Ok(Transformed::yes(applied_in(within, schema)?))
        }
        Expr::Case(case) if case.when_then_expr.iter().any(|(when, then)| !has_subplan(when) && has_subplan(then)) => {
            Ok(Transformed::yes(Expr::Case(guarded(case)?)))
        }
        other => Ok(Transformed::no(other)),
    })
}

/// `x IN (SELECT …)` evaluated: true, false or NULL.
pub(super) fn applied_in(within: InSubquery, schema: &DFSchema) -> Result<Expr> {
    let InSubquery { expr, subquery, negated } = within;
    let (plan, mut args) = detached(Arc::unwrap_or_clone(subquery.subquery), schema)?;
    args.insert(0, *expr);
    Ok(Apply::call(Kind::In { negated }, plan, args))
}

pub(super) fn has_subplan(expr: &Expr) -> bool {
    let is_subplan = |expr: &Expr| matches!(expr, Expr::ScalarFunction(call) if call.func.name() == SUBPLAN);
    expr.exists(|expr| Ok(is_subplan(expr))).unwrap_or(false)
}

/// CASE asks each branch's subqueries for that branch's rows only: elsewhere their arguments are NULL, one binding for all.
/// Without that a subquery would run for every row before the CASE is looked at.
fn guarded(mut case: Case) -> Result<Case> {
    for (when, then) in &mut case.when_then_expr {
        if has_subplan(when) {
            continue;
        }
        let condition = match &case.expr {
            Some(value) => value.as_ref().clone().eq(when.as_ref().clone()),
            None => when.as_ref().clone(),
        };
        let guard = |arg: Expr| Expr::Case(Case::new(None, vec![(Box::new(condition.clone()), Box::new(arg))], None));
        let branch = std::mem::take(then.as_mut()).transform_up(|expr| match expr {
            Expr::ScalarFunction(call) if call.func.name() == SUBPLAN => {
                let args = call.args.into_iter().map(guard).collect();
                Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(call.func, args))))
            }
            other => Ok(Transformed::no(other)),
        })?;
        **then = branch.data;
    }
    Ok(case)
}

/// The lateral subquery a join's right side is.
fn lateral(plan: &LogicalPlan) -> Option<&Subquery> {
    match plan {
        LogicalPlan::Subquery(subquery) => Some(subquery),
        LogicalPlan::SubqueryAlias(alias) => match alias.input.as_ref() {
            LogicalPlan::Subquery(subquery) => Some(subquery),
            _ => None,
        },
        _ => None,
    }
}

fn columns_of(schema: &DFSchema) -> Vec<Expr> {
    schema.iter().map(|(relation, field)| Expr::Column(Column::from((relation, field)))).collect()
}

fn refuse() -> DataFusionError {
    Error::unsupported("this LATERAL join is not supported").into()
}

/// True for ON TRUE and no condition.
fn is_unconditional(join: &Join) -> bool {
    join.on.is_empty()
        && match &join.filter {
            None => true,
            Some(filter) => matches!(filter, Expr::Literal(ScalarValue::Boolean(Some(true)), _)),
        }
}

fn applied_lateral(join: &Join, subquery: &Subquery) -> Result<LogicalPlan> {
    const ROWS: &str = "\u{1}rows";
    let left = Arc::unwrap_or_clone(Arc::clone(&join.left));
    let right = Arc::clone(join.right.schema());
    let (outer, inner) = match join.join_type {
        JoinType::Inner => (false, subquery.subquery.as_ref().clone()),
        JoinType::Left => (true, restricted(join, subquery)?),
        _ => return Err(refuse()),
    };
    let fields: Fields = right
        .fields()
        .iter()
        .enumerate()
        .map(|(at, field)| Field::new(format!("c{at}"), field.data_type().clone(), true))
        .collect();
    let (plan, args) = detached(inner, left.schema())?;
    let mut exprs = columns_of(left.schema());
    let kept = exprs.clone();
    exprs.push(Apply::call(Kind::Rows(fields), plan, args).alias(ROWS));
    let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(left))?);
    let handling = if outer { NullHandling::PreserveAndExpandEmpty } else { NullHandling::Drop };
    let options = UnnestOptions::new().with_null_handling(handling);
    let plan = unnest_with_options(plan, vec![Column::new_unqualified(ROWS)], options)?;
    let mut exprs = kept;
    for (at, (relation, field)) in right.iter().enumerate() {
        let value = datafusion::functions::core::expr_fn::get_field(
            Expr::Column(Column::new_unqualified(ROWS)),
            format!("c{at}"),
        );
        let metadata = FieldMetadata::from(field.metadata().clone());
        exprs.push(value.alias_qualified_with_metadata(relation.cloned(), field.name(), Some(metadata)));
    }
    let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?);
    conditioned(plan, join)
}

/// The subquery's rows that meet the join's condition: those that a left row is joined with, if there are any.
fn restricted(join: &Join, subquery: &Subquery) -> Result<LogicalPlan> {
    let plan = subquery.subquery.as_ref().clone();
    if is_unconditional(join) {
        return Ok(plan);
    }
    let (left, right) = (join.left.schema(), join.right.schema());
    let on = join.on.iter().map(|(left, right)| left.clone().eq(right.clone()));
    let Some(condition) = on.chain(join.filter.clone()).reduce(Expr::and) else { return Ok(plan) };
    if has_subquery(&condition) {
        return Err(refuse());
    }
    let inner = Arc::clone(plan.schema());
    let condition = condition.transform_up(|expr| {
        let Expr::Column(column) = &expr else { return Ok(Transformed::no(expr)) };
        if let Some(at) = right.maybe_index_of_column(column) {
            return Ok(Transformed::yes(Expr::Column(Column::from(inner.qualified_field(at)))));
        }
        let (_, field) = left.qualified_field(left.index_of_column(column)?);
        Ok(Transformed::yes(Expr::OuterReferenceColumn(Arc::clone(field), column.clone())))
    })?;
    LogicalPlanBuilder::from(plan).filter(condition.data)?.build()
}

/// An inner join's condition on top of what stands for the join.
fn conditioned(plan: LogicalPlan, join: &Join) -> Result<LogicalPlan> {
    if join.join_type != JoinType::Inner || is_unconditional(join) {
        return Ok(plan);
    }
    let mut builder = LogicalPlanBuilder::from(plan);
    for (left, right) in &join.on {
        builder = builder.filter(left.clone().eq(right.clone()))?;
    }
    if let Some(filter) = &join.filter {
        builder = builder.filter(filter.clone())?;
    }
    builder.build()
}

/// The plan with lateral functions (`FROM t, unnest(t.a)`) made part of the plan they are lateral to.
fn grafted(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut any = false;
    plan.apply(|node| {
        any = any || matches!(node, LogicalPlan::Join(join) if lateral(&join.right).is_some());
        Ok(if any { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    if !any {
        return Ok(plan);
    }
    Ok(plan
        .transform_up(|node| {
            let LogicalPlan::Join(join) = &node else { return Ok(Transformed::no(node)) };
            let Some(subquery) = lateral(&join.right) else { return Ok(Transformed::no(node)) };
            let outer = match join.join_type {
                JoinType::Inner => false,
                JoinType::Left if is_unconditional(join) => true,
                _ => return Ok(Transformed::no(node)),
            };
            let Some(plan) = graft(&subquery.subquery, &join.left, outer)? else { return Ok(Transformed::no(node)) };
            let own = plan.schema().columns().into_iter().skip(join.left.schema().fields().len());
            let mut exprs = columns_of(join.left.schema());
            exprs.extend(own.zip(join.right.schema().iter()).map(|(column, (relation, field))| {
                Expr::Column(column).alias_qualified(relation.cloned(), field.name())
            }));
            let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?);
            Ok(Transformed::yes(conditioned(plan, join)?))
        })?
        .data)
}

/// A plan that reads nothing but outer columns, on top of the plan that has them: `left`'s columns, then its own in their order,
/// under names of which none can be one of `left`'s.
fn graft(plan: &LogicalPlan, left: &Arc<LogicalPlan>, outer: bool) -> Result<Option<LogicalPlan>> {
    let width = left.schema().fields().len();
    let grafted = match plan {
        LogicalPlan::EmptyRelation(empty) if empty.produce_one_row => left.as_ref().clone(),
        LogicalPlan::Projection(projection) => {
            let Some(input) = graft(&projection.input, left, outer)? else { return Ok(None) };
            let (inner, here) = (projection.input.schema(), input.schema().columns());
            let mut exprs = columns_of(left.schema());
            for (at, expr) in projection.expr.iter().enumerate() {
                let expr = expr.clone().transform_up(|expr| match expr {
                    Expr::OuterReferenceColumn(_, column) if left.schema().has_column(&column) => {
                        Ok(Transformed::yes(Expr::Column(column)))
                    }
                    Expr::Column(column) => {
                        let at = inner.index_of_column(&column)?;
                        Ok(Transformed::yes(Expr::Column(here[width + at].clone())))
                    }
                    other => Ok(Transformed::no(other)),
                })?;
                if has_subquery(&expr.data) {
                    return Ok(None);
                }
                exprs.push(expr.data.alias(format!("\u{1}own{at}")));
            }
            LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input))?)
        }
        LogicalPlan::Unnest(Unnest { input, exec_columns, options, .. }) => {
            let inner = Arc::clone(input.schema());
            let Some(input) = graft(input, left, outer)? else { return Ok(None) };
            let mut options = options.clone();
            if outer {
                options = options.with_null_handling(NullHandling::PreserveAndExpandEmpty);
            }
            let here = input.schema().columns();
            let columns = exec_columns.iter().map(|column| Ok(here[width + inner.index_of_column(column)?].clone()));
            let columns = columns.collect::<Result<_>>()?;
            unnest_with_options(input, columns, options)?
        }
        LogicalPlan::SubqueryAlias(alias) => match graft(&alias.input, left, outer)? {
            Some(input) => input,
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    let own = grafted.schema().fields().len() - width;
    Ok((own == plan.schema().fields().len()).then_some(grafted))
}
