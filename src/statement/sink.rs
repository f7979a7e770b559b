//! Rows on their way into a table: NOT NULL and CHECK, then hot chunks, or files where there are many.
//!
//! Few rows become one hot chunk, whose bytes the log carries. Above [`BULK_BYTES`] a writer thread turns them into Parquet
//! files while more rows come, and the log carries only the files' names: the log never holds a bulk load twice.

use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::compute::{CastOptions, cast_with_options, concat_batches};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::DFSchema;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::PhysicalExpr;
use datafusion::sql::sqlparser::ast;
use futures::TryStreamExt;
use tidemill_catalog::record::{CheckDef, NewChunk, TableDef, Write};
use tidemill_catalog::snapshot::TableState;
use tidemill_catalog::store::Store;
use tidemill_catalog::table::file::FileEntry;
use tidemill_catalog::table::writer::{TableWriter, WriteOptions};
use tidemill_catalog::{Lsn, Oid};
use tidemill_udfs::functions::round_time;
use tidemill_udfs::types::{SqlType, TextSettings, array_to_text};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::keys::UniqueKeys;
use super::names::Named;
use super::parse::parse_expression;
use super::table;
use crate::error::SqlState;
use crate::plan::{Planner, Scope, domains};
use crate::session::Session;
use crate::session::transaction::is_temporary;
use crate::{Error, Result};

/// Bytes (Arrow) above which rows go to files at once: the log writes them as fast up to here, and a file has the size
/// that scans like.
const BULK_BYTES: usize = 48 << 20;
/// Rows of one hot chunk at most.
const CHUNK_ROWS: usize = 256 * 1024;
/// Batches that may wait for the writer thread.
const WRITER_QUEUE: usize = 4;

/// Takes rows of one table, in any number of batches; [`RowSink::finish`] gives the change that adds them.
pub(crate) struct RowSink {
    table: Oid,
    schema: SchemaRef,
    def: Arc<TableDef>,
    constraints: Constraints,
    store: Arc<Store>,
    now_us: i64,
    pending: Vec<RecordBatch>,
    pending_bytes: usize,
    writer: Option<FileWriter>,
    rows: u64,
    /// What must not be there yet.
    keys: Vec<UniqueKeys>,
    /// The state whose definition the rows are made for.
    made_on: Lsn,
}

/// What a sink that is made later needs of the session.
#[derive(Clone)]
pub(crate) struct Ground {
    store: Arc<Store>,
    text: Arc<TextSettings>,
    now_us: i64,
    made_on: Lsn,
}

impl Ground {
    /// The session's transaction as it is now.
    pub(crate) fn of(session: &mut Session) -> Self {
        Self {
            store: Arc::clone(&session.instance.store),
            text: session.text_settings(),
            now_us: session.instance.clock.now(),
            made_on: session.open().view().lsn,
        }
    }
}

struct FileWriter {
    batches: mpsc::Sender<RecordBatch>,
    done: JoinHandle<Result<Vec<Arc<FileEntry>>>>,
}

/// NOT NULL and CHECK of a table, ready to evaluate.
#[derive(Clone)]
pub(crate) struct Constraints {
    table: Named,
    schema: SchemaRef,
    not_null: Vec<usize>,
    checks: Vec<(String, Arc<dyn PhysicalExpr>)>,
    domains: Vec<DomainRule>,
    text: Arc<TextSettings>,
}

/// What a domain asks of a column's values.
#[derive(Clone)]
struct DomainRule {
    column: usize,
    domain: String,
    not_null: bool,
    checks: Vec<(String, Arc<dyn PhysicalExpr>)>,
}

impl RowSink {
    /// A sink for a table the session may write to.
    pub(crate) fn new(session: &mut Session, table: Oid, scope: &Arc<Scope>) -> Result<Self> {
        let constraints = Constraints::new(session, table, scope)?;
        Self::with(session, table, constraints)
    }

    /// A sink for a few rows that need no scope of their own: it is made only if the table has checks.
    pub(crate) fn for_values(session: &mut Session, table: Oid, cancel: &CancellationToken) -> Result<Self> {
        let state = table::state(session, table)?;
        let constraints = if state.def.checks.is_empty() && state.def.user_types().next().is_none() {
            Constraints::not_null(session, table, &state)
        } else {
            let scope = session.scope(cancel);
            Constraints::new(session, table, &scope)?
        };
        Self::with(session, table, constraints)
    }

