//! The syntax tree made ready for DataFusion's SQL planner: what PostgreSQL's grammar allows and that planner does not know
//! is said in its words. The tree is changed in place; no text is ever made from it.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, Array, BinaryOperator, CastKind, DataType as AstType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentClause, FunctionArgumentList, FunctionArguments, GroupByExpr, Ident, JoinConstraint, JoinOperator,
    LimitClause, ObjectName, ObjectNamePart, Offset, OffsetRows, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, TableFactor, TypedString, Value, ValueWithSpan, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::forms;
use super::system_columns::SystemColumns;
use super::told;
use crate::Result;
use crate::error::{Error, SqlState};

/// Sets output names apart that PostgreSQL allows to be equal: `name`, `name\u{1}2`. [`shown`] takes it off again.
const APART: char = '\u{1}';

/// An output name set apart from equal ones.
pub(super) fn apart(name: &str, index: usize) -> String {
    format!("{name}{APART}{index}")
}

/// A column's name as the client sees it.
pub(super) fn shown(name: &str) -> &str {
    name.split_once(APART).map_or(name, |(name, _)| name)
}

/// Makes a query ready.
///
/// # Errors
/// 0A000 for what we do not do, 42704 for an unknown collation.
pub(super) fn query(query: &mut Query) -> Result<()> {
    finish(query.visit(&mut Prepare::default()))
}

/// Makes an expression ready.
pub(super) fn expression(expr: &mut Expr) -> Result<()> {
    finish(expr.visit(&mut Prepare::default()))
}

