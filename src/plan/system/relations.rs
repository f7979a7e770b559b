//! pg_class and what hangs on it: attributes, defaults, constraints, indexes, descriptions, dependencies, and the views
//! over them (pg_tables, pg_views, pg_indexes).

use std::borrow::Cow;
use std::collections::HashSet;

use tidemill_catalog::Oid;
use tidemill_catalog::acl::{AclItem, Privileges};
use tidemill_catalog::record::{CheckDef, ColumnDef, ForeignKeyDef, IndexDef, IndexKey, SequenceRule, TableDef};
use tidemill_catalog::sequence::SequenceDef;
use tidemill_udfs::types::SqlType;

use super::batch::{Batch, Value};
use super::names;
use super::objects::{self, Attribute, BTREE, HEAP, Kind, Rel, TypeNames};
use super::privileges::Target;
use super::registry::Fill;
use super::{data, definitions, privileges, routines, user_types};
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
    ("pg_sequence", pg_sequence),
    ("pg_sequences", pg_sequences),
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

/// The access privileges of an object (0) or one of its columns; NULL: the default ones.
pub(crate) fn acl(scope: &Scope, items: &[AclItem], column: i32) -> Value<'static> {
    privileges::printed(scope, items, column).map_or(Value::Null, Value::from)
}

fn pg_namespace(scope: &Scope, batch: &mut Batch<'_>) {
    let all = objects::namespaces(scope);
    batch.rows(all.len());
    batch.column("oid", all.iter().map(|schema| schema.oid));
    batch.column("nspname", all.iter().map(|schema| schema.name));
    batch.column("nspowner", all.iter().map(|schema| schema.owner));
    batch.column(
        "nspacl",
        all.iter().map(|schema| schema.object.map_or(Value::Null, |object| acl(scope, &object.acl, 0))),
    );
}

fn pg_class(scope: &Scope, batch: &mut Batch<'_>) {
    let all = objects::relations_about(scope, batch.about);
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
            "i" => index_method(rel),
            _ => 0,
        }),
    );
    batch.column("relfilenode", all.iter().map(|rel| if rel.relkind() == "v" { 0 } else { rel.oid }));
    let sizes = |rel: &Rel<'_>| rel.table().map(|_| objects::table_size(scope, rel.oid));
    // An index is its first page, and no more.
    let pages = |rel: &Rel<'_>| match rel.kind {
        Kind::Index(..) => 1,
        _ => sizes(rel).map_or(0, |(_, bytes)| bytes.div_ceil(8192)),
    };
    batch.column("relpages", all.iter().map(pages));
    batch.column("reltuples", all.iter().map(|rel| sizes(rel).map_or(0, |(rows, _)| rows)));
    batch.column("relhasindex", all.iter().map(|rel| rel.table().is_some_and(|def| has_indexes(def))));
    batch.column("relisshared", all.iter().map(|rel| SHARED.contains(&rel.oid)));
    batch.column("relpersistence", all.iter().map(|rel| if rel.temporary { "t" } else { "p" }));
    batch.column("relkind", all.iter().map(Rel::relkind));
    batch.column("relnatts", all.iter().map(Rel::width));
    batch.column("relchecks", all.iter().map(|rel| rel.table().map_or(0, |def| def.checks.len())));
    let referred: HashSet<Oid> =
        all.iter().filter_map(Rel::table).flat_map(|def| def.foreign_keys.iter().map(|key| key.table)).collect();
    // PostgreSQL enforces foreign keys by triggers, and psql shows them for tables that have some.
    let has_triggers =
        |rel: &Rel<'_>| rel.table().is_some_and(|def| !def.foreign_keys.is_empty() || referred.contains(&rel.oid));
    batch.column("relhastriggers", all.iter().map(has_triggers));
    batch.column("relhasrules", all.iter().map(|rel| rel.relkind() == "v"));
    batch.constant("relispopulated", true);
    batch.column("relreplident", all.iter().map(|rel| if rel.table().is_some() { "d" } else { "n" }));
    batch.column("relacl", all.iter().map(|rel| rel.object.map_or(Value::Null, |object| acl(scope, &object.acl, 0))));
    batch.column("reloptions", all.iter().map(|rel| rel.table().map_or(Value::Null, |def| options(def))));
}

/// The catalogs that all databases share.
const SHARED: [Oid; 11] = [1213, 1214, 1260, 1261, 1262, 2396, 2964, 3592, 6000, 6100, 6243];

