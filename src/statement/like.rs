//! LIKE in CREATE TABLE: what of another relation comes into the new table.

use std::sync::Arc;

use tidemill_catalog::Oid;
use tidemill_catalog::acl::Privileges;
use tidemill_catalog::record::{Body, CheckDef, ColumnDef, IndexDef, IndexKey, Object, TableDef};

use super::control::CreateTable;
use super::trees::{Including, LikeSyntax, UniqueSyntax};
use super::{index, names, sequence};
use crate::error::SqlState;
use crate::session::Session;
use crate::{Error, Result};

/// A table or view that a new table is to be like.
pub(super) struct Source(Arc<Object>);

/// The relation that LIKE names.
///
/// # Errors
/// 42P01, 42809; 42501 without SELECT.
pub(super) fn source(session: &mut Session, like: &LikeSyntax) -> Result<Source> {
    let object = names::relation(session, &like.name)?;
    match &object.body {
        Body::Table(_) | Body::View(_) => {
            names::require(session, &object, Privileges::SELECT)?;
            Ok(Source(object))
        }
        _ => {
            let message = format!("relation \"{}\" is invalid in LIKE clause", object.name);
            Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message).at(like.name.offset))
        }
    }
}

impl Source {
    /// Its columns, with ids and sequences still its own.
    pub(super) fn columns(&self, including: &Including) -> Vec<ColumnDef> {
        let columns = match &self.0.body {
            Body::Table(def) => &def.columns,
            Body::View(view) => &view.columns,
            _ => return vec![],
        };
        let copied = |column: &ColumnDef| {
            let is_kept = if column.is_identity() { including.identity } else { including.defaults };
            ColumnDef {
                default: column.default.clone().filter(|_| including.defaults),
                sequence: column.sequence.filter(|_| is_kept),
                missing_value: None,
                source_field: None,
                comment: column.comment.clone().filter(|_| including.comments),
                physical_name: column.name.clone(),
                ..column.clone()
            }
        };
        columns.iter().map(copied).collect()
    }

    /// Its primary key.
    pub(super) fn primary_key(&self) -> Vec<String> {
        match &self.0.body {
            Body::Table(def) => def.primary_key.clone(),
            _ => vec![],
        }
    }

    /// Its CHECKs, if they are included.
    pub(super) fn checks(&self, including: &Including, mut oid: impl FnMut() -> Oid) -> Vec<CheckDef> {
        match &self.0.body {
            Body::Table(def) if including.constraints => {
                def.checks.iter().map(|check| CheckDef { oid: oid(), ..check.clone() }).collect()
            }
            _ => vec![],
        }
    }
}

/// The unique constraints that LIKE … INCLUDING INDEXES brings, without their names.
pub(super) fn unique(session: &mut Session, create: &CreateTable) -> Result<Vec<UniqueSyntax>> {
    let mut all = vec![];
    for (object, offset) in included(session, create)? {
        let Body::Table(def) = &object.body else { continue };
        for index in def.indexes.iter().filter(|index| index.is_constraint) {
            let name = |id: &i32| def.column_with_id(*id).map(|(_, column)| column.name.clone());
            let columns = index.columns().unwrap_or_default().iter().filter_map(name).collect();
            let include = index.include.iter().filter_map(name).collect();
            all.push(UniqueSyntax { name: None, columns, include, offset });
        }
    }
    Ok(all)
}

/// The other indexes that it brings, for a new table's definition.
pub(super) fn indexes(
    session: &mut Session,
    create: &CreateTable,
    schema: Oid,
    new: &TableDef,
) -> Result<Vec<IndexDef>> {
    let mut all: Vec<IndexDef> = vec![];
    for (object, _) in included(session, create)? {
        let Body::Table(def) = &object.body else { continue };
        for index in def.indexes.iter().filter(|index| !index.is_constraint) {
            let here = |id: i32| Some(new.column(&def.column_with_id(id)?.1.name)?.id);
            let keys: Vec<IndexKey> =
                index.keys.iter().map(|key| IndexKey { column: key.column.and_then(here), ..key.clone() }).collect();
            let label = |key: &IndexKey| {
                let column = key.column.and_then(|id| new.column_with_id(id)).map(|(_, column)| column.name.clone());
                column.unwrap_or_else(|| "expr".to_owned())
            };
            let columns = keys.iter().map(label).collect::<Vec<_>>().join("_");
            let name = sequence::chosen_name(create.name.last(), Some(&columns), "idx", |name| {
                index::is_free(session, schema, name) && !all.iter().any(|other| other.name == name)
            });
            let include = index.include.iter().filter_map(|id| here(*id)).collect();
            all.push(IndexDef { oid: session.instance.store.next_oid(), name, keys, include, ..index.clone() });
        }
    }
    Ok(all)
}

/// The relations of which LIKE includes the indexes.
fn included(session: &mut Session, create: &CreateTable) -> Result<Vec<(Arc<Object>, usize)>> {
    let including = create.like.iter().filter(|like| like.including.indexes);
    including.map(|like| Ok((source(session, like)?.0, like.name.offset))).collect()
}
