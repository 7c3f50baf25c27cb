//! The timeout of one request, from its sending to the last byte of the response.

use std::{io, time::Duration};

use super::{HttpError, HttpOrigin, HttpPhase};
use crate::managers::{deadline::Deadline, timed::is_own_timeout};

#[derive(Debug, Clone, Copy)]
pub(super) struct RequestTimeout {
    pub(super) deadline: Deadline,
    limit: Duration,
}

impl RequestTimeout {
    /// Starts the timeout now.
    pub(super) fn start(limit: Duration) -> Self {
        Self {
            deadline: Deadline::after(limit),
            limit,
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
        if is_own_timeout(&source) {
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
