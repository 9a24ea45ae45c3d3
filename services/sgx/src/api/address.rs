//! The address that a request names. One that cannot be is refused with an audit row: somebody with a credential tried it.

use nsl_core::http::Parts;
use nsl_core::{ApiError, Caller};

use crate::actions::Sgx;
use crate::domain::Address;
use crate::error::Error;

/// Service and key of a path, or why it is no text.
pub(super) type ItemParts = Result<Parts<(String, String)>, ApiError>;

/// The address of a path.
pub(super) async fn address(
    sgx: &Sgx,
    caller: &Caller,
    action: &'static str,
    parts: ItemParts,
) -> Result<Address, ApiError> {
    match parts {
        Ok(Parts((service, key))) => named(sgx, caller, action, service, key).await,
        Err(error) => {
            let resource = "(a path that is no text)".to_owned();
            Err(sgx.refused_request(caller, action, resource, error.into()).await.into())
        }
    }
}

/// The address of a service and a key.
pub(super) async fn named(
    sgx: &Sgx,
    caller: &Caller,
    action: &'static str,
    service: String,
    key: String,
) -> Result<Address, ApiError> {
    let resource = Address::refused(&service, &key);
    match Address::new(service, key) {
        Ok(address) => Ok(address),
        Err(violation) => {
            Err(sgx.refused_request(caller, action, resource, Error::from(violation)).await.into())
        }
    }
}
