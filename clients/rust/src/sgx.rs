//! Sealed items: values that the service keeps encrypted, addressed by a service's name and a key.
//!
//! Bytes travel as `application/octet-stream`. A put that says more about the item than its bytes (metadata,
//! policy, expiry) is JSON with the bytes in base64, a third larger on the way.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use reqwest::header::{
    ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, IF_MATCH, IF_NONE_MATCH,
};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::client::{Answer, Client};
use crate::error::Error;
use crate::page::Page;
use crate::path;
use crate::secret::Secret;

const OCTETS: &str = "application/octet-stream";

/// What an item is, without its value.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemInfo {
    pub service: String,
    pub key: String,
    pub version: i64,
    /// Bytes of the value.
    pub size: u64,
    /// Bytes at rest.
    pub sealed_size: u64,
    /// `sha256:<hex>`.
    pub fingerprint: String,
    /// The sealing policy: `MRSIGNER` or `MRENCLAVE`.
    pub policy: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub expires_at: Option<Timestamp>,
}

/// A put that succeeded.
#[derive(Clone, Debug)]
pub struct Put {
    /// False where a value was replaced.
    pub created: bool,
    pub item: ItemInfo,
}

/// A value. Wiped when dropped.
pub struct Item {
    pub bytes: Zeroizing<Vec<u8>>,
    pub version: i64,
}

/// A value with all that is known about it.
pub struct Record {
    pub info: ItemInfo,
    pub bytes: Zeroizing<Vec<u8>>,
}

/// That an item is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemHead {
    pub version: i64,
    /// Bytes of the value, where the service tells.
    pub size: Option<u64>,
}

/// Conditions of a put, and what it says besides the bytes. Default: put whatever is there.
#[derive(Clone, Debug, Default)]
pub struct PutOptions {
    /// Only over this version; else 412.
    pub if_match: Option<i64>,
    /// Only where there is no such item (`If-None-Match: *`); else 412.
    pub if_none_match: bool,
    /// A JSON object, not encrypted.
    pub metadata: Option<Value>,
    pub policy: Option<String>,
    pub expires_at: Option<Timestamp>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PutBody<'a> {
    data: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

/// The sealed items of a service. From [`Client::sgx`].
pub struct Sgx<'c> {
    client: &'c Client,
}

impl Client {
    pub fn sgx(&self) -> Sgx<'_> {
        Sgx { client: self }
    }
}

impl<'c> Sgx<'c> {
    pub async fn put(
        &self,
        service: &str,
        key: &str,
        bytes: &[u8],
        options: &PutOptions,
    ) -> Result<Put, Error> {
        let mut request = self.item(Method::PUT, service, key)?;
        request = condition(request, options.if_match);
        if options.if_none_match {
            request = request.header(IF_NONE_MATCH, "*");
        }
        let bare = options.metadata.is_none() && options.policy.is_none() && options.expires_at.is_none();
        request = if bare {
            request.header(CONTENT_TYPE, OCTETS).body(bytes.to_vec())
        } else {
            let data = Zeroizing::new(STANDARD.encode(bytes));
            request.json(&PutBody {
                data: &data,
                metadata: options.metadata.as_ref(),
                policy: options.policy.as_deref(),
                expires_at: options.expires_at,
            })
        };
        let answer = self.client.call(request).await?;
        Ok(Put { created: answer.status == StatusCode::CREATED, item: answer.json()? })
    }

    /// The current value.
    pub async fn get(&self, service: &str, key: &str) -> Result<Item, Error> {
        let request = self.item(Method::GET, service, key)?.header(ACCEPT, OCTETS);
        let answer = self.client.call(request).await?;
        let version = version(&answer)?;
        Ok(Item { bytes: answer.body, version })
    }

    /// The current value and all that is known about it.
    pub async fn read(&self, service: &str, key: &str) -> Result<Record, Error> {
        #[derive(Deserialize)]
        struct Read {
            #[serde(flatten)]
            info: ItemInfo,
            data: Secret,
        }
        let request = self.item(Method::GET, service, key)?.header(ACCEPT, "application/json");
        let answer = self.client.call(request).await?;
        let read: Read = answer.json()?;
        let bytes = STANDARD.decode(read.data.expose());
        let bytes = bytes.map_err(|_| answer.unexpected("whose data is not base64"))?;
        Ok(Record { info: read.info, bytes: Zeroizing::new(bytes) })
    }

    /// Whether there is such an item; its value is not read.
    pub async fn head(&self, service: &str, key: &str) -> Result<Option<ItemHead>, Error> {
        let answer = self.client.exchange(self.item(Method::HEAD, service, key)?).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let answer = answer.accepted()?;
        let size = header(&answer.headers, CONTENT_LENGTH).and_then(|text| text.parse().ok());
        Ok(Some(ItemHead { version: version(&answer)?, size }))
    }

    /// Deletes the item; with `if_match` only at this version, else 412.
    pub async fn delete(&self, service: &str, key: &str, if_match: Option<i64>) -> Result<(), Error> {
        let request = condition(self.item(Method::DELETE, service, key)?, if_match);
        self.client.call(request).await?;
        Ok(())
    }

