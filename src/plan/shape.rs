//! The clauses of a SELECT: what PostgreSQL refuses by the place it stands in, named windows, ordinals, grouping sets,
//! recursive queries. Said in the words of DataFusion's planner, before names are known.

use std::ops::ControlFlow;

use datafusion::arrow::datatypes::IntervalMonthDayNano;
use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Cte, DataType as AstType, Distinct, ExcludeSelectItem, Expr, Function, FunctionArgumentList,
    FunctionArguments, GroupByExpr, Ident, JoinConstraint, LimitClause, LockType, NamedWindowDefinition,
    NamedWindowExpr, ObjectName, ObjectNamePart, OrderBy, OrderByExpr, OrderByKind, OrderByOptions, Query, Select,
    SelectItem, SetExpr, SetOperator, TableAlias, TableFactor, TableWithJoins, TypedString, UnaryOperator, Value,
    ValueWithSpan, Visit, VisitMut, Visitor, VisitorMut, WildcardAdditionalOptions, WindowFrameBound, WindowSpec,
    WindowType,
};
use tidemill_udfs::types::{SqlType, TextSettings, parse_scalar};

use super::prepare::{apart, column_name, folded, number};
use super::registry;
use crate::Result;
use crate::error::{Error, SqlState};

/// Makes the clauses of a query ready; its SELECT's own are [`select`]'s.
pub(super) fn query(query: &mut Query) -> Result<()> {
    locks(query)?;
    if let Some(with) = &mut query.with
        && with.recursive
    {
        with.cte_tables.iter_mut().try_for_each(recursive)?;
    }
    with_ties(query)?;
    let order_by = match query.order_by.as_mut().map(|order_by| &mut order_by.kind) {
        Some(OrderByKind::Expressions(exprs)) => exprs.as_mut_slice(),
        _ => &mut [],
    };
    for item in order_by.iter() {
        let constant = matches!(&item.expr, Expr::Value(value) if !matches!(value.value, Value::Number(..) | Value::Placeholder(_)));
        if constant {
            return Err(Error::new(SqlState::SYNTAX_ERROR, "non-integer constant in ORDER BY"));
        }
    }
    if let SetExpr::Select(select) = query.body.as_mut() {
        order_by.iter().try_for_each(|item| check_ordinal(&item.expr, &select.projection, "ORDER BY"))?;
        windows(select, order_by)?;
        distinct(select, order_by);
        own_names(select, order_by);
        for item in order_by.iter() {
            check(&item.expr, Place { word: "ORDER BY", aggregates: true, windows: true })?;
        }
    }
    Ok(())
}

