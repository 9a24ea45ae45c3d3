//! Many items in one request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use super::items::Opened;
use super::{ItemInfo, Put, PutOptions, Record, Sgx};
use crate::error::Error;

/// A value of a batch.
pub struct BatchItem<'a> {
    pub service: &'a str,
    pub key: &'a str,
    pub bytes: &'a [u8],
    pub options: PutOptions,
}

/// Why one item of a batch was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Refusal {
    /// What a request of its own would have been answered.
    pub status: u16,
    /// Stable, such as `sgx.item_not_found`.
    pub code: String,
    pub detail: String,
}

#[derive(Serialize)]
struct Puts<'a> {
    items: Vec<ToPut<'a>>,
    atomic: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ToPut<'a> {
    service: &'a str,
    key: &'a str,
    data: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    if_version: Option<i64>,
}

#[derive(Serialize)]
struct Gets<'a> {
    items: Vec<Place<'a>>,
}

#[derive(Serialize)]
struct Place<'a> {
    service: &'a str,
    key: &'a str,
}

#[derive(Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
struct Answers<T> {
    items: Vec<Answered<T>>,
}

#[derive(Deserialize)]
struct Answered<T> {
    status: u16,
    item: Option<T>,
    error: Option<Problem>,
}

#[derive(Deserialize)]
struct Problem {
    code: String,
    detail: String,
}

impl<T> Answered<T> {
    /// None where the answer holds neither.
    fn outcome(self) -> Option<Result<(u16, T), Refusal>> {
        let status = self.status;
        match (self.item, self.error) {
            (Some(item), _) => Some(Ok((status, item))),
            (None, Some(Problem { code, detail })) => Some(Err(Refusal { status, code, detail })),
            (None, None) => None,
        }
    }
}

impl Sgx<'_> {
    /// Puts up to 1000 values in one transaction: all of them, or none and an error that names the one that was refused.
    pub async fn put_all(&self, items: &[BatchItem<'_>]) -> Result<Vec<Put>, Error> {
        // Where one is refused all are, and the whole is an error.
        let outcomes = self.batch_put(items, true).await?;
        Ok(outcomes.into_iter().filter_map(Result::ok).collect())
    }

    /// Puts up to 1000 values, each for itself; the outcomes are in the order of the values.
    pub async fn put_each(&self, items: &[BatchItem<'_>]) -> Result<Vec<Result<Put, Refusal>>, Error> {
        self.batch_put(items, false).await
    }

    async fn batch_put(
        &self,
        items: &[BatchItem<'_>],
        atomic: bool,
    ) -> Result<Vec<Result<Put, Refusal>>, Error> {
        let data: Vec<Zeroizing<String>> =
            items.iter().map(|item| Zeroizing::new(STANDARD.encode(item.bytes))).collect();
        let puts = items.iter().zip(&data).map(|(item, data)| ToPut {
            service: item.service,
            key: item.key,
            data,
            metadata: item.options.metadata.as_ref(),
            policy: item.options.policy.as_deref(),
            expires_at: item.options.expires_at,
            // Versions begin with 1.
            if_version: if item.options.if_none_match { Some(0) } else { item.options.if_match },
        });
        let request = Puts { items: puts.collect(), atomic };
        let answer = self.client.call(self.client.post("/api/v1/sgx/items/batch-put").json(&request)).await?;
        let answers: Answers<ItemInfo> = answer.json()?;
        let outcomes: Option<Vec<_>> = answers.items.into_iter().map(Answered::outcome).collect();
        let outcomes = outcomes.filter(|outcomes| outcomes.len() == items.len());
        let outcomes = outcomes.ok_or_else(|| answer.unexpected("without an outcome for each item"))?;
        Ok(outcomes
            .into_iter()
            .map(|outcome| outcome.map(|(status, item)| Put { created: status == 201, item }))
            .collect())
    }

    /// Reads up to 1000 items, of a service and a key each; the outcomes are in the order of the places.
    pub async fn get_each(&self, places: &[(&str, &str)]) -> Result<Vec<Result<Record, Refusal>>, Error> {
        let items = places.iter().map(|&(service, key)| Place { service, key }).collect();
        let request = self.client.post("/api/v1/sgx/items/batch-get").json(&Gets { items });
        let answer = self.client.call(request).await?;
        let answers: Answers<Opened> = answer.json()?;
        if answers.items.len() != places.len() {
            return Err(answer.unexpected("without an outcome for each item"));
        }
        let record = |answered: Answered<Opened>| match answered.outcome() {
            Some(Ok((_, opened))) => Ok(Ok(opened.record(&answer)?)),
            Some(Err(refusal)) => Ok(Err(refusal)),
            None => Err(answer.unexpected("without an outcome for each item")),
        };
        answers.items.into_iter().map(record).collect()
    }
}
