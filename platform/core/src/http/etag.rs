//! `ETag` = version, and the conditions on it (RFC 9110 §13.1).

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::{HeaderValue, IF_MATCH, IF_NONE_MATCH};
use axum::http::request::Parts;

use super::extract;
use crate::context::Context;
use crate::error::ApiError;

/// The entity tag of a version.
pub fn etag(version: i64) -> HeaderValue {
    // Digits between quotes are always a valid header.
    HeaderValue::from_str(&format!("\"{version}\"")).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

/// What the caller says about the current version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum IfMatch {
    /// Nothing: whatever there is.
    #[default]
    Any,
    /// `If-Match: "3"` (or a list): one of these versions.
    Versions(Vec<i64>),
    /// `If-Match: *`: it has to exist.
    Exists,
    /// `If-None-Match: *`: it must not exist.
    Absent,
}

impl IfMatch {
    /// True where a thing with this version (None: there is none) meets the condition.
    pub fn holds(&self, current: Option<i64>) -> bool {
        match self {
            Self::Any => true,
            Self::Versions(versions) => current.is_some_and(|version| versions.contains(&version)),
            Self::Exists => current.is_some(),
            Self::Absent => current.is_none(),
        }
    }

    /// Reads the two headers.
    pub fn read(headers: &HeaderMap) -> Result<Self, ApiError> {
        let text = |name| {
            headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or("?").trim().to_owned())
        };
        match (text(IF_MATCH), text(IF_NONE_MATCH)) {
            (None, None) => Ok(Self::Any),
            (None, Some(none)) if none == "*" => Ok(Self::Absent),
            (Some(one), None) if one == "*" => Ok(Self::Exists),
            (Some(list), None) => list
                .split(',')
                .map(|tag| tag.trim().strip_prefix('"')?.strip_suffix('"')?.parse().ok())
                .collect::<Option<Vec<i64>>>()
                .map(Self::Versions)
                .ok_or_else(|| {
                    refused("If-Match", "takes `*` or ETags as they were answered, such as \"3\"")
                }),
            (None, Some(_)) => Err(refused("If-None-Match", "takes only `*` here")),
            (Some(_), Some(_)) => Err(refused("If-Match", "cannot stand beside If-None-Match")),
        }
    }
}

fn refused(header: &str, what: &str) -> ApiError {
    ApiError::bad_request("core.invalid_condition", format!("The header {header} {what}."))
        .at(header, what.to_owned())
}

impl FromRequestParts<Context> for IfMatch {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _context: &Context) -> Result<Self, ApiError> {
        Self::read(&parts.headers).map_err(|error| extract::refused(error, parts.extensions.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &'static str, value: &'static str) -> Result<IfMatch, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        IfMatch::read(&headers)
    }

    #[test]
    fn conditions_hold_as_rfc_9110_says() {
        assert!(read("if-match", "\"3\"").unwrap().holds(Some(3)));
        assert!(!read("if-match", "\"3\"").unwrap().holds(Some(4)));
        assert!(!read("if-match", "\"3\"").unwrap().holds(None));
        assert!(read("if-match", "\"1\", \"2\"").unwrap().holds(Some(2)));
        assert!(!read("if-match", "*").unwrap().holds(None));
        assert!(read("if-none-match", "*").unwrap().holds(None));
        assert!(!read("if-none-match", "*").unwrap().holds(Some(1)));
        for wrong in ["3", "W/\"3\"", "\"x\"", ""] {
            assert_eq!(read("if-match", wrong).unwrap_err().code, "core.invalid_condition");
        }
        assert!(read("if-none-match", "\"3\"").is_err());
    }
}
