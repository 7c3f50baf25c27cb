//! Parses the URL of a WebSocket, and shows it without confidential parts.

use tungstenite::http::Uri;

use super::WebSocketError;

/// An invalid setting. Every create returns it as an error.
#[derive(Debug, Clone)]
pub(super) enum Unusable {
    Url {
        url: String,
        rule: &'static str,
    },
    Setting {
        setting: &'static str,
        value: String,
        rule: &'static str,
    },
}

impl From<Unusable> for WebSocketError {
    fn from(unusable: Unusable) -> Self {
        match unusable {
            Unusable::Url { url, rule } => Self::Url { url, rule },
            Unusable::Setting {
                setting,
                value,
                rule,
            } => Self::Setting {
                setting,
                value,
                rule,
            },
        }
    }
}

/// Returns the URI, the address to connect to, and whether the connection uses TLS.
pub(super) fn parse(url: &str) -> Result<(Uri, String, bool), Unusable> {
    let bad = |rule| Unusable::Url {
        url: shown(url).to_owned(),
        rule,
    };
    if url.contains('#') {
        return Err(bad("a WebSocket has no fragment"));
    }
    let uri: Uri = url.parse().map_err(|_| bad("it is not a URI"))?;
    let secure = match uri.scheme_str() {
        Some("ws") => false,
        Some("wss") => true,
        _ => return Err(bad("the scheme must be ws or wss")),
    };
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        return Err(bad(
            "credentials in it would not be sent: use an Authorization header",
        ));
    }
    let host = uri.host().unwrap_or_default();
    if host.is_empty() {
        return Err(bad("it names no host"));
    }
    let port = match authority.strip_prefix(host) {
        Some("") => Some(if secure { 443 } else { 80 }),
        _ => uri.port_u16(),
    };
    let port = port.ok_or_else(|| bad("the port is no number up to 65535"))?;
    let address = format!("{host}:{port}");
    Ok((uri, address, secure))
}

/// Returns the address to connect to, or an empty text for an invalid URL, which `parse` reports.
pub(super) fn address(url: &str) -> String {
    parse(url).map_or_else(|_| String::new(), |(_, address, _)| address)
}

/// Returns the URL without user, password and query.
pub(super) fn shown(url: &str) -> &str {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    // A URL without its middle part would be misleading, so no part of it is shown.
    if url.contains('@') { "…" } else { url }
}
