//! Objects as the SQL that would make them: pg_get_viewdef, pg_get_constraintdef, pg_get_indexdef, pg_get_functiondef.

use tidemill_catalog::record::{CheckDef, ForeignKeyDef};

use super::names::{qualified, quote_ident, regclass_text};
use super::objects::{self, Kind, Rel};
use super::relations::{Constraint, ConstraintKind, column_names};
use crate::plan::Scope;

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
pub(crate) fn constraint_definition(scope: &Scope, constraint: &Constraint<'_>, pretty: bool) -> String {
    match constraint.kind {
        ConstraintKind::Check(check) if pretty => format!("CHECK ({})", check.condition),
        ConstraintKind::Check(check) => format!("CHECK (({}))", check.condition),
        ConstraintKind::Primary => format!("PRIMARY KEY ({})", list(&constraint.columns())),
        ConstraintKind::Unique(index) => {
            let included = column_names(constraint.def, &index.include);
            let include = if included.is_empty() { String::new() } else { format!(" INCLUDE ({})", list(&included)) };
            format!("UNIQUE ({}){include}", list(&constraint.columns()))
        }
        ConstraintKind::Foreign(key) => foreign_key(scope, constraint, key),
    }
}

/// pg_get_constraintdef of a domain's constraint.
pub(crate) fn domain_check_definition(check: &CheckDef, pretty: bool) -> String {
    let condition = with_value(&check.condition);
    if pretty { format!("CHECK ({condition})") } else { format!("CHECK (({condition}))") }
}

/// A domain's condition with VALUE in capitals, as PostgreSQL writes it.
pub(crate) fn with_value(condition: &str) -> String {
    let mut result = String::with_capacity(condition.len());
    let mut rest = condition;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
        let end = match first {
            '\'' | '"' => rest[1..].find(first).map_or(rest.len(), |end| end + 2),
            first if is_word(first) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            first => first.len_utf8(),
        };
        let (part, after) = rest.split_at(end);
        result.push_str(if part.eq_ignore_ascii_case("value") { "VALUE" } else { part });
        rest = after;
    }
    result
}

fn foreign_key(scope: &Scope, constraint: &Constraint<'_>, key: &ForeignKeyDef) -> String {
    let other = objects::find_relation(scope, key.table);
    let columns = other.as_ref().and_then(Rel::table).map_or_else(Vec::new, |def| column_names(def, &key.key));
    let mut text = format!(
        "FOREIGN KEY ({}) REFERENCES {}({})",
        list(&constraint.columns()),
        regclass_text(scope, key.table),
        list(&columns)
    );
    if key.match_full {
        text.push_str(" MATCH FULL");
    }
    let word = |action: char| match action {
        'r' => "RESTRICT",
        'c' => "CASCADE",
        'n' => "SET NULL",
        'd' => "SET DEFAULT",
        _ => "NO ACTION",
    };
    for (event, action) in [("UPDATE", key.on_update), ("DELETE", key.on_delete)] {
        if action != 'a' {
            text.push_str(&format!(" ON {event} {}", word(action)));
        }
    }
    if key.deferrable {
        text.push_str(" DEFERRABLE");
    }
    if key.deferred {
        text.push_str(" INITIALLY DEFERRED");
    }
    // What nobody checks is not valid.
    text.push_str(" NOT VALID");
    text
}

/// pg_get_indexdef; `pretty`: the schema is named only where the search path does not find the table.
pub(crate) fn index_definition(scope: &Scope, rel: &Rel<'_>, pretty: bool) -> Option<String> {
    let Kind::Index(table, def, index) = rel.kind else { return None };
    let unique = index.is_none_or(|index| index.unique);
    let keys = index.map_or(def.primary_key.len(), |index| index.keys.len());
    let columns: Vec<String> = (1..=keys).filter_map(|number| index_key(rel, number, true)).collect();
    let mut text = format!(
        "CREATE {}INDEX {} ON {} USING {} ({})",
        if unique { "UNIQUE " } else { "" },
        quote_ident(&rel.name),
        if pretty { regclass_text(scope, table.oid) } else { qualified(rel.schema, &table.name) },
        index.map_or("btree", |index| &index.method),
        columns.join(", ")
    );
    if let Some(index) = index {
        if !index.include.is_empty() {
            text.push_str(&format!(" INCLUDE ({})", list(&column_names(def, &index.include))));
        }
        if !index.parameters.is_empty() {
            let parameters: Vec<_> =
                index.parameters.iter().map(|(name, value)| format!("{}='{value}'", quote_ident(name))).collect();
            text.push_str(&format!(" WITH ({})", parameters.join(", ")));
        }
        if let Some(predicate) = &index.predicate {
            let predicate = if pretty { predicate.clone() } else { format!("({predicate})") };
            text.push_str(&format!(" WHERE {predicate}"));
        }
    }
    Some(text)
}

/// One column of an index, from 1.
pub(crate) fn index_column(rel: &Rel<'_>, number: usize) -> Option<String> {
    index_key(rel, number, false)
}

/// One column or expression of an index, from 1; `full`: with how it is ordered.
fn index_key(rel: &Rel<'_>, number: usize, full: bool) -> Option<String> {
    let Kind::Index(_, def, index) = rel.kind else { return None };
    let place = number.checked_sub(1)?;
    let Some(index) = index else { return def.primary_key.get(place).map(|name| quote_ident(name).into_owned()) };
    let Some(key) = index.keys.get(place) else {
        let id = index.include.get(place - index.keys.len())?;
        return Some(quote_ident(&def.column_with_id(*id)?.1.name).into_owned());
    };
    let mut text = match (&key.expression, key.column.and_then(|id| def.column_with_id(id))) {
        (Some(expression), _) if is_call(expression) => expression.clone(),
        (Some(expression), _) => format!("({expression})"),
        (None, Some((_, column))) => quote_ident(&column.name).into_owned(),
        (None, None) => return None,
    };
    if !full {
        return Some(text);
    }
    if let Some(class) = &key.class {
        text.push_str(&format!(" {}", quote_ident(class)));
    }
    match (key.descending, key.nulls_first) {
        (true, true) => text.push_str(" DESC"),
        (true, false) => text.push_str(" DESC NULLS LAST"),
        (false, true) => text.push_str(" NULLS FIRST"),
        (false, false) => {}
    }
    Some(text)
}

/// True for a call of a function, which needs no parentheses around it.
fn is_call(expression: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let rest = expression.trim_start_matches(is_name);
    let mut depth = 0_i32;
    let closes = rest.char_indices().find(|(_, c)| {
        depth += i32::from(*c == '(') - i32::from(*c == ')');
        depth == 0
    });
    rest.len() < expression.len() && rest.starts_with('(') && closes.is_some_and(|(at, _)| at + 1 == rest.len())
}

fn list<N: AsRef<str>>(names: &[N]) -> String {
    names.iter().map(|name| quote_ident(name.as_ref())).collect::<Vec<_>>().join(", ")
}
