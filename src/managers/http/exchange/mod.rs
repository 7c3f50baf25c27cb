//! Sends one request and reads the head of its response, over one connection.

mod send;

use std::io::{self, ErrorKind};

use ureq_proto::{
    BodyMode,
    client::{
        Await100Result, Call, RecvResponseResult, SendRequestResult,
        state::{RecvResponse, SendRequest},
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
