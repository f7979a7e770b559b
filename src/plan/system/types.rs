//! pg_type, and what PostgreSQL itself has: operators, casts, operator classes, collations, languages, ranges.

use tidemill_catalog::user_type::DomainDef;
use tidemill_udfs::types::SqlType;

use super::batch::{Batch, Value};
use super::registry::{self, Fill, Relation};
use super::user_types::{OwnType, below_domain, own_types};
use super::{data, objects};
use crate::plan::{PG_CATALOG, Scope};

/// The relations whose rows are made here.
pub(crate) const FILLS: &[(&str, Fill)] = &[
    ("pg_type", pg_type),
    ("pg_operator", pg_operator),
    ("pg_cast", |_, batch| fill("pg_cast", data::casts(), batch)),
    ("pg_opclass", pg_opclass),
    ("pg_opfamily", pg_opfamily),
    ("pg_am", |_, batch| fill("pg_am", data::access_methods(), batch)),
    ("pg_collation", pg_collation),
    ("pg_language", pg_language),
    ("pg_range", |_, batch| fill("pg_range", data::ranges(), batch)),
    ("pg_tablespace", pg_tablespace),
    ("pg_extension", pg_extension),
    ("pg_available_extensions", pg_available_extensions),
    ("pg_available_extension_versions", pg_available_extension_versions),
    ("pg_aggregate", |_, batch| fill("pg_aggregate", data::aggregates(), batch)),
    ("pg_sequence", |_, _| {}),
];

fn relation(name: &str) -> &'static Relation {
    registry::find("pg_catalog", name).expect("relations.tsv has every relation of pg_catalog")
}

fn fill(name: &str, table: &data::Table, batch: &mut Batch<'_>) {
    table.fill_all(relation(name), batch);
}

fn pg_operator(scope: &Scope, batch: &mut Batch<'_>) {
    fill("pg_operator", data::operators(), batch);
    batch.constant("oprnamespace", PG_CATALOG);
    batch.constant("oprowner", objects::bootstrap_role(scope));
}

fn pg_opclass(scope: &Scope, batch: &mut Batch<'_>) {
    fill("pg_opclass", data::opclasses(), batch);
    batch.constant("opcnamespace", PG_CATALOG);
    batch.constant("opcowner", objects::bootstrap_role(scope));
}

fn pg_opfamily(scope: &Scope, batch: &mut Batch<'_>) {
    fill("pg_opfamily", data::opfamilies(), batch);
    batch.constant("opfnamespace", PG_CATALOG);
    batch.constant("opfowner", objects::bootstrap_role(scope));
}

fn pg_collation(scope: &Scope, batch: &mut Batch<'_>) {
    fill("pg_collation", data::collations(), batch);
    batch.constant("collnamespace", PG_CATALOG);
    batch.constant("collowner", objects::bootstrap_role(scope));
}

fn pg_language(scope: &Scope, batch: &mut Batch<'_>) {
    fill("pg_language", data::languages(), batch);
    batch.constant("lanowner", objects::bootstrap_role(scope));
}

fn pg_tablespace(scope: &Scope, batch: &mut Batch<'_>) {
    fill("pg_tablespace", data::tablespaces(), batch);
    batch.constant("spcowner", objects::bootstrap_role(scope));
}

/// PL/pgSQL, the only one, by PostgreSQL 15's oid.
fn pg_extension(scope: &Scope, batch: &mut Batch<'_>) {
    batch.rows(1);
    batch.constant("oid", 13_559_u32);
    batch.constant("extname", "plpgsql");
    batch.constant("extowner", objects::bootstrap_role(scope));
    batch.constant("extnamespace", PG_CATALOG);
    batch.constant("extrelocatable", false);
    batch.constant("extversion", "1.0");
}

const PLPGSQL: &str = "PL/pgSQL procedural language";

fn pg_available_extensions(_: &Scope, batch: &mut Batch<'_>) {
    batch.rows(1);
    batch.constant("name", "plpgsql");
    batch.constant("default_version", "1.0");
    batch.constant("installed_version", "1.0");
    batch.constant("comment", PLPGSQL);
}

fn pg_available_extension_versions(_: &Scope, batch: &mut Batch<'_>) {
    batch.rows(1);
    batch.constant("name", "plpgsql");
    batch.constant("version", "1.0");
    batch.constant("schema", "pg_catalog");
    batch.constant("comment", PLPGSQL);
    for flag in ["installed", "superuser", "trusted"] {
        batch.constant(flag, true);
    }
    batch.constant("relocatable", false);
}

fn pg_type(scope: &Scope, batch: &mut Batch<'_>) {
    let table = data::types();
    let own = own_types(scope);
    batch.rows(table.len() + own.len());
    let definition = relation("pg_type");
    let mut column = |name: &str, value: &dyn Fn(&OwnType<'_>) -> Value<'static>| {
        let data_type = definition.position(name).map(|index| definition.schema.field(index).data_type());
        let (Some(data_type), Some(position)) = (data_type, table.position(name)) else { return };
        let fixed = (0..table.len()).map(|row| data::value(data_type, table.text(row, position)));
        batch.column(name, fixed.chain(own.iter().map(value)));
    };
    column("oid", &|t| t.oid.into());
    column("typname", &|t| t.name.as_ref().to_owned().into());
    column("typlen", &|t| t.length.into());
    column("typbyval", &|t| t.by_value.into());
    column("typtype", &|t| t.kind.into());
    column("typcategory", &|t| t.category.into());
    column("typispreferred", &|_| false.into());
    column("typdelim", &|_| ",".into());
    column("typsubscript", &|t| t.subscript.into());
    column("typelem", &|t| t.element.into());
    column("typarray", &|t| t.array.into());
    for (place, name) in ["typinput", "typoutput", "typreceive", "typsend"].into_iter().enumerate() {
        column(name, &|t| t.functions[place].into());
    }
    column("typmodin", &|_| 0.into());
    column("typmodout", &|_| 0.into());
    column("typalign", &|t| t.align.into());
    column("typstorage", &|t| t.storage.into());
    column("typcollation", &|t| t.collation.into());
    let fixed = table.len();
    batch.column("typnamespace", std::iter::repeat_n(PG_CATALOG, fixed).chain(own.iter().map(|t| t.namespace)));
    let owner = objects::bootstrap_role(scope);
    batch.column("typowner", std::iter::repeat_n(owner, fixed).chain(own.iter().map(|t| t.owner)));
    batch.constant("typisdefined", true);
    batch.column("typrelid", std::iter::repeat_n(0, fixed).chain(own.iter().map(|t| t.relation)));
    batch.constant("typanalyze", 0);
    let domains = own.iter().map(|t| t.domain);
    let base = |domain: &DomainDef| SqlType::of_stored(&domain.base).unwrap_or(SqlType::Text);
    let none = || std::iter::repeat_n(None, fixed);
    let all = || none().chain(domains.clone());
    batch.column("typnotnull", all().map(|domain| domain.is_some_and(|domain| domain.not_null)));
    batch.column("typbasetype", all().map(|domain| domain.map_or(0, |domain| below_domain(domain).0)));
    batch.column("typtypmod", all().map(|domain| domain.map_or(-1, |domain| below_domain(domain).1)));
    batch.column("typndims", all().map(|domain| i32::from(domain.is_some_and(|d| base(d).dimensions() > 0))));
    batch.column("typdefault", all().map(|domain| domain.and_then(|domain| domain.default.as_deref())));
}