/// `ORDER BY o FETCH FIRST n ROWS WITH TIES` → the rows whose rank by o is at most n:
/// `SELECT * EXCLUDE (rank, number) FROM (SELECT …, rank() OVER (ORDER BY o) AS rank, row_number() …) WHERE rank <= n ORDER BY number`
fn with_ties(query: &mut Query) -> Result<()> {
    const RANK: &str = "\u{1}rank";
    const NUMBER: &str = "\u{1}number";
    if !query.fetch.as_ref().is_some_and(|fetch| fetch.with_ties && !fetch.percent) {
        return Ok(());
    }
    let order_by = match query.order_by.take().map(|order_by| order_by.kind) {
        Some(OrderByKind::Expressions(exprs)) => exprs,
        _ => {
            return Err(Error::new(SqlState::SYNTAX_ERROR, "WITH TIES cannot be specified without ORDER BY clause"));
        }
    };
    let SetExpr::Select(select) = query.body.as_mut() else {
        return Err(Error::unsupported("FETCH … WITH TIES of this query is not supported"));
    };
    if select.distinct.is_some() {
        return Err(Error::unsupported("FETCH … WITH TIES with DISTINCT is not supported"));
    }
    let quoted = |name: &str| Ident::with_quote('"', name);
    let order_by = order_by
        .into_iter()
        .map(|item| {
            let named = |selected: &&SelectItem| {
                matches!(selected, SelectItem::ExprWithAlias { alias, .. }
                if matches!(&item.expr, Expr::Identifier(ident) if folded(ident) == folded(alias)))
            };
            let meant = at_ordinal(&item.expr, &select.projection)
                .or_else(|| select.projection.iter().find(named).and_then(item_expr))
                .cloned();
            OrderByExpr { expr: meant.unwrap_or(item.expr), ..item }
        })
        .collect::<Vec<_>>();
    for (function, name) in [("rank", RANK), ("row_number", NUMBER)] {
        let mut expr = super::prepare::call(function, vec![]);
        if let Expr::Function(function) = &mut expr {
            function.over = Some(WindowType::WindowSpec(WindowSpec {
                window_name: None,
                partition_by: vec![],
                order_by: order_by.clone(),
                window_frame: None,
            }));
        }
        select.projection.push(SelectItem::ExprWithAlias { expr, alias: quoted(name) });
    }
    let skip = match query.limit_clause.take() {
        Some(LimitClause::LimitOffset { offset: Some(offset), .. }) => offset.value,
        _ => number("0"),
    };
    let rows = query.fetch.take().and_then(|fetch| fetch.quantity).unwrap_or_else(|| number("1"));
    let binary = |left: Expr, op: BinaryOperator, right: Expr| Expr::BinaryOp {
        left: Box::new(left),
        op,
        right: Box::new(right),
    };
    let (rank, row) = (Expr::Identifier(quoted(RANK)), Expr::Identifier(quoted(NUMBER)));
    let within = binary(rank, BinaryOperator::LtEq, binary(skip.clone(), BinaryOperator::Plus, rows));
    let condition = binary(within, BinaryOperator::And, binary(row.clone(), BinaryOperator::Gt, skip));
    let mut inner = super::prepare::empty_query();
    std::mem::swap(&mut inner.body, &mut query.body);
    if let SetExpr::Select(outer) = query.body.as_mut() {
        let hidden = [RANK, NUMBER].map(|name| ObjectName(vec![ObjectNamePart::Identifier(quoted(name))]));
        outer.projection = vec![SelectItem::Wildcard(WildcardAdditionalOptions {
            opt_exclude: Some(ExcludeSelectItem::Multiple(hidden.to_vec())),
            ..WildcardAdditionalOptions::default()
        })];
        outer.from = vec![TableWithJoins {
            relation: TableFactor::Derived {
                lateral: false,
                subquery: Box::new(inner),
                alias: Some(TableAlias { explicit: true, name: quoted("\u{1}ties"), columns: vec![], at: None }),
                sample: None,
            },
            joins: vec![],
        }];
        outer.selection = Some(condition);
    }
    query.order_by = Some(OrderBy { kind: OrderByKind::Expressions(vec![sorted(row)]), interpolate: None });
    Ok(())
}

fn sorted(expr: Expr) -> OrderByExpr {
    OrderByExpr { expr, options: OrderByOptions::default(), with_fill: None }
}

/// Makes the clauses of a SELECT ready.
pub(super) fn select(select: &mut Select) -> Result<()> {
    windows(select, &mut [])?;
    let expressions = |exprs: &[Expr], place: Place| exprs.iter().try_for_each(|expr| check(expr, place));
    for item in &select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            check(expr, Place { word: "SELECT", aggregates: true, windows: true })?;
        }
    }
    if let Some(condition) = &select.selection {
        check(condition, Place { word: "WHERE", aggregates: false, windows: false })?;
    }
    if let Some(condition) = &select.having {
        check(condition, Place { word: "HAVING", aggregates: true, windows: false })?;
    }
    for join in select.from.iter().flat_map(|table| &table.joins) {
        if let Some(JoinConstraint::On(condition)) = super::sources::constraint(&join.join_operator) {
            check(condition, Place { word: "JOIN conditions", aggregates: false, windows: false })?;
        }
    }
    let items = &select.projection;
    match &mut select.group_by {
        GroupByExpr::Expressions(exprs, _) => {
            exprs.iter().try_for_each(|expr| check_ordinal(expr, items, "GROUP BY"))?;
            exprs.iter_mut().for_each(|expr| grouping(expr, items));
            let place = Place { word: "GROUP BY", aggregates: false, windows: false };
            for meant in exprs.iter().filter_map(|expr| at_ordinal(expr, items)) {
                check(meant, place)?;
            }
            expressions(exprs, place)
        }
        GroupByExpr::All(_) => Err(Error::new(SqlState::SYNTAX_ERROR, "syntax error at or near \"ALL\"")),
    }
}

