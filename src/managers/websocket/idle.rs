//! The pool's work on an idle WebSocket: reading, keeping, answering and closing.

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
    failure::{code, lost, would_wait},
};
use crate::Transport;

/// The maximum bytes of control frames that one checkout or ping reads in addition to the allowed data. A
/// server that sends more of them to an idle connection is faulty.
const OVERHEAD: usize = 64 * 1024;

impl WebSocketConnection {
    /// Reads the data that has arrived, without waiting: keeps messages, answers pings and detects the end.
    pub(super) fn read_arrived(&mut self) -> Result<(), WebSocketError> {
        let room = self.room();
        self.without_waiting(|this| {
            this.socket.get_mut().allow(Some(room));
            loop {
                match this.socket.read() {
                    Ok(message) => this.handle_unrequested(message)?,
                    Err(error) if would_wait(&error) => return this.check_limits(),
                    Err(error) => return Err(this.lost(error)),
                }
            }
        })
    }

    /// Returns true if the connection is unusable, or if the next user would start in the middle of a
    /// message.
    pub(super) fn is_broken(&self) -> bool {
        self.failed || self.gave_up || self.unfinished || !self.socket.can_write()
    }

    /// Performs the closing handshake within `limit`. Returns the transport and the number of unread
    /// messages.
    pub(super) fn close(mut self, limit: Duration) -> (Transport, usize) {
        let close_frame = Some(CloseFrame {
            code: self.close_code,
            reason: Utf8Bytes::default(),
        });
        let mut unread = self.kept.len();
        if self.failed || limit.is_zero() {
            // The close frame is sent if the socket has room for it. Its answer is not awaited.
            let _ = self.without_waiting(|this| {
                let _ = this.socket.close(close_frame);
                Ok(())
            });
        } else {
            self.socket.get_mut().within(limit);
            let mut open = self.socket.close(close_frame).is_ok();
            // Reads until the server has ended TCP. The server then ends it first, so that the TIME_WAIT
            // state is on the server and not on this side.
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

    /// Handles a message that the caller did not ask for.
    pub(super) fn handle_unrequested(&mut self, message: Message) -> Result<(), WebSocketError> {
        match message {
            Message::Text(_) | Message::Binary(_) => {
                self.gave_up = false;
                self.kept_bytes += message.len();
                self.kept.push_back(message);
                self.check_limits()
            }
            Message::Close(frame) => {
                // Sends the answer. If the socket has no room now, the dispose tries again.
                let _ = self.socket.flush();
                let close = frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
                let (code, reason) = close.unzip();
                let reason = reason.unwrap_or_default();
                self.closed = Some((code, reason.clone()));
                Err(WebSocketError::Closed { code, reason })
            }
            // The next read or write sends the pong.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(()),
        }
    }

    /// Checks the unread data against the limits for the next user.
    fn check_limits(&self) -> Result<(), WebSocketError> {
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

    /// Returns the payload kept for the next user, including that of an incomplete message.
    fn held(&self) -> usize {
        let incomplete = self.socket.get_ref().frame_tracker().bytes();
        self.kept_bytes.saturating_add(incomplete)
    }

    /// Returns the number of bytes that may arrive while no user reads.
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
        self.close_code = code(&error);
        let peer = self.tcp().peer_addr().ok();
        lost(error, peer, self.closed.as_ref())
    }

    pub(super) fn without_waiting<R>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<R, WebSocketError>,
    ) -> Result<R, WebSocketError> {
        let io = |source| WebSocketError::Io { source };
        self.socket.get_mut().set_nonblocking().map_err(io)?;
        let result = work(self);
        let restored = self.socket.get_mut().set_blocking().map_err(io);
        let result = result?;
        restored.map(|()| result)
    }

    /// Tracks raw frames, which can start or end a message and can close the connection.
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

    /// Returns an error if the connection is closed or broken.
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
