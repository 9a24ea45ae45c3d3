//! What a service hands to the composition. `nsl` and the test kit put services together; no service knows another.

use std::sync::Arc;

use utoipa_axum::router::OpenApiRouter;

use crate::context::Context;
use crate::health::HealthCheck;

/// One service of this process: its routes under `/api/v1/<name>` and its health.
pub struct Service {
    /// Folder = schema = URL prefix = metric prefix = process role.
    pub name: &'static str,
    pub router: OpenApiRouter<Context>,
    /// Routes at absolute paths, such as `/.well-known/jwks.json`.
    pub root: OpenApiRouter<Context>,
    pub health: Arc<dyn HealthCheck>,
}
