//! Sealed storage: values that the service keeps encrypted, addressed by a service's name and a key; below them the
//! policies, quotas, keys and scans that stand around them.

/// Quotes of enclaves, and what the service holds of them.
mod attestations;
/// Many items in one request.
mod batches;
/// Former versions, and what is done with them.
mod history;
/// Items and lists of them.
mod items;
/// Named rules of reads.
mod policies;
/// Sealing keys, their rotation, and the statement at its end.
mod rotations;
/// Scans of everything that is sealed.
mod scans;
/// The keys that open the root key.
mod slots;
/// Values of any length, piece by piece.
mod streams;
/// How much is kept, and how much may be.
mod usage;

use reqwest::header::{ETAG, HeaderMap, HeaderName, IF_MATCH};
use reqwest::{Method, RequestBuilder};
use serde::de::DeserializeOwned;

use crate::client::{Answer, Client};
use crate::error::Error;
use crate::page::Page;
use crate::path;

pub use attestations::{Attestation, AttestationPolicy, OwnQuote, Reason, VerifyQuote};
pub use batches::{BatchItem, Refusal};
pub use history::{Destroyed, VersionInfo};
pub use items::{GetOptions, Item, ItemHead, ItemInfo, Items, ListFilter, Put, PutOptions, Record};
pub use policies::{Policy, PolicyRules};
pub use rotations::{NewRotation, Rotation, SealingKey, SealingKeys};
pub use scans::{Finding, Scan};
pub use slots::Slot;
pub use streams::Download;
pub use usage::{Quota, ServiceUsage, Statistics};

/// The sealed storage of a tenant. From [`Client::sgx`].
pub struct Sgx<'c> {
    client: &'c Client,
}

impl Client {
    pub fn sgx(&self) -> Sgx<'_> {
        Sgx { client: self }
    }
}

impl Sgx<'_> {
    /// The largest page that the service gives: fewest round trips.
    const PAGE: u16 = 1000;

    fn item(&self, method: Method, service: &str, key: &str) -> Result<RequestBuilder, Error> {
        let (service, key) = (path::segment("service", service)?, path::rest("key", key)?);
        Ok(self.client.request(method, &format!("/api/v1/sgx/items/{service}/{key}")))
    }

    async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Error> {
        self.client.call(request).await?.json()
    }

    async fn tell(&self, request: RequestBuilder) -> Result<(), Error> {
        self.client.call(request).await.map(|_| ())
    }

    /// All of a list, page after page.
    async fn all<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, Error> {
        let mut all = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut request = self.client.get(path).query(&[("limit", Self::PAGE)]);
            if let Some(cursor) = &cursor {
                request = request.query(&[("cursor", cursor)]);
            }
            let page: Page<T> = self.ask(request).await?;
            all.extend(page.items);
            match page.next_cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(all),
            }
        }
    }
}

/// Only at this version; else 412.
fn condition(request: RequestBuilder, if_match: Option<i64>) -> RequestBuilder {
    match if_match {
        Some(version) => request.header(IF_MATCH, format!("\"{version}\"")),
        None => request,
    }
}

fn version(answer: &Answer) -> Result<i64, Error> {
    etag(&answer.headers).ok_or_else(|| answer.unexpected("without an ETag that is a version"))
}

fn etag(headers: &HeaderMap) -> Option<i64> {
    header(headers, ETAG)?.strip_prefix('"')?.strip_suffix('"')?.parse().ok()
}

fn header(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
