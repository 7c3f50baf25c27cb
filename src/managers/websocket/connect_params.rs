//! From the settings to what every create does: whom to dial and what to ask for.

use std::time::Duration;

use tungstenite::{
    client::IntoClientRequest,
    handshake::client::Request,
    http::{HeaderName, HeaderValue, Uri, header},
    protocol::WebSocketConfig,
};

use super::{WebSocketError, builder::Settings};
#[cfg(feature = "tls")]
use crate::TlsSocketManager;
use crate::{ConbusSocketManagerBuilder, Unread, managers::transport::Dialer};

/// Taken in by one read of the codec; every connection has a buffer of this size.
const READ_BUFFER: usize = 16 * 1024;

/// What the handshake says by itself, and what would promise more than this client can keep.
const RESERVED: [HeaderName; 6] = [
    header::CONNECTION,
    header::UPGRADE,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_VERSION,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::SEC_WEBSOCKET_EXTENSIONS,
];

/// What a create does.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) dialer: Dialer,
    /// Without a fresh key.
    pub(super) request: Request,
    pub(super) config: WebSocketConfig,
}

/// Settings that make no plan. Every create says so anew.
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

impl Plan {
    pub(super) fn of(settings: &Settings) -> Result<Self, Unusable> {
        refuse_zero(settings)?;
        let (uri, address, secure) = parse(&settings.url)?;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .max_message_size(settings.max_message_size)
            .max_frame_size(settings.max_frame_size);
        Ok(Self {
            dialer: dialer(settings, address, secure)?,
            request: request(settings, uri)?,
            config,
        })
    }
}

fn refuse_zero(settings: &Settings) -> Result<(), Unusable> {
    let times: [(&'static str, Option<Duration>); 6] = [
        ("handshake_timeout", Some(settings.handshake_timeout)),
        ("ping_timeout", Some(settings.ping_timeout)),
        ("ping_interval", Some(settings.ping_interval)),
        ("read_timeout", settings.read_timeout),
        ("write_timeout", settings.write_timeout),
        ("connect_timeout", Some(settings.connect_timeout)),
    ];
    match times.iter().find(|(_, time)| *time == Some(Duration::ZERO)) {
        Some((setting, _)) => Err(Unusable::Setting {
            setting,
            value: "0ns".into(),
            rule: "must not be zero",
        }),
        None => Ok(()),
    }
}

/// Where the URL leads, and whether by TLS.
fn parse(url: &str) -> Result<(Uri, String, bool), Unusable> {
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

/// Whom to dial; nobody if the URL is bad, which the plan tells.
pub(super) fn address(url: &str) -> String {
    parse(url).map_or_else(|_| String::new(), |(_, address, _)| address)
}

/// The URL without user, password and query.
pub(super) fn shown(url: &str) -> &str {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    // All of it would be a lie without the part in the middle, so nothing of it is shown.
    if url.contains('@') { "…" } else { url }
}

fn request(settings: &Settings, uri: Uri) -> Result<Request, Unusable> {
    let bad_url = |_| Unusable::Url {
        url: shown(&settings.url).to_owned(),
        rule: "no request can be made of it",
    };
    let mut request = uri.into_client_request().map_err(bad_url)?;
    let headers = request.headers_mut();
    for (name, value) in &settings.headers {
        let bad = |rule| Unusable::Setting {
            setting: "header",
            value: format!("{name:?}"),
            rule,
        };
        let parsed = HeaderName::try_from(name.as_str())
            .map_err(|_| bad("this is not the name of a header"))?;
        if RESERVED.contains(&parsed) {
            return Err(bad("the handshake says this itself"));
        }
        let mut value = HeaderValue::try_from(value.as_str())
            .map_err(|_| bad("its value has characters that no header can hold"))?;
        value.set_sensitive(true);
        if parsed == header::HOST {
            headers.insert(parsed, value);
        } else {
            headers.append(parsed, value);
        }
    }
    for protocol in &settings.subprotocols {
        // The rule for a token is that for the name of a header.
        HeaderName::try_from(protocol.as_str()).map_err(|_| Unusable::Setting {
            setting: "subprotocol",
            value: format!("{protocol:?}"),
            rule: "must be a token: letters, digits and a few signs",
        })?;
    }
    if !settings.subprotocols.is_empty() {
        let list = HeaderValue::try_from(settings.subprotocols.join(", "));
        let list = list.expect("tokens, commas and spaces");
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, list);
    }
    Ok(request)
}

#[cfg(feature = "tls")]
fn dialer(settings: &Settings, address: String, secure: bool) -> Result<Dialer, Unusable> {
    if !secure {
        return Ok(Dialer::Tcp(tcp(settings).build()));
    }
    let Some(config) = settings.tls.clone() else {
        return Err(Unusable::Url {
            url: shown(&settings.url).to_owned(),
            rule: "wss needs a TLS configuration: call tls",
        });
    };
    let manager = TlsSocketManager::builder(address, config)
        .tcp(|_| tcp(settings))
        .handshake_timeout(settings.handshake_timeout)
        .build();
    Ok(Dialer::Tls(Box::new(manager)))
}

#[cfg(not(feature = "tls"))]
fn dialer(settings: &Settings, _: String, secure: bool) -> Result<Dialer, Unusable> {
    if secure {
        return Err(Unusable::Url {
            url: shown(&settings.url).to_owned(),
            rule: "wss needs the feature tls",
        });
    }
    Ok(Dialer::Tcp(tcp(settings).build()))
}

/// The user's changes, and then what the layers above rely on.
fn tcp(settings: &Settings) -> ConbusSocketManagerBuilder {
    let tcp = settings.tcp.clone();
    tcp.connect_timeout(settings.connect_timeout)
        // Set anew for every read and write.
        .read_timeout(None)
        .write_timeout(None)
        // Of frames nothing may be thrown away.
        .unread(Unread::Keep)
        // The closing handshake has waited for the server's end already.
        .close_wait(Duration::ZERO)
}
