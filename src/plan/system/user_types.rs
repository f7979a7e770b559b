//! Types that users made, as the system catalogs list them: rows of pg_type, pg_enum, and what they are for columns.

use std::borrow::Cow;
use std::sync::Arc;

use tidemill_catalog::Oid;
use tidemill_catalog::record::{Body, CheckDef, Object};
use tidemill_catalog::snapshot::NameClass;
use tidemill_catalog::user_type::{DomainDef, EnumLabel, TypeDef, TypeKind};
use tidemill_udfs::types::SqlType;

use super::batch::{Batch, Value};
use super::data::{self, TypeRow};
use super::names::{qualified, quote_ident};
use super::objects::{self, Kind};
use super::registry::Fill;
use crate::plan::{PG_CATALOG, Scope, TEMP_SCHEMA, user_types};

/// The relations whose rows are made here.
pub(crate) const FILLS: &[(&str, Fill)] = &[("pg_enum", pg_enum)];

/// A row of pg_type that PostgreSQL itself does not have. What is not set is as in most rows.
pub(crate) struct OwnType<'a> {
    pub(crate) oid: Oid,
    pub(crate) name: Cow<'a, str>,
    pub(crate) namespace: Oid,
    pub(crate) owner: Oid,
    pub(crate) length: i64,
    pub(crate) by_value: bool,
    /// typtype: b, c, d, e
    pub(crate) kind: &'static str,
    pub(crate) category: &'static str,
    /// typrelid
    pub(crate) relation: Oid,
    pub(crate) subscript: Oid,
    pub(crate) element: Oid,
    pub(crate) array: Oid,
    /// typinput, typoutput, typreceive, typsend
    pub(crate) functions: [Oid; 4],
    pub(crate) align: &'static str,
    pub(crate) storage: &'static str,
    pub(crate) collation: Oid,
    pub(crate) domain: Option<&'a DomainDef>,
}

/// array_in, array_out, array_recv, array_send
const ARRAY_FUNCTIONS: [Oid; 4] = [750, 751, 2400, 2401];
const ARRAY_SUBSCRIPT: Oid = 6179;
/// record_in, record_out, record_recv, record_send
const RECORD_FUNCTIONS: [Oid; 4] = [2290, 2291, 2402, 2403];
/// enum_in, enum_out, enum_recv, enum_send
const ENUM_FUNCTIONS: [Oid; 4] = [3506, 3507, 3532, 3533];
/// domain_in and domain_recv; the others are those of the type below.
const DOMAIN_IN: Oid = 2597;
const DOMAIN_RECV: Oid = 2598;

/// All of them: row types of tables and views, enums, domains, and the arrays of each.
pub(crate) fn own_types(scope: &Scope) -> Vec<OwnType<'_>> {
    let mut all = vec![];
    for relation in objects::user_relations(scope) {
        if !matches!(relation.kind, Kind::Table(_) | Kind::View(_)) {
            continue;
        }
        let row = OwnType {
            oid: objects::row_type_oid(relation.oid),
            name: relation.name,
            namespace: relation.namespace,
            owner: relation.owner,
            length: -1,
            by_value: false,
            kind: "c",
            category: "C",
            relation: relation.oid,
            subscript: 0,
            element: 0,
            array: objects::row_array_type_oid(relation.oid),
            functions: RECORD_FUNCTIONS,
            align: "d",
            storage: "x",
            collation: 0,
            domain: None,
        };
        all.push(array_of(&row));
        all.push(row);
    }
    for (object, def) in scope.user_types() {
        let row = row_of(object, def);
        all.push(array_of(&row));
        all.push(row);
    }
    all
}

fn row_of<'a>(object: &'a Object, def: &'a TypeDef) -> OwnType<'a> {
    let base = base_row(def);
    let functions = match (&def.kind, base) {
        (TypeKind::Enum(_), _) | (_, None) => ENUM_FUNCTIONS,
        (TypeKind::Domain(_), Some(base)) => [DOMAIN_IN, base.output, DOMAIN_RECV, base.send],
    };
    OwnType {
        oid: object.oid,
        name: Cow::Borrowed(&object.name),
        namespace: object.parent,
        owner: object.owner,
        length: base.map_or(4, |base| base.length),
        by_value: base.is_none_or(|base| base.by_value),
        kind: if def.domain().is_some() { "d" } else { "e" },
        category: base.map_or("E", |base| base.category),
        relation: 0,
        subscript: 0,
        element: 0,
        array: def.array_oid,
        functions,
        align: base.map_or("i", |base| base.align),
        storage: base.map_or("p", |base| base.storage),
        collation: base.map_or(0, |base| base.collation),
        domain: def.domain(),
    }
}

