//! Keys, addresses and signatures of wallets that others wrote, against ours. Each test takes 20 random keys.

use jiff::{SignedDuration, Timestamp, ToSpan as _};
use k256::ecdsa::SigningKey;
use nsl_chain::n3::{Form, Nep20Challenge, Nep20Layout, Nep20Response};
use nsl_chain::sign_in::{self, Account, DateTime, Expected, Proof, Refusal, SignIn};
use nsl_chain::{Network, evm, n3};
use nsl_crypto::random;
use serde_json::{Value, json};

use crate::wallets::{javascript, python};

const KEYS: usize = 20;
const SALT: &str = "543e66d70a56506f0a69aff35f25f794";

/// Random private keys in hex. All but one in 2^32 of such numbers are good for both curves.
fn keys() -> Vec<String> {
    let key = || {
        let mut bytes = [0; 32];
        random::fill(&mut bytes);
        hex::encode(bytes)
    };
    std::iter::repeat_with(key).take(KEYS).collect()
}

/// Texts of many lengths, past the borders of Neo's length prefix, with characters of one to four bytes.
fn text(at: usize) -> String {
    format!("Anmeldung {at}: größer als ∅ 🦀\n").repeat(at * at / 4)
}

fn field<T: std::str::FromStr>(result: &Value, name: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    result[name].as_str().unwrap().parse().unwrap()
}

/// Lets a wallet sign 20 texts in every form that it has, and checks them and the accounts behind them.
fn n3_messages(wallet: fn(&[Value]) -> Vec<Value>) {
    let tasks: Vec<Value> = keys()
        .iter()
        .enumerate()
        .map(|(at, key)| {
            let salt = if at % 2 == 0 { "" } else { SALT };
            json!({ "do": "n3", "key": key, "text": format!("{salt}{}", text(at)) })
        })
        .collect();
    for (at, result) in wallet(&tasks).iter().enumerate() {
        let public_key: n3::PublicKey = field(result, "publicKey");
        let address: n3::Address = field(result, "address");
        assert_eq!(public_key.address(), address);
        assert_eq!(address.to_string(), result["address"]);
        assert_eq!(public_key.script_hash(), field(result, "scriptHash"));
        if result.get("uncompressed").is_some() {
            assert_eq!(public_key, field(result, "uncompressed"));
        }
        let salt = if at % 2 == 0 { None } else { Some(SALT) };
        let forms = [("plain", Form::Plain), ("classic", Form::Classic), ("transaction", Form::Transaction)];
        for (name, form) in forms.into_iter().filter(|(name, _)| result.get(name).is_some()) {
            let signature = field(result, name);
            let verified = n3::verify(&text(at), salt, &signature, &public_key).unwrap();
            assert_eq!((verified.address, verified.form), (address, form));
            let other = format!("{}.", text(at));
            assert_eq!(n3::verify(&other, salt, &signature, &public_key), Err(n3::MessageError::Signature));
        }
    }
}

#[test]
#[ignore = "needs wallets from npm: make test-chains"]
fn neon_signs_n3_messages() {
    n3_messages(javascript);
}

#[test]
#[ignore = "needs a wallet from PyPI: make test-chains"]
fn neo_mamba_signs_n3_messages() {
    n3_messages(python);
}

#[test]
#[ignore = "needs a wallet from PyPI: make test-chains"]
fn neo_mamba_answers_nep20_challenges() {
    let now: Timestamp = "2026-11-24T22:00:00Z".parse().unwrap();
    let challenges: Vec<_> = keys()
        .into_iter()
        .enumerate()
        .map(|(at, key)| {
            let nonce = u64::MAX - u64::try_from(at).unwrap();
            let challenge = Nep20Challenge::new("app.example.com", &[860_833_102, 42], nonce, now);
            (json!({ "do": "nep20", "key": key, "challenge": challenge }), challenge)
        })
        .collect();
    let tasks: Vec<_> = challenges.iter().map(|(task, _)| task.clone()).collect();
    for (result, (_, challenge)) in python(&tasks).into_iter().zip(&challenges) {
        let address = field(&result, "address");
        let response: Nep20Response = serde_json::from_value(result).unwrap();
        let authenticated = response.verify(challenge, now + 5.minutes(), now + 2.seconds()).unwrap();
        assert_eq!(authenticated.address, address);
        assert_eq!(authenticated.network, Network::N3_MAINNET);
        assert_eq!(authenticated.layout, Nep20Layout::Accepted);
        let elsewhere = Nep20Challenge::new("evil.example.org", challenge.networks(), challenge.nonce(), now);
        assert!(response.verify(&elsewhere, now + 5.minutes(), now + 2.seconds()).is_err());
    }
}

