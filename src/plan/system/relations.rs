//! pg_class and what hangs on it: attributes, defaults, constraints, indexes, descriptions, dependencies, and the views
//! over them (pg_tables, pg_views, pg_indexes).

use std::borrow::Cow;

use tidemill_catalog::Oid;
use tidemill_catalog::record::{CheckDef, TableDef};

use super::batch::{Batch, Value};
use super::deparse::default_text;
use super::names;
use super::objects::{self, Attribute, BTREE, HEAP, Kind, Rel, TypeNames};
use super::registry::Fill;
use super::{data, definitions, routines};
use crate::plan::Scope;

/// The relations whose rows are made here.
pub(crate) const FILLS: &[(&str, Fill)] = &[
    ("pg_namespace", pg_namespace),
    ("pg_class", pg_class),
    ("pg_attribute", pg_attribute),
    ("pg_attrdef", pg_attrdef),
    ("pg_constraint", pg_constraint),
    ("pg_index", pg_index),
    ("pg_rewrite", pg_rewrite),
    ("pg_depend", pg_depend),
    ("pg_description", pg_description),
    ("pg_shdescription", pg_shdescription),
    ("pg_tables", pg_tables),
    ("pg_views", pg_views),
    ("pg_indexes", pg_indexes),
];

/// Oids of the catalogs that other catalogs refer to (`classoid`, `refclassid`).
pub(crate) mod class {
    use tidemill_catalog::Oid;

    pub(crate) const TYPE: Oid = 1247;
    pub(crate) const ATTRDEF: Oid = 2604;
    pub(crate) const AUTHID: Oid = 1260;
    pub(crate) const CLASS: Oid = 1259;
    pub(crate) const CONSTRAINT: Oid = 2606;
    pub(crate) const DATABASE: Oid = 1262;
    pub(crate) const NAMESPACE: Oid = 2615;
    pub(crate) const PROC: Oid = 1255;
    pub(crate) const REWRITE: Oid = 2618;
}

/// An object's access privileges; NULL: the default ones.
pub(crate) fn acl(entries: &[String]) -> Value<'_> {
    if entries.is_empty() { Value::Null } else { Value::from(entries.iter().collect::<Vec<_>>()) }
}

fn pg_namespace(scope: &Scope, batch: &mut Batch<'_>) {
    let all = objects::namespaces(scope);
    batch.rows(all.len());
    batch.column("oid", all.iter().map(|schema| schema.oid));
    batch.column("nspname", all.iter().map(|schema| schema.name));
    batch.column("nspowner", all.iter().map(|schema| schema.owner));
    batch.column("nspacl", all.iter().map(|schema| schema.object.map_or(Value::Null, |object| acl(&object.acl))));
}

fn pg_class(scope: &Scope, batch: &mut Batch<'_>) {
    let all = objects::relations(scope);
    batch.rows(all.len());
    batch.column("oid", all.iter().map(|rel| rel.oid));
    batch.column("relname", all.iter().map(|rel| rel.name.as_ref()));
    batch.column("relnamespace", all.iter().map(|rel| rel.namespace));
    batch.column("reltype", all.iter().map(reltype));
    batch.column("relowner", all.iter().map(|rel| rel.owner));
    batch.column(
        "relam",
        all.iter().map(|rel| match rel.relkind() {
            "r" => HEAP,
            "i" => BTREE,
            _ => 0,
        }),
    );
    batch.column("relfilenode", all.iter().map(|rel| if rel.relkind() == "v" { 0 } else { rel.oid }));
    let sizes = |rel: &Rel<'_>| rel.table().map(|_| objects::table_size(scope, rel.oid));
    batch.column("relpages", all.iter().map(|rel| sizes(rel).map_or(0, |(_, bytes)| bytes.div_ceil(8192))));
    batch.column("reltuples", all.iter().map(|rel| sizes(rel).map_or(0, |(rows, _)| rows)));
    batch.column("relhasindex", all.iter().map(|rel| rel.table().is_some_and(|def| !def.primary_key.is_empty())));
    batch.column("relisshared", all.iter().map(|rel| SHARED.contains(&rel.oid)));
    batch.column("relpersistence", all.iter().map(|rel| if rel.temporary { "t" } else { "p" }));
    batch.column("relkind", all.iter().map(Rel::relkind));
    batch.column("relnatts", all.iter().map(Rel::width));
    batch.column("relchecks", all.iter().map(|rel| rel.table().map_or(0, |def| def.checks.len())));
    batch.column("relhasrules", all.iter().map(|rel| rel.relkind() == "v"));
    batch.constant("relispopulated", true);
    batch.column("relreplident", all.iter().map(|rel| if rel.table().is_some() { "d" } else { "n" }));
    batch.column("relacl", all.iter().map(|rel| rel.object.map_or(Value::Null, |object| acl(&object.acl))));
    batch.column("reloptions", all.iter().map(|rel| rel.table().map_or(Value::Null, |def| options(def))));
}

