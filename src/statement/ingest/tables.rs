//! Tables of our own in the schema `tidemill`: ordinary ones of the database, made when there is something to put into them.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::error::DataFusionError;
use tidemill_catalog::Oid;
use tidemill_catalog::record::{Body, Change, ColumnDef, NewChunk, Object, TableDef, Write};
use tidemill_catalog::snapshot::NameClass;
use tidemill_udfs::types::SqlType;

use super::super::{names, options};
use crate::Result;
use crate::session::Session;

/// Where the tables are. Users cannot make a schema of this name.
pub(super) const SCHEMA: &str = "tidemill";

/// A table of the schema: its name and columns.
pub(super) type Table<'t> = (&'t str, &'t [(&'t str, SqlType)]);

/// The table of that name, if the database has it.
pub(super) fn find(session: &mut Session, name: &str) -> Option<Arc<Object>> {
    let (main, _) = names::catalogs(session);
    let schema = main.find(session.database, NameClass::Schema, SCHEMA)?.oid;
    main.find(schema, NameClass::Relation, name).cloned()
}

/// Adds the changes that make a table, and the schema, where they are missing. Its oid: `fresh`, or a new one, if it is made.
pub(super) fn require(
    session: &mut Session,
    name: &str,
    def: &TableDef,
    fresh: Option<Oid>,
    changes: &mut Vec<Change>,
) -> Oid {
    let (main, _) = names::catalogs(session);
    let owner = main.get(session.database).map_or(session.login_role, |database| database.owner);
    let object = |oid, parent, name: &str, body| {
        let name = name.to_owned();
        let (comment, acl, depends_on) = (None, vec![], vec![]);
        Change::Put(Arc::new(Object { oid, parent, name, owner, version: 1, comment, acl, depends_on, body }))
    };
    let made = |changes: &[Change], parent: Oid, name: &str| {
        changes.iter().find_map(|change| match change {
            Change::Put(object) if object.name == name && object.parent == parent => Some(object.oid),
            _ => None,
        })
    };
    let known = main.find(session.database, NameClass::Schema, SCHEMA).map(|schema| schema.oid);
    let schema = known.or_else(|| made(changes, session.database, SCHEMA)).unwrap_or_else(|| {
        let oid = session.fresh_oid(false);
        changes.push(object(oid, session.database, SCHEMA, Body::Schema {}));
        oid
    });
    let known = main.find(schema, NameClass::Relation, name).map(|table| table.oid);
    known.or_else(|| made(changes, schema, name)).unwrap_or_else(|| {
        let oid = fresh.unwrap_or_else(|| session.fresh_oid(false));
        changes.push(object(oid, schema, name, Body::Table(Arc::new(def.clone()))));
        oid
    })
}

/// Adds the change that adds few rows to one of the tables.
pub(super) fn append(
    session: &mut Session,
    (name, columns): Table<'_>,
    arrays: Vec<ArrayRef>,
    changes: &mut Vec<Change>,
) -> Result<()> {
    let def = definition(columns)?;
    let table = require(session, name, &def, None, changes);
    let batch = RecordBatch::try_new(def.schema(), arrays).map_err(DataFusionError::from)?;
    let chunk = NewChunk { id: session.instance.store.next_chunk_id(), batch };
    changes.push(Change::Write(Write {
        table,
        add_chunks: vec![Arc::new(chunk)],
        data_change: true,
        ..Write::default()
    }));
    Ok(())
}

/// A table of these columns.
pub(super) fn definition(columns: &[(&str, SqlType)]) -> Result<TableDef> {
    let columns: Vec<ColumnDef> = (1..).zip(columns).map(|(id, (name, sql_type))| column(id, name, sql_type)).collect();
    let given = std::collections::BTreeMap::new();
    Ok(TableDef {
        options: options::resolve(&given, &columns, &[])?,
        next_column_id: i32::try_from(columns.len()).map_or(i32::MAX, |count| count + 1),
        columns,
        checks: vec![],
        indexes: vec![],
        foreign_keys: vec![],
        primary_key: vec![],
        primary_key_name: None,
        given_options: given,
        column_mapping: false,
    })
}

fn column(id: i32, name: &str, sql_type: &SqlType) -> ColumnDef {
    ColumnDef {
        id,
        name: name.to_owned(),
        physical_name: name.to_owned(),
        sql_type: sql_type.name(),
        data_type: sql_type.data_type(),
        nullable: true,
        default: None,
        missing_value: None,
        user_type: None,
        sequence: None,
        source_field: None,
        comment: None,
    }
}
