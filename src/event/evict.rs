//! The reasons for evicting a connection.

use std::fmt;

/// Why a connection was evicted from its pool.
///
/// Displays in snake case, as in `idle_timeout`, which suits a label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EvictReason {
    /// `has_broken` returned true at check-in.
    Broken,
    /// `check_aliveness` failed or took too long.
    CheckFailed,
    /// It was older than the last `clear`.
    Cleared,
    /// The pool was closed.
    Closed,
    /// Its holder discarded it.
    Discarded,
    /// `on_checkout` or `on_checkin` failed.
    HookFailed,
    /// It was idle for longer than `idle_timeout`.
    IdleTimeout,
    /// It was interrupted while it was in use.
    Interrupted,
    /// Its create returned after `create_timeout`.
    Late,
    /// Its slot was needed for another key of a `KeyedPool`.
    MadeRoom,
    /// It was older than `max_lifetime`.
    MaxLifetime,
    /// It was checked out `max_uses` times.
    MaxUses,
    /// A hook panicked on it, or a panic dropped its guard.
    Panicked,
    /// `retain` rejected it.
    Rejected,
    /// `reset` failed or took too long.
    ResetFailed,
    /// The pool was made smaller.
    Shrunk,
    /// As many connections as `max_idle` permits were idle already when it came back.
    Surplus,
}

impl EvictReason {
    /// Every reason, in alphabetical order.
    pub const ALL: &'static [Self] = &Self::EACH;

    pub(crate) const EACH: [Self; 17] = [
        Self::Broken,
        Self::CheckFailed,
        Self::Cleared,
        Self::Closed,
        Self::Discarded,
        Self::HookFailed,
        Self::IdleTimeout,
        Self::Interrupted,
        Self::Late,
        Self::MadeRoom,
        Self::MaxLifetime,
        Self::MaxUses,
        Self::Panicked,
        Self::Rejected,
        Self::ResetFailed,
        Self::Shrunk,
        Self::Surplus,
    ];

    /// Returns the reason in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::CheckFailed => "check_failed",
            Self::Cleared => "cleared",
            Self::Closed => "closed",
            Self::Discarded => "discarded",
            Self::HookFailed => "hook_failed",
            Self::IdleTimeout => "idle_timeout",
            Self::Interrupted => "interrupted",
            Self::Late => "late",
            Self::MadeRoom => "made_room",
            Self::MaxLifetime => "max_lifetime",
            Self::MaxUses => "max_uses",
            Self::Panicked => "panicked",
            Self::Rejected => "rejected",
            Self::ResetFailed => "reset_failed",
            Self::Shrunk => "shrunk",
            Self::Surplus => "surplus",
        }
    }

    /// Returns the index of this reason in [`ALL`](Self::ALL).
    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for EvictReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_stands_at_its_index() {
        for (index, reason) in EvictReason::EACH.into_iter().enumerate() {
            assert_eq!(reason.index(), index);
        }
    }

    #[test]
    fn display_is_the_name_in_snake_case() {
        for reason in EvictReason::EACH {
            let mut snake = String::new();
            for letter in format!("{reason:?}").chars() {
                if letter.is_uppercase() && !snake.is_empty() {
                    snake.push('_');
                }
                snake.push(letter.to_ascii_lowercase());
            }
            assert_eq!(reason.to_string(), snake);
        }
    }
}
