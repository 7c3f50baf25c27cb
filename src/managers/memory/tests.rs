use super::*;
use crate::ConnectionManager;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::Duration,
};

const SOON: Duration = Duration::from_secs(5);

#[test]
fn connections_are_numbered_from_one_and_share_a_store() {
    let manager = MemoryManager::new();
    let mut first = manager.create().unwrap();
    let mut second = manager.clone().create().unwrap();
    assert_eq!((first.id(), second.id()), (1, 2));
    assert_eq!(first.execute("SET k a b").unwrap(), "OK");
    assert_eq!(second.execute("GET k").unwrap(), "a b");
    assert_eq!(second.execute("GET nothing").unwrap(), "");
    assert_eq!(manager.counters().executed, 3);
}

#[test]
fn an_unknown_command_is_an_error_and_leaves_the_connection_good() {
    let manager = MemoryManager::new();
    let mut connection = manager.create().unwrap();
    for command in [
        "", "NOPE", "GET", "GET ", "GET a b", "SET k", "SET  v", "PING x",
    ] {
        let error = connection.execute(command).unwrap_err();
        assert!(matches!(error, MemoryError::Command { .. }), "{command:?}");
        assert!(!error.is_transient());
    }
    assert!(!manager.has_broken(&mut connection));
    assert_eq!(connection.execute("PING").unwrap(), "PONG");
}

#[test]
fn open_follows_the_values_and_not_the_calls() {
    let manager = MemoryManager::new();
    let kept = manager.create().unwrap();
    let dropped = manager.create().unwrap();
    drop(dropped);
    manager.panic(Hook::Dispose, 1);
    let third = manager.create().unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| manager.dispose(third))).is_err());
    let seen = manager.counters();
    assert_eq!(
        (seen.created, seen.disposed, seen.dropped_undisposed),
        (3, 1, 1)
    );
    assert_eq!((seen.open, seen.peak_open, seen.in_hook), (1, 2, 0));
    manager.dispose(kept);
    assert_eq!(manager.counters().open, 0);
}

#[test]
fn failures_come_as_often_as_asked_and_say_their_kind() {
    let manager = MemoryManager::new();
    manager.fail(Hook::Create, 7);
    manager.fail_transient(Hook::Create, 2);
    for _ in 0..2 {
        let error = manager.create().unwrap_err();
        assert!(error.is_transient() && manager.is_transient(&error));
    }
    let mut connection = manager.create().unwrap();
    manager.fail(Hook::Check, 1);
    manager.fail(Hook::Checkout, 1);
    manager.fail(Hook::Checkin, 1);
    manager.fail(Hook::HasBroken, 1);
    for healthy in [false, true] {
        assert_eq!(manager.check_aliveness(&mut connection).is_ok(), healthy);
        assert_eq!(manager.on_checkout(&mut connection).is_ok(), healthy);
        assert_eq!(manager.on_checkin(&mut connection).is_ok(), healthy);
        assert_eq!(!manager.has_broken(&mut connection), healthy);
    }
    let seen = manager.counters();
    assert_eq!(
        (seen.create_errors, seen.check_errors, seen.checked),
        (2, 1, 2)
    );
    assert_eq!((seen.checkouts, seen.checkins), (2, 2));
    assert_eq!(manager.calls(Hook::Create), 3);
}

#[test]
fn a_killed_connection_is_known_to_be_broken_only_after_a_command_failed() {
    let manager = MemoryManager::new();
    let mut connection = manager.create().unwrap();
    assert!(!manager.kill(2));
    assert!(manager.kill(1));
    assert!(!manager.kill(1));
    assert_eq!(manager.kill_all(), 0);
    manager.heal();
    let error = manager.check_aliveness(&mut connection).unwrap_err();
    assert_eq!(error.to_string(), "connection 1 is dead");
    assert!(!manager.has_broken(&mut connection));
    assert_eq!(connection.execute("PING"), Err(MemoryError::Dead { id: 1 }));
    assert!(manager.has_broken(&mut connection));
    assert_eq!(manager.counters().executed, 0);
}

#[test]
fn a_hang_lasts_until_release_even_if_hang_is_called_again_at_once() {
    let manager = MemoryManager::new();
    for heal in [false, true] {
        manager.hang(Hook::Create);
        thread::scope(|scope| {
            let calls = [0; 3].map(|_| scope.spawn(|| manager.create()));
            assert!(manager.wait_for(|seen| seen.in_hook == 3, SOON));
            assert_eq!(manager.running(Hook::Create), 3);
            if heal {
                manager.heal();
            } else {
                manager.release();
            }
            manager.hang(Hook::Create);
            assert!(manager.wait_for(|seen| seen.in_hook == 0, SOON));
            for call in calls {
                call.join().unwrap().unwrap();
            }
        });
        manager.release();
        manager.create().unwrap();
    }
    assert_eq!(manager.peak_running(Hook::Create), 3);
}

#[test]
fn a_failure_scripted_during_a_hang_meets_the_call_that_hung() {
    let manager = MemoryManager::new();
    manager.hang(Hook::Create);
    thread::scope(|scope| {
        let call = scope.spawn(|| manager.create());
        assert!(manager.wait_for(|seen| seen.in_hook == 1, SOON));
        manager.fail(Hook::Create, 1);
        manager.release();
        assert!(call.join().unwrap().is_err());
    });
}

#[test]
fn a_panic_names_its_hook_and_comes_before_a_hang() {
    let manager = MemoryManager::new();
    manager.panic(Hook::Create, 1);
    manager.hang(Hook::Create);
    let payload = catch_unwind(AssertUnwindSafe(|| manager.create())).unwrap_err();
    let message = payload.downcast_ref::<String>().unwrap();
    assert_eq!(message, "scripted panic in create");
    assert_eq!(manager.counters().in_hook, 0);
    manager.heal();
    manager.create().unwrap();
}

#[test]
fn waiting_ends_at_the_timeout_and_any_timeout_is_legal() {
    let manager = MemoryManager::new();
    assert!(!manager.wait_for(|seen| seen.created > 0, Duration::from_millis(10)));
    assert!(manager.wait_for(|seen| seen.created == 0, Duration::ZERO));
    assert!(manager.wait_for(|seen| seen.created == 0, Duration::MAX));
}

#[test]
fn a_wait_may_ask_the_manager_itself() {
    let manager = MemoryManager::new();
    assert!(manager.wait_for(
        |_| {
            manager.kill_all();
            manager.running(Hook::Create) == 0
        },
        Duration::ZERO
    ));
}

#[test]
fn a_delay_is_slept_by_every_call_until_it_is_zero() {
    let manager = MemoryManager::new();
    manager.delay(Hook::Create, Duration::from_millis(100));
    thread::scope(|scope| {
        let call = scope.spawn(|| manager.create());
        assert!(manager.wait_for(|seen| seen.in_hook == 1, SOON));
        assert_eq!(manager.counters().created, 0);
        manager.delay(Hook::Create, Duration::ZERO);
        call.join().unwrap().unwrap();
    });
    manager.create().unwrap();
}
