//! GRANT role TO role, REVOKE role FROM role.

use tidemill_catalog::record::{Body, Change};

use super::super::{names, role};
use super::syntax::GrantRole;
use crate::error::SqlState;
use crate::plan::rights;
use crate::session::Session;
use crate::{Error, Result};

pub(in crate::statement) fn grant(session: &mut Session, grant: &GrantRole) -> Result<String> {
    let tag = if grant.revoke { "REVOKE ROLE" } else { "GRANT ROLE" };
    session.require_writable(tag)?;
    let current = names::role(session, "current_user")?.oid;
    let grantor = match &grant.granted_by {
        Some(name) => names::role(session, name)?.oid,
        None => current,
    };
    for name in &grant.roles {
        let group = names::role(session, name)?;
        for member in &grant.members {
            require_admin(session, current, &group.name)?;
            let (catalog, _) = names::catalogs(session);
            if grantor != current && !rights::is_superuser(&catalog, current) {
                return Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, "must be superuser to set grantor"));
            }
            if grant.revoke {
                remove(session, grant, &group.name, member)?;
            } else {
                add(session, &group.name, member, grantor, grant.admin)?;
            }
        }
    }
    Ok(tag.into())
}

/// 42501 unless the role may make others members of the group.
fn require_admin(session: &mut Session, current: u32, group: &str) -> Result<()> {
    let group = names::role(session, group)?;
    let (catalog, _) = names::catalogs(session);
    let refuse = |message: String| Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message));
    if rights::is_superuser(&catalog, group.oid) {
        if !rights::is_superuser(&catalog, current) {
            return refuse("must be superuser to alter superusers".to_owned());
        }
    } else if role::require_create_role(session, "alter").is_err() && !rights::is_admin_of(&catalog, current, group.oid)
    {
        return refuse(format!("must have admin option on role \"{}\"", group.name));
    }
    Ok(())
}

/// Makes a role a member of another.
pub(in crate::statement) fn add(
    session: &mut Session,
    group: &str,
    member: &str,
    grantor: u32,
    admin: bool,
) -> Result<()> {
    let (group, member) = (names::role(session, group)?, names::role(session, member)?);
    let (catalog, _) = names::catalogs(session);
    if rights::memberships(&catalog, group.oid, false).contains(&member.oid) {
        let message = format!("role \"{}\" is a member of role \"{}\"", group.name, member.name);
        return Err(Error::new(SqlState::INVALID_GRANT_OPERATION, message));
    }
    let Body::Role(def) = &member.body else { return Err(Error::internal("a role that is not a role")) };
    let mut def = def.clone();
    let is_member = def.member_of.contains(&group.oid);
    if is_member && (!admin || def.admin_of.contains(&group.oid)) {
        let message = format!("role \"{}\" is already a member of role \"{}\"", member.name, group.name);
        session.notice("NOTICE", SqlState::SUCCESSFUL_COMPLETION, message);
        return Ok(());
    }
    if !is_member {
        def.member_of.push(group.oid);
    }
    if admin {
        def.admin_of.push(group.oid);
    }
    def.granted_by.insert(group.oid, grantor);
    session.apply(vec![Change::Put(names::changed(&member, |object| object.body = Body::Role(def)))])
}

fn remove(session: &mut Session, grant: &GrantRole, group: &str, member: &str) -> Result<()> {
    let (group, member) = (names::role(session, group)?, names::role(session, member)?);
    let Body::Role(def) = &member.body else { return Err(Error::internal("a role that is not a role")) };
    if !def.member_of.contains(&group.oid) {
        let message = format!("role \"{}\" is not a member of role \"{}\"", member.name, group.name);
        session.notice("WARNING", SqlState::WARNING, message);
        return Ok(());
    }
    let mut def = def.clone();
    def.admin_of.retain(|oid| *oid != group.oid);
    if !grant.admin {
        def.member_of.retain(|oid| *oid != group.oid);
        def.granted_by.remove(&group.oid);
    }
    session.apply(vec![Change::Put(names::changed(&member, |object| object.body = Body::Role(def)))])
}
