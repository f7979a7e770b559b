//! What is stored about an object, and the changes a transaction is made of.
//!
//! Everything nameable is an [`Object`] in one tree: databases and roles under the server (parent 0), schemas under a
//! database, tables and views under a schema. Objects are stored as JSON, in the log and in the catalog file; unknown
//! fields are refused, so an older server never drops what a newer one wrote.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, IntervalUnit, Schema, SchemaRef, TimeUnit};
use serde::{Deserialize, Serialize};

use crate::acl::AclItem;
use crate::sequence::{Mark, SequenceDef};
use crate::table::file::FileEntry;
use crate::table::keys::Digest;
use crate::user_type::TypeDef;
use crate::{Error, Lsn, Oid, Result};

/// Field metadata key that holds the SQL type where the Arrow type alone does not tell it (`varchar(10)`, `uuid`, `jsonb`).
pub const SQL_TYPE_KEY: &str = "tidemill.type";

/// One nameable thing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Object {
    /// Its identifier, unique in the data directory.
    pub oid: Oid,
    /// What contains it: 0 for databases and roles, a database for a schema, a schema for a relation.
    pub parent: Oid,
    /// Its name, folded as PostgreSQL folds it.
    pub name: String,
    /// The owning role.
    pub owner: Oid,
    /// Counts the puts of this object; a put must be made on the latest one.
    pub version: u64,
    /// `COMMENT ON`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Access privileges on it and its columns; see [`crate::acl`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acl: Vec<AclItem>,
    /// Objects this one cannot exist without (a view's tables).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<Oid>,
    /// The kind and its own data.
    pub body: Body,
}

/// What kind of object, and what only that kind has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Body {
    /// A database: a tenant; schemas live in it.
    Database {},
    /// A schema: relations live in it.
    Schema {},
    /// A table of rows.
    Table(Arc<TableDef>),
    /// A view: the text of its query and the columns it had at creation.
    View(ViewDef),
    /// A login or group role.
    Role(RoleDef),
    /// What the server reads into a table by itself.
    Source(SourceDef),
    /// Numbers that are given once.
    Sequence(Arc<SequenceDef>),
    /// An enum or domain.
    Type(Arc<TypeDef>),
}

/// A source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceDef {
    /// Where documents come from.
    pub connector: Connector,
    /// How they are written: `json`, `ndjson`, `csv`, `raw`, `avro`; `None`: as the name of a file says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// The table they go to.
    pub table: Oid,
    /// `ALTER SOURCE … PAUSE`
    #[serde(default)]
    pub paused: bool,
}

/// Where documents come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Connector {
    /// The messages of a Kafka topic.
    Kafka {
        /// `host:port`, separated by commas.
        brokers: String,
        /// The topic.
        topic: String,
        /// The group under which progress is shown to Kafka's tools; `None`: `tidemill-<oid>`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        group: Option<String>,
        /// Begins behind the messages that are there when it first starts.
        #[serde(default)]
        latest: bool,
        /// Settings of librdkafka. Passwords are among them.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        settings: BTreeMap<String, String>,
        /// Of format `avro`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        avro: Option<AvroDef>,
    },
    /// The files of a folder.
    Files {
        /// The folder, absolute.
        folder: String,
        /// What their names are like, with `*` and `?`; `None`: all files, those of folders within too.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pattern: Option<String>,
        /// Pause between two looks, milliseconds.
        every_ms: u64,
        /// A file that did not change for this long is complete, milliseconds.
        settle_ms: u64,
    },
    /// The files of an object store.
    Objects {
        /// A folder or a pattern: `s3://bucket/dir/*.json`
        url: String,
        /// Pause between two listings, milliseconds.
        every_ms: u64,
        /// Settings of the store. Secrets are among them.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        settings: BTreeMap<String, String>,
    },
}

/// How messages in Avro are written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AvroDef {
    /// The schema of all messages, JSON.
    pub schema: String,
    /// Confluent's header is before each datum.
    #[serde(default)]
    pub confluent: bool,
    /// The id that the header must have; `None`: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_id: Option<u32>,
}

/// A view.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewDef {
    /// The query's text, as the user wrote it.
    pub query: String,
    /// The search path under which names in the text resolve.
    pub search_path: Vec<String>,
    /// Its columns.
    pub columns: Vec<ColumnDef>,
    /// What the names in the text stand for: they keep their meaning when tables and columns are renamed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relations: Vec<ViewRelation>,
}

