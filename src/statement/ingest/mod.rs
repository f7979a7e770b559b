//! Documents into a table: their rows, the columns these need and the documents that could not be rows, in one transaction.
//!
//! ```text
//! bytes → decoder (crate ingest) → rows          → sink of the table
//!                                → new columns   → the table's definition, tidemill.schema_changes
//!                                → dead letters  → tidemill.dead_letters
//! ```
//! Nothing is applied before the end: a definition that was changed meanwhile fails the transaction (40001), and whoever has
//! the bytes tries again on the new one.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::kernels::zip::zip;
use datafusion::arrow::compute::{filter_record_batch, not};
use datafusion::arrow::datatypes::Schema;
use datafusion::error::DataFusionError;
use datafusion::physical_plan::PhysicalExpr;
use tidemill_catalog::record::{Body, Change, Object, TableDef, Write};
use tidemill_ingest::{
    CsvDecoder, CsvOptions, Decoded, Evolve, JsonDecoder, JsonFormat, Limits, Nested, SchemaChange, ShapeColumn,
    TableShape,
};
use tidemill_udfs::types::{SqlType, ValueError};
use tokio_util::sync::CancellationToken;

use super::control::Name;
use super::copy::default_value;
use super::names;
use super::sink::RowSink;
use super::table::{COLUMNS_MAX, push_column};
use crate::error::SqlState;
use crate::plan::Scope;
use crate::session::Session;
use crate::{Error, Result};

mod letters;
mod replay;

pub(crate) use replay::{discard, replay};

use letters::{Letter, Letters};

/// How documents are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Objects: one on each line, or in arrays.
    Json,
    /// Objects, one on each line.
    Lines,
    /// Objects, one behind the other.
    Documents,
    /// Comma-separated, with a header.
    Csv,
}

/// What became of the documents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// All.
    pub(crate) documents: u64,
    /// Those that are rows.
    pub(crate) rows: u64,
    /// Those that are in tidemill.dead_letters.
    pub(crate) dead_letters: u64,
    /// Columns that were added, with their types.
    pub(crate) new_columns: Vec<(String, String)>,
}

enum Decoder {
    Json(Box<JsonDecoder>),
    Csv(Box<CsvDecoder>),
}

impl Decoder {
    fn push(&mut self, bytes: &[u8]) {
        match self {
            Self::Json(decoder) => decoder.push(bytes),
            Self::Csv(decoder) => decoder.push(bytes),
        }
    }

    fn finish(&mut self) {
        match self {
            Self::Json(decoder) => decoder.finish(),
            Self::Csv(decoder) => decoder.finish(),
        }
    }

    fn take_batch(&mut self) -> Option<Decoded> {
        match self {
            Self::Json(decoder) => decoder.take_batch(),
            Self::Csv(decoder) => decoder.take_batch(),
        }
    }
}

/// Documents on their way into a table.
pub(crate) struct Ingest {
    /// The table as it was.
    object: Arc<Object>,
    def: Arc<TableDef>,
    decoder: Decoder,
    sink: RowSink,
    /// What went into sinks of earlier definitions.
    writes: Vec<Write>,
    /// Values of columns that a row does not mention, by the column's place.
    defaults: Vec<Option<Arc<dyn PhysicalExpr>>>,
    letters: Letters,
    report: Report,
}

impl Ingest {
    /// Begins in the session's transaction. `source` is where the documents come from, for the dead letters.
    ///
    /// # Errors
    /// 42P01, 42809, 25006.
    pub(crate) fn begin(
        session: &mut Session,
        name: &Name,
        format: Format,
        source: &str,
        cancel: &CancellationToken,
    ) -> Result<Self> {
        session.require_writable("INSERT")?;
        let (object, def) = names::table(session, name)?;
        let scope = session.scope(cancel);
        let defaults = (0..def.columns.len()).map(|at| default_of(session, &scope, &def, at)).collect::<Result<_>>()?;
        let sink = RowSink::new(session, object.oid, &scope)?;
        let shape = shape_of(&object.name, &def)?;
        let settings = scope.text.as_ref().clone();
        let json = |format| Decoder::Json(Box::new(JsonDecoder::new(format, shape.clone(), settings.clone())));
        let decoder = match format {
            Format::Json => json(JsonFormat::Auto),
            Format::Lines => json(JsonFormat::Lines),
            Format::Documents => json(JsonFormat::Documents),
            Format::Csv => {
                Decoder::Csv(Box::new(CsvDecoder::new(CsvOptions::default(), shape.clone(), settings.clone())))
            }
        };
        let written = if format == Format::Csv { "csv" } else { "json" };
        let letters = Letters::new(&object, source, written, session.instance.clock.now());
        Ok(Self { object, def, decoder, sink, writes: vec![], defaults, letters, report: Report::default() })
    }

