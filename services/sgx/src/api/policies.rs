//! Sealing policies.

use std::sync::Arc;

use axum::http::header::{ETAG, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use jiff::Timestamp;
use nsl_core::ApiError;
use nsl_core::http::{
    Allowed, Answer, Body, Cursor, IdempotencyKey, IfMatch, Limit, Page, Parts, Problem, Search, etag,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Policies;
use crate::actions::{PolicyEntry, Sgx};
use crate::domain::PolicyType;
use crate::domain::policy::{Definition, Rules};

fn yes() -> bool {
    true
}

/// A sealing policy to be made.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = sgx::NewPolicy)]
pub(super) struct NewPolicy {
    /// A letter, then up to 99 letters, digits, `.`, `_` and `-`.
    name: String,
    #[serde(flatten)]
    #[schema(inline)]
    body: PolicyBody,
}

/// What a sealing policy says.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = sgx::PolicyBody)]
pub(super) struct PolicyBody {
    /// Which code may open an item once the enclave is real.
    #[serde(rename = "type")]
    kind: PolicyType,
    /// At most 500 characters.
    description: Option<String>,
    /// A value expires so many hours after its put at the latest.
    expiration_hours: Option<i32>,
    /// False: nobody may read.
    #[serde(default = "yes")]
    allow_unseal: bool,
    /// A reader names a verified, fresh attestation in X-Attestation-Id.
    #[serde(default)]
    require_attestation: bool,
    /// A reader has one of these roles.
    allowed_roles: Option<Vec<String>>,
    /// So many reads of a version.
    max_reads: Option<i64>,
    /// The attested enclave's security version is at least this.
    min_isv_svn: Option<i32>,
    /// False: no value is put under it, and none read.
    #[serde(default = "yes")]
    is_active: bool,
}

/// A sealing policy.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = sgx::Policy)]
pub(super) struct PolicyView {
    name: String,
    #[serde(rename = "type")]
    kind: PolicyType,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration_hours: Option<i32>,
    allow_unseal: bool,
    require_attestation: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_roles: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_reads: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_isv_svn: Option<i32>,
    is_active: bool,
    /// Whether every tenant has it; such a policy never changes.
    built_in: bool,
    /// The ETag; a built-in policy has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    created_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    updated_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_by: Option<String>,
}

impl From<PolicyEntry> for PolicyView {
    fn from(PolicyEntry { definition, made }: PolicyEntry) -> Self {
        let Definition { name, kind, description, expiration_hours, rules, is_active } = definition;
        Self {
            name,
            kind,
            description,
            expiration_hours,
            allow_unseal: rules.allow_unseal,
            require_attestation: rules.require_attestation,
            allowed_roles: rules.allowed_roles,
            max_reads: rules.max_reads,
            min_isv_svn: rules.min_isv_svn,
            is_active,
            built_in: made.is_none(),
            version: made.as_ref().map(|made| made.version),
            created_at: made.as_ref().map(|made| made.created_at),
            updated_at: made.as_ref().map(|made| made.updated_at),
            created_by: made.as_ref().map(|made| made.created_by.clone()),
            updated_by: made.map(|made| made.updated_by),
        }
    }
}

impl PolicyBody {
    fn named(self, name: String) -> Definition {
        Definition {
            name,
            kind: self.kind,
            description: self.description,
            expiration_hours: self.expiration_hours,
            rules: Rules {
                allow_unseal: self.allow_unseal,
                require_attestation: self.require_attestation,
                allowed_roles: self.allowed_roles,
                max_reads: self.max_reads,
                min_isv_svn: self.min_isv_svn,
            },
            is_active: self.is_active,
        }
    }
}

#[derive(Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct PoliciesQuery {
    /// 1–1000, default 100.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000)]
    limit: Option<Limit>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

/// List sealing policies by name: the built-in ones and the tenant's own.
#[utoipa::path(get, path = "/policies", tag = "sgx", operation_id = "sgxListPolicies",
    params(PoliciesQuery), security(("bearer" = ["sgx:policies"])),
    responses(
        (status = 200, description = "A page", body = Page<PolicyView>),
        (status = 400, description = "A limit beyond 1000, a foreign cursor, an unknown parameter", body = Problem),
        (status = 401, description = "No valid credential", body = Problem),
        (status = 403, description = "No permission", body = Problem),
        (status = 503, description = "The database is away or busy", body = Problem)))]
pub(super) async fn list_policies(
    caller: Allowed<Policies>,
    Search(query): Search<PoliciesQuery>,
    Extension(sgx): Extension<Arc<Sgx>>,
) -> Result<Json<Page<PolicyView>>, ApiError> {
    let limit = query.limit.unwrap_or_default();
    let after: String = query.cursor.as_deref().map(Cursor::read).transpose()?.unwrap_or_default();
    if after.contains('\0') {
        return Err(Cursor::foreign());
    }
    let policies = sgx.policies(&caller, &after, i64::from(limit.0) + 1).await?;
    let views = policies.into_iter().map(PolicyView::from).collect();
    Ok(Json(Page::cut(views, limit, |view: &PolicyView| view.name.clone())?))
}