fn finish(flow: ControlFlow<Error>) -> Result<()> {
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

#[derive(Default)]
struct Prepare {
    hidden: SystemColumns,
    /// Of how many calls whose result goes by its name the expression is part.
    named_calls: usize,
}

/// True for the call of an aggregate or window function.
fn is_named_call(expr: &Expr) -> bool {
    let Expr::Function(function) = expr else { return false };
    function.over.is_some()
        || match function.name.0.as_slice() {
            [ObjectNamePart::Identifier(ident)] => super::registry::aggregate(&folded(ident)).is_some(),
            _ => false,
        }
}

impl VisitorMut for Prepare {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        if let Err(error) = super::shape::query(query) {
            return ControlFlow::Break(error);
        }
        super::twins::query(query);
        told::order_casts(query);
        if let SetExpr::Values(values) = query.body.as_mut() {
            forms::values(&mut values.rows);
        }
        self.hidden.enter_query(query);
        if let Some(fetch) = query.fetch.take() {
            if fetch.with_ties || fetch.percent {
                return ControlFlow::Break(Error::unsupported("FETCH … WITH TIES is not supported"));
            }
            let limit = Some(fetch.quantity.unwrap_or_else(|| number("1")));
            let offset = match query.limit_clause.take() {
                Some(LimitClause::LimitOffset { offset, .. }) => offset,
                _ => None,
            };
            query.limit_clause = Some(LimitClause::LimitOffset { limit, offset, limit_by: vec![] });
        }
        if let Some(LimitClause::LimitOffset { limit, offset, .. }) = &mut query.limit_clause {
            // LIMIT NULL and OFFSET NULL are none.
            if matches!(limit, Some(Expr::Value(ValueWithSpan { value: Value::Null, .. }))) {
                *limit = None;
            }
            if matches!(offset, Some(Offset { value: Expr::Value(ValueWithSpan { value: Value::Null, .. }), .. })) {
                *offset = None;
            }
            if let Some(offset) = offset {
                offset.rows = OffsetRows::None;
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_value(&mut self, value: &mut ValueWithSpan) -> ControlFlow<Error> {
        if let Value::UnicodeStringLiteral(text) | Value::NationalStringLiteral(text) = &mut value.value {
            value.value = Value::SingleQuotedString(std::mem::take(text));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        if select.into.is_some() {
            return ControlFlow::Break(Error::unsupported("SELECT INTO is not supported"));
        }
        if let Err(error) = super::shape::select(select) {
            return ControlFlow::Break(error);
        }
        self.hidden.enter(select);
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
                set_returning(expr);
            }
        }
        let by_casts = told::is_by_casts(select);
        name_columns(&mut select.projection);
        if by_casts {
            told::select_casts(select);
        }
        qualify_wildcards(select);
        qualify_using(select);
        if let GroupByExpr::Expressions(exprs, _) = &mut select.group_by {
            // GROUP BY () is one group.
            exprs.retain(|expr| !matches!(expr, Expr::Tuple(items) if items.is_empty()));
        }
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, _select: &mut Select) -> ControlFlow<Error> {
        self.hidden.leave();
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        if let TableFactor::Table { name, args: Some(args), alias, with_ordinality, .. } = factor {
            // A function in FROM sees what stands before it.
            *factor = TableFactor::Function {
                lateral: true,
                name: name.clone(),
                args: std::mem::take(&mut args.args),
                with_ordinality: *with_ordinality,
                alias: alias.take(),
            };
        }
        if let TableFactor::UNNEST { alias: alias @ None, .. } = factor {
            *alias = Some(datafusion::sql::sqlparser::ast::TableAlias {
                explicit: true,
                name: Ident::new("unnest"),
                columns: vec![],
                at: None,
            });
        }
        if let TableFactor::Function { name, lateral, args, .. } = factor {
            strip_schema(name);
            // A RIGHT or FULL JOIN takes what looks at nothing beside it.
            *lateral = args.iter().any(|arg| match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))
                | FunctionArg::Named { arg: FunctionArgExpr::Expr(expr), .. } => super::shape::names_column(expr),
                _ => true,
            });
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        if let Some(replacement) = self.hidden.replacement(expr) {
            *expr = replacement;
        }
        if let Err(error) = rewrite(expr) {
            return ControlFlow::Break(error);
        }
        if is_named_call(expr) {
            if let (0, Expr::Function(function)) = (self.named_calls, expr) {
                told::call_casts(function);
            }
            self.named_calls += 1;
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        self.named_calls -= usize::from(is_named_call(expr));
        ControlFlow::Continue(())
    }
}

fn rewrite(expr: &mut Expr) -> Result<()> {
    if forms::rewrite(expr)? {
        return rewrite(expr);
    }
    match expr {
        Expr::Nested(inner) => {
            // Only where it holds nothing together: the tree has the precedence already.
            let inner = std::mem::replace(inner.as_mut(), null());
            *expr = inner;
            return rewrite(expr);
        }
        Expr::Collate { expr: inner, collation } => {
            check_collation(collation)?;
            let inner = std::mem::replace(inner.as_mut(), null());
            *expr = inner;
            return rewrite(expr);
        }
        Expr::Function(function) => {
            if let Some(replacement) = rewrite_function(function)? {
                *expr = replacement;
                return rewrite(expr);
            }
        }
        // A field of a row: `(keys).x`.
        Expr::CompoundFieldAccess { root, access_chain }
            if access_chain.iter().all(|access| matches!(access, AccessExpr::Dot(Expr::Identifier(_)))) =>
        {
            let mut value = std::mem::replace(root.as_mut(), null());
            for access in std::mem::take(access_chain) {
                if let AccessExpr::Dot(Expr::Identifier(field)) = access {
                    value = call("get_field", vec![value, string(folded(&field))]);
                }
            }
            *expr = value;
        }
        Expr::Identifier(ident) if ident.quote_style.is_none() => {
            let name = ident.value.to_lowercase();
            if SPECIAL_NAMES.contains(&name.as_str()) {
                *expr = call(&name, vec![]);
            }
        }
        // A frame's interval is a number too (`shape::frame`).
        Expr::Value(ValueWithSpan { value: Value::Number(digits, _), .. })
            if !fits_numeric(digits) && !digits.contains(' ') =>
        {
            let digits = std::mem::take(digits);
            *expr = cast(string(digits), AstType::DoublePrecision);
        }
        Expr::AtTimeZone { timestamp, time_zone } => {
            let zone = std::mem::replace(time_zone.as_mut(), null());
            let timestamp = std::mem::replace(timestamp.as_mut(), null());
            *expr = call("timezone", vec![zone, timestamp]);
        }
        Expr::Interval(interval) => {
            let value = std::mem::replace(interval.value.as_mut(), null());
            let text = match value {
                Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) => text,
                Expr::Value(ValueWithSpan { value: Value::Number(text, _), .. }) => text,
                _ => return Err(Error::new(SqlState::SYNTAX_ERROR, "syntax error in interval")),
            };
            let text = match &interval.leading_field {
                Some(field) if interval.last_field.is_none() => format!("{text} {}", field.to_string().to_lowercase()),
                _ => text,
            };
            *expr = cast(string(text), AstType::Interval { fields: None, precision: None });
        }
        Expr::Extract { field, expr: inner, .. } => {
            let field = string(field.to_string().trim_matches(['\'', '"']).to_lowercase());
            let inner = std::mem::replace(inner.as_mut(), null());
            *expr = call("extract", vec![field, inner]);
        }
        Expr::TypedString(TypedString { data_type, value, .. }) => {
            let value = Expr::Value(value.clone());
            *expr = cast(value, data_type.clone());
            return rewrite(expr);
        }
        Expr::AnyOp { .. } | Expr::AllOp { .. } => rewrite_quantified(expr)?,
        // DataFusion's rows have nothing but names and literals.
        Expr::Tuple(items)
            if items.len() > 1
                && items.iter().any(|item| {
                    !matches!(item, Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_) | Expr::Tuple(_))
                }) =>
        {
            *expr = call("row", std::mem::take(items));
            return rewrite(expr);
        }
        // DataFusion looks for the columns of an array's items in the innermost query only.
        Expr::Array(Array { elem, .. }) if elem.iter().any(super::shape::names_column) => {
            *expr = call("make_array", std::mem::take(elem));
        }
        Expr::BinaryOp { left, op, right } => {
            if let (Some(left), Some(right)) = (row_items(left), row_items(right)) {
                *expr = row_comparison(&left, op, &right)?;
            } else if let (Some(items), BinaryOperator::Eq, Expr::Subquery(subquery)) =
                (row_items(left), &*op, right.as_mut())
            {
                let subquery = std::mem::replace(subquery.as_mut(), empty_query());
                *expr = row_among(&items, subquery, false)?;
            }
        }
        Expr::InSubquery { expr: value, subquery, negated } => {
            if let Some(items) = row_items(value).filter(|items| items.len() > 1) {
                let subquery = std::mem::replace(subquery.as_mut(), empty_query());
                *expr = row_among(&items, subquery, *negated)?;
            }
        }
        Expr::InList { expr: value, list, negated } => {
            if let Some(left) = row_items(value) {
                let rows = list
                    .iter()
                    .map(|row| match row_items(row) {
                        Some(right) => row_comparison(&left, &BinaryOperator::Eq, &right),
                        None => Err(Error::new(SqlState::SYNTAX_ERROR, "unequal number of entries in row expressions")),
                    })
                    .collect::<Result<Vec<_>>>()?;
                let any = joined(rows, BinaryOperator::Or);
                *expr = if *negated { not(any) } else { any };
            }
        }
        Expr::UnaryOp { op, expr: inner } => {
            use datafusion::sql::sqlparser::ast::UnaryOperator as U;
            let function = match op {
                U::PGAbs => "abs",
                U::PGSquareRoot => "sqrt",
                U::PGCubeRoot => "cbrt",
                U::BitwiseNot => {
                    let inner = std::mem::replace(inner.as_mut(), null());
                    *expr = Expr::BinaryOp {
                        left: Box::new(Expr::UnaryOp { op: U::Minus, expr: Box::new(inner) }),
                        op: BinaryOperator::Minus,
                        right: Box::new(number("1")),
                    };
                    return Ok(());
                }
                _ => return Ok(()),
            };
            let inner = std::mem::replace(inner.as_mut(), null());
            *expr = call(function, vec![inner]);
        }
        Expr::Position { expr: part, r#in } => {
            let part = std::mem::replace(part.as_mut(), null());
            let whole = std::mem::replace(r#in.as_mut(), null());
            *expr = call("strpos", vec![whole, part]);
        }
        _ => {}
    }
    Ok(())
}

