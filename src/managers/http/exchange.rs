//! One request and the head of its response, over one connection.

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
    budget::GetTimeout,
    builder::Settings,
    head_reader::HeadReader,
    request::{HttpRequestBody, Plan},
    reuse::ReuseInputs,
    wire::Wire,
};

/// A body that is at hand and no longer than this leaves together with its head.
const TOGETHER: usize = 16 * 1024;
/// What is sent between two looks at whether the server has answered.
const PIECE: usize = 64 * 1024;
/// What is asked of a reader at once. A chunk of ureq-proto holds up to 10 KiB; with less it writes one
/// chunk for each piece. (With exactly five bytes of room left it would write the end of the body.)
const READ: usize = 8 * 1024;
/// What a chunk needs around its data, and more.
const AROUND_A_CHUNK: usize = 32;

/// The head of a response, and what has to be known to read its body.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) head: Response<()>,
    pub(super) mode: BodyMode,
    pub(super) inputs: ReuseInputs,
}

/// No response.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: HttpError,
    /// The connection was lost before any byte of a response: it may have been dead before the request.
    pub(super) lost_early: bool,
}

/// Refusals before anything was sent, and those of the reader of a body.
impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Self {
        Self {
            error,
            lost_early: false,
        }
    }
}

/// What stops a transfer.
enum Stop {
    Lost(io::Error),
    Error(HttpError),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

impl From<HttpError> for Stop {
    fn from(error: HttpError) -> Self {
        Self::Error(error)
    }
}

/// How the sending of a body ended.
enum Sent {
    All,
    /// The server answered before.
    Answered,
}

pub(super) struct Exchange<'a> {
    wire: &'a mut Wire,
    plan: &'a Plan,
    settings: &'a Settings,
    budget: &'a GetTimeout,
    heads: HeadReader<'a>,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(
        wire: &'a mut Wire,
        plan: &'a Plan,
        settings: &'a Settings,
        budget: &'a GetTimeout,
    ) -> Self {
        Self {
            heads: HeadReader::new(&plan.origin, settings.max_header_bytes),
            wire,
            plan,
            settings,
            budget,
        }
    }

    pub(super) fn run(
        mut self,
        request: Request<()>,
        body: &mut HttpRequestBody<'_>,
    ) -> Result<Answer, Failure> {
        let (call, out) = self.write_head(request)?;
        let next = call.proceed().map_err(refused)?;
        let next = next.ok_or_else(|| broken_call("bug: the head was not written"))?;
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
                    self.hear(call)?
                };
                match call.proceed().map_err(refused)? {
                    Await100Result::SendBody(call) => self.send_body(call, body, Vec::new())?,
                    Await100Result::RecvResponse(call) => (call, false),
                }
            }
        };
        self.receive(call, sent)
    }

    /// The head as bytes; nothing is sent yet.
    fn write_head(&self, request: Request<()>) -> Result<(Call<SendRequest>, Vec<u8>), HttpError> {
        let mut call = Call::new(request).map_err(refused)?;
        // WebDAV and others: the method is the caller's choice.
        call.allow_non_standard_methods(true);
        if let Some((name, value)) = &self.plan.framing {
            call.header(name, value).map_err(refused)?;
        }
        let mut call = call.proceed();
        let mut out = vec![0; 1024];
        let mut written = 0;
        while !call.can_proceed() {
            match call.write(&mut out[written..]) {
                Ok(bytes) => written += bytes,
                Err(ureq_proto::Error::OutputOverflow) => out.resize(out.len() * 2, 0),
                Err(error) => return Err(refused(error)),
            }
        }
        out.truncate(written);
        Ok((call, out))
    }

    /// Waits for permission to send the body, or until it need not be waited for any longer.
    fn await_100(&mut self, call: Call<Await100>) -> Result<Call<Await100>, Failure> {
        let patience = self.budget.at_most(self.settings.expect_continue_timeout);
        loop {
            if self.heads.look(&mut self.wire.buffer)? {
                return self.hear(call);
            }
            if self.heads.continued {
                return Ok(call);
            }
            match self.wire.fill(patience) {
                Ok(0) => return Err(self.ended()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::TimedOut && !self.budget.is_over() => {
                    return Ok(call);
                }
                Err(error) => return Err(self.lost(HttpPhase::Waiting, error)),
            }
        }
    }

    /// Lets the call know that there is a final response instead of a 100: it sends no body then.
    fn hear(&mut self, mut call: Call<Await100>) -> Result<Call<Await100>, Failure> {
        let heard = call.try_read_100(self.wire.buffer.unread());
        heard.map_err(|error| self.broken(error.to_string()))?;
        Ok(call)
    }

    /// `head`: still to be sent, before the body. Whether all of both was sent.
    fn send_body(
        &mut self,
        mut call: Call<SendBody>,
        body: &mut HttpRequestBody<'_>,
        head: Vec<u8>,
    ) -> Result<(Call<RecvResponse>, bool), Failure> {
        let sent = match self.pump(&mut call, body, head) {
            Ok(Sent::All) => true,
            Ok(Sent::Answered) => false,
            Err(Stop::Error(error)) => return Err(error.into()),
            Err(Stop::Lost(error)) => {
                self.last_words(error)?;
                false
            }
        };
        if !sent {
            // The call goes on to the response only when it believes that the body is out.
            feign_the_rest(&mut call, body.left()).map_err(refused)?;
        }
        let call = call.proceed();
        let call = call.ok_or_else(|| broken_call("bug: the body was not written"))?;
        Ok((call, sent))
    }

    fn pump(
        &mut self,
        call: &mut Call<SendBody>,
        body: &mut HttpRequestBody<'_>,
        mut out: Vec<u8>,
    ) -> Result<Sent, Stop> {
        let chunked = call.is_chunked();
        // A head waits for a body that is at hand, and not for a reader, which may take its time.
        let small = body
            .length()
            .is_some_and(|length| length <= TOGETHER as u64);
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
                self.wire.fill_now();
                if self.heads.look(&mut self.wire.buffer)? {
                    return Ok(Sent::Answered);
                }
            }
            first = false;
            let piece = body.next(most, &mut scratch)?;
            if piece.is_empty() && !chunked {
                // Else it would be asked for the rest for ever.
                return Err(broken_call("bug: the body is shorter than its length").into());
            }
            if chunked {
                let start = out.len();
                out.resize(start + piece.len() + AROUND_A_CHUNK, 0);
                let (_, written) = call.write(piece, &mut out[start..]).map_err(refused)?;
                out.truncate(start + written);
            } else {
                call.consume_direct_write(piece.len()).map_err(refused)?;
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

    /// Sends and empties `out`.
    fn push(&mut self, out: &mut Vec<u8>) -> Result<bool, Stop> {
        let all = out.is_empty() || self.send(out)?;
        out.clear();
        Ok(all)
    }

    /// Whether all of it went out; if not, the response has come.
    fn send(&mut self, bytes: &[u8]) -> Result<bool, Stop> {
        let heads = &mut self.heads;
        let answered = |wire: &mut Wire| heads.look(&mut wire.buffer).map_err(Stop::from);
        self.wire.send(bytes, self.budget.deadline(), answered)
    }

    /// The same for a head without a body that follows at once.
    fn transmit(&mut self, bytes: &[u8]) -> Result<bool, Failure> {
        match self.send(bytes) {
            Ok(all) => Ok(all),
            Err(Stop::Error(error)) => Err(error.into()),
            Err(Stop::Lost(error)) => self.last_words(error).map(|()| false),
        }
    }

    /// A server that wants no more of a request may answer and end the connection, which here shows as
    /// a failed write. Ok: there is an answer.
    fn last_words(&mut self, failed: io::Error) -> Result<(), Failure> {
        if failed.kind() == ErrorKind::TimedOut {
            return Err(self.lost(HttpPhase::Sending, failed));
        }
        loop {
            if self.heads.look(&mut self.wire.buffer)? {
                return Ok(());
            }
            if !matches!(self.wire.fill(self.budget.deadline()), Ok(1..)) {
                return Err(self.lost(HttpPhase::Sending, failed));
            }
        }
    }

    fn receive(mut self, mut call: Call<RecvResponse>, sent: bool) -> Result<Answer, Failure> {
        while !self.heads.look(&mut self.wire.buffer)? {
            match self.wire.fill(self.budget.deadline()) {
                Ok(0) => return Err(self.ended()),
                Ok(_) => {}
                Err(error) => return Err(self.lost(HttpPhase::Waiting, error)),
            }
        }
        let unread = self.wire.buffer.unread();
        let (length, head) = match call.try_response(unread, false) {
            Ok((length, Some(head))) => (length, head),
            Ok((_, None)) => return Err(broken_call("bug: the head was not read").into()),
            Err(error) => return Err(self.broken(error.to_string()).into()),
        };
        self.wire.buffer.consume(length);
        let mode = match call.proceed() {
            Some(RecvResponseResult::RecvBody(call)) => call.body_mode(),
            _ => BodyMode::NoBody,
        };
        self.check_coding(&head, mode)?;
        let inputs = ReuseInputs::new(&head, mode, self.plan.says_close, sent);
        Ok(Answer { head, mode, inputs })
    }

    /// The only coding that a server may use here is chunked; a body in another would be handed on as
    /// something that it is not.
    fn check_coding(&self, head: &Response<()>, mode: BodyMode) -> Result<(), HttpError> {
        let mut codings = head.headers().get_all(header::TRANSFER_ENCODING).iter();
        let Some(coding) = codings.next() else {
            return Ok(());
        };
        if mode == BodyMode::NoBody || head.version() == Version::HTTP_10 {
            return Ok(());
        }
        let chunked = coding
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"chunked");
        if !chunked || codings.next().is_some() {
            return Err(self.broken(format!("the transfer-encoding {coding:?} is not known")));
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
            error: self.budget.failed(&self.plan.origin, phase, source),
            lost_early,
        }
    }

    fn ended(&self) -> Failure {
        let received = self.wire.buffer.len();
        Failure {
            error: HttpError::Ended {
                origin: self.plan.origin.clone(),
                received,
            },
            lost_early: !self.heads.any(&self.wire.buffer),
        }
    }

    fn broken(&self, problem: impl Into<std::borrow::Cow<'static, str>>) -> HttpError {
        HttpError::Protocol {
            origin: self.plan.origin.clone(),
            problem: problem.into(),
        }
    }
}

/// By ureq-proto, before or while it is written.
fn refused(error: ureq_proto::Error) -> HttpError {
    let problem = match error {
        ureq_proto::Error::BadHeader(problem) => problem,
        error => error.to_string(),
    };
    let problem = problem.into();
    HttpError::Request { problem }
}

fn broken_call(problem: &'static str) -> HttpError {
    HttpError::Request {
        problem: problem.into(),
    }
}

/// Makes the call believe that the body, of which so much is left, is out. What it writes goes nowhere.
fn feign_the_rest(call: &mut Call<SendBody>, mut left: u64) -> Result<(), ureq_proto::Error> {
    if call.is_chunked() {
        call.write(&[], &mut [0; AROUND_A_CHUNK])?;
        return Ok(());
    }
    while left > 0 {
        let step = usize::try_from(left).unwrap_or(usize::MAX);
        call.consume_direct_write(step)?;
        left -= step as u64;
    }
    Ok(())
}
