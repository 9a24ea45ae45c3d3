//! Configuration: what the operator chose, and where each choice came from.
//!
//! Four layers, each over the one before it: the defaults that a section's owner registers, `appsettings.json`
//! with `${VAR}` expanded, environment variables, command-line flags. Keys are PascalCase, matched without
//! regard to case, and joined by `:` in messages (`SGX:Database:EnableEncryption`), as .NET does. A key that no
//! section knows is refused by name: a setting that is silently not there is how encryption stays off.
//!
//! Here belong the layers, the sections that the platform itself owns, connection strings and secrets. A
//! service's section is a type in that service; it registers itself through [`Registry`].

mod connection;
mod deserialize;
mod environment;
mod error;
mod file;
mod registry;
mod secret;
mod sections;
mod show;
mod tree;

use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde_json::Value;

pub use self::connection::{Address, ConnectionString, ConnectionStringError, Host, SslMode};
pub use self::error::ConfigError;
pub use self::registry::{Registry, Section};
pub use self::secret::{Secret, SecretError, check_strength, fresh};
pub use self::sections::{
    ConnectionStringsConfig, DatabaseConfig, HttpConfig, LogFormat, LoggingConfig, RateLimitConfig,
    RoleConfig, RolesConfig, platform_sections,
};
pub use self::show::Row;

use self::environment::Environment;
use self::registry::SecretPath;
use self::tree::{Kind, Node, Origin, key_of};

/// Read when no file is named and it is there.
const DEFAULT_FILE: &str = "appsettings.json";

/// Where the layers above the defaults come from.
#[derive(Default)]
pub struct Sources {
    /// A file that must exist. Without one, `appsettings.json` of the working directory is read if it is there.
    pub file: Option<PathBuf>,
    pub env: Vec<(String, String)>,
    /// Setting (`Http:Listen`) and value, for each flag that was given.
    pub flags: Vec<(String, Value)>,
}

impl Sources {
    /// The environment of this process, with the file and the flags of its command line.
    pub fn of_process(file: Option<PathBuf>, flags: Vec<(String, Value)>) -> Self {
        // `vars` panics at a variable that is not UTF-8, which may have nothing to do with this program.
        let env = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self { file, env: env.collect(), flags }
    }
}

/// The settings in effect. Its texts are zeroized when it is dropped, since some of them are secrets.
pub struct Config {
    root: Node,
    secrets: Vec<SecretPath>,
}

impl Config {
    /// Lays the sources over the registered defaults. Refuses what no registered section knows.
    pub fn load(registry: &Registry, sources: Sources) -> Result<Self, ConfigError> {
        let shape = registry.defaults();
        let mut root = Node::from_value(shape.clone(), &Origin::Default);
        let environment = Environment::new(sources.env);

        let file = match sources.file {
            Some(path) => Some(path),
            None => Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.is_file()),
        };
        if let Some(path) = file {
            let layer = file::read(&path, registry, &environment)?;
            root.overlay(&shape, layer, &mut Vec::new())?;
        }
        environment::apply(&mut root, &shape, registry, &environment)?;
        for (key, value) in sources.flags {
            let segments: Vec<String> = key.split(':').map(str::to_owned).collect();
            root.place(&shape, &segments, Node::from_value(value, &Origin::Flag), &mut Vec::new())?;
        }

