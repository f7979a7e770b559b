//! A select list with a set-returning function in which a column goes by the name of what it is made of: the engine, which computes
//! such lists in two steps, then finds the name ambiguous. One query computes, another around it gives the names.
//!
//! ```text
//! SELECT unnest(k) AS p, NOT d AS d FROM t   →   SELECT p AS p, d′ AS d FROM (SELECT unnest(k) AS p, NOT d AS d′ FROM t)
//! ```

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, ObjectNamePart, OrderByKind, Query, SelectItem, SetExpr, TableAlias, TableFactor, TableWithJoins,
    Value, ValueWithSpan, Visit, Visitor,
};

use super::prepare::{apart, array_function, column_name, empty_query, folded, null};

/// Puts the query around, where it is needed and the order is one of output columns.
pub(super) fn query(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    let mut names = vec![];
    let (mut sets, mut twins) = (false, false);
    for item in &select.projection {
        let (name, expr) = match item {
            SelectItem::UnnamedExpr(expr) => (column_name(expr), expr),
            SelectItem::ExprWithAlias { expr, alias } => (folded(alias), expr),
            _ => return,
        };
        let plain = matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
        let mut look = Look { name: &name, depth: 0, sets: false, named: false };
        let _ = expr.visit(&mut look);
        sets |= look.sets;
        twins |= look.named && !plain && !look.sets;
        names.push(name);
    }
    let ordered = match query.order_by.as_ref().map(|order_by| &order_by.kind) {
        None => true,
        Some(OrderByKind::Expressions(exprs)) => exprs.iter().all(|by| match &by.expr {
            Expr::Identifier(ident) => names.contains(&folded(ident)),
            Expr::Value(ValueWithSpan { value: Value::Number(..), .. }) => true,
            _ => false,
        }),
        Some(OrderByKind::All(_)) => false,
    };
    if !sets || !twins || !ordered {
        return;
    }
    let quoted = |name: &str| Ident::with_quote('"', name);
    let mut outer = empty_query();
    let SetExpr::Select(around) = outer.body.as_mut() else { return };
    around.projection.clear();
    for (at, (item, name)) in select.projection.iter_mut().zip(&names).enumerate() {
        let hidden = quoted(&apart(name, at));
        around
            .projection
            .push(SelectItem::ExprWithAlias { expr: Expr::Identifier(hidden.clone()), alias: quoted(name) });
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            let expr = std::mem::replace(expr, null());
            *item = SelectItem::ExprWithAlias { expr, alias: hidden };
        }
    }
    let mut inner = empty_query();
    std::mem::swap(&mut inner.body, &mut query.body);
    let alias = TableAlias { explicit: true, name: quoted("\u{4}rows"), columns: vec![], at: None };
    let relation = TableFactor::Derived { lateral: false, subquery: Box::new(inner), alias: Some(alias), sample: None };
    around.from = vec![TableWithJoins { relation, joins: vec![] }];
    query.body = outer.body;
}

/// What an item of a select list has in it, subqueries aside.
struct Look<'n> {
    name: &'n str,
    depth: usize,
    /// A set-returning function.
    sets: bool,
    /// A column of the item's own name.
    named: bool,
}

impl Visitor for Look<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            _ if self.depth > 0 => {}
            Expr::Identifier(ident) => self.named |= folded(ident) == self.name,
            Expr::CompoundIdentifier(idents) => {
                self.named |= idents.last().is_some_and(|ident| folded(ident) == self.name);
            }
            Expr::Function(function) => {
                let name = function.name.0.last().and_then(ObjectNamePart::as_ident).map(folded);
                self.sets |= name.is_some_and(|name| name == "unnest" || array_function(&name).is_some());
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
