//! DEFAULT: checked, and what is stored of it.

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::sql::sqlparser::ast;
use tidemill_catalog::record::{Body, ColumnDef, ColumnSequence, SequenceRule};
use tidemill_udfs::types::{SqlType, TextSettings, array_to_text};

use super::control::Expression;
use super::names;
use crate::error::SqlState;
use crate::plan::{Scope, system};
use crate::session::Session;
use crate::{Error, Result};

/// A DEFAULT must plan without columns and fit its type.
pub(super) fn check(
    session: &mut Session,
    scope: &Arc<Scope>,
    default: &Expression,
    sql_type: &SqlType,
    column: &str,
) -> Result<()> {
    let planner = Arc::clone(&session.planner);
    let empty = DFSchema::empty();
    let value = planner.expression(scope, &empty, &default.ast)?;
    let from = planner.type_of(&value, &empty)?;
    planner.assignment_cast(scope, value, &from, sql_type, column)?;
    Ok(())
}

/// Sets a column's default. `nextval` of a named sequence becomes a reference to it, which follows its renames.
///
/// # Errors
/// As [`check`]; 42P01 for a sequence that does not exist.
pub(super) fn set(
    session: &mut Session,
    scope: &Arc<Scope>,
    column: &mut ColumnDef,
    default: Option<&Expression>,
) -> Result<()> {
    (column.default, column.sequence) = (None, None);
    let Some(default) = default else { return Ok(()) };
    check(session, scope, default, &SqlType::of_stored(&column.sql_type)?, &column.name)?;
    let named = match named_sequence(&default.ast) {
        Some(name) => Some(system::resolve_regclass(scope, name)?),
        None => None,
    };
    match named.and_then(|oid| names::object(session, oid)) {
        Some(object) if matches!(object.body, Body::Sequence(_)) => {
            column.sequence = Some(ColumnSequence { oid: object.oid, rule: SequenceRule::Default });
        }
        Some(object) => {
            let message = format!("\"{}\" is not a sequence", object.name);
            return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message));
        }
        None => column.default = Some(default.text.clone()),
    }
    Ok(())
}

/// The name in `nextval('name')` and `nextval('name'::regclass)`.
fn named_sequence(default: &ast::Expr) -> Option<&str> {
    let ast::Expr::Function(function) = default else { return None };
    let name = function.name.0.last()?.as_ident()?;
    let ast::FunctionArguments::List(arguments) = &function.args else { return None };
    let [ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(argument))] = arguments.args.as_slice() else {
        return None;
    };
    let argument = match argument {
        ast::Expr::Cast { expr, data_type, .. } if data_type.to_string().eq_ignore_ascii_case("regclass") => expr,
        other => other,
    };
    let ast::Expr::Value(ast::ValueWithSpan { value: ast::Value::SingleQuotedString(text), .. }) = argument else {
        return None;
    };
    name.value.eq_ignore_ascii_case("nextval").then_some(text)
}

/// The value of a column's default now, in its type's text form; `None` for NULL. A default that gives each row another
/// value is `Err`, to be computed row by row.
pub(super) fn constant(
    session: &mut Session,
    scope: &Arc<Scope>,
    column: &ColumnDef,
) -> Result<std::result::Result<Option<String>, EachRow>> {
    let planner = Arc::clone(&session.planner);
    let sql_type = SqlType::of_stored(&column.sql_type)?;
    let value = planner.column_default(scope, column)?;
    if value.is_volatile() {
        return Ok(Err(EachRow));
    }
    let value = planner.evaluate(scope, &value)?;
    if value.is_null() {
        return Ok(Ok(None));
    }
    let array = value.to_array()?;
    // The stored text must not depend on who reads it.
    let text = array_to_text(&array, &sql_type.field("", true), &TextSettings::default())?;
    Ok(Ok(Some(text.value(0).to_owned())))
}

/// See [`constant`].
pub(super) struct EachRow;
