//! One client and its connection to the server: for each direction a thread that reads and one that writes.

use std::{
    io::{self, Read},
    net::{Shutdown, TcpStream},
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use socket2::SockRef;

use super::{
    super::emulator::Ending,
    super::sockets::{limit_writes, write_until},
    flow::{Flow, Step},
    shared::Shared,
    toxic::{Active, Direction, Effects},
};

/// The state that the threads of the link and the proxy share.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: u64,
    began: Instant,
    client: TcpStream,
    server: TcpStream,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    upstream: Flow,
    downstream: Flow,
    toxics: Vec<Active>,
    over: Option<Ending>,
}

impl State {
    fn flow(&mut self, direction: Direction) -> &mut Flow {
        match direction {
            Direction::Upstream => &mut self.upstream,
            Direction::Downstream => &mut self.downstream,
        }
    }
}

impl Link {
    pub(super) fn new(
        id: u64,
        client: TcpStream,
        server: TcpStream,
        toxics: Vec<Active>,
    ) -> io::Result<Self> {
        let began = Instant::now();
        for stream in [&client, &server] {
            limit_writes(stream)?;
        }
        Ok(Self {
            id,
            began,
            client,
            server,
            state: Mutex::new(State {
                upstream: Flow::new(2 * id, began),
                downstream: Flow::new(2 * id + 1, began),
                toxics,
                over: None,
            }),
            changed: Condvar::new(),
        })
    }

    pub(super) fn set_toxics(&self, toxics: &[Active]) {
        let mut state = self.state.lock();
        state.toxics = toxics.to_vec();
        let now = Instant::now();
        state.upstream.recount(now);
        state.downstream.recount(now);
        self.changed.notify_all();
    }

    /// Wakes all threads for the end. The first requested end counts.
    pub(super) fn end(&self, ending: Ending) {
        self.state.lock().over.get_or_insert(ending);
        self.changed.notify_all();
        // Sends nothing; ends only the pending reads.
        let _ = self.client.shutdown(Shutdown::Read);
        let _ = self.server.shutdown(Shutdown::Read);
    }

    /// Passes bytes on until both directions or the link have ended. The sockets are ready to be dropped
    /// then. Returns how it ended.
    pub(super) fn run(&self, shared: &Shared) -> Ending {
        thread::scope(|scope| {
            for direction in [Direction::Upstream, Direction::Downstream] {
                let thread = |name: &str| thread::Builder::new().name(name.into());
                let reads = move || self.read(direction);
                let writes = move || self.write(direction, shared);
                if thread("proxy-read").spawn_scoped(scope, reads).is_err()
                    || thread("proxy-write").spawn_scoped(scope, writes).is_err()
                {
                    self.end(Ending::Rst);
                }
            }
        });
        let ending = self.state.lock().over.unwrap_or(Ending::Fin);
        for stream in [&self.client, &self.server] {
            match ending {
                Ending::Rst => {
                    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
                }
                Ending::Fin => {
                    let _ = stream.shutdown(Shutdown::Write);
                }
            }
        }
        ending
    }

    fn read(&self, direction: Direction) {
        let mut source = match direction {
            Direction::Upstream => &self.client,
            Direction::Downstream => &self.server,
        };
        let mut chunk = [0; 4096];
        loop {
            {
                let mut state = self.state.lock();
                while state.over.is_none() && !state.flow(direction).has_room() {
                    self.changed.wait(&mut state);
                }
                if state.over.is_some() {
                    return;
                }
            }
            let read = source.read(&mut chunk);
            let now = Instant::now();
            match read {
                Ok(0) => {
                    self.state.lock().flow(direction).end(now);
                    self.changed.notify_all();
                    return;
                }
                Ok(length) => {
                    let mut state = self.state.lock();
                    state.flow(direction).push(&chunk[..length], now);
                    self.changed.notify_all();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.end(Ending::Rst),
            }
        }
    }

    fn write(&self, direction: Direction, shared: &Shared) {
        let target = match direction {
            Direction::Upstream => &self.server,
            Direction::Downstream => &self.client,
        };
        loop {
            match self.next_step(direction) {
                Some(Step::Write(bytes)) => {
                    let is_over = || self.state.lock().over.is_some();
                    if write_until(target, &bytes, is_over).is_err() {
                        return self.end(Ending::Rst);
                    }
                    shared.count(|counters| match direction {
                        Direction::Upstream => counters.upstream += bytes.len() as u64,
                        Direction::Downstream => counters.downstream += bytes.len() as u64,
                    });
                }
                Some(Step::End) => {
                    let _ = target.shutdown(Shutdown::Write);
                    return;
                }
                Some(Step::Close(ending)) => return self.end(ending),
                Some(Step::Wait(_)) => {}
                None => return,
            }
        }
    }

    /// Waits for the next step; `None` when the link is over.
    fn next_step(&self, direction: Direction) -> Option<Step> {
        let mut state = self.state.lock();
        loop {
            if state.over.is_some() {
                return None;
            }
            let effects = Effects::of(&state.toxics, direction, self.began);
            match state.flow(direction).step(&effects, Instant::now()) {
                Step::Wait(Some(at)) => _ = self.changed.wait_until(&mut state, at),
                Step::Wait(None) => self.changed.wait(&mut state),
                step => {
                    // The queue may have space for the reader now.
                    self.changed.notify_all();
                    return Some(step);
                }
            }
        }
    }
}
