//! CREATE VIEW.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast;
use tidemill_catalog::record::{Body, Change, ColumnDef, Object, ViewDef};
use tidemill_catalog::snapshot::NameClass;
use tidemill_udfs::types::SqlType;
use tokio_util::sync::CancellationToken;

use super::control::CreateView;
use super::names;
use super::parse::Statement;
use crate::error::SqlState;
use crate::plan::rights::On;
use crate::plan::{TEMP_SCHEMA, user_types};
use crate::session::transaction::is_temporary;
use crate::session::{Column, Session};
use crate::{Error, Result};

pub(super) fn create(session: &mut Session, create: &CreateView, cancel: &CancellationToken) -> Result<String> {
    session.require_writable("CREATE VIEW")?;
    let prepared = session.parse_inner(Some((*create.query).clone()), &[], true)?;
    if prepared.changes() {
        return Err(Error::unsupported("views must not contain data-modifying statements in WITH"));
    }
    let Some(columns) = &prepared.columns else {
        return Err(Error::new(SqlState::SYNTAX_ERROR, "a view must be defined by a query"));
    };
    if !prepared.parameters.is_empty() {
        return Err(Error::new(SqlState::UNDEFINED_PARAMETER, "there is no parameter $1"));
    }
    let relations = prepared.relations();
    let temporary = create.temporary || relations.iter().any(|oid| is_temporary(*oid));
    let schema = names::creation_schema(session, &create.name, temporary)?;
    names::require_create(session, schema)?;
    let columns = view_columns(create, columns)?;
    let scope = session.scope(cancel);
    let named = match &create.query.statement {
        Statement::Sql(sql) => match sql.as_ref() {
            ast::Statement::Query(query) => session.planner.view_relations(&scope, query)?,
            _ => vec![],
        },
        Statement::Control(_) => vec![],
    };
    let mut needed = relations.clone();
    needed.extend(columns.iter().filter_map(|column| column.user_type));
    if let Statement::Sql(sql) = &create.query.statement
        && let ast::Statement::Query(query) = sql.as_ref()
    {
        needed.extend(user_types::cast_to(&scope, query));
    }
    needed.sort_unstable();
    needed.dedup();
    let body = Body::View(ViewDef {
        query: create.query_text.clone(),
        search_path: scope.search_path.clone(),
        columns: columns.clone(),
        relations: named,
    });
    let name = create.name.last();
    let (main, temp) = names::catalogs(session);
    let catalog = if schema == TEMP_SCHEMA { temp } else { main };
    let object = match catalog.find(schema, NameClass::Relation, name) {
        Some(existing) if create.or_replace => {
            let Body::View(old) = &existing.body else {
                return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{name}\" is not a view")));
            };
            names::require_owner(session, existing)?;
            check_replacement(&old.columns, &columns)?;
            if relations.contains(&existing.oid) {
                return Err(Error::new(
                    SqlState::INVALID_OBJECT_DEFINITION,
                    format!("infinite recursion detected in rules for relation \"{name}\""),
                ));
            }
            names::changed(existing, |object| {
                object.body = body;
                object.depends_on = needed;
            })
        }
        Some(_) if create.if_not_exists => {
            session.notice(
                "NOTICE",
                SqlState::DUPLICATE_TABLE,
                format!("relation \"{name}\" already exists, skipping"),
            );
            return Ok("CREATE VIEW".into());
        }
        Some(_) => {
            return Err(Error::new(SqlState::DUPLICATE_TABLE, format!("relation \"{name}\" already exists")));
        }
        None => Arc::new(Object {
            oid: session.fresh_oid(schema == TEMP_SCHEMA),
            parent: schema,
            name: name.to_owned(),
            owner: if schema == TEMP_SCHEMA { session.login_role } else { scope.role },
            version: 1,
            comment: None,
            acl: names::initial_acl(session, scope.role, schema, On::Relation),
            depends_on: needed,
            body,
        }),
    };
    session.apply(vec![Change::Put(object)])?;
    Ok("CREATE VIEW".into())
}

fn view_columns(create: &CreateView, columns: &[Column]) -> Result<Vec<ColumnDef>> {
    if create.columns.len() > columns.len() {
        return Err(Error::new(SqlState::SYNTAX_ERROR, "CREATE VIEW specifies more column names than columns"));
    }
    let mut defs: Vec<ColumnDef> = vec![];
    for (at, column) in columns.iter().enumerate() {
        let name = create.columns.get(at).unwrap_or(&column.name).clone();
        if defs.iter().any(|def| def.name == name) {
            return Err(Error::new(SqlState::DUPLICATE_COLUMN, format!("column \"{name}\" specified more than once")));
        }
        let sql_type = if column.sql_type == SqlType::Unknown { SqlType::Text } else { column.sql_type.clone() };
        defs.push(ColumnDef {
            id: i32::try_from(at + 1).unwrap_or(i32::MAX),
            // What the query calls it: finds the column again when a `*` of the query has come to mean more.
            physical_name: column.name.clone(),
            name,
            sql_type: sql_type.stored_with(column.precision),
            data_type: sql_type.data_type(),
            nullable: true,
            default: None,
            missing_value: None,
            user_type: user_types::of(&sql_type),
            sequence: None,
            source_field: None,
            comment: None,
        });
    }
    Ok(defs)
}

/// OR REPLACE may add columns at the end; it may not drop, rename or retype any.
fn check_replacement(old: &[ColumnDef], new: &[ColumnDef]) -> Result<()> {
    let refuse = |message: String| Err(Error::new(SqlState::INVALID_TABLE_DEFINITION, message));
    if new.len() < old.len() {
        return refuse("cannot drop columns from view".into());
    }
    for (old, new) in old.iter().zip(new) {
        if old.name != new.name {
            return refuse(format!("cannot change name of view column \"{}\" to \"{}\"", old.name, new.name));
        }
        if old.sql_type != new.sql_type {
            return refuse(format!(
                "cannot change data type of view column \"{}\" from {} to {}",
                old.name, old.sql_type, new.sql_type
            ));
        }
    }
    Ok(())
}
