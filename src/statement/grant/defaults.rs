//! ALTER DEFAULT PRIVILEGES: what future objects of a role are born with.

use tidemill_catalog::Oid;
use tidemill_catalog::acl::{AclItem, Edit};
use tidemill_catalog::record::{Body, Change, DefaultPrivileges};
use tidemill_catalog::snapshot::Catalog;

use super::super::names;
use super::syntax::{AlterDefaults, Kind};
use super::{grantees, on, refused, wanted};
use crate::error::SqlState;
use crate::plan::rights::{self, On};
use crate::session::Session;
use crate::{Error, Result};

pub(in crate::statement) fn alter(session: &mut Session, alter: &AlterDefaults) -> Result<String> {
    let tag = "ALTER DEFAULT PRIVILEGES";
    session.require_writable(tag)?;
    let grantees = grantees(session, &alter.grant)?;
    let (on, _) = on(alter.kind);
    let wanted = wanted(alter.kind, &alter.grant.privileges, true)?;
    if !wanted.columns.is_empty() {
        return Err(Error::new(SqlState::INVALID_GRANT_OPERATION, "default privileges cannot be set for columns"));
    }
    if alter.kind == Kind::Schema && !alter.schemas.is_empty() {
        return Err(Error::new(
            SqlState::INVALID_GRANT_OPERATION,
            "cannot use IN SCHEMA clause when using GRANT/REVOKE ON SCHEMAS",
        ));
    }
    let current = names::role(session, "current_user")?;
    let roles = if alter.for_roles.is_empty() { vec![current.name.clone()] } else { alter.for_roles.clone() };
    let mut schemas = vec![];
    for name in &alter.schemas {
        schemas.push(Some(names::schema(session, name.last())?));
    }
    if schemas.is_empty() {
        schemas.push(None);
    }
    for name in &roles {
        let owner = names::role(session, name)?;
        let (catalog, _) = names::catalogs(session);
        if !rights::is_member(&catalog, current.oid, owner.oid) {
            let message = format!("must be member of role \"{}\"", owner.name);
            return Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message));
        }
        for schema in &schemas {
            let place = Place { database: session.database, schema: *schema, kind: letter(alter.kind) };
            let owner = names::role(session, name)?;
            let Body::Role(def) = &owner.body else { return Err(Error::internal("a role that is not a role")) };
            let mut def = def.clone();
            let known = def.default_privileges.iter().position(|defaults| place.is(defaults));
            let born = if schema.is_none() { on.default_items(owner.oid) } else { vec![] };
            let mut items = known.map_or_else(|| born.clone(), |at| def.default_privileges[at].acl.clone());
            for grantee in &grantees {
                let (privileges, option) = (wanted.whole, alter.grant.option);
                let edit = Edit { owner: owner.oid, grantor: owner.oid, grantee: *grantee, privileges, option };
                let done = match alter.grant.revoke {
                    true => edit.revoke(&mut items, alter.grant.cascade),
                    false => edit.grant(&mut items),
                };
                done.map_err(refused)?;
            }
            let old = known.map(|at| def.default_privileges.remove(at).oid);
            if !same(&items, &born) {
                let oid = old.unwrap_or_else(|| session.fresh_oid(false));
                let Place { database, schema, kind } = place;
                def.default_privileges.push(DefaultPrivileges { oid, database, schema, kind, acl: items });
            }
            session.apply(vec![Change::Put(names::changed(&owner, |object| object.body = Body::Role(def)))])?;
        }
    }
    Ok(tag.into())
}

/// Where defaults hold.
struct Place {
    database: Oid,
    schema: Option<Oid>,
    kind: char,
}

impl Place {
    fn is(&self, defaults: &DefaultPrivileges) -> bool {
        (defaults.database, defaults.schema, defaults.kind) == (self.database, self.schema, self.kind)
    }
}

/// pg_default_acl.defaclobjtype
fn letter(kind: Kind) -> char {
    match kind {
        Kind::Table | Kind::Database => 'r',
        Kind::Sequence => 'S',
        Kind::Function | Kind::Language => 'f',
        Kind::Type => 'T',
        Kind::Schema => 'n',
    }
}

/// The same grants in any order.
fn same(one: &[AclItem], other: &[AclItem]) -> bool {
    one.len() == other.len() && one.iter().all(|item| other.contains(item))
}

/// The list that a new object begins with: empty where its owner has set no defaults. `schema`: where it is made.
pub(crate) fn initial_acl(catalog: &Catalog, database: Oid, owner: Oid, schema: Option<Oid>, kind: On) -> Vec<AclItem> {
    let Some(role) = rights::role(catalog, owner).filter(|role| !role.default_privileges.is_empty()) else {
        return vec![];
    };
    let letter = match kind {
        On::Relation | On::Column | On::Database => 'r',
        On::Sequence => 'S',
        On::Schema => 'n',
        On::Function => 'f',
        On::Usage => 'T',
    };
    let find = |schema| {
        let place = Place { database, schema, kind: letter };
        role.default_privileges.iter().find(|defaults| place.is(defaults)).map(|defaults| defaults.acl.clone())
    };
    let born = kind.default_items(owner);
    let mut items = find(None).unwrap_or_else(|| born.clone());
    for item in schema.and_then(|schema| find(Some(schema))).unwrap_or_default() {
        match items.iter_mut().find(|known| (known.grantee, known.grantor) == (item.grantee, item.grantor)) {
            Some(known) => {
                known.privileges = known.privileges | item.privileges;
                known.options = known.options | item.options;
            }
            None => items.push(item),
        }
    }
    if same(&items, &born) { vec![] } else { tidemill_catalog::acl::with_items(&[], 0, &items) }
}