fn has_indexes(def: &TableDef) -> bool {
    !def.primary_key.is_empty() || !def.indexes.is_empty()
}

/// The access method of an index.
fn index_method(rel: &Rel<'_>) -> Oid {
    let Kind::Index(_, _, Some(index)) = rel.kind else { return BTREE };
    match index.method.as_str() {
        "hash" => 405,
        "gist" => 783,
        "gin" => 2742,
        "spgist" => 4000,
        "brin" => 3580,
        _ => BTREE,
    }
}

fn reltype(rel: &Rel<'_>) -> Oid {
    match rel.kind {
        Kind::Table(_) | Kind::View(_) => objects::row_type_oid(rel.oid),
        Kind::Index(..) | Kind::Sequence(_) | Kind::System(_) => 0,
    }
}

fn options(def: &TableDef) -> Value<'static> {
    if def.given_options.is_empty() {
        return Value::Null;
    }
    Value::from(def.given_options.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>())
}

/// What PostgreSQL's tables have beside the columns that users gave them: name, attnum, oid of the type (tid, xid, cid, oid).
/// Listed because clients count on the rows; no query finds their values.
const SYSTEM_COLUMNS: [(&str, i32, Oid); 6] =
    [("tableoid", -6, 26), ("cmax", -5, 29), ("xmax", -4, 28), ("cmin", -3, 29), ("xmin", -2, 28), ("ctid", -1, 27)];

fn pg_attribute(scope: &Scope, batch: &mut Batch<'_>) {
    let relations = objects::relations_about(scope, batch.about);
    let mut types = TypeNames::default();
    let mut all: Vec<(&Rel<'_>, Attribute<'_>)> = Vec::new();
    for relation in &relations {
        if matches!(relation.relkind(), "r" | "S") {
            all.extend(SYSTEM_COLUMNS.iter().map(|(name, number, type_oid)| {
                let attribute =
                    Attribute { name, number: *number, type_oid: *type_oid, typmod: -1, not_null: true, column: None };
                (relation, attribute)
            }));
        }
        all.extend(types.attributes(relation).into_iter().map(|attribute| (relation, attribute)));
    }
    let is_array = |oid| {
        let row = user_types::properties(scope, oid);
        row.category == "A" && row.element != 0
    };
    let properties = |(_, attribute): &(&Rel<'_>, Attribute<'_>)| user_types::properties(scope, attribute.type_oid);
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
    let has_default = |attribute: &Attribute<'_>| attribute.column.is_some_and(objects::has_default);
    batch.column("atthasdef", all.iter().map(|(_, attribute)| has_default(attribute)));
    batch.column("atthasmissing", all.iter().map(|(_, attribute)| missing_value(attribute).is_some()));
    batch.column("attidentity", all.iter().map(|(_, attribute)| identity(attribute)));
    batch.constant("attislocal", true);
    batch.column("attcollation", all.iter().map(|row| properties(row).collation));
    let attacl = |(rel, attribute): &(&Rel<'_>, Attribute<'_>)| match rel.object {
        Some(object) if object.acl.iter().any(|item| item.column == attribute.number) => {
            acl(scope, &object.acl, attribute.number)
        }
        _ => Value::Null,
    };
    batch.column("attacl", all.iter().map(attacl));
    let missing_array = |value: &String| format!("{{\"{}\"}}", value.replace('\\', "\\\\").replace('"', "\\\""));
    batch.column("attmissingval", all.iter().map(|(_, attribute)| missing_value(attribute).map(missing_array)));
}

/// attidentity
fn identity(attribute: &Attribute<'_>) -> &'static str {
    match attribute.column.and_then(|column| column.sequence).map(|sequence| sequence.rule) {
        Some(SequenceRule::Always) => "a",
        Some(SequenceRule::ByDefault) => "d",
        _ => "",
    }
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
        .filter_map(|(oid, column)| Some((oid, column, objects::default_of(scope, column)?)))
        .collect();
    batch.rows(all.len());
    batch.column("oid", all.iter().map(|(oid, column, _)| objects::default_oid(*oid, column.id)));
    batch.column("adrelid", all.iter().map(|(oid, ..)| *oid));
    batch.column("adnum", all.iter().map(|(_, column, _)| column.id));
    batch.column("adbin", all.iter().map(|(.., default)| default.as_ref()));
}

/// A row of pg_constraint.
pub(crate) struct Constraint<'a> {
    /// pg_constraint.oid
    pub(crate) oid: Oid,
    /// Its name.
    pub(crate) name: Cow<'a, str>,
    /// The table.
    pub(crate) table: Rel<'a>,
    /// Its definition.
    pub(crate) def: &'a TableDef,
    /// What it says.
    pub(crate) kind: ConstraintKind<'a>,
}

