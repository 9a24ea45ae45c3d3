//! `nsl up` in a folder of its own, and its end whatever the test did.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nsl_client::{Client, Status};
use nsl_core::config::{Address, Host, Secret, SslMode};
use nsl_core::db::{Endpoint, connect};
use nsl_core::jobs::drive;
use nsl_testkit::eventually;
use rustix::process::Signal;
use serde_json::Value;

use crate::PATIENCE;
use crate::program::{Outcome, Running, Sandbox, is_alive, send};

/// An installation of `nsl up`.
pub(crate) struct Installation {
    pub(crate) sandbox: Sandbox,
    data_dir: PathBuf,
    running: Option<Running>,
    /// What `nsl up --json` said when it was ready.
    pub(crate) ready: Value,
}

impl Installation {
    /// A folder; nothing runs in it yet.
    pub(crate) fn empty() -> Self {
        let sandbox = Sandbox::new();
        let data_dir = sandbox.path().join("data");
        Self { sandbox, data_dir, running: None, ready: Value::Null }
    }

    /// One that is up.
    pub(crate) async fn new() -> Self {
        let mut installation = Self::empty();
        installation.up().await;
        installation
    }

    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Starts it, and waits until it says that it is ready.
    pub(crate) async fn up(&mut self) {
        self.up_with(&[]).await;
    }

    pub(crate) async fn up_with(&mut self, further: &[&str]) {
        self.begin(further);
        self.says_ready().await;
    }

    /// Starts it, and waits for nothing. On ports that are free: 0 lets the system pick the one of HTTP.
    pub(crate) fn begin(&mut self, further: &[&str]) {
        let data_dir = self.data_dir.to_str().unwrap();
        let pg_port = free_port().to_string();
        let mut arguments = vec!["up", "--json", "--data-dir", data_dir];
        for default in [["--port", "0"], ["--pg-port", &pg_port]] {
            if !further.contains(&default[0]) {
                arguments.extend(default);
            }
        }
        arguments.extend(further);
        self.running = Some(self.sandbox.start(&arguments));
    }

    pub(crate) async fn says_ready(&mut self) {
        self.process().says("\"url\"").await;
        let said = self.process().stdout();
        self.ready = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error} in {said}"));
    }

    /// One that was started by other arguments.
    pub(crate) fn adopt(&mut self, running: Running) {
        self.running = Some(running);
    }

    pub(crate) fn process(&mut self) -> &mut Running {
        self.running.as_mut().unwrap()
    }

    /// kill -9 of `nsl` alone.
    pub(crate) fn kill(&mut self) {
        self.process().kill();
    }

    /// A signal, and the end in order; tells how long it took.
    pub(crate) async fn stop(&mut self, signal: Signal) -> Duration {
        let mut running = self.running.take().unwrap();
        let asked = Instant::now();
        running.signal(signal);
        let (status, _) = running.ended().await;
        assert!(status.success(), "{status}: {}", running.stderr());
        asked.elapsed()
    }

    /// The server's process, while it runs.
    pub(crate) fn postmaster(&self) -> Option<u32> {
        let pgdata = self.data_dir.join("pg");
        let file = fs::read_to_string(pgdata.join("postmaster.pid")).ok()?;
        let pid = file.lines().next()?.parse().ok()?;
        // A number alone may be another's by now.
        (serves(pid, &pgdata) && is_alive(pid)).then_some(pid)
    }

    pub(crate) fn url(&self) -> &str {
        self.ready["url"].as_str().unwrap()
    }

    /// A command of the line on this installation.
    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        self.sandbox.run(&self.arguments(arguments))
    }

    pub(crate) fn arguments<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        [arguments, &["--data-dir", self.data_dir.to_str().unwrap()]].concat()
    }

    pub(crate) fn credentials(&self) -> Value {
        serde_json::from_slice(&fs::read(self.data_dir.join("credentials.json")).unwrap()).unwrap()
    }

    pub(crate) fn secret(&self, name: &str) -> String {
        fs::read_to_string(self.data_dir.join("secrets").join(name)).unwrap().trim_end().to_owned()
    }

    /// An access token of the administrator.
    pub(crate) async fn token(&self) -> String {
        let credentials = self.credentials();
        let (name, password) = (&credentials["username"], &credentials["password"]);
        let client = Client::new(self.url()).unwrap();
        let tokens = client.login(name.as_str().unwrap(), password.as_str().unwrap(), None).await.unwrap();
        tokens.access_token.expose().to_owned()
    }

    /// The administrator's client.
    pub(crate) async fn client(&self) -> Client {
        Client::new(self.url()).unwrap().with_token(&self.token().await).unwrap()
    }

    /// Waits until every check is Healthy.
    pub(crate) async fn is_healthy(&self) {
        is_healthy(&Client::new(self.url()).unwrap()).await;
    }

    /// A connection of a login over the socket.
    pub(crate) async fn database(&self, role: &str) -> tokio_postgres::Client {
        let postgres = &self.ready["postgres"];
        let address = Address::Socket(postgres["socketDir"].as_str().unwrap().into());
        let port = u16::try_from(postgres["port"].as_u64().unwrap()).unwrap();
        let endpoint = Endpoint {
            hosts: vec![Host { address, port }],
            database: "neo_service_layer".to_owned(),
            tls: SslMode::Disable,
            root_certificate: None,
            max_pool_size: 1,
            connect_timeout: PATIENCE,
            keepalive: None,
        };
        let (client, connection) = connect(&endpoint, role, &Secret::new(self.secret(role))).await.unwrap();
        drive(connection);
        client
    }
}

pub(crate) async fn is_healthy(client: &Client) {
    let begun = Instant::now();
    eventually(PATIENCE, "every check is Healthy", async || match client.health().await {
        Ok(health) if health.status == Status::Healthy => true,
        unwell => {
            // At the last, what is said is the reason.
            assert!(begun.elapsed() < PATIENCE, "{unwell:#?}");
            false
        }
    })
    .await;
}

impl Drop for Installation {
    fn drop(&mut self) {
        // Its watch would start the server again.
        drop(self.running.take());
        // By its command line: a test may have taken the folder away from under it.
        let pgdata = self.data_dir.join("pg");
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
            if let Some(pid) = pid.filter(|pid| serves(*pid, &pgdata)) {
                send(pid, Signal::QUIT);
                wait_until(|| !is_alive(pid));
            }
        }
    }
}

/// Whether a process was started for this PGDATA; a server's children have other command lines.
fn serves(pid: u32, pgdata: &Path) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).any(|part| part == pgdata.as_os_str().as_encoded_bytes())
}

#[expect(clippy::disallowed_methods, reason = "the pause between two looks at a condition with a deadline")]
fn wait_until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A port that nobody listens on now. Where somebody takes it meanwhile, the server takes the next.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
