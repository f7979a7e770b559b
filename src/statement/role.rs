//! CREATE and ALTER ROLE.

use std::sync::Arc;

use tidemill_catalog::record::{Body, Change, Object, RoleDef};
use tidemill_catalog::snapshot::NameClass;

use super::control::{AlterRole, RoleOption};
use super::{grant, names};
use crate::error::SqlState;
use crate::plan::rights;
use crate::server::pgwire::auth::scram_verifier;
use crate::session::Session;
use crate::session::settings::Settings;
use crate::{Error, Result};

/// Iterations of SCRAM's key stretching; PostgreSQL's number.
const SCRAM_ITERATIONS: usize = 4096;

/// 42501 unless the current role may manage roles.
pub(super) fn require_create_role(session: &mut Session, verb: &str) -> Result<RoleDef> {
    let (_, role) = names::current_role(session)?;
    // PostgreSQL's roles do not inherit CREATEROLE.
    if role.superuser || role.create_role {
        return Ok(role);
    }
    Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, format!("permission denied to {verb} role")))
}

pub(super) fn create(session: &mut Session, name: &str, options: &[RoleOption], if_not_exists: bool) -> Result<String> {
    session.require_writable("CREATE ROLE")?;
    let current = require_create_role(session, "create")?;
    if name.starts_with("pg_") || matches!(name, "public" | "none") {
        return Err(Error::new(SqlState::RESERVED_NAME, format!("role name \"{name}\" is reserved")));
    }
    let (main, _) = names::catalogs(session);
    if main.find(0, NameClass::Role, name).is_some() {
        let message = format!("role \"{name}\" already exists");
        if if_not_exists {
            session.notice("NOTICE", SqlState::DUPLICATE_OBJECT, format!("{message}, skipping"));
            return Ok("CREATE ROLE".into());
        }
        return Err(Error::new(SqlState::DUPLICATE_OBJECT, message));
    }
    let mut def = RoleDef { inherit: true, connection_limit: -1, ..RoleDef::default() };
    let creator = names::role(session, "current_user")?.oid;
    set_options(session, &current, &mut def, options)?;
    def.granted_by = def.member_of.iter().map(|group| (*group, creator)).collect();
    let oid = session.fresh_oid(false);
    // Roles belong to nobody: they may outlive who made them.
    session.apply(vec![Change::Put(Arc::new(Object {
        oid,
        parent: 0,
        name: name.to_owned(),
        owner: oid,
        version: 1,
        comment: None,
        acl: vec![],
        depends_on: vec![],
        body: Body::Role(def),
    }))])?;
    for option in options {
        let (members, admin) = match option {
            RoleOption::Members(members) => (members, false),
            RoleOption::Admins(members) => (members, true),
            _ => continue,
        };
        for member in members {
            grant::add_member(session, name, member, creator, admin)?;
        }
    }
    Ok("CREATE ROLE".into())
}

fn set_options(session: &mut Session, current: &RoleDef, def: &mut RoleDef, options: &[RoleOption]) -> Result<()> {
    for option in options {
        match option {
            RoleOption::Superuser(on) => {
                if *on && !current.superuser {
                    return Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, "must be superuser to create superusers"));
                }
                def.superuser = *on;
            }
            RoleOption::CreateDb(on) => def.create_db = *on,
            RoleOption::CreateRole(on) => def.create_role = *on,
            RoleOption::Inherit(on) => def.inherit = *on,
            RoleOption::Login(on) => def.login = *on,
            RoleOption::Password(password) => def.password = password.as_deref().map(verifier).transpose()?.flatten(),
            RoleOption::ConnectionLimit(limit) => def.connection_limit = *limit,
            RoleOption::InRole(groups) => {
                for group in groups {
                    let group = names::role(session, group)?;
                    if !current.superuser && definition(&group)?.superuser {
                        let message = "must be superuser to alter superusers";
                        return Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message));
                    }
                    let group = group.oid;
                    if !def.member_of.contains(&group) {
                        def.member_of.push(group);
                    }
                }
            }
            // After the role is made.
            RoleOption::Members(_) | RoleOption::Admins(_) | RoleOption::Ignored => {}
        }
    }
    Ok(())
}

