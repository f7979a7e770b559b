//! Which queries need their names looked into: most pass by.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, JoinOperator, Query, Select, SetExpr, TableAlias, TableFactor, Visit, Visitor,
};

use super::super::prepare::folded;
use super::super::shape::factor_name;
use super::{arguments, has_twins, is_merging, is_wildcard, is_window, item_name, whole};

/// True if anything in the tree may need [`super`].
pub(super) fn wanted(query: &Query) -> bool {
    #[derive(Default)]
    struct Look {
        sources: Vec<String>,
        bare: Vec<String>,
        found: bool,
    }
    impl Look {
        fn alias(&mut self, alias: Option<&TableAlias>) {
            self.found = self.found || alias.is_some_and(|alias| !alias.columns.is_empty());
        }
    }
    impl Visitor for Look {
        type Break = ();

        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
                self.alias(Some(&cte.alias));
            }
            ControlFlow::Continue(())
        }

        fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
            self.found = self.found || select.projection.len() > 1 && select.projection.iter().any(is_wildcard);
            for table in &select.from {
                let wanted = |operator: &JoinOperator| is_merging(operator) || is_window(operator);
                self.found = self.found || table.joins.iter().any(|join| wanted(&join.join_operator));
            }
            ControlFlow::Continue(())
        }

        fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
            self.sources.extend(factor_name(factor));
            match factor {
                TableFactor::Table { alias, args: None, .. } => self.alias(alias.as_ref()),
                TableFactor::NestedJoin { alias, table_with_joins } => {
                    self.alias(alias.as_ref());
                    self.found =
                        self.found || table_with_joins.joins.iter().any(|join| is_merging(&join.join_operator));
                }
                TableFactor::Derived { alias, subquery, .. } => {
                    self.alias(alias.as_ref());
                    if let SetExpr::Select(select) = subquery.body.as_ref() {
                        let names: Vec<String> = select.projection.iter().filter_map(item_name).collect();
                        self.found = self.found || has_twins(&names) || select.projection.iter().any(is_wildcard);
                    }
                }
                _ => {}
            }
            ControlFlow::Continue(())
        }

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Identifier(ident) => self.bare.push(folded(ident)),
                Expr::Function(function) => {
                    self.found = self.found || arguments(function).iter().any(|arg| whole(arg).is_some());
                }
                _ => {}
            }
            ControlFlow::Continue(())
        }
    }
    let mut look = Look::default();
    let _ = query.visit(&mut look);
    look.found || look.bare.iter().any(|name| look.sources.contains(name))
}
