//! The objects of the session's database as the system catalogs list them: PostgreSQL's own relations, the database's
//! tables and views, the session's temporary ones, and the index that stands for a declared primary key.
//!
//! Oids of what is not an object of its own are derived from the object's by setting bits that no stored oid has (stored
//! ones count up from 16384, temporary ones from 2³¹): stable across restarts, unique in their catalog.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use tidemill_catalog::Oid;
use tidemill_catalog::record::{Body, ColumnDef, IndexDef, Object, RoleDef, TableDef, ViewDef};
use tidemill_catalog::sequence::SequenceDef;
use tidemill_catalog::snapshot::{NameClass, TableState};
use tidemill_udfs::types::SqlType;

use super::data;
use super::registry::{self, Relation};
use crate::plan::sequence_row::COLUMNS as SEQUENCE_COLUMNS;
use crate::plan::user_types;
use crate::plan::{PG_CATALOG, Scope, TEMP_SCHEMA};

/// The owner of PostgreSQL's own objects where no superuser is stored.
const BOOTSTRAP_ROLE: Oid = 10;
/// Row types of tables and views.
const ROW_TYPE: Oid = 1 << 29;
/// The index and the constraint of a primary key (pg_class, pg_index, pg_constraint), a view's rule (pg_rewrite).
const PRIMARY_KEY: Oid = 1 << 30;

/// btree
pub(crate) const BTREE: Oid = 403;
/// heap
pub(crate) const HEAP: Oid = 2;

/// pg_type.oid of a relation's row type.
pub(crate) fn row_type_oid(relation: Oid) -> Oid {
    relation | ROW_TYPE
}

/// pg_type.oid of the array of a relation's row type.
pub(crate) fn row_array_type_oid(relation: Oid) -> Oid {
    relation | ROW_TYPE | PRIMARY_KEY
}

/// The oid of a table's primary key, as an index and as a constraint.
pub(crate) fn primary_key_oid(table: Oid) -> Oid {
    table | PRIMARY_KEY
}

/// The oid of a view's `_RETURN` rule.
pub(crate) fn rule_oid(view: Oid) -> Oid {
    view | PRIMARY_KEY
}

/// pg_attrdef.oid of a column's default: a mix of both numbers (only pg_depend could refer to it).
pub(crate) fn default_oid(table: Oid, column: i32) -> Oid {
    (table.wrapping_mul(0x9E37_79B1) ^ column.unsigned_abs().wrapping_mul(0x85EB_CA6B)) | 0x4000_0000
}

/// A schema.
#[derive(Debug, Clone)]
pub(crate) struct Namespace<'a> {
    /// pg_namespace.oid
    pub(crate) oid: Oid,
    /// Its name.
    pub(crate) name: &'a str,
    /// Its owner.
    pub(crate) owner: Oid,
    /// What is stored about it, unless it is PostgreSQL's own.
    pub(crate) object: Option<&'a Arc<Object>>,
}