    /// One page of items, in the order of service and key. `service`: of this one only; `limit`: 1 to 1000.
    pub async fn list(
        &self,
        service: Option<&str>,
        prefix: Option<&str>,
        limit: Option<u16>,
        cursor: Option<&str>,
    ) -> Result<Page<ItemInfo>, Error> {
        let limit = limit.map(|number| number.to_string());
        let query: Vec<(&str, &str)> =
            [("service", service), ("prefix", prefix), ("limit", limit.as_deref()), ("cursor", cursor)]
                .into_iter()
                .filter_map(|(name, value)| value.map(|value| (name, value)))
                .collect();
        self.client.call(self.client.get("/api/v1/sgx/items").query(&query)).await?.json()
    }

    /// All items, page after page.
    pub fn items(&self, service: Option<&str>, prefix: Option<&str>) -> Items<'c> {
        Items {
            sgx: Sgx { client: self.client },
            service: service.map(str::to_owned),
            prefix: prefix.map(str::to_owned),
            page: Vec::new().into_iter(),
            next: Next::First,
        }
    }

    fn item(&self, method: Method, service: &str, key: &str) -> Result<RequestBuilder, Error> {
        let (service, key) = (path::segment("service", service)?, path::rest("key", key)?);
        Ok(self.client.request(method, &format!("/api/v1/sgx/items/{service}/{key}")))
    }
}

/// Goes over a list of any length; holds one page at a time.
pub struct Items<'c> {
    sgx: Sgx<'c>,
    service: Option<String>,
    prefix: Option<String>,
    page: std::vec::IntoIter<ItemInfo>,
    next: Next,
}

enum Next {
    First,
    From(String),
    End,
}

impl Items<'_> {
    /// The largest page that the service gives: fewest round trips.
    const PAGE: u16 = 1000;

    /// The next item; None at the end. After an error the same page can be asked for again.
    pub async fn next(&mut self) -> Result<Option<ItemInfo>, Error> {
        loop {
            if let Some(item) = self.page.next() {
                return Ok(Some(item));
            }
            let cursor = match &self.next {
                Next::First => None,
                Next::From(cursor) => Some(cursor.as_str()),
                Next::End => return Ok(None),
            };
            let (service, prefix) = (self.service.as_deref(), self.prefix.as_deref());
            let page = self.sgx.list(service, prefix, Some(Self::PAGE), cursor).await?;
            self.next = page.next_cursor.map_or(Next::End, Next::From);
            self.page = page.items.into_iter();
        }
    }
}

fn condition(request: RequestBuilder, if_match: Option<i64>) -> RequestBuilder {
    match if_match {
        Some(version) => request.header(IF_MATCH, format!("\"{version}\"")),
        None => request,
    }
}

fn version(answer: &Answer) -> Result<i64, Error> {
    header(&answer.headers, ETAG)
        .and_then(|tag| tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok())
        .ok_or_else(|| answer.unexpected("without an ETag that is a version"))
}

fn header(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(request: Result<RequestBuilder, Error>) -> reqwest::Request {
        request.unwrap().build().unwrap()
    }

    #[test]
    fn a_key_keeps_its_slashes_and_a_service_does_not() {
        let client = Client::new("http://h/nsl").unwrap().with_token("t").unwrap();
        let request = sent(client.sgx().item(Method::GET, "a/b", "c//d e/f?"));
        assert_eq!(request.url().as_str(), "http://h/nsl/api/v1/sgx/items/a%2Fb/c//d%20e/f%3F");
        assert_eq!(request.headers()["authorization"], "Bearer t");
        assert!(request.headers()["authorization"].is_sensitive());
        assert!(client.sgx().item(Method::GET, "a", "../../auth/me").is_err());
    }

    #[test]
    fn a_version_is_sent_as_it_is_answered() {
        let client = Client::new("http://h").unwrap();
        let request = sent(Ok(condition(client.get("/"), Some(3))));
        assert_eq!(request.headers()["if-match"], "\"3\"");
        assert!(!sent(Ok(condition(client.get("/"), None))).headers().contains_key("if-match"));
    }

    #[test]
    fn the_shape_of_the_contract_is_read_and_printed_alike() {
        let text = r#"{"service":"s","key":"k","version":2,"size":3,"sealedSize":31,"fingerprint":"sha256:00",
            "policy":"MRSIGNER","createdAt":"2026-11-24T10:00:00Z","updatedAt":"2026-11-24T11:00:00Z",
            "expiresAt":null,"somethingNew":1}"#;
        let info: ItemInfo = serde_json::from_str(text).unwrap();
        let mut expected: Value = serde_json::from_str(text).unwrap();
        expected.as_object_mut().unwrap().remove("somethingNew");
        assert_eq!(serde_json::to_value(&info).unwrap(), expected);
        // A field that is absent reads as none.
        assert_eq!(
            serde_json::from_str::<ItemInfo>(&text.replace("\"expiresAt\":null,", "")).unwrap().expires_at,
            None
        );
    }
}
