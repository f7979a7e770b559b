//! COPY: bytes of a client or a server file into a table, and rows out again.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::lit;
use datafusion::physical_plan::PhysicalExpr;
use futures::{StreamExt, TryStreamExt};
use tidemill_catalog::Oid;
use tidemill_catalog::record::{Body, Change, TableDef};
use tidemill_udfs::types::SqlType;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use super::control::{Copy, CopySource, CopyTarget, CopyValue, Expression, Name};
use super::copy_format::{CopyOptions, CopyParser, CopyWriter, Format};
use super::parse::{Parsed, parse_expression};
use super::sink::RowSink;
use super::{ingest, names};
use crate::error::SqlState;
use crate::plan::Scope;
use crate::session::{CopyChunk, CopyIn, CopyOut, Outcome, Portal, Session};
use crate::{Error, Result};

/// Bytes read from a server file at once.
const READ_BYTES: usize = 1 << 20;
/// Rows of a Parquet file read at once.
const PARQUET_ROWS: usize = 64 * 1024;

pub(super) async fn copy(
    session: &mut Session,
    copy: &Copy,
    portal: &Portal,
    cancel: &CancellationToken,
) -> Result<Outcome> {
    match &copy.target {
        CopyTarget::Program => {
            return Err(Error::unsupported("COPY to or from an external program is not supported"));
        }
        CopyTarget::File(_) => require_server_files(session, copy.from)?,
        CopyTarget::Client => {}
    }
    if copy.from { copy_from(session, copy, cancel).await } else { copy_to(session, copy, portal, cancel).await }
}

/// 42501 unless a superuser: such a COPY reads and writes as the server.
fn require_server_files(session: &mut Session, from: bool) -> Result<()> {
    let (_, role) = names::current_role(session)?;
    if role.superuser {
        return Ok(());
    }
    let (what, group) = if from { ("from", "pg_read_server_files") } else { ("to", "pg_write_server_files") };
    Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, format!("permission denied to COPY {what} a file"))
        .detail(format!("Only roles with privileges of the \"{group}\" role may COPY {what} a file."))
        .hint("Anyone can COPY to stdout or from stdin. psql's \\copy command also works for anyone."))
}

// ---- FROM ----

async fn copy_from(session: &mut Session, copy: &Copy, cancel: &CancellationToken) -> Result<Outcome> {
    session.require_writable("COPY FROM")?;
    let CopySource::Table { name, columns } = &copy.source else {
        return Err(Error::new(SqlState::SYNTAX_ERROR, "COPY FROM needs a table"));
    };
    let object = names::relation(session, name)?;
    let Body::Table(def) = &object.body else {
        return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, format!("cannot copy to view \"{}\"", object.name)));
    };
    if let Some(format) = document_format(copy)? {
        return from_documents(session, copy, name, format, cancel).await;
    }
    let scope = session.scope(cancel);
    let target = Target::new(session, &scope, object.oid, def, &object.name, columns, copy.filter.as_ref())?;
    if let CopyTarget::File(path) = &copy.target
        && is_parquet(copy, path)
    {
        return from_parquet(session, target, path).await;
    }
    let options = CopyOptions::from_pairs(&copy.options, true)?;
    let fields: Vec<_> = target.given.iter().map(|(_, name, sql_type)| (name.clone(), sql_type.clone())).collect();
    let parser = CopyParser::new(&options, &object.name, &fields, &scope.text)?;
    let mut reader = Reader { parser, target, binary: options.format == Format::Binary };
    match &copy.target {
        CopyTarget::File(path) => {
            let mut file = tokio::fs::File::open(path).await.map_err(|error| file_error(path, "reading", &error))?;
            loop {
                let mut buffer = bytes::BytesMut::with_capacity(READ_BYTES);
                let read = file.read_buf(&mut buffer).await.map_err(|error| file_error(path, "reading", &error))?;
                if read == 0 {
                    break;
                }
                reader.write(buffer.freeze()).await?;
            }
            Ok(Outcome::Command(Box::new(reader).finish(session).await?))
        }
        _ => Ok(Outcome::CopyIn(Box::new(reader))),
    }
}

