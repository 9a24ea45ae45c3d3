//! The OpenAPI 3.1 document: every route with its permission, from the same declarations that serve it.

use axum::Router;
use utoipa::openapi::RefOr;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::response::Response;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;

use super::{problem, system};
use crate::composition::Service;
use crate::context::Context;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Neo Service Layer",
        description = "Confidential storage, keys, authentication and the other services that Neo dapps run on. \
                       Bytes are standard base64, times RFC 3339 UTC, errors RFC 9457 problem details.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    components(schemas(problem::Problem)),
    modifiers(&Bearer),
)]
struct Root;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        components.add_security_scheme("bearer", scheme);
    }
}

/// The router and the document of the services given.
pub(super) fn split(services: Vec<Service>) -> (Router<Context>, utoipa::openapi::OpenApi) {
    let mut router = OpenApiRouter::with_openapi(Root::openapi()).merge(system::router());
    for service in services {
        router = router.nest(&format!("/api/v1/{}", service.name), service.router).merge(service.root);
    }
    let (router, mut document) = router.split_for_parts();
    // The router's `{*key}` takes slashes; OpenAPI has one form of parameter.
    document.paths.paths = std::mem::take(&mut document.paths.paths)
        .into_iter()
        .map(|(path, item)| (path.replace("{*", "{"), item))
        .collect();
    for item in document.paths.paths.values_mut() {
        for operation in operations(item) {
            operation.responses.responses.values_mut().for_each(name_problem);
        }
    }
    (router, document)
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.head, &mut item.patch]
        .into_iter()
        .flatten()
}

/// The macro calls every body JSON; a problem has a media type of its own (RFC 9457 §3).
fn name_problem(response: &mut RefOr<Response>) {
    let RefOr::T(response) = response else { return };
    response.content = std::mem::take(&mut response.content)
        .into_iter()
        .map(|(kind, content)| {
            let schema = match &content {
                RefOr::T(content) => content.schema.as_ref(),
                RefOr::Ref(_) => None,
            };
            let is_problem =
                matches!(schema, Some(RefOr::Ref(name)) if name.ref_location.ends_with("/Problem"));
            (if is_problem { "application/problem+json".to_owned() } else { kind }, content)
        })
        .collect();
}

/// The document alone, for the snapshot and the gates.
pub fn document(services: Vec<Service>) -> utoipa::openapi::OpenApi {
    split(services).1
}
