//! What a guard dereferences to: a WebSocket whose messages do not get lost.

use std::{collections::VecDeque, fmt, net::TcpStream, time::Duration};

use tungstenite::{Message, WebSocket, protocol::frame::coding::CloseCode};

use super::{
    Pushed, WebSocketError,
    failure::{is_late, would_wait},
    nonce::nonce,
    wire::Wire,
};
use crate::managers::limit::now;

/// What a user may change and the check-in restores.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    pub(super) read: Option<Duration>,
    pub(super) write: Option<Duration>,
}

/// An open WebSocket; made by [`WebSocketManager`](super::WebSocketManager).
///
/// Messages that came while nobody read are kept, and [`read`](Self::read) gives them first. Pings of
/// the server are answered by whatever reads: `read`, [`try_read`](Self::try_read),
/// [`ping`](Self::ping) and, while the connection is idle, the pool.
///
/// There is no way to the stream below, because what is read there would be lost to the messages.
pub struct WebSocketConnection {
    pub(super) socket: WebSocket<Wire>,
    pub(super) kept: VecDeque<Message>,
    /// The payload of those.
    pub(super) kept_bytes: usize,
    pub(super) pushed: Pushed,
    pub(super) timeouts: Timeouts,
    subprotocol: Option<String>,
    /// The code and the reason of the server's close frame.
    pub(super) closed: Option<(Option<u16>, String)>,
    /// Reading or writing has failed in a way after which nobody can go on.
    pub(super) failed: bool,
    /// The user stopped reading after the first bytes of a message.
    pub(super) gave_up: bool,
    /// The user sent the first fragments of a message and not its last.
    pub(super) unfinished: bool,
    /// What the close frame of this side will say.
    pub(super) farewell: CloseCode,
}

impl WebSocketConnection {
    pub(super) fn new(
        mut socket: WebSocket<Wire>,
        pushed: Pushed,
        timeouts: Timeouts,
        subprotocol: Option<String>,
    ) -> Self {
        socket.get_mut().upgraded();
        Self {
            socket,
            kept: VecDeque::new(),
            kept_bytes: 0,
            pushed,
            timeouts,
            subprotocol,
            closed: None,
            failed: false,
            gave_up: false,
            unfinished: false,
            farewell: CloseCode::Normal,
        }
    }

    /// Sends a message, all of it, within the `write_timeout`.
    ///
    /// A [`Message::Close`] begins the closing handshake: the connection is evicted when it is given
    /// back. So it is in the middle of a message sent in fragments ([`Message::Frame`]).
    ///
    /// # Errors
    ///
    /// [`WriteTimeout`](WebSocketError::WriteTimeout) when the server does not read,
    /// [`Closed`](WebSocketError::Closed), [`Transport`](WebSocketError::Transport) and
    /// [`Io`](WebSocketError::Io). After any of them the connection is evicted when it is given back.
    pub fn send(&mut self, message: Message) -> Result<(), WebSocketError> {
        self.usable()?;
        self.note_fragment(&message);
        let limit = self.timeouts.write;
        self.socket.get_mut().within(limit);
        let sent = self.socket.send(message);
        sent.map_err(|error| match limit {
            Some(after) if is_late(&error) => {
                self.failed = true;
                WebSocketError::WriteTimeout { after }
            }
            _ => self.lost(error),
        })
    }

    /// The next message, text or binary: one that was kept, or the first to come within the
    /// `read_timeout`. Pings are answered, pongs passed over.
    ///
    /// # Errors
    ///
    /// [`ReadTimeout`](WebSocketError::ReadTimeout) when no whole message came in time. Nothing is
    /// lost by that: a later read goes on where this one stopped. But a connection that is given back
    /// in the middle of a message is evicted.
    ///
    /// [`Closed`](WebSocketError::Closed) when the server has closed the connection; the close is
    /// answered. [`Transport`](WebSocketError::Transport), [`Protocol`](WebSocketError::Protocol) and
    /// [`Io`](WebSocketError::Io) when it is broken. After any of them the connection is evicted when
    /// it is given back.
    pub fn read(&mut self) -> Result<Message, WebSocketError> {
        if let Some(message) = self.take_kept() {
            return Ok(message);
        }
        self.usable()?;
        let limit = self.timeouts.read;
        self.socket.get_mut().within(limit);
        loop {
            match self.socket.read() {
                Ok(message @ (Message::Text(_) | Message::Binary(_))) => {
                    self.gave_up = false;
                    return Ok(message);
                }
                Ok(other) => self.arrived(other)?,
                Err(error) => match limit {
                    Some(after) if is_late(&error) => {
                        self.gave_up = self.socket.get_ref().frame_tracker().mid_message();
                        return Err(WebSocketError::ReadTimeout { after });
                    }
                    _ => return Err(self.lost(error)),
                },
            }
        }
    }

