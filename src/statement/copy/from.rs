//! COPY FROM: rows and documents, of the client or of files of the server, all in one transaction.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use tidemill_catalog::Oid;
use tidemill_catalog::record::{Body, Change};
use tidemill_udfs::types::{SqlType, TextSettings};
use tokio_util::sync::CancellationToken;

use super::super::control::{Copy, CopySource, CopyTarget, Name};
use super::super::copy_format::{CopyOptions, CopyParser, Format};
use super::super::files::object::Place;
use super::super::files::{self, Input};
use super::super::{ingest, names};
use super::staged::Validation;
use super::target::Target;
use super::{OptionList, is_parquet, parquet, settings_of, text_option};
use crate::error::SqlState;
use crate::instance::{CopyProgress, CopyReport, Instance};
use crate::session::{CopyIn, Outcome, Session};
use crate::{Error, Result};

pub(super) async fn copy(session: &mut Session, copy: &Copy, cancel: &CancellationToken) -> Result<Outcome> {
    session.require_writable("COPY FROM")?;
    let CopySource::Table { name, columns } = &copy.source else {
        return Err(Error::new(SqlState::SYNTAX_ERROR, "COPY FROM needs a table"));
    };
    let object = names::relation(session, name)?;
    let Body::Table(_) = &object.body else {
        let kind = if matches!(object.body, Body::Sequence(_)) { "sequence" } else { "view" };
        return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, format!("cannot copy to {kind} \"{}\"", object.name)));
    };
    let (settings, options) = settings_of(copy)?;
    let (validation, options) = Validation::of(session, &object, &options, cancel)?;
    let files = match &copy.target {
        CopyTarget::File(url) if files::object::is_url(url) => {
            let found = Place::of(url, &settings)?.find().await?;
            Some(found.into_iter().map(|object| Input::Object(Box::new(object))).collect())
        }
        CopyTarget::File(pattern) => Some(expand(pattern.clone()).await?),
        _ => None,
    };
    let kind = if files.is_some() { "FILE" } else { "PIPE" };
    let report = CopyProgress::begin(&session.handle, object.oid, "COPY FROM", kind);
    let bytes_total = files.iter().flatten().map(Input::bytes).sum();
    report.progress().bytes_total.store(bytes_total, Relaxed);
    let load = if let Some(format) = document_format(copy, &options)? {
        let source = files.iter().flatten().next().map_or("copy".to_owned(), source_of);
        Load::Documents(Box::new(Documents::begin(session, name, format, &source, cancel)?))
    } else {
        let is_parquet = is_parquet(&options, &copy.target)?;
        let scope = session.scope(cancel);
        let (filter, progress) = (copy.filter.as_ref(), report.progress());
        let target = Target::new(session, &scope, &object, columns, filter, progress)?;
        if is_parquet {
            Load::Parquet(Box::new(target))
        } else {
            let options = CopyOptions::from_pairs(&options, true)?;
            let text = Arc::clone(&scope.text);
            Load::Rows(Box::new(Rows::begin(target, object.name.clone(), options, text)?))
        }
    };
    let (instance, has_files) = (Arc::clone(&session.instance), files.is_some());
    let mut reader = Box::new(Reader { load, table: object.oid, validation, report, has_files, instance });
    let Some(files) = files else { return Ok(Outcome::CopyIn(reader)) };
    for (number, file) in files.iter().enumerate() {
        if number > 0 {
            reader.next_file(file).await?;
        }
        reader.read(file).await.map_err(|error| if files.len() > 1 { in_file(error, file) } else { error })?;
    }
    Ok(Outcome::Command(reader.finish(session).await?))
}

async fn expand(pattern: String) -> Result<Vec<Input>> {
    let expanded = tokio::task::spawn_blocking(move || files::expand(&pattern)).await;
    let paths = expanded.map_err(|error| Error::internal(format!("a thread panicked: {error}")))??;
    Ok(paths.into_iter().map(Input::File).collect())
}

/// What dead letters say about where they come from.
fn source_of(file: &Input) -> String {
    format!("file {}", file.name())
}

/// The error with the file among others that it is about.
fn in_file(mut error: Error, file: &Input) -> Error {
    if let Some(context) = &mut error.report_mut().context {
        context.push_str(&format!(", file \"{}\"", file.name()));
    }
    error
}

/// `FORMAT json` or `ndjson`: documents, whose fields name the columns.
///
/// # Errors
/// 0A000 with other options, a list of columns or WHERE.
fn document_format(copy: &Copy, options: &OptionList) -> Result<Option<ingest::Format>> {
    let format = match text_option(options, "format") {
        Some("json") => ingest::Format::Json,
        Some("ndjson" | "jsonl") => ingest::Format::Lines,
        _ => return Ok(None),
    };
    let CopySource::Table { columns, .. } = &copy.source else { return Ok(None) };
    if options.len() > 1 || !columns.is_empty() || copy.filter.is_some() {
        return Err(Error::unsupported("COPY of documents takes no other options, columns or WHERE")
            .hint("The documents' fields name the columns."));
    }
    Ok(Some(format))
}

