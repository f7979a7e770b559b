//! Names to oids and back: what `::regclass`, `::regtype` and their kin, `format_type` and `to_reg*` mean.

use std::borrow::Cow;

use tidemill_catalog::Oid;
use tidemill_catalog::record::Body;
use tidemill_udfs::types::SqlType;

use super::objects::{self, Kind};
use super::{data, routines, signatures, user_types};
use crate::error::{Error, Result, SqlState};
use crate::plan::{PG_CATALOG, Scope};

/// Splits a possibly qualified name as PostgreSQL's `stringToQualifiedNameList` does: quotes, folding to lower case.
///
/// # Errors
/// 42602 for what is no name.
pub fn split_name(text: &str) -> Result<Vec<String>> {
    let invalid = || Error::new(SqlState::INVALID_NAME, "invalid name syntax");
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        let (part, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_part(quoted).ok_or_else(invalid)?,
            None => {
                let end = rest.find(|c: char| c == '.' || c == '"' || c.is_whitespace()).unwrap_or(rest.len());
                (rest[..end].to_lowercase(), &rest[end..])
            }
        };
        if part.is_empty() {
            return Err(invalid());
        }
        parts.push(part);
        rest = after.trim_start();
        match rest.strip_prefix('.') {
            Some(after) => rest = after.trim_start(),
            None if rest.is_empty() => return Ok(parts),
            None => return Err(invalid()),
        }
    }
}

/// What follows an opening quote: the name up to the closing one, and the rest.
fn quoted_part(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut characters = text.char_indices().peekable();
    while let Some((index, character)) = characters.next() {
        if character != '"' {
            name.push(character);
        } else if matches!(characters.peek(), Some((_, '"'))) {
            characters.next();
            name.push('"');
        } else {
            return Some((name, &text[index + 1..]));
        }
    }
    None
}

/// The name quoted where SQL needs it.
pub fn quote_ident(name: &str) -> Cow<'_, str> {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !data::is_reserved(name);
    if plain { Cow::Borrowed(name) } else { Cow::Owned(format!("\"{}\"", name.replace('"', "\"\""))) }
}

/// `schema.name`, both quoted where needed.
pub(crate) fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", quote_ident(schema), quote_ident(name))
}

/// A number, as all reg* types take one.
pub(super) fn number(text: &str) -> Option<Oid> {
    let digits = text.trim();
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// `-` stands for 0.
pub(super) fn number_or_dash(text: &str) -> Option<Oid> {
    if text.trim() == "-" { Some(0) } else { number(text) }
}

/// The schema part of a split name, and the name itself; the database part must be the current one.
fn schema_and_name<'a>(scope: &Scope, parts: &'a [String], text: &str) -> Result<(Option<&'a str>, &'a str)> {
    match parts {
        [name] => Ok((None, name)),
        [schema, name] => Ok((Some(schema), name)),
        [database, schema, name] if database == objects::database_name(scope) => Ok((Some(schema), name)),
        [_, _, _] => Err(Error::unsupported(format!("cross-database references are not implemented: {text}"))),
        _ => Err(Error::new(
            SqlState::SYNTAX_ERROR,
            format!("improper relation name (too many dotted names): {}", parts.join(".")),
        )),
    }
}

/// `text::regclass`.
///
/// # Errors
/// 42P01 if there is no such relation, 3F000 if there is no such schema, 42602.
pub fn resolve_regclass(scope: &Scope, text: &str) -> Result<Oid> {
    if let Some(oid) = number_or_dash(text) {
        return Ok(oid);
    }
    let parts = split_name(text)?;
    let (schema, name) = schema_and_name(scope, &parts, text)?;
    let undefined =
        || Error::new(SqlState::UNDEFINED_TABLE, format!("relation \"{}\" does not exist", parts.join(".")));
    find_regclass(scope, schema, name).ok_or_else(undefined)
}

fn find_regclass(scope: &Scope, schema: Option<&str>, name: &str) -> Option<Oid> {
    match schema {
        Some(schema) => objects::relation_in(scope, objects::namespace_named(scope, schema)?, name),
        None => {
            let path = objects::search_path(scope, true);
            path.iter().find_map(|(schema, _)| objects::relation_in(scope, *schema, name))
        }
    }
}

/// `regclass::text`: qualified unless the search path finds it, the number if there is no such relation.
pub fn regclass_text(scope: &Scope, oid: Oid) -> String {
    if oid == 0 {
        return "-".to_owned();
    }
    let Some(relation) = objects::find_relation(scope, oid) else { return oid.to_string() };
    let path = objects::search_path(scope, true);
    if objects::is_visible(scope, &path, &relation) {
        quote_ident(&relation.name).into_owned()
    } else {
        qualified(relation.schema, &relation.name)
    }
}