/// PostgreSQL's own type below a domain; `None` for enums, and domains over them.
fn base_row(def: &TypeDef) -> Option<&'static TypeRow> {
    let base = SqlType::of_stored(&def.domain()?.base).ok()?;
    data::type_row(base.oid())
}

fn array_of<'a>(row: &OwnType<'a>) -> OwnType<'a> {
    OwnType {
        oid: row.array,
        name: Cow::Owned(format!("_{}", row.name)),
        length: -1,
        by_value: false,
        kind: "b",
        category: "A",
        relation: 0,
        subscript: ARRAY_SUBSCRIPT,
        element: row.oid,
        array: 0,
        functions: ARRAY_FUNCTIONS,
        align: if row.align == "d" { "d" } else { "i" },
        storage: "x",
        domain: None,
        ..*row
    }
}

/// What pg_attribute says of a type: PostgreSQL's own row, or one of the same properties.
pub(crate) fn properties(scope: &Scope, oid: Oid) -> &'static TypeRow {
    let like = |name| data::type_named(name);
    let found = data::type_row(oid).or_else(|| match scope.user_type_with(oid) {
        None => like("text"),
        Some((_, true)) => like("_oid"),
        Some((object, false)) => match &object.body {
            Body::Type(def) => base_row(def).or_else(|| like("anyenum")),
            _ => None,
        },
    });
    found.or_else(|| like("text")).expect("pg_type.tsv has text")
}

/// The name of a type that users made as `format_type` prints it: qualified unless the search path finds it.
pub(crate) fn type_text(scope: &Scope, oid: Oid) -> Option<String> {
    let (object, is_array) = scope.user_type_with(oid)?;
    let name = if is_visible(scope, object) {
        quote_ident(&object.name).into_owned()
    } else {
        let schema = objects::namespace(scope, object.parent)?;
        qualified(schema.name, &object.name)
    };
    Some(if is_array { format!("{name}[]") } else { name })
}

/// True if the unqualified name finds this type.
pub(crate) fn is_visible(scope: &Scope, object: &Object) -> bool {
    for (schema, _) in objects::search_path(scope, true) {
        if schema == object.parent {
            return true;
        }
        let catalog = if schema == TEMP_SCHEMA { &scope.temp.catalog } else { &scope.snapshot.catalog };
        let hides = match schema {
            PG_CATALOG => data::type_named(&object.name).is_some(),
            schema => catalog.find(schema, NameClass::Type, &object.name).is_some(),
        };
        if hides {
            return false;
        }
    }
    false
}

/// Schema and pg_type.typname of a type that users made.
pub(crate) fn schema_and_name(scope: &Scope, oid: Oid) -> Option<(&str, String)> {
    let (object, is_array) = scope.user_type_with(oid)?;
    let schema = objects::namespace(scope, object.parent)?;
    Some((schema.name, if is_array { format!("_{}", object.name) } else { object.name.clone() }))
}

/// The type below a domain, and its modifier; any other type itself.
pub(crate) fn below(scope: &Scope, oid: Oid, typmod: i32) -> (Oid, i32) {
    let Some((_, domain)) = scope.declared_domain(oid) else { return (oid, typmod) };
    below_domain(domain)
}

/// What a domain is over directly, and its modifier: another domain, or the type of its values.
pub(crate) fn below_domain(domain: &DomainDef) -> (Oid, i32) {
    let base = SqlType::of_stored(&domain.base).unwrap_or(SqlType::Text);
    match domain.base_type.filter(|oid| user_types::of(&base) != Some(*oid)) {
        Some(domain) => (domain, -1),
        None => (base.oid(), base.typmod()),
    }
}

/// The CHECKs of all domains.
pub(crate) fn domain_checks(scope: &Scope) -> Vec<(&Arc<Object>, &CheckDef)> {
    scope
        .user_types()
        .flat_map(|(object, def)| def.domain().into_iter().flat_map(move |d| d.checks.iter().map(move |c| (object, c))))
        .collect()
}

/// A domain's CHECK by its oid.
pub(crate) fn domain_check(scope: &Scope, oid: Oid) -> Option<(&Arc<Object>, &CheckDef)> {
    domain_checks(scope).into_iter().find(|(_, check)| check.oid == oid)
}

fn pg_enum(scope: &Scope, batch: &mut Batch<'_>) {
    let all: Vec<(&Arc<Object>, &EnumLabel)> = scope
        .user_types()
        .flat_map(|(object, def)| def.labels().unwrap_or_default().iter().map(move |label| (object, label)))
        .collect();
    batch.rows(all.len());
    batch.column("oid", all.iter().map(|(_, label)| label.oid));
    batch.column("enumtypid", all.iter().map(|(object, _)| object.oid));
    batch.column("enumsortorder", all.iter().map(|(_, label)| Value::from(f64::from(label.order))));
    batch.column("enumlabel", all.iter().map(|(_, label)| &label.name));
}
