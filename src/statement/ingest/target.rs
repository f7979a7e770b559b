//! One table that documents go to.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array};
use datafusion::arrow::compute::kernels::zip::zip;
use datafusion::arrow::compute::{cast, filter_record_batch, not};
use datafusion::arrow::datatypes::Schema;
use datafusion::common::DFSchema;
use datafusion::error::DataFusionError;
use datafusion::physical_plan::PhysicalExpr;
use tidemill_catalog::Oid;
use tidemill_catalog::acl::Privileges;
use tidemill_catalog::record::{Body, Change, Object, TableDef, Write};
use tidemill_catalog::table::file::FileEntry;
use tidemill_catalog::table::rewrite::read_unit;
use tidemill_catalog::table::scan::Unit;
use tidemill_ingest::{Decoded, Evolve, Limits, Nested, SchemaChange, ShapeColumn, TableShape};
use tidemill_udfs::types::{SqlType, TextSettings, ValueError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::super::control::Name;
use super::super::copy::default_value;
use super::super::keys::Arbiters;
use super::super::names::Named;
use super::super::retype;
use super::super::sink::{Constraints, RowSink};
use super::super::table::{COLUMNS_MAX, push_column};
use super::super::{names, options};
use super::Report;
use super::book::Book;
use super::letters::{Letter, Letters, Sent};
use crate::error::SqlState;
use crate::plan::rights::On;
use crate::plan::{Conversion, Planner, Scope};
use crate::session::Session;
use crate::{Error, Result};

/// The table, its rows so far, and what became of the documents.
pub(super) struct Target {
    /// As it was; its version is 0 if there was none.
    object: Arc<Object>,
    def: Arc<TableDef>,
    sink: RowSink,
    /// Keys that no row may repeat.
    keys: Arbiters,
    /// What went into sinks of earlier definitions.
    writes: Vec<Write>,
    /// Plans what the rows must meet.
    planner: Arc<Planner>,
    scope: Arc<Scope>,
    text: Arc<TextSettings>,
    /// Columns of the table that became wider: place and type.
    widened: BTreeMap<usize, SqlType>,
    /// Values of columns that a row does not mention, by the column's place.
    defaults: Vec<Option<Arc<dyn PhysicalExpr>>>,
    pub(super) letters: Letters,
    report: Report,
}

/// Rows, and where the document of each was.
struct Placed {
    rows: RecordBatch,
    places: Vec<(u64, u64)>,
}

impl Placed {
    fn only(self, keep: &BooleanArray) -> Result<Self> {
        let places = self.places.into_iter().enumerate().filter(|(row, _)| keep.value(*row)).map(|(_, place)| place);
        let rows = filter_record_batch(&self.rows, keep).map_err(DataFusionError::from)?;
        Ok(Self { rows, places: places.collect() })
    }
}

impl Target {
    /// A table that is there.
    ///
    /// # Errors
    /// 42P01, 42809.
    pub(super) fn of(
        session: &mut Session,
        name: &Name,
        letters: impl FnOnce(&Object) -> Letters,
        cancel: &CancellationToken,
    ) -> Result<Self> {
        let (object, def) = names::table(session, name)?;
        // Documents may come to have any column.
        names::require(session, &object, Privileges::INSERT)?;
        let scope = session.scope(cancel);
        let defaults = (0..def.columns.len()).map(|at| default_of(session, &scope, &def, at)).collect::<Result<_>>()?;
        let mut sink = RowSink::new(session, object.oid, &scope)?;
        let keys = Arbiters::new(sink.take_keys());
        let letters = letters(&object);
        Ok(Self {
            object,
            def,
            sink,
            keys,
            writes: vec![],
            planner: Arc::clone(&session.planner),
            scope,
            text: session.text_settings(),
            widened: BTreeMap::new(),
            defaults,
            letters,
            report: Report::default(),
        })
    }

    /// A table that is to be made when there is a row for it; it evolves.
    pub(super) fn fresh(
        session: &mut Session,
        schema: Oid,
        name: &str,
        letters: impl FnOnce(&Object) -> Letters,
        cancel: &CancellationToken,
    ) -> Result<Self> {
        let given = std::collections::BTreeMap::from([("tidemill.evolve".to_owned(), "add_columns".to_owned())]);
        let def = Arc::new(TableDef {
            columns: vec![],
            checks: vec![],
            indexes: vec![],
            foreign_keys: vec![],
            primary_key: vec![],
            primary_key_name: None,
            options: options::resolve(&given, &[], &[])?,
            given_options: given,
            column_mapping: false,
            next_column_id: 1,
        });
        let snapshot = Arc::clone(session.open().view());
        let owner = session.current_role(&snapshot);
        let object = Arc::new(Object {
            oid: session.fresh_oid(false),
            parent: schema,
            name: name.to_owned(),
            owner,
            version: 0,
            comment: None,
            acl: names::initial_acl(session, owner, schema, On::Relation),
            depends_on: vec![],
            body: Body::Table(Arc::clone(&def)),
        });
        let sink = RowSink::empty(session, object.oid, name, &def);
        let letters = letters(&object);
        Ok(Self {
            object,
            def,
            sink,
            keys: Arbiters::new(vec![]),
            writes: vec![],
            planner: Arc::clone(&session.planner),
            scope: session.scope(cancel),
            text: session.text_settings(),
            widened: BTreeMap::new(),
            defaults: vec![],
            letters,
            report: Report::default(),
        })
    }

    /// The table's definition so far.
    pub(super) fn def(&self) -> &TableDef {
        &self.def
    }

    /// The table as a decoder sees it.
    pub(super) fn shape(&self) -> Result<TableShape> {
        shape_of(&self.object.name, &self.def)
    }

    pub(super) fn table(&self) -> Oid {
        self.object.oid
    }

    /// Rows so far.
    pub(super) fn rows(&self) -> u64 {
        self.report.rows
    }

    pub(super) async fn take(&mut self, book: &mut Book, mut decoded: Decoded) -> Result<()> {
        if !decoded.changes.is_empty() {
            self.change(&decoded.changes).await?;
        }
        self.report.documents += decoded.counts.documents;
        for letter in std::mem::take(&mut decoded.dead_letters) {
            self.letters.add(book, Letter::of(letter)).await?;
        }
        if decoded.batch.num_rows() > 0 {
            let rows = self.with_defaults(&decoded)?;
            self.write(book, Placed { rows, places: decoded.places }).await?;
        }
        self.letters.taken(decoded.end.offset);
        Ok(())
    }

    /// A message that is no document.
    pub(super) async fn refuse(&mut self, book: &mut Book, letter: Letter, sent: Sent) -> Result<()> {
        self.report.documents += 1;
        self.letters.refuse(book, letter, sent).await
    }

    async fn change(&mut self, changes: &[SchemaChange]) -> Result<()> {
        let mut def = TableDef::clone(&self.def);
        let mut is_widened = false;
        for change in changes {
            match change {
                SchemaChange::AddColumn { name, sql_type, field, sample, .. } => {
                    push_column(&mut def, name, sql_type, field)?;
                    self.defaults.push(None);
                    self.letters.changed("ADD COLUMN", name, sql_type, field, sample);
                    self.report.new_columns.push((name.clone(), sql_type.name()));
                }
                SchemaChange::WidenColumn { name, to, sample, .. } => {
                    let at = def.columns.iter().position(|column| column.name == *name);
                    let at = at.ok_or_else(|| Error::internal("a column that is not there was widened"))?;
                    def.columns[at].sql_type = to.stored();
                    def.columns[at].user_type = None;
                    def.columns[at].data_type = to.data_type();
                    if self.defaults[at].is_some() {
                        let value = self.planner.column_default(&self.scope, &def.columns[at])?;
                        let empty = DFSchema::empty();
                        self.defaults[at] = Some(self.planner.physical_expression(&self.scope, &empty, value)?);
                    }
                    let is_old = self.object.version > 0 && at < self.columns_before();
                    if is_old {
                        self.widened.insert(at, to.clone());
                    }
                    let reported = match is_old {
                        true => &mut self.report.widened_columns,
                        false => &mut self.report.new_columns,
                    };
                    match reported.iter_mut().find(|(reported, _)| reported == name) {
                        Some((_, sql_type)) => *sql_type = to.name(),
                        None => reported.push((name.clone(), to.name())),
                    }
                    self.letters.changed("ALTER COLUMN TYPE", name, to, name, sample);
                    is_widened = true;
                }
            }
        }
        let old = std::mem::replace(&mut self.def, Arc::new(def));
        let next = if is_widened {
            let name = Named { schema: None, table: self.object.name.clone() };
            let constraints = Constraints::of(&self.planner, &self.scope, name, &self.def, Arc::clone(&self.text))?;
            self.sink.with_constraints(&self.def, constraints)
        } else {
            self.sink.of(&self.def)
        };
        let before = std::mem::replace(&mut self.sink, next);
        let mut write = before.finish().await?;
        if is_widened {
            self.write_again(&old, std::mem::take(&mut write.add_files)).await?;
            for at in 0..self.writes.len() {
                let files = std::mem::take(&mut self.writes[at].add_files);
                self.write_again(&old, files).await?;
            }
        }
        if !write.add_chunks.is_empty() || !write.add_files.is_empty() {
            self.writes.push(write);
        }
        Ok(())
    }

    /// How many columns the table had.
    fn columns_before(&self) -> usize {
        match &self.object.body {
            Body::Table(def) => def.columns.len(),
            _ => 0,
        }
    }

    /// Rows of files that were written for an earlier definition, with the types of the one now.
    async fn write_again(&mut self, old: &Arc<TableDef>, files: Vec<Arc<FileEntry>>) -> Result<()> {
        let store = Arc::clone(&self.scope.instance.store);
        let dir = store.table_dir(self.object.oid);
        for file in files {
            let (sender, mut received) = mpsc::channel::<RecordBatch>(2);
            let (layer, dir, old) = (Arc::clone(store.files()), dir.clone(), Arc::clone(old));
            let reader = tokio::task::spawn_blocking(move || -> Result<()> {
                for batch in read_unit(&layer, &dir, &old, &Unit::File(file))? {
                    if sender.blocking_send(batch?).is_err() {
                        break;
                    }
                }
                Ok(())
            });
            while let Some(batch) = received.recv().await {
                self.sink.write(self.completed(&batch)?).await?;
            }
            reader.await.map_err(|error| Error::internal(format!("a reader thread panicked: {error}")))??;
        }
        Ok(())
    }

    /// Rows of an earlier definition as rows of the one now: wider types, NULL in columns that came later.
    fn completed(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let mut columns: Vec<ArrayRef> = vec![];
        for (at, field) in self.def.schema().fields().iter().enumerate() {
            columns.push(match batch.columns().get(at) {
                Some(column) => cast(column, field.data_type()).map_err(DataFusionError::from)?,
                None => new_null_array(field.data_type(), rows),
            });
        }
        let fields: Vec<_> =
            self.def.schema().fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
            .map_err(|error| DataFusionError::from(error).into())
    }

    /// The rows with defaults where they do not mention a column that has one.
    fn with_defaults(&self, decoded: &Decoded) -> Result<RecordBatch> {
        if decoded.defaults.is_empty() {
            return Ok(decoded.batch.clone());
        }
        let rows = decoded.batch.num_rows();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let empty = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options)
            .map_err(DataFusionError::from)?;
        let mut columns: Vec<ArrayRef> = decoded.batch.columns().to_vec();
        for missing in &decoded.defaults {
            let Some(Some(default)) = self.defaults.get(missing.column) else { continue };
            let values = default.evaluate(&empty)?.into_array(rows)?;
            let mask = BooleanArray::new(missing.rows.clone(), None);
            columns[missing.column] = zip(&mask, &values, &columns[missing.column]).map_err(DataFusionError::from)?;
        }
        RecordBatch::try_new(decoded.batch.schema(), columns).map_err(|error| DataFusionError::from(error).into())
    }

    /// Writes the rows that the table's constraints allow; the others are dead letters.
    async fn write(&mut self, book: &mut Book, mut rest: Placed) -> Result<()> {
        if !self.keys.is_empty() {
            // A row that is wrong anyway takes no key.
            rest = self.right_rows(book, rest).await?;
            rest = self.free_rows(book, rest).await?;
        }
        while rest.rows.num_rows() > 0 {
            let rows = rest.rows.num_rows() as u64;
            let refused = match self.sink.write(rest.rows.clone()).await {
                Ok(()) => {
                    self.report.rows += rows;
                    return Ok(());
                }
                Err(error) if is_violation(&error) => error,
                Err(error) => return Err(error),
            };
            rest = self.right_rows(book, rest).await?;
            if rest.rows.num_rows() as u64 == rows {
                return Err(refused);
            }
        }
        Ok(())
    }

    /// The rows that meet NOT NULL and CHECK; the others are dead letters.
    async fn right_rows(&mut self, book: &mut Book, batch: Placed) -> Result<Placed> {
        let wrong = self.sink.violations(&batch.rows)?;
        if wrong.true_count() == 0 {
            return Ok(batch);
        }
        for row in (0..wrong.len()).filter(|row| wrong.value(*row)) {
            let one = batch.rows.slice(row, 1);
            let error = self.sink.check(&one).err().unwrap_or_else(|| Error::internal("the row is right"));
            let letter = Letter::of_row(&one, &self.def, &error, batch.places.get(row))?;
            self.letters.add(book, letter).await?;
        }
        batch.only(&not(&wrong).map_err(DataFusionError::from)?)
    }

    /// The rows whose key no other row has; the others are dead letters.
    async fn free_rows(&mut self, book: &mut Book, batch: Placed) -> Result<Placed> {
        if batch.rows.num_rows() == 0 {
            return Ok(batch);
        }
        let refusals = self.keys.refusals(&batch.rows).await?;
        for (row, refusal) in refusals.iter().enumerate() {
            let Some(constraint) = *refusal else { continue };
            let error = self.keys.violation_in(constraint, &batch.rows, row);
            let letter = Letter::of_row(&batch.rows.slice(row, 1), &self.def, &error, batch.places.get(row))?;
            self.letters.add(book, letter).await?;
        }
        let is_free: BooleanArray = refusals.iter().map(|refusal| Some(refusal.is_none())).collect();
        batch.only(&is_free)
    }

    /// The changes that put all of it into a transaction.
    pub(super) async fn finish(self, session: &mut Session, changes: &mut Vec<Change>) -> Result<Report> {
        let Self { object, def, sink, keys, writes, letters, widened, scope, mut report, .. } = self;
        report.dead_letters = letters.count();
        let is_known = object.version > 0;
        if (!report.new_columns.is_empty() || !widened.is_empty()) && (is_known || report.rows > 0) {
            changes.push(Change::Put(names::changed(&object, |object| object.body = Body::Table(Arc::clone(&def)))));
        }
        if !widened.is_empty() {
            let conversion = |(at, to): (&usize, &SqlType)| Conversion { at: *at, to: to.clone(), using: None };
            let conversions: Vec<_> = widened.iter().map(conversion).collect();
            let width = match &object.body {
                Body::Table(old) => old.columns.len(),
                _ => 0,
            };
            // The rows that are there have the columns that were there.
            let mut before = TableDef::clone(&def);
            before.columns.truncate(width);
            changes.push(Change::Write(retype::widen(session, &scope, &object, &before, &conversions).await?));
        }
        letters.finish(session, changes)?;
        if is_known || report.rows > 0 {
            let mut last = sink.finish().await?;
            last.keys = keys.written();
            changes.extend(writes.into_iter().chain([last]).map(Change::Write));
        }
        Ok(report)
    }
}

