//! Converts the type of each setting from and to a plain value.

use super::{
    duration,
    spelling::normalised,
    value::{
        Rule,
        Value::{self, Bool, Null, Ratio, Table, Text, Whole, Word},
    },
};
use crate::config::{Fairness, HealthCheck, IdleOrder, LeakAction, OnSuspend};
use std::time::Duration;

pub(super) trait SettingValue: Sized {
    fn read(value: &Value) -> Result<Self, Rule>;
    /// Returns a value that `read` accepts.
    fn show(&self) -> Value;
}

impl SettingValue for String {
    fn read(value: &Value) -> Result<Self, Rule> {
        match value {
            Text(text) | Word(text) => Ok(text.clone()),
            _ => Err("must be text".into()),
        }
    }

    fn show(&self) -> Value {
        Text(self.clone())
    }
}

impl SettingValue for bool {
    fn read(value: &Value) -> Result<Self, Rule> {
        match value {
            Bool(value) => Ok(*value),
            Word(word) => match word.as_str() {
                "true" | "1" => Ok(true),
                "false" | "0" => Ok(false),
                _ => Err("must be true, false, 1 or 0".into()),
            },
            _ => Err("must be true or false".into()),
        }
    }

    fn show(&self) -> Value {
        Bool(*self)
    }
}

impl SettingValue for f64 {
    fn read(value: &Value) -> Result<Self, Rule> {
        match value {
            Ratio(value) => Some(*value),
            Whole(value) => Some(*value as f64),
            Word(word) => word.parse().ok(),
            _ => None,
        }
        .ok_or("must be a number".into())
    }

    fn show(&self) -> Value {
        Ratio(*self)
    }
}

impl SettingValue for usize {
    fn read(value: &Value) -> Result<Self, Rule> {
        count(value)
    }

    fn show(&self) -> Value {
        Whole(*self as i128)
    }
}

/// The type of `max_uses`.
impl SettingValue for Option<u64> {
    fn read(value: &Value) -> Result<Self, Rule> {
        match word(value).as_deref() {
            Some("never" | "none" | "unlimited") => Ok(None),
            _ if *value == Null => Ok(None),
            _ => count(value).map(Some),
        }
    }

    fn show(&self) -> Value {
        self.map_or(Text("never".into()), |uses| Whole(uses.into()))
    }
}

