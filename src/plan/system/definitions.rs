//! Objects as the SQL that would make them: pg_get_viewdef, pg_get_constraintdef, pg_get_indexdef, pg_get_functiondef.

use super::names::{qualified, quote_ident};
use super::objects::{Kind, Rel};
use super::relations::Constraint;

/// The query of a view as the user wrote it, without a semicolon; `None` for what is no user's view.
pub(crate) fn view_query<'a>(view: &Rel<'a>) -> Option<&'a str> {
    match view.kind {
        Kind::View(def) => Some(def.query.trim().trim_end_matches(';').trim_end()),
        _ => None,
    }
}

/// pg_get_viewdef
pub(crate) fn view_definition(view: &Rel<'_>) -> Option<String> {
    view_query(view).map(|query| format!("{query};"))
}

/// pg_get_constraintdef
pub(crate) fn constraint_definition(constraint: &Constraint<'_>, pretty: bool) -> String {
    match constraint.check {
        Some(check) if pretty => format!("CHECK ({})", check.condition),
        Some(check) => format!("CHECK (({}))", check.condition),
        None => format!("PRIMARY KEY ({})", list(&constraint.def.primary_key)),
    }
}

/// pg_get_indexdef
pub(crate) fn index_definition(index: &Rel<'_>) -> Option<String> {
    let Kind::Index(table, def) = index.kind else { return None };
    Some(format!(
        "CREATE UNIQUE INDEX {} ON {} USING btree ({})",
        quote_ident(&index.name),
        qualified(index.schema, &table.name),
        list(&def.primary_key)
    ))
}

/// One column of an index, from 1.
pub(crate) fn index_column(index: &Rel<'_>, number: usize) -> Option<String> {
    let Kind::Index(_, def) = index.kind else { return None };
    def.primary_key.get(number.checked_sub(1)?).map(|name| quote_ident(name).into_owned())
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| quote_ident(name)).collect::<Vec<_>>().join(", ")
}