/// Names that are functions without parentheses.
const SPECIAL_NAMES: [&str; 10] = [
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "localtimestamp",
    "session_user",
    "user",
];

fn rewrite_function(function: &mut Function) -> Result<Option<Expr>> {
    strip_schema(&mut function.name);
    super::shape::frame(function)?;
    let name = function.name.0.last().and_then(ObjectNamePart::as_ident).map(|ident| ident.value.to_lowercase());
    if name.as_deref() == Some("array")
        && let FunctionArguments::Subquery(query) = &mut function.args
    {
        return Ok(Some(array_subquery(std::mem::replace(query.as_mut(), empty_query()))));
    }
    if matches!(function.args, FunctionArguments::None)
        && let Some(name) = name.as_deref().filter(|name| SPECIAL_NAMES.contains(name))
    {
        return Ok(Some(call(name, vec![])));
    }
    if name.as_deref() == Some("variance") {
        function.name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new("var_samp"))]);
    }
    // DataFusion names what is called by another name in a way of its own.
    if let [ObjectNamePart::Identifier(ident)] = function.name.0.as_mut_slice()
        && ident.quote_style.is_none()
        && !ident.value.starts_with('\u{1}')
        && let Some(own) = super::registry::REGISTRY.own_name(&ident.value.to_lowercase())
    {
        own.clone_into(&mut ident.value);
    }
    if let (Some(_), [ObjectNamePart::Identifier(ident)]) = (&function.over, function.name.0.as_mut_slice()) {
        let over = super::registry::over(&folded(ident));
        if super::registry::window(&over).is_some() {
            ident.value = over;
        }
    }
    Ok(None)
}