/// What a relation is.
#[derive(Clone, Copy)]
pub(crate) enum Kind<'a> {
    /// A table.
    Table(&'a Arc<TableDef>),
    /// A view.
    View(&'a ViewDef),
    /// A sequence.
    Sequence(&'a Arc<SequenceDef>),
    /// An index of a table; `None`: that of its primary key.
    Index(&'a Arc<Object>, &'a Arc<TableDef>, Option<&'a IndexDef>),
    /// A relation of pg_catalog, information_schema or tidemill.
    System(&'static Relation),
}

/// A row of pg_class.
#[derive(Clone)]
pub(crate) struct Rel<'a> {
    /// pg_class.oid
    pub(crate) oid: Oid,
    /// Its name.
    pub(crate) name: Cow<'a, str>,
    /// Its schema.
    pub(crate) namespace: Oid,
    /// Its schema's name.
    pub(crate) schema: &'a str,
    /// Its owner.
    pub(crate) owner: Oid,
    /// What it is.
    pub(crate) kind: Kind<'a>,
    /// What is stored about it.
    pub(crate) object: Option<&'a Arc<Object>>,
    /// Is a temporary one.
    pub(crate) temporary: bool,
}

impl<'a> Rel<'a> {
    /// pg_class.relkind
    pub(crate) fn relkind(&self) -> &'static str {
        match self.kind {
            Kind::Table(_) => "r",
            Kind::View(_) => "v",
            Kind::Sequence(_) => "S",
            Kind::Index(..) => "i",
            Kind::System(relation) => relation.kind,
        }
    }

    /// Its definition, if it is a table that users made.
    pub(crate) fn table(&self) -> Option<&'a Arc<TableDef>> {
        match self.kind {
            Kind::Table(def) => Some(def),
            _ => None,
        }
    }

    /// Number of columns.
    pub(crate) fn width(&self) -> usize {
        match self.kind {
            Kind::Table(def) => def.columns.len(),
            Kind::View(view) => view.columns.len(),
            Kind::Sequence(_) => SEQUENCE_COLUMNS.len(),
            Kind::Index(_, def, None) => def.primary_key.len(),
            Kind::Index(_, _, Some(index)) => index.keys.len() + index.include.len(),
            Kind::System(relation) => relation.columns.len(),
        }
    }

    /// Its columns as users see them; none for system relations.
    pub(crate) fn columns(&self) -> &'a [ColumnDef] {
        match self.kind {
            Kind::Table(def) => &def.columns,
            Kind::View(view) => &view.columns,
            Kind::Index(..) | Kind::Sequence(_) | Kind::System(_) => &[],
        }
    }
}

/// A row of pg_attribute.
pub(crate) struct Attribute<'a> {
    /// attname
    pub(crate) name: &'a str,
    /// attnum
    pub(crate) number: i32,
    /// Its type.
    pub(crate) type_oid: Oid,
    /// atttypmod
    pub(crate) typmod: i32,
    /// attnotnull
    pub(crate) not_null: bool,
    /// What is stored about it.
    pub(crate) column: Option<&'a ColumnDef>,
}

/// The oid and modifier of types by their stored names, each parsed once.
#[derive(Default)]
pub(crate) struct TypeNames<'a> {
    known: HashMap<(&'a str, Option<Oid>), (Oid, i32)>,
}

impl<'a> TypeNames<'a> {
    /// The oid and modifier of a column's type; text's for a name that nobody can read.
    pub(crate) fn of(&mut self, column: &'a ColumnDef) -> (Oid, i32) {
        *self.known.entry((&column.sql_type, column.user_type)).or_insert_with(|| {
            let sql_type = column_type(column);
            match column.user_type {
                // A domain: its type is what is below it.
                Some(domain) if user_types::of(&sql_type) != Some(domain) => (domain, -1),
                _ => (sql_type.oid(), sql_type.typmod_with(SqlType::stored_precision(&column.sql_type))),
            }
        })
    }