/// FOR UPDATE locks nothing here, but stands only where PostgreSQL allows it.
fn locks(query: &mut Query) -> Result<()> {
    for lock in std::mem::take(&mut query.locks) {
        let word = match lock.lock_type {
            LockType::Share => "FOR SHARE",
            _ => "FOR UPDATE",
        };
        let refuse = |what: &str| Err(Error::unsupported(format!("{word} is not allowed with {what}")));
        let SetExpr::Select(select) = query.body.as_ref() else { return refuse("UNION/INTERSECT/EXCEPT") };
        if select.distinct.is_some() {
            return refuse("DISTINCT clause");
        }
        if !matches!(&select.group_by, GroupByExpr::Expressions(exprs, _) if exprs.is_empty()) {
            return refuse("GROUP BY clause");
        }
        if select.having.is_some() {
            return refuse("HAVING clause");
        }
        let aggregated = |item: &SelectItem| match item {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => has(expr, is_aggregate),
            _ => false,
        };
        if select.projection.iter().any(aggregated) {
            return refuse("aggregate functions");
        }
        if let Some(name) = lock.of.as_ref().and_then(last_ident) {
            let wanted = folded(name);
            let known = select.from.iter().any(|table| {
                std::iter::once(&table.relation)
                    .chain(table.joins.iter().map(|join| &join.relation))
                    .any(|factor| factor_name(factor).is_some_and(|name| name == wanted))
            });
            if !known {
                return Err(Error::new(
                    SqlState::UNDEFINED_TABLE,
                    format!("relation \"{wanted}\" in {word} clause not found in FROM clause"),
                ));
            }
        }
    }
    Ok(())
}

/// What an item of FROM is called.
pub(super) fn factor_name(factor: &TableFactor) -> Option<String> {
    let alias = match factor {
        TableFactor::Table { alias, .. }
        | TableFactor::Derived { alias, .. }
        | TableFactor::Function { alias, .. }
        | TableFactor::UNNEST { alias, .. }
        | TableFactor::NestedJoin { alias, .. } => alias.as_ref(),
        _ => None,
    };
    match (alias, factor) {
        (Some(alias), _) => Some(folded(&alias.name)),
        (None, TableFactor::Table { name, .. } | TableFactor::Function { name, .. }) => last_ident(name).map(folded),
        _ => None,
    }
}

fn last_ident(name: &ObjectName) -> Option<&Ident> {
    name.0.last().and_then(ObjectNamePart::as_ident)
}

/// Where an expression stands, and what may stand there.
#[derive(Clone, Copy)]
struct Place {
    word: &'static str,
    aggregates: bool,
    windows: bool,
}

fn function_name(function: &Function) -> String {
    last_ident(&function.name).map(folded).unwrap_or_default()
}

fn is_aggregate(function: &Function) -> bool {
    let name = function_name(function);
    function.over.is_none() && registry::aggregate(&name).is_some() && registry::scalar(&name).is_none()
}

fn is_window(function: &Function) -> bool {
    function.over.is_some()
}

/// True if such a call stands in the expression, not counting its subqueries.
fn has(expr: &Expr, wanted: fn(&Function) -> bool) -> bool {
    struct Find(fn(&Function) -> bool, usize);
    impl Visitor for Find {
        type Break = ();

        fn pre_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
            self.1 += 1;
            ControlFlow::Continue(())
        }

        fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
            self.1 -= 1;
            ControlFlow::Continue(())
        }

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Function(function) if self.1 == 0 && self.0(function) => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    expr.visit(&mut Find(wanted, 0)).is_break()
}

