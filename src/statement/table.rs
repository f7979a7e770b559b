//! CREATE TABLE, CREATE TABLE AS, ALTER TABLE, TRUNCATE.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::sql::sqlparser::ast;
use tidemill_catalog::Oid;
use tidemill_catalog::acl::Privileges;
use tidemill_catalog::record::{Body, Change, CheckDef, ColumnDef, Object, TableDef, TableOptions, Write};
use tidemill_catalog::snapshot::TableState;
use tidemill_udfs::types::SqlType;
use tokio_util::sync::CancellationToken;

use super::control::{AlterTable, CheckSyntax, ColumnSyntax, CreateTable, Name};
use super::parse::{Parsed, parse_expression};
use super::sink::RowSink;
use super::trees::{RelationKind, SequenceOptions, TypeName};
use super::{constraint, defaults, domain, identity, like, names, options, retype, sequence, user_type};
use crate::error::SqlState;
use crate::plan::rights::On;
use crate::plan::{Scope, TEMP_SCHEMA, user_types};
use crate::session::{Outcome, Session};
use crate::{Error, Result};

/// Columns of one table; PostgreSQL's own limit.
pub(super) const COLUMNS_MAX: usize = 1600;

pub(super) async fn create(
    session: &mut Session,
    create: &CreateTable,
    parsed: &Parsed,
    cancel: &CancellationToken,
) -> Result<String> {
    session.require_writable(if create.query.is_some() { "CREATE TABLE AS" } else { "CREATE TABLE" })?;
    let schema = names::creation_schema(session, &create.name, create.temporary)?;
    let temporary = schema == TEMP_SCHEMA;
    names::require_create(session, schema).map_err(|error| error.at(create.name.offset))?;
    let _ = parsed;
    let name = create.name.last();
    let (main, temp) = names::catalogs(session);
    let catalog = if temporary { temp } else { main };
    let is_taken = catalog.find(schema, tidemill_catalog::snapshot::NameClass::Relation, name).is_some()
        || catalog.table_of_index(schema, name).is_some();
    if is_taken {
        if create.if_not_exists {
            session.notice(
                "NOTICE",
                SqlState::DUPLICATE_TABLE,
                format!("relation \"{name}\" already exists, skipping"),
            );
            return Ok(if create.query.is_some() { "CREATE TABLE AS" } else { "CREATE TABLE" }.into());
        }
        return Err(Error::new(SqlState::DUPLICATE_TABLE, format!("relation \"{name}\" already exists")));
    }
    let source = match &create.query {
        Some(query) => Some(session.parse_inner(Some((**query).clone()), &[], true)?),
        None => None,
    };
    let syntax = match &source {
        Some(source) => columns_of_query(create, source.columns.as_deref().unwrap_or_default())?,
        None => create.columns.clone(),
    };
    let scope = session.scope(cancel);
    let oid = session.fresh_oid(temporary);
    let owner = sequence::owner(session, schema)?;
    let mut changes = vec![];
    let table = identity::Table { oid, name, schema, owner };
    let def = define(session, &scope, create, &syntax, table, &mut changes)?;
    if create.on_commit_drop.is_some() && !temporary {
        return Err(Error::new(SqlState::INVALID_TABLE_DEFINITION, "ON COMMIT can only be used on temporary tables"));
    }
    let object = Object {
        oid,
        parent: schema,
        name: name.to_owned(),
        owner,
        version: 1,
        comment: None,
        acl: names::initial_acl(session, scope.role, schema, On::Relation),
        depends_on: def.dependencies(oid),
        body: Body::Table(Arc::new(def)),
    };
    let object = Arc::new(object);
    if let Body::Table(def) = &object.body {
        changes.extend(user_type::expected(session, def.user_types()));
    }
    changes.push(Change::Put(Arc::clone(&object)));
    session.apply(changes)?;
    let like_indexes = create.like.iter().any(|like| like.including.indexes);
    if like_indexes || !create.unique.is_empty() || !create.foreign_keys.is_empty() {
        constrain(session, &object, create)?;
    }
    if let Some(drop) = create.on_commit_drop {
        session.on_commit.insert(oid, drop);
    }
    match source {
        Some(source) if !create.no_data => {
            // Values as they are, not as a client would see them.
            let portal = session.portal(&source, vec![], vec![1])?;
            let Outcome::Rows { stream, .. } = Box::pin(session.run_inner(&portal, cancel)).await? else {
                return Err(Error::internal("a query without rows"));
            };
            let mut sink = RowSink::new(session, oid, &scope)?;
            let rows = sink.consume(stream).await?;
            let write = sink.finish().await?;
            session.apply(vec![Change::Write(write)])?;
            Ok(format!("SELECT {rows}"))
        }
        Some(_) => Ok("CREATE TABLE AS".into()),
        None => Ok("CREATE TABLE".into()),
    }
}

