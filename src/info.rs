//! What the pool tells about one connection, one holder, one sweep.

use crate::rounded::Rounded;
use std::{
    fmt,
    time::{Duration, Instant},
};

/// What the pool knows of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// Unique within the pool, over all keys of a keyed one, and never used again.
    pub id: u64,
    /// When the connection was created or added, by the pool's clock.
    pub created_at: Instant,
    /// How long ago that was.
    pub age: Duration,
    /// How long the connection has been idle or, while it is out, had been before it was taken.
    pub idle_for: Duration,
    /// How often it was checked out, the present time included.
    pub uses: u64,
    /// The pool's generation when the connection was created: `clear` ends the older ones.
    pub generation: u64,
}

/// Who holds a connection, since when, and from which call site.
///
/// Displays as one line, for example
/// `connection 7 held for 12s by thread "worker-3", taken at src/job.rs:42`.
///
/// ```
/// use conpool::{MemoryManager, Pool};
/// use std::time::Duration;
///
/// let pool = Pool::builder()
///     .leak_threshold(Duration::from_secs(60))
///     .build(MemoryManager::new())?;
/// let _held = pool.get()?;
/// for holder in pool.holders() {
///     assert_eq!(holder.file, file!());
///     println!("{holder}");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// The id of the connection, as in [`ConnectionInfo::id`].
    pub connection_id: u64,
    /// The file that called `get`.
    pub file: &'static str,
    /// The line in that file.
    pub line: u32,
    /// The name of the thread that called `get`, or its id if it has none.
    pub thread: String,
    /// When the connection was taken, by the pool's clock.
    pub since: Instant,
    /// How long it has been held.
    pub held: Duration,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "connection {} held for {} by thread {:?}, taken at {}:{}",
            self.connection_id,
            Rounded(self.held),
            self.thread,
            self.file,
            self.line
        )
    }
}

/// What one pass of the collector did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SweepReport {
    /// Connections evicted, for whatever reason.
    pub evicted: usize,
    /// Keepalive checks started. They may still be running.
    pub checks_started: usize,
    /// Creates started for `min_idle`. They may still be running.
    pub creates_started: usize,
}

impl fmt::Display for SweepReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} evicted, {} checks started, {} creates started",
            self.evicted, self.checks_started, self.creates_started
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_reads_as_one_line() {
        let holder = Holder {
            connection_id: 7,
            file: "src/job.rs",
            line: 42,
            thread: "worker-3".into(),
            since: Instant::now(),
            held: Duration::from_millis(12_040),
        };
        assert_eq!(
            holder.to_string(),
            r#"connection 7 held for 12s by thread "worker-3", taken at src/job.rs:42"#
        );
    }

    #[test]
    fn a_sweep_that_did_nothing_says_so() {
        assert_eq!(
            SweepReport::default().to_string(),
            "0 evicted, 0 checks started, 0 creates started"
        );
    }
}
