//! The connection: address, credential, requests and answers. What is asked stands with each service.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use url::{Host, Url};
use zeroize::Zeroizing;

use crate::error::Error;

/// A service that does not take the connection in this time is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two movements either way; longer than the service's own limit, so that its refusal arrives. The library's
/// own limit would count the whole of an upload.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// A service and the credential for it. Clones share their connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    /// Without a `/` at its end.
    base: String,
    authorization: Option<HeaderValue>,
}

impl Client {
    /// A client without a credential. A path in the address stays in front of every route.
    pub fn new(url: &str) -> Result<Self, Error> {
        let wrong = |reason: &str| Error::Url { url: url.to_owned(), reason: reason.to_owned() };
        let parsed = Url::parse(url).map_err(|error| wrong(&error.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(wrong("it is neither http nor https"));
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            // Not quoted: the password would be on the screen.
            let url = format!("{}://…@{}", parsed.scheme(), parsed.host_str().unwrap_or_default());
            return Err(Error::Url { url, reason: "credentials have no place in it".to_owned() });
        }
        if parsed.query().is_some() || parsed.fragment().is_some() {
            return Err(wrong("it has a query or a fragment"));
        }
        // No redirects: a credential goes to no address that was not named.
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("nsl-client/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT);
        if is_loopback(&parsed) {
            builder = builder.no_proxy();
        }
        if parsed.scheme() == "http" {
            // Reading the system's certificates takes longer than the call, and fails where there are none.
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().map_err(|source| Error::Transport { url: url.to_owned(), source })?;
        Ok(Self { http, base: parsed.as_str().trim_end_matches('/').to_owned(), authorization: None })
    }

    /// The same client with an access token or API key.
    pub fn with_token(mut self, token: &str) -> Result<Self, Error> {
        let text = Zeroizing::new(format!("Bearer {token}"));
        let mut value = HeaderValue::from_str(&text).map_err(|_| Error::Token)?;
        value.set_sensitive(true);
        self.authorization = Some(value);
        Ok(self)
    }

    /// The address, in the form in which two of the same service are equal.
    pub fn url(&self) -> &str {
        &self.base
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.request(Method::POST, path)
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.authorization {
            Some(value) => request.header(AUTHORIZATION, value.clone()),
            None => request,
        }
    }

    /// Sends a request; a refusal is an error.
    pub(crate) async fn call(&self, request: RequestBuilder) -> Result<Answer, Error> {
        self.exchange(request).await?.accepted()
    }

    /// Sends a request and reads the whole answer, of whatever status.
    pub(crate) async fn exchange(&self, request: RequestBuilder) -> Result<Answer, Error> {
        let response = timeout(IDLE_TIMEOUT, request.send()).await.map_err(|_| self.stalled())?;
        self.incoming(response)?.whole().await
    }

    /// Sends a request whose answer is read piece by piece; a refusal is an error.
    pub(crate) async fn receive(&self, request: RequestBuilder) -> Result<Incoming, Error> {
        let response = timeout(IDLE_TIMEOUT, request.send()).await.map_err(|_| self.stalled())?;
        let incoming = self.incoming(response)?;
        if incoming.response.status().is_success() {
            return Ok(incoming);
        }
        let refusal = incoming.whole().await?;
        Err(Error::refusal(&refusal.url, refusal.status, &refusal.headers, &refusal.body))
    }

    /// Sends a request whose body takes its time, as long as it goes on.
    pub(crate) async fn upload(
        &self,
        request: RequestBuilder,
        mut moves: watch::Receiver<()>,
    ) -> Result<Answer, Error> {
        let sending = request.send();
        tokio::pin!(sending);
        let mut whole = false;
        let response = loop {
            tokio::select! {
                response = &mut sending => break response,
                moved = moves.changed(), if !whole => whole = moved.is_err(),
                () = sleep(IDLE_TIMEOUT) => return Err(self.stalled()),
            }
        };
        self.incoming(response)?.whole().await?.accepted()
    }

    fn incoming(&self, response: reqwest::Result<Response>) -> Result<Incoming, Error> {
        let response = response.map_err(|source| failed(&self.base, source))?;
        Ok(Incoming { url: self.base.clone(), response })
    }

    fn stalled(&self) -> Error {
        Error::Stalled { url: self.base.clone(), seconds: IDLE_TIMEOUT.as_secs() }
    }
}

fn failed(url: &str, source: reqwest::Error) -> Error {
    // The path may hold a key: it stays out of messages.
    Error::Transport { url: url.to_owned(), source: source.without_url() }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// An answer of which the head is there.
pub(crate) struct Incoming {
    url: String,
    response: Response,
}

impl Incoming {
    pub(crate) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The next piece of the body; None at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let chunk = timeout(IDLE_TIMEOUT, self.response.chunk())
            .await
            .map_err(|_| Error::Stalled { url: self.url.clone(), seconds: IDLE_TIMEOUT.as_secs() })?;
        chunk.map_err(|source| failed(&self.url, source))
    }

    async fn whole(mut self) -> Result<Answer, Error> {
        let (status, headers) = (self.response.status(), self.response.headers().clone());
        // Not grown, since what a growing one leaves behind is not wiped; and no length is believed beyond reason.
        let length = self.response.content_length().unwrap_or_default().min(1 << 21);
        let mut body = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or_default()));
        while let Some(piece) = self.chunk().await? {
            body.extend_from_slice(&piece);
        }
        Ok(Answer { url: self.url, status, headers, body })
    }

    pub(crate) fn unexpected(&self, what: impl Into<String>) -> Error {
        let status = self.response.status().as_u16();
        Error::Answer { url: self.url.clone(), status, what: what.into() }
    }
}

/// A whole answer.
pub(crate) struct Answer {
    url: String,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

impl Answer {
    pub(crate) fn accepted(self) -> Result<Self, Error> {
        if self.status.is_success() {
            return Ok(self);
        }
        Err(Error::refusal(&self.url, self.status, &self.headers, &self.body))
    }

    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body)
            .map_err(|error| self.unexpected(format!("which does not fit: {error}")))
    }

    pub(crate) fn unexpected(&self, what: impl Into<String>) -> Error {
        Error::Answer { url: self.url.clone(), status: self.status.as_u16(), what: what.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_services_have_equal_addresses() {
        for (given, kept) in [
            ("http://localhost:8080", "http://localhost:8080"),
            ("http://LOCALHOST:8080/", "http://localhost:8080"),
            ("http://h:80", "http://h"),
            ("https://h/nsl/", "https://h/nsl"),
        ] {
            assert_eq!(Client::new(given).unwrap().url(), kept);
        }
    }

    #[test]
    fn an_address_that_is_none_is_refused_and_no_password_shown() {
        for url in ["localhost:8080", "ftp://h", "", "http://", "http://h/?a=b", "http://h/#x", "nonsense"] {
            assert!(matches!(Client::new(url), Err(Error::Url { .. })), "{url}");
        }
        let Err(error) = Client::new("http://user:hunter2@h") else { panic!("taken") };
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert!(matches!(Client::new("http://h").unwrap().with_token("a\nb"), Err(Error::Token)));
    }

    #[tokio::test]
    async fn a_service_that_is_away_is_said_to_be_away() {
        // A port that was just free has no listener.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let error = Client::new(&format!("http://127.0.0.1:{port}")).unwrap().health().await.unwrap_err();
        assert!(error.to_string().contains("refused"), "{error}");
        assert!(error.next_step().unwrap().contains("nsl up"));
    }
}