fn is_parquet(copy: &Copy, path: &str) -> bool {
    let format = copy.options.iter().find(|(name, _)| name == "format");
    match format {
        Some((_, super::control::CopyValue::Text(format))) => format == "parquet",
        Some(_) => false,
        None => Path::new(path).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("parquet")),
    }
}

fn file_error(path: &str, doing: &str, error: &std::io::Error) -> Error {
    let (code, reason) = match error.kind() {
        std::io::ErrorKind::NotFound => (SqlState::UNDEFINED_FILE, "No such file or directory".to_owned()),
        std::io::ErrorKind::PermissionDenied => (SqlState::INSUFFICIENT_PRIVILEGE, "Permission denied".to_owned()),
        std::io::ErrorKind::IsADirectory => (SqlState::WRONG_OBJECT_TYPE, "Is a directory".to_owned()),
        std::io::ErrorKind::StorageFull => (SqlState::DISK_FULL, "No space left on device".to_owned()),
        _ => (SqlState::IO_ERROR, error.to_string()),
    };
    let error = Error::new(code, format!("could not open file \"{path}\" for {doing}: {reason}"));
    if error.code() == &SqlState::UNDEFINED_FILE || error.code() == &SqlState::INSUFFICIENT_PRIVILEGE {
        let (direction, verb) = if doing == "reading" { ("FROM", "read") } else { ("TO", "write") };
        return error.hint(format!(
            "COPY {direction} instructs the server process to {verb} a file. \
             You may want a client-side facility such as psql's \\copy."
        ));
    }
    error
}

/// The table COPY fills: which columns come, what the others get, which rows are left out.
struct Target {
    sink: RowSink,
    def: Arc<TableDef>,
    /// Columns that come, in the order of the data: index in the table, name, type.
    given: Vec<(usize, String, SqlType)>,
    /// Values of columns that do not come, by their index in the table.
    defaults: Vec<(usize, Arc<dyn PhysicalExpr>)>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    rows: u64,
}

impl Target {
    fn new(
        session: &mut Session,
        scope: &Arc<Scope>,
        oid: Oid,
        def: &Arc<TableDef>,
        name: &str,
        columns: &[String],
        filter: Option<&Expression>,
    ) -> Result<Self> {
        let mut given = vec![];
        for column in columns {
            let Some(at) = def.columns.iter().position(|candidate| candidate.name == *column) else {
                return Err(Error::new(
                    SqlState::UNDEFINED_COLUMN,
                    format!("column \"{column}\" of relation \"{name}\" does not exist"),
                ));
            };
            if given.iter().any(|(other, _, _)| *other == at) {
                return Err(Error::new(
                    SqlState::DUPLICATE_COLUMN,
                    format!("column \"{column}\" specified more than once"),
                ));
            }
            given.push((at, column.clone(), SqlType::parse(&def.columns[at].sql_type)?));
        }
        if columns.is_empty() {
            for (at, column) in def.columns.iter().enumerate() {
                given.push((at, column.name.clone(), SqlType::parse(&column.sql_type)?));
            }
        }
        let mut defaults = vec![];
        for (at, column) in def.columns.iter().enumerate() {
            if !given.iter().any(|(index, _, _)| *index == at) {
                defaults.push((at, default_value(session, scope, def, at, column.default.as_deref())?));
            }
        }
        let filter = match filter {
            Some(filter) => {
                let schema = DFSchema::try_from_qualified_schema(name, &def.schema())?;
                let condition = session.planner.expression(scope, &schema, &filter.ast)?;
                Some(session.planner.physical_expression(scope, &schema, condition)?)
            }
            None => None,
        };
        Ok(Self { sink: RowSink::new(session, oid, scope)?, def: Arc::clone(def), given, defaults, filter, rows: 0 })
    }

