//! The way to the enclave's process, and the ports that are reached over it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::uri::{Authority, PathAndQuery, Scheme};
use axum::http::{Method, Request, Response, StatusCode, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper_rustls::{HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use nsl_core::ApiError;
use nsl_core::ports::{ENCLAVE_AWAY, SealedSecret, SecretSealer, TokenSigner};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tower::BoxError;
use tower::timeout::Timeout;
use tower::util::BoxCloneSyncService;
use zeroize::Zeroizing;

use super::inside::{Opened, Sealed, Signed};
use super::{EnclaveConfig, OPEN, SEAL, SIGN};

/// A process that does not take a connection by then, handshake included, is away.
const CONNECT: Duration = Duration::from_secs(2);
/// For an answer to one of our own questions; a forwarded request has the time limit of every request.
const ANSWER: Duration = Duration::from_secs(10);
/// Less than any server keeps an idle connection open.
const IDLE: Duration = Duration::from_secs(20);
/// Of our own questions: secrets are small.
const LONGEST_ANSWER: usize = 1 << 20;

type Connector = BoxCloneSyncService<Uri, MaybeHttpsStream<TokioIo<TcpStream>>, BoxError>;

/// Connections to the enclave's process.
pub(crate) struct Link {
    client: Client<Connector, Body>,
    authority: Authority,
}

impl Link {
    /// None where the configuration names no enclave.
    pub(crate) fn new(config: &EnclaveConfig) -> anyhow::Result<Option<Arc<Self>>> {
        let Some(target) = config.target()? else { return Ok(None) };
        let authority = target.authority().context("Enclave:Url names no host")?.clone();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let tls = HttpsConnectorBuilder::new()
            .with_tls_config(config.identity()?.client()?)
            .https_only()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(BoxCloneSyncService::new(Timeout::new(tls, CONNECT)));
        Ok(Some(Arc::new(Self { client, authority })))
    }

    /// Sends a request, whatever its URI's host; the path's bytes stay as they are.
    pub(super) async fn send(&self, mut request: Request<Body>) -> Result<Response<Body>, ApiError> {
        let mut uri = std::mem::take(request.uri_mut()).into_parts();
        uri.scheme = Some(Scheme::HTTPS);
        uri.authority = Some(self.authority.clone());
        uri.path_and_query.get_or_insert_with(|| PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from_parts(uri).map_err(ApiError::internal)?;
        let only_reads = matches!(*request.method(), Method::GET | Method::HEAD);
        match self.client.request(request).await {
            Ok(response) => Ok(response.map(Body::new)),
            Err(error) => Err(failure(error, only_reads)),
        }
    }

    /// Asks for one of the enclave's own services to other processes.
    async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        path: &'static str,
        question: &Q,
    ) -> Result<A, ApiError> {
        let body = serde_json::to_vec(question).map_err(ApiError::internal)?;
        let request = Request::post(path)
            .header(CONTENT_TYPE, "application/json")
            .body(Body::from(body))
            .map_err(ApiError::internal)?;
        let (status, body) = self.within(request).await?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(ApiError::internal);
        }
        Err(refusal(path, status, &body))
    }

    /// A JSON answer, whatever its status.
    pub(super) async fn look(&self, path: &'static str) -> Result<Value, ApiError> {
        let request = Request::get(path).body(Body::empty()).map_err(ApiError::internal)?;
        let (_, body) = self.within(request).await?;
        serde_json::from_slice(&body).map_err(ApiError::internal)
    }

    async fn within(&self, request: Request<Body>) -> Result<(StatusCode, Zeroizing<Vec<u8>>), ApiError> {
        let answer = tokio::time::timeout(ANSWER, async {
            let response = self.send(request).await?;
            let status = response.status();
            let body = axum::body::to_bytes(response.into_body(), LONGEST_ANSWER).await;
            Ok((status, Zeroizing::new(body.map_err(away)?.to_vec())))
        });
        answer.await.map_err(away)?
    }
}

/// What a request without an answer means: where no connection was made, or nothing would have been changed, it can be
/// sent again; else nobody knows.
fn failure(error: ClientError, only_reads: bool) -> ApiError {
    if error.is_connect() || only_reads {
        return away(error);
    }
    ApiError::unavailable(
        "core.outcome_unknown",
        "The connection to the enclave's process broke while it had the request, and it is not known whether the change \
         took effect. Read the value back before you try again.",
    )
    .because(error)
}

fn away(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ApiError {
    ApiError::unavailable(
        ENCLAVE_AWAY,
        "The enclave's process does not answer; nothing was changed. Try again shortly: the operator finds the reason in \
         the log and in /health.",
    )
    .because(error)
}

/// What the enclave refused to do for this process.
fn refusal(path: &str, status: StatusCode, body: &[u8]) -> ApiError {
    const FOREIGN_ROOT_KEY: &str = "sgx.foreign_root_key";
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
    let cause = format!("{path} was answered {status} {}: {}", text("code"), text("detail"));
    if text("code") == FOREIGN_ROOT_KEY {
        return ApiError::unavailable(FOREIGN_ROOT_KEY, text("detail"));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE { away(cause) } else { ApiError::internal(cause) }
}

#[async_trait]
impl TokenSigner for Link {
    async fn sign(&self, claims: &Value) -> Result<String, ApiError> {
        let signed: Signed = self.ask(SIGN, &json!({ "claims": claims })).await?;
        Ok(signed.token)
    }
}

#[async_trait]
impl SecretSealer for Link {
    async fn seal(&self, purpose: &'static str, name: &str, secret: &[u8]) -> Result<SealedSecret, ApiError> {
        let secret = Zeroizing::new(STANDARD.encode(secret));
        let question = json!({ "purpose": purpose, "name": name, "secret": &*secret });
        let sealed: Sealed = self.ask(SEAL, &question).await?;
        sealed.try_into()
    }

    async fn open(
        &self,
        purpose: &'static str,
        name: &str,
        sealed: &SealedSecret,
    ) -> Result<Zeroizing<Vec<u8>>, ApiError> {
        let sealed = Sealed::from(sealed);
        let opened: Opened =
            self.ask(OPEN, &json!({ "purpose": purpose, "name": name, "sealed": sealed })).await?;
        STANDARD.decode(opened.secret.expose()).map(Zeroizing::new).map_err(ApiError::internal)
    }
}
