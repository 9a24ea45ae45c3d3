//! Streamed values: taken in and given out chunk by chunk, in constant memory.
//!
//! In: chunks are sealed as they come and staged in short transactions of their own, never one for the length of an upload,
//! which would hold up the sequencer; then the item's row, whose value is the sealed summary, is put as any other. What
//! breaks off leaves nothing. Out: no byte of a chunk leaves before the chunk has opened.

use std::collections::VecDeque;
use std::future::ready;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, FuturesUnordered};
use futures::{Stream, StreamExt as _};
use nsl_core::db::{DbError, chain};
use nsl_core::http::IfMatch;
use nsl_core::ids::TenantId;
use nsl_core::{Caller, jobs};
use nsl_crypto::chunks::{CHUNK_OVERHEAD, ChunkOpener, ChunkSealer};
use nsl_crypto::key::Key256;
use tokio::sync::mpsc;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::gets::{Get, Got};
use super::guarded::{MAX_ATTEMPTS, Wanted};
use super::write::{Item, LOGIN, Put, PutDone};
use super::{Sgx, all_tenants};
use crate::Result;
use crate::domain::{Address, Attributes, CHUNK, Content, Opened, Summary, place};
use crate::error::Error;
use crate::store::content as store;

/// So many chunks are written, or read, while the next one is received or sent.
const AT_ONCE: usize = 2;
/// Pieces of a body between the socket and the sealing.
const QUEUE: usize = 2;
/// Of a purge, in one statement.
const STEP: i64 = 200;

/// A piece of a body.
pub(crate) enum Piece {
    Bytes(Bytes),
    /// The body is whole. A body without it broke off.
    End,
}

/// A value that comes in.
pub(crate) struct Upload {
    pub address: Address,
    pub attributes: Attributes,
    pub condition: IfMatch,
}

/// Where the pieces of a body go, and what comes of them. Dropped before its end, nothing is stored.
pub(crate) struct Taking {
    pieces: mpsc::Sender<Piece>,
    outcome: tokio::task::JoinHandle<Result<PutDone>>,
}

impl Taking {
    /// Hands a piece on; false where no more is wanted, since the outcome is known.
    pub(crate) async fn give(&self, piece: Piece) -> bool {
        self.pieces.send(piece).await.is_ok()
    }

    /// What came of it.
    pub(crate) async fn outcome(self) -> Result<PutDone> {
        drop(self.pieces);
        self.outcome.await.unwrap_or(Err(Error::Db(DbError::OutcomeUnknown)))
    }
}

/// A value that goes out.
pub(crate) enum Value<S> {
    Whole(Opened),
    Streamed(S),
}

impl Sgx {
    /// Takes in a value whose size is not known to be small. In a task of its own: a caller that goes away leaves nothing
    /// half done behind.
    pub(crate) fn take_in(self: &Arc<Self>, caller: &Caller, upload: Upload) -> Taking {
        let (pieces, receive) = mpsc::channel(QUEUE);
        let (sgx, caller) = (Arc::clone(self), caller.clone());
        let outcome = jobs::drive(async move { sgx.put_pieces(&caller, upload, receive).await });
        Taking { pieces, outcome }
    }

    async fn put_pieces(
        &self,
        caller: &Caller,
        upload: Upload,
        pieces: mpsc::Receiver<Piece>,
    ) -> Result<PutDone> {
        let Upload { address, attributes, condition } = upload;
        // Before anything is taken in; what the policy says when it is put is what counts.
        if let Err(error) = self.check_attributes(caller, &attributes).await {
            self.record_refusal(caller, "SEAL_ITEM", &address, &error).await?;
            return Err(error);
        }
        let limit = self.max_value_bytes();
        let mut body = Body { pieces, pending: VecDeque::new(), limit, left: limit };
        let (value, content) = match self.receive(caller.tenant(), &mut body).await {
            Ok(received) => received,
            Err(error) => {
                self.record_refusal(caller, "SEAL_ITEM", &address, &error).await?;
                return Err(error);
            }
        };
        let staged = content.as_ref().map(|content| content.id);
        let outcome = self.put_one(caller, Put { address, value, attributes, condition, content }).await;
        match (&outcome, staged) {
            // After a lost answer it may have taken effect: then its chunks are in use, else the purge finds them.
            (Ok(_) | Err(Error::Db(DbError::OutcomeUnknown)), _) | (_, None) => {}
            (Err(_), Some(content)) => self.discard(caller.tenant(), content).await,
        }
        outcome
    }

