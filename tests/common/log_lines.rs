//! A tracing subscriber that keeps the events of the crate. Apart from the other helpers, because not every
//! package of tests has tracing.

#![allow(
    dead_code,
    reason = "every test file uses its own part of these helpers"
)]

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber, span};

#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) at: Instant,
    pub(crate) level: Level,
    pub(crate) fields: BTreeMap<&'static str, String>,
}

impl Line {
    pub(crate) fn message(&self) -> &str {
        &self.fields["message"]
    }
}

/// The events of every pool of this process: a pool's own threads emit them.
#[derive(Clone)]
pub(crate) struct Lines {
    max_level: Level,
    lines: Arc<Mutex<Vec<Line>>>,
}

impl Lines {
    /// The lines of the process, up to the level of the first call.
    pub(crate) fn global(max_level: Level) -> Self {
        static LINES: OnceLock<Lines> = OnceLock::new();
        let lines = LINES.get_or_init(|| {
            let lines = Self {
                max_level,
                lines: Arc::default(),
            };
            tracing::subscriber::set_global_default(lines.clone()).unwrap();
            lines
        });
        lines.clone()
    }

    /// The lines of this pool.
    pub(crate) fn of(&self, pool: &str) -> Vec<Line> {
        let lines = self.lines.lock().unwrap();
        let of_pool = |line: &&Line| line.fields.get("pool").is_some_and(|name| name == pool);
        lines.iter().filter(of_pool).cloned().collect()
    }

    /// The lines of this pool with this message.
    pub(crate) fn with_message(&self, pool: &str, message: &str) -> Vec<Line> {
        let mut lines = self.of(pool);
        lines.retain(|line| line.message() == message);
        lines
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.max_level && metadata.target() == "conpool"
    }
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.max_level.into())
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let line = Line {
            at: Instant::now(),
            level: *event.metadata().level(),
            fields: fields.0,
        };
        self.lines.lock().unwrap().push(line);
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