    /// The attributes of a relation, in order.
    pub(crate) fn attributes(&mut self, relation: &Rel<'a>) -> Vec<Attribute<'a>> {
        match relation.kind {
            Kind::System(system) => (1..)
                .zip(&system.columns)
                .map(|(number, column)| Attribute {
                    name: column.name,
                    number,
                    type_oid: column.type_oid,
                    typmod: column.sql_type.typmod(),
                    not_null: column.not_null,
                    column: None,
                })
                .collect(),
            Kind::Table(def) => def.columns.iter().map(|column| self.attribute(column, column.id)).collect(),
            Kind::View(view) => {
                (1..).zip(&view.columns).map(|(number, column)| self.attribute(column, number)).collect()
            }
            Kind::Sequence(_) => (1..)
                .zip(&SEQUENCE_COLUMNS)
                .map(|(number, (name, sql_type))| Attribute {
                    name,
                    number,
                    type_oid: sql_type.oid(),
                    typmod: -1,
                    not_null: true,
                    column: None,
                })
                .collect(),
            Kind::Index(_, def, index) => (1..)
                .zip(index_columns(def, index))
                .map(|(number, column)| match column {
                    // A hash index holds hashes.
                    Some(column) if index.is_some_and(|index| index.method == "hash") => Attribute {
                        column: None,
                        not_null: false,
                        type_oid: SqlType::Int4.oid(),
                        typmod: -1,
                        ..self.attribute(column, number)
                    },
                    Some(column) => Attribute { column: None, not_null: false, ..self.attribute(column, number) },
                    None => Attribute {
                        name: "expr",
                        number,
                        type_oid: SqlType::Text.oid(),
                        typmod: -1,
                        not_null: false,
                        column: None,
                    },
                })
                .collect(),
        }
    }

    fn attribute(&mut self, column: &'a ColumnDef, number: i32) -> Attribute<'a> {
        let (type_oid, typmod) = self.of(column);
        Attribute { name: &column.name, number, type_oid, typmod, not_null: !column.nullable, column: Some(column) }
    }
}

/// A column's type; text if nobody can read its name.
pub(crate) fn column_type(column: &ColumnDef) -> SqlType {
    SqlType::of_stored(&column.sql_type).unwrap_or(SqlType::Text)
}

/// The superuser who owns PostgreSQL's own objects: the oldest one.
pub(crate) fn bootstrap_role(scope: &Scope) -> Oid {
    let superuser = roles(scope).find(|(_, role)| role.superuser);
    superuser.map_or(BOOTSTRAP_ROLE, |(object, _)| object.oid)
}

/// All roles, in oid order.
pub(crate) fn roles(scope: &Scope) -> impl Iterator<Item = (&Arc<Object>, &RoleDef)> {
    scope.snapshot.catalog.children(0).filter_map(|object| match &object.body {
        Body::Role(role) => Some((object, role)),
        _ => None,
    })
}

/// All databases, in oid order.
pub(crate) fn databases(scope: &Scope) -> impl Iterator<Item = &Arc<Object>> {
    scope.snapshot.catalog.children(0).filter(|object| matches!(object.body, Body::Database {}))
}

/// The session's database.
pub(crate) fn database(scope: &Scope) -> Option<&Arc<Object>> {
    scope.snapshot.catalog.get(scope.database)
}

/// Its name.
pub(crate) fn database_name(scope: &Scope) -> &str {
    database(scope).map_or("", |object| &object.name)
}

/// The role of that oid.
pub(crate) fn role(scope: &Scope, oid: Oid) -> Option<(&Arc<Object>, &RoleDef)> {
    let object = scope.snapshot.catalog.get(oid)?;
    match &object.body {
        Body::Role(role) => Some((object, role)),
        _ => None,
    }
}

/// The role of that name.
pub(crate) fn role_named<'a>(scope: &'a Scope, name: &str) -> Option<&'a Arc<Object>> {
    scope.snapshot.catalog.find(0, NameClass::Role, name)
}

/// A role's name, as pg_get_userbyid tells it.
pub(crate) fn role_name(scope: &Scope, oid: Oid) -> Cow<'_, str> {
    match role(scope, oid) {
        Some((object, _)) => Cow::Borrowed(&object.name),
        None if oid == BOOTSTRAP_ROLE => Cow::Borrowed("tidemill"),
        None => Cow::Owned(format!("unknown (OID={oid})")),
    }
}

/// The schemas of the session's database: PostgreSQL's own, the stored ones, the temporary one if it is in use.
pub(crate) fn namespaces(scope: &Scope) -> Vec<Namespace<'_>> {
    let owner = bootstrap_role(scope);
    let system = registry::SCHEMAS.map(|(name, oid)| Namespace { oid, name, owner, object: None });
    let (name, oid) = registry::TOAST;
    let toast = Namespace { oid, name, owner, object: None };
    // The server's own tables are in a stored schema of a system schema's name.
    let is_system = |object: &&Arc<Object>| registry::SCHEMAS.iter().any(|(name, _)| *name == object.name);
    let stored = stored_schemas(scope).filter(|object| !is_system(object)).map(|object| Namespace {
        oid: object.oid,
        name: &object.name,
        owner: object.owner,
        object: Some(object),
    });
    std::iter::once(toast).chain(system).chain(stored).collect()
}

