//! UNIQUE and FOREIGN KEY: declared, dropped, renamed. Unique keys are enforced (`keys.rs`), foreign keys are information.

use std::sync::Arc;

use tidemill_catalog::Oid;
use tidemill_catalog::record::{
    Body, Change, ColumnDef, ForeignKeyDef, IndexDef, IndexKey, Object, TableDef, UniqueKey,
};
use tidemill_catalog::snapshot::Catalog;
use tidemill_udfs::types::SqlType;

use super::control::{AlterTable, ColumnSyntax, Name};
use super::trees::{ForeignKeySyntax, UniqueSyntax};
use super::{index, names, sequence, table};
use crate::error::SqlState;
use crate::plan::system::quote_ident;
use crate::plan::{Scope, TEMP_SCHEMA};
use crate::session::Session;
use crate::session::transaction::is_temporary;
use crate::{Error, Result};

/// Adds UNIQUE to a definition. The rows that are there are not looked at: see [`require_unique`].
pub(super) fn add_unique(
    session: &mut Session,
    object: &Object,
    def: &mut TableDef,
    syntax: &UniqueSyntax,
) -> Result<UniqueKey> {
    let table = &object.name;
    let ids = columns_of(def, &syntax.columns, syntax.offset)?;
    let include = columns_of(def, &syntax.include, syntax.offset)?;
    check_unique(def, &ids, syntax.offset)?;
    let columns = syntax.columns.join("_");
    let name = match &syntax.name {
        Some(name) => {
            index::require_free_name(session, object.parent, name)?;
            require_free_name(def, table, name)?;
            name.clone()
        }
        None => sequence::chosen_name(table, Some(&columns), "key", |name| {
            !is_taken(def, name) && index::is_free(session, object.parent, name)
        }),
    };
    let keys = ids.iter().map(|id| IndexKey { column: Some(*id), ..IndexKey::default() }).collect();
    def.indexes.push(IndexDef {
        oid: session.instance.store.next_oid(),
        name,
        method: "btree".to_owned(),
        keys,
        include,
        parameters: vec![],
        predicate: None,
        unique: true,
        is_constraint: true,
    });
    def.unique_keys().pop().ok_or_else(|| Error::internal("a key that is none"))
}

/// The constraints that ADD COLUMN says of its column, to be added once that is there.
pub(super) fn of_column(column: &ColumnSyntax) -> Vec<AlterTable> {
    let primary = column
        .primary_key
        .then(|| AlterTable::AddPrimaryKey { name: column.key_name.clone(), columns: vec![column.name.clone()] });
    let unique = column.unique.iter().cloned().map(AlterTable::AddUnique);
    let references = column.foreign_keys.iter().cloned().map(|key| AlterTable::AddForeignKey(Box::new(key)));
    primary.into_iter().chain(unique).chain(references).collect()
}

/// What keys that are enforced cannot be.
///
/// # Errors
/// 0A000 for a table that keeps the latest row of each key, 42701, 42704.
pub(super) fn check_unique(def: &TableDef, ids: &[i32], offset: usize) -> Result<()> {
    if def.options.upsert.is_some() {
        let message = "a table with tidemill.upsert has no other unique constraint than its primary key";
        return Err(Error::unsupported(message).at(offset));
    }
    for (at, id) in ids.iter().enumerate() {
        let Some((_, column)) = def.column_with_id(*id) else { continue };
        if ids[..at].contains(id) {
            let message = format!("column \"{}\" appears twice in unique constraint", column.name);
            return Err(Error::new(SqlState::DUPLICATE_COLUMN, message).at(offset));
        }
        table::check_key_column(column)?;
    }
    Ok(())
}

/// The ids of columns by name.
fn columns_of(def: &TableDef, names: &[String], offset: usize) -> Result<Vec<i32>> {
    let id = |name: &String| {
        def.column(name).map(|column| column.id).ok_or_else(|| {
            let message = format!("column \"{name}\" named in key does not exist");
            Error::new(SqlState::UNDEFINED_COLUMN, message).at(offset)
        })
    };
    names.iter().map(id).collect()
}

/// 23505 if two rows have the same values in the columns of a new key. Those with a NULL are like no other.
pub(super) async fn require_unique(
    session: &mut Session,
    scope: &Arc<Scope>,
    object: &Object,
    def: &TableDef,
    key: &UniqueKey,
) -> Result<()> {
    let state = table::state(session, object.oid)?;
    let planner = Arc::clone(&session.planner);
    let keyed = def.with_key(&key.columns);
    if let Some(values) = planner.repeated_key(scope, &object.name, &state, &keyed).await? {
        let name = def.indexes.iter().find(|index| index.oid == key.index).map_or("", |index| &index.name);
        return Err(Error::new(SqlState::UNIQUE_VIOLATION, format!("could not create unique index \"{name}\""))
            .detail(format!("Key ({})=({}) is duplicated.", quoted(&keyed.primary_key), values.join(", "))));
    }
    Ok(())
}

