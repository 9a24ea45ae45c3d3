//! The peer: `OpenBao` on the same PostgreSQL, in a database of its own, its connection pool tuned and its file audit on.
//! Not here: what is asked of it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use serde_json::json;
use tokio::process::{Child, Command};
use tokio::time::sleep;
use zeroize::Zeroizing;

use crate::api::{Api, Operation};
use crate::db::{OWNER, VAULT};
use crate::http::{Connection, write_request};
use crate::instance::Instance;
use crate::load::Target;

const READY: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// The program.
pub(crate) struct OpenBao {
    program: PathBuf,
    pub version: String,
}

/// A server that is unsealed and has its mounts. Killed when dropped.
pub(crate) struct Vault {
    _server: Child,
    address: SocketAddr,
    token: Zeroizing<String>,
}

/// Of a vault that is thrown away with all that it holds.
#[derive(Deserialize)]
struct Initialized {
    keys_base64: Vec<String>,
    root_token: String,
}

impl OpenBao {
    pub(crate) async fn find(program: Option<&Path>) -> anyhow::Result<Self> {
        let program = program.context(
            "OpenBao, the peer, is not named: run `make bench-sgx`, set NSL_OPENBAO to what \
             scripts/fetch-openbao.sh prints, or leave it out with --peer none",
        )?;
        let output = Command::new(program)
            .arg("version")
            .env_clear()
            .stdin(Stdio::null())
            .output()
            .await
            .with_context(|| format!("{} does not start", program.display()))?;
        let told = String::from_utf8_lossy(&output.stdout);
        let version = told.split(' ').nth(1).filter(|_| output.status.success());
        let version = version.with_context(|| format!("{} is no OpenBao", program.display()))?.to_owned();
        Ok(Self { program: program.to_owned(), version })
    }

    /// Starts it on the product's PostgreSQL; its database is there.
    pub(crate) async fn start(&self, instance: &Instance) -> anyhow::Result<Vault> {
        let dir = instance.beside("openbao");
        fs::create_dir(&dir).context("no directory can be made for OpenBao")?;
        // Free now; whoever takes it until the server binds it fails the run.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let config = dir.join("openbao.hcl");
        fs::write(&config, configuration(address, &dir))?;
        let password = instance.password(OWNER)?;
        let database = Zeroizing::new(format!(
            "postgres://{OWNER}:{}@/{VAULT}?host={}&port={}&sslmode=disable",
            *escape(&password),
            *escape(&instance.socket_dir.to_string_lossy()),
            instance.pg_port
        ));
        let log = dir.join("openbao.log");
        let server = Command::new(&self.program)
            .arg("server")
            .arg("-config")
            .arg(&config)
            .env_clear()
            // Not in the file, and not in the process list.
            .env("BAO_PG_CONNECTION_URL", &*database)
            .stdin(Stdio::null())
            .stdout(fs::File::create(&log)?)
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} does not start", self.program.display()))?;
        let mut vault = Vault { _server: server, address, token: Zeroizing::new(String::new()) };
        vault.set_up().await.with_context(|| {
            let log = fs::read_to_string(&log).unwrap_or_default();
            format!("OpenBao cannot be set up; its log ends with: {}", log.lines().last().unwrap_or_default())
        })?;
        Ok(vault)
    }
}

/// max_idle_connections: without it each operation connects anew, and is five times as slow.
fn configuration(address: SocketAddr, dir: &Path) -> String {
    format!(
        "storage \"postgresql\" {{\n  max_parallel = \"128\"\n  max_idle_connections = 64\n}}\n\
         listener \"tcp\" {{\n  address = \"{address}\"\n  tls_disable = true\n}}\n\
         audit \"file\" \"bench\" {{\n  options {{ file_path = \"{}\" }}\n}}\n\
         api_addr = \"http://{address}\"\n",
        dir.join("audit.log").display()
    )
}

impl Vault {
    pub(crate) fn target(&self, operation: Operation) -> Target {
        Target::new(Api::OpenBao, self.address, operation, [self.token.as_str()])
    }

    async fn set_up(&mut self) -> anyhow::Result<()> {
        let begin = Instant::now();
        while Connection::open(self.address).await.is_err() {
            ensure!(begin.elapsed() < READY, "it does not listen after {} s", READY.as_secs());
            sleep(POLL).await;
        }
        let shares = json!({ "secret_shares": 1, "secret_threshold": 1 });
        let made: Initialized = serde_json::from_slice(&self.ask("PUT", "sys/init", &shares).await?)?;
        let key = made.keys_base64.first().context("it answered no unseal key")?;
        self.ask("PUT", "sys/unseal", &json!({ "key": key })).await?;
        self.token = Zeroizing::new(made.root_token);
        self.ask("POST", "sys/mounts/kv", &json!({ "type": "kv", "options": { "version": "2" } })).await?;
        self.ask("POST", "sys/mounts/transit", &json!({ "type": "transit" })).await?;
        self.ask("POST", "transit/keys/bench", &json!({ "type": "aes256-gcm96" })).await?;
        // A new mount refuses until it has become one of version 2.
        while let Err(error) = self.ask("POST", "kv/data/ready", &json!({ "data": {} })).await {
            ensure!(begin.elapsed() < READY, error);
            sleep(POLL).await;
        }
        Ok(())
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        body: &serde_json::Value,
    ) -> anyhow::Result<Zeroizing<Vec<u8>>> {
        let headers = Api::OpenBao.headers(Operation::Put, &self.token);
        let body = Zeroizing::new(body.to_string());
        let mut request = Zeroizing::new(Vec::new());
        write_request(&mut request, method, &format!("/v1/{path}"), &headers, body.as_bytes());
        let mut connection = Connection::open(self.address).await?;
        let answer = connection.exchange(&request).await?;
        if !answer.is_success() {
            bail!("{path} answers {}: {}", answer.status, String::from_utf8_lossy(answer.body).trim());
        }
        Ok(Zeroizing::new(answer.body.to_vec()))
    }
}

/// For a part of a URL (RFC 3986).
fn escape(text: &str) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(3 * text.len()));
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for digit in [byte >> 4, byte & 15] {
                out.extend(char::from_digit(digit.into(), 16));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_survives_the_url() {
        assert_eq!(&**escape("a-b_c.~9"), "a-b_c.~9");
        assert_eq!(&**escape("/p:@?ü"), "%2fp%3a%40%3f%c3%bc");
    }

    #[test]
    fn the_configuration_names_the_pool_and_the_audit() {
        let text = configuration(SocketAddr::from((Ipv4Addr::LOCALHOST, 8200)), Path::new("/d"));
        for line in
            ["max_idle_connections = 64", "address = \"127.0.0.1:8200\"", "file_path = \"/d/audit.log\""]
        {
            assert!(text.contains(line), "{text}");
        }
    }
}