/// The catalogs that all databases share.
const SHARED: [Oid; 11] = [1213, 1214, 1260, 1261, 1262, 2396, 2964, 3592, 6000, 6100, 6243];

fn reltype(rel: &Rel<'_>) -> Oid {
    match rel.kind {
        Kind::Table(_) | Kind::View(_) => objects::row_type_oid(rel.oid),
        Kind::Index(..) | Kind::System(_) => 0,
    }
}

fn options(def: &TableDef) -> Value<'static> {
    if def.given_options.is_empty() {
        return Value::Null;
    }
    Value::from(def.given_options.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>())
}

fn pg_attribute(scope: &Scope, batch: &mut Batch<'_>) {
    let relations = objects::relations(scope);
    let mut types = TypeNames::default();
    let mut all: Vec<(&Rel<'_>, Attribute<'_>)> = Vec::new();
    for relation in &relations {
        all.extend(types.attributes(relation).into_iter().map(|attribute| (relation, attribute)));
    }
    let is_array = |oid| data::type_row(oid).is_some_and(|row| row.category == "A" && row.element != 0);
    let properties = |(_, attribute): &(&Rel<'_>, Attribute<'_>)| objects::type_properties(attribute.type_oid);
    batch.rows(all.len());
    batch.column("attrelid", all.iter().map(|(rel, _)| rel.oid));
    batch.column("attname", all.iter().map(|(_, attribute)| attribute.name));
    batch.column("atttypid", all.iter().map(|(_, attribute)| attribute.type_oid));
    batch.constant("attstattarget", -1);
    batch.column("attlen", all.iter().map(|row| properties(row).length));
    batch.column("attnum", all.iter().map(|(_, attribute)| attribute.number));
    batch.column("attndims", all.iter().map(|(_, attribute)| i32::from(is_array(attribute.type_oid))));
    batch.constant("attcacheoff", -1);
    batch.column("atttypmod", all.iter().map(|(_, attribute)| attribute.typmod));
    batch.column("attbyval", all.iter().map(|row| properties(row).by_value));
    batch.column("attalign", all.iter().map(|row| properties(row).align));
    batch.column("attstorage", all.iter().map(|row| properties(row).storage));
    batch.column("attnotnull", all.iter().map(|(_, attribute)| attribute.not_null));
    let has_default = |attribute: &Attribute<'_>| attribute.column.is_some_and(|column| column.default.is_some());
    batch.column("atthasdef", all.iter().map(|(_, attribute)| has_default(attribute)));
    batch.column("atthasmissing", all.iter().map(|(_, attribute)| missing_value(attribute).is_some()));
    batch.constant("attislocal", true);
    batch.column("attcollation", all.iter().map(|row| properties(row).collation));
    let missing_array = |value: &String| format!("{{\"{}\"}}", value.replace('\\', "\\\\").replace('"', "\\\""));
    batch.column("attmissingval", all.iter().map(|(_, attribute)| missing_value(attribute).map(missing_array)));
}

/// The value that rows older than the column have.
fn missing_value<'a>(attribute: &Attribute<'a>) -> Option<&'a String> {
    attribute.column.and_then(|column| column.missing_value.as_ref())
}

fn pg_attrdef(scope: &Scope, batch: &mut Batch<'_>) {
    let relations = objects::user_relations(scope);
    let all: Vec<_> = relations
        .iter()
        .flat_map(|rel| rel.columns().iter().map(move |column| (rel.oid, column)))
        .filter_map(|(oid, column)| Some((oid, column, default_text(column)?)))
        .collect();
    batch.rows(all.len());
    batch.column("oid", all.iter().map(|(oid, column, _)| objects::default_oid(*oid, column.id)));
    batch.column("adrelid", all.iter().map(|(oid, ..)| *oid));
    batch.column("adnum", all.iter().map(|(_, column, _)| column.id));
    batch.column("adbin", all.iter().map(|(.., default)| default.as_ref()));
}

