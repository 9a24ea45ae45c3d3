//! Many items at once: puts that take effect together, or each for itself, and gets.

use std::collections::{BTreeMap, HashSet};

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use futures::future::join_all;
use nsl_core::http::{IfMatch, Once};
use nsl_core::{ApiError, Caller};
use serde::Serialize;
use zeroize::Zeroizing;

use super::Sgx;
use super::guarded::Wanted;
use super::write::{Item, LOGIN, Put, PutDone};
use crate::Result;
use crate::domain::{Address, Attributes, Opened};
use crate::error::Error;

/// One value of a batch.
pub(crate) struct ToPut {
    pub address: Address,
    pub value: Zeroizing<Vec<u8>>,
    pub attributes: Attributes,
    pub condition: IfMatch,
}

/// Which of the puts failed, and why nothing was put.
pub(crate) struct Refusal {
    pub index: usize,
    pub error: Error,
}

/// So many gets are under way at once; what they hold in memory is bounded by it.
const AT_ONCE: usize = 100;
/// All values of a batch get together.
pub(crate) const LARGEST_ANSWER: usize = 16 << 20;

impl Sgx {
    /// Puts values in one transaction: all of them or none.
    pub(crate) async fn put_all(&self, caller: &Caller, items: Vec<ToPut>) -> Result<Vec<PutDone>, Refusal> {
        let now = self.clock.now();
        let places: Vec<Address> = items.iter().map(|item| item.address.clone()).collect();
        let mut seen = HashSet::new();
        let mut puts = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            if !seen.insert(item.address.resource()) {
                let error = Error::Twice { resource: item.address.resource() };
                return Err(self.refuse(caller, &places, index, error).await);
            }
            let ToPut { address, value, attributes, condition } = item;
            let put = Put { address, value, attributes, condition, content: None };
            match self.prepare_put(caller, put, now).await {
                Ok(put) => puts.push(put),
                Err(error) => return Err(self.refuse(caller, &places, index, error).await),
            }
        }
        match self.put_together(caller, puts, now).await {
            Ok(done) => Ok(done),
            Err(refused) => Err(self.refuse(caller, &places, refused.index, refused.error).await),
        }
    }

    /// Puts values each for itself; what is refused leaves the others alone. Values of one item follow each other in the
    /// order of the request.
    pub(crate) async fn put_each(&self, caller: &Caller, items: Vec<ToPut>) -> Vec<Result<PutDone>> {
        let mut of_item: BTreeMap<String, Vec<(usize, ToPut)>> = BTreeMap::new();
        let count = items.len();
        for (index, item) in items.into_iter().enumerate() {
            of_item.entry(item.address.resource()).or_default().push((index, item));
        }
        let puts = of_item.into_values().map(async |items| {
            let mut done = Vec::with_capacity(items.len());
            for (index, item) in items {
                let ToPut { address, value, attributes, condition } = item;
                done.push((index, self.put(caller, address, value, attributes, condition).await));
            }
            done
        });
        let mut done: Vec<(usize, Result<PutDone>)> = Vec::with_capacity(count);
        done.extend(join_all(puts).await.into_iter().flatten());
        done.sort_by_key(|(index, _)| *index);
        done.into_iter().map(|(_, outcome)| outcome).collect()
    }

    /// Opens items, each with its own outcome, in the order that was asked for.
    pub(crate) async fn get_each(
        &self,
        caller: &Caller,
        addresses: &[Address],
    ) -> Result<Vec<Result<(Item, Opened)>>> {
        let mut found = Vec::with_capacity(addresses.len());
        let mut bytes = 0;
        for some in addresses.chunks(AT_ONCE) {
            for outcome in
                join_all(some.iter().map(|address| self.get(caller, address, Wanted::default()))).await
            {
                bytes += outcome.as_ref().map_or(0, |(_, value)| value.len());
                found.push(outcome);
            }
            if bytes > LARGEST_ANSWER {
                return Err(Error::AnswerTooLarge { limit: LARGEST_ANSWER });
            }
        }
        Ok(found)
    }

    async fn refuse(&self, caller: &Caller, places: &[Address], index: usize, error: Error) -> Refusal {
        let recorded = match places.get(index) {
            Some(place) => self.record_refusal(caller, "SEAL_ITEM", place, &error).await,
            None => Ok(()),
        };
        Refusal { index, error: recorded.err().unwrap_or(error) }
    }

    /// Carries out a request under its Idempotency-Key, and keeps its answer. The request commits on its own, since a
    /// transaction held open for it could take the connection that its group commit waits for: after a crash before its
    /// answer is kept, or beside the same request at the same moment, the same values are put once more.
    pub(crate) async fn once<T: Serialize>(
        &self,
        caller: &Caller,
        once: &Once,
        request: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<Response, ApiError> {
        if !once.is_keyed() {
            return Ok(axum::Json(request.await?).into_response());
        }
        let look = self.db.begin(LOGIN, caller).await?;
        let before = once.replay(&look, caller).await?;
        look.rollback().await?;
        if let Some(response) = before {
            return Ok(response);
        }
        let answer = request.await?;
        let work = self.db.begin(LOGIN, caller).await?;
        if let Some(response) = once.replay(&work, caller).await? {
            work.rollback().await?;
            return Ok(response);
        }
        once.keep(&work, caller, StatusCode::OK, &answer).await?;
        work.commit().await?;
        Ok(axum::Json(answer).into_response())
    }
}
