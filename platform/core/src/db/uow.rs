//! One transaction or nothing: the change, its events and its audit rows.

use deadpool_postgres::Object;
use tokio_postgres::Row;

use super::error::is_settled;
use super::pool::{SET_TENANTS, tenants_setting};
use super::record::{self, Audit, AuditRow, DomainEvent, NewEvent};
use super::sql::{Conn, Param};
use super::{Db, DbError, Login};
use crate::caller::Caller;

/// A transaction of one caller in the caller's tenant. Dropped without [`commit`](Self::commit), nothing happened.
pub struct UnitOfWork<'c> {
    db: Db,
    client: Option<Object>,
    caller: &'c Caller,
    events: Vec<NewEvent>,
    audits: Vec<AuditRow>,
}

impl<'c> UnitOfWork<'c> {
    pub(super) async fn begin(db: &Db, login: Login, caller: &'c Caller) -> Result<Self, DbError> {
        let client = db.client(login).await?;
        let set = client.prepare_cached(SET_TENANTS).await?;
        // Built before BEGIN goes out: if this future is dropped now, the open transaction is not handed on.
        let work =
            Self { db: db.clone(), client: Some(client), caller, events: Vec::new(), audits: Vec::new() };
        let tenants = tenants_setting(&[caller.tenant()]);
        let params: [Param<'_>; 1] = [&tenants];
        let client = work.client()?;
        let (begun, set) = tokio::join!(client.batch_execute("BEGIN"), client.query(&set, &params));
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
        match self.client()?.batch_execute("COMMIT").await {
            Ok(()) => {}
            Err(error) if is_settled(&error) => return Err(error.into()),
            Err(_) => {
                drop(self.client.take().map(Object::take));
                outcome(&self.db, xid).await?;
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

/// What became of a transaction whose COMMIT was not answered: `Ok` if it took effect, else the error to tell.
pub(super) async fn outcome(db: &Db, xid: Option<String>) -> Result<(), DbError> {
    // Without an id there was nothing to commit.
    let Some(xid) = xid else { return Ok(()) };
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(5);
    let mut pause = tokio::time::interval(std::time::Duration::from_millis(100));
    while tokio::time::Instant::now() < deadline {
        pause.tick().await;
        for login in Login::ALL.into_iter().filter(|login| db.has(*login)) {
            match ask(db, login, &xid).await {
                Ok(Some(status)) if status == "committed" => return Ok(()),
                Ok(Some(status)) if status == "aborted" => {
                    return Err(DbError::Unavailable(
                        "the connection broke and the change was rolled back".to_owned(),
                    ));
                }
                Ok(Some(_)) => break,
                Ok(None) => return Err(DbError::OutcomeUnknown),
                Err(_) => {}
            }
        }
    }
    Err(DbError::OutcomeUnknown)
}

async fn ask(db: &Db, login: Login, xid: &str) -> Result<Option<String>, DbError> {
    let rows =
        db.client(login).await?.query("SELECT pg_catalog.pg_xact_status($1::text::xid8)", &[&xid]).await?;
    Ok(rows.first().map(|row| row.try_get(0)).transpose()?.flatten())
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
