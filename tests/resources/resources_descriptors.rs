//! Descriptors: the pool at their limit, and their inheritance by child processes.

#![cfg(target_os = "linux")]

use crate::common;
use crate::resources;
use crate::support;

use common::{SOON, assert_at, eventually, ms, quick_backoff, take, timed};
use conpool::{BuildError, ConbusSocketManager, GetError, Pool, PoolBuilder, PooledConnection};
use resources::{limits::FewDescriptors, process, usage::Usage};
use std::{
    error::Error, fs, io, net::TcpStream, os::fd::OwnedFd, os::unix::net::UnixStream,
    process::Command,
};
use support::{client, emulator::Emulator};

const SERIAL: u64 = 1_013_010_000;

/// Runs `body` with the bridge in another process, so that a limit here does not affect it.
fn with_bridge_in_other_process(body: impl FnOnce(&str)) {
    if let Some(address) = process::argument() {
        return body(&address);
    }
    let bridge = Emulator::builder().max_clients(64).start().unwrap();
    process::run(&bridge.addr().to_string());
    assert!(bridge.wait_for(|seen| seen.open == 0, SOON));
    assert_eq!(bridge.counters().refused, 0);
}

fn sockets(name: &str) -> PoolBuilder<ConbusSocketManager> {
    Pool::builder()
        .name(name)
        .max_size(4)
        .backoff(quick_backoff())
}

