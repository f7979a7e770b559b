//! CREATE, DROP and ALTER INDEX, REINDEX: kept as declarations, and a notice says what each does for the table. A unique
//! index is enforced as a UNIQUE constraint is.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use tidemill_catalog::Oid;
use tidemill_catalog::record::{Body, Change, ColumnDef, IndexDef, IndexKey, Object, TableDef, Write};
use tidemill_catalog::snapshot::NameClass;
use tidemill_udfs::types::SqlType;
use tokio_util::sync::CancellationToken;

use super::control::{AlterTable, Name};
use super::trees::{CreateIndex, IndexKeySyntax, RelationKind};
use super::{constraint, names, retype, sequence, table};
use crate::error::SqlState;
use crate::plan::system::quote_ident;
use crate::plan::{Scope, TEMP_SCHEMA};
use crate::session::Session;
use crate::{Error, Result};

/// Access methods that an index may name: PostgreSQL's.
const METHODS: [&str; 6] = ["btree", "hash", "gist", "gin", "spgist", "brin"];

pub(super) async fn create(session: &mut Session, create: &CreateIndex, cancel: &CancellationToken) -> Result<String> {
    const TAG: &str = "CREATE INDEX";
    session.require_writable(TAG)?;
    let object = names::relation(session, &create.table)?;
    let Body::Table(def) = &object.body else {
        let message = format!("cannot create index on relation \"{}\"", object.name);
        return Err(
            Error::new(SqlState::WRONG_OBJECT_TYPE, message).detail("This operation is not supported for views.")
        );
    };
    names::require_owner(session, &object)?;
    if let Some(name) = &create.name
        && !is_free(session, object.parent, name)
    {
        let message = format!("relation \"{name}\" already exists");
        if create.if_not_exists {
            session.notice("NOTICE", SqlState::DUPLICATE_TABLE, format!("{message}, skipping"));
            return Ok(TAG.into());
        }
        return Err(Error::new(SqlState::DUPLICATE_TABLE, message));
    }
    if !METHODS.contains(&create.method.as_str()) {
        let message = format!("access method \"{}\" does not exist", create.method);
        return Err(Error::new(SqlState::UNDEFINED_OBJECT, message));
    }
    let scope = session.scope(cancel);
    let mut def = TableDef::clone(def);
    let index = define(session, &scope, create, &object, &def)?;
    let (oid, notice) = (index.oid, notice(&index, &def));
    def.indexes.push(index);
    let mut write = None;
    if create.unique
        && let Some(key) = def.unique_keys().into_iter().find(|key| key.index == oid)
    {
        constraint::require_unique(session, &scope, &object, &def, &key).await?;
        let made_on = Some(session.open().view().lsn);
        write = Some(Write { table: object.oid, made_on, alone: true, ..Write::default() });
    }
    let object = constraint::with_definition(&object, def);
    session.apply(retype::changes(object, write))?;
    session.notice("NOTICE", SqlState::SUCCESSFUL_COMPLETION, notice);
    Ok(TAG.into())
}

fn define(
    session: &mut Session,
    scope: &Arc<Scope>,
    create: &CreateIndex,
    object: &Object,
    def: &TableDef,
) -> Result<IndexDef> {
    let mut keys = vec![];
    for key in &create.keys {
        keys.push(key_of(session, scope, object, def, key)?);
    }
    let mut include = vec![];
    for name in &create.include {
        let column = def.column(name).ok_or_else(|| undefined(name))?;
        include.push(column.id);
    }
    if create.unique {
        let ids: Option<Vec<i32>> = keys.iter().map(|key: &IndexKey| key.column).collect();
        let Some(ids) = ids.filter(|_| create.predicate.is_none()) else {
            return Err(Error::unsupported("a unique index of expressions or with WHERE is not supported")
                .hint("Add the expression to the table as a column, and make that unique."));
        };
        if create.method != "btree" {
            let message = format!("access method \"{}\" does not support unique indexes", create.method);
            return Err(Error::unsupported(message));
        }
        constraint::check_unique(def, &ids, create.table.offset)?;
    }
    if let Some(predicate) = &create.predicate {
        let planner = Arc::clone(&session.planner);
        let schema = DFSchema::try_from_qualified_schema(object.name.as_str(), &def.schema())?;
        let condition = planner.expression(scope, &schema, &predicate.ast)?;
        let sql_type = planner.type_of(&condition, &schema)?;
        if !matches!(sql_type, SqlType::Bool | SqlType::Unknown) {
            let message = format!("argument of WHERE must be type boolean, not type {}", sql_type.name());
            return Err(Error::new(SqlState::DATATYPE_MISMATCH, message).at(predicate.offset));
        }
    }
    let name = match &create.name {
        Some(name) => name.clone(),
        None => {
            let columns: Vec<_> = create.keys.iter().map(key_name).chain(create.include.iter().cloned()).collect();
            let columns = columns.join("_");
            sequence::chosen_name(&object.name, Some(&columns), "idx", |name| is_free(session, object.parent, name))
        }
    };
    Ok(IndexDef {
        oid: session.instance.store.next_oid(),
        name,
        method: create.method.clone(),
        keys,
        include,
        parameters: create.parameters.clone(),
        predicate: create.predicate.as_ref().map(|predicate| predicate.text.clone()),
        unique: create.unique,
        is_constraint: false,
    })
}