/// What a constraint says.
#[derive(Clone, Copy)]
pub(crate) enum ConstraintKind<'a> {
    Check(&'a CheckDef),
    Primary,
    Unique(&'a IndexDef),
    Foreign(&'a ForeignKeyDef),
}

impl ConstraintKind<'_> {
    /// contype
    fn letter(self) -> &'static str {
        match self {
            Self::Check(_) => "c",
            Self::Primary => "p",
            Self::Unique(_) => "u",
            Self::Foreign(_) => "f",
        }
    }

    /// The standard's words.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Check(_) => "CHECK",
            Self::Primary => "PRIMARY KEY",
            Self::Unique(_) => "UNIQUE",
            Self::Foreign(_) => "FOREIGN KEY",
        }
    }
}

impl<'a> Constraint<'a> {
    /// Names of the columns it is about.
    pub(crate) fn columns(&self) -> Vec<&'a str> {
        match self.kind {
            ConstraintKind::Primary => self.def.primary_key.iter().map(String::as_str).collect(),
            ConstraintKind::Check(check) => mentioned(self.def, &check.condition),
            ConstraintKind::Unique(index) => column_names(self.def, &index.columns().unwrap_or_default()),
            ConstraintKind::Foreign(key) => column_names(self.def, &key.columns),
        }
    }

    /// The foreign key, if it is one.
    pub(crate) fn foreign(&self) -> Option<&'a ForeignKeyDef> {
        match self.kind {
            ConstraintKind::Foreign(key) => Some(key),
            _ => None,
        }
    }

    fn numbers(&self) -> Vec<i32> {
        self.columns().into_iter().filter_map(|name| self.def.column(name)).map(|column| column.id).collect()
    }

    /// The index that a key is, or refers to.
    fn index(&self) -> Oid {
        match self.kind {
            ConstraintKind::Check(_) => 0,
            ConstraintKind::Primary | ConstraintKind::Unique(_) => self.oid,
            ConstraintKind::Foreign(key) => referred_index(key),
        }
    }
}

/// The index of the key that a foreign key refers to.
pub(crate) fn referred_index(key: &ForeignKeyDef) -> Oid {
    if key.index == 0 { objects::primary_key_oid(key.table) } else { key.index }
}

/// The names of columns by their ids.
pub(crate) fn column_names<'a>(def: &'a TableDef, ids: &[i32]) -> Vec<&'a str> {
    ids.iter().filter_map(|id| def.column_with_id(*id)).map(|(_, column)| column.name.as_str()).collect()
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
    let of = |oid: Oid, name: Cow<'a, str>, kind: ConstraintKind<'a>| Constraint {
        oid,
        name,
        table: table.clone(),
        def,
        kind,
    };
    let mut all = vec![];
    for check in &def.checks {
        all.push(of(check.oid, Cow::Borrowed(&check.name), ConstraintKind::Check(check)));
    }
    for index in objects::indexes_of(table) {
        match index.kind {
            Kind::Index(_, _, None) => all.push(of(index.oid, index.name, ConstraintKind::Primary)),
            Kind::Index(_, _, Some(unique)) if unique.is_constraint => {
                all.push(of(index.oid, index.name, ConstraintKind::Unique(unique)));
            }
            _ => {}
        }
    }
    for key in &def.foreign_keys {
        all.push(of(key.oid, Cow::Borrowed(&key.name), ConstraintKind::Foreign(key)));
    }
    all
}

