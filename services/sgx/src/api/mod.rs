//! Request and response types, thin handlers, routes.

/// The address that a request names.
mod address;
/// Quotes of others, and the service's own.
mod attestations;
/// Many items in one request.
mod batch;
/// Values as octets, of any size.
mod content;
/// What is done to an item beside putting and deleting it.
mod item_actions;
/// One item at a time, and lists of them.
mod items;
/// Sealing policies.
mod policies;
/// Quotas and statistics.
mod quotas;
/// Sealing keys and their rotations.
mod rotations;
/// Scans of everything that a tenant has sealed.
mod scans;
/// The slots of the root key.
mod slots;
/// The versions of an item.
mod versions;

use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue};
use axum::middleware::map_response;
use axum::response::Response;
use nsl_core::Context;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::actions::Sgx;

nsl_core::permissions! {
    /// Open, look at and list sealed items.
    ReadItems = "sgx:read";
    /// Seal values.
    WriteItems = "sgx:write";
    /// Delete sealed items.
    DeleteItems = "sgx:delete";
    /// See sealing policies, make and change them.
    Policies = "sgx:policies";
    /// See quotas, set and remove them.
    Quotas = "sgx:quotas";
    /// Rotate the tenant's sealing key.
    RotateKeys = "sgx:rotate";
    /// Scan everything that the tenant has sealed.
    ScanItems = "sgx:scan";
    /// Verify quotes, and ask the service for its own.
    Attest = "sgx:attest";
    /// The root key and its slots; in tenant `default` only.
    Operate = "sgx:operate";
}

pub(crate) fn router(sgx: Arc<Sgx>) -> OpenApiRouter<Context> {
    let encrypts = sgx.encrypts();
    // The handlers' own state is the service; the extractors' is the context of every route.
    let router = routes().layer(axum::Extension(sgx));
    if encrypts { router } else { router.layer(map_response(say_unencrypted)) }
}

/// Every route with its declaration; they answer only where [`router`] adds the service.
pub(crate) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .routes(routes!(items::list_items))
        .routes(routes!(items::put_item, items::get_item, items::head_item, items::delete_item))
        .routes(routes!(batch::batch_put))
        .routes(routes!(batch::batch_get))
        .routes(routes!(versions::list_versions))
        .routes(routes!(item_actions::restore_item))
        .routes(routes!(item_actions::destroy_item))
        .routes(routes!(item_actions::copy_item))
        .routes(routes!(item_actions::rename_item))
        .routes(routes!(policies::list_policies, policies::create_policy))
        .routes(routes!(policies::get_policy, policies::replace_policy, policies::delete_policy))
        .routes(routes!(quotas::list_quotas, quotas::set_quota, quotas::remove_quota))
        .routes(routes!(quotas::statistics))
        .routes(routes!(rotations::sealing_keys))
        .routes(routes!(rotations::rotate))
        .routes(routes!(rotations::list_rotations))
        .routes(routes!(rotations::get_rotation))
        .routes(routes!(rotations::get_statement))
        .routes(routes!(scans::start_scan, scans::list_scans))
        .routes(routes!(scans::get_scan))
        .routes(routes!(attestations::verify_attestation))
        .routes(routes!(attestations::get_attestation))
        .routes(routes!(attestations::attest_service))
        .routes(routes!(slots::list_slots, slots::add_slot))
        .routes(routes!(slots::test_slot))
        .routes(routes!(slots::retire_slot))
}

const ENCRYPTION: HeaderName = HeaderName::from_static("x-nsl-encryption");

/// Where encryption is off, every answer says so.
async fn say_unencrypted(mut response: Response) -> Response {
    response.headers_mut().insert(ENCRYPTION, HeaderValue::from_static("none"));
    response
}
