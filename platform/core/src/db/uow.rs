//! One transaction or nothing: the change, its events and its audit rows.

use std::time::Duration;

use deadpool_postgres::Object;
use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;

use super::error::is_settled;
use super::pool::{SET_TENANTS, tenants_setting};
use super::record::{self, Audit, AuditRow, DomainEvent, NewEvent};
use super::sql::{Conn, Param};
use super::{Db, DbError, Login};
use crate::caller::Caller;
use crate::ids::TenantId;

/// What a transaction sees of others that commit meanwhile.
#[derive(Clone, Copy)]
pub(super) enum Isolation {
    /// Each statement what is committed when it starts.
    ReadCommitted,
    /// All statements what was committed when the first one started; a write meets a conflict if the row changed since.
    Snapshot,
}

impl Isolation {
    fn begin(self) -> &'static str {
        match self {
            Self::ReadCommitted => "BEGIN",
            Self::Snapshot => "BEGIN ISOLATION LEVEL REPEATABLE READ",
        }
    }
}

/// A transaction of one caller in the caller's tenant. Dropped without [`commit`](Self::commit), nothing happened.
pub struct UnitOfWork<'c> {
    db: Db,
    client: Option<Object>,
    caller: &'c Caller,
    events: Vec<NewEvent>,
    audits: Vec<AuditRow>,
}

impl<'c> UnitOfWork<'c> {
    pub(super) async fn begin(
        db: &Db,
        login: Login,
        caller: &'c Caller,
        tenants: &[TenantId],
        isolation: Isolation,
    ) -> Result<Self, DbError> {
        let client = db.client(login).await?;
        let set = client.prepare_cached(SET_TENANTS).await?;
        // Built before BEGIN goes out: if this future is dropped now, the open transaction is not handed on.
        let work =
            Self { db: db.clone(), client: Some(client), caller, events: Vec::new(), audits: Vec::new() };
        let tenants = tenants_setting(tenants);
        let params: [Param<'_>; 1] = [&tenants];
        let client = work.client()?;
        let (begun, set) = tokio::join!(client.batch_execute(isolation.begin()), client.query(&set, &params));
        begun?;
        set?;
        Ok(work)
    }

    fn client(&self) -> Result<&Object, DbError> {
        self.client.as_ref().ok_or_else(|| DbError::Unavailable("the transaction has ended".to_owned()))
    }

    /// Adds an event; it gets the next version of its stream at the commit.
    pub fn event<E: DomainEvent>(&mut self, stream: impl Into<String>, event: &E) -> Result<(), DbError> {
        let data = serde_json::to_value(event)
            .map_err(|error| DbError::Refused { state: "json".to_owned(), text: error.to_string() })?;
        self.events.push(NewEvent {
            stream: stream.into(),
            kind: E::TYPE,
            kind_version: E::TYPE_VERSION,
            data,
        });
        Ok(())
    }

    /// Adds an audit row.
    pub fn audit(&mut self, entry: Audit) {
        self.audits.push(AuditRow::new(self.caller, entry));
    }

    /// Writes the events and audit rows and commits all of it.
    pub async fn commit(mut self) -> Result<(), DbError> {
        let events = std::mem::take(&mut self.events);
        let audits = std::mem::take(&mut self.audits);
        let recorded = !(events.is_empty() && audits.is_empty());
        record::write_events(&self, self.caller, &events).await?;
        record::write_audits(&self, &audits).await?;
        let xid = self.current_xid().await?;
        let sent = Instant::now();
        match self.client()?.batch_execute("COMMIT").await {
            Ok(()) => {}
            Err(error) if is_settled(&error) => return Err(error.into()),
            Err(_) => {
                drop(self.client.take().map(Object::take));
                outcome(&self.db, xid, sent).await?;
            }
        }
        // Ended: the connection goes back to its pool.
        drop(self.client.take());
        if recorded {
            self.db.recorded().notify_one();
        }
        Ok(())
    }

    /// Ends the transaction without a change, keeping the connection.
    pub async fn rollback(mut self) -> Result<(), DbError> {
        self.client()?.batch_execute("ROLLBACK").await?;
        drop(self.client.take());
        Ok(())
    }

    async fn current_xid(&self) -> Result<Option<String>, DbError> {
        let rows = self.query("SELECT pg_catalog.pg_current_xact_id_if_assigned()::text", &[]).await?;
        Ok(rows.first().map(|row| row.try_get(0)).transpose()?.flatten())
    }
}

/// What became of a transaction whose COMMIT, sent at `sent`, was not answered: `Ok` if it took effect, else the error to
/// tell.
pub(super) async fn outcome(db: &Db, xid: Option<String>, sent: Instant) -> Result<(), DbError> {
    // Without an id there was nothing to commit.
    let Some(xid) = xid else { return Ok(()) };
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut pause = tokio::time::interval(Duration::from_millis(100));
    while Instant::now() < deadline {
        pause.tick().await;
        for login in Login::ALL.into_iter().filter(|login| db.has(*login)) {
            match ask(db, login, &xid, sent).await {
                Ok(Fate::Committed) => return Ok(()),
                Ok(Fate::RolledBack) => {
                    return Err(DbError::Unavailable(
                        "the connection broke and the change was rolled back".to_owned(),
                    ));
                }
                Ok(Fate::Unknown) => return Err(DbError::OutcomeUnknown),
                Ok(Fate::Open) => break,
                Err(_) => {}
            }
        }
    }
    Err(DbError::OutcomeUnknown)
}

/// What the server knows of a transaction.
enum Fate {
    Committed,
    RolledBack,
    Open,
    Unknown,
}

/// After a crash the id of a transaction that was never flushed is given out again, and the status is then somebody
/// else's. Recovery from a crash discards the server's statistics, so a reset since the COMMIT means that `committed`
/// proves nothing.
const ASK: &str = "SELECT pg_catalog.pg_xact_status($1::text::xid8), \
     coalesce((SELECT a.stats_reset FROM pg_catalog.pg_stat_archiver a) > now() - $2::float8 * interval '1 second', false)";

async fn ask(db: &Db, login: Login, xid: &str, sent: Instant) -> Result<Fate, DbError> {
    let since = sent.elapsed().as_secs_f64();
    let row = match db.client(login).await?.query_one(ASK, &[&xid, &since]).await {
        Ok(row) => row,
        // "transaction ID … is in the future": it was lost in a crash.
        Err(error) if error.code() == Some(&SqlState::INVALID_PARAMETER_VALUE) => {
            return Ok(Fate::RolledBack);
        }
        Err(error) => return Err(error.into()),
    };
    Ok(match (row.try_get::<_, Option<&str>>(0)?, row.try_get::<_, bool>(1)?) {
        (Some("committed"), false) => Fate::Committed,
        (Some("aborted"), _) => Fate::RolledBack,
        (Some("in progress"), _) => Fate::Open,
        _ => Fate::Unknown,
    })
}

impl Drop for UnitOfWork<'_> {
    /// A transaction that is still open must not go back to the pool: its connection is closed.
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            drop(Object::take(client));
        }
    }
}

impl Conn for UnitOfWork<'_> {
    async fn query(&self, sql: &'static str, params: &[Param<'_>]) -> Result<Vec<Row>, DbError> {
        let client = self.client()?;
        let statement = client.prepare_cached(sql).await?;
        Ok(client.query(&statement, params).await?)
    }

    async fn execute(&self, sql: &'static str, params: &[Param<'_>]) -> Result<u64, DbError> {
        let client = self.client()?;
        let statement = client.prepare_cached(sql).await?;
        Ok(client.execute(&statement, params).await?)
    }
}
