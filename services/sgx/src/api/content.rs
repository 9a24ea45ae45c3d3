//! Values as octets, of any size: how a body comes in piece by piece, and how a value goes out.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use futures::StreamExt as _;
use nsl_core::http::TimeLimit;
use nsl_core::{ApiError, Caller};

use super::items::item_headers;
use crate::actions::{Piece, PutDone, Sgx, Upload, Value};
use crate::domain::Address;
use crate::error::Error;

/// So many bytes have to come within the time limit of a request: a body that trickles does not hold a connection for ever.
const MOVED: usize = 64 << 10;

/// What the header says; none for a body in chunked transfer coding.
pub(super) fn declared_length(request: &Request) -> Option<usize> {
    request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok())
}

/// Takes in a body as it comes.
pub(super) async fn take_in(
    sgx: &Arc<Sgx>,
    caller: &Caller,
    upload: Upload,
    request: Request,
) -> Result<PutDone, ApiError> {
    let (declared, limit) = (declared_length(&request), sgx.max_value_bytes());
    if declared.is_some_and(|length| length > limit) {
        let error = Error::TooLarge { limit };
        sgx.refuse_put(caller, &upload.address, &error).await?;
        return Err(error.into());
    }
    let time = request.extensions().get::<TimeLimit>().cloned();
    let taking = sgx.take_in(caller, upload);
    let mut body = request.into_body().into_data_stream();
    let (mut received, mut told) = (0, 0);
    while let Some(piece) = body.next().await {
        // It broke off: without its end nothing is stored.
        let Ok(piece) = piece else { return Ok(taking.outcome().await?) };
        received += piece.len();
        if received - told >= MOVED {
            told = received;
            time.iter().for_each(TimeLimit::moved);
        }
        if !taking.give(Piece::Bytes(piece)).await {
            return Ok(taking.outcome().await?);
        }
    }
    if declared.is_none_or(|length| length == received) {
        time.iter().for_each(TimeLimit::moved);
        taking.give(Piece::End).await;
    }
    Ok(taking.outcome().await?)
}

/// Answers with the value itself. Its audit row is committed before this returns; a value that turns out to be damaged on
/// its way breaks the connection off, so that it cannot be taken for a whole one.
pub(super) async fn give_out(
    sgx: &Arc<Sgx>,
    caller: &Caller,
    address: &Address,
) -> Result<Response, ApiError> {
    let (item, value) = sgx.get_value(caller, address).await?;
    let mut headers = item_headers(&item);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    Ok(match value {
        Value::Whole(value) => (headers, value.to_vec()).into_response(),
        Value::Streamed(chunks) => {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(item.size));
            (headers, Body::from_stream(chunks)).into_response()
        }
    })
}
