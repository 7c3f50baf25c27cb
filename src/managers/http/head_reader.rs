//! Parses the heads of responses as they arrive.

use ureq_proto::{client::MAX_RESPONSE_HEADERS, http::StatusCode, parser::try_parse_response};

use super::{HttpError, HttpOrigin, buffer::Buffer};

/// The maximum number of informational responses (1xx) before a final one.
const INFORMATIONAL: usize = 100;

/// Skips informational heads (except 101, which ends HTTP on the connection) and finds the final one.
///
/// ureq-proto cannot do this: it rejects a 100 with headers, and takes a 103 with headers for the refusal of
/// a body, although both are valid and common.
#[derive(Debug)]
pub(super) struct HeadReader<'a> {
    origin: &'a HttpOrigin,
    limit: usize,
    /// The length of the buffer's prefix without an end of line. Parsing needs one after it.
    searched: usize,
    skipped: usize,
    /// A 100 was among the skipped heads.
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

    /// Returns true if any byte of a response has arrived.
    pub(super) fn any(&self, buffer: &Buffer) -> bool {
        self.skipped > 0 || !buffer.is_empty()
    }

    /// Returns true if the whole final head is in the buffer, where it stays.
    pub(super) fn look(&mut self, buffer: &mut Buffer) -> Result<bool, HttpError> {
        let too_long = || Err(HttpError::headers_too_long(self.origin, self.limit));
        loop {
            let unread = buffer.unread();
            // The response must be the first data, without the empty lines that parsers tolerate: on a reused
            // connection such lines are left over from an earlier response.
            let start = b"HTTP/1.";
            let most = unread.len().min(start.len());
            if unread[..most] != start[..most] {
                return Err(HttpError::protocol(
                    self.origin,
                    "what it sent begins with no HTTP/1",
                ));
            }
            let fresh = &unread[self.searched.min(unread.len())..];
            let parsed = if fresh.contains(&b'\n') {
                try_parse_response::<MAX_RESPONSE_HEADERS>(unread)
            } else {
                Ok(None)
            };
            match parsed {
                Err(error) => return Err(HttpError::protocol(self.origin, error.to_string())),
                Ok(Some((length, _))) if length > self.limit => return too_long(),
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
                        return Err(HttpError::protocol(
                            self.origin,
                            "there is no end of informational responses",
                        ));
                    }
                }
                Ok(None) if unread.len() >= self.limit => return too_long(),
                Ok(None) => {
                    self.searched = unread.len();
                    return Ok(false);
                }
            }
        }
    }
}
