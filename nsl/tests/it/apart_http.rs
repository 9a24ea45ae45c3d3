//! Requests that go through the API's process to the enclave's are answered as if both were one: every byte of the path,
//! every condition, every refusal.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::bodies::declare;
use crate::relay::Relay;
use crate::served::http;
use crate::split::Split;

/// Of an answer what a client decides by.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    code: Option<String>,
    /// Name and value, of those that are not of this one answer.
    headers: Vec<(String, String)>,
    has_body: bool,
}

/// Sends a request as it stands; no client tidies its path.
fn raw(to: SocketAddr, line: &str, headers: &[&str], body: &str) -> Answer {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let headers: Vec<&str> = headers.iter().flat_map(|header| [*header, "\r\n"]).collect();
    let headers = headers.concat();
    let request =
        format!("{line} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n{headers}{length}\r\n{body}");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{line}: {answer:?}"));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let mut headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        // Named by the request, or about the connection.
        .filter(|(name, _)| {
            !matches!(name.as_str(), "date" | "x-request-id" | "connection" | "transfer-encoding")
        })
        // The trace id in a problem has the same length, but times in an item may not.
        .filter(|(name, _)| name != "content-length")
        .collect();
    headers.sort();
    // Where it is chunked, the problem is in the first chunk.
    let json = body
        .find('{')
        .and_then(|at| serde_json::Deserializer::from_str(&body[at..]).into_iter::<Value>().next()?.ok());
    let code = json.and_then(|body| body["code"].as_str().map(str::to_owned));
    Answer { status, code, headers, has_body: !body.is_empty() }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_is_answered_as_by_one_process() {
    let split = Split::new().await;
    let (_enclave, inside) = split.enclave().await;
    let relay = Relay::to(inside).await;
    let (_api, apart) = split.api("api", &relay, 0).await;
    let whole = split.remote.serve().await;
    let together: SocketAddr = whole.url.strip_prefix("http://").unwrap().parse().unwrap();
    let token = format!("Authorization: Bearer {}", split.remote.token(&whole.url).await);
    let (json, octets) = ("Content-Type: application/json", "Content-Type: application/octet-stream");
    let items = "/api/v1/sgx/items";
    let mut differing = Vec::new();
    let mut compare = |line: String, headers: &[&str], body: &str| {
        // Each has a service of its own, so that neither meets what the other put.
        let ask = |to, service: &str| raw(to, &line.replace("SERVICE", service), headers, body);
        let (one, two) = (ask(together, "one"), ask(apart, "two"));
        if one != two {
            differing.push(format!("{line} {headers:?}:\n  together {one:?}\n  apart    {two:?}"));
        }
        two
    };
    let put = compare(format!("PUT {items}/SERVICE/value"), &[&token, octets], "sealed");
    assert_eq!(put.status, 201, "{put:?}");
    for path in [
        "SERVICE/value",
        "SERVICE/a%2Fb",
        "SERVICE/a/b",
        "SERVICE/a//b",
        "SERVICE/../SERVICE/x",
        "SERVICE/%2e%2e/x",
        "SERVICE/%2E%2E%2Fx",
        "SERVICE/%00",
        "SERVICE/%C0%AF",
        "SERVICE/%zz",
        "SERVICE/caf%C3%A9%20au%20lait?x=%2F",
        "SERVICE/",
        "SERVICE",
        "",
        "?service=SERVICE&limit=0",
        "?service=SERVICE&prefix=a%2F&limit=10",
        "?service=%zz",
    ] {
        let place = if path.starts_with('?') || path.is_empty() {
            format!("{items}{path}")
        } else {
            format!("{items}/{path}")
        };
        for (method, headers, body) in [
            ("PUT", vec![token.as_str(), octets], "x"),
            ("PUT", vec![token.as_str(), json], "{\"data\": 7}"),
            ("GET", vec![token.as_str()], ""),
            ("GET", vec![], ""),
            ("HEAD", vec![token.as_str()], ""),
            ("PATCH", vec![token.as_str()], ""),
            ("DELETE", vec![token.as_str()], ""),
        ] {
            compare(format!("{method} {place}"), &headers, body);
        }
    }
    for headers in [
        vec![token.as_str(), octets, "If-None-Match: *"],
        vec![token.as_str(), octets, "If-Match: \"7\""],
        vec![token.as_str(), octets, "If-Match: nonsense"],
        vec![token.as_str(), "Content-Type: text/html"],
        vec!["Authorization: Basic eA==", octets],
        vec!["Authorization: Bearer forged", octets],
        vec![token.as_str(), octets, "Expect: 100-continue"],
        vec![token.as_str(), octets, "X-Nsl-Origin-Address: 203.0.113.9"],
    ] {
        compare(format!("PUT {items}/SERVICE/value"), &headers, "again");
    }
    compare("GET /api/v1/sgx/nothing".to_owned(), &[&token], "");
    compare("POST /internal/v1/secrets/open".to_owned(), &[&token, json], "{}");
    let got =
        compare(format!("GET {items}/SERVICE/value"), &[&token, "Accept: application/octet-stream"], "");
    assert_eq!(got.status, 200, "{got:?}");
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    let document = async |at| -> Value {
        http().get(format!("http://{at}/api/openapi.json")).send().await.unwrap().json().await.unwrap()
    };
    assert!(document(apart).await == document(together).await, "the documents differ");

    // What a client says about where it comes from is not believed.
    let database = split.remote.test.client("postgres").await.unwrap();
    let forged = "SELECT count(*) FROM monitoring.audit_logs WHERE ip_address <> '127.0.0.1'";
    assert_eq!(database.query_one(forged, &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_body_is_refused_by_the_enclave_before_it_is_read() {
    let split = Split::new().await;
    let (_enclave, inside) = split.enclave().await;
    let relay = Relay::to(inside).await;
    let (_api, apart) = split.api("api", &relay, 0).await;
    let url = format!("http://{apart}");
    let token = split.remote.token(&url).await;
    for (kind, token, status) in [
        ("application/octet-stream", None, 401),
        ("application/octet-stream", Some(token.as_str()), 413),
        ("application/json", Some(token.as_str()), 413),
    ] {
        let answer = declare(&url, "PUT /api/v1/sgx/items/demo/value", kind, token);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{kind}: {answer}");
        assert!(answer.to_lowercase().contains("application/problem+json"), "{answer}");
    }
}
