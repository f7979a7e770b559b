//! pg_catalog, information_schema and tidemill.*: real rows from the snapshot, made when read, and the functions that
//! need the session or the catalog.
//!
//! ```text
//! registry.rs   which relations there are: data/relations.tsv (PostgreSQL 15's) and tidemill.rs
//! provider.rs   a relation as DataFusion reads it → its fill function → batch.rs, column by column
//! relations.rs types.rs routines.rs roles.rs stats.rs information_schema/ tidemill.rs   the fill functions
//! objects.rs names.rs signatures.rs privileges.rs definitions.rs   what they and functions/ are made of
//! data.rs       PostgreSQL's own rows: data/*.tsv, made by data/generate.sh
//! ```
//! To add rows to an empty relation: write a fill function and add it to the `FILLS` of its file.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::logical_expr::{Expr, ScalarUDF};
use tidemill_catalog::Oid;
use tidemill_catalog::record::{ColumnSequence, SequenceRule};
use tidemill_udfs::types::SqlType;

use super::Scope;
use crate::Result;

mod batch;
mod data;
mod definitions;
mod deparse;
mod functions;
mod information_schema;
mod names;
mod objects;
mod privileges;
mod provider;
mod registry;
mod relations;
mod roles;
mod routines;
mod signatures;
mod stats;
mod table_functions;
mod tidemill;
mod types;
mod user_types;

#[cfg(test)]
mod tests;

pub use names::{
    format_type, quote_ident, reg_text, regclass_text, regnamespace_text, regproc_text, regrole_text, regtype_text,
    resolve_reg, resolve_regclass, resolve_regnamespace, resolve_regproc, resolve_regrole, resolve_regtype,
    resolve_role, split_name,
};

/// The system relation `schema.name` as this scope sees it: `pg_catalog.pg_class`, `information_schema.columns`.
pub fn relation(scope: &Arc<Scope>, schema: &str, name: &str) -> Option<Arc<dyn TableProvider>> {
    let relation = registry::find(schema, name)?;
    Some(Arc::new(provider::SystemTable::new(relation, scope)))
}

/// A system function in FROM (`pg_show_all_settings()`, `pg_get_keywords()`); arguments are constant expressions.
///
/// # Errors
/// 22023 and the like for bad arguments.
pub fn table_function(scope: &Arc<Scope>, name: &str, args: &[Expr]) -> Result<Option<Arc<dyn TableProvider>>> {
    table_functions::find(scope, name, args)
}

/// A scalar function that needs the scope: `current_user`, `pg_table_is_visible`, `set_config`. Names are lower case and
/// without schema. Called again for each execution, with the scope of that execution.
pub fn function(scope: &Arc<Scope>, name: &str) -> Option<Arc<ScalarUDF>> {
    functions::find(scope, name)
}

/// As [`function`], of one that a plan made for another scope calls.
pub fn rebound(scope: &Arc<Scope>, made: &ScalarUDF) -> Option<Arc<ScalarUDF>> {
    match functions::sequence::rule_of(made) {
        Some(rule) => Some(nextval(scope, rule)),
        None => function(scope, made.name()),
    }
}

/// `nextval(regclass)`, for this scope, as a column's default calls it or (as [`SequenceRule::Default`]) a statement.
pub fn nextval(scope: &Arc<Scope>, rule: SequenceRule) -> Arc<ScalarUDF> {
    functions::sequence::nextval(scope, rule)
}

/// What a call of [`nextval`] is for.
pub fn nextval_rule(function: &ScalarUDF) -> Option<SequenceRule> {
    functions::sequence::rule_of(function)
}

/// The next number of a sequence.
///
/// # Errors
/// 2200H at its end, 42501, 25006.
pub fn next_number(scope: &Scope, sequence: &ColumnSequence) -> Result<i64> {
    functions::sequence::next(scope, sequence)
}

/// True for scalar functions of [`function`] whose result is a list that stands for a set of rows: in a projection they
/// are unnested (`pg_partition_ancestors`, `_pg_expandarray`).
pub fn is_set_returning(name: &str) -> bool {
    functions::SET_RETURNING.contains(&name)
}

/// The schemas that hold system relations, with their oids.
pub fn schemas() -> [(&'static str, Oid); 3] {
    registry::SCHEMAS
}

/// A system relation as others may want to list it.
#[derive(Debug, Clone)]
pub struct SystemRelation {
    /// Its name.
    pub name: &'static str,
    /// pg_class.oid
    pub oid: Oid,
    /// Names and types of its columns.
    pub columns: Vec<(&'static str, SqlType)>,
}

/// The system relations of a schema.
pub fn relations_of(schema: &str) -> Vec<SystemRelation> {
    let of_schema = registry::all().iter().filter(|relation| relation.namespace == schema);
    of_schema
        .map(|relation| {
            let columns = relation.columns.iter().map(|column| (column.name, column.sql_type.clone()));
            SystemRelation { name: relation.name, oid: relation.oid, columns: columns.collect() }
        })
        .collect()
}

/// A column of a system relation as pg_attribute numbers it: its relation's oid, its attnum.
pub fn attribute(schema: &str, relation: &str, column: &str) -> Option<(Oid, i16)> {
    let relation = registry::find(schema, relation)?;
    Some((relation.oid, i16::try_from(relation.position(column)? + 1).ok()?))
}

/// The types of the arguments of a system function that pg_proc lists once under its name: as many as are given.
pub(crate) fn only_signature(name: &str, given: usize) -> Vec<SqlType> {
    if !functions::names().any(|known| known == name) {
        return vec![];
    }
    let [oid] = routines::named(name)[..] else { return vec![] };
    let types = routines::argument_types(oid).unwrap_or_default();
    let types: Option<Vec<SqlType>> = types.into_iter().map(|oid| SqlType::from_oid(oid, -1)).collect();
    types.filter(|types| types.len() >= given).unwrap_or_default()
}

/// True if there is a function of that name.
pub(crate) fn has_function(name: &str) -> bool {
    !routines::named(name).is_empty()
}

/// pg_class.oid of a system relation.
pub(crate) fn relation_oid(schema: &str, name: &str) -> Option<Oid> {
    registry::find(schema, name).map(|relation| relation.oid)
}

/// System relations that only superusers may read: pg_authid, pg_statistic, pg_user_mapping, pg_shadow, pg_hba_file_rules,
/// pg_file_settings, pg_config, and others of which there are no rows.
const HIDDEN: [&str; 12] = [
    "pg_authid",
    "pg_backend_memory_contexts",
    "pg_config",
    "pg_file_settings",
    "pg_hba_file_rules",
    "pg_ident_file_mappings",
    "pg_largeobject",
    "pg_replication_origin_status",
    "pg_shadow",
    "pg_shmem_allocations",
    "pg_statistic",
    "pg_user_mapping",
];

/// True for a system relation that only superusers may read.
pub(crate) fn is_hidden(oid: Oid) -> bool {
    hidden(oid).is_some()
}

fn hidden(oid: Oid) -> Option<&'static registry::Relation> {
    let relation = registry::all().iter().find(|relation| relation.oid == oid)?;
    (relation.namespace == "pg_catalog" && HIDDEN.contains(&relation.name)).then_some(relation)
}

/// 42501 for a system relation that is only for superusers.
pub(crate) fn check_readable(oid: Oid) -> Result<()> {
    match hidden(oid) {
        Some(relation) => {
            let kind = if relation.kind == "v" { "view" } else { "table" };
            Err(crate::plan::rights::denied_for(kind, relation.name))
        }
        None => Ok(()),
    }
}
