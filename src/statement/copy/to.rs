//! COPY TO: rows to the client, or to a file of the server.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use futures::{StreamExt, TryStreamExt};
use tidemill_catalog::record::Body;
use tokio::io::AsyncWriteExt;
use tokio_util::sync::CancellationToken;

use super::super::control::{Copy, CopySource, CopyTarget, Name};
use super::super::copy_format::{CopyOptions, CopyWriter, Format};
use super::super::files::file_error;
use super::super::files::object::{self, Download, Place, Upload};
use super::super::names;
use super::super::parse::{Parsed, parse};
use super::{is_parquet, parquet, settings_of};
use crate::error::SqlState;
use crate::instance::CopyProgress;
use crate::session::{CopyChunk, CopyOut, Outcome, Portal, Session};
use crate::{Error, Result};

pub(super) async fn copy(
    session: &mut Session,
    copy: &Copy,
    portal: &Portal,
    cancel: &CancellationToken,
) -> Result<Outcome> {
    let query = match &copy.source {
        CopySource::Query(query) => (**query).clone(),
        CopySource::Table { name, columns } => table_query(session, name, columns)?,
    };
    if copy.filter.is_some() {
        return Err(Error::new(SqlState::SYNTAX_ERROR, "WHERE clause not allowed with COPY TO"));
    }
    let (settings, options) = settings_of(copy)?;
    let as_parquet = is_parquet(&options, &copy.target)?;
    let options =
        if as_parquet { CopyOptions::from_pairs(&[], false) } else { CopyOptions::from_pairs(&options, false) }?;
    let upload = match &copy.target {
        CopyTarget::File(url) if object::is_url(url) => Some(Place::of(url, &settings)?.write()?),
        _ => None,
    };
    let kind = if matches!(copy.target, CopyTarget::File(_)) { "FILE" } else { "PIPE" };
    let relation = match &copy.source {
        CopySource::Table { name, .. } => names::relation(session, name).map_or(0, |object| object.oid),
        CopySource::Query(_) => 0,
    };
    let report = CopyProgress::begin(&session.handle, relation, "COPY TO", kind);
    let prepared = session.parse_inner(Some(query), &[], true)?;
    let inner = session.portal(&prepared, portal.values.clone(), vec![])?;
    let Outcome::Rows { stream, columns, .. } = Box::pin(session.run_inner(&inner, cancel)).await? else {
        return Err(Error::unsupported("COPY query must have a RETURNING clause"));
    };
    if as_parquet && let CopyTarget::File(path) = &copy.target {
        let rows = match upload {
            None => {
                require_absolute(path)?;
                parquet::write(stream, &columns, Path::new(path), report.progress()).await?
            }
            // Written to disk first: a writer of Parquet blocks.
            Some(mut upload) => {
                let download = Download::new(&session.instance.config);
                let rows = parquet::write(stream, &columns, &download.path, report.progress()).await?;
                upload.put_file(&download.path).await?;
                upload.finish().await?;
                rows
            }
        };
        return Ok(Outcome::Command(format!("COPY {rows}")));
    }
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
            let chunk = match before.take() {
                Some(header) => chunk.after(&header.bytes),
                None => chunk,
            };
            report.progress().bytes.fetch_add(chunk.bytes.len() as u64, Relaxed);
            report.progress().rows.fetch_add(chunk.rows, Relaxed);
            Ok(chunk)
        })
        .boxed();
    let out = CopyOut { binary: options.format == Format::Binary, columns: fields.len(), stream: chunks };
    match (&copy.target, upload) {
        (_, Some(upload)) => to_object(out, upload).await,
        (CopyTarget::File(path), None) => {
            require_absolute(path)?;
            to_file(out, path).await
        }
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
        && matches!(object.body, Body::Sequence(_))
    {
        return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, format!("cannot copy from sequence \"{}\"", object.name)));
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
    let parsed = parse(&format!("SELECT {list} FROM {from}"))?.pop();
    parsed.ok_or_else(|| Error::internal("an empty query"))
}

fn require_absolute(path: &str) -> Result<()> {
    if !Path::new(path).is_absolute() {
        return Err(Error::new(SqlState::INVALID_NAME, "relative path not allowed for COPY to file"));
    }
    Ok(())
}

async fn to_file(mut out: CopyOut, path: &str) -> Result<Outcome> {
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

async fn to_object(mut out: CopyOut, mut upload: Upload) -> Result<Outcome> {
    let mut rows = 0;
    while let Some(chunk) = out.stream.next().await {
        let CopyChunk { bytes, rows: more, .. } = chunk?;
        rows += more;
        upload.put(bytes).await?;
    }
    upload.finish().await?;
    Ok(Outcome::Command(format!("COPY {rows}")))
}
