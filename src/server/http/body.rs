//! A request's body on its way into tables: read once, tried again where another writer changed a table meanwhile.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use futures::StreamExt;
use tidemill_ingest::Precision;
use tokio_util::sync::CancellationToken;

use super::unpack::{Packing, Unpacker};
use crate::error::SqlState;
use crate::instance::{Instance, Registration};
use crate::session::Session;
use crate::statement::control::Name;
use crate::statement::ingest::receipts::{self, Claim, Receipt};
use crate::statement::ingest::{Format, Ingest, Lines, Report, is_lost_race};
use crate::statement::names;
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

    async fn push(&mut self, session: &mut Session, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Documents(ingest) => ingest.push(bytes).await,
            Self::Lines(lines) => lines.push(session, bytes).await,
        }
    }

    async fn commit(self, session: &mut Session, key: Option<&mut Keyed>) -> Result<Done> {
        let (report, reason) = match self {
            Self::Documents(ingest) => (ingest.finish(session).await?, None),
            Self::Lines(lines) => lines.finish(session).await?,
        };
        match key {
            Some(key) => key.commit(session, &report, reason.as_deref()).await?,
            None => session.commit().await?,
        }
        Ok(Done { report, reason, lsn: session.instance.store.snapshot().lsn, replayed: false })
    }
}

/// A request with an idempotency key.
struct Keyed {
    claim: Claim,
    /// Of what a retry must send again: the job and the unpacked body.
    digest: blake3::Hasher,
    /// What the rows come from, and the table.
    source: &'static str,
    table: Option<(String, tidemill_catalog::Oid)>,
}

impl Keyed {
    /// Takes the key's turn.
    async fn new(session: &mut Session, job: &Job, key: &str) -> Result<Self> {
        let (source, table) = match job {
            Job::Documents { table, .. } => {
                let (object, _) = names::table(session, table)?;
                ("http", Some((object.name.clone(), object.oid)))
            }
            Job::Lines(_) => ("line protocol", None),
        };
        let about = table.as_ref().map_or(session.database, |(_, oid)| *oid);
        let claim = Claim::new(session, about, key).await?;
        let mut digest = blake3::Hasher::new();
        match job {
            Job::Documents { format, .. } => digest.update(format!("{format:?} ").as_bytes()),
            Job::Lines(precision) => digest.update(format!("{precision:?} ").as_bytes()),
        };
        Ok(Self { claim, digest, source, table })
    }

    fn digest(&self) -> String {
        self.digest.finalize().to_hex().to_string()
    }

    /// Commits the session's transaction together with the key's receipt.
    async fn commit(&mut self, session: &mut Session, report: &Report, reason: Option<&str>) -> Result<()> {
        let receipt = Receipt {
            source: self.source.to_owned(),
            source_oid: receipts::NO_SOURCE,
            key: self.claim.key.clone(),
            position: None,
            digest: self.digest(),
            table: self.table.clone(),
            report: receipts::report_value(report, reason),
        };
        let now = session.instance.clock.now();
        let mut changes = vec![];
        receipts::append(session, &[receipt], now, &mut changes)?;
        session.apply(changes)?;
        self.claim.begin_commit();
        let result = session.commit().await;
        match &result {
            Ok(()) => self.claim.committed(now),
            Err(_) => self.claim.failed(),
        }
        result
    }

    /// The answer of the earlier request, if the body is the same.
    fn replay(&self, session: &Session) -> Result<Option<Done>> {
        let Some(earlier) = &self.claim.earlier else { return Ok(None) };
        if earlier.digest != self.digest() {
            let message = format!("idempotency key \"{}\" was used with another body", self.claim.key);
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message).hint("Use a new key for new rows."));
        }
        let (report, reason) = (earlier.report.clone(), earlier.reason.clone());
        Ok(Some(Done { report, reason, lsn: session.instance.store.snapshot().lsn, replayed: true }))
    }
}