fn pg_constraint(scope: &Scope, batch: &mut Batch<'_>) {
    let all = constraints(scope);
    let domains = user_types::domain_checks(scope);
    // What columns of tables' constraints have, constraints of domains have not.
    let none = |value: Value<'static>| std::iter::repeat_n(value, domains.len());
    let action = |action: fn(&ForeignKeyDef) -> char| {
        let of = move |c: &Constraint<'_>| c.foreign().map_or_else(|| " ".to_owned(), |key| action(key).into());
        all.iter().map(move |constraint| Value::from(of(constraint))).chain(none(" ".into()))
    };
    let each = |value: fn(&Constraint<'_>) -> Value<'static>, other: Value<'static>| {
        all.iter().map(value).chain(none(other)).collect::<Vec<_>>()
    };
    batch.rows(all.len() + domains.len());
    batch.column("oid", all.iter().map(|c| c.oid).chain(domains.iter().map(|(_, check)| check.oid)));
    let names = all.iter().map(|constraint| constraint.name.as_ref());
    batch.column("conname", names.chain(domains.iter().map(|(_, check)| check.name.as_str())));
    let namespaces = all.iter().map(|constraint| constraint.table.namespace);
    batch.column("connamespace", namespaces.chain(domains.iter().map(|(domain, _)| domain.parent)));
    batch.column("contype", each(|c| c.kind.letter().into(), "c".into()));
    batch.column("condeferrable", each(|c| c.foreign().is_some_and(|key| key.deferrable).into(), false.into()));
    batch.column("condeferred", each(|c| c.foreign().is_some_and(|key| key.deferred).into(), false.into()));
    batch.column("convalidated", each(|c| c.foreign().is_none().into(), true.into()));
    batch.column("conrelid", each(|c| c.table.oid.into(), 0.into()));
    batch.column("contypid", std::iter::repeat_n(0, all.len()).chain(domains.iter().map(|(domain, _)| domain.oid)));
    batch.column("conindid", each(|c| c.index().into(), 0.into()));
    batch.column("confrelid", each(|c| c.foreign().map_or(0, |key| key.table).into(), 0.into()));
    batch.column("confupdtype", action(|key| key.on_update));
    batch.column("confdeltype", action(|key| key.on_delete));
    batch.column("confmatchtype", action(|key| if key.match_full { 'f' } else { 's' }));
    batch.constant("conislocal", true);
    let is_inherited = |c: &Constraint<'_>| matches!(c.kind, ConstraintKind::Check(_));
    batch.column("connoinherit", all.iter().map(|c| Value::from(!is_inherited(c))).chain(none(false.into())));
    batch.column("conkey", each(|c| c.numbers().into(), Value::Null));
    batch.column("confkey", each(|c| c.foreign().map_or(Value::Null, |key| key.key.clone().into()), Value::Null));
    let condition = |constraint: &Constraint<'_>| match constraint.kind {
        ConstraintKind::Check(check) => Some(check.condition.clone()),
        _ => None,
    };
    let of_domains = domains.iter().map(|(_, check)| Some(check.condition.clone()));
    batch.column("conbin", all.iter().map(condition).chain(of_domains));
}

/// An index, its table's oid and definition, and its own; `None`: a primary key.
type Index<'a> = (Rel<'a>, Oid, &'a TableDef, Option<&'a IndexDef>);

/// Every index.
fn indexes(scope: &Scope) -> Vec<Index<'_>> {
    let all = objects::user_relations(scope).into_iter();
    all.filter_map(|rel| match rel.kind {
        Kind::Index(table, def, index) => Some((rel, table.oid, def.as_ref(), index)),
        _ => None,
    })
    .collect()
}

fn pg_index(scope: &Scope, batch: &mut Batch<'_>) {
    let all = indexes(scope);
    let mut types = TypeNames::default();
    let keys: Vec<Vec<(i32, Oid)>> = all
        .iter()
        .map(|(_, _, def, index)| {
            let columns = objects::index_columns(def, *index).into_iter();
            let key = |column: Option<_>| column.map_or((0, 0), |column: &ColumnDef| (column.id, types.of(column).0));
            columns.map(key).collect()
        })
        .collect();
    let included = |index: Option<&IndexDef>| index.map_or(0, |index| index.include.len());
    let list = |value: fn(&(i32, Oid)) -> i64| {
        keys.iter().zip(&all).map(move |(key, (.., index))| {
            Value::from(key[..key.len() - included(*index)].iter().map(value).collect::<Vec<_>>())
        })
    };
    batch.rows(all.len());
    batch.column("indexrelid", all.iter().map(|(index, ..)| index.oid));
    batch.column("indrelid", all.iter().map(|(_, table, ..)| *table));
    batch.column("indnatts", keys.iter().map(Vec::len));
    batch.column("indnkeyatts", keys.iter().zip(&all).map(|(key, (.., index))| key.len() - included(*index)));
    batch.column("indisunique", all.iter().map(|(.., index)| index.is_none_or(|index| index.unique)));
    batch.column("indisprimary", all.iter().map(|(.., index)| index.is_none()));
    for column in ["indimmediate", "indisvalid", "indisready", "indislive"] {
        batch.constant(column, true);
    }
    let numbers = |key: &Vec<(i32, Oid)>| Value::from(key.iter().map(|(id, _)| i64::from(*id)).collect::<Vec<_>>());
    batch.column("indkey", keys.iter().map(numbers));
    batch.column("indcollation", list(|(_, oid)| i64::from(objects::type_properties(*oid).collation)));
    batch.column("indclass", list(|(_, oid)| i64::from(operator_class(*oid))));
    let options = |(_, _, def, index): &Index<'_>| {
        let bits = |key: &IndexKey| i64::from(key.descending) | i64::from(key.nulls_first) << 1;
        match index {
            Some(index) => index.keys.iter().map(bits).collect::<Vec<_>>(),
            None => vec![0; def.primary_key.len()],
        }
    };
    batch.column("indoption", all.iter().map(|index| Value::from(options(index))));
    let expressions = |(.., index): &Index<'_>| {
        let all: Vec<_> =
            index.iter().flat_map(|index| &index.keys).filter_map(|key| key.expression.as_ref()).collect();
        (!all.is_empty()).then(|| all.iter().map(|text| text.as_str()).collect::<Vec<_>>().join(", "))
    };
    batch.column("indexprs", all.iter().map(expressions));
    batch.column("indpred", all.iter().map(|(.., index)| index.and_then(|index| index.predicate.clone())));
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

