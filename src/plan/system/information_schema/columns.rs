//! information_schema.columns and element_types: columns and the standard's many words about their types.

use tidemill_catalog::Oid;
use tidemill_catalog::record::{Body, Object, SequenceRule};
use tidemill_catalog::sequence::SequenceDef;

use super::{catalog, table_names, visible_relations, yes_no};
use crate::plan::Scope;
use crate::plan::system::batch::{Batch, Value};
use crate::plan::system::data::{self, TypeRow};
use crate::plan::system::objects::{self, Attribute, Rel, TypeNames};
use crate::plan::system::{names, user_types};

/// A type with its modifier.
#[derive(Clone, Copy)]
pub(super) struct Typed {
    pub(super) oid: Oid,
    pub(super) typmod: i32,
}

impl Typed {
    fn row(self) -> Option<&'static TypeRow> {
        data::type_row(self.oid)
    }

    fn name(self) -> &'static str {
        self.row().map_or("", |row| row.name)
    }

    /// The element's type, if it is an array (int2vector and oidvector are, in the standard's eyes).
    fn element(self, scope: &Scope) -> Option<Oid> {
        match self.row() {
            Some(row) => (row.element != 0 && row.length == -1).then_some(row.element),
            None => scope.user_type_with(self.oid).filter(|(_, is_array)| *is_array).map(|(object, _)| object.oid),
        }
    }

    /// udt_schema and udt_name
    pub(super) fn udt(self, scope: &Scope) -> (String, String) {
        let own = user_types::schema_and_name(scope, self.oid).map(|(schema, name)| (schema.to_owned(), name));
        own.unwrap_or_else(|| ("pg_catalog".to_owned(), self.name().to_owned()))
    }

    /// A domain's type is what is below it.
    pub(super) fn below(self, scope: &Scope) -> Self {
        let (oid, typmod) = user_types::below(scope, self.oid, self.typmod);
        Self { oid, typmod }
    }

    fn modifier(self) -> Option<i32> {
        (self.typmod >= 0).then_some(self.typmod)
    }

    /// data_type
    pub(super) fn data_type(self, scope: &Scope) -> String {
        match (self.element(scope), self.row()) {
            (Some(_), _) => "ARRAY".to_owned(),
            (None, Some(_)) => names::format_type(scope, self.oid, None).unwrap_or_default(),
            (None, None) => "USER-DEFINED".to_owned(),
        }
    }

    fn character_maximum_length(self) -> Option<i32> {
        matches!(self.name(), "varchar" | "bpchar").then(|| self.modifier())?.map(|n| n - 4)
    }

    fn character_octet_length(self) -> Option<i32> {
        match self.name() {
            // Bytes of the longest text: four per character in UTF-8; 2³⁰ where there is no limit.
            "varchar" | "bpchar" => Some(self.modifier().map_or(1 << 30, |n| (n - 4).saturating_mul(4))),
            "text" => Some(1 << 30),
            _ => None,
        }
    }

    fn numeric_precision(self) -> Option<i32> {
        match self.name() {
            "int2" => Some(16),
            "int4" => Some(32),
            "int8" => Some(64),
            "float4" => Some(24),
            "float8" => Some(53),
            "numeric" => self.modifier().map(|n| ((n - 4) >> 16) & 0xffff),
            _ => None,
        }
    }

    fn numeric_precision_radix(self) -> Option<i32> {
        match self.name() {
            "int2" | "int4" | "int8" | "float4" | "float8" => Some(2),
            "numeric" => Some(10),
            _ => None,
        }
    }

    fn numeric_scale(self) -> Option<i32> {
        match self.name() {
            "int2" | "int4" | "int8" => Some(0),
            "numeric" => self.modifier().map(|n| ((((n - 4) & 0x7ff) ^ 1024) - 1024) & 0xffff),
            _ => None,
        }
    }

    fn datetime_precision(self) -> Option<i32> {
        match self.name() {
            "date" => Some(0),
            "time" | "timetz" | "timestamp" | "timestamptz" => Some(self.modifier().unwrap_or(6)),
            "interval" => Some(self.modifier().map(|n| n & 0xffff).filter(|n| *n != 0xffff).unwrap_or(6)),
            _ => None,
        }
    }
}

/// Fills the columns by which columns, domains, elements and parameters all tell their type.
pub(super) fn type_columns<'t>(
    scope: &Scope,
    batch: &mut Batch<'_>,
    types: impl Iterator<Item = Typed> + Clone + 't,
    udt_schemas: impl Iterator<Item = String>,
    udt_names: impl Iterator<Item = String>,
) {
    batch.column("data_type", types.clone().map(|typed| typed.data_type(scope)));
    batch.column("character_maximum_length", types.clone().map(Typed::character_maximum_length));
    batch.column("character_octet_length", types.clone().map(Typed::character_octet_length));
    batch.column("numeric_precision", types.clone().map(Typed::numeric_precision));
    batch.column("numeric_precision_radix", types.clone().map(Typed::numeric_precision_radix));
    batch.column("numeric_scale", types.clone().map(Typed::numeric_scale));
    batch.column("datetime_precision", types.map(Typed::datetime_precision));
    catalog(scope, batch, &["udt_catalog"]);
    batch.column("udt_schema", udt_schemas);
    batch.column("udt_name", udt_names);
}

/// Tables and views with their columns.
struct Columns<'a> {
    relations: Vec<Rel<'a>>,
    attributes: Vec<(usize, Attribute<'a>)>,
}

