//! Many items at once: puts that take effect together, or each for itself, and gets.

use std::collections::HashSet;

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use futures::future::join_all;
use nsl_core::http::{IfMatch, Once};
use nsl_core::{ApiError, Caller};
use serde::Serialize;
use zeroize::Zeroizing;

use super::Sgx;
use super::write::{Item, LOGIN, Put, PutDone, Puts};
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
            if let Err(error) = self.check_put(&item.value, &item.attributes, now) {
                return Err(self.refuse(caller, &places, index, error).await);
            }
            let ToPut { address, value, attributes, condition } = item;
            puts.push(Put { address, value, attributes, condition, content: None });
        }
        match self.puts.submit(Puts { caller: caller.clone(), now, all: puts }).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(refused)) => Err(self.refuse(caller, &places, refused.index, refused.error).await),
            Err(error) => Err(Refusal { index: 0, error: error.into() }),
        }
    }

    /// Puts values each for itself; what is refused leaves the others alone.
    pub(crate) async fn put_each(&self, caller: &Caller, items: Vec<ToPut>) -> Vec<Result<PutDone>> {
        let puts = items
            .into_iter()
            .map(|item| self.put(caller, item.address, item.value, item.attributes, item.condition));
        join_all(puts).await
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
            for outcome in join_all(some.iter().map(|address| self.get(caller, address))).await {
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
            Some(place) => self.refuse_put(caller, place, &error).await,
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
