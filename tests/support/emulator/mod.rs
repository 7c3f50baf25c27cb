//! A bridge with eight devices behind it, on a TCP port of this machine.
//!
//! It answers like a real bridge, and has faults on demand. Dropping it stops everything. Unlike a real
//! bridge it keeps partial reads, so a request may come in pieces, and it sends a telegram when it is due
//! instead of at the next wake-up of the client's thread.

mod config;
mod counters;
mod devices;
mod session;
mod shared;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use parking_lot::Mutex;

pub use config::{EmulatorBuilder, Ending};
pub use counters::Counters;

use super::{
    sockets::{bind_again, end_accept},
    telegram::Event,
};
use shared::Shared;

/// The running emulator.
#[derive(Debug)]
pub struct Emulator {
    shared: Arc<Shared>,
    address: SocketAddr,
    running: Mutex<Option<Running>>,
}

/// The parts that [`Emulator::stop`] ends.
#[derive(Debug)]
struct Running {
    listener: TcpListener,
    acceptor: JoinHandle<()>,
    storms_changed: JoinHandle<()>,
}

impl Emulator {
    /// A builder with all settings at their defaults.
    pub fn builder() -> EmulatorBuilder {
        EmulatorBuilder::default()
    }

    fn start(settings: EmulatorBuilder) -> io::Result<Self> {
        let bind = settings.bind;
        let shared = Arc::new(Shared::new(settings));
        let running = Running::start(&shared, bind)?;
        let mut address = running.listener.local_addr()?;
        if address.ip().is_unspecified() {
            address.set_ip(match address.ip() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        Ok(Self {
            shared,
            address,
            running: Mutex::new(Some(running)),
        })
    }

    /// The address for clients; a restart keeps it.
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

    /// Sends an unsolicited event to every client.
    pub fn push_event(&self, event: Event) {
        let mut bytes = event.to_frame();
        bytes.push(b'\n');
        self.shared.push(&bytes);
    }

    /// Sends unsolicited bytes to every client.
    pub fn push_raw(&self, bytes: &[u8]) {
        self.shared.push(bytes);
    }

    /// Makes a device repeat its last reply; false if it has not replied yet.
    pub fn storm(&self, serial: u64) -> bool {
        self.shared.storm(serial)
    }

    /// Delays replies from now on.
    pub fn set_reply_delay(&self, delay: Duration) {
        self.shared.set_reply_delay(delay);
    }

    /// Sets the measured temperature of a device, in tenths of a degree Celsius; false if there is no such
    /// device.
    pub fn set_temperature(&self, serial: u64, tenths: i32) -> bool {
        self.shared.set_temperature(serial, tenths)
    }

    /// Ends every connection; they are closed when this returns. Returns their number.
    pub fn close_all_clients(&self, ending: Ending) -> usize {
        self.shared.close_clients(ending)
    }

    /// Stops listening and ends every connection. All threads have ended when this returns.
    pub fn stop(&self) {
        if let Some(running) = self.running.lock().take() {
            running.stop(&self.shared, self.address);
        }
    }

    /// Listens again on the same port; stops first if it is still running.
    pub fn restart(&self) -> io::Result<()> {
        self.stop();
        let running = bind_again(|| Running::start(&self.shared, self.address))?;
        *self.running.lock() = Some(running);
        Ok(())
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Running {
    fn start(shared: &Arc<Shared>, bind: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(bind)?;
        let accepting = listener.try_clone()?;
        shared.set_stopped(false);
        let storms_changed = spawn("emulator-storm", shared, |shared| shared.run_storms())?;
        let acceptor = spawn("emulator-accept", shared, move |shared| {
            accept(&accepting, shared)
        })
        .inspect_err(|_| shared.set_stopped(true))?;
        Ok(Self {
            listener,
            acceptor,
            storms_changed,
        })
    }

    fn stop(self, shared: &Shared, address: SocketAddr) {
        shared.set_stopped(true);
        end_accept(&self.listener, address);
        let ended = [self.acceptor.join(), self.storms_changed.join()];
        drop(self.listener);
        shared.close_clients(shared.settings().ending);
        if !thread::panicking() {
            assert!(
                ended.iter().all(Result::is_ok),
                "a thread of the emulator panicked"
            );
        }
    }
}

fn spawn(
    name: &str,
    shared: &Arc<Shared>,
    work: impl FnOnce(&Arc<Shared>) + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    thread::Builder::new()
        .name(name.into())
        .spawn(move || work(&shared))
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.is_stopped() {
        match listener.accept() {
            Ok((stream, _)) => shared.serve_client(stream),
            // Out of descriptors, or a client that left the queue: an immediate retry helps in neither case.
            Err(_) if !shared.is_stopped() => thread::sleep(Duration::from_millis(5)),
            Err(_) => {}
        }
    }
}
