//! CREATE and ALTER SEQUENCE, and the sequences that columns have.

use std::sync::Arc;

use tidemill_catalog::Oid;
use tidemill_catalog::acl::AclItem;
use tidemill_catalog::record::{Body, Change, ColumnSequence, Object, SequenceRule};
use tidemill_catalog::sequence::{Position, SequenceDef};
use tidemill_catalog::snapshot::NameClass;
use tidemill_udfs::types::SqlType;

use super::control::Name;
use super::database::new_object;
use super::names;
use super::trees::{CreateSequence, OwnedBy, SequenceOptions};
use crate::error::SqlState;
use crate::plan::TEMP_SCHEMA;
use crate::plan::rights::On;
use crate::session::Session;
use crate::{Error, Result};

/// Bytes of an identifier; PostgreSQL's limit.
const NAME_BYTES_MAX: usize = 63;

pub(super) fn create(session: &mut Session, create: &CreateSequence) -> Result<String> {
    const TAG: &str = "CREATE SEQUENCE";
    session.require_writable(TAG)?;
    let schema = names::creation_schema(session, &create.name, create.temporary)?;
    names::require_create(session, schema)?;
    let name = create.name.last();
    if is_taken(session, schema, name) {
        let message = format!("relation \"{name}\" already exists");
        if create.if_not_exists {
            session.notice("NOTICE", SqlState::DUPLICATE_TABLE, format!("{message}, skipping"));
            return Ok(TAG.into());
        }
        return Err(Error::new(SqlState::DUPLICATE_TABLE, message));
    }
    let mut def = resolve(&create.options, None, false)?;
    let owner = owner(session, schema)?;
    def.owned_by = owned_by(session, create.options.owner.as_ref(), schema, owner)?;
    let oid = session.fresh_oid(schema == TEMP_SCHEMA);
    let acl = names::initial_acl(session, owner, schema, On::Sequence);
    session.apply(vec![Change::Put(object(oid, schema, name, owner, acl, def))])?;
    Ok(TAG.into())
}

pub(super) fn alter(session: &mut Session, name: &Name, if_exists: bool, options: &SequenceOptions) -> Result<String> {
    const TAG: &str = "ALTER SEQUENCE";
    session.require_writable(TAG)?;
    let Some(object) = names::find_relation(session, name)? else {
        if !if_exists {
            names::relation(session, name)?;
        }
        let message = format!("relation \"{name}\" does not exist, skipping");
        session.notice("NOTICE", SqlState::UNDEFINED_TABLE, message);
        return Ok(TAG.into());
    };
    let Body::Sequence(old) = &object.body else {
        return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{}\" is not a sequence", object.name)));
    };
    names::require_owner(session, &object)?;
    if options.owner.is_some() && old.is_identity {
        return Err(Error::unsupported("cannot change ownership of identity sequence").detail(linked(session, &object)));
    }
    let mut def = resolve(options, Some(old), old.is_identity)?;
    if options.owner.is_some() {
        def.owned_by = owned_by(session, options.owner.as_ref(), object.parent, object.owner)?;
    }
    session.apply(vec![Change::Put(names::changed(&object, |object| object.body = Body::Sequence(Arc::new(def))))])?;
    Ok(TAG.into())
}

/// `Sequence "s" is linked to table "t".`
pub(super) fn linked(session: &mut Session, sequence: &Object) -> String {
    let owner = if let Body::Sequence(def) = &sequence.body { def.owned_by } else { None };
    let table = owner.and_then(|(table, _)| names::object(session, table));
    let table = table.map_or_else(String::new, |table| table.name.clone());
    format!("Sequence \"{}\" is linked to table \"{table}\".", sequence.name)
}

fn is_taken(session: &mut Session, schema: Oid, name: &str) -> bool {
    let (main, temp) = names::catalogs(session);
    let catalog = if schema == TEMP_SCHEMA { temp } else { main };
    catalog.find(schema, NameClass::Relation, name).is_some() || catalog.table_of_index(schema, name).is_some()
}

/// Who owns what the current role makes in a schema.
pub(super) fn owner(session: &mut Session, schema: Oid) -> Result<Oid> {
    if schema == TEMP_SCHEMA { Ok(session.login_role) } else { Ok(names::current_role(session)?.0) }
}

pub(super) fn object(
    oid: Oid,
    schema: Oid,
    name: &str,
    owner: Oid,
    acl: Vec<AclItem>,
    def: SequenceDef,
) -> Arc<Object> {
    new_object(oid, schema, name, owner, acl, Body::Sequence(Arc::new(def)))
}