#[test]
#[ignore = "needs wallets from npm: make test-chains"]
fn ethers_signs_evm_messages() {
    let keys = keys();
    let tasks: Vec<Value> = keys
        .iter()
        .enumerate()
        .map(|(at, key)| json!({ "do": "evm", "key": format!("0x{key}"), "text": text(at) }))
        .collect();
    for (at, (result, key)) in javascript(&tasks).iter().zip(&keys).enumerate() {
        let ours = SigningKey::from_slice(&hex::decode(key).unwrap()).unwrap();
        let address =
            evm::Address::from_public_key(ours.verifying_key().to_sec1_point(true).as_bytes()).unwrap();
        assert_eq!(address.to_string(), result["address"]);
        let public_key = hex::decode(result["publicKey"].as_str().unwrap().trim_start_matches("0x")).unwrap();
        assert_eq!(evm::Address::from_public_key(&public_key), Ok(address));
        let signature = field(result, "signature");
        assert_eq!(evm::recover(text(at).as_bytes(), &signature), Ok(address));
        assert_ne!(evm::recover(b"another text", &signature), Ok(address));
    }
}

fn login(account: Account, now: Timestamp) -> SignIn {
    SignIn {
        scheme: None,
        domain: "app.example.com:8443".to_owned(),
        account,
        statement: Some("Sign in to the Neo Service Layer.".to_owned()),
        uri: "https://app.example.com:8443/login".to_owned(),
        nonce: "n0nce12345".to_owned(),
        issued_at: now.into(),
        expiration_time: Some((now + 5.minutes()).into()),
        not_before: Some(now.into()),
        request_id: Some("login-7".to_owned()),
        resources: Some(vec!["https://app.example.com:8443/terms".to_owned()]),
    }
}

fn expected(network: Network) -> Expected<'static> {
    let max_age = SignedDuration::from_mins(5);
    Expected { origin: "https://app.example.com:8443", network, nonce: "n0nce12345", max_age }
}

/// A first pass tells the accounts, so that the texts of the second can name them.
fn accounts(kind: &str, keys: &[String]) -> Vec<Value> {
    javascript(&keys.iter().map(|key| json!({ "do": kind, "key": key, "text": "" })).collect::<Vec<_>>())
}

#[test]
#[ignore = "needs wallets from npm: make test-chains"]
fn ethers_accounts_sign_in_with_texts_that_siwe_reads() {
    let now: Timestamp = "2026-11-24T22:00:00Z".parse().unwrap();
    let keys: Vec<String> = keys().iter().map(|key| format!("0x{key}")).collect();
    let messages: Vec<SignIn> = accounts("evm", &keys)
        .iter()
        .map(|result| login(Account::Evm { address: field(result, "address"), chain_id: 47_763 }, now))
        .collect();
    let texts: Vec<String> = messages.iter().map(|message| message.text().unwrap()).collect();
    let tasks: Vec<Value> =
        keys.iter().zip(&texts).map(|(key, text)| json!({ "do": "evm", "key": key, "text": text })).collect();
    for ((result, text), message) in javascript(&tasks).iter().zip(&texts).zip(&messages) {
        let signature = field(result, "signature");
        let proof = Proof::Evm { signature: &signature };
        let expected = expected(Network::NEO_X_MAINNET);
        assert_eq!(sign_in::verify(text, &proof, &expected, now).as_ref(), Ok(message));
        let elsewhere = Expected { origin: "https://evil.example.org", ..expected };
        assert_eq!(sign_in::verify(text, &proof, &elsewhere, now), Err(Refusal::Domain));
        let changed = text.replace("Sign in to", "Sign in at");
        assert_eq!(sign_in::verify(&changed, &proof, &expected, now), Err(Refusal::Signature));
    }
    // siwe reads the fields that we wrote.
    let tasks: Vec<Value> = texts.iter().map(|text| json!({ "do": "siweRead", "text": text })).collect();
    for (read, message) in javascript(&tasks).iter().zip(&messages) {
        assert_eq!(
            *read,
            json!({
                "domain": message.domain, "address": message.account.to_string(), "statement": message.statement,
                "uri": message.uri, "version": "1", "chainId": 47_763, "nonce": message.nonce,
                "issuedAt": "2026-11-24T22:00:00Z", "expirationTime": "2026-11-24T22:05:00Z",
                "notBefore": "2026-11-24T22:00:00Z", "requestId": "login-7", "resources": message.resources,
            })
        );
    }
}