/// Adds the constraints that need the table to be there.
fn constrain(session: &mut Session, object: &Arc<Object>, create: &CreateTable) -> Result<()> {
    let Body::Table(def) = &object.body else { return Err(Error::internal("a table that is none")) };
    let mut def = TableDef::clone(def);
    for unique in like::unique(session, create)?.iter().chain(&create.unique) {
        constraint::add_unique(session, object, &mut def, unique)?;
    }
    let indexes = like::indexes(session, create, object.parent, &def)?;
    def.indexes.extend(indexes);
    for key in &create.foreign_keys {
        constraint::add_foreign_key(session, object, &mut def, key)?;
    }
    session.apply(vec![Change::Put(constraint::with_definition(object, def))])
}

fn columns_of_query(create: &CreateTable, columns: &[crate::session::Column]) -> Result<Vec<ColumnSyntax>> {
    if create.columns.len() > columns.len() {
        return Err(Error::new(SqlState::SYNTAX_ERROR, "too many column names were specified"));
    }
    Ok(columns
        .iter()
        .enumerate()
        .map(|(at, column)| ColumnSyntax {
            name: create.columns.get(at).map_or_else(|| column.name.clone(), |named| named.name.clone()),
            sql_type: Some(match &column.sql_type {
                SqlType::Unknown => TypeName::Known(SqlType::Text, None),
                other => TypeName::Known(other.clone(), column.precision),
            }),
            not_null: false,
            default: None,
            serial: false,
            identity: None,
            checks: vec![],
            unique: vec![],
            foreign_keys: vec![],
            primary_key: false,
            key_name: None,
            offset: create.name.offset,
        })
        .collect())
}

/// The definition, checked: names, types, defaults, checks, options. `before`: changes that go before the table's.
fn define(
    session: &mut Session,
    scope: &Arc<Scope>,
    create: &CreateTable,
    syntax: &[ColumnSyntax],
    table: identity::Table<'_>,
    before: &mut Vec<Change>,
) -> Result<TableDef> {
    let mut columns: Vec<ColumnDef> = vec![];
    let mut primary_key = create.primary_key.clone();
    let mut checks = vec![];
    for at in 0..=syntax.len() {
        for like in create.like.iter().filter(|like| like.at == at || at == syntax.len() && like.at > at) {
            let source = like::source(session, like)?;
            for column in source.columns(&like.including) {
                let mut column = ColumnDef { id: next_id(&columns), ..column };
                if let Some(identity) = column.sequence.filter(|_| column.is_identity()) {
                    let options = identity::options_of(session, identity.oid);
                    column.sequence = Some(table.make(session, &column, identity.rule, &options, before)?);
                }
                columns.push(column);
            }
            if primary_key.is_empty() && like.including.indexes {
                primary_key = source.primary_key();
            }
            checks.extend(source.checks(&like.including, || session.instance.store.next_oid()));
        }
        let Some(column) = syntax.get(at) else { break };
        let mut def = column_def(session, scope, column, next_id(&columns), &primary_key)?;
        table.sequence_of(session, column, &mut def, before)?;
        columns.push(def);
    }
    check_columns(&columns, syntax)?;
    for key in &primary_key {
        match columns.iter_mut().find(|column| column.name == *key) {
            Some(column) => column.nullable = false,
            None => {
                return Err(Error::new(
                    SqlState::UNDEFINED_COLUMN,
                    format!("column \"{key}\" named in key does not exist"),
                ));
            }
        }
    }
    let given: BTreeMap<_, _> = create.options.iter().cloned().collect();
    let table_options = options::resolve(&given, &columns, &primary_key)?;
    let mut def = TableDef {
        next_column_id: next_id(&columns),
        columns,
        checks,
        indexes: vec![],
        foreign_keys: vec![],
        primary_key,
        primary_key_name: None,
        options: table_options,
        given_options: given,
        column_mapping: false,
    };
    check_key(&def)?;
    constraint::name_key(session, table.schema, create.name.last(), &mut def, create.key_name.as_deref())?;
    let of_columns = syntax.iter().flat_map(|column| column.checks.iter().map(move |check| (check, Some(column))));
    for (check, column) in of_columns.chain(create.checks.iter().map(|check| (check, None))) {
        let check = check_def(session, scope, &def, create.name.last(), check, column.map(|column| &*column.name))?;
        def.checks.push(check);
    }
    Ok(def)
}

fn next_id(columns: &[ColumnDef]) -> i32 {
    i32::try_from(columns.len()).map_or(i32::MAX, |count| count + 1)
}

fn check_columns(columns: &[ColumnDef], syntax: &[ColumnSyntax]) -> Result<()> {
    if columns.len() > COLUMNS_MAX {
        return Err(Error::new(SqlState::TOO_MANY_COLUMNS, format!("tables can have at most {COLUMNS_MAX} columns")));
    }
    if columns.is_empty() {
        return Err(Error::unsupported("a table without columns is not supported").hint("Give it at least one column."));
    }
    let mut seen = std::collections::HashSet::new();
    for column in columns {
        if !seen.insert(&column.name) {
            let error =
                Error::new(SqlState::DUPLICATE_COLUMN, format!("column \"{}\" specified more than once", column.name));
            return Err(match syntax.iter().rfind(|syntax| syntax.name == column.name) {
                Some(syntax) => error.at(syntax.offset),
                None => error,
            });
        }
        if let Some(reserved) =
            ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"].iter().find(|reserved| **reserved == column.name)
        {
            return Err(Error::new(
                SqlState::DUPLICATE_COLUMN,
                format!("column name \"{reserved}\" conflicts with a system column name"),
            ));
        }
    }
    Ok(())
}

