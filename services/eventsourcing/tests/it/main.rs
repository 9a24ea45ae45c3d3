//! The service through the real router on a real database.

#![expect(clippy::unwrap_used, reason = "what these functions unwrap is a failure of their test")]

/// GET /health/eventsourcing, and the loop that it watches over.
mod health;
/// Streams as other services read them.
mod log;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nsl_core::ApiError;
use nsl_core::caller::Principal;
use nsl_core::context::Base;
use nsl_core::db::sql;
use nsl_core::ports::{Authenticator, Ports};
use nsl_testkit::{Composition, TestApp, TestDb};

/// Long enough for a busy machine; nothing waits this long when all is well.
const PATIENCE: Duration = Duration::from_secs(30);

/// Knows nobody: the service has no route that asks.
struct Nobody;

#[async_trait]
impl Authenticator for Nobody {
    async fn authenticate(&self, _bearer: &str) -> Result<Principal, ApiError> {
        Err(ApiError::unauthorized("test.unknown", "Not a known credential."))
    }
}

async fn app(base: Base) -> TestApp {
    TestApp::new(base, async |base| {
        Ok(Composition {
            services: vec![nsl_eventsourcing::service(base)],
            ports: Ports { authenticator: Arc::new(Nobody) },
            checks: Vec::new(),
        })
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn every_statement_fits_the_database() {
    let test = TestDb::new().await.unwrap();
    let owner = test.client("neo_user").await.unwrap();
    assert_eq!(sql::check(&owner, nsl_eventsourcing::store::ALL).await, [""; 0]);
}
