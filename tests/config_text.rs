//! Settings from text: what is read, what is refused and in which words, one source over another,
//! and the settings that services of several kinds use, each built into a pool and tried.

mod common;

#[path = "config/layers.rs"]
mod layers;
#[path = "config/presets.rs"]
mod presets;
#[path = "config/reading.rs"]
mod reading;
#[path = "config/refusals.rs"]
mod refusals;
#[path = "config/round_trip.rs"]
mod round_trip;

use conpool::PoolConfig;

fn toml(text: &str) -> PoolConfig {
    toml::from_str(text).unwrap_or_else(|error| panic!("{error}"))
}

fn yaml(text: &str) -> PoolConfig {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}"))
}

fn json(text: &str) -> PoolConfig {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}"))
}