/// A row of pg_constraint: a table's CHECK, or its primary key.
pub(crate) struct Constraint<'a> {
    /// pg_constraint.oid
    pub(crate) oid: Oid,
    /// Its name.
    pub(crate) name: Cow<'a, str>,
    /// The table.
    pub(crate) table: Rel<'a>,
    /// Its definition.
    pub(crate) def: &'a TableDef,
    /// The CHECK; `None`: the primary key.
    pub(crate) check: Option<&'a CheckDef>,
}

impl Constraint<'_> {
    /// Names of the columns it is about.
    pub(crate) fn columns(&self) -> Vec<&str> {
        match self.check {
            None => self.def.primary_key.iter().map(String::as_str).collect(),
            Some(check) => mentioned(self.def, &check.condition),
        }
    }

    fn numbers(&self) -> Vec<i32> {
        self.columns().into_iter().filter_map(|name| self.def.column(name)).map(|column| column.id).collect()
    }
}

/// The columns that a condition's text mentions.
fn mentioned<'a>(def: &'a TableDef, condition: &str) -> Vec<&'a str> {
    let words = || condition.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'));
    let names = def.columns.iter().map(|column| column.name.as_str());
    names
        .filter(|name| {
            condition.contains(&format!("\"{name}\"")) || words().any(|word| word.eq_ignore_ascii_case(name))
        })
        .collect()
}

/// All constraints of the database.
pub(crate) fn constraints(scope: &Scope) -> Vec<Constraint<'_>> {
    let mut all = Vec::new();
    for table in objects::user_relations(scope) {
        all.extend(constraints_of(&table));
    }
    all
}

/// The constraints of one relation.
pub(crate) fn constraints_of<'a>(table: &Rel<'a>) -> Vec<Constraint<'a>> {
    let Some(def) = table.table() else { return Vec::new() };
    let check = |check: &'a CheckDef| Constraint {
        oid: check.oid,
        name: Cow::Borrowed(check.name.as_str()),
        table: table.clone(),
        def,
        check: Some(check),
    };
    let key = objects::index_of(table).map(|index| Constraint {
        oid: index.oid,
        name: index.name,
        table: table.clone(),
        def,
        check: None,
    });
    def.checks.iter().map(check).chain(key).collect()
}

fn pg_constraint(scope: &Scope, batch: &mut Batch<'_>) {
    let all = constraints(scope);
    batch.rows(all.len());
    batch.column("oid", all.iter().map(|constraint| constraint.oid));
    batch.column("conname", all.iter().map(|constraint| constraint.name.as_ref()));
    batch.column("connamespace", all.iter().map(|constraint| constraint.table.namespace));
    batch.column("contype", all.iter().map(|constraint| if constraint.check.is_some() { "c" } else { "p" }));
    batch.constant("convalidated", true);
    batch.column("conrelid", all.iter().map(|constraint| constraint.table.oid));
    batch.column("conindid", all.iter().map(|constraint| if constraint.check.is_some() { 0 } else { constraint.oid }));
    for column in ["confupdtype", "confdeltype", "confmatchtype"] {
        batch.constant(column, " ");
    }
    batch.constant("conislocal", true);
    batch.column("connoinherit", all.iter().map(|constraint| constraint.check.is_none()));
    batch.column("conkey", all.iter().map(|constraint| Value::from(constraint.numbers())));
    batch.column("conbin", all.iter().map(|constraint| constraint.check.map(|check| &check.condition)));
}

/// Every declared primary key: the index and its table's definition.
fn indexes(scope: &Scope) -> Vec<(Rel<'_>, Oid, &TableDef)> {
    let all = objects::user_relations(scope).into_iter();
    all.filter_map(|rel| match rel.kind {
        Kind::Index(table, def) => Some((rel, table.oid, def.as_ref())),
        _ => None,
    })
    .collect()
}

