//! CREATE and ALTER DOMAIN.

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::sql::sqlparser::ast;
use tidemill_catalog::record::{Body, Change, CheckDef, ColumnDef, Object};
use tidemill_catalog::user_type::{DomainDef, TypeDef, TypeKind};
use tidemill_udfs::types::SqlType;
use tokio_util::sync::CancellationToken;

use super::control::CheckSyntax;
use super::database::new_object;
use super::parse::parse_expression;
use super::trees::{AlterDomain, CreateDomain};
use super::{defaults, names, sequence, user_type};
use crate::error::SqlState;
use crate::plan::{Scope, TEMP_SCHEMA, domains, user_types};
use crate::session::Session;
use crate::{Error, Result};

pub(super) fn create(session: &mut Session, create: &CreateDomain, cancel: &CancellationToken) -> Result<String> {
    const TAG: &str = "CREATE DOMAIN";
    session.require_writable(TAG)?;
    let schema = names::creation_schema(session, &create.name, false)?;
    names::require_create(session, schema)?;
    let name = create.name.last();
    user_type::require_free(session, schema, name)?;
    let (base, base_type) = user_type::resolve(session, &create.base)?;
    if matches!(base, SqlType::Record | SqlType::Void | SqlType::Unknown) {
        let message = format!("\"{}\" is not a valid base type for a domain", base.name());
        return Err(Error::new(SqlState::DATATYPE_MISMATCH, message));
    }
    let scope = session.scope(cancel);
    // As in PostgreSQL: a domain takes over the default of the one below, as it is now.
    let below = base_type.and_then(|oid| scope.domain(oid)).map(|(_, def)| def.into_owned());
    if let Some(default) = &create.default {
        defaults::check(session, &scope, default, &base, name)?;
    }
    let mut domain = DomainDef {
        base: base.stored(),
        base_type,
        not_null: create.not_null,
        default: create.default.as_ref().map(|default| default.text.clone()).or(below.and_then(|def| def.default)),
        checks: vec![],
    };
    for check in &create.checks {
        let check = check_def(session, &scope, name, &domain, check)?;
        domain.checks.push(check);
    }
    let temporary = schema == TEMP_SCHEMA;
    let (oid, array_oid) = (session.fresh_oid(temporary), session.fresh_oid(temporary));
    let owner = sequence::owner(session, schema)?;
    let body = Body::Type(Arc::new(TypeDef { array_oid, kind: TypeKind::Domain(domain) }));
    let mut object = Object::clone(&new_object(oid, schema, name, owner, vec![], body));
    object.depends_on = base_type.into_iter().collect();
    let mut changes = user_type::expected(session, base_type.into_iter());
    changes.push(Change::Put(Arc::new(object)));
    session.apply(changes)?;
    Ok(TAG.into())
}

/// A CHECK, with the name that PostgreSQL gives it.
fn check_def(
    session: &mut Session,
    scope: &Arc<Scope>,
    name: &str,
    domain: &DomainDef,
    check: &CheckSyntax,
) -> Result<CheckDef> {
    let base = SqlType::of_stored(&domain.base)?;
    let value = ast::Expr::Identifier(ast::Ident::with_quote('"', "value"));
    let condition = domains::condition(&check.condition.text, &value)?;
    let schema =
        DFSchema::from_unqualified_fields(vec![base.field("value", true)].into(), std::collections::HashMap::new())?;
    let planner = Arc::clone(&session.planner);
    let planned = planner.expression(scope, &schema, &condition)?;
    let of = planner.type_of(&planned, &schema)?;
    if !matches!(of, SqlType::Bool | SqlType::Unknown) {
        let message = format!("argument of CHECK must be type boolean, not type {}", of.name());
        return Err(Error::new(SqlState::DATATYPE_MISMATCH, message).at(check.condition.offset));
    }
    let taken = |name: &str| domain.checks.iter().any(|check| check.name == name);
    let name = match &check.name {
        Some(given) if taken(given) => {
            let message = format!("constraint \"{given}\" for domain \"{name}\" already exists");
            return Err(Error::new(SqlState::DUPLICATE_OBJECT, message));
        }
        Some(given) => given.clone(),
        None => sequence::chosen_name(name, None, "check", |name| !taken(name)),
    };
    Ok(CheckDef { oid: session.instance.store.next_oid(), name, condition: check.condition.text.clone() })
}

