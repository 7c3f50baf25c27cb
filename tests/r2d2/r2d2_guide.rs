//! The statements of the page `src/docs/migrating.md` about r2d2 0.8, tested on r2d2 itself and compared with
//! this pool, with the same manager.

use crate::common;
use crate::r2d2;

use ::r2d2::HandleError;
use common::{
    Gate, Log, SOON, assert_at, eventually, ms, quick_backoff, secs, spawn, stays, timed,
    timeout_with_cause,
};
use conpool::{
    Backoff, BuildError, Cause, EvictReason, HealthCheck, ManualClock, PoolConfig, PoolEvent,
};
use r2d2::{Fault, Hook, Peer, Refused, builder, manager};
use std::{
    error::Error,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::Duration,
};

type Before = ::r2d2::Builder<Peer>;

/// r2d2's builder with the customizer, and connections on demand only.
fn before(peer: &Peer) -> Before {
    ::r2d2::Pool::builder()
        .min_idle(Some(0))
        .connection_customizer(Box::new(peer.clone()))
}

#[test]
fn the_table_of_settings_names_the_defaults_of_both() {
    let old = ::r2d2::Pool::builder().build_unchecked(Peer::default());
    let new = PoolConfig::default();
    assert_eq!((old.max_size(), new.max_size), (10, 10));
    assert_eq!((old.min_idle(), new.min_idle), (None, 0));
    assert_eq!(
        (old.connection_timeout(), new.get_timeout),
        (secs(30), secs(30))
    );
    assert!(old.test_on_check_out());
    assert_eq!(new.health_check, HealthCheck::AfterIdle(ms(500)));
    let ten_minutes = Some(secs(600));
    assert_eq!(
        (old.idle_timeout(), new.idle_timeout),
        (ten_minutes, ten_minutes)
    );
    let half_an_hour = Some(secs(1800));
    assert_eq!(
        (old.max_lifetime(), new.max_lifetime),
        (half_an_hour, half_an_hour)
    );
    assert_eq!(new.lifetime_jitter, 0.1);
}

#[test]
fn a_build_waits_for_all_of_r2d2s_connections_and_for_one_of_this_pools() {
    let peer = Peer::default();
    let pool = ::r2d2::Pool::new(peer.clone()).unwrap();
    assert_eq!((peer.connected(), pool.state().connections), (10, 10));

    let peer = Peer::default();
    let pool = builder("guidebuild").build(manager(&peer)).unwrap();
    assert_eq!((peer.connected(), pool.stats().size), (1, 1));
    // As many as r2d2, when requested.
    let pool = builder("guidefull")
        .min_idle(10)
        .build(manager(&peer))
        .unwrap();
    assert_eq!(pool.stats().idle, 10);
}

#[test]
fn r2d2_asks_is_valid_at_every_checkout_and_this_pool_after_a_rest() {
    let peer = Peer::default();
    let pool = before(&peer).build(peer.clone()).unwrap();
    for _ in 0..3 {
        drop(pool.get().unwrap());
    }
    assert_eq!(peer.count(Hook::IsValid), 3, "of a new connection too");

    for (check, expected) in [
        (HealthCheck::default(), [0, 1]),
        (HealthCheck::OnCheckout, [3, 4]),
    ] {
        let peer = Peer::default();
        let clock = ManualClock::new();
        let pool = builder("guidecheck")
            .max_size(1)
            .health_check(check)
            .clock(clock.clone())
            .build(manager(&peer))
            .unwrap();
        for _ in 0..3 {
            drop(pool.get().unwrap());
        }
        assert_eq!(peer.count(Hook::IsValid), expected[0], "{check:?}");
        clock.advance(ms(501));
        drop(pool.get().unwrap());
        assert_eq!(peer.count(Hook::IsValid), expected[1], "{check:?}");
    }
}

/// Records the errors for r2d2's error handler.
impl HandleError<Refused> for Log {
    fn handle_error(&self, error: Refused) {
        self.push(error.to_string());
    }
}

