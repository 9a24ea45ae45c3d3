//! The OpenAPI document: frozen in docs/openapi.json, and true to the rules of the house.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use nsl_auth::{JwtConfig, Sections};
use nsl_core::Service;
use nsl_core::config::fresh;
use nsl_core::http::document;
use nsl_sgx::{RootRing, SgxConfig};
use nsl_testkit::TestDb;
use serde_json::Value;

use crate::served::{Remote, http};

/// The document as the binary serves it.
async fn served() -> Value {
    let remote = Remote::new().await;
    let served = remote.serve().await;
    let http = http();
    let answer = http.get(format!("{}/api/openapi.json", served.url)).send().await.unwrap();
    answer.json().await.unwrap()
}

#[tokio::test]
async fn the_document_is_the_committed_one_and_keeps_the_rules() {
    let document = served().await;
    let text = serde_json::to_string_pretty(&document).unwrap() + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    if std::env::var_os("NSL_UPDATE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        text == committed,
        "docs/openapi.json is not what the binary serves: run this test with NSL_UPDATE=1 and look at the difference"
    );

    let mut ids = HashSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        assert!(path.starts_with('/') && !path.contains('*'), "{path}");
        for (method, operation) in item.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "two operations {id}");
            assert!(operation["summary"].is_string() || operation["description"].is_string(), "{id}");
            for (status, response) in operation["responses"].as_object().unwrap() {
                // HEAD has no body; health carries its report in a 503 too.
                let health = path.starts_with("/health") && status == "503";
                if method == "head" || health || !(status.starts_with('4') || status.starts_with('5')) {
                    continue;
                }
                let content = response["content"].as_object();
                let content = content.unwrap_or_else(|| panic!("{id} {status}: no body"));
                let kinds: Vec<&str> = content.keys().map(String::as_str).collect();
                assert_eq!(kinds, ["application/problem+json"], "{id} {status}");
                let schema = &content["application/problem+json"]["schema"]["$ref"];
                assert_eq!(schema, "#/components/schemas/Problem", "{id} {status}");
            }
        }
    }
    assert!(document.get("servers").is_none(), "paths are absolute");
    assert_eq!(document["openapi"], "3.1.0");
}

/// Every service of this build, as `nsl` makes them.
async fn services(test: &TestDb) -> Vec<Service> {
    let base = test.base();
    let mut sgx = SgxConfig::default();
    sgx.database.encryption_key = Some(fresh().unwrap());
    let root = Arc::new(RootRing::open(&base, &sgx).await.unwrap());
    let jwt = JwtConfig { secret_key: Some(fresh().unwrap()), ..JwtConfig::default() };
    let sections = Sections { jwt, ..Sections::default() };
    let security = nsl_monitoring::security_events();
    let log = nsl_eventsourcing::event_log(&base.db, nsl_core::db::Login::Enclave);
    let auth =
        nsl_auth::service(&base, sections, Arc::clone(&root) as _, Arc::clone(&security)).await.unwrap();
    let sgx = nsl_sgx::service(&base, sgx, root, security, log).unwrap();
    vec![auth.service, sgx, nsl_monitoring::service(&base), nsl_eventsourcing::service(&base)]
}

/// Two schemas of one name merge silently, and one is lost (reproduced with utoipa-axum 0.3).
#[tokio::test]
async fn no_schema_of_one_service_is_lost_to_another() {
    let test = TestDb::new().await.unwrap();
    let services = services(&test).await;
    let schemas = |document: &Value| -> BTreeMap<String, Value> {
        let found = document["components"]["schemas"].as_object();
        found.into_iter().flatten().map(|(name, schema)| (name.clone(), schema.clone())).collect()
    };
    let own: Vec<(&str, Value)> = services
        .iter()
        .flat_map(|service| [(service.name, &service.router), (service.name, &service.root)])
        .map(|(name, router)| (name, serde_json::to_value(router.get_openapi()).unwrap()))
        .collect();
    let merged = schemas(&serde_json::to_value(document(services)).unwrap());
    for (service, own) in &own {
        for (name, schema) in schemas(own) {
            assert_eq!(
                merged.get(&name),
                Some(&schema),
                "{service}'s {name} is another's in the whole document"
            );
        }
    }
    let of_sgx = own.iter().filter(|(service, _)| *service == "sgx").flat_map(|(_, own)| schemas(own));
    assert!(of_sgx.count() > 3, "what is compared has schemas in it");
}