/// The domain with the change that an action is; `None`: there is nothing to do.
pub(super) async fn changed(
    session: &mut Session,
    object: &Object,
    action: &AlterDomain,
    cancel: &CancellationToken,
) -> Result<Option<Arc<Object>>> {
    let def = user_types::definition(object)?;
    let name = &object.name;
    let Some(domain) = def.domain() else {
        return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, format!("{name} is not a domain")));
    };
    let mut domain = domain.clone();
    let scope = session.scope(cancel);
    let find = |domain: &DomainDef, check: &str| domain.checks.iter().position(|known| known.name == check);
    let missing = |check: &str| format!("constraint \"{check}\" of domain \"{name}\" does not exist");
    match action {
        AlterDomain::Default(default) => {
            if let Some(default) = default {
                defaults::check(session, &scope, default, &SqlType::of_stored(&domain.base)?, name)?;
            }
            domain.default = default.as_ref().map(|default| default.text.clone());
        }
        AlterDomain::NotNull(not_null) => {
            if domain.not_null == *not_null {
                return Ok(None);
            }
            if *not_null {
                let failed = |column: &str, table: &str| {
                    let message = format!("column \"{column}\" of table \"{table}\" contains null values");
                    Error::new(SqlState::NOT_NULL_VIOLATION, message)
                };
                verify(session, &scope, object, "VALUE IS NOT NULL", failed).await?;
            }
            domain.not_null = *not_null;
        }
        AlterDomain::AddCheck { check, not_valid } => {
            let check = check_def(session, &scope, name, &domain, check)?;
            if !not_valid {
                let failed = |column: &str, table: &str| {
                    let message = format!(
                        "column \"{column}\" of table \"{table}\" contains values that violate the new constraint"
                    );
                    Error::new(SqlState::CHECK_VIOLATION, message)
                };
                verify(session, &scope, object, &check.condition, failed).await?;
            }
            domain.checks.push(check);
        }
        AlterDomain::DropConstraint { name: check, if_exists } => match find(&domain, check) {
            Some(at) => {
                domain.checks.remove(at);
            }
            None if *if_exists => {
                session.notice("NOTICE", SqlState::UNDEFINED_OBJECT, format!("{}, skipping", missing(check)));
                return Ok(None);
            }
            None => return Err(Error::new(SqlState::UNDEFINED_OBJECT, missing(check))),
        },
        AlterDomain::RenameConstraint { from, to } => {
            let at = find(&domain, from).ok_or_else(|| Error::new(SqlState::UNDEFINED_OBJECT, missing(from)))?;
            if find(&domain, to).is_some() {
                let message = format!("constraint \"{to}\" for domain {name} already exists");
                return Err(Error::new(SqlState::DUPLICATE_OBJECT, message));
            }
            domain.checks[at].name.clone_from(to);
        }
        AlterDomain::ValidateConstraint(check) => {
            let at = find(&domain, check).ok_or_else(|| Error::new(SqlState::UNDEFINED_OBJECT, missing(check)))?;
            let failed = |column: &str, table: &str| {
                let message =
                    format!("column \"{column}\" of table \"{table}\" contains values that violate the new constraint");
                Error::new(SqlState::CHECK_VIOLATION, message)
            };
            verify(session, &scope, object, &domain.checks[at].condition, failed).await?;
            return Ok(None);
        }
    }
    let body = Body::Type(Arc::new(TypeDef { array_oid: def.array_oid, kind: TypeKind::Domain(domain) }));
    Ok(Some(names::changed(object, |object| object.body = body)))
}

/// Fails if the default of a new column, which rows that are there get, is no value of the column's domain.
pub(super) fn check_default(session: &mut Session, scope: &Arc<Scope>, column: &ColumnDef) -> Result<()> {
    let Some((object, domain)) = column.user_type.and_then(|oid| scope.domain(oid)) else { return Ok(()) };
    let text = column.default.as_ref().or(domain.default.as_ref());
    let value = match text {
        Some(text) => parse_expression(text)?,
        None => parse_expression("NULL")?,
    };
    let schema = names::object(session, object.parent).map_or_else(String::new, |schema| schema.name.clone());
    let name =
        [schema.as_str(), &object.name].map(|part| ast::ObjectNamePart::Identifier(ast::Ident::with_quote('"', part)));
    let cast = ast::Expr::Cast {
        kind: ast::CastKind::Cast,
        expr: Box::new(value),
        data_type: ast::DataType::Custom(ast::ObjectName(name.into()), vec![]),
        array: false,
        format: None,
    };
    let planner = Arc::clone(&session.planner);
    let value = planner.expression(scope, &DFSchema::empty(), &cast)?;
    if !value.is_volatile() {
        planner.evaluate(scope, &value)?;
    }
    Ok(())
}

/// Fails unless a condition on VALUE holds (or is NULL) for all values of a domain that tables have. `failed`: of which
/// column and table.
async fn verify(
    session: &mut Session,
    scope: &Arc<Scope>,
    domain: &Object,
    condition: &str,
    failed: impl Fn(&str, &str) -> Error,
) -> Result<()> {
    let planner = Arc::clone(&session.planner);
    for object in scope.snapshot.catalog.objects.values().chain(scope.temp.catalog.objects.values()) {
        let Body::Table(def) = &object.body else { continue };
        for column in
            def.columns.iter().filter(|column| column.user_type.is_some_and(|of| scope.is_over(of, domain.oid)))
        {
            let value = ast::Expr::Identifier(ast::Ident::with_quote('"', &column.name));
            let condition = domains::condition(condition, &value)?;
            let state = super::table::state(session, object.oid)?;
            if planner.any_row_violates(scope, &state, &condition).await? {
                return Err(failed(&column.name, &object.name));
            }
        }
    }
    Ok(())
}
