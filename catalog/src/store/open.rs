//! Opening a data directory: lock, catalog file, Delta logs, write-ahead log.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64};

use arrow::datatypes::SchemaRef;
use parking_lot::{Mutex, RwLock};
use uuid::Uuid;

use super::StoreOptions;
use super::catalog_file::{self, CatalogFile};
use super::garbage::Garbage;
use super::room::HotRoom;
use super::shared::{Checkpointed, Shared, TableLocks};
use super::writer::Queue;
use crate::acl::{AclItem, PUBLIC, Privileges};
use crate::fault::{self, FileLayer, TEMPORARY_EXTENSION};
use crate::record::{Body, Change, Object, RoleDef};
use crate::snapshot::{Catalog, Published, Snapshot, TableState};
use crate::table::delta::{self, DeltaState};
use crate::table::file::FileIndex;
use crate::wal::Log;
use crate::wal::record::decode;
use crate::wal::segment::Recovery;
use crate::{Error, Lsn, Oid, Result};

/// The first oid for users' objects, as in PostgreSQL.
const FIRST_OID: Oid = 16_384;
/// The role, database and schema of a fresh directory, with the oids PostgreSQL gives theirs.
const FIRST_ROLE: Oid = 10;
const FIRST_DATABASE: Oid = 5;
/// Where administration tools connect that were not told a database, and its schema.
const MAINTENANCE: (Oid, &str, Oid) = (6, "postgres", 16383);
const PUBLIC_SCHEMA: Oid = 2200;
const FIRST_NAME: &str = "tidemill";

/// Opens a data directory as [`super::Store::open`] says.
pub(super) fn open(options: StoreOptions, files: Arc<dyn FileLayer>, now_us: i64) -> Result<(Shared, Log)> {
    let dir = &options.dir;
    files.create_dir(dir)?;
    let lock = lock(dir)?;
    remove_temporary_files(files.as_ref(), dir)?;
    let wal_dir = dir.join("wal");
    files.create_dir(&wal_dir)?;
    files.create_dir(&dir.join("tables"))?;
    let catalog = match catalog_file::read(files.as_ref(), dir)? {
        Some(catalog) => catalog,
        None => {
            refuse_foreign_data(files.as_ref(), dir)?;
            let fresh = fresh_catalog();
            catalog_file::write(files.as_ref(), dir, &fresh)?;
            fresh
        }
    };
    let corrupt =
        |detail: &str| Error::Corrupt { path: dir.join("catalog.json").display().to_string(), detail: detail.into() };
    let epoch = Uuid::parse_str(&catalog.epoch).map_err(|_| corrupt("its epoch is not a UUID"))?;
    let mut replay = Replay::new(files.as_ref(), dir, &catalog, now_us)?;
    let recovery =
        Recovery { files: files.as_ref(), dir: &wal_dir, epoch, start: replay.start(), repair: options.repair_wal };
    let mut recovered = recovery.run(&mut |lsn, payload| replay.record(lsn, payload))?;
    if recovered.segments.is_empty() {
        if catalog.lsn > 0 && !options.repair_wal {
            let path = wal_dir.display().to_string();
            let detail =
                "the log is missing; start with --repair-wal to go on without it, losing what it held".to_owned();
            return Err(Error::Corrupt { path, detail });
        }
        recovered.last_lsn = catalog.lsn;
    }
    let snapshot = replay.finish(recovered.last_lsn);
    let next_oid = replay.next_oid.max(highest_folder(files.as_ref(), &dir.join("tables"))?.saturating_add(1));
    let next_chunk_id = replay.next_chunk_id;
    let garbage = Garbage::find(files.as_ref(), dir, &snapshot, &replay.tombstones, now_us)?;
    let delta = std::mem::take(&mut replay.delta_checkpoints);
    drop(replay);
    let log = Log::open(Arc::clone(&files), wal_dir, epoch, options.wal_segment_bytes, recovered, snapshot.lsn + 1)?;
    tracing::info!(lsn = snapshot.lsn, tables = snapshot.tables.len(), "data directory is open");
    let shared = Shared {
        files,
        app_id: app_id(epoch),
        epoch,
        durable_lsn: AtomicU64::new(log.durable()),
        segments: Arc::clone(log.segments()),
        queue: Queue::new(),
        next_oid: AtomicU32::new(next_oid),
        next_chunk_id: AtomicU64::new(next_chunk_id),
        now_us: AtomicI64::new(now_us),
        syncs: AtomicU64::new(0),
        commits: AtomicU64::new(0),
        publishing: TableLocks::default(),
        compacting: TableLocks::default(),
        moving: TableLocks::default(),
        hot_room: HotRoom::new(&snapshot, options.wal_bytes_max),
        snapshot: RwLock::new(Arc::new(snapshot)),
        checkpointed: Mutex::new(Checkpointed { lsn: catalog.lsn, next_oid: catalog.next_oid, at_us: now_us, delta }),
        garbage: Mutex::new(garbage),
        options,
        _lock: lock,
    };
    Ok((shared, log))
}

