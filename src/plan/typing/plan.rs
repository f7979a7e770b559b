//! Types of whole plans, bottom up: inputs first, then a node's own expressions over its inputs' columns.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::catalog::cte_worktable::CteWorkTable;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DFSchemaRef, NullEquality, TableReference};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::logical_expr::expr::{Sort, WindowFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::logical_plan::builder::LogicalPlanBuilder;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, Filter, Join, JoinType, Limit, LogicalPlan, Projection, RecursiveQuery, Union, Values,
    WindowFunctionDefinition,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;
use tidemill_udfs::types::{SQL_TYPE_KEY, SqlType};

use super::{Sight, Typed, Typing, common, labelled};
use crate::Result;
use crate::error::{Error, SqlState};
use crate::plan::gapfill;

/// What one output column is to become.
pub(in crate::plan) type Target = (SqlType, DataType);

impl Typing<'_> {
    /// Types a plan. `outer`: the columns of the queries around it. `keep_unknown`: leave untyped literals of the output
    /// as they are, because the caller will say what they become.
    pub(in crate::plan) fn plan(
        &mut self,
        plan: LogicalPlan,
        outer: &[DFSchemaRef],
        keep_unknown: bool,
    ) -> Result<LogicalPlan> {
        match plan {
            LogicalPlan::Projection(projection) => self.projection(projection, outer, keep_unknown),
            LogicalPlan::Values(values) => self.values(values, outer),
            LogicalPlan::Union(union) => self.union(union, outer),
            LogicalPlan::RecursiveQuery(query) => self.recursive(query, outer),
            LogicalPlan::Filter(filter) => {
                let input = self.plan(Arc::unwrap_or_clone(filter.input), outer, false)?;
                let schema = Arc::clone(input.schema());
                let value = self.expression(filter.predicate, &Sight { schema: &schema, outer })?;
                let predicate = self.condition(value, "WHERE")?;
                Ok(LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(input))?))
            }
            LogicalPlan::Limit(limit) => {
                let input = self.plan(Arc::unwrap_or_clone(limit.input), outer, keep_unknown)?;
                let skip = self.row_count(limit.skip, "OFFSET")?;
                let fetch = self.row_count(limit.fetch, "LIMIT")?;
                Ok(LogicalPlan::Limit(Limit { skip, fetch, input: Arc::new(input) }))
            }
            // Lateral to the query around this one, not to a table beside it: nothing special here.
            LogicalPlan::Subquery(subquery) => self.plan(Arc::unwrap_or_clone(subquery.subquery), outer, keep_unknown),
            LogicalPlan::Join(join) if is_set_operation(&join) => self.set_operation(join, outer),
            LogicalPlan::Aggregate(aggregate) if matches!(aggregate.group_expr.as_slice(), [Expr::GroupingSet(_)]) => {
                self.grouping_sets(aggregate, outer)
            }
            LogicalPlan::Aggregate(mut aggregate) => {
                collected_in_order(&mut aggregate)?;
                self.node(LogicalPlan::Aggregate(aggregate), outer)
            }
            LogicalPlan::Join(mut join) => {
                let left = self.plan(Arc::unwrap_or_clone(join.left), outer, false)?;
                // A lateral right side sees the left one.
                let mut inner = outer.to_vec();
                inner.push(Arc::clone(left.schema()));
                let right = self.lateral_side(Arc::unwrap_or_clone(join.right), &inner)?;
                let (left_schema, right_schema) = (Arc::clone(left.schema()), Arc::clone(right.schema()));
                join.on = join
                    .on
                    .into_iter()
                    .map(|(l, r)| {
                        let l = self.settled_expression(l, &Sight { schema: &left_schema, outer })?;
                        let r = self.settled_expression(r, &Sight { schema: &right_schema, outer })?;
                        // Names the missing operator.
                        self.operator(&BinaryOperator::Eq, l.clone(), r.clone())?;
                        let (sql_type, data_type) =
                            common([&l, &r].map(|v| (&v.sql_type, &v.data_type)).into_iter(), "JOIN")?;
                        let l = self.convert_to(l, &sql_type, data_type.clone())?;
                        let r = self.convert_to(r, &sql_type, data_type)?;
                        Ok((l.expr, r.expr))
                    })
                    .collect::<Result<Vec<_>>>()?;
                if let Some(filter) = join.filter {
                    let schema = left_schema.join(&right_schema)?;
                    let value = self.expression(filter, &Sight { schema: &schema, outer })?;
                    join.filter = Some(self.condition(value, "JOIN/ON")?);
                }
                join.left = Arc::new(left);
                join.right = Arc::new(right);
                Ok(LogicalPlan::Join(join).recompute_schema()?)
            }
            LogicalPlan::TableScan(_) | LogicalPlan::EmptyRelation(_) => Ok(plan),
            LogicalPlan::Sort(mut sort) => {
                let input = self.plan(Arc::unwrap_or_clone(sort.input), outer, keep_unknown)?;
                let schema = Arc::clone(input.schema());
                sort.expr = self.sorts(sort.expr, &Sight { schema: &schema, outer })?;
                sort.input = Arc::new(input);
                Ok(LogicalPlan::Sort(sort))
            }
            other => self.node(other, outer),
        }
    }

    /// A join's right side, which stays a lateral subquery if it is one.
    fn lateral_side(&mut self, plan: LogicalPlan, outer: &[DFSchemaRef]) -> Result<LogicalPlan> {
        match plan {
            LogicalPlan::Subquery(mut subquery) => {
                subquery.subquery = Arc::new(self.plan(Arc::unwrap_or_clone(subquery.subquery), outer, false)?);
                subquery.outer_ref_columns = subquery.subquery.all_out_ref_exprs();
                Ok(LogicalPlan::Subquery(subquery))
            }
            LogicalPlan::SubqueryAlias(alias) if matches!(alias.input.as_ref(), LogicalPlan::Subquery(_)) => {
                let input = self.lateral_side(Arc::unwrap_or_clone(alias.input), outer)?;
                Ok(LogicalPlanBuilder::from(input).alias(alias.alias)?.build()?)
            }
            other => self.plan(other, outer, false),
        }
    }

    /// Any other node: its inputs, then its expressions under their old names.
    fn node(&mut self, plan: LogicalPlan, outer: &[DFSchemaRef]) -> Result<LogicalPlan> {
        let mut failure = None;
        let plan = plan
            .map_children(|input| {
                self.plan(input, outer, false).map(Transformed::yes).map_err(|error| keep(&mut failure, error))
            })
            .map_err(|error| failure.take().unwrap_or_else(|| error.into()))?
            .data;
        if matches!(plan, LogicalPlan::Unnest(_)) {
            return unnested(plan.recompute_schema()?);
        }
        let schema = merge_schema(&plan.inputs());
        let names = NamePreserver::new(&plan);
        let grouping = matches!(plan, LogicalPlan::Aggregate(_));
        let plan = plan
            .map_expressions(|expr| {
                let saved = names.save(&expr);
                let sight = Sight { schema: &schema, outer };
                let name = expr.qualified_name();
                let result = match expr {
                    Expr::GroupingSet(_) if grouping => self.expression(expr, &sight).map(|typed| typed.expr),
                    expr => self.settled_expression(expr, &sight).map(|typed| labelled(typed, Some(name), &schema)),
                };
                result.map(|expr| Transformed::yes(saved.restore(expr))).map_err(|error| keep(&mut failure, error))
            })
            .map_err(|error| failure.take().unwrap_or_else(|| error.into()))?
            .data;
        Ok(plan.recompute_schema()?)
    }

    fn projection(&mut self, projection: Projection, outer: &[DFSchemaRef], keep_unknown: bool) -> Result<LogicalPlan> {
        let input = self.plan(Arc::unwrap_or_clone(projection.input), outer, false)?;
        let schema = Arc::clone(input.schema());
        let sight = Sight { schema: &schema, outer };
        let exprs = projection
            .expr
            .into_iter()
            .map(|expr| {
                let name = expr.qualified_name();
                let value = self.expression(expr, &sight)?;
                if value.is_unknown() && keep_unknown {
                    let (relation, name) = name;
                    return Ok(value.expr.unalias().alias_qualified(relation, name));
                }
                let value = self.settled(value)?;
                Ok(labelled(value, Some(name), &schema))
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input))?))
    }

    fn values(&mut self, values: Values, outer: &[DFSchemaRef]) -> Result<LogicalPlan> {
        let empty = DFSchema::empty();
        let sight = Sight { schema: &empty, outer };
        let width = values.schema.fields().len();
        let mut columns: Vec<Vec<Typed>> = (0..width).map(|_| Vec::with_capacity(values.values.len())).collect();
        for row in values.values {
            for (column, expr) in columns.iter_mut().zip(row) {
                column.push(self.expression(expr, &sight)?);
            }
        }
        let mut fields = Vec::with_capacity(width);
        let mut typed = Vec::with_capacity(width);
        for (index, column) in columns.into_iter().enumerate() {
            let (column, sql_type, data_type) = self.unify(column, "VALUES")?;
            let name = values.schema.field(index).name();
            fields.push(
                datafusion::arrow::datatypes::Field::new(name, data_type, true)
                    .with_metadata(super::type_metadata(&sql_type)),
            );
            typed.push(column.into_iter());
        }
        let rows = typed.first().map_or(0, ExactSizeIterator::len);
        let rows =
            (0..rows).map(|_| typed.iter_mut().filter_map(Iterator::next).map(|value| value.expr).collect()).collect();
        let schema = DFSchema::from_unqualified_fields(fields.into(), std::collections::HashMap::new())?;
        Ok(LogicalPlan::Values(Values { schema: Arc::new(schema), values: rows }))
    }

    fn union(&mut self, union: Union, outer: &[DFSchemaRef]) -> Result<LogicalPlan> {
        let inputs = union
            .inputs
            .into_iter()
            .map(|input| self.plan(Arc::unwrap_or_clone(input), outer, true))
            .collect::<Result<Vec<_>>>()?;
        let types: Vec<Vec<Target>> = inputs.iter().map(output_types).collect();
        let width = types.first().map_or(0, Vec::len);
        let targets = (0..width)
            .map(|column| common(types.iter().map(|row| (&row[column].0, &row[column].1)), "UNION"))
            .collect::<Result<Vec<_>>>()?;
        let inputs = inputs
            .into_iter()
            .map(|input| Ok(Arc::new(self.coerce_output(input, &targets)?)))
            .collect::<Result<Vec<_>>>()?;
        Ok(LogicalPlan::Union(Union::try_new(inputs)?))
    }

    /// INTERSECT and EXCEPT. DataFusion makes semi and anti joins of them, which for ALL do not count: there the n-th of
    /// equal rows is set against the n-th.
    fn set_operation(&mut self, join: Join, outer: &[DFSchemaRef]) -> Result<LogicalPlan> {
        let intersects = join.join_type == JoinType::LeftSemi;
        let word = if intersects { "INTERSECT" } else { "EXCEPT" };
        let (left, all) = match Arc::unwrap_or_clone(join.left) {
            LogicalPlan::Distinct(Distinct::All(input)) => (Arc::unwrap_or_clone(input), false),
            other => (other, true),
        };
        let left = self.plan(left, outer, true)?;
        let right = self.plan(Arc::unwrap_or_clone(join.right), outer, true)?;
        let types = [output_types(&left), output_types(&right)];
        let targets = (0..types[0].len())
            .map(|column| common(types.iter().map(|row| (&row[column].0, &row[column].1)), word))
            .collect::<Result<Vec<_>>>()?;
        let left = self.coerce_output(left, &targets)?;
        let right = self.coerce_output(right, &targets)?;
        let names: Vec<(Option<TableReference>, String)> =
            left.schema().iter().map(|(relation, field)| (relation.cloned(), field.name().clone())).collect();
        let (left, right) = (numbered(left, "l", all)?, numbered(right, "r", all)?);
        let plan = if intersects {
            LogicalPlanBuilder::intersect(left, right, false)?
        } else {
            LogicalPlanBuilder::except(left, right, false)?
        };
        let schema = Arc::clone(plan.schema());
        let exprs = names
            .into_iter()
            .zip(targets)
            .enumerate()
            .map(|(at, (name, (sql_type, data_type)))| {
                let (relation, field) = schema.qualified_field(at);
                let value = Typed::new(Expr::Column(Column::from((relation, field))), sql_type, data_type);
                labelled(value, Some(name), &schema)
            })
            .collect();
        Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?))
    }

    /// GROUPING SETS over expressions: they are computed below, so that the sets, `grouping` and the columns above agree
    /// on what they are called.
    fn grouping_sets(&mut self, mut aggregate: Aggregate, outer: &[DFSchemaRef]) -> Result<LogicalPlan> {
        let input = self.plan(Arc::unwrap_or_clone(aggregate.input), outer, false)?;
        let schema = Arc::clone(input.schema());
        let mut below: Vec<Expr> =
            schema.iter().map(|(relation, field)| Expr::Column(Column::from((relation, field)))).collect();
        let mut computed: Vec<(Expr, Expr)> = vec![];
        if let [Expr::GroupingSet(sets)] = aggregate.group_expr.as_slice() {
            if sets.distinct_expr().into_iter().any(gapfill::is_bucket) {
                return Err(Error::unsupported("time_bucket_gapfill in grouping sets is not supported"));
            }
            for expr in sets.distinct_expr() {
                if matches!(expr, Expr::Column(_)) || computed.iter().any(|(known, _)| known == expr) {
                    continue;
                }
                let name = expr.schema_name().to_string();
                let value = self.settled_expression(expr.clone(), &Sight { schema: &schema, outer })?;
                below.push(labelled(value, Some((None, name.clone())), &schema));
                computed.push((expr.clone(), Expr::Column(Column::new_unqualified(name))));
            }
        }
        let input = if computed.is_empty() {
            input
        } else {
            LogicalPlan::Projection(Projection::try_new(below, Arc::new(input))?)
        };
        let column_of = |expr: Expr| -> Result<Expr> {
            let replaced = expr.transform_down(|expr| {
                Ok(match computed.iter().find(|(known, _)| *known == expr) {
                    Some((_, column)) => Transformed::new(column.clone(), true, TreeNodeRecursion::Jump),
                    None => Transformed::no(expr),
                })
            })?;
            Ok(replaced.data)
        };
        let schema = Arc::clone(input.schema());
        let sight = Sight { schema: &schema, outer };
        aggregate.group_expr = std::mem::take(&mut aggregate.group_expr)
            .into_iter()
            .map(|expr| Ok(self.expression(column_of(expr)?, &sight)?.expr))
            .collect::<Result<_>>()?;
        aggregate.aggr_expr = std::mem::take(&mut aggregate.aggr_expr)
            .into_iter()
            .map(|expr| {
                let name = expr.qualified_name();
                let value = self.settled_expression(column_of(expr)?, &sight)?;
                Ok(labelled(value, Some(name), &schema))
            })
            .collect::<Result<_>>()?;
        Ok(LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(input), aggregate.group_expr, aggregate.aggr_expr)?))
    }

    fn recursive(&mut self, query: RecursiveQuery, outer: &[DFSchemaRef]) -> Result<LogicalPlan> {
        let base = self.plan(Arc::unwrap_or_clone(query.static_term), outer, false)?;
        let fields: Vec<_> =
            base.schema().fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
        let work = Arc::new(CteWorkTable::new(&query.name, Arc::new(Schema::new(fields))));
        let term = Arc::unwrap_or_clone(query.recursive_term)
            .transform_down_with_subqueries(|node| {
                let LogicalPlan::TableScan(scan) = &node else { return Ok(Transformed::no(node)) };
                let Ok(provider) = source_as_provider(&scan.source) else { return Ok(Transformed::no(node)) };
                let ours = (provider.as_ref() as &dyn std::any::Any)
                    .downcast_ref::<CteWorkTable>()
                    .is_some_and(|table| table.name() == query.name);
                if !ours {
                    return Ok(Transformed::no(node));
                }
                let source = provider_as_source(Arc::clone(&work) as Arc<dyn datafusion::catalog::TableProvider>);
                let scan = LogicalPlanBuilder::scan(scan.table_name.clone(), source, None)?.build()?;
                Ok(Transformed::new(scan, true, TreeNodeRecursion::Jump))
            })?
            .data;
        // The nodes above the work table have schemas of the old one.
        let term = self.plan(without_coercion(term)?, outer, true)?;
        let targets = output_types(&base);
        for (index, ((base_type, _), (term_type, _))) in targets.iter().zip(output_types(&term)).enumerate() {
            let same = super::without_modifier(base_type) == super::without_modifier(&term_type);
            if !same && term_type != SqlType::Unknown {
                return Err(Error::new(
                    SqlState::DATATYPE_MISMATCH,
                    format!(
                        "recursive query \"{}\" column {} has type {} in non-recursive term but type {} overall",
                        query.name,
                        index + 1,
                        base_type.plain_name(),
                        term_type.plain_name()
                    ),
                )
                .hint("Cast the output of the non-recursive term to the correct type."));
            }
        }
        let term = self.coerce_output(term, &targets)?;
        // DataFusion wants the same metadata on both sides, also where the physical plan would drop it.
        let (base, term) = (self.relabelled(base, &targets)?, self.relabelled(term, &targets)?);
        let query = RecursiveQuery::try_new(query.name, Arc::new(base), Arc::new(term), query.is_distinct)?;
        Ok(LogicalPlan::RecursiveQuery(query))
    }

    /// The plan's columns, each through a cast to the type it has.
    fn relabelled(&self, plan: LogicalPlan, targets: &[Target]) -> Result<LogicalPlan> {
        let schema = Arc::clone(plan.schema());
        let exprs = schema
            .iter()
            .zip(targets)
            .map(|((relation, field), (sql_type, data_type))| {
                let column = Expr::Column(Column::from((relation, field)));
                let mode = crate::plan::cast::Mode::Implicit;
                let cast = crate::plan::cast::call(self.scope, column, sql_type, sql_type, data_type, mode)?;
                Ok(cast.alias_qualified(relation.cloned(), field.name()))
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?))
    }

    fn row_count(&mut self, count: Option<Box<Expr>>, word: &str) -> Result<Option<Box<Expr>>> {
        let Some(count) = count else { return Ok(None) };
        let empty = DFSchema::empty();
        let value = self.expression(*count, &Sight { schema: &empty, outer: &[] })?;
        let value = if value.is_unknown() { self.decide(value, &SqlType::Int8)? } else { value };
        if !super::is_number(&value.sql_type) {
            return Err(Error::new(
                SqlState::DATATYPE_MISMATCH,
                format!("argument of {word} must be type bigint, not type {}", value.sql_type.plain_name()),
            ));
        }
        let value = self.explicit_cast(value, &SqlType::Int8)?;
        if let Expr::Literal(datafusion::common::ScalarValue::Int64(Some(count)), _) = &value.expr
            && *count < 0
        {
            let code = if word == "LIMIT" {
                SqlState::INVALID_ROW_COUNT_IN_LIMIT_CLAUSE
            } else {
                SqlState::INVALID_ROW_COUNT_IN_RESULT_OFFSET_CLAUSE
            };
            return Err(Error::new(code, format!("{word} must not be negative")));
        }
        Ok(Some(Box::new(value.expr)))
    }

    /// Casts a plan's output columns, unknown literals included.
    pub(in crate::plan) fn coerce_output(&mut self, plan: LogicalPlan, targets: &[Target]) -> Result<LogicalPlan> {
        if output_types(&plan).iter().zip(targets).all(|(have, want)| have == want) {
            return Ok(plan);
        }
        match plan {
            LogicalPlan::Projection(projection) => {
                let schema = Arc::clone(projection.input.schema());
                let exprs = self.coerced(projection.expr, &projection.schema, targets, &schema)?;
                Ok(LogicalPlan::Projection(Projection::try_new(exprs, projection.input)?))
            }
            LogicalPlan::Limit(mut limit) => {
                limit.input = Arc::new(self.coerce_output(Arc::unwrap_or_clone(limit.input), targets)?);
                Ok(LogicalPlan::Limit(limit))
            }
            LogicalPlan::Sort(mut sort) if has_unknown(&sort.input) => {
                sort.input = Arc::new(self.coerce_output(Arc::unwrap_or_clone(sort.input), targets)?);
                Ok(LogicalPlan::Sort(sort))
            }
            LogicalPlan::SubqueryAlias(alias) if has_unknown(&alias.input) => {
                let input = self.coerce_output(Arc::unwrap_or_clone(alias.input), targets)?;
                Ok(LogicalPlanBuilder::from(input).alias(alias.alias)?.build()?)
            }
            plan => {
                let schema = Arc::clone(plan.schema());
                let columns =
                    schema.iter().map(|(relation, field)| Expr::Column(Column::from((relation, field)))).collect();
                let exprs = self.coerced(columns, &schema, targets, &schema)?;
                Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?))
            }
        }
    }

    fn coerced(
        &mut self,
        exprs: Vec<Expr>,
        output: &DFSchema,
        targets: &[Target],
        input: &DFSchema,
    ) -> Result<Vec<Expr>> {
        exprs
            .into_iter()
            .enumerate()
            .map(|(index, expr)| {
                let (relation, field) = output.qualified_field(index);
                let name: (Option<TableReference>, String) = (relation.cloned(), field.name().clone());
                let Some((sql_type, data_type)) = targets.get(index) else { return Ok(expr) };
                let value = if is_unknown_literal(&expr) {
                    Typed::new(expr.unalias(), SqlType::Unknown, DataType::Null)
                } else {
                    Typed::new(expr.unalias(), SqlType::of_field(field), field.data_type().clone())
                };
                let value = self.convert_to(value, sql_type, data_type.clone())?;
                let value = if value.data_type == *data_type { value } else { force(value, data_type) };
                Ok(labelled(value, Some(name), input))
            })
            .collect()
    }
}

