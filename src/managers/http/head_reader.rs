//! The heads of responses, as far as they have come.

use ureq_proto::{client::MAX_RESPONSE_HEADERS, http::StatusCode, parser::try_parse_response};

use super::{HttpError, HttpOrigin, buffer::Buffer};

/// So many informational responses (1xx) before one final one are no news any more.
const INFORMATIONAL: usize = 100;

/// Goes over informational heads (but 101, which ends the conversation) and finds the final one.
///
/// Here and not by ureq-proto, which takes a 100 with headers for an error and a 103 with headers for
/// the refusal of a body, though both are allowed and sent.
#[derive(Debug)]
pub(super) struct HeadReader<'a> {
    origin: &'a HttpOrigin,
    limit: usize,
    /// So much of the buffer holds no end of a line: it need not be parsed before one comes.
    searched: usize,
    skipped: usize,
    /// A 100 was among them.
    pub(super) continued: bool,
}

impl<'a> HeadReader<'a> {
    pub(super) fn new(origin: &'a HttpOrigin, limit: usize) -> Self {
        Self {
            origin,
            limit,
            searched: 0,
            skipped: 0,
            continued: false,
        }
    }

    /// Has any byte of a response come?
    pub(super) fn any(&self, buffer: &Buffer) -> bool {
        self.skipped > 0 || !buffer.is_empty()
    }

    /// Is the final head there as a whole? It stays in the buffer.
    pub(super) fn look(&mut self, buffer: &mut Buffer) -> Result<bool, HttpError> {
        loop {
            let unread = buffer.unread();
            // Nothing else may come first, not even the empty lines that parsers forgive: on a
            // connection that is used again they are left over from somewhere.
            let start = b"HTTP/1.";
            let most = unread.len().min(start.len());
            if unread[..most] != start[..most] {
                return Err(self.broken("what it sent begins with no HTTP/1"));
            }
            let fresh = &unread[self.searched.min(unread.len())..];
            let parsed = if fresh.contains(&b'\n') {
                try_parse_response::<MAX_RESPONSE_HEADERS>(unread)
            } else {
                Ok(None)
            };
            match parsed {
                Err(error) => return Err(self.broken(error.to_string())),
                Ok(Some((length, _))) if length > self.limit => return Err(self.too_long()),
                Ok(Some((length, head))) => {
                    let status = head.status();
                    let skip =
                        status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS;
                    if !skip {
                        return Ok(true);
                    }
                    buffer.consume(length);
                    self.searched = 0;
                    self.continued |= status == StatusCode::CONTINUE;
                    self.skipped += 1;
                    if self.skipped > INFORMATIONAL {
                        return Err(self.broken("there is no end of informational responses"));
                    }
                }
                Ok(None) if unread.len() >= self.limit => return Err(self.too_long()),
                Ok(None) => {
                    self.searched = unread.len();
                    return Ok(false);
                }
            }
        }
    }

    fn broken(&self, problem: impl Into<std::borrow::Cow<'static, str>>) -> HttpError {
        HttpError::Protocol {
            origin: self.origin.clone(),
            problem: problem.into(),
        }
    }

    fn too_long(&self) -> HttpError {
        HttpError::HeadersTooLong {
            origin: self.origin.clone(),
            limit: self.limit,
        }
    }
}