/// `pg_catalog.lower(x)` is `lower(x)`.
fn strip_schema(name: &mut ObjectName) {
    if name.0.len() > 1
        && name.0[0]
            .as_ident()
            .is_some_and(|schema| matches!(schema.value.to_lowercase().as_str(), "pg_catalog" | "information_schema"))
    {
        name.0.remove(0);
    }
}

/// `ARRAY(SELECT x …)` → `(SELECT array_agg(x) FROM (SELECT x …))`, an empty array where there are no rows.
fn array_subquery(query: Query) -> Expr {
    const COLUMN: &str = "item";
    let alias = datafusion::sql::sqlparser::ast::TableAlias {
        explicit: true,
        name: Ident::new("rows"),
        columns: vec![datafusion::sql::sqlparser::ast::TableAliasColumnDef::from_name(COLUMN)],
        at: None,
    };
    let mut outer = empty_query();
    if let SetExpr::Select(select) = outer.body.as_mut() {
        select.projection = vec![SelectItem::ExprWithAlias {
            expr: call("array_agg", vec![Expr::Identifier(Ident::new(COLUMN))]),
            alias: Ident::new("array"),
        }];
        select.from = vec![datafusion::sql::sqlparser::ast::TableWithJoins {
            relation: datafusion::sql::sqlparser::ast::TableFactor::Derived {
                lateral: false,
                subquery: Box::new(query),
                alias: Some(alias),
                sample: None,
            },
            joins: vec![],
        }];
    }
    call("coalesce", vec![Expr::Subquery(Box::new(outer)), string("{}".into())])
}

pub(super) fn empty_query() -> Query {
    let sql = "SELECT 1";
    datafusion::sql::sqlparser::parser::Parser::new(&datafusion::sql::sqlparser::dialect::PostgreSqlDialect {})
        .try_with_sql(sql)
        .and_then(|mut parser| parser.parse_query())
        .map(|query| *query)
        .expect("a constant that parses")
}

/// `x = ANY (…)`, `x <> ALL (…)` in words DataFusion has.
fn rewrite_quantified(expr: &mut Expr) -> Result<()> {
    let (left, op, right, any) = match expr {
        Expr::AnyOp { left, compare_op, right, .. } => (left, compare_op, right, true),
        Expr::AllOp { left, compare_op, right } => (left, compare_op, right, false),
        _ => return Ok(()),
    };
    let take = |place: &mut Box<Expr>| std::mem::replace(place.as_mut(), null());
    let mut inner = take(right);
    while let Expr::Nested(nested) = inner {
        inner = *nested;
    }
    match (&inner, &*op, any) {
        (Expr::Subquery(_), BinaryOperator::Eq, true) | (Expr::Subquery(_), BinaryOperator::NotEq, false) => {
            let value = take(left);
            let Expr::Subquery(subquery) = inner else { return Ok(()) };
            *expr = Expr::InSubquery { expr: Box::new(value), subquery, negated: !any };
        }
        (Expr::Array(Array { elem, .. }), _, _) if !elem.is_empty() => {
            let value = take(left);
            let op = op.clone();
            let Expr::Array(Array { elem, .. }) = inner else { return Ok(()) };
            *expr = match (&op, any) {
                (BinaryOperator::Eq, true) => Expr::InList { expr: Box::new(value), list: elem, negated: false },
                (BinaryOperator::NotEq, false) => Expr::InList { expr: Box::new(value), list: elem, negated: true },
                _ => {
                    let tests = elem
                        .into_iter()
                        .map(|item| Expr::BinaryOp {
                            left: Box::new(value.clone()),
                            op: op.clone(),
                            right: Box::new(item),
                        })
                        .collect();
                    joined(tests, if any { BinaryOperator::Or } else { BinaryOperator::And })
                }
            };
        }
        (_, BinaryOperator::NotEq, false) => {
            // x <> ALL (a) is NOT x = ANY (a), with the same NULLs.
            let value = take(left);
            *expr = not(Expr::AnyOp {
                left: Box::new(value),
                compare_op: BinaryOperator::Eq,
                right: Box::new(inner),
                is_some: false,
            });
        }
        _ => **right = inner,
    }
    Ok(())
}

