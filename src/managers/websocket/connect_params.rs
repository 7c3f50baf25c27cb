//! From the settings to what every create does: whom to dial and what to ask for.

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
pub(super) struct ConnectParams {
    pub(super) dialer: Dialer,
    /// Without a fresh key.
    pub(super) request: Request,
    pub(super) config: WebSocketConfig,
}

impl ConnectParams {
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
