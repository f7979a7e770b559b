//! Functions and operators by name and argument types: what `::regprocedure` and `::regoperator` mean.

use tidemill_catalog::Oid;

use super::data::{self, Table};
use super::{names, routines};
use crate::error::{Error, Result, SqlState};
use crate::plan::Scope;

/// `text::regprocedure`: `upper(text)`, `pg_catalog.now()`.
///
/// # Errors
/// 42883 if there is no such function, 22P02 without parentheses, 42704 for an unknown type.
pub(crate) fn resolve_regprocedure(scope: &Scope, text: &str) -> Result<Oid> {
    if let Some(oid) = names::number_or_dash(text) {
        return Ok(oid);
    }
    let (name, types) = signature(scope, text)?;
    let found = routines::named(&name).into_iter().find(|oid| routines::argument_types(*oid).as_ref() == Some(&types));
    found
        .ok_or_else(|| Error::new(SqlState::UNDEFINED_FUNCTION, format!("function \"{}\" does not exist", text.trim())))
}

/// `regprocedure::text`.
pub(crate) fn regprocedure_text(scope: &Scope, oid: Oid) -> String {
    match (oid, routines::name(oid), routines::argument_types(oid)) {
        (0, ..) => "-".to_owned(),
        (_, Some(name), Some(types)) => format!("{}({})", names::quote_ident(name), type_list(scope, &types)),
        _ => oid.to_string(),
    }
}

/// `text::regoperator`: `=(integer,integer)`, `-(NONE,integer)`.
///
/// # Errors
/// 42883 if there is no such operator, 22P02 without parentheses, 42704 for an unknown type.
pub(crate) fn resolve_regoperator(scope: &Scope, text: &str) -> Result<Oid> {
    if let Some(oid) = names::number(text) {
        return Ok(oid);
    }
    let operators = Operators::new();
    let undefined = || Error::new(SqlState::UNDEFINED_FUNCTION, format!("operator does not exist: {}", text.trim()));
    let (name, types) = signature(scope, text)?;
    let [left, right] = types[..] else { return Err(undefined()) };
    let mut rows = 0..operators.table.len();
    let found = rows.find(|row| operators.name(*row) == name && operators.types(*row) == (left, right));
    found.map(|row| operators.table.oid(row, operators.oid)).ok_or_else(undefined)
}

/// `regoperator::text`.
pub(crate) fn regoperator_text(scope: &Scope, oid: Oid) -> String {
    if oid == 0 {
        return "0".to_owned();
    }
    let operators = Operators::new();
    let row = (0..operators.table.len()).find(|row| operators.table.oid(*row, operators.oid) == oid);
    row.map_or_else(
        || oid.to_string(),
        |row| {
            let (left, right) = operators.types(row);
            format!("{}({})", operators.name(row), type_list(scope, &[left, right]))
        },
    )
}

/// The columns of pg_operator that name an operator.
struct Operators {
    table: &'static Table,
    oid: usize,
    name: usize,
    left: usize,
    right: usize,
}

impl Operators {
    fn new() -> Self {
        let table = data::operators();
        let position = |name| table.position(name).expect("pg_operator.tsv has this column");
        let (oid, name) = (position("oid"), position("oprname"));
        Self { table, oid, name, left: position("oprleft"), right: position("oprright") }
    }

    fn name(&self, row: usize) -> &'static str {
        self.table.text(row, self.name).unwrap_or_default()
    }

    /// The types of its sides, 0 for a side it has not.
    fn types(&self, row: usize) -> (Oid, Oid) {
        (self.table.oid(row, self.left), self.table.oid(row, self.right))
    }
}

/// `name(type, …)`; NONE is 0. The schema, if any, must be that of the system's own objects.
fn signature(scope: &Scope, text: &str) -> Result<(String, Vec<Oid>)> {
    let syntax = |message: &str| Error::new(SqlState::INVALID_TEXT_REPRESENTATION, message.to_owned());
    let (name, rest) = text.split_once('(').ok_or_else(|| syntax("expected a left parenthesis"))?;
    let types = rest.trim_end().strip_suffix(')').ok_or_else(|| syntax("expected a right parenthesis"))?;
    let name = name.trim();
    let name = name.strip_prefix("pg_catalog.").unwrap_or(name);
    let is_word = name.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '"');
    let name = match names::split_name(name) {
        Ok(mut parts) if is_word && parts.len() == 1 => parts.remove(0),
        // An operator is its own name; what is qualified otherwise is nothing of ours.
        _ => name.to_owned(),
    };
    let types = split_types(types).into_iter().map(|name| match name {
        "NONE" | "none" => Ok(0),
        name => names::resolve_regtype(scope, name),
    });
    Ok((name, types.collect::<Result<_>>()?))
}

/// Splits at commas that are not in parentheses: `numeric(10,2), text`.
fn split_types(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    let is_end = move |letter: char| {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        letter == ',' && depth == 0
    };
    if text.trim().is_empty() { vec![] } else { text.split(is_end).map(str::trim).collect() }
}

fn type_list(scope: &Scope, types: &[Oid]) -> String {
    let name = |oid: &Oid| match oid {
        0 => "NONE".to_owned(),
        oid => names::format_type(scope, *oid, None).unwrap_or_else(|| oid.to_string()),
    };
    types.iter().map(name).collect::<Vec<_>>().join(",")
}
