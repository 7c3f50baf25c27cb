//! The driver: a connection that blocks its thread, and the managers of it.

use std::{convert::Infallible, thread, time::Duration};

/// A connection to a server that answers after the time of the request.
#[derive(Debug, Default)]
pub(crate) struct Connection;

impl Connection {
    /// Blocks the calling thread until the answer is there.
    #[allow(clippy::unused_self, reason = "a request needs a connection")]
    pub(crate) fn ask(&mut self, time: Duration) {
        thread::sleep(time);
    }
}

/// Makes every later thread sleep precisely: the slack of a timer is 50 µs otherwise, which is a twentieth of
/// a request. A thread inherits the slack of the thread that starts it.
#[cfg(target_os = "linux")]
pub(crate) fn sleep_precisely() {
    let slack = std::num::NonZeroU64::MIN;
    if let Err(error) = rustix::thread::set_current_timer_slack(Some(slack)) {
        eprintln!("cannot reduce the slack of timers: {error}");
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn sleep_precisely() {}

/// Opens connections at no cost.
#[derive(Debug)]
pub(crate) struct Driver;

impl conpool::ConnectionManager for Driver {
    type Connection = Connection;
    type Error = Infallible;

    fn create(&self) -> Result<Connection, Infallible> {
        Ok(Connection)
    }

    fn check_aliveness(&self, _: &mut Connection) -> Result<(), Infallible> {
        Ok(())
    }
}

impl r2d2::ManageConnection for Driver {
    type Connection = Connection;
    type Error = Infallible;

    fn connect(&self) -> Result<Connection, Infallible> {
        Ok(Connection)
    }

    fn is_valid(&self, _: &mut Connection) -> Result<(), Infallible> {
        Ok(())
    }

    fn has_broken(&self, _: &mut Connection) -> bool {
        false
    }
}

impl bb8::ManageConnection for Driver {
    type Connection = Connection;
    type Error = Infallible;

    async fn connect(&self) -> Result<Connection, Infallible> {
        Ok(Connection)
    }

    async fn is_valid(&self, _: &mut Connection) -> Result<(), Infallible> {
        Ok(())
    }

    fn has_broken(&self, _: &mut Connection) -> bool {
        false
    }
}
