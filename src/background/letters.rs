//! Old dead letters, where the server has a retention for them.

use std::sync::Arc;
use std::time::Duration;

use tidemill_catalog::record::Body;

use super::{Job, JobError, Progress};
use crate::clock::Timestamp;
use crate::instance::Instance;
use crate::session::Session;
use crate::statement::ingest;

/// How often at most: a sweep rewrites files of the table. A short retention is swept as often as it is long.
const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// How often at least a retention of almost nothing is swept.
const SWEEP_EVERY_MIN: Duration = Duration::from_millis(200);

/// Sweeps every database.
pub(super) struct Letters {
    instance: Arc<Instance>,
}

impl Letters {
    pub(super) fn new(instance: &Arc<Instance>) -> Self {
        Self { instance: Arc::clone(instance) }
    }
}

#[async_trait::async_trait]
impl Job for Letters {
    fn name(&self) -> &'static str {
        "letters"
    }

    fn next(&self, _: Progress) -> Duration {
        let retention = self.instance.config.dead_letter_retention;
        retention.map_or(SWEEP_EVERY, |retention| retention.clamp(SWEEP_EVERY_MIN, SWEEP_EVERY))
    }

    async fn tick(&mut self, now: Timestamp) -> Result<Progress, JobError> {
        let Some(retention) = self.instance.config.dead_letter_retention else { return Ok(Progress::Idle) };
        let before = now.saturating_sub(i64::try_from(retention.as_micros()).unwrap_or(i64::MAX));
        let catalog = Arc::clone(&self.instance.store.snapshot().catalog);
        for database in catalog.children(0).filter(|object| matches!(object.body, Body::Database {})) {
            let mut session = Session::internal(&self.instance, database.oid, database.owner)?;
            let expired = ingest::expire(&mut session, before).await;
            session.end();
            let expired = expired?;
            if expired > 0 {
                tracing::info!(database = database.name, expired, "deleted dead letters past their retention");
            }
        }
        Ok(Progress::Idle)
    }
}
