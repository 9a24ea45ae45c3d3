//! Every route, by the OpenAPI document: who gets in and who does not.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use nsl_client::{Client, PutOptions};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::served::{ADMIN, Remote, Served, http, token};

/// What anybody may ask (api.md), in the form of the document.
const ANONYMOUS: &[(&str, &str)] = &[
    ("GET", "/health"),
    ("GET", "/health/"),
    ("GET", "/metrics"),
    ("GET", "/.well-known/jwks.json"),
    ("POST", "/api/v1/auth/login"),
    ("POST", "/api/v1/auth/refresh"),
    ("POST", "/api/v1/auth/register"),
    ("POST", "/api/v1/auth/password/forgot"),
    ("POST", "/api/v1/auth/password/reset"),
    ("POST", "/api/v1/auth/email/verify"),
    ("POST", "/api/v1/auth/wallet/"),
    ("GET", "/api/v1/monitoring/audit/checkpoint"),
    ("GET", "/api/v1/monitoring/audit/tile/"),
    ("POST", "/api/v1/oracle/verify"),
];
const PASSWORD: &str = "Wp4xKq9-Lt2vRz7-Hn5bYc8";

/// A route of the document.
#[derive(Debug)]
struct Operation {
    method: Method,
    path: String,
    permission: Option<String>,
}

impl Operation {
    /// A name that ends in `/` stands for all below it.
    fn is_anonymous(&self) -> bool {
        ANONYMOUS.iter().any(|(method, path)| {
            *method == self.method.as_str()
                && (*path == self.path || (path.ends_with('/') && self.path.starts_with(path)))
        })
    }

    /// The path with a text for each parameter.
    fn at(&self, parameter: &str) -> String {
        let mut path = String::new();
        for (place, part) in self.path.split(['{', '}']).enumerate() {
            path.push_str(if place % 2 == 0 { part } else { parameter });
        }
        path
    }
}

/// The application and everything that it says it can do.
struct World {
    /// Before the folder that it runs in, since fields are dropped in order.
    served: Served,
    remote: Remote,
    http: reqwest::Client,
    admin: String,
    operations: Vec<Operation>,
}

impl World {
    async fn new() -> Self {
        let remote = Remote::new().await;
        let served = remote.serve().await;
        let http = http();
        let url = format!("{}/api/openapi.json", served.url);
        let document: Value = http.get(url).send().await.unwrap().json().await.unwrap();
        let admin = remote.token(&served.url).await;
        Self { remote, served, http, admin, operations: operations(&document) }
    }

    async fn send(&self, method: &Method, path: &str, token: Option<&str>, body: &str) -> Response {
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.served.url));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.header("Content-Type", "application/json").body(body.to_owned()).send().await.unwrap()
    }

    /// The protected routes, with the permission of each.
    fn protected(&self) -> impl Iterator<Item = (&Operation, &str)> {
        self.operations.iter().filter_map(|operation| Some((operation, operation.permission.as_deref()?)))
    }

    /// The token of a new user with exactly these permissions.
    async fn user(&self, name: &str, permissions: &[&str]) -> String {
        let owner = self.remote.test.client("neo_user").await.unwrap();
        let (role, tenant) = (Uuid::now_v7(), nsl_core::ids::TenantId::DEFAULT);
        owner
            .execute(
                "INSERT INTO auth.roles (id, tenant_id, name) VALUES ($1, $2, $3)",
                &[&role, &tenant, &name],
            )
            .await
            .unwrap();
        owner
            .execute(
                "INSERT INTO auth.role_permissions (role_id, tenant_id, permission) SELECT $1, $2, unnest($3::text[])",
                &[&role, &tenant, &permissions],
            )
            .await
            .unwrap();
        let body = json!({ "username": name, "password": PASSWORD, "roles": [name] }).to_string();
        let made = self.send(&Method::POST, "/api/v1/auth/users", Some(&self.admin), &body).await;
        assert_eq!(made.status(), 201, "{}", made.text().await.unwrap());
        token(&self.served.url, name, PASSWORD).await
    }
}

fn operations(document: &Value) -> Vec<Operation> {
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Ok(method) = method.to_uppercase().parse::<Method>() else { continue };
            if !operation.is_object() {
                continue;
            }
            let permission = operation["security"].as_array().map(|security| {
                let scopes = security[0]["bearer"].as_array().unwrap();
                assert_eq!((security.len(), scopes.len()), (1, 1), "{method} {path}: one permission");
                scopes[0].as_str().unwrap().to_owned()
            });
            operations.push(Operation { method, path: path.clone(), permission });
        }
    }
    assert!(operations.len() > 15, "{operations:?}");
    operations
}

