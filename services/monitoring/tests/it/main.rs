//! The service through the real router on a real database.

#![expect(clippy::unwrap_used, reason = "what these functions unwrap is a failure of their test")]

/// GET /monitoring/audit-logs.
mod audit_logs;
/// GET /health/monitoring, and the loop that it watches over.
mod health;
/// GET /health/postgresql: the check is core's; it stands here since a check needs an application to be asked in.
mod postgresql;
/// The port that records security events, and GET /monitoring/security-events.
mod security_events;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nsl_core::ApiError;
use nsl_core::caller::{Origin, Principal};
use nsl_core::context::Base;
use nsl_core::db::health::PostgresHealth;
use nsl_core::db::sql;
use nsl_core::ids::{SessionId, TenantId, UserId};
use nsl_core::ports::{Authenticator, Ports};
use nsl_testkit::{Composition, TestApp, TestDb};

/// Long enough for a busy machine; nothing waits this long when all is well.
const PATIENCE: Duration = Duration::from_secs(30);

/// The credentials of a test, each with the principal that it stands for.
#[derive(Clone, Default)]
struct Credentials(BTreeMap<String, Principal>);

impl Credentials {
    fn with(mut self, token: &str, tenant: TenantId, permissions: &[&str]) -> Self {
        self.0.insert(token.to_owned(), principal(tenant, permissions));
        self
    }
}

#[async_trait]
impl Authenticator for Credentials {
    async fn authenticate(&self, bearer: &str) -> Result<Principal, ApiError> {
        self.0
            .get(bearer)
            .cloned()
            .ok_or_else(|| ApiError::unauthorized("test.unknown", "Not a known credential."))
    }
}

fn principal(tenant: TenantId, permissions: &[&str]) -> Principal {
    Principal {
        tenant,
        user: Some(UserId::generate()),
        session: Some(SessionId::generate()),
        name: "user:alice".to_owned(),
        permissions: permissions.iter().copied().collect(),
        roles: Vec::new(),
    }
}

fn origin() -> Origin {
    Origin {
        request_id: Some("request-1".to_owned()),
        trace_id: None,
        ip_address: Some("192.0.2.7".to_owned()),
        user_agent: Some("test".to_owned()),
    }
}

async fn app(base: Base, credentials: Credentials) -> TestApp {
    TestApp::new(base, async |base| {
        Ok(Composition {
            services: vec![nsl_monitoring::service(base)],
            ports: Ports { authenticator: Arc::new(credentials) },
            checks: vec![("postgresql", Arc::new(PostgresHealth::new(&base.db)))],
        })
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn every_statement_fits_the_database() {
    let test = TestDb::new().await.unwrap();
    let owner = test.client("neo_user").await.unwrap();
    assert_eq!(sql::check(&owner, nsl_monitoring::store::ALL).await, [""; 0]);
    assert_eq!(sql::check(&owner, nsl_core::db::health::ALL).await, [""; 0]);
}

/// A bound that the planner does not trust under row-level security reads every newer row to find an old page.
#[tokio::test]
async fn an_old_page_is_found_by_the_index() {
    let test = TestDb::new().await.unwrap();
    let api = test.client("neo_api").await.unwrap();
    api.batch_execute(
        "SET nsl.tenants = '{}'; SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; \
         SET enable_bitmapscan = off; SET enable_sort = off",
    )
    .await
    .unwrap();
    let arguments =
        "'00000000-0000-7000-8000-000000000001', 'ffffffff-ffff-ffff-ffff-ffffffffffff', now(), now()";
    for (name, filters) in [("audit_logs", "NULL, NULL, NULL, NULL"), ("security_events", "NULL, NULL")] {
        let statement = nsl_monitoring::store::ALL
            .iter()
            .find(|statement| statement.name.ends_with(&format!("::{name}")))
            .unwrap();
        api.batch_execute(&format!("PREPARE {name} AS {}", statement.sql)).await.unwrap();
        let explain = format!("EXPLAIN EXECUTE {name} ({arguments}, {filters}, 100)");
        let plan: Vec<String> = api
            .simple_query(&explain)
            .await
            .unwrap()
            .iter()
            .filter_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            })
            .collect();
        let conditions: Vec<&String> = plan.iter().filter(|line| line.contains("Index Cond:")).collect();
        assert!(!conditions.is_empty(), "{plan:#?}");
        assert!(conditions.iter().all(|line| line.contains("(id <") && line.contains("(id >=")), "{plan:#?}");
    }
}
