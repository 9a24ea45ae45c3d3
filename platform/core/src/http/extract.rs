//! Extractors whose refusals are problem+json: a JSON body, path parameters, query parameters.

use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts as HttpParts;
use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::caller::Caller;
use crate::context::Context;
use crate::error::ApiError;

/// A JSON body. Unknown fields are refused by the types (`deny_unknown_fields`), with their name.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Context> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, context: &Context) -> Result<Self, ApiError> {
        let caller = request.extensions().get().cloned();
        Self::read(request, context).await.map_err(|error| refused(error, caller.as_ref()))
    }
}

impl<T: DeserializeOwned> Body<T> {
    async fn read(request: Request, context: &Context) -> Result<Self, ApiError> {
        let kind =
            request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            return Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "core.media_type",
                "The body has to be JSON: send `Content-Type: application/json`.",
            ));
        }
        // What declares itself too large is refused before a byte of it is read.
        let declared =
            request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        if declared.is_some_and(|length: usize| length > context.http().max_body_bytes.get()) {
            return Err(too_large());
        }
        let bytes = Bytes::from_request(request, context).await.map_err(|error| unread(&error))?;
        json(&bytes).map(Self)
    }
}

/// Says whose request was refused, where that is known: a public route has no caller.
pub(super) fn refused(error: ApiError, caller: Option<&Caller>) -> ApiError {
    match caller {
        Some(caller) => error.unrecorded(caller),
        None => error,
    }
}

/// Reads JSON, naming the field at fault.
pub fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let pointer = pointer(error.path());
        let cause = error.into_inner();
        let malformed = cause.is_syntax() || cause.is_eof();
        if malformed {
            return ApiError::bad_request(
                "core.malformed_json",
                format!("The body is not valid JSON: {cause}."),
            );
        }
        ApiError::bad_request("core.invalid_body", format!("The body does not fit: {cause}."))
            .at(pointer, cause.to_string())
    })?;
    deserializer.end().map_err(|error| {
        ApiError::bad_request("core.malformed_json", format!("The body is not valid JSON: {error}."))
    })?;
    Ok(value)
}

/// The path as a JSON Pointer (RFC 6901).
fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(format!("/{index}")),
            Segment::Map { key } => Some(format!("/{}", key.replace('~', "~0").replace('/', "~1"))),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}

fn too_large() -> ApiError {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "core.body_too_large",
        "The body is larger than this path takes.",
    )
}

/// What a body that could not be read means.
pub(super) fn unread(error: &BytesRejection) -> ApiError {
    match error {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => too_large(),
        other => ApiError::bad_request(
            "core.unreadable_body",
            "The body ended early or could not be read; send it again.",
        )
        .because(other.to_string()),
    }
}

/// Path parameters.
pub struct Parts<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<Context> for Parts<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut HttpParts, context: &Context) -> Result<Self, ApiError> {
        let Path(value) = Path::<T>::from_request_parts(parts, context).await.map_err(|error| {
            let error = ApiError::bad_request(
                "core.invalid_path",
                format!("The path does not fit: {}.", error.body_text()),
            );
            refused(error, parts.extensions.get())
        })?;
        Ok(Self(value))
    }
}

/// Query parameters.
pub struct Search<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Context> for Search<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut HttpParts, context: &Context) -> Result<Self, ApiError> {
        let Query(value) = Query::<T>::from_request_parts(parts, context).await.map_err(|error| {
            let error = ApiError::bad_request(
                "core.invalid_query",
                format!("The query does not fit: {}.", error.body_text()),
            );
            refused(error, parts.extensions.get())
        })?;
        Ok(Self(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[expect(dead_code, reason = "only its type matters here")]
        n: u32,
    }
    #[derive(serde::Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[expect(dead_code, reason = "only its type matters here")]
        list: Vec<Inner>,
    }

    #[test]
    fn a_wrong_body_names_its_field() {
        let error = json::<Outer>(br#"{"list":[{"n":1},{"n":"x"}]}"#).unwrap_err();
        assert_eq!((error.code, error.errors[0].pointer.as_str()), ("core.invalid_body", "/list/1/n"));
        let error = json::<Outer>(br#"{"list":[],"lost":1}"#).unwrap_err();
        assert!(error.detail.contains("lost"), "{}", error.detail);
        assert_eq!(json::<Outer>(b"{").unwrap_err().code, "core.malformed_json");
        assert_eq!(json::<Outer>(br#"{"list":[]} x"#).unwrap_err().code, "core.malformed_json");
    }
}
