//! DROP, with CASCADE: what depends on an object goes first.

use std::sync::Arc;

use tidemill_catalog::Oid;
use tidemill_catalog::record::{Body, Change, Object};
use tidemill_catalog::snapshot::{Catalog, NameClass};

use super::control::Name;
use super::names;
use crate::error::SqlState;
use crate::session::Session;
use crate::session::transaction::is_temporary;
use crate::{Error, Result};

/// Objects that cannot exist without those in `doomed`, nearest first.
fn dependents(catalogs: &[&Catalog], doomed: &[Oid]) -> Vec<Arc<Object>> {
    let mut found: Vec<Arc<Object>> = vec![];
    let mut all = doomed.to_vec();
    loop {
        let more: Vec<_> = catalogs
            .iter()
            .flat_map(|catalog| catalog.objects.values())
            .filter(|object| !all.contains(&object.oid))
            .filter(|object| {
                object.depends_on.iter().any(|oid| all.contains(oid))
                    || (all.contains(&object.parent) && object.parent != 0)
            })
            .cloned()
            .collect();
        if more.is_empty() {
            return found;
        }
        all.extend(more.iter().map(|object| object.oid));
        found.extend(more);
    }
}

pub(super) fn described(object: &Object) -> String {
    let kind = match &object.body {
        Body::Table(_) => "table",
        Body::View(_) => "view",
        other => other.kind(),
    };
    format!("{kind} {}", object.name)
}

/// The removals, dependents first; 2BP01 if there are dependents and no CASCADE.
pub(super) fn removals(session: &mut Session, doomed: &[Arc<Object>], cascade: bool) -> Result<Vec<Change>> {
    let (main, temp) = names::catalogs(session);
    let oids: Vec<_> = doomed.iter().map(|object| object.oid).collect();
    let dependents = dependents(&[&main, &temp], &oids);
    if !dependents.is_empty() {
        let owner = |object: &Object| {
            object
                .depends_on
                .iter()
                .chain([&object.parent])
                .find_map(|oid| doomed.iter().chain(&dependents).find(|other| other.oid == *oid))
                .map_or_else(String::new, |other| described(other))
        };
        let lines: Vec<_> =
            dependents.iter().map(|object| format!("{} depends on {}", described(object), owner(object))).collect();
        if !cascade {
            let what = match doomed {
                [one] => format!("cannot drop {} because other objects depend on it", described(one)),
                _ => "cannot drop desired object(s) because other objects depend on them".to_owned(),
            };
            return Err(Error::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, what)
                .detail(lines.join("\n"))
                .hint("Use DROP ... CASCADE to drop the dependent objects too."));
        }
        let message = match dependents.as_slice() {
            [one] => format!("drop cascades to {}", described(one)),
            many => format!("drop cascades to {} other objects", many.len()),
        };
        session.notice("NOTICE", SqlState::SUCCESSFUL_COMPLETION, message);
    }
    Ok(dependents.iter().rev().chain(doomed.iter().rev()).map(|object| Change::Remove(object.oid)).collect())
}

pub(super) fn relations(
    session: &mut Session,
    view: bool,
    list: &[Name],
    if_exists: bool,
    cascade: bool,
) -> Result<String> {
    let (tag, kind) = if view { ("DROP VIEW", "view") } else { ("DROP TABLE", "table") };
    session.require_writable(tag)?;
    let mut doomed = vec![];
    for name in list {
        let Some(object) = names::find_relation(session, name)? else {
            let message = format!("{kind} \"{name}\" does not exist");
            if !if_exists {
                return Err(Error::new(SqlState::UNDEFINED_TABLE, message));
            }
            session.notice("NOTICE", SqlState::SUCCESSFUL_COMPLETION, format!("{message}, skipping"));
            continue;
        };
        if matches!(object.body, Body::View(_)) != view {
            let (is, other) = if view { ("view", "TABLE") } else { ("table", "VIEW") };
            let other_name = other.to_lowercase();
            return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{}\" is not a {is}", object.name))
                .hint(format!("Use DROP {other} to remove a {other_name}.")));
        }
        names::require_owner(session, &object)?;
        if !doomed.iter().any(|other: &Arc<Object>| other.oid == object.oid) {
            doomed.push(object);
        }
    }
    let changes = removals(session, &doomed, cascade)?;
    session.apply(changes)?;
    Ok(tag.into())
}

pub(super) fn sources(session: &mut Session, list: &[Name], if_exists: bool, cascade: bool) -> Result<String> {
    session.require_writable("DROP SOURCE")?;
    let mut doomed: Vec<Arc<Object>> = vec![];
    for name in list {
        let Some(object) = names::find(session, name, NameClass::Source)? else {
            if !if_exists {
                names::source(session, name)?;
            }
            let message = format!("source \"{name}\" does not exist, skipping");
            session.notice("NOTICE", SqlState::SUCCESSFUL_COMPLETION, message);
            continue;
        };
        names::require_owner(session, &object)?;
        if !doomed.iter().any(|other| other.oid == object.oid) {
            doomed.push(object);
        }
    }
    let changes = removals(session, &doomed, cascade)?;
    session.apply(changes)?;
    Ok("DROP SOURCE".into())
}