fn pg_index(scope: &Scope, batch: &mut Batch<'_>) {
    let all = indexes(scope);
    let mut types = TypeNames::default();
    let keys: Vec<Vec<(i32, Oid)>> = all
        .iter()
        .map(|(_, _, def)| {
            let columns = def.primary_key.iter().filter_map(|name| def.column(name));
            columns.map(|column| (column.id, types.of(column).0)).collect()
        })
        .collect();
    let list = |value: fn(&(i32, Oid)) -> i64| {
        keys.iter().map(move |key| Value::from(key.iter().map(value).collect::<Vec<_>>()))
    };
    batch.rows(all.len());
    batch.column("indexrelid", all.iter().map(|(index, ..)| index.oid));
    batch.column("indrelid", all.iter().map(|(_, table, _)| *table));
    for column in ["indnatts", "indnkeyatts"] {
        batch.column(column, keys.iter().map(Vec::len));
    }
    for column in ["indisunique", "indisprimary", "indimmediate", "indisvalid", "indisready", "indislive"] {
        batch.constant(column, true);
    }
    batch.column("indkey", list(|(number, _)| i64::from(*number)));
    batch.column("indcollation", list(|(_, oid)| i64::from(objects::type_properties(*oid).collation)));
    batch.column("indclass", list(|(_, oid)| i64::from(operator_class(*oid))));
    batch.column("indoption", list(|_| 0));
}

/// The default btree operator class of a type; text_ops for what has none of its own.
fn operator_class(type_oid: Oid) -> Oid {
    const TEXT_OPS: Oid = 3126;
    let table = data::opclasses();
    let column = |name| table.position(name).unwrap_or_default();
    let (oid, method, of, default) = (column("oid"), column("opcmethod"), column("opcintype"), column("opcdefault"));
    (0..table.len())
        .find(|row| {
            table.oid(*row, of) == type_oid
                && table.oid(*row, method) == BTREE
                && table.text(*row, default) == Some("t")
        })
        .map_or(TEXT_OPS, |row| table.oid(row, oid))
}

fn pg_rewrite(scope: &Scope, batch: &mut Batch<'_>) {
    let all: Vec<_> = objects::user_relations(scope).into_iter().filter(|rel| rel.relkind() == "v").collect();
    batch.rows(all.len());
    batch.column("oid", all.iter().map(|view| objects::rule_oid(view.oid)));
    batch.constant("rulename", "_RETURN");
    batch.column("ev_class", all.iter().map(|view| view.oid));
    batch.constant("ev_type", "1");
    batch.constant("ev_enabled", "O");
    batch.constant("is_instead", true);
    batch.constant("ev_qual", "<>");
    batch.column("ev_action", all.iter().map(|view| definitions::view_query(view)));
}

