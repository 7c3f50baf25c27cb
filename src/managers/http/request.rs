//! The body of a request, and the validation of a request.

use std::{
    borrow::Cow,
    fmt,
    io::{self, Read},
};

use ureq_proto::http::{
    HeaderMap, HeaderName, HeaderValue, Method, Version, header, request::Parts,
};

use super::{HttpError, HttpOrigin, error::refused};

/// The body of a request: empty, bytes, or a reader that is read while it is sent.
///
/// Created from `()`, from borrowed or owned texts and bytes, and from readers by [`sized`](Self::sized) and
/// [`chunked`](Self::chunked).
///
/// ```
/// use conpool::HttpRequestBody;
///
/// let nothing: HttpRequestBody<'_> = ().into();
/// let text: HttpRequestBody<'_> = "hello".into();
/// let bytes: HttpRequestBody<'_> = vec![1_u8, 2, 3].into();
/// let file = std::fs::File::open("Cargo.toml")?;
/// let length = file.metadata()?.len();
/// let upload = HttpRequestBody::sized(file, length);
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "a body is sent with a request"]
pub struct HttpRequestBody<'a>(Source<'a>);

enum Source<'a> {
    /// Bytes in memory, of which the first `sent` were handed out.
    Bytes { bytes: Cow<'a, [u8]>, sent: usize },
    Reader {
        reader: Box<dyn Read + Send + 'a>,
        /// The announced length. None means chunks until the reader ends.
        length: Option<u64>,
        read: u64,
        touched: bool,
    },
}

impl<'a> HttpRequestBody<'a> {
    /// Creates a body of exactly the next `length` bytes of `reader`, announced by `content-length`. A reader
    /// that ends earlier is an error of the request. Further bytes of the reader are not read.
    pub fn sized(reader: impl Read + Send + 'a, length: u64) -> Self {
        Self::reader(reader, Some(length))
    }

    /// Creates a body of all bytes of `reader`. The bytes are sent in chunks, each as soon as it is read. If
    /// the request has a header `content-length`, the body has that length, as with [`sized`](Self::sized).
    pub fn chunked(reader: impl Read + Send + 'a) -> Self {
        Self::reader(reader, None)
    }

    fn reader(reader: impl Read + Send + 'a, length: Option<u64>) -> Self {
        Self(Source::Reader {
            reader: Box::new(reader),
            length,
            read: 0,
            touched: false,
        })
    }

    fn bytes(bytes: Cow<'a, [u8]>) -> Self {
        Self(Source::Bytes { bytes, sent: 0 })
    }

    /// Returns the total length, if it is known.
    pub(super) fn length(&self) -> Option<u64> {
        match &self.0 {
            Source::Bytes { bytes, .. } => Some(bytes.len() as u64),
            Source::Reader { length, .. } => *length,
        }
    }

    /// Returns the part of a known length that [`next`](Self::next) has not returned yet.
    pub(super) fn left(&self) -> u64 {
        match &self.0 {
            Source::Bytes { bytes, sent } => (bytes.len() - sent) as u64,
            Source::Reader { length, read, .. } => length.map_or(0, |length| length - read),
        }
    }

    /// Returns true if the body can be sent again from its start.
    pub(super) fn is_whole(&self) -> bool {
        match &self.0 {
            Source::Bytes { .. } => true,
            Source::Reader { touched, .. } => !touched,
        }
    }

    /// Starts the body again.
    pub(super) fn rewind(&mut self) {
        if let Source::Bytes { sent, .. } = &mut self.0 {
            *sent = 0;
        }
    }

    /// Returns true if the body is in memory.
    pub(super) fn is_at_hand(&self) -> bool {
        matches!(self.0, Source::Bytes { .. })
    }

    /// Returns the next piece, of at most `most` bytes, which is empty at the end. A reader reads into
    /// `scratch`.
    pub(super) fn next<'b>(
        &'b mut self,
        most: usize,
        scratch: &'b mut Vec<u8>,
    ) -> Result<&'b [u8], HttpError> {
        match &mut self.0 {
            Source::Bytes { bytes, sent } => {
                let start = *sent;
                *sent = bytes.len().min(start + most);
                Ok(&bytes[start..*sent])
            }
            Source::Reader {
                reader,
                length,
                read,
                touched,
            } => {
                let left = length.map_or(u64::MAX, |length| length - *read);
                let most = usize::try_from(left).map_or(most, |left| most.min(left));
                if most == 0 {
                    return Ok(&[]);
                }
                scratch.resize(most, 0);
                *touched = true;
                let bytes = pull(reader, scratch)?;
                *read += bytes as u64;
                match length {
                    Some(length) if bytes == 0 => Err(HttpError::RequestBodyTooShort {
                        sent: *read,
                        length: *length,
                    }),
                    _ => Ok(&scratch[..bytes]),
                }
            }
        }
    }
}

