//! The system relations: which there are, their oids and columns, and which function makes their rows.
//!
//! Names, oids and columns of pg_catalog and information_schema are PostgreSQL 15's own (`data/relations.tsv`); those of
//! schema `tidemill` are declared in `tidemill.rs`. A relation without a fill function is empty and correctly typed.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{Schema, SchemaRef};
use tidemill_catalog::Oid;
use tidemill_udfs::types::SqlType;

use super::batch::Batch;
use super::{data, information_schema, relations, roles, routines, stats, tidemill, types, user_types};
use crate::plan::{INFORMATION_SCHEMA, PG_CATALOG, Scope};

/// Makes the rows of a relation.
pub(crate) type Fill = fn(&Scope, &mut Batch<'_>);

/// A system relation.
pub(crate) struct Relation {
    /// Its schema.
    pub(crate) namespace: &'static str,
    /// Its name.
    pub(crate) name: &'static str,
    /// Its oid: PostgreSQL's.
    pub(crate) oid: Oid,
    /// pg_class.relkind: `r` or `v`.
    pub(crate) kind: &'static str,
    /// Its columns.
    pub(crate) columns: Vec<Column>,
    /// They as Arrow fields.
    pub(crate) schema: SchemaRef,
    positions: HashMap<&'static str, usize>,
    /// Makes its rows.
    pub(crate) fill: Fill,
}

/// A column of a system relation.
pub(crate) struct Column {
    /// Its name.
    pub(crate) name: &'static str,
    /// The type its values have here.
    pub(crate) sql_type: SqlType,
    /// The type it has in PostgreSQL, which pg_attribute shows (pg_node_tree, aclitem[]); else that of `sql_type`.
    pub(crate) type_oid: Oid,
    /// Is never NULL.
    pub(crate) not_null: bool,
}

/// The oid of schema `tidemill`, and the first of its relations.
pub(crate) const TIDEMILL: Oid = 15000;

/// The schemas that hold system relations.
pub(crate) const SCHEMAS: [(&str, Oid); 3] =
    [("pg_catalog", PG_CATALOG), ("information_schema", INFORMATION_SCHEMA), ("tidemill", TIDEMILL)];

/// The schema of PostgreSQL's oversized values: here it is empty, and only roots may look into it.
pub(crate) const TOAST: (&str, Oid) = ("pg_toast", 99);

impl Relation {
    /// A relation with the columns that `columns` declares: `name type, name type!, …`.
    pub(crate) fn new(
        namespace: &'static str,
        name: &'static str,
        oid: Oid,
        kind: &'static str,
        columns: &'static str,
        fill: Fill,
    ) -> Self {
        let columns: Vec<Column> = columns.split(',').map(|column| Column::parse(column.trim())).collect();
        let schema =
            columns.iter().map(|column| column.sql_type.field(column.name, !column.not_null)).collect::<Vec<_>>();
        let positions = columns.iter().enumerate().map(|(index, column)| (column.name, index)).collect();
        Self { namespace, name, oid, kind, columns, schema: Arc::new(Schema::new(schema)), positions, fill }
    }

    /// The column's place.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.positions.get(name).copied()
    }

    /// The oid of its schema.
    pub(crate) fn namespace_oid(&self) -> Oid {
        SCHEMAS.iter().find(|(name, _)| *name == self.namespace).map_or(PG_CATALOG, |(_, oid)| *oid)
    }
}

impl Column {
    fn parse(text: &'static str) -> Self {
        let (name, type_name) = text.split_once(' ').unwrap_or((text, "text"));
        let not_null = type_name.ends_with('!');
        let type_name = type_name.trim_end_matches('!');
        let sql_type = sql_type(type_name);
        let type_oid = data::type_named(type_name).map_or_else(|| sql_type.oid(), |row| row.oid);
        Self { name, sql_type, type_oid, not_null }
    }
}

/// The type that values of a column declared with PostgreSQL's internal type name have here; text for what we do not have.
fn sql_type(name: &str) -> SqlType {
    if let Some(item) = name.strip_prefix('_') {
        return SqlType::Array(Arc::new(sql_type(item)));
    }
    match name {
        "bool" => SqlType::Bool,
        "int2" => SqlType::Int2,
        "int4" => SqlType::Int4,
        "int8" => SqlType::Int8,
        "float4" => SqlType::Float4,
        "float8" => SqlType::Float8,
        "numeric" => SqlType::Numeric(None),
        "char" => SqlType::CharByte,
        "name" => SqlType::Name,
        "varchar" => SqlType::Varchar(None),
        "varchar(3)" => SqlType::Varchar(Some(3)),
        "bytea" => SqlType::Bytea,
        "timestamp" => SqlType::Timestamp,
        "timestamptz" => SqlType::TimestampTz,
        "interval" => SqlType::Interval,
        "jsonb" => SqlType::Jsonb,
        "oid" => SqlType::Oid,
        "regproc" => SqlType::RegProc,
        "regprocedure" => SqlType::RegProcedure,
        "regoperator" => SqlType::RegOperator,
        "regtype" => SqlType::RegType,
        "regclass" => SqlType::RegClass,
        "xid" => SqlType::Xid,
        "int2vector" => SqlType::Int2Vector,
        "oidvector" => SqlType::OidVector,
        _ => SqlType::Text,
    }
}

static RELATIONS: LazyLock<Vec<Relation>> = LazyLock::new(|| {
    let mut all = Vec::new();
    for line in include_str!("data/relations.tsv").lines() {
        let mut parts = line.split('\t');
        let mut next = || parts.next().unwrap_or_default();
        let (namespace, name, oid, kind, columns) = (next(), next(), next(), next(), next());
        let oid = oid.parse().unwrap_or_default();
        all.push(Relation::new(namespace, name, oid, kind, columns, fill(namespace, name)));
    }
    for (number, (name, columns, fill)) in (1..).zip(tidemill::RELATIONS) {
        all.push(Relation::new("tidemill", name, TIDEMILL + number, "v", columns, *fill));
    }
    all
});

static BY_NAME: LazyLock<HashMap<(&str, &str), &Relation>> =
    LazyLock::new(|| RELATIONS.iter().map(|relation| ((relation.namespace, relation.name), relation)).collect());

static BY_OID: LazyLock<HashMap<Oid, &Relation>> =
    LazyLock::new(|| RELATIONS.iter().map(|relation| (relation.oid, relation)).collect());

/// All system relations.
pub(crate) fn all() -> &'static [Relation] {
    &RELATIONS
}

/// The relation of that name.
pub(crate) fn find(namespace: &str, name: &str) -> Option<&'static Relation> {
    BY_NAME.get(&(namespace, name)).copied()
}

/// The relation with that oid.
pub(crate) fn get(oid: Oid) -> Option<&'static Relation> {
    BY_OID.get(&oid).copied()
}

fn nothing(_: &Scope, _: &mut Batch<'_>) {}

/// Where a relation's rows come from.
fn fill(namespace: &str, name: &str) -> Fill {
    let lists: &[&[(&str, Fill)]] = match namespace {
        "information_schema" => &[information_schema::FILLS],
        _ => &[relations::FILLS, types::FILLS, user_types::FILLS, routines::FILLS, roles::FILLS, stats::FILLS],
    };
    lists.iter().flat_map(|list| list.iter()).find(|(of, _)| *of == name).map_or(nothing, |(_, fill)| *fill)
}
