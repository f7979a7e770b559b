//! What the items of FROM are made of, as far as it matters to names: NATURAL and USING have columns that belong to both
//! sides, a table's name alone stands for its row, an alias may name the first few columns only. All of it is said in the
//! syntax tree with plain columns, where the columns of all items are known; else the tree stays as it is.
//!
//! ```text
//! SELECT * FROM a FULL JOIN b USING (id)   →   SELECT coalesce(a.id, b.id) AS id, a.x, b.y FROM a FULL JOIN b ON a.id = b.id
//! SELECT count(t), t FROM t                →   SELECT count(row('id', t.id, …)), row('id', t.id, …) AS t FROM t
//! ```

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Ident,
    JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, OrderByExpr, OrderByKind, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, TableAlias, TableAliasColumnDef, TableFactor, TableWithJoins, VisitMut,
    VisitorMut, WildcardAdditionalOptions,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::context::Names;
use super::prepare::{array_function, call, column_name, folded, joined, null, row_columns, shown, string};
use super::record;
use super::shape::factor_name;
use crate::Result;
use crate::error::{Error, SqlState};
use crate::statement::parse::{KEYS, LT, WINDOW};

mod wanted;

use wanted::wanted;

/// Makes a query ready.
///
/// # Errors
/// 42703 for a column of USING that is not there, 42702 for an ambiguous one, 42P10 for an alias with too many columns.
pub(super) fn query(names: &Names<'_>, query: &mut Query) -> Result<()> {
    if !wanted(query) {
        return Ok(());
    }
    Sources { names, ctes: vec![], frames: vec![] }.query(query)
}

fn is_wildcard(item: &SelectItem) -> bool {
    matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..))
}

fn has_twins(names: &[String]) -> bool {
    names.iter().enumerate().any(|(at, name)| names[..at].contains(name))
}

fn is_merging(operator: &JoinOperator) -> bool {
    matches!(constraint(operator), Some(JoinConstraint::Using(_) | JoinConstraint::Natural))
}

/// True for a WINDOW JOIN, as the parser says it.
fn is_window(operator: &JoinOperator) -> bool {
    match constraint(operator) {
        Some(JoinConstraint::On(Expr::Function(function))) => {
            matches!(function.name.0.as_slice(), [ObjectNamePart::Identifier(name)] if name.value == WINDOW)
        }
        Some(JoinConstraint::Using(names)) => {
            let last = names.last().and_then(|name| name.0.last()).and_then(ObjectNamePart::as_ident);
            last.is_some_and(|last| mark_name(last) == WINDOW)
        }
        _ => false,
    }
}

/// What follows ON or USING, if anything does.
pub(super) fn constraint(operator: &JoinOperator) -> Option<&JoinConstraint> {
    use JoinOperator as J;
    match operator {
        J::Join(on)
        | J::Inner(on)
        | J::Left(on)
        | J::LeftOuter(on)
        | J::Right(on)
        | J::RightOuter(on)
        | J::FullOuter(on)
        | J::CrossJoin(on) => Some(on),
        _ => None,
    }
}

fn constraint_mut(operator: &mut JoinOperator) -> Option<&mut JoinConstraint> {
    use JoinOperator as J;
    match operator {
        J::Join(on)
        | J::Inner(on)
        | J::Left(on)
        | J::LeftOuter(on)
        | J::Right(on)
        | J::RightOuter(on)
        | J::FullOuter(on) => Some(on),
        _ => None,
    }
}

fn arguments(function: &datafusion::sql::sqlparser::ast::Function) -> &[FunctionArg] {
    match &function.args {
        FunctionArguments::List(list) => &list.args,
        _ => &[],
    }
}

/// `t.*` as an argument.
fn whole(arg: &FunctionArg) -> Option<String> {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::QualifiedWildcard(name)) => {
            name.0.last().and_then(ObjectNamePart::as_ident).map(folded)
        }
        _ => None,
    }
}

/// The name of an output column; none for `*`.
fn item_name(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
        SelectItem::UnnamedExpr(expr) => Some(column_name(expr)),
        _ => None,
    }
}

/// An item of FROM.
#[derive(Debug, Clone)]
struct Source {
    /// Its alias or name; empty if it has none.
    name: String,
    /// Its columns in order.
    columns: Vec<String>,
    /// A function that gives single values: its name alone is its value.
    scalar: bool,
    /// On the side of an outer join where rows may be missing.
    nullable: bool,
}

