//! The sections of this service. Section `Jwt`: how access tokens are signed and how long tokens live.

/// Section `Auth`: who may register, who needs a second factor, and when guessing is stopped.
mod policy;
/// Section `Smtp`: the server that takes our mail.
mod smtp;
/// Section `Wallet`: who may sign in with a wallet, and what it signs.
mod wallet;

use jiff::SignedDuration;
use nsl_core::config::{Config, ConfigError, HttpConfig, Secret, Section, check_strength};
use serde::{Deserialize, Serialize};

pub use self::policy::AuthConfig;
pub use self::smtp::{SmtpConfig, SmtpTls};
pub(crate) use self::wallet::Site;
pub use self::wallet::WalletConfig;

/// RFC 7518 section 3.2: an HS256 key has at least the size of the hash.
const MIN_SECRET_BYTES: usize = 32;
/// An access token holds its permissions until it ends, so it does not live longer than a day.
const MAX_ACCESS_MINUTES: u32 = 24 * 60;
const MAX_REFRESH_DAYS: u32 = 365;
const MAX_ROTATION_DAYS: u32 = 365;

/// How access tokens are signed. One algorithm is accepted, whatever a token's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// Ed25519 with a random key that the enclave wraps; anyone can verify by `/.well-known/jwks.json`.
    EdDSA,
    /// HMAC with `JWT_SECRET_KEY`, for services that share it.
    HS256,
}

/// The configuration of authentication.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "PascalCase")]
pub struct JwtConfig {
    pub algorithm: Algorithm,
    pub issuer: String,
    pub audience: String,
    pub access_token_minutes: u32,
    pub refresh_token_days: u32,
    /// How long a key signs before the next one does (EdDSA).
    pub key_rotation_days: u32,
    /// Whether tokens that the legacy system signed with `JWT_SECRET_KEY` are accepted until they expire.
    pub accept_legacy_tokens: bool,
    #[serde(skip_serializing)]
    pub secret_key: Option<Secret>,
}

impl Default for JwtConfig {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::EdDSA,
            issuer: "neo-service-layer".to_owned(),
            audience: "neo-service-layer".to_owned(),
            access_token_minutes: 15,
            refresh_token_days: 30,
            key_rotation_days: 30,
            accept_legacy_tokens: false,
            secret_key: None,
        }
    }
}

/// What this service is configured by: one field per section.
#[derive(Default)]
pub struct Sections {
    pub jwt: JwtConfig,
    pub auth: AuthConfig,
    pub smtp: SmtpConfig,
    pub wallet: WalletConfig,
}

impl Sections {
    /// The sections for the configuration's registry.
    pub fn known() -> Result<Vec<Section>, ConfigError> {
        Ok(vec![
            Section::of::<JwtConfig>("Jwt")?.secret("SecretKey").variable("JWT_SECRET_KEY", "SecretKey"),
            Section::of::<AuthConfig>("Auth")?,
            Section::of::<SmtpConfig>("Smtp")?.secret("Password"),
            Section::of::<WalletConfig>("Wallet")?,
        ])
    }

    /// The sections of a loaded configuration.
    pub fn read(config: &Config) -> Result<Self, ConfigError> {
        let (wallet, http): (WalletConfig, HttpConfig) = (config.section("Wallet")?, config.section("Http")?);
        Ok(Self {
            jwt: config.section("Jwt")?,
            auth: config.section("Auth")?,
            smtp: config.section("Smtp")?,
            wallet: wallet.or_at(http.listen),
        })
    }
}

impl JwtConfig {
    /// The shared secret. It is required with EdDSA too, so that a change of the algorithm never meets a weak one.
    pub(crate) fn secret(&self) -> Result<&Secret, ConfigError> {
        Ok(check_strength("JWT_SECRET_KEY", self.secret_key.as_ref(), MIN_SECRET_BYTES)?)
    }

    /// How long an access token and a refresh token live.
    pub(crate) fn lifetimes(&self) -> Lifetimes {
        Lifetimes {
            access: SignedDuration::from_mins(self.access_token_minutes.into()),
            refresh: SignedDuration::from_hours(i64::from(self.refresh_token_days) * 24),
        }
    }

    /// How long a signing key signs.
    pub(crate) fn rotation(&self) -> SignedDuration {
        SignedDuration::from_hours(i64::from(self.key_rotation_days) * 24)
    }

    /// Refuses what cannot work or would make tokens that live too long.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        self.secret()?;
        self.validate_rules()
    }

    /// The same for a process that only checks tokens, which needs no secret for those of EdDSA.
    pub(crate) fn validate_rules(&self) -> Result<(), ConfigError> {
        let refuse = |key: &str, reason: String| ConfigError::Value {
            key: format!("Jwt:{key}"),
            origin: "section Jwt".to_owned(),
            reason,
        };
        for (key, text) in [("Issuer", &self.issuer), ("Audience", &self.audience)] {
            if text.trim().is_empty() || text.contains(char::is_control) {
                return Err(refuse(key, "expected a name of visible characters".to_owned()));
            }
        }
        for (key, value, most) in [
            ("AccessTokenMinutes", self.access_token_minutes, MAX_ACCESS_MINUTES),
            ("RefreshTokenDays", self.refresh_token_days, MAX_REFRESH_DAYS),
            ("KeyRotationDays", self.key_rotation_days, MAX_ROTATION_DAYS),
        ] {
            if !(1..=most).contains(&value) {
                return Err(refuse(key, format!("expected a number from 1 to {most}")));
            }
        }
        Ok(())
    }
}

/// How long tokens live.
#[derive(Clone, Copy)]
pub(crate) struct Lifetimes {
    pub(crate) access: SignedDuration,
    pub(crate) refresh: SignedDuration,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_secret(secret: Option<&str>) -> JwtConfig {
        JwtConfig { secret_key: secret.map(|secret| Secret::new(secret.to_owned())), ..JwtConfig::default() }
    }

    const STRONG: &str = "q7RkV2nLx0Zt5WmBc9Ye3HsJd8UfGa1P";

    #[test]
    fn the_secret_is_required_and_strong() {
        assert!(with_secret(Some(STRONG)).validate().is_ok());
        for (secret, says) in [
            (None, "missing"),
            (Some("q7RkV2nLx0Zt5WmB"), "shorter than 32 bytes"),
            (Some("your_jwt_secret_key_at_least_32_characters_long"), "example"),
        ] {
            let error = with_secret(secret).validate().unwrap_err().to_string();
            assert!(error.contains("JWT_SECRET_KEY") && error.contains(says), "{error}");
            assert!(error.contains("nsl secrets"), "{error}");
        }
    }

    #[test]
    fn lifetimes_have_bounds() {
        for (access, refresh, at_fault) in [
            (0, 30, "AccessTokenMinutes"),
            (1441, 30, "AccessTokenMinutes"),
            (15, 0, "RefreshTokenDays"),
            (15, 366, "RefreshTokenDays"),
        ] {
            let config = JwtConfig {
                access_token_minutes: access,
                refresh_token_days: refresh,
                ..with_secret(Some(STRONG))
            };
            let error = config.validate().unwrap_err().to_string();
            assert!(error.contains(at_fault), "{error}");
        }
        let config = JwtConfig { issuer: " ".to_owned(), ..with_secret(Some(STRONG)) };
        assert!(config.validate().unwrap_err().to_string().contains("Jwt:Issuer"));
    }
}