/// Refuses aggregates and window functions where they may not stand.
fn check(expr: &Expr, place: Place) -> Result<()> {
    struct Check {
        place: Place,
        /// Queries around, below the expression.
        depth: usize,
        /// Aggregate and window calls around.
        aggregates: usize,
        windows: usize,
    }
    impl Check {
        fn call(&mut self, function: &Function) -> Result<()> {
            let (grouping, windowing) = (SqlState::GROUPING_ERROR, SqlState::WINDOWING_ERROR);
            let fail = |code: SqlState, message: String| {
                let error = Error::new(code, message);
                Err(match last_ident(&function.name).map(|ident| ident.span.start) {
                    Some(start) if start.line > 0 => error.located(start.line, start.column),
                    _ => error,
                })
            };
            if is_window(function) {
                if !self.place.windows {
                    return fail(windowing, format!("window functions are not allowed in {}", self.place.word));
                }
                let name = function_name(function);
                let is_known = registry::window(&name).is_some() || registry::aggregate(&name).is_some();
                if !is_known && registry::window(&registry::over(&name)).is_none() && registry::scalar(&name).is_some()
                {
                    let message =
                        format!("OVER specified, but {name} is not a window function nor an aggregate function");
                    return fail(SqlState::WRONG_OBJECT_TYPE, message);
                }
                if self.aggregates > 0 {
                    return fail(grouping, "aggregate function calls cannot contain window function calls".into());
                }
                if self.windows > 0 {
                    return fail(windowing, "window function calls cannot be nested".into());
                }
                if is_distinct(function) {
                    return fail(
                        SqlState::FEATURE_NOT_SUPPORTED,
                        "DISTINCT is not implemented for window functions".into(),
                    );
                }
            } else if is_aggregate(function) {
                if !self.place.aggregates {
                    return fail(grouping, format!("aggregate functions are not allowed in {}", self.place.word));
                }
                if self.aggregates > 0 {
                    return fail(grouping, "aggregate function calls cannot be nested".into());
                }
                if function.filter.as_ref().is_some_and(|filter| has(filter, is_aggregate)) {
                    return fail(grouping, "aggregate functions are not allowed in FILTER".into());
                }
                if function.filter.as_ref().is_some_and(|filter| has(filter, is_window)) {
                    return fail(windowing, "window functions are not allowed in FILTER".into());
                }
                if let Some(message) = bad_order(function) {
                    return fail(SqlState::INVALID_COLUMN_REFERENCE, message);
                }
            } else {
                let name = function_name(function);
                if function.within_group.is_empty()
                    && registry::window(&name).is_some()
                    && registry::scalar(&name).is_none()
                {
                    return fail(
                        SqlState::WRONG_OBJECT_TYPE,
                        format!("window function {name} requires an OVER clause"),
                    );
                }
            }
            Ok(())
        }
    }
    impl Visitor for Check {
        type Break = Error;

        fn pre_visit_query(&mut self, _query: &Query) -> ControlFlow<Error> {
            self.depth += 1;
            ControlFlow::Continue(())
        }

        fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<Error> {
            self.depth -= 1;
            ControlFlow::Continue(())
        }

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Error> {
            if let (0, Expr::Function(function)) = (self.depth, expr) {
                if let Err(error) = self.call(function) {
                    return ControlFlow::Break(error);
                }
                self.aggregates += usize::from(is_aggregate(function));
                self.windows += usize::from(is_window(function));
            }
            ControlFlow::Continue(())
        }

        fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Error> {
            if let (0, Expr::Function(function)) = (self.depth, expr) {
                self.aggregates -= usize::from(is_aggregate(function));
                self.windows -= usize::from(is_window(function));
            }
            ControlFlow::Continue(())
        }
    }
    match expr.visit(&mut Check { place, depth: 0, aggregates: 0, windows: 0 }) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

fn list(function: &Function) -> Option<&FunctionArgumentList> {
    match &function.args {
        FunctionArguments::List(list) => Some(list),
        _ => None,
    }
}

fn is_distinct(function: &Function) -> bool {
    use datafusion::sql::sqlparser::ast::DuplicateTreatment;
    list(function).is_some_and(|list| list.duplicate_treatment == Some(DuplicateTreatment::Distinct))
}

/// `string_agg(DISTINCT x, ',' ORDER BY y)`
fn bad_order(function: &Function) -> Option<String> {
    use datafusion::sql::sqlparser::ast::{FunctionArg, FunctionArgExpr, FunctionArgumentClause};
    if !is_distinct(function) {
        return None;
    }
    let list = list(function)?;
    let is_argument = |expr: &Expr| {
        list.args.iter().any(|arg| matches!(arg, FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)) if arg == expr))
    };
    let stray = list.clauses.iter().any(|clause| match clause {
        FunctionArgumentClause::OrderBy(items) => items.iter().any(|item| !is_argument(&item.expr)),
        _ => false,
    });
    stray.then(|| "in an aggregate with DISTINCT, ORDER BY expressions must appear in argument list".to_owned())
}