    /// The value itself where it is small, else its summary, its chunks being staged.
    async fn receive(
        &self,
        tenant: TenantId,
        body: &mut Body,
    ) -> Result<(Zeroizing<Vec<u8>>, Option<Content>)> {
        let inline = self.inline_bytes();
        let mut head = Zeroizing::new(Vec::with_capacity(inline));
        if !body.fill(&mut head, inline).await? {
            return Ok((head, None));
        }
        body.pending.push_front(Bytes::from_owner(head));
        let (id, key) = (Uuid::now_v7(), Key256::generate());
        let sealer = ChunkSealer::new(&key, place(tenant, id));
        match self.stage(tenant, id, sealer, body).await {
            Ok(size) => {
                let chunk_len = u32::try_from(CHUNK).unwrap_or(u32::MAX);
                let summary = Summary { key, length: size as u64, chunk_len };
                let sealed_size = usize::try_from(summary.sealed_len()).unwrap_or(usize::MAX);
                Ok((summary.encode(), Some(Content { id, size, sealed_size })))
            }
            Err(error) => {
                self.discard(tenant, id).await;
                Err(error)
            }
        }
    }

    /// Seals and stores the chunks of a body; returns its size. Receiving, sealing and writing overlap.
    async fn stage(&self, tenant: TenantId, id: Uuid, sealer: ChunkSealer, body: &mut Body) -> Result<usize> {
        let mut writes = FuturesUnordered::new();
        let (mut sealer, mut size, mut outcome) = (Some(sealer), 0, Ok(()));
        while let Some(mut current) = sealer.take() {
            match next_chunk(body, &mut writes).await {
                Ok((mut chunk, more)) => {
                    size += chunk.len();
                    let number = if more {
                        let number = current.seal(&mut chunk);
                        sealer = Some(current);
                        number
                    } else {
                        current.seal_last(&mut chunk)
                    };
                    writes.push(self.write_chunk(tenant, id, number, chunk));
                }
                Err(error) => outcome = Err(error),
            }
        }
        // Also after a failure: a chunk that is still under way would come after its deletion.
        while let Some(written) = writes.next().await {
            outcome = outcome.and(written);
        }
        outcome.map(|()| size)
    }

    async fn write_chunk(
        &self,
        tenant: TenantId,
        id: Uuid,
        number: u32,
        chunk: Zeroizing<Vec<u8>>,
    ) -> Result<()> {
        let number = i32::try_from(number).map_err(|_| Error::TooLarge { limit: self.max_value_bytes() })?;
        store::stage(&self.db.write(LOGIN, tenant), tenant, id, number, &chunk).await?;
        Ok(())
    }

    /// Removes staged chunks at once; what cannot be removed now is the purge's.
    async fn discard(&self, tenant: TenantId, content: Uuid) {
        if let Err(error) = store::release(&self.db.write(LOGIN, tenant), tenant, &[content]).await {
            tracing::warn!(%tenant, error = %chain(&error), "chunks of a broken upload are left to the purge");
        }
    }

    /// Removes chunks that no item has needed for a day; returns how many went.
    pub(crate) async fn purge_content(&self) -> Result<u64> {
        let mut purged = 0;
        for tenant in all_tenants(&self.db).await? {
            loop {
                let gone = store::purge(&self.db.write(LOGIN, tenant), tenant, STEP).await?;
                purged += gone;
                if gone < STEP.unsigned_abs() {
                    break;
                }
            }
        }
        Ok(purged)
    }

