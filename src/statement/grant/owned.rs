//! DROP OWNED, REASSIGN OWNED, and what of a role stands in the way of its end.

use std::sync::Arc;

use tidemill_catalog::Oid;
use tidemill_catalog::acl;
use tidemill_catalog::record::{Body, Change, DefaultPrivileges, Object};
use tidemill_catalog::snapshot::Catalog;

use super::super::{drop, names};
use crate::error::SqlState;
use crate::plan::access::column_ids;
use crate::plan::rights;
use crate::session::Session;
use crate::{Error, Result};

/// Why a role cannot be dropped: what it owns, and where it has privileges. A line for each, oldest object first.
pub(in crate::statement) fn references(catalog: &Catalog, role: &Object) -> Vec<String> {
    let mut lines: Vec<(Oid, String)> = vec![];
    for object in catalog.objects.values().filter(|object| object.oid != role.oid) {
        if object.owner == role.oid && !matches!(object.body, Body::Role(_)) {
            lines.push((object.oid, format!("owner of {}", drop::described(object))));
        } else {
            lines.extend(granted(object, role.oid).into_iter().map(|line| (object.oid, line)));
        }
        if let Body::Role(def) = &object.body {
            let of_role = |defaults: &&DefaultPrivileges| defaults.acl.iter().any(|item| item.grantee == role.oid);
            lines.extend(
                def.default_privileges
                    .iter()
                    .filter(of_role)
                    .map(|defaults| (defaults.oid, format!("privileges for {}", future(catalog, object, defaults)))),
            );
        }
    }
    if let Body::Role(def) = &role.body {
        let own = def.default_privileges.iter();
        lines.extend(own.map(|defaults| (defaults.oid, format!("owner of {}", future(catalog, role, defaults)))));
    }
    lines.sort_by_key(|(oid, _)| *oid);
    lines.into_iter().map(|(_, line)| line).collect()
}

/// What default privileges are called.
fn future(catalog: &Catalog, owner: &Object, defaults: &DefaultPrivileges) -> String {
    let schema = defaults.schema.and_then(|schema| catalog.get(schema));
    let place = schema.map_or_else(String::new, |schema| format!(" in schema {}", schema.name));
    let what = kind_word(defaults.kind);
    format!("default privileges on new {what} belonging to role {}{place}", owner.name)
}

fn kind_word(kind: char) -> &'static str {
    match kind {
        'S' => "sequences",
        'f' => "functions",
        'T' => "types",
        'n' => "schemas",
        _ => "relations",
    }
}

/// Where an object's list names the role.
fn granted(object: &Object, role: Oid) -> Vec<String> {
    let names = |column: i32| {
        object.acl.iter().any(|item| {
            let by_or_to = item.grantee == role || item.grantor == role;
            item.column == column && by_or_to && !item.privileges.is_empty()
        })
    };
    let columns: &[tidemill_catalog::record::ColumnDef] = match &object.body {
        Body::Table(def) => &def.columns,
        Body::View(view) => &view.columns,
        _ => &[],
    };
    let whole = names(0).then(|| format!("privileges for {}", drop::described(object)));
    let of_columns = columns.iter().filter(|column| names(column.id));
    let of_columns =
        of_columns.map(|column| format!("privileges for column {} of {}", column.name, drop::described(object)));
    whole.into_iter().chain(of_columns).collect()
}

/// The roles, all of which the current one may act as.
fn roles_of(session: &mut Session, list: &[String], verb: &str) -> Result<Vec<Arc<Object>>> {
    let current = names::role(session, "current_user")?.oid;
    let mut roles = vec![];
    for name in list {
        let role = names::role(session, name)?;
        let (catalog, _) = names::catalogs(session);
        if !rights::has_privileges_of(&catalog, current, role.oid) {
            let message = format!("permission denied to {verb} objects");
            return Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message));
        }
        roles.push(role);
    }
    Ok(roles)
}

/// DROP OWNED: drops what the roles own in this database, and revokes what was granted to them here and on databases.
pub(in crate::statement) fn drop_owned(session: &mut Session, list: &[String], cascade: bool) -> Result<String> {
    session.require_writable("DROP OWNED")?;
    let roles = roles_of(session, list, "drop")?;
    let is_one = |oid: Oid| roles.iter().any(|role| role.oid == oid);
    let (catalog, _) = names::catalogs(session);
    let mut changes = vec![];
    let mut doomed = vec![];
    for object in in_reach(&catalog, session.database) {
        if is_one(object.owner) && !matches!(object.body, Body::Database {} | Body::Role(_)) {
            doomed.push(Arc::clone(object));
        } else if object.acl.iter().any(|item| is_one(item.grantee) || is_one(item.grantor)) {
            changes.push(Change::Put(without(object, &roles)));
        }
    }
    for object in catalog.children(0) {
        let Body::Role(def) = &object.body else { continue };
        let mut def = def.clone();
        if is_one(object.oid) {
            def.default_privileges.retain(|defaults| defaults.database != session.database);
        }
        for defaults in &mut def.default_privileges {
            defaults.acl.retain(|item| !is_one(item.grantee));
        }
        if matches!(&object.body, Body::Role(old) if *old != def) {
            changes.push(Change::Put(names::changed(object, |object| object.body = Body::Role(def))));
        }
    }
    let removals = drop::removals(session, &doomed, cascade)?;
    let goes = |oid: Oid| removals.iter().any(|removal| matches!(removal, Change::Remove(gone) if *gone == oid));
    changes.retain(|change| !matches!(change, Change::Put(object) if goes(object.oid)));
    session.apply(changes)?;
    session.apply(removals)?;
    Ok("DROP OWNED".into())
}

/// What is in a database, the database and others of its kind.
fn in_reach(catalog: &Catalog, database: Oid) -> impl Iterator<Item = &Arc<Object>> {
    let schemas: Vec<Oid> = catalog.children(database).map(|schema| schema.oid).collect();
    catalog.objects.values().filter(move |object| {
        object.parent == database || schemas.contains(&object.parent) || matches!(object.body, Body::Database {})
    })
}

/// The object without grants to or by the roles.
fn without(object: &Object, roles: &[Arc<Object>]) -> Arc<Object> {
    let is_one = |oid: Oid| roles.iter().any(|role| role.oid == oid);
    let columns: Vec<i32> = std::iter::once(0).chain(column_ids(object)).collect();
    names::changed(object, |object| {
        for column in columns {
            if let Some(mut items) = acl::items(&object.acl, column) {
                items.retain(|item| !is_one(item.grantee) && (!is_one(item.grantor) || is_one(object.owner)));
                object.acl = acl::with_items(&object.acl, column, &items);
            }
        }
    })
}

/// REASSIGN OWNED: another owner for what the roles own in this database, and for their databases.
pub(in crate::statement) fn reassign_owned(session: &mut Session, list: &[String], to: &str) -> Result<String> {
    session.require_writable("REASSIGN OWNED")?;
    let roles = roles_of(session, list, "reassign")?;
    let to = roles_of(session, &[to.to_owned()], "reassign")?[0].oid;
    let (catalog, _) = names::catalogs(session);
    let changes = in_reach(&catalog, session.database)
        .filter(|object| roles.iter().any(|role| role.oid == object.owner) && !matches!(object.body, Body::Role(_)))
        .map(|object| Change::Put(names::with_owner(object, to)))
        .collect();
    session.apply(changes)?;
    Ok("REASSIGN OWNED".into())
}
