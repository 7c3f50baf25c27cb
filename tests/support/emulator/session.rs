//! One client: a thread that reads and a thread that writes.

use std::{
    collections::VecDeque,
    io::{self, Read},
    net::{Shutdown, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use socket2::SockRef;

use super::{
    super::sockets::{limit_writes, write_until},
    super::telegram::FrameBuffer,
    config::Ending,
    shared::{Shared, Verdict},
};

/// The state that both threads and the emulator share.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: u64,
    stream: TcpStream,
    outbox: Mutex<Outbox>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Outbox {
    /// Sorted by due time.
    queue: VecDeque<(Instant, Vec<u8>)>,
    end: Option<End>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The client has half-closed; pending replies are still sent.
    Flush,
    /// At once.
    Now(Ending),
}

impl Session {
    pub(super) fn new(id: u64, stream: TcpStream, idle_close: Duration) -> io::Result<Self> {
        limit_writes(&stream)?;
        stream.set_read_timeout(Some(idle_close))?;
        Ok(Self {
            id,
            stream,
            outbox: Mutex::default(),
            wake: Condvar::new(),
        })
    }

    /// Sends `bytes` at `due`, after everything that is due before or at the same time.
    pub(super) fn send(&self, due: Instant, bytes: Vec<u8>) {
        let mut outbox = self.outbox.lock();
        let place = outbox.queue.partition_point(|(other, _)| *other <= due);
        outbox.queue.insert(place, (due, bytes));
        self.wake.notify_one();
    }

    /// Wakes both threads for the end. The first requested end counts.
    pub(super) fn end(&self, ending: Ending) {
        self.set_end(End::Now(ending));
        // Sends nothing; ends only the read of the reader.
        let _ = self.stream.shutdown(Shutdown::Read);
    }

    fn set_end(&self, end: End) {
        self.outbox.lock().end.get_or_insert(end);
        self.wake.notify_one();
    }

    fn is_ending(&self) -> bool {
        self.outbox.lock().end.is_some()
    }
}

/// Runs a client to its end, on the calling thread.
pub(super) fn run(shared: &Shared, session: Arc<Session>) {
    let id = session.id;
    let split = shared.settings().split_writes;
    let writer = {
        let session = Arc::clone(&session);
        thread::Builder::new()
            .name("emulator-write".into())
            .spawn(move || write(&session, split))
    };
    let end = match &writer {
        Ok(_) => read(shared, &session),
        Err(_) => End::Now(Ending::Rst),
    };
    // Counted before the client can see its end: a client that connects after that finds a free place.
    shared.leave(id);
    session.set_end(end);
    if let Ok(writer) = writer {
        let _ = writer.join();
    }
    let end = session.outbox.lock().end;
    if end == Some(End::Now(Ending::Rst)) {
        let _ = SockRef::from(&session.stream).set_linger(Some(Duration::ZERO));
    } else {
        let _ = session.stream.shutdown(Shutdown::Write);
    }
    drop(session);
    shared.gone(id);
}

fn read(shared: &Shared, session: &Session) -> End {
    let mut frames = FrameBuffer::default();
    let mut requests = 0;
    let mut chunk = [0; 1024];
    loop {
        match (&session.stream).read(&mut chunk) {
            Ok(0) => return End::Flush,
            Ok(length) => frames.push(&chunk[..length]),
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => continue,
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                    shared.count(|counters| counters.idle_closed += 1);
                    return End::Now(shared.settings().ending);
                }
                _ => return End::Now(Ending::Fin),
            },
        }
        while let Some(frame) = frames.next_frame() {
            match shared.take(session, &frame, requests) {
                Verdict::Ignored => {}
                Verdict::Answered => requests += 1,
                Verdict::Drop => return End::Now(shared.settings().ending),
            }
        }
    }
}

fn write(session: &Session, split: Option<usize>) {
    while let Some(bytes) = next_due(session) {
        for (number, piece) in bytes
            .chunks(split.unwrap_or(bytes.len()).max(1))
            .enumerate()
        {
            if number > 0 {
                thread::sleep(Duration::from_millis(1));
            }
            // The reader detects a broken connection by itself.
            if write_until(&session.stream, piece, || session.is_ending()).is_err() {
                return;
            }
        }
    }
}

fn next_due(session: &Session) -> Option<Vec<u8>> {
    let mut outbox = session.outbox.lock();
    loop {
        if matches!(outbox.end, Some(End::Now(_))) {
            return None;
        }
        match outbox.queue.front().map(|(due, _)| *due) {
            Some(due) if due <= Instant::now() => {
                return outbox.queue.pop_front().map(|(_, bytes)| bytes);
            }
            _ if outbox.end.is_some() => return None,
            Some(due) => {
                session.wake.wait_until(&mut outbox, due);
            }
            None => session.wake.wait(&mut outbox),
        }
    }
}