/// Aggregates whose result depends on the order of rows.
const COLLECTING: [&str; 6] =
    ["array_agg", "string_agg", "json_agg", "jsonb_agg", "json_object_agg", "jsonb_object_agg"];

/// `SELECT json_agg(t) FROM (SELECT … ORDER BY x) t` collects in the order of x, as PostgreSQL happens to do and people
/// rely on: the engine keeps no order that nobody asks for, so the aggregate asks.
fn collected_in_order(aggregate: &mut Aggregate) -> Result<()> {
    let collects = |expr: &Expr| {
        matches!(expr, Expr::AggregateFunction(call)
            if call.params.order_by.is_empty() && !call.params.distinct && COLLECTING.contains(&call.func.name()))
    };
    if !aggregate.aggr_expr.iter().any(collects) {
        return Ok(());
    }
    let Some((input, order)) = ordered(&aggregate.input)? else { return Ok(()) };
    aggregate.input = Arc::new(input);
    for expr in &mut aggregate.aggr_expr {
        if !collects(expr) {
            continue;
        }
        let name = expr.schema_name().to_string();
        if let Expr::AggregateFunction(call) = expr {
            call.params.order_by.clone_from(&order);
        }
        *expr = std::mem::take(expr).alias(name);
    }
    Ok(())
}

