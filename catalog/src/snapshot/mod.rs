//! One immutable state of everything: names, tables, the rows each table has.
//!
//! A [`Snapshot`] is a value. [`Snapshot::apply`] makes the next one from a list of changes, and is the only code that
//! does: a transaction applies its changes to its private copy (read-your-writes, DDL included), the commit applies them
//! to the newest state (which detects conflicts), recovery applies them from the log.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use crate::hot::{self, HotChunk};
use crate::record::{Body, Change, ColumnDef, Object, TableDef};
use crate::sequence::Marks;
use crate::table::file::{FileEntry, FileIndex};
use crate::{Lsn, Oid, Result};

mod apply;
pub(crate) use apply::take_chunks;
#[cfg(test)]
mod tests;

/// One consistent state of all databases. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The last transaction it contains.
    pub lsn: Lsn,
    /// The objects.
    pub catalog: Arc<Catalog>,
    /// The rows of every table, by its oid.
    pub tables: Tables,
    /// How far sequences may have come.
    pub sequences: Arc<Marks>,
    /// The latest time the store was told, microseconds since the epoch: the age of new chunks.
    pub now_us: i64,
}

/// The objects by identity and by name.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// Changes whenever any object does (not with rows), and is never used twice in a process, not by private views of
    /// transactions either: it keys plan caches.
    pub version: u64,
    /// Every object, in oid order.
    pub objects: BTreeMap<Oid, Arc<Object>>,
    /// (parent, name class, name) → oid. Relations share one class, as in PostgreSQL.
    pub names: HashMap<(Oid, NameClass, String), Oid>,
    /// parent → children, in oid order.
    pub children: HashMap<Oid, Vec<Oid>>,
    /// An index or constraint → its table; an array → its type; a domain's constraint → the domain.
    pub parts: HashMap<Oid, Oid>,
    /// (schema, name of an index) → its table. Primary keys have no names of their own.
    pub index_names: HashMap<(Oid, String), Oid>,
}

/// Objects whose names may not collide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NameClass {
    /// Databases.
    Database,
    /// Schemas of a database.
    Schema,
    /// Tables, views, sequences, indexes of a schema.
    Relation,
    /// Roles.
    Role,
    /// Sources of a schema.
    Source,
    /// Types of a schema.
    Type,
}

/// A table's rows in one snapshot.
#[derive(Debug, Clone)]
pub struct TableState {
    /// The table.
    pub oid: Oid,
    /// Its definition at this snapshot.
    pub def: Arc<TableDef>,
    /// [`TableDef::schema`], made once.
    pub schema: SchemaRef,
    /// The schema of its hot chunks (physical names), made once.
    pub physical_schema: SchemaRef,
    /// Its Parquet files, published in the Delta log or not yet.
    pub files: Arc<FileIndex>,
    /// Rows not yet in files, oldest first.
    pub chunks: Vec<Arc<HotChunk>>,
    /// How far the Delta log has come.
    pub published: Published,
    /// File swaps that the Delta log does not have yet, oldest first.
    pub unpublished: Vec<Arc<FileSwap>>,
    /// When its definition last changed. The Delta log has that definition if this is ≤ `published.lsn`.
    pub def_lsn: Lsn,
    /// Recovery needs the log records of this table above this position, if the table is dirty.
    pub replay_from: Lsn,
    /// The last transaction that wrote rows, as far as it is known: rows in files may be younger.
    pub written_lsn: Lsn,
    /// The last transaction that changed types of columns or the primary key.
    pub shaped_lsn: Lsn,
    /// Inserts whose rows are being published: nobody may remove them now.
    pub sealed: Option<Arc<HashSet<u64>>>,
}

/// Files that came and went in one transaction.
#[derive(Debug)]
pub struct FileSwap {
    /// The transaction.
    pub lsn: Lsn,
    /// Files that came.
    pub adds: Vec<Arc<FileEntry>>,
    /// Files that went.
    pub removes: Vec<Arc<FileEntry>>,
    /// False if the set of rows stayed the same.
    pub data_change: bool,
    /// When, microseconds since the epoch.
    pub created_us: i64,
}

/// What the table's Delta log holds. The log record of every change above `lsn` must be kept.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Published {
    /// The newest Delta version; `None` before the first commit.
    pub version: Option<u64>,
    /// The WAL position that version stands for: rows with LSN ≤ this are in its files.
    pub lsn: Lsn,
}

/// The rows of every table, by oid: a map of which a changed copy shares all but one small part with the original.
#[derive(Debug, Clone)]
pub struct Tables {
    shards: Arc<[Arc<Shard>; SHARDS]>,
}

type Shard = HashMap<Oid, Arc<TableState>>;

/// A copy for a change copies this many pointers and one map: with 10,000 tables 128 + 80 entries.
const SHARDS: usize = 128;

impl Default for Tables {
    fn default() -> Self {
        let empty = Arc::default();
        Self { shards: Arc::new(std::array::from_fn(|_| Arc::clone(&empty))) }
    }
}

impl Tables {
    /// The rows of a table.
    pub fn get(&self, oid: &Oid) -> Option<&Arc<TableState>> {
        self.shards[Self::shard(*oid)].get(oid)
    }

    /// All tables, in no particular order.
    pub fn values(&self) -> impl Iterator<Item = &Arc<TableState>> {
        self.shards.iter().flat_map(|shard| shard.values())
    }

