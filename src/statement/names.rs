//! Names to objects, for statements that change them; and who may.

use std::sync::Arc;

use tidemill_catalog::Oid;
use tidemill_catalog::acl::{self, Privileges};
use tidemill_catalog::record::{Body, Object, TableDef};
use tidemill_catalog::snapshot::{Catalog, NameClass};

use super::control::Name;
use super::trees::RelationKind;
use crate::error::SqlState;
use crate::plan::{TEMP_SCHEMA, rights};
use crate::session::Session;
use crate::session::transaction::is_temporary;
use crate::{Error, Result};

/// Schemas that are the server's own.
pub(crate) const SYSTEM_SCHEMAS: &[&str] = &["pg_catalog", "information_schema", "tidemill", "pg_toast"];

/// The catalogs a statement sees: permanent and temporary objects.
pub(crate) fn catalogs(session: &mut Session) -> (Arc<Catalog>, Arc<Catalog>) {
    let open = session.open();
    (Arc::clone(&open.view().catalog), Arc::clone(&open.temp_view().catalog))
}

/// The object with that oid, permanent or temporary.
pub(crate) fn object(session: &mut Session, oid: Oid) -> Option<Arc<Object>> {
    let (main, temp) = catalogs(session);
    if is_temporary(oid) { temp.get(oid).cloned() } else { main.get(oid).cloned() }
}

/// Splits `[database.][schema.]name`; 0A000 for another database.
fn qualified<'n>(session: &mut Session, name: &'n Name) -> Result<(Option<&'n str>, &'n str)> {
    match name.parts.as_slice() {
        [name] => Ok((None, name)),
        [schema, name] => Ok((Some(schema), name)),
        [database, schema, relation] => {
            let (main, _) = catalogs(session);
            let here = main.get(session.database).map(|object| object.name.clone()).unwrap_or_default();
            if *database != here {
                return Err(Error::unsupported(format!("cross-database references are not implemented: {name}"))
                    .at(name.offset));
            }
            Ok((Some(schema), relation))
        }
        _ => Err(Error::new(SqlState::SYNTAX_ERROR, format!("improper relation name: {name}")).at(name.offset)),
    }
}

/// A schema of this database by name; `pg_temp` is the session's own.
pub(crate) fn schema(session: &mut Session, name: &str) -> Result<Oid> {
    let (main, temp) = catalogs(session);
    if name == "pg_temp" || temp.get(TEMP_SCHEMA).is_some_and(|own| own.name == name) {
        return Ok(TEMP_SCHEMA);
    }
    if let Some(found) = main.find(session.database, NameClass::Schema, name) {
        return Ok(found.oid);
    }
    if SYSTEM_SCHEMAS.contains(&name) {
        return Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, format!("permission denied for schema {name}"))
            .detail("System schemas cannot be changed."));
    }
    Err(Error::new(SqlState::INVALID_SCHEMA_NAME, format!("schema \"{name}\" does not exist")))
}

/// Where a new relation goes: the schema named, or the first of the search path that exists.
pub(crate) fn creation_schema(session: &mut Session, name: &Name, temporary: bool) -> Result<Oid> {
    let (qualifier, relation) = qualified(session, name)?;
    let oid = match qualifier {
        Some(qualifier) => {
            let oid = schema(session, qualifier).map_err(|error| error.at(name.offset))?;
            if temporary && oid != TEMP_SCHEMA {
                return Err(Error::new(
                    SqlState::INVALID_TABLE_DEFINITION,
                    "cannot create temporary relation in non-temporary schema",
                )
                .at(name.offset));
            }
            oid
        }
        None if temporary => TEMP_SCHEMA,
        None => {
            search_path(session).iter().find_map(|schema_name| schema(session, schema_name).ok()).ok_or_else(|| {
                Error::new(SqlState::INVALID_SCHEMA_NAME, "no schema has been selected to create in").at(name.offset)
            })?
        }
    };
    if relation.is_empty() {
        return Err(Error::new(SqlState::INVALID_NAME, "a name must not be empty").at(name.offset));
    }
    Ok(oid)
}

fn search_path(session: &mut Session) -> Vec<String> {
    let snapshot = Arc::clone(session.open().view());
    let role = session.current_role(&snapshot);
    session.search_path(&snapshot, role)
}

/// The relation of that name, by the search path; `None`: there is none.
pub(crate) fn find_relation(session: &mut Session, name: &Name) -> Result<Option<Arc<Object>>> {
    find(session, name, NameClass::Relation)
}

