//! A request's body on its way into tables: read once, tried again where another writer changed a table meanwhile.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::body::Body;
use axum::http::HeaderMap;
use datafusion::error::DataFusionError;
use tidemill_catalog::Oid;
use tidemill_ingest::Precision;
use tokio::io::AsyncWriteExt;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Site;
use super::login::Guest;
use super::unpack::{Packing, Reader};
use crate::config::{ByteSize, Config};
use crate::error::{Refusal, SqlState};
use crate::instance::{CopyProgress, Instance};
use crate::session::Session;
use crate::statement::control::Name;
use crate::statement::ingest::receipts::{self, Claim, Receipt};
use crate::statement::ingest::{Format, Ingest, Lines, Report, is_lost_race};
use crate::statement::names;
use crate::{Error, Result};

/// Bodies up to this size are kept in memory, to be tried again.
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

impl Job {
    /// Its body has to be on disk before it can be read.
    fn needs_file(&self) -> bool {
        matches!(self, Self::Documents { format: Format::Parquet, .. })
    }
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
    table: Option<(String, Oid)>,
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
    async fn replay(&mut self, session: &Session, mut reader: Reader) -> Result<Done> {
        while let Some(bytes) = reader.next().await? {
            self.digest.update(&bytes);
        }
        let earlier = self.claim.earlier.as_ref().ok_or_else(|| Error::internal("there was no earlier request"))?;
        if earlier.digest != self.digest() {
            let message = format!("idempotency key \"{}\" was used with another body", self.claim.key);
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message).hint("Use a new key for new rows."));
        }
        let (report, reason) = (earlier.report.clone(), earlier.reason.clone());
        Ok(Done { report, reason, lsn: session.instance.store.snapshot().lsn, replayed: true })
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
    site: &Site,
    mut guest: Guest,
    job: Job,
    (source, key): (String, Option<String>),
    (body, packing): (Body, Packing),
) -> Result<Done> {
    let instance = Arc::clone(&site.instance);
    let stop = guest.session.handle.terminate.child_token();
    let reader = Reader::new(body, packing, instance.config.http_idle_timeout, stop.clone())?;
    // Decoding computes; clients and the log have threads of their own.
    let work = instance.threads.ingestion.clone().spawn(site.tasks.track_future(async move {
        let done = run(&instance, &mut guest.session, (&job, &source), key.as_deref(), reader, &stop).await;
        guest.session.end();
        done
    }));
    work.await.map_err(|error| Error::internal(format!("ingestion panicked: {error}")))?
}

async fn run(
    instance: &Arc<Instance>,
    session: &mut Session,
    (job, source): (&Job, &str),
    key: Option<&str>,
    reader: Reader,
    cancel: &CancellationToken,
) -> Result<Done> {
    let mut keyed = match key {
        Some(key) => Some(Keyed::new(session, job, key).await?),
        None => None,
    };
    if let Some(keyed) = keyed.as_mut().filter(|keyed| keyed.claim.earlier.is_some()) {
        return keyed.replay(session, reader).await;
    }
    let mut kept = Kept::Bytes(vec![]);
    let mut done = if job.needs_file() {
        let digest = keyed.as_mut().map(|keyed| &mut keyed.digest);
        kept = Kept::File(Upload::of(reader, &instance.config, digest).await?);
        again(session, (job, source), &kept, keyed.as_mut(), cancel).await
    } else {
        first(session, (job, source), reader, keyed.as_mut(), &mut kept, cancel).await
    };
    let (mut tries, mut turn) = (1, None);
    while let Err(error) = &done {
        if !is_lost_race(error) || tries == TRIES_MAX || matches!(kept, Kept::Nothing) {
            break;
        }
        tries += 1;
        if turn.is_none() {
            turn = Some(instance.evolution.lock().await);
        }
        session.rollback();
        done = again(session, (job, source), &kept, keyed.as_mut(), cancel).await;
    }
    done
}

/// What is there of a body for another try.
enum Kept {
    /// All of it.
    Bytes(Vec<u8>),
    /// All of it.
    File(Upload),
    /// It was too large to keep.
    Nothing,
}

async fn first(
    session: &mut Session,
    (job, source): (&Job, &str),
    mut reader: Reader,
    mut keyed: Option<&mut Keyed>,
    kept: &mut Kept,
    cancel: &CancellationToken,
) -> Result<Done> {
    let mut running = Running::begin(session, job, source, cancel)?;
    let shown = CopyProgress::begin(&session.handle, running.relation(), "COPY FROM", "CALLBACK");
    while let Some(bytes) = reader.next().await? {
        if let Some(keyed) = &mut keyed {
            keyed.digest.update(&bytes);
        }
        if let Kept::Bytes(all) = kept {
            all.extend_from_slice(&bytes);
            if all.len() > RETRY_BYTES {
                *kept = Kept::Nothing;
            }
        }
        shown.progress().bytes.fetch_add(bytes.len() as u64, Relaxed);
        running.push(session, &bytes).await?;
        shown.progress().rows.store(running.rows(), Relaxed);
    }
    running.commit(session, keyed).await
}

async fn again(
    session: &mut Session,
    (job, source): (&Job, &str),
    kept: &Kept,
    keyed: Option<&mut Keyed>,
    cancel: &CancellationToken,
) -> Result<Done> {
    let mut running = Running::begin(session, job, source, cancel)?;
    match (kept, &mut running) {
        (Kept::Bytes(bytes), running) => running.push(session, bytes).await?,
        (Kept::File(upload), Running::Documents(ingest)) => ingest.take_file(&upload.path, cancel).await?,
        _ => return Err(Error::internal("there is nothing to try again")),
    }
    running.commit(session, keyed).await
}

/// A body on disk, in the directory that is emptied at every start; deleted when dropped.
struct Upload {
    path: PathBuf,
}

impl Upload {
    /// Writes the rest of a body, and adds it to the digest.
    ///
    /// # Errors
    /// 413 for more than `config.upload_bytes_max`, 53100, 58030, and those of [`Reader::next`].
    async fn of(mut reader: Reader, config: &Config, mut digest: Option<&mut blake3::Hasher>) -> Result<Self> {
        let path = config.data_dir.join("tmp").join(format!("upload-{}", Uuid::now_v7()));
        let failed = |error: std::io::Error| Error::from(DataFusionError::IoError(error));
        let mut file = tokio::fs::File::create_new(&path).await.map_err(failed)?;
        let upload = Self { path };
        let mut bytes_max = config.upload_bytes_max;
        while let Some(bytes) = reader.next().await? {
            bytes_max = bytes_max.checked_sub(bytes.len() as u64).ok_or_else(|| {
                let limit = ByteSize::new(config.upload_bytes_max);
                Error::refused(Refusal::TooLarge, format!("the body has more than {limit}"))
                    .hint("Send it in parts, as an Arrow stream, or start the server with a larger --max-upload.")
            })?;
            if let Some(digest) = &mut digest {
                digest.update(&bytes);
            }
            file.write_all(&bytes).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)?;
        Ok(upload)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "could not delete an upload");
        }
    }
}