fn pull(reader: &mut (dyn Read + Send + '_), out: &mut [u8]) -> Result<usize, HttpError> {
    loop {
        match reader.read(out) {
            Ok(bytes) if bytes <= out.len() => return Ok(bytes),
            Ok(_) => {
                let source = io::Error::other("a reader claims more bytes than it was asked for");
                return Err(HttpError::RequestBody { source });
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(HttpError::RequestBody { source }),
        }
    }
}

/// An empty body. With POST, PUT and PATCH, for which servers expect a body, `content-length: 0` is sent.
impl From<()> for HttpRequestBody<'_> {
    fn from((): ()) -> Self {
        Self::bytes(Cow::Borrowed(&[]))
    }
}

/// Converts borrowed and owned bytes and texts.
macro_rules! from_bytes {
    ($($type:ty: $bytes:ident => $cow:expr;)+) => {$(
        impl<'a> From<$type> for HttpRequestBody<'a> {
            fn from($bytes: $type) -> Self {
                Self::bytes($cow)
            }
        }
    )+};
}
from_bytes! {
    &'a [u8]: bytes => Cow::Borrowed(bytes);
    &'a Vec<u8>: bytes => Cow::Borrowed(bytes);
    Vec<u8>: bytes => Cow::Owned(bytes);
    Cow<'a, [u8]>: bytes => bytes;
    &'a str: text => Cow::Borrowed(text.as_bytes());
    &'a String: text => Cow::Borrowed(text.as_bytes());
    String: text => Cow::Owned(text.into_bytes());
}

impl<'a, const N: usize> From<&'a [u8; N]> for HttpRequestBody<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::bytes(Cow::Borrowed(bytes))
    }
}

/// Omits the bytes, which may be many or confidential.
impl fmt::Debug for HttpRequestBody<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("HttpRequestBody");
        shown
            .field("length", &self.length())
            .finish_non_exhaustive()
    }
}

/// The properties of a request that are determined before its connection is checked out.
#[derive(Debug)]
pub(super) struct RequestInfo {
    pub(super) origin: HttpOrigin,
    /// The request may be sent twice without harm.
    pub(super) idempotent: bool,
    /// The request has `connection: close`.
    pub(super) says_close: bool,
    /// The header that delimits the body, if the caller has not set one.
    pub(super) framing: Option<(HeaderName, HeaderValue)>,
}

impl RequestInfo {
    /// Refuses a request that is invalid or that a server could interpret in two ways.
    pub(super) fn new(parts: &Parts, body: &mut HttpRequestBody<'_>) -> Result<Self, HttpError> {
        let origin = HttpOrigin::try_from(&parts.uri)?;
        if parts.version != Version::HTTP_11 {
            return Err(refused("this is a client for HTTP/1.1"));
        }
        if parts.method == Method::CONNECT {
            return Err(refused("CONNECT makes a tunnel, which cannot be pooled"));
        }
        let mut hosts = parts.headers.get_all(header::HOST).iter();
        if hosts.next().is_some_and(|host| host.to_str().is_err()) || hosts.next().is_some() {
            return Err(refused("it has more than one host, or one that is no text"));
        }
        Ok(Self {
            framing: framing(&parts.method, &parts.headers, body)?,
            origin,
            idempotent: parts.method.is_idempotent(),
            says_close: has_token(&parts.headers, &header::CONNECTION, "close"),
        })
    }
}

/// Validates the headers that delimit the body, and returns the one that is missing.
fn framing(
    method: &Method,
    headers: &HeaderMap,
    body: &mut HttpRequestBody<'_>,
) -> Result<Option<(HeaderName, HeaderValue)>, HttpError> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let coding = codings.next();
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let length = lengths.next();
    if codings.next().is_some() || coding.is_some_and(|coding| !is_chunked(coding)) {
        return Err(refused(
            "the only transfer-encoding that can be sent is chunked",
        ));
    }
    if coding.is_some() && length.is_some() {
        return Err(refused("it has both transfer-encoding and content-length"));
    }
    if lengths.next().is_some() {
        return Err(refused("it has more than one content-length"));
    }
    let carries = body.length() != Some(0) || coding.is_some();
    if carries && matches!(*method, Method::HEAD | Method::TRACE) {
        return Err(refused(format!("{method} cannot have a body")));
    }
    if coding.is_some() {
        return Ok(None);
    }
    if let Some(length) = length {
        let text = length.to_str().unwrap_or_default();
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let Some(said) = text.parse().ok().filter(|_: &u64| digits) else {
            return Err(refused(format!(
                "content-length is {length:?}, which is no number"
            )));
        };
        match (body.length(), &mut body.0) {
            (Some(is), _) if is != said => {
                let problem = format!("content-length says {said}, the body has {is} bytes");
                return Err(refused(problem));
            }
            (None, Source::Reader { length, .. }) => *length = Some(said),
            _ => {}
        }
        return Ok(None);
    }
    let wants_body = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
    Ok(match body.length() {
        Some(0) if !wants_body => None,
        Some(length) => Some((header::CONTENT_LENGTH, HeaderValue::from(length))),
        None => Some((
            header::TRANSFER_ENCODING,
            HeaderValue::from_static("chunked"),
        )),
    })
}

pub(super) fn is_chunked(coding: &HeaderValue) -> bool {
    coding
        .as_bytes()
        .trim_ascii()
        .eq_ignore_ascii_case(b"chunked")
}

/// Returns true if `token` is an element of a list, which may be spread over several headers.
pub(super) fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let mut values = headers.get_all(name).iter();
    values.any(|value| {
        let mut words = value.as_bytes().split(|byte| *byte == b',');
        words.any(|word| word.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    })
}
