//! What `/health/eventsourcing` looks at: does the sequencer keep up, are the next partitions there.

use async_trait::async_trait;
use nsl_core::db::health::lease_is_held;
use nsl_core::db::{Db, DbError, Login, chain};
use nsl_core::health::{Finding, HealthCheck, Status};
use serde_json::json;

use crate::domain::{self, Backlog, MANY};
use crate::store;

pub(crate) struct LogHealth {
    db: Db,
}

impl LogHealth {
    pub(crate) fn new(db: &Db) -> Self {
        Self { db: db.clone() }
    }

    async fn look(&self) -> Result<Finding, DbError> {
        let (sequencer, complaint) =
            if self.db.has(Login::Jobs) { self.backlog().await? } else { self.leader().await? };
        let login = if self.db.has(Login::Api) { Login::Api } else { Login::Jobs };
        let missing: Vec<String> = store::missing_partitions(&self.db.global(login))
            .await?
            .into_iter()
            .map(|row| row.month)
            .collect();
        let complaints: Vec<String> =
            complaint.into_iter().chain(domain::missing_partitions(&missing)).collect();
        let status = if complaints.is_empty() { Status::Healthy } else { Status::Degraded };
        let data = json!({ "sequencer": sequencer, "missingPartitions": missing });
        Ok(Finding { status, detail: (!complaints.is_empty()).then(|| complaints.join("; ")), data })
    }

    async fn backlog(&self) -> Result<(serde_json::Value, Option<String>), DbError> {
        let row = store::waiting(&self.db.global(Login::Jobs), MANY + 1).await?;
        // A row that was written since this transaction began would be younger than nothing.
        let oldest_seconds = row.oldest_seconds.unwrap_or_default().max(0.0);
        let backlog = Backlog { adopted: row.adopted, waiting: row.waiting, oldest_seconds };
        Ok((json!({ "waiting": row.waiting, "oldestSeconds": oldest_seconds }), backlog.complaint()))
    }

    /// neo_api sees its callers' tenants only, so it cannot count; it can see whether anyone is at work.
    async fn leader(&self) -> Result<(serde_json::Value, Option<String>), DbError> {
        let held = lease_is_held(&self.db, Login::Api, "core.sequencer").await?;
        let complaint = "no process leads the sequencer: run one with the role jobs";
        Ok((json!({ "led": held }), (!held).then(|| complaint.to_owned())))
    }
}

#[async_trait]
impl HealthCheck for LogHealth {
    async fn check(&self) -> Finding {
        match self.look().await {
            Ok(finding) => finding,
            Err(DbError::Unavailable(_)) => {
                Finding::unhealthy("the database is not reachable; /health/postgresql says more")
            }
            Err(error) => {
                tracing::warn!(error = chain(&error), "the health check of eventsourcing was refused");
                Finding::unhealthy("the database refused to answer; the log says why")
            }
        }
    }
}