#[test]
fn r2d2_tells_the_cause_as_text_and_once_and_this_pool_as_a_value_each_time() {
    let gate = Gate::default();
    let outage = || {
        let peer = Peer::default();
        peer.plan(Hook::Connect, Fault::Fail, 1);
        peer.plan(Hook::Connect, Fault::Hang(gate.clone()), u64::MAX);
        peer
    };
    let peer = outage();
    let seen = Log::default();
    let pool = before(&peer)
        .min_idle(Some(1))
        .error_handler(Box::new(seen.clone()))
        .build_unchecked(peer.clone());
    eventually(|| seen.lines() == ["Connect refuses"]);
    let [first, second] = [(); 2].map(|()| pool.get_timeout(ms(20)).unwrap_err());
    let text = "timed out waiting for connection";
    assert_eq!(first.to_string(), format!("{text}: Connect refuses"));
    assert_eq!(second.to_string(), text);
    assert!(first.source().is_none(), "no error behind the text");

    let peer = outage();
    let seen = Log::default();
    let new = builder("guidecause")
        .observer(seen.clone())
        .build_lazy(manager(&peer))
        .unwrap();
    // On a busy machine the first caller may time out before anything was tried.
    let _ = timeout_with_cause(&new, ms(20));
    for _ in 0..2 {
        let error = new.get_timeout(ms(20)).unwrap_err();
        assert_eq!(error.last_create_error(), Some(&Refused(Hook::Connect)));
        let cause = error.source().unwrap().downcast_ref::<Cause<Refused>>();
        assert!(matches!(cause, Some(Cause::Create(_))), "{error:?}");
    }
    // The observer replaces the error handler.
    assert!(
        seen.find("CreateFailed")
            .unwrap()
            .contains("Refused(Connect)")
    );
    gate.open();
}

#[test]
fn an_observer_gets_the_error_as_the_error_handler_did() {
    let peer = Peer::default();
    peer.plan(Hook::Connect, Fault::Fail, 1);
    let seen = Log::default();
    let told = seen.clone();
    let pool = builder("guideobserve")
        .observer(move |event: &PoolEvent| {
            if let PoolEvent::CreateFailed { error, .. } = event {
                let error = error.downcast_ref::<Refused>();
                told.push(format!("{:?}", error.unwrap().0));
            }
        })
        .build(manager(&peer))
        .unwrap();
    assert_eq!(seen.lines(), ["Connect"]);
    // The error of is_valid is in the statistics.
    peer.plan(Hook::IsValid, Fault::Fail, 1);
    let _ = pool.check_health();
    let (_, text) = pool.stats().last_error.unwrap();
    assert_eq!(text, "IsValid refuses");
}

#[test]
fn r2d2_hands_out_what_is_older_than_max_lifetime_and_this_pool_does_not() {
    let peer = Peer::default();
    let pool = before(&peer)
        .max_lifetime(Some(ms(1)))
        .build(peer.clone())
        .unwrap();
    assert_eq!(pool.get().unwrap().id, 1);
    thread::sleep(ms(20));
    // The reaper runs every thirty seconds.
    assert_eq!(pool.get().unwrap().id, 1);

    let peer = Peer::default();
    let clock = ManualClock::new();
    let pool = builder("guideage")
        .clock(clock.clone())
        .max_lifetime(secs(60))
        .build(manager(&peer))
        .unwrap();
    assert_eq!(pool.get().unwrap().id, 1);
    clock.advance(secs(61));
    assert_eq!(pool.get().unwrap().id, 2);
    assert_eq!(pool.stats().evicted(EvictReason::MaxLifetime), 1);
}

#[test]
fn on_release_is_not_called_when_r2d2s_pool_ends_and_it_is_when_this_one_does() {
    let peer = Peer::default();
    let pool = before(&peer)
        .max_size(3)
        .min_idle(Some(3))
        .build(peer.clone())
        .unwrap();
    drop(pool);
    eventually(|| peer.dropped() == 3);
    assert_eq!(peer.released(), 0);

    let peer = Peer::default();
    let pool = builder("guideend")
        .max_size(3)
        .min_idle(3)
        .build(manager(&peer))
        .unwrap();
    drop(pool);
    eventually(|| peer.dropped() == 3);
    assert_eq!(peer.released(), 3);
}

/// The thread on which `hook` ran last.
fn place(peer: &Peer, hook: Hook) -> String {
    eventually(|| peer.count(hook) == 1);
    let log = peer.log();
    let line = log
        .iter()
        .find(|line| line.starts_with(&format!("{hook:?}")));
    line.unwrap().split_once(" on ").unwrap().1.to_owned()
}

