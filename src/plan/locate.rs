//! Where in the statement's text an error is: names are looked for in the syntax tree, which knows its places.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, ObjectName, ObjectNamePart, Query, Visit, Visitor};
use datafusion::sql::sqlparser::tokenizer::Span;

use crate::error::{Error, SqlState};

/// The error with the place of the relation or function it is about.
pub(super) fn in_query(error: Error, query: &Query) -> Error {
    located(error, query)
}

/// As [`in_query`].
pub(super) fn in_expression(error: Error, expr: &Expr) -> Error {
    located(error, expr)
}

pub(super) fn located<T: Visit>(error: Error, tree: &T) -> Error {
    if error.report().location.is_some() {
        return error;
    }
    let wanted = match error.code() {
        code if *code == SqlState::UNDEFINED_TABLE => Wanted::Relation(quoted(&error.report().message)),
        code if *code == SqlState::UNDEFINED_FUNCTION => match error.report().message.strip_prefix("function ") {
            Some(rest) => Wanted::Function(rest.split('(').next().unwrap_or(rest).to_owned()),
            None => return error,
        },
        _ => return error,
    };
    let mut search = Search { wanted, found: None };
    let _ = tree.visit(&mut search);
    match search.found {
        Some(span) if span.start.line > 0 => error.located(span.start.line, span.start.column),
        _ => error,
    }
}

fn quoted(message: &str) -> String {
    message.split('"').nth(1).unwrap_or_default().to_owned()
}

enum Wanted {
    Relation(String),
    Function(String),
}

struct Search {
    wanted: Wanted,
    found: Option<Span>,
}

fn spelled(name: &ObjectName) -> String {
    let parts = name
        .0
        .iter()
        .filter_map(ObjectNamePart::as_ident)
        .map(|ident| if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() });
    parts.collect::<Vec<_>>().join(".")
}

fn span(name: &ObjectName) -> Option<Span> {
    name.0.first().and_then(ObjectNamePart::as_ident).map(|ident| ident.span)
}

impl Visitor for Search {
    type Break = ();

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        if let Wanted::Relation(name) = &self.wanted
            && spelled(relation) == *name
        {
            self.found = span(relation);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let (Wanted::Function(name), Expr::Function(function)) = (&self.wanted, expr)
            && (spelled(&function.name) == *name || spelled(&function.name).ends_with(&format!(".{name}")))
        {
            self.found = span(&function.name);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}
