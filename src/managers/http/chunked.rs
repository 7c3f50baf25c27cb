//! A strict parser for the chunks of a response.
//!
//! ureq-proto's parser is too lenient: it accepts `+5` as a size, refuses a line with an extension of 20
//! letters, waits for ever after a lone carriage return, and does not limit trailers. If two parsers of one
//! byte stream disagree on the end of a body, a response can be forged (response splitting). This parser
//! therefore accepts only hexadecimal digits and lines that end in CR LF.

use std::borrow::Cow;

/// The maximum length of a line with a chunk's size and extensions, in bytes.
const LONGEST_LINE: usize = 4096;

/// The reason why bytes are not valid chunks.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadChunk {
    Protocol(Cow<'static, str>),
    TrailersTooLong,
}

/// The next part of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NextPart {
    /// At most this number of bytes of data.
    Data(u64),
    /// Unknown until more bytes have arrived.
    Unknown,
    /// The end: the body is complete.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At a line with a size.
    Size,
    /// Before this number of bytes of data.
    Data(u64),
    /// At the end of line after the data.
    AfterData,
    /// In the lines after the last chunk. Holds the number of their bytes read so far.
    Trailers(usize),
    End,
}

/// Finds the data between the lines.
#[derive(Debug)]
pub(super) struct Chunks {
    state: State,
    longest_trailers: usize,
}

impl Chunks {
    /// Creates a parser. Trailers are discarded, and are refused if they are longer than `longest_trailers`.
    pub(super) fn new(longest_trailers: usize) -> Self {
        Self {
            state: State::Size,
            longest_trailers,
        }
    }

    /// Skips the bytes before the next data. Returns their number and the next part. An error leaves the
    /// state unchanged, so that a second call returns the same error.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<(usize, NextPart), BadChunk> {
        let before = self.state;
        self.walk(bytes).inspect_err(|_| self.state = before)
    }

    fn walk(&mut self, bytes: &[u8]) -> Result<(usize, NextPart), BadChunk> {
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            used += match self.state {
                State::Data(left) => return Ok((used, NextPart::Data(left))),
                State::End => return Ok((used, NextPart::End)),
                State::Size => match line(rest, LONGEST_LINE) {
                    Line::Whole(text) => {
                        self.state = match size(text)? {
                            0 => State::Trailers(0),
                            size => State::Data(size),
                        };
                        text.len() + 2
                    }
                    Line::Part => return Ok((used, NextPart::Unknown)),
                    Line::TooLong => return Err(bad("the line of a chunk's size has no end")),
                    Line::Broken => return Err(bad("the line of a chunk's size ends in no CR LF")),
                },
                State::AfterData => match rest {
                    [b'\r', b'\n', ..] => {
                        self.state = State::Size;
                        2
                    }
                    [] | [b'\r'] => return Ok((used, NextPart::Unknown)),
                    _ => return Err(bad("a chunk is longer than its size")),
                },
                State::Trailers(read) => {
                    let left = self.longest_trailers.saturating_sub(read);
                    match line(rest, left) {
                        Line::Whole([]) => {
                            self.state = State::End;
                            2
                        }
                        Line::Whole(text) => {
                            self.state = State::Trailers(read + text.len() + 2);
                            text.len() + 2
                        }
                        Line::Part => return Ok((used, NextPart::Unknown)),
                        Line::TooLong => return Err(BadChunk::TrailersTooLong),
                        Line::Broken => return Err(bad("a trailer ends in no CR LF")),
                    }
                }
            };
        }
    }

    /// Records that this number of data bytes was read.
    pub(super) fn took(&mut self, bytes: u64) {
        if let State::Data(left) = self.state {
            self.state = match left.saturating_sub(bytes) {
                0 => State::AfterData,
                left => State::Data(left),
            };
        }
    }
}

fn bad(problem: &'static str) -> BadChunk {
    BadChunk::Protocol(problem.into())
}

enum Line<'a> {
    Whole(&'a [u8]),
    Part,
    TooLong,
    Broken,
}

/// Returns the bytes before the first CR LF. A lone line feed or a lone carriage return is an error.
fn line(bytes: &[u8], longest: usize) -> Line<'_> {
    let look = &bytes[..bytes.len().min(longest.saturating_add(2))];
    match look.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        None if look.len() > longest => Line::TooLong,
        None => Line::Part,
        Some(end) => match look[end..] {
            [b'\r', b'\n', ..] => Line::Whole(&bytes[..end]),
            [b'\r'] if look.len() == bytes.len() => Line::Part,
            [b'\r'] => Line::TooLong,
            _ => Line::Broken,
        },
    }
}

