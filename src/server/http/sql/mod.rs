//! `POST /v1/sql`: statements in, rows out as they are made.
//!
//! ```text
//! curl localhost:8433/v1/sql -d "SELECT 1 AS one"
//! {"columns":[{"name":"one","type":"integer"}],"rows":[[1]],"command":"SELECT 1"}
//! ```
//! A session lives for one request. Several statements are one transaction, as in the simple protocol; only the last may
//! return rows. A task of its own runs them and hands pieces of the body over a short queue: that is the back-pressure. The
//! status is said with the first piece; what goes wrong after it is said as the form of the answer allows.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use datafusion::execution::SendableRecordBatchStream;
use futures::{FutureExt, StreamExt};
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::answer::{counted, refusal};
use super::login::{Guest, Visitor};
use super::unpack::Packing;
use super::{Site, login};
use crate::error::SqlState;
use crate::instance::Instance;
use crate::server::pgwire::simple::locate;
use crate::session::{Column, Outcome, RowsTag, Session, TransactionStatus};
use crate::statement::parse;
use crate::{Error, Result, background};

/// What is asked.
mod request;

/// Rows as JSON, CSV, Arrow.
mod rows;

use request::Asked;
use rows::{Form, Rows};

/// A piece of the body. Also what is collected before the status is said: small results have a length, and their errors a
/// status.
const PIECE_BYTES: usize = 64 << 10;
/// Pieces that may wait for the client.
const PIECES_AHEAD: usize = 2;
/// Bytes of a statement's text that pg_stat_activity shows.
const QUERY_BYTES_KEPT: usize = 8 << 10;

/// What the address says.
#[derive(Debug, Deserialize)]
pub(super) struct Parameters {
    database: Option<String>,
    /// `json`, `ndjson`, `csv`, `arrow`: wins over the header Accept.
    format: Option<String>,
}

pub(super) async fn sql(
    State(site): State<Site>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    parameters: Result<Query<Parameters>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let answer = async {
        let visitor = Visitor::admit(&site, login::credentials(&headers), peer)?;
        let Query(parameters) = parameters?;
        let form = Form::wanted(parameters.format.as_deref(), &headers)?;
        let asked = request::read(&headers, (body, Packing::of(&headers)?), &site.instance).await?;
        let database = parameters.database.as_deref().or(asked.database.as_deref());
        let shown = &asked.sql[..asked.sql.floor_char_boundary(QUERY_BYTES_KEPT)];
        let guest = visitor.enter(database, shown)?;
        answer(&site, guest, asked, form).await
    };
    answer.await.unwrap_or_else(|error| refusal(&site.instance, &error))
}

/// Runs what is asked on a task of its own, and answers as soon as the status is known.
async fn answer(site: &Site, guest: Guest, asked: Asked, form: Form) -> Result<Response> {
    // A client that goes away drops this future or the body, and with it the guard.
    let guard = guest.session.handle.terminate.clone().drop_guard();
    let (head, said) = oneshot::channel();
    let (pieces, body) = mpsc::channel(PIECES_AHEAD);
    let instance = Arc::clone(&site.instance);
    let sink = Sink { head: Some(head), form, pieces, stop: guest.session.handle.terminate.clone() };
    background::spawn_client(site.tasks.track_future(run(instance, guest, asked, sink)));
    match said.await {
        Ok(Ok(Head::Whole(form, bytes))) => Ok(typed(form, Body::from(bytes))),
        Ok(Ok(Head::Begun(form))) => Ok(typed(form, streamed(body, guard))),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(Error::internal("a request ended without an answer")),
    }
}

fn typed(form: Form, body: Body) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(form.content_type()))], body).into_response()
}

/// The body as its pieces come. Without the mark of its end it is cut off, which the client sees.
fn streamed(pieces: mpsc::Receiver<Piece>, guard: DropGuard) -> Body {
    Body::from_stream(futures::stream::unfold(Some((pieces, guard)), |state| async move {
        let (mut pieces, guard) = state?;
        match pieces.recv().await {
            Some(Piece::Bytes(bytes)) => Some((Ok(bytes), Some((pieces, guard)))),
            Some(Piece::End) => None,
            None => Some((Err(std::io::Error::other("the rest of the answer failed")), None)),
        }
    }))
}

/// How an answer begins.
enum Head {
    /// It is all there.
    Whole(Form, Bytes),
    /// The rest comes in pieces.
    Begun(Form),
}

