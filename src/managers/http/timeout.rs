//! The timeout of one request, from its sending to the last byte of the response.

use std::{
    io::{self, ErrorKind},
    time::Duration,
};

use super::{HttpError, HttpOrigin, HttpPhase, wire::Deadline};
use crate::managers::limit::now;

#[derive(Debug, Clone, Copy)]
pub(super) struct RequestTimeout {
    deadline: Deadline,
    limit: Duration,
}

impl RequestTimeout {
    /// Starts the timeout now. A limit beyond the range of `Instant` means no limit.
    pub(super) fn start(limit: Duration) -> Self {
        Self {
            deadline: now().checked_add(limit),
            limit,
        }
    }

    pub(super) fn deadline(&self) -> Deadline {
        self.deadline
    }

    pub(super) fn is_over(&self) -> bool {
        self.deadline.is_some_and(|end| now() >= end)
    }

    /// Returns the deadline of a shorter wait, which is never later than the deadline of the request.
    pub(super) fn at_most(&self, wait: Duration) -> Deadline {
        match (now().checked_add(wait), self.deadline) {
            (Some(soon), Some(end)) => Some(soon.min(end)),
            (soon, end) => soon.or(end),
        }
    }

    /// Converts the error of a read or write.
    pub(super) fn failed(
        &self,
        origin: &HttpOrigin,
        phase: HttpPhase,
        source: io::Error,
    ) -> HttpError {
        let origin = origin.clone();
        // An error with an OS code comes from the system, which gave up the connection.
        if source.kind() == ErrorKind::TimedOut && source.raw_os_error().is_none() {
            let limit = self.limit;
            return HttpError::Timeout {
                origin,
                phase,
                limit,
            };
        }
        HttpError::Io {
            origin,
            phase,
            source,
        }
    }
}