fn column_def(
    session: &mut Session,
    scope: &Arc<Scope>,
    syntax: &ColumnSyntax,
    id: i32,
    primary_key: &[String],
) -> Result<ColumnDef> {
    let name = syntax.sql_type.as_ref().ok_or_else(|| Error::internal("a column without a type"))?;
    let (sql_type, user_type) = user_type::resolve(session, name)?;
    storable(&sql_type, syntax)?;
    let mut column = ColumnDef {
        id,
        name: syntax.name.clone(),
        physical_name: syntax.name.clone(),
        sql_type: sql_type.stored_with(user_type::precision(name)),
        data_type: sql_type.data_type(),
        nullable: !syntax.not_null && !primary_key.contains(&syntax.name),
        default: None,
        missing_value: None,
        user_type: user_type.or_else(|| user_types::of(&sql_type)),
        sequence: None,
        source_field: None,
        comment: None,
    };
    defaults::set(session, scope, &mut column, syntax.default.as_ref())?;
    Ok(column)
}

/// 42P16 for types that only queries have.
fn storable(sql_type: &SqlType, syntax: &ColumnSyntax) -> Result<()> {
    let pseudo = match sql_type {
        SqlType::Record | SqlType::Void | SqlType::Unknown => true,
        SqlType::Array(item) => matches!(**item, SqlType::Record | SqlType::Void | SqlType::Unknown),
        _ => false,
    };
    if pseudo || tidemill_catalog::record::data_type_name(&sql_type.data_type()).is_err() {
        return Err(Error::new(
            SqlState::INVALID_TABLE_DEFINITION,
            format!("column \"{}\" has pseudo-type {}", syntax.name, sql_type.name()),
        )
        .at(syntax.offset));
    }
    Ok(())
}

fn check_def(
    session: &mut Session,
    scope: &Arc<Scope>,
    def: &TableDef,
    table: &str,
    check: &CheckSyntax,
    column: Option<&str>,
) -> Result<CheckDef> {
    let planner = Arc::clone(&session.planner);
    let schema = DFSchema::try_from_qualified_schema(table, &def.schema())?;
    let condition = planner.expression(scope, &schema, &check.condition.ast)?;
    let sql_type = planner.type_of(&condition, &schema)?;
    if !matches!(sql_type, SqlType::Bool | SqlType::Unknown) {
        return Err(Error::new(
            SqlState::DATATYPE_MISMATCH,
            format!("argument of CHECK must be type boolean, not type {}", sql_type.name()),
        )
        .at(check.condition.offset));
    }
    let taken = |name: &str| def.checks.iter().any(|check| check.name == name);
    let name = match &check.name {
        Some(name) if taken(name) => {
            return Err(Error::new(
                SqlState::DUPLICATE_OBJECT,
                format!("constraint \"{name}\" for relation \"{table}\" already exists"),
            ));
        }
        Some(name) => name.clone(),
        None => {
            let column = column.map(str::to_owned).or_else(|| {
                // PostgreSQL names a table constraint after its column if it is about just one.
                match condition.column_refs().iter().collect::<Vec<_>>().as_slice() {
                    [one] => Some(one.name.clone()),
                    _ => None,
                }
            });
            let base = column.map_or_else(|| format!("{table}_check"), |column| format!("{table}_{column}_check"));
            (0..)
                .map(|n| if n == 0 { base.clone() } else { format!("{base}{n}") })
                .find(|name| !taken(name))
                .unwrap_or(base)
        }
    };
    Ok(CheckDef { oid: session.instance.store.next_oid(), name, condition: check.condition.text.clone() })
}

/// The Write that removes every row a snapshot holds of a table.
pub(crate) fn removal_of_all(table: &TableState) -> Write {
    Write {
        table: table.oid,
        remove_chunks: table.chunks.iter().flat_map(|chunk| chunk.ids.iter().copied()).collect(),
        remove_files: table.files.files.iter().map(|file| file.path.clone()).collect(),
        data_change: true,
        ..Write::default()
    }
}

/// The state of a table, permanent or temporary, as the open transaction sees it.
pub(crate) fn state(session: &mut Session, oid: Oid) -> Result<Arc<TableState>> {
    let open = session.open();
    let snapshot = if crate::session::transaction::is_temporary(oid) { open.temp_view() } else { open.view() };
    snapshot.table(oid).cloned().ok_or_else(|| Error::internal(format!("table {oid} has no rows")))
}

