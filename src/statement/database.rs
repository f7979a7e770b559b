//! CREATE and ALTER DATABASE and SCHEMA.

use std::sync::Arc;

use tidemill_catalog::acl::{AclItem, PUBLIC, Privileges};
use tidemill_catalog::record::{Body, Change, Object};
use tidemill_catalog::snapshot::NameClass;

use super::control::{AlterObject, Name};
use super::names;
use crate::error::SqlState;
use crate::plan::rights::On;
use crate::session::Session;
use crate::{Error, Result};

pub(super) fn new_object(oid: u32, parent: u32, name: &str, owner: u32, acl: Vec<AclItem>, body: Body) -> Arc<Object> {
    Arc::new(Object {
        oid,
        parent,
        name: name.to_owned(),
        owner,
        version: 1,
        comment: None,
        acl,
        depends_on: vec![],
        body,
    })
}

/// Who is to own a new object: 42501 unless the current role is a member of it.
fn new_owner(session: &mut Session, owner: Option<&str>) -> Result<u32> {
    let current = names::role(session, "current_user")?.oid;
    let owner = names::role(session, owner.unwrap_or("current_user"))?;
    if names::is_member(session, current, owner.oid) {
        return Ok(owner.oid);
    }
    let message = format!("must be member of role \"{}\"", owner.name);
    Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message))
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
    let owner = new_owner(session, owner)?;
    let database = session.fresh_oid(false);
    let public = session.fresh_oid(false);
    // Everybody may look into it, and only the owner makes things there.
    let acl = vec![AclItem::new(owner, owner, On::Schema.all()), AclItem::new(PUBLIC, owner, Privileges::USAGE)];
    session.apply(vec![
        Change::Put(new_object(database, 0, name.last(), owner, vec![], Body::Database {})),
        Change::Put(new_object(public, database, "public", owner, acl, Body::Schema {})),
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
            let owner = names::role(session, owner)?;
            names::require_new_owner(session, object, &owner)?;
            names::with_owner(object, owner.oid)
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
    let database = session.database;
    let database = names::object(session, database).ok_or_else(|| Error::internal("the database is gone"))?;
    names::require(session, &database, Privileges::CREATE)?;
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
    let owner = new_owner(session, owner)?;
    let oid = session.fresh_oid(false);
    let (main, _) = names::catalogs(session);
    let acl = super::grant::initial_acl(&main, database.oid, owner, None, On::Schema);
    session.apply(vec![Change::Put(new_object(oid, database.oid, schema, owner, acl, Body::Schema {}))])?;
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
