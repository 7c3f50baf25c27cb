//! The pooled connection: a WebSocket that keeps unread messages.

use std::{collections::VecDeque, fmt, net::TcpStream, time::Duration};

use tungstenite::{Message, WebSocket, protocol::frame::coding::CloseCode};

use super::{
    Pushed, WebSocketError,
    failure::{is_timeout, would_wait},
    nonce::nonce,
    settings::Timeouts,
    wire::Wire,
};
use crate::managers::deadline::now;

/// An open WebSocket; created by [`WebSocketManager`](super::WebSocketManager).
///
/// Messages that arrive while no user reads are kept, and [`read`](Self::read) returns them first. Every
/// operation that reads answers pings of the server: `read`, [`try_read`](Self::try_read),
/// [`ping`](Self::ping) and, while the connection is idle, the pool.
///
/// The underlying stream is not accessible, because bytes read from it would be missing from the messages.
pub struct WebSocketConnection {
    pub(super) socket: WebSocket<Wire>,
    pub(super) kept: VecDeque<Message>,
    /// The payload of the kept messages.
    pub(super) kept_bytes: usize,
    pub(super) pushed: Pushed,
    pub(super) timeouts: Timeouts,
    subprotocol: Option<String>,
    /// The code and the reason of the server's close frame.
    pub(super) closed: Option<(Option<u16>, String)>,
    /// A read or write has failed in a way that breaks the connection.
    pub(super) failed: bool,
    /// The user stopped reading in the middle of a message.
    pub(super) gave_up: bool,
    /// The user sent the first fragments of a message without its last.
    pub(super) unfinished: bool,
    /// The code for the close frame of this side.
    pub(super) close_code: CloseCode,
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
            close_code: CloseCode::Normal,
        }
    }

    /// Sends a whole message within the `write_timeout`.
    ///
    /// Sending a [`Message::Close`] begins the closing handshake, and the connection is evicted when it is
    /// given back. The connection is also evicted if it is given back in the middle of a message sent in
    /// fragments ([`Message::Frame`]).
    ///
    /// # Errors
    ///
    /// [`WriteTimeout`](WebSocketError::WriteTimeout) if the server does not read,
    /// [`Closed`](WebSocketError::Closed), [`Transport`](WebSocketError::Transport) and
    /// [`Io`](WebSocketError::Io). After any of them the connection is evicted when it is given back.
    pub fn send(&mut self, message: Message) -> Result<(), WebSocketError> {
        self.usable()?;
        self.note_fragment(&message);
        let limit = self.timeouts.write;
        self.socket.get_mut().within(limit);
        let sent = self.socket.send(message);
        sent.map_err(|error| match limit {
            Some(after) if is_timeout(&error) => {
                self.failed = true;
                WebSocketError::WriteTimeout { after }
            }
            _ => self.lost(error),
        })
    }

    /// Returns the next text or binary message: a kept one, or the first to arrive within the `read_timeout`.
    /// Answers pings and ignores pongs.
    ///
    /// # Errors
    ///
    /// [`ReadTimeout`](WebSocketError::ReadTimeout) if no whole message arrived in time. No data is lost: a
    /// later read continues. A connection that is given back in the middle of a message is evicted.
    ///
    /// [`Closed`](WebSocketError::Closed) if the server has closed the connection; the close is answered.
    /// [`Transport`](WebSocketError::Transport), [`Protocol`](WebSocketError::Protocol) and
    /// [`Io`](WebSocketError::Io) if the connection is broken. After any of these errors the connection is
    /// evicted when it is given back.
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
                Ok(other) => self.handle_unrequested(other)?,
                Err(error) => match limit {
                    Some(after) if is_timeout(&error) => {
                        self.gave_up = self.socket.get_ref().frame_tracker().mid_message();
                        return Err(WebSocketError::ReadTimeout { after });
                    }
                    _ => return Err(self.lost(error)),
                },
            }
        }
    }

    /// Returns the next message if a whole one was kept or has arrived. Never waits.
    ///
    /// # Errors
    ///
    /// See [`read`](Self::read). There is no timeout.
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
                    Ok(other) => this.handle_unrequested(other)?,
                    Err(error) if would_wait(&error) => return Ok(None),
                    Err(error) => return Err(this.lost(error)),
                }
            }
        })
    }

    /// Sends a ping with a random nonce and waits, at most `within` in all, for the pong with this nonce.
    /// Returns the round-trip time. The health check of the pool uses this method.
    ///
    /// Messages that arrive meanwhile are kept for [`read`](Self::read), as [`Pushed`] allows. Pings are
    /// answered, and other pongs are ignored.
    ///
    /// # Errors
    ///
    /// [`PingTimeout`](WebSocketError::PingTimeout), [`PushedTooMuch`](WebSocketError::PushedTooMuch),
    /// [`Closed`](WebSocketError::Closed), [`Transport`](WebSocketError::Transport),
    /// [`Protocol`](WebSocketError::Protocol) and [`Io`](WebSocketError::Io). After any of them but
    /// `PushedTooMuch` the connection is evicted when it is given back.
    pub fn ping(&mut self, within: Duration) -> Result<Duration, WebSocketError> {
        self.usable()?;
        let start = now();
        let nonce = nonce();
        let room = self.room();
        self.socket.get_mut().within(within);
        self.socket.get_mut().allow(Some(room));
        let timeout_or_lost = |this: &mut Self, error| {
            if is_timeout(&error) {
                // A silent server will not answer a close either.
                this.failed = true;
                return WebSocketError::PingTimeout { after: within };
            }
            this.lost(error)
        };
        let sent = self.socket.send(Message::Ping(nonce.clone()));
        sent.map_err(|error| timeout_or_lost(self, error))?;
        loop {
            match self.socket.read() {
                Ok(Message::Pong(payload)) if payload == nonce => {
                    return Ok(now().saturating_duration_since(start));
                }
                Ok(message) => self.handle_unrequested(message)?,
                Err(error) => return Err(timeout_or_lost(self, error)),
            }
        }
    }

    /// Returns the number of messages kept for [`read`](Self::read).
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    /// Changes the `read_timeout` until the check-in. `None` or [`Duration::MAX`] means no limit. With zero,
    /// only a kept message can be read.
    pub fn set_read_timeout(&mut self, timeout: impl Into<Option<Duration>>) {
        self.timeouts.read = timeout.into();
    }

    /// Changes the `write_timeout` until the check-in. `None` or [`Duration::MAX`] means no limit. With zero,
    /// no message can be sent.
    pub fn set_write_timeout(&mut self, timeout: impl Into<Option<Duration>>) {
        self.timeouts.write = timeout.into();
    }

    /// Returns the subprotocol that the server chose.
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// Returns the underlying socket, for its addresses and options. Reading or writing it directly would
    /// break the stream of frames. Every method of the connection sets the socket's timeouts and mode again.
    pub fn tcp(&self) -> &TcpStream {
        self.socket.get_ref().transport().tcp()
    }
}

impl fmt::Debug for WebSocketConnection {
    /// Omits the messages.
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
