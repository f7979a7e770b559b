//! CREATE TYPE … AS ENUM, ALTER TYPE.
//!
//! Definitions of columns say all of a type, so a change of the type puts what has such columns anew; the version of the
//! type that a table was made with is expected at commit.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast;
use tidemill_catalog::Oid;
use tidemill_catalog::record::{Body, Change, ColumnDef, Object, TableDef};
use tidemill_catalog::snapshot::NameClass;
use tidemill_catalog::user_type::{EnumLabel, TypeDef, TypeKind};
use tidemill_udfs::types::{EnumType, SqlType};
use tokio_util::sync::CancellationToken;

use super::control::Name;
use super::database::new_object;
use super::parse::parse_expression;
use super::trees::{AlterType, TypeName};
use super::{domain, names, retype, sequence};
use crate::error::SqlState;
use crate::plan::{Conversion, TEMP_SCHEMA, user_types};
use crate::session::Session;
use crate::session::transaction::is_temporary;
use crate::{Error, Result};

/// Bytes of a label; PostgreSQL's limit.
const LABEL_BYTES_MAX: usize = 63;

/// The type of a name in a statement, and the one that users made which that is about.
///
/// # Errors
/// 42704 if there is none.
pub(super) fn resolve(session: &mut Session, name: &TypeName) -> Result<(SqlType, Option<Oid>)> {
    match name {
        TypeName::Known(sql_type, _) => Ok((sql_type.clone(), None)),
        TypeName::User { name, is_array } => {
            let object = find(session, name).map_err(|error| match is_array {
                true => user_types::undefined(&format!("{name}[]")).at(name.offset),
                false => error,
            })?;
            let item = user_types::sql_type(&object)?;
            let is_domain = user_types::definition(&object)?.domain().is_some();
            if *is_array && is_domain {
                return Err(Error::unsupported("arrays of domains are not supported").at(name.offset));
            }
            Ok((if *is_array { SqlType::Array(Arc::new(item)) } else { item }, Some(object.oid)))
        }
    }
}

/// The digits of a second that a type of time keeps.
pub(super) fn precision(name: &TypeName) -> Option<u8> {
    match name {
        TypeName::Known(_, precision) => *precision,
        TypeName::User { .. } => None,
    }
}

/// The type of that name: 42704.
pub(super) fn find(session: &mut Session, name: &Name) -> Result<Arc<Object>> {
    names::find(session, name, NameClass::Type)?.ok_or_else(|| user_types::undefined(&name.to_string()).at(name.offset))
}

/// The changes that let a commit fail where one of these types was altered meanwhile.
pub(super) fn expected(session: &mut Session, types: impl Iterator<Item = Oid>) -> Vec<Change> {
    let (main, _) = names::catalogs(session);
    types.filter_map(|oid| main.get(oid).map(|object| Change::Expect(oid, object.version))).collect()
}

fn duplicate(name: &str) -> Error {
    Error::new(SqlState::DUPLICATE_OBJECT, format!("type \"{name}\" already exists"))
}

/// 42710 if a type, or a relation with its row type, has that name.
pub(super) fn require_free(session: &mut Session, schema: Oid, name: &str) -> Result<()> {
    let (main, temp) = names::catalogs(session);
    let catalog = if schema == TEMP_SCHEMA { temp } else { main };
    let is_row = |object: &Arc<Object>| matches!(object.body, Body::Table(_) | Body::View(_));
    if catalog.find(schema, NameClass::Type, name).is_some()
        || catalog.find(schema, NameClass::Relation, name).is_some_and(is_row)
    {
        return Err(duplicate(name));
    }
    Ok(())
}

fn check_label(label: &str) -> Result<()> {
    if label.is_empty() || label.len() > LABEL_BYTES_MAX {
        return Err(Error::new(SqlState::INVALID_NAME, format!("invalid enum label \"{label}\""))
            .detail(format!("Labels must be {LABEL_BYTES_MAX} bytes or less.")));
    }
    Ok(())
}

