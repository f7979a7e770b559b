//! PRIMARY KEY and UNIQUE: rows come in where their key is free.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use tidemill_catalog::record::{NewlyWritten, TableDef, UniqueKey};
use tidemill_catalog::snapshot::TableState;
use tidemill_catalog::table::file::{FileEntry, FileIndex};
use tidemill_catalog::table::rewrite;
use tidemill_catalog::table::scan::{SnapshotTable, Unit};
use tidemill_catalog::table::unique::{Existing, NO_KEY, NewKeys};
use tidemill_catalog::{Lsn, Oid};
use tidemill_udfs::types::{SqlType, TextSettings, array_to_text};
use tokio_util::task::AbortOnDropHandle;

use super::names::Named;
use crate::error::SqlState;
use crate::instance::Instance;
use crate::session::Session;
use crate::session::transaction::is_temporary;
use crate::{Error, Result};

/// The keys of rows on their way into a table, of one of its constraints. To this the table has that key and no other.
pub(crate) struct UniqueKeys {
    table: Arc<SnapshotTable>,
    name: Named,
    /// The key's index, 0 for the primary key.
    index: Oid,
    constraint: String,
    /// What the table was looked at as of.
    since: Lsn,
    seen: NewKeys,
    memory: MemoryReservation,
    instance: Arc<Instance>,
    text: Arc<TextSettings>,
}

/// The keys of several constraints, of which a row that one refuses takes none.
pub(super) struct Arbiters {
    each: Vec<Arbiter>,
}

struct Arbiter {
    keys: UniqueKeys,
    /// By a key's number: a row came in with it.
    taken: Vec<bool>,
}

impl Arbiters {
    pub(super) fn new(keys: Vec<UniqueKeys>) -> Self {
        Self { each: keys.into_iter().map(|keys| Arbiter { keys, taken: vec![] }).collect() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.each.is_empty()
    }

    /// Takes rows. For each that may not come in, which constraint refuses it: a row of the table, or one that came in before,
    /// has its key.
    ///
    /// # Errors
    /// 53200, those of reading.
    pub(super) async fn refusals(&mut self, batch: &RecordBatch) -> Result<Vec<Option<usize>>> {
        // By constraint, for each row: the number of its key, and whether the table has it.
        let mut numbers: Vec<Vec<(usize, bool)>> = vec![];
        for Arbiter { keys, taken } in &mut self.each {
            let own = keys.add(batch)?;
            taken.resize(keys.seen.len(), false);
            let (in_batch, existing) = keys.existing_of(batch).await?;
            let there: HashSet<usize> = existing.into_iter().flat_map(|existing| existing.keys).collect();
            let pairs = own.into_iter().zip(in_batch);
            numbers.push(pairs.map(|((own, _), (in_batch, _))| (own, there.contains(&in_batch))).collect());
        }
        let mut refusals = vec![];
        for row in 0..batch.num_rows() {
            let of_row = || self.each.iter().zip(&numbers).map(|(arbiter, numbers)| (arbiter, numbers[row]));
            let refuses = |(arbiter, (number, is_there)): (&Arbiter, (usize, bool))| {
                number != NO_KEY && (is_there || arbiter.taken[number])
            };
            let refusal = of_row().position(refuses);
            refusals.push(refusal);
            if refusal.is_some() {
                continue;
            }
            for (arbiter, numbers) in self.each.iter_mut().zip(&numbers) {
                if let Some(taken) = arbiter.taken.get_mut(numbers[row].0) {
                    *taken = true;
                }
            }
        }
        Ok(refusals)
    }

    /// 23505 of a constraint for a row with the table's columns.
    pub(super) fn violation_in(&self, constraint: usize, batch: &RecordBatch, row: usize) -> Error {
        self.each[constraint].keys.violation_in(batch, row)
    }

    /// The keys taken, for the commit.
    pub(super) fn written(&self) -> Vec<NewlyWritten> {
        self.each.iter().map(|arbiter| arbiter.keys.written()).collect()
    }
}

impl UniqueKeys {
    /// Of each constraint; none for a table that keeps the latest row of each key.
    pub(super) fn of(session: &mut Session, table: Oid, state: &Arc<TableState>) -> Result<Vec<Self>> {
        if state.def.version_column().is_some() {
            return Ok(vec![]);
        }
        state.def.unique_keys().iter().map(|key| Self::new(session, table, state, key)).collect()
    }