/// What a FROM clause puts in sight: `None` in `sources` where not all columns are known.
#[derive(Debug, Clone, Default)]
struct Frame {
    sources: Option<Vec<Source>>,
    /// Columns in the order of `*`, and the expression that gives each.
    visible: Vec<(String, Expr)>,
    /// Columns that USING or NATURAL made of two.
    merged: Vec<String>,
    /// Output names, which ORDER BY and GROUP BY may mean.
    outputs: Vec<String>,
    /// All columns before the first WINDOW JOIN: aggregates over it are for each of their rows.
    rows: Option<Vec<Expr>>,
}

struct Sources<'n, 'a> {
    names: &'n Names<'a>,
    /// WITH queries in sight, innermost last, with their columns if known.
    ctes: Vec<(String, Option<Vec<String>>)>,
    /// FROM clauses in sight, innermost last.
    frames: Vec<Frame>,
}

fn quoted(name: &str) -> Ident {
    Ident::with_quote('"', name)
}

fn column(source: &str, name: &str) -> Expr {
    if source.is_empty() {
        Expr::Identifier(quoted(name))
    } else {
        Expr::CompoundIdentifier(vec![quoted(source), quoted(name)])
    }
}

impl Sources<'_, '_> {
    fn query(&mut self, query: &mut Query) -> Result<()> {
        let outer = self.ctes.len();
        if let Some(with) = &mut query.with {
            for cte in &mut with.cte_tables {
                let name = folded(&cte.alias.name);
                let listed: Vec<String> = cte.alias.columns.iter().map(|column| folded(&column.name)).collect();
                if with.recursive {
                    let columns = if listed.is_empty() { self.first_columns(&cte.query) } else { Some(listed.clone()) };
                    self.ctes.push((name.clone(), columns));
                }
                self.query(&mut cte.query)?;
                let columns = self.output(&cte.query);
                if with.recursive {
                    self.ctes.pop();
                }
                let columns = match columns {
                    Some(columns) => Some(Self::renamed(&mut cte.alias, columns, Kind::With)?),
                    None if listed.is_empty() => None,
                    None => Some(listed),
                };
                self.ctes.push((name, columns));
            }
        }
        let order_by = match query.order_by.as_mut().map(|order_by| &mut order_by.kind) {
            Some(OrderByKind::Expressions(exprs)) => exprs.as_mut_slice(),
            _ => &mut [],
        };
        self.body(&mut query.body, order_by)?;
        self.ctes.truncate(outer);
        Ok(())
    }

    /// The columns of a recursive query, known from its first branch.
    fn first_columns(&self, query: &Query) -> Option<Vec<String>> {
        let mut body = query.body.as_ref();
        while let SetExpr::SetOperation { left, .. } = body {
            body = left.as_ref();
        }
        self.body_output(body)
    }

    fn body(&mut self, body: &mut SetExpr, order_by: &mut [OrderByExpr]) -> Result<()> {
        match body {
            SetExpr::Select(select) => self.select(select, order_by),
            SetExpr::Query(query) => self.query(query),
            SetExpr::SetOperation { left, right, .. } => {
                self.body(left, &mut [])?;
                self.body(right, &mut [])
            }
            SetExpr::Values(values) => values
                .rows
                .iter_mut()
                .flat_map(|row| &mut row.content)
                .try_for_each(|expr| self.expression(expr, false)),
            _ => Ok(()),
        }
    }

    fn select(&mut self, select: &mut Select, order_by: &mut [OrderByExpr]) -> Result<()> {
        let mut frame = self.from(&mut select.from)?;
        frame.outputs = select
            .projection
            .iter()
            .filter_map(|item| match item {
                SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
                _ => None,
            })
            .collect();
        if let Some(rows) = frame.rows.take() {
            if !matches!(&select.group_by, GroupByExpr::Expressions(exprs, _) if exprs.is_empty()) {
                return Err(Error::unsupported("GROUP BY over a WINDOW JOIN is not supported")
                    .hint("The aggregates are for each left row; put them into a subquery and group around it."));
            }
            select.group_by = GroupByExpr::Expressions(rows, vec![]);
        }
        let expands = !frame.merged.is_empty();
        if expands {
            expand(&mut select.projection, &frame.visible);
        }
        keep_names(&mut select.projection, &frame);
        self.frames.push(frame);
        for item in &mut select.projection {
            match item {
                SelectItem::UnnamedExpr(expr) => {
                    let name = column_name(expr);
                    self.expression(expr, false)?;
                    if column_name(expr) != name {
                        *item =
                            SelectItem::ExprWithAlias { expr: std::mem::replace(expr, null()), alias: quoted(&name) };
                    }
                }
                SelectItem::ExprWithAlias { expr, .. } => self.expression(expr, false)?,
                _ => {}
            }
        }
        for table in &mut select.from {
            for join in &mut table.joins {
                if let Some(JoinConstraint::On(condition)) = constraint_mut(&mut join.join_operator) {
                    self.expression(condition, false)?;
                }
            }
        }
        if let Some(condition) = &mut select.selection {
            self.expression(condition, false)?;
        }
        if let Some(condition) = &mut select.having {
            self.expression(condition, true)?;
        }
        if let GroupByExpr::Expressions(exprs, _) = &mut select.group_by {
            exprs.iter_mut().try_for_each(|expr| self.expression(expr, true))?;
        }
        for item in order_by {
            let selected = matches!(&item.expr, Expr::Identifier(ident)
                if select.projection.iter().any(|item| item_name(item).is_some_and(|name| shown(&name) == folded(ident))));
            if !selected {
                self.expression(&mut item.expr, true)?;
            }
        }
        self.frames.pop();
        Ok(())
    }