/// What a key adds to the name of its index: the column, a function's name, or `expr`.
fn key_name(key: &IndexKeySyntax) -> String {
    use datafusion::sql::sqlparser::ast;
    match (&key.column, key.expression.as_ref().map(|expression| &expression.ast)) {
        (Some(column), _) => column.clone(),
        (None, Some(ast::Expr::Function(function))) => {
            let name = function.name.0.last().and_then(ast::ObjectNamePart::as_ident);
            name.map_or_else(|| "expr".to_owned(), |name| name.value.to_lowercase())
        }
        _ => "expr".to_owned(),
    }
}

fn undefined(column: &str) -> Error {
    Error::new(SqlState::UNDEFINED_COLUMN, format!("column \"{column}\" does not exist"))
}

fn key_of(
    session: &mut Session,
    scope: &Arc<Scope>,
    object: &Object,
    def: &TableDef,
    key: &IndexKeySyntax,
) -> Result<IndexKey> {
    let mut made = IndexKey {
        class: key.class.clone(),
        descending: key.descending,
        nulls_first: key.nulls_first,
        ..IndexKey::default()
    };
    if let Some(name) = &key.column {
        made.column = Some(def.column(name).ok_or_else(|| undefined(name))?.id);
    }
    if let Some(expression) = &key.expression {
        let planner = Arc::clone(&session.planner);
        let schema = DFSchema::try_from_qualified_schema(object.name.as_str(), &def.schema())?;
        planner.expression(scope, &schema, &expression.ast)?;
        made.expression = Some(expression.text.clone());
    }
    Ok(made)
}

/// What an index does for its table here.
fn notice(index: &IndexDef, def: &TableDef) -> String {
    let name = &index.name;
    if index.unique {
        return format!("index \"{name}\" is enforced when rows are written");
    }
    let first = index.keys.first().and_then(|key| def.column_with_id(key.column?)).map(|(_, column)| column);
    match first {
        Some(column) if has_bloom_filter(column) => {
            format!("index \"{name}\": new files get a bloom filter of column \"{}\"", column.name)
        }
        Some(column) => {
            format!(
                "index \"{name}\" is kept as a declaration: files have the bounds of column \"{}\" already",
                column.name
            )
        }
        None => format!("index \"{name}\" is kept as a declaration: nothing is stored for expressions"),
    }
}

/// True for a column of which files get a bloom filter where an index asks for it.
fn has_bloom_filter(column: &ColumnDef) -> bool {
    matches!(column.data_type, DataType::Utf8View | DataType::Int64 | DataType::Int32)
}

/// True if a relation or index of that name could be made in that schema.
pub(super) fn is_free(session: &mut Session, schema: Oid, name: &str) -> bool {
    let (main, temp) = names::catalogs(session);
    let catalog = if schema == TEMP_SCHEMA { temp } else { main };
    catalog.find(schema, NameClass::Relation, name).is_none() && catalog.table_of_index(schema, name).is_none()
}

/// 42P07 if there is a relation or index of that name.
pub(super) fn require_free_name(session: &mut Session, schema: Oid, name: &str) -> Result<()> {
    if is_free(session, schema, name) {
        return Ok(());
    }
    Err(Error::new(SqlState::DUPLICATE_TABLE, format!("relation \"{name}\" already exists")))
}

/// The table of an index by name, and the index's place; `None`: there is none. Primary keys are found too, without a place.
fn find(session: &mut Session, name: &Name) -> Result<Option<(Arc<Object>, Option<usize>)>> {
    let (main, temp) = names::catalogs(session);
    let index = name.last();
    for schema in names::schemas_of(session, name)? {
        let catalog = if schema == TEMP_SCHEMA { &temp } else { &main };
        if let Some(table) = catalog.table_of_index(schema, index)
            && let Body::Table(def) = &table.body
        {
            return Ok(Some((Arc::clone(table), def.indexes.iter().position(|own| own.name == index))));
        }
    }
    Ok(None)
}