enum Piece {
    Bytes(Bytes),
    /// Nothing is missing.
    End,
}

/// Where the answer goes.
struct Sink {
    /// The status is not said yet.
    head: Option<oneshot::Sender<Result<Head>>>,
    form: Form,
    pieces: mpsc::Sender<Piece>,
    /// The session is terminated.
    stop: CancellationToken,
}

impl Sink {
    /// Hands a piece over; waits for the client, unless the statement (`cancel`) or the session is stopped.
    async fn send(&mut self, bytes: Vec<u8>, cancel: &CancellationToken) -> Result<()> {
        if let Some(head) = self.head.take() {
            let _ = head.send(Ok(Head::Begun(self.form)));
        }
        tokio::select! {
            biased;
            sent = self.pieces.send(Piece::Bytes(bytes.into())) => sent.map_err(|_| gone()),
            () = self.stop.cancelled() => Err(gone()),
            () = cancel.cancelled() => {
                Err(Error::new(SqlState::QUERY_CANCELED, "canceling statement due to user request"))
            }
        }
    }

    /// The answer is complete with these bytes.
    async fn end(mut self, bytes: Vec<u8>, form: Form) {
        if let Some(head) = self.head.take() {
            let _ = head.send(Ok(Head::Whole(form, bytes.into())));
            return;
        }
        let rest = async {
            // A client that is gone needs no end.
            if self.pieces.send(Piece::Bytes(bytes.into())).await.is_ok() {
                let _ = self.pieces.send(Piece::End).await;
            }
        };
        tokio::select! {
            () = rest => {}
            () = self.stop.cancelled() => {}
        }
    }
}

/// 57P01: pg_terminate_backend, shutdown, or a client that left.
fn gone() -> Error {
    Error::new(SqlState::ADMIN_SHUTDOWN, "terminating connection due to administrator command")
}

async fn run(instance: Arc<Instance>, mut guest: Guest, asked: Asked, mut sink: Sink) {
    let work = AssertUnwindSafe(Box::pin(statements(&instance, &mut guest.session, asked, &mut sink)));
    let ended = match work.catch_unwind().await {
        Ok(ended) => ended,
        Err(panic) => {
            let what = panic.downcast_ref::<&str>().copied().map(str::to_owned);
            let what = what.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            tracing::error!(what, query = guest.registration.handle().activity.lock().query, "request panicked");
            instance.metrics.panics.fetch_add(1, Relaxed);
            Err(Error::internal(format!("internal error: {what}")))
        }
    };
    // Whatever it was in the middle of.
    let ended = ended.map_err(|error| if sink.stop.is_cancelled() { gone() } else { error });
    guest.session.end();
    let mut registration = Some(guest.registration);
    if sink.head.is_some() {
        // Whoever has the answer may come again at once.
        registration = None;
    }
    match (ended, sink.head.take()) {
        (Ok((form, bytes)), head) => Sink { head, ..sink }.end(bytes, form).await,
        (Err(error), Some(head)) => drop(head.send(Err(error))),
        // The body ends without its mark.
        (Err(error), None) => counted(&instance, &error),
    }
    drop(registration);
}

/// Runs the statements and sends the rows: the end of the answer and its form. An error takes back what they did.
async fn statements(
    instance: &Instance,
    session: &mut Session,
    asked: Asked,
    sink: &mut Sink,
) -> Result<(Form, Vec<u8>)> {
    let mut commands = vec![];
    let result = async {
        let Some(found) = each(instance, session, asked, &mut commands).await? else {
            finish(session).await?;
            return Ok((Form::Json, rows::commands(&commands, &session.take_notices())));
        };
        let Found { mut stream, columns, tag } = found;
        let mut rows = Rows::new(sink.form, &columns, &stream.schema(), &session.text_settings())?;
        let mut out = vec![];
        let poured = async {
            let count = pour(instance, session, &mut stream, &mut rows, &mut out, sink).await?;
            drop(stream);
            finish(session).await?;
            Ok(count)
        };
        match poured.await {
            Ok(count) => {
                let tag = match tag {
                    RowsTag::Counted(word) => format!("{word} {count}"),
                    RowsTag::Fixed(tag) => tag,
                };
                instance.metrics.statement(&tag);
                rows.end(&tag, &session.take_notices(), &mut out)?;
            }
            // After its beginning the answer may be able to say it itself.
            Err(error) if sink.head.is_none() && rows.fail(&error, &mut out) => {
                counted(instance, &error);
                session.fail();
            }
            Err(error) => return Err(error),
        }
        Ok((sink.form, out))
    };
    let result = result.await;
    if result.is_err() {
        session.fail();
    }
    result
}

