//! information_schema: the standard's views of the session's database, as PostgreSQL 15 words them. Objects that the
//! current role has no privilege on are not shown.

use std::borrow::Cow;

use tidemill_catalog::sequence::SequenceDef;
use tidemill_udfs::types::SqlType;

use super::batch::Batch;
use super::objects::{self, Kind, Namespace, Rel};
use super::privileges::{self, Target};
use super::registry::Fill;
use super::relations;
use crate::plan::{Scope, rights};

mod columns;
mod constraints;
mod domains;
mod grants;
mod routines;

/// The relations whose rows are made here.
pub(crate) const FILLS: &[(&str, Fill)] = &[
    ("information_schema_catalog_name", catalog_name),
    ("schemata", schemata),
    ("tables", tables),
    ("views", views),
    ("columns", columns::columns),
    ("domains", domains::domains),
    ("domain_constraints", domains::domain_constraints),
    ("domain_udt_usage", domains::domain_udt_usage),
    ("column_domain_usage", domains::column_domain_usage),
    ("sequences", sequences),
    ("element_types", columns::element_types),
    ("character_sets", character_sets),
    ("collations", collations),
    ("enabled_roles", enabled_roles),
    ("applicable_roles", applicable_roles),
    ("table_constraints", constraints::table_constraints),
    ("check_constraints", constraints::check_constraints),
    ("key_column_usage", constraints::key_column_usage),
    ("constraint_column_usage", constraints::constraint_column_usage),
    ("constraint_table_usage", constraints::constraint_table_usage),
    ("referential_constraints", constraints::referential_constraints),
    ("view_table_usage", constraints::view_table_usage),
    ("table_privileges", |scope, batch| grants::table_privileges(scope, batch, true)),
    ("role_table_grants", |scope, batch| grants::table_privileges(scope, batch, false)),
    ("column_privileges", |scope, batch| grants::column_privileges(scope, batch, true)),
    ("role_column_grants", |scope, batch| grants::column_privileges(scope, batch, false)),
    ("usage_privileges", |scope, batch| grants::usage_privileges(scope, batch, true)),
    ("role_usage_grants", |scope, batch| grants::usage_privileges(scope, batch, false)),
    ("routines", routines::routines),
    ("parameters", routines::parameters),
];

/// The standard's boolean.
fn yes_no(value: bool) -> &'static str {
    if value { "YES" } else { "NO" }
}

/// Tables and views that the current role may see.
fn visible_relations(scope: &Scope) -> Vec<Rel<'_>> {
    let superuser = privileges::is_superuser(scope, scope.role);
    let shown = |rel: &Rel<'_>| {
        !matches!(rel.kind, Kind::Index(..) | Kind::Sequence(_))
            && (superuser || Target::relation(scope, rel).allows_any(scope, scope.role))
    };
    objects::relations(scope).into_iter().filter(shown).collect()
}

/// Fills the columns that name the database.
fn catalog(scope: &Scope, batch: &mut Batch<'_>, columns: &[&str]) {
    for column in columns {
        batch.constant(column, objects::database_name(scope));
    }
}

/// Fills table_catalog, table_schema and table_name.
fn table_names<'a>(scope: &Scope, batch: &mut Batch<'_>, rels: impl Iterator<Item = &'a Rel<'a>> + Clone) {
    catalog(scope, batch, &["table_catalog"]);
    batch.column("table_schema", rels.clone().map(|rel| rel.schema));
    batch.column("table_name", rels.map(|rel| rel.name.as_ref()));
}

fn catalog_name(scope: &Scope, batch: &mut Batch<'_>) {
    batch.rows(1);
    catalog(scope, batch, &["catalog_name"]);
}

fn schemata(scope: &Scope, batch: &mut Batch<'_>) {
    let shown = |schema: &Namespace<'_>| {
        let target = Target::schema(schema);
        !target.held(&scope.snapshot.catalog, scope.role).is_empty()
    };
    let all: Vec<_> = objects::namespaces(scope).into_iter().filter(shown).collect();
    batch.rows(all.len());
    catalog(scope, batch, &["catalog_name"]);
    batch.column("schema_name", all.iter().map(|schema| schema.name));
    batch.column("schema_owner", all.iter().map(|schema| objects::role_name(scope, schema.owner)));
}

fn tables(scope: &Scope, batch: &mut Batch<'_>) {
    let all = visible_relations(scope);
    let kind = |rel: &Rel<'_>| match rel.relkind() {
        _ if rel.temporary => "LOCAL TEMPORARY",
        "r" => "BASE TABLE",
        _ => "VIEW",
    };
    batch.rows(all.len());
    table_names(scope, batch, all.iter());
    batch.column("table_type", all.iter().map(kind));
    batch.column("is_insertable_into", all.iter().map(|rel| yes_no(rel.relkind() == "r")));
    batch.constant("is_typed", "NO");
    batch.column("commit_action", all.iter().map(|rel| rel.temporary.then_some("PRESERVE")));
}

