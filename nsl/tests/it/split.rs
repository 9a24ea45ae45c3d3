//! The API and the enclave as two processes (or three, with the jobs), each with what belongs to it, on one database.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use nsl_client::Client;

use crate::program::Running;
use crate::relay::Relay;
use crate::served::Remote;

const ENCLAVE_ONLY: [&str; 2] = ["SGX_ENCRYPTION_KEY", "Database__Roles__neo_enclave__Password"];
const API_ONLY: [&str; 2] = ["JWT_SECRET_KEY", "Database__Roles__neo_api__Password"];
const JOBS_ONLY: &str = "Database__Roles__neo_jobs__Password";

/// An installation whose processes are started one by one.
pub(crate) struct Split {
    pub(crate) remote: Remote,
    certificates: PathBuf,
}

impl Split {
    pub(crate) async fn new() -> Self {
        let remote = Remote::new().await;
        let certificates = remote.sandbox.path().join("certificates");
        let made = ["secrets", "--json", "--enclave-certificates", certificates.to_str().unwrap()];
        let made = remote.sandbox.run(&made).success().json();
        assert!(made["api"]["Enclave__PrivateKey_FILE"].is_string(), "{made}");
        Self { remote, certificates }
    }

    pub(crate) fn certificate(&self, name: &str) -> Vec<u8> {
        fs::read(self.certificates.join(name)).unwrap()
    }

    /// `nsl serve` of these roles, with the environment of them.
    pub(crate) fn command(&self, roles: &str, end: &str) -> Command {
        let mut command = self.remote.sandbox.nsl(&["serve", "--roles", roles]);
        for (setting, file) in [
            ("Certificate", format!("{end}.crt")),
            ("PrivateKey", format!("{end}.key")),
            ("CaCertificate", "ca.crt".to_owned()),
        ] {
            command.env(format!("Enclave__{setting}_FILE"), self.certificates.join(file));
        }
        let has = |role: &str| roles.split(',').any(|name| name == role);
        let foreign = [
            (!has("enclave"), &ENCLAVE_ONLY[..]),
            (!has("api") && !has("auth"), &API_ONLY),
            (!has("jobs"), &[JOBS_ONLY]),
        ];
        for name in foreign.into_iter().filter(|(is_foreign, _)| *is_foreign).flat_map(|(_, names)| names) {
            command.env_remove(name);
        }
        command
    }

    pub(crate) async fn enclave(&self) -> (Running, SocketAddr) {
        let mut command = self.command("enclave", "enclave");
        command.env("Enclave__Listen", "127.0.0.1:0");
        let mut running = self.remote.sandbox.start_command(command);
        running.says("\"serving other processes\"").await;
        let address = logged(&running, "\"serving other processes\"");
        (running, address)
    }

    /// The API, whose enclave is behind a relay. On a port, or any.
    pub(crate) async fn api(&self, roles: &str, relay: &Relay, port: u16) -> (Running, SocketAddr) {
        let mut command = self.command(roles, "api");
        command
            .args(["--port", &port.to_string()])
            .env("Enclave__Url", format!("https://{}", relay.address()));
        let mut running = self.remote.sandbox.start_command(command);
        running.says("\"serving\"").await;
        let address = logged(&running, "\"serving\"");
        (running, address)
    }

    /// A client of the API, logged in as the administrator.
    pub(crate) async fn client(&self, api: SocketAddr) -> Client {
        let url = format!("http://{api}");
        Client::new(&url).unwrap().with_token(&self.remote.token(&url).await).unwrap()
    }
}

fn logged(running: &Running, what: &str) -> SocketAddr {
    let said = running.stderr();
    let line = said.lines().find(|line| line.contains(what)).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    line["address"].as_str().unwrap().parse().unwrap()
}