/// Schemas that are stored, and the temporary one if it is in use.
fn stored_schemas(scope: &Scope) -> impl Iterator<Item = &Arc<Object>> {
    let temporary = temporary_schema(scope);
    let permanent = scope.snapshot.catalog.children(scope.database);
    permanent.filter(|object| matches!(object.body, Body::Schema {})).chain(temporary)
}

/// The session's temporary schema, if anything is in it.
pub(crate) fn temporary_schema(scope: &Scope) -> Option<&Arc<Object>> {
    let catalog = &scope.temp.catalog;
    catalog.get(TEMP_SCHEMA).filter(|_| catalog.children(TEMP_SCHEMA).next().is_some())
}

/// The schema with that oid.
pub(crate) fn namespace(scope: &Scope, oid: Oid) -> Option<Namespace<'_>> {
    let mut systems = registry::SCHEMAS.iter().chain([&registry::TOAST]);
    if let Some((name, oid)) = systems.find(|(_, system)| *system == oid) {
        return Some(Namespace { oid: *oid, name, owner: bootstrap_role(scope), object: None });
    }
    let object = object(scope, oid).filter(|object| matches!(object.body, Body::Schema {}))?;
    let here = object.parent == scope.database || oid == TEMP_SCHEMA;
    here.then(|| Namespace { oid, name: &object.name, owner: object.owner, object: Some(object) })
}

/// The schema of that name.
pub(crate) fn namespace_named(scope: &Scope, name: &str) -> Option<Oid> {
    let mut systems = registry::SCHEMAS.iter().chain([&registry::TOAST]);
    if let Some((_, oid)) = systems.find(|(system, _)| *system == name) {
        return Some(*oid);
    }
    if let Some(object) = temporary_schema(scope).filter(|object| name == "pg_temp" || object.name == name) {
        return Some(object.oid);
    }
    scope.snapshot.catalog.find(scope.database, NameClass::Schema, name).map(|object| object.oid)
}

/// A stored or temporary object.
pub(crate) fn object(scope: &Scope, oid: Oid) -> Option<&Arc<Object>> {
    scope.snapshot.catalog.get(oid).or_else(|| scope.temp.catalog.get(oid))
}

/// The rows of a table.
pub(crate) fn table_state(scope: &Scope, oid: Oid) -> Option<&Arc<TableState>> {
    scope.snapshot.table(oid).or_else(|| scope.temp.table(oid))
}

/// Every relation that pg_class lists.
pub(crate) fn relations(scope: &Scope) -> Vec<Rel<'_>> {
    let mut all: Vec<Rel<'_>> = registry::all().iter().map(|relation| system_relation(scope, relation)).collect();
    all.extend(user_relations(scope));
    all
}

/// The relation with that oid, or all.
pub(crate) fn relations_about(scope: &Scope, about: Option<Oid>) -> Vec<Rel<'_>> {
    match about {
        Some(oid) => find_relation(scope, oid).into_iter().collect(),
        None => relations(scope),
    }
}

/// The relations of [`relations`] that users made.
pub(crate) fn user_relations(scope: &Scope) -> Vec<Rel<'_>> {
    let mut all = Vec::new();
    for schema in stored_schemas(scope) {
        let temporary = schema.oid == TEMP_SCHEMA;
        let catalog = if temporary { &scope.temp.catalog } else { &scope.snapshot.catalog };
        for object in catalog.children(schema.oid) {
            let Some(relation) = user_relation(object, schema) else { continue };
            let indexes = indexes_of(&relation);
            all.push(relation);
            all.extend(indexes);
        }
    }
    all
}

/// The relation with that oid in the session's database.
pub(crate) fn find_relation(scope: &Scope, oid: Oid) -> Option<Rel<'_>> {
    if let Some(system) = registry::get(oid) {
        return Some(system_relation(scope, system));
    }
    let of = |oid: Oid| {
        let object = object(scope, oid)?;
        let schema = object_schema(scope, object)?;
        user_relation(object, schema)
    };
    let index_of = |table: Oid| indexes_of(&of(table)?).into_iter().find(|index| index.oid == oid);
    of(oid).or_else(|| index_of(table_of_part(scope, oid)?)).or_else(|| {
        let table = Some(oid & !PRIMARY_KEY).filter(|_| oid & PRIMARY_KEY != 0)?;
        index_of(table)
    })
}