/// `text::regtype`.
///
/// # Errors
/// 42704 if there is no such type.
pub fn resolve_regtype(scope: &Scope, text: &str) -> Result<Oid> {
    if let Some(oid) = number_or_dash(text) {
        return Ok(oid);
    }
    if let Ok(sql_type) = SqlType::parse(text) {
        return Ok(sql_type.oid());
    }
    let undefined = || Error::new(SqlState::UNDEFINED_OBJECT, format!("type \"{}\" does not exist", text.trim()));
    let base = text.trim().trim_end_matches("[]");
    let parts = split_name(base)?;
    let (schema, name) = schema_and_name(scope, &parts, text)?;
    let is_array = base.len() != text.trim().len();
    if let Some(row) = data::type_named(name).filter(|_| schema.is_none_or(|schema| schema == "pg_catalog")) {
        return if !is_array { Ok(row.oid) } else { Some(row.array).filter(|oid| *oid != 0).ok_or_else(undefined) };
    }
    if let Some(object) = scope.user_type(schema, name)
        && let Body::Type(def) = &object.body
    {
        return Ok(if is_array { def.array_oid } else { object.oid });
    }
    // `_mood` is the array of mood.
    if let Some(object) = name.strip_prefix('_').and_then(|item| scope.user_type(schema, item))
        && let Body::Type(def) = &object.body
    {
        return Ok(def.array_oid);
    }
    let relation = find_regclass(scope, schema, name).and_then(|oid| objects::find_relation(scope, oid));
    let relation = relation.filter(|relation| matches!(relation.kind, Kind::Table(_) | Kind::View(_)));
    let oid = relation.ok_or_else(undefined)?.oid;
    Ok(if is_array { objects::row_array_type_oid(oid) } else { objects::row_type_oid(oid) })
}

/// `regtype::text`.
pub fn regtype_text(scope: &Scope, oid: Oid) -> String {
    if oid == 0 {
        return "-".to_owned();
    }
    format_type(scope, oid, None).unwrap_or_else(|| oid.to_string())
}

/// `format_type(oid, typmod)`: `None` if there is no such type. A modifier of -1 differs from none for types whose bare
/// name means a modifier (`bpchar`).
pub fn format_type(scope: &Scope, oid: Oid, typmod: Option<i32>) -> Option<String> {
    if let Some(row) = data::type_row(oid) {
        if let Some(element) = data::type_row(row.element).filter(|element| element.array == oid) {
            return Some(format!("{}[]", base_type_name(element, typmod)));
        }
        return Some(base_type_name(row, typmod));
    }
    if let Some(text) = user_types::type_text(scope, oid) {
        return Some(text);
    }
    let (relation, suffix) = match oid {
        oid if oid == objects::row_array_type_oid(oid) => (oid ^ objects::row_array_type_oid(0), "[]"),
        oid if oid == objects::row_type_oid(oid) => (oid ^ objects::row_type_oid(0), ""),
        _ => return None,
    };
    objects::find_relation(scope, relation).map(|_| format!("{}{suffix}", regclass_text(scope, relation)))
}

/// The name of a type that is no array, with its modifier, as the grammar spells it.
fn base_type_name(row: &data::TypeRow, typmod: Option<i32>) -> String {
    let modifier = typmod.filter(|typmod| *typmod >= 0);
    let bits = modifier.map_or_else(String::new, |bits| format!("({bits})"));
    let characters = modifier.filter(|n| *n >= 4).map_or_else(String::new, |n| format!("({})", n - 4));
    match row.name {
        "bool" => "boolean".into(),
        "int2" => "smallint".into(),
        "int4" => "integer".into(),
        "int8" => "bigint".into(),
        "float4" => "real".into(),
        "float8" => "double precision".into(),
        "char" => "\"char\"".into(),
        "bpchar" if typmod == Some(-1) => "bpchar".into(),
        "bpchar" => format!("character{characters}"),
        "varchar" => format!("character varying{characters}"),
        "bit" if typmod == Some(-1) => "\"bit\"".into(),
        "bit" => format!("bit{bits}"),
        "varbit" => format!("bit varying{bits}"),
        "numeric" => match modifier.filter(|n| *n >= 4).map(|n| n - 4) {
            Some(n) => format!("numeric({},{})", (n >> 16) & 0xffff, ((n & 0x7ff) ^ 1024) - 1024),
            None => "numeric".into(),
        },
        "time" => format!("time{bits} without time zone"),
        "timetz" => format!("time{bits} with time zone"),
        "timestamp" => format!("timestamp{bits} without time zone"),
        "timestamptz" => format!("timestamp{bits} with time zone"),
        "interval" => match modifier.map(|n| n & 0xffff).filter(|n| *n != 0xffff) {
            Some(precision) => format!("interval({precision})"),
            None => "interval".into(),
        },
        "any" => "\"any\"".into(),
        name => name.into(),
    }
}

/// `text::regproc`: by name alone, so it must be the only function of that name.
///
/// # Errors
/// 42883 if there is none, 42725 if there are several.
pub fn resolve_regproc(scope: &Scope, text: &str) -> Result<Oid> {
    if let Some(oid) = number_or_dash(text) {
        return Ok(oid);
    }
    let parts = split_name(text)?;
    let (schema, name) = schema_and_name(scope, &parts, text)?;
    let found = if schema.is_none_or(|schema| schema == "pg_catalog") { routines::named(name) } else { Vec::new() };
    match found.as_slice() {
        [oid] => Ok(*oid),
        [] => Err(Error::new(SqlState::UNDEFINED_FUNCTION, format!("function \"{}\" does not exist", text.trim()))),
        _ => Err(Error::new(
            SqlState::AMBIGUOUS_FUNCTION,
            format!("more than one function named \"{}\"", parts.join(".")),
        )),
    }
}