/// The table and column of OWNED BY.
fn owned_by(session: &mut Session, given: Option<&OwnedBy>, schema: Oid, owner: Oid) -> Result<Option<(Oid, i32)>> {
    let Some(OwnedBy::Column(table, column)) = given else { return Ok(None) };
    let object = names::relation(session, table)?;
    let Body::Table(def) = &object.body else {
        let message = format!("sequence cannot be owned by relation \"{}\"", object.name);
        return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message));
    };
    let unfit = |message: &str| Err(Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message));
    if object.owner != owner {
        return unfit("sequence must have same owner as table it is linked to");
    }
    if object.parent != schema {
        return unfit("sequence must be in same schema as table it is linked to");
    }
    let column = def.column(column).ok_or_else(|| {
        let message = format!("column \"{column}\" of relation \"{}\" does not exist", object.name);
        Error::new(SqlState::UNDEFINED_COLUMN, message)
    })?;
    Ok(Some((object.oid, column.id)))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

/// The bounds of a sequence's type.
fn bounds(sql_type: &str) -> (i64, i64) {
    match sql_type {
        "smallint" => (i64::from(i16::MIN), i64::from(i16::MAX)),
        "integer" => (i64::from(i32::MIN), i64::from(i32::MAX)),
        _ => (i64::MIN, i64::MAX),
    }
}

/// The definition that options give, over an old one.
///
/// # Errors
/// 22023 for values that do not go together.
pub(super) fn resolve(options: &SequenceOptions, old: Option<&SequenceDef>, is_identity: bool) -> Result<SequenceDef> {
    let sql_type = match &options.sql_type {
        None => old.map_or_else(|| "bigint".to_owned(), |old| old.sql_type.clone()),
        Some(sql_type @ (SqlType::Int2 | SqlType::Int4 | SqlType::Int8)) => sql_type.name(),
        Some(_) if is_identity => return Err(invalid("identity column type must be smallint, integer, or bigint")),
        Some(_) => return Err(invalid("sequence type must be smallint, integer, or bigint")),
    };
    let increment = options.increment.or(old.map(|old| old.increment)).unwrap_or(1);
    if increment == 0 {
        return Err(invalid("INCREMENT must not be zero"));
    }
    let (least, greatest) = bounds(&sql_type);
    let (default_min, default_max) = if increment > 0 { (1, greatest) } else { (least, -1) };
    // A bound that was the old type's becomes the new one's.
    let kept = |value: fn(&SequenceDef) -> i64, of_type: fn((i64, i64)) -> i64| {
        let is_bound = |old: &SequenceDef| old.sql_type != sql_type && value(old) == of_type(bounds(&old.sql_type));
        old.filter(|old| !is_bound(old)).map(value)
    };
    let (old_min, old_max) = (kept(|old| old.min, |(min, _)| min), kept(|old| old.max, |(_, max)| max));
    let min = options.min.unwrap_or(old_min).unwrap_or(default_min);
    let max = options.max.unwrap_or(old_max).unwrap_or(default_max);
    if max < least || max > greatest {
        return Err(invalid(format!("MAXVALUE ({max}) is out of range for sequence data type {sql_type}")));
    }
    if min < least || min > greatest {
        return Err(invalid(format!("MINVALUE ({min}) is out of range for sequence data type {sql_type}")));
    }
    if min >= max {
        return Err(invalid(format!("MINVALUE ({min}) must be less than MAXVALUE ({max})")));
    }
    let within = |what: &str, value: i64| {
        if value < min {
            return Err(invalid(format!("{what} value ({value}) cannot be less than MINVALUE ({min})")));
        }
        if value > max {
            return Err(invalid(format!("{what} value ({value}) cannot be greater than MAXVALUE ({max})")));
        }
        Ok(())
    };
    let start = options.start.or(old.map(|old| old.start)).unwrap_or(if increment > 0 { min } else { max });
    within("START", start)?;
    let cache = options.cache.or(old.map(|old| old.cache)).unwrap_or(1);
    if cache <= 0 {
        return Err(invalid(format!("CACHE ({cache}) must be greater than zero")));
    }
    let first = Position { value: start, is_called: false };
    let mut def = match old {
        Some(old) => old.clone(),
        None => SequenceDef {
            sql_type: String::new(),
            increment,
            min,
            max,
            start,
            cache,
            cycle: false,
            owned_by: None,
            is_identity,
            generation: 1,
            first,
            counter: Default::default(),
        },
    };
    (def.sql_type, def.increment, def.min, def.max, def.start, def.cache) =
        (sql_type, increment, min, max, start, cache);
    def.cycle = options.cycle.unwrap_or(def.cycle);
    if let Some(restart) = options.restart {
        def.restart(Position { value: restart.unwrap_or(start), is_called: false });
    }
    within("RESTART", def.position().0.value)?;
    Ok(def)
}

