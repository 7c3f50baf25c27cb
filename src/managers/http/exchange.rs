//! Sends one request and reads the head of its response, over one connection.

use std::io::{self, ErrorKind};

use ureq_proto::{
    BodyMode,
    client::{
        Await100Result, Call, RecvResponseResult, SendRequestResult,
        state::{Await100, RecvResponse, SendBody, SendRequest},
    },
    http::{Request, Response, Version, header},
};

use super::{
    HttpError, HttpPhase,
    builder::Settings,
    error::refused,
    head_reader::HeadReader,
    request::{HttpRequestBody, RequestInfo, is_chunked},
    reuse::ReuseInputs,
    timeout::RequestTimeout,
    wire::Wire,
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

/// The head of a response, with the state needed to read its body.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) head: Response<()>,
    pub(super) mode: BodyMode,
    pub(super) inputs: ReuseInputs,
}

/// The exchange failed without a response.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: HttpError,
    /// The connection was lost before any byte of a response, so it may have been dead before the request.
    pub(super) lost_early: bool,
}

/// Converts refusals before sending, and errors of a body's reader.
impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Self {
        Self {
            error,
            lost_early: false,
        }
    }
}

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

pub(super) struct Exchange<'a> {
    wire: &'a mut Wire,
    info: &'a RequestInfo,
    settings: &'a Settings,
    timeout: &'a RequestTimeout,
    heads: HeadReader<'a>,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(
        wire: &'a mut Wire,
        info: &'a RequestInfo,
        settings: &'a Settings,
        timeout: &'a RequestTimeout,
    ) -> Self {
        Self {
            heads: HeadReader::new(&info.origin, settings.max_header_bytes),
            wire,
            info,
            settings,
            timeout,
        }
    }

    pub(super) fn run(
        mut self,
        request: Request<()>,
        body: &mut HttpRequestBody<'_>,
    ) -> Result<Answer, Failure> {
        let (call, out) = self.write_head(request)?;
        let next = call.proceed().map_err(call_failed)?;
        let next = next.ok_or_else(|| refused("bug: the head was not written"))?;
        let (call, sent) = match next {
            SendRequestResult::RecvResponse(call) => {
                let sent = self.transmit(&out)?;
                (call, sent)
            }
            SendRequestResult::SendBody(call) => self.send_body(call, body, out)?,
            SendRequestResult::Await100(call) => {
                let call = if self.transmit(&out)? {
                    self.await_100(call)?
                } else {
                    self.skip_body(call)?
                };
                match call.proceed().map_err(call_failed)? {
                    Await100Result::SendBody(call) => self.send_body(call, body, Vec::new())?,
                    Await100Result::RecvResponse(call) => (call, false),
                }
            }
        };
        self.receive(call, sent)
    }

    /// Writes the head to a buffer, without sending it.
    fn write_head(&self, request: Request<()>) -> Result<(Call<SendRequest>, Vec<u8>), HttpError> {
        let mut call = Call::new(request).map_err(call_failed)?;
        // The caller chooses the method, which may be one of WebDAV, for example.
        call.allow_non_standard_methods(true);
        if let Some((name, value)) = &self.info.framing {
            call.header(name, value).map_err(call_failed)?;
        }
        let mut call = call.proceed();
        let mut out = vec![0; 1024];
        let mut written = 0;
        while !call.can_proceed() {
            match call.write(&mut out[written..]) {
                Ok(bytes) => written += bytes,
                Err(ureq_proto::Error::OutputOverflow) => out.resize(out.len() * 2, 0),
                Err(error) => return Err(call_failed(error)),
            }
        }
        out.truncate(written);
        Ok((call, out))
    }

    /// Waits for permission to send the body, at most for the timeout of the expectation.
    fn await_100(&mut self, call: Call<Await100>) -> Result<Call<Await100>, Failure> {
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
    fn skip_body(&mut self, mut call: Call<Await100>) -> Result<Call<Await100>, Failure> {
        let heard = call.try_read_100(self.wire.buffer.unread());
        heard.map_err(|error| HttpError::protocol(&self.info.origin, error.to_string()))?;
        Ok(call)
    }

    /// Sends `head`, if it is not empty, and the body. Returns whether all of both was sent.
    fn send_body(
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
    fn transmit(&mut self, bytes: &[u8]) -> Result<bool, Failure> {
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

    fn receive(mut self, mut call: Call<RecvResponse>, sent: bool) -> Result<Answer, Failure> {
        while !self.heads.look(&mut self.wire.buffer)? {
            let filled = self.wire.fill(self.timeout.deadline);
            self.check_filled(filled)?;
        }
        let unread = self.wire.buffer.unread();
        let (length, head) = match call.try_response(unread, false) {
            Ok((length, Some(head))) => (length, head),
            Ok((_, None)) => return Err(refused("bug: the head was not read").into()),
            Err(error) => {
                return Err(HttpError::protocol(&self.info.origin, error.to_string()).into());
            }
        };
        self.wire.buffer.consume(length);
        let mode = match call.proceed() {
            Some(RecvResponseResult::RecvBody(call)) => call.body_mode(),
            _ => BodyMode::NoBody,
        };
        self.check_coding(&head, mode)?;
        let inputs = ReuseInputs::new(&head, mode, self.info.says_close, sent);
        Ok(Answer { head, mode, inputs })
    }

    /// Refuses every transfer coding but chunked. A body in another coding would be returned undecoded.
    fn check_coding(&self, head: &Response<()>, mode: BodyMode) -> Result<(), HttpError> {
        let mut codings = head.headers().get_all(header::TRANSFER_ENCODING).iter();
        let Some(coding) = codings.next() else {
            return Ok(());
        };
        if mode == BodyMode::NoBody || head.version() == Version::HTTP_10 {
            return Ok(());
        }
        if !is_chunked(coding) || codings.next().is_some() {
            return Err(HttpError::protocol(
                &self.info.origin,
                format!("the transfer-encoding {coding:?} is not known"),
            ));
        }
        Ok(())
    }

    fn lost(&self, phase: HttpPhase, source: io::Error) -> Failure {
        let lost = matches!(
            source.kind(),
            ErrorKind::BrokenPipe
                | ErrorKind::ConnectionAborted
                | ErrorKind::ConnectionReset
                | ErrorKind::NotConnected
                | ErrorKind::UnexpectedEof
        );
        let lost_early = lost && !self.heads.any(&self.wire.buffer);
        Failure {
            error: self.timeout.failed(&self.info.origin, phase, source),
            lost_early,
        }
    }

    /// Checks that a wait for the head of the response received bytes.
    fn check_filled(&self, filled: io::Result<usize>) -> Result<(), Failure> {
        match filled {
            Ok(0) => Err(Failure {
                error: HttpError::Ended {
                    origin: self.info.origin.clone(),
                    received: self.wire.buffer.len(),
                },
                lost_early: !self.heads.any(&self.wire.buffer),
            }),
            Ok(_) => Ok(()),
            Err(error) => Err(self.lost(HttpPhase::Waiting, error)),
        }
    }
}

/// Converts an error of ureq-proto before or during writing.
fn call_failed(error: ureq_proto::Error) -> HttpError {
    refused(match error {
        ureq_proto::Error::BadHeader(problem) => problem,
        error => error.to_string(),
    })
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