    /// The next message if a whole one is already here: one that was kept, or one that has arrived.
    /// Never waits.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read), without the timeout.
    pub fn try_read(&mut self) -> Result<Option<Message>, WebSocketError> {
        if let Some(message) = self.take_kept() {
            return Ok(Some(message));
        }
        self.usable()?;
        self.without_waiting(|this| {
            loop {
                match this.socket.read() {
                    Ok(message @ (Message::Text(_) | Message::Binary(_))) => {
                        this.gave_up = false;
                        return Ok(Some(message));
                    }
                    Ok(other) => this.arrived(other)?,
                    Err(error) if would_wait(&error) => return Ok(None),
                    Err(error) => return Err(this.lost(error)),
                }
            }
        })
    }

    /// Sends a ping with a random nonce and waits, at most `within` altogether, for the pong that
    /// carries it. Returns how long that took. This is what the health check does.
    ///
    /// Messages that come meanwhile are kept for [`read`](Self::read), as [`Pushed`] allows; pings are
    /// answered; other pongs are passed over.
    ///
    /// # Errors
    ///
    /// [`PingTimeout`](WebSocketError::PingTimeout),
    /// [`PushedTooMuch`](WebSocketError::PushedTooMuch), [`Closed`](WebSocketError::Closed),
    /// [`Transport`](WebSocketError::Transport), [`Protocol`](WebSocketError::Protocol) and
    /// [`Io`](WebSocketError::Io). After any of them but `PushedTooMuch` the connection is evicted when
    /// it is given back.
    pub fn ping(&mut self, within: Duration) -> Result<Duration, WebSocketError> {
        self.usable()?;
        let start = now();
        let nonce = nonce();
        let room = self.room();
        self.socket.get_mut().within(within);
        self.socket.get_mut().allow(Some(room));
        let late = |this: &mut Self, error| {
            if is_late(&error) {
                // A server that is silent will not answer a close either.
                this.failed = true;
                return WebSocketError::PingTimeout { after: within };
            }
            this.lost(error)
        };
        let sent = self.socket.send(Message::Ping(nonce.clone()));
        sent.map_err(|error| late(self, error))?;
        loop {
            match self.socket.read() {
                Ok(Message::Pong(payload)) if payload == nonce => {
                    return Ok(now().saturating_duration_since(start));
                }
                Ok(message) => self.arrived(message)?,
                Err(error) => return Err(late(self, error)),
            }
        }
    }

    /// How many messages are kept for [`read`](Self::read).
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    /// Changes the `read_timeout` until the check-in; `None` or [`Duration::MAX`]: for ever. With zero
    /// only a message that was kept is read.
    pub fn set_read_timeout(&mut self, timeout: impl Into<Option<Duration>>) {
        self.timeouts.read = timeout.into();
    }

    /// Changes the `write_timeout` until the check-in; `None` or [`Duration::MAX`]: for ever. With zero
    /// nothing can be sent.
    pub fn set_write_timeout(&mut self, timeout: impl Into<Option<Duration>>) {
        self.timeouts.write = timeout.into();
    }

    /// The subprotocol that the server chose.
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// The socket below, for its addresses and options. To read or write it directly would break the
    /// stream of frames; its timeouts and its mode are set anew by every method here.
    pub fn tcp(&self) -> &TcpStream {
        self.socket.get_ref().transport().tcp()
    }
}

impl fmt::Debug for WebSocketConnection {
    /// Without the messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocketConnection")
            .field("peer", &self.tcp().peer_addr().ok())
            .field("subprotocol", &self.subprotocol)
            .field("kept", &self.kept.len())
            .field("closed", &self.closed)
            .field("broken", &self.is_broken())
            .finish_non_exhaustive()
    }
}
