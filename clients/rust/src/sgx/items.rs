//! Items and lists of them.
//!
//! Bytes travel as `application/octet-stream`. A put with metadata is JSON with the bytes in base64, a third larger on
//! the way.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, IF_NONE_MATCH};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use super::{Sgx, condition, header, version};
use crate::client::Answer;
use crate::error::Error;
use crate::page::Page;
use crate::secret::Secret;

pub(super) const OCTETS: &str = "application/octet-stream";
/// Names the attestation that a policy asks for.
const ATTESTATION: HeaderName = HeaderName::from_static("x-attestation-id");

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
    /// The sealing policy: `MRSIGNER`, `MRENCLAVE` or the name of one.
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
    metadata: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

/// An item with its value, as JSON has it.
#[derive(Deserialize)]
pub(super) struct Opened {
    #[serde(flatten)]
    info: ItemInfo,
    data: Secret,
}

impl Opened {
    pub(super) fn record(self, answer: &Answer) -> Result<Record, Error> {
        let bytes = STANDARD.decode(self.data.expose());
        let bytes = bytes.map_err(|_| answer.unexpected("whose data is not base64"))?;
        Ok(Record { info: self.info, bytes: Zeroizing::new(bytes) })
    }
}

/// What a read says besides the address. Default: the current version, and no attestation.
#[derive(Clone, Debug, Default)]
pub struct GetOptions {
    pub version: Option<i64>,
    /// The id of an accepted attestation, for an item whose policy asks for one.
    pub attestation: Option<String>,
}

/// Which items to list. Default: all.
#[derive(Clone, Debug, Default)]
pub struct ListFilter {
    pub service: Option<String>,
    /// Of keys.
    pub prefix: Option<String>,
    /// A JSON object: items whose metadata holds all of it.
    pub metadata: Option<Value>,
}

impl<'c> Sgx<'c> {
    pub async fn put(
        &self,
        service: &str,
        key: &str,
        bytes: &[u8],
        options: &PutOptions,
    ) -> Result<Put, Error> {
        let request = if let Some(metadata) = &options.metadata {
            let data = Zeroizing::new(STANDARD.encode(bytes));
            self.put_request(service, key, options)?.json(&PutBody {
                data: &data,
                metadata,
                policy: options.policy.as_deref(),
                expires_at: options.expires_at,
            })
        } else {
            self.put_octets(service, key, options)?.body(bytes.to_vec())
        };
        let answer = self.client.call(request).await?;
        Ok(Put { created: answer.status == StatusCode::CREATED, item: answer.json()? })
    }

    /// A put whose body is the value itself.
    pub(super) fn put_octets(
        &self,
        service: &str,
        key: &str,
        options: &PutOptions,
    ) -> Result<RequestBuilder, Error> {
        let mut request = self.put_request(service, key, options)?.header(CONTENT_TYPE, OCTETS);
        if let Some(policy) = &options.policy {
            request = request.query(&[("policy", policy)]);
        }
        if let Some(at) = options.expires_at {
            request = request.query(&[("expiresAt", at.to_string())]);
        }
        Ok(request)
    }

    fn put_request(&self, service: &str, key: &str, options: &PutOptions) -> Result<RequestBuilder, Error> {
        let request = condition(self.item(Method::PUT, service, key)?, options.if_match);
        Ok(if options.if_none_match { request.header(IF_NONE_MATCH, "*") } else { request })
    }

    pub(super) fn get_request(
        &self,
        service: &str,
        key: &str,
        accept: &'static str,
        options: &GetOptions,
    ) -> Result<RequestBuilder, Error> {
        let mut request = self.item(Method::GET, service, key)?.header(ACCEPT, accept);
        if let Some(version) = options.version {
            request = request.query(&[("version", version)]);
        }
        if let Some(id) = &options.attestation {
            request = request.header(ATTESTATION, id);
        }
        Ok(request)
    }

    /// The current value.
    pub async fn get(&self, service: &str, key: &str) -> Result<Item, Error> {
        self.get_with(service, key, &GetOptions::default()).await
    }

    pub async fn get_with(&self, service: &str, key: &str, options: &GetOptions) -> Result<Item, Error> {
        let request = self.get_request(service, key, OCTETS, options)?;
        let answer = self.client.call(request).await?;
        let version = version(&answer)?;
        Ok(Item { bytes: answer.body, version })
    }

    /// The current value and all that is known about it.
    pub async fn read(&self, service: &str, key: &str) -> Result<Record, Error> {
        self.read_with(service, key, &GetOptions::default()).await
    }

    pub async fn read_with(&self, service: &str, key: &str, options: &GetOptions) -> Result<Record, Error> {
        let request = self.get_request(service, key, "application/json", options)?;
        let answer = self.client.call(request).await?;
        answer.json::<Opened>()?.record(&answer)
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

    /// What is known about an item; its value is not read. None where there is no such item.
    pub async fn stat(&self, service: &str, key: &str) -> Result<Option<ItemInfo>, Error> {
        // In the order of keys the prefix itself comes first.
        let page = self.list(Some(service), Some(key), Some(1), None).await?;
        Ok(page.items.into_iter().find(|item| item.key == key))
    }

    /// One page of items, in the order of service and key. `service`: of this one only; `limit`: 1 to 1000.
    pub async fn list(
        &self,
        service: Option<&str>,
        prefix: Option<&str>,
        limit: Option<u16>,
        cursor: Option<&str>,
    ) -> Result<Page<ItemInfo>, Error> {
        let (service, prefix) = (service.map(str::to_owned), prefix.map(str::to_owned));
        self.page(&ListFilter { service, prefix, metadata: None }, limit, cursor).await
    }

    async fn page(
        &self,
        filter: &ListFilter,
        limit: Option<u16>,
        cursor: Option<&str>,
    ) -> Result<Page<ItemInfo>, Error> {
        let limit = limit.map(|number| number.to_string());
        let metadata = filter.metadata.as_ref().map(Value::to_string);
        let query: Vec<(&str, &str)> = [
            ("service", filter.service.as_deref()),
            ("prefix", filter.prefix.as_deref()),
            ("metadata", metadata.as_deref()),
            ("limit", limit.as_deref()),
            ("cursor", cursor),
        ]
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| (name, value)))
        .collect();
        self.ask(self.client.get("/api/v1/sgx/items").query(&query)).await
    }

    /// All items, page after page.
    pub fn items(&self, service: Option<&str>, prefix: Option<&str>) -> Items<'c> {
        let (service, prefix) = (service.map(str::to_owned), prefix.map(str::to_owned));
        self.find(ListFilter { service, prefix, metadata: None })
    }

    /// All items that a filter lets through, page after page.
    pub fn find(&self, filter: ListFilter) -> Items<'c> {
        Items { sgx: Sgx { client: self.client }, filter, page: Vec::new().into_iter(), next: Next::First }
    }
}

/// Goes over a list of any length; holds one page at a time.
pub struct Items<'c> {
    sgx: Sgx<'c>,
    filter: ListFilter,
    page: std::vec::IntoIter<ItemInfo>,
    next: Next,
}

enum Next {
    First,
    From(String),
    End,
}

impl Items<'_> {
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
            let page = self.sgx.page(&self.filter, Some(Sgx::PAGE), cursor).await?;
            self.next = page.next_cursor.map_or(Next::End, Next::From);
            self.page = page.items.into_iter();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Client;

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
