//! Mail: wrapped into the outbox in the transaction of what it is about, and sent from there. So a mail server that is
//! away loses nothing, and nobody can tell by the time of an answer whether a mail is on its way.
//!
//! A process that dies between the server's answer and the commit sends the mail again.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lettre::message::header::{ContentTransferEncoding, ContentType};
use lettre::message::{Body, Mailbox};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::response::Category;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use nsl_core::Caller;
use nsl_core::context::Base;
use nsl_core::db::sql::Conn;
use nsl_core::db::{Audit, AuditResult, DbError, Login};
use nsl_core::ids::TenantId;
use nsl_core::ports::{ENCLAVE_AWAY, SealedSecret, SecretSealer};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::SERVICE;
use crate::config::{SmtpConfig, SmtpTls};
use crate::domain::mail::Mail;
use crate::error::{Error, StartError};
use crate::store::outbox::{self, Waiting};

/// What the wrapping binds a mail to, with its row.
pub(crate) const PURPOSE: &str = "auth.mail";
/// Mails of one step: the job holds its lease through all of them.
const BATCH: i64 = 20;
/// A server that takes longer is away.
const TIMEOUT: Duration = Duration::from_secs(15);
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(5);
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_mins(10);

/// The way to the mail server.
pub(super) struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    public_url: String,
}

impl Mailer {
    /// None where no server is configured.
    pub(super) fn new(config: &SmtpConfig) -> Result<Option<Self>, StartError> {
        config.validate()?;
        let Some(host) = config.server() else {
            return Ok(None);
        };
        let refuse = |reason: String| StartError::Mail { reason };
        let tls = match config.tls {
            SmtpTls::None => Tls::None,
            SmtpTls::StartTls => Tls::Required(parameters(host, config)?),
            SmtpTls::Tls => Tls::Wrapper(parameters(host, config)?),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(config.port())
            .tls(tls)
            .timeout(Some(TIMEOUT));
        if let (Some(username), Some(password)) = (&config.username, &config.password) {
            builder = builder.credentials(Credentials::new(username.clone(), password.expose().to_owned()));
        }
        let from = config.from.parse().map_err(|error| refuse(format!("Smtp:From: {error}")))?;
        Ok(Some(Self { transport: builder.build(), from, public_url: config.public_url.clone() }))
    }

    async fn send(&self, mail: &Mail) -> Outcome {
        let Ok(to) = mail.to.parse() else { return Outcome::Impossible };
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(mail.subject())
            .header(ContentType::TEXT_PLAIN)
            .body(body(mail.text(&self.public_url)));
        let Ok(message) = message else { return Outcome::Impossible };
        match self.transport.send(message).await {
            Ok(_) => Outcome::Sent,
            // 55x is about this mail. A refused password or a missing permission is about us, and mended by an operator.
            Err(error)
                if error.is_permanent()
                    && error.status().is_some_and(|code| code.category == Category::MailSystem) =>
            {
                Outcome::Impossible
            }
            Err(error) => Outcome::Later { server_answers: error.status().is_some(), error },
        }
    }
}

/// The text as it is, where RFC 5322 section 2.1 lets it: quoted-printable breaks links and tokens into pieces, which not
/// every reader puts together.
fn body(text: String) -> Body {
    const LONGEST_LINE: usize = 998;
    if text.is_ascii() && text.lines().all(|line| line.len() <= LONGEST_LINE) {
        let bytes = text.replace('\n', "\r\n").into_bytes();
        return Body::dangerous_pre_encoded(bytes, ContentTransferEncoding::SevenBit);
    }
    Body::new(text)
}

fn parameters(host: &str, config: &SmtpConfig) -> Result<TlsParameters, StartError> {
    let refuse = |reason: String| StartError::Mail { reason };
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(path) = &config.root_certificate {
        let pem = std::fs::read(path)
            .map_err(|error| refuse(format!("Smtp:RootCertificate cannot be read: {error}")))?;
        let certificate = Certificate::from_pem(&pem)
            .map_err(|error| refuse(format!("Smtp:RootCertificate is no certificate: {error}")))?;
        builder = builder.add_root_certificate(certificate);
    }
    builder.build().map_err(|error| refuse(format!("TLS to the mail server: {error}")))
}

enum Outcome {
    Sent,
    /// It will never be taken.
    Impossible,
    Later {
        /// Whether the server said so, rather than nobody.
        server_answers: bool,
        error: lettre::transport::smtp::Error,
    },
}

/// A mail that only the enclave opens.
pub(super) struct WrappedMail {
    id: Uuid,
    sealed: SealedSecret,
}

impl WrappedMail {
    /// Puts it into the outbox.
    pub(super) async fn post(
        self,
        conn: &impl Conn,
        now: Timestamp,
        expires: Timestamp,
    ) -> Result<(), DbError> {
        outbox::add(conn, self.id, &self.sealed.bytes, &self.sealed.root_key_id, now, expires).await?;
        Ok(())
    }
}

/// Why a mail was not opened.
enum NotOpened {
    /// The enclave is another process, and gives no answer.
    EnclaveAway,
    /// It was wrapped under another root key, or is damaged.
    Damaged,
}

/// The mails that wait, and the way to the server that takes them.
pub(crate) struct Outbox {
    base: Base,
    sealer: Arc<dyn SecretSealer>,
    /// None where no mail server is configured.
    mailer: Option<Mailer>,
}

impl Outbox {
    pub(crate) fn new(
        base: &Base,
        config: &SmtpConfig,
        sealer: Arc<dyn SecretSealer>,
    ) -> Result<Self, StartError> {
        Ok(Self { base: base.clone(), sealer, mailer: Mailer::new(config)? })
    }

