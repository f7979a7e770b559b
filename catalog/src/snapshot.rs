//! One immutable state of everything: names, tables, the rows each table has.
//!
//! A [`Snapshot`] is a value. [`Snapshot::apply`] makes the next one from a list of changes, and is the only code that
//! does: a transaction applies its changes to its private copy (read-your-writes, DDL included), the commit applies them
//! to the newest state (which detects conflicts), recovery applies them from the log.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use crate::hot::HotChunk;
use crate::record::{Body, Change, Object, TableDef};
use crate::table::file::FileIndex;
use crate::{Lsn, Oid, Result};

/// One consistent state of all databases. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The last transaction it contains.
    pub lsn: Lsn,
    /// The objects.
    pub catalog: Arc<Catalog>,
    /// The rows of every table, by its oid.
    pub tables: Arc<HashMap<Oid, Arc<TableState>>>,
}

/// The objects by identity and by name. `version` changes whenever any object does: it keys plan caches.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// Counts changes of the catalog (not of rows).
    pub version: u64,
    /// Every object, in oid order.
    pub objects: BTreeMap<Oid, Arc<Object>>,
    /// (parent, name class, name) → oid. Relations share one class, as in PostgreSQL.
    pub names: HashMap<(Oid, NameClass, String), Oid>,
    /// parent → children, in oid order.
    pub children: HashMap<Oid, Vec<Oid>>,
}

/// Objects whose names may not collide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NameClass {
    /// Databases.
    Database,
    /// Schemas of a database.
    Schema,
    /// Tables, views, (later) indexes and sequences of a schema.
    Relation,
    /// Roles.
    Role,
}

/// A table's rows in one snapshot.
#[derive(Debug)]
pub struct TableState {
    /// The table.
    pub oid: Oid,
    /// Its definition at this snapshot.
    pub def: Arc<TableDef>,
    /// [`TableDef::schema`], made once.
    pub schema: SchemaRef,
    /// Its Parquet files, published in the Delta log or not yet.
    pub files: Arc<FileIndex>,
    /// Rows not yet in files, oldest first.
    pub chunks: Vec<Arc<HotChunk>>,
    /// How far the Delta log has come.
    pub published: Published,
}

/// What the table's Delta log holds. The log record of every change above `lsn` must be kept.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Published {
    /// The newest Delta version; `None` before the first commit.
    pub version: Option<u64>,
    /// The WAL position that version stands for: rows with LSN ≤ this are in its files.
    pub lsn: Lsn,
}

impl Body {
    /// Which names it must not collide with.
    pub fn name_class(&self) -> NameClass {
        match self {
            Self::Database {} => NameClass::Database,
            Self::Schema {} => NameClass::Schema,
            Self::Table(_) | Self::View(_) => NameClass::Relation,
            Self::Role(_) => NameClass::Role,
        }
    }

    /// PostgreSQL's word for it in messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Database {} => "database",
            Self::Schema {} => "schema",
            Self::Table(_) | Self::View(_) => "relation",
            Self::Role(_) => "role",
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

    /// What `parent` contains, in oid order.
    pub fn children(&self, parent: Oid) -> impl Iterator<Item = &Arc<Object>> {
        self.children.get(&parent).into_iter().flatten().filter_map(|oid| self.objects.get(oid))
    }
}

impl Snapshot {
    /// The state after `changes`, committed as `lsn`.
    ///
    /// # Errors
    /// `AlreadyExists` for a taken name, `NotFound` for a missing object, `Conflict` where another transaction changed
    /// what these changes were made on. On error nothing changed: `self` is immutable.
    pub fn apply(&self, changes: &[Change], lsn: Lsn) -> Result<Self> {
        let _ = (changes, lsn);
        todo!()
    }

    /// The table's rows.
    pub fn table(&self, oid: Oid) -> Option<&Arc<TableState>> {
        self.tables.get(&oid)
    }
}
