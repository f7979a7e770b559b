//! DROP, with CASCADE: what depends on an object goes first.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemill_catalog::Oid;
use tidemill_catalog::record::{Body, Change, ColumnDef, Object, TableDef};
use tidemill_catalog::snapshot::{Catalog, NameClass};

use super::control::Name;
use super::trees::RelationKind;
use super::{constraint, names, table, user_type};
use crate::error::SqlState;
use crate::plan::system::quote_ident;
use crate::plan::user_types;
use crate::session::Session;
use crate::session::transaction::is_temporary;
use crate::{Error, Result};

/// What goes with the objects that are dropped.
#[derive(Default)]
struct Followers {
    /// Objects that cannot exist without them, nearest first: dropped by CASCADE only.
    dependents: Vec<Arc<Object>>,
    /// Objects that are parts of them: dropped in any case.
    parts: Vec<Arc<Object>>,
    /// Tables, and the position of a column whose default is a sequence that goes: they stay, without the default.
    defaults: Vec<(Arc<Object>, usize)>,
    /// Tables, and the position of a foreign key to a table that goes: they stay, without it.
    foreign_keys: Vec<(Arc<Object>, usize)>,
    /// Tables, and the position of a column of a type that goes: they stay, without it.
    columns: Vec<(Arc<Object>, usize)>,
}

impl Followers {
    fn of(catalogs: &[&Catalog], doomed: &[Oid]) -> Self {
        let mut found = Self::default();
        let mut all = doomed.to_vec();
        loop {
            let mut more = vec![];
            for object in catalogs.iter().flat_map(|catalog| catalog.objects.values()) {
                if all.contains(&object.oid) {
                    continue;
                }
                let is_part = matches!(&object.body, Body::Sequence(def) if def.owned_by.is_some_and(|(of, _)| all.contains(&of)));
                let is_inside = object.parent != 0 && all.contains(&object.parent);
                // A table stays without what it needed.
                let is_table = matches!(object.body, Body::Table(_));
                let is_dependent = !is_table && object.depends_on.iter().any(|oid| all.contains(oid));
                if is_part && !is_inside {
                    more.push(object.oid);
                    found.parts.push(Arc::clone(object));
                } else if is_inside || is_dependent {
                    more.push(object.oid);
                    found.dependents.push(Arc::clone(object));
                }
            }
            if more.is_empty() {
                break;
            }
            all.extend(more);
        }
        for object in catalogs.iter().flat_map(|catalog| catalog.objects.values()) {
            let Body::Table(def) = &object.body else { continue };
            if all.contains(&object.oid) {
                continue;
            }
            let goes = |column: &ColumnDef| column.sequence.is_some_and(|sequence| all.contains(&sequence.oid));
            let places = def.columns.iter().enumerate().filter(|(_, column)| goes(column));
            found.defaults.extend(places.map(|(place, _)| (Arc::clone(object), place)));
            let keys = def.foreign_keys.iter().enumerate().filter(|(_, key)| all.contains(&key.table));
            found.foreign_keys.extend(keys.map(|(place, _)| (Arc::clone(object), place)));
            let is_of = |column: &ColumnDef| column.user_type.is_some_and(|oid| all.contains(&oid));
            let columns = def.columns.iter().enumerate().filter(|(_, column)| is_of(column));
            found.columns.extend(columns.map(|(place, _)| (Arc::clone(object), place)));
        }
        found
    }
}

pub(super) fn described(object: &Object) -> String {
    let kind = RelationKind::of(&object.body).map_or_else(|| object.body.kind(), RelationKind::noun);
    format!("{kind} {}", quote_ident(&object.name))
}

/// `column c of table t`
fn described_column(table: &Object, place: usize) -> String {
    let column = column_at(table, place).map_or("", |column| &column.name);
    format!("column {} of table {}", quote_ident(column), quote_ident(&table.name))
}

/// `default value for column c of table t`
fn described_default(table: &Object, place: usize) -> String {
    let column = column_at(table, place).map_or("", |column| &column.name);
    format!("default value for column {} of table {}", quote_ident(column), quote_ident(&table.name))
}

fn column_at(table: &Object, place: usize) -> Option<&ColumnDef> {
    match &table.body {
        Body::Table(def) => def.columns.get(place),
        _ => None,
    }
}