/// `(a, b) IN (SELECT x, y …)` → `EXISTS (SELECT 1 FROM (SELECT x, y …) WHERE x = a AND y = b)`; negated: no row for which
/// equality is not false, so that NULLs keep NOT IN from being true.
fn row_among(items: &[Expr], subquery: Query, negated: bool) -> Result<Expr> {
    if let SetExpr::Select(select) = subquery.body.as_ref()
        && select
            .projection
            .iter()
            .all(|item| matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. }))
        && select.projection.len() != items.len()
    {
        let word = if select.projection.len() > items.len() { "many" } else { "few" };
        return Err(Error::new(SqlState::SYNTAX_ERROR, format!("subquery has too {word} columns")));
    }
    let quoted = |text: String| Ident::with_quote('"', text);
    let alias = format!("row{APART}");
    let names: Vec<String> = (0..items.len()).map(|at| format!("item{APART}{at}")).collect();
    let columns: Vec<Expr> =
        names.iter().map(|name| Expr::CompoundIdentifier(vec![quoted(alias.clone()), quoted(name.clone())])).collect();
    let equal = row_comparison(&columns, &BinaryOperator::Eq, items)?;
    let condition = if negated { Expr::IsNotFalse(Box::new(equal)) } else { equal };
    let mut outer = empty_query();
    if let SetExpr::Select(select) = outer.body.as_mut() {
        select.from = vec![datafusion::sql::sqlparser::ast::TableWithJoins {
            relation: TableFactor::Derived {
                lateral: false,
                subquery: Box::new(subquery),
                alias: Some(datafusion::sql::sqlparser::ast::TableAlias {
                    explicit: true,
                    name: quoted(alias),
                    columns: names
                        .into_iter()
                        .map(|name| {
                            let name = Ident::with_quote('"', name);
                            datafusion::sql::sqlparser::ast::TableAliasColumnDef { name, data_type: None }
                        })
                        .collect(),
                    at: None,
                }),
                sample: None,
            },
            joins: vec![],
        }];
        select.selection = Some(condition);
    }
    Ok(Expr::Exists { subquery: Box::new(outer), negated })
}

/// The items of a row constructor: `(a, b)`, `ROW(a, b)`.
pub(super) fn row_items(expr: &Expr) -> Option<Vec<Expr>> {
    match expr {
        Expr::Tuple(items) => Some(items.clone()),
        Expr::Nested(inner) => row_items(inner),
        Expr::Function(function) if function.name.to_string().eq_ignore_ascii_case("row") => match &function.args {
            FunctionArguments::List(list) => list
                .args
                .iter()
                .map(|arg| match arg {
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
                    _ => None,
                })
                .collect(),
            _ => None,
        },
        _ => None,
    }
}

/// `(a, b) < (c, d)` as PostgreSQL compares rows: column by column.
fn row_comparison(left: &[Expr], op: &BinaryOperator, right: &[Expr]) -> Result<Expr> {
    if left.len() != right.len() {
        return Err(Error::new(SqlState::SYNTAX_ERROR, "unequal number of entries in row expressions"));
    }
    let pair = |op: &BinaryOperator, index: usize| Expr::BinaryOp {
        left: Box::new(left[index].clone()),
        op: op.clone(),
        right: Box::new(right[index].clone()),
    };
    let last = left.len() - 1;
    Ok(match op {
        BinaryOperator::Eq => joined((0..=last).map(|index| pair(op, index)).collect(), BinaryOperator::And),
        BinaryOperator::NotEq => joined((0..=last).map(|index| pair(op, index)).collect(), BinaryOperator::Or),
        BinaryOperator::Lt | BinaryOperator::LtEq | BinaryOperator::Gt | BinaryOperator::GtEq => {
            let strict = match op {
                BinaryOperator::Lt | BinaryOperator::LtEq => BinaryOperator::Lt,
                _ => BinaryOperator::Gt,
            };
            let mut result = pair(op, last);
            for index in (0..last).rev() {
                let equal = joined(vec![pair(&BinaryOperator::Eq, index), result], BinaryOperator::And);
                result = joined(vec![pair(&strict, index), equal], BinaryOperator::Or);
            }
            result
        }
        other => return Err(Error::unsupported(format!("operator {other} is not supported for rows"))),
    })
}

/// The function that gives as an array what a set-returning function gives as rows.
pub(super) fn array_function(name: &str) -> Option<&'static str> {
    Some(match name {
        "generate_series" => "generate_series",
        "regexp_split_to_table" => "regexp_split_to_array",
        "string_to_table" => "string_to_array",
        "generate_subscripts" => "generate_subscripts",
        "json_each" => "json_each",
        "jsonb_each" => "jsonb_each",
        "json_each_text" => "json_each_text",
        "jsonb_each_text" => "jsonb_each_text",
        "jsonb_array_elements" => "jsonb_array_elements",
        "json_array_elements" => "json_array_elements",
        "jsonb_array_elements_text" => "jsonb_array_elements_text",
        "json_array_elements_text" => "json_array_elements_text",
        "jsonb_object_keys" => "jsonb_object_keys",
        "json_object_keys" => "json_object_keys",
        "pg_partition_ancestors" => "pg_partition_ancestors",
        "_pg_expandarray" => "_pg_expandarray",
        "pg_listening_channels" => "pg_listening_channels",
        "regexp_matches" => "regexp_matches",
        "state_timeline" => "state_timeline",
        "state_periods" => "state_periods",
        "state_durations" => "state_durations",
        "live_ranges" => "live_ranges",
        "dead_ranges" => "dead_ranges",
        "into_values" => "into_values",
        _ => return None,
    })
}