/// Names of columns as a message lists them.
pub(super) fn quoted(names: &[String]) -> String {
    names.iter().map(|name| quote_ident(name)).collect::<Vec<_>>().join(", ")
}

/// True for the name of a constraint that the table has.
fn is_taken(def: &TableDef, name: &str) -> bool {
    def.checks.iter().any(|check| check.name == name)
        || def.foreign_keys.iter().any(|key| key.name == name)
        || def.indexes.iter().any(|index| index.name == name)
}

/// 42710 for the name of a constraint that the table has.
pub(super) fn require_free_name(def: &TableDef, table: &str, name: &str) -> Result<()> {
    if is_taken(def, name) || def.key_name(table).is_some_and(|own| own == name) {
        let message = format!("constraint \"{name}\" for relation \"{table}\" already exists");
        return Err(Error::new(SqlState::DUPLICATE_OBJECT, message));
    }
    Ok(())
}

/// Adds FOREIGN KEY to a definition, and says that nobody enforces it.
pub(super) fn add_foreign_key(
    session: &mut Session,
    object: &Object,
    def: &mut TableDef,
    syntax: &ForeignKeySyntax,
) -> Result<()> {
    let table = &object.name;
    let find = |def: &TableDef, name: &String| {
        def.column(name).cloned().ok_or_else(|| {
            let message = format!("column \"{name}\" referenced in foreign key constraint does not exist");
            Error::new(SqlState::UNDEFINED_COLUMN, message)
        })
    };
    let referenced = names::relation(session, &syntax.table)?;
    let Body::Table(other) = &referenced.body else {
        let message = format!("referenced relation \"{}\" is not a table", referenced.name);
        return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message));
    };
    // A table's reference to itself sees the definition as it is to be.
    let other = if referenced.oid == object.oid { def.clone() } else { TableDef::clone(other) };
    require_same_life(object, &referenced)?;
    let columns = syntax.columns.iter().map(|name| find(def, name)).collect::<Result<Vec<ColumnDef>>>()?;
    let key = if syntax.key.is_empty() {
        if other.primary_key.is_empty() {
            let message = format!("there is no primary key for referenced table \"{}\"", referenced.name);
            return Err(Error::new(SqlState::UNDEFINED_OBJECT, message));
        }
        other.primary_key.clone()
    } else {
        syntax.key.clone()
    };
    let key = key.iter().map(|name| find(&other, name)).collect::<Result<Vec<ColumnDef>>>()?;
    if columns.len() != key.len() {
        let message = "number of referencing and referenced columns for foreign key disagree";
        return Err(Error::new(SqlState::INVALID_FOREIGN_KEY, message));
    }
    let unique = unique_key_of(&other, &key).ok_or_else(|| {
        let message =
            format!("there is no unique constraint matching given keys for referenced table \"{}\"", referenced.name);
        Error::new(SqlState::INVALID_FOREIGN_KEY, message)
    })?;
    let name = match &syntax.name {
        Some(name) => {
            require_free_name(def, table, name)?;
            name.clone()
        }
        None => {
            let columns = syntax.columns.join("_");
            sequence::chosen_name(table, Some(&columns), "fkey", |name| !is_taken(def, name))
        }
    };
    for (column, key) in columns.iter().zip(&key) {
        let (from, to) = (SqlType::of_stored(&column.sql_type)?, SqlType::of_stored(&key.sql_type)?);
        if !crate::plan::comparable(&from, &to) {
            let message = format!("foreign key constraint \"{name}\" cannot be implemented");
            let (own, its) = (&column.name, &key.name);
            let (from, to) = (from.plain_name(), to.plain_name());
            let detail = format!("Key columns \"{own}\" and \"{its}\" are of incompatible types: {from} and {to}.");
            return Err(Error::new(SqlState::DATATYPE_MISMATCH, message).detail(detail));
        }
    }
    let notice = format!("foreign key constraint \"{name}\" is declared, but not enforced");
    session.notice("NOTICE", SqlState::SUCCESSFUL_COMPLETION, notice);
    def.foreign_keys.push(ForeignKeyDef {
        oid: session.instance.store.next_oid(),
        name,
        columns: columns.iter().map(|column| column.id).collect(),
        table: referenced.oid,
        key: key.iter().map(|column| column.id).collect(),
        index: unique.index,
        on_update: syntax.on_update,
        on_delete: syntax.on_delete,
        match_full: syntax.match_full,
        deferrable: syntax.deferrable,
        deferred: syntax.deferred,
    });
    Ok(())
}