/// The order a plan's rows come in, and the plan with all columns that say so in its output.
fn ordered(plan: &LogicalPlan) -> Result<Option<(LogicalPlan, Vec<Sort>)>> {
    let renamed = |order: Vec<Sort>, from: &DFSchema, to: &DFSchema| -> Option<Vec<Sort>> {
        let place = |sort: Sort| {
            let Expr::Column(column) = &sort.expr else { return None };
            let (relation, field) = to.qualified_field(from.maybe_index_of_column(column)?);
            Some(Sort { expr: Expr::Column(Column::from((relation, field))), ..sort })
        };
        order.into_iter().map(place).collect()
    };
    Ok(match plan {
        LogicalPlan::Sort(sort) => {
            let plain = sort.expr.iter().all(|sort| matches!(sort.expr, Expr::Column(_)));
            plain.then(|| (plan.clone(), sort.expr.clone()))
        }
        LogicalPlan::Limit(limit) => ordered(&limit.input)?
            .map(|(input, order)| (LogicalPlan::Limit(Limit { input: Arc::new(input), ..limit.clone() }), order)),
        LogicalPlan::SubqueryAlias(alias) => {
            let Some((input, order)) = ordered(&alias.input)? else { return Ok(None) };
            let below = Arc::clone(input.schema());
            let plan = LogicalPlanBuilder::from(input).alias(alias.alias.clone())?.build()?;
            let order = renamed(order, &below, plan.schema());
            order.map(|order| (plan, order))
        }
        LogicalPlan::Projection(projection) => {
            let Some((input, order)) = ordered(&projection.input)? else { return Ok(None) };
            let mut exprs = projection.expr.clone();
            let mut above = Vec::with_capacity(order.len());
            for sort in order {
                let same = |expr: &&Expr| {
                    let mut expr = *expr;
                    while let Expr::Alias(alias) = expr {
                        expr = &alias.expr;
                    }
                    *expr == sort.expr
                };
                let name = match exprs.iter().find(same) {
                    Some(expr) => {
                        let (relation, name) = expr.qualified_name();
                        Column::new(relation, name)
                    }
                    None => {
                        let name = format!("\u{1}order{}", exprs.len());
                        exprs.push(sort.expr.clone().alias(&name));
                        Column::new_unqualified(name)
                    }
                };
                above.push(Sort { expr: Expr::Column(name), ..sort });
            }
            Some((LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input))?), above))
        }
        _ => None,
    })
}