/// A table or view as a view's text names it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewRelation {
    /// The name as written: `[[database.]schema.]name`, folded.
    pub name: Vec<String>,
    /// The relation.
    pub oid: Oid,
    /// The columns it had when the view was made: their ids, and what they were called.
    pub columns: Vec<(i32, String)>,
}

/// A role.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "they are pg_authid's columns")]
pub struct RoleDef {
    /// Bypasses every check.
    pub superuser: bool,
    /// May start a session.
    pub login: bool,
    /// May create databases.
    pub create_db: bool,
    /// May create roles.
    pub create_role: bool,
    /// Takes on the privileges of the roles it is a member of.
    pub inherit: bool,
    /// -1: no limit.
    pub connection_limit: i32,
    /// `SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>`.
    pub password: Option<String>,
    /// Roles it is a member of.
    #[serde(default)]
    pub member_of: Vec<Oid>,
    /// Those of them that it may grant to others: WITH ADMIN OPTION.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub admin_of: Vec<Oid>,
    /// Who made it a member; missing: a superuser did.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub granted_by: BTreeMap<Oid, Oid>,
    /// ALTER DEFAULT PRIVILEGES: what objects it will make are born with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub default_privileges: Vec<DefaultPrivileges>,
    /// `ALTER ROLE … SET name = value`.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
}

/// What a role's future objects of one kind are born with, in one database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DefaultPrivileges {
    /// pg_default_acl.oid
    pub oid: Oid,
    /// The database.
    pub database: Oid,
    /// In that schema only, besides what holds everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Oid>,
    /// pg_default_acl.defaclobjtype: `r` relations, `S` sequences, `f` functions, `T` types, `n` schemas.
    pub kind: char,
    /// The privileges: all that there are, or with a schema, those that are added.
    pub acl: Vec<AclItem>,
}

/// A table's definition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableDef {
    /// Its columns, in order.
    pub columns: Vec<ColumnDef>,
    /// `CHECK` constraints.
    #[serde(default)]
    pub checks: Vec<CheckDef>,
    /// Declared primary key: names of columns.
    #[serde(default)]
    pub primary_key: Vec<String>,
    /// The name of the primary key's constraint and index, if it is not the table's with `_pkey`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary_key_name: Option<String>,
    /// Indexes and UNIQUE constraints, but for the primary key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub indexes: Vec<IndexDef>,
    /// Foreign keys: what they say, which nobody enforces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub foreign_keys: Vec<ForeignKeyDef>,
    /// The options in force, given or inferred.
    pub options: TableOptions,
    /// The `WITH (…)` entries the user gave, for `\d+` and dumps.
    #[serde(default)]
    pub given_options: BTreeMap<String, String>,
    /// True once a column was renamed or dropped: Delta column mapping by name is on.
    #[serde(default)]
    pub column_mapping: bool,
    /// The next column id; ids are never reused (they are `pg_attribute.attnum`).
    pub next_column_id: i32,
}

/// `tidemill.*` table options in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableOptions {
    /// The column that orders rows in files at flush; default: the first timestamp column, else none.
    pub time_column: Option<String>,
    /// The order of rows in compacted files; default: the time column.
    pub sort_key: Vec<String>,
    /// Delta partition columns.
    pub partition_by: Vec<String>,
    /// Hot rows older than this are flushed, milliseconds.
    pub flush_interval_ms: u64,
    /// Hot bytes (Arrow, in memory) above which the table is flushed.
    pub flush_bytes: u64,
    /// Fields of ingested documents that have no column become columns.
    #[serde(default)]
    pub evolve: bool,
    /// And columns become wider types where values of documents need it.
    #[serde(default)]
    pub widen: bool,
    /// Of rows with the same primary key only the one with the greatest value in this column counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upsert: Option<String>,
    /// Objects in ingested documents are taken apart into columns down to this depth; else they are one value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flatten: Option<u32>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnDef {
    /// `pg_attribute.attnum`, also Delta's column id.
    pub id: i32,
    /// Its name now.
    pub name: String,
    /// Its name in Parquet files: the name it was created with, made unique.
    pub physical_name: String,
    /// The SQL type as `tidemill_udfs::types::SqlType::stored` spells it: as `format_type` prints it, e.g.
    /// `character varying(10)`; of an enum with its labels, of a domain the type that is below it.
    pub sql_type: String,
    /// The enum or domain that users made: its type, or that of its items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_type: Option<Oid>,
    /// The Arrow type in the engine, in the stored spelling of [`data_type_name`].
    #[serde(with = "data_type_serde")]
    pub data_type: DataType,
    /// May hold NULL.
    pub nullable: bool,
    /// `DEFAULT` expression, SQL text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// The sequence that values come from where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<ColumnSequence>,
    /// The value that rows written before the column was added have, in the type's text form (`attmissingval`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_value: Option<String>,
    /// `COMMENT ON COLUMN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// The field of ingested documents it was added for, as they spell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_field: Option<String>,
}

