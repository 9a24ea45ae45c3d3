//! Values of any length, piece by piece: neither way is a value held whole.

use std::io;

use bytes::Bytes;
use futures::stream;
use reqwest::Body;
use reqwest::StatusCode;
use reqwest::header::CONTENT_LENGTH;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::watch;

use super::items::OCTETS;
use super::{GetOptions, Put, PutOptions, Sgx, etag, header};
use crate::client::Incoming;
use crate::error::Error;

/// What is read at once: enough to keep the connection busy.
const PIECE: usize = 256 << 10;

/// A value that is on its way.
pub struct Download {
    pub version: i64,
    /// Bytes of the value, where the service tells.
    pub size: Option<u64>,
    incoming: Incoming,
    received: u64,
}

impl Sgx<'_> {
    /// Puts what a reader gives until its end. `length`, where it is known, is sent ahead: the service then refuses what
    /// is too large before a byte of it is read, and a reader that ends early or late puts nothing.
    ///
    /// Metadata cannot go with it.
    pub async fn put_stream(
        &self,
        service: &str,
        key: &str,
        reader: impl AsyncRead + Send + Unpin + 'static,
        length: Option<u64>,
        options: &PutOptions,
    ) -> Result<Put, Error> {
        if options.metadata.is_some() {
            let reason = "a put of a stream carries no metadata";
            return Err(Error::Name { what: "item", value: format!("{service}/{key}"), reason });
        }
        let mut request = self.put_octets(service, key, options)?;
        if let Some(length) = length {
            request = request.header(CONTENT_LENGTH, length);
        }
        let (moved, moves) = watch::channel(());
        let answer = self.client.upload(request.body(body(reader, length, moved)), moves).await?;
        Ok(Put { created: answer.status == StatusCode::CREATED, item: answer.json()? })
    }

    /// The value, piece by piece.
    pub async fn get_stream(
        &self,
        service: &str,
        key: &str,
        options: &GetOptions,
    ) -> Result<Download, Error> {
        let incoming = self.client.receive(self.get_request(service, key, OCTETS, options)?).await?;
        let headers = incoming.headers();
        let version =
            etag(headers).ok_or_else(|| incoming.unexpected("without an ETag that is a version"))?;
        let size = header(headers, CONTENT_LENGTH).and_then(|text| text.parse().ok());
        Ok(Download { version, size, incoming, received: 0 })
    }
}

impl Download {
    /// The next piece; None at the end. After an error what came before is not the value.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let piece = self.incoming.chunk().await?;
        match &piece {
            Some(bytes) => self.received += bytes.len() as u64,
            None if self.size.is_some_and(|size| size != self.received) => {
                return Err(self.incoming.unexpected("and ended before the value did"));
            }
            None => {}
        }
        Ok(piece)
    }
}

/// The reader's bytes as a body; each piece that is taken is told.
fn body(
    reader: impl AsyncRead + Send + Unpin + 'static,
    length: Option<u64>,
    moved: watch::Sender<()>,
) -> Body {
    let pieces = stream::unfold(Some((reader, length, moved)), async |state| {
        let (mut reader, left, moved) = state?;
        moved.send_replace(());
        match piece(&mut reader, left).await {
            Ok(bytes) if bytes.is_empty() => None,
            Ok(bytes) => {
                let left = left.map(|left| left - bytes.len() as u64);
                Some((Ok(bytes), Some((reader, left, moved))))
            }
            Err(error) => Some((Err(error), None)),
        }
    });
    Body::wrap_stream(pieces)
}

/// The next piece, empty at the end. Beyond the length that was told ahead nothing would be sent, and what was sent would
/// be taken for all: so the last piece is given only when the end is known.
async fn piece(reader: &mut (impl AsyncRead + Unpin), left: Option<u64>) -> io::Result<Bytes> {
    let mut piece = Vec::with_capacity(PIECE);
    (&mut *reader).take(PIECE as u64).read_to_end(&mut piece).await?;
    let is_last = left.is_some_and(|left| piece.len() as u64 >= left);
    if is_last && (left != Some(piece.len() as u64) || reader.read(&mut [0]).await? > 0) {
        return Err(io::Error::other("it is longer than it was when it was opened"));
    }
    Ok(Bytes::from(piece))
}