    /// Takes arrays for the given columns.
    async fn write(&mut self, arrays: &[ArrayRef], rows: usize) -> Result<()> {
        let schema = self.def.schema();
        let empty = RecordBatch::try_new_with_options(
            Arc::new(datafusion::arrow::datatypes::Schema::empty()),
            vec![],
            &datafusion::arrow::array::RecordBatchOptions::new().with_row_count(Some(rows)),
        )
        .map_err(DataFusionError::from)?;
        let mut all: Vec<Option<ArrayRef>> = vec![None; self.def.columns.len()];
        for ((at, _, _), array) in self.given.iter().zip(arrays) {
            all[*at] = Some(Arc::clone(array));
        }
        for (at, default) in &self.defaults {
            all[*at] = Some(default.evaluate(&empty)?.into_array(rows)?);
        }
        let all: Option<Vec<_>> = all.into_iter().collect();
        let all = all.ok_or_else(|| Error::internal("a column without a value"))?;
        let fields: Vec<_> = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
        let mut batch = RecordBatch::try_new(Arc::new(datafusion::arrow::datatypes::Schema::new(fields)), all)
            .map_err(DataFusionError::from)?;
        if let Some(filter) = &self.filter {
            let keep = filter.evaluate(&batch)?.into_array(rows)?;
            let keep = datafusion::arrow::array::AsArray::as_boolean(&keep);
            batch = datafusion::arrow::compute::filter_record_batch(&batch, keep).map_err(DataFusionError::from)?;
        }
        self.rows += batch.num_rows() as u64;
        self.sink.write(batch).await
    }

    async fn finish(self, session: &mut Session) -> Result<String> {
        let rows = self.rows;
        let write = self.sink.finish().await?;
        session.apply(vec![Change::Write(write)])?;
        Ok(format!("COPY {rows}"))
    }
}

pub(super) fn default_value(
    session: &mut Session,
    scope: &Arc<Scope>,
    def: &TableDef,
    at: usize,
    default: Option<&str>,
) -> Result<Arc<dyn PhysicalExpr>> {
    let planner = Arc::clone(&session.planner);
    let column = &def.columns[at];
    let empty = DFSchema::empty();
    let value = match default {
        None => lit(ScalarValue::try_from(&column.data_type)?),
        Some(text) => {
            let value = planner.expression(scope, &empty, &parse_expression(text)?)?;
            let from = planner.type_of(&value, &empty)?;
            planner.assignment_cast(scope, value, &from, &SqlType::parse(&column.sql_type)?, &column.name)?
        }
    };
    planner.physical_expression(scope, &empty, value)
}

/// COPY FROM STDIN and from a text file: bytes to rows.
struct Reader {
    parser: CopyParser,
    target: Target,
    binary: bool,
}