pub(super) fn schemas(session: &mut Session, list: &[Name], if_exists: bool, cascade: bool) -> Result<String> {
    session.require_writable("DROP SCHEMA")?;
    let mut doomed = vec![];
    for name in list {
        let oid = match names::schema(session, name.last()) {
            Ok(oid) => oid,
            Err(error) if if_exists && error.code() == &SqlState::INVALID_SCHEMA_NAME => {
                session.notice(
                    "NOTICE",
                    SqlState::SUCCESSFUL_COMPLETION,
                    format!("schema \"{name}\" does not exist, skipping"),
                );
                continue;
            }
            Err(error) => return Err(error),
        };
        let object = names::object(session, oid).ok_or_else(|| Error::internal("a schema without an object"))?;
        if is_temporary(oid) {
            return Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, "a session's temporary schema cannot be dropped"));
        }
        names::require_owner(session, &object)?;
        doomed.push(object);
    }
    let changes = removals(session, &doomed, cascade)?;
    session.apply(changes)?;
    Ok("DROP SCHEMA".into())
}

/// DROP DATABASE drops everything in it.
pub(super) fn database(session: &mut Session, name: &Name, if_exists: bool) -> Result<String> {
    refuse_in_block(session, "DROP DATABASE")?;
    session.require_writable("DROP DATABASE")?;
    let object = match names::database(session, name) {
        Ok(object) => object,
        Err(error) if if_exists => {
            session.notice("NOTICE", SqlState::SUCCESSFUL_COMPLETION, format!("{error}, skipping"));
            return Ok("DROP DATABASE".into());
        }
        Err(error) => return Err(error),
    };
    names::require_owner(session, &object)?;
    if object.oid == session.database {
        return Err(Error::new(SqlState::OBJECT_IN_USE, "cannot drop the currently open database"));
    }
    let users = session
        .instance
        .sessions
        .lock()
        .values()
        .filter(|other| other.activity.lock().database.1 == object.oid)
        .count();
    if users > 0 {
        let plural = if users == 1 { "is 1 other session" } else { &format!("are {users} other sessions") };
        return Err(Error::new(
            SqlState::OBJECT_IN_USE,
            format!("database \"{}\" is being accessed by other users", object.name),
        )
        .detail(format!("There {plural} using the database.")));
    }
    let (main, _) = names::catalogs(session);
    let inside = dependents(&[&main], &[object.oid]);
    let changes = inside.iter().rev().chain([&object]).map(|object| Change::Remove(object.oid)).collect();
    session.apply(changes)?;
    Ok("DROP DATABASE".into())
}

/// 25001 inside BEGIN … COMMIT.
pub(super) fn refuse_in_block(session: &mut Session, command: &str) -> Result<()> {
    if session.transaction.as_ref().is_some_and(|open| open.explicit) {
        return Err(Error::new(
            SqlState::ACTIVE_SQL_TRANSACTION,
            format!("{command} cannot run inside a transaction block"),
        ));
    }
    Ok(())
}

pub(super) fn roles(session: &mut Session, list: &[String], if_exists: bool) -> Result<String> {
    session.require_writable("DROP ROLE")?;
    super::role::require_create_role(session, "drop")?;
    for name in list {
        let (main, _) = names::catalogs(session);
        let Some(role) = main.find(0, NameClass::Role, name) else {
            let message = format!("role \"{name}\" does not exist");
            if !if_exists {
                return Err(Error::new(SqlState::UNDEFINED_OBJECT, message));
            }
            session.notice("NOTICE", SqlState::SUCCESSFUL_COMPLETION, format!("{message}, skipping"));
            continue;
        };
        let current = names::role(session, "current_user")?;
        if role.oid == current.oid {
            return Err(Error::new(SqlState::OBJECT_IN_USE, "current user cannot be dropped"));
        }
        let login = session.login_role;
        let (session_user, dropped) = (names::role(session, "session_user")?.oid, role.oid);
        if dropped == session_user || dropped == login {
            return Err(Error::new(SqlState::OBJECT_IN_USE, "session user cannot be dropped"));
        }
        let (current, old) = (current.oid, super::role::definition(role)?);
        if old.superuser && !crate::plan::rights::is_superuser(&main, current) {
            return Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, "must be superuser to drop superusers"));
        }
        let lines = super::grant::references(&main, role);
        if !lines.is_empty() {
            return Err(Error::new(
                SqlState::DEPENDENT_OBJECTS_STILL_EXIST,
                format!("role \"{name}\" cannot be dropped because some objects depend on it"),
            )
            .detail(lines.join("\n")));
        }
        let mut changes = vec![];
        for member in main.objects.values().filter(|object| object.oid != role.oid) {
            if let Body::Role(def) = &member.body
                && (def.member_of.contains(&role.oid)
                    || def.granted_by.values().any(|by| *by == role.oid)
                    || member.owner == role.oid)
            {
                let mut def = def.clone();
                def.member_of.retain(|group| *group != role.oid);
                def.admin_of.retain(|group| *group != role.oid);
                def.granted_by.retain(|group, by| *group != role.oid && *by != role.oid);
                changes.push(Change::Put(names::changed(member, |object| {
                    // Who made a role owned it once.
                    object.owner = object.oid;
                    object.body = Body::Role(def);
                })));
            }
        }
        changes.push(Change::Remove(role.oid));
        session.apply(changes)?;
    }
    Ok("DROP ROLE".into())
}
