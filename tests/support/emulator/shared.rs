//! The shared state of clients, devices and counters. One lock, which is never held during a wait.

use std::{
    net::TcpStream,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use socket2::SockRef;

use super::{
    super::telegram::{self, Telegram},
    config::{EmulatorBuilder, Ending},
    counters::Counters,
    devices::Devices,
    session::{self, Session},
};

#[derive(Debug)]
pub(super) struct Shared {
    settings: EmulatorBuilder,
    state: Mutex<State>,
    /// Signals a change of counters or `live`.
    changed: Condvar,
    /// Signals a change of storms or `stopped`.
    storms_changed: Condvar,
}

#[derive(Debug)]
struct State {
    devices: Devices,
    storms: Vec<Storm>,
    /// Clients that get telegrams.
    clients: Vec<Arc<Session>>,
    /// Clients whose threads still run or whose sockets are still open.
    live: Vec<u64>,
    last_id: u64,
    reply_delay: Duration,
    counters: Counters,
    stopped: bool,
}

#[derive(Debug)]
struct Storm {
    serial: u64,
    reply: Vec<u8>,
    left: u32,
    next: Instant,
}

/// The result of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Not a request, or with a bad checksum.
    Ignored,
    /// A request; the devices may have no reply to it.
    Answered,
    /// The client has reached its request limit.
    Drop,
}

impl Shared {
    pub(super) fn new(settings: EmulatorBuilder) -> Self {
        Self {
            state: Mutex::new(State {
                devices: Devices::new(),
                storms: Vec::new(),
                clients: Vec::new(),
                live: Vec::new(),
                last_id: 0,
                reply_delay: settings.reply_delay,
                counters: Counters::default(),
                stopped: false,
            }),
            settings,
            changed: Condvar::new(),
            storms_changed: Condvar::new(),
        }
    }

    pub(super) fn settings(&self) -> &EmulatorBuilder {
        &self.settings
    }

