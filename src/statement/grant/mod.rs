//! GRANT and REVOKE: access control lists of objects, membership in roles, defaults of future objects; and what becomes of a
//! role's objects. Whose privileges count is decided in `plan/rights.rs`, what a list becomes in the catalog's `acl`.

mod defaults;
mod members;
mod owned;
/// Syntax trees.
pub mod syntax;

pub(super) use defaults::alter as alter_defaults;
pub(crate) use defaults::initial_acl;
pub(super) use members::{add as add_member, grant as grant_role};
pub(super) use owned::{drop_owned, reassign_owned, references};

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemill_catalog::Oid;
use tidemill_catalog::acl::{self, AclItem, Edit, PUBLIC, Privileges, Refusal};
use tidemill_catalog::record::{Body, Change, ColumnDef, Object};
use tidemill_catalog::snapshot::{Catalog, NameClass};

use super::names;
use crate::error::SqlState;
use crate::plan::rights::{self, On, Target as Rights, WORDS};
use crate::plan::system;
use crate::session::Session;
use crate::{Error, Result};
use syntax::{Grant, Kind, Privilege, Target};

/// Privileges that a statement names, resolved.
struct Wanted {
    /// On the object itself.
    whole: Privileges,
    /// ALL was said.
    all: bool,
    /// On columns by name; ALL as `None`.
    columns: BTreeMap<String, Option<Privileges>>,
}

pub(super) fn grant(session: &mut Session, grant: &Grant) -> Result<String> {
    let tag = if grant.revoke { "REVOKE" } else { "GRANT" };
    session.require_writable(tag)?;
    let objects = match &grant.target {
        Target::Named(Kind::Function | Kind::Type | Kind::Language, _) => vec![],
        target => targets(session, target)?,
    };
    let grantees = grantees(session, grant)?;
    if let Some(grantor) = &grant.granted_by {
        let grantor = names::role(session, grantor)?.oid;
        if grantor != names::role(session, "current_user")?.oid {
            return Err(Error::unsupported("grantor must be current user"));
        }
    }
    let kind = match &grant.target {
        Target::Named(kind, _) | Target::AllIn(kind, _) => *kind,
    };
    let wanted = wanted(kind, &grant.privileges, false)?;
    if matches!(kind, Kind::Function | Kind::Type | Kind::Language) {
        return of_everybody(session, grant, tag);
    }
    for object in objects {
        let acl = changed_acl(session, grant, &grantees, &wanted, &object)?;
        if acl != object.acl {
            session.apply(vec![Change::Put(names::changed(&object, |object| object.acl = acl))])?;
        }
    }
    Ok(tag.into())
}

/// Functions and languages are the server's own, and everybody's, as types are: there is nothing to store.
fn of_everybody(session: &mut Session, grant: &Grant, tag: &str) -> Result<String> {
    if let Target::Named(kind, list) = &grant.target {
        for name in list {
            let known = match kind {
                Kind::Function => system::has_function(name.last()),
                Kind::Language => matches!(name.last(), "internal" | "c" | "sql" | "plpgsql"),
                _ => {
                    tidemill_udfs::types::SqlType::parse(name.last()).is_ok()
                        || names::find(session, name, NameClass::Type)?.is_some()
                }
            };
            if !known {
                let (code, what) = match kind {
                    Kind::Function => (SqlState::UNDEFINED_FUNCTION, "function"),
                    Kind::Language => (SqlState::UNDEFINED_OBJECT, "language"),
                    _ => (SqlState::UNDEFINED_OBJECT, "type"),
                };
                return Err(Error::new(code, format!("{what} \"{name}\" does not exist")).at(name.offset));
            }
        }
    }
    if grant.revoke {
        session.notice(
            "WARNING",
            SqlState::WARNING_PRIVILEGE_NOT_REVOKED,
            "functions, types and languages are built in: everybody may use them",
        );
    }
    Ok(tag.into())
}

/// Oids of the roles; everybody as [`PUBLIC`].
fn grantees(session: &mut Session, grant: &Grant) -> Result<Vec<Oid>> {
    let mut oids = vec![];
    for role in &grant.roles {
        match role {
            Some(role) => oids.push(names::role(session, role)?.oid),
            None if grant.option && !grant.revoke => {
                return Err(Error::new(
                    SqlState::INVALID_GRANT_OPERATION,
                    "grant options can only be granted to roles",
                ));
            }
            None => oids.push(PUBLIC),
        }
    }
    Ok(oids)
}

