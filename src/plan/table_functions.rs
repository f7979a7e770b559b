//! Functions in FROM: `generate_series`, `unnest`, functions that give arrays of rows, any scalar function; their columns
//! are named as PostgreSQL names them.

use datafusion::common::{Column, DFSchema, DataFusionError, Result};
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, WindowFunctionDefinition};
use datafusion::sql::sqlparser::ast::{
    Expr as AstExpr, FunctionArg, FunctionArgExpr, Ident, ObjectName, ObjectNamePart, TableAlias, TableFactor,
};

use super::{prepare, registry};
use crate::error::{Error, SqlState};

/// Plans functions in FROM.
#[derive(Debug)]
pub(super) struct TableFunctions;

impl RelationPlanner for TableFunctions {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        match relation {
            TableFactor::Table { name, args: Some(args), alias, with_ordinality, .. } => {
                function(&name, args.args, alias, with_ordinality, context)
            }
            TableFactor::Function { name, args, alias, with_ordinality, .. } => {
                function(&name, args, alias, with_ordinality, context)
            }
            TableFactor::UNNEST { alias, array_exprs, with_ordinality, .. } if alias.is_some() || with_ordinality => {
                let plan = unnested(array_exprs, context)?;
                named(plan, "unnest", alias, with_ordinality)
            }
            other => Ok(RelationPlanning::Original(Box::new(other))),
        }
    }
}

fn folded(name: &ObjectName) -> String {
    name.0
        .last()
        .and_then(ObjectNamePart::as_ident)
        .map(|ident| if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() })
        .unwrap_or_default()
}

fn unnested(arrays: Vec<AstExpr>, context: &mut dyn RelationPlannerContext) -> Result<LogicalPlan> {
    context.plan(TableFactor::UNNEST {
        alias: None,
        array_exprs: arrays,
        with_offset: false,
        with_offset_alias: None,
        with_ordinality: false,
    })
}

fn function(
    name: &ObjectName,
    args: Vec<FunctionArg>,
    alias: Option<TableAlias>,
    ordinality: bool,
    context: &mut dyn RelationPlannerContext,
) -> Result<RelationPlanning> {
    let function = folded(name);
    let args = args
        .into_iter()
        .map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Ok(expr),
            FunctionArg::Named { arg: FunctionArgExpr::Expr(expr), .. } => Ok(expr),
            other => {
                Err(Error::new(SqlState::SYNTAX_ERROR, format!("bad argument {other} of function {function}")).into())
            }
        })
        .collect::<Result<Vec<_>, DataFusionError>>()?;
    if function == "unnest" {
        let plan = unnested(args, context)?;
        return named(plan, &function, alias, ordinality);
    }
    if let Some(array) = prepare::array_function(&function)
        && function != "generate_series"
    {
        let plan = unnested(vec![prepare::call(array, args)], context)?;
        return named(plan, &function, alias, ordinality);
    }
    if matches!(function.as_str(), "json_each" | "jsonb_each" | "json_each_text" | "jsonb_each_text") {
        let plan = members(unnested(vec![prepare::call(&function, args)], context)?)?;
        return named(plan, &function, alias, ordinality);
    }
    let empty = DFSchema::empty();
    let planned =
        args.iter().map(|arg| context.sql_expr_to_logical_expr(arg.clone(), &empty)).collect::<Result<Vec<_>>>()?;
    let lateral = planned.iter().any(Expr::contains_outer);
    if function == "generate_series" && lateral {
        let plan = unnested(vec![prepare::call("generate_series", args)], context)?;
        return named(plan, &function, alias, ordinality);
    }
    let scalar = context
        .context_provider()
        .get_function_meta(&function)
        .filter(|udf| super::pending::PendingFunction::of(udf).is_some_and(|pending| pending.function.is_some()));
    if function == "generate_series" || scalar.is_none() {
        let source = context.context_provider().get_table_function_source(&function, planned)?;
        let plan = LogicalPlanBuilder::scan(function.as_str(), source, None)?.build()?;
        return named(plan, &function, alias, ordinality);
    }
    // One row with the function's value.
    let call = context.sql_expr_to_logical_expr(prepare::call(&function, args), &empty)?;
    let plan = LogicalPlanBuilder::empty(true).project(vec![call.alias(&function)])?.build()?;
    named(plan, &function, alias, ordinality)
}

/// The columns of rows `(key, value)`.
fn members(rows: LogicalPlan) -> Result<LogicalPlan> {
    let get_field = registry::scalar("get_field")
        .ok_or_else(|| DataFusionError::from(Error::internal("get_field is not registered")))?;
    let row = rows.schema().columns().remove(0);
    let columns = ["key", "value"]
        .map(|name| get_field.call(vec![Expr::Column(row.clone()), datafusion::prelude::lit(name)]).alias(name));
    LogicalPlanBuilder::from(rows).project(columns)?.build()
}

/// Names the columns: a function of one column gives it its alias, else its own name.
fn named(plan: LogicalPlan, function: &str, alias: Option<TableAlias>, ordinality: bool) -> Result<RelationPlanning> {
    let alias = alias.unwrap_or_else(|| TableAlias {
        explicit: true,
        name: Ident::with_quote('"', function),
        columns: vec![],
        at: None,
    });
    let columns: Vec<Column> = plan.schema().columns();
    let single = columns.len() == 1;
    let own = if alias.name.quote_style.is_some() { alias.name.value.clone() } else { alias.name.value.to_lowercase() };
    let mut exprs: Vec<Expr> = columns
        .into_iter()
        .map(|column| {
            let name = if single { own.clone() } else { column.name.clone() };
            Expr::Column(column).alias(name)
        })
        .collect();
    let mut builder = LogicalPlanBuilder::from(plan);
    if ordinality {
        let number = registry::window("row_number")
            .ok_or_else(|| DataFusionError::from(Error::internal("row_number is not registered")))?;
        let number =
            Expr::WindowFunction(Box::new(WindowFunction::new(WindowFunctionDefinition::WindowUDF(number), vec![])));
        let name = number.schema_name().to_string();
        builder = builder.window(vec![number])?;
        exprs.push(Expr::Column(Column::new_unqualified(name)).alias("ordinality"));
    }
    let plan = builder.project(exprs)?.build()?;
    let mut alias = alias;
    let width = plan.schema().fields().len();
    if alias.columns.len() < width && !alias.columns.is_empty() {
        // Columns without a name of their own keep theirs.
        for field in plan.schema().fields().iter().skip(alias.columns.len()) {
            let mut column = datafusion::sql::sqlparser::ast::TableAliasColumnDef::from_name(field.name().as_str());
            column.name = Ident::with_quote('"', field.name());
            alias.columns.push(column);
        }
    }
    Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, Some(alias)))))
}
