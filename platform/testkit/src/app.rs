//! The application's router without a socket: every layer, extractor and handler, on a real database.

#![expect(
    clippy::expect_used,
    reason = "a request that cannot be sent is a mistake of the test that makes it"
)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::request::Builder;
use axum::http::{HeaderMap, Method, StatusCode};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use nsl_core::composition::Service;
use nsl_core::config::{HttpConfig, RateLimitConfig};
use nsl_core::context::{Base, Context};
use nsl_core::health::{Health, HealthCheck};
use nsl_core::ports::Ports;
use nsl_core::telemetry::Metrics;
use serde_json::Value;
use tower::ServiceExt as _;

/// What the application under test is put together from.
pub struct Composition {
    pub services: Vec<Service>,
    pub ports: Ports,
    /// Beside those of the services.
    pub checks: Vec<(&'static str, Arc<dyn HealthCheck>)>,
}

/// The application of one test.
pub struct TestApp {
    router: Router,
    context: Context,
}

impl TestApp {
    /// Puts the application together as `nsl serve` does: the services are the caller's.
    pub async fn new(
        base: Base,
        compose: impl AsyncFnOnce(&Base) -> anyhow::Result<Composition>,
    ) -> anyhow::Result<Self> {
        let Composition { services, ports, mut checks } = compose(&base).await?;
        checks.extend(services.iter().map(|service| (service.name, Arc::clone(&service.health))));
        let metrics = Metrics::start().map_err(anyhow::Error::msg)?;
        let (http, limits) = (HttpConfig::default(), RateLimitConfig::default());
        let context = Context::new(base, ports, Health::new(checks), metrics, http, limits);
        Ok(Self { router: nsl_core::http::app(context.clone(), services), context })
    }

    pub fn context(&self) -> &Context {
        &self.context
    }

    pub fn get(&self, path: &str) -> Request<'_> {
        self.request(Method::GET, path)
    }

    pub fn post(&self, path: &str) -> Request<'_> {
        self.request(Method::POST, path)
    }

    pub fn put(&self, path: &str) -> Request<'_> {
        self.request(Method::PUT, path)
    }

    pub fn patch(&self, path: &str) -> Request<'_> {
        self.request(Method::PATCH, path)
    }

    pub fn delete(&self, path: &str) -> Request<'_> {
        self.request(Method::DELETE, path)
    }

    pub fn request(&self, method: Method, path: &str) -> Request<'_> {
        let builder = axum::http::Request::builder().method(method).uri(path);
        Request { app: self, builder, body: Body::empty(), peer: IpAddr::V4(Ipv4Addr::LOCALHOST) }
    }

    /// Ends the application as a signal would: jobs are drained in order.
    pub async fn shut_down(self) {
        self.context.shut_down(Duration::from_secs(10)).await;
    }
}

/// A request being made; [`send`](Self::send) sends it.
pub struct Request<'a> {
    app: &'a TestApp,
    builder: Builder,
    body: Body,
    peer: IpAddr,
}

impl Request<'_> {
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header(AUTHORIZATION.as_str(), &format!("Bearer {token}"))
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.builder = self.builder.header(name, value);
        self
    }

    /// Where it comes from; loopback, unless a test is about addresses.
    #[must_use]
    pub fn from(mut self, peer: impl Into<IpAddr>) -> Self {
        self.peer = peer.into();
        self
    }

    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.bytes("application/json", body.to_string())
    }

    #[must_use]
    pub fn bytes(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.body = Body::from(body.into());
        self.header(CONTENT_TYPE.as_str(), content_type)
    }

    /// A body that comes as the test has it come.
    #[must_use]
    pub fn stream(mut self, content_type: &str, body: Body) -> Self {
        self.body = body;
        self.header(CONTENT_TYPE.as_str(), content_type)
    }

    /// Sends it and reads the whole answer.
    pub async fn send(self) -> Response {
        let (head, body) = self.open().await.into_parts();
        let body = body.collect().await.expect("the body is whole").to_bytes();
        Response { status: head.status, headers: head.headers, body }
    }

    /// Sends it and answers as soon as the answer begins; the body is the test's to read.
    pub async fn open(self) -> axum::response::Response {
        let mut request = self.builder.body(self.body).expect("the request is well formed");
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from((self.peer, 1))));
        let Ok(response) = self.app.router.clone().oneshot(request).await;
        response
    }
}

/// The answer to a request.
#[derive(Debug)]
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Response {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {}: {}", self.status, self.text()))
    }

    /// The body as text, for messages too.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header that is there.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("no header {name} in {}", self.status));
        value.to_str().expect("the header is text")
    }

    /// Checks the status, showing the body when it is another; for chaining.
    #[track_caller]
    #[expect(
        clippy::return_self_not_must_use,
        reason = "a test that is about the status alone drops the rest"
    )]
    pub fn expect(self, status: StatusCode) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }
}