/// True for the join that INTERSECT or EXCEPT was made.
fn is_set_operation(join: &Join) -> bool {
    matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
        && join.null_equality == NullEquality::NullEqualsNull
}

/// The plan's columns under plain names, and with `all` the number of each row among its equals.
fn numbered(plan: LogicalPlan, prefix: &str, all: bool) -> Result<LogicalPlan> {
    let exprs: Vec<Expr> = plan
        .schema()
        .iter()
        .enumerate()
        .map(|(at, (relation, field))| Expr::Column(Column::from((relation, field))).alias(format!("{prefix}{at}")))
        .collect();
    let builder = LogicalPlanBuilder::from(plan).project(exprs)?;
    if !all {
        return Ok(builder.build()?);
    }
    let number =
        crate::plan::registry::window("row_number").ok_or_else(|| Error::internal("row_number is not registered"))?;
    let columns: Vec<Expr> = builder.schema().columns().into_iter().map(Expr::Column).collect();
    let mut window = WindowFunction::new(WindowFunctionDefinition::WindowUDF(number), vec![]);
    window.params.partition_by.clone_from(&columns);
    let window = Expr::WindowFunction(Box::new(window));
    let counted = Expr::Column(Column::new_unqualified(window.schema_name().to_string()));
    let exprs = columns.into_iter().chain([counted.alias(format!("{prefix}\u{1}"))]);
    Ok(builder.window(vec![window])?.project(exprs)?.build()?)
}