pub(super) fn create(session: &mut Session, name: &Name, labels: &[String]) -> Result<String> {
    const TAG: &str = "CREATE TYPE";
    session.require_writable(TAG)?;
    let schema = names::creation_schema(session, name, false)?;
    names::require_create(session, schema)?;
    require_free(session, schema, name.last())?;
    let temporary = schema == TEMP_SCHEMA;
    let oid = session.fresh_oid(temporary);
    let array_oid = session.fresh_oid(temporary);
    for (place, label) in labels.iter().enumerate() {
        check_label(label)?;
        if labels[..place].contains(label) {
            let message = "duplicate key value violates unique constraint \"pg_enum_typid_label_index\"";
            return Err(Error::new(SqlState::UNIQUE_VIOLATION, message)
                .detail(format!("Key (enumtypid, enumlabel)=({oid}, {label}) already exists.")));
        }
    }
    let mut order = 0.0;
    let labels = labels.iter().map(|label| {
        order += 1.0;
        EnumLabel { oid: session.fresh_oid(temporary), order, name: label.clone() }
    });
    let kind = TypeKind::Enum(labels.collect());
    let owner = sequence::owner(session, schema)?;
    let body = Body::Type(Arc::new(TypeDef { array_oid, kind }));
    session.apply(vec![Change::Put(new_object(oid, schema, name.last(), owner, vec![], body))])?;
    Ok(TAG.into())
}

pub(super) async fn alter(
    session: &mut Session,
    word: &str,
    name: &Name,
    action: &AlterType,
    cancel: &CancellationToken,
) -> Result<String> {
    let tag = format!("ALTER {word}");
    session.require_writable(&tag)?;
    let object = find(session, name)?;
    if word == "DOMAIN" && user_types::definition(&object)?.domain().is_none() {
        return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, format!("{} is not a domain", object.name)));
    }
    names::require_owner(session, &object)?;
    let mut rows = None;
    let changed = match action {
        AlterType::Rename(to) => {
            if *to != object.name {
                require_free(session, object.parent, to)?;
            }
            names::changed(&object, |object| object.name.clone_from(to))
        }
        AlterType::Owner(owner) => {
            let owner = names::role(session, owner)?.oid;
            names::changed(&object, |object| object.owner = owner)
        }
        AlterType::SetSchema(schema) => {
            let schema = names::schema(session, schema)?;
            names::require_create(session, schema)?;
            require_free(session, schema, &object.name)?;
            names::changed(&object, |object| object.parent = schema)
        }
        AlterType::AddValue { label, if_not_exists, beside } => {
            check_label(label)?;
            let mut labels = labels_of(&object)?;
            if labels.iter().any(|known| known.name == *label) {
                let message = format!("enum label \"{label}\" already exists");
                if !if_not_exists {
                    return Err(Error::new(SqlState::DUPLICATE_OBJECT, message));
                }
                session.notice("NOTICE", SqlState::DUPLICATE_OBJECT, format!("{message}, skipping"));
                return Ok(tag);
            }
            let at = match beside {
                Some((after, beside)) => place_of(&labels, beside)? + usize::from(*after),
                None => labels.len(),
            };
            let oid = session.fresh_oid(is_temporary(object.oid));
            insert(&mut labels, at, EnumLabel { oid, order: 0.0, name: label.clone() });
            with_labels(&object, labels)?
        }
        AlterType::RenameValue(from, to) => {
            check_label(to)?;
            let mut labels = labels_of(&object)?;
            let at = place_of(&labels, from)?;
            if labels.iter().any(|known| known.name == *to) {
                return Err(Error::new(SqlState::DUPLICATE_OBJECT, format!("enum label \"{to}\" already exists")));
            }
            labels[at].name.clone_from(to);
            rows = Some((from, to));
            with_labels(&object, labels)?
        }
        AlterType::Domain(action) => match domain::changed(session, &object, action, cancel).await? {
            Some(changed) => changed,
            None => return Ok(tag),
        },
    };
    let mut changes = vec![];
    if !is_temporary(object.oid) {
        let (main, _) = names::catalogs(session);
        changes.push(Change::ExpectUsers(object.oid, main.users_of_type(object.oid)));
    }
    changes.push(Change::Put(Arc::clone(&changed)));
    if let SqlType::Enum(of) = user_types::sql_type(&changed)? {
        for user in users(session, &of) {
            let write = match (&user.body, rows) {
                (Body::Table(_), Some((from, to))) => renamed_rows(session, &user, &of, from, to, cancel).await?,
                _ => None,
            };
            let user = names::changed(&user, |user| respell(user, &of, rows));
            changes.extend(retype::changes(user, write));
        }
    }
    session.apply(changes)?;
    if let Some((from, _)) = rows {
        check_texts(session, &changed, from, cancel)?;
    }
    Ok(tag)
}

