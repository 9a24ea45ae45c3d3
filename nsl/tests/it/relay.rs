//! A relay between two processes that records every byte, and whose far end can be moved.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use nsl_core::jobs::drive;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub(crate) struct Relay {
    address: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
    seen: Arc<Mutex<Vec<u8>>>,
    accepting: JoinHandle<()>,
}

impl Relay {
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let target = Arc::new(Mutex::new(target));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (to, record) = (Arc::clone(&target), Arc::clone(&seen));
        let accepting = drive(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (to, record) = (*to.lock().unwrap(), Arc::clone(&record));
                drive(async move {
                    // A far end that is away closes the near one.
                    let Ok(far) = TcpStream::connect(to).await else { return };
                    let (near_read, near_write) = near.into_split();
                    let (far_read, far_write) = far.into_split();
                    drive(pass(near_read, far_write, Arc::clone(&record)));
                    drive(pass(far_read, near_write, record));
                });
            }
        });
        Self { address, target, seen, accepting }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn move_to(&self, target: SocketAddr) {
        *self.target.lock().unwrap() = target;
    }

    /// Everything that passed, both ways.
    pub(crate) fn seen(&self) -> Vec<u8> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    record: Arc<Mutex<Vec<u8>>>,
) {
    let mut part = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut part).await {
        record.lock().unwrap().extend_from_slice(&part[..length]);
        if to.write_all(&part[..length]).await.is_err() {
            break;
        }
    }
    let _closed = to.shutdown().await;
}
