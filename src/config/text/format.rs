//! Reads and writes settings in the formats that serde supports.

use super::{names::SETTINGS, overlay::Overlay, value::Value};
use crate::config::PoolConfig;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeSeed, Error as _, MapAccess, Visitor},
};
use std::fmt;

impl PoolConfig {
    /// Applies the settings of a further source over this configuration. A setting that the source does not
    /// name keeps its value, also within `backoff`.
    ///
    /// Sources can have different formats and use different names for one setting; the later source wins.
    /// Needs the feature `serde`.
    ///
    /// # Errors
    ///
    /// Returns an error if the source is not a table of settings, or if the resulting configuration is not
    /// valid.
    ///
    /// # Example
    ///
    /// ```
    /// use conpool::PoolConfig;
    /// use serde_json::json;
    ///
    /// let base: PoolConfig = serde_json::from_str(r#"{ "max_size": 20, "min_idle": 2 }"#)?;
    /// let config = base.overlay(json!({ "max_connections": 50 }))?;
    /// assert_eq!((config.max_size, config.min_idle), (50, 2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn overlay<'de, D: Deserializer<'de>>(self, source: D) -> Result<Self, D::Error> {
        source.deserialize_map(Settings(Overlay::over(self)))
    }
}

impl<'de> Deserialize<'de> for PoolConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::default().overlay(deserializer)
    }
}

impl Serialize for PoolConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut entries: Vec<(&str, Value)> = Vec::new();
        let mut tables: Vec<(&str, Vec<(String, Value)>)> = Vec::new();
        for setting in &SETTINGS {
            let value = (setting.get)(self);
            match setting.name.split_once('.') {
                // Some formats have no null, so the key is left out.
                None if value == Value::Null => {}
                None => entries.push((setting.name, value)),
                Some((table, part)) => {
                    let part = (part.to_owned(), value);
                    match tables.last_mut() {
                        Some((last, parts)) if *last == table => parts.push(part),
                        _ => tables.push((table, vec![part])),
                    }
                }
            }
        }
        // Tables come last, as formats with headings such as TOML require.
        let tables = tables
            .into_iter()
            .map(|(name, parts)| (name, Value::Table(parts)));
        serializer.collect_map(entries.into_iter().chain(tables))
    }
}

struct Settings(Overlay);

impl<'de> Visitor<'de> for Settings {
    type Value = PoolConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of pool settings")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<PoolConfig, A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            let overlay = &mut self.0;
            map.next_value_seed(Entry { overlay, key: &key })?;
        }
        self.0.finish().map_err(A::Error::custom)
    }
}

/// One entry, set while the format still knows its position, so that an error can name the line.
struct Entry<'a> {
    overlay: &'a mut Overlay,
    key: &'a str,
}

impl<'de> DeserializeSeed<'de> for Entry<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let value = Value::deserialize(deserializer)?;
        self.overlay.set(self.key, &value).map_err(D::Error::custom)
    }
}