    /// Of one constraint of any table.
    pub(super) fn new(session: &mut Session, table: Oid, state: &Arc<TableState>, key: &UniqueKey) -> Result<Self> {
        let name = Named::of(session, table);
        let own = state.def.indexes.iter().find(|index| index.oid == key.index);
        let constraint = match own {
            Some(index) => index.name.clone(),
            None => state.def.key_name(&name.table).unwrap_or_default().into_owned(),
        };
        let of_primary = key.index == 0;
        // A table that keeps the latest row of each key is looked at with what it keeps.
        let state = if of_primary {
            Arc::clone(state)
        } else {
            let def = Arc::new(state.def.with_key(&key.columns));
            Arc::new(TableState { def, ..TableState::clone(state) })
        };
        let instance = Arc::clone(&session.instance);
        let store = (!is_temporary(table)).then(|| Arc::clone(&instance.store));
        Ok(Self {
            seen: NewKeys::new(&state.def)?,
            table: Arc::new(SnapshotTable { store, state, locators: true }),
            name,
            index: key.index,
            constraint,
            since: session.open().view().lsn,
            memory: MemoryConsumer::new("primary key").register(&instance.runtime.memory_pool),
            instance,
            text: session.text_settings(),
        })
    }

    /// True if one of these columns is in the key.
    pub(super) fn is_about(&self, columns: &[usize]) -> bool {
        self.def().key_columns().iter().any(|key| columns.contains(key))
    }

    /// The key's index, 0 for the primary key.
    pub(super) fn index(&self) -> Oid {
        self.index
    }

    fn def(&self) -> &TableDef {
        &self.table.state.def
    }

    /// Takes rows. For each the number of its key, and whether no row before had it.
    ///
    /// # Errors
    /// 53200.
    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<Vec<(usize, bool)>> {
        let numbers = self.seen.add(batch.columns())?;
        self.memory.try_resize(self.seen.bytes())?;
        Ok(numbers)
    }

    /// As [`Self::add`], where no two rows may have the same key.
    ///
    /// # Errors
    /// 23505, 53200.
    pub(super) fn add_unique(&mut self, batch: &RecordBatch) -> Result<()> {
        match self.add(batch)?.iter().position(|(_, is_new)| !is_new) {
            None => Ok(()),
            Some(row) => Err(self.violation_in(batch, row)),
        }
    }

    /// The rows of the table, all columns, that have keys of a batch, which is not among those taken.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) async fn existing_of(&self, batch: &RecordBatch) -> Result<(Vec<(usize, bool)>, Vec<Existing>)> {
        let mut keys = NewKeys::new(self.def())?;
        let numbers = keys.add(batch.columns())?;
        let table = Arc::clone(&self.table);
        let all: Vec<usize> = (0..self.def().columns.len()).collect();
        let existing = self.on_query_threads(async move { keys.existing(&table, &all).await }).await?;
        Ok((numbers, existing))
    }

    /// Fails if the table has a row with one of the keys, but for rows that `is_gone`. Tells what was written.
    ///
    /// # Errors
    /// 23505, those of reading.
    pub(super) async fn require_free(self, is_gone: impl Fn((i32, i64)) -> bool) -> Result<NewlyWritten> {
        let written = self.written();
        if self.table.state.chunks.is_empty() && self.table.state.files.files.is_empty() {
            return Ok(written);
        }
        let this = Arc::new(self);
        let there = Arc::clone(&this);
        let work = async move { there.seen.existing(&there.table, &there.def().key_columns()).await };
        for existing in this.on_query_threads(work).await? {
            if let Some(row) = existing.places.iter().position(|place| !is_gone(*place)) {
                return Err(this.violation(existing.rows.columns(), row));
            }
        }
        Ok(written)
    }