/// What privileges there are on a kind of object, and what messages call it.
fn on(kind: Kind) -> (On, &'static str) {
    match kind {
        Kind::Table => (On::Relation, "relation"),
        Kind::Sequence => (On::Sequence, "sequence"),
        Kind::Schema => (On::Schema, "schema"),
        Kind::Database => (On::Database, "database"),
        Kind::Function => (On::Function, "function"),
        Kind::Type => (On::Usage, "type"),
        Kind::Language => (On::Usage, "language"),
    }
}

fn wanted(kind: Kind, privileges: &[Privilege], for_future: bool) -> Result<Wanted> {
    let (on, mut word_of_kind) = on(kind);
    // A table's name may be a sequence's: what only those have is not wrong of relations.
    let is_of_sequence = |privilege: &Privilege| {
        let word = privilege.word.as_deref();
        word.is_some_and(|word| on.privilege(word).is_none() && On::Sequence.privilege(word).is_some())
    };
    if kind == Kind::Table && !for_future && privileges.iter().any(is_of_sequence) {
        word_of_kind = "table";
    }
    let invalid = |privilege: &str, what: &str| {
        let message = format!("invalid privilege type {} for {what}", privilege.to_uppercase());
        Err(Error::new(SqlState::INVALID_GRANT_OPERATION, message))
    };
    let mut wanted = Wanted { whole: Privileges::NONE, all: false, columns: BTreeMap::new() };
    for privilege in privileges {
        let word = privilege.word.as_deref();
        if let Some(word) = word
            && !WORDS.iter().any(|(_, known)| known.eq_ignore_ascii_case(word))
        {
            return Err(Error::new(SqlState::SYNTAX_ERROR, format!("unrecognized privilege type \"{word}\"")));
        }
        if privilege.columns.is_empty() {
            match word {
                None => {
                    wanted.whole = on.all();
                    wanted.all = true;
                }
                Some(word) => match on.privilege(word) {
                    Some(privilege) => wanted.whole = wanted.whole | privilege,
                    None => return invalid(word, word_of_kind),
                },
            }
            continue;
        }
        if kind != Kind::Table {
            return Err(Error::new(
                SqlState::INVALID_GRANT_OPERATION,
                "column privileges are only valid for relations",
            ));
        }
        let of_column = match word.map(|word| (word, On::Column.privilege(word))) {
            None => None,
            Some((_, Some(privilege))) => Some(privilege),
            Some((word, None)) => return invalid(word, "column"),
        };
        for column in &privilege.columns {
            let known = wanted.columns.entry(column.clone()).or_insert(Some(Privileges::NONE));
            *known = match (*known, of_column) {
                (Some(known), Some(more)) => Some(known | more),
                _ => None,
            };
        }
    }
    Ok(wanted)
}

/// The objects that are granted on.
fn targets(session: &mut Session, target: &Target) -> Result<Vec<Arc<Object>>> {
    let mut found = vec![];
    match target {
        Target::Named(kind, list) => {
            for name in list {
                found.push(match kind {
                    Kind::Schema => {
                        let oid = names::schema(session, name.last())?;
                        names::object(session, oid).ok_or_else(|| Error::internal("a schema without an object"))?
                    }
                    Kind::Database => names::database(session, name)?,
                    Kind::Sequence => {
                        let object = names::relation(session, name)?;
                        if matches!(object.body, Body::Sequence(_)) {
                            found.push(object);
                            continue;
                        }
                        let message = format!("\"{}\" is not a sequence", object.name);
                        return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message));
                    }
                    _ => names::relation(session, name)?,
                });
            }
        }
        Target::AllIn(kind, schemas) => {
            for name in schemas {
                let oid = names::schema(session, name.last())?;
                let schema =
                    names::object(session, oid).ok_or_else(|| Error::internal("a schema without an object"))?;
                names::require(session, &schema, Privileges::USAGE)?;
                let (main, temp) = names::catalogs(session);
                let catalog = if crate::session::transaction::is_temporary(oid) { temp } else { main };
                let of_kind = |object: &&Arc<Object>| match &object.body {
                    Body::Table(_) | Body::View(_) => *kind == Kind::Table,
                    Body::Sequence(_) => *kind == Kind::Sequence,
                    _ => false,
                };
                found.extend(catalog.children(oid).filter(of_kind).cloned());
            }
        }
    }
    Ok(found)
}

/// What is written about in messages: an object or a column of it.
struct Subject<'a> {
    object: &'a Object,
    column: Option<&'a ColumnDef>,
}