/// NOT NULL or CHECK.
fn is_violation(error: &Error) -> bool {
    [SqlState::NOT_NULL_VIOLATION, SqlState::CHECK_VIOLATION].contains(error.code())
}

fn default_of(
    session: &mut Session,
    scope: &Arc<Scope>,
    def: &TableDef,
    at: usize,
) -> Result<Option<Arc<dyn PhysicalExpr>>> {
    let column = &def.columns[at];
    let has_default = column.default.is_some() || column.sequence.is_some();
    has_default.then(|| default_value(session, scope, column)).transpose()
}

/// The table as a decoder sees it.
pub(super) fn shape_of(name: &str, def: &TableDef) -> Result<TableShape> {
    let columns = def.columns.iter().map(|column| {
        Ok(ShapeColumn {
            name: column.name.clone(),
            sql_type: SqlType::of_stored(&column.sql_type)?,
            nullable: column.nullable,
            has_default: column.default.is_some() || column.sequence.is_some(),
            field: column.source_field.clone(),
        })
    });
    Ok(TableShape {
        name: name.to_owned(),
        columns: columns.collect::<Result<_, ValueError>>()?,
        evolve: match (def.options.evolve, def.options.widen) {
            (_, true) => Evolve::Widen,
            (true, false) => Evolve::AddColumns,
            (false, false) => Evolve::Off,
        },
        nested: match def.options.flatten {
            Some(depth) => Nested::Flatten { depth: depth as usize },
            None => Nested::Jsonb,
        },
        rest: def.options.evolve,
        // One is left for `_rest`.
        limits: Limits { columns_max: COLUMNS_MAX - 1, ..Limits::default() },
    })
}