/// The object of that name and class, by the search path; `None`: there is none.
pub(crate) fn find(session: &mut Session, name: &Name, class: NameClass) -> Result<Option<Arc<Object>>> {
    let (main, temp) = catalogs(session);
    let (qualifier, relation) = qualified(session, name)?;
    let within = |schema: Oid| {
        let catalog = if schema == TEMP_SCHEMA { &temp } else { &main };
        catalog.find(schema, class, relation).cloned()
    };
    if let Some(qualifier) = qualifier {
        return match schema(session, qualifier) {
            Ok(oid) => {
                if let Some(schema) = main.get(oid) {
                    require(session, schema, Privileges::USAGE).map_err(|error| error.at(name.offset))?;
                }
                Ok(within(oid))
            }
            Err(error) if error.code() == &SqlState::INVALID_SCHEMA_NAME => Ok(None),
            Err(error) => Err(error.at(name.offset)),
        };
    }
    if let Some(found) = within(TEMP_SCHEMA) {
        return Ok(Some(found));
    }
    let database = session.database;
    Ok(search_path(session)
        .iter()
        .filter_map(|schema_name| main.find(database, NameClass::Schema, schema_name))
        .find_map(|schema| within(schema.oid)))
}

/// The schemas in which a name is looked up, in order.
pub(crate) fn schemas_of(session: &mut Session, name: &Name) -> Result<Vec<Oid>> {
    if let (Some(qualifier), _) = qualified(session, name)? {
        return match schema(session, qualifier) {
            Ok(oid) => Ok(vec![oid]),
            Err(error) if error.code() == &SqlState::INVALID_SCHEMA_NAME => Ok(vec![]),
            Err(error) => Err(error.at(name.offset)),
        };
    }
    let (main, _) = catalogs(session);
    let database = session.database;
    let path = search_path(session);
    let named = path.iter().filter_map(|name| main.find(database, NameClass::Schema, name)).map(|schema| schema.oid);
    Ok(std::iter::once(TEMP_SCHEMA).chain(named).collect())
}

/// The relation of that name: 42P01.
pub(crate) fn relation(session: &mut Session, name: &Name) -> Result<Arc<Object>> {
    find_relation(session, name)?.ok_or_else(|| {
        Error::new(SqlState::UNDEFINED_TABLE, format!("relation \"{name}\" does not exist")).at(name.offset)
    })
}

/// The source of that name: 42704.
pub(crate) fn source(session: &mut Session, name: &Name) -> Result<Arc<Object>> {
    find(session, name, NameClass::Source)?.ok_or_else(|| {
        Error::new(SqlState::UNDEFINED_OBJECT, format!("source \"{name}\" does not exist")).at(name.offset)
    })
}

/// The table of that name: 42P01, 42809 for a view.
pub(crate) fn table(session: &mut Session, name: &Name) -> Result<(Arc<Object>, Arc<TableDef>)> {
    let object = relation(session, name)?;
    match &object.body {
        Body::Table(def) => {
            let def = Arc::clone(def);
            Ok((object, def))
        }
        _ => {
            Err(Error::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{}\" is not a table", name.last())).at(name.offset))
        }
    }
}

/// The role of that name: 42704.
pub(crate) fn role(session: &mut Session, name: &str) -> Result<Arc<Object>> {
    let (main, _) = catalogs(session);
    let name = match name {
        "current_user" | "current_role" => {
            let snapshot = Arc::clone(session.open().view());
            let oid = session.current_role(&snapshot);
            return main.get(oid).cloned().ok_or_else(|| Error::internal("the current role is gone"));
        }
        "session_user" => {
            let snapshot = Arc::clone(session.open().view());
            let oid = session.session_role(&snapshot);
            return main.get(oid).cloned().ok_or_else(|| Error::internal("the session's role is gone"));
        }
        name => name,
    };
    main.find(0, NameClass::Role, name)
        .cloned()
        .ok_or_else(|| Error::new(SqlState::UNDEFINED_OBJECT, format!("role \"{name}\" does not exist")))
}

/// The database of that name: 3D000.
pub(crate) fn database(session: &mut Session, name: &Name) -> Result<Arc<Object>> {
    let (main, _) = catalogs(session);
    main.find(0, NameClass::Database, name.last()).cloned().ok_or_else(|| {
        Error::new(SqlState::INVALID_CATALOG_NAME, format!("database \"{name}\" does not exist")).at(name.offset)
    })
}