/// The table that has an index or constraint with that oid as a part of it.
pub(crate) fn table_of_part(scope: &Scope, part: Oid) -> Option<Oid> {
    scope.snapshot.catalog.parts.get(&part).or_else(|| scope.temp.catalog.parts.get(&part)).copied()
}

/// The columns of an index; `None`: an expression.
pub(crate) fn index_columns<'a>(def: &'a TableDef, index: Option<&IndexDef>) -> Vec<Option<&'a ColumnDef>> {
    let with_id = |id: i32| def.column_with_id(id).map(|(_, column)| column);
    match index {
        None => def.primary_key.iter().map(|name| def.column(name)).collect(),
        Some(index) => {
            let keys = index.keys.iter().map(|key| key.column.and_then(with_id));
            keys.chain(index.include.iter().map(|id| with_id(*id))).collect()
        }
    }
}

/// A sequence that a table owns: the object, and the number of the column it goes with.
pub(crate) fn owned_sequences(scope: &Scope, table: Oid) -> Vec<(&Arc<Object>, i32)> {
    let all = scope.snapshot.catalog.objects.values().chain(scope.temp.catalog.objects.values());
    let owned = |object: &'_ Arc<Object>| match &object.body {
        Body::Sequence(def) => def.owned_by.filter(|(of, _)| *of == table).map(|(_, column)| column),
        _ => None,
    };
    all.filter_map(|object| Some((object, owned(object)?))).collect()
}

/// True for a column with a default: identity columns have none.
pub(crate) fn has_default(column: &ColumnDef) -> bool {
    column.default.is_some() || column.sequence.is_some() && !column.is_identity()
}

/// The default of a column as pg_get_expr shows it: a text, or the call of its sequence. None for identity columns.
pub(crate) fn default_of<'a>(scope: &Scope, column: &'a ColumnDef) -> Option<Cow<'a, str>> {
    if column.default.is_some() {
        return super::deparse::default_text(column);
    }
    let sequence = column.sequence.filter(|_| !column.is_identity())?;
    let name = super::names::regclass_text(scope, sequence.oid).replace('\'', "''");
    Some(Cow::Owned(format!("nextval('{name}'::regclass)")))
}

/// The relation of that name in that schema.
pub(crate) fn relation_in(scope: &Scope, schema: Oid, name: &str) -> Option<Oid> {
    if let Some((namespace, _)) = registry::SCHEMAS.iter().find(|(_, oid)| *oid == schema) {
        return registry::find(namespace, name).map(|relation| relation.oid);
    }
    let catalog = if schema == TEMP_SCHEMA { &scope.temp.catalog } else { &scope.snapshot.catalog };
    if let Some(object) = catalog.find(schema, NameClass::Relation, name) {
        return Some(object.oid);
    }
    if let Some(table) = catalog.table_of_index(schema, name)
        && let Body::Table(def) = &table.body
    {
        let index = def.indexes.iter().find(|index| index.name == name);
        return Some(index.map_or_else(|| primary_key_oid(table.oid), |index| index.oid));
    }
    None
}

fn object_schema<'a>(scope: &'a Scope, object: &Object) -> Option<&'a Arc<Object>> {
    let schema = self::object(scope, object.parent)?;
    (schema.oid == TEMP_SCHEMA || schema.parent == scope.database).then_some(schema)
}

fn system_relation<'a>(scope: &'a Scope, relation: &'static Relation) -> Rel<'a> {
    Rel {
        oid: relation.oid,
        name: Cow::Borrowed(relation.name),
        namespace: relation.namespace_oid(),
        schema: relation.namespace,
        owner: bootstrap_role(scope),
        kind: Kind::System(relation),
        object: None,
        temporary: false,
    }
}