    /// Number of tables.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.len()).sum()
    }

    /// True if there is no table.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn insert(&mut self, state: Arc<TableState>) {
        self.insert_as(state.oid, state);
    }

    /// Under another oid than its own.
    pub(crate) fn insert_as(&mut self, oid: Oid, state: Arc<TableState>) {
        self.shard_mut(oid).insert(oid, state);
    }

    pub(crate) fn remove(&mut self, oid: Oid) -> Option<Arc<TableState>> {
        self.shard_mut(oid).remove(&oid)
    }

    /// The table's state, to be changed: copied if someone else holds it.
    pub(crate) fn get_mut(&mut self, oid: Oid) -> Option<&mut TableState> {
        self.get(&oid)?;
        self.shard_mut(oid).get_mut(&oid).map(Arc::make_mut)
    }

    fn shard(oid: Oid) -> usize {
        oid as usize % SHARDS
    }

    fn shard_mut(&mut self, oid: Oid) -> &mut Shard {
        Arc::make_mut(&mut Arc::make_mut(&mut self.shards)[Self::shard(oid)])
    }
}

impl Body {
    /// Which names it must not collide with.
    pub fn name_class(&self) -> NameClass {
        match self {
            Self::Database {} => NameClass::Database,
            Self::Schema {} => NameClass::Schema,
            Self::Table(_) | Self::View(_) | Self::Sequence(_) => NameClass::Relation,
            Self::Role(_) => NameClass::Role,
            Self::Source(_) => NameClass::Source,
            Self::Type(_) => NameClass::Type,
        }
    }

    /// PostgreSQL's word for it in messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Database {} => "database",
            Self::Schema {} => "schema",
            Self::Table(_) | Self::View(_) | Self::Sequence(_) => "relation",
            Self::Role(_) => "role",
            Self::Source(_) => "source",
            Self::Type(_) => "type",
        }
    }
}

impl Catalog {
    /// The object of that name under `parent`.
    pub fn find(&self, parent: Oid, class: NameClass, name: &str) -> Option<&Arc<Object>> {
        self.names.get(&(parent, class, name.to_owned())).and_then(|oid| self.objects.get(oid))
    }

    /// The object with that oid.
    pub fn get(&self, oid: Oid) -> Option<&Arc<Object>> {
        self.objects.get(&oid)
    }

    /// The table with an index of that name in that schema, that of its primary key among them.
    pub fn table_of_index(&self, schema: Oid, name: &str) -> Option<&Arc<Object>> {
        if let Some(oid) = self.index_names.get(&(schema, name.to_owned())) {
            return self.objects.get(oid);
        }
        // A key's name is written down only where it is another than this.
        let table = self.find(schema, NameClass::Relation, name.strip_suffix("_pkey")?)?;
        let is_it = |def: &TableDef| def.key_name(&table.name).is_some_and(|own| own == name);
        matches!(&table.body, Body::Table(def) if is_it(def)).then_some(table)
    }

    /// The tables, views and domains that use a type that users made, in oid order.
    pub fn users_of_type(&self, of: Oid) -> Vec<Oid> {
        let has = |columns: &[ColumnDef]| columns.iter().any(|column| column.user_type == Some(of));
        let uses = |object: &&Arc<Object>| {
            let is_shown = match &object.body {
                Body::Table(def) => has(&def.columns),
                Body::View(view) => has(&view.columns),
                _ => false,
            };
            is_shown || object.depends_on.contains(&of)
        };
        let mut users: Vec<Oid> = self.objects.values().filter(uses).map(|object| object.oid).collect();
        users.sort_unstable();
        users
    }

    /// What `parent` contains, in oid order.
    pub fn children(&self, parent: Oid) -> impl Iterator<Item = &Arc<Object>> {
        self.children.get(&parent).into_iter().flatten().filter_map(|oid| self.objects.get(oid))
    }
}

impl TableState {
    /// A table without rows, defined at `lsn`.
    pub(crate) fn new(oid: Oid, def: Arc<TableDef>, lsn: Lsn) -> Self {
        Self {
            oid,
            schema: def.schema(),
            physical_schema: hot::physical_schema(&def),
            def,
            files: Arc::default(),
            chunks: Vec::new(),
            published: Published::default(),
            unpublished: Vec::new(),
            def_lsn: lsn,
            replay_from: lsn,
            written_lsn: lsn,
            shaped_lsn: 0,
            sealed: None,
        }
    }

    /// True if the Delta log does not have all of it.
    pub fn is_dirty(&self) -> bool {
        !self.chunks.is_empty() || !self.unpublished.is_empty() || self.is_def_unpublished()
    }

    /// True if the Delta log does not have its definition.
    pub fn is_def_unpublished(&self) -> bool {
        self.published.version.is_none() || self.def_lsn > self.published.lsn
    }

    /// True if it has rows, or had some that were not compacted away yet.
    pub fn has_rows(&self) -> bool {
        !self.chunks.is_empty() || !self.files.files.is_empty()
    }

    /// Memory of its hot rows, bytes.
    pub fn hot_bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes).sum()
    }

    /// Its hot rows.
    pub fn hot_rows(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.rows()).sum()
    }
}

impl Snapshot {
    /// The state after `changes`, committed as `lsn`.
    ///
    /// # Errors
    /// `AlreadyExists` for a taken name, `NotFound` for a missing object, `Conflict` where another transaction changed
    /// what these changes were made on. On error nothing changed: `self` is immutable.
    pub fn apply(&self, changes: &[Change], lsn: Lsn) -> Result<Self> {
        let mut next = self.clone();
        next.apply_in_place(changes, lsn)?;
        Ok(next)
    }

    /// The table's rows.
    pub fn table(&self, oid: Oid) -> Option<&Arc<TableState>> {
        self.tables.get(&oid)
    }
}
