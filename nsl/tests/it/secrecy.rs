//! What lies on the disk: no value, no password and no token in any file of the database.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nsl_client::{Client, PutOptions};
use rustix::process::Signal;
use tokio::task::JoinSet;

use crate::installation::Installation;
use crate::random;

const VALUES: usize = 1000;
const WRITERS: usize = 16;
/// Needles are found by their first bytes.
const HEAD: usize = 8;

type Marker = [u8; 32];

/// The marker in all the forms in which it could lie somewhere.
fn forms(marker: &Marker) -> Vec<Vec<u8>> {
    let hex = hex::encode(marker);
    // 30 bytes: what stands in base64 does not depend on what follows them.
    let base64 = STANDARD.encode(&marker[..30]);
    vec![marker.to_vec(), base64.into_bytes(), hex.to_uppercase().into_bytes(), hex.into_bytes()]
}

/// A value that holds its marker raw and as two texts.
fn value(marker: &Marker) -> Vec<u8> {
    [marker.as_slice(), STANDARD.encode(marker).as_bytes(), hex::encode(marker).as_bytes()].concat()
}

/// Many texts that are looked for at once.
#[derive(Default)]
struct Needles {
    by_head: HashMap<[u8; HEAD], Vec<Vec<u8>>>,
    /// The first two bytes of each: most places are passed by one look.
    first: HashSet<[u8; 2]>,
}

impl Needles {
    fn add(&mut self, needle: Vec<u8>) {
        assert!(needle.len() >= HEAD);
        self.first.insert([needle[0], needle[1]]);
        self.by_head.entry(needle[..HEAD].try_into().unwrap()).or_default().push(needle);
    }

    /// Those that stand in the bytes.
    fn in_bytes(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut seen = vec![false; 1 << 16];
        for [a, b] in &self.first {
            seen[usize::from(u16::from_le_bytes([*a, *b]))] = true;
        }
        let mut found = Vec::new();
        for (place, head) in bytes.windows(HEAD).enumerate() {
            if seen[usize::from(u16::from_le_bytes([head[0], head[1]]))]
                && let Some(needles) = self.by_head.get(head)
            {
                found.extend(needles.iter().filter(|needle| bytes[place..].starts_with(needle)).cloned());
            }
        }
        found
    }

    /// Those that stand in any file below a folder, with the file.
    fn below(&self, folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        let mut folders = vec![folder.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
                let kind = entry.file_type().unwrap();
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file() {
                    let bytes = std::fs::read(entry.path()).unwrap();
                    found.extend(self.in_bytes(&bytes).into_iter().map(|needle| (entry.path(), needle)));
                }
            }
        }
        found
    }
}

/// Puts the values, some of them as JSON, some of them twice.
async fn put(installation: &Installation, token: &str, markers: &[Marker], keys: &str) {
    let mut writers = JoinSet::new();
    for (number, part) in markers.chunks(markers.len().div_ceil(WRITERS)).enumerate() {
        let client = Client::new(installation.url()).unwrap().with_token(token).unwrap();
        let (part, keys) = (part.to_vec(), keys.to_owned());
        writers.spawn(async move {
            for (place, marker) in part.iter().enumerate() {
                let json =
                    PutOptions { metadata: Some(serde_json::json!({ "n": place })), ..PutOptions::default() };
                let options = if place % 2 == 0 { json } else { PutOptions::default() };
                let key = format!("{keys}/{number}/{}", place / 4 * 4 + place % 4 / 2);
                client.sgx().put("markers", &key, &value(marker), &options).await.unwrap();
            }
        });
    }
    writers.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_sealed_value_password_or_token_lies_in_any_file_of_the_database() {
    let mut installation = Installation::new().await;
    let credentials = installation.credentials();
    let (name, password) =
        (credentials["username"].as_str().unwrap(), credentials["password"].as_str().unwrap());
    let tokens = Client::new(installation.url()).unwrap().login(name, password, None).await.unwrap();
    let token = tokens.access_token.expose();
    let markers: Vec<Marker> = (0..VALUES).map(|_| random()).collect();
    // What is not secret is found, so the search finds things.
    let keys = hex::encode(random::<16>());

    let (first, second) = markers.split_at(VALUES / 2);
    put(&installation, token, first, &keys).await;
    installation.stop(Signal::TERM).await;
    installation.up().await;
    put(&installation, token, second, &keys).await;
    // The session ends too: what is stored of it then is part of the search.
    let client = installation.client().await;
    client.logout(&tokens.refresh_token).await.unwrap();
    let items = client.sgx().list(Some("markers"), None, Some(1000), None).await.unwrap().items;
    let item = client.sgx().get("markers", &items[0].key).await.unwrap();
    assert!(markers.iter().any(|marker| value(marker) == *item.bytes));
    let database = installation.database("postgres").await;
    database.batch_execute("ANALYZE; CHECKPOINT").await.unwrap();

    let pg = installation.data_dir().join("pg");
    let mut known = Needles::default();
    known.add(keys.into_bytes());
    assert!(!known.below(&pg.join("base")).is_empty(), "not even a key was found in the tables");
    assert!(!known.below(&pg.join("pg_wal")).is_empty(), "not even a key was found in the WAL");

    let mut values = Needles::default();
    for form in markers.iter().flat_map(forms) {
        values.add(form);
    }
    assert_eq!(values.below(installation.data_dir()), []);
    assert_eq!(values.below(installation.sandbox.path()), []);

    let mut secrets = Needles::default();
    for secret in
        ["postgres", "neo_user", "neo_api", "neo_enclave", "neo_jobs", "jwt_secret_key", "sgx_encryption_key"]
    {
        let secret = installation.secret(secret);
        secrets.add(STANDARD.decode(&secret).unwrap());
        secrets.add(secret.into_bytes());
    }
    // Of a token the signature: its head is the same in all.
    let signature = token.rsplit('.').next().unwrap();
    for secret in [password, signature, tokens.refresh_token.expose()] {
        secrets.add(secret.as_bytes().to_vec());
    }
    let found = secrets.below(installation.data_dir());
    let places: HashSet<&Path> = found.iter().map(|(path, _)| path.as_path()).collect();
    // They are where they belong, and only there.
    assert!(places.contains(installation.data_dir().join("credentials.json").as_path()));
    for place in places {
        let below = place.strip_prefix(installation.data_dir()).unwrap();
        assert!(
            below.starts_with("secrets") || below == Path::new("credentials.json"),
            "{}",
            place.display()
        );
    }
    let said = [installation.process().stdout(), installation.process().stderr()].concat();
    assert_eq!(secrets.in_bytes(said.as_bytes()), Vec::<Vec<u8>>::new());
}
