//! Descriptions of a connection, a holder and a sweep.

use crate::rounded::Rounded;
use std::{
    fmt,
    time::{Duration, Instant},
};

/// The id, the ages and the number of uses of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// The id of the connection. Unique within the pool and within all keys of a keyed pool, and never reused.
    pub id: u64,
    /// The time at which the connection was created or added, by the clock of the pool.
    pub created_at: Instant,
    /// The age of the connection.
    pub age: Duration,
    /// The current idle time of an idle connection, or the idle time before the checkout of a connection in use.
    pub idle_for: Duration,
    /// The number of checkouts, including the current one.
    pub uses: u64,
    /// The generation of the pool when the connection was created. `clear` evicts all connections of older generations.
    pub generation: u64,
}

/// The holder of a connection in use, with the call site and the time of the checkout.
///
/// Displays as one line, for example
/// `connection 7 held for 12s by thread "worker-3", taken at src/job.rs:42`.
///
/// ```
/// use conpool::{MemoryManager, Pool};
///
/// let pool = Pool::new(MemoryManager::new())?;
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
    /// The source file of the call of `get`. `(unknown)` if `get` is called in more than 4,096 places of the program.
    pub file: &'static str,
    /// The line in that file.
    pub line: u32,
    /// The name of the thread that called `get`, or the id of a thread without a name. `(ended)` if the thread ended and
    /// 1,024 others that used a pool have ended since.
    pub thread: String,
    /// The time of the checkout, by the clock of the pool.
    pub since: Instant,
    /// The time since the checkout.
    pub held: Duration,
}

/// How many holders the Display of an error or of statistics names.
pub(crate) const NAMED_HOLDERS: usize = 3;

/// Displays the longest holders and the number of the others, with a semicolon before. Displays nothing without holders.
pub(crate) struct LongestHolders<'a> {
    /// The holders, the longest first.
    pub(crate) holders: &'a [Holder],
    /// How many holders there are beyond these.
    pub(crate) more: usize,
}

impl<'a> LongestHolders<'a> {
    pub(crate) fn of(holders: &'a [Holder]) -> Self {
        Self { holders, more: 0 }
    }
}

impl fmt::Display for LongestHolders<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.holders.iter().take(NAMED_HOLDERS);
        for (nth, holder) in named.enumerate() {
            f.write_str(if nth == 0 { "; held longest: " } else { ", " })?;
            write!(
                f,
                "{}:{} on {:?} for {}",
                holder.file,
                holder.line,
                holder.thread,
                Rounded(holder.held)
            )?;
        }
        match self.holders.len().saturating_sub(NAMED_HOLDERS) + self.more {
            0 => Ok(()),
            more => write!(f, " ({more} more)"),
        }
    }
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

/// The result of one pass of the collector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SweepReport {
    /// The number of evicted connections, for all reasons.
    pub evicted: usize,
    /// The number of started keepalive checks. The checks may still run.
    pub checks_started: usize,
    /// The number of creates that were started for `min_idle`. The creates may still run.
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
