//! An application with users in it. The sealer is the enclave's port over the house's own cryptography: a service does
//! not depend on another one, not even in tests.

#![expect(clippy::expect_used, reason = "an answer of another form fails the test that asked for it")]

use std::sync::Arc;

use async_trait::async_trait;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nsl_auth::{Algorithm, Auth, JwtConfig, Sections, bootstrap, service};
use nsl_core::ApiError;
use nsl_core::config::Secret;
use nsl_core::context::Base;
use nsl_core::ids::TenantId;
use nsl_core::ports::{Ports, SealedSecret, SecretSealer};
use nsl_crypto::aad::Aad;
use nsl_crypto::envelope;
use nsl_crypto::key::Key256;
use nsl_testkit::{Composition, Response, TestApp, TestDb};
use serde_json::{Value, json};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::alarms::Alarms;

pub(crate) const ADMIN: &str = "Admin";
pub(crate) const PASSWORD: &str = "a long password of the tests";
pub(crate) const SECRET: &str = "q7RkV2nLx0Zt5WmBc9Ye3HsJd8UfGa1P";

/// Wraps under one key.
pub(crate) struct Root(Key256);

impl Root {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Key256::generate()))
    }
}

#[async_trait]
impl SecretSealer for Root {
    async fn seal(&self, purpose: &'static str, name: &str, secret: &[u8]) -> Result<SealedSecret, ApiError> {
        let bytes =
            envelope::seal(&self.0.derive(&[purpose.as_bytes()]), secret, &Aad::new(purpose).text(name));
        Ok(SealedSecret { bytes, root_key_id: self.0.id().to_vec() })
    }

    async fn open(
        &self,
        purpose: &'static str,
        name: &str,
        sealed: &SealedSecret,
    ) -> Result<Zeroizing<Vec<u8>>, ApiError> {
        let key = self.0.derive(&[purpose.as_bytes()]);
        let opened = envelope::open(&key, &sealed.bytes, &Aad::new(purpose).text(name));
        opened.map(|secret| Zeroizing::new(secret.to_vec())).map_err(ApiError::internal)
    }
}

pub(crate) fn config(algorithm: Algorithm) -> JwtConfig {
    JwtConfig { algorithm, secret_key: Some(Secret::new(SECRET.to_owned())), ..JwtConfig::default() }
}

/// An application on a database of its own, with an administrator in the tenant `default`.
pub(crate) struct World {
    pub(crate) app: TestApp,
    pub(crate) root: Arc<Root>,
    pub(crate) db: TestDb,
}

impl World {
    pub(crate) async fn new() -> anyhow::Result<Self> {
        Self::with(config(Algorithm::EdDSA)).await
    }

    pub(crate) async fn with(config: JwtConfig) -> anyhow::Result<Self> {
        Self::with_sections(Sections { jwt: config, ..Sections::default() }).await
    }

    pub(crate) async fn with_sections(config: Sections) -> anyhow::Result<Self> {
        let (db, root) = (TestDb::new().await?, Root::new());
        let base = db.base();
        assert!(bootstrap(&base, ADMIN, &Secret::new(PASSWORD.to_owned())).await?);
        let app = start_with(base, config, &root).await?;
        Ok(Self { app, root, db })
    }

    pub(crate) async fn login(&self, username: &str, password: &str) -> Response {
        let body = json!({"username": username, "password": password});
        self.app.post("/api/v1/auth/login").json(&body).send().await
    }

    /// The tokens of a login that works.
    pub(crate) async fn tokens(&self, username: &str) -> Tokens {
        Tokens::of(&self.login(username, PASSWORD).await.expect(StatusCode::OK))
    }

    pub(crate) async fn refresh(&self, token: &str) -> Response {
        self.app.post("/api/v1/auth/refresh").json(&json!({"refreshToken": token})).send().await
    }

    pub(crate) async fn me(&self, token: &str) -> Response {
        self.app.get("/api/v1/auth/me").bearer(token).send().await
    }

    pub(crate) async fn create(&self, token: &str, user: &Value) -> Response {
        self.app.post("/api/v1/auth/users").bearer(token).json(user).send().await
    }

    /// Makes a user with these roles in the tenant `default`.
    pub(crate) async fn add(&self, username: &str, roles: &[&str]) -> Uuid {
        let admin = self.tokens(ADMIN).await;
        let user = json!({"username": username, "password": PASSWORD, "roles": roles});
        id(&self.create(&admin.access, &user).await.expect(StatusCode::CREATED).json())
    }

    /// The tokens of a login to a tenant, by its name.
    pub(crate) async fn tokens_in(&self, username: &str, tenant: &str) -> Tokens {
        let body = json!({"username": username, "password": PASSWORD, "tenant": tenant});
        Tokens::of(&self.app.post("/api/v1/auth/login").json(&body).send().await.expect(StatusCode::OK))
    }

    /// Makes a tenant with a new user for its administrator.
    pub(crate) async fn tenant(&self, name: &str, administrator: &str) -> Uuid {
        let operator = self.tokens(ADMIN).await.access;
        let body = json!({"name": name, "administrator": {"username": administrator, "password": PASSWORD}});
        let made = self.app.post("/api/v1/core/tenants").bearer(&operator).json(&body).send().await;
        id(&made.expect(StatusCode::CREATED).json())
    }

    /// Makes a user a member of another tenant, as an administrator of it.
    pub(crate) async fn join(&self, user: Uuid, tenant: TenantId) -> anyhow::Result<()> {
        let owner = self.db.client("neo_user").await?;
        owner
            .execute("INSERT INTO auth.memberships (tenant_id, user_id) VALUES ($1, $2)", &[&tenant, &user])
            .await?;
        owner
            .execute(
                "INSERT INTO auth.user_roles (tenant_id, user_id, role_id) \
                 SELECT $1, $2, id FROM auth.roles WHERE tenant_id IS NULL AND name = 'Administrator'",
                &[&tenant, &user],
            )
            .await?;
        Ok(())
    }
}

/// The application over a base, as a process of its own would have it.
pub(crate) async fn start(base: Base, jwt: JwtConfig, root: &Arc<Root>) -> anyhow::Result<TestApp> {
    start_with(base, Sections { jwt, ..Sections::default() }, root).await
}

pub(crate) async fn start_with(base: Base, config: Sections, root: &Arc<Root>) -> anyhow::Result<TestApp> {
    let sealer = Arc::clone(root) as Arc<dyn SecretSealer>;
    TestApp::new(base, async |base| {
        let Auth { service, authenticator } = service(base, config, sealer, Arc::new(Alarms)).await?;
        Ok(Composition { services: vec![service], ports: Ports { authenticator }, checks: Vec::new() })
    })
    .await
}

/// What a login answered.
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: String,
}

impl Tokens {
    pub(crate) fn of(response: &Response) -> Self {
        let body = response.json();
        let text = |name: &str| body[name].as_str().expect("a token").to_owned();
        Self { access: text("accessToken"), refresh: text("refreshToken") }
    }
}

pub(crate) fn id(body: &Value) -> Uuid {
    body["id"].as_str().expect("an id").parse().expect("a UUID")
}

/// The stable code of a refusal, with its status.
pub(crate) fn refusal(response: &Response) -> (u16, String) {
    (response.status.as_u16(), response.json()["code"].as_str().expect("a code").to_owned())
}

/// What an access token says, without verifying it.
pub(crate) fn claims(token: &str) -> Value {
    let body = token.split('.').nth(1).expect("three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).expect("base64url")).expect("JSON")
}
