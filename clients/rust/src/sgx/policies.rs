//! Named rules: what a value that was put under one asks of its readers.

use jiff::Timestamp;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::{Sgx, condition};
use crate::error::Error;
use crate::path;

/// A policy as the service has it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    pub name: String,
    /// `MRSIGNER`, `MRENCLAVE` or `CUSTOM`.
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The longest life of a value under it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration_hours: Option<u32>,
    pub allow_unseal: bool,
    pub require_attestation: bool,
    /// Roles of which a reader needs one; none: no role is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_roles: Option<Vec<String>>,
    /// How often a version can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_reads: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_isv_svn: Option<u32>,
    pub is_active: bool,
    /// Whether it is part of the program; such a policy never changes.
    #[serde(default)]
    pub built_in: bool,
    /// Of one's own policies: one more with each change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Timestamp>,
}

/// What a policy asks for: all of it, also where it takes the place of another.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRules {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration_hours: Option<u32>,
    pub allow_unseal: bool,
    pub require_attestation: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_roles: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_reads: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_isv_svn: Option<u32>,
    pub is_active: bool,
}

impl Default for PolicyRules {
    /// Of the kind `MRSIGNER`, and no rule.
    fn default() -> Self {
        Self {
            kind: "MRSIGNER".to_owned(),
            description: None,
            expiration_hours: None,
            allow_unseal: true,
            require_attestation: false,
            allowed_roles: None,
            max_reads: None,
            min_isv_svn: None,
            is_active: true,
        }
    }
}

#[derive(Serialize)]
struct NewPolicy<'a> {
    name: &'a str,
    #[serde(flatten)]
    rules: &'a PolicyRules,
}

const POLICIES: &str = "/api/v1/sgx/policies";

impl Sgx<'_> {
    /// The built-in policies and the tenant's own.
    pub async fn policies(&self) -> Result<Vec<Policy>, Error> {
        self.all(POLICIES).await
    }

    pub async fn policy(&self, name: &str) -> Result<Policy, Error> {
        self.ask(self.client.get(&policy_path(name)?)).await
    }

    pub async fn create_policy(&self, name: &str, rules: &PolicyRules) -> Result<Policy, Error> {
        self.ask(self.client.post(POLICIES).json(&NewPolicy { name, rules })).await
    }

    /// Gives a policy other rules; with `if_match` only at this version, else 412.
    pub async fn replace_policy(
        &self,
        name: &str,
        rules: &PolicyRules,
        if_match: Option<i64>,
    ) -> Result<Policy, Error> {
        let request = self.client.request(Method::PUT, &policy_path(name)?);
        self.ask(condition(request, if_match).json(rules)).await
    }

    /// Values that were put under it keep the rules that it had then.
    pub async fn delete_policy(&self, name: &str, if_match: Option<i64>) -> Result<(), Error> {
        self.tell(condition(self.client.request(Method::DELETE, &policy_path(name)?), if_match)).await
    }
}

fn policy_path(name: &str) -> Result<String, Error> {
    Ok(format!("{POLICIES}/{}", path::segment("policy", name)?))
}
