//! The destination of a request, which is the key of its connections.

use std::{fmt, str::FromStr};

use ureq_proto::http::Uri;

use super::HttpError;

/// Scheme, host and port. Requests with the same origin share connections.
///
/// The host is in lower case, and the port is always present. `http://Example.org/a` and
/// `http://example.org:80/b` have one origin. Two names of one machine are two origins.
///
/// ```
/// use conpool::HttpOrigin;
///
/// let origin: HttpOrigin = "HTTPS://Example.org/path?query".parse()?;
/// assert_eq!(origin.to_string(), "https://example.org:443");
/// # Ok::<(), conpool::HttpError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpOrigin {
    secure: bool,
    host: Box<str>,
    port: u16,
}

impl HttpOrigin {
    /// Returns true for https.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Returns the name or address; an IPv6 address is in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port; 80 or 443 if the URI names none.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the address for the TCP manager.
    pub(super) fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// Converts an absolute `http` or `https` URI.
impl TryFrom<&Uri> for HttpOrigin {
    type Error = HttpError;

    fn try_from(uri: &Uri) -> Result<Self, HttpError> {
        let refused = |problem| HttpError::Uri {
            uri: uri.to_string(),
            problem,
        };
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) => return Err(refused("the scheme is neither http nor https")),
            None => return Err(refused("it has no scheme and host")),
        };
        let authority = uri.authority().ok_or_else(|| refused("it has no host"))?;
        // A user in the URI would appear in logs, and its percent-encoding could not be decoded here.
        if authority.as_str().contains('@') {
            // The error omits the user, which may include a password.
            return Err(HttpError::Uri {
                uri: format!(
                    "{}://…@{}",
                    uri.scheme_str().unwrap_or_default(),
                    authority.host()
                ),
                problem: "a user belongs into the header authorization",
            });
        }
        let host = authority.host();
        if host.is_empty() {
            return Err(refused("it has no host"));
        }
        let port = match authority.as_str()[host.len()..].strip_prefix(':') {
            None | Some("") => match secure {
                true => 443,
                false => 80,
            },
            Some(digits) => u16::from_str(digits)
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(|| refused("the port is not a number from 1 to 65535"))?,
        };
        Ok(Self {
            secure,
            host: host.to_ascii_lowercase().into(),
            port,
        })
    }
}

/// Parses the text of a URI and ignores its path.
impl FromStr for HttpOrigin {
    type Err = HttpError;

    fn from_str(text: &str) -> Result<Self, HttpError> {
        let uri: Uri = text.parse().map_err(|_| HttpError::Uri {
            uri: text.to_owned(),
            problem: "it cannot be read",
        })?;
        Self::try_from(&uri)
    }
}

impl fmt::Display for HttpOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> String {
        let origin: Result<HttpOrigin, _> = text.parse();
        origin.map_or_else(|error| error.to_string(), |origin| origin.to_string())
    }

    #[test]
    fn the_same_place_is_one_origin_however_it_is_written() {
        for text in [
            "http://a.example",
            "http://A.Example:80/x?y",
            "http://a.example:/#f",
        ] {
            assert_eq!(origin(text), "http://a.example:80", "{text}");
        }
        assert_eq!(origin("https://a.example/"), "https://a.example:443");
        assert_eq!(origin("https://a.example:80/"), "https://a.example:80");
        assert_eq!(origin("http://[::1]:8080/"), "http://[::1]:8080");
    }

    #[test]
    fn what_names_no_server_is_refused_with_the_reason() {
        for (text, reason) in [
            ("/path", "no scheme"),
            ("example.org", "no scheme"),
            ("ftp://example.org/", "neither http nor https"),
            ("http://example.org:0/", "1 to 65535"),
            ("http://example.org:99999/", "1 to 65535"),
            ("http://example.org:8o/", "1 to 65535"),
            ("http://:80/", "host"),
            ("http://a b/", "cannot be read"),
        ] {
            let told = origin(text);
            // Some of these the type of the URI refuses itself.
            assert!(
                told.contains(reason) || told.contains("cannot be read"),
                "{text}: {told}"
            );
        }
    }

    #[test]
    fn a_password_is_refused_and_not_repeated() {
        let told = origin("http://me:secret@example.org/");
        assert!(
            told.contains("authorization") && !told.contains("secret"),
            "{told}"
        );
    }
}
