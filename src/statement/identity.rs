//! Columns with sequences of their own: serial, GENERATED … AS IDENTITY, and what ALTER TABLE does with these.

use std::sync::Arc;

use tidemill_catalog::Oid;
use tidemill_catalog::record::{Body, Change, ColumnDef, ColumnSequence, Object, SequenceRule};
use tidemill_catalog::sequence::SequenceDef;
use tidemill_udfs::types::SqlType;

use super::control::ColumnSyntax;
use super::sequence::{self, OfColumn};
use super::trees::{IdentitySyntax, SequenceOptions};
use super::{drop, names};
use crate::error::SqlState;
use crate::session::Session;
use crate::{Error, Result};

/// The table that columns are made for.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    pub(super) oid: Oid,
    pub(super) name: &'a str,
    pub(super) schema: Oid,
    pub(super) owner: Oid,
}

impl<'a> Table<'a> {
    pub(super) fn of(object: &'a Object) -> Self {
        Self { oid: object.oid, name: &object.name, schema: object.parent, owner: object.owner }
    }

    /// Makes the sequence of a column, if its syntax says that it has one of its own; the change goes before the table's.
    pub(super) fn sequence_of(
        self,
        session: &mut Session,
        syntax: &ColumnSyntax,
        column: &mut ColumnDef,
        before: &mut Vec<Change>,
    ) -> Result<()> {
        let none = SequenceOptions::default();
        let (rule, options) = match &syntax.identity {
            Some(identity) => (rule_of(identity.always), &identity.options),
            None if syntax.serial => (SequenceRule::Default, &none),
            None => return Ok(()),
        };
        column.sequence = Some(self.make(session, column, rule, options, before)?);
        Ok(())
    }

    /// Makes a sequence for a column.
    pub(super) fn make(
        self,
        session: &mut Session,
        column: &ColumnDef,
        rule: SequenceRule,
        options: &SequenceOptions,
        before: &mut Vec<Change>,
    ) -> Result<ColumnSequence> {
        let of = OfColumn {
            table: self.oid,
            table_name: self.name,
            schema: self.schema,
            owner: self.owner,
            id: column.id,
            column: &column.name,
            rule,
        };
        let (object, sequence) = of.make(session, &SqlType::of_stored(&column.sql_type)?, options, before)?;
        before.push(Change::Put(object));
        Ok(sequence)
    }
}

fn rule_of(always: bool) -> SequenceRule {
    if always { SequenceRule::Always } else { SequenceRule::ByDefault }
}

fn unfit(column: &str, table: &str, what: &str) -> Error {
    let message = format!("column \"{column}\" of relation \"{table}\" {what}");
    Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
}

/// 42601 for a change of the default of an identity column.
pub(super) fn require_none(column: &ColumnDef, table: &str, is_drop: bool) -> Result<()> {
    if !column.is_identity() {
        return Ok(());
    }
    let message = format!("column \"{}\" of relation \"{table}\" is an identity column", column.name);
    let error = Error::new(SqlState::SYNTAX_ERROR, message);
    Err(if is_drop { error.hint("Use ALTER TABLE ... ALTER COLUMN ... DROP IDENTITY instead.") } else { error })
}

/// ADD GENERATED … AS IDENTITY
pub(super) fn add(
    session: &mut Session,
    object: &Object,
    column: &mut ColumnDef,
    identity: &IdentitySyntax,
    before: &mut Vec<Change>,
) -> Result<()> {
    let (name, table) = (&column.name, &object.name);
    check_type(&column.sql_type)?;
    if column.nullable {
        return Err(unfit(name, table, "must be declared NOT NULL before identity can be added"));
    }
    if column.is_identity() {
        return Err(unfit(name, table, "is already an identity column"));
    }
    if column.default.is_some() || column.sequence.is_some() {
        return Err(unfit(name, table, "already has a default value"));
    }
    let made = Table::of(object).make(session, column, rule_of(identity.always), &identity.options, before)?;
    column.sequence = Some(made);
    Ok(())
}