/// COPY FROM under way.
struct Reader {
    load: Load,
    table: Oid,
    validation: Option<Validation>,
    report: CopyReport,
    /// Files are ended one by one.
    has_files: bool,
    instance: Arc<Instance>,
}

/// What the bytes become.
enum Load {
    Rows(Box<Rows>),
    Documents(Box<Documents>),
    Parquet(Box<Target>),
}

/// Rows of text, csv or binary.
struct Rows {
    parser: CopyParser,
    target: Target,
    name: String,
    options: CopyOptions,
    text: Arc<TextSettings>,
}

/// Documents: those that cannot be rows become dead letters.
struct Documents {
    ingest: ingest::Ingest,
    format: ingest::Format,
}

impl Rows {
    fn begin(target: Target, name: String, options: CopyOptions, text: Arc<TextSettings>) -> Result<Self> {
        let parser = Self::parser(&target, &name, &options, &text)?;
        Ok(Self { parser, target, name, options, text })
    }

    fn parser(target: &Target, name: &str, options: &CopyOptions, text: &TextSettings) -> Result<CopyParser> {
        let fields: Vec<(String, SqlType)> =
            target.given.iter().map(|(_, name, sql_type)| (name.clone(), sql_type.clone())).collect();
        CopyParser::new(options, name, &fields, text)
    }

    async fn drain(&mut self) -> Result<()> {
        while let Some(batch) = self.parser.take_batch() {
            self.target.write(batch.columns(), batch.num_rows()).await?;
        }
        Ok(())
    }

    async fn end(&mut self) -> Result<()> {
        self.parser.finish()?;
        self.drain().await
    }
}

impl Documents {
    fn begin(
        session: &mut Session,
        name: &Name,
        format: ingest::Format,
        source: &str,
        cancel: &CancellationToken,
    ) -> Result<Self> {
        Ok(Self { ingest: ingest::Ingest::begin(session, name, format, source, cancel)?, format })
    }
}

impl Reader {
    /// All of a file.
    async fn read(&mut self, file: &Input) -> Result<()> {
        let bytes = &self.report.progress().bytes;
        if let Load::Parquet(target) = &mut self.load {
            match file {
                Input::File(path) => {
                    parquet::read(target, path, &file.name()).await?;
                    // Only now: a reader of columns does not go from the beginning to the end.
                    bytes.fetch_add(file.bytes(), Relaxed);
                }
                Input::Object(object) => {
                    let download = object.download(&self.instance.config, bytes).await?;
                    parquet::read(target, &download.path, &file.name()).await?;
                }
            }
            return Ok(());
        }
        let mut chunks = file.chunks(bytes);
        while let Some(chunk) = chunks.recv().await {
            self.take(chunk?).await?;
        }
        match &mut self.load {
            Load::Rows(rows) => rows.end().await,
            Load::Documents(_) | Load::Parquet(_) => Ok(()),
        }
    }

    /// Another file begins: what the last one had is complete.
    async fn next_file(&mut self, file: &Input) -> Result<()> {
        match &mut self.load {
            Load::Rows(rows) => rows.parser = Rows::parser(&rows.target, &rows.name, &rows.options, &rows.text)?,
            Load::Documents(documents) => {
                documents.ingest.next_input(documents.format, &source_of(file)).await?;
            }
            Load::Parquet(_) => {}
        }
        Ok(())
    }

    async fn take(&mut self, bytes: Bytes) -> Result<()> {
        match &mut self.load {
            Load::Rows(rows) => {
                rows.parser.push(&bytes)?;
                rows.drain().await
            }
            Load::Documents(documents) => {
                documents.ingest.push(&bytes).await?;
                self.report.progress().rows.store(documents.ingest.rows(), Relaxed);
                Ok(())
            }
            Load::Parquet(_) => Err(Error::internal("Parquet is not read from its beginning")),
        }
    }
}

#[async_trait::async_trait]
impl CopyIn for Reader {
    fn binary(&self) -> bool {
        matches!(&self.load, Load::Rows(rows) if rows.options.format == Format::Binary)
    }

    fn columns(&self) -> usize {
        match &self.load {
            Load::Rows(rows) => rows.target.given.len(),
            Load::Documents(_) | Load::Parquet(_) => 1,
        }
    }

    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.report.progress().bytes.fetch_add(bytes.len() as u64, Relaxed);
        self.take(bytes).await
    }

    async fn finish(self: Box<Self>, session: &mut Session) -> Result<String> {
        let Self { load, table, validation, report, has_files, .. } = *self;
        let (changes, rows) = match load {
            Load::Rows(mut rows) => {
                if !has_files {
                    rows.end().await?;
                }
                let (change, rows) = rows.target.finish().await?;
                (vec![change], rows)
            }
            Load::Parquet(target) => {
                let (change, rows) = target.finish().await?;
                (vec![change], rows)
            }
            Load::Documents(documents) => {
                let (ended, changes) = documents.ingest.changes(session).await?;
                ended.notice(session);
                (changes, ended.rows)
            }
        };
        let added: Vec<Change> = if validation.is_some() { changes.clone() } else { vec![] };
        session.apply(changes)?;
        if let Some(validation) = validation {
            validation.check(session, table, &added, rows).await?;
        }
        drop(report);
        Ok(format!("COPY {rows}"))
    }
}
