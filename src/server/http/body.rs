//! A request's body on its way into tables: read once, tried again where another writer changed a table meanwhile.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::body::{Body, Bytes};
use futures::StreamExt;
use tidemill_catalog::Oid;
use tidemill_ingest::Precision;
use tokio_util::sync::CancellationToken;

use super::unpack::{Packing, Unpacker};
use crate::error::SqlState;
use crate::instance::{CopyProgress, Instance, Registration};
use crate::session::Session;
use crate::statement::control::Name;
use crate::statement::ingest::{Format, Ingest, Lines, Report};
use crate::{Error, Result};

/// Bodies up to this size are tried again.
const RETRY_BYTES: usize = 32 << 20;
/// How often.
const TRIES_MAX: u32 = 20;

/// What to do with the bytes.
#[derive(Debug, Clone)]
pub(super) enum Job {
    /// Documents into a table.
    Documents { table: Name, format: Format },
    /// Line protocol.
    Lines(Precision),
}

/// A job that has begun.
enum Running {
    Documents(Box<Ingest>),
    Lines(Box<Lines>),
}

impl Running {
    fn begin(session: &mut Session, job: &Job, source: &str, cancel: &CancellationToken) -> Result<Self> {
        Ok(match job {
            Job::Documents { table, format } => {
                Self::Documents(Box::new(Ingest::begin(session, table, *format, source, cancel)?))
            }
            Job::Lines(precision) => Self::Lines(Box::new(Lines::begin(session, *precision, source, cancel)?)),
        })
    }

    /// The table, if it is one.
    fn relation(&self) -> Oid {
        match self {
            Self::Documents(ingest) => ingest.relation(),
            Self::Lines(_) => 0,
        }
    }

    /// Rows so far.
    fn rows(&self) -> u64 {
        match self {
            Self::Documents(ingest) => ingest.rows(),
            Self::Lines(lines) => lines.rows(),
        }
    }

    async fn push(&mut self, session: &mut Session, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Documents(ingest) => ingest.push(bytes).await,
            Self::Lines(lines) => lines.push(session, bytes).await,
        }
    }

    async fn commit(self, session: &mut Session) -> Result<Done> {
        let (report, reason) = match self {
            Self::Documents(ingest) => (ingest.finish(session).await?, None),
            Self::Lines(lines) => lines.finish(session).await?,
        };
        session.commit().await?;
        Ok(Done { report, reason, lsn: session.instance.store.snapshot().lsn })
    }
}

/// What was committed.
pub(super) struct Done {
    pub(super) report: Report,
    /// Why the first dead letter is one, of lines.
    pub(super) reason: Option<String>,
    pub(super) lsn: u64,
}

/// Ingests a body until it is committed. A body that is cut off leaves nothing.
///
/// # Errors
/// Those of the job; 40001 if a large body lost a race for a table's definition.
pub(super) async fn ingest(
    instance: &Arc<Instance>,
    (registration, mut session): (Registration, Session),
    job: Job,
    source: String,
    (body, packing): (Body, Packing),
) -> Result<Done> {
    let held = Arc::clone(instance);
    // Decoding computes; clients and the log have threads of their own.
    let work = instance.query_threads.spawn(async move {
        let done = run(&held, &mut session, &job, &source, body, packing).await;
        session.end();
        drop(registration);
        done
    });
    work.await.map_err(|error| Error::internal(format!("ingestion panicked: {error}")))?
}

async fn run(
    instance: &Arc<Instance>,
    session: &mut Session,
    job: &Job,
    source: &str,
    body: Body,
    packing: Packing,
) -> Result<Done> {
    let cancel = session.handle.terminate.child_token();
    let mut kept = Some(vec![]);
    let mut done = first(session, job, source, (body, packing), &mut kept, &cancel).await;
    let (mut tries, mut turn) = (1, None);
    while let (Err(error), Some(bytes)) = (&done, &kept) {
        let lost = [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::DUPLICATE_TABLE].contains(error.code());
        if !lost || tries == TRIES_MAX {
            break;
        }
        tries += 1;
        if turn.is_none() {
            turn = Some(instance.evolution.lock().await);
        }
        session.rollback();
        done = again(session, job, source, bytes, &cancel).await;
    }
    done
}

async fn first(
    session: &mut Session,
    job: &Job,
    source: &str,
    (body, packing): (Body, Packing),
    kept: &mut Option<Vec<u8>>,
    cancel: &CancellationToken,
) -> Result<Done> {
    let mut running = Running::begin(session, job, source, cancel)?;
    let shown = CopyProgress::begin(&session.handle, running.relation(), "COPY FROM", "CALLBACK");
    let mut unpacker = Unpacker::new(packing)?;
    let mut keep = |bytes: &[u8]| {
        if let Some(all) = kept {
            all.extend_from_slice(bytes);
            if all.len() > RETRY_BYTES {
                *kept = None;
            }
        }
    };
    let mut stream = body.into_data_stream();
    while let Some(chunk) = stream.next().await {
        let chunk: Bytes = chunk
            .map_err(|error| Error::new(SqlState::BAD_COPY_FILE_FORMAT, format!("the body cannot be read: {error}")))?;
        if cancel.is_cancelled() {
            return Err(Error::new(SqlState::ADMIN_SHUTDOWN, "terminating connection due to administrator command"));
        }
        shown.progress().bytes.fetch_add(chunk.len() as u64, Relaxed);
        for piece in unpacker.pieces(&chunk) {
            let bytes = unpacker.unpack(piece)?;
            keep(&bytes);
            running.push(session, &bytes).await?;
        }
        shown.progress().rows.store(running.rows(), Relaxed);
    }
    let rest = unpacker.finish()?;
    keep(&rest);
    running.push(session, &rest).await?;
    running.commit(session).await
}

async fn again(
    session: &mut Session,
    job: &Job,
    source: &str,
    bytes: &[u8],
    cancel: &CancellationToken,
) -> Result<Done> {
    let mut running = Running::begin(session, job, source, cancel)?;
    running.push(session, bytes).await?;
    running.commit(session).await
}