/// 42501 unless the current role may manage that one.
pub(super) fn require_manager(session: &mut Session, role: &Object) -> Result<()> {
    let (_, current) = names::current_role(session)?;
    let message = match definition(role)?.superuser {
        true if !current.superuser => "must be superuser",
        false if !current.superuser && !current.create_role => "must have CREATEROLE privilege",
        _ => return Ok(()),
    };
    Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message))
}

/// What a role's object says of it.
pub(super) fn definition(object: &Object) -> Result<&RoleDef> {
    match &object.body {
        Body::Role(def) => Ok(def),
        _ => Err(Error::internal("a role that is not a role")),
    }
}

/// What is stored of a password; `None` for an empty one, which PostgreSQL treats as none.
fn verifier(password: &str) -> Result<Option<String>> {
    if password.is_empty() {
        return Ok(None);
    }
    if password.starts_with("SCRAM-SHA-256$") {
        return Ok(Some(password.to_owned()));
    }
    if password.len() == 35 && password.starts_with("md5") {
        return Err(Error::unsupported("MD5 passwords are not supported")
            .hint("Give the password itself or a SCRAM-SHA-256 verifier."));
    }
    let salt: [u8; 16] = rand::random();
    Ok(Some(scram_verifier(password, &salt, SCRAM_ITERATIONS)))
}

pub(super) fn alter(session: &mut Session, name: &str, action: &AlterRole) -> Result<String> {
    session.require_writable("ALTER ROLE")?;
    let object = names::role(session, name)?;
    let old = definition(&object)?;
    let mut def = old.clone();
    let own = object.oid == names::role(session, "current_user")?.oid;
    let (_, current) = names::current_role(session)?;
    // Anyone may change the own password and settings.
    let harmless = match action {
        AlterRole::Options(options) => options.iter().all(|option| matches!(option, RoleOption::Password(_))),
        AlterRole::Set(..) | AlterRole::Reset(_) | AlterRole::ResetAll => true,
        AlterRole::Rename(_) => false,
    };
    if !(own && harmless) {
        let about_superusers = old.superuser
            || matches!(action, AlterRole::Options(options)
                if options.iter().any(|option| matches!(option, RoleOption::Superuser(_))));
        if about_superusers && !current.superuser {
            let message = match action {
                AlterRole::Rename(_) => "must be superuser to rename superusers",
                AlterRole::Options(_) => "must be superuser to alter superuser roles or change superuser attribute",
                _ => "must be superuser to alter superusers",
            };
            return Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message));
        }
        if !current.superuser && !current.create_role {
            let renames = matches!(action, AlterRole::Rename(_));
            let message = if renames { "permission denied to rename role" } else { "permission denied" };
            return Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message));
        }
    }
    let mut renamed = None;
    match action {
        AlterRole::Options(options) => set_options(session, &current, &mut def, options)?,
        AlterRole::Rename(to) => {
            let (main, _) = names::catalogs(session);
            if main.find(0, NameClass::Role, to).is_some() {
                return Err(Error::new(SqlState::DUPLICATE_OBJECT, format!("role \"{to}\" already exists")));
            }
            renamed = Some(to.clone());
        }
        AlterRole::Set(setting, Some(value)) => {
            let (catalog, _) = names::catalogs(session);
            rights::check_identity(&catalog, setting, value, object.oid, object.oid)?;
            Settings::default().set(setting, value, false)?;
            def.settings.insert(setting.clone(), value.clone());
        }
        AlterRole::Set(setting, None) | AlterRole::Reset(setting) => {
            def.settings.remove(setting);
        }
        AlterRole::ResetAll => def.settings.clear(),
    }
    let object = names::changed(&object, |object| {
        object.body = Body::Role(def);
        if let Some(name) = renamed {
            object.name = name;
        }
    });
    session.apply(vec![Change::Put(object)])?;
    Ok("ALTER ROLE".into())
}