fn labels_of(object: &Object) -> Result<Vec<EnumLabel>> {
    match user_types::definition(object)?.labels() {
        Some(labels) => Ok(labels.to_vec()),
        None => Err(Error::new(SqlState::WRONG_OBJECT_TYPE, format!("{} is not an enum", object.name))),
    }
}

fn place_of(labels: &[EnumLabel], name: &str) -> Result<usize> {
    labels.iter().position(|label| label.name == name).ok_or_else(|| {
        Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("\"{name}\" is not an existing enum label"))
    })
}

/// Puts a label at a place, between the numbers of its neighbours; all get new ones where there is none between.
fn insert(labels: &mut Vec<EnumLabel>, at: usize, mut label: EnumLabel) {
    let before = at.checked_sub(1).map(|before| labels[before].order);
    let after = labels.get(at).map(|after| after.order);
    label.order = match (before, after) {
        (None, None) => 1.0,
        (Some(before), None) => before + 1.0,
        (None, Some(after)) => after - 1.0,
        (Some(before), Some(after)) => f32::midpoint(before, after),
    };
    let is_between = before.is_none_or(|before| label.order > before) && after.is_none_or(|after| label.order < after);
    labels.insert(at, label);
    if !is_between {
        let mut order = 0.0;
        for label in labels {
            order += 1.0;
            label.order = order;
        }
    }
}

fn with_labels(object: &Object, labels: Vec<EnumLabel>) -> Result<Arc<Object>> {
    let array_oid = user_types::definition(object)?.array_oid;
    let body = Body::Type(Arc::new(TypeDef { array_oid, kind: TypeKind::Enum(labels) }));
    Ok(names::changed(object, |object| object.body = body))
}

fn is_of(sql_type: &str, of: &EnumType) -> Option<SqlType> {
    let sql_type = SqlType::of_stored(sql_type).ok()?;
    matches!(sql_type.innermost(), SqlType::Enum(known) if known.oid == of.oid).then_some(sql_type)
}

/// The tables, views and domains that say what the enum is.
fn users(session: &mut Session, of: &EnumType) -> Vec<Arc<Object>> {
    let (main, temp) = names::catalogs(session);
    let has = |columns: &[ColumnDef]| columns.iter().any(|column| is_of(&column.sql_type, of).is_some());
    let uses = |object: &&Arc<Object>| match &object.body {
        Body::Table(def) => has(&def.columns),
        Body::View(view) => has(&view.columns),
        Body::Type(def) => def.domain().is_some_and(|domain| is_of(&domain.base, of).is_some()),
        _ => false,
    };
    main.objects.values().chain(temp.objects.values()).filter(uses).cloned().collect()
}

/// An object with the enum as it is now; `renamed`: a label's old and new name, which defaults may be.
fn respell(object: &mut Object, of: &EnumType, renamed: Option<(&String, &String)>) {
    let now = |stored: &mut String| {
        if let Some(sql_type) = is_of(stored, of) {
            let item = SqlType::Enum(Arc::new(of.clone()));
            *stored = item.with_dimensions(sql_type.dimensions()).stored();
        }
    };
    let columns = |columns: &mut Vec<ColumnDef>| {
        for column in columns.iter_mut().filter(|column| is_of(&column.sql_type, of).is_some()) {
            now(&mut column.sql_type);
            if let (Some((from, to)), Some(default)) = (renamed, &mut column.default) {
                rename_literal(default, from, to);
            }
        }
    };
    match &mut object.body {
        Body::Table(def) => columns(&mut Arc::make_mut(def).columns),
        Body::View(view) => columns(&mut view.columns),
        Body::Type(def) => {
            if let TypeKind::Domain(domain) = &mut Arc::make_mut(def).kind {
                now(&mut domain.base);
                if let (Some((from, to)), Some(default)) = (renamed, &mut domain.default) {
                    rename_literal(default, from, to);
                }
            }
        }
        _ => {}
    }
}

