//! pg_catalog, information_schema and tidemill.*: real rows from the snapshot, made when read.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::logical_expr::{Expr, ScalarUDF};

use super::Scope;
use crate::Result;

/// The system relation `schema.name` as this scope sees it: `pg_catalog.pg_class`, `information_schema.columns`.
pub fn relation(scope: &Arc<Scope>, schema: &str, name: &str) -> Option<Arc<dyn TableProvider>> {
    let _ = (scope, schema, name);
    None
}

/// A system function in FROM (`pg_show_all_settings()`, `pg_get_keywords()`); arguments are constant expressions.
///
/// # Errors
/// 22023 and the like for bad arguments.
pub fn table_function(scope: &Arc<Scope>, name: &str, args: &[Expr]) -> Result<Option<Arc<dyn TableProvider>>> {
    let _ = (scope, name, args);
    Ok(None)
}

/// A scalar function that needs the scope: `current_user`, `pg_table_is_visible`, `set_config`. Names are lower case and
/// without schema. Called again for each execution, with the scope of that execution.
pub fn function(scope: &Arc<Scope>, name: &str) -> Option<Arc<ScalarUDF>> {
    let _ = (scope, name);
    None
}
