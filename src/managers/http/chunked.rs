//! The chunks of a response, read strictly.
//!
//! Not ureq-proto's reader: it takes `+5` for a size, refuses a line with an extension of 20 letters,
//! waits for ever behind a lone carriage return, and sets no limit on trailers. Where two readers of one
//! byte stream disagree on where a body ends, the next response is forged, so here is one meaning only:
//! hexadecimal digits, lines that end in CR LF.

use std::borrow::Cow;

/// The longest line with a chunk's size and extensions, in bytes.
const LONGEST_LINE: usize = 4096;

/// Why the bytes are no chunks.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadChunk {
    Protocol(Cow<'static, str>),
    TrailersTooLong,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NextWake {
    /// So many bytes of data, at most.
    Data(u64),
    /// Not known before more bytes have come.
    Unknown,
    /// Nothing: the body is complete.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A line with a size.
    Size,
    /// So many bytes of data.
    Data(u64),
    /// The end of line behind the data.
    AfterData,
    /// The lines behind the last chunk; so many bytes of them have been read.
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
    /// Trailers are read and thrown away, as long as they are no longer than this.
    pub(super) fn new(longest_trailers: usize) -> Self {
        Self {
            state: State::Size,
            longest_trailers,
        }
    }

    /// Goes over everything in `bytes` that is not data. How much that was, and what is next. An error
    /// changes nothing, so that it is the same when asked again.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<(usize, NextWake), BadChunk> {
        let before = self.state;
        self.walk(bytes).inspect_err(|_| self.state = before)
    }

    fn walk(&mut self, bytes: &[u8]) -> Result<(usize, NextWake), BadChunk> {
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            used += match self.state {
                State::Data(left) => return Ok((used, NextWake::Data(left))),
                State::End => return Ok((used, NextWake::End)),
                State::Size => match line(rest, LONGEST_LINE) {
                    Line::Whole(text) => {
                        self.state = match size(text)? {
                            0 => State::Trailers(0),
                            size => State::Data(size),
                        };
                        text.len() + 2
                    }
                    Line::Part => return Ok((used, NextWake::Unknown)),
                    Line::TooLong => return Err(bad("the line of a chunk's size has no end")),
                    Line::Broken => return Err(bad("the line of a chunk's size ends in no CR LF")),
                },
                State::AfterData => match rest {
                    [b'\r', b'\n', ..] => {
                        self.state = State::Size;
                        2
                    }
                    [] | [b'\r'] => return Ok((used, NextWake::Unknown)),
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
                        Line::Part => return Ok((used, NextWake::Unknown)),
                        Line::TooLong => return Err(BadChunk::TrailersTooLong),
                        Line::Broken => return Err(bad("a trailer ends in no CR LF")),
                    }
                }
            };
        }
    }

    /// So many of the bytes of data have been read.
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

/// Up to the first CR LF. A line feed alone is no end of a line, and a carriage return alone is no part
/// of one.
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

/// Digits, then nothing, blanks or an extension, which nobody here understands.
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

    /// All data of a body that comes in pieces of `step` bytes, and what is left behind its end.
    fn decode(bytes: &[u8], step: usize) -> Result<(Vec<u8>, Vec<u8>), Option<BadChunk>> {
        let mut chunks = Chunks::new(100);
        let (mut data, mut pending) = (Vec::new(), Vec::new());
        let mut pieces = bytes.chunks(step);
        loop {
            let (used, next) = chunks.advance(&pending).map_err(Some)?;
            pending.drain(..used);
            match next {
                NextWake::End => {
                    pending.extend(pieces.flatten());
                    return Ok((data, pending));
                }
                NextWake::Data(most) if !pending.is_empty() => {
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