/// The columns of a set-returning function that gives rows.
pub(super) fn row_columns(function: &str) -> Option<&'static [&'static str]> {
    Some(match function {
        "json_each" | "jsonb_each" | "json_each_text" | "jsonb_each_text" => &["key", "value"],
        "state_timeline" => &["state", "start_time", "end_time"],
        "state_periods" => &["start_time", "end_time"],
        "state_durations" => &["state", "duration"],
        "live_ranges" | "dead_ranges" => &["start", "end"],
        "into_values" => &["value", "min_freq", "max_freq"],
        _ => return None,
    })
}

/// Functions that give several rows: in the select list they unnest an array.
fn set_returning(expr: &mut Expr) {
    // `(f(x)).n`: a field of each row.
    if let Expr::Nested(inner) | Expr::CompoundFieldAccess { root: inner, .. } = expr {
        return set_returning(inner);
    }
    let Expr::Function(function) = expr else { return };
    strip_schema(&mut function.name);
    let Some(name) = function.name.0.last().and_then(ObjectNamePart::as_ident).map(folded) else { return };
    let Some(array) = array_function(&name) else { return };
    function.name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new(array))]);
    let inner = std::mem::replace(expr, null());
    *expr = call("unnest", vec![inner]);
}

/// `WHERE a` after `JOIN … USING (a)` means the joined column: that of the side which always has it.
fn qualify_using(select: &mut Select) {
    let Some(condition) = &mut select.selection else { return };
    let mut columns: Vec<(String, Ident)> = vec![];
    for table in &select.from {
        for join in &table.joins {
            let (constraint, side) = match &join.join_operator {
                JoinOperator::Join(constraint)
                | JoinOperator::Inner(constraint)
                | JoinOperator::Left(constraint)
                | JoinOperator::LeftOuter(constraint) => (constraint, &table.relation),
                JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => (constraint, &join.relation),
                _ => continue,
            };
            let (JoinConstraint::Using(names), Some(side)) = (constraint, relation_name(side)) else { continue };
            for name in names {
                if let Some(column) = name.0.last().and_then(ObjectNamePart::as_ident) {
                    columns.push((folded(column), side.clone()));
                }
            }
        }
    }
    if !columns.is_empty() {
        let _ = condition.visit(&mut Qualify { columns, depth: 0 });
    }
}

/// `t.*` of `FROM s.t` as `s.t.*`, which the engine wants.
fn qualify_wildcards(select: &mut Select) {
    let factors = select
        .from
        .iter()
        .flat_map(|table| std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation)));
    let qualified = |factor| match factor {
        &TableFactor::Table { ref name, alias: None, .. } if name.0.len() > 1 => Some(name),
        _ => None,
    };
    let qualified: Vec<ObjectName> = factors.filter_map(qualified).cloned().collect();
    let last = |name: &ObjectName| name.0.last().and_then(ObjectNamePart::as_ident).map(folded);
    for item in &mut select.projection {
        if let SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) = item
            && name.0.len() == 1
            && let Some(whole) = qualified.iter().find(|whole| last(whole) == last(name))
        {
            name.clone_from(whole);
        }
    }
}

fn relation_name(factor: &TableFactor) -> Option<Ident> {
    match factor {
        TableFactor::Table { alias: Some(alias), .. }
        | TableFactor::Derived { alias: Some(alias), .. }
        | TableFactor::Function { alias: Some(alias), .. } => Some(alias.name.clone()),
        TableFactor::Table { name, .. } => name.0.last().and_then(ObjectNamePart::as_ident).cloned(),
        _ => None,
    }
}

/// Qualifies bare columns, but not those of subqueries.
struct Qualify {
    columns: Vec<(String, Ident)>,
    depth: usize,
}

impl VisitorMut for Qualify {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let (0, Expr::Identifier(ident)) = (self.depth, &*expr)
            && let Some((_, side)) = self.columns.iter().find(|(name, _)| *name == folded(ident))
        {
            *expr = Expr::CompoundIdentifier(vec![side.clone(), ident.clone()]);
        }
        ControlFlow::Continue(())
    }
}

