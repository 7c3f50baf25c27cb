//! The parameters of a create, derived from the settings: the address and the upgrade request.

use std::time::Duration;

use tungstenite::{
    client::IntoClientRequest,
    handshake::client::Request,
    http::{HeaderName, HeaderValue, Uri, header},
    protocol::WebSocketConfig,
};

use super::{
    settings::Settings,
    url::{Unusable, parse, shown},
};
#[cfg(feature = "tls")]
use crate::TlsSocketManager;
use crate::{ConbusSocketManagerBuilder, Unread, managers::transport::Dialer};

/// The size of one read of the codec, and of the buffer of every connection.
const READ_BUFFER: usize = 16 * 1024;

/// Headers that the handshake sets itself, or that would announce features that this client lacks.
const RESERVED: [HeaderName; 6] = [
    header::CONNECTION,
    header::UPGRADE,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_VERSION,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::SEC_WEBSOCKET_EXTENSIONS,
];

/// The parameters of a create.
#[derive(Debug)]
pub(super) struct ConnectParams {
    pub(super) dialer: Dialer,
    /// The upgrade request without a key; each create adds a fresh one.
    pub(super) request: Request,
    pub(super) config: WebSocketConfig,
}

impl ConnectParams {
    pub(super) fn of(settings: &Settings) -> Result<Self, Unusable> {
        validate_timeouts(settings)?;
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

fn validate_timeouts(settings: &Settings) -> Result<(), Unusable> {
    let times: [(&'static str, Option<Duration>); 6] = [
        ("handshake_timeout", Some(settings.handshake_timeout)),
        ("ping_timeout", Some(settings.ping_timeout)),
        ("ping_interval", Some(settings.ping_interval)),
        ("read_timeout", settings.timeouts.read),
        ("write_timeout", settings.timeouts.write),
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
        // A subprotocol must be a token, by the rule for names of headers.
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

/// Applies the user's changes, and then the settings that the upper layers require.
fn tcp(settings: &Settings) -> ConbusSocketManagerBuilder {
    let tcp = settings.tcp.clone();
    tcp.connect_timeout(settings.connect_timeout)
        // Every read and write sets its own timeout.
        .read_timeout(None)
        .write_timeout(None)
        // Bytes of frames must not be discarded.
        .unread(Unread::Keep)
        // The closing handshake has already waited for the server's end.
        .close_wait(Duration::ZERO)
}
