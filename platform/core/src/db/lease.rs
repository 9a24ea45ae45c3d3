//! Leases in PostgreSQL (`core.leases`) for what only one process may do at a time. A lease that was not renewed in
//! time falls to the next that asks; the term grows with every change of hands.

use std::time::Duration;

use uuid::Uuid;

use super::{Db, DbError, Login};

crate::row! {
    struct Held { term: i64 }
}

crate::queries! {
    fn take(name: &str, holder: Uuid, process: &str, seconds: f64) -> opt<Held> =
        "INSERT INTO core.leases AS l (name, holder, process, expires_at, term) \
         VALUES ($1, $2, $3, now() + $4::float8 * interval '1 second', 1) \
         ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, process = excluded.process, \
             expires_at = excluded.expires_at, term = l.term + (l.holder <> excluded.holder)::int \
         WHERE l.holder = excluded.holder OR l.expires_at < now() \
         RETURNING term";

    fn give_back(name: &str, holder: Uuid) -> exec =
        "UPDATE core.leases SET expires_at = now() WHERE name = $1 AND holder = $2";
}

/// The right to be the only one; asked for again before it runs out.
pub struct Lease {
    db: Db,
    login: Login,
    name: &'static str,
    holder: Uuid,
    ttl: Duration,
}

impl Lease {
    pub fn new(db: &Db, login: Login, name: &'static str, ttl: Duration) -> Self {
        Self { db: db.clone(), login, name, holder: Uuid::now_v7(), ttl }
    }

    /// Takes or renews it; the term if it is ours now.
    pub async fn take(&self) -> Result<Option<i64>, DbError> {
        let process = format!("pid {}", std::process::id());
        let seconds = self.ttl.as_secs_f64();
        let held = take(&self.db.global(self.login), self.name, self.holder, &process, seconds).await?;
        Ok(held.map(|held| held.term))
    }

    /// Gives it back, so that another need not wait for its end.
    pub async fn give_back(&self) -> Result<(), DbError> {
        give_back(&self.db.global(self.login), self.name, self.holder).await?;
        Ok(())
    }

    pub fn ttl(&self) -> Duration {
        self.ttl
    }
}