    /// Takes bytes, cut anywhere. Waits while the writer of files is behind.
    ///
    /// # Errors
    /// Those of writing; what is wrong with a document is none.
    pub(crate) async fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.decoder.push(bytes);
        self.drain().await
    }

    async fn drain(&mut self) -> Result<()> {
        while let Some(decoded) = self.decoder.take_batch() {
            self.take(decoded).await?;
        }
        Ok(())
    }

    async fn take(&mut self, decoded: Decoded) -> Result<()> {
        if !decoded.changes.is_empty() {
            self.change(&decoded.changes).await?;
        }
        self.report.documents += decoded.counts.documents;
        for letter in &decoded.dead_letters {
            self.letters.add(Letter::of(letter));
        }
        let batch = self.with_defaults(&decoded)?;
        self.write(batch).await
    }

    async fn change(&mut self, changes: &[SchemaChange]) -> Result<()> {
        let mut def = TableDef::clone(&self.def);
        for change in changes {
            let SchemaChange::AddColumn { name, sql_type, field, sample, .. } = change else {
                return Err(Error::internal("a column would have to be widened"));
            };
            push_column(&mut def, name, sql_type, field)?;
            self.defaults.push(None);
            self.letters.changed(name, sql_type, field, sample);
            self.report.new_columns.push((name.clone(), sql_type.name()));
        }
        self.def = Arc::new(def);
        let next = self.sink.of(&self.def);
        let before = std::mem::replace(&mut self.sink, next);
        let write = before.finish().await?;
        if !write.add_chunks.is_empty() || !write.add_files.is_empty() {
            self.writes.push(write);
        }
        Ok(())
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
    async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        let mut rest = batch;
        while rest.num_rows() > 0 {
            let rows = rest.num_rows() as u64;
            let refused = match self.sink.write(rest.clone()).await {
                Ok(()) => {
                    self.report.rows += rows;
                    return Ok(());
                }
                Err(error) if is_violation(&error) => error,
                Err(error) => return Err(error),
            };
            let wrong = self.sink.violations(&rest)?;
            if wrong.true_count() == 0 {
                return Err(refused);
            }
            for row in (0..wrong.len()).filter(|row| wrong.value(*row)) {
                let one = rest.slice(row, 1);
                let error = self.sink.check(&one).err().unwrap_or_else(|| Error::internal("the row is right"));
                self.letters.add(Letter::of_row(&one, &self.def, &error)?);
            }
            rest = filter_record_batch(&rest, &not(&wrong).map_err(DataFusionError::from)?)
                .map_err(DataFusionError::from)?;
        }
        Ok(())
    }

    /// The input is over: puts all of it into the session's transaction.
    ///
    /// # Errors
    /// 40001 if the table was changed meanwhile.
    pub(crate) async fn finish(mut self, session: &mut Session) -> Result<Report> {
        self.decoder.finish();
        self.drain().await?;
        let mut changes = vec![];
        if !self.report.new_columns.is_empty() {
            let def = Arc::clone(&self.def);
            changes.push(Change::Put(names::changed(&self.object, |object| object.body = Body::Table(def))));
        }
        self.report.dead_letters = self.letters.count();
        changes.append(&mut self.letters.changes(session)?);
        let last = self.sink.finish().await?;
        changes.extend(self.writes.into_iter().chain([last]).map(Change::Write));
        session.apply(changes)?;
        Ok(self.report)
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
    match &def.columns[at].default {
        Some(text) => default_value(session, scope, def, at, Some(text)).map(Some),
        None => Ok(None),
    }
}

/// The table as a decoder sees it.
fn shape_of(name: &str, def: &TableDef) -> Result<TableShape> {
    let columns = def.columns.iter().map(|column| {
        Ok(ShapeColumn {
            name: column.name.clone(),
            sql_type: SqlType::parse(&column.sql_type)?,
            nullable: column.nullable,
            has_default: column.default.is_some(),
            field: column.source_field.clone(),
        })
    });
    Ok(TableShape {
        name: name.to_owned(),
        columns: columns.collect::<Result<_, ValueError>>()?,
        evolve: if def.options.evolve { Evolve::AddColumns } else { Evolve::Off },
        nested: match def.options.flatten {
            Some(depth) => Nested::Flatten { depth: depth as usize },
            None => Nested::Jsonb,
        },
        rest: def.options.evolve,
        // One is left for `_rest`.
        limits: Limits { columns_max: COLUMNS_MAX - 1, ..Limits::default() },
    })
}