/// DROP INDEX
pub(super) fn drop(session: &mut Session, list: &[Name], if_exists: bool) -> Result<String> {
    const TAG: &str = "DROP INDEX";
    session.require_writable(TAG)?;
    for name in list {
        let Some((table, place)) = find(session, name)? else {
            if let Some(other) = names::find_relation(session, name)?
                && let Some(kind) = RelationKind::of(&other.body)
            {
                return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{}\" is not an index", other.name))
                    .hint(format!("Use DROP {} to remove a {}.", kind.word(), kind.noun())));
            }
            let message = format!("index \"{name}\" does not exist");
            if !if_exists {
                return Err(Error::new(SqlState::UNDEFINED_OBJECT, message));
            }
            session.notice("NOTICE", SqlState::SUCCESSFUL_COMPLETION, format!("{message}, skipping"));
            continue;
        };
        names::require_owner(session, &table)?;
        let Body::Table(def) = &table.body else { continue };
        let Some(place) = place.filter(|place| !def.indexes[*place].is_constraint) else {
            let constraint = constraint::described(name.last(), &table);
            let message = format!("cannot drop index {} because {constraint} requires it", quote_ident(name.last()));
            return Err(Error::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message)
                .hint(format!("You can drop {constraint} instead.")));
        };
        let mut def = TableDef::clone(def);
        let index = def.indexes.remove(place);
        let mut changes = vec![];
        let what = format!("index {}", quote_ident(&index.name));
        constraint::unrefer(session, &table, &mut def, &what, &what, false, &mut changes, |key| {
            key.index == index.oid
        })?;
        changes.insert(0, Change::Put(constraint::with_definition(&table, def)));
        session.apply(changes)?;
    }
    Ok(TAG.into())
}

/// ALTER INDEX: RENAME; its storage options mean nothing here.
pub(super) fn alter(session: &mut Session, name: &Name, if_exists: bool, actions: &[AlterTable]) -> Result<String> {
    const TAG: &str = "ALTER INDEX";
    session.require_writable(TAG)?;
    let Some((table, place)) = find(session, name)? else {
        if let Some(other) = names::find_relation(session, name)? {
            return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{}\" is not an index", other.name)));
        }
        let message = format!("relation \"{name}\" does not exist");
        if !if_exists {
            return Err(Error::new(SqlState::UNDEFINED_TABLE, message));
        }
        session.notice("NOTICE", SqlState::UNDEFINED_TABLE, format!("{message}, skipping"));
        return Ok(TAG.into());
    };
    names::require_owner(session, &table)?;
    for action in actions {
        match (action, place, &table.body) {
            (AlterTable::Rename(to), Some(place), Body::Table(def)) => {
                require_free_name(session, table.parent, to)?;
                let mut def = TableDef::clone(def);
                to.clone_into(&mut def.indexes[place].name);
                session.apply(vec![Change::Put(constraint::with_definition(&table, def))])?;
            }
            (AlterTable::Rename(to), None, Body::Table(def)) => {
                require_free_name(session, table.parent, to)?;
                let mut def = TableDef::clone(def);
                def.set_key_name(&table.name, Some(to));
                session.apply(vec![Change::Put(constraint::with_definition(&table, def))])?;
            }
            (AlterTable::SetOptions(_) | AlterTable::ResetOptions(_), ..) => {}
            _ => return Err(Error::unsupported("ALTER INDEX does nothing but RENAME")),
        }
    }
    Ok(TAG.into())
}

/// REINDEX
pub(super) fn reindex(session: &mut Session, kind: Option<RelationKind>, name: Option<&Name>) -> Result<String> {
    match (kind, name) {
        (Some(RelationKind::Index), Some(name)) => {
            let missing = || Error::new(SqlState::UNDEFINED_TABLE, format!("relation \"{name}\" does not exist"));
            find(session, name)?.ok_or_else(missing)?;
        }
        (Some(_), Some(name)) => {
            names::table(session, name)?;
        }
        _ => {}
    }
    session.notice("NOTICE", SqlState::SUCCESSFUL_COMPLETION, "indexes are declarations: there is nothing to rebuild");
    Ok("REINDEX".to_owned())
}

/// True if an index is about a column.
pub(super) fn mentions(index: &IndexDef, column: &ColumnDef) -> Result<bool> {
    if index.include.contains(&column.id) || index.keys.iter().any(|key| key.column == Some(column.id)) {
        return Ok(true);
    }
    let texts = index.keys.iter().filter_map(|key| key.expression.as_ref()).chain(&index.predicate);
    for text in texts {
        if table::mentions(text, &column.name)? {
            return Ok(true);
        }
    }
    Ok(false)
}
