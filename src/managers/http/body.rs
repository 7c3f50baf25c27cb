//! The body of a response, read from the connection that it holds.

use std::{
    fmt,
    io::{self, Read},
};

use ureq_proto::BodyMode;

use super::{
    HttpError, HttpManager, HttpOrigin, HttpPhase,
    chunked::{BadChunk, Chunks, NextPart},
    reuse::ReuseInputs,
    timeout::RequestTimeout,
};
use crate::PooledConnection;

/// The body of a response. Read it to its end to return its connection to the pool.
///
/// The body holds a connection of the pool. The read of the last byte gives the connection back, or evicts it
/// if it must not be reused; the body need not be dropped for that. For a chunked body this may take the read
/// that returns 0. A body without bytes has given its connection back before [`send`](super::HttpPool::send)
/// returns.
///
/// Dropping an unread body evicts the connection, unless the rest has already arrived with the head or with
/// earlier reads. The rest is then skipped without waiting.
///
/// Compressed content is not decompressed. Trailers of a chunked body are discarded.
///
/// # Errors
///
/// An error of a read contains an [`HttpError`]. A body that ends too early is an error, and never a shorter
/// body. After an error every read fails.
#[must_use = "a body that is dropped unread costs its connection"]
pub struct HttpBody {
    state: State,
}

enum State {
    Open(Box<Open>),
    Done,
    Failed,
}

struct Open {
    connection: PooledConnection<HttpManager>,
    framing: Framing,
    inputs: ReuseInputs,
    origin: HttpOrigin,
    timeout: RequestTimeout,
    limit: usize,
}

enum Framing {
    /// The number of bytes left.
    Length(u64),
    Chunked(Chunks),
    UntilClose,
}

impl HttpBody {
    /// `limit` is the maximum length of the trailers.
    pub(super) fn new(
        connection: PooledConnection<HttpManager>,
        mode: BodyMode,
        inputs: ReuseInputs,
        origin: HttpOrigin,
        timeout: RequestTimeout,
        limit: usize,
    ) -> Self {
        let framing = match mode {
            BodyMode::NoBody => Framing::Length(0),
            BodyMode::LengthDelimited(length) => Framing::Length(length),
            BodyMode::Chunked => Framing::Chunked(Chunks::new(limit)),
            BodyMode::CloseDelimited => Framing::UntilClose,
        };
        let open = Open {
            connection,
            framing,
            inputs,
            origin,
            timeout,
            limit,
        };
        let mut body = Self {
            state: State::Open(Box::new(open)),
        };
        if matches!(mode, BodyMode::NoBody | BodyMode::LengthDelimited(0)) {
            body.end(true);
        }
        body
    }

    /// Returns the number of bytes left to read, if the server has announced it.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        match &self.state {
            State::Open(open) => match open.framing {
                Framing::Length(left) => Some(left),
                Framing::Chunked(_) | Framing::UntilClose => None,
            },
            State::Done => Some(0),
            State::Failed => None,
        }
    }

    /// Returns true if the body still holds a connection.
    #[must_use]
    pub fn holds_connection(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Returns the connection to the pool, or evicts it.
    fn end(&mut self, complete: bool) {
        if let State::Open(mut open) = std::mem::replace(&mut self.state, State::Done) {
            let left = open.connection.wire.buffer.len();
            if open.inputs.obstacle(complete, left).is_none() {
                open.connection.release();
            }
        }
    }

    fn fail(&mut self, error: HttpError) -> io::Error {
        // The connection is still marked as busy, so the pool evicts it.
        self.state = State::Failed;
        error.into_io()
    }
}

impl Open {
    /// Skips the received framing before the next data.
    fn advance(&mut self) -> Result<NextPart, HttpError> {
        match &mut self.framing {
            Framing::Length(0) => Ok(NextPart::End),
            Framing::Length(left) => Ok(NextPart::Data(*left)),
            Framing::UntilClose => Ok(NextPart::Data(u64::MAX)),
            Framing::Chunked(chunks) => {
                let buffer = &mut self.connection.wire.buffer;
                let (used, next) = chunks.advance(buffer.unread()).map_err(|bad| match bad {
                    BadChunk::Protocol(problem) => HttpError::protocol(&self.origin, problem),
                    BadChunk::TrailersTooLong => {
                        HttpError::headers_too_long(&self.origin, self.limit)
                    }
                })?;
                buffer.consume(used);
                Ok(next)
            }
        }
    }