#[test]
#[ignore = "needs wallets from npm: make test-chains"]
fn we_read_the_texts_that_siwe_writes() {
    let full = json!({
        "scheme": "https", "domain": "example.com:3388", "address": "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2",
        "statement": "I accept the ExampleOrg Terms of Service: https://example.com/tos",
        "uri": "https://example.com/login", "version": "1", "chainId": 1, "nonce": "32891756",
        "issuedAt": "2021-09-30T16:25:24.000Z", "expirationTime": "2021-10-30T16:25:24+02:00",
        "notBefore": "2021-09-30T16:25:24Z", "requestId": "some%20id",
        "resources": ["ipfs://bafybeiemxf5abjwjbikoz4mc3a3dla6ual3jsgpdr4cjr3oz3evfyavhwq/", "https://example.com/my-web2-claim.json"],
    });
    // Each optional field left out in turn, and all of them.
    let optional = ["scheme", "statement", "expirationTime", "notBefore", "requestId", "resources"];
    let mut tasks = vec![json!({ "do": "siweWrite", "fields": full })];
    let without = |names: &[&str]| {
        let mut fields = full.clone();
        fields.as_object_mut().unwrap().retain(|name, _| !names.contains(&name.as_str()));
        json!({ "do": "siweWrite", "fields": fields })
    };
    tasks.extend(optional.iter().map(|name| without(&[*name])));
    tasks.push(without(&optional));
    for (text, task) in javascript(&tasks).iter().zip(&tasks) {
        let text = text.as_str().unwrap();
        let message: SignIn = text.parse().unwrap_or_else(|error| panic!("{error}:\n{text}"));
        assert_eq!(message.text().unwrap(), text);
        let fields = &task["fields"];
        let time = |time: Option<&DateTime>| time.map(ToString::to_string);
        let read = json!({
            "scheme": message.scheme, "domain": message.domain, "address": message.account.to_string(),
            "statement": message.statement, "uri": message.uri, "nonce": message.nonce,
            "issuedAt": message.issued_at.to_string(), "expirationTime": time(message.expiration_time.as_ref()),
            "notBefore": time(message.not_before.as_ref()), "requestId": message.request_id,
            "resources": message.resources,
        });
        for (name, value) in read.as_object().unwrap() {
            assert_eq!(*value, fields[name.as_str()], "{name} of\n{text}");
        }
    }
}

#[test]
#[ignore = "needs wallets from npm: make test-chains"]
fn neon_accounts_sign_in() {
    let now: Timestamp = "2026-11-24T22:00:00Z".parse().unwrap();
    let keys = keys();
    let texts: Vec<String> = accounts("n3", &keys)
        .iter()
        .map(|result| Account::N3 { address: field(result, "address"), magic: 860_833_102 })
        .map(|account| login(account, now).text().unwrap())
        .collect();
    let tasks: Vec<Value> = keys
        .iter()
        .zip(&texts)
        .map(|(key, text)| json!({ "do": "n3", "key": key, "text": format!("{SALT}{text}") }))
        .collect();
    for (result, text) in javascript(&tasks).iter().zip(&texts) {
        let public_key = field(result, "publicKey");
        for form in ["plain", "classic", "transaction"] {
            let signature = field(result, form);
            let proof = Proof::N3 { signature: &signature, public_key: &public_key, salt: Some(SALT) };
            let expected = expected(Network::N3_MAINNET);
            let message = sign_in::verify(text, &proof, &expected, now).unwrap();
            assert_eq!(message.account.to_string(), result["address"]);
            let testnet = Expected { network: Network::N3_TESTNET, ..expected };
            assert_eq!(sign_in::verify(text, &proof, &testnet, now), Err(Refusal::Network));
            assert_eq!(sign_in::verify(text, &proof, &expected, now + 5.minutes()), Err(Refusal::Expired));
            let unsalted = Proof::N3 { signature: &signature, public_key: &public_key, salt: None };
            assert_eq!(sign_in::verify(text, &unsalted, &expected, now), Err(Refusal::Signature));
        }
    }
}