fn app_id(epoch: Uuid) -> String {
    format!("tidemill/{epoch}")
}

/// The lock that keeps a second server out; it ends with the process, however that ends.
fn lock(dir: &Path) -> Result<File> {
    let path = dir.join("LOCK");
    let io = |source| fault::io_error(&path, source);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked(dir.display().to_string())),
        Err(TryLockError::Error(source)) => Err(io(source)),
    }
}

fn remove_temporary_files(files: &dyn FileLayer, dir: &Path) -> Result<()> {
    for (path, _) in files.list(dir)? {
        if path.extension().is_some_and(|extension| extension == TEMPORARY_EXTENSION) {
            files.remove(&path)?;
        }
    }
    Ok(())
}

/// A directory with tables or a log, but no catalog, is not fresh: someone lost a file.
fn refuse_foreign_data(files: &dyn FileLayer, dir: &Path) -> Result<()> {
    let has_log = !files.list(&dir.join("wal"))?.is_empty();
    if has_log || !files.list_dirs(&dir.join("tables"))?.is_empty() {
        let detail = "it is missing, but the directory has data".to_owned();
        return Err(Error::Corrupt { path: dir.join("catalog.json").display().to_string(), detail });
    }
    Ok(())
}

fn fresh_catalog() -> CatalogFile {
    let object = |oid, parent, name: &str, acl, body| {
        let depends_on = Vec::new();
        Arc::new(Object {
            oid,
            parent,
            name: name.to_owned(),
            owner: FIRST_ROLE,
            version: 1,
            comment: None,
            acl,
            depends_on,
            body,
        })
    };
    let role = RoleDef {
        superuser: true,
        login: true,
        create_db: true,
        create_role: true,
        inherit: true,
        connection_limit: -1,
        ..RoleDef::default()
    };
    // Everybody may look into it, and only the owner makes things there.
    let public_acl = vec![
        AclItem::new(FIRST_ROLE, FIRST_ROLE, Privileges::USAGE | Privileges::CREATE),
        AclItem::new(PUBLIC, FIRST_ROLE, Privileges::USAGE),
    ];
    CatalogFile {
        lsn: 0,
        next_oid: FIRST_OID,
        next_chunk_id: 1,
        epoch: Uuid::new_v4().to_string(),
        objects: vec![
            object(FIRST_ROLE, 0, FIRST_NAME, vec![], Body::Role(role)),
            object(FIRST_DATABASE, 0, FIRST_NAME, vec![], Body::Database {}),
            object(PUBLIC_SCHEMA, FIRST_DATABASE, "public", public_acl.clone(), Body::Schema {}),
            object(MAINTENANCE.0, 0, MAINTENANCE.1, vec![], Body::Database {}),
            object(MAINTENANCE.2, MAINTENANCE.0, "public", public_acl, Body::Schema {}),
        ],
        tables: Default::default(),
        sequences: Default::default(),
    }
}