    /// Rewrites what an expression names; its subqueries see this query's FROM.
    fn expression(&mut self, expr: &mut Expr, outputs: bool) -> Result<()> {
        struct Walk<'w, 'n, 'a> {
            sources: &'w mut Sources<'n, 'a>,
            outputs: bool,
            depth: usize,
        }
        impl VisitorMut for Walk<'_, '_, '_> {
            type Break = Error;

            fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
                if self.depth == 0
                    && let Err(error) = self.sources.query(query)
                {
                    return ControlFlow::Break(error);
                }
                self.depth += 1;
                ControlFlow::Continue(())
            }

            fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<Error> {
                self.depth -= 1;
                ControlFlow::Continue(())
            }

            fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
                if self.depth > 0 {
                    return ControlFlow::Continue(());
                }
                match self.sources.name(expr, self.outputs) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(error) => ControlFlow::Break(error),
                }
            }
        }
        match expr.visit(&mut Walk { sources: self, outputs, depth: 0 }) {
            ControlFlow::Break(error) => Err(error),
            ControlFlow::Continue(()) => Ok(()),
        }
    }

    /// One node of an expression.
    fn name(&self, expr: &mut Expr, outputs: bool) -> Result<()> {
        /// Marks the field's name in `(row).field` until it is come to: it names no source, whatever sources there are.
        const FIELD: char = '\u{2}';
        match expr {
            Expr::CompoundFieldAccess { root, access_chain } => {
                // `t.xs[1]`: without parentheses the first name is a table's and the next its column's.
                if let (Expr::Identifier(table), Some(AccessExpr::Dot(Expr::Identifier(name)))) =
                    (root.as_ref(), access_chain.first())
                {
                    let path = vec![table.clone(), name.clone()];
                    **root = Expr::CompoundIdentifier(path);
                    access_chain.remove(0);
                }
                for access in access_chain {
                    if let AccessExpr::Dot(Expr::Identifier(field)) = access {
                        field.value.insert(0, FIELD);
                    }
                }
            }
            Expr::Identifier(field) if field.value.starts_with(FIELD) => {
                field.value.remove(0);
            }
            Expr::Identifier(ident) => {
                if let Some(meant) = self.meant(ident, outputs)? {
                    *expr = meant;
                }
            }
            Expr::CompoundIdentifier(idents) => {
                if let [source, name] = idents.as_slice() {
                    let (source, column) = (folded(source), folded(name));
                    let found = self
                        .frames
                        .iter()
                        .rev()
                        .find_map(|frame| frame.sources.iter().flatten().find(|known| known.name == source));
                    if found.is_some_and(|found| found.columns.iter().filter(|known| **known == column).count() > 1) {
                        return Err(ambiguous(name, &column));
                    }
                }
            }
            Expr::IsNull(inner) | Expr::IsNotNull(inner) => {
                if let Expr::Identifier(ident) = inner.as_ref()
                    && let Some(Meant::Row(source)) = self.look_up(ident, outputs)?
                    && !source.scalar
                {
                    let missing = matches!(expr, Expr::IsNull(_));
                    let tests = source.columns.iter().map(|name| {
                        let value = Box::new(column(&source.name, name));
                        if missing { Expr::IsNull(value) } else { Expr::IsNotNull(value) }
                    });
                    *expr = joined(tests.collect(), BinaryOperator::And);
                }
            }
            Expr::Function(function) => {
                let is_row =
                    function.name.0.last().and_then(ObjectNamePart::as_ident).is_some_and(|name| folded(name) == "row");
                if let FunctionArguments::List(list) = &mut function.args {
                    let mut args = vec![];
                    for arg in std::mem::take(&mut list.args) {
                        let source = whole(&arg).and_then(|name| self.source(&name));
                        let unnamed = |expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr));
                        match source {
                            Some(source) if is_row => {
                                args.extend(source.columns.iter().map(|name| unnamed(column(&source.name, name))));
                            }
                            Some(source) => args.push(unnamed(row(source))),
                            None => args.push(arg),
                        }
                    }
                    list.args = args;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn source(&self, name: &str) -> Option<&Source> {
        self.frames.iter().rev().find_map(|frame| frame.sources.as_ref()?.iter().find(|source| source.name == name))
    }

    /// What a name alone stands for, if it is not simply a column.
    fn look_up(&self, ident: &Ident, outputs: bool) -> Result<Option<Meant<'_>>> {
        let name = folded(ident);
        for (depth, frame) in self.frames.iter().rev().enumerate() {
            let Some(sources) = &frame.sources else { return Ok(None) };
            if frame.merged.contains(&name) {
                let meant = frame.visible.iter().find(|(column, _)| *column == name).map(|(_, expr)| expr);
                return Ok(meant.map(Meant::Merged));
            }
            let count = sources.iter().flat_map(|source| &source.columns).filter(|column| **column == name).count();
            let twins =
                sources.iter().any(|source| source.columns.iter().filter(|column| **column == name).count() > 1);
            if twins {
                return Err(ambiguous(ident, &name));
            }
            if count > 0 || outputs && depth == 0 && frame.outputs.contains(&name) {
                return Ok(None);
            }
            if let Some(source) = sources.iter().find(|source| source.name == name && !source.columns.is_empty()) {
                return Ok(Some(Meant::Row(source)));
            }
        }
        Ok(None)
    }

    fn meant(&self, ident: &Ident, outputs: bool) -> Result<Option<Expr>> {
        Ok(match self.look_up(ident, outputs)? {
            None => None,
            Some(Meant::Merged(expr)) => Some(expr.clone()),
            Some(Meant::Row(source)) if source.scalar => Some(column(&source.name, &source.columns[0])),
            Some(Meant::Row(source)) => Some(row(source)),
        })
    }

    fn from(&mut self, tables: &mut [TableWithJoins]) -> Result<Frame> {
        let mut frame = Frame { sources: Some(vec![]), ..Frame::default() };
        let alone = tables.len() == 1;
        for table in tables {
            // A lateral item sees those before it.
            self.frames.push(frame.clone());
            let next = self.joined(table);
            self.frames.pop();
            let next = next?;
            if next.rows.is_some() && !alone {
                return Err(window_elsewhere());
            }
            frame.rows = next.rows;
            frame.sources = match (frame.sources.take(), next.sources) {
                (Some(mut left), Some(right)) => {
                    left.extend(right);
                    Some(left)
                }
                _ => None,
            };
            frame.visible.extend(next.visible);
            frame.merged.extend(next.merged);
        }
        Ok(frame)
    }

    /// One item of FROM with what is joined to it.
    fn joined(&mut self, table: &mut TableWithJoins) -> Result<Frame> {
        let mut left = self.factor(&mut table.relation)?;
        for join in &mut table.joins {
            self.frames.push(left.clone());
            let right = self.factor(&mut join.relation);
            self.frames.pop();
            left = self.join(left, right?, &mut join.join_operator)?;
        }
        Ok(left)
    }

    fn join(&self, mut left: Frame, mut right: Frame, operator: &mut JoinOperator) -> Result<Frame> {
        use JoinOperator as J;
        let is_window = is_window(operator);
        if right.rows.is_some() || left.rows.is_some() && !is_window {
            return Err(window_elsewhere());
        }
        let rows = is_window.then(|| {
            let sources = left.sources.iter().flatten();
            let all = sources.flat_map(|source| source.columns.iter().map(|name| column(&source.name, name)));
            left.rows.take().unwrap_or_else(|| all.collect())
        });
        let (left_missing, right_missing) = match operator {
            J::Left(_) | J::LeftOuter(_) => (false, true),
            J::Right(_) | J::RightOuter(_) => (true, false),
            J::FullOuter(_) => (true, true),
            _ => (false, false),
        };
        for (frame, missing) in [(&mut left, left_missing), (&mut right, right_missing)] {
            for source in frame.sources.iter_mut().flatten() {
                source.nullable |= missing;
            }
        }
        let (Some(left_sources), Some(right_sources)) = (left.sources, right.sources) else {
            if is_window {
                return Err(Error::unsupported(
                    "a WINDOW JOIN of functions whose columns are not known is not supported",
                )
                .hint("Put the function into a subquery that names its columns."));
            }
            return Ok(Frame::default());
        };
        let inner = !left_missing && !right_missing;
        // Of a join in time: its last column is its inequality, unless all are keys.
        let (mut mark, mut only_keys) = (None::<Ident>, false);
        let names = match constraint(operator) {
            Some(JoinConstraint::Using(names)) => {
                let mut names = names
                    .iter()
                    .filter_map(|name| name.0.last().and_then(ObjectNamePart::as_ident).cloned())
                    .collect::<Vec<Ident>>();
                if names.last().is_some_and(|last| last.value.starts_with('\u{1}')) {
                    mark = names.pop();
                }
                if names.last().is_some_and(|last| last.value == KEYS) {
                    names.pop();
                    only_keys = true;
                }
                names
            }
            Some(JoinConstraint::Natural) => left
                .visible
                .iter()
                .filter(|(name, _)| right.visible.iter().any(|(other, _)| other == name))
                .map(|(name, _)| quoted(name))
                .collect(),
            _ => vec![],
        };
        let merging = is_merging(operator);
        let (mut merged, mut conditions, mut pair) = (vec![], vec![], None);
        for ident in &names {
            let name = folded(ident);
            let of = |visible: &[(String, Expr)], side: &str| -> Result<Expr> {
                let mut found = visible.iter().filter(|(column, _)| *column == name);
                let located = |error: Error| match ident.span.start.line {
                    0 => error,
                    line => error.located(line, ident.span.start.column),
                };
                match (found.next(), found.next()) {
                    (Some((_, expr)), None) => Ok(expr.clone()),
                    (None, _) => Err(located(Error::new(
                        SqlState::UNDEFINED_COLUMN,
                        format!("column \"{name}\" specified in USING clause does not exist in {side} table"),
                    ))),
                    _ => Err(located(Error::new(
                        SqlState::AMBIGUOUS_COLUMN,
                        format!("common column name \"{name}\" appears more than once in {side} table"),
                    ))),
                }
            };
            let (l, r) = (of(&left.visible, "left")?, of(&right.visible, "right")?);
            let is_last = merged.len() + 1 == names.len();
            let op = match &mark {
                Some(mark) if is_last && !only_keys => {
                    if mark_name(mark) == LT {
                        BinaryOperator::Gt
                    } else {
                        BinaryOperator::GtEq
                    }
                }
                _ => BinaryOperator::Eq,
            };
            let condition = Expr::BinaryOp { left: Box::new(l.clone()), op, right: Box::new(r.clone()) };
            if is_window && is_last && !only_keys {
                pair = Some(condition);
            } else {
                conditions.push(condition);
            }
            let meant = match (left_missing, right_missing) {
                (true, true) => call("coalesce", vec![l, r]),
                (true, false) => r,
                _ => l,
            };
            merged.push((name, meant));
        }
        if merging && let Some(constraint) = constraint_mut(operator) {
            let condition = if conditions.is_empty() { boolean(true) } else { joined(conditions, BinaryOperator::And) };
            *constraint = JoinConstraint::On(match &mark {
                Some(mark) => {
                    let texts = mark.value.split('|').skip(1).map(|text| string(text.to_owned()));
                    call(mark_name(mark), std::iter::once(condition).chain(texts).chain(pair).collect())
                }
                None => condition,
            });
            if names.is_empty() && inner {
                *operator = J::CrossJoin(JoinConstraint::None);
            }
        }
        let rest = |visible: Vec<(String, Expr)>| {
            let merged: Vec<String> = merged.iter().map(|(name, _)| name.clone()).collect();
            visible.into_iter().filter(move |(name, _)| !merged.contains(name))
        };
        let mut visible: Vec<(String, Expr)> = vec![];
        visible.extend(rest(left.visible));
        visible.extend(rest(right.visible));
        let mut all_merged: Vec<String> = merged.iter().map(|(name, _)| name.clone()).collect();
        all_merged.extend(left.merged.into_iter().chain(right.merged));
        all_merged.dedup();
        Ok(Frame {
            sources: Some(left_sources.into_iter().chain(right_sources).collect()),
            visible: merged.into_iter().chain(visible).collect(),
            merged: all_merged,
            outputs: vec![],
            rows,
        })
    }

    fn factor(&mut self, factor: &mut TableFactor) -> Result<Frame> {
        let name = factor_name(factor).unwrap_or_default();
        let (columns, scalar) = match factor {
            TableFactor::NestedJoin { table_with_joins, alias } => {
                let inner = self.joined(table_with_joins)?;
                if inner.rows.is_some() && alias.is_some() {
                    return Err(window_elsewhere());
                }
                let Some(alias) = alias else { return Ok(inner) };
                let Some(_) = inner.sources else { return Ok(Frame::default()) };
                if !inner.merged.is_empty() {
                    // The alias hides the tables: what is joined becomes a query of its own.
                    let subquery = selected(table_with_joins, &inner.visible);
                    let columns: Vec<String> = inner.visible.into_iter().map(|(name, _)| name).collect();
                    let columns = Self::renamed(alias, columns, Kind::Table)?;
                    let alias = Some(alias.clone());
                    *factor = TableFactor::Derived { lateral: false, subquery, alias, sample: None };
                    return Ok(framed(name, columns, false));
                }
                let columns = inner.visible.into_iter().map(|(name, _)| name).collect();
                (Some(Self::renamed(alias, columns, Kind::Table)?), false)
            }
            TableFactor::Table { name: relation, alias, args: None, .. } => {
                let columns = self.relation(relation);
                match (columns, alias) {
                    (Some(columns), Some(alias)) => (Some(Self::renamed(alias, columns, Kind::Table)?), false),
                    (columns, _) => (columns, false),
                }
            }
            TableFactor::Derived { subquery, alias, .. } => {
                self.query(subquery)?;
                match (self.output(subquery), alias) {
                    (Some(columns), Some(alias)) => (Some(Self::renamed(alias, columns, Kind::Table)?), false),
                    (columns, _) => (columns, false),
                }
            }
            TableFactor::Table { name: function, args: Some(args), alias, with_ordinality, .. } => {
                for arg in &mut args.args {
                    self.argument(arg)?;
                }
                function_columns(function, args.args.len(), alias.as_ref(), *with_ordinality)
            }
            TableFactor::Function { name: function, args, alias, with_ordinality, .. } => {
                for arg in args.iter_mut() {
                    self.argument(arg)?;
                }
                function_columns(function, args.len(), alias.as_ref(), *with_ordinality)
            }
            TableFactor::UNNEST { array_exprs, alias, with_ordinality, .. } => {
                for expr in array_exprs.iter_mut() {
                    self.expression(expr, false)?;
                }
                let arrays = array_exprs.len();
                let listed: Vec<String> =
                    alias.iter().flat_map(|alias| &alias.columns).map(|column| folded(&column.name)).collect();
                let own = alias.as_ref().map_or_else(|| "unnest".to_owned(), |alias| folded(&alias.name));
                let columns = match arrays {
                    1 => Some(vec![own]),
                    _ => (listed.len() >= arrays).then(|| listed[..arrays].to_vec()),
                };
                ordinary(columns, listed, *with_ordinality)
            }
            _ => (None, false),
        };
        Ok(match columns {
            Some(columns) => framed(name, columns, scalar),
            None => Frame::default(),
        })
    }

    fn argument(&mut self, arg: &mut FunctionArg) -> Result<()> {
        match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))
            | FunctionArg::Named { arg: FunctionArgExpr::Expr(expr), .. } => self.expression(expr, false),
            _ => Ok(()),
        }
    }

    /// The columns a relation has by its name.
    fn relation(&self, name: &ObjectName) -> Option<Vec<String>> {
        let parts: Vec<String> = name.0.iter().filter_map(ObjectNamePart::as_ident).map(folded).collect();
        if let [name] = parts.as_slice()
            && let Some((_, columns)) = self.ctes.iter().rev().find(|(cte, _)| cte == name)
        {
            return columns.clone();
        }
        self.names.columns_of(&parts)
    }

    /// An alias's column names over a relation's; the alias is made to name all of them.
    fn renamed(alias: &mut TableAlias, columns: Vec<String>, kind: Kind) -> Result<Vec<String>> {
        let given = alias.columns.len();
        if given == 0 {
            return Ok(columns);
        }
        if given > columns.len() {
            let name = folded(&alias.name);
            let what = if kind == Kind::With { "WITH query" } else { "table" };
            return Err(Error::new(
                SqlState::INVALID_COLUMN_REFERENCE,
                format!("{what} \"{name}\" has {} columns available but {given} columns specified", columns.len()),
            ));
        }
        for (at, name) in columns.iter().enumerate().skip(given) {
            let unique = if columns[..at].contains(name) { super::prepare::apart(name, at) } else { name.clone() };
            alias.columns.push(TableAliasColumnDef { name: quoted(&unique), data_type: None });
        }
        let named = alias.columns.iter().take(given).map(|column| folded(&column.name));
        Ok(named.chain(columns.into_iter().skip(given)).collect())
    }

    /// The output columns of a query already made ready.
    fn output(&mut self, query: &Query) -> Option<Vec<String>> {
        let outer = self.ctes.len();
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            let columns = if cte.alias.columns.is_empty() {
                self.output(&cte.query)
            } else {
                Some(cte.alias.columns.iter().map(|column| folded(&column.name)).collect())
            };
            self.ctes.push((folded(&cte.alias.name), columns));
        }
        let columns = self.body_output(&query.body);
        self.ctes.truncate(outer);
        columns
    }

    fn body_output(&self, body: &SetExpr) -> Option<Vec<String>> {
        match body {
            SetExpr::Select(select) => {
                let mut columns = vec![];
                for item in &select.projection {
                    match item {
                        SelectItem::Wildcard(_) => columns.extend(self.all_of(&select.from, None)?),
                        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                            let name = name.0.last().and_then(ObjectNamePart::as_ident).map(folded)?;
                            columns.extend(self.all_of(&select.from, Some(&name))?);
                        }
                        item => columns.push(shown(&item_name(item)?).to_owned()),
                    }
                }
                Some(columns)
            }
            SetExpr::SetOperation { left, .. } => self.body_output(left),
            SetExpr::Query(query) => {
                Sources { names: self.names, ctes: self.ctes.clone(), frames: vec![] }.output(query)
            }
            SetExpr::Values(values) => {
                Some((1..=values.rows.first()?.content.len()).map(|at| format!("column{at}")).collect())
            }
            _ => None,
        }
    }

    /// The columns of `*` or `name.*` over a FROM clause; the clause itself is only looked at.
    fn all_of(&self, from: &[TableWithJoins], name: Option<&str>) -> Option<Vec<String>> {
        let mut from = from.to_vec();
        let frame = Sources { names: self.names, ctes: self.ctes.clone(), frames: vec![] }.from(&mut from).ok()?;
        let sources = frame.sources?;
        match name {
            None => Some(frame.visible.into_iter().map(|(name, _)| name).collect()),
            Some(name) => sources.into_iter().find(|source| source.name == name).map(|source| source.columns),
        }
    }
}