impl<'a> Columns<'a> {
    fn of(scope: &'a Scope) -> Self {
        let relations = visible_relations(scope);
        let mut types = TypeNames::default();
        let mut attributes = Vec::new();
        for (index, relation) in relations.iter().enumerate() {
            attributes.extend(types.attributes(relation).into_iter().map(|attribute| (index, attribute)));
        }
        Self { relations, attributes }
    }

    fn iter(&self) -> impl Iterator<Item = (&Rel<'a>, &Attribute<'a>)> + Clone {
        self.attributes.iter().map(|(index, attribute)| (&self.relations[*index], attribute))
    }
}

pub(super) fn columns(scope: &Scope, batch: &mut Batch<'_>) {
    let all = Columns::of(scope);
    batch.rows(all.attributes.len());
    table_names(scope, batch, all.iter().map(|(rel, _)| rel));
    batch.column("column_name", all.iter().map(|(_, attribute)| attribute.name));
    batch.column("ordinal_position", all.iter().map(|(_, attribute)| attribute.number));
    batch.column(
        "column_default",
        all.iter().map(|(_, attribute)| attribute.column.and_then(|column| objects::default_of(scope, column))),
    );
    batch.column("is_nullable", all.iter().map(|(_, attribute)| yes_no(!attribute.not_null)));
    let types = all.attributes.iter().map(|(_, a)| Typed { oid: a.type_oid, typmod: a.typmod }.below(scope));
    let udts: Vec<_> = types.clone().map(|typed| typed.udt(scope)).collect();
    let (schemas, names) = (udts.iter().map(|udt| udt.0.clone()), udts.iter().map(|udt| udt.1.clone()));
    type_columns(scope, batch, types, schemas, names);
    let domains: Vec<_> = all.attributes.iter().map(|(_, a)| scope.domain(a.type_oid).map(|(own, _)| own)).collect();
    let of_domain = |value: &dyn Fn(&Object) -> Option<String>| {
        domains.iter().map(|own| own.and_then(|own| value(own))).collect::<Vec<_>>()
    };
    batch.column("domain_catalog", of_domain(&|_| Some(objects::database_name(scope).to_owned())));
    batch.column("domain_schema", of_domain(&|own| Some(objects::namespace(scope, own.parent)?.name.to_owned())));
    batch.column("domain_name", of_domain(&|own| Some(own.name.clone())));
    batch.column("dtd_identifier", all.iter().map(|(_, attribute)| attribute.number.to_string()));
    batch.constant("is_self_referencing", "NO");
    let identities: Vec<_> = all.iter().map(|(_, attribute)| identity(scope, attribute)).collect();
    let option = |value: fn(&SequenceDef) -> i64| {
        identities.iter().map(move |identity| identity.map(|(_, def)| value(def).to_string()))
    };
    batch.column("is_identity", identities.iter().map(|identity| yes_no(identity.is_some())));
    batch.column("identity_generation", identities.iter().map(|identity| identity.map(|(word, _)| word)));
    batch.column("identity_start", option(|def| def.start));
    batch.column("identity_increment", option(|def| def.increment));
    batch.column("identity_maximum", option(|def| def.max));
    batch.column("identity_minimum", option(|def| def.min));
    batch
        .column("identity_cycle", identities.iter().map(|identity| yes_no(identity.is_some_and(|(_, def)| def.cycle))));
    batch.constant("is_generated", "NEVER");
    batch.column("is_updatable", all.iter().map(|(rel, _)| yes_no(rel.relkind() == "r")));
}

/// identity_generation, and the sequence of an identity column.
fn identity<'a>(scope: &'a Scope, attribute: &Attribute<'_>) -> Option<(&'static str, &'a SequenceDef)> {
    let sequence = attribute.column?.sequence?;
    let word = match sequence.rule {
        SequenceRule::Always => "ALWAYS",
        SequenceRule::ByDefault => "BY DEFAULT",
        SequenceRule::Default => return None,
    };
    match &objects::object(scope, sequence.oid)?.body {
        Body::Sequence(def) => Some((word, def)),
        _ => None,
    }
}

pub(super) fn element_types(scope: &Scope, batch: &mut Batch<'_>) {
    let columns = Columns::of(scope);
    let element = |attribute: &Attribute<'_>| {
        Typed { oid: attribute.type_oid, typmod: attribute.typmod }.below(scope).element(scope)
    };
    let all: Vec<_> =
        columns.iter().filter_map(|(rel, attribute)| Some((rel, attribute, element(attribute)?))).collect();
    let types = all.iter().map(|(_, _, oid)| Typed { oid: *oid, typmod: -1 });
    batch.rows(all.len());
    catalog(scope, batch, &["object_catalog"]);
    batch.column("object_schema", all.iter().map(|(rel, ..)| rel.schema));
    batch.column("object_name", all.iter().map(|(rel, ..)| rel.name.as_ref()));
    batch.column("object_type", all.iter().map(|(rel, ..)| if rel.relkind() == "v" { "VIEW" } else { "TABLE" }));
    batch.column("collection_type_identifier", all.iter().map(|(_, attribute, _)| attribute.number.to_string()));
    batch.column("data_type", types.clone().map(|typed| Value::from(typed.data_type(scope))));
    catalog(scope, batch, &["udt_catalog"]);
    let udts: Vec<_> = types.map(|typed| typed.udt(scope)).collect();
    batch.column("udt_schema", udts.iter().map(|udt| &udt.0));
    batch.column("udt_name", udts.iter().map(|udt| &udt.1));
    batch.column("dtd_identifier", all.iter().map(|(_, attribute, _)| format!("a{}", attribute.number)));
}
