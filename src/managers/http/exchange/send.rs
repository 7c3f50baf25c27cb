//! Sends a request's body, and notices a response that arrives before the end of the body.

use std::io::{self, ErrorKind};

use ureq_proto::client::{
    Call,
    state::{Await100, RecvResponse, SendBody},
};

use super::{Exchange, Failure, call_failed};
use crate::managers::http::{
    HttpError, HttpPhase, error::refused, request::HttpRequestBody, wire::Wire,
};

/// The maximum size of a body in memory that is sent together with its head.
const MAX_WITH_HEAD: usize = 16 * 1024;
/// The number of bytes sent between two checks for an early response.
const PIECE: usize = 64 * 1024;
/// The size of one read from a reader. A chunk of ureq-proto holds up to 10 KiB; smaller pieces become one
/// chunk each. (With exactly five bytes of room left, ureq-proto would write the end of the body.)
const READ: usize = 8 * 1024;
/// An upper bound for the framing around a chunk's data.
const CHUNK_OVERHEAD: usize = 32;

/// The reason why a transfer stopped.
enum StopReason {
    Lost(io::Error),
    Error(HttpError),
}

impl From<io::Error> for StopReason {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

impl From<HttpError> for StopReason {
    fn from(error: HttpError) -> Self {
        Self::Error(error)
    }
}

/// The result of sending a body.
enum Sent {
    All,
    /// The server answered before the body was sent.
    Answered,
}

impl Exchange<'_> {
    /// Waits for permission to send the body, at most for the timeout of the expectation.
    pub(super) fn await_100(&mut self, call: Call<Await100>) -> Result<Call<Await100>, Failure> {
        let wait_end = (self.timeout.deadline).at_most(self.settings.expect_continue_timeout);
        loop {
            if self.heads.look(&mut self.wire.buffer)? {
                return self.skip_body(call);
            }
            if self.heads.continued {
                return Ok(call);
            }
            match self.wire.fill(wait_end) {
                Err(error)
                    if error.kind() == ErrorKind::TimedOut && !self.timeout.deadline.is_over() =>
                {
                    return Ok(call);
                }
                filled => self.check_filled(filled)?,
            }
        }
    }

    /// Tells the call that a final response arrived instead of a 100, so that it sends no body.
    pub(super) fn skip_body(
        &mut self,
        mut call: Call<Await100>,
    ) -> Result<Call<Await100>, Failure> {
        let heard = call.try_read_100(self.wire.buffer.unread());
        heard.map_err(|error| HttpError::protocol(&self.info.origin, error.to_string()))?;
        Ok(call)
    }

    /// Sends `head`, if it is not empty, and the body. Returns whether all of both was sent.
    pub(super) fn send_body(
        &mut self,
        mut call: Call<SendBody>,
        body: &mut HttpRequestBody<'_>,
        head: Vec<u8>,
    ) -> Result<(Call<RecvResponse>, bool), Failure> {
        let sent = match self.pump(&mut call, body, head) {
            Ok(Sent::All) => true,
            Ok(Sent::Answered) => false,
            Err(StopReason::Error(error)) => return Err(error.into()),
            Err(StopReason::Lost(error)) => {
                self.read_early_response(error)?;
                false
            }
        };
        if !sent {
            // The call proceeds to the response only after the whole body.
            skip_rest_of_body(&mut call, body.left()).map_err(call_failed)?;
        }
        let call = call.proceed();
        let call = call.ok_or_else(|| refused("bug: the body was not written"))?;
        Ok((call, sent))
    }

    fn pump(
        &mut self,
        call: &mut Call<SendBody>,
        body: &mut HttpRequestBody<'_>,
        mut out: Vec<u8>,
    ) -> Result<Sent, StopReason> {
        let chunked = call.is_chunked();
        // The head of a small body in memory is sent together with it. A reader may be slow, so the head is
        // sent first.
        let small = body
            .length()
            .is_some_and(|length| length <= MAX_WITH_HEAD as u64);
        let waits = body.is_at_hand() && small;
        if !waits && !self.push(&mut out)? {
            return Ok(Sent::Answered);
        }
        let most = if body.is_at_hand() && !chunked {
            PIECE
        } else {
            READ
        };
        let mut scratch = Vec::new();
        let mut first = true;
        while !call.can_proceed() {
            if !first {
                self.wire.fill_nonblocking();
                if self.heads.look(&mut self.wire.buffer)? {
                    return Ok(Sent::Answered);
                }
            }
            first = false;
            let piece = body.next(most, &mut scratch)?;
            if piece.is_empty() && !chunked {
                // Without this check, an empty piece would loop for ever.
                return Err(refused("bug: the body is shorter than its length").into());
            }
            if chunked {
                let start = out.len();
                out.resize(start + piece.len() + CHUNK_OVERHEAD, 0);
                let (_, written) = call.write(piece, &mut out[start..]).map_err(call_failed)?;
                out.truncate(start + written);
            } else {
                call.consume_direct_write(piece.len())
                    .map_err(call_failed)?;
                if out.is_empty() && !self.send(piece)? {
                    return Ok(Sent::Answered);
                }
                if !out.is_empty() {
                    out.extend_from_slice(piece);
                }
            }
            if !self.push(&mut out)? {
                return Ok(Sent::Answered);
            }
        }
        Ok(Sent::All)
    }

    /// Sends and empties `out`. Returns whether all of it was sent.
    fn push(&mut self, out: &mut Vec<u8>) -> Result<bool, StopReason> {
        let all = out.is_empty() || self.send(out)?;
        out.clear();
        Ok(all)
    }

    /// Sends bytes. Returns false if the response arrived before all were sent.
    fn send(&mut self, bytes: &[u8]) -> Result<bool, StopReason> {
        let heads = &mut self.heads;
        let answered = |wire: &mut Wire| heads.look(&mut wire.buffer).map_err(StopReason::from);
        self.wire.send(bytes, self.timeout.deadline, answered)
    }

    /// Sends the bytes of a head that is not followed by a body at once.
    pub(super) fn transmit(&mut self, bytes: &[u8]) -> Result<bool, Failure> {
        match self.send(bytes) {
            Ok(all) => Ok(all),
            Err(StopReason::Error(error)) => Err(error.into()),
            Err(StopReason::Lost(error)) => self.read_early_response(error).map(|()| false),
        }
    }

    /// Reads a response after a failed write. A server that wants no more of a request may answer and end the
    /// connection, which shows as a failed write. Returns Ok if a response arrived.
    fn read_early_response(&mut self, failed: io::Error) -> Result<(), Failure> {
        if failed.kind() == ErrorKind::TimedOut {
            return Err(self.lost(HttpPhase::Sending, failed));
        }
        loop {
            if self.heads.look(&mut self.wire.buffer)? {
                return Ok(());
            }
            if !matches!(self.wire.fill(self.timeout.deadline), Ok(1..)) {
                return Err(self.lost(HttpPhase::Sending, failed));
            }
        }
    }
}

/// Makes the call count the rest of the body as sent. The bytes written are discarded.
fn skip_rest_of_body(call: &mut Call<SendBody>, mut left: u64) -> Result<(), ureq_proto::Error> {
    if call.is_chunked() {
        call.write(&[], &mut [0; CHUNK_OVERHEAD])?;
        return Ok(());
    }
    while left > 0 {
        let step = usize::try_from(left).unwrap_or(usize::MAX);
        call.consume_direct_write(step)?;
        left -= step as u64;
    }
    Ok(())
}