/// Where a column's values come from where none is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnSequence {
    /// The sequence.
    pub oid: Oid,
    /// Which values it gives.
    pub rule: SequenceRule,
}

/// Which values of a column a sequence gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SequenceRule {
    /// `DEFAULT nextval(…)`
    Default,
    /// `GENERATED BY DEFAULT AS IDENTITY`
    ByDefault,
    /// `GENERATED ALWAYS AS IDENTITY`
    Always,
}

/// A `CHECK` constraint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckDef {
    /// Its identifier in pg_constraint.
    pub oid: Oid,
    /// Its name, unique in the table.
    pub name: String,
    /// The condition, SQL text.
    pub condition: String,
}

/// An index, which is a declaration; or a UNIQUE constraint, which is enforced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexDef {
    /// Its identifier in pg_class, and of the constraint in pg_constraint.
    pub oid: Oid,
    /// Its name, among the relations of the table's schema.
    pub name: String,
    /// `btree`, `hash`, `gin`, …
    pub method: String,
    /// What it is about.
    pub keys: Vec<IndexKey>,
    /// INCLUDE: ids of columns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<i32>,
    /// WITH: names and values of storage parameters, which mean nothing here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<(String, String)>,
    /// WHERE, SQL text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicate: Option<String>,
    /// No two rows have the same values: UNIQUE.
    #[serde(default)]
    pub unique: bool,
    /// Declared as a constraint.
    #[serde(default)]
    pub is_constraint: bool,
}

/// A column or expression of an index.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexKey {
    /// The id of the column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<i32>,
    /// The expression, SQL text, if it is no column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
    /// The operator class, if given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// DESC
    #[serde(default)]
    pub descending: bool,
    /// NULLS FIRST
    #[serde(default)]
    pub nulls_first: bool,
}

/// A foreign key. Columns are ids.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForeignKeyDef {
    /// Its identifier in pg_constraint.
    pub oid: Oid,
    /// Its name, unique in the table.
    pub name: String,
    /// The columns.
    pub columns: Vec<i32>,
    /// The table they refer to.
    pub table: Oid,
    /// Its columns.
    pub key: Vec<i32>,
    /// The key of that table: its index's oid; 0: the primary key.
    pub index: Oid,
    /// ON UPDATE, as pg_constraint.confupdtype has it: `a`, `r`, `c`, `n`, `d`.
    pub on_update: char,
    /// ON DELETE, likewise.
    pub on_delete: char,
    /// MATCH FULL
    #[serde(default)]
    pub match_full: bool,
    /// DEFERRABLE
    #[serde(default)]
    pub deferrable: bool,
    /// INITIALLY DEFERRED
    #[serde(default)]
    pub deferred: bool,
}

/// Columns of which no two rows have the same values, unless one is NULL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UniqueKey {
    /// The index; 0: the primary key.
    pub index: Oid,
    /// The columns' places.
    pub columns: Vec<usize>,
}

impl IndexDef {
    /// The ids of the columns it is about; `None` if an expression is among them.
    pub fn columns(&self) -> Option<Vec<i32>> {
        self.keys.iter().map(|key| key.column).collect()
    }
}

impl ColumnDef {
    /// True for a column `GENERATED … AS IDENTITY`.
    pub fn is_identity(&self) -> bool {
        self.sequence.is_some_and(|sequence| sequence.rule != SequenceRule::Default)
    }

    /// The Arrow field by which the engine knows this column; metadata carries the SQL type.
    pub fn field(&self) -> Field {
        Field::new(&self.name, self.data_type.clone(), self.nullable)
            .with_metadata([(SQL_TYPE_KEY.to_owned(), self.sql_type.clone())].into())
    }
}

