//! A forwarder between the pools and the server that knows where a message of the protocol ends (PostgreSQL manual,
//! 55.7), and cuts the connection at a chosen one: what a network does, at the worst moment.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::{Buf as _, BytesMut};
use nsl_core::config::{Address, Host};
use nsl_core::db::Endpoint;
use nsl_core::jobs::drive;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};

/// Where the next transaction is cut; then the proxy only forwards again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// COMMIT does not arrive; all before it was answered.
    Commit,
    /// COMMIT took effect, its answer does not arrive.
    AnswerToCommit,
    /// COMMIT took effect, and no answer of the whole transaction arrives.
    AllAnswers,
    /// COMMIT took effect, then the administrator ended the session.
    SessionAtCommit,
}

pub(super) struct Proxy {
    _dir: tempfile::TempDir,
    endpoint: Endpoint,
    cut: Arc<Mutex<Option<Cut>>>,
    refuses: Arc<AtomicBool>,
}

impl Proxy {
    pub(super) fn before(server: &Endpoint) -> Self {
        let Address::Socket(directory) = &server.hosts[0].address else {
            panic!("the test server has a socket")
        };
        let name = format!(".s.PGSQL.{}", server.hosts[0].port);
        let real = directory.join(&name);
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join(&name)).unwrap();
        let address = Address::Socket(dir.path().to_path_buf());
        let hosts = vec![Host { address, port: server.hosts[0].port }];
        let cut = Arc::new(Mutex::new(None));
        let refuses = Arc::new(AtomicBool::new(false));
        let (shared, refused) = (Arc::clone(&cut), Arc::clone(&refuses));
        drive(async move {
            while let Ok((client, _)) = listener.accept().await {
                if !refused.load(Ordering::SeqCst) {
                    let server = UnixStream::connect(&real).await.unwrap();
                    drive(forward(client, server, Arc::clone(&shared)));
                }
            }
        });
        Self { _dir: dir, endpoint: Endpoint { hosts, ..server.clone() }, cut, refuses }
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    pub(super) fn arm(&self, cut: Cut) {
        *self.cut.lock().unwrap() = Some(cut);
    }

    /// Lets nobody in any more.
    pub(super) fn refuse(&self) {
        self.refuses.store(true, Ordering::SeqCst);
    }
}

/// One side's messages. Cancel-safe: what was read stays in the buffer.
struct Messages {
    from: OwnedReadHalf,
    buffer: BytesMut,
    /// A client's first message has no tag.
    untagged: bool,
}

impl Messages {
    fn of(from: OwnedReadHalf, is_client: bool) -> Self {
        Self { from, buffer: BytesMut::new(), untagged: is_client }
    }

    async fn next(&mut self) -> Option<BytesMut> {
        loop {
            let tag = usize::from(!self.untagged);
            if let Some(mut length) = self.buffer.get(tag..tag + 4) {
                let whole = tag + usize::try_from(length.get_u32()).unwrap();
                if self.buffer.len() >= whole {
                    self.untagged = false;
                    return Some(self.buffer.split_to(whole));
                }
            }
            if self.from.read_buf(&mut self.buffer).await.ok()? == 0 {
                return None;
            }
        }
    }
}

/// A FATAL ErrorResponse with SQLSTATE 57P01, as a backend sends it when it is terminated.
const TERMINATED: &[u8] = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0";

async fn forward(client: UnixStream, server: UnixStream, cut: Arc<Mutex<Option<Cut>>>) {
    let (from_client, mut to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    let mut requests = Messages::of(from_client, true);
    let mut answers = Messages::of(from_server, false);
    let armed = || *cut.lock().unwrap();
    let disarm = || *cut.lock().unwrap() = None;
    // Requests that end in a ReadyForQuery and how many of those came; the log-in has one without a request.
    let (mut asked, mut answered) = (1, 0);
    let (mut begun, mut held) = (false, false);
    loop {
        tokio::select! {
            message = requests.next(), if !held => {
                let Some(message) = message else { return };
                if message.starts_with(b"Q") {
                    let sql = &message[5..];
                    begun |= sql == b"BEGIN\0";
                    held = sql == b"COMMIT\0" && armed() == Some(Cut::Commit);
                }
                if !held {
                    asked += i32::from(matches!(message[0], b'Q' | b'S'));
                    if to_server.write_all(&message).await.is_err() {
                        return;
                    }
                }
            }
            message = answers.next() => {
                let Some(message) = message else { return };
                answered += i32::from(message[0] == b'Z');
                if message[0] == b'C' && &message[5..] == b"COMMIT\0" && armed().is_some() {
                    if armed() == Some(Cut::SessionAtCommit) {
                        let mut last = vec![b'E'];
                        last.extend(u32::try_from(TERMINATED.len() + 4).unwrap().to_be_bytes());
                        last.extend(TERMINATED);
                        to_client.write_all(&last).await.unwrap();
                    }
                    disarm();
                    return;
                }
                let swallowed = begun && armed() == Some(Cut::AllAnswers);
                if !swallowed && to_client.write_all(&message).await.is_err() {
                    return;
                }
            }
        }
        if held && asked == answered {
            disarm();
            return;
        }
    }
}