/// Parses a size: hexadecimal digits, followed by nothing, blanks or an extension, which is ignored.
fn size(line: &[u8]) -> Result<u64, BadChunk> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit());
    let (digits, rest) = line.split_at(digits.count());
    let end = rest.iter().find(|byte| !matches!(byte, b' ' | b'\t'));
    let value = std::str::from_utf8(digits).ok();
    let value = value.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    match (value, end) {
        (Some(value), None | Some(b';')) => Ok(value),
        _ => {
            let shown = String::from_utf8_lossy(&line[..line.len().min(40)]).into_owned();
            let problem = format!("{shown:?} is no size of a chunk");
            Err(BadChunk::Protocol(problem.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the data of a body that arrives in pieces of `step` bytes, and the bytes after its end.
    fn decode(bytes: &[u8], step: usize) -> Result<(Vec<u8>, Vec<u8>), Option<BadChunk>> {
        let mut chunks = Chunks::new(100);
        let (mut data, mut pending) = (Vec::new(), Vec::new());
        let mut pieces = bytes.chunks(step);
        loop {
            let (used, next) = chunks.advance(&pending).map_err(Some)?;
            pending.drain(..used);
            match next {
                NextPart::End => {
                    pending.extend(pieces.flatten());
                    return Ok((data, pending));
                }
                NextPart::Data(most) if !pending.is_empty() => {
                    let most = usize::try_from(most).unwrap().min(pending.len());
                    data.extend(pending.drain(..most));
                    chunks.took(most as u64);
                }
                _ => pending.extend(pieces.next().ok_or(None)?),
            }
        }
    }

    #[test]
    fn the_data_is_the_same_however_the_bytes_are_cut() {
        let long = format!("A;{}=\"x\"\r\n0123456789\r\n", "name".repeat(100));
        let body = format!("5\r\nhello\r\n{long}1 \r\n!\r\n1;\r\n?\r\n0\r\nTrailer: x\r\n\r\nnext");
        for step in [1, 2, 3, 7, 4000] {
            let (data, rest) = decode(body.as_bytes(), step).unwrap();
            assert_eq!(data, b"hello0123456789!?", "{step}");
            assert_eq!(rest, b"next", "{step}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for size in [
            "",
            "-1",
            "+5",
            "0x5",
            "g",
            " 5",
            "5 5",
            "5\r",
            "\r\r",
            "10000000000000000",
            ";x",
            "5:x",
        ] {
            for step in [1, 100] {
                let body = format!("{size}\r\nhello\r\n0\r\n\r\n");
                let refused = decode(body.as_bytes(), step);
                assert!(
                    matches!(refused, Err(Some(BadChunk::Protocol(_)))),
                    "{size:?}"
                );
            }
        }
    }

    #[test]
    fn a_chunk_ends_where_its_size_says_and_a_line_in_cr_lf() {
        for body in [
            "5\r\nhello!\r\n0\r\n\r\n",
            "5\nhello\r\n0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhello\r0\r\n\r\n",
            "0\r\nx\ny: 1\r\n\r\n",
        ] {
            for step in [1, 100] {
                let refused = decode(body.as_bytes(), step);
                assert!(
                    matches!(refused, Err(Some(BadChunk::Protocol(_)))),
                    "{body:?}"
                );
            }
        }
    }

    #[test]
    fn lines_and_trailers_without_end_are_refused_and_not_collected() {
        let line = format!("5;{}", "x".repeat(2 * LONGEST_LINE));
        let refused = decode(line.as_bytes(), 100);
        assert!(
            matches!(refused, Err(Some(BadChunk::Protocol(_)))),
            "{refused:?}"
        );
        for trailers in ["x".repeat(200), "a: b\r\n".repeat(50)] {
            for step in [1, 300] {
                let body = format!("0\r\n{trailers}");
                assert_eq!(
                    decode(body.as_bytes(), step),
                    Err(Some(BadChunk::TrailersTooLong))
                );
            }
        }
    }

    #[test]
    fn a_part_is_not_taken_for_the_whole() {
        let body = b"5\r\nhello\r\n0\r\nA: b\r\n\r\n";
        for end in 0..body.len() {
            assert_eq!(decode(&body[..end], 1), Err(None), "{end}");
        }
    }
}