/// Gives every output column PostgreSQL's name, and sets equal names apart.
fn name_columns(items: &mut [SelectItem]) {
    let mut taken = HashSet::new();
    let wildcard = items.iter().any(|item| {
        matches!(
            item,
            SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(_), _)
        )
    });
    for (index, item) in items.iter_mut().enumerate() {
        let (expr, alias) = match item {
            SelectItem::UnnamedExpr(expr) => (expr, None),
            SelectItem::ExprWithAlias { expr, alias } => (expr, Some(alias.clone())),
            _ => continue,
        };
        let plain = matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) && !is_special(expr);
        let name = match &alias {
            Some(alias) if alias.quote_style.is_some() => alias.value.clone(),
            Some(alias) => alias.value.to_lowercase(),
            None => column_name(expr),
        };
        let fresh = taken.insert(name.clone());
        if fresh && (alias.is_some() || plain && !wildcard) {
            continue;
        }
        let unique = if fresh && !(plain && wildcard) { name } else { apart(&name, index) };
        let expr = std::mem::replace(expr, null());
        *item = SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', unique) };
    }
}

fn is_special(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(ident) if ident.quote_style.is_none() && SPECIAL_NAMES.contains(&ident.value.to_lowercase().as_str()))
}

/// PostgreSQL's name for an output column without AS (FigureColname).
pub(super) fn column_name(expr: &Expr) -> String {
    name_of(expr).map_or_else(|| "?column?".into(), |(name, _)| name)
}

pub(super) fn folded(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// A name, and whether it is a good one: a cast puts its type's name in place of a weak one.
fn name_of(expr: &Expr) -> Option<(String, bool)> {
    let good = |name: &str| Some((name.to_owned(), true));
    match expr {
        Expr::Identifier(ident) => Some((folded(ident), true)),
        Expr::CompoundIdentifier(idents) => idents.last().map(|ident| (folded(ident), true)),
        Expr::Function(function) => {
            let name = function.name.0.last().and_then(ObjectNamePart::as_ident).map(folded)?;
            // What a set-returning function in the select list was turned into.
            if name == "unnest"
                && let FunctionArguments::List(list) = &function.args
                && let [FunctionArg::Unnamed(FunctionArgExpr::Expr(inner @ Expr::Function(_)))] = list.args.as_slice()
                && let Some((inner, _)) = name_of(inner)
                && !matches!(inner.as_str(), "regexp_split_to_array" | "string_to_array")
                && array_function(&inner).is_some()
            {
                return Some((inner, true));
            }
            Some((name, true))
        }
        Expr::Cast { expr, data_type, .. } => match name_of(expr) {
            Some((name, true)) => Some((name, true)),
            _ => Some((type_name(data_type), false)),
        },
        Expr::TypedString(TypedString { data_type, .. }) => Some((type_name(data_type), false)),
        Expr::Interval(_) => Some(("interval".into(), false)),
        Expr::Case { else_result, .. } => match else_result.as_ref().and_then(|result| name_of(result)) {
            Some((name, true)) => Some((name, true)),
            _ => Some(("case".into(), false)),
        },
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => name_of(inner),
        Expr::CompoundFieldAccess { root, access_chain } => access_chain
            .iter()
            .rev()
            .find_map(|access| match access {
                AccessExpr::Dot(Expr::Identifier(ident)) => Some((folded(ident), true)),
                _ => None,
            })
            .or_else(|| name_of(root)),
        Expr::Array(_) => good("array"),
        Expr::Exists { negated: false, .. } => good("exists"),
        Expr::Subquery(query) => {
            let mut body = query.body.as_ref();
            while let SetExpr::SetOperation { left, .. } = body {
                body = left.as_ref();
            }
            match body {
                SetExpr::Select(select) => match select.projection.first() {
                    Some(SelectItem::UnnamedExpr(expr)) => name_of(expr),
                    Some(SelectItem::ExprWithAlias { alias, .. }) => Some((shown(&folded(alias)).to_owned(), true)),
                    _ => None,
                },
                _ => None,
            }
        }
        Expr::Extract { .. } => good("extract"),
        Expr::Position { .. } => good("position"),
        Expr::Substring { shorthand: true, .. } => good("substr"),
        Expr::Substring { .. } => good("substring"),
        Expr::Trim { trim_where, .. } => good(match trim_where {
            Some(datafusion::sql::sqlparser::ast::TrimWhereField::Leading) => "ltrim",
            Some(datafusion::sql::sqlparser::ast::TrimWhereField::Trailing) => "rtrim",
            _ => "btrim",
        }),
        Expr::Overlay { .. } => good("overlay"),
        Expr::Ceil { .. } => good("ceil"),
        Expr::Floor { .. } => good("floor"),
        Expr::AtTimeZone { .. } => good("timezone"),
        Expr::Tuple(_) => good("row"),
        _ => None,
    }
}

/// The name that a cast gives its column; to an array that of the items.
fn type_name(data_type: &AstType) -> String {
    use tidemill_udfs::types::SqlType;
    let Ok(mut sql_type) = super::types::sql_type_of(None, data_type) else { return user_type_name(data_type) };
    while let SqlType::Array(item) = sql_type {
        sql_type = item.as_ref().clone();
    }
    sql_type.typname()
}

/// The name of a type that users made, without its schema; of an array that of the items.
fn user_type_name(data_type: &AstType) -> String {
    use datafusion::sql::sqlparser::ast::ArrayElemTypeDef;
    match data_type {
        AstType::Array(ArrayElemTypeDef::SquareBracket(item, _) | ArrayElemTypeDef::AngleBracket(item)) => {
            user_type_name(item)
        }
        AstType::Custom(name, _) => match name.0.last().and_then(ObjectNamePart::as_ident) {
            Some(ident) if ident.quote_style.is_none() => ident.value.to_lowercase(),
            Some(ident) => ident.value.clone(),
            None => "?column?".into(),
        },
        _ => "?column?".into(),
    }
}

fn check_collation(name: &ObjectName) -> Result<()> {
    let last = name.0.last().and_then(ObjectNamePart::as_ident).map(|ident| ident.value.clone()).unwrap_or_default();
    match last.to_lowercase().as_str() {
        "c" | "posix" | "default" | "ucs_basic" | "c.utf8" | "c.utf-8" | "unicode" => Ok(()),
        _ => Err(Error::new(
            SqlState::UNDEFINED_OBJECT,
            format!("collation \"{last}\" for encoding \"UTF8\" does not exist"),
        )),
    }
}

/// True for a number that a numeric holds with all its digits; others are double precision.
fn fits_numeric(number: &str) -> bool {
    const DIGITS: i64 = 75;
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let length = |digits: &str| i64::try_from(digits.len()).unwrap_or(i64::MAX);
    let Ok(exponent) = exponent.parse::<i64>() else { return false };
    let scale = length(fraction).saturating_sub(exponent);
    let digits = length(whole.trim_start_matches('0')) + length(fraction);
    let precision = if scale >= 0 { digits.max(scale) } else { digits.saturating_sub(scale) };
    precision <= DIGITS
}

pub(super) fn null() -> Expr {
    Expr::Value(ValueWithSpan { value: Value::Null, span: Span::empty() })
}

pub(super) fn number(digits: &str) -> Expr {
    Expr::Value(ValueWithSpan { value: Value::Number(digits.into(), false), span: Span::empty() })
}

pub(super) fn string(text: String) -> Expr {
    Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), span: Span::empty() })
}

