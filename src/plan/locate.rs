//! Where in the statement's text an error is: names are looked for in the syntax tree, which knows its places.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, ObjectName, ObjectNamePart, Query, Spanned, Value, Visit, Visitor};
use datafusion::sql::sqlparser::tokenizer::{Location, Span};

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
        code if *code == SqlState::UNDEFINED_FUNCTION => {
            let message = error.report().message.clone();
            match (message.strip_prefix("function "), message.strip_prefix("operator does not exist: ")) {
                (Some(rest), _) => Wanted::Function(rest.split('(').next().unwrap_or(rest).to_owned()),
                (None, Some(sides)) => return beside_operator(error, sides, tree),
                (None, None) => return error,
            }
        }
        code if is_about_a_value(code) => match value_of(&error.report().message) {
            Some(text) => Wanted::Text(text.to_owned()),
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

fn is_about_a_value(code: &SqlState) -> bool {
    [
        SqlState::INVALID_TEXT_REPRESENTATION,
        SqlState::INVALID_DATETIME_FORMAT,
        SqlState::DATETIME_FIELD_OVERFLOW,
        SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
    ]
    .contains(code)
}

/// The text that is no value of its type: `invalid input syntax for type integer: "abc"`, `value "9999" is out of range …`.
fn value_of(message: &str) -> Option<&str> {
    let (start, end) = (message.find('"')?, message.rfind('"')?);
    message.get(start + 1..end)
}

/// The place of the only operator of that sign; `sides`: `text + integer`.
fn beside_operator<T: Visit>(error: Error, sides: &str, tree: &T) -> Error {
    let is_sign = |word: &&str| !word.is_empty() && word.chars().all(|letter| "+-*/<>=~!@#%^&|`?".contains(letter));
    let Some(sign) = sides.split(' ').find(is_sign) else { return error };
    let mut search = Operators { sign, ends: vec![] };
    let _ = tree.visit(&mut search);
    match search.ends.as_slice() {
        [end] if end.line > 0 => error.located_before(end.line, end.column, sign),
        _ => error,
    }
}

/// Where the left sides of operators of that sign end.
struct Operators<'s> {
    sign: &'s str,
    ends: Vec<Location>,
}

impl Visitor for Operators<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::BinaryOp { left, op, .. } = expr
            && op.to_string() == self.sign
        {
            self.ends.push(left.span().end);
        }
        ControlFlow::Continue(())
    }
}

fn quoted(message: &str) -> String {
    message.split('"').nth(1).unwrap_or_default().to_owned()
}

enum Wanted {
    Relation(String),
    Function(String),
    /// A string literal.
    Text(String),
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
        if let (Wanted::Text(wanted), Expr::Value(literal)) = (&self.wanted, expr)
            && let Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) = &literal.value
            && text == wanted
        {
            self.found = Some(literal.span);
            return ControlFlow::Break(());
        }
        if let (Wanted::Function(name), Expr::Function(function)) = (&self.wanted, expr)
            && (spelled(&function.name) == *name || spelled(&function.name).ends_with(&format!(".{name}")))
        {
            self.found = span(&function.name);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}
