//! What the pool does with a WebSocket while nobody uses it: looks, keeps, answers, closes.

use std::time::Duration;

use tungstenite::{
    Message, Utf8Bytes,
    protocol::{
        CloseFrame,
        frame::coding::{Control, Data, OpCode},
    },
};

use super::{
    Pushed, WebSocketConnection, WebSocketError,
    connection::Timeouts,
    failure::{code, lost, would_wait},
};
use crate::Transport;

/// Control frames that one look or one ping takes in beside the data allowed, in bytes. A server that
/// sends more of them to an idle connection is not in its right mind.
const OVERHEAD: usize = 64 * 1024;

impl WebSocketConnection {
    /// Takes in what has arrived, without waiting: keeps messages, answers pings, sees the end.
    pub(super) fn look(&mut self) -> Result<(), WebSocketError> {
        let room = self.room();
        self.without_waiting(|this| {
            this.socket.get_mut().allow(Some(room));
            loop {
                match this.socket.read() {
                    Ok(message) => this.arrived(message)?,
                    Err(error) if would_wait(&error) => return this.judge(),
                    Err(error) => return Err(this.lost(error)),
                }
            }
        })
    }

    /// Nobody can use it any more, or the next user would get in the middle of something.
    pub(super) fn is_broken(&self) -> bool {
        self.failed || self.gave_up || self.unfinished || !self.socket.can_write()
    }

    pub(super) fn restore(&mut self, timeouts: Timeouts) {
        self.timeouts = timeouts;
    }

    /// The closing handshake, within `limit`. Returns what is left, and how many messages nobody read.
    pub(super) fn close(mut self, limit: Duration) -> (Transport, usize) {
        let farewell = Some(CloseFrame {
            code: self.farewell,
            reason: Utf8Bytes::default(),
        });
        let mut unread = self.kept.len();
        if self.failed || limit.is_zero() {
            // Said if there is room for it; nobody waits for an answer.
            let _ = self.without_waiting(|this| {
                let _ = this.socket.close(farewell);
                Ok(())
            });
        } else {
            self.socket.get_mut().within(limit);
            let mut open = self.socket.close(farewell).is_ok();
            // Until the server has ended TCP, which it does first, so that it and not this side
            // keeps the remains of the connection.
            while open {
                match self.socket.read() {
                    Ok(Message::Text(_) | Message::Binary(_)) => unread += 1,
                    Ok(_) => {}
                    Err(_) => open = false,
                }
            }
        }
        (self.socket.into_inner().into_transport(), unread)
    }

    pub(super) fn take_kept(&mut self) -> Option<Message> {
        let message = self.kept.pop_front()?;
        self.kept_bytes -= message.len();
        Some(message)
    }

    /// Something came that the caller did not ask for.
    pub(super) fn arrived(&mut self, message: Message) -> Result<(), WebSocketError> {
        match message {
            Message::Text(_) | Message::Binary(_) => {
                self.gave_up = false;
                self.kept_bytes += message.len();
                self.kept.push_back(message);
                self.judge()
            }
            Message::Close(frame) => {
                // The answer to it. Where there is no room for that now, the dispose tries again.
                let _ = self.socket.flush();
                let farewell = frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
                let (code, reason) = farewell.unzip();
                let reason = reason.unwrap_or_default();
                self.closed = Some((code, reason.clone()));
                Err(WebSocketError::Closed { code, reason })
            }
            // The pong goes out with the next read or write.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(()),
        }
    }

    /// Is there more data for the next user than allowed?
    fn judge(&self) -> Result<(), WebSocketError> {
        let (messages, bytes) = self.pushed.limits();
        let rejected = self.pushed == Pushed::Reject && self.holds_any();
        if rejected || self.kept.len() > messages || self.held() > bytes {
            return Err(self.too_much());
        }
        Ok(())
    }

    fn holds_any(&self) -> bool {
        !self.kept.is_empty() || self.socket.get_ref().frame_tracker().mid_message()
    }

    /// Payload that waits for the next user, that of an incomplete message included.
    fn held(&self) -> usize {
        let incomplete = self.socket.get_ref().frame_tracker().bytes();
        self.kept_bytes.saturating_add(incomplete)
    }

    /// Bytes that may come in while nobody reads.
    pub(super) fn room(&self) -> usize {
        let (_, bytes) = self.pushed.limits();
        bytes.saturating_sub(self.held()).saturating_add(OVERHEAD)
    }

    fn too_much(&self) -> WebSocketError {
        let (max_messages, max_bytes) = self.pushed.limits();
        WebSocketError::PushedTooMuch {
            messages: self.kept.len(),
            bytes: self.held(),
            max_messages,
            max_bytes,
        }
    }

    pub(super) fn lost(&mut self, error: tungstenite::Error) -> WebSocketError {
        if self.socket.get_ref().exhausted() {
            return self.too_much();
        }
        self.failed = true;
        self.farewell = code(&error);
        let peer = self.tcp().peer_addr().ok();
        lost(error, peer, self.closed.as_ref())
    }

    pub(super) fn without_waiting<R>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<R, WebSocketError>,
    ) -> Result<R, WebSocketError> {
        let io = |source| WebSocketError::Io { source };
        self.socket.get_mut().hurry().map_err(io)?;
        let result = work(self);
        let calmed = self.socket.get_mut().calm().map_err(io);
        let result = result?;
        calmed.map(|()| result)
    }

    /// A raw frame can begin a message or end it, and can close the connection.
    pub(super) fn note_fragment(&mut self, message: &Message) {
        let Message::Frame(frame) = message else {
            return;
        };
        match frame.header().opcode {
            OpCode::Data(Data::Text | Data::Binary | Data::Continue) => {
                self.unfinished = !frame.header().is_final;
            }
            OpCode::Control(Control::Close) => self.unfinished = true,
            _ => {}
        }
    }

    /// Nothing can be sent and nothing more read when it is broken, or closed.
    pub(super) fn usable(&self) -> Result<(), WebSocketError> {
        match &self.closed {
            Some((code, reason)) => Err(WebSocketError::Closed {
                code: *code,
                reason: reason.clone(),
            }),
            None if self.failed => Err(WebSocketError::Broken),
            None => Ok(()),
        }
    }
}
