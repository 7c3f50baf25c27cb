//! Decides whether a connection may serve another request.

use ureq_proto::{
    BodyMode,
    http::{HeaderMap, Response, StatusCode, Version, header},
};

use super::request::has_token;

/// The properties of a response and its request that determine the reuse of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "the columns of a truth table"
)]
pub(super) struct ReuseInputs {
    /// The request has `connection: close`.
    pub(super) client_closes: bool,
    /// The response has `connection: close`, or is of HTTP/1.0 without `keep-alive`.
    pub(super) server_closes: bool,
    /// The response has a second framing that contradicts the one in use.
    pub(super) ambiguous: bool,
    /// The status is 101: another protocol follows.
    pub(super) switched: bool,
    /// The body ends with the connection.
    pub(super) until_close: bool,
    /// The whole request was sent before the response arrived.
    pub(super) sent: bool,
}

impl ReuseInputs {
    /// `mode` is the framing of the response's body.
    pub(super) fn new(
        head: &Response<()>,
        mode: BodyMode,
        client_closes: bool,
        sent: bool,
    ) -> Self {
        let headers = head.headers();
        let says = |word| has_token(headers, &header::CONNECTION, word);
        let old = head.version() == Version::HTTP_10;
        Self {
            client_closes,
            server_closes: says("close") || old && !says("keep-alive"),
            ambiguous: is_ambiguous(head),
            switched: head.status() == StatusCode::SWITCHING_PROTOCOLS,
            until_close: mode == BodyMode::CloseDelimited,
            sent,
        }
    }

    /// Returns the reason why the connection must not be reused, or None. `complete` says whether the body
    /// was read to its end. `left` is the number of bytes received after that end.
    pub(super) fn obstacle(self, complete: bool, left: usize) -> Option<&'static str> {
        let obstacles = [
            (!complete, "the body was not read to its end"),
            (left > 0, "more came than the response"),
            (!self.sent, "the request was not sent as a whole"),
            (self.switched, "the protocol was switched"),
            (self.until_close, "the body ended with the connection"),
            (self.ambiguous, "the response has two lengths"),
            (self.client_closes, "the request said close"),
            (self.server_closes, "the server closes"),
        ];
        let mut obstacles = obstacles.into_iter();
        obstacles.find_map(|(holds, reason)| holds.then_some(reason))
    }
}

/// Returns true if two parsers could disagree on the end of this response, so that the bytes after it cannot
/// be trusted (RFC 9112, 6.1 and 6.3).
fn is_ambiguous(head: &Response<()>) -> bool {
    let headers = head.headers();
    let coded = headers.contains_key(header::TRANSFER_ENCODING);
    let sized = headers.contains_key(header::CONTENT_LENGTH);
    match head.status() {
        // The response has no body but announces one.
        StatusCode::NO_CONTENT => coded || sized && !says_zero(headers),
        _ => coded && (sized || head.version() == Version::HTTP_10),
    }
}

fn says_zero(headers: &HeaderMap) -> bool {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    lengths.all(|length| length.as_bytes() == b"0")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the inputs for every column of the truth table, as bits.
    fn inputs(bits: u8) -> ReuseInputs {
        let bit = |number: u8| bits & (1 << number) != 0;
        ReuseInputs {
            client_closes: bit(0),
            server_closes: bit(1),
            ambiguous: bit(2),
            switched: bit(3),
            until_close: bit(4),
            sent: !bit(5),
        }
    }

    #[test]
    fn only_without_any_obstacle_is_a_connection_used_again() {
        for bits in 0..64 {
            for complete in [false, true] {
                for left in [0, 1, 4096] {
                    let free = inputs(bits).obstacle(complete, left).is_none();
                    let clear = bits == 0 && complete && left == 0;
                    assert_eq!(free, clear, "{bits:b}, {complete}, {left}");
                }
            }
        }
    }

    #[test]
    fn each_obstacle_alone_has_a_reason_of_its_own() {
        let mut reasons: Vec<_> = (0..6)
            .map(|bit| inputs(1 << bit).obstacle(true, 0).unwrap())
            .collect();
        reasons.push(inputs(0).obstacle(false, 0).unwrap());
        reasons.push(inputs(0).obstacle(true, 1).unwrap());
        reasons.sort_unstable();
        reasons.dedup();
        assert_eq!(reasons.len(), 8);
    }

    fn head(
        version: Version,
        status: u16,
        headers: &[(&'static str, &'static str)],
    ) -> ReuseInputs {
        let mut head = Response::builder().version(version).status(status);
        for (name, value) in headers {
            head = head.header(*name, *value);
        }
        let mode = BodyMode::LengthDelimited(3);
        ReuseInputs::new(&head.body(()).unwrap(), mode, false, true)
    }

    #[test]
    fn the_words_of_the_server_are_read_as_http_means_them() {
        const NEW: Version = Version::HTTP_11;
        const OLD: Version = Version::HTTP_10;
        for (version, connection, closes) in [
            (NEW, "", false),
            (NEW, "keep-alive", false),
            (NEW, "close", true),
            (NEW, "Close", true),
            (NEW, "upgrade, CLOSE ,x", true),
            (NEW, "closed", false),
            (OLD, "", true),
            (OLD, "Keep-Alive", false),
            (OLD, "keep-alive, close", true),
        ] {
            let inputs = head(version, 200, &[("connection", connection)]);
            assert_eq!(inputs.server_closes, closes, "{version:?} {connection:?}");
        }
        let split = head(NEW, 200, &[("connection", "a"), ("connection", "close")]);
        assert!(split.server_closes);
    }

    #[test]
    fn a_response_with_two_lengths_is_ambiguous() {
        const LENGTH: (&str, &str) = ("content-length", "3");
        const NOTHING: (&str, &str) = ("content-length", "0");
        const CHUNKED: (&str, &str) = ("transfer-encoding", "chunked");
        for (version, status, headers, ambiguous) in [
            (Version::HTTP_11, 200, &[LENGTH][..], false),
            (Version::HTTP_11, 200, &[CHUNKED], false),
            (Version::HTTP_11, 200, &[CHUNKED, LENGTH], true),
            (Version::HTTP_11, 200, &[CHUNKED, NOTHING], true),
            (Version::HTTP_10, 200, &[LENGTH], false),
            (Version::HTTP_10, 200, &[CHUNKED], true),
            (Version::HTTP_11, 304, &[LENGTH], false),
            (Version::HTTP_11, 204, &[], false),
            (Version::HTTP_11, 204, &[NOTHING], false),
            (Version::HTTP_11, 204, &[LENGTH], true),
            (Version::HTTP_11, 204, &[CHUNKED], true),
        ] {
            let inputs = head(version, status, headers);
            assert_eq!(
                inputs.ambiguous, ambiguous,
                "{version:?} {status} {headers:?}"
            );
        }
    }

    #[test]
    fn a_switched_protocol_and_a_body_until_the_end_show() {
        let head = Response::builder().status(101).body(()).unwrap();
        let inputs = ReuseInputs::new(&head, BodyMode::NoBody, true, false);
        assert!(inputs.switched && inputs.client_closes && !inputs.sent && !inputs.until_close);
        let head = Response::new(());
        let inputs = ReuseInputs::new(&head, BodyMode::CloseDelimited, false, true);
        assert!(inputs.until_close && !inputs.switched);
    }
}