/// A default that is a sequence's, but for that of one column (table and number).
pub(super) fn other_default(session: &mut Session, sequence: Oid, but: (Oid, i32)) -> Option<String> {
    let (main, temp) = names::catalogs(session);
    main.objects.values().chain(temp.objects.values()).find_map(|object| {
        let Body::Table(def) = &object.body else { return None };
        let uses = |column: &ColumnDef| {
            column.sequence.is_some_and(|own| own.oid == sequence) && (object.oid, column.id) != but
        };
        def.columns.iter().position(uses).map(|place| described_default(object, place))
    })
}

/// 2BP01 for a sequence that is the inner part of an identity column which stays.
fn require_no_identity(doomed: &[Arc<Object>], followers: &Followers) -> Result<()> {
    for (table, place) in &followers.defaults {
        let Some(column) = column_at(table, *place).filter(|column| column.is_identity()) else { continue };
        let sequence = doomed.iter().find(|object| column.sequence.is_some_and(|own| own.oid == object.oid));
        if let Some(sequence) = sequence {
            let column = format!("column {} of table {}", quote_ident(&column.name), quote_ident(&table.name));
            let message = format!("cannot drop {} because {column} requires it", described(sequence));
            return Err(Error::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message)
                .hint(format!("You can drop {column} instead.")));
        }
    }
    Ok(())
}

/// The removals, dependents first; 2BP01 if there are dependents and no CASCADE.
pub(super) fn removals(session: &mut Session, doomed: &[Arc<Object>], cascade: bool) -> Result<Vec<Change>> {
    let (main, temp) = names::catalogs(session);
    let oids: Vec<_> = doomed.iter().map(|object| object.oid).collect();
    let followers = Followers::of(&[&main, &temp], &oids);
    require_no_identity(doomed, &followers)?;
    let Followers { dependents, parts, defaults, foreign_keys, columns } = &followers;
    let going = || doomed.iter().chain(dependents).chain(parts);
    let on = |oid: Oid| going().find(|other| other.oid == oid).map(|other| described(other));
    let mut lines: Vec<(String, String)> = vec![];
    for object in dependents {
        let on = object.depends_on.iter().chain([&object.parent]).find_map(|oid| on(*oid)).unwrap_or_default();
        lines.push((described(object), on));
    }
    for (table, place) in defaults {
        let sequence = column_at(table, *place).and_then(|column| column.sequence);
        let on = sequence.and_then(|sequence| on(sequence.oid)).unwrap_or_default();
        lines.push((described_default(table, *place), on));
    }
    for (table, place) in foreign_keys {
        let Body::Table(def) = &table.body else { continue };
        let key = &def.foreign_keys[*place];
        lines.push((constraint::described(&key.name, table), on(key.table).unwrap_or_default()));
    }
    for (table, place) in columns {
        let column = column_at(table, *place);
        let of = column.and_then(|column| on(column.user_type?)).unwrap_or_default();
        let is_array = column.is_some_and(|column| column.sql_type.ends_with("[]"));
        lines.push((described_column(table, *place), format!("{of}{}", if is_array { "[]" } else { "" })));
    }
    if !lines.is_empty() {
        if !cascade {
            let what = match doomed {
                [one] => format!("cannot drop {} because other objects depend on it", described(one)),
                _ => "cannot drop desired object(s) because other objects depend on them".to_owned(),
            };
            let lines: Vec<_> = lines.iter().map(|(what, on)| format!("{what} depends on {on}")).collect();
            return Err(Error::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, what)
                .detail(lines.join("\n"))
                .hint("Use DROP ... CASCADE to drop the dependent objects too."));
        }
        session.notice_cascade(&lines.into_iter().map(|(what, _)| what).collect::<Vec<_>>());
    }
    let mut changes = without(session, &followers)?;
    for now in 0..=STAGE_MAX {
        let all = parts.iter().rev().chain(dependents.iter().rev()).chain(doomed.iter().rev());
        changes.extend(all.filter(|object| stage(object) == now).map(|object| Change::Remove(object.oid)));
    }
    Ok(changes)
}

/// The last of [`stage`].
const STAGE_MAX: u8 = 4;

/// When an object may go: tables before the sequences and types of their columns, domains before the types below them, and
/// a schema after all that is in it.
fn stage(object: &Object) -> u8 {
    match &object.body {
        Body::Database {} | Body::Schema {} => STAGE_MAX,
        Body::Type(def) => 2 + u8::from(def.domain().is_none()),
        Body::Sequence(_) => 1,
        _ => 0,
    }
}

