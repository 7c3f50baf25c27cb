//! The promises of a pool and of keyed pools, a module each.

mod chaos;
#[path = "../common/mod.rs"]
mod common;
mod faults;
#[path = "../keyed/mod.rs"]
mod keyed;
#[path = "../common/log_lines.rs"]
mod log_lines;
mod model;
#[cfg(target_os = "linux")]
#[path = "../common/process.rs"]
mod process;

mod background_checks;
mod builder;
mod clear_retain_add;
mod clear_waiters;
mod close;
mod debug;
mod edge_cases;
mod errors;
mod events;
mod events_order;
mod fail_fast;
mod failing_hooks;
mod fault_product;
mod foreign_code;
mod guard;
mod handles;
mod health;
mod health_state;
mod holders;
mod idle_order;
mod interact;
mod interrupt;
mod keyed_faults;
mod keyed_hints;
mod keyed_keys;
mod keyed_min_idle;
mod keyed_operations;
mod keyed_pool;
mod keyed_settings;
mod keyed_tasks;
mod keyed_total;
mod leaks;
mod load_spike;
mod manual_clock;
mod max_idle;
mod max_waiters;
mod model_based;
mod model_regressions;
mod no_collector;
mod no_collector_stress;
mod peers_closing;
mod peers_counting;
mod peers_failing;
mod peers_growing;
mod peers_lifetime;
mod peers_settings;
mod peers_waiting;
mod promise_1_deadline;
mod promise_2_order;
mod promise_3_growth;
mod promise_4_failure;
mod promise_5_never_stale;
mod promise_6_cap;
mod promise_7_conservation;
mod races;
mod ready;
mod reconfigure;
mod recovery;
mod refill_stress;
mod registry;
mod reset;
mod resize;
mod stats;
mod stats_windows;
mod stats_windows_pools;
mod stress;
mod suspend;
mod sweep;
mod tasks;
mod traits;
mod zero_waits;
