//! Who may call what: every route of the OpenAPI document, asked for as every built-in role, against the committed table
//! docs/permissions.md. `NSL_UPDATE=1` writes the table anew; its difference is then what a review looks at.

#![expect(clippy::unwrap_used, reason = "what these functions unwrap is a failure of their test")]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use axum::http::{Method, StatusCode};
use nsl_auth::{JwtConfig, Sections, bootstrap};
use nsl_core::config::{Secret, fresh};
use nsl_core::ports::Ports;
use nsl_sgx::{RootRing, SgxConfig};
use nsl_testkit::{Composition, Response, TestApp, TestDb};
use serde_json::{Value, json};
use uuid::Uuid;

const ROLES: [&str; 5] = ["Administrator", "User", "Developer", "Auditor", "Operator"];
const PASSWORD: &str = "Wp4xKq9-Lt2vRz7-Hn5bYc8";
const HEAD: &str = "\
# Permissions by route

Written by `NSL_UPDATE=1 cargo test -p nsl --test permissions`, which asks for every route as every built-in role. A role of
a tenant's own has the permissions it was given; `*` is all of them. What a permission does not say, such as that a session
or a user has to be one's own or of one's tenant, stands with the route.

";

/// Every service of this build over its real router, with a user for each built-in role.
struct World {
    app: TestApp,
    /// The latest token of each user: some routes end it.
    tokens: HashMap<&'static str, String>,
    _test: TestDb,
}

impl World {
    async fn new() -> Self {
        let test = TestDb::new().await.unwrap();
        let base = test.base();
        assert!(bootstrap(&base, ROLES[0], &Secret::new(PASSWORD.to_owned())).await.unwrap());
        let app = TestApp::new(base, async |base| {
            let mut sgx = SgxConfig::default();
            sgx.database.encryption_key = Some(fresh()?);
            let root = Arc::new(RootRing::open(base, &sgx).await?);
            let jwt = JwtConfig { secret_key: Some(fresh()?), ..JwtConfig::default() };
            let sections = Sections { jwt, ..Sections::default() };
            let security = nsl_monitoring::security_events();
            let log = nsl_eventsourcing::event_log(&base.db, nsl_core::db::Login::Enclave);
            let auth =
                nsl_auth::service(base, sections, Arc::clone(&root) as _, Arc::clone(&security)).await?;
            let sgx = nsl_sgx::service(base, sgx, root, security, log)?;
            Ok(Composition {
                services: vec![
                    auth.service,
                    sgx,
                    nsl_monitoring::service(base),
                    nsl_eventsourcing::service(base),
                ],
                ports: Ports { authenticator: auth.authenticator },
                checks: Vec::new(),
            })
        })
        .await
        .unwrap();
        let mut world = Self { app, tokens: HashMap::new(), _test: test };
        world.log_in(ROLES[0]).await;
        for role in &ROLES[1..] {
            let body = json!({"username": role, "password": PASSWORD, "roles": [role]});
            let request = world.app.post("/api/v1/auth/users").bearer(&world.tokens[ROLES[0]]);
            request.json(&body).send().await.expect(StatusCode::CREATED);
            world.log_in(role).await;
        }
        world
    }

    async fn log_in(&mut self, role: &'static str) {
        let body = json!({"username": role, "password": PASSWORD});
        let response = self.app.post("/api/v1/auth/login").json(&body).send().await.expect(StatusCode::OK);
        self.tokens.insert(role, response.json()["accessToken"].as_str().unwrap().to_owned());
    }

    async fn send(&self, route: &Route, token: Option<&str>) -> Response {
        let request = self.app.request(route.method.clone(), &route.somewhere());
        let request = if let Some(token) = token { request.bearer(token) } else { request };
        let response = request.json(&json!({})).send().await;
        assert!(!response.status.is_server_error(), "{route:?}: {}", response.text());
        response
    }

    /// Whether a role gets past the permission; what comes of the request then is other tests' business.
    async fn may(&mut self, role: &'static str, route: &Route) -> bool {
        let mut response = self.send(route, Some(&self.tokens[role])).await;
        if response.status == StatusCode::UNAUTHORIZED {
            // A route before it ended the session.
            self.log_in(role).await;
            response = self.send(route, Some(&self.tokens[role])).await;
        }
        assert_ne!(response.status, StatusCode::UNAUTHORIZED, "{route:?} as {role}: {}", response.text());
        !is(&response, StatusCode::FORBIDDEN, "core.permission_missing")
    }
}

/// Whether an answer is this refusal. One to HEAD has no body, so its status decides.
fn is(response: &Response, status: StatusCode, code: &str) -> bool {
    response.status == status && (response.body.is_empty() || response.json()["code"] == code)
}

/// A route of the document.
#[derive(Debug)]
struct Route {
    method: Method,
    path: String,
    permission: Option<String>,
}

impl Route {
    fn all(document: &Value) -> Vec<Self> {
        let mut routes = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let Ok(method) = method.to_uppercase().parse::<Method>() else { continue };
                let bearer = &operation["security"][0]["bearer"];
                let permission = bearer.as_array().map(|names| {
                    assert_eq!(names.len(), 1, "{method} {path} names one permission");
                    names[0].as_str().unwrap().to_owned()
                });
                routes.push(Self { method, path: path.clone(), permission });
            }
        }
        routes.sort_by(|a, b| (&a.path, a.method.as_str()).cmp(&(&b.path, b.method.as_str())));
        routes
    }

    /// The path with an id that nothing has for each parameter.
    fn somewhere(&self) -> String {
        let mut path = String::new();
        for (place, part) in self.path.split(['{', '}']).enumerate() {
            path.push_str(if place % 2 == 0 { part.to_owned() } else { Uuid::now_v7().to_string() }.as_str());
        }
        path
    }
}

#[tokio::test]
async fn every_built_in_role_may_call_what_the_committed_table_says() {
    let mut world = World::new().await;
    let document = world.app.get("/api/openapi.json").send().await.expect(StatusCode::OK).json();
    let routes = Route::all(&document);
    assert!(routes.len() > 20 && routes.iter().any(|route| route.permission.is_none()));

    let mut table = HEAD.to_owned();
    writeln!(table, "| route | permission | anyone | {} |", ROLES.join(" | ")).unwrap();
    writeln!(table, "| --- | --- |{}", " --- |".repeat(1 + ROLES.len())).unwrap();
    let mark = |may: bool| if may { "yes" } else { "–" };
    for route in &routes {
        let anonymous = world.send(route, None).await;
        let is_open = !is(&anonymous, StatusCode::UNAUTHORIZED, "core.credential_missing");
        assert_eq!(is_open, route.permission.is_none(), "{route:?} says what it asks for");
        let permission = route.permission.as_deref().map_or("–".to_owned(), |name| format!("`{name}`"));
        let (method, path) = (&route.method, &route.path);
        write!(table, "| {method} `{path}` | {permission} | {} |", mark(is_open)).unwrap();
        for role in ROLES {
            // Nobody needs a token for what is open to all.
            let may = is_open || world.may(role, route).await;
            write!(table, " {} |", mark(may)).unwrap();
        }
        table.push('\n');
    }

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/permissions.md");
    if std::env::var_os("NSL_UPDATE").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == table,
        "docs/permissions.md is not what the routes do; if it is meant so, write it anew with NSL_UPDATE=1, and look at \
         the difference"
    );
}