fn highest_folder(files: &dyn FileLayer, tables: &Path) -> Result<Oid> {
    let numbers = files.list_dirs(tables)?;
    Ok(numbers.iter().filter_map(|path| path.file_name()?.to_str()?.parse().ok()).max().unwrap_or(0))
}

fn is_table(object: &Object) -> bool {
    matches!(object.body, Body::Table(_))
}

/// Reads the Delta logs of tables, several at once: most of the time goes into opening small files.
fn open_deltas(files: &dyn FileLayer, dir: &Path, tables: &[Oid]) -> Result<HashMap<Oid, DeltaState>> {
    let read = |oid: &Oid| Ok(delta::open(files, &dir.join(oid.to_string()))?.map(|state| (*oid, state)));
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let part = tables.len().div_ceil(threads).max(16);
    let parts: Vec<Result<Vec<_>>> = std::thread::scope(|scope| {
        let spawned: Vec<_> = tables
            .chunks(part)
            .map(|tables| scope.spawn(move || tables.iter().filter_map(|oid| read(oid).transpose()).collect()))
            .collect();
        spawned.into_iter().map(|thread| thread.join().expect("reading a Delta log does not panic")).collect()
    });
    Ok(parts.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

/// The state while the log is replayed.
struct Replay<'a> {
    files: &'a dyn FileLayer,
    dir: &'a Path,
    app_id: String,
    snapshot: Snapshot,
    /// Objects come from the catalog file up to here.
    catalog_lsn: Lsn,
    /// Rows up to here come from the Delta log, per table.
    rows_from: HashMap<Oid, Lsn>,
    next_oid: Oid,
    next_chunk_id: u64,
    /// Files that left tables and whose bytes may be there, as the Delta logs say.
    tombstones: HashMap<Oid, Vec<delta::RemovedFile>>,
    delta_checkpoints: HashMap<Oid, u64>,
    likely: Option<SchemaRef>,
}

impl<'a> Replay<'a> {
    fn new(files: &'a dyn FileLayer, dir: &'a Path, file: &CatalogFile, now_us: i64) -> Result<Self> {
        let mut catalog = Catalog::default();
        for object in &file.objects {
            catalog.insert(object);
        }
        let mut replay = Self {
            files,
            dir,
            app_id: app_id(Uuid::parse_str(&file.epoch).unwrap_or_default()),
            snapshot: Snapshot {
                catalog: Arc::new(catalog),
                sequences: Arc::new(file.sequences.clone().into_iter().collect()),
                now_us,
                ..Snapshot::default()
            },
            catalog_lsn: file.lsn,
            rows_from: HashMap::new(),
            next_oid: file.next_oid,
            next_chunk_id: file.next_chunk_id,
            tombstones: HashMap::new(),
            delta_checkpoints: HashMap::new(),
            likely: None,
        };
        let tables: Vec<Oid> = file.objects.iter().filter(|object| is_table(object)).map(|object| object.oid).collect();
        let mut deltas = open_deltas(files, &dir.join("tables"), &tables)?;
        for object in &file.objects {
            if let Body::Table(def) = &object.body {
                let mark = file.tables.get(&object.oid);
                let mut state =
                    TableState::new(object.oid, Arc::clone(def), mark.map_or(file.lsn, |mark| mark.def_lsn));
                state.replay_from = mark.map_or(0, |mark| mark.replay_from);
                if let Some(delta) = deltas.remove(&object.oid) {
                    replay.take_delta(&mut state, delta);
                }
                replay.rows_from.insert(object.oid, state.replay_from);
                replay.snapshot.tables.insert(Arc::new(state));
            }
        }
        Ok(replay)
    }

    /// Records up to this one are not needed.
    fn start(&self) -> Lsn {
        self.rows_from.values().copied().min().unwrap_or(Lsn::MAX).min(self.catalog_lsn)
    }

    /// Takes over what the table's Delta log has.
    fn take_delta(&mut self, state: &mut TableState, delta: DeltaState) {
        let lsn = delta.txns.get(&self.app_id).copied().unwrap_or(0);
        state.published = Published { version: Some(delta.version), lsn };
        state.replay_from = state.replay_from.max(lsn);
        state.files = Arc::new(FileIndex::new(delta.files));
        self.tombstones.insert(state.oid, delta.removed);
        if let Some(checkpoint) = delta.checkpoint {
            self.delta_checkpoints.insert(state.oid, checkpoint);
        }
    }

    /// Applies a record, but for what the catalog file and the Delta logs have already.
    fn record(&mut self, lsn: Lsn, payload: &[u8]) -> Result<()> {
        let mut retyped = vec![];
        for change in decode(payload, &mut self.likely)? {
            self.count(&change);
            if self.is_applied(&change, lsn) {
                continue;
            }
            let created = match &change {
                Change::Put(object) if is_table(object) => {
                    self.snapshot.table(object.oid).is_none().then_some(object.oid)
                }
                _ => None,
            };
            retyped.extend(self.snapshot.apply_one(&change, lsn)?);
            if let Change::Write(write) = &change {
                self.snapshot.coalesce(write.table)?;
            }
            if let Some(oid) = created {
                self.load_created(oid)?;
            }
        }
        self.snapshot.settle(&retyped, lsn)?;
        self.snapshot.lsn = lsn;
        Ok(())
    }

    /// A table made after the catalog file was written may have been flushed since.
    fn load_created(&mut self, oid: Oid) -> Result<()> {
        let state = self.snapshot.table(oid).expect("just created");
        let mut state = TableState::clone(state);
        if let Some(delta) = delta::open(self.files, &self.dir.join("tables").join(oid.to_string()))? {
            self.take_delta(&mut state, delta);
        }
        self.rows_from.insert(oid, state.published.lsn);
        self.snapshot.tables.insert(Arc::new(state));
        Ok(())
    }

    fn is_applied(&self, change: &Change, lsn: Lsn) -> bool {
        let in_catalog = lsn <= self.catalog_lsn;
        match change {
            Change::Put(_)
            | Change::Remove(_)
            | Change::Sequence(..)
            | Change::Expect(..)
            | Change::ExpectUsers(..) => in_catalog,
            Change::Write(write) => match self.snapshot.table(write.table) {
                Some(_) => self.rows_from.get(&write.table).is_some_and(|from| lsn <= *from),
                // Dropped later, but before the catalog file was written.
                None => in_catalog,
            },
        }
    }

    /// Identifiers are never given twice.
    fn count(&mut self, change: &Change) {
        match change {
            Change::Put(object) => {
                let inner = match &object.body {
                    Body::Table(def) => def.part_oids().max().unwrap_or(0),
                    Body::Type(def) => {
                        let labels = def.labels().unwrap_or_default().iter().map(|label| label.oid);
                        def.part_oids().chain(labels).max().unwrap_or(0)
                    }
                    _ => 0,
                };
                self.next_oid = self.next_oid.max(object.oid.max(inner).saturating_add(1));
            }
            Change::Remove(_) | Change::Sequence(..) | Change::Expect(..) | Change::ExpectUsers(..) => {}
            Change::Write(write) => {
                for chunk in &write.add_chunks {
                    self.next_chunk_id = self.next_chunk_id.max(chunk.id + 1);
                }
            }
        }
    }

    /// The recovered state. Its LSN is above all that is anywhere: a repaired log may end before a table's Delta log does.
    fn finish(&mut self, last_lsn: Lsn) -> Snapshot {
        let mut snapshot = std::mem::take(&mut self.snapshot);
        for object in snapshot.catalog.objects.values() {
            if let Body::Sequence(def) = &object.body {
                def.recover(snapshot.sequences.get(&object.oid));
            }
        }
        let published = snapshot.tables.values().map(|table| table.published.lsn).max().unwrap_or(0);
        snapshot.lsn = last_lsn.max(self.catalog_lsn).max(published);
        snapshot
    }
}
