//! Pools over sockets: the Conbus manager, Unix sockets, proxies, and networks that fail.

#[path = "../bridge/mod.rs"]
mod bridge;
#[path = "../common/mod.rs"]
mod common;
#[path = "mod.rs"]
mod network;
#[cfg(target_os = "linux")]
#[path = "../common/process.rs"]
mod process;
#[path = "../support/mod.rs"]
mod support;
#[cfg(target_os = "linux")]
mod wire;

mod conbus_emulator;
mod conbus_end_to_end;
mod conbus_socket_manager;
mod conbus_socket_probe;
mod conbus_telegrams;
mod network_connect;
mod network_faults;
mod network_namespaces;
mod network_proxy;
mod network_restart;
mod network_stale;
mod socket_checks;
mod unix_socket;
