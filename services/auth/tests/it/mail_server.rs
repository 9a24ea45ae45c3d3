//! A mail server (aiosmtpd), in a process of its own, and what it took.

#![expect(clippy::expect_used, reason = "without the server its tests cannot go on")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nsl_auth::{SmtpConfig, SmtpTls};
use nsl_core::config::Secret;
use nsl_testkit::eventually;
use tempfile::TempDir;

/// What the server lets in under TLS.
const PASSWORD: &str = "q7RkV2nLx0Zt";

pub(crate) struct MailServer {
    child: Child,
    folder: TempDir,
    port: u16,
    tls: SmtpTls,
}

/// A mail that was taken.
pub(crate) struct Taken {
    pub(crate) text: String,
}

impl Taken {
    pub(crate) fn to(&self) -> &str {
        self.text.lines().find_map(|line| line.strip_prefix("X-To: ")).expect("a recipient")
    }

    /// The token of the link, which stands once more on a line of its own.
    pub(crate) fn token(&self) -> String {
        let token = self.text.lines().find(|line| line.starts_with("nslm_")).expect("a token");
        assert!(self.text.contains(&format!("#token={token}")), "{}", self.text);
        token.to_owned()
    }
}

impl MailServer {
    pub(crate) fn start() -> Self {
        Self::with(SmtpTls::None, None)
    }

    /// The same port again, after [`stop`](Self::stop).
    pub(crate) fn start_again(port: u16) -> Self {
        Self::with(SmtpTls::None, Some(port))
    }

    pub(crate) fn with(tls: SmtpTls, port: Option<u16>) -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let fetched = Command::new(here.join("../../scripts/fetch-smtp.sh")).output().expect("bash");
        assert!(
            fetched.status.success(),
            "scripts/fetch-smtp.sh failed: {}",
            String::from_utf8_lossy(&fetched.stderr)
        );
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new("python3");
        command
            .arg(here.join("tests/it/smtp_server.py"))
            .arg(folder.path())
            .env("PYTHONPATH", String::from_utf8_lossy(&fetched.stdout).trim())
            .stdout(Stdio::piped());
        match tls {
            SmtpTls::None => command.arg("none"),
            SmtpTls::StartTls => command.arg("startTls"),
            SmtpTls::Tls => command.arg("tls"),
        };
        if tls != SmtpTls::None {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
            let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
            std::fs::write(&certificate, made.cert.pem()).expect("the certificate is written");
            std::fs::write(&key, made.signing_key.serialize_pem()).expect("the key is written");
            command.arg(certificate).arg(key);
        }
        if let Some(port) = port {
            command.env("SMTP_PORT", port.to_string());
        }
        let mut child = command.spawn().expect("python3");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
        let port = line.trim().parse().expect("its port");
        Self { child, folder, port, tls }
    }

    /// The configuration that leads here.
    pub(crate) fn config(&self) -> SmtpConfig {
        let is_secure = self.tls != SmtpTls::None;
        SmtpConfig {
            host: Some("localhost".to_owned()),
            port: Some(self.port),
            tls: self.tls,
            username: is_secure.then(|| "ann".to_owned()),
            password: is_secure.then(|| Secret::new(PASSWORD.to_owned())),
            root_certificate: is_secure.then(|| self.folder.path().join("cert.pem")),
            public_url: "https://app.example.org/account".to_owned(),
            ..SmtpConfig::default()
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Ends it, as an outage would.
    pub(crate) fn stop(self) {
        drop(self);
    }

    /// The mails so far, the oldest first.
    pub(crate) fn mails(&self) -> Vec<Taken> {
        let entries = std::fs::read_dir(self.folder.path()).expect("the folder");
        let mut files: Vec<PathBuf> = entries
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "eml"))
            .collect();
        files.sort();
        let read = |path: &PathBuf| std::fs::read_to_string(path).expect("a mail is text");
        files.iter().map(|path| Taken { text: read(path).replace("\r\n", "\n") }).collect()
    }

    /// Waits for so many mails.
    pub(crate) async fn wait(&self, count: usize) -> Vec<Taken> {
        eventually(Duration::from_secs(20), "mail", async || self.mails().len() >= count).await;
        self.mails()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
