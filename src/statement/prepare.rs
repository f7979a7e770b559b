//! PREPARE, EXECUTE, DEALLOCATE.

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::sql::sqlparser::ast;
use tokio_util::sync::CancellationToken;

use super::parse::Parsed;
use super::trees::TypeName;
use super::user_type;
use crate::error::SqlState;
use crate::session::{Outcome, Portal, Session};
use crate::{Error, Result};

pub(super) fn prepare(session: &mut Session, name: &str, types: &[TypeName], statement: &Parsed) -> Result<String> {
    let types = types.iter().map(|name| Ok(user_type::resolve(session, name)?.0)).collect::<Result<Vec<_>>>()?;
    let prepared = session.parse_inner(Some(statement.clone()), &types, true)?;
    session.store_statement(name, prepared)?;
    Ok("PREPARE".into())
}

pub(super) async fn execute(
    session: &mut Session,
    name: &str,
    arguments: &[ast::Expr],
    cancel: &CancellationToken,
) -> Result<Outcome> {
    let portal = bound(session, name, arguments, cancel)?;
    Box::pin(session.run_inner(&portal, cancel)).await
}

/// A prepared statement with the values of EXECUTE.
///
/// # Errors
/// 26000, 42601 for another number of them, those of their expressions.
pub(super) fn bound(
    session: &mut Session,
    name: &str,
    arguments: &[ast::Expr],
    cancel: &CancellationToken,
) -> Result<Portal> {
    let prepared = session.statement(name)?;
    if arguments.len() != prepared.parameters.len() {
        return Err(Error::new(
            SqlState::SYNTAX_ERROR,
            format!("wrong number of parameters for prepared statement \"{name}\""),
        )
        .detail(format!("Expected {} parameters but got {}.", prepared.parameters.len(), arguments.len())));
    }
    let scope = session.scope(cancel);
    let planner = Arc::clone(&session.planner);
    let values = arguments
        .iter()
        .zip(&prepared.parameters)
        .map(|(argument, sql_type)| {
            let value = planner.expression(&scope, &DFSchema::empty(), argument)?;
            let from = planner.type_of(&value, &DFSchema::empty())?;
            let value = planner.assignment_cast(&scope, value, &from, sql_type, "")?;
            planner.evaluate(&scope, &value)
        })
        .collect::<Result<Vec<_>>>()?;
    session.portal(&prepared, values, vec![])
}

pub(super) fn deallocate(session: &mut Session, name: Option<&str>) -> Result<String> {
    match name {
        None => {
            session.close_statements();
            Ok("DEALLOCATE ALL".into())
        }
        Some(name) => {
            session.statement(name)?;
            session.close_statement(name);
            Ok("DEALLOCATE".into())
        }
    }
}