/// The next version of an object, with a new body or name.
pub(crate) fn changed(object: &Object, change: impl FnOnce(&mut Object)) -> Arc<Object> {
    let mut object = object.clone();
    object.version += 1;
    change(&mut object);
    Arc::new(object)
}

/// The current role's definition.
pub(crate) fn current_role(session: &mut Session) -> Result<(Oid, tidemill_catalog::record::RoleDef)> {
    let object = role(session, "current_user")?;
    match &object.body {
        Body::Role(def) => Ok((object.oid, def.clone())),
        _ => Err(Error::internal("a role that is not a role")),
    }
}

/// 42501 unless the current role owns the object, has the owner's privileges, or is a superuser.
pub(crate) fn require_owner(session: &mut Session, object: &Object) -> Result<()> {
    let role = role(session, "current_user")?.oid;
    let (main, _) = catalogs(session);
    // What is temporary is the session's own, whatever role it takes on.
    if is_temporary(object.oid) || rights::has_privileges_of(&main, role, object.owner) {
        return Ok(());
    }
    let kind = RelationKind::of(&object.body).map_or_else(|| object.body.kind(), RelationKind::noun);
    Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, format!("must be owner of {kind} {}", object.name)))
}

/// 42501 unless the current role may give the object to the other: is a member of it, and that one may create such objects.
pub(crate) fn require_new_owner(session: &mut Session, object: &Object, owner: &Object) -> Result<()> {
    let role = role(session, "current_user")?.oid;
    let (main, _) = catalogs(session);
    if rights::is_superuser(&main, role) || object.owner == owner.oid {
        return Ok(());
    }
    if !rights::is_member(&main, role, owner.oid) {
        let message = format!("must be member of role \"{}\"", owner.name);
        return Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message));
    }
    match main.get(object.parent) {
        Some(parent) if !rights::may(&main, owner.oid, parent, Privileges::CREATE) => Err(rights::denied(parent)),
        _ => Ok(()),
    }
}

/// The object with another owner, who takes over what the old one granted.
pub(crate) fn with_owner(object: &Object, owner: Oid) -> Arc<Object> {
    changed(object, |object| {
        object.acl = acl::with_owner(&object.acl, object.owner, owner);
        object.owner = owner;
    })
}

/// 42501 unless the current role has all of the privileges on the object.
pub(crate) fn require(session: &mut Session, object: &Object, privileges: Privileges) -> Result<()> {
    let role = role(session, "current_user")?.oid;
    let (main, _) = catalogs(session);
    if is_temporary(object.oid) || rights::may(&main, role, object, privileges) {
        return Ok(());
    }
    Err(rights::denied(object))
}

/// 42501 unless the current role has one of the privileges on the object.
pub(crate) fn require_any(session: &mut Session, object: &Object, privileges: Privileges) -> Result<()> {
    let role = role(session, "current_user")?.oid;
    let (main, _) = catalogs(session);
    let held = rights::Target::of(object).map_or(Privileges::NONE, |target| target.held(&main, role));
    if is_temporary(object.oid) || !(held & privileges).is_empty() { Ok(()) } else { Err(rights::denied(object)) }
}

/// 42501 unless the current role may create things in that schema.
pub(crate) fn require_create(session: &mut Session, schema: Oid) -> Result<()> {
    if schema == TEMP_SCHEMA {
        let database = session.database;
        let database = object(session, database).ok_or_else(|| Error::internal("the database is gone"))?;
        return require(session, &database, Privileges::TEMPORARY).map_err(|_| {
            let message = format!("permission denied to create temporary tables in database \"{}\"", database.name);
            Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message)
        });
    }
    let object = object(session, schema).ok_or_else(|| Error::internal("a schema without an object"))?;
    require(session, &object, Privileges::CREATE)
}

/// The access privileges that an object of the role begins with. `schema`: where it is made.
pub(crate) fn initial_acl(session: &mut Session, owner: Oid, schema: Oid, on: rights::On) -> Vec<acl::AclItem> {
    if schema == TEMP_SCHEMA {
        return vec![];
    }
    let (main, _) = catalogs(session);
    super::grant::initial_acl(&main, session.database, owner, Some(schema), on)
}

/// True if `role` is `group` or a member of it, directly or not, or a superuser.
pub(crate) fn is_member(session: &mut Session, role: Oid, group: Oid) -> bool {
    let (main, _) = catalogs(session);
    rights::is_member(&main, role, group)
}