    /// Opens an item of any size.
    pub(crate) async fn get_value(
        self: &Arc<Self>,
        caller: &Caller,
        address: &Address,
        wanted: Wanted,
    ) -> Result<(Item, Value<impl Stream<Item = Result<Bytes>> + Send + use<>>)> {
        if wanted.version.is_some() {
            return Box::pin(self.value_apart(caller, address, wanted)).await;
        }
        let get = Get { caller: caller.clone(), address: address.clone(), now: self.clock.now() };
        match self.gets.submit(get).await? {
            Got::Opened(opened) => {
                let (item, value) = *opened;
                Ok((item, Value::Whole(value)))
            }
            Got::Refused(error) => Err(error),
            Got::Damaged(error) => self.answer(caller, "UNSEAL_ITEM", address, Err(error)).await,
            Got::Apart => Box::pin(self.value_apart(caller, address, wanted)).await,
        }
    }

    /// Opens what is large, streamed, under rules, or a named version.
    async fn value_apart(
        self: &Arc<Self>,
        caller: &Caller,
        address: &Address,
        wanted: Wanted,
    ) -> Result<(Item, Value<impl Stream<Item = Result<Bytes>> + Send + use<>>)> {
        for _ in 0..MAX_ATTEMPTS {
            let found = match self.open_guarded(caller, address, wanted).await {
                Ok(guarded) => {
                    let (admission, opened) = guarded.split(address);
                    self.value_of(caller, address, opened).await.map(|value| (admission, value))
                }
                Err(error) => Err(error),
            };
            match found {
                Ok((admission, value)) => {
                    if self.admit(caller, address, &admission).await? {
                        return Ok(value);
                    }
                }
                Err(error) => return self.answer(caller, "UNSEAL_ITEM", address, Err(error)).await,
            }
        }
        Err(DbError::Conflict("the item kept changing".to_owned()).into())
    }

    /// The value of a row that has opened. Of a streamed one the first chunk has opened when this returns.
    async fn value_of(
        self: &Arc<Self>,
        caller: &Caller,
        address: &Address,
        (item, opened, content): (Item, Opened, Option<Uuid>),
    ) -> Result<(Item, Value<impl Stream<Item = Result<Bytes>> + Send + use<>>)> {
        let Some(content) = content else { return Ok((item, Value::Whole(opened))) };
        let damaged = |what: &str| Error::Integrity(format!("its content has no {what}"));
        let summary = Summary::decode(&opened).ok_or_else(|| damaged("summary"))?;
        let mut chunks = Box::pin(self.chunks(caller.tenant(), content, &summary));
        // What is damaged at its beginning gets an error for an answer, and not half a value.
        let first = chunks.next().await.ok_or_else(|| damaged("chunk"))??;
        let watch = (Arc::clone(self), caller.clone(), address.clone());
        let rest = chunks.then(move |chunk| {
            let (sgx, caller, address) = watch.clone();
            async move {
                if let Err(error) = &chunk {
                    sgx.broke_off(&caller, &address, error).await;
                }
                chunk
            }
        });
        Ok((item, Value::Streamed(stream::once(ready(Ok(first))).chain(rest))))
    }

    /// The chunks of a content, opened, in their order. The first that does not open is the last.
    pub(super) fn chunks(
        self: &Arc<Self>,
        tenant: TenantId,
        content: Uuid,
        summary: &Summary,
    ) -> impl Stream<Item = Result<Bytes>> + Send + use<> {
        let chunk_len = usize::try_from(summary.chunk_len).unwrap_or(usize::MAX);
        let opener = ChunkOpener::new(&summary.key, place(tenant, content), summary.length, chunk_len);
        let reader = Arc::clone(self);
        stream::iter(0..summary.chunks())
            .map(move |number| {
                let sgx = Arc::clone(&reader);
                async move { sgx.read_chunk(tenant, content, number).await }
            })
            .buffered(AT_ONCE)
            .scan(Some(opener), |opener, chunk| ready(open_next(opener, chunk)))
    }