impl Reader {
    async fn drain(&mut self) -> Result<()> {
        while let Some(batch) = self.parser.take_batch() {
            self.target.write(batch.columns(), batch.num_rows()).await?;
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl CopyIn for Reader {
    fn binary(&self) -> bool {
        self.binary
    }

    fn columns(&self) -> usize {
        self.target.given.len()
    }

    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.parser.push(&bytes)?;
        self.drain().await
    }

    async fn finish(mut self: Box<Self>, session: &mut Session) -> Result<String> {
        self.parser.finish()?;
        self.drain().await?;
        self.target.finish(session).await
    }
}

/// `FORMAT json` or `ndjson`: documents, whose fields name the columns.
///
/// # Errors
/// 0A000 with other options, a list of columns or WHERE.
fn document_format(copy: &Copy) -> Result<Option<ingest::Format>> {
    let format = copy.options.iter().find(|(name, _)| name == "format");
    let format = match format {
        Some((_, CopyValue::Text(format))) if format == "json" => ingest::Format::Json,
        Some((_, CopyValue::Text(format))) if format == "ndjson" => ingest::Format::Lines,
        _ => return Ok(None),
    };
    let CopySource::Table { columns, .. } = &copy.source else { return Ok(None) };
    if copy.options.len() > 1 || !columns.is_empty() || copy.filter.is_some() {
        return Err(Error::unsupported("COPY of documents takes no other options, columns or WHERE")
            .hint("The documents' fields name the columns."));
    }
    Ok(Some(format))
}

/// Documents on their way into a table: those that cannot be rows become dead letters.
struct Documents(ingest::Ingest);

#[async_trait::async_trait]
impl CopyIn for Documents {
    fn binary(&self) -> bool {
        false
    }

    fn columns(&self) -> usize {
        1
    }

    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.0.push(&bytes).await
    }

    async fn finish(self: Box<Self>, session: &mut Session) -> Result<String> {
        let report = self.0.finish(session).await?;
        if report.dead_letters > 0 {
            let message = format!("{} documents are in tidemill.dead_letters", report.dead_letters);
            session.notice("NOTICE", SqlState::SUCCESSFUL_COMPLETION, message);
        }
        Ok(format!("COPY {}", report.rows))
    }
}

async fn from_documents(
    session: &mut Session,
    copy: &Copy,
    name: &Name,
    format: ingest::Format,
    cancel: &CancellationToken,
) -> Result<Outcome> {
    let source = match &copy.target {
        CopyTarget::File(path) => format!("file {path}"),
        _ => "copy".to_owned(),
    };
    let ingest = ingest::Ingest::begin(session, name, format, &source, cancel)?;
    let mut documents = Box::new(Documents(ingest));
    let CopyTarget::File(path) = &copy.target else { return Ok(Outcome::CopyIn(documents)) };
    let mut file = tokio::fs::File::open(path).await.map_err(|error| file_error(path, "reading", &error))?;
    loop {
        let mut buffer = bytes::BytesMut::with_capacity(READ_BYTES);
        let read = file.read_buf(&mut buffer).await.map_err(|error| file_error(path, "reading", &error))?;
        if read == 0 {
            return Ok(Outcome::Command(documents.finish(session).await?));
        }
        documents.write(buffer.freeze()).await?;
    }
}

/// Columns are matched by name; each must cast to the table's type.
async fn from_parquet(session: &mut Session, mut target: Target, path: &str) -> Result<Outcome> {
    use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    let (sender, mut batches) = tokio::sync::mpsc::channel::<Result<RecordBatch>>(2);
    let file_path = path.to_owned();
    let reader = tokio::task::spawn_blocking(move || -> Result<()> {
        let file = std::fs::File::open(&file_path).map_err(|error| file_error(&file_path, "reading", &error))?;
        let invalid = |error: String| {
            Error::new(SqlState::BAD_COPY_FILE_FORMAT, format!("\"{file_path}\" is not a Parquet file")).detail(error)
        };
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)
            .and_then(|builder| builder.with_batch_size(PARQUET_ROWS).build())
            .map_err(|error| invalid(error.to_string()))?;
        for batch in reader {
            if sender.blocking_send(batch.map_err(|error| invalid(error.to_string()))).is_err() {
                break;
            }
        }
        Ok(())
    });
    while let Some(batch) = batches.recv().await {
        let batch = batch?;
        let arrays = target
            .given
            .iter()
            .map(|(at, name, _)| {
                let column = batch.column_by_name(name).ok_or_else(|| {
                    Error::new(SqlState::BAD_COPY_FILE_FORMAT, format!("file \"{path}\" has no column \"{name}\""))
                        .hint("Name the columns to copy: COPY table (column, …) FROM …")
                })?;
                let options = datafusion::arrow::compute::CastOptions { safe: false, ..Default::default() };
                datafusion::arrow::compute::cast_with_options(column, &target.def.columns[*at].data_type, &options)
                    .map_err(|error| {
                        Error::new(
                            SqlState::DATATYPE_MISMATCH,
                            format!(
                                "column \"{name}\" of the file does not fit type {}",
                                target.def.columns[*at].sql_type
                            ),
                        )
                        .detail(error.to_string())
                    })
            })
            .collect::<Result<Vec<_>>>()?;
        target.write(&arrays, batch.num_rows()).await?;
    }
    reader.await.map_err(|error| Error::internal(format!("a reader thread panicked: {error}")))??;
    Ok(Outcome::Command(target.finish(session).await?))
}

// ---- TO ----