/// The code of a refusal, which every answer but that to HEAD carries.
async fn code(response: Response) -> String {
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    response.json::<Value>().await.unwrap()["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_stranger_gets_401_whatever_else_is_wrong() {
    let world = World::new().await;
    for operation in &world.operations {
        assert_eq!(operation.is_anonymous(), operation.permission.is_none(), "{operation:?}");
    }
    for (operation, _) in world.protected() {
        let plain = operation.at("x");
        let wrong = format!("{}?limit=none&no-such-parameter=1", operation.at("%FF%00"));
        for path in [&plain, &wrong] {
            let answer = world.send(&operation.method, path, None, "{").await;
            assert_eq!(answer.status(), 401, "{operation:?}");
            assert!(answer.headers().contains_key("www-authenticate"), "{operation:?}");
            if operation.method != Method::HEAD {
                assert_eq!(code(answer).await, "core.credential_missing", "{operation:?}");
            }
        }
    }
    for operation in world.operations.iter().filter(|operation| operation.is_anonymous()) {
        let answer = world.send(&operation.method, &operation.at("sgx"), None, "{").await;
        assert!(!matches!(answer.status().as_u16(), 401 | 403), "{operation:?}: {}", answer.status());
    }
    for path in ["/docs/", "/api/openapi.json"] {
        assert_eq!(world.send(&Method::GET, path, None, "").await.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn the_declared_permission_is_the_one_that_is_asked_for() {
    let world = World::new().await;
    let all: BTreeSet<&str> = world.protected().map(|(_, permission)| permission).collect();
    assert!(all.contains("sgx:read") && all.contains("auth:users"), "{all:?}");
    let nobody = world.user("nobody", &[]).await;
    for (operation, _) in world.protected() {
        let answer = world.send(&operation.method, &operation.at("x"), Some(&nobody), "{}").await;
        assert_eq!(answer.status(), 403, "{operation:?}");
    }
    for permission in &all {
        let others: Vec<&str> = all.iter().copied().filter(|other| other != permission).collect();
        let name = permission.replace(':', "-");
        let only = world.user(&format!("only-{name}"), &[permission]).await;
        let but = world.user(&format!("all-but-{name}"), &others).await;
        let mut asked: Vec<_> = world.protected().filter(|(_, declared)| declared == permission).collect();
        // Last what ends the session that the others need.
        asked.sort_by_key(|(operation, _)| {
            operation.method == Method::DELETE && operation.path == "/api/v1/auth/sessions"
        });
        for (operation, _) in asked {
            // The identifiers are none: what is asked for is not there, or cannot be.
            let path = operation.at("00000000-0000-7000-8000-00000000ffff");
            let answer = world.send(&operation.method, &path, Some(&but), "{}").await;
            assert_eq!(answer.status(), 403, "all but {permission}: {operation:?}");
            let answer = world.send(&operation.method, &path, Some(&only), "{}").await;
            let status = answer.status().as_u16();
            assert!(!matches!(status, 401 | 403) && status < 500, "{permission}: {operation:?}: {status}");
        }
    }
}

/// Another key, another algorithm, none at all: nobody gets in with a token that was not given.
#[tokio::test]
async fn a_forged_token_is_401() {
    let world = World::new().await;
    let parts: Vec<&str> = world.admin.split('.').collect();
    let header: Header = jsonwebtoken::decode_header(&world.admin).unwrap();
    let claims = claims(&world.admin);
    let (head, body, signature) = (parts[0], parts[1], parts[2]);
    let flipped = format!("{}{}", if signature.starts_with('A') { "B" } else { "A" }, &signature[1..]);
    let secret = EncodingKey::from_secret(world.remote.jwt_secret.as_bytes());
    // Who knows the shared secret cannot mint tokens of the enclave's key.
    let shared = Header { alg: Algorithm::HS256, ..header };
    let none =
        URL_SAFE_NO_PAD.encode(json!({ "alg": "none", "typ": "at+jwt", "kid": shared.kid }).to_string());
    let mut more = claims.clone();
    more["scope"] = "* more".into();
    let other_body = URL_SAFE_NO_PAD.encode(more.to_string());
    for forged in [
        "nonsense".to_owned(),
        format!("{head}.{body}."),
        format!("{head}.{body}.{flipped}"),
        format!("{head}.{other_body}.{signature}"),
        format!("{none}.{body}."),
        encode(&shared, &claims, &secret).unwrap(),
    ] {
        for (operation, _) in world.protected() {
            let answer = world.send(&operation.method, &operation.at("x"), Some(&forged), "{}").await;
            assert_eq!(answer.status(), 401, "{operation:?} with {forged}");
        }
    }
    let me = world.send(&Method::GET, "/api/v1/auth/me", Some(&world.admin), "").await;
    assert_eq!(me.status(), 200, "the token itself is good");
}

fn claims(token: &str) -> Value {
    let body = token.split('.').nth(1).unwrap();
    let body = URL_SAFE_NO_PAD.decode(body).unwrap();
    serde_json::from_slice(&body).unwrap()
}

#[tokio::test]
async fn a_token_is_good_until_its_end_and_not_after_it() {
    let mut remote = Remote::new().await;
    remote.sandbox.set("Jwt__Algorithm", "HS256");
    let served = remote.serve().await;
    let given = remote.token(&served.url).await;
    let header = jsonwebtoken::decode_header(&given).unwrap();
    let secret = EncodingKey::from_secret(remote.jwt_secret.as_bytes());
    let mut claims = claims(&given);
    let until = |claims: &Value| encode(&header, claims, &secret).unwrap();
    let me = async |token: &str| Client::new(&served.url).unwrap().with_token(token).unwrap().me().await;
    // The same with another number only: so it is the time that is refused, and not the forging.
    claims["exp"] = (claims["exp"].as_i64().unwrap() - 1).into();
    me(&until(&claims)).await.unwrap();
    claims["exp"] = (jiff::Timestamp::now().as_second() - 1).into();
    let refusal = me(&until(&claims)).await.unwrap_err();
    assert_eq!((refusal.status(), refusal.code()), (Some(401), Some("auth.token_expired")), "{refusal}");
}

#[tokio::test]
async fn another_tenant_sees_nothing() {
    let world = World::new().await;
    let tenant = world.remote.test.tenant("second").await.unwrap();
    let owner = world.remote.test.client("neo_user").await.unwrap();
    let user = Uuid::now_v7();
    for sql in [
        // With the first administrator's password.
        "INSERT INTO auth.users (id, username, password_hash) \
         SELECT $1, 'second-administrator', (SELECT password_hash FROM auth.users LIMIT 1) WHERE $2::uuid IS NOT NULL",
        "INSERT INTO auth.memberships (user_id, tenant_id) VALUES ($1, $2)",
        "INSERT INTO auth.user_roles (user_id, tenant_id, role_id) \
         SELECT $1, $2, id FROM auth.roles WHERE name = 'Administrator'",
    ] {
        assert_eq!(owner.execute(sql, &[&user, &tenant]).await.unwrap(), 1);
    }
    let url = &world.served.url;
    let second = token(url, "second-administrator", world.remote.password.expose()).await;
    let client = |token: &str| Client::new(url).unwrap().with_token(token).unwrap();
    let (ours, theirs) = (client(&world.admin), client(&second));
    ours.sgx().put("demo", "only-ours", b"ours", &PutOptions::default()).await.unwrap();
    ours.sgx().put("demo", "both", b"ours", &PutOptions::default()).await.unwrap();

    // What is there for one is not there for the other, under every route that names it.
    for operation in world.operations.iter().filter(|operation| operation.path.contains("{service}/{key}")) {
        let path = operation.path.replace("{service}", "demo").replace("{key}", "only-ours");
        if operation.method == Method::PUT {
            continue;
        }
        let answer = world.send(&operation.method, &path, Some(&second), "").await;
        assert_eq!(answer.status(), 404, "{operation:?}");
    }
    assert!(theirs.sgx().list(None, None, None, None).await.unwrap().items.is_empty());
    // The same key is another item.
    let put = theirs.sgx().put("demo", "both", b"theirs", &PutOptions::default()).await.unwrap();
    assert!(put.created && put.item.version == 1);
    assert_eq!(ours.sgx().get("demo", "both").await.unwrap().bytes.as_slice(), b"ours");
    assert_eq!(theirs.sgx().get("demo", "both").await.unwrap().bytes.as_slice(), b"theirs");
    theirs.sgx().delete("demo", "both", None).await.unwrap();
    assert_eq!(ours.sgx().get("demo", "both").await.unwrap().bytes.as_slice(), b"ours");

    // Every list of the second tenant holds what the second tenant did, and nothing else.
    let answer = world.send(&Method::GET, "/api/v1/auth/users", Some(&second), "").await;
    let users: Value = answer.json().await.unwrap();
    let names: Vec<&str> =
        users["items"].as_array().unwrap().iter().map(|user| user["username"].as_str().unwrap()).collect();
    assert_eq!(names, ["second-administrator"]);
    let lists = world.operations.iter().filter(|operation| {
        operation.method == Method::GET && operation.permission.is_some() && !operation.path.contains('{')
    });
    let who = format!("\"{ADMIN}\"");
    let first = ours.me().await.unwrap().more["id"].as_str().unwrap().to_owned();
    let mut looked_at = 0;
    for operation in lists {
        let answer = world.send(&Method::GET, &operation.path, Some(&second), "").await;
        // The tenants and the root key are the operator's, whatever role an administrator has in another one.
        let operators = matches!(operation.permission.as_deref(), Some("core:tenants" | "sgx:operate"));
        let expected = if operators { 403 } else { 200 };
        assert_eq!(answer.status(), expected, "{operation:?}");
        let text = answer.text().await.unwrap();
        assert!(!text.contains(&first) && !text.contains(&who), "{operation:?}: {text}");
        looked_at += 1;
    }
    assert!(looked_at >= 4, "{looked_at}");
    let answer = world.send(&Method::GET, &format!("/api/v1/auth/users/{first}"), Some(&second), "").await;
    assert_eq!(answer.status(), 404);
    // The first tenant's own lists do hold it, so the search is one.
    let answer = world.send(&Method::GET, "/api/v1/monitoring/audit-logs", Some(&world.admin), "").await;
    let text = answer.text().await.unwrap();
    assert!(text.contains(&first) && text.contains(&who), "{text}");
}