impl Subject<'_> {
    fn denied(&self) -> Error {
        match self.column {
            Some(column) => {
                let message =
                    format!("permission denied for column \"{}\" of relation \"{}\"", column.name, self.object.name);
                Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message)
            }
            None => rights::denied(self.object),
        }
    }

    fn shown(&self) -> String {
        match self.column {
            Some(column) => format!("column \"{}\" of relation \"{}\"", column.name, self.object.name),
            None => format!("\"{}\"", self.object.name),
        }
    }
}

/// The list of an object after the statement.
fn changed_acl(
    session: &mut Session,
    grant: &Grant,
    grantees: &[Oid],
    wanted: &Wanted,
    object: &Object,
) -> Result<Vec<AclItem>> {
    let Some(rights) = Rights::of(object) else { return Err(Error::internal("an object without privileges")) };
    let whole = rights.items();
    let mut result = object.acl.clone();
    if !wanted.whole.is_empty() {
        let subject = Subject { object, column: None };
        let edited = edited(session, grant, grantees, &subject, &whole, &whole, wanted.whole, wanted.all)?;
        if edited != whole {
            result = acl::with_items(&result, 0, &edited);
        }
    }
    let columns = match &object.body {
        Body::Table(def) => def.columns.as_slice(),
        Body::View(view) => view.columns.as_slice(),
        _ => &[],
    };
    for name in wanted.columns.keys() {
        if !columns.iter().any(|column| column.name == *name) {
            let message = format!("column \"{name}\" of relation \"{}\" does not exist", object.name);
            return Err(Error::new(SqlState::UNDEFINED_COLUMN, message));
        }
    }
    for column in columns {
        let named = wanted.columns.get(&column.name);
        // What is revoked of a table is revoked of its columns.
        let of_table = if grant.revoke { wanted.whole & On::Column.all() } else { Privileges::NONE };
        let all = named == Some(&None);
        let privileges = of_table | named.map_or(Privileges::NONE, |named| named.unwrap_or(On::Column.all()));
        let own = rights.column_items(column.id);
        if privileges.is_empty() || (named.is_none() && own.is_empty()) {
            continue;
        }
        let subject = Subject { object, column: Some(column) };
        let seen: Vec<AclItem> = whole.iter().chain(&own).copied().collect();
        let edited = edited(session, grant, grantees, &subject, &seen, &own, privileges, all)?;
        result = acl::with_items(&result, column.id, &edited);
    }
    Ok(result)
}

/// `items` after the statement. `seen`: the items that say who may grant, those of the table for a column too.
#[expect(clippy::too_many_arguments, reason = "they are the clauses of the statement and one list")]
fn edited(
    session: &mut Session,
    grant: &Grant,
    grantees: &[Oid],
    subject: &Subject<'_>,
    seen: &[AclItem],
    items: &[AclItem],
    wanted: Privileges,
    all: bool,
) -> Result<Vec<AclItem>> {
    let (catalog, _) = names::catalogs(session);
    let role = names::role(session, "current_user")?.oid;
    let owner = subject.object.owner;
    let (grantor, available) = rights::best_grantor(&catalog, role, owner, seen, wanted);
    if available.is_empty() && !holds_any(&catalog, grantor, seen) {
        return Err(subject.denied());
    }
    let privileges = wanted & available;
    if privileges != wanted {
        let (code, verb) = match grant.revoke {
            false => (SqlState::WARNING_PRIVILEGE_NOT_GRANTED, "were granted for"),
            true => (SqlState::WARNING_PRIVILEGE_NOT_REVOKED, "could be revoked for"),
        };
        if privileges.is_empty() {
            session.notice("WARNING", code, format!("no privileges {verb} {}", subject.shown()));
        } else if !all {
            session.notice("WARNING", code, format!("not all privileges {verb} {}", subject.shown()));
        }
    }
    let mut result = items.to_vec();
    if privileges.is_empty() {
        return Ok(result);
    }
    for grantee in grantees {
        let edit = Edit { owner, grantor, grantee: *grantee, privileges, option: grant.option };
        let done = if grant.revoke { edit.revoke(&mut result, grant.cascade) } else { edit.grant(&mut result) };
        done.map_err(refused)?;
    }
    Ok(result)
}

/// True if the role has any privilege by the items.
fn holds_any(catalog: &Catalog, role: Oid, items: &[AclItem]) -> bool {
    !acl::held(items, &rights::memberships(catalog, role, true), false).is_empty()
}

fn refused(refusal: Refusal) -> Error {
    match refusal {
        Refusal::Circular => {
            Error::new(SqlState::INVALID_GRANT_OPERATION, "grant options cannot be granted back to your own grantor")
        }
        Refusal::Dependent => Error::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, "dependent privileges exist")
            .hint("Use CASCADE to revoke them too."),
    }
}