    fn took(&mut self, bytes: usize) {
        match &mut self.framing {
            Framing::Length(left) => *left -= bytes as u64,
            Framing::Chunked(chunks) => chunks.took(bytes as u64),
            Framing::UntilClose => {}
        }
    }

    /// Reads the next bytes. Returns 0 at the end of the body.
    fn read(&mut self, out: &mut [u8]) -> Result<usize, HttpError> {
        loop {
            let deadline = self.timeout.deadline;
            match self.advance()? {
                NextPart::End => return Ok(0),
                NextPart::Data(most) => {
                    let most = usize::try_from(most).map_or(out.len(), |most| most.min(out.len()));
                    let read = self.connection.wire.read(&mut out[..most], deadline);
                    let bytes = read.map_err(|error| self.failed(error))?;
                    if bytes == 0 && !matches!(self.framing, Framing::UntilClose) {
                        return Err(self.too_short());
                    }
                    self.took(bytes);
                    return Ok(bytes);
                }
                NextPart::Unknown => {
                    let filled = self.connection.wire.fill(deadline);
                    if filled.map_err(|error| self.failed(error))? == 0 {
                        return Err(self.too_short());
                    }
                }
            }
        }
    }

    fn failed(&self, error: io::Error) -> HttpError {
        self.timeout
            .failed(&self.origin, HttpPhase::Receiving, error)
    }

    fn too_short(&self) -> HttpError {
        HttpError::BodyTooShort {
            origin: self.origin.clone(),
            missing: match self.framing {
                Framing::Length(left) => Some(left),
                Framing::Chunked(_) | Framing::UntilClose => None,
            },
        }
    }

    /// Skips the rest of the body. Returns false if a part of it has not arrived.
    fn skip(&mut self) -> bool {
        loop {
            match self.advance() {
                Ok(NextPart::End) => return true,
                Ok(NextPart::Data(most)) => {
                    let buffer = &mut self.connection.wire.buffer;
                    let most = usize::try_from(most).unwrap_or(usize::MAX);
                    let bytes = buffer.len().min(most);
                    buffer.consume(bytes);
                    self.took(bytes);
                    if bytes == 0 {
                        return false;
                    }
                }
                Ok(NextPart::Unknown) | Err(_) => return false,
            }
        }
    }
}

impl Read for HttpBody {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let open = match &mut self.state {
            State::Open(_) if out.is_empty() => return Ok(0),
            State::Open(open) => open,
            State::Done => return Ok(0),
            State::Failed => return Err(HttpError::BodyFailed.into_io()),
        };
        match open.read(out) {
            Ok(0) => {
                self.end(true);
                Ok(0)
            }
            Ok(bytes) => {
                // These bytes are valid even if an error follows them; the next read returns the error.
                if matches!(open.advance(), Ok(NextPart::End)) {
                    self.end(true);
                }
                Ok(bytes)
            }
            Err(error) => Err(self.fail(error)),
        }
    }
}

impl Drop for HttpBody {
    fn drop(&mut self) {
        if let State::Open(open) = &mut self.state {
            let complete = open.skip();
            self.end(complete);
        }
    }
}

impl fmt::Debug for HttpBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("HttpBody");
        match &self.state {
            State::Open(open) => {
                shown.field("origin", &format_args!("{}", open.origin));
                shown.field("remaining", &self.remaining());
                shown.field(
                    "reusable",
                    &open.inputs.obstacle(true, 0).map_or(Ok(()), Err),
                );
            }
            State::Done => {
                shown.field("remaining", &self.remaining());
            }
            State::Failed => {
                shown.field("failed", &true);
            }
        }
        shown.finish_non_exhaustive()
    }
}
