//! Threads, descriptors, memory and wake-ups. A test that counts resources of the whole process starts itself
//! again in a process of its own.

#![cfg(target_os = "linux")]

#[path = "../common/mod.rs"]
mod common;
#[path = "mod.rs"]
mod resources;
#[path = "../support/mod.rs"]
mod support;
#[path = "../wakeups/mod.rs"]
mod wakeups;

mod checkout_cost;
mod conbus_socket_descriptors;
mod idle_wakeups;
mod keyed_memory;
mod resources_after_use;
mod resources_cycles;
mod resources_descriptors;
mod resources_forgotten;
mod resources_threads;
mod waiter_wakeups;
