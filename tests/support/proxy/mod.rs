//! A TCP proxy on this machine that spoils the line between a client and a server on demand.
//!
//! Toxics come and go while connections are open, for each direction by itself. The port can be shut
//! (connects are refused) or made a hole (connects are not answered) and stays the same port.
//! Everything stops when the proxy is dropped.

mod counters;
mod door;
mod flow;
mod link;
mod shared;
mod toxic;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;

pub use counters::Counters;
pub use toxic::{Direction, Toxic};

use super::emulator::Ending;
use door::Door;
use shared::Shared;

/// The running proxy.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    door: Mutex<Option<Door>>,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 and connects each client to `server`.
    pub fn start(server: SocketAddr) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(server));
        let door = Door::shut(SocketAddr::from(([127, 0, 0, 1], 0)))?.open(&shared)?;
        Ok(Self {
            address: door.address()?,
            shared,
            door: Mutex::new(Some(door)),
        })
    }

    /// Where clients connect to.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// What has been counted so far.
    pub fn counters(&self) -> Counters {
        self.shared.counters()
    }

    /// Waits until the counters are as asked; false if `timeout` was over first.
    pub fn wait_for(&self, until: impl Fn(&Counters) -> bool, timeout: Duration) -> bool {
        self.shared.wait_for(until, timeout)
    }

    /// Adds a toxic to those that are there.
    pub fn add(&self, direction: Direction, toxic: Toxic) {
        self.shared.add(direction, toxic);
    }

    /// Adds a toxic in both directions.
    pub fn add_both(&self, toxic: Toxic) {
        self.add(Direction::Upstream, toxic);
        self.add(Direction::Downstream, toxic);
    }

    /// Takes all toxics away. What they held back goes on at once; what they swallowed is lost.
    pub fn heal(&self) {
        self.shared.set_toxics(Vec::clear);
    }

    /// Ends every link; they are closed when this returns. Returns how many there were.
    pub fn cut(&self, ending: Ending) -> usize {
        self.shared.cut(ending)
    }

    /// Refuses connects from now on, and ends every link.
    pub fn down(&self) -> io::Result<()> {
        self.turn(|door| door.close(&self.shared))?;
        self.cut(Ending::Fin);
        Ok(())
    }

    /// Leaves connects unanswered from now on, and ends every link.
    pub fn dig(&self) -> io::Result<()> {
        self.down()?;
        self.turn(Door::dig)
    }

    /// Lets clients in again.
    pub fn up(&self) -> io::Result<()> {
        self.turn(|door| door.open(&self.shared))
    }

    fn turn(&self, how: impl FnOnce(Door) -> io::Result<Door>) -> io::Result<()> {
        let mut place = self.door.lock();
        let door = place.take().expect("an earlier turn failed");
        *place = Some(how(door)?);
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(door) = self.door.get_mut().take() {
            let _ = door.close(&self.shared);
        }
        self.shared.cut(Ending::Fin);
        self.shared.join();
    }
}