/// The system's error at the end of the chain.
fn system_error(error: &(dyn Error + 'static)) -> Option<i32> {
    let deeper = error.source().and_then(system_error);
    let here = error.downcast_ref::<io::Error>();
    deeper.or_else(|| here.and_then(io::Error::raw_os_error))
}

/// A manager whose connections take one descriptor each.
fn with_one_descriptor(address: &str) -> ConbusSocketManager {
    ConbusSocketManager::builder(address)
        .interruptible(false)
        .build()
}

#[track_caller]
fn too_many_files(error: &(dyn Error + 'static)) {
    let wanted = rustix::io::Errno::MFILE.raw_os_error();
    assert_eq!(system_error(error), Some(wanted), "{error:?}");
}

fn works(connection: &mut TcpStream) {
    client::read_temperature(connection, SERIAL, SOON).unwrap();
}

#[test]
fn without_a_descriptor_the_pool_goes_on_at_the_size_it_has_and_grows_when_there_are_some() {
    with_bridge_in_other_process(|address| {
        let _ = common::noise();
        let before = Usage::now();
        let pool = sockets("emfile")
            .build(with_one_descriptor(address))
            .unwrap();
        let few = FewDescriptors::begin(1);
        // One is open, one more can be.
        let mut held = take(&pool, 2);
        let (result, took) = timed(|| pool.get_timeout(ms(60)));
        assert_at(took, ms(60));
        let error = result.unwrap_err();
        assert!(error.is_timeout(), "{error}");
        too_many_files(error.last_create_error().unwrap());
        let stats = pool.stats();
        assert_eq!((stats.in_use, stats.max_size), (2, 4), "{stats}");
        assert!(stats.create_errors >= 1, "{stats}");
        held.iter_mut().for_each(|connection| works(connection));

        // The existing size still serves, and a discarded connection can be replaced.
        drop(held.pop());
        works(&mut pool.get_timeout(SOON).unwrap());
        PooledConnection::discard(held.pop().unwrap());
        held = take(&pool, 2);
        held.iter_mut().for_each(|connection| works(connection));

        // The next create after the limit serves the waiter.
        let ((), waited) = timed(|| {
            std::thread::scope(|scope| {
                let waiter = scope.spawn(|| works(&mut pool.get_timeout(SOON).unwrap()));
                common::queued(&pool, 1);
                drop(few);
                waiter.join().unwrap();
            });
        });
        assert!(waited < SOON, "{waited:?}");
        held.extend(take(&pool, 2));
        assert_eq!(pool.stats().in_use, 4);
        held.iter_mut().for_each(|connection| works(connection));
        drop(held);
        pool.close_timeout(SOON).unwrap();
        drop(pool);
        before.is_restored("the limit is gone");
    });
}

/// The second descriptor is only for interrupts.
#[test]
fn without_a_second_descriptor_a_connection_works_and_cannot_be_interrupted() {
    with_bridge_in_other_process(|address| {
        let _ = common::noise();
        let pool = sockets("onefile")
            .build_lazy(ConbusSocketManager::new(address))
            .unwrap();
        let few = FewDescriptors::begin(1);
        let mut held = pool.get_timeout(SOON).unwrap();
        works(&mut held);
        assert!(!pool.interrupt(PooledConnection::info(&held).id));
        PooledConnection::discard(held);
        drop(few);
        let held = pool.get_timeout(SOON).unwrap();
        assert!(pool.interrupt(PooledConnection::info(&held).id));
        drop(held);
        pool.close_timeout(SOON).unwrap();
    });
}

#[test]
fn with_nothing_open_the_want_of_a_descriptor_is_told_at_once() {
    with_bridge_in_other_process(|address| {
        let _ = common::noise();
        let before = Usage::now();
        let few = FewDescriptors::begin(0);
        let manager = || ConbusSocketManager::new(address);
        let error = sockets("nofiles").build(manager()).unwrap_err();
        assert!(matches!(error, BuildError::Create { .. }), "{error:?}");
        too_many_files(&error);

        let pool = sockets("nofiles").build_lazy(manager()).unwrap();
        let (result, took) = timed(|| pool.get_timeout(SOON));
        let error = result.unwrap_err();
        assert!(took < SOON / 2, "{took:?}");
        assert!(matches!(error, GetError::Create { .. }), "{error:?}");
        too_many_files(&error);
        assert_eq!(pool.stats().size, 0, "{}", pool.stats());

        drop(few);
        works(&mut pool.get_timeout(SOON).unwrap());
        pool.close_timeout(SOON).unwrap();
        drop(pool);
        before.is_restored("the limit is gone");
    });
}

#[test]
fn a_name_that_could_not_be_looked_up_without_a_descriptor_is_looked_up_again() {
    with_bridge_in_other_process(|address| {
        let _ = common::noise();
        let before = Usage::now();
        let port = address.rsplit(':').next().unwrap();
        // All on this thread: the resolver caches a failure per thread.
        let pool = sockets("nonames")
            .background_collector(false)
            .build_lazy(ConbusSocketManager::new(format!("localhost:{port}")))
            .unwrap();
        let few = FewDescriptors::begin(0);
        let error = pool.get_timeout(SOON).unwrap_err();
        assert!(matches!(error, GetError::Create { .. }), "{error:?}");
        drop(few);
        works(&mut pool.get_timeout(SOON).unwrap());
        pool.close_timeout(SOON).unwrap();
        drop(pool);
        before.is_restored("the limit is gone");
    });
}

/// The sockets among the descriptors of this process, as `socket:[inode]`.
fn my_sockets() -> Vec<String> {
    let entries = fs::read_dir("/proc/self/fd").unwrap();
    entries
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .map(|link| link.to_string_lossy().into_owned())
        .filter(|link| link.starts_with("socket:"))
        .collect()
}

#[test]
fn a_program_that_is_started_inherits_no_connection() {
    let bridge = Emulator::builder().max_clients(8).start().unwrap();
    let pool = sockets("heir")
        .build(ConbusSocketManager::new(bridge.addr().to_string()))
        .unwrap();
    let held = take(&pool, 3);
    let mine = my_sockets();
    assert!(mine.len() >= 3, "{mine:?}");

    // One socket is inherited on purpose, to show that the child would list the others.
    let (given, _other) = UnixStream::pair().unwrap();
    let listing = Command::new("ls")
        .args(["-l", "/proc/self/fd"])
        .stdin(OwnedFd::from(given))
        .output()
        .unwrap();
    let listing = String::from_utf8(listing.stdout).unwrap();
    assert_eq!(listing.matches("socket:").count(), 1, "{listing}");
    for socket in &mine {
        assert!(!listing.contains(socket.as_str()), "{socket} in {listing}");
    }
    drop(held);
    pool.close_timeout(SOON).unwrap();
    eventually(|| bridge.counters().open == 0);
}
