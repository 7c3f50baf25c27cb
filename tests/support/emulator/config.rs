//! The settings of an emulator.

use std::{io, net::SocketAddr, time::Duration};

use super::Emulator;

/// How the emulator ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// In order.
    Fin,
    /// With a reset.
    Rst,
}

/// Builds an [`Emulator`].
#[derive(Debug, Clone)]
pub struct EmulatorBuilder {
    pub(super) bind: SocketAddr,
    pub(super) max_clients: usize,
    pub(super) idle_close: Duration,
    pub(super) reply_delay: Duration,
    pub(super) drop_after_n: Option<u64>,
    pub(super) ending: Ending,
    pub(super) split_writes: Option<usize>,
    pub(super) strict_checksum: bool,
    pub(super) broadcast: bool,
    pub(super) storm_period: Duration,
    pub(super) storm_copies: u32,
}

impl Default for EmulatorBuilder {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from(([127, 0, 0, 1], 0)),
            max_clients: usize::MAX,
            idle_close: Duration::from_secs(300),
            reply_delay: Duration::ZERO,
            drop_after_n: None,
            ending: Ending::Fin,
            split_writes: None,
            strict_checksum: false,
            broadcast: true,
            storm_period: Duration::from_millis(500),
            storm_copies: 200,
        }
    }
}

impl EmulatorBuilder {
    /// The address to listen on. Default: a free port of 127.0.0.1.
    pub fn bind(mut self, address: SocketAddr) -> Self {
        self.bind = address;
        self
    }

    /// Further clients are closed as soon as they connect. Default: no limit.
    pub fn max_clients(mut self, max_clients: usize) -> Self {
        self.max_clients = max_clients;
        self
    }

    /// A client that sends nothing for this long is closed. Default 300 s.
    pub fn idle_close(mut self, after: Duration) -> Self {
        self.idle_close = after;
        self
    }

    /// Delays every reply. Default zero.
    pub fn reply_delay(mut self, delay: Duration) -> Self {
        self.reply_delay = delay;
        self
    }

    /// Each client gets `n` requests answered; at the next one it is dropped instead.
    pub fn drop_after_n(mut self, n: u64) -> Self {
        self.drop_after_n = Some(n);
        self
    }

    /// Resets connections where the emulator ends them by itself.
    pub fn rst_instead_of_fin(mut self, rst: bool) -> Self {
        self.ending = if rst { Ending::Rst } else { Ending::Fin };
        self
    }

    /// Writes at most `bytes` at a time, a millisecond apart.
    pub fn split_writes(mut self, bytes: usize) -> Self {
        self.split_writes = Some(bytes.max(1));
        self
    }

    /// Leaves requests with a wrong checksum unanswered. Default false, like the devices' software.
    pub fn strict_checksum(mut self, strict: bool) -> Self {
        self.strict_checksum = strict;
        self
    }

    /// Sends every reply to every client. Default true, like the devices' software.
    pub fn broadcast(mut self, broadcast: bool) -> Self {
        self.broadcast = broadcast;
        self
    }

    /// The pause between two telegrams of a storm. Default 500 ms.
    pub fn storm_period(mut self, period: Duration) -> Self {
        self.storm_period = period;
        self
    }

    /// The number of telegrams of a storm. Default 200.
    pub fn storm_copies(mut self, copies: u32) -> Self {
        self.storm_copies = copies;
        self
    }

    /// Listens and answers until the emulator is dropped.
    pub fn start(self) -> io::Result<Emulator> {
        Emulator::start(self)
    }
}