/// `regproc::text`.
pub fn regproc_text(_scope: &Scope, oid: Oid) -> String {
    match (oid, routines::name(oid)) {
        (0, _) => "-".to_owned(),
        (_, Some(name)) if routines::named(name).len() > 1 => format!("pg_catalog.{}", quote_ident(name)),
        (_, Some(name)) => quote_ident(name).into_owned(),
        (oid, None) => oid.to_string(),
    }
}

/// `text::regnamespace`.
///
/// # Errors
/// 3F000 if there is no such schema.
pub fn resolve_regnamespace(scope: &Scope, text: &str) -> Result<Oid> {
    if let Some(oid) = number_or_dash(text) {
        return Ok(oid);
    }
    let name = single_name(text)?;
    objects::namespace_named(scope, &name)
        .ok_or_else(|| Error::new(SqlState::INVALID_SCHEMA_NAME, format!("schema \"{name}\" does not exist")))
}

/// `regnamespace::text`.
pub fn regnamespace_text(scope: &Scope, oid: Oid) -> String {
    match (oid, objects::namespace(scope, oid)) {
        (0, _) => "-".to_owned(),
        (_, Some(schema)) => quote_ident(schema.name).into_owned(),
        (oid, None) => oid.to_string(),
    }
}

/// `text::regrole`.
///
/// # Errors
/// 42704 if there is no such role.
pub fn resolve_regrole(scope: &Scope, text: &str) -> Result<Oid> {
    if let Some(oid) = number_or_dash(text) {
        return Ok(oid);
    }
    let name = single_name(text)?;
    resolve_role(scope, &name)
}

/// The role of exactly that name.
///
/// # Errors
/// 42704 if there is no such role.
pub fn resolve_role(scope: &Scope, name: &str) -> Result<Oid> {
    objects::role_named(scope, name)
        .map(|role| role.oid)
        .ok_or_else(|| Error::new(SqlState::UNDEFINED_OBJECT, format!("role \"{name}\" does not exist")))
}

/// `regrole::text`.
pub fn regrole_text(scope: &Scope, oid: Oid) -> String {
    match (oid, objects::role(scope, oid)) {
        (0, _) => "-".to_owned(),
        (_, Some((role, _))) => quote_ident(&role.name).into_owned(),
        (oid, None) => oid.to_string(),
    }
}

fn single_name(text: &str) -> Result<String> {
    match split_name(text)?.as_slice() {
        [name] => Ok(name.clone()),
        _ => Err(Error::new(SqlState::INVALID_NAME, "invalid name syntax")),
    }
}

/// The name of any oid of a reg* type as text: for casts to text and for output.
pub fn reg_text(scope: &Scope, sql_type: &SqlType, oid: Oid) -> String {
    match sql_type {
        SqlType::RegClass => regclass_text(scope, oid),
        SqlType::RegType => regtype_text(scope, oid),
        SqlType::RegProc => regproc_text(scope, oid),
        SqlType::RegProcedure => signatures::regprocedure_text(scope, oid),
        SqlType::RegOperator => signatures::regoperator_text(scope, oid),
        SqlType::RegNamespace => regnamespace_text(scope, oid),
        SqlType::RegRole => regrole_text(scope, oid),
        _ => oid.to_string(),
    }
}

/// The oid that a text names in a reg* type: for casts from text.
///
/// # Errors
/// As the type's own function; 22P02 where a plain oid is no number.
pub fn resolve_reg(scope: &Scope, sql_type: &SqlType, text: &str) -> Result<Oid> {
    match sql_type {
        SqlType::RegClass => resolve_regclass(scope, text),
        SqlType::RegType => resolve_regtype(scope, text),
        SqlType::RegProc => resolve_regproc(scope, text),
        SqlType::RegProcedure => signatures::resolve_regprocedure(scope, text),
        SqlType::RegOperator => signatures::resolve_regoperator(scope, text),
        SqlType::RegNamespace => resolve_regnamespace(scope, text),
        SqlType::RegRole => resolve_regrole(scope, text),
        _ => parse_oid(text),
    }
}

/// `text::oid`.
///
/// # Errors
/// 22P02.
pub(crate) fn parse_oid(text: &str) -> Result<Oid> {
    number(text).ok_or_else(|| {
        Error::new(SqlState::INVALID_TEXT_REPRESENTATION, format!("invalid input syntax for type oid: \"{text}\""))
    })
}

/// True if the schema of PostgreSQL's own objects is found without a qualification: always.
pub(crate) fn system_is_visible(scope: &Scope) -> bool {
    objects::search_path(scope, true).iter().any(|(oid, _)| *oid == PG_CATALOG)
}