/// Windows by name become windows spelled out: `OVER w`, `OVER (w ORDER BY x)`, `WINDOW v AS (w …)`.
fn windows(select: &mut Select, order_by: &mut [OrderByExpr]) -> Result<()> {
    if select.named_window.is_empty() {
        return Ok(());
    }
    let mut known: Vec<(String, WindowSpec)> = vec![];
    for NamedWindowDefinition(name, expr) in std::mem::take(&mut select.named_window) {
        let name = folded(&name);
        if known.iter().any(|(other, _)| *other == name) {
            return Err(Error::new(SqlState::WINDOWING_ERROR, format!("window \"{name}\" is already defined")));
        }
        let spec = match expr {
            NamedWindowExpr::NamedWindow(other) => find_window(&known, &other)?.clone(),
            NamedWindowExpr::WindowSpec(spec) => completed(spec, &known)?,
        };
        known.push((name, spec));
    }
    let mut over = Over { known, depth: 0 };
    let mut visit = |expr: &mut Expr| match expr.visit(&mut over) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    };
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            visit(expr)?;
        }
    }
    order_by.iter_mut().try_for_each(|item| visit(&mut item.expr))
}

struct Over {
    known: Vec<(String, WindowSpec)>,
    depth: usize,
}

impl VisitorMut for Over {
    type Break = Error;

    fn pre_visit_query(&mut self, _query: &mut Query) -> ControlFlow<Error> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<Error> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        let (0, Expr::Function(Function { over: Some(over), .. })) = (self.depth, expr) else {
            return ControlFlow::Continue(());
        };
        let spec = match over {
            WindowType::NamedWindow(name) => find_window(&self.known, name).cloned(),
            WindowType::WindowSpec(spec) => completed(spec.clone(), &self.known),
        };
        match spec {
            Ok(spec) => {
                *over = WindowType::WindowSpec(spec);
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    }
}

fn find_window<'w>(known: &'w [(String, WindowSpec)], name: &Ident) -> Result<&'w WindowSpec> {
    let name = folded(name);
    known
        .iter()
        .find(|(other, _)| *other == name)
        .map(|(_, spec)| spec)
        .ok_or_else(|| Error::new(SqlState::UNDEFINED_OBJECT, format!("window \"{name}\" does not exist")))
}

/// A window that begins with another's name.
fn completed(mut spec: WindowSpec, known: &[(String, WindowSpec)]) -> Result<WindowSpec> {
    let Some(name) = spec.window_name.take() else { return Ok(spec) };
    let base = find_window(known, &name)?;
    let refuse = |message: String| Err(Error::new(SqlState::WINDOWING_ERROR, message));
    let shown = folded(&name);
    if !spec.partition_by.is_empty() {
        return refuse(format!("cannot override PARTITION BY clause of window \"{shown}\""));
    }
    if !spec.order_by.is_empty() && !base.order_by.is_empty() {
        return refuse(format!("cannot override ORDER BY clause of window \"{shown}\""));
    }
    if base.window_frame.is_some() {
        return refuse(format!("cannot copy window \"{shown}\" because it has a frame clause"));
    }
    spec.partition_by.clone_from(&base.partition_by);
    if spec.order_by.is_empty() {
        spec.order_by.clone_from(&base.order_by);
    }
    Ok(spec)
}

