//! The listener, and the drain at the end.

use std::net::SocketAddr;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::jobs::JobError;

/// Binds the address, with an error that says what to do.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!("{address} is taken by another program; end that one or choose another port (--port N)")
        }
        std::io::ErrorKind::PermissionDenied => {
            format!("{address} may not be used by this user; choose a port above 1023 (--port N)")
        }
        _ => format!("cannot listen on {address}: {error}; check Http:Listen"),
    })
}

/// Serves until told to stop; requests under way are answered first.
pub async fn serve(listener: TcpListener, app: Router, stop: CancellationToken) -> Result<(), JobError> {
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(stop.cancelled_owned()).await?;
    Ok(())
}
