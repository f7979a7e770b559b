//! Roles and databases: pg_authid and its views, pg_auth_members, pg_database, settings of roles.

use std::sync::Arc;
use tidemill_catalog::record::{Object, RoleDef};

use super::batch::{Batch, Value};
use super::registry::Fill;
use super::relations::acl;
use super::{objects, privileges};
use crate::plan::Scope;

/// The relations whose rows are made here.
pub(crate) const FILLS: &[(&str, Fill)] = &[
    ("pg_authid", pg_authid),
    ("pg_roles", pg_roles),
    ("pg_user", |scope, batch| pg_user(scope, batch, false)),
    ("pg_shadow", |scope, batch| pg_user(scope, batch, true)),
    ("pg_group", pg_group),
    ("pg_auth_members", pg_auth_members),
    ("pg_db_role_setting", pg_db_role_setting),
    ("pg_default_acl", pg_default_acl),
    ("pg_database", pg_database),
];

type Role<'a> = (&'a Arc<Object>, &'a RoleDef);

/// UTF8, as pg_database.encoding numbers it.
pub(crate) const UTF8: i32 = 6;
fn attributes(scope: &Scope, all: &[Role<'_>], batch: &mut Batch<'_>) {
    // The first role has all attributes; other superusers need none of them, and show what they were given.
    let first = objects::bootstrap_role(scope);
    batch.rows(all.len());
    batch.column("oid", all.iter().map(|(object, _)| object.oid));
    batch.column("rolname", all.iter().map(|(object, _)| &object.name));
    batch.column("rolsuper", all.iter().map(|(_, role)| role.superuser));
    batch.column("rolinherit", all.iter().map(|(_, role)| role.inherit));
    batch.column("rolcreaterole", all.iter().map(|(object, role)| role.create_role || object.oid == first));
    batch.column("rolcreatedb", all.iter().map(|(object, role)| role.create_db || object.oid == first));
    batch.column("rolcanlogin", all.iter().map(|(_, role)| role.login));
    batch.column("rolreplication", all.iter().map(|(object, _)| object.oid == first));
    batch.column("rolbypassrls", all.iter().map(|(object, _)| object.oid == first));
    batch.column("rolconnlimit", all.iter().map(|(_, role)| role.connection_limit));
}

fn pg_authid(scope: &Scope, batch: &mut Batch<'_>) {
    let all: Vec<Role<'_>> = objects::roles(scope).collect();
    attributes(scope, &all, batch);
    batch.column("rolpassword", all.iter().map(|(_, role)| password(scope, role)));
}

/// The stored verifier, for superusers; nobody else may see it.
fn password<'a>(scope: &Scope, role: &'a RoleDef) -> Option<&'a String> {
    let may_see = objects::role(scope, scope.role).is_some_and(|(_, role)| role.superuser);
    role.password.as_ref().filter(|_| may_see)
}

fn settings(role: &RoleDef) -> Value<'static> {
    if role.settings.is_empty() {
        return Value::Null;
    }
    Value::from(role.settings.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>())
}

fn pg_roles(scope: &Scope, batch: &mut Batch<'_>) {
    let all: Vec<Role<'_>> = objects::roles(scope).collect();
    attributes(scope, &all, batch);
    batch.constant("rolpassword", "********");
    batch.column("rolconfig", all.iter().map(|(_, role)| settings(role)));
}

fn pg_user(scope: &Scope, batch: &mut Batch<'_>, with_password: bool) {
    let all: Vec<Role<'_>> = objects::roles(scope).filter(|(_, role)| role.login).collect();
    batch.rows(all.len());
    batch.column("usename", all.iter().map(|(object, _)| &object.name));
    batch.column("usesysid", all.iter().map(|(object, _)| object.oid));
    batch.column("usecreatedb", all.iter().map(|(_, role)| role.create_db || role.superuser));
    for column in ["usesuper", "userepl", "usebypassrls"] {
        batch.column(column, all.iter().map(|(_, role)| role.superuser));
    }
    if with_password {
        batch.column("passwd", all.iter().map(|(_, role)| password(scope, role)));
    } else {
        batch.constant("passwd", "********");
    }
    batch.column("useconfig", all.iter().map(|(_, role)| settings(role)));
}

