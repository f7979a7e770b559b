//! Functions in FROM: `generate_series`, `unnest`, functions that give arrays of rows, any scalar function; their columns
//! are named as PostgreSQL names them.

use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, DFSchema, DataFusionError, Result};
use datafusion::logical_expr::expr::{ScalarFunction, WindowFunction};
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
                named(plan, "unnest", None, alias, with_ordinality)
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
    if super::resample::NAMES.contains(&function.as_str()) {
        return super::resample::relation(args, alias, context);
    }
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
        return named(plan, &function, None, alias, ordinality);
    }
    if let Some(array) = prepare::array_function(&function)
        && function != "generate_series"
    {
        let plan = unnested(vec![prepare::call(array, args)], context)?;
        if let Some(columns) = prepare::row_columns(&function) {
            return named(fields(plan, columns)?, &function, None, alias, ordinality);
        }
        let (plan, column) = match function.as_str() {
            "json_array_elements"
            | "jsonb_array_elements"
            | "json_array_elements_text"
            | "jsonb_array_elements_text" => (plan, Some("value")),
            _ => (plan, None),
        };
        return named(plan, &function, column, alias, ordinality);
    }
    if let "json_to_record" | "jsonb_to_record" | "json_to_recordset" | "jsonb_to_recordset" = function.as_str() {
        return records(&function, args, alias, context);
    }
    if alias.as_ref().is_some_and(|alias| alias.columns.iter().any(|column| column.data_type.is_some())) {
        return Err(Error::new(
            SqlState::SYNTAX_ERROR,
            "a column definition list is only allowed for functions returning \"record\"",
        )
        .into());
    }
    let empty = DFSchema::empty();
    let planned =
        args.iter().map(|arg| context.sql_expr_to_logical_expr(arg.clone(), &empty)).collect::<Result<Vec<_>>>()?;
    // A series of constants is made as it is read; the ends of others are known only when the plan runs.
    let is_open =
        planned.iter().any(|arg| arg.contains_outer() || has_parameter(arg) || super::extension::has_subquery(arg));
    if function == "generate_series" && is_open {
        let plan = unnested(vec![prepare::call("generate_series", args)], context)?;
        return named(plan, &function, None, alias, ordinality);
    }
    let scalar = context
        .context_provider()
        .get_function_meta(&function)
        .filter(|udf| super::pending::PendingFunction::of(udf).is_some_and(|pending| pending.function.is_some()));
    if function == "generate_series" || scalar.is_none() {
        let source = context.context_provider().get_table_function_source(&function, planned)?;
        let plan = LogicalPlanBuilder::scan(function.as_str(), source, None)?.build()?;
        return named(plan, &function, None, alias, ordinality);
    }
    // One row with the function's value.
    let call = context.sql_expr_to_logical_expr(prepare::call(&function, args), &empty)?;
    let plan = LogicalPlanBuilder::empty(true).project(vec![call.alias(&function)])?.build()?;
    named(plan, &function, None, alias, ordinality)
}

fn has_parameter(expr: &Expr) -> bool {
    expr.exists(|expr| Ok(matches!(expr, Expr::Placeholder(_)))).unwrap_or(false)
}

/// A plan of one column of rows as columns of its own.
fn fields(plan: LogicalPlan, names: &[&str]) -> Result<LogicalPlan> {
    let row = plan.schema().columns().into_iter().next();
    let (Some(row), Some(function)) = (row, registry::scalar("get_field")) else {
        return Err(Error::internal("get_field is not registered").into());
    };
    let pending = super::pending::PendingFunction::udf("get_field", Some(function));
    let exprs = names.iter().map(|name| {
        let name_literal = Expr::Literal(datafusion::common::ScalarValue::Utf8(Some((*name).to_owned())), None);
        let call =
            ScalarFunction::new_udf(std::sync::Arc::clone(&pending), vec![Expr::Column(row.clone()), name_literal]);
        Expr::ScalarFunction(call).alias(*name)
    });
    LogicalPlanBuilder::from(plan).project(exprs)?.build()
}

