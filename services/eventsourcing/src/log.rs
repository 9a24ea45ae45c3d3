//! Streams as other services read them, in a process that may hold no more than their login.

use std::sync::Arc;

use async_trait::async_trait;
use nsl_core::db::{Db, DbError, Login};
use nsl_core::ids::TenantId;
use nsl_core::ports::{EventLog, LoggedEvent};
use serde_json::Value;

use crate::store;

struct Log {
    db: Db,
    login: Login,
}

/// The log, read with a login that sees events.
pub fn event_log(db: &Db, login: Login) -> Arc<dyn EventLog> {
    Arc::new(Log { db: db.clone(), login })
}

/// Above every name that begins with a prefix, in the order of bytes.
fn end_of(prefix: &str) -> String {
    format!("{prefix}\u{10ffff}")
}

impl From<store::Event> for LoggedEvent {
    fn from(event: store::Event) -> Self {
        Self { stream: event.stream, version: event.version, kind: event.kind, data: event.data }
    }
}

#[async_trait]
impl EventLog for Log {
    async fn heads(
        &self,
        tenant: TenantId,
        prefix: &str,
        after: &str,
        limit: i64,
    ) -> Result<Vec<LoggedEvent>, DbError> {
        let read = self.db.read(self.login, tenant);
        let events = store::heads(&read, tenant, prefix, &end_of(prefix), after, limit).await?;
        Ok(events.into_iter().map(Into::into).collect())
    }

    async fn heads_of(&self, tenant: TenantId, streams: &[String]) -> Result<Vec<LoggedEvent>, DbError> {
        let events = store::heads_of(&self.db.read(self.login, tenant), tenant, streams).await?;
        Ok(events.into_iter().map(Into::into).collect())
    }

    async fn event(
        &self,
        tenant: TenantId,
        stream: &str,
        version: i64,
    ) -> Result<Option<LoggedEvent>, DbError> {
        let event = store::event(&self.db.read(self.login, tenant), tenant, stream, version).await?;
        Ok(event.map(Into::into))
    }

    async fn containing(
        &self,
        tenant: TenantId,
        prefix: &str,
        data: &Value,
    ) -> Result<Option<LoggedEvent>, DbError> {
        let read = self.db.read(self.login, tenant);
        let event = store::containing(&read, tenant, prefix, &end_of(prefix), data).await?;
        Ok(event.map(Into::into))
    }
}