/// The type of `max_waiters`.
impl SettingValue for Option<usize> {
    fn read(value: &Value) -> Result<Self, Rule> {
        match word(value).as_deref() {
            Some("never") => Err(r#"is ambiguous: 0 never queues, "unlimited" is no limit"#.into()),
            Some("none" | "unlimited") => Ok(None),
            _ if *value == Null => Ok(None),
            _ => count(value).map(Some),
        }
    }

    fn show(&self) -> Value {
        self.map_or(Text("unlimited".into()), |waiters| waiters.show())
    }
}

impl SettingValue for Duration {
    fn read(value: &Value) -> Result<Self, Rule> {
        match (value, word(value).as_deref()) {
            (_, Some("unlimited" | "forever")) => Ok(Duration::MAX),
            (_, Some("never" | "none")) => {
                Err(r#"cannot be switched off; "unlimited" stands for no limit"#.into())
            }
            (Text(text) | Word(text), _) => duration::parse(text),
            (Whole(0), _) => Ok(Duration::ZERO),
            (Whole(..0), _) => Err("must not be negative".into()),
            (Whole(number), _) => Err(duration::needs_unit(number)),
            (Ratio(number), _) => Err(duration::needs_unit(number)),
            _ => Err(r#"must be a duration, such as "30s" or "1h30m""#.into()),
        }
    }

    fn show(&self) -> Value {
        Text(match *self {
            Duration::MAX => "unlimited".into(),
            shorter => duration::format(shorter),
        })
    }
}

impl SettingValue for Option<Duration> {
    fn read(value: &Value) -> Result<Self, Rule> {
        match word(value).as_deref() {
            Some("never" | "none") => Ok(None),
            _ if *value == Null => Ok(None),
            _ => Duration::read(value).map(Some),
        }
    }

    fn show(&self) -> Value {
        self.map_or(Text("never".into()), |duration| duration.show())
    }
}

impl SettingValue for HealthCheck {
    fn read(value: &Value) -> Result<Self, Rule> {
        match word(value).as_deref() {
            Some("never") => Ok(Self::Never),
            Some("on_checkout") => Ok(Self::OnCheckout),
            _ => duration_or(
                value,
                "after_idle",
                r#"must be "never", "on_checkout" or an idle time such as "500ms" or { after_idle = "500ms" }"#,
            )
            .map(Self::AfterIdle),
        }
    }

    fn show(&self) -> Value {
        match self {
            Self::Never => Text("never".into()),
            Self::OnCheckout => Text("on_checkout".into()),
            Self::AfterIdle(idle) => idle.show(),
        }
    }
}

impl SettingValue for Fairness {
    fn read(value: &Value) -> Result<Self, Rule> {
        match word(value).as_deref() {
            Some("strict") => Ok(Self::Strict),
            _ => duration_or(
                value,
                "eventual",
                r#"must be "strict" or a bound such as "500us" or { eventual = "500us" }"#,
            )
            .map(Self::Eventual),
        }
    }

    fn show(&self) -> Value {
        match self {
            Self::Strict => Text("strict".into()),
            Self::Eventual(bound) => bound.show(),
        }
    }
}

impl SettingValue for IdleOrder {
    fn read(value: &Value) -> Result<Self, Rule> {
        match word(value).as_deref() {
            Some("sticky") => Ok(Self::Sticky),
            Some("fifo") => Ok(Self::Fifo),
            _ => Err(r#"must be "sticky" or "fifo""#.into()),
        }
    }

    fn show(&self) -> Value {
        Text(match self {
            Self::Sticky => "sticky".into(),
            Self::Fifo => "fifo".into(),
        })
    }
}

impl SettingValue for LeakAction {
    fn read(value: &Value) -> Result<Self, Rule> {
        match word(value).as_deref() {
            Some("report") => Ok(Self::Report),
            _ => duration_or(
                value,
                "interrupt",
                r#"must be "report" or a time after the checkout such as "5m" or { interrupt = "5m" }"#,
            )
            .map(|after| Self::Interrupt { after }),
        }
    }

    fn show(&self) -> Value {
        match self {
            Self::Report => Text("report".into()),
            Self::Interrupt { after } => after.show(),
        }
    }
}

impl SettingValue for OnSuspend {
    fn read(value: &Value) -> Result<Self, Rule> {
        match word(value).as_deref() {
            Some("wait") => Ok(Self::Wait),
            Some("fail") => Ok(Self::Fail),
            _ => Err(r#"must be "wait" or "fail""#.into()),
        }
    }

    fn show(&self) -> Value {
        Text(match self {
            Self::Wait => "wait".into(),
            Self::Fail => "fail".into(),
        })
    }
}

/// Reads a duration, alone or as the only entry of a table. `rule` is the error for a value that does not
/// look like a duration.
fn duration_or(value: &Value, key: &str, rule: &'static str) -> Result<Duration, Rule> {
    let looks_like_one = match value {
        Table(entries) => {
            return match entries.as_slice() {
                [(only, value)] if normalised(only) == key => Duration::read(value)
                    .map_err(|rule| format!("with {key} = {value:?}: {rule}").into()),
                _ => Err(rule.into()),
            };
        }
        Text(text) | Word(text) => {
            text.trim_start()
                .starts_with(|c: char| c.is_ascii_digit() || c == '-')
                || matches!(word(value).as_deref(), Some("unlimited" | "forever"))
        }
        other => matches!(other, Whole(_) | Ratio(_)),
    };
    if looks_like_one {
        Duration::read(value)
    } else {
        Err(rule.into())
    }
}

fn count<N: TryFrom<i128>>(value: &Value) -> Result<N, Rule> {
    let number = match value {
        Whole(number) => Some(*number),
        Word(word) => word.parse().ok(),
        _ => None,
    };
    match number {
        None => Err("must be a whole number".into()),
        Some(..0) => Err("must not be negative".into()),
        Some(number) => N::try_from(number).map_err(|_| "is too large".into()),
    }
}

/// Returns text in the normalised spelling, in which keywords are compared.
fn word(value: &Value) -> Option<String> {
    match value {
        Text(text) | Word(text) => Some(normalised(text.trim())),
        _ => None,
    }
}
