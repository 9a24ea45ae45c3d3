//! HTTP/1.1 (RFC 9112) on one keep-alive connection, as little as the load needs: one request under way, an answer
//! with `Content-Length`. A general client would take a good part of the two cores that the server needs.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// No answer of the product's own has longer headers.
const MAX_HEAD: usize = 16 * 1024;
/// The largest streamed value, and some.
const MAX_BODY: usize = 80 * 1024 * 1024;

/// One connection and the bytes read from it.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer, valid until the next request.
pub(crate) struct Answer<'a> {
    pub status: u16,
    pub body: &'a [u8],
}

impl Answer<'_> {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream =
            TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        // A request is one write; waiting for the acknowledgement of the last one would be measured instead.
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(8 * 1024) })
    }

    /// Sends a whole request and reads the whole answer.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<Answer<'_>> {
        let head = self.begin(request).await?;
        let end = head.length + head.content_length;
        while self.buffer.len() < end {
            self.read().await?;
        }
        if self.buffer.len() > end {
            bail!("the answer is longer than its Content-Length");
        }
        Ok(Answer { status: head.status, body: &self.buffer[head.length..end] })
    }

    /// Sends a whole request and looks at the answer's body as it comes, without keeping it. Tells the status.
    pub(crate) async fn watch(&mut self, request: &[u8], mut look: impl FnMut(&[u8])) -> anyhow::Result<u16> {
        let head = self.begin(request).await?;
        let mut left = head.content_length;
        self.buffer.drain(..head.length);
        // As large as the socket's own.
        self.buffer.reserve(256 * 1024);
        loop {
            left = left
                .checked_sub(self.buffer.len())
                .context("the answer is longer than its Content-Length")?;
            look(&self.buffer);
            self.buffer.clear();
            if left == 0 {
                return Ok(head.status);
            }
            self.read().await?;
        }
    }

    /// Sends a whole request and reads up to where the answer's body begins.
    async fn begin(&mut self, request: &[u8]) -> anyhow::Result<Head> {
        self.stream.write_all(request).await.context("the connection broke while sending")?;
        self.buffer.clear();
        loop {
            if let Some(head) = Head::parse(&self.buffer)? {
                return Ok(head);
            }
            if self.buffer.len() > MAX_HEAD {
                bail!("the answer's headers do not end after {MAX_HEAD} bytes");
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await.context("the connection broke while reading")? {
            0 => bail!("the server closed the connection before its answer was whole"),
            _ => Ok(()),
        }
    }
}

/// Writes a request into `out`, replacing what is there. `headers` are whole lines.
pub(crate) fn write_request(out: &mut Vec<u8>, method: &str, path: &str, headers: &str, body: &[u8]) {
    out.clear();
    for part in [method, " ", path, " HTTP/1.1\r\nHost: localhost\r\n", headers] {
        out.extend_from_slice(part.as_bytes());
    }
    if !body.is_empty() {
        out.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
}

/// Status line and headers, once they are whole.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    /// Bytes up to the body.
    length: usize,
    content_length: usize,
}

impl Head {
    fn parse(bytes: &[u8]) -> anyhow::Result<Option<Self>> {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
        let text = std::str::from_utf8(&bytes[..end]).context("the answer's headers are not text")?;
        let mut lines = text.split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.strip_prefix("HTTP/1.1 "))
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .context("the answer does not begin with an HTTP/1.1 status line")?;
        let mut content_length = None;
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                let told = value.trim().parse().ok().filter(|told| *told <= MAX_BODY);
                content_length = Some(told.context("the answer's Content-Length is not one")?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                bail!("the answer is chunked, and this client reads Content-Length only");
            }
        }
        let content_length = match content_length {
            Some(told) => told,
            None if status == 204 => 0,
            None => bail!("the answer has no Content-Length"),
        };
        Ok(Some(Self { status, length: end + 4, content_length }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_answer_is_read_when_it_is_whole() {
        let whole = b"HTTP/1.1 201 Created\r\ncontent-LENGTH:  12\r\nETag: \"1\"\r\n\r\n{\"version\":1";
        let head = Head::parse(whole).unwrap().unwrap();
        assert_eq!((head.status, head.content_length), (201, 12));
        assert_eq!(&whole[head.length..], b"{\"version\":1");
        assert_eq!(Head::parse(&whole[..head.length - 1]).unwrap(), None);
        assert_eq!(
            Head::parse(b"HTTP/1.1 204 No Content\r\nx: y\r\n\r\n").unwrap().unwrap().content_length,
            0
        );
    }

    #[test]
    fn what_this_client_does_not_speak_is_refused() {
        for answer in [
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 2\r\n\r\n",
            "SSH-2.0-x\r\n\r\n",
        ] {
            assert!(Head::parse(answer.as_bytes()).is_err(), "{answer}");
        }
    }

    #[test]
    fn a_request_is_whole() {
        let mut out = b"left over".to_vec();
        write_request(&mut out, "PUT", "/a", "Accept: b\r\n", b"body");
        assert_eq!(out, b"PUT /a HTTP/1.1\r\nHost: localhost\r\nAccept: b\r\nContent-Length: 4\r\n\r\nbody");
        write_request(&mut out, "GET", "/a", "", b"");
        assert_eq!(out, b"GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut answer = b"HTTP/1.1 200 OK\r\n".to_vec();
            answer.extend_from_slice(&bytes);
            if let Ok(Some(head)) = Head::parse(&answer) {
                prop_assert!(head.length <= answer.len() && head.content_length <= MAX_BODY);
            }
        }
    }
}