fn user_relation<'a>(object: &'a Arc<Object>, schema: &'a Arc<Object>) -> Option<Rel<'a>> {
    let kind = match &object.body {
        Body::Table(def) => Kind::Table(def),
        Body::View(view) => Kind::View(view),
        Body::Sequence(def) => Kind::Sequence(def),
        _ => return None,
    };
    Some(Rel {
        oid: object.oid,
        name: Cow::Borrowed(&object.name),
        namespace: registry::SCHEMAS.iter().find(|(name, _)| *name == schema.name).map_or(schema.oid, |(_, oid)| *oid),
        schema: &schema.name,
        owner: object.owner,
        kind,
        object: Some(object),
        temporary: schema.oid == TEMP_SCHEMA,
    })
}

/// The indexes of a table; the first stands for its primary key, if it has one.
pub(crate) fn indexes_of<'a>(table: &Rel<'a>) -> Vec<Rel<'a>> {
    let (Kind::Table(def), Some(object)) = (table.kind, table.object) else { return vec![] };
    let primary = def.key_name(&table.name).map(|name| Rel {
        oid: primary_key_oid(table.oid),
        name,
        kind: Kind::Index(object, def, None),
        object: None,
        ..table.clone()
    });
    let other = |index: &'a IndexDef| Rel {
        oid: index.oid,
        name: Cow::Borrowed(&index.name),
        kind: Kind::Index(object, def, Some(index)),
        object: None,
        ..table.clone()
    };
    primary.into_iter().chain(def.indexes.iter().map(other)).collect()
}

/// The schemas that exist of the search path, the implicit ones first if `implicit`.
pub(crate) fn search_path(scope: &Scope, implicit: bool) -> Vec<(Oid, &str)> {
    let named = |name: &String| {
        let oid = namespace_named(scope, name)?;
        Some((oid, namespace(scope, oid)?.name))
    };
    let mut path: Vec<(Oid, &str)> = scope.search_path.iter().filter_map(named).collect();
    path.dedup();
    if implicit {
        if !path.iter().any(|(oid, _)| *oid == PG_CATALOG) {
            path.insert(0, (PG_CATALOG, "pg_catalog"));
        }
        let temporary = temporary_schema(scope).filter(|schema| !path.iter().any(|(oid, _)| *oid == schema.oid));
        if let Some(schema) = temporary {
            path.insert(0, (schema.oid, &schema.name));
        }
    } else {
        path.retain(|(oid, _)| *oid != TEMP_SCHEMA);
    }
    path
}

/// True if the unqualified name finds this relation.
pub(crate) fn is_visible(scope: &Scope, path: &[(Oid, &str)], relation: &Rel<'_>) -> bool {
    for (schema, _) in path {
        if *schema == relation.namespace {
            return true;
        }
        if relation_in(scope, *schema, &relation.name).is_some() {
            return false;
        }
    }
    false
}

/// Rows and bytes of a table: files and hot rows.
pub(crate) fn table_size(scope: &Scope, oid: Oid) -> (u64, u64) {
    let Some(state) = table_state(scope, oid) else { return (0, 0) };
    let files = state.files.files.iter().fold((0, 0), |(rows, bytes), file| (rows + file.rows, bytes + file.bytes));
    let hot = hot_size(state);
    (files.0 + hot.0, files.1 + hot.1)
}

/// Rows and bytes of a table that are not yet in files.
pub(crate) fn hot_size(state: &TableState) -> (u64, u64) {
    let add = |(rows, bytes): (u64, u64), chunk: &Arc<tidemill_catalog::hot::HotChunk>| {
        (rows + to_u64(chunk.batch.num_rows()), bytes + to_u64(chunk.bytes))
    };
    state.chunks.iter().fold((0, 0), add)
}

/// A count as u64.
pub(crate) fn to_u64(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// pg_type.typlen and friends of a type; those of text for what PostgreSQL does not have (row types).
pub(crate) fn type_properties(oid: Oid) -> &'static data::TypeRow {
    data::type_row(oid).or_else(|| data::type_named("text")).expect("pg_type.tsv has text")
}