    /// What may read much must not keep other clients from being heard.
    async fn on_query_threads<T: Send + 'static>(
        &self,
        work: impl Future<Output = tidemill_catalog::Result<T>> + Send + 'static,
    ) -> Result<T> {
        let task = AbortOnDropHandle::new(self.instance.threads.queries.spawn(work));
        Ok(task.await.map_err(|error| Error::internal(format!("looking for keys ended early: {error}")))??)
    }

    /// Fails if new files repeat a key, of the table's rows or of their own.
    ///
    /// # Errors
    /// 23505, those of reading.
    pub(super) async fn require_free_in_files(&self, new: &[Arc<FileEntry>]) -> Result<NewlyWritten> {
        let state = &self.table.state;
        let files = state.files.files.iter().chain(new).map(Arc::clone).collect();
        let with_new = TableState { files: Arc::new(FileIndex::new(files)), ..TableState::clone(state) };
        let table = SnapshotTable { store: self.table.store.clone(), state: Arc::new(with_new), locators: true };
        let added = new.to_vec();
        match self.on_query_threads(async move { table.duplicate_in_files(&added).await }).await? {
            None => Ok(NewlyWritten { index: self.index, since: self.since, digests: None }),
            Some((unit, row)) => Err(self.violation_at(unit, row).await?),
        }
    }

    /// The keys taken, for the commit.
    pub(super) fn written(&self) -> NewlyWritten {
        let mut digests = self.seen.digests().to_vec();
        digests.sort_unstable();
        NewlyWritten { index: self.index, since: self.since, digests: Some(digests.into()) }
    }

    /// 23505 for a row with the table's columns.
    pub(super) fn violation_in(&self, batch: &RecordBatch, row: usize) -> Error {
        let keys: Vec<ArrayRef> =
            self.def().key_columns().into_iter().map(|key| Arc::clone(batch.column(key))).collect();
        self.violation(&keys, row)
    }

    async fn violation_at(&self, unit: Unit, row: usize) -> Result<Error> {
        let (files, dir) =
            (Arc::clone(self.instance.store.files()), self.instance.store.table_dir(self.table.state.oid));
        let def = Arc::clone(&self.table.state.def);
        let found = tokio::task::spawn_blocking(move || -> Result<Option<(RecordBatch, usize)>> {
            let mut before = 0;
            for batch in rewrite::read_unit(&files, &dir, &def, &unit)? {
                let batch = batch?;
                if row < before + batch.num_rows() {
                    return Ok(Some((batch, row - before)));
                }
                before += batch.num_rows();
            }
            Ok(None)
        });
        let found = found.await.map_err(|error| Error::internal(format!("a reader thread panicked: {error}")))??;
        let (batch, row) = found.ok_or_else(|| Error::internal("a row that is not there"))?;
        Ok(self.violation_in(&batch, row))
    }

    fn violation(&self, keys: &[ArrayRef], row: usize) -> Error {
        let constraint = self.constraint.clone();
        let columns = self.def().key_columns().into_iter().map(|key| &self.def().columns[key]);
        let text = |(array, column): (&ArrayRef, &tidemill_catalog::record::ColumnDef)| -> Result<String> {
            let sql_type = SqlType::of_stored(&column.sql_type)?;
            let text = array_to_text(&array.slice(row, 1), &sql_type.field(&column.name, true), &self.text)?;
            Ok(if text.is_null(0) { "null".to_owned() } else { text.value(0).to_owned() })
        };
        let values: Result<Vec<String>> = keys.iter().zip(columns).map(text).collect();
        let mut error = Error::new(
            SqlState::UNIQUE_VIOLATION,
            format!("duplicate key value violates unique constraint \"{constraint}\""),
        );
        if let Ok(values) = values {
            let names = super::constraint::quoted(&self.def().primary_key);
            error = error.detail(format!("Key ({names})=({}) already exists.", values.join(", ")));
        }
        let report = error.report_mut();
        self.name.tell(report);
        report.constraint = Some(constraint);
        error
    }
}