    /// Wraps a mail, or nothing, for requests that must look the same whether or not there is something to send.
    pub(super) async fn wrap(&self, mail: Option<&Mail>) -> crate::Result<WrappedMail> {
        let id = Uuid::now_v7();
        let bytes = Zeroizing::new(serde_json::to_vec(&mail).map_err(Error::internal)?);
        let sealed = self.sealer.seal(PURPOSE, &id.to_string(), &bytes).await.map_err(Error::Enclave)?;
        Ok(WrappedMail { id, sealed })
    }

    /// None for a row that only looks like a mail.
    async fn open(&self, waiting: &Waiting) -> Result<Option<Mail>, NotOpened> {
        let sealed =
            SealedSecret { bytes: waiting.wrapped.clone(), root_key_id: waiting.root_key_id.clone() };
        match self.sealer.open(PURPOSE, &waiting.id.to_string(), &sealed).await {
            Ok(opened) => serde_json::from_slice(&opened).map_err(|_| NotOpened::Damaged),
            Err(error) if error.code == ENCLAVE_AWAY => Err(NotOpened::EnclaveAway),
            Err(_) => Err(NotOpened::Damaged),
        }
    }

    /// Whether mail can be sent at all.
    pub(crate) fn has_server(&self) -> bool {
        self.mailer.is_some()
    }

    /// Sends what is due. With the server away, the rest waits for the next step.
    pub(crate) async fn send(&self) -> Result<(), DbError> {
        let Some(mailer) = &self.mailer else { return Ok(()) };
        let now = self.base.clock.now();
        for waiting in outbox::due(&self.base.db.global(Login::Jobs), now, BATCH).await? {
            let id = waiting.id;
            let outcome = match self.open(&waiting).await {
                Ok(Some(mail)) => mailer.send(&mail).await,
                Ok(None) => {
                    outbox::remove(&self.base.db.write(Login::Jobs, TenantId::DEFAULT), id).await?;
                    continue;
                }
                Err(NotOpened::EnclaveAway) => {
                    tracing::debug!("mail waits until the enclave's process answers");
                    return Ok(());
                }
                Err(NotOpened::Damaged) => {
                    tracing::error!(mail = %id, "a mail in auth.outbox does not open under the present root key");
                    self.postpone(&waiting).await?;
                    continue;
                }
            };
            match outcome {
                Outcome::Sent => self.forget(id, AuditResult::Success).await?,
                Outcome::Impossible => {
                    tracing::warn!(mail = %id, "the mail server refused a mail, or its address is none");
                    self.forget(id, AuditResult::Failure).await?;
                }
                Outcome::Later { server_answers, error } => {
                    tracing::warn!(mail = %id, %error, "a mail was not sent; it is tried again");
                    self.postpone(&waiting).await?;
                    if !server_answers {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    async fn forget(&self, id: Uuid, result: AuditResult) -> Result<(), DbError> {
        let caller = Caller::system(TenantId::DEFAULT, "auth.mail");
        let mut work = self.base.db.begin(Login::Jobs, &caller).await?;
        outbox::remove(&work, id).await?;
        work.audit(Audit::new(SERVICE, "SEND_MAIL", "mail", id.to_string(), result));
        work.commit().await
    }

    async fn postpone(&self, waiting: &Waiting) -> Result<(), DbError> {
        let next = self.base.clock.now() + pause(waiting.tries);
        outbox::postpone(&self.base.db.write(Login::Jobs, TenantId::DEFAULT), waiting.id, next).await?;
        Ok(())
    }
}

/// Twice as long after each try.
fn pause(tries: i32) -> SignedDuration {
    let doublings = tries.clamp(0, 10);
    FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ascii_goes_as_it_is_and_anything_else_encoded() {
        let link = format!("{}\n", "x".repeat(200));
        assert_eq!(body(link.clone()).into_vec(), link.replace('\n', "\r\n").into_bytes());
        for text in ["x".repeat(999), "Grüße, 安娜\n".to_owned()] {
            let body = body(text);
            assert_ne!(body.encoding(), ContentTransferEncoding::SevenBit);
            assert!(body.into_vec().is_ascii());
        }
    }

    #[test]
    fn pauses_grow_and_have_an_end() {
        let seconds: Vec<i64> = (0..9).map(|tries| pause(tries).as_secs()).collect();
        assert_eq!(seconds, [5, 10, 20, 40, 80, 160, 320, 600, 600]);
        assert_eq!(pause(i32::MAX), LONGEST_PAUSE);
    }
}