/// `jsonb_to_recordset(x) AS t(a int, b text)` → `(SELECT (v ->> 'a')::int AS a, … FROM jsonb_array_elements(x) AS e(v)) AS t`
fn records(
    function: &str,
    args: Vec<AstExpr>,
    alias: Option<TableAlias>,
    context: &mut dyn RelationPlannerContext,
) -> Result<RelationPlanning> {
    use datafusion::sql::sqlparser::ast::{
        BinaryOperator, DataType as AstType, SelectItem, SetExpr, TableAliasColumnDef, TableWithJoins,
    };
    const DOCUMENT: &str = "\u{1}document";
    let typed = |column: &TableAliasColumnDef| column.data_type.is_some();
    let Some(mut alias) = alias.filter(|alias| !alias.columns.is_empty() && alias.columns.iter().all(typed)) else {
        return Err(Error::new(
            SqlState::SYNTAX_ERROR,
            "a column definition list is required for functions returning \"record\"",
        )
        .into());
    };
    let document = Ident::with_quote('"', DOCUMENT);
    let items = alias
        .columns
        .iter_mut()
        .map(|column| {
            let data_type = column.data_type.take().unwrap_or(AstType::Text);
            let key = if column.name.quote_style.is_some() {
                column.name.value.clone()
            } else {
                column.name.value.to_lowercase()
            };
            let is_document = matches!(data_type, AstType::JSON | AstType::JSONB);
            let value = AstExpr::BinaryOp {
                left: Box::new(AstExpr::Identifier(document.clone())),
                op: if is_document { BinaryOperator::Arrow } else { BinaryOperator::LongArrow },
                right: Box::new(prepare::string(key)),
            };
            SelectItem::ExprWithAlias { expr: prepare::cast(value, data_type), alias: column.name.clone() }
        })
        .collect();
    let named = TableAlias {
        explicit: true,
        name: Ident::with_quote('"', DOCUMENT),
        columns: vec![TableAliasColumnDef { name: document.clone(), data_type: None }],
        at: None,
    };
    let elements = function.replace("_to_recordset", "_array_elements");
    let relation = if elements == function {
        let document_type = if function.starts_with("jsonb") { AstType::JSONB } else { AstType::JSON };
        let mut one = prepare::empty_query();
        if let SetExpr::Select(select) = one.body.as_mut() {
            let value = args.into_iter().next().unwrap_or_else(prepare::null);
            select.projection = vec![SelectItem::UnnamedExpr(prepare::cast(value, document_type))];
        }
        TableFactor::Derived { lateral: true, subquery: Box::new(one), alias: Some(named), sample: None }
    } else {
        TableFactor::Function {
            lateral: true,
            name: ObjectName(vec![ObjectNamePart::Identifier(Ident::new(elements))]),
            args: args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect(),
            with_ordinality: false,
            alias: Some(named),
        }
    };
    let mut query = prepare::empty_query();
    if let SetExpr::Select(select) = query.body.as_mut() {
        select.projection = items;
        select.from = vec![TableWithJoins { relation, joins: vec![] }];
    }
    let derived = TableFactor::Derived { lateral: true, subquery: Box::new(query), alias: None, sample: None };
    let plan = context.plan(derived)?;
    Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, Some(alias)))))
}

/// Names the columns: a function of one column gives it `column`, else its alias, else its own name.
fn named(
    plan: LogicalPlan,
    function: &str,
    column: Option<&str>,
    alias: Option<TableAlias>,
    ordinality: bool,
) -> Result<RelationPlanning> {
    let alias = alias.unwrap_or_else(|| TableAlias {
        explicit: true,
        name: Ident::with_quote('"', function),
        columns: vec![],
        at: None,
    });
    let columns: Vec<Column> = plan.schema().columns();
    let single = columns.len() == 1;
    let own = if let Some(column) = column {
        column.to_owned()
    } else if alias.name.quote_style.is_some() {
        alias.name.value.clone()
    } else {
        alias.name.value.to_lowercase()
    };
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