        root.visit(&mut Vec::new(), &mut |at, node| match node.kind() {
            Kind::Unresolved(variable) => Err(ConfigError::Unresolved {
                key: key_of(at),
                variable: variable.clone(),
                origin: node.origin().to_string(),
            }),
            _ => Ok(()),
        })?;
        Ok(Self { root, secrets: registry.secrets().cloned().collect() })
    }

    /// One section as its owner's type. Texts stand for booleans and numbers where the type asks for those,
    /// because the environment knows nothing but text.
    pub fn section<T: DeserializeOwned>(&self, name: &str) -> Result<T, ConfigError> {
        let node = self
            .root
            .get(&[name.to_owned()])
            .ok_or_else(|| ConfigError::NotRegistered { section: name.to_owned() })?;
        serde_path_to_error::deserialize(deserialize::Reader(node)).map_err(|error| {
            let mut at = vec![name.to_owned()];
            at.extend(error.path().iter().filter_map(|segment| match segment {
                serde_path_to_error::Segment::Seq { index } => Some(index.to_string()),
                serde_path_to_error::Segment::Map { key } => Some(key.clone()),
                _ => None,
            }));
            let origin = self.root.get(&at).unwrap_or(node).origin().to_string();
            ConfigError::Value { key: key_of(&at), origin, reason: error.into_inner().to_string() }
        })
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};
    use serde_json::json;

    use super::*;

    #[derive(Deserialize, Serialize, Debug, PartialEq)]
    #[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
    struct Sgx {
        enable_hardware_mode: bool,
        database: SgxDatabase,
        peers: Vec<String>,
        limit: Option<u32>,
        ratio: f64,
    }

    #[derive(Deserialize, Serialize, Debug, PartialEq)]
    #[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
    struct SgxDatabase {
        enable_encryption: bool,
        data_retention_days: u32,
        #[serde(skip_serializing)]
        encryption_key: Option<String>,
    }

    impl Default for Sgx {
        fn default() -> Self {
            Self {
                enable_hardware_mode: false,
                database: SgxDatabase::default(),
                peers: vec!["first".into(), "second".into()],
                limit: None,
                ratio: 0.5,
            }
        }
    }

    impl Default for SgxDatabase {
        fn default() -> Self {
            Self { enable_encryption: true, data_retention_days: 90, encryption_key: None }
        }
    }

    fn registry() -> Registry {
        let sgx = Section::of::<Sgx>("SGX")
            .unwrap()
            .secret("Database:EncryptionKey")
            .variable("SGX_ENCRYPTION_KEY", "Database:EncryptionKey");
        Registry::new(platform_sections().unwrap().into_iter().chain([sgx])).unwrap()
    }

    struct Given {
        dir: tempfile::TempDir,
        sources: Sources,
    }

    fn given(file: &Value) -> Given {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("appsettings.json");
        std::fs::write(&path, file.to_string()).unwrap();
        Given { dir, sources: Sources { file: Some(path), ..Sources::default() } }
    }

    impl Given {
        fn env(mut self, name: &str, value: &str) -> Self {
            self.sources.env.push((name.into(), value.into()));
            self
        }

        fn secret_file(self, variable: &str, content: &str) -> Self {
            let path = self.dir.path().join("secret");
            std::fs::write(&path, content).unwrap();
            let path = path.to_str().unwrap().to_owned();
            self.env(variable, &path)
        }

        fn flag(mut self, key: &str, value: Value) -> Self {
            self.sources.flags.push((key.into(), value));
            self
        }

        fn load(self) -> Result<Config, ConfigError> {
            Config::load(&registry(), self.sources)
        }

        fn sgx(self) -> Sgx {
            self.load().unwrap().section("SGX").unwrap()
        }

        fn refusal(self) -> String {
            match self.load() {
                Ok(config) => config.section::<Sgx>("SGX").unwrap_err().to_string(),
                Err(error) => error.to_string(),
            }
        }
    }

    #[test]
    fn each_layer_lies_over_the_one_before() {
        assert_eq!(given(&json!({})).sgx(), Sgx::default());
        let file = json!({"sgx": {"Database": {"DATARETENTIONDAYS": 30, "EnableEncryption": false}}});
        assert_eq!(given(&file).sgx().database.data_retention_days, 30);
        let sgx = given(&file).env("SGX__Database__DataRetentionDays", "20").sgx();
        assert_eq!((sgx.database.data_retention_days, sgx.database.enable_encryption), (20, false));
        let given = given(&file)
            .env("SGX__Database__DataRetentionDays", "20")
            .flag("SGX:Database:DataRetentionDays", 10.into());
        assert_eq!(given.sgx().database.data_retention_days, 10);
    }

    #[test]
    fn variables_match_without_case_and_take_the_type_of_the_setting() {
        let sgx = given(&json!({}))
            .env("sgx__ENABLEHARDWAREMODE", "True")
            .env("SGX__Database__EnableEncryption", "0")
            .env("SGX__Limit", "7")
            .env("SGX__Ratio", "0.25")
            .sgx();
        assert!(sgx.enable_hardware_mode && !sgx.database.enable_encryption);
        assert_eq!(sgx.limit, Some(7));
        assert!((sgx.ratio - 0.25).abs() < f64::EPSILON);
    }

    #[test]
    fn lists_are_set_by_index_and_replace_the_default_list() {
        let sgx = given(&json!({})).env("SGX__Peers__0", "only").sgx();
        assert_eq!(sgx.peers, ["only"]);
        let mut many = given(&json!({"SGX": {"Peers": ["a", "b"]}}));
        for index in 1..12 {
            many = many.env(&format!("SGX__Peers__{index}"), &format!("p{index}"));
        }
        let peers = many.sgx().peers;
        assert_eq!((peers.len(), peers[0].as_str(), peers[11].as_str()), (12, "a", "p11"));
        let refusal = given(&json!({})).env("SGX__Peers__3", "x").refusal();
        assert!(refusal.contains("SGX:Peers:3") && refusal.contains("SGX__Peers__3"), "{refusal}");
    }

    #[test]
    fn an_unknown_setting_is_refused_with_the_nearest_name() {
        let refusal = given(&json!({"SGX": {"Database": {"EnableEncrypton": true}}})).refusal();
        assert!(refusal.starts_with("SGX:Database:EnableEncrypton is not a setting"), "{refusal}");
        assert!(refusal.contains("did you mean EnableEncryption?"), "{refusal}");
        let refusal = given(&json!({})).env("SGX__Databse__EnableEncryption", "true").refusal();
        assert!(refusal.contains("SGX:Databse") && refusal.contains("did you mean Database?"), "{refusal}");
        assert!(refusal.contains("SGX__Databse__EnableEncryption"), "{refusal}");
        let refusal = given(&json!({"Sgxx": {}})).refusal();
        assert!(
            refusal.contains("Sgxx is not a section") && refusal.contains("did you mean SGX?"),
            "{refusal}"
        );
        let refusal = given(&json!({})).flag("SGX:Nothing", 1.into()).refusal();
        assert!(refusal.contains("SGX:Nothing") && refusal.contains("EnableHardwareMode"), "{refusal}");
    }

    #[test]
    fn variables_of_other_programs_and_empty_ones_are_left_alone() {
        let sgx = given(&json!({}))
            .env("OTHER__Thing", "x")
            .env("SGX", "x")
            .env("PATH", "/bin")
            .env("SGX__Database__DataRetentionDays", "")
            .sgx();
        assert_eq!(sgx, Sgx::default());
    }

    #[test]
    fn references_in_the_file_are_expanded() {
        let file = json!({"SGX": {"Database": {"EncryptionKey": "<${ONE}-${TWO}-$${ONE}-$>", "DataRetentionDays": "${TWO}"}}});
        let sgx = given(&file).env("ONE", "a").env("TWO", "2").sgx();
        assert_eq!(sgx.database.encryption_key.as_deref(), Some("<a-2-${ONE}-$>"));
        assert_eq!(sgx.database.data_retention_days, 2);
    }

    #[test]
    fn a_reference_to_nothing_is_refused_unless_a_later_layer_decides() {
        let file = json!({"SGX": {"Database": {"EncryptionKey": "${SGX_ENCRYPTION_KEY}"}}});
        let refusal = given(&file).refusal();
        assert!(
            refusal.contains("SGX:Database:EncryptionKey") && refusal.contains("SGX_ENCRYPTION_KEY"),
            "{refusal}"
        );
        // The guide's file and the guide's table of variables name the same secret in two ways.
        let sgx = given(&file).env("SGX__Database__EncryptionKey", "from the table").sgx();
        assert_eq!(sgx.database.encryption_key.as_deref(), Some("from the table"));
        let sgx = given(&file).secret_file("SGX_ENCRYPTION_KEY_FILE", "from a file\n").sgx();
        assert_eq!(sgx.database.encryption_key.as_deref(), Some("from a file"));
    }

    #[test]
    fn a_malformed_reference_is_refused() {
        for text in ["${", "${A", "${}", "${A-B}", "${A:-b}"] {
            let refusal = given(&json!({"SGX": {"Peers": [text]}})).env("A", "1").refusal();
            assert!(refusal.contains("SGX:Peers:0") && refusal.contains("$${"), "{text}: {refusal}");
        }
    }

    #[test]
    fn a_secret_comes_by_each_of_its_names() {
        for name in ["SGX_ENCRYPTION_KEY", "SGX__Database__EncryptionKey", "sgx__database__encryptionkey"] {
            let sgx = given(&json!({})).env(name, "key").sgx();
            assert_eq!(sgx.database.encryption_key.as_deref(), Some("key"), "{name}");
            let sgx = given(&json!({})).secret_file(&format!("{name}_FILE"), " key \r\n").sgx();
            assert_eq!(sgx.database.encryption_key.as_deref(), Some(" key "), "{name}_FILE");
        }
    }

    #[test]
    fn two_values_for_one_secret_are_refused_without_showing_them() {
        let both = given(&json!({}))
            .env("SGX_ENCRYPTION_KEY", "hush")
            .secret_file("SGX_ENCRYPTION_KEY_FILE", "hush");
        let refusal = both.refusal();
        assert!(refusal.contains("SGX_ENCRYPTION_KEY_FILE") && !refusal.contains("hush"), "{refusal}");
        let differ =
            given(&json!({})).env("SGX_ENCRYPTION_KEY", "hush").env("SGX__Database__EncryptionKey", "quiet");
        let refusal = differ.refusal();
        assert!(
            refusal.contains("SGX_ENCRYPTION_KEY") && refusal.contains("SGX__Database__EncryptionKey"),
            "{refusal}"
        );
        assert!(!refusal.contains("hush") && !refusal.contains("quiet"), "{refusal}");
        let same =
            given(&json!({})).env("SGX_ENCRYPTION_KEY", "hush").env("SGX__Database__EncryptionKey", "hush");
        assert_eq!(same.sgx().database.encryption_key.as_deref(), Some("hush"));
    }

    #[test]
    fn a_missing_secret_file_is_refused_by_the_name_of_the_variable() {
        let refusal = given(&json!({})).env("SGX_ENCRYPTION_KEY_FILE", "/nonexistent/secret").refusal();
        assert!(
            refusal.contains("SGX_ENCRYPTION_KEY_FILE") && refusal.contains("/nonexistent/secret"),
            "{refusal}"
        );
    }

    #[test]
    fn a_value_of_the_wrong_type_is_named_with_its_origin_and_not_shown() {
        let refusal = given(&json!({})).env("SGX__Database__EnableEncryption", "hunter2").refusal();
        assert!(refusal.contains("SGX:Database:EnableEncryption"), "{refusal}");
        assert!(
            refusal.contains("SGX__Database__EnableEncryption") && refusal.contains("boolean"),
            "{refusal}"
        );
        assert!(!refusal.contains("hunter2"), "{refusal}");
        let refusal = given(&json!({"SGX": {"Database": {"EncryptionKey": 123_456}}})).refusal();
        assert!(refusal.contains("SGX:Database:EncryptionKey") && !refusal.contains("123456"), "{refusal}");
        let refusal = given(&json!({"SGX": {"Database": true}})).refusal();
        assert!(refusal.contains("SGX:Database") && refusal.contains("group"), "{refusal}");
        let refusal = given(&json!({})).env("SGX__Database", "x").refusal();
        assert!(refusal.contains("SGX:Database") && refusal.contains("group"), "{refusal}");
    }

    #[test]
    fn a_named_file_must_exist_and_be_an_object() {
        let sources = Sources { file: Some("/nonexistent/settings.json".into()), ..Sources::default() };
        let refusal = Config::load(&registry(), sources).err().unwrap().to_string();
        assert!(refusal.contains("/nonexistent/settings.json"), "{refusal}");
        assert!(given(&json!([1])).refusal().contains("object"));
        let broken = given(&json!({}));
        std::fs::write(broken.dir.path().join("appsettings.json"), "{\"SGX\": }").unwrap();
        assert!(broken.refusal().contains("line 1"));
    }

    #[test]
    fn null_in_the_file_leaves_the_default() {
        let sgx =
            given(&json!({"$schema": "x", "SGX": {"EnableHardwareMode": null, "Database": null}})).sgx();
        assert_eq!(sgx, Sgx::default());
    }

    #[test]
    fn a_section_that_nobody_registered_is_an_error() {
        let config = given(&json!({})).load().unwrap();
        assert!(config.section::<Value>("Oracle").unwrap_err().to_string().contains("Oracle"));
    }
}
