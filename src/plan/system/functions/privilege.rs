//! has_*_privilege and pg_has_role: `([user,] object, privileges)`, the user by name or oid.

use tidemill_catalog::Oid;
use tidemill_catalog::acl::{AclItem, Privileges};

use super::{Call, Function, function};
use crate::error::{Error, Result, SqlState};
use crate::plan::rights;
use crate::plan::system::batch::Value;
use crate::plan::system::objects::{self, Kind};
use crate::plan::system::privileges::{self, On, Target};
use crate::plan::system::{data, names, routines};

pub(super) const FUNCTIONS: &[Function] = &[
    function("has_table_privilege", 2, 3, "bool", has_table_privilege),
    function("has_sequence_privilege", 2, 3, "bool", has_sequence_privilege),
    function("has_any_column_privilege", 2, 3, "bool", has_any_column_privilege),
    function("has_column_privilege", 3, 4, "bool", has_column_privilege),
    function("has_schema_privilege", 2, 3, "bool", has_schema_privilege),
    function("has_database_privilege", 2, 3, "bool", has_database_privilege),
    function("has_function_privilege", 2, 3, "bool", has_function_privilege),
    function("has_type_privilege", 2, 3, "bool", has_type_privilege),
    function("has_language_privilege", 2, 3, "bool", has_language_privilege),
    function("has_tablespace_privilege", 2, 3, "bool", has_tablespace_privilege),
    function("has_server_privilege", 2, 3, "bool", |call| missing(call, "server")),
    function("has_foreign_data_wrapper_privilege", 2, 3, "bool", |call| missing(call, "foreign-data wrapper")),
    function("has_parameter_privilege", 2, 3, "bool", has_parameter_privilege),
    function("pg_has_role", 2, 3, "bool", pg_has_role),
    function("row_security_active", 1, 1, "bool", |call| call.relation(0).map(|_| false.into())),
    function("acldefault", 2, 2, "text[]", |call| {
        let owner = call.oid(1)?;
        Ok(privileges::default_acl(call.scope, call.text(0).unwrap_or_default(), owner)?.into())
    }),
    function("makeaclitem", 4, 4, "text", makeaclitem),
];

/// The role asked about, and the position of the first argument after it.
fn role(call: &Call<'_>, arguments: usize) -> Result<(Oid, usize)> {
    if call.len() == arguments {
        return Ok((call.scope.role, 0));
    }
    let role = match call.text(0) {
        Some("public") => 0,
        Some(name) => names::resolve_role(call.scope, name)?,
        None => call.oid(0)?,
    };
    Ok((role, 1))
}

/// True if the role has one of the privileges that the text lists.
fn any(call: &Call<'_>, role: Oid, target: Target<'_>, words: usize) -> Result<Value<'static>> {
    let asked = privileges::parse_words(target.on, call.text(words).unwrap_or_default())?;
    Ok(asked.into_iter().any(|(privilege, option)| target.allows(call.scope, role, privilege, option)).into())
}