/// 42P16 for a reference between what lasts and what does not.
fn require_same_life(object: &Object, referenced: &Object) -> Result<()> {
    let message = match (is_temporary(object.oid), is_temporary(referenced.oid)) {
        (false, true) => "constraints on permanent tables may reference only permanent tables",
        (true, false) => "constraints on temporary tables may reference only temporary tables",
        _ => return Ok(()),
    };
    Err(Error::new(SqlState::INVALID_TABLE_DEFINITION, message))
}

/// The key of a table that has exactly these columns, in whatever order.
fn unique_key_of(def: &TableDef, columns: &[ColumnDef]) -> Option<UniqueKey> {
    let mut wanted: Vec<i32> = columns.iter().map(|column| column.id).collect();
    wanted.sort_unstable();
    def.unique_keys().into_iter().find(|key| {
        let mut have: Vec<i32> = key.columns.iter().map(|place| def.columns[*place].id).collect();
        have.sort_unstable();
        have == wanted
    })
}

/// Drops a constraint of the table; false if it has none of that name.
///
/// # Errors
/// 2BP01 for a key that foreign keys refer to, without CASCADE.
pub(super) fn drop(
    session: &mut Session,
    object: &Object,
    def: &mut TableDef,
    name: &str,
    cascade: bool,
    after: &mut Vec<Change>,
) -> Result<bool> {
    let before = (def.checks.len(), def.foreign_keys.len());
    def.checks.retain(|check| check.name != name);
    def.foreign_keys.retain(|key| key.name != name);
    if (def.checks.len(), def.foreign_keys.len()) != before {
        return Ok(true);
    }
    let is_primary = def.key_name(&object.name).is_some_and(|own| own == name);
    if is_primary && def.options.upsert.is_some() {
        return Err(Error::unsupported("a table with tidemill.upsert keeps its primary key"));
    }
    let is_it = |index: &IndexDef| index.is_constraint && index.name == name;
    let index = match def.indexes.iter().find(|index| is_it(index)) {
        Some(index) => index.oid,
        None if is_primary => 0,
        None => return Ok(false),
    };
    let what = described(name, object);
    unrefer(session, object, def, &what, &format!("index {}", quote_ident(name)), cascade, after, |key| {
        key.index == index
    })?;
    if is_primary {
        def.primary_key.clear();
        def.primary_key_name = None;
    } else {
        def.indexes.retain(|index| !is_it(index));
    }
    Ok(true)
}

/// `constraint c on table t`
pub(super) fn described(constraint: &str, table: &Object) -> String {
    format!("constraint {} on table {}", quote_ident(constraint), quote_ident(&table.name))
}

