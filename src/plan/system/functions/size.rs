//! Sizes of relations and databases, and counters of tables.

use tidemill_catalog::record::Body;

use super::{Call, Function, function};
use crate::error::{Error, Result, SqlState};
use crate::plan::system::batch::Value;
use crate::plan::system::objects;

pub(super) const FUNCTIONS: &[Function] = &[
    function("pg_relation_size", 1, 2, "int8", relation_size),
    function("pg_table_size", 1, 1, "int8", relation_size),
    function("pg_total_relation_size", 1, 1, "int8", relation_size),
    function("pg_indexes_size", 1, 1, "int8", |call| {
        let oid = call.relation(0)?;
        Ok(objects::find_relation(call.scope, oid).map(|_| 0).into())
    }),
    function("pg_database_size", 1, 1, "int8", database_size),
    function("pg_tablespace_size", 1, 1, "int8", |call| {
        let databases = objects::databases(call.scope).map(|database| database_bytes(call, database.oid));
        Ok(databases.sum::<u64>().into())
    }),
    function("pg_relation_filenode", 1, 1, "oid", |call| {
        let oid = call.relation(0)?;
        let rel = objects::find_relation(call.scope, oid).filter(|rel| rel.relkind() != "v");
        Ok(rel.map(|rel| rel.oid).into())
    }),
    function("pg_relation_filepath", 1, 1, "text", |call| {
        let rel = objects::find_relation(call.scope, call.relation(0)?);
        let table = rel.filter(|rel| rel.table().is_some() && !rel.temporary);
        Ok(table.map(|rel| call.scope.instance.store.table_dir(rel.oid).display().to_string()).into())
    }),
    function("pg_stat_get_live_tuples", 1, 1, "int8", |call| {
        Ok(objects::table_size(call.scope, call.oid(0)?).0.into())
    }),
    function("pg_stat_get_dead_tuples", 1, 1, "int8", |_| Ok(0.into())),
    function("pg_stat_get_numscans", 1, 1, "int8", |_| Ok(0.into())),
    function("pg_stat_get_tuples_inserted", 1, 1, "int8", |_| Ok(0.into())),
    function("pg_stat_get_tuples_updated", 1, 1, "int8", |_| Ok(0.into())),
    function("pg_stat_get_tuples_deleted", 1, 1, "int8", |_| Ok(0.into())),
    function("pg_stat_get_db_numbackends", 1, 1, "int4", |call| {
        let oid = call.oid(0)?;
        let sessions = call.scope.instance.sessions.lock();
        Ok(sessions.values().filter(|handle| handle.activity.lock().database.1 == oid).count().into())
    }),
];

/// Bytes of a table's files and hot rows; NULL if there is no such relation.
fn relation_size(call: &Call<'_>) -> Result<Value<'static>> {
    let oid = call.relation(0)?;
    if let Some(fork) = call.text(1).filter(|fork| !["main", "fsm", "vm", "init"].contains(fork)) {
        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, "invalid fork name")
            .hint(format!("Valid fork names are \"main\", \"fsm\", \"vm\", and \"init\", not \"{fork}\".")));
    }
    let is_main = call.text(1).is_none_or(|fork| fork == "main");
    let rel = objects::find_relation(call.scope, oid);
    Ok(rel.map(|rel| if is_main { objects::table_size(call.scope, rel.oid).1 } else { 0 }).into())
}

fn database_size(call: &Call<'_>) -> Result<Value<'static>> {
    let mut databases = objects::databases(call.scope);
    let database = match call.text(0) {
        Some(name) => databases
            .find(|database| database.name == name)
            .ok_or_else(|| Error::new(SqlState::INVALID_CATALOG_NAME, format!("database \"{name}\" does not exist")))?,
        None => {
            let oid = call.oid(0)?;
            match databases.find(|database| database.oid == oid) {
                Some(database) => database,
                None => return Ok(Value::Null),
            }
        }
    };
    Ok(database_bytes(call, database.oid).into())
}

fn database_bytes(call: &Call<'_>, database: u32) -> u64 {
    let catalog = &call.scope.snapshot.catalog;
    let tables = catalog.children(database).flat_map(|schema| catalog.children(schema.oid));
    let tables = tables.filter(|object| matches!(object.body, Body::Table(_)));
    tables.map(|table| objects::table_size(call.scope, table.oid).1).sum()
}
