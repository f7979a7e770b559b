//! Old rows of tidemill.receipts: idempotency keys past their time, and what sources need no more.

use std::sync::Arc;
use std::time::Duration;

use tidemill_catalog::record::Body;

use super::{Job, JobError, Progress};
use crate::clock::Timestamp;
use crate::instance::Instance;
use crate::session::Session;
use crate::statement::ingest::receipts;

/// How often at most: each sweep rewrites files of the tables. A short retention is swept as often as it is long.
const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// How often at least a retention of almost nothing is swept.
const SWEEP_EVERY_MIN: Duration = Duration::from_millis(200);

/// Sweeps every database.
pub(super) struct Receipts {
    instance: Arc<Instance>,
}

impl Receipts {
    pub(super) fn new(instance: &Arc<Instance>) -> Self {
        Self { instance: Arc::clone(instance) }
    }
}

#[async_trait::async_trait]
impl Job for Receipts {
    fn name(&self) -> &'static str {
        "receipts"
    }

    fn next(&self, _: Progress) -> Duration {
        self.instance.config.idempotency_retention.clamp(SWEEP_EVERY_MIN, SWEEP_EVERY)
    }

    async fn tick(&mut self, _: Timestamp) -> Result<Progress, JobError> {
        let before = receipts::oldest(&self.instance);
        receipts::forget(&self.instance, before);
        let catalog = Arc::clone(&self.instance.store.snapshot().catalog);
        for database in catalog.children(0).filter(|object| matches!(object.body, Body::Database {})) {
            let mut session = Session::internal(&self.instance, database.oid, database.owner)?;
            let swept = receipts::sweep(&mut session, before).await;
            session.end();
            tracing::debug!(database = database.name, swept = swept?, "swept receipts");
        }
        Ok(Progress::Idle)
    }
}
