//! Sends events to `tracing`.

use super::PoolEvent;
use crate::foreign::with_causes;
use tracing::{debug, error, trace, warn};

impl PoolEvent {
    /// Sends this event to `tracing`. `more` is the number of events of this kind that were suppressed since
    /// the last line. The target is a literal in every call, because each call is a static callsite: without
    /// a subscriber it costs one comparison.
    pub(crate) fn trace(&self, more: Option<u64>) {
        let pool = self.pool();
        match self {
            Self::Created { id, took, .. } => {
                debug!(target: "conpool", pool, id, ?took, "connection created");
            }
            Self::CreateFailed {
                error,
                transient,
                took,
                ..
            } => {
                // The error is written as a text, because a subscriber that writes JSON omits the causes of
                // an error.
                warn!(target: "conpool", pool, error = with_causes(&**error), transient, ?took, more, "create failed");
            }
            Self::CheckedOut { id, waited, .. } => {
                trace!(target: "conpool", pool, id, ?waited, "connection checked out");
            }
            Self::CheckedIn { id, held, .. } => {
                trace!(target: "conpool", pool, id, ?held, "connection checked in");
            }
            Self::Evicted {
                id,
                reason,
                age,
                uses,
                ..
            } => {
                debug!(target: "conpool", pool, id, %reason, ?age, uses, "connection evicted");
            }
            Self::TimedOut {
                waited, waiters, ..
            } => {
                warn!(target: "conpool", pool, ?waited, waiters, more, "no connection in time");
            }
            Self::LeakSuspected {
                id,
                file,
                line,
                thread,
                held,
                ..
            } => {
                warn!(target: "conpool", pool, id, file, line, thread, ?held, "connection held for long");
            }
            Self::LeakResolved {
                id,
                file,
                line,
                thread,
                held,
                ..
            } => {
                debug!(target: "conpool", pool, id, file, line, thread, ?held, "connection held for long came back");
            }
            Self::Panicked { hook, message, .. } => {
                // `tracing` reserves the field `message` for the text of the event.
                error!(target: "conpool", pool, hook, panic = message, "hook panicked");
            }
            Self::Cleared { generation, .. } => {
                debug!(target: "conpool", pool, generation, "pool cleared");
            }
            Self::Interrupted { id, .. } => {
                debug!(target: "conpool", pool, id, "connection interrupted");
            }
            Self::WaitersCleared { waiters, .. } => {
                debug!(target: "conpool", pool, waiters, "waits ended");
            }
            Self::Resized {
                max_size, min_idle, ..
            } => {
                debug!(target: "conpool", pool, max_size, min_idle, "pool resized");
            }
            Self::Suspended { .. } => debug!(target: "conpool", pool, "pool suspended"),
            Self::Resumed { .. } => debug!(target: "conpool", pool, "pool resumed"),
            Self::Closed { .. } => debug!(target: "conpool", pool, "pool closed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EvictReason;
    use std::{
        collections::BTreeMap,
        fmt, io,
        sync::{Arc, Mutex},
        time::{Duration, Instant},
    };
    use tracing::{
        Event, Level, Metadata, Subscriber,
        field::{Field, Visit},
        span,
    };

    #[derive(Debug)]
    struct Line {
        level: Level,
        target: String,
        fields: BTreeMap<&'static str, String>,
    }

    /// A subscriber that collects every event of its thread.
    #[derive(Clone, Default)]
    struct Listener(Arc<Mutex<Vec<Line>>>);

    impl Subscriber for Listener {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }
        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn event(&self, event: &Event<'_>) {
            let mut fields = Fields::default();
            event.record(&mut fields);
            self.0.lock().unwrap().push(Line {
                level: *event.metadata().level(),
                target: event.metadata().target().to_owned(),
                fields: fields.0,
            });
        }
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

    #[derive(Default)]
    struct Fields(BTreeMap<&'static str, String>);

    impl Visit for Fields {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            self.0.insert(field.name(), format!("{value:?}"));
        }
        fn record_str(&mut self, field: &Field, value: &str) {
            self.0.insert(field.name(), value.to_owned());
        }
    }

    fn traced(event: &PoolEvent) -> Line {
        let listener = Listener::default();
        tracing::subscriber::with_default(listener.clone(), || event.trace(None));
        let mut lines = listener.0.lock().unwrap();
        assert_eq!(lines.len(), 1, "one line per event: {lines:?}");
        lines.remove(0)
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn pool() -> Arc<str> {
        "orders".into()
    }

    fn leak(resolved: bool) -> PoolEvent {
        let (pool, id, file, line) = (pool(), 7, "src/job.rs", 42);
        let (thread, since, held) = ("worker".to_owned(), Instant::now(), SECOND);
        if resolved {
            PoolEvent::LeakResolved {
                pool,
                id,
                file,
                line,
                thread,
                since,
                held,
            }
        } else {
            PoolEvent::LeakSuspected {
                pool,
                id,
                file,
                line,
                thread,
                since,
                held,
            }
        }
    }

    #[allow(clippy::too_many_lines, reason = "one entry for each event")]
    fn every_event() -> Vec<(Level, &'static str, PoolEvent)> {
        use PoolEvent as P;
        let (id, took, waited, held) = (7, SECOND, SECOND, SECOND);
        let refused = io::Error::other("refused");
        vec![
            (
                Level::DEBUG,
                "id took",
                P::Created {
                    pool: pool(),
                    id,
                    took,
                },
            ),
            (
                Level::WARN,
                "error took transient",
                P::CreateFailed {
                    pool: pool(),
                    error: Arc::new(refused),
                    transient: true,
                    took,
                },
            ),
            (
                Level::TRACE,
                "id waited",
                P::CheckedOut {
                    pool: pool(),
                    id,
                    waited,
                },
            ),
            (
                Level::TRACE,
                "held id",
                P::CheckedIn {
                    pool: pool(),
                    id,
                    held,
                },
            ),
            (
                Level::DEBUG,
                "age id reason uses",
                P::Evicted {
                    pool: pool(),
                    id,
                    reason: EvictReason::Late,
                    age: SECOND,
                    uses: 3,
                },
            ),
            (
                Level::WARN,
                "waited waiters",
                P::TimedOut {
                    pool: pool(),
                    waited,
                    waiters: 2,
                },
            ),
            (Level::WARN, "file held id line thread", leak(false)),
            (Level::DEBUG, "file held id line thread", leak(true)),
            (
                Level::ERROR,
                "hook panic",
                P::Panicked {
                    pool: pool(),
                    hook: "create",
                    message: "boom".into(),
                },
            ),
            (
                Level::DEBUG,
                "generation",
                P::Cleared {
                    pool: pool(),
                    generation: 2,
                },
            ),
            (
                Level::DEBUG,
                "max_size min_idle",
                P::Resized {
                    pool: pool(),
                    max_size: 5,
                    min_idle: 1,
                },
            ),
            (
                Level::DEBUG,
                "id",
                P::Interrupted {
                    pool: pool(),
                    id: 7,
                },
            ),
            (
                Level::DEBUG,
                "waiters",
                P::WaitersCleared {
                    pool: pool(),
                    waiters: 3,
                },
            ),
            (Level::DEBUG, "", P::Suspended { pool: pool() }),
            (Level::DEBUG, "", P::Resumed { pool: pool() }),
            (Level::DEBUG, "", P::Closed { pool: pool() }),
        ]
    }

    #[test]
    fn every_event_has_its_target_level_pool_and_fields() {
        for (level, fields, event) in every_event() {
            let line = traced(&event);
            assert_eq!(line.target, "conpool");
            assert_eq!(line.level, level, "{event:?}");
            assert_eq!(line.fields["pool"], "orders");
            let others: Vec<_> = (line.fields.keys().copied())
                .filter(|field| !["pool", "message"].contains(field))
                .collect();
            assert_eq!(others.join(" "), fields, "{event:?}");
        }
    }

    #[test]
    fn values_arrive_as_they_are() {
        let evicted = traced(&PoolEvent::Evicted {
            pool: pool(),
            id: 7,
            reason: EvictReason::IdleTimeout,
            age: SECOND,
            uses: 3,
        });
        assert_eq!(evicted.fields["reason"], "idle_timeout");
        assert_eq!(evicted.fields["age"], "1s");
        assert_eq!(evicted.fields["uses"], "3");
        assert_eq!(evicted.fields["message"], "connection evicted");
    }

    /// An error whose own text lacks the cause, as with many drivers.
    #[derive(Debug)]
    struct DbError(io::Error);

    impl fmt::Display for DbError {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("db error")
        }
    }

    impl std::error::Error for DbError {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn the_error_of_a_create_arrives_with_its_causes() {
        let failed = traced(&PoolEvent::CreateFailed {
            pool: pool(),
            error: Arc::new(DbError(io::Error::other("refused"))),
            transient: false,
            took: SECOND,
        });
        assert_eq!(failed.fields["error"], "db error: refused");
    }
}