#[test]
fn is_valid_and_on_release_run_on_a_users_thread_in_r2d2_and_on_one_of_the_pools_here() {
    let me = thread::current().name().unwrap().to_owned();
    let peer = Peer::default();
    let pool = before(&peer).build(peer.clone()).unwrap();
    let guard = pool.get().unwrap();
    peer.plan(Hook::HasBroken, Fault::Fail, 1);
    drop(guard);
    for hook in [Hook::IsValid, Hook::OnRelease] {
        assert_eq!(place(&peer, hook), me, "{hook:?}");
    }

    let peer = Peer::default();
    let pool = builder("guidewhere")
        .health_check(HealthCheck::OnCheckout)
        .build(manager(&peer))
        .unwrap();
    let guard = pool.get().unwrap();
    peer.plan(Hook::HasBroken, Fault::Fail, 1);
    drop(guard);
    for hook in [Hook::IsValid, Hook::OnRelease] {
        assert!(place(&peer, hook).starts_with("guidewhere-"), "{hook:?}");
    }
}

#[test]
fn both_drop_what_on_acquire_refuses_without_on_release() {
    let peer = Peer::default();
    peer.plan(Hook::OnAcquire, Fault::Fail, 1);
    let pool = before(&peer).build(peer.clone()).unwrap();
    assert_eq!(pool.get().unwrap().id, 2);
    assert_eq!((peer.dropped(), peer.released()), (1, 0));

    let peer = Peer::default();
    peer.plan(Hook::OnAcquire, Fault::Fail, 1);
    let pool = builder("guideacquire").build(manager(&peer)).unwrap();
    assert_eq!(pool.get().unwrap().id, 2);
    assert_eq!((peer.dropped(), peer.released()), (1, 0));
}

#[test]
fn idle_connections_of_r2d2_live_as_long_as_a_guard_and_those_of_this_pool_as_its_handles() {
    let peer = Peer::default();
    let pool = before(&peer)
        .max_size(2)
        .min_idle(Some(2))
        .build(peer.clone())
        .unwrap();
    let guard = pool.get().unwrap();
    drop(pool);
    stays(|| peer.dropped() == 0);
    drop(guard);
    eventually(|| peer.dropped() == 2);

    let peer = Peer::default();
    let pool = builder("guidehandle")
        .max_size(2)
        .min_idle(2)
        .build(manager(&peer))
        .unwrap();
    let guard = pool.get().unwrap();
    drop(pool);
    eventually(|| peer.dropped() == 1);
    assert!(guard.id >= 1, "still usable");
    drop(guard);
    eventually(|| peer.released() == 2);
}

#[test]
fn r2d2_goes_on_connecting_when_nobody_waits_and_this_pool_stops() {
    let peer = Peer::default();
    peer.plan(Hook::Connect, Fault::Fail, u64::MAX);
    let pool = before(&peer)
        .connection_timeout(ms(10))
        .error_handler(Box::new(Log::default()))
        .build_unchecked(peer.clone());
    assert!(pool.get().is_err());
    let tried = peer.count(Hook::Connect);
    eventually(|| peer.count(Hook::Connect) >= tried + 10);
    drop(pool);

    let peer = Peer::default();
    peer.plan(Hook::Connect, Fault::Fail, u64::MAX);
    let pool = builder("guidequiet").build_lazy(manager(&peer)).unwrap();
    eventually(|| {
        assert!(pool.get_timeout(ms(50)).is_err());
        peer.count(Hook::Connect) >= 2
    });
    eventually(|| pool.stats().creating == 0);
    let tried = peer.count(Hook::Connect);
    // Ten times the pause between attempts.
    stays(|| peer.count(Hook::Connect) == tried);
}

#[test]
fn three_connects_that_hang_end_the_growth_of_r2d2_and_this_pool_gives_up_on_them() {
    let gate = Gate::default();
    let peer = Peer::default();
    peer.plan(Hook::Connect, Fault::Hang(gate.clone()), 3);
    let pool = before(&peer).max_size(4).build_unchecked(peer.clone());
    for hung in 1..=3 {
        assert!(pool.get_timeout(ms(10)).is_err());
        eventually(|| peer.count(Hook::Connect) == hung);
    }
    // A slot is free, but no connection is opened in it.
    assert!(pool.get_timeout(ms(200)).is_err());
    assert_eq!(peer.count(Hook::Connect), 3);

    let peer = Peer::default();
    peer.plan(Hook::Connect, Fault::Hang(gate.clone()), 3);
    let pool = builder("guidehung")
        .max_size(1)
        .create_timeout(ms(60))
        .build_lazy(manager(&peer))
        .unwrap();
    assert_eq!(pool.get_timeout(SOON).unwrap().id, 1);
    assert!(pool.stats().abandoned >= 3, "{}", pool.stats());
    gate.open();
    pool.close_timeout(SOON).unwrap();
}