pub(super) fn truncate(session: &mut Session, tables: &[Name], restart: bool) -> Result<String> {
    session.require_writable("TRUNCATE TABLE")?;
    for name in tables {
        let (object, _) = names::table(session, name)?;
        names::require(session, &object, Privileges::TRUNCATE)?;
        let state = state(session, object.oid)?;
        session.apply(vec![Change::Write(removal_of_all(&state))])?;
        if restart {
            let changes = sequence::restarts(session, object.oid)?;
            session.apply(changes)?;
        }
    }
    Ok("TRUNCATE TABLE".into())
}

pub(super) async fn alter(
    session: &mut Session,
    name: &Name,
    if_exists: bool,
    kind: RelationKind,
    actions: &[AlterTable],
    cancel: &CancellationToken,
) -> Result<String> {
    let tag = format!("ALTER {}", kind.word());
    session.require_writable(&tag)?;
    let Some(mut object) = names::find_relation(session, name)? else {
        if if_exists {
            session.notice(
                "NOTICE",
                SqlState::UNDEFINED_TABLE,
                format!("relation \"{name}\" does not exist, skipping"),
            );
            return Ok(tag);
        }
        names::relation(session, name)?;
        return Ok(tag);
    };
    // ALTER TABLE takes any relation, as far as that has what is to be changed.
    if kind != RelationKind::Table && RelationKind::of(&object.body) != Some(kind) {
        let message = format!("\"{}\" is not a {}", object.name, kind.noun());
        return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message));
    }
    names::require_owner(session, &object)?;
    // A column's constraints are added when it is there.
    let mut actions: VecDeque<Cow<'_, AlterTable>> = actions.iter().map(Cow::Borrowed).collect();
    while let Some(action) = actions.pop_front() {
        let action = action.as_ref();
        let mut effects = Effects::default();
        match action {
            AlterTable::Rename(to) => {
                object = constraint::with_table_name(&object, to);
            }
            AlterTable::SetSchema(schema) => {
                let schema = names::schema(session, schema)?;
                names::require_create(session, schema)?;
                require_unlinked(session, &object, "cannot move an owned sequence into another schema")?;
                effects.before = identity::follow(session, &object, |sequence| {
                    names::changed(sequence, |sequence| sequence.parent = schema)
                });
                object = names::changed(&object, |object| object.parent = schema);
            }
            AlterTable::Owner(owner) => {
                let owner = names::role(session, owner)?;
                names::require_new_owner(session, &object, &owner)?;
                let message = format!("cannot change owner of sequence \"{}\"", object.name);
                require_unlinked(session, &object, &message)?;
                effects.before = identity::follow(session, &object, |sequence| names::with_owner(sequence, owner.oid));
                object = names::with_owner(&object, owner.oid);
            }
            AlterTable::RenameColumn { from, to } if matches!(object.body, Body::View(_)) => {
                object = rename_view_column(&object, from, to)?;
            }
            _ => {
                let Body::Table(def) = &object.body else {
                    return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{}\" is not a table", object.name)));
                };
                let mut def = (**def).clone();
                let scope = session.scope(cancel);
                if !change(session, &scope, &object, &mut def, action, &mut effects).await? {
                    continue;
                }
                object = names::changed(&object, |object| {
                    object.depends_on = def.dependencies(object.oid);
                    object.body = Body::Table(Arc::new(def));
                });
            }
        }
        let Effects { before, write, after, fill } = effects;
        session.apply(before.into_iter().chain(retype::changes(Arc::clone(&object), write)).chain(after).collect())?;
        if let Some(Fill { at, nullable }) = fill {
            let scope = session.scope(cancel);
            let write = retype::fill(session, &scope, &object, at, nullable).await?;
            session.apply(vec![Change::Write(write)])?;
            if let (false, Body::Table(def)) = (nullable, &object.body) {
                let mut def = TableDef::clone(def);
                def.columns[at].nullable = false;
                object = constraint::with_definition(&object, def);
                session.apply(vec![Change::Put(Arc::clone(&object))])?;
            }
        }
        if let AlterTable::AddColumn { column, .. } = action {
            constraint::of_column(column).into_iter().rev().for_each(|action| actions.push_front(Cow::Owned(action)));
        }
        if let AlterTable::DropColumn { name, .. } = action {
            check_views(session, &object, name, cancel)?;
        }
    }
    Ok(tag)
}

/// What an action does besides changing the table's definition.
#[derive(Default)]
struct Effects {
    /// Changes before the table's.
    before: Vec<Change>,
    /// Rows that go with the new definition.
    write: Option<Write>,
    /// Changes after the table's.
    after: Vec<Change>,
    /// A new column whose default gives each row another value.
    fill: Option<Fill>,
}

/// A new column that is NULL in the rows that are there, until they are written again.
struct Fill {
    /// Its place.
    at: usize,
    /// May be NULL then.
    nullable: bool,
}