/// A result that is to be sent.
struct Found {
    stream: SendableRecordBatchStream,
    columns: Vec<Column>,
    tag: RowsTag,
}

/// Runs all statements; the rows of the last one.
async fn each(
    instance: &Instance,
    session: &mut Session,
    asked: Asked,
    commands: &mut Vec<String>,
) -> Result<Option<Found>> {
    let Asked { sql, mut parameters, .. } = asked;
    let statements = parse::parse(&sql).map_err(|error| locate(error, &sql))?;
    let mut left = statements.len();
    if left == 0 {
        return Err(Error::new(SqlState::SYNTAX_ERROR, "the request has no statement"));
    }
    if left > 1 && !parameters.is_empty() {
        let message = "cannot insert multiple commands into a prepared statement";
        return Err(Error::new(SqlState::SYNTAX_ERROR, message).hint("Send statements with parameters one by one."));
    }
    session.begin_simple(left);
    for parsed in statements {
        left -= 1;
        let prepared = session.parse(Some(parsed), &[]).await?;
        if left > 0 && prepared.columns.is_some() {
            return Err(Error::unsupported("only the last statement of a request may return rows")
                .hint("Send each query as a request of its own."));
        }
        let (given, wanted) = (parameters.len(), prepared.parameters.len());
        if given == 0 && wanted > 0 {
            return Err(Error::new(SqlState::UNDEFINED_PARAMETER, "there is no parameter $1"));
        }
        if given != wanted {
            let message = format!("the request has {given} parameters, but the statement needs {wanted}");
            return Err(Error::new(SqlState::PROTOCOL_VIOLATION, message));
        }
        let values = request::values(std::mem::take(&mut parameters), &prepared.parameters)?;
        let portal = session.bind(&prepared, values, vec![])?;
        let outcome = Box::pin(session.execute(&portal)).await?;
        let tag = match outcome {
            Outcome::Rows { stream, columns, tag } => return Ok(Some(Found { stream, columns, tag })),
            Outcome::Command(tag) => tag,
            Outcome::CopyIn(_) => {
                return Err(Error::unsupported("COPY FROM STDIN is not possible over HTTP")
                    .hint("Send the rows to /v1/ingest/{table}."));
            }
            Outcome::CopyOut(_) => {
                return Err(Error::unsupported("COPY TO STDOUT is not possible over HTTP")
                    .hint("Send the query, and say in which form its rows shall come: Accept: text/csv."));
            }
            Outcome::Empty => continue,
        };
        instance.metrics.statement(&tag);
        commands.push(tag);
    }
    Ok(None)
}

/// Sends rows as they come; what is below a piece stays in `out`. How many they were.
async fn pour(
    instance: &Instance,
    session: &Session,
    stream: &mut SendableRecordBatchStream,
    rows: &mut Rows,
    out: &mut Vec<u8>,
    sink: &mut Sink,
) -> Result<usize> {
    let cancel = session.handle.activity.lock().cancel.clone().unwrap_or_default();
    let mut count = 0;
    rows.begin(out)?;
    while let Some(batch) = stream.next().await.transpose()? {
        let mut row = 0;
        while row < batch.num_rows() {
            row += rows.add(&batch, row, PIECE_BYTES, out)?;
            if out.len() >= PIECE_BYTES {
                sink.send(std::mem::take(out), &cancel).await?;
            }
        }
        count += batch.num_rows();
        instance.metrics.rows_sent.fetch_add(batch.num_rows() as u64, Relaxed);
    }
    Ok(count)
}

/// Commits. A transaction that the statements leave open would be lost with the session: that is an error.
async fn finish(session: &mut Session) -> Result<()> {
    session.sync().await?;
    if session.status() == TransactionStatus::Idle {
        return Ok(());
    }
    session.rollback();
    Err(Error::new(SqlState::ACTIVE_SQL_TRANSACTION, "the request leaves its transaction open: it was rolled back")
        .hint("End it with COMMIT in the same request."))
}