impl TableDef {
    /// The name of the primary key's constraint and index, of a table of that name; `None` without a key.
    pub fn key_name<'a>(&'a self, table: &str) -> Option<Cow<'a, str>> {
        let own = || format!("{table}_pkey").into();
        (!self.primary_key.is_empty()).then(|| self.primary_key_name.as_deref().map_or_else(own, Cow::Borrowed))
    }

    /// Gives the primary key a name; the table's with `_pkey` is not written down.
    pub fn set_key_name(&mut self, table: &str, name: Option<&str>) {
        self.primary_key_name = name.filter(|name| **name != format!("{table}_pkey")).map(str::to_owned);
    }

    /// The names of its indexes, but for a primary key's that is the table's with `_pkey`.
    pub(crate) fn index_names(&self) -> impl Iterator<Item = &String> {
        self.primary_key_name.iter().chain(self.indexes.iter().map(|index| &index.name))
    }

    /// The Arrow schema of the table's rows.
    pub fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(self.columns.iter().map(ColumnDef::field).collect::<Vec<_>>()))
    }

    /// The column with that id, and its place.
    pub fn column_with_id(&self, id: i32) -> Option<(usize, &ColumnDef)> {
        self.columns.iter().enumerate().find(|(_, column)| column.id == id)
    }

    /// The keys that are enforced, the primary one first.
    pub fn unique_keys(&self) -> Vec<UniqueKey> {
        let primary = UniqueKey { index: 0, columns: self.key_columns() };
        let place = |id: i32| self.column_with_id(id).map(|(place, _)| place);
        let of = |index: &IndexDef| {
            let columns = index.columns()?.into_iter().map(place).collect::<Option<_>>()?;
            Some(UniqueKey { index: index.oid, columns })
        };
        let others = self.indexes.iter().filter(|index| index.unique).filter_map(of);
        std::iter::once(primary).filter(|key| !key.columns.is_empty()).chain(others).collect()
    }

    /// This definition as if those columns were its primary key, and all rows counted.
    pub fn with_key(&self, columns: &[usize]) -> Self {
        let mut def = self.clone();
        def.primary_key = columns.iter().filter_map(|place| Some(self.columns.get(*place)?.name.clone())).collect();
        def.options.upsert = None;
        def
    }

    /// The sequences that its columns' values come from.
    pub fn sequences(&self) -> impl Iterator<Item = Oid> {
        self.columns.iter().filter_map(|column| Some(column.sequence?.oid))
    }

    /// The oids of its constraints and indexes.
    pub fn part_oids(&self) -> impl Iterator<Item = Oid> {
        let checks = self.checks.iter().map(|check| check.oid);
        let keys = self.foreign_keys.iter().map(|key| key.oid);
        checks.chain(keys).chain(self.indexes.iter().map(|index| index.oid))
    }

    /// The types that users made, of its columns.
    pub fn user_types(&self) -> impl Iterator<Item = Oid> {
        self.columns.iter().filter_map(|column| column.user_type)
    }

    /// The objects that the table `own` of this definition cannot exist without.
    pub fn dependencies(&self, own: Oid) -> Vec<Oid> {
        let keys = self.foreign_keys.iter().map(|key| key.table);
        let mut all: Vec<Oid> = self.sequences().chain(self.user_types()).chain(keys).collect();
        all.retain(|oid| *oid != own);
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&ColumnDef> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// One step of a transaction. A transaction is a list of these, applied in order, all or none.
#[derive(Debug, Clone)]
pub enum Change {
    /// Creates or replaces an object. `object.version` must be the stored version plus one (1 for a new one), else
    /// [`Error::Conflict`].
    Put(Arc<Object>),
    /// Removes an object. Fails while others have it as parent or depend on it: the caller lists those first.
    Remove(Oid),
    /// Adds and removes rows of a table.
    Write(Write),
    /// Numbers of a sequence may have been given up to there. Ignored of a sequence that is gone or was restarted.
    Sequence(Oid, Mark),
    /// Changes nothing: the other changes are made only while that object has that version, else [`Error::Conflict`]. Not logged.
    Expect(Oid, u64),
    /// As [`Change::Expect`]: while these objects, and no others, use that type; by oid, in order. Who changes what all of them say of
    /// a type must not miss one that was made meanwhile.
    ExpectUsers(Oid, Vec<Oid>),
}

/// Rows in, rows out, of one table. INSERT adds chunks; DELETE and UPDATE remove what they rewrite and add the rest;
/// compaction swaps files with `data_change` false; TRUNCATE removes all that the snapshot holds.
#[derive(Debug, Clone, Default)]
pub struct Write {
    /// The table.
    pub table: Oid,
    /// New hot rows, in the table's column order and types at the time of writing; ids come from `Store::next_chunk_id`.
    pub add_chunks: Vec<Arc<NewChunk>>,
    /// New Parquet files, already durable (file and folder fsynced).
    pub add_files: Vec<Arc<FileEntry>>,
    /// Hot chunks that go; each must still be there, else [`Error::Conflict`].
    pub remove_chunks: Vec<u64>,
    /// Files that go, by path; each must still be there, else [`Error::Conflict`].
    pub remove_files: Vec<String>,
    /// False if the set of rows stays the same (compaction).
    pub data_change: bool,
    /// The state whose definition the rows are made for: in conflict if types of columns or the key changed since. Not logged.
    pub made_on: Option<Lsn>,
    /// In conflict too if others wrote any rows since. Not logged.
    pub alone: bool,
    /// Keys that must not be written by others meanwhile, of each constraint. Not logged.
    pub keys: Vec<NewlyWritten>,
}

/// Keys that were found to be free.
#[derive(Debug, Clone)]
pub struct NewlyWritten {
    /// Of which key: its index, 0 for the primary key.
    pub index: Oid,
    /// On this state: a transaction after it that wrote one of them is in conflict.
    pub since: Lsn,
    /// Their digests, sorted; `None` if they are too many to keep, and any other is in conflict.
    pub digests: Option<Arc<[Digest]>>,
}

/// Rows of one INSERT or COPY before they are visible.
#[derive(Debug, Clone)]
pub struct NewChunk {
    /// Unique in the data directory.
    pub id: u64,
    /// The rows; the batch's own schema says which columns (matched by column name, a missing one is NULL or its default).
    pub batch: RecordBatch,
}

/// The stored spelling of an Arrow type that a table column may have.
///
/// # Errors
/// [`Error::Invalid`] for a type that tables do not hold.
pub fn data_type_name(data_type: &DataType) -> Result<String> {
    Ok(match data_type {
        DataType::Boolean => "bool".into(),
        DataType::Int16 => "int16".into(),
        DataType::Int32 => "int32".into(),
        DataType::Int64 => "int64".into(),
        DataType::UInt32 => "uint32".into(),
        DataType::Float32 => "float32".into(),
        DataType::Float64 => "float64".into(),
        DataType::Decimal128(precision, scale) => format!("decimal128({precision},{scale})"),
        DataType::Utf8View => "utf8".into(),
        DataType::BinaryView => "binary".into(),
        DataType::Date32 => "date32".into(),
        DataType::Time64(TimeUnit::Microsecond) => "time64_us".into(),
        DataType::Timestamp(TimeUnit::Microsecond, None) => "timestamp_us".into(),
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if zone.as_ref() == "UTC" => "timestamp_us_utc".into(),
        DataType::Interval(IntervalUnit::MonthDayNano) => "interval".into(),
        DataType::List(item) => format!("list<{}>", data_type_name(item.data_type())?),
        other => return Err(Error::Invalid(format!("a table cannot hold the type {other}"))),
    })
}

/// The Arrow type of a stored spelling.
///
/// # Errors
/// [`Error::Invalid`] for an unknown spelling.
pub fn data_type_from_name(name: &str) -> Result<DataType> {
    if let Some(item) = name.strip_prefix("list<").and_then(|rest| rest.strip_suffix('>')) {
        return Ok(DataType::List(Arc::new(Field::new_list_field(data_type_from_name(item)?, true))));
    }
    let invalid = || Error::Invalid(format!("unknown stored type \"{name}\""));
    if let Some(rest) = name.strip_prefix("decimal128(").and_then(|rest| rest.strip_suffix(')')) {
        let (precision, scale) = rest.split_once(',').ok_or_else(invalid)?;
        return Ok(DataType::Decimal128(
            precision.parse().map_err(|_| invalid())?,
            scale.parse().map_err(|_| invalid())?,
        ));
    }
    Ok(match name {
        "bool" => DataType::Boolean,
        "int16" => DataType::Int16,
        "int32" => DataType::Int32,
        "int64" => DataType::Int64,
        "uint32" => DataType::UInt32,
        "float32" => DataType::Float32,
        "float64" => DataType::Float64,
        "utf8" => DataType::Utf8View,
        "binary" => DataType::BinaryView,
        "date32" => DataType::Date32,
        "time64_us" => DataType::Time64(TimeUnit::Microsecond),
        "timestamp_us" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "timestamp_us_utc" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        "interval" => DataType::Interval(IntervalUnit::MonthDayNano),
        _ => return Err(invalid()),
    })
}

mod data_type_serde {
    use arrow::datatypes::DataType;
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _, ser::Error as _};

    pub(super) fn serialize<S: Serializer>(data_type: &DataType, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::data_type_name(data_type).map_err(S::Error::custom)?)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DataType, D::Error> {
        super::data_type_from_name(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