#[test]
fn r2d2_panics_at_a_setting_that_makes_no_sense_and_this_pool_says_which() {
    let refused: [fn() -> Before; 3] = [
        || Before::new().max_size(0),
        || Before::new().connection_timeout(Duration::ZERO),
        || Before::new().idle_timeout(Some(Duration::ZERO)),
    ];
    for build in refused {
        assert!(catch_unwind(AssertUnwindSafe(build)).is_err());
    }

    let peer = Peer::default();
    let error = builder("guidezero").max_size(0).build(manager(&peer));
    assert_eq!(
        error.unwrap_err().to_string(),
        "max_size = 0: must be at least 1"
    );
    let zero = builder("guidezero").idle_timeout(Duration::ZERO);
    let error = zero.build(manager(&peer)).unwrap_err().to_string();
    assert!(error.starts_with("idle_timeout = 0ns: must be"), "{error}");
}

#[test]
fn the_settings_that_make_it_most_like_r2d2_are_accepted() {
    let peer = Peer::default();
    let pool = builder("guidesame")
        .min_idle(10)
        .health_check(HealthCheck::OnCheckout)
        .lifetime_jitter(0.0)
        .backoff(quick_backoff())
        .build(manager(&peer))
        .unwrap();
    assert_eq!(pool.stats().idle, 10);
    drop(pool.get().unwrap());
    assert_eq!(peer.count(Hook::IsValid), 1);
}

#[test]
fn r2d2_waits_for_an_error_that_stays_and_this_pool_does_not_with_a_classifier() {
    let peer = Peer::default();
    peer.plan(Hook::Connect, Fault::Fail, u64::MAX);
    let timeout = ms(500);
    let old = before(&peer).min_idle(Some(1)).connection_timeout(timeout);
    let (built, took) = timed(|| old.build(peer.clone()));
    built.unwrap_err();
    assert_at(took, timeout);

    let builder = || builder("guidestays").get_timeout(timeout);
    let (built, took) = timed(|| builder().build(manager(&peer)));
    let error = built.unwrap_err();
    assert!(matches!(error, BuildError::TimedOut(_)), "{error:?}");
    assert_at(took, timeout);

    // Without a limit that could end the wait: only the classifier ends it.
    let manager = manager(&peer).transient(|error: &Refused| error.0 != Hook::Connect);
    let (built, took) = timed(|| builder().get_timeout(Duration::MAX).build(manager));
    let error = built.unwrap_err();
    assert!(matches!(error, BuildError::Create { .. }), "{error:?}");
    assert_at(took, ms(0));
}

#[test]
fn r2d2_caps_its_pause_at_half_the_timeout_and_this_pool_by_a_setting() {
    /// The time from the first connect to the fourth, all of which fail.
    fn three_pauses(peer: &Peer) -> Duration {
        eventually(|| peer.count(Hook::Connect) >= 1);
        let ((), took) = timed(|| eventually(|| peer.count(Hook::Connect) >= 4));
        took
    }
    let old = |timeout| {
        spawn(move || {
            let peer = Peer::default();
            peer.plan(Hook::Connect, Fault::Fail, u64::MAX);
            let pool = before(&peer).min_idle(Some(1)).max_size(1);
            let pool = pool.connection_timeout(timeout);
            let _pool = pool.build_unchecked(peer.clone());
            three_pauses(&peer)
        })
    };
    // 400 ms, 800 ms and 1.6 s, less the time until the first connect is seen; or three times 200 ms.
    let (long, short) = (old(secs(60)), old(ms(400)));
    let uncapped = ms(2700);
    assert!(long.join_soon() >= uncapped);
    assert!(short.join_soon() < uncapped);

    let peer = Peer::default();
    peer.plan(Hook::Connect, Fault::Fail, u64::MAX);
    let pause = Backoff::default().with_initial(ms(10)).with_max(ms(10));
    let pool = builder("guidepause").backoff(pause).min_idle(1);
    let _pool = pool.get_timeout(secs(60)).build_lazy(manager(&peer));
    assert!(three_pauses(&peer) < uncapped);
}