fn views(scope: &Scope, batch: &mut Batch<'_>) {
    let all: Vec<_> = visible_relations(scope).into_iter().filter(|rel| rel.relkind() == "v").collect();
    let me = rights::memberships(&scope.snapshot.catalog, scope.role, true);
    let superuser = privileges::is_superuser(scope, scope.role);
    let definition = |rel: &Rel<'_>| {
        let mine = superuser || me.contains(&rel.owner);
        super::definitions::view_definition(rel).filter(|_| mine)
    };
    batch.rows(all.len());
    table_names(scope, batch, all.iter());
    batch.column("view_definition", all.iter().map(definition));
    batch.constant("check_option", "NONE");
    for column in ["is_updatable", "is_insertable_into"] {
        batch.constant(column, "NO");
    }
    for column in ["is_trigger_updatable", "is_trigger_deletable", "is_trigger_insertable_into"] {
        batch.constant(column, "NO");
    }
}

fn sequences(scope: &Scope, batch: &mut Batch<'_>) {
    let superuser = privileges::is_superuser(scope, scope.role);
    let shown = |rel: &Rel<'_>| superuser || Target::relation(scope, rel).allows_any(scope, scope.role);
    // Those of identity columns are no objects of the standard's.
    let all: Vec<_> =
        relations::sequences(scope).into_iter().filter(|(rel, def)| !def.is_identity && shown(rel)).collect();
    let bits = |(_, def): &(Rel<'_>, &SequenceDef)| match relations::sequence_type(def) {
        SqlType::Int2 => 16,
        SqlType::Int4 => 32,
        _ => 64,
    };
    batch.rows(all.len());
    catalog(scope, batch, &["sequence_catalog"]);
    batch.column("sequence_schema", all.iter().map(|(rel, _)| rel.schema));
    batch.column("sequence_name", all.iter().map(|(rel, _)| rel.name.as_ref()));
    batch.column("data_type", all.iter().map(|(_, def)| def.sql_type.as_str()));
    batch.column("numeric_precision", all.iter().map(bits));
    batch.constant("numeric_precision_radix", 2);
    batch.constant("numeric_scale", 0);
    batch.column("start_value", all.iter().map(|(_, def)| def.start.to_string()));
    batch.column("minimum_value", all.iter().map(|(_, def)| def.min.to_string()));
    batch.column("maximum_value", all.iter().map(|(_, def)| def.max.to_string()));
    batch.column("increment", all.iter().map(|(_, def)| def.increment.to_string()));
    batch.column("cycle_option", all.iter().map(|(_, def)| yes_no(def.cycle)));
}

fn character_sets(scope: &Scope, batch: &mut Batch<'_>) {
    batch.rows(1);
    batch.constant("character_set_name", "UTF8");
    batch.constant("character_repertoire", "UCS");
    batch.constant("form_of_use", "UTF8");
    catalog(scope, batch, &["default_collate_catalog"]);
    batch.constant("default_collate_schema", "pg_catalog");
    batch.constant("default_collate_name", "default");
}

fn collations(scope: &Scope, batch: &mut Batch<'_>) {
    let table = super::data::collations();
    let name = table.position("collname").unwrap_or_default();
    batch.rows(table.len());
    catalog(scope, batch, &["collation_catalog"]);
    batch.constant("collation_schema", "pg_catalog");
    batch.column("collation_name", (0..table.len()).map(|row| table.text(row, name)));
    batch.constant("pad_attribute", "NO PAD");
}

fn enabled_roles(scope: &Scope, batch: &mut Batch<'_>) {
    let mine = rights::memberships(&scope.snapshot.catalog, scope.role, true);
    let superuser = privileges::is_superuser(scope, scope.role);
    let all: Vec<Cow<'_, str>> = objects::roles(scope)
        .filter(|(role, _)| superuser || mine.contains(&role.oid))
        .map(|(role, _)| Cow::Borrowed(role.name.as_str()))
        .collect();
    batch.rows(all.len());
    batch.column("role_name", all);
}

fn applicable_roles(scope: &Scope, batch: &mut Batch<'_>) {
    let mine = rights::memberships(&scope.snapshot.catalog, scope.role, true);
    let superuser = privileges::is_superuser(scope, scope.role);
    let all: Vec<_> = objects::roles(scope)
        .filter(|(member, _)| superuser || mine.contains(&member.oid))
        .flat_map(|(member, role)| {
            role.member_of.iter().map(|group| (&member.name, *group, role.admin_of.contains(group)))
        })
        .collect();
    batch.rows(all.len());
    batch.column("grantee", all.iter().map(|(member, ..)| *member));
    batch.column("role_name", all.iter().map(|(_, group, _)| objects::role_name(scope, *group)));
    batch.column("is_grantable", all.iter().map(|(.., admin)| yes_no(*admin)));
}