fn has_table_privilege(call: &Call<'_>) -> Result<Value<'static>> {
    let (role, first) = role(call, 2)?;
    let oid = call.relation(first)?;
    let asked = privileges::parse_words(On::Relation, call.text(first + 1).unwrap_or_default())?;
    let Some(rel) = objects::find_relation(call.scope, oid) else { return Ok(Value::Null) };
    let target = Target::relation(call.scope, &rel);
    Ok(asked.into_iter().any(|(privilege, option)| target.allows(call.scope, role, privilege, option)).into())
}

fn has_any_column_privilege(call: &Call<'_>) -> Result<Value<'static>> {
    let (role, first) = role(call, 2)?;
    let oid = call.relation(first)?;
    let asked = privileges::parse_words(On::Column, call.text(first + 1).unwrap_or_default())?;
    let Some(rel) = objects::find_relation(call.scope, oid) else { return Ok(Value::Null) };
    let target = Target::relation(call.scope, &rel);
    let has = |(privilege, option): &(Privileges, bool)| {
        target.allows(call.scope, role, *privilege, *option)
            || rel.columns().iter().any(|column| target.allows_column(call.scope, role, column.id, *privilege, *option))
    };
    Ok(asked.iter().any(has).into())
}

fn has_column_privilege(call: &Call<'_>) -> Result<Value<'static>> {
    let (role, first) = role(call, 3)?;
    let oid = call.relation(first)?;
    let Some(rel) = objects::find_relation(call.scope, oid) else { return Ok(Value::Null) };
    let asked = || privileges::parse_words(On::Column, call.text(first + 2).unwrap_or_default());
    let target = Target::relation(call.scope, &rel);
    let (name, number) = match call.text(first + 1) {
        Some(name) => (Some(name), None),
        None => (None, call.int(first + 1)),
    };
    let column = match (&rel.kind, name, number) {
        (Kind::System(system), Some(name), _) => {
            system.columns.iter().position(|column| column.name == name).and_then(|at| i32::try_from(at + 1).ok())
        }
        (Kind::System(system), None, Some(number)) => {
            i32::try_from(number).ok().filter(|at| (1..=system.columns.len()).contains(&(at.unsigned_abs() as usize)))
        }
        (_, Some(name), _) => rel.columns().iter().find(|column| column.name == name).map(|column| column.id),
        (_, None, Some(number)) => rel.columns().iter().map(|column| column.id).find(|id| i64::from(*id) == number),
        (_, None, None) => None,
    };
    let Some(column) = column else {
        let Some(name) = name else { return Ok(Value::Null) };
        let message = format!("column \"{name}\" of relation \"{}\" does not exist", rel.name);
        return Err(Error::new(SqlState::UNDEFINED_COLUMN, message));
    };
    let has =
        |(privilege, option): (Privileges, bool)| target.allows_column(call.scope, role, column, privilege, option);
    Ok(asked()?.into_iter().any(has).into())
}

/// `makeaclitem(grantee, grantor, privileges, grantable)`
fn makeaclitem(call: &Call<'_>) -> Result<Value<'static>> {
    let everything = [On::Relation, On::Function, On::Schema, On::Database];
    let privilege = |word: &str| everything.iter().find_map(|on| on.privilege(word));
    let mut privileges = Privileges::NONE;
    for word in call.text(2).unwrap_or_default().split(',') {
        let unknown = || {
            let message = format!("unrecognized privilege type: \"{}\"", word.trim());
            Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
        };
        privileges = privileges | privilege(word.trim()).ok_or_else(unknown)?;
    }
    let options = if call.boolean(3).unwrap_or(false) { privileges } else { Privileges::NONE };
    let item = AclItem { column: 0, grantee: call.oid(0)?, grantor: call.oid(1)?, privileges, options };
    Ok(privileges::print(call.scope, &item).into())
}

fn has_sequence_privilege(call: &Call<'_>) -> Result<Value<'static>> {
    let (role, first) = role(call, 2)?;
    let oid = call.relation(first)?;
    let Some(rel) = objects::find_relation(call.scope, oid) else { return Ok(Value::Null) };
    match (Target::relation(call.scope, &rel), call.is_text(first)) {
        (target, _) if target.on == On::Sequence => any(call, role, target, first + 1),
        (_, true) => Err(Error::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{}\" is not a sequence", rel.name))),
        _ => Ok(Value::Null),
    }
}

fn has_schema_privilege(call: &Call<'_>) -> Result<Value<'static>> {
    let (role, first) = role(call, 2)?;
    let oid = match call.text(first) {
        Some(name) => objects::namespace_named(call.scope, name)
            .ok_or_else(|| Error::new(SqlState::INVALID_SCHEMA_NAME, format!("schema \"{name}\" does not exist")))?,
        None => call.oid(first)?,
    };
    let Some(schema) = objects::namespace(call.scope, oid) else { return Ok(Value::Null) };
    any(call, role, Target::schema(&schema), first + 1)
}

fn has_database_privilege(call: &Call<'_>) -> Result<Value<'static>> {
    let (role, first) = role(call, 2)?;
    let mut databases = objects::databases(call.scope);
    let database = match call.text(first) {
        Some(name) => Some(databases.find(|database| database.name == name).ok_or_else(|| {
            Error::new(SqlState::INVALID_CATALOG_NAME, format!("database \"{name}\" does not exist"))
        })?),
        None => {
            let oid = call.oid(first)?;
            databases.find(|database| database.oid == oid)
        }
    };
    match database.and_then(|database| Target::of(database)) {
        Some(target) => any(call, role, target, first + 1),
        None => Ok(Value::Null),
    }
}

fn has_function_privilege(call: &Call<'_>) -> Result<Value<'static>> {
    let (role, first) = role(call, 2)?;
    let oid = match call.text(first) {
        // By signature, `name(types)`: the name is what decides.
        Some(text) => {
            let name = text.split('(').next().unwrap_or_default().trim().trim_start_matches("pg_catalog.");
            let undefined = || Error::new(SqlState::UNDEFINED_FUNCTION, format!("function \"{text}\" does not exist"));
            *routines::named(name).first().ok_or_else(undefined)?
        }
        None => call.oid(first)?,
    };
    if routines::name(oid).is_none() {
        return Ok(Value::Null);
    }
    any(call, role, Target::builtin(call.scope, On::Function), first + 1)
}

fn has_type_privilege(call: &Call<'_>) -> Result<Value<'static>> {
    let (role, first) = role(call, 2)?;
    let oid = match call.text(first) {
        Some(name) => names::resolve_regtype(call.scope, name)?,
        None => call.oid(first)?,
    };
    if names::format_type(call.scope, oid, None).is_none() {
        return Ok(Value::Null);
    }
    any(call, role, Target::builtin(call.scope, On::Usage), first + 1)
}

/// The row of one of PostgreSQL's own objects, by name or oid; an error for an unknown name.
fn own_row(call: &Call<'_>, index: usize, table: &data::Table, name: &str, what: &str) -> Result<bool> {
    let column = |name| table.position(name).unwrap_or_default();
    let (oid, name) = (column("oid"), column(name));
    let Some(text) = call.text(index) else {
        let asked = call.oid(index)?;
        return Ok((0..table.len()).any(|row| table.oid(row, oid) == asked));
    };
    if (0..table.len()).any(|row| table.text(row, name) == Some(text)) {
        return Ok(true);
    }
    Err(Error::new(SqlState::UNDEFINED_OBJECT, format!("{what} \"{text}\" does not exist")))
}

fn has_language_privilege(call: &Call<'_>) -> Result<Value<'static>> {
    let (role, first) = role(call, 2)?;
    if !own_row(call, first, data::languages(), "lanname", "language")? {
        return Ok(Value::Null);
    }
    any(call, role, Target::builtin(call.scope, On::Usage), first + 1)
}

fn has_tablespace_privilege(call: &Call<'_>) -> Result<Value<'static>> {
    let (role, first) = role(call, 2)?;
    if !own_row(call, first, data::tablespaces(), "spcname", "tablespace")? {
        return Ok(Value::Null);
    }
    Ok(privileges::is_superuser(call.scope, role).into())
}

fn has_parameter_privilege(call: &Call<'_>) -> Result<Value<'static>> {
    let (role, _) = role(call, 2)?;
    Ok(privileges::is_superuser(call.scope, role).into())
}

/// Objects of which there are none.
fn missing(call: &Call<'_>, what: &str) -> Result<Value<'static>> {
    let (_, first) = role(call, 2)?;
    match call.text(first) {
        Some(name) => Err(Error::new(SqlState::UNDEFINED_OBJECT, format!("{what} \"{name}\" does not exist"))),
        None => Ok(Value::Null),
    }
}

fn pg_has_role(call: &Call<'_>) -> Result<Value<'static>> {
    let (member, first) = role(call, 2)?;
    let group = match call.text(first) {
        Some(name) => names::resolve_role(call.scope, name)?,
        None => call.oid(first)?,
    };
    let catalog = &call.scope.snapshot.catalog;
    let mut has = false;
    for part in call.text(first + 1).unwrap_or_default().split(',') {
        let word = part.trim().to_uppercase();
        has |= match word.as_str() {
            "USAGE" => rights::has_privileges_of(catalog, member, group),
            "MEMBER" => rights::is_member(catalog, member, group),
            "USAGE WITH GRANT OPTION"
            | "USAGE WITH ADMIN OPTION"
            | "MEMBER WITH GRANT OPTION"
            | "MEMBER WITH ADMIN OPTION" => rights::is_admin_of(catalog, member, group),
            _ => {
                let message = format!("unrecognized privilege type: \"{}\"", part.trim());
                return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
            }
        };
    }
    Ok(has.into())
}