/// 0A000 for a sequence that goes with a table, and follows that.
fn require_unlinked(session: &mut Session, object: &Object, message: &str) -> Result<()> {
    match &object.body {
        Body::Sequence(def) if def.owned_by.is_some() => {
            Err(Error::unsupported(message).detail(sequence::linked(session, object)))
        }
        _ => Ok(()),
    }
}

/// 2BP01 if a view reads the column that was dropped.
fn check_views(session: &mut Session, table: &Object, column: &str, cancel: &CancellationToken) -> Result<()> {
    let scope = session.scope(cancel);
    let planner = Arc::clone(&session.planner);
    for object in scope.snapshot.catalog.objects.values().chain(scope.temp.catalog.objects.values()) {
        if let Body::View(view) = &object.body
            && object.depends_on.contains(&table.oid)
            && !planner.view_stands(&scope, view)
        {
            let what = format!("column {column} of table {}", table.name);
            return Err(Error::new(
                SqlState::DEPENDENT_OBJECTS_STILL_EXIST,
                format!("cannot drop {what} because other objects depend on it"),
            )
            .detail(format!("view {} depends on {what}", object.name))
            .hint("Drop the views first."));
        }
    }
    Ok(())
}

fn rename_view_column(object: &Object, from: &str, to: &str) -> Result<Arc<Object>> {
    let Body::View(view) = &object.body else { return Err(Error::internal("not a view")) };
    let mut view = view.clone();
    rename_column(&mut view.columns, &object.name, from, to)?;
    Ok(names::changed(object, |object| object.body = Body::View(view)))
}

fn no_column(table: &str, column: &str) -> Error {
    Error::new(SqlState::UNDEFINED_COLUMN, format!("column \"{column}\" of relation \"{table}\" does not exist"))
}

fn rename_column(columns: &mut [ColumnDef], table: &str, from: &str, to: &str) -> Result<()> {
    if columns.iter().any(|column| column.name == to) {
        return Err(Error::new(
            SqlState::DUPLICATE_COLUMN,
            format!("column \"{to}\" of relation \"{table}\" already exists"),
        ));
    }
    let column = columns
        .iter_mut()
        .find(|column| column.name == from)
        .ok_or_else(|| Error::new(SqlState::UNDEFINED_COLUMN, format!("column \"{from}\" does not exist")))?;
    to.clone_into(&mut column.name);
    Ok(())
}