/// The default that is one label, perhaps with a cast, gets its new name.
fn rename_literal(text: &mut String, from: &str, to: &str) {
    let Ok(parsed) = parse_expression(text) else { return };
    let literal = match &parsed {
        ast::Expr::Cast { expr, .. } => expr.as_ref(),
        other => other,
    };
    let is_label = matches!(literal, ast::Expr::Value(value)
        if matches!(&value.value, ast::Value::SingleQuotedString(label) if label == from));
    if is_label {
        *text = format!("'{}'", to.replace('\'', "''"));
    }
}

/// The rows of a table with the new name of a label; `None` if it has none.
async fn renamed_rows(
    session: &mut Session,
    object: &Arc<Object>,
    of: &EnumType,
    from: &str,
    to: &str,
    cancel: &CancellationToken,
) -> Result<Option<tidemill_catalog::record::Write>> {
    let Body::Table(def) = &object.body else { return Ok(None) };
    if !super::table::state(session, object.oid)?.has_rows() {
        return Ok(None);
    }
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let (from, to) = (quoted(from), quoted(to));
    let mut def = TableDef::clone(def);
    let mut texts = vec![];
    for (at, column) in def.columns.iter_mut().enumerate() {
        let Some(sql_type) = is_of(&column.sql_type, of) else { continue };
        let name = format!("\"{}\"", column.name.replace('"', "\"\""));
        let text = match sql_type.dimensions() {
            0 => format!("CASE {name}::text WHEN {from} THEN {to} ELSE {name}::text END"),
            _ => format!("array_replace({name}::text[], {from}, {to})"),
        };
        column.missing_value = None;
        texts.push((at, SqlType::Text.with_dimensions(sql_type.dimensions()), parse_expression(&text)?));
    }
    let conversions: Vec<Conversion<'_>> =
        texts.iter().map(|(at, to, using)| Conversion { at: *at, to: to.clone(), using: Some(using) }).collect();
    let scope = session.scope(cancel);
    retype::rewrite_as(session, &scope, object, &def, &conversions).await.map(Some)
}

/// 0A000 if a view, CHECK or default still has a label's old name: their texts stay as users wrote them.
fn check_texts(session: &mut Session, object: &Object, from: &str, cancel: &CancellationToken) -> Result<()> {
    let scope = session.scope(cancel);
    let planner = Arc::clone(&session.planner);
    let broken = |what: String| {
        Err(Error::unsupported(format!("cannot rename enum label \"{from}\" because {what} uses it"))
            .hint("Drop it first and create it again afterwards."))
    };
    for user in scope.snapshot.catalog.objects.values().chain(scope.temp.catalog.objects.values()) {
        match &user.body {
            Body::View(view) if user.depends_on.contains(&object.oid) && !planner.view_stands(&scope, view) => {
                return broken(format!("view {}", user.name));
            }
            Body::Table(def) if user.depends_on.contains(&object.oid) => {
                let schema =
                    datafusion::common::DFSchema::try_from_qualified_schema(user.name.as_str(), &def.schema())?;
                for check in &def.checks {
                    if planner.expression(&scope, &schema, &parse_expression(&check.condition)?).is_err() {
                        return broken(format!("constraint {} on table {}", check.name, user.name));
                    }
                }
                for column in def.columns.iter().filter(|column| column.default.is_some()) {
                    if planner.column_default(&scope, column).is_err() {
                        return broken(format!("default value for column {} of table {}", column.name, user.name));
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}