/// Drops the foreign keys that refer to a key or column of the table, those of the table itself among them.
///
/// # Errors
/// 2BP01 without CASCADE.
#[expect(clippy::too_many_arguments, reason = "they are what is dropped, how it is called, and what goes with it")]
pub(super) fn unrefer(
    session: &mut Session,
    object: &Object,
    def: &mut TableDef,
    what: &str,
    on: &str,
    cascade: bool,
    after: &mut Vec<Change>,
    is_about: impl Fn(&ForeignKeyDef) -> bool,
) -> Result<()> {
    let (main, temp) = names::catalogs(session);
    let mut found: Vec<String> = vec![];
    let is_gone = |key: &ForeignKeyDef| key.table == object.oid && is_about(key);
    for other in referring(&[&main, &temp], object.oid) {
        let Body::Table(other_def) = &other.body else { continue };
        let own = other.oid == object.oid;
        let mut changed = if own { def.clone() } else { TableDef::clone(other_def) };
        let gone = changed.foreign_keys.iter().filter(|key| is_gone(key));
        found.extend(gone.map(|key| described(&key.name, &other)));
        changed.foreign_keys.retain(|key| !is_gone(key));
        if own {
            *def = changed;
        } else if changed.foreign_keys.len() < other_def.foreign_keys.len() {
            after.push(Change::Put(with_definition(&other, changed)));
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    if !cascade {
        let lines: Vec<_> = found.iter().map(|constraint| format!("{constraint} depends on {on}")).collect();
        return Err(Error::new(
            SqlState::DEPENDENT_OBJECTS_STILL_EXIST,
            format!("cannot drop {what} because other objects depend on it"),
        )
        .detail(lines.join("\n"))
        .hint("Use DROP ... CASCADE to drop the dependent objects too."));
    }
    session.notice_cascade(&found);
    Ok(())
}

/// The tables with foreign keys to a table.
fn referring(catalogs: &[&Catalog], table: Oid) -> Vec<Arc<Object>> {
    let all = catalogs.iter().flat_map(|catalog| catalog.objects.values());
    let refers = |object: &&Arc<Object>| match &object.body {
        Body::Table(def) => def.foreign_keys.iter().any(|key| key.table == table),
        _ => false,
    };
    all.filter(refers).cloned().collect()
}

/// The next version of a table, with another definition.
pub(super) fn with_definition(object: &Object, def: TableDef) -> Arc<Object> {
    names::changed(object, |object| {
        object.depends_on = def.dependencies(object.oid);
        object.body = Body::Table(Arc::new(def));
    })
}

/// Gives a new primary key the name that is wanted, or the table's with `_pkey`, with a number where that is not free.
///
/// # Errors
/// 42P07 for a name that is not free.
pub(super) fn name_key(
    session: &mut Session,
    schema: Oid,
    table: &str,
    def: &mut TableDef,
    name: Option<&str>,
) -> Result<()> {
    if def.primary_key.is_empty() {
        return Ok(());
    }
    let name = match name {
        Some(name) => {
            index::require_free_name(session, schema, name)?;
            name.to_owned()
        }
        None => sequence::chosen_name(table, None, "pkey", |name| index::is_free(session, schema, name)),
    };
    def.set_key_name(table, Some(&name));
    Ok(())
}

/// A table by another name; its key's constraint keeps its own.
pub(super) fn with_table_name(table: &Arc<Object>, to: &str) -> Arc<Object> {
    names::changed(table, |object| {
        let old = std::mem::replace(&mut object.name, to.to_owned());
        if let Body::Table(def) = &object.body
            && let Some(name) = def.key_name(&old)
        {
            let mut renamed = TableDef::clone(def);
            renamed.set_key_name(to, Some(&name));
            object.body = Body::Table(Arc::new(renamed));
        }
    })
}

/// SET CONSTRAINTS: no constraint waits for the end of a transaction, so there is nothing to do but to know them.
///
/// # Errors
/// 42704 for the name of none.
pub(super) fn set(session: &mut Session, constraints: &[Name]) -> Result<String> {
    let (main, temp) = names::catalogs(session);
    for name in constraints {
        let mut is_known = false;
        for schema in names::schemas_of(session, name)? {
            let catalog = if schema == TEMP_SCHEMA { &temp } else { &main };
            is_known |= catalog.children(schema).any(|table| match &table.body {
                Body::Table(def) => {
                    is_taken(def, name.last()) || def.key_name(&table.name).is_some_and(|own| own == name.last())
                }
                _ => false,
            });
        }
        if !is_known {
            let message = format!("constraint \"{}\" does not exist", name.last());
            return Err(Error::new(SqlState::UNDEFINED_OBJECT, message));
        }
    }
    Ok("SET CONSTRAINTS".to_owned())
}

/// RENAME CONSTRAINT
pub(super) fn rename(session: &mut Session, object: &Object, def: &mut TableDef, from: &str, to: &str) -> Result<()> {
    require_free_name(def, &object.name, to)?;
    if let Some(check) = def.checks.iter_mut().find(|check| check.name == from) {
        to.clone_into(&mut check.name);
    } else if let Some(key) = def.foreign_keys.iter_mut().find(|key| key.name == from) {
        to.clone_into(&mut key.name);
    } else if let Some(index) = def.indexes.iter_mut().find(|index| index.is_constraint && index.name == from) {
        index::require_free_name(session, object.parent, to)?;
        to.clone_into(&mut index.name);
    } else if def.key_name(&object.name).is_some_and(|own| own == from) {
        index::require_free_name(session, object.parent, to)?;
        def.set_key_name(&object.name, Some(to));
    } else {
        let message = format!("constraint \"{from}\" for table \"{}\" does not exist", object.name);
        return Err(Error::new(SqlState::UNDEFINED_OBJECT, message));
    }
    Ok(())
}

/// What of a table's constraints goes with one of its columns.
pub(super) fn drop_with_column(
    session: &mut Session,
    object: &Object,
    def: &mut TableDef,
    column: &ColumnDef,
    cascade: bool,
    after: &mut Vec<Change>,
) -> Result<()> {
    let what = format!("column {} of table {}", quote_ident(&column.name), quote_ident(&object.name));
    unrefer(session, object, def, &what, &what, cascade, after, |key| key.key.contains(&column.id))?;
    def.foreign_keys.retain(|key| !key.columns.contains(&column.id));
    let mut kept = vec![];
    for index in std::mem::take(&mut def.indexes) {
        if !index::mentions(&index, column)? {
            kept.push(index);
        }
    }
    def.indexes = kept;
    Ok(())
}