/// A sequence of a column's own, and what the column says of it.
pub(super) struct OfColumn<'a> {
    pub(super) table: Oid,
    pub(super) table_name: &'a str,
    pub(super) schema: Oid,
    pub(super) owner: Oid,
    pub(super) id: i32,
    pub(super) column: &'a str,
    pub(super) rule: SequenceRule,
}

impl OfColumn<'_> {
    /// Makes it, with a name that is not `taken` either.
    ///
    /// # Errors
    /// 22023 for options that do not go together, 42P07 for a name that is taken.
    pub(super) fn make(
        &self,
        session: &mut Session,
        sql_type: &SqlType,
        options: &SequenceOptions,
        taken: &[Change],
    ) -> Result<(Arc<Object>, ColumnSequence)> {
        let is_identity = self.rule != SequenceRule::Default;
        let options = SequenceOptions {
            sql_type: Some(options.sql_type.clone().unwrap_or_else(|| sql_type.clone())),
            ..options.clone()
        };
        let mut def = resolve(&options, None, is_identity)?;
        def.owned_by = Some((self.table, self.id));
        let is_new = |session: &mut Session, name: &str| {
            let made = taken.iter().any(|change| matches!(change, Change::Put(object) if object.name == name));
            !made && name != self.table_name && !is_taken(session, self.schema, name)
        };
        let name = match &options.name {
            Some(name) if is_new(session, name.last()) => name.last().to_owned(),
            Some(name) => {
                let message = format!("relation \"{}\" already exists", name.last());
                return Err(Error::new(SqlState::DUPLICATE_TABLE, message));
            }
            None => chosen_name(self.table_name, Some(self.column), "seq", |name| is_new(session, name)),
        };
        let oid = session.fresh_oid(self.schema == TEMP_SCHEMA);
        let acl = names::initial_acl(session, self.owner, self.schema, On::Sequence);
        Ok((object(oid, self.schema, &name, self.owner, acl, def), ColumnSequence { oid, rule: self.rule }))
    }
}

/// `table_column_label`, its parts cut so that it fits, with a number where the name is not free: as PostgreSQL names
/// what users give no name.
pub(super) fn chosen_name(
    table: &str,
    column: Option<&str>,
    label: &str,
    mut is_free: impl FnMut(&str) -> bool,
) -> String {
    let made = |suffix: &str| {
        let overhead = suffix.len() + 1 + usize::from(column.is_some());
        let (mut first, mut second) = (table.len(), column.map_or(0, str::len));
        while first + second + overhead > NAME_BYTES_MAX {
            if first > second { first -= 1 } else { second -= 1 }
        }
        let mut name = table[..table.floor_char_boundary(first)].to_owned();
        if let Some(column) = column {
            name.push('_');
            name.push_str(&column[..column.floor_char_boundary(second)]);
        }
        format!("{name}_{suffix}")
    };
    let mut number = 0;
    loop {
        let name = made(&if number == 0 { label.to_owned() } else { format!("{label}{number}") });
        if is_free(&name) {
            return name;
        }
        number += 1;
    }
}

/// The sequences that go with a table, and the column each goes with.
pub(super) fn owned(session: &mut Session, table: Oid) -> Vec<(Arc<Object>, i32)> {
    let (main, temp) = names::catalogs(session);
    let all = main.objects.values().chain(temp.objects.values());
    all.filter_map(|object| match &object.body {
        Body::Sequence(def) => {
            def.owned_by.filter(|(of, _)| *of == table).map(|(_, column)| (Arc::clone(object), column))
        }
        _ => None,
    })
    .collect()
}

/// The changes that let the sequences of a table begin anew.
pub(super) fn restarts(session: &mut Session, table: Oid) -> Result<Vec<Change>> {
    let mut changes = vec![];
    for (object, _) in owned(session, table) {
        names::require_owner(session, &object)?;
        let Body::Sequence(def) = &object.body else { continue };
        let mut def = SequenceDef::clone(def);
        def.restart(Position { value: def.start, is_called: false });
        changes.push(Change::Put(names::changed(&object, |object| object.body = Body::Sequence(Arc::new(def)))));
    }
    Ok(changes)
}
