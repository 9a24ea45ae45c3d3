//! What can go wrong between here and the service, and what to do then.

use std::error::Error as _;
use std::fmt;

use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use serde::{Deserialize, Serialize};

/// Why there is no answer to work with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The service understood and refused.
    #[error(transparent)]
    Problem(Box<Problem>),
    /// No whole answer came: it is unknown whether a change took effect.
    #[error("no answer from {url}: {}", causes(.source))]
    Transport { url: String, source: reqwest::Error },
    /// Neither side sent anything: as above.
    #[error("no answer from {url}: nothing moved for {seconds} s")]
    Stalled { url: String, seconds: u64 },
    /// An answer came that this service does not give.
    #[error("{url} answered {status}, {what}")]
    Answer { url: String, status: u16, what: String },
    #[error("`{url}` is no address of a service: {reason}; give one such as http://localhost:8080")]
    Url { url: String, reason: String },
    /// Nothing was sent.
    #[error("the {what} `{value}` cannot be sent: {reason}")]
    Name { what: &'static str, value: String, reason: &'static str },
    #[error("the token holds characters that no header can carry; give it whole, without line ends")]
    Token,
}

impl Error {
    /// The HTTP status, where an answer came.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Problem(problem) => Some(problem.status),
            Self::Answer { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The stable code of a problem, such as `sgx.item_not_found`.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Problem(problem) => Some(&problem.code),
            _ => None,
        }
    }

    /// What to do next, where the text itself does not say it.
    pub fn next_step(&self) -> Option<String> {
        match self {
            Self::Transport { source, .. } if source.is_connect() => {
                Some("Is the service running? `nsl up` starts one here; --url names another.".to_owned())
            }
            Self::Transport { .. } | Self::Stalled { .. } => {
                Some("A change may have taken effect: read it back before you try again.".to_owned())
            }
            Self::Answer { .. } => {
                Some("Is this the address of a Neo Service Layer, and not of a proxy before it?".to_owned())
            }
            Self::Problem(problem) => problem.retry_after.map(|seconds| format!("Try again in {seconds} s.")),
            Self::Url { .. } | Self::Name { .. } | Self::Token => None,
        }
    }

    /// Reads a refusal: problem details (RFC 9457), or whatever else stood there instead.
    pub(crate) fn refusal(url: &str, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let is_problem = headers
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .is_some_and(|kind| kind.starts_with("application/problem+json"));
        let problem = is_problem.then(|| serde_json::from_slice::<Problem>(body).ok()).flatten();
        let Some(mut problem) = problem else {
            let what =
                if body.is_empty() { "with no body" } else { "with something else than problem details" };
            return Self::Answer { url: url.to_owned(), status: status.as_u16(), what: what.to_owned() };
        };
        problem.status = status.as_u16();
        problem.retry_after = headers
            .get(RETRY_AFTER)
            .and_then(|seconds| seconds.to_str().ok())
            .and_then(|text| text.parse().ok());
        Self::Problem(Box::new(problem))
    }
}

/// The library's own text names only the URL; the reason is below it.
fn causes(error: &reqwest::Error) -> String {
    let mut last = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        last = cause.to_string();
        next = cause.source();
    }
    last
}

/// A refusal of the service (RFC 9457).
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    #[serde(default)]
    pub status: u16,
    /// Stable; programs decide by it.
    pub code: String,
    /// Says what to do next.
    pub detail: String,
    /// Names the request in the operator's log.
    #[serde(default)]
    pub trace_id: String,
    /// What is wrong with single fields.
    #[serde(default)]
    pub errors: Vec<FieldError>,
    /// Seconds after which it makes sense to try again.
    #[serde(skip_deserializing)]
    pub retry_after: Option<u32>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Problem {}

/// A problem with one field of the request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct FieldError {
    /// A JSON Pointer into the body, or the name of a path, query or header parameter.
    pub pointer: String,
    pub detail: String,
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn refusal(status: u16, kind: &'static str, retry: Option<&'static str>, body: &str) -> Error {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        if let Some(seconds) = retry {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        Error::refusal("http://h", StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes())
    }

    #[test]
    fn problem_details_are_read_whole() {
        let body = r#"{"type":"urn:nsl:problem:core.invalid_body","title":"Bad Request","status":400,
            "detail":"The body does not fit.","code":"core.invalid_body","traceId":"t-1",
            "errors":[{"pointer":"/a","detail":"is no number"}]}"#;
        let error = refusal(400, "application/problem+json", Some("7"), body);
        let Error::Problem(problem) = &error else { panic!("{error}") };
        assert_eq!((problem.status, problem.trace_id.as_str()), (400, "t-1"));
        assert_eq!(
            problem.errors,
            [FieldError { pointer: "/a".to_owned(), detail: "is no number".to_owned() }]
        );
        assert_eq!(error.code(), Some("core.invalid_body"));
        assert_eq!(error.to_string(), "The body does not fit.");
        assert_eq!(error.next_step().unwrap(), "Try again in 7 s.");
    }

    #[test]
    fn what_is_no_problem_detail_is_said_to_be_none() {
        for (kind, body) in [
            ("text/html", "<html>Bad Gateway</html>"),
            ("application/problem+json", "{"),
            ("application/problem+json", r#"{"title":"of another product"}"#),
            ("application/problem+json", ""),
        ] {
            let error = refusal(502, kind, None, body);
            assert_eq!((error.status(), error.code()), (Some(502), None), "{body}");
            assert!(error.next_step().unwrap().contains("proxy"));
        }
    }
}