/// The tables without those defaults, foreign keys and columns.
fn without(session: &mut Session, followers: &Followers) -> Result<Vec<Change>> {
    let Followers { defaults, foreign_keys, columns, .. } = followers;
    let mut changed: BTreeMap<Oid, (&Arc<Object>, TableDef)> = BTreeMap::new();
    for (table, place) in defaults {
        let Body::Table(def) = &table.body else { continue };
        let (_, def) = changed.entry(table.oid).or_insert_with(|| (table, TableDef::clone(def)));
        def.columns[*place].sequence = None;
    }
    // From the last on: the places before stay.
    for (table, place) in foreign_keys.iter().rev() {
        let Body::Table(def) = &table.body else { continue };
        let (_, def) = changed.entry(table.oid).or_insert_with(|| (table, TableDef::clone(def)));
        def.foreign_keys.remove(*place);
    }
    let mut before = vec![];
    for (table, place) in columns.iter().rev() {
        let Body::Table(def) = &table.body else { continue };
        let (_, def) = changed.entry(table.oid).or_insert_with(|| (table, TableDef::clone(def)));
        let column = def.columns[*place].clone();
        constraint::drop_with_column(session, table, def, &column, true, &mut before)?;
        table::drop_column(def, *place)?;
    }
    let put = |(table, def): (&Arc<Object>, TableDef)| Change::Put(constraint::with_definition(table, def));
    before.extend(changed.into_values().map(put));
    Ok(before)
}

pub(super) fn relations(
    session: &mut Session,
    kind: RelationKind,
    list: &[Name],
    if_exists: bool,
    cascade: bool,
) -> Result<String> {
    let (tag, noun) = (format!("DROP {}", kind.word()), kind.noun());
    session.require_writable(&tag)?;
    let mut doomed = vec![];
    for name in list {
        let Some(object) = names::find_relation(session, name)? else {
            let message = format!("{noun} \"{name}\" does not exist");
            if !if_exists {
                return Err(Error::new(SqlState::UNDEFINED_TABLE, message));
            }
            session.notice("NOTICE", SqlState::SUCCESSFUL_COMPLETION, format!("{message}, skipping"));
            continue;
        };
        let is = RelationKind::of(&object.body);
        if is != Some(kind) {
            let error = Error::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{}\" is not a {noun}", object.name));
            return Err(match is {
                Some(is) => error.hint(format!("Use DROP {} to remove a {}.", is.word(), is.noun())),
                None => error,
            });
        }
        names::require_owner(session, &object)?;
        if !doomed.iter().any(|other: &Arc<Object>| other.oid == object.oid) {
            doomed.push(object);
        }
    }
    let changes = removals(session, &doomed, cascade)?;
    session.apply(changes)?;
    Ok(tag)
}

pub(super) fn types(
    session: &mut Session,
    word: &str,
    list: &[Name],
    if_exists: bool,
    cascade: bool,
) -> Result<String> {
    let tag = format!("DROP {word}");
    session.require_writable(&tag)?;
    let mut doomed: Vec<Arc<Object>> = vec![];
    for name in list {
        let Some(object) = names::find(session, name, NameClass::Type)? else {
            if !if_exists {
                user_type::find(session, name).map_err(Error::without_location)?;
            }
            let message = format!("type \"{name}\" does not exist, skipping");
            session.notice("NOTICE", SqlState::SUCCESSFUL_COMPLETION, message);
            continue;
        };
        if word == "DOMAIN" && user_types::definition(&object)?.domain().is_none() {
            let message = format!("\"{}\" is not a domain", object.name);
            return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message));
        }
        names::require_owner(session, &object)?;
        if !doomed.iter().any(|other| other.oid == object.oid) {
            doomed.push(object);
        }
    }
    let changes = removals(session, &doomed, cascade)?;
    session.apply(changes)?;
    Ok(tag)
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
    let followers = Followers::of(&[&main], &[object.oid]);
    let (schemas, inside): (Vec<_>, Vec<_>) =
        followers.dependents.iter().partition(|object| matches!(object.body, Body::Schema {}));
    let mut inside: Vec<_> = inside.into_iter().rev().collect();
    inside.sort_by_key(|object| stage(object));
    let all = inside.into_iter().chain(schemas).chain([&object]);
    let changes = all.map(|object| Change::Remove(object.oid)).collect();
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