fn window_elsewhere() -> Error {
    Error::unsupported("a WINDOW JOIN cannot be joined with anything but other WINDOW JOINs")
        .hint("Put the join and the aggregates over it into a subquery of their own.")
}

/// The mark's name, before its texts.
fn mark_name(mark: &Ident) -> &str {
    mark.value.split('|').next().unwrap_or_default()
}

enum Meant<'f> {
    /// A column that a join made of two.
    Merged(&'f Expr),
    /// All columns of an item of FROM.
    Row(&'f Source),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Table,
    With,
}

fn framed(name: String, columns: Vec<String>, scalar: bool) -> Frame {
    let visible = columns.iter().map(|own| (own.clone(), column(&name, own))).collect();
    let source = Source { name, columns, scalar, nullable: false };
    Frame { sources: Some(vec![source]), visible, ..Frame::default() }
}

fn ambiguous(ident: &Ident, name: &str) -> Error {
    let error = Error::new(SqlState::AMBIGUOUS_COLUMN, format!("column reference \"{name}\" is ambiguous"));
    match ident.span.start.line {
        0 => error,
        line => error.located(line, ident.span.start.column),
    }
}

/// The columns of a function in FROM, and whether its name alone is its value.
fn function_columns(
    function: &ObjectName,
    arguments: usize,
    alias: Option<&TableAlias>,
    ordinality: bool,
) -> (Option<Vec<String>>, bool) {
    let Some(name) = function.0.last().and_then(ObjectNamePart::as_ident).map(folded) else { return (None, false) };
    let own = alias.map_or_else(|| name.clone(), |alias| folded(&alias.name));
    let listed: Vec<String> =
        alias.iter().flat_map(|alias| &alias.columns).map(|column| folded(&column.name)).collect();
    if let Some(rows) = row_columns(&name) {
        return ordinary(Some(rows.iter().map(ToString::to_string).collect()), listed, ordinality);
    }
    let columns = match name.as_str() {
        "json_array_elements" | "jsonb_array_elements" | "json_array_elements_text" | "jsonb_array_elements_text" => {
            Some(vec!["value".to_owned()])
        }
        "unnest" if arguments > 1 => (listed.len() >= arguments).then(|| listed[..arguments].to_vec()),
        "generate_series" | "unnest" => Some(vec![own]),
        "json_to_record" | "jsonb_to_record" | "json_to_recordset" | "jsonb_to_recordset" => {
            return (Some(listed), false);
        }
        "_pg_expandarray" => None,
        other if array_function(other).is_some() || super::registry::scalar(other).is_some() => Some(vec![own]),
        _ => None,
    };
    ordinary(columns, listed, ordinality)
}

fn ordinary(columns: Option<Vec<String>>, listed: Vec<String>, ordinality: bool) -> (Option<Vec<String>>, bool) {
    let Some(mut columns) = columns else { return (None, false) };
    let scalar = columns.len() == 1 && !ordinality;
    if ordinality {
        columns.push("ordinality".into());
    }
    if listed.len() > columns.len() {
        return (None, false);
    }
    for (own, listed) in columns.iter_mut().zip(listed) {
        *own = listed;
    }
    (Some(columns), scalar)
}

/// `SELECT visible columns FROM tables`
fn selected(tables: &TableWithJoins, visible: &[(String, Expr)]) -> Box<Query> {
    let mut query = super::prepare::empty_query();
    if let SetExpr::Select(select) = query.body.as_mut() {
        select.projection = items(visible);
        select.from = vec![tables.clone()];
    }
    Box::new(query)
}

fn items(visible: &[(String, Expr)]) -> Vec<SelectItem> {
    visible
        .iter()
        .map(|(name, expr)| match expr {
            Expr::CompoundIdentifier(_) | Expr::Identifier(_) => SelectItem::UnnamedExpr(expr.clone()),
            other => SelectItem::ExprWithAlias { expr: other.clone(), alias: quoted(name) },
        })
        .collect()
}

/// `*` as the columns it has.
fn expand(projection: &mut Vec<SelectItem>, visible: &[(String, Expr)]) {
    let plain = |options: &WildcardAdditionalOptions| {
        options.opt_exclude.is_none() && options.opt_except.is_none() && options.opt_replace.is_none()
    };
    *projection = std::mem::take(projection)
        .into_iter()
        .flat_map(|item| match &item {
            SelectItem::Wildcard(options) if plain(options) => items(visible),
            _ => vec![item],
        })
        .collect();
}

/// Columns beside a wildcard keep their names where no other has the same: whoever reads the query names them.
fn keep_names(projection: &mut [SelectItem], frame: &Frame) {
    if !projection.iter().any(is_wildcard) {
        return;
    }
    let mut uses: HashMap<String, usize> = HashMap::new();
    for item in &*projection {
        let names: Vec<String> = match item {
            SelectItem::Wildcard(_) if frame.sources.is_some() => {
                frame.visible.iter().map(|(name, _)| name.clone()).collect()
            }
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                let name = name.0.last().and_then(ObjectNamePart::as_ident).map(folded);
                let mut sources = frame.sources.iter().flatten();
                match sources.find(|source| Some(&source.name) == name.as_ref()) {
                    Some(source) => source.columns.clone(),
                    None => return,
                }
            }
            item => match item_name(item) {
                Some(name) => vec![name],
                None => return,
            },
        };
        names.into_iter().for_each(|name| *uses.entry(name).or_default() += 1);
    }
    for item in projection {
        if let SelectItem::UnnamedExpr(expr @ (Expr::Identifier(_) | Expr::CompoundIdentifier(_))) = item {
            let name = column_name(expr);
            if uses.get(&name) == Some(&1) {
                *item = SelectItem::ExprWithAlias { expr: std::mem::replace(expr, null()), alias: quoted(&name) };
            }
        }
    }
}

/// All columns of a source as one value; NULL where an outer join found no row.
fn row(source: &Source) -> Expr {
    let args = source.columns.iter().flat_map(|name| [string(name.clone()), column(&source.name, name)]);
    call(if source.nullable { record::OUTER_NAME } else { record::NAME }, args.collect())
}

fn boolean(value: bool) -> Expr {
    use datafusion::sql::sqlparser::ast::{Value, ValueWithSpan};
    Expr::Value(ValueWithSpan { value: Value::Boolean(value), span: Span::empty() })
}
