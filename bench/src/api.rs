//! How each side of the comparison is asked for the same thing, and what a right answer is. Not here: who asks when
//! (`load`).

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::http::write_request;

/// The service under which the product's items lie.
pub(crate) const SERVICE: &str = "bench";
/// Bytes of a value.
pub(crate) const VALUE: usize = 1024;
/// The first bytes of a value name its key, so that a get can tell whose value it was given.
pub(crate) const MARK: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Put,
    Get,
    /// [`BATCH`] values in one request, all or none.
    PutMany,
    /// `OpenBao`'s transit: encrypts and stores nothing.
    Encrypt,
}

/// Values of a batch.
pub(crate) const BATCH: u32 = 100;

impl Operation {
    /// How many values one request is about.
    pub(crate) fn values(self) -> u32 {
        if self == Self::PutMany { BATCH } else { 1 }
    }
}

/// Whose requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    Nsl,
    /// KV version 2 at `kv/`, transit with the key `bench`.
    OpenBao,
}

impl Api {
    /// The header lines of every request of an operation.
    pub(crate) fn headers(self, operation: Operation, token: &str) -> Zeroizing<String> {
        Zeroizing::new(match (self, operation) {
            (Self::OpenBao, _) => format!("X-Vault-Token: {token}\r\nContent-Type: application/json\r\n"),
            (Self::Nsl, Operation::Get) => {
                format!("Authorization: Bearer {token}\r\nAccept: application/octet-stream\r\n")
            }
            (Self::Nsl, Operation::PutMany) => {
                format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n")
            }
            (Self::Nsl, _) => {
                format!("Authorization: Bearer {token}\r\nContent-Type: application/octet-stream\r\n")
            }
        })
    }

    /// Writes the request for one key into `out`, replacing what is there.
    pub(crate) fn write(
        self,
        operation: Operation,
        key: u32,
        value: &[u8],
        headers: &str,
        out: &mut Vec<u8>,
    ) {
        match (self, operation) {
            (Self::Nsl, Operation::Get) => write_request(out, "GET", &item(key), headers, b""),
            (Self::Nsl, _) => write_request(out, "PUT", &item(key), headers, value),
            (Self::OpenBao, Operation::Get) => write_request(out, "GET", &secret(key), headers, b""),
            (Self::OpenBao, Operation::Put | Operation::PutMany) => {
                let body = format!(r#"{{"data":{{"value":"{}"}}}}"#, STANDARD.encode(value));
                write_request(out, "POST", &secret(key), headers, body.as_bytes());
            }
            (Self::OpenBao, Operation::Encrypt) => {
                let body = format!(r#"{{"plaintext":"{}"}}"#, STANDARD.encode(value));
                write_request(out, "POST", "/v1/transit/encrypt/bench", headers, body.as_bytes());
            }
        }
    }

    /// Writes the product's batch put of these values into `out`.
    pub(crate) fn write_many(values: &[(u32, Vec<u8>)], headers: &str, out: &mut Vec<u8>) {
        let mut body = String::from(r#"{"items":["#);
        for (number, (key, value)) in values.iter().enumerate() {
            if number > 0 {
                body.push(',');
            }
            // A write into a String does not fail.
            let _done = write!(body, r#"{{"service":"{SERVICE}","key":"key-{key}","data":""#);
            STANDARD.encode_string(value, &mut body);
            body.push_str("\"}");
        }
        body.push_str("]}");
        write_request(out, "POST", "/api/v1/sgx/items/batch-put", headers, body.as_bytes());
    }

    /// Whether the body of a success is what was asked for.
    pub(crate) fn is_right(self, operation: Operation, key: u32, body: &[u8]) -> bool {
        match (self, operation) {
            (Self::Nsl, Operation::Get) => is_value_of(body, key),
            (Self::OpenBao, Operation::Get) => field(body, "value")
                .and_then(|text| STANDARD.decode(text).ok())
                .is_some_and(|value| is_value_of(&value, key)),
            (Self::OpenBao, Operation::Encrypt) => field(body, "ciphertext").is_some(),
            (_, Operation::Put | Operation::PutMany | Operation::Encrypt) => true,
        }
    }
}

fn item(key: u32) -> String {
    format!("/api/v1/sgx/items/{SERVICE}/key-{key}")
}

fn secret(key: u32) -> String {
    format!("/v1/kv/data/key-{key}")
}

/// A text field of an answer of the peer, which writes it without a space and without escapes; reading all of the JSON
/// would be the generator's cost on the peer's account.
fn field<'b>(body: &'b [u8], name: &str) -> Option<&'b str> {
    let (_, rest) = std::str::from_utf8(body).ok()?.split_once(&format!("\"{name}\":\""))?;
    rest.split_once('"').map(|(value, _)| value)
}

fn is_value_of(body: &[u8], key: u32) -> bool {
    body.len() == VALUE && body[..MARK] == key.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_names_its_key() {
        let mut value = vec![0; VALUE];
        value[..MARK].copy_from_slice(&4711u32.to_be_bytes());
        let right = |operation, key, body: &[u8]| Api::Nsl.is_right(operation, key, body);
        assert!(right(Operation::Get, 4711, &value));
        assert!(!right(Operation::Get, 4712, &value));
        assert!(!right(Operation::Get, 4711, &value[..VALUE - 1]));
        assert!(!right(Operation::Get, 4711, b"{}"));
        assert!(right(Operation::Put, 4711, b"{}"));
        let told =
            |value: &[u8]| format!(r#"{{"data":{{"data":{{"value":"{}"}}}}}}"#, STANDARD.encode(value));
        let right = |key, body: &str| Api::OpenBao.is_right(Operation::Get, key, body.as_bytes());
        assert!(right(4711, &told(&value)));
        assert!(!right(4712, &told(&value)));
        assert!(!right(4711, &told(&value[..7])));
        assert!(!right(4711, r#"{"data":{"data":null}}"#));
    }

    #[test]
    fn a_batch_is_json() {
        let mut out = Vec::new();
        Api::write_many(&[(1, b"abc".to_vec()), (33, Vec::new())], "", &mut out);
        let text = String::from_utf8(out).unwrap();
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        let json: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(json["items"][0]["data"], "YWJj");
        assert_eq!(json["items"][1]["key"], "key-33");
    }

    #[test]
    fn the_peer_is_asked_in_json() {
        let mut out = Vec::new();
        Api::OpenBao.write(Operation::Put, 7, b"abc", "X-Vault-Token: t\r\n", &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("POST /v1/kv/data/key-7 HTTP/1.1\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\n{\"data\":{\"value\":\"YWJj\"}}"), "{text}");
    }
}
