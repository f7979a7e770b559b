//! pg_type, and what PostgreSQL itself has: operators, casts, operator classes, collations, languages, ranges.

use super::batch::{Batch, Value};
use super::data;
use super::objects::{self, Kind, Rel};
use super::registry::{self, Fill, Relation};
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

/// A row of pg_type that PostgreSQL does not have: the row type of a table or view, or its array.
struct RowType<'r, 'a> {
    relation: &'r Rel<'a>,
    is_array: bool,
}

impl RowType<'_, '_> {
    fn choose<T>(&self, row: T, array: T) -> T {
        if self.is_array { array } else { row }
    }
}

fn pg_type(scope: &Scope, batch: &mut Batch<'_>) {
    let table = data::types();
    let relations = objects::user_relations(scope);
    let composite = relations.iter().filter(|rel| matches!(rel.kind, Kind::Table(_) | Kind::View(_)));
    let own: Vec<RowType<'_, '_>> =
        composite.flat_map(|relation| [false, true].map(|is_array| RowType { relation, is_array })).collect();
    batch.rows(table.len() + own.len());
    let definition = relation("pg_type");
    let mut column = |name: &str, value: &dyn Fn(&RowType<'_, '_>) -> Value<'static>| {
        let data_type = definition.position(name).map(|index| definition.schema.field(index).data_type());
        let (Some(data_type), Some(position)) = (data_type, table.position(name)) else { return };
        let fixed = (0..table.len()).map(|row| data::value(data_type, table.text(row, position)));
        batch.column(name, fixed.chain(own.iter().map(value)));
    };
    let text = |row: &'static str, array: &'static str| move |t: &RowType<'_, '_>| Value::from(t.choose(row, array));
    let number = |row: i64, array: i64| move |t: &RowType<'_, '_>| Value::from(t.choose(row, array));
    column("oid", &|t| {
        let oid = t.relation.oid;
        Value::from(t.choose(objects::row_type_oid(oid), objects::row_array_type_oid(oid)))
    });
    column("typname", &|t| {
        let name = t.relation.name.as_ref();
        Value::from(t.choose(name.to_owned(), format!("_{name}")))
    });
    column("typlen", &number(-1, -1));
    column("typbyval", &|_| Value::from(false));
    column("typtype", &text("c", "b"));
    column("typcategory", &text("C", "A"));
    column("typispreferred", &|_| Value::from(false));
    column("typdelim", &text(",", ","));
    // array_subscript_handler; record_in … record_send; array_in … array_send
    column("typsubscript", &number(0, 6179));
    column("typelem", &|t| Value::from(t.choose(0, objects::row_type_oid(t.relation.oid))));
    column("typarray", &|t| Value::from(t.choose(objects::row_array_type_oid(t.relation.oid), 0)));
    column("typinput", &number(2290, 750));
    column("typoutput", &number(2291, 751));
    column("typreceive", &number(2402, 2400));
    column("typsend", &number(2403, 2401));
    column("typmodin", &number(0, 0));
    column("typmodout", &number(0, 0));
    column("typalign", &text("d", "d"));
    column("typstorage", &text("x", "x"));
    column("typcollation", &number(0, 0));
    let fixed = table.len();
    let namespaces = own.iter().map(|t| t.relation.namespace);
    batch.column("typnamespace", std::iter::repeat_n(PG_CATALOG, fixed).chain(namespaces));
    let owner = objects::bootstrap_role(scope);
    batch.column("typowner", std::iter::repeat_n(owner, fixed).chain(own.iter().map(|t| t.relation.owner)));
    batch.constant("typisdefined", true);
    let rows = own.iter().map(|t| t.choose(t.relation.oid, 0));
    batch.column("typrelid", std::iter::repeat_n(0, fixed).chain(rows));
    batch.constant("typanalyze", 0);
    batch.constant("typtypmod", -1);
}