async fn copy_to(session: &mut Session, copy: &Copy, portal: &Portal, cancel: &CancellationToken) -> Result<Outcome> {
    let query = match &copy.source {
        CopySource::Query(query) => (**query).clone(),
        CopySource::Table { name, columns } => table_query(session, name, columns)?,
    };
    if copy.filter.is_some() {
        return Err(Error::new(SqlState::SYNTAX_ERROR, "WHERE clause not allowed with COPY TO"));
    }
    let options = CopyOptions::from_pairs(&copy.options, false)?;
    let prepared = session.parse_inner(Some(query), &[], true)?;
    let inner = session.portal(&prepared, portal.values.clone(), vec![])?;
    let Outcome::Rows { stream, columns, .. } = Box::pin(session.run_inner(&inner, cancel)).await? else {
        return Err(Error::unsupported("COPY query must have a RETURNING clause"));
    };
    let fields: Vec<_> = columns.iter().map(|column| (column.name.clone(), column.sql_type.clone())).collect();
    let text = session.text_settings();
    let writer = Arc::new(CopyWriter::new(&options, &fields, &text)?);
    let header = writer.header()?;
    let trailer = writer.trailer();
    // A line of names is a message of its own, as each row is; the binary header comes with what follows it.
    let (mut before, header) = if options.format == Format::Binary { (header, None) } else { (None, header) };
    let chunks = futures::stream::iter(header.map(Ok))
        .chain(stream.map_err(Error::from).flat_map(move |batch| {
            let writer = Arc::clone(&writer);
            let mut state = Some(batch.map(|batch| (batch, 0)));
            futures::stream::iter(std::iter::from_fn(move || match state.take()? {
                Ok((batch, row)) if row < batch.num_rows() => Some(writer.write(&batch, row).inspect(|chunk| {
                    let next = row + chunk.row_ends.len();
                    state = (next > row).then_some(Ok((batch, next)));
                })),
                Ok(_) => None,
                Err(error) => Some(Err(error)),
            }))
        }))
        .chain(futures::stream::iter(trailer.map(Ok)))
        .map(move |chunk| {
            let chunk = chunk?;
            Ok(match before.take() {
                Some(header) => chunk.after(&header.bytes),
                None => chunk,
            })
        })
        .boxed();
    let out = CopyOut { binary: options.format == Format::Binary, columns: fields.len(), stream: chunks };
    match &copy.target {
        CopyTarget::File(path) => to_file(out, path).await,
        _ => Ok(Outcome::CopyOut(out)),
    }
}

/// `SELECT columns FROM table`, as a syntax tree.
fn table_query(session: &mut Session, name: &Name, columns: &[String]) -> Result<Parsed> {
    let object = names::relation(session, name);
    if let Ok(object) = &object
        && matches!(object.body, Body::View(_))
    {
        return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, format!("cannot copy from view \"{}\"", object.name))
            .hint("Try the COPY (SELECT ...) TO variant."));
    }
    if let Ok(object) = &object
        && let Body::Table(def) = &object.body
        && let Some(missing) = columns.iter().find(|column| def.column(column).is_none())
    {
        return Err(Error::new(
            SqlState::UNDEFINED_COLUMN,
            format!("column \"{missing}\" of relation \"{}\" does not exist", object.name),
        ));
    }
    // Names that need it are quoted: this text is made here, not taken from a syntax tree.
    let quote = |part: &String| format!("\"{}\"", part.replace('"', "\"\""));
    let list =
        if columns.is_empty() { "*".to_owned() } else { columns.iter().map(quote).collect::<Vec<_>>().join(", ") };
    let from = name.parts.iter().map(quote).collect::<Vec<_>>().join(".");
    let parsed = super::parse::parse(&format!("SELECT {list} FROM {from}"))?.pop();
    parsed.ok_or_else(|| Error::internal("an empty query"))
}

async fn to_file(mut out: CopyOut, path: &str) -> Result<Outcome> {
    if !Path::new(path).is_absolute() {
        return Err(Error::new(SqlState::INVALID_NAME, "relative path not allowed for COPY to file"));
    }
    let mut file = tokio::fs::File::create(path).await.map_err(|error| file_error(path, "writing", &error))?;
    let mut rows = 0;
    while let Some(chunk) = out.stream.next().await {
        let CopyChunk { bytes, rows: more, .. } = chunk?;
        rows += more;
        file.write_all(&bytes).await.map_err(|error| file_error(path, "writing", &error))?;
    }
    file.flush().await.map_err(|error| file_error(path, "writing", &error))?;
    Ok(Outcome::Command(format!("COPY {rows}")))
}