pub(super) fn cast(expr: Expr, data_type: AstType) -> Expr {
    Expr::Cast { kind: CastKind::DoubleColon, expr: Box::new(expr), data_type, array: false, format: None }
}

pub(super) fn not(expr: Expr) -> Expr {
    Expr::UnaryOp { op: datafusion::sql::sqlparser::ast::UnaryOperator::Not, expr: Box::new(expr) }
}

pub(super) fn joined(exprs: Vec<Expr>, op: BinaryOperator) -> Expr {
    exprs
        .into_iter()
        .reduce(|left, right| Expr::BinaryOp { left: Box::new(left), op: op.clone(), right: Box::new(right) })
        .unwrap_or_else(null)
}

/// `name(args)`.
pub(super) fn call(name: &str, args: Vec<Expr>) -> Expr {
    Expr::Function(Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect(),
            clauses: Vec::<FunctionArgumentClause>::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn parse(sql: &str) -> Query {
        *Parser::new(&PostgreSqlDialect {}).try_with_sql(sql).unwrap().parse_query().unwrap()
    }

    #[test]
    fn columns_are_named_as_postgresql_names_them() {
        let check = |sql: &str, names: &[&str]| {
            let mut query_ast = parse(sql);
            query(&mut query_ast).unwrap();
            let SetExpr::Select(select) = query_ast.body.as_ref() else { panic!("{sql}") };
            let found: Vec<String> = select
                .projection
                .iter()
                .map(|item| match item {
                    SelectItem::UnnamedExpr(expr) => column_name(expr),
                    SelectItem::ExprWithAlias { alias, .. } => shown(&alias.value).to_owned(),
                    other => other.to_string(),
                })
                .collect();
            assert_eq!(found, names, "{sql}");
        };
        check("select 1, 2, a.b, lower(x), x::int8", &["?column?", "?column?", "b", "lower", "x"]);
        check("select count(*), 1::int4, case when a then 1 end", &["count", "int4", "case"]);
        check("select exists(select 1), (select q from t), array[1]", &["exists", "q", "array"]);
        check("select generate_series(1, 2), current_user", &["generate_series", "current_user"]);
    }
}