/// `RANGE BETWEEN interval '1 day' PRECEDING`: DataFusion takes a number's digits as they are, and reads the text when it
/// knows what the rows are ordered by.
///
/// # Errors
/// 22013 for a negative offset.
pub(super) fn frame(function: &mut Function) -> Result<()> {
    let Some(WindowType::WindowSpec(WindowSpec { window_frame: Some(frame), .. })) = &mut function.over else {
        return Ok(());
    };
    let negative = || {
        let message = "invalid preceding or following size in window function";
        Error::new(SqlState::INVALID_PRECEDING_OR_FOLLOWING_SIZE, message)
    };
    for bound in std::iter::once(&mut frame.start_bound).chain(&mut frame.end_bound) {
        let (WindowFrameBound::Preceding(Some(expr)) | WindowFrameBound::Following(Some(expr))) = bound else {
            continue;
        };
        let text = interval_text(expr);
        if let Some(count) = text.as_deref().map(str::trim).filter(|text| text.parse::<f64>().is_ok()) {
            // `'1' PRECEDING`: of what it is, the column says that rows are in the order of.
            **expr = number(count);
        } else if let Some(span) = text.and_then(|text| interval(&text)) {
            let days = i64::from(span.months) * 30 + i64::from(span.days);
            if i128::from(days) * 86_400_000_000_000 + i128::from(span.nanoseconds) < 0 {
                return Err(negative());
            }
            // In words that DataFusion reads.
            **expr = number(&format!("{} months {} days {} nanoseconds", span.months, span.days, span.nanoseconds));
        } else if let Some(value) = constant(expr) {
            if value < 0 {
                return Err(negative());
            }
            **expr = number(&value.to_string());
        }
    }
    Ok(())
}

fn interval(text: &str) -> Option<IntervalMonthDayNano> {
    match parse_scalar(&SqlType::Interval, text, &TextSettings::default()).ok()? {
        ScalarValue::IntervalMonthDayNano(span) => span,
        _ => None,
    }
}

/// What whole numbers with operators between them come to.
fn constant(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Value(ValueWithSpan { value: Value::Number(digits, _), .. }) => digits.parse().ok(),
        Expr::Nested(inner) => constant(inner),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => constant(expr)?.checked_neg(),
        Expr::BinaryOp { left, op, right } => {
            let (left, right) = (constant(left)?, constant(right)?);
            match op {
                BinaryOperator::Plus => left.checked_add(right),
                BinaryOperator::Minus => left.checked_sub(right),
                BinaryOperator::Multiply => left.checked_mul(right),
                _ => None,
            }
        }
        _ => None,
    }
}

fn interval_text(expr: &Expr) -> Option<String> {
    let text = |expr: &Expr| match expr {
        Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text) | Value::Number(text, _), .. }) => {
            Some(text.clone())
        }
        _ => None,
    };
    match expr {
        Expr::Interval(interval) => {
            let value = text(&interval.value)?;
            Some(match &interval.leading_field {
                Some(field) => format!("{value} {}", field.to_string().to_lowercase()),
                None => value,
            })
        }
        Expr::Nested(inner) => interval_text(inner),
        Expr::Cast { expr, data_type: AstType::Interval { .. }, .. } => text(expr),
        Expr::TypedString(TypedString { data_type: AstType::Interval { .. }, value, .. }) => {
            text(&Expr::Value(value.clone()))
        }
        _ => None,
    }
}

fn item_expr(item: &SelectItem) -> Option<&Expr> {
    match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    }
}

fn ordinal(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Value(ValueWithSpan { value: Value::Number(digits, _), .. }) => digits.parse().ok(),
        _ => None,
    }
}