    fn with(session: &mut Session, table: Oid, constraints: Constraints) -> Result<Self> {
        let state = table::state(session, table)?;
        Ok(Self {
            made_on: session.open().view().lsn,
            keys: UniqueKeys::of(session, table, &state)?,
            table,
            schema: Arc::clone(&state.schema),
            constraints,
            def: Arc::clone(&state.def),
            store: Arc::clone(&session.instance.store),
            now_us: session.instance.clock.now(),
            pending: vec![],
            pending_bytes: 0,
            writer: None,
            rows: 0,
        })
    }

    /// A sink for a table that is not there yet, without constraints.
    pub(crate) fn empty(session: &mut Session, table: Oid, name: &str, def: &Arc<TableDef>) -> Self {
        Self::on(Ground::of(session), table, name, def)
    }

    /// A sink for a table without constraints.
    pub(crate) fn on(ground: Ground, table: Oid, name: &str, def: &Arc<TableDef>) -> Self {
        let (name, text) = (Named { schema: None, table: name.to_owned() }, Arc::clone(&ground.text));
        let (not_null, checks, domains) = (vec![], vec![], vec![]);
        let constraints = Constraints { table: name, schema: def.schema(), not_null, checks, domains, text };
        Self::with_ground(ground, table, def, constraints)
    }

    /// A sink for rows of a definition that the table does not have yet; the caller looks after its key.
    pub(crate) fn for_definition(
        session: &mut Session,
        table: Oid,
        def: &Arc<TableDef>,
        constraints: Constraints,
    ) -> Self {
        Self::with_ground(Ground::of(session), table, def, constraints)
    }

    fn with_ground(ground: Ground, table: Oid, def: &Arc<TableDef>, constraints: Constraints) -> Self {
        let Ground { store, now_us, made_on, .. } = ground;
        Self {
            table,
            schema: def.schema(),
            def: Arc::clone(def),
            constraints,
            store,
            now_us,
            pending: vec![],
            pending_bytes: 0,
            writer: None,
            rows: 0,
            keys: vec![],
            made_on,
        }
    }

    /// From now on no two rows may have the same key; the table's own rows go.
    pub(super) fn require_unique(&mut self, session: &mut Session, state: &TableState) -> Result<()> {
        let mut state = TableState::clone(state);
        state.def = Arc::clone(&self.def);
        state.schema = self.def.schema();
        state.files = Arc::default();
        state.chunks.clear();
        self.keys = UniqueKeys::of(session, self.table, &Arc::new(state))?;
        Ok(())
    }

    /// An empty sink of the same table after columns that may be NULL were added at its end, or its constraints changed.
    pub(crate) fn of(&self, def: &Arc<TableDef>) -> Self {
        let schema = def.schema();
        Self {
            table: self.table,
            schema: Arc::clone(&schema),
            def: Arc::clone(def),
            constraints: Constraints { schema, ..self.constraints.clone() },
            store: Arc::clone(&self.store),
            now_us: self.now_us,
            pending: vec![],
            pending_bytes: 0,
            writer: None,
            rows: 0,
            keys: vec![],
            made_on: self.made_on,
        }
    }

    /// As [`Self::of`], after columns became other types.
    pub(crate) fn with_constraints(&self, def: &Arc<TableDef>, constraints: Constraints) -> Self {
        Self { constraints, ..self.of(def) }
    }

    /// The rows, with the table's columns, that violate NOT NULL or a CHECK.
    pub(crate) fn violations(&self, batch: &RecordBatch) -> Result<BooleanArray> {
        self.constraints.violations(batch)
    }

    /// As [`Constraints::check`].
    pub(crate) fn check(&self, batch: &RecordBatch) -> Result<()> {
        self.constraints.check(batch)
    }

    /// A sink for rows that were in the table before: its constraints are not asked again.
    pub(crate) fn unchecked(session: &mut Session, table: Oid, scope: &Arc<Scope>) -> Result<Self> {
        let mut sink = Self::new(session, table, scope)?;
        sink.constraints.not_null.clear();
        sink.constraints.checks.clear();
        sink.constraints.domains.clear();
        sink.keys.clear();
        Ok(sink)
    }