/// One change of a table's definition; false: nothing to do.
async fn change(
    session: &mut Session,
    scope: &Arc<Scope>,
    object: &Object,
    def: &mut TableDef,
    action: &AlterTable,
    effects: &mut Effects,
) -> Result<bool> {
    let table = &object.name;
    let find = |def: &TableDef, name: &str| {
        def.columns.iter().position(|column| column.name == name).ok_or_else(|| no_column(table, name))
    };
    match action {
        AlterTable::AddColumn { column, if_not_exists } => {
            return add_column(session, scope, object, def, column, *if_not_exists, effects);
        }
        AlterTable::DropColumn { name, if_exists, cascade } => {
            if *if_exists && def.column(name).is_none() {
                session.notice(
                    "NOTICE",
                    SqlState::UNDEFINED_COLUMN,
                    format!("column \"{name}\" of relation \"{table}\" does not exist, skipping"),
                );
                return Ok(false);
            }
            let at = find(def, name)?;
            let column = def.columns[at].clone();
            identity::remove_with_column(session, object, &column, &mut effects.after)?;
            constraint::drop_with_column(session, object, def, &column, *cascade, &mut effects.before)?;
            drop_column(def, at)?;
        }
        AlterTable::RenameColumn { from, to } => {
            rename_column(&mut def.columns, table, from, to)?;
            rename_references(def, from, to)?;
            def.column_mapping = true;
        }
        AlterTable::SetOptions(given) => {
            let mut all = def.given_options.clone();
            all.extend(given.iter().cloned());
            let resolved = options::resolve(&all, &def.columns, &def.primary_key)?;
            keep_upsert(&def.options, &resolved)?;
            if resolved.partition_by != def.options.partition_by {
                return Err(Error::unsupported("the partitioning of a table cannot be changed")
                    .hint("Create a new table with the partitioning you want and insert the rows."));
            }
            def.options = resolved;
            def.given_options = all;
        }
        AlterTable::ResetOptions(reset) => {
            let mut all = def.given_options.clone();
            all.retain(|name, _| !reset.contains(name));
            let resolved = options::resolve(&all, &def.columns, &def.primary_key)?;
            keep_upsert(&def.options, &resolved)?;
            def.options = resolved;
            def.given_options = all;
        }
        AlterTable::Default { column, default } => {
            let at = find(def, column)?;
            identity::require_none(&def.columns[at], table, default.is_none())?;
            defaults::set(session, scope, &mut def.columns[at], default.as_ref())?;
        }
        AlterTable::AddIdentity { column, identity } => {
            let at = find(def, column)?;
            identity::add(session, object, &mut def.columns[at], identity, &mut effects.before)?;
        }
        AlterTable::SetIdentity { column, always, options } => {
            let at = find(def, column)?;
            identity::set(session, object, &mut def.columns[at], *always, options, &mut effects.before)?;
        }
        AlterTable::DropIdentity { column, if_exists } => {
            let at = find(def, column)?;
            return identity::remove(session, object, &mut def.columns[at], *if_exists, &mut effects.after);
        }
        AlterTable::NotNull { column, not_null } => {
            let at = find(def, column)?;
            if !not_null && def.primary_key.contains(column) {
                return Err(Error::new(
                    SqlState::INVALID_TABLE_DEFINITION,
                    format!("column \"{column}\" is in a primary key"),
                ));
            }
            if !not_null {
                identity::require_none(&def.columns[at], table, false)?;
            }
            if *not_null && def.columns[at].nullable {
                let quoted = column.replace('"', "\"\"");
                verify(session, scope, object.oid, &format!("\"{quoted}\" IS NOT NULL"), || {
                    Error::new(
                        SqlState::NOT_NULL_VIOLATION,
                        format!("column \"{column}\" of relation \"{table}\" contains null values"),
                    )
                })
                .await?;
            }
            def.columns[at].nullable = !not_null;
        }
        AlterTable::Type { column, sql_type, using } => {
            let at = find(def, column)?;
            let precision = user_type::precision(sql_type);
            let (sql_type, user_type) = user_type::resolve(session, sql_type)?;
            effects.before.extend(user_type::expected(session, user_type.into_iter()));
            effects.write =
                retype::alter_type(session, scope, object, def, at, (&sql_type, precision, user_type), using.as_ref())
                    .await?;
            if def.columns[at].is_identity() {
                identity::check_type(&def.columns[at].sql_type)?;
                // The sequence's numbers become that type too.
                let options = SequenceOptions { sql_type: Some(sql_type.clone()), ..SequenceOptions::default() };
                identity::set(session, object, &mut def.columns[at], None, &options, &mut effects.before)?;
            }
            if effects.write.is_none() {
                return Ok(false);
            }
            def.options = options::resolve(&def.given_options, &def.columns, &def.primary_key)?;
        }
        AlterTable::AddPrimaryKey { name, columns } => {
            add_primary_key(session, scope, object, def, name.as_deref(), columns).await?;
            let made_on = Some(session.open().view().lsn);
            effects.write = Some(Write { table: object.oid, made_on, alone: true, ..Write::default() });
        }
        AlterTable::AddCheck(check) => {
            let check = check_def(session, scope, def, table, check, None)?;
            verify(session, scope, object.oid, &check.condition, || {
                Error::new(
                    SqlState::CHECK_VIOLATION,
                    format!("check constraint \"{}\" of relation \"{table}\" is violated by some row", check.name),
                )
            })
            .await?;
            def.checks.push(check);
        }
        AlterTable::AddUnique(unique) => {
            let key = constraint::add_unique(session, object, def, unique)?;
            constraint::require_unique(session, scope, object, def, &key).await?;
            let made_on = Some(session.open().view().lsn);
            effects.write = Some(Write { table: object.oid, made_on, alone: true, ..Write::default() });
        }
        AlterTable::AddForeignKey(key) => constraint::add_foreign_key(session, object, def, key)?,
        AlterTable::RenameConstraint { from, to } => constraint::rename(session, object, def, from, to)?,
        AlterTable::DropConstraint { name, if_exists, cascade } => {
            if !constraint::drop(session, object, def, name, *cascade, &mut effects.before)? {
                let message = format!("constraint \"{name}\" of relation \"{table}\" does not exist");
                if !if_exists {
                    return Err(Error::new(SqlState::UNDEFINED_OBJECT, message));
                }
                session.notice("NOTICE", SqlState::UNDEFINED_OBJECT, format!("{message}, skipping"));
                return Ok(false);
            }
        }
        AlterTable::Rename(_) | AlterTable::SetSchema(_) | AlterTable::Owner(_) => {
            return Err(Error::internal("handled by the caller"));
        }
    }
    Ok(true)
}

/// ADD PRIMARY KEY: no row may have NULL in it, and no two the same.
async fn add_primary_key(
    session: &mut Session,
    scope: &Arc<Scope>,
    object: &Object,
    def: &mut TableDef,
    name: Option<&str>,
    columns: &[String],
) -> Result<()> {
    let table = &object.name;
    if !def.primary_key.is_empty() {
        return Err(Error::new(
            SqlState::INVALID_TABLE_DEFINITION,
            format!("multiple primary keys for table \"{table}\" are not allowed"),
        ));
    }
    if let Some(name) = name {
        constraint::require_free_name(def, table, name)?;
    }
    let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    for column in columns {
        let at = def.columns.iter().position(|known| known.name == *column).ok_or_else(|| {
            Error::new(
                SqlState::UNDEFINED_COLUMN,
                format!("column \"{column}\" of relation \"{table}\" does not exist"),
            )
        })?;
        if def.columns[at].nullable {
            verify(session, scope, object.oid, &format!("{} IS NOT NULL", quote(column)), || {
                Error::new(
                    SqlState::NOT_NULL_VIOLATION,
                    format!("column \"{column}\" of relation \"{table}\" contains null values"),
                )
            })
            .await?;
            def.columns[at].nullable = false;
        }
    }
    columns.clone_into(&mut def.primary_key);
    constraint::name_key(session, object.parent, table, def, name)?;
    check_key(def)?;
    let state = state(session, object.oid)?;
    let planner = Arc::clone(&session.planner);
    if let Some(values) = planner.repeated_key(scope, table, &state, def).await? {
        let index = def.key_name(table).unwrap_or_default();
        return Err(Error::new(SqlState::UNIQUE_VIOLATION, format!("could not create unique index \"{index}\""))
            .detail(format!("Key ({})=({}) is duplicated.", columns.join(", "), values.join(", "))));
    }
    Ok(())
}

