//! The enclave's listener: connections count from the moment at which the other end has shown its certificate.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request};
use axum::http::HeaderName;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::serve::{IncomingStream, Listener};
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use nsl_core::http;
use nsl_core::jobs::JobError;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::{EnclaveConfig, ORIGIN};

/// Whoever does not come to an end of the handshake by then is no client of ours.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Handshakes at a time: strangers cannot pile up more.
const HANDSHAKES: usize = 256;
/// After a failure to accept that is about us, such as too many open files.
const PAUSE: Duration = Duration::from_millis(200);

const ORIGIN_ADDRESS: HeaderName = HeaderName::from_static(ORIGIN);

type Handshake = BoxFuture<'static, Option<(TlsStream<TcpStream>, SocketAddr)>>;

/// A bound listener.
pub(crate) struct EnclaveListener {
    tcp: TcpListener,
    tls: TlsAcceptor,
    handshakes: FuturesUnordered<Handshake>,
}

impl EnclaveListener {
    pub(crate) async fn bind(config: &EnclaveConfig) -> anyhow::Result<Self> {
        let tls = TlsAcceptor::from(Arc::new(config.identity()?.server()?));
        let tcp = http::bind(config.listen).await.map_err(|error| {
            anyhow::anyhow!("the enclave's listener: {error} (here the setting is Enclave:Listen)")
        })?;
        Ok(Self { tcp, tls, handshakes: FuturesUnordered::new() })
    }

    fn shake_hands(&self, stream: TcpStream, from: SocketAddr) {
        let tls = self.tls.clone();
        self.handshakes.push(Box::pin(async move {
            // Answers are small; one that waits for the next packet would double a put's time.
            let _best_effort = stream.set_nodelay(true);
            match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
                Ok(Ok(stream)) => Some((stream, from)),
                Ok(Err(error)) => {
                    tracing::warn!(%from, %error, "a connection to the enclave was refused");
                    None
                }
                Err(_) => {
                    tracing::debug!(%from, "a connection to the enclave came to no handshake");
                    None
                }
            }
        }));
    }
}

impl Listener for EnclaveListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            tokio::select! {
                accepted = self.tcp.accept(), if self.handshakes.len() < HANDSHAKES => match accepted {
                    Ok((stream, from)) => self.shake_hands(stream, from),
                    Err(error) => {
                        tracing::warn!(%error, "the enclave's listener cannot take a connection");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
                done = self.handshakes.next(), if !self.handshakes.is_empty() => {
                    if let Some(Some(known)) = done {
                        return known;
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// The process at the other end.
#[derive(Clone)]
struct Peer(SocketAddr);

impl Connected<IncomingStream<'_, EnclaveListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, EnclaveListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// Serves until told to stop; requests under way are answered first.
pub(crate) async fn serve(
    listener: EnclaveListener,
    app: Router,
    stop: CancellationToken,
) -> Result<(), JobError> {
    let service = app.layer(from_fn(locate)).into_make_service_with_connect_info::<Peer>();
    axum::serve(listener, service).with_graceful_shutdown(stop.cancelled_owned()).await?;
    Ok(())
}

/// Puts the address that the request came from, as its process says, in the place of the process's own: audit rows and
/// limits are about users.
async fn locate(mut request: Request, next: Next) -> Response {
    let said = request.headers_mut().remove(ORIGIN_ADDRESS);
    let said = said.as_ref().and_then(|value| value.to_str().ok()?.parse::<IpAddr>().ok());
    let peer = request.extensions_mut().remove::<ConnectInfo<Peer>>();
    let address = said.map(|ip| SocketAddr::new(ip, 0)).or(peer.map(|ConnectInfo(Peer(address))| address));
    if let Some(address) = address {
        request.extensions_mut().insert(ConnectInfo(address));
    }
    next.run(request).await
}
