//! The table of settings, with their names and aliases.

use super::{
    setting_value::SettingValue,
    spelling::{normalised, slips},
    value::{Rule, Value},
};
use crate::config::PoolConfig;
use std::time::Duration;

/// A setting, or one part of `backoff`.
pub(super) struct Setting {
    /// The name in errors. A part of `backoff` is written with a dot.
    pub(super) name: &'static str,
    /// The names of this setting in other pools.
    aliases: &'static [&'static str],
    pub(super) set: fn(&mut PoolConfig, &Value) -> Result<(), Rule>,
    pub(super) get: fn(&PoolConfig) -> Value,
}

/// The name of the table whose parts are settings of their own.
pub(super) const BACKOFF: &str = "backoff";

macro_rules! setting {
    (backoff.$part:ident) => {
        setting!(@ concat!("backoff.", stringify!($part)), [], backoff.$part)
    };
    ($field:ident $(= $($alias:literal)|+)?) => {
        setting!(@ stringify!($field), [$($($alias),+)?], $field)
    };
    (@ $name:expr, $aliases:expr, $($place:ident).+) => {
        Setting {
            name: $name,
            aliases: &$aliases,
            set: |config, value| {
                config.$($place).+ = SettingValue::read(value)?;
                Ok(())
            },
            get: |config| config.$($place).+.show(),
        }
    };
}

/// All settings, in the order in which they are written.
pub(super) static SETTINGS: [Setting; 29] = [
    setting!(name),
    setting!(
        max_size =
            "max_connections" | "maximum_pool_size" | "max_open" | "max_per_host" | "max_per_key"
    ),
    Setting {
        // `Null` leaves the key out of the output.
        get: |config| config.max_total.map_or(Value::Null, |total| total.show()),
        set: |config, value| {
            config.max_total = Some(SettingValue::read(value)?);
            Ok(())
        },
        name: "max_total",
        aliases: &["total_max_size"],
    },
    setting!(min_idle = "min_connections" | "minimum_idle" | "min_size"),
    setting!(max_idle = "max_idle_connections" | "max_idle_conns" | "maximum_idle"),
    Setting {
        set: set_get_timeout,
        ..setting!(
            get_timeout =
                "acquire_timeout" | "connection_timeout" | "checkout_timeout" | "wait_timeout"
        )
    },
    setting!(idle_timeout = "max_idle_time" | "connection_idle_timeout"),
    setting!(max_lifetime = "connection_max_age" | "max_age" | "max_life_time"),
    setting!(lifetime_jitter),
    setting!(max_uses),
    setting!(health_check),
    setting!(check_timeout = "validation_timeout"),
    setting!(keepalive_interval = "health_check_interval" | "keepalive_time" | "check_interval"),
    setting!(create_timeout = "connect_timeout"),
    setting!(dispose_timeout),
    setting!(max_creating),
    setting!(fail_fast),
    setting!(max_waiters = "max_waiting"),
    setting!(fairness),
    setting!(leak_threshold = "leak_detection_threshold"),
    setting!(idle_order),
    setting!(leak_action),
    setting!(suspended),
    setting!(on_suspend),
    setting!(background_collector),
    setting!(backoff.initial),
    setting!(backoff.factor),
    setting!(backoff.max),
    setting!(backoff.jitter),
];

/// Sets `get_timeout`. "never" is refused, because it could mean "never wait" or "never time out".
fn set_get_timeout(config: &mut PoolConfig, value: &Value) -> Result<(), Rule> {
    let Some(timeout) = Option::<Duration>::read(value)? else {
        return Err(r#"is ambiguous: "0" never waits, "unlimited" waits for ever"#.into());
    };
    config.get_timeout = timeout;
    Ok(())
}

/// Finds a setting by its name or an alias, in any style of spelling.
///
/// Err carries the closest known name, if one is close.
pub(super) fn find(name: &str) -> Result<&'static Setting, Option<&'static str>> {
    let name = normalised(name);
    let names = || {
        SETTINGS.iter().flat_map(|setting| {
            let aliases = setting.aliases.iter().copied();
            aliases
                .chain([setting.name])
                .map(move |name| (setting, name))
        })
    };
    match names().find(|(_, known)| normalised(known) == name) {
        Some((setting, _)) => Ok(setting),
        None => Err(names()
            .filter_map(|(_, known)| Some((slips(&normalised(known), &name)?, known)))
            .min()
            .map(|(_, known)| known)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_name_stands_for_two_settings() {
        let mut seen = BTreeSet::from([BACKOFF.to_owned()]);
        for setting in &SETTINGS {
            for name in setting.aliases.iter().chain([&setting.name]) {
                assert!(seen.insert(normalised(name)), "{name}");
            }
        }
    }

    #[test]
    fn every_field_of_the_configuration_is_a_setting() {
        let shown = format!("{:#?}", PoolConfig::default());
        let mut fields = BTreeSet::new();
        let mut table = None;
        for line in shown.lines() {
            let name = line.trim_start();
            let indent = line.len() - name.len();
            let Some((name, value)) = name.split_once(": ") else {
                continue;
            };
            match indent {
                4 if value == "Backoff {" => table = Some(name),
                4 => {
                    table = None;
                    fields.insert(name.to_owned());
                }
                8 => fields.extend(table.map(|table| format!("{table}.{name}"))),
                _ => {}
            }
        }
        let settings = SETTINGS.iter().map(|setting| setting.name.to_owned());
        assert_eq!(settings.collect::<BTreeSet<_>>(), fields);
    }

    #[test]
    fn the_page_lists_every_name() {
        let page = include_str!("../../docs/settings.md");
        for setting in &SETTINGS {
            let (row, part) = setting.name.split_once('.').unwrap_or((setting.name, ""));
            let row = page
                .lines()
                .find(|line| line.starts_with(&format!("| `{row}` |")))
                .unwrap_or_else(|| panic!("{row} has no row"));
            for name in setting.aliases.iter().chain([&part]) {
                assert!(
                    name.is_empty() || row.contains(&format!("`{name}`")),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn a_slip_is_told_from_another_word() {
        let close = |name| match find(name) {
            Err(close) => close,
            Ok(_) => Some("known"),
        };
        for (name, expected) in [
            ("max_sise", Some("max_size")),
            ("maxsize", Some("max_size")),
            ("idel_timeout", Some("idle_timeout")),
            ("maxConections", Some("max_connections")),
            ("backoff.inital", Some("backoff.initial")),
            ("nmae", Some("name")),
            ("mx_size", Some("max_size")),
            ("write_timeout", None),
            ("max_idel", Some("max_idle")),
            ("dbname", None),
            ("password", None),
            ("url", None),
            ("backoff.backoff", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(close(name), expected, "{name}");
        }
    }
}
