//! Casts as part of what an expression is called.
//!
//! The planner finds results of aggregates and window functions, and groups, by the names of expressions, in which it leaves casts
//! out: `sum(n)` and `sum(n::int8)` would be one column, as would the two of `GROUP BY n, n::text`.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, Function, GroupByExpr, OrderByKind, Query, Select, SelectItem, SetExpr, Visit, VisitMut, Visitor,
    VisitorMut,
};

use super::prepare::{call, folded, null};
use super::shape::at_ordinal;

/// Begins the name of a function around a cast, which ends with the type: it gives its argument.
pub(super) const TOLD_CAST: &str = "\u{1}as ";

/// Makes casts in a call part of what it is called.
pub(super) fn call_casts(function: &mut Function) {
    let _ = function.visit(&mut Tell { depth: 0 });
}

/// The same in ORDER BY of a query that [`is_by_casts`] is true for.
pub(super) fn order_casts(query: &mut Query) {
    if matches!(query.body.as_ref(), SetExpr::Select(select) if is_by_casts(select))
        && let Some(OrderByKind::Expressions(exprs)) = query.order_by.as_mut().map(|order_by| &mut order_by.kind)
    {
        for by in exprs {
            tell(&mut by.expr);
        }
    }
}

/// The same in the rest of that query. Its columns have their names.
pub(super) fn select_casts(select: &mut Select) {
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            tell(expr);
        }
    }
    if let GroupByExpr::Expressions(exprs, _) = &mut select.group_by {
        exprs.iter_mut().for_each(tell);
    }
    if let Some(Distinct::On(exprs)) = &mut select.distinct {
        exprs.iter_mut().for_each(tell);
    }
    select.having.iter_mut().for_each(tell);
}

/// True if a cast is among several things that a query groups by, or of which DISTINCT ON takes the first rows.
pub(super) fn is_by_casts(select: &Select) -> bool {
    let is_set = |expr: &Expr| matches!(expr, Expr::Rollup(_) | Expr::Cube(_) | Expr::GroupingSets(_));
    let several = |exprs: &[Expr]| {
        (exprs.len() > 1 || exprs.iter().any(is_set)) && exprs.iter().any(|expr| has_cast(meant(expr, select)))
    };
    let groups = matches!(&select.group_by, GroupByExpr::Expressions(exprs, _) if several(exprs));
    groups || matches!(&select.distinct, Some(Distinct::On(exprs)) if several(exprs))
}

/// What is selected, where an expression is its position or its name.
fn meant<'s>(expr: &'s Expr, select: &'s Select) -> &'s Expr {
    let named = |item: &'s SelectItem| match (expr, item) {
        (Expr::Identifier(name), SelectItem::ExprWithAlias { expr, alias }) if folded(name) == folded(alias) => {
            Some(expr)
        }
        _ => None,
    };
    at_ordinal(expr, &select.projection).or_else(|| select.projection.iter().find_map(named)).unwrap_or(expr)
}

fn has_cast(expr: &Expr) -> bool {
    struct Find;
    impl Visitor for Find {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if matches!(expr, Expr::Cast { .. }) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }
    expr.visit(&mut Find).is_break()
}

fn tell(expr: &mut Expr) {
    let _ = expr.visit(&mut Tell { depth: 0 });
}

/// Leaves subqueries alone: their columns go by the names of what they select.
struct Tell {
    depth: usize,
}

impl VisitorMut for Tell {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let (0, Expr::Cast { data_type, .. }) = (self.depth, &*expr) {
            let name = format!("{TOLD_CAST}{}", data_type.to_string().to_lowercase());
            let cast = std::mem::replace(expr, null());
            *expr = call(&name, vec![cast]);
        }
        ControlFlow::Continue(())
    }
}