/// SET GENERATED, SET and RESTART of the sequence's options
pub(super) fn set(
    session: &mut Session,
    object: &Object,
    column: &mut ColumnDef,
    always: Option<bool>,
    options: &SequenceOptions,
    before: &mut Vec<Change>,
) -> Result<()> {
    let Some(own) = column.sequence.filter(|_| column.is_identity()) else {
        return Err(unfit(&column.name, &object.name, "is not an identity column"));
    };
    let rule = always.map_or(own.rule, rule_of);
    column.sequence = Some(ColumnSequence { rule, ..own });
    let sequence = names::object(session, own.oid).ok_or_else(|| Error::internal("a column without its sequence"))?;
    let Body::Sequence(old) = &sequence.body else { return Err(Error::internal("a column's sequence is none")) };
    let def = sequence::resolve(options, Some(old), true)?;
    if def != **old || def.generation != old.generation {
        before.push(Change::Put(names::changed(&sequence, |object| object.body = Body::Sequence(Arc::new(def)))));
    }
    Ok(())
}

/// DROP IDENTITY; false if there is nothing to do.
pub(super) fn remove(
    session: &mut Session,
    object: &Object,
    column: &mut ColumnDef,
    if_exists: bool,
    after: &mut Vec<Change>,
) -> Result<bool> {
    let Some(own) = column.sequence.filter(|_| column.is_identity()) else {
        let error = unfit(&column.name, &object.name, "is not an identity column");
        if if_exists {
            session.notice("NOTICE", SqlState::SUCCESSFUL_COMPLETION, format!("{error}, skipping"));
            return Ok(false);
        }
        return Err(error);
    };
    column.sequence = None;
    after.push(Change::Remove(own.oid));
    Ok(true)
}

/// The removal of the sequences of a column that goes.
///
/// # Errors
/// 2BP01 if other columns use them.
pub(super) fn remove_with_column(
    session: &mut Session,
    object: &Object,
    column: &ColumnDef,
    after: &mut Vec<Change>,
) -> Result<()> {
    for (sequence, _) in sequence::owned(session, object.oid).into_iter().filter(|(_, id)| *id == column.id) {
        if let Some(other) = drop::other_default(session, sequence.oid, (object.oid, column.id)) {
            let message = format!("cannot drop column {} of table {}", column.name, object.name);
            let message = format!("{message} because other objects depend on it");
            return Err(Error::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message)
                .detail(format!("{other} depends on sequence {}", sequence.name))
                .hint("Use DROP ... CASCADE to drop the dependent objects too."));
        }
        after.push(Change::Remove(sequence.oid));
    }
    Ok(())
}

/// The sequences of a table with another schema or owner: they follow the table.
pub(super) fn follow(session: &mut Session, object: &Object, change: impl Fn(&Object) -> Arc<Object>) -> Vec<Change> {
    let owned = sequence::owned(session, object.oid);
    owned.iter().map(|(sequence, _)| Change::Put(change(sequence))).collect()
}

/// A column of LIKE … INCLUDING IDENTITY: a sequence of its own with the options of the other.
pub(super) fn options_of(session: &mut Session, sequence: Oid) -> SequenceOptions {
    let object = names::object(session, sequence);
    let Some(Body::Sequence(def)) = object.map(|object| object.body.clone()) else { return SequenceOptions::default() };
    let SequenceDef { increment, min, max, start, cache, cycle, sql_type, .. } = &*def;
    SequenceOptions {
        sql_type: SqlType::parse(sql_type).ok(),
        increment: Some(*increment),
        min: Some(Some(*min)),
        max: Some(Some(*max)),
        start: Some(*start),
        cache: Some(*cache),
        cycle: Some(*cycle),
        ..SequenceOptions::default()
    }
}

/// 22023 for an identity column of a type that sequences do not have.
pub(super) fn check_type(sql_type: &str) -> Result<()> {
    if !matches!(sql_type, "smallint" | "integer" | "bigint") {
        let message = "identity column type must be smallint, integer, or bigint";
        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
    }
    Ok(())
}
