//! A TCP proxy on this machine that injects faults between a client and a server.
//!
//! Toxics can be added and removed while connections are open, for each direction by itself. The port can be
//! closed (connects are refused) or a black hole (connects are not answered) and stays the same port.
//! Dropping the proxy stops everything.

mod counters;
mod flow;
mod link;
mod port;
mod shared;
mod toxic;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;

pub use counters::Counters;
pub use toxic::{Direction, Toxic};

use super::emulator::Ending;
use port::Port;
use shared::Shared;

/// The running proxy.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    port: Mutex<Option<Port>>,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 and connects each client to `server`.
    pub fn start(server: SocketAddr) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(server));
        let port = Port::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?.open(&shared)?;
        Ok(Self {
            address: port.address()?,
            shared,
            port: Mutex::new(Some(port)),
        })
    }

    /// The address for clients.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The counters so far.
    pub fn counters(&self) -> Counters {
        self.shared.counters()
    }

    /// Waits until the counters satisfy `until`; false if `timeout` was over first.
    pub fn wait_for(&self, until: impl Fn(&Counters) -> bool, timeout: Duration) -> bool {
        self.shared.wait_for(until, timeout)
    }

    /// Adds a toxic to the existing ones.
    pub fn add(&self, direction: Direction, toxic: Toxic) {
        self.shared.add(direction, toxic);
    }

    /// Adds a toxic in both directions.
    pub fn add_both(&self, toxic: Toxic) {
        self.add(Direction::Upstream, toxic);
        self.add(Direction::Downstream, toxic);
    }

    /// Removes all toxics. Delayed bytes are passed on at once; swallowed bytes are lost.
    pub fn heal(&self) {
        self.shared.set_toxics(Vec::clear);
    }

    /// Ends every link; they are closed when this returns. Returns their number.
    pub fn cut(&self, ending: Ending) -> usize {
        self.shared.cut(ending)
    }

    /// Refuses connects from now on, and ends every link.
    pub fn down(&self) -> io::Result<()> {
        self.turn(|port| port.close(&self.shared))?;
        self.cut(Ending::Fin);
        Ok(())
    }

    /// Leaves connects unanswered from now on, and ends every link.
    pub fn black_hole(&self) -> io::Result<()> {
        self.down()?;
        self.turn(Port::black_hole)
    }

    /// Accepts clients again.
    pub fn up(&self) -> io::Result<()> {
        self.turn(|port| port.open(&self.shared))
    }

    fn turn(&self, how: impl FnOnce(Port) -> io::Result<Port>) -> io::Result<()> {
        let mut place = self.port.lock();
        let port = place.take().expect("an earlier turn failed");
        *place = Some(how(port)?);
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(port) = self.port.get_mut().take() {
            let _ = port.close(&self.shared);
        }
        self.shared.cut(Ending::Fin);
        self.shared.join();
    }
}