    async fn read_chunk(&self, tenant: TenantId, content: Uuid, number: u64) -> Result<Zeroizing<Vec<u8>>> {
        let read = self.db.read(LOGIN, tenant);
        let place =
            i32::try_from(number).map_err(|_| Error::Integrity("its content is too long".to_owned()))?;
        if let Some(chunk) = store::chunk(&read, tenant, content, place).await? {
            return Ok(Zeroizing::new(chunk.sealed));
        }
        // A content that was replaced and purged, or destroyed, while it was read is no damage.
        Err(if store::used(&read, tenant, content).await?.used {
            Error::Integrity(format!("chunk {number} of its content is missing"))
        } else {
            Error::NotFound
        })
    }

    /// What the reader of a value that broke off cannot be told any more.
    async fn broke_off(&self, caller: &Caller, address: &Address, error: &Error) {
        let recorded = match error {
            Error::Integrity(reason) => self.alarm(caller, "UNSEAL_ITEM", address, error, reason).await,
            _ => Ok(()),
        };
        tracing::warn!(item = address.resource(), %error, "a value could not be read to its end");
        if let Err(error) = recorded {
            tracing::error!(item = address.resource(), %error, "an integrity violation could not be recorded");
        }
    }
}

/// None after an error: nothing more is opened.
fn open_next(opener: &mut Option<ChunkOpener>, chunk: Result<Zeroizing<Vec<u8>>>) -> Option<Result<Bytes>> {
    let mut current = opener.take()?;
    Some(chunk.and_then(|mut chunk| {
        current
            .open(&mut chunk)
            .map_err(|_| Error::Integrity("a chunk of its content does not open".to_owned()))?;
        *opener = Some(current);
        Ok(Bytes::from_owner(chunk))
    }))
}

/// A body as its pieces come.
struct Body {
    pieces: mpsc::Receiver<Piece>,
    /// Received and not used yet.
    pending: VecDeque<Bytes>,
    limit: usize,
    /// So many bytes more may come.
    left: usize,
}

impl Body {
    /// Fills the buffer up to a size. False if the body has ended, so that nothing comes after what is in it.
    async fn fill(&mut self, buffer: &mut Vec<u8>, size: usize) -> Result<bool> {
        loop {
            let Some(mut piece) = self.pending.pop_front() else {
                match self.pieces.recv().await {
                    Some(Piece::Bytes(bytes)) => {
                        let limit = self.limit;
                        self.left = self.left.checked_sub(bytes.len()).ok_or(Error::TooLarge { limit })?;
                        self.pending.push_back(bytes);
                    }
                    Some(Piece::End) => return Ok(false),
                    None => return Err(Error::Truncated),
                }
                continue;
            };
            if piece.is_empty() {
                continue;
            }
            let room = size - buffer.len();
            buffer.extend_from_slice(&piece.split_to(piece.len().min(room)));
            if !piece.is_empty() {
                self.pending.push_front(piece);
                return Ok(true);
            }
        }
    }
}

/// The next chunk of a body, and whether another follows; meanwhile the chunks before it are written.
async fn next_chunk(
    body: &mut Body,
    writes: &mut FuturesUnordered<impl Future<Output = Result<()>>>,
) -> Result<(Zeroizing<Vec<u8>>, bool)> {
    while writes.len() >= AT_ONCE {
        writes.next().await.transpose()?;
    }
    // With room for the tag: growing would leave a copy of the plaintext behind.
    let mut chunk = Zeroizing::new(Vec::with_capacity(CHUNK + CHUNK_OVERHEAD));
    let more = {
        let mut filled = pin!(body.fill(&mut chunk, CHUNK));
        loop {
            tokio::select! {
                biased;
                Some(written) = writes.next() => written?,
                more = &mut filled => break more?,
            }
        }
    };
    Ok((chunk, more))
}