/// 42P10 for a position that the select list does not have; unknown while there are wildcards in it.
fn check_ordinal(expr: &Expr, items: &[SelectItem], clause: &str) -> Result<()> {
    let (Some(position), Expr::Value(value)) = (ordinal(expr), expr) else { return Ok(()) };
    if (1..=items.len()).contains(&position) || items.iter().any(|item| item_expr(item).is_none()) {
        return Ok(());
    }
    let message = format!("{clause} position {position} is not in select list");
    let start = value.span.start;
    let error = Error::new(SqlState::INVALID_COLUMN_REFERENCE, message);
    Err(if start.line > 0 { error.located(start.line, start.column) } else { error })
}

pub(super) fn at_ordinal<'i>(expr: &Expr, items: &'i [SelectItem]) -> Option<&'i Expr> {
    let position = ordinal(expr)?.checked_sub(1)?;
    items.iter().take(position + 1).all(|item| item_expr(item).is_some()).then_some(())?;
    items.get(position).and_then(item_expr)
}

/// With DISTINCT, an expression of ORDER BY that is selected is meant by its position; DISTINCT ON takes positions.
fn distinct(select: &mut Select, order_by: &mut [OrderByExpr]) {
    let items = &select.projection;
    match &mut select.distinct {
        Some(Distinct::On(exprs)) => {
            for expr in exprs {
                if let Some(meant) = at_ordinal(expr, items) {
                    *expr = meant.clone();
                }
            }
        }
        Some(_) if items.iter().all(|item| item_expr(item).is_some()) => {
            for item in order_by.iter_mut() {
                if ordinal(&item.expr).is_some() || matches!(item.expr, Expr::Identifier(_)) {
                    continue;
                }
                if let Some(position) = items.iter().position(|selected| item_expr(selected) == Some(&item.expr)) {
                    item.expr = number(&(position + 1).to_string());
                }
            }
        }
        _ => {}
    }
}

/// Names within an expression of ORDER BY are of input columns; only a name alone is of an output column.
fn own_names(select: &mut Select, order_by: &mut [OrderByExpr]) {
    if order_by.is_empty() || select.projection.iter().any(|item| item_expr(item).is_none()) {
        return;
    }
    let mut inner: Vec<String> = vec![];
    for item in order_by.iter().filter(|item| !matches!(item.expr, Expr::Identifier(_))) {
        names_in(&item.expr, &mut inner);
    }
    if inner.is_empty() {
        return;
    }
    for (index, item) in select.projection.iter_mut().enumerate() {
        let (expr, name) = match item {
            SelectItem::ExprWithAlias { expr, alias } => (&*expr, folded(alias)),
            SelectItem::UnnamedExpr(expr) => (&*expr, column_name(expr)),
            _ => continue,
        };
        let itself = match expr {
            Expr::Identifier(ident) => folded(ident) == name,
            Expr::CompoundIdentifier(idents) => idents.last().is_some_and(|ident| folded(ident) == name),
            _ => false,
        };
        if itself || !inner.contains(&name) {
            continue;
        }
        let expr = expr.clone();
        for order in order_by.iter_mut() {
            if matches!(&order.expr, Expr::Identifier(ident) if folded(ident) == name) {
                order.expr = number(&(index + 1).to_string());
            }
        }
        *item = SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', apart(&name, index)) };
    }
}

/// True if a column is named in the expression.
pub(super) fn names_column(expr: &Expr) -> bool {
    struct Find;
    impl Visitor for Find {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    expr.visit(&mut Find).is_break()
}

fn names_in(expr: &Expr, names: &mut Vec<String>) {
    struct Names<'n>(&'n mut Vec<String>);
    impl Visitor for Names<'_> {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if let Expr::Identifier(ident) = expr {
                self.0.push(folded(ident));
            }
            ControlFlow::Continue(())
        }
    }
    let _ = expr.visit(&mut Names(names));
}