fn pg_group(scope: &Scope, batch: &mut Batch<'_>) {
    let all: Vec<Role<'_>> = objects::roles(scope).filter(|(_, role)| !role.login).collect();
    let members = |group: u32| -> Vec<u32> {
        objects::roles(scope)
            .filter(|(_, role)| role.member_of.contains(&group))
            .map(|(member, _)| member.oid)
            .collect()
    };
    batch.rows(all.len());
    batch.column("groname", all.iter().map(|(object, _)| &object.name));
    batch.column("grosysid", all.iter().map(|(object, _)| object.oid));
    batch.column("grolist", all.iter().map(|(object, _)| members(object.oid)));
}

fn pg_auth_members(scope: &Scope, batch: &mut Batch<'_>) {
    let all: Vec<(u32, Role<'_>)> = objects::roles(scope)
        .flat_map(|(member, role)| role.member_of.iter().map(move |group| (*group, (member, role))))
        .collect();
    let grantor = |(group, (_, role)): &(u32, Role<'_>)| role.granted_by.get(group).copied();
    let someone = objects::bootstrap_role(scope);
    batch.rows(all.len());
    batch.column("roleid", all.iter().map(|(group, _)| *group));
    batch.column("member", all.iter().map(|(_, (member, _))| member.oid));
    batch.column("grantor", all.iter().map(|granted| grantor(granted).unwrap_or(someone)));
    batch.column("admin_option", all.iter().map(|(group, (_, role))| role.admin_of.contains(group)));
}

fn pg_db_role_setting(scope: &Scope, batch: &mut Batch<'_>) {
    let all: Vec<Role<'_>> = objects::roles(scope).filter(|(_, role)| !role.settings.is_empty()).collect();
    batch.rows(all.len());
    batch.column("setrole", all.iter().map(|(object, _)| object.oid));
    batch.column("setconfig", all.iter().map(|(_, role)| settings(role)));
}

fn pg_database(scope: &Scope, batch: &mut Batch<'_>) {
    let all: Vec<&Arc<Object>> = objects::databases(scope).collect();
    batch.rows(all.len());
    batch.column("oid", all.iter().map(|object| object.oid));
    batch.column("datname", all.iter().map(|object| &object.name));
    batch.column("datdba", all.iter().map(|object| object.owner));
    batch.constant("encoding", UTF8);
    batch.constant("datlocprovider", "c");
    batch.constant("datallowconn", true);
    batch.constant("datconnlimit", -1);
    // pg_default
    batch.constant("dattablespace", 1663);
    for (column, setting) in [("datcollate", "lc_collate"), ("datctype", "lc_ctype")] {
        batch.constant(column, scope.settings.lock().get(setting).unwrap_or_else(|| "C".to_owned()));
    }
    batch.column("datacl", all.iter().map(|object| acl(scope, &object.acl, 0)));
}

fn pg_default_acl(scope: &Scope, batch: &mut Batch<'_>) {
    let all: Vec<_> = objects::roles(scope)
        .flat_map(|(owner, role)| role.default_privileges.iter().map(move |defaults| (owner.oid, defaults)))
        .filter(|(_, defaults)| defaults.database == scope.database)
        .filter(|(_, defaults)| defaults.schema.is_none_or(|schema| scope.snapshot.catalog.get(schema).is_some()))
        .collect();
    batch.rows(all.len());
    batch.column("oid", all.iter().map(|(_, defaults)| defaults.oid));
    batch.column("defaclrole", all.iter().map(|(owner, _)| *owner));
    batch.column("defaclnamespace", all.iter().map(|(_, defaults)| defaults.schema.unwrap_or(0)));
    batch.column("defaclobjtype", all.iter().map(|(_, defaults)| defaults.kind.to_string()));
    batch.column(
        "defaclacl",
        all.iter().map(|(_, defaults)| {
            Value::from(defaults.acl.iter().map(|item| privileges::print(scope, item)).collect::<Vec<_>>())
        }),
    );
}