/// One sealing policy.
#[utoipa::path(get, path = "/policies/{name}", tag = "sgx", operation_id = "sgxGetPolicy",
    params(("name" = String, Path)), security(("bearer" = ["sgx:policies"])),
    responses(
        (status = 200, description = "The policy", body = PolicyView, headers(("ETag" = String))),
        (status = 401, description = "No valid credential", body = Problem),
        (status = 403, description = "No permission", body = Problem),
        (status = 404, description = "No such policy in this tenant", body = Problem),
        (status = 503, description = "The database is away or busy", body = Problem)))]
pub(super) async fn get_policy(
    caller: Allowed<Policies>,
    Parts(name): Parts<String>,
    Extension(sgx): Extension<Arc<Sgx>>,
) -> Result<Response, ApiError> {
    let view = PolicyView::from(sgx.policy(&caller, &name).await?);
    Ok((tag(&view), Json(view)).into_response())
}

/// Make a sealing policy of the tenant.
#[utoipa::path(post, path = "/policies", tag = "sgx", operation_id = "sgxCreatePolicy",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and body replays the first answer for 24 h")),
    request_body = NewPolicy, security(("bearer" = ["sgx:policies"])),
    responses(
        (status = 201, description = "The new policy", body = PolicyView, headers(("ETag" = String))),
        (status = 400, description = "Malformed", body = Problem),
        (status = 401, description = "No valid credential", body = Problem),
        (status = 403, description = "No permission", body = Problem),
        (status = 409, description = "The name is taken, or is that of a built-in policy", body = Problem),
        (status = 422, description = "What no policy can say", body = Problem),
        (status = 503, description = "The database is away or busy", body = Problem)))]
pub(super) async fn create_policy(
    caller: Allowed<Policies>,
    key: IdempotencyKey,
    Extension(sgx): Extension<Arc<Sgx>>,
    Body(request): Body<NewPolicy>,
) -> Result<Response, ApiError> {
    let once = key.bind("sgx.policies.create", &request)?;
    let new = request.body.named(request.name);
    Ok(match sgx.create_policy(&caller, &new, &once, PolicyView::from).await? {
        Answer::Made(view) => {
            let mut headers = tag(&view);
            if let Ok(location) = format!("/api/v1/sgx/policies/{}", view.name).parse() {
                headers.insert(LOCATION, location);
            }
            (StatusCode::CREATED, headers, Json(view)).into_response()
        }
        Answer::Replayed(before) => before,
    })
}

/// Replace a sealing policy of the tenant. Values that were put under it keep the rules that are bound to them; where the new
/// ones are stricter, those count too.
#[utoipa::path(put, path = "/policies/{name}", tag = "sgx", operation_id = "sgxReplacePolicy",
    params(("name" = String, Path), ("If-Match" = Option<String>, Header, description = "Only if this is the version")),
    request_body = PolicyBody, security(("bearer" = ["sgx:policies"])),
    responses(
        (status = 200, description = "The policy as it is now", body = PolicyView, headers(("ETag" = String))),
        (status = 400, description = "Malformed", body = Problem),
        (status = 401, description = "No valid credential", body = Problem),
        (status = 403, description = "No permission", body = Problem),
        (status = 404, description = "No such policy in this tenant", body = Problem),
        (status = 409, description = "`sgx.builtin_policy`", body = Problem),
        (status = 412, description = "Another version", body = Problem),
        (status = 422, description = "What no policy can say", body = Problem),
        (status = 503, description = "The database is away or busy", body = Problem)))]
pub(super) async fn replace_policy(
    caller: Allowed<Policies>,
    Parts(name): Parts<String>,
    condition: IfMatch,
    Extension(sgx): Extension<Arc<Sgx>>,
    Body(request): Body<PolicyBody>,
) -> Result<Response, ApiError> {
    let view = PolicyView::from(sgx.replace_policy(&caller, &request.named(name), &condition).await?);
    Ok((tag(&view), Json(view)).into_response())
}

/// Remove a sealing policy of the tenant. Values that were put under it keep the rules that are bound to them.
#[utoipa::path(delete, path = "/policies/{name}", tag = "sgx", operation_id = "sgxDeletePolicy",
    params(("name" = String, Path), ("If-Match" = Option<String>, Header, description = "Only if this is the version")),
    security(("bearer" = ["sgx:policies"])),
    responses(
        (status = 204, description = "Removed"),
        (status = 401, description = "No valid credential", body = Problem),
        (status = 403, description = "No permission", body = Problem),
        (status = 404, description = "No such policy in this tenant", body = Problem),
        (status = 409, description = "`sgx.builtin_policy`", body = Problem),
        (status = 412, description = "Another version", body = Problem),
        (status = 503, description = "The database is away or busy", body = Problem)))]
pub(super) async fn delete_policy(
    caller: Allowed<Policies>,
    Parts(name): Parts<String>,
    condition: IfMatch,
    Extension(sgx): Extension<Arc<Sgx>>,
) -> Result<StatusCode, ApiError> {
    sgx.remove_policy(&caller, &name, &condition).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn tag(view: &PolicyView) -> HeaderMap<HeaderValue> {
    view.version.map(|version| (ETAG, etag(version))).into_iter().collect()
}
