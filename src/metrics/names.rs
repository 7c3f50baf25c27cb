//! The names and units of the metrics.

use ::metrics::{Key, KeyName, Label, Metadata, Recorder, Unit};

/// The prefix of OpenTelemetry for the connection pools of database clients.
pub(super) const PREFIX: &str = "db.client.connection";

/// The metadata that a recorder may filter by. The level suits metrics worth keeping in production.
pub(super) static METADATA: Metadata<'static> =
    Metadata::new("conpool", ::metrics::Level::INFO, Some("conpool"));

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A metric without the prefix.
#[derive(Debug)]
pub(super) struct Name {
    suffix: &'static str,
    kind: Kind,
    help: &'static str,
}

macro_rules! names {
    ($($name:ident: $kind:ident $suffix:literal, $help:literal;)+) => {
        $(pub(super) const $name: Name = Name { suffix: $suffix, kind: Kind::$kind, help: $help };)+
        const ALL: &[Name] = &[$($name),+];
    };
}

names! {
    COUNT: Gauge "count", "Connections of the pool that are in the state.";
    IDLE_MAX: Gauge "idle.max", "The most connections that may be idle.";
    IDLE_MIN: Gauge "idle.min", "The idle connections that are kept ready.";
    MAX: Gauge "max", "The most connections that may be open.";
    PENDING_REQUESTS: Gauge "pending_requests", "Callers that wait for a connection.";
    TIMEOUTS: Counter "timeouts", "Callers that got no connection in time.";
    CREATE_TIME: Histogram "create_time", "How long it took to create a connection.";
    WAIT_TIME: Histogram "wait_time", "How long a caller waited for the connection it got.";
    USE_TIME: Histogram "use_time", "How long a connection was out.";

    // OpenTelemetry has no names for these.
    CREATING: Gauge "creating", "Creates under way.";
    DISPOSING: Gauge "disposing", "Connections on their way out that still hold their slot.";
    ABANDONED: Gauge "abandoned", "Hooks that outlived their timeout and have not returned.";
    EVICTIONS: Counter "evictions", "Connections that had to leave, by reason.";
    CREATE_ERRORS: Counter "create_errors", "Creates that failed, took too long or panicked.";
    SATURATED: Counter "saturated", "Callers refused because too many were waiting.";
    PANICS: Counter "panics", "Panics of hooks.";
    LEAKS: Counter "leaks", "Connections that were out for longer than the leak threshold.";
}

/// The metrics and attributes of one pool, and where they are registered.
pub(super) struct Register<'a> {
    pub(super) recorder: &'a dyn Recorder,
    pub(super) prefix: &'a str,
    pub(super) pool: &'a str,
}

impl Register<'_> {
    /// Describes the metrics of all pools to the recorder.
    pub(super) fn describe(&self) {
        for name in ALL {
            let (key, help) = (KeyName::from(self.full(name.suffix)), name.help.into());
            match name.kind {
                Kind::Counter => self.recorder.describe_counter(key, Some(Unit::Count), help),
                Kind::Gauge => self.recorder.describe_gauge(key, Some(Unit::Count), help),
                Kind::Histogram => {
                    self.recorder
                        .describe_histogram(key, Some(Unit::Seconds), help);
                }
            }
        }
    }

    pub(super) fn counter(&self, name: &Name) -> ::metrics::Counter {
        self.recorder
            .register_counter(&self.key(name, None), &METADATA)
    }

    pub(super) fn gauge(&self, name: &Name) -> ::metrics::Gauge {
        self.recorder
            .register_gauge(&self.key(name, None), &METADATA)
    }

    pub(super) fn histogram(&self, name: &Name) -> ::metrics::Histogram {
        self.recorder
            .register_histogram(&self.key(name, None), &METADATA)
    }

    pub(super) fn counter_for(&self, name: &Name, reason: &'static str) -> ::metrics::Counter {
        let key = self.key(name, Some(("reason", reason)));
        self.recorder.register_counter(&key, &METADATA)
    }

    pub(super) fn gauge_of(&self, name: &Name, state: &'static str) -> ::metrics::Gauge {
        let key = self.key(name, Some(("state", state)));
        self.recorder.register_gauge(&key, &METADATA)
    }

    fn key(&self, name: &Name, attribute: Option<(&str, &'static str)>) -> Key {
        let pool = Label::new(self.full("pool.name"), self.pool.to_owned());
        let attribute = attribute.map(|(key, value)| Label::new(self.full(key), value));
        let labels: Vec<Label> = [pool].into_iter().chain(attribute).collect();
        Key::from_parts(self.full(name.suffix), labels)
    }

    fn full(&self, suffix: &str) -> String {
        match self.prefix {
            "" => suffix.to_owned(),
            prefix => format!("{prefix}.{suffix}"),
        }
    }
}
