//! The sections that the platform itself owns: the database, HTTP and logging. A service's section lives in
//! that service.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::connection::ConnectionString;
use super::error::ConfigError;
use super::registry::Section;
use super::secret::Secret;

const REQUEST_TIMEOUT_SECONDS: NonZeroU64 = match NonZeroU64::new(30) {
    Some(seconds) => seconds,
    None => NonZeroU64::MIN,
};

/// Room for a batch of sealed values of 1 MiB each, which base64 makes a third larger.
const MAX_BODY_BYTES: NonZeroUsize = match NonZeroUsize::new(16 << 20) {
    Some(bytes) => bytes,
    None => NonZeroUsize::MIN,
};

const ANONYMOUS_PER_MINUTE: NonZeroU32 = NonZeroU32::MIN.saturating_add(99);
const LOGIN_PER_MINUTE: NonZeroU32 = NonZeroU32::MIN.saturating_add(99);
const KEY_OPERATIONS_PER_MINUTE: NonZeroU32 = NonZeroU32::MIN.saturating_add(19);

/// The platform's sections, to be registered beside those of the services.
pub fn platform_sections() -> Result<Vec<Section>, ConfigError> {
    let mut database =
        Section::of::<DatabaseConfig>("Database")?.variable("POSTGRES_PASSWORD", "Roles:neo_user:Password");
    for role in ["neo_user", "neo_api", "neo_enclave", "neo_jobs"] {
        database = database.secret(&format!("Roles:{role}:Password"));
    }
    Ok(vec![
        Section::of::<ConnectionStringsConfig>("ConnectionStrings")?.connection_string("DefaultConnection"),
        database,
        Section::of::<HttpConfig>("Http")?.secret("ScrapeToken"),
        Section::of::<RateLimitConfig>("RateLimit")?,
        Section::of::<LoggingConfig>("Logging")?,
    ])
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct ConnectionStringsConfig {
    #[serde(skip_serializing)]
    pub default_connection: Option<Secret>,
}

impl ConnectionStringsConfig {
    /// The one database of this installation.
    pub fn default_connection(&self) -> Result<ConnectionString, ConfigError> {
        let key = || "ConnectionStrings:DefaultConnection".to_owned();
        let text = self.default_connection.as_ref().filter(|text| !text.expose().trim().is_empty());
        let text = text.ok_or_else(|| ConfigError::ConnectionMissing { key: key() })?;
        ConnectionString::parse(text.expose())
            .map_err(|source| ConfigError::Connection { key: key(), source })
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct DatabaseConfig {
    pub roles: RolesConfig,
    /// Where the PostgreSQL programs are, when the search for them finds none or the wrong ones.
    pub bin_dir: Option<PathBuf>,
    /// Connections of each pool at most; without it, `Maximum Pool Size` of the connection string.
    pub max_pool_size: Option<NonZeroU32>,
}

/// The login roles, under their names in the database.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RolesConfig {
    /// The owner: migrations and backup only. No serving process is given it.
    pub neo_user: RoleConfig,
    pub neo_api: RoleConfig,
    pub neo_enclave: RoleConfig,
    pub neo_jobs: RoleConfig,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct RoleConfig {
    #[serde(skip_serializing)]
    pub password: Option<Secret>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct HttpConfig {
    pub listen: SocketAddr,
    pub request_timeout_seconds: NonZeroU64,
    pub max_body_bytes: NonZeroUsize,
    /// Opens `/metrics` to callers beyond loopback that present it.
    #[serde(skip_serializing)]
    pub scrape_token: Option<Secret>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            request_timeout_seconds: REQUEST_TIMEOUT_SECONDS,
            max_body_bytes: MAX_BODY_BYTES,
            scrape_token: None,
        }
    }
}

/// Requests taken in a minute.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct RateLimitConfig {
    /// Of each block of addresses, on routes that need no credential.
    pub anonymous_per_minute: NonZeroU32,
    /// Of each block of addresses, logins.
    pub login_per_minute: NonZeroU32,
    /// Of each caller, what makes, rotates or revokes keys.
    pub key_operations_per_minute: NonZeroU32,
}

impl Default for RateLimitConfig {
    fn default() -> Self {
        Self {
            anonymous_per_minute: ANONYMOUS_PER_MINUTE,
            login_per_minute: LOGIN_PER_MINUTE,
            key_operations_per_minute: KEY_OPERATIONS_PER_MINUTE,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct LoggingConfig {
    pub format: LogFormat,
    /// A level, or a filter by target such as `info,nsl_sgx=debug`.
    pub level: String,
}

impl Default for LoggingConfig {
    fn default() -> Self {
        Self { format: LogFormat::Auto, level: "info".to_owned() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Human on a terminal, JSON elsewhere.
    Auto,
    Human,
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Registry, Sources};

    fn load(env: &[(&str, &str)]) -> Config {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let registry = Registry::new(platform_sections().unwrap()).unwrap();
        Config::load(&registry, Sources { env, ..Sources::default() }).unwrap()
    }

    #[test]
    fn the_defaults_read_back() {
        let config = load(&[]);
        let http: HttpConfig = config.section("Http").unwrap();
        assert_eq!(http.listen.to_string(), "127.0.0.1:8080");
        assert_eq!((http.request_timeout_seconds.get(), http.max_body_bytes.get()), (30, 16 << 20));
        assert!(http.scrape_token.is_none());
        let logging: LoggingConfig = config.section("Logging").unwrap();
        assert_eq!((logging.format, logging.level.as_str()), (LogFormat::Auto, "info"));
        let database: DatabaseConfig = config.section("Database").unwrap();
        assert!(database.bin_dir.is_none() && database.max_pool_size.is_none());
        let connections: ConnectionStringsConfig = config.section("ConnectionStrings").unwrap();
        let refusal = connections.default_connection().err().unwrap().to_string();
        assert!(refusal.starts_with("ConnectionStrings:DefaultConnection is not set"), "{refusal}");
    }

    #[test]
    fn variables_reach_their_settings() {
        let config = load(&[
            ("ConnectionStrings__DefaultConnection", "Host=db;Database=neo_service_layer;Username=neo_user"),
            ("POSTGRES_PASSWORD", "one"),
            ("Database__Roles__neo_enclave__Password", "two"),
            ("DATABASE__MAXPOOLSIZE", "12"),
            ("Http__Listen", "[::1]:9000"),
            ("Logging__Format", "JSON"),
        ]);
        let connections: ConnectionStringsConfig = config.section("ConnectionStrings").unwrap();
        assert_eq!(connections.default_connection().unwrap().database, "neo_service_layer");
        let database: DatabaseConfig = config.section("Database").unwrap();
        assert_eq!(database.roles.neo_user.password.unwrap().expose(), "one");
        assert_eq!(database.roles.neo_enclave.password.unwrap().expose(), "two");
        assert!(database.roles.neo_api.password.is_none());
        assert_eq!(database.max_pool_size.unwrap().get(), 12);
        assert_eq!(config.section::<HttpConfig>("Http").unwrap().listen.port(), 9000);
        assert_eq!(config.section::<LoggingConfig>("Logging").unwrap().format, LogFormat::Json);
    }

    #[test]
    fn a_limit_of_nothing_is_refused() {
        for name in ["Http__RequestTimeoutSeconds", "Http__MaxBodyBytes"] {
            let refusal = load(&[(name, "0")]).section::<HttpConfig>("Http").err().unwrap().to_string();
            assert!(refusal.contains(name), "{refusal}");
        }
    }
}
