//! Settings from text: accepted values, refused values with their messages, layers of sources, and typical
//! settings of several kinds of services, each built into a pool and tried.

#[path = "../common/mod.rs"]
mod common;

mod layers;
mod presets;
mod reading;
mod refusals;
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