/// 42704 for a primary key of values that have no order.
fn check_key(def: &TableDef) -> Result<()> {
    def.key_columns().into_iter().try_for_each(|key| check_key_column(&def.columns[key]))
}

/// 42704 for a column that no key can have.
pub(super) fn check_key_column(column: &ColumnDef) -> Result<()> {
    if matches!(SqlType::of_stored(&column.sql_type)?, SqlType::Json) {
        return Err(Error::new(
            SqlState::UNDEFINED_OBJECT,
            "data type json has no default operator class for access method \"btree\"",
        )
        .hint(
            "You must specify an operator class for the index or define a default operator class for the data type.",
        ));
    }
    Ok(())
}

fn add_column(
    session: &mut Session,
    scope: &Arc<Scope>,
    object: &Object,
    def: &mut TableDef,
    column: &ColumnSyntax,
    if_not_exists: bool,
    effects: &mut Effects,
) -> Result<bool> {
    let table = &object.name;
    if def.column(&column.name).is_some() {
        let message = format!("column \"{}\" of relation \"{table}\" already exists", column.name);
        if if_not_exists {
            session.notice("NOTICE", SqlState::DUPLICATE_COLUMN, format!("{message}, skipping"));
            return Ok(false);
        }
        return Err(Error::new(SqlState::DUPLICATE_COLUMN, message).at(column.offset));
    }
    let mut added = column_def(session, scope, column, def.next_column_id, &[])?;
    effects.before.extend(user_type::expected(session, added.user_type.into_iter()));
    identity::Table::of(object).sequence_of(session, column, &mut added, &mut effects.before)?;
    let has_rows = state(session, object.oid)?.has_rows();
    if has_rows {
        domain::check_default(session, scope, &added)?;
    }
    // Its name in files must be new: an older column may have had it.
    let taken = |name: &str| def.columns.iter().any(|column| column.physical_name == name);
    if taken(&added.physical_name) || def.column_mapping {
        added.physical_name = format!("{}_{}", added.name, added.id);
    }
    // Rows written before have the default's value now, once and for all, as in PostgreSQL; or one each.
    let is_each = if column.serial || column.identity.is_some() {
        true
    } else {
        match defaults::constant(session, scope, &added)? {
            Ok(value) => {
                added.missing_value = value;
                false
            }
            Err(defaults::EachRow) => true,
        }
    };
    if is_each && has_rows {
        let nullable = std::mem::replace(&mut added.nullable, true);
        effects.fill = Some(Fill { at: def.columns.len(), nullable });
    }
    if !added.nullable && added.missing_value.is_none() && has_rows && !is_each {
        return Err(Error::new(
            SqlState::NOT_NULL_VIOLATION,
            format!("column \"{}\" of relation \"{table}\" contains null values", added.name),
        ));
    }
    def.next_column_id += 1;
    def.columns.push(added);
    check_columns(&def.columns, std::slice::from_ref(column))?;
    for check in &column.checks {
        let check = check_def(session, scope, def, table, check, Some(&column.name))?;
        def.checks.push(check);
    }
    // A table without a time column gets one with its first timestamp.
    def.options = options::resolve(&def.given_options, &def.columns, &def.primary_key)?;
    Ok(true)
}

/// Which rows of a table count is said once: rows that were replaced may be gone.
fn keep_upsert(old: &TableOptions, new: &TableOptions) -> Result<()> {
    if old.upsert == new.upsert {
        return Ok(());
    }
    Err(Error::unsupported("tidemill.upsert cannot be changed")
        .hint("Create a new table with the option you want and insert the rows."))
}