/// Positions within grouping sets, and sets within sets, spelled out.
fn grouping(expr: &mut Expr, items: &[SelectItem]) {
    let spelled = |expr: Expr| at_ordinal(&expr, items).cloned().unwrap_or(expr);
    match expr {
        Expr::Rollup(sets) | Expr::Cube(sets) => {
            for set in sets {
                *set = std::mem::take(set).into_iter().map(spelled).collect();
            }
        }
        Expr::GroupingSets(sets) => {
            let mut result = vec![];
            for set in std::mem::take(sets) {
                match set.as_slice() {
                    [Expr::Rollup(parts)] => result.extend(rolled(parts)),
                    [Expr::Cube(parts)] => result.extend(cubed(parts)),
                    [Expr::GroupingSets(inner)] => result.extend(inner.iter().cloned()),
                    [Expr::Function(function)] => match (function_name(function).as_str(), arguments(function)) {
                        ("rollup", Some(parts)) => result.extend(rolled(&parts)),
                        ("cube", Some(parts)) => result.extend(cubed(&parts)),
                        _ => result.push(set),
                    },
                    _ => result.push(set),
                }
            }
            *sets = result.into_iter().map(|set| set.into_iter().map(spelled).collect()).collect();
        }
        _ => {}
    }
}

fn arguments(function: &Function) -> Option<Vec<Vec<Expr>>> {
    use datafusion::sql::sqlparser::ast::{FunctionArg, FunctionArgExpr};
    list(function)?
        .args
        .iter()
        .map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Tuple(exprs))) => Some(exprs.clone()),
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(vec![expr.clone()]),
            _ => None,
        })
        .collect()
}

fn rolled(parts: &[Vec<Expr>]) -> Vec<Vec<Expr>> {
    (0..=parts.len()).rev().map(|length| parts[..length].concat()).collect()
}

/// A cube has a set per subset of its parts; more parts than this would be more sets than anyone waits for.
const CUBE_MAX: usize = 12;

fn cubed(parts: &[Vec<Expr>]) -> Vec<Vec<Expr>> {
    let parts = &parts[..parts.len().min(CUBE_MAX)];
    (0..1usize << parts.len())
        .rev()
        .map(|bits| {
            let chosen = parts.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1);
            chosen.flat_map(|(_, part)| part.iter().cloned()).collect()
        })
        .collect()
}

/// WITH RECURSIVE: what PostgreSQL refuses, and NULL in the first branch, which is text there.
fn recursive(cte: &mut Cte) -> Result<()> {
    let name = folded(&cte.alias.name);
    if !names_relation(cte.query.as_ref(), &name) {
        return Ok(());
    }
    let refuse = |message: String| Err(Error::new(SqlState::INVALID_RECURSION, message));
    let form =
        format!("recursive query \"{name}\" does not have the form non-recursive-term UNION [ALL] recursive-term");
    let SetExpr::SetOperation { op: SetOperator::Union, left, right, .. } = cte.query.body.as_mut() else {
        return refuse(form);
    };
    if names_relation(left.as_ref(), &name) {
        return refuse(format!(
            "recursive reference to query \"{name}\" must not appear within its non-recursive term"
        ));
    }
    if let SetExpr::Select(select) = left.as_mut() {
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item
                && matches!(expr, Expr::Value(ValueWithSpan { value: Value::Null, .. }))
            {
                *expr = super::prepare::cast(expr.clone(), AstType::Text);
            }
        }
    }
    if let SetExpr::Select(select) = right.as_ref()
        && select.from.iter().any(|table| names_relation(table, &name))
        && (select.projection.iter().filter_map(item_expr).chain(&select.having)).any(|expr| has(expr, is_aggregate))
    {
        return refuse("aggregate functions are not allowed in a recursive query's recursive term".into());
    }
    Ok(())
}

/// True if a relation of that name is read.
fn names_relation<T: Visit>(tree: &T, name: &str) -> bool {
    struct Find<'n>(&'n str);
    impl Visitor for Find<'_> {
        type Break = ();

        fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
            match relation.0.as_slice() {
                [ObjectNamePart::Identifier(ident)] if folded(ident) == self.0 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    tree.visit(&mut Find(name)).is_break()
}