/// classid, objid, objsubid, refclassid, refobjid, refobjsubid, deptype.
type Dependency = (Oid, Oid, i32, Oid, Oid, i32, &'static str);

fn pg_depend(scope: &Scope, batch: &mut Batch<'_>) {
    let mut all: Vec<Dependency> = Vec::new();
    for rel in objects::user_relations(scope) {
        dependencies(scope, &rel, &mut all);
    }
    for (object, def) in scope.user_types() {
        use class::{CONSTRAINT, NAMESPACE, TYPE};
        all.push((TYPE, object.oid, 0, NAMESPACE, object.parent, 0, "n"));
        all.push((TYPE, def.array_oid, 0, TYPE, object.oid, 0, "i"));
        all.extend(object.depends_on.iter().map(|on| (TYPE, object.oid, 0, TYPE, *on, 0, "n")));
        let checks = def.domain().into_iter().flat_map(|domain| &domain.checks);
        all.extend(checks.map(|check| (CONSTRAINT, check.oid, 0, TYPE, object.oid, 0, "a")));
    }
    batch.rows(all.len());
    batch.column("classid", all.iter().map(|row| row.0));
    batch.column("objid", all.iter().map(|row| row.1));
    batch.column("objsubid", all.iter().map(|row| row.2));
    batch.column("refclassid", all.iter().map(|row| row.3));
    batch.column("refobjid", all.iter().map(|row| row.4));
    batch.column("refobjsubid", all.iter().map(|row| row.5));
    batch.column("deptype", all.iter().map(|row| row.6));
}

fn dependencies(scope: &Scope, rel: &Rel<'_>, all: &mut Vec<Dependency>) {
    use class::{ATTRDEF, CLASS, CONSTRAINT, NAMESPACE, REWRITE, TYPE};
    if let Kind::Index(table, def, index) = rel.kind {
        if index.is_none_or(|index| index.is_constraint) {
            all.push((CLASS, rel.oid, 0, CONSTRAINT, rel.oid, 0, "i"));
        } else {
            let columns = objects::index_columns(def, index).into_iter().flatten();
            all.extend(columns.map(|column| (CLASS, rel.oid, 0, CLASS, table.oid, column.id, "a")));
        }
        return;
    }
    all.push((CLASS, rel.oid, 0, NAMESPACE, rel.namespace, 0, "n"));
    if let Kind::Sequence(def) = rel.kind {
        let kind = if def.is_identity { "i" } else { "a" };
        all.extend(def.owned_by.map(|(table, column)| (CLASS, rel.oid, 0, CLASS, table, column, kind)));
        return;
    }
    all.push((TYPE, objects::row_type_oid(rel.oid), 0, CLASS, rel.oid, 0, "i"));
    for column in rel.columns().iter().filter(|column| objects::has_default(column)) {
        let default = objects::default_oid(rel.oid, column.id);
        all.push((ATTRDEF, default, 0, CLASS, rel.oid, column.id, "a"));
        all.extend(column.sequence.map(|sequence| (ATTRDEF, default, 0, CLASS, sequence.oid, 0, "n")));
    }
    let types = rel.table().into_iter().flat_map(|def| &def.columns);
    all.extend(types.filter_map(|column| Some((CLASS, rel.oid, column.id, TYPE, column.user_type?, 0, "n"))));
    for constraint in constraints_of(rel) {
        all.push((CONSTRAINT, constraint.oid, 0, CLASS, rel.oid, 0, "a"));
        if let Some(key) = constraint.foreign() {
            all.extend(key.key.iter().map(|id| (CONSTRAINT, constraint.oid, 0, CLASS, key.table, *id, "n")));
            all.push((CONSTRAINT, constraint.oid, 0, CLASS, referred_index(key), 0, "n"));
        }
    }
    if let (Kind::View(_), Some(object)) = (rel.kind, rel.object) {
        let rule = objects::rule_oid(rel.oid);
        all.push((REWRITE, rule, 0, CLASS, rel.oid, 0, "i"));
        all.push((REWRITE, rule, 0, CLASS, rel.oid, 0, "n"));
        let on = |oid: Oid| {
            let is_type = scope.user_type_with(oid).is_some();
            (REWRITE, rule, 0, if is_type { TYPE } else { CLASS }, oid, 0, "n")
        };
        all.extend(object.depends_on.iter().map(|oid| on(*oid)));
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
    for (object, _) in scope.user_types() {
        all.extend(object.comment.iter().map(|text| (object.oid, class::TYPE, 0, text.as_str())));
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
    batch.column("hasindexes", all.iter().map(|rel| rel.table().is_some_and(|def| has_indexes(def))));
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
    batch.column("tablename", all.iter().map(|(_, table, ..)| table_name(*table)));
    batch.column("indexname", all.iter().map(|(index, ..)| index.name.as_ref()));
    batch.column("indexdef", all.iter().map(|(index, ..)| definitions::index_definition(scope, index, false)));
}

/// The sequences.
pub(crate) fn sequences(scope: &Scope) -> Vec<(Rel<'_>, &SequenceDef)> {
    let all = objects::user_relations(scope).into_iter();
    all.filter_map(|rel| match rel.kind {
        Kind::Sequence(def) => Some((rel, def.as_ref())),
        _ => None,
    })
    .collect()
}

/// The type of a sequence's numbers.
pub(crate) fn sequence_type(def: &SequenceDef) -> SqlType {
    SqlType::of_stored(&def.sql_type).unwrap_or(SqlType::Int8)
}

fn pg_sequence(scope: &Scope, batch: &mut Batch<'_>) {
    let all = sequences(scope);
    batch.rows(all.len());
    batch.column("seqrelid", all.iter().map(|(rel, _)| rel.oid));
    batch.column("seqtypid", all.iter().map(|(_, def)| sequence_type(def).oid()));
    batch.column("seqstart", all.iter().map(|(_, def)| def.start));
    batch.column("seqincrement", all.iter().map(|(_, def)| def.increment));
    batch.column("seqmax", all.iter().map(|(_, def)| def.max));
    batch.column("seqmin", all.iter().map(|(_, def)| def.min));
    batch.column("seqcache", all.iter().map(|(_, def)| def.cache));
    batch.column("seqcycle", all.iter().map(|(_, def)| def.cycle));
}

fn pg_sequences(scope: &Scope, batch: &mut Batch<'_>) {
    let all = sequences(scope);
    let last = |(rel, def): &(Rel<'_>, &SequenceDef)| {
        let held = Target::relation(scope, rel).held(&scope.snapshot.catalog, scope.role);
        let may = !(held & (Privileges::USAGE | Privileges::SELECT)).is_empty();
        let (position, _) = def.position();
        (may && position.is_called).then_some(position.value)
    };
    batch.rows(all.len());
    batch.column("schemaname", all.iter().map(|(rel, _)| rel.schema));
    batch.column("sequencename", all.iter().map(|(rel, _)| rel.name.as_ref()));
    batch.column("sequenceowner", all.iter().map(|(rel, _)| objects::role_name(scope, rel.owner)));
    batch.column("data_type", all.iter().map(|(_, def)| sequence_type(def).oid()));
    batch.column("start_value", all.iter().map(|(_, def)| def.start));
    batch.column("min_value", all.iter().map(|(_, def)| def.min));
    batch.column("max_value", all.iter().map(|(_, def)| def.max));
    batch.column("increment_by", all.iter().map(|(_, def)| def.increment));
    batch.column("cycle", all.iter().map(|(_, def)| def.cycle));
    batch.column("cache_size", all.iter().map(|(_, def)| def.cache));
    batch.column("last_value", all.iter().map(last));
}

/// A relation's name, qualified: for messages and definitions.
pub(crate) fn qualified_name(rel: &Rel<'_>) -> String {
    names::qualified(rel.schema, &rel.name)
}
