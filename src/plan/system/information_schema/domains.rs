//! information_schema.domains, domain_constraints, domain_udt_usage and column_domain_usage.

use std::sync::Arc;

use tidemill_catalog::record::{CheckDef, Object};
use tidemill_catalog::user_type::DomainDef;

use super::columns::{Typed, type_columns};
use super::{catalog, visible_relations};
use crate::plan::Scope;
use crate::plan::system::batch::Batch;
use crate::plan::system::{objects, user_types};

/// A domain with the name of its schema.
struct Domain<'a> {
    schema: &'a str,
    object: &'a Arc<Object>,
    def: &'a DomainDef,
}

impl Domain<'_> {
    fn base(&self) -> Typed {
        let (oid, typmod) = user_types::below_domain(self.def);
        Typed { oid, typmod }
    }
}

fn all(scope: &Scope) -> Vec<Domain<'_>> {
    scope
        .user_types()
        .filter_map(|(object, def)| {
            let schema = objects::namespace(scope, object.parent)?.name;
            Some(Domain { schema, object, def: def.domain()? })
        })
        .collect()
}

fn names<'a>(scope: &Scope, batch: &mut Batch<'_>, all: impl Iterator<Item = &'a Domain<'a>> + Clone) {
    catalog(scope, batch, &["domain_catalog"]);
    batch.column("domain_schema", all.clone().map(|domain| domain.schema));
    batch.column("domain_name", all.map(|domain| &domain.object.name));
}

pub(super) fn domains(scope: &Scope, batch: &mut Batch<'_>) {
    let all = all(scope);
    batch.rows(all.len());
    names(scope, batch, all.iter());
    let types = all.iter().map(Domain::base);
    let udts: Vec<_> = types.clone().map(|typed| typed.udt(scope)).collect();
    let (schemas, udt_names) = (udts.iter().map(|udt| udt.0.clone()), udts.iter().map(|udt| udt.1.clone()));
    type_columns(scope, batch, types, schemas, udt_names);
    batch.column("domain_default", all.iter().map(|domain| domain.def.default.as_deref()));
    batch.constant("dtd_identifier", "1");
}

pub(super) fn domain_constraints(scope: &Scope, batch: &mut Batch<'_>) {
    let domains = all(scope);
    let all: Vec<(&Domain<'_>, &CheckDef)> =
        domains.iter().flat_map(|domain| domain.def.checks.iter().map(move |check| (domain, check))).collect();
    batch.rows(all.len());
    catalog(scope, batch, &["constraint_catalog"]);
    batch.column("constraint_schema", all.iter().map(|(domain, _)| domain.schema));
    batch.column("constraint_name", all.iter().map(|(_, check)| &check.name));
    names(scope, batch, all.iter().map(|(domain, _)| *domain));
    batch.constant("is_deferrable", "NO");
    batch.constant("initially_deferred", "NO");
}

pub(super) fn domain_udt_usage(scope: &Scope, batch: &mut Batch<'_>) {
    let all = all(scope);
    let udts: Vec<_> = all.iter().map(|domain| domain.base().udt(scope)).collect();
    batch.rows(all.len());
    catalog(scope, batch, &["udt_catalog"]);
    batch.column("udt_schema", udts.iter().map(|udt| &udt.0));
    batch.column("udt_name", udts.iter().map(|udt| &udt.1));
    names(scope, batch, all.iter());
}

pub(super) fn column_domain_usage(scope: &Scope, batch: &mut Batch<'_>) {
    let domains = all(scope);
    let relations = visible_relations(scope);
    let of = |oid| domains.iter().find(|domain| domain.object.oid == oid);
    let all: Vec<_> = relations
        .iter()
        .flat_map(|rel| rel.columns().iter().map(move |column| (rel, column)))
        .filter_map(|(rel, column)| Some((rel, column, of(column.user_type?)?)))
        .collect();
    batch.rows(all.len());
    names(scope, batch, all.iter().map(|(.., domain)| *domain));
    catalog(scope, batch, &["table_catalog"]);
    batch.column("table_schema", all.iter().map(|(rel, ..)| rel.schema));
    batch.column("table_name", all.iter().map(|(rel, ..)| rel.name.as_ref()));
    batch.column("column_name", all.iter().map(|(_, column, _)| &column.name));
}
