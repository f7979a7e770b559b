//! CREATE and ALTER DATABASE and SCHEMA.

use std::sync::Arc;

use tidemill_catalog::record::{Body, Change, Object};
use tidemill_catalog::snapshot::NameClass;

use super::control::{AlterObject, Name};
use super::names;
use crate::error::SqlState;
use crate::session::Session;
use crate::{Error, Result};

pub(super) fn new_object(oid: u32, parent: u32, name: &str, owner: u32, body: Body) -> Arc<Object> {
    Arc::new(Object {
        oid,
        parent,
        name: name.to_owned(),
        owner,
        version: 1,
        comment: None,
        acl: vec![],
        depends_on: vec![],
        body,
    })
}

fn owner_of(session: &mut Session, owner: Option<&str>) -> Result<u32> {
    Ok(names::role(session, owner.unwrap_or("current_user"))?.oid)
}

pub(super) fn create(session: &mut Session, name: &Name, owner: Option<&str>) -> Result<String> {
    super::drop::refuse_in_block(session, "CREATE DATABASE")?;
    session.require_writable("CREATE DATABASE")?;
    let (_, role) = names::current_role(session)?;
    if !role.superuser && !role.create_db {
        return Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, "permission denied to create database"));
    }
    let (main, _) = names::catalogs(session);
    if main.find(0, NameClass::Database, name.last()).is_some() {
        return Err(Error::new(SqlState::DUPLICATE_DATABASE, format!("database \"{name}\" already exists")));
    }
    let owner = owner_of(session, owner)?;
    let database = session.fresh_oid(false);
    let public = session.fresh_oid(false);
    session.apply(vec![
        Change::Put(new_object(database, 0, name.last(), owner, Body::Database {})),
        Change::Put(new_object(public, database, "public", owner, Body::Schema {})),
    ])?;
    Ok("CREATE DATABASE".into())
}

pub(super) fn alter(session: &mut Session, name: &Name, action: &AlterObject) -> Result<String> {
    session.require_writable("ALTER DATABASE")?;
    let object = names::database(session, name)?;
    names::require_owner(session, &object)?;
    if let AlterObject::Rename(to) = action {
        if object.oid == session.database {
            return Err(Error::unsupported("current database cannot be renamed"));
        }
        let (main, _) = names::catalogs(session);
        if main.find(0, NameClass::Database, to).is_some() {
            return Err(Error::new(SqlState::DUPLICATE_DATABASE, format!("database \"{to}\" already exists")));
        }
    }
    put(session, &object, action)?;
    Ok("ALTER DATABASE".into())
}

/// Puts the object renamed, or with another owner.
pub(super) fn put(session: &mut Session, object: &Arc<Object>, action: &AlterObject) -> Result<()> {
    let changed = match action {
        AlterObject::Rename(to) => names::changed(object, |object| object.name.clone_from(to)),
        AlterObject::Owner(owner) => {
            let owner = names::role(session, owner)?.oid;
            names::changed(object, |object| object.owner = owner)
        }
    };
    session.apply(vec![Change::Put(changed)])
}

pub(super) fn create_schema(
    session: &mut Session,
    name: &Name,
    if_not_exists: bool,
    owner: Option<&str>,
) -> Result<String> {
    session.require_writable("CREATE SCHEMA")?;
    let schema = name.last();
    let (role, def) = names::current_role(session)?;
    let database = session.database;
    let database = names::object(session, database).ok_or_else(|| Error::internal("the database is gone"))?;
    if !def.superuser && !names::is_member(session, role, database.owner) {
        return Err(Error::new(
            SqlState::INSUFFICIENT_PRIVILEGE,
            format!("permission denied for database {}", database.name),
        ));
    }
    if schema.starts_with("pg_") || names::SYSTEM_SCHEMAS.contains(&schema) {
        return Err(Error::new(SqlState::RESERVED_NAME, format!("unacceptable schema name \"{schema}\"")).detail(
            "The prefix \"pg_\" and the names information_schema and tidemill are reserved for system schemas.",
        ));
    }
    let (main, _) = names::catalogs(session);
    if main.find(database.oid, NameClass::Schema, schema).is_some() {
        let message = format!("schema \"{schema}\" already exists");
        if if_not_exists {
            session.notice("NOTICE", SqlState::DUPLICATE_SCHEMA, format!("{message}, skipping"));
            return Ok("CREATE SCHEMA".into());
        }
        return Err(Error::new(SqlState::DUPLICATE_SCHEMA, message));
    }
    let owner = owner_of(session, owner)?;
    let oid = session.fresh_oid(false);
    session.apply(vec![Change::Put(new_object(oid, database.oid, schema, owner, Body::Schema {}))])?;
    Ok("CREATE SCHEMA".into())
}

pub(super) fn alter_schema(session: &mut Session, name: &Name, action: &AlterObject) -> Result<String> {
    session.require_writable("ALTER SCHEMA")?;
    let oid = names::schema(session, name.last())?;
    let object = names::object(session, oid).ok_or_else(|| Error::internal("a schema without an object"))?;
    names::require_owner(session, &object)?;
    if let AlterObject::Rename(to) = action {
        let (main, _) = names::catalogs(session);
        if main.find(session.database, NameClass::Schema, to).is_some() {
            return Err(Error::new(SqlState::DUPLICATE_SCHEMA, format!("schema \"{to}\" already exists")));
        }
    }
    put(session, &object, action)?;
    Ok("ALTER SCHEMA".into())
}