/// classid, objid, objsubid, refclassid, refobjid, deptype.
type Dependency = (Oid, Oid, i32, Oid, Oid, &'static str);

fn pg_depend(scope: &Scope, batch: &mut Batch<'_>) {
    let mut all: Vec<Dependency> = Vec::new();
    for rel in objects::user_relations(scope) {
        dependencies(&rel, &mut all);
    }
    batch.rows(all.len());
    batch.column("classid", all.iter().map(|row| row.0));
    batch.column("objid", all.iter().map(|row| row.1));
    batch.column("objsubid", all.iter().map(|row| row.2));
    batch.column("refclassid", all.iter().map(|row| row.3));
    batch.column("refobjid", all.iter().map(|row| row.4));
    batch.column("deptype", all.iter().map(|row| row.5));
}

fn dependencies(rel: &Rel<'_>, all: &mut Vec<Dependency>) {
    use class::{ATTRDEF, CLASS, CONSTRAINT, NAMESPACE, REWRITE, TYPE};
    if let Kind::Index(..) = rel.kind {
        all.push((CLASS, rel.oid, 0, CONSTRAINT, rel.oid, "i"));
        return;
    }
    all.push((CLASS, rel.oid, 0, NAMESPACE, rel.namespace, "n"));
    all.push((TYPE, objects::row_type_oid(rel.oid), 0, CLASS, rel.oid, "i"));
    for column in rel.columns().iter().filter(|column| column.default.is_some()) {
        all.push((ATTRDEF, objects::default_oid(rel.oid, column.id), 0, CLASS, rel.oid, "a"));
    }
    for constraint in constraints_of(rel) {
        all.push((CONSTRAINT, constraint.oid, 0, CLASS, rel.oid, "a"));
    }
    if let (Kind::View(_), Some(object)) = (rel.kind, rel.object) {
        let rule = objects::rule_oid(rel.oid);
        all.push((REWRITE, rule, 0, CLASS, rel.oid, "i"));
        all.push((REWRITE, rule, 0, CLASS, rel.oid, "n"));
        all.extend(object.depends_on.iter().map(|on| (REWRITE, rule, 0, CLASS, *on, "n")));
    }
}

fn pg_description(scope: &Scope, batch: &mut Batch<'_>) {
    let schemas = objects::namespaces(scope);
    let relations = objects::user_relations(scope);
    let mut all: Vec<(Oid, Oid, i32, &str)> =
        routines::descriptions().map(|(oid, text)| (oid, class::PROC, 0, text)).collect();
    for object in schemas.iter().filter_map(|schema| schema.object) {
        all.extend(object.comment.iter().map(|text| (object.oid, class::NAMESPACE, 0, text.as_str())));
    }
    for rel in &relations {
        let comment = rel.object.and_then(|object| object.comment.as_ref());
        all.extend(comment.map(|text| (rel.oid, class::CLASS, 0, text.as_str())));
        let columns = (1..).zip(rel.columns());
        all.extend(columns.filter_map(|(position, column)| {
            let number = if rel.table().is_some() { column.id } else { position };
            Some((rel.oid, class::CLASS, number, column.comment.as_deref()?))
        }));
    }
    batch.rows(all.len());
    batch.column("objoid", all.iter().map(|row| row.0));
    batch.column("classoid", all.iter().map(|row| row.1));
    batch.column("objsubid", all.iter().map(|row| row.2));
    batch.column("description", all.iter().map(|row| row.3));
}

fn pg_shdescription(scope: &Scope, batch: &mut Batch<'_>) {
    let databases = objects::databases(scope).map(|object| (object, class::DATABASE));
    let roles = objects::roles(scope).map(|(object, _)| (object, class::AUTHID));
    let all: Vec<_> =
        databases.chain(roles).filter_map(|(object, class)| Some((object, class, object.comment.as_ref()?))).collect();
    batch.rows(all.len());
    batch.column("objoid", all.iter().map(|row| row.0.oid));
    batch.column("classoid", all.iter().map(|row| row.1));
    batch.column("description", all.iter().map(|row| row.2));
}

fn pg_tables(scope: &Scope, batch: &mut Batch<'_>) {
    let all: Vec<_> = objects::relations(scope).into_iter().filter(|rel| rel.relkind() == "r").collect();
    batch.rows(all.len());
    batch.column("schemaname", all.iter().map(|rel| rel.schema));
    batch.column("tablename", all.iter().map(|rel| rel.name.as_ref()));
    batch.column("tableowner", all.iter().map(|rel| objects::role_name(scope, rel.owner)));
    batch.column("hasindexes", all.iter().map(|rel| rel.table().is_some_and(|def| !def.primary_key.is_empty())));
    for column in ["hasrules", "hastriggers", "rowsecurity"] {
        batch.constant(column, false);
    }
}

fn pg_views(scope: &Scope, batch: &mut Batch<'_>) {
    let all: Vec<_> = objects::relations(scope).into_iter().filter(|rel| rel.relkind() == "v").collect();
    batch.rows(all.len());
    batch.column("schemaname", all.iter().map(|rel| rel.schema));
    batch.column("viewname", all.iter().map(|rel| rel.name.as_ref()));
    batch.column("viewowner", all.iter().map(|rel| objects::role_name(scope, rel.owner)));
    batch.column("definition", all.iter().map(|rel| definitions::view_definition(rel)));
}

fn pg_indexes(scope: &Scope, batch: &mut Batch<'_>) {
    let all = indexes(scope);
    let table_name = |oid: Oid| objects::object(scope, oid).map(|table| &table.name);
    batch.rows(all.len());
    batch.column("schemaname", all.iter().map(|(index, ..)| index.schema));
    batch.column("tablename", all.iter().map(|(_, table, _)| table_name(*table)));
    batch.column("indexname", all.iter().map(|(index, ..)| index.name.as_ref()));
    batch.column("indexdef", all.iter().map(|(index, ..)| definitions::index_definition(index)));
}

/// A relation's name, qualified: for messages and definitions.
pub(crate) fn qualified_name(rel: &Rel<'_>) -> String {
    names::qualified(rel.schema, &rel.name)
}
