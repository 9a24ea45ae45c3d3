//! Bodies that are too large are refused by what they declare, before a byte of them is read.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::served::Remote;

const GIGABYTE: u64 = 1 << 30;

/// Sends the head of a request that declares a body, never sends the body, and reads the answer's head.
pub(crate) fn declare(url: &str, request: &str, kind: &str, token: Option<&str>) -> String {
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    // A service that waits for the body does not answer at all.
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let credential = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let head = format!(
        "{request} HTTP/1.1\r\nHost: {address}\r\nContent-Type: {kind}\r\n{credential}\
         Content-Length: {GIGABYTE}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(&part[..length]),
            Err(error) => panic!("{request}: no answer before the body ({error})"),
        }
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_body_is_refused_before_it_is_read() {
    let remote = Remote::new().await;
    let served = remote.serve().await;
    let token = remote.token(&served.url).await;
    let (octets, json) = ("application/octet-stream", "application/json");
    for (request, kind, token, status) in [
        ("PUT /api/v1/sgx/items/demo/value", octets, None, 401),
        ("PUT /api/v1/sgx/items/demo/value", json, None, 401),
        ("PUT /api/v1/sgx/items/demo/value", octets, Some("forged"), 401),
        ("PUT /api/v1/sgx/items/demo/value", octets, Some(token.as_str()), 413),
        ("PUT /api/v1/sgx/items/demo/value", json, Some(token.as_str()), 413),
        ("POST /api/v1/auth/users", json, None, 401),
        ("POST /api/v1/auth/users", json, Some(token.as_str()), 413),
        ("POST /api/v1/auth/login", json, None, 413),
        ("POST /api/v1/auth/refresh", json, None, 413),
    ] {
        let answer = declare(&served.url, request, kind, token);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}, {kind}: {answer}");
        assert!(answer.to_lowercase().contains("application/problem+json"), "{request}: {answer}");
    }
}
