//! A bridge with eight devices behind it, on a TCP port of this machine.
//!
//! It answers as the real ones do, and misbehaves on demand. Everything stops when it is dropped.
//! Unlike the real ones it keeps what it has read, so a request may come in pieces, and it sends a
//! telegram when it is due instead of when the client's thread happens to wake.

mod config;
mod counters;
mod devices;
mod session;
mod shared;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use parking_lot::Mutex;
use socket2::SockRef;

pub use config::{EmulatorBuilder, Ending};
pub use counters::Counters;

use super::telegram::Event;
use shared::Shared;

/// The running emulator.
#[derive(Debug)]
pub struct Emulator {
    shared: Arc<Shared>,
    address: SocketAddr,
    running: Mutex<Option<Running>>,
}

/// What ends with [`Emulator::stop`].
#[derive(Debug)]
struct Running {
    listener: TcpListener,
    acceptor: JoinHandle<()>,
    weather: JoinHandle<()>,
}

impl Emulator {
    /// All knobs at their defaults.
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

    /// Where clients connect to; the same after a restart.
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

    /// Sends an event to every client, unasked.
    pub fn push_event(&self, event: Event) {
        let mut bytes = event.to_frame();
        bytes.push(b'\n');
        self.shared.push(&bytes);
    }

    /// Sends any bytes to every client, unasked.
    pub fn push_raw(&self, bytes: &[u8]) {
        self.shared.push(bytes);
    }

    /// Lets a device repeat its last reply; false if it has not replied to anything yet.
    pub fn storm(&self, serial: u64) -> bool {
        self.shared.storm(serial)
    }

    /// From now on replies leave so much later.
    pub fn set_reply_delay(&self, delay: Duration) {
        self.shared.set_reply_delay(delay);
    }

    /// What a device measures, in tenths of a degree Celsius; false if there is no such device.
    pub fn set_temperature(&self, serial: u64, tenths: i32) -> bool {
        self.shared.set_temperature(serial, tenths)
    }

    /// Ends every connection; they are closed when this returns. Returns how many there were.
    pub fn close_all_clients(&self, ending: Ending) -> usize {
        self.shared.close_clients(ending)
    }

    /// Stops listening and ends every connection. Nothing runs any more when this returns.
    pub fn stop(&self) {
        if let Some(running) = self.running.lock().take() {
            running.stop(&self.shared, self.address);
        }
    }

    /// Listens again on the same port, after a stop if it is still running.
    pub fn restart(&self) -> io::Result<()> {
        self.stop();
        let mut tries = 0;
        let running = loop {
            match Running::start(&self.shared, self.address) {
                // An outgoing connection of somebody else can sit on the port for a moment.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < 100 => {
                    tries += 1;
                    thread::sleep(Duration::from_millis(10));
                }
                other => break other?,
            }
        };
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
        let weather = spawn("emulator-storm", shared, |shared| shared.run_storms())?;
        let acceptor = spawn("emulator-accept", shared, move |shared| {
            accept(&accepting, shared)
        })
        .inspect_err(|_| shared.set_stopped(true))?;
        Ok(Self {
            listener,
            acceptor,
            weather,
        })
    }

    fn stop(self, shared: &Shared, address: SocketAddr) {
        shared.set_stopped(true);
        // Linux wakes the accept by this; elsewhere a last visitor does.
        if SockRef::from(&self.listener)
            .shutdown(Shutdown::Both)
            .is_err()
        {
            let _ = TcpStream::connect_timeout(&address, Duration::from_millis(100));
        }
        let ended = [self.acceptor.join(), self.weather.join()];
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
            Ok((stream, _)) => shared.admit(stream),
            // Out of descriptors, or a client that left the queue: neither is solved by haste.
            Err(_) if !shared.is_stopped() => thread::sleep(Duration::from_millis(5)),
            Err(_) => {}
        }
    }
}