/// Adds a column for a field of ingested documents; it is NULL in the rows before.
///
/// # Errors
/// 54011 for too many columns.
pub(super) fn push_column(def: &mut TableDef, name: &str, sql_type: &SqlType, field: &str) -> Result<()> {
    let id = def.next_column_id;
    let taken = def.columns.iter().any(|column| column.physical_name == name);
    def.columns.push(ColumnDef {
        id,
        name: name.to_owned(),
        physical_name: if taken || def.column_mapping { format!("{name}_{id}") } else { name.to_owned() },
        sql_type: sql_type.name(),
        data_type: sql_type.data_type(),
        nullable: true,
        default: None,
        missing_value: None,
        user_type: None,
        sequence: None,
        source_field: (name != field).then(|| field.to_owned()),
        comment: None,
    });
    def.next_column_id += 1;
    check_columns(&def.columns, &[])?;
    def.options = options::resolve(&def.given_options, &def.columns, &def.primary_key)?;
    Ok(())
}

pub(super) fn drop_column(def: &mut TableDef, at: usize) -> Result<()> {
    if def.columns.len() == 1 {
        return Err(Error::unsupported("a table's last column cannot be dropped").hint("Drop the table instead."));
    }
    let name = def.columns[at].name.clone();
    if def.options.partition_by.contains(&name) {
        return Err(Error::unsupported(format!("column \"{name}\" is a partition column and cannot be dropped")));
    }
    let mut kept = vec![];
    for check in std::mem::take(&mut def.checks) {
        // PostgreSQL drops the constraints that mention the column.
        if !mentions(&check.condition, &name)? {
            kept.push(check);
        }
    }
    def.checks = kept;
    if def.options.upsert.is_some() && (def.primary_key.contains(&name) || def.options.upsert.as_ref() == Some(&name)) {
        return Err(Error::unsupported(format!("column \"{name}\" says which rows count and cannot be dropped")));
    }
    // As PostgreSQL does, the constraint goes with any of its columns.
    if def.primary_key.contains(&name) {
        def.primary_key.clear();
        def.primary_key_name = None;
    }
    def.columns.remove(at);
    def.column_mapping = true;
    def.given_options.retain(|_, value| !crate::session::settings::split_identifiers(value).contains(&name));
    def.options = options::resolve(&def.given_options, &def.columns, &def.primary_key)?;
    Ok(())
}

/// True if a stored expression refers to a column.
pub(super) fn mentions(condition: &str, column: &str) -> Result<bool> {
    let ast = parse_expression(condition)?;
    let found = ast::visit_expressions(&ast, |expr| {
        let ident = match expr {
            ast::Expr::Identifier(ident) => Some(ident),
            ast::Expr::CompoundIdentifier(parts) => parts.last(),
            _ => None,
        };
        match ident {
            Some(ident) if ident.value.eq_ignore_ascii_case(column) => std::ops::ControlFlow::Break(()),
            _ => std::ops::ControlFlow::Continue(()),
        }
    });
    Ok(found.is_break())
}

/// After a column was renamed: options and key follow; a CHECK or DEFAULT text cannot be changed without printing SQL, so
/// a CHECK that mentions the column refuses the rename.
fn rename_references(def: &mut TableDef, from: &str, to: &str) -> Result<()> {
    for check in &def.checks {
        if mentions(&check.condition, from)? {
            return Err(Error::new(
                SqlState::DEPENDENT_OBJECTS_STILL_EXIST,
                format!("cannot rename column \"{from}\" because check constraint \"{}\" uses it", check.name),
            )
            .hint(format!("Drop constraint \"{}\" first and add it again afterwards.", check.name)));
        }
    }
    for index in &def.indexes {
        let texts = index.keys.iter().filter_map(|key| key.expression.as_ref()).chain(&index.predicate);
        for text in texts {
            if mentions(text, from)? {
                let message = format!("cannot rename column \"{from}\" because index \"{}\" uses it", index.name);
                return Err(Error::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message)
                    .hint(format!("Drop index \"{}\" first and create it again afterwards.", index.name)));
            }
        }
    }
    let swap = |name: &mut String| {
        if name == from {
            to.clone_into(name);
        }
    };
    def.primary_key.iter_mut().for_each(swap);
    def.options.sort_key.iter_mut().for_each(swap);
    def.options.partition_by.iter_mut().for_each(swap);
    def.options.time_column.iter_mut().for_each(swap);
    def.options.upsert.iter_mut().for_each(swap);
    let of_columns = |option: &str| {
        matches!(option, "tidemill.time_column" | "tidemill.sort_key" | "tidemill.partition_by" | "tidemill.upsert")
    };
    for (_, value) in def.given_options.iter_mut().filter(|(option, _)| of_columns(option)) {
        let mut parts = crate::session::settings::split_identifiers(value);
        if parts.iter().any(|part| part == from) {
            parts.iter_mut().for_each(swap);
            *value = parts.join(", ");
        }
    }
    Ok(())
}

/// Fails unless a condition holds (or is NULL) for every row of a table.
async fn verify(
    session: &mut Session,
    scope: &Arc<Scope>,
    table: Oid,
    condition: &str,
    violated: impl FnOnce() -> Error,
) -> Result<()> {
    let state = state(session, table)?;
    let planner = Arc::clone(&session.planner);
    let ast = parse_expression(condition)?;
    if planner.any_row_violates(scope, &state, &ast).await? { Err(violated()) } else { Ok(()) }
}
