//! Routes that the enclave's process answers: requests go there as they are and answers come back as they are, in pieces
//! as they arrive. Nothing is looked at but what belongs to the connection itself.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, OriginalUri, Request};
use axum::http::header::{CONNECTION, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use axum::routing::any;
use http_body_util::BodyExt as _;
use nsl_core::caller::Origin;
use nsl_core::health::HealthCheck;
use nsl_core::http::TimeLimit;
use nsl_core::{ApiError, Context, Service};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use super::ORIGIN;
use super::link::Link;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const ORIGIN_ADDRESS: HeaderName = HeaderName::from_static(ORIGIN);

/// What is said between two neighbours and not passed on (RFC 9110 section 7.6.1); `Connection` may name more.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("proxy-authorization"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// A service of the enclave as this process has it: the routes and the document that it declares, and its health there.
pub(crate) fn service(
    name: &'static str,
    declarations: OpenApi,
    link: &Arc<Link>,
    health: Arc<dyn HealthCheck>,
) -> Service {
    let mut router = Router::new();
    for path in declarations.paths.paths.keys() {
        router = router.route(path, any(forward));
    }
    let router = OpenApiRouter::from(router.layer(Extension(Arc::clone(link))));
    let router: OpenApiRouter<Context> = OpenApiRouter::with_openapi(declarations).merge(router);
    Service { name, router, root: OpenApiRouter::new(), health }
}

async fn forward(
    Extension(link): Extension<Arc<Link>>,
    OriginalUri(uri): OriginalUri,
    mut request: Request,
) -> Result<Response, ApiError> {
    *request.uri_mut() = uri;
    let origin = request.extensions_mut().remove::<Arc<Origin>>();
    let time = request.extensions_mut().remove::<TimeLimit>();
    // What is left there is of this process: routes, peers, limits.
    request.extensions_mut().clear();
    let headers = request.headers_mut();
    strip(headers);
    // The server of this process has answered it, and the line's own client names its host.
    headers.remove(EXPECT);
    headers.remove(HOST);
    headers.remove(ORIGIN_ADDRESS);
    if let Some(origin) = origin {
        set(headers, REQUEST_ID, origin.request_id.as_deref());
        set(headers, ORIGIN_ADDRESS, origin.ip_address.as_deref());
    }
    // How long nothing may move is judged where the body is read.
    let request = request.map(|body| match time {
        Some(time) => Body::new(body.map_frame(move |frame| {
            time.moved();
            frame
        })),
        None => body,
    });
    let mut response = link.send(request).await?;
    strip(response.headers_mut());
    Ok(response)
}

/// Removes what belongs to the connection that the message came over.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: Option<&str>) {
    if let Some(Ok(value)) = value.map(HeaderValue::from_str) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_the_connection_stays_there() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Secret-Hop"),
            ("x-secret-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("if-match", "\"3\""),
            ("authorization", "Bearer x"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        strip(&mut headers);
        let left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["if-match", "authorization"]);
    }
}