    /// From now on the caller looks after the keys.
    pub(crate) fn take_keys(&mut self) -> Vec<UniqueKeys> {
        std::mem::take(&mut self.keys)
    }

    /// Takes a stream of rows with the table's columns; the number of rows.
    pub(crate) async fn consume(&mut self, mut stream: SendableRecordBatchStream) -> Result<u64> {
        let mut rows = 0;
        while let Some(batch) = stream.try_next().await? {
            rows += batch.num_rows() as u64;
            self.write(batch).await?;
        }
        Ok(rows)
    }

    /// Takes rows with the table's columns, in order. Waits while the writer thread is behind.
    ///
    /// # Errors
    /// 23502, 23514; the error of the writer thread.
    pub(crate) async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let batch = self.renamed(batch)?;
        self.write_exact(batch).await
    }

    /// As [`Self::write`], of rows that have the table's own field names, types and metadata.
    pub(crate) async fn write_exact(&mut self, batch: RecordBatch) -> Result<()> {
        let batch = self.rounded(batch)?;
        self.constraints.check(&batch)?;
        self.rows += batch.num_rows() as u64;
        if self.writer.is_none() {
            self.keys.iter_mut().try_for_each(|keys| keys.add_unique(&batch))?;
        }
        if self.writer.is_some() {
            return self.send(batch).await;
        }
        self.pending_bytes += batch.get_array_memory_size();
        self.pending.push(batch);
        if self.pending_bytes > BULK_BYTES && !is_temporary(self.table) {
            self.writer = Some(self.start_writer());
            self.pending_bytes = 0;
            for batch in std::mem::take(&mut self.pending) {
                self.send(batch).await?;
            }
        }
        Ok(())
    }

    /// The batch with times of as many digits of a second as their columns keep.
    fn rounded(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let mut columns = None;
        for (at, column) in self.def.columns.iter().enumerate() {
            if let Some(digits) = SqlType::stored_precision(&column.sql_type) {
                let columns = columns.get_or_insert_with(|| batch.columns().to_vec());
                columns[at] = round_time(&columns[at], digits)?;
            }
        }
        match columns {
            Some(columns) => Ok(RecordBatch::try_new(batch.schema(), columns).map_err(DataFusionError::from)?),
            None => Ok(batch),
        }
    }

    /// The batch under the table's own field names and metadata.
    pub(crate) fn renamed(&self, batch: RecordBatch) -> Result<RecordBatch> {
        // Nullability is checked by value below: the schema of a query's rows may be stricter or looser.
        let fields: Vec<_> =
            self.schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
        let schema = Arc::new(datafusion::arrow::datatypes::Schema::new(fields));
        let options = CastOptions { safe: false, ..CastOptions::default() };
        let columns = batch
            .columns()
            .iter()
            .zip(schema.fields())
            .map(|(array, field)| {
                // A query's numeric has the scale it was computed with, the column has its own.
                if array.data_type() == field.data_type() {
                    Ok(Arc::clone(array))
                } else {
                    cast_with_options(array, field.data_type(), &options)
                }
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(DataFusionError::from)?;
        RecordBatch::try_new(schema, columns).map_err(|error| DataFusionError::from(error).into())
    }

    fn start_writer(&self) -> FileWriter {
        let (batches, mut received) = mpsc::channel::<RecordBatch>(WRITER_QUEUE);
        let options = WriteOptions { now_ms: self.now_us / 1000, ..WriteOptions::default() };
        let mut writer =
            TableWriter::new(Arc::clone(self.store.files()), &self.store.table_dir(self.table), &self.def, options);
        let done = tokio::task::spawn_blocking(move || {
            while let Some(batch) = received.blocking_recv() {
                writer.write(batch)?;
            }
            Ok(writer.finish()?)
        });
        FileWriter { batches, done }
    }

    async fn send(&mut self, batch: RecordBatch) -> Result<()> {
        let writer = self.writer.as_ref().ok_or_else(|| Error::internal("no writer"))?;
        if writer.batches.send(batch).await.is_ok() {
            return Ok(());
        }
        // It ended early: it failed.
        match self.writer.take() {
            Some(writer) => Err(joined(writer.done.await).err().unwrap_or_else(|| Error::internal("the writer ended"))),
            None => Err(Error::internal("no writer")),
        }
    }

    /// The change that adds the rows.
    ///
    /// # Errors
    /// 23505; the error of the writer thread.
    pub(crate) async fn finish(mut self) -> Result<Write> {
        let made_on = (!is_temporary(self.table)).then_some(self.made_on);
        let mut write = Write { table: self.table, data_change: true, made_on, ..Write::default() };
        if let Some(writer) = self.writer.take() {
            drop(writer.batches);
            write.add_files = joined(writer.done.await)?;
            for keys in self.keys {
                write.keys.push(keys.require_free_in_files(&write.add_files).await?);
            }
            return Ok(write);
        }
        if self.rows > 0 {
            for keys in std::mem::take(&mut self.keys) {
                write.keys.push(keys.require_free(|_| false).await?);
            }
        }
        let mut group = vec![];
        let mut rows = 0;
        for batch in std::mem::take(&mut self.pending) {
            rows += batch.num_rows();
            group.push(batch);
            if rows >= CHUNK_ROWS {
                self.add_chunk(&mut write, &std::mem::take(&mut group))?;
                rows = 0;
            }
        }
        self.add_chunk(&mut write, &group)?;
        Ok(write)
    }

    fn add_chunk(&self, write: &mut Write, batches: &[RecordBatch]) -> Result<()> {
        let Some(first) = batches.first() else { return Ok(()) };
        let batch = concat_batches(&first.schema(), batches).map_err(DataFusionError::from)?;
        write.add_chunks.push(Arc::new(NewChunk { id: self.store.next_chunk_id(), batch }));
        Ok(())
    }
}

fn joined(result: Result<Result<Vec<Arc<FileEntry>>>, tokio::task::JoinError>) -> Result<Vec<Arc<FileEntry>>> {
    result.map_err(|error| Error::internal(format!("the writer thread panicked: {error}")))?
}

fn not_null_columns(def: &TableDef) -> Vec<usize> {
    (def.columns.iter().enumerate()).filter(|(_, column)| !column.nullable).map(|(at, _)| at).collect()
}

/// What the domains of a table's columns ask.
fn domain_rules(planner: &Planner, scope: &Arc<Scope>, names: &DFSchema, def: &TableDef) -> Result<Vec<DomainRule>> {
    let mut rules = vec![];
    for (column, of) in def.columns.iter().enumerate() {
        let Some((object, domain)) = of.user_type.and_then(|oid| scope.domain(oid)) else { continue };
        let value = ast::Expr::Identifier(ast::Ident::with_quote('"', &of.name));
        let check = |check: &CheckDef| {
            let condition = planner.expression(scope, names, &domains::condition(&check.condition, &value)?)?;
            Ok((check.name.clone(), planner.physical_expression(scope, names, condition)?))
        };
        rules.push(DomainRule {
            column,
            domain: object.name.clone(),
            not_null: domain.not_null,
            checks: domain.checks.iter().map(check).collect::<Result<_>>()?,
        });
    }
    Ok(rules)
}

impl Constraints {
    pub(crate) fn new(session: &mut Session, table: Oid, scope: &Arc<Scope>) -> Result<Self> {
        let state = table::state(session, table)?;
        let name = Named::of(session, table);
        let text = session.text_settings();
        Self::of(&session.planner, scope, name, &state.def, text)
    }

    /// Those of a definition.
    pub(crate) fn of(
        planner: &Planner,
        scope: &Arc<Scope>,
        table: Named,
        def: &TableDef,
        text: Arc<TextSettings>,
    ) -> Result<Self> {
        let schema = def.schema();
        let names = DFSchema::try_from_qualified_schema(table.table.as_str(), &schema)?;
        let check = |check: &CheckDef| {
            let condition = planner.expression(scope, &names, &parse_expression(&check.condition)?)?;
            Ok((check.name.clone(), planner.physical_expression(scope, &names, condition)?))
        };
        let checks = def.checks.iter().map(check).collect::<Result<_>>()?;
        let domains = domain_rules(planner, scope, &names, def)?;
        Ok(Self { table, not_null: not_null_columns(def), schema, checks, domains, text })
    }

    /// Those of a table without checks.
    fn not_null(session: &mut Session, table: Oid, state: &TableState) -> Self {
        Self {
            table: Named::of(session, table),
            schema: Arc::clone(&state.schema),
            not_null: not_null_columns(&state.def),
            checks: vec![],
            domains: vec![],
            text: session.text_settings(),
        }
    }

    /// 23502 or 23514 for the first row that violates one.
    pub(crate) fn check(&self, batch: &RecordBatch) -> Result<()> {
        for rule in &self.domains {
            if rule.not_null && batch.column(rule.column).null_count() > 0 {
                return Err(domains::null_error(&rule.domain));
            }
            for (name, check) in &rule.checks {
                if check.evaluate(batch)?.into_array(batch.num_rows())?.as_boolean().has_false() {
                    return Err(domains::check_error(&rule.domain, name));
                }
            }
        }
        for &column in &self.not_null {
            let array = batch.column(column);
            if array.null_count() > 0 {
                let row = (0..array.len()).find(|row| array.is_null(*row)).unwrap_or(0);
                let name = self.schema.field(column).name();
                let mut error = Error::new(
                    SqlState::NOT_NULL_VIOLATION,
                    format!(
                        "null value in column \"{name}\" of relation \"{}\" violates not-null constraint",
                        self.table.table
                    ),
                )
                .detail(self.failing_row(batch, row)?);
                let report = error.report_mut();
                self.table.tell(report);
                report.column = Some(name.clone());
                return Err(error);
            }
        }
        for (name, check) in &self.checks {
            let result = check.evaluate(batch)?.into_array(batch.num_rows())?;
            let passed = result.as_boolean();
            // NULL passes, as in PostgreSQL.
            if let Some(row) = (0..passed.len()).find(|row| passed.is_valid(*row) && !passed.value(*row)) {
                let mut error = Error::new(
                    SqlState::CHECK_VIOLATION,
                    format!("new row for relation \"{}\" violates check constraint \"{name}\"", self.table.table),
                )
                .detail(self.failing_row(batch, row)?);
                let report = error.report_mut();
                self.table.tell(report);
                report.constraint = Some(name.clone());
                return Err(error);
            }
        }
        Ok(())
    }

    fn violations(&self, batch: &RecordBatch) -> Result<BooleanArray> {
        let mut wrong = vec![false; batch.num_rows()];
        let of_domains = self.domains.iter().filter(|rule| rule.not_null).map(|rule| &rule.column);
        for &column in self.not_null.iter().chain(of_domains) {
            let array = batch.column(column);
            wrong.iter_mut().enumerate().for_each(|(row, wrong)| *wrong |= array.is_null(row));
        }
        for (_, check) in self.checks.iter().chain(self.domains.iter().flat_map(|rule| &rule.checks)) {
            let result = check.evaluate(batch)?.into_array(batch.num_rows())?;
            let passed = result.as_boolean();
            let fails = |row| passed.is_valid(row) && !passed.value(row);
            wrong.iter_mut().enumerate().for_each(|(row, wrong)| *wrong |= fails(row));
        }
        Ok(wrong.into())
    }

    /// `Failing row contains (1, null).` Values are cut at 64 bytes, as PostgreSQL cuts them.
    fn failing_row(&self, batch: &RecordBatch, row: usize) -> Result<String> {
        let values = batch
            .columns()
            .iter()
            .zip(self.schema.fields())
            .map(|(array, field)| {
                let one = array.slice(row, 1);
                if one.is_null(0) {
                    return Ok("null".to_owned());
                }
                let field = SqlType::of_field(field).field(field.name(), true);
                let text = array_to_text(&one, &field, &self.text)?;
                let text = text.value(0);
                let mut end = text.len().min(64);
                while !text.is_char_boundary(end) {
                    end -= 1;
                }
                Ok(if end < text.len() { format!("{}...", &text[..end]) } else { text.to_owned() })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(format!("Failing row contains ({}).", values.join(", ")))
    }
}