    pub(super) fn counters(&self) -> Counters {
        self.state.lock().counters
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut Counters)) {
        change(&mut self.state.lock().counters);
        self.changed.notify_all();
    }

    pub(super) fn wait_for(&self, until: impl Fn(&Counters) -> bool, timeout: Duration) -> bool {
        self.wait_while(|state| !until(&state.counters), timeout)
    }

    fn wait_while(&self, hold: impl Fn(&State) -> bool, timeout: Duration) -> bool {
        let mut state = self.state.lock();
        !self
            .changed
            .wait_while_for(&mut state, |state| hold(state), timeout)
            .timed_out()
    }

    /// Starts the threads of a new client, or refuses it.
    pub(super) fn serve_client(self: &Arc<Self>, stream: TcpStream) {
        let Some(session) = self.register(stream) else {
            return;
        };
        let shared = Arc::clone(self);
        let id = session.id;
        let thread = thread::Builder::new()
            .name("emulator-read".into())
            .spawn(move || session::run(&shared, session));
        if thread.is_err() {
            self.leave(id);
            self.gone(id);
        }
    }

    fn register(&self, stream: TcpStream) -> Option<Arc<Session>> {
        let mut state = self.state.lock();
        if state.stopped || state.clients.len() >= self.settings.max_clients {
            state.counters.refused += u64::from(!state.stopped);
            self.changed.notify_all();
            drop(state);
            if self.settings.ending == Ending::Rst {
                let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            }
            return None;
        }
        let id = state.last_id + 1;
        // Fails only for a client that is gone already.
        let session = Arc::new(Session::new(id, stream, self.settings.idle_close).ok()?);
        state.last_id = id;
        state.live.push(id);
        state.clients.push(Arc::clone(&session));
        state.counters.accepted += 1;
        state.recount();
        self.changed.notify_all();
        Some(session)
    }

    /// Ends the client's telegrams and its count.
    pub(super) fn leave(&self, id: u64) {
        let mut state = self.state.lock();
        state.clients.retain(|session| session.id != id);
        state.recount();
        self.changed.notify_all();
    }

    /// Records that the client's socket is closed.
    pub(super) fn gone(&self, id: u64) {
        self.state.lock().live.retain(|other| *other != id);
        self.changed.notify_all();
    }

    /// Ends every client and waits until their sockets are closed.
    pub(super) fn close_clients(&self, ending: Ending) -> usize {
        let mut state = self.state.lock();
        let clients = std::mem::take(&mut state.clients);
        state.recount();
        let live = state.live.clone();
        drop(state);
        self.changed.notify_all();
        for session in &clients {
            session.end(ending);
        }
        let count = clients.len();
        // The last reference closes the socket.
        drop(clients);
        let patience = Duration::from_secs(5);
        let closed = self.wait_while(
            |state| state.live.iter().any(|id| live.contains(id)),
            patience,
        );
        assert!(
            closed || thread::panicking(),
            "a client's socket was not closed in {patience:?}"
        );
        count
    }

    pub(super) fn set_stopped(&self, stopped: bool) {
        let mut state = self.state.lock();
        state.stopped = stopped;
        state.storms.clear();
        self.storms_changed.notify_all();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.state.lock().stopped
    }

    pub(super) fn set_reply_delay(&self, delay: Duration) {
        self.state.lock().reply_delay = delay;
    }

    pub(super) fn set_temperature(&self, serial: u64, tenths: i32) -> bool {
        self.state.lock().devices.set_temperature(serial, tenths)
    }

    /// Handles one frame of a client that has sent `before` requests.
    pub(super) fn take(&self, session: &Session, frame: &[u8], before: u64) -> Verdict {
        let parsed = if self.settings.strict_checksum {
            telegram::parse(frame)
        } else {
            telegram::parse_loosely(frame)
        };
        let Ok(Telegram::Request(request)) = parsed else {
            return Verdict::Ignored;
        };
        let mut state = self.state.lock();
        let state = &mut *state;
        state.counters.requests += 1;
        self.changed.notify_all();
        if self.settings.drop_after_n.is_some_and(|n| before >= n) {
            state.counters.dropped += 1;
            return Verdict::Drop;
        }
        let answer = state.devices.answer(&request);
        let due = Instant::now() + state.reply_delay;
        for mut group in answer.groups {
            group.push(b'\n');
            if self.settings.broadcast {
                state.send_to_all(due, &group);
            } else {
                session.send(due, group);
            }
        }
        if let Some(serial) = answer.end_storm {
            state.storms.retain(|storm| storm.serial != serial);
        }
        if let Some((serial, reply)) = answer.storm {
            self.begin_storm(state, serial, reply);
        }
        Verdict::Answered
    }

    pub(super) fn push(&self, bytes: &[u8]) {
        let mut state = self.state.lock();
        state.counters.pushed += 1;
        state.send_to_all(Instant::now(), bytes);
        self.changed.notify_all();
    }

    pub(super) fn storm(&self, serial: u64) -> bool {
        let mut state = self.state.lock();
        let reply = state.devices.storm(serial);
        reply
            .map(|reply| self.begin_storm(&mut state, serial, reply))
            .is_some()
    }

    fn begin_storm(&self, state: &mut State, serial: u64, mut reply: Vec<u8>) {
        reply.push(b'\n');
        state.storms.retain(|storm| storm.serial != serial);
        state.storms.push(Storm {
            serial,
            reply,
            left: self.settings.storm_copies,
            next: Instant::now() + self.settings.storm_period,
        });
        self.storms_changed.notify_all();
    }

    /// Sends the telegrams of storms until the emulator stops.
    pub(super) fn run_storms(&self) {
        let mut state = self.state.lock();
        while !state.stopped {
            let now = Instant::now();
            let due = state.storms.iter().position(|storm| storm.next <= now);
            if let Some(index) = due {
                let storm = &mut state.storms[index];
                storm.next += self.settings.storm_period;
                storm.left = storm.left.saturating_sub(1);
                let (reply, over) = (storm.reply.clone(), storm.left == 0);
                if over {
                    state.storms.remove(index);
                }
                state.counters.pushed += 1;
                state.send_to_all(now, &reply);
                self.changed.notify_all();
                continue;
            }
            match state.storms.iter().map(|storm| storm.next).min() {
                Some(next) => {
                    self.storms_changed.wait_until(&mut state, next);
                }
                None => self.storms_changed.wait(&mut state),
            }
        }
    }
}

impl State {
    fn recount(&mut self) {
        let open = self.clients.len();
        self.counters.open = open;
        self.counters.peak_open = self.counters.peak_open.max(open);
    }

    fn send_to_all(&self, due: Instant, bytes: &[u8]) {
        for client in &self.clients {
            client.send(due, bytes.to_vec());
        }
    }
}