/// An Unnest whose columns say their SQL types, which DataFusion forgets.
fn unnested(plan: LogicalPlan) -> Result<LogicalPlan> {
    let LogicalPlan::Unnest(mut unnest) = plan else { return Ok(plan) };
    let input = Arc::clone(unnest.input.schema());
    let fields = unnest
        .schema
        .iter()
        .enumerate()
        .map(|(at, (relation, field))| {
            let from = unnest.dependency_indices.get(at).copied().unwrap_or(at);
            let listed = unnest.list_type_columns.iter().any(|(column, _)| *column == from);
            let item = listed.then(|| super::element_of(&SqlType::of_field(input.field(from)))).flatten();
            let field = match item {
                Some(item) if item != SqlType::Record => {
                    Arc::new(field.as_ref().clone().with_metadata(super::type_metadata(&item)))
                }
                _ => Arc::clone(field),
            };
            (relation.cloned(), field)
        })
        .collect();
    unnest.schema = Arc::new(DFSchema::new_with_metadata(fields, unnest.schema.metadata().clone())?);
    Ok(LogicalPlan::Unnest(unnest))
}

/// A decimal of another precision than its target: Arrow rescales it.
fn force(value: Typed, data_type: &DataType) -> Typed {
    let field = datafusion::arrow::datatypes::Field::new("", data_type.clone(), true)
        .with_metadata(super::type_metadata(&value.sql_type));
    let cast = datafusion::logical_expr::Cast::new_from_field(Box::new(value.expr), Arc::new(field));
    Typed::new(Expr::Cast(cast), value.sql_type, data_type.clone())
}

