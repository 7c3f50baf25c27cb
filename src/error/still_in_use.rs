//! The error of a close that did not finish in time.

use crate::info::{Holder, LongestHolders};
use std::sync::Arc;

/// [`Pool::close_timeout`](crate::Pool::close_timeout) reached its timeout. The pool is closed nevertheless;
/// connections still in use are disposed when they come back.
///
/// Displays as one line that names up to three holders by call site and thread.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "pool {pool:?}: closed, but {in_use} connection{} still in use and {hooks_running} hook{} \
     still running{}",
    plural(*.in_use), plural(*.hooks_running),
    LongestHolders::of(.holders)
)]
#[non_exhaustive]
pub struct StillInUse {
    /// The pool's name.
    pub pool: Arc<str>,
    /// The number of connections still in use.
    pub in_use: usize,
    /// The number of hooks that have not returned, including abandoned ones.
    pub hooks_running: usize,
    /// The holders of the connections, the longest first.
    pub holders: Vec<Holder>,
}

impl StillInUse {
    /// Adds the numbers and holders of another pool.
    pub(crate) fn add(&mut self, other: Self) {
        self.in_use += other.in_use;
        self.hooks_running += other.hooks_running;
        self.holders.extend(other.holders);
        self.holders.sort_by_key(|holder| holder.since);
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn still(in_use: usize, hooks_running: usize, holders: u64) -> StillInUse {
        let holder = |id| Holder {
            connection_id: id,
            file: "src/job.rs",
            line: 40 + u32::try_from(id).unwrap_or(0),
            thread: format!("worker-{id}"),
            since: Instant::now(),
            held: Duration::from_secs(1),
        };
        StillInUse {
            pool: "orders".into(),
            in_use,
            hooks_running,
            holders: (1..=holders).map(holder).collect(),
        }
    }

    #[test]
    fn the_line_has_the_numbers() {
        assert_eq!(
            still(1, 0, 0).to_string(),
            r#"pool "orders": closed, but 1 connection still in use and 0 hooks still running"#
        );
    }

    #[test]
    fn up_to_three_holders_are_named() {
        let text = still(5, 1, 5).to_string();
        assert!(text.ends_with(
            "5 connections still in use and 1 hook still running; held longest: \
             src/job.rs:41 on \"worker-1\" for 1s, src/job.rs:42 on \"worker-2\" for 1s, \
             src/job.rs:43 on \"worker-3\" for 1s (2 more)"
        ));
    }
}
