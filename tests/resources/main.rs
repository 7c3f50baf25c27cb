//! Threads, descriptors, memory and wake-ups. A test that counts what belongs to the whole process starts
//! itself again in a process of its own.

#![cfg(target_os = "linux")]

#[path = "../common/mod.rs"]
mod common;
#[path = "mod.rs"]
mod resources;
#[path = "../rest/mod.rs"]
mod rest;
#[path = "../support/mod.rs"]
mod support;

mod conbus_socket_descriptors;
mod keyed_memory;
mod resources_cycles;
mod resources_descriptors;
mod resources_forgotten;
mod resources_scenarios;
mod resources_threads;
mod rest_idle;
mod rest_scans;
mod rest_waiters;