/// What was committed.
pub(super) struct Done {
    pub(super) report: Report,
    /// Why the first dead letter is one, of lines.
    pub(super) reason: Option<String>,
    pub(super) lsn: u64,
    /// An earlier request with the same key committed it.
    pub(super) replayed: bool,
}

/// The request's idempotency key.
///
/// # Errors
/// 22023 if it is no text.
pub(super) fn key(headers: &HeaderMap) -> Result<Option<String>> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().map_err(|_| {
        Error::new(SqlState::INVALID_PARAMETER_VALUE, "an idempotency key has visible ASCII characters only")
    })?;
    Ok(Some(text.trim().to_owned()))
}

/// Ingests a body until it is committed. A body that is cut off leaves nothing. With a key it is committed once.
///
/// # Errors
/// Those of the job; 40001 if a large body lost a race for a table's definition; those of [`Claim::new`].
pub(super) async fn ingest(
    instance: &Arc<Instance>,
    (registration, mut session): (Registration, Session),
    job: Job,
    (source, key): (String, Option<String>),
    (body, packing): (Body, Packing),
) -> Result<Done> {
    let held = Arc::clone(instance);
    // Decoding computes; clients and the log have threads of their own.
    let work = instance.query_threads.spawn(async move {
        let done = run(&held, &mut session, &job, &source, key.as_deref(), (body, packing)).await;
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
    key: Option<&str>,
    body: (Body, Packing),
) -> Result<Done> {
    let cancel = session.handle.terminate.child_token();
    let mut kept = Some(vec![]);
    let mut keyed = match key {
        Some(key) => Some(Keyed::new(session, job, key).await?),
        None => None,
    };
    let mut done = first(session, (job, source), body, keyed.as_mut(), &mut kept, &cancel).await;
    let (mut tries, mut turn) = (1, None);
    while let (Err(error), Some(bytes)) = (&done, &kept) {
        if !is_lost_race(error) || tries == TRIES_MAX {
            break;
        }
        tries += 1;
        if turn.is_none() {
            turn = Some(instance.evolution.lock().await);
        }
        session.rollback();
        done = again(session, (job, source), bytes, keyed.as_mut(), &cancel).await;
    }
    done
}

async fn first(
    session: &mut Session,
    (job, source): (&Job, &str),
    (body, packing): (Body, Packing),
    mut keyed: Option<&mut Keyed>,
    kept: &mut Option<Vec<u8>>,
    cancel: &CancellationToken,
) -> Result<Done> {
    // A body that was taken before is only compared.
    let is_known = keyed.as_ref().is_some_and(|keyed| keyed.claim.earlier.is_some());
    let mut running = if is_known { None } else { Some(Running::begin(session, job, source, cancel)?) };
    let mut unpacker = Unpacker::new(packing)?;
    let mut keep = |bytes: &[u8]| {
        if let Some(keyed) = &mut keyed {
            keyed.digest.update(bytes);
        }
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
        for piece in unpacker.pieces(&chunk) {
            let bytes = unpacker.unpack(piece)?;
            keep(&bytes);
            if let Some(running) = &mut running {
                running.push(session, &bytes).await?;
            }
        }
    }
    let rest = unpacker.finish()?;
    keep(&rest);
    match (running, keyed) {
        (Some(mut running), keyed) => {
            running.push(session, &rest).await?;
            running.commit(session, keyed).await
        }
        (None, Some(keyed)) => {
            keyed.replay(session)?.ok_or_else(|| Error::internal("an earlier request without an answer"))
        }
        (None, None) => Err(Error::internal("a request that does nothing")),
    }
}

async fn again(
    session: &mut Session,
    (job, source): (&Job, &str),
    bytes: &[u8],
    keyed: Option<&mut Keyed>,
    cancel: &CancellationToken,
) -> Result<Done> {
    let mut running = Running::begin(session, job, source, cancel)?;
    running.push(session, bytes).await?;
    running.commit(session, keyed).await
}