/// The types of a typed plan's output.
pub(in crate::plan) fn output_types(plan: &LogicalPlan) -> Vec<Target> {
    let unknown = unknown_columns(plan);
    plan.schema()
        .fields()
        .iter()
        .enumerate()
        .map(|(index, field)| {
            if unknown.contains(&index) {
                (SqlType::Unknown, DataType::Null)
            } else {
                (SqlType::of_field(field), field.data_type().clone())
            }
        })
        .collect()
}

fn has_unknown(plan: &LogicalPlan) -> bool {
    !unknown_columns(plan).is_empty()
}

fn unknown_columns(plan: &LogicalPlan) -> Vec<usize> {
    match plan {
        LogicalPlan::Projection(projection) => projection
            .expr
            .iter()
            .enumerate()
            .filter(|(_, expr)| is_unknown_literal(expr))
            .map(|(index, _)| index)
            .collect(),
        LogicalPlan::Limit(limit) => unknown_columns(&limit.input),
        LogicalPlan::Sort(sort) => unknown_columns(&sort.input),
        LogicalPlan::SubqueryAlias(alias) => unknown_columns(&alias.input),
        LogicalPlan::Distinct(Distinct::All(input)) => unknown_columns(input),
        _ => vec![],
    }
}

fn is_unknown_literal(expr: &Expr) -> bool {
    match expr {
        Expr::Alias(alias) => is_unknown_literal(&alias.expr),
        Expr::Literal(value, metadata) => {
            let typed = metadata
                .as_ref()
                .is_some_and(|metadata| metadata.inner().contains_key(tidemill_udfs::types::SQL_TYPE_KEY));
            !typed && (value.is_null() || matches!(value, datafusion::common::ScalarValue::Utf8(_)))
        }
        Expr::Placeholder(placeholder) => placeholder.field.is_none(),
        _ => false,
    }
}

/// Carries our error through a closure that must give DataFusion's.
fn keep(slot: &mut Option<Error>, error: Error) -> datafusion::common::DataFusionError {
    *slot = Some(error);
    datafusion::common::DataFusionError::Plan(String::new())
}

/// A recursive term without the casts by which DataFusion fits it to the types that it took the other term for.
fn without_coercion(term: LogicalPlan) -> Result<LogicalPlan> {
    let LogicalPlan::Projection(projection) = term else { return Ok(term) };
    let plain = |expr: Expr| {
        let name = expr.schema_name().to_string();
        match expr.unalias() {
            // Casts that were written say their type.
            Expr::Cast(cast) if !cast.field.metadata().contains_key(SQL_TYPE_KEY) => {
                cast.expr.unalias().alias_if_changed(name)
            }
            other => other.alias_if_changed(name),
        }
    };
    let exprs = projection.expr.into_iter().map(plain).collect::<datafusion::common::Result<_>>()?;
    Ok(LogicalPlan::Projection(Projection::try_new(exprs, projection.input)?))
}
