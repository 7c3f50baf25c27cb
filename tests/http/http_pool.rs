//! The pool below the client: limits, sharing, settings, closing.

use crate::common;
use crate::http;

use common::{Gate, Log, SOON, assert_at, eventually, ms, secs, spawn, threads, timed};
use conpool::{
    ConfigError, EvictReason, GetError, HttpBody, HttpConnection, HttpError, HttpManager,
    HttpOrigin, HttpPool, HttpPoolBuilder, HttpRequestBody,
    http_types::{Request, Response},
};
use http::{OK, Server, body, build, chain, fetch, fetch_ok, leave, pool};
use std::{error::Error, io::Read, sync::LazyLock, thread, time::Duration};

fn origin(server: &Server) -> HttpOrigin {
    server.url("/").parse().unwrap()
}

#[test]
fn many_threads_share_as_many_connections_as_a_host_may_have() {
    let server = Server::plain();
    let http = pool("share").max_per_host(3).build().unwrap();
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                for _ in 0..40 {
                    fetch_ok(&http, &server);
                }
            });
        }
    });
    assert_eq!(server.requests(), 480);
    assert!(server.connections() <= 3, "{}", server.connections());
    assert_eq!(http.stats().evicted(EvictReason::Broken), 0);
    leave(&http);
}

#[test]
fn one_pool_may_be_a_static() {
    static HTTP: LazyLock<HttpPool> = LazyLock::new(|| build("static"));
    let server = Server::plain();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| fetch_ok(&HTTP, &server));
        }
    });
    leave(&HTTP);
}

#[test]
fn everything_can_be_sent_to_another_thread_and_shown() {
    fn sent<T: Send>() {}
    fn shared<T: Send + Sync + Clone + std::fmt::Debug>() {}
    shared::<HttpPool>();
    shared::<HttpOrigin>();
    shared::<HttpPoolBuilder>();
    sent::<HttpBody>();
    sent::<Response<HttpBody>>();
    sent::<HttpRequestBody<'_>>();
    sent::<HttpConnection>();
    sent::<HttpManager>();
    let server = Server::plain();
    let http = build("shown");
    let response = http.get(server.url("/")).unwrap();
    assert!(format!("{response:?}").contains("remaining: Some(2)"));
    let moved = thread::spawn(move || body(response).unwrap());
    assert_eq!(moved.join().unwrap(), b"ok");
    assert!(format!("{http:?}").contains("shown"));
    assert!(!format!("{:?}", HttpRequestBody::from("secret")).contains("secret"));
    leave(&http);
}

#[test]
fn origins_have_connections_of_their_own() {
    let (one, two) = (Server::plain(), Server::plain());
    let http = build("origins");
    fetch_ok(&http, &one);
    fetch_ok(&http, &two);
    fetch_ok(&http, &one);
    // The same server under another name.
    let named = format!("http://localhost:{}/", one.addr().port());
    assert_eq!(body(http.get(named).unwrap()).unwrap(), b"ok");
    assert_eq!((one.connections(), two.connections()), (2, 1));
    assert_eq!(http.origins().len(), 3);
    assert_eq!(http.stats_for(&origin(&one)).unwrap().gets, 2);
    assert_eq!(http.stats().idle, 3);
    http.clear_origin(&origin(&one));
    eventually(|| http.stats().size == 2);
    http.clear();
    // An origin without connections is forgotten by the next sweep.
    eventually(|| {
        http.pool().sweep();
        http.origins().is_empty()
    });
    leave(&http);
}

#[test]
fn when_the_total_is_reached_an_idle_connection_of_another_origin_makes_room() {
    let (one, two) = (Server::plain(), Server::plain());
    let http = pool("room").max_total(1).build().unwrap();
    fetch_ok(&http, &one);
    fetch_ok(&http, &two);
    assert_eq!(http.stats().evicted(EvictReason::MadeRoom), 1);
    leave(&http);
}

#[test]
fn a_request_waits_for_a_connection_no_longer_than_its_time() {
    let server = Server::plain();
    let limit = ms(80);
    let http = pool("waits")
        .max_per_host(1)
        .total_timeout(limit)
        .build()
        .unwrap();
    let request = Request::get(server.url("/")).body(()).unwrap();
    let held = http.send_timeout(request, SOON).unwrap();
    let (error, took) = timed(|| fetch(&http, &server).unwrap_err());
    assert_at(took, limit);
    assert!(error.is_timeout());
    assert!(
        matches!(error, HttpError::Pool(GetError::TimedOut(_))),
        "{error:?}"
    );
    // This thread itself held the only one.
    assert!(
        chain(&error).contains("this thread already holds 1"),
        "{}",
        chain(&error)
    );
    drop(held);
    fetch_ok(&http, &server);
    leave(&http);
}

#[test]
fn who_waits_is_served_when_a_body_has_been_read() {
    let server = Server::plain();
    let http = pool("served").max_per_host(1).build().unwrap();
    let held = http.get(server.url("/")).unwrap();
    let (other, url) = (http.clone(), server.url("/"));
    let waiting = spawn(move || body(other.get(url).unwrap()).unwrap());
    eventually(|| http.stats().waiters == 1);
    assert_eq!(body(held).unwrap(), b"ok");
    assert_eq!(waiting.join_soon(), b"ok");
    assert_eq!(server.connections(), 1);
    leave(&http);
}

#[test]
fn as_many_connections_are_opened_at_once_as_a_host_may_have() {
    let all = Gate::default();
    let gate = all.clone();
    let server = Server::start(move |_, mut peer| {
        peer.request();
        gate.pass();
        peer.send(OK);
        peer.answer(OK);
    });
    let http = build("at-once");
    thread::scope(|scope| {
        for _ in 0..30 {
            scope.spawn(|| fetch_ok(&http, &server));
        }
        eventually(|| server.requests() == 30);
        all.open();
    });
    assert_eq!((server.connections(), server.peak()), (30, 30));
    leave(&http);
}

#[test]
fn a_connection_that_is_idle_too_long_or_too_old_is_evicted() {
    let server = Server::plain();
    let limit = ms(40);
    for (http, reason) in [
        (pool("idle").idle_timeout(limit), EvictReason::IdleTimeout),
        (pool("old").max_lifetime(limit), EvictReason::MaxLifetime),
    ] {
        let http = http.build().unwrap();
        fetch_ok(&http, &server);
        eventually(|| http.stats().size == 0);
        assert_eq!(http.stats().evicted(reason), 1);
        fetch_ok(&http, &server);
        leave(&http);
    }
    assert_eq!(server.connections(), 4);
}

#[test]
fn the_settings_of_the_pool_below_and_of_tcp_can_be_changed() {
    let server = Server::plain();
    let log = Log::default();
    let observer = log.clone();
    let http = pool("below")
        .pool(move |pool| pool.max_uses(2).observer(observer))
        .tcp(|tcp| tcp.bind("127.0.0.1").keepalive(secs(30)))
        .build()
        .unwrap();
    for _ in 0..4 {
        fetch_ok(&http, &server);
    }
    assert_eq!(http.stats().evicted(EvictReason::MaxUses), 2);
    assert_eq!((server.connections(), log.count("Created")), (2, 2));
    leave(&http);
}

#[test]
fn the_caller_that_holds_a_connection_is_known() {
    let server = Server::plain();
    let log = Log::default();
    let observer = log.clone();
    let http = pool("leak").pool(move |pool| pool.leak_threshold(ms(20)).observer(observer));
    let http = http.build().unwrap();
    let held = http.get(server.url("/")).unwrap();
    eventually(|| log.count("LeakSuspected") == 1);
    let told = log.find("LeakSuspected").unwrap();
    assert!(told.contains("http_pool.rs"), "{told}");
    drop(held);
    leave(&http);
}

#[test]
fn a_bad_setting_is_named_with_its_value_and_its_rule() {
    const ZERO: Duration = Duration::ZERO;
    let builder = HttpPool::builder;
    for (builder, text) in [
        (builder().max_total(0), "max_total = 0: must be at least 1"),
        (
            builder().max_per_host(0),
            "max_per_host = 0: must be at least 1",
        ),
        (
            builder().max_per_host(101),
            "max_per_host = 101: must be at most max_total",
        ),
        (
            builder().max_header_bytes(0),
            "max_header_bytes = 0: must be at least 1",
        ),
        (
            builder().connect_timeout(ZERO),
            "connect_timeout = 0ns: must be longer than zero",
        ),
        (
            builder().total_timeout(ZERO),
            "total_timeout = 0ns: must be longer than zero",
        ),
    ] {
        let error = builder.build().unwrap_err();
        assert!(matches!(error, HttpError::Setting { .. }), "{error:?}");
        assert_eq!(error.to_string(), text);
    }
    let error = builder().idle_timeout(ZERO).build().unwrap_err();
    assert!(matches!(error, HttpError::Build(_)), "{error:?}");
    assert!(chain(&error).contains("idle_timeout"), "{}", chain(&error));
    let _: &dyn Error = &error;
    let _: Option<ConfigError> = None;
    // A small total lowers the default limit per host.
    drop(builder().max_total(5).build().unwrap());
}

#[test]
fn limits_may_be_none() {
    let server = Server::plain();
    for http in [
        pool("none")
            .total_timeout(None)
            .connect_timeout(Duration::MAX),
        pool("max")
            .total_timeout(Duration::MAX)
            .idle_timeout(None)
            .max_lifetime(None),
    ] {
        let http = http.build().unwrap();
        fetch_ok(&http, &server);
        fetch_ok(&http, &server);
        leave(&http);
    }
    assert_eq!(server.connections(), 2);
}

#[test]
fn a_timeout_of_zero_waits_for_nothing() {
    let server = Server::plain();
    let http = build("zero");
    fetch_ok(&http, &server);
    let request = Request::get(server.url("/")).body(()).unwrap();
    let error = http.send_timeout(request, Duration::ZERO).unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    leave(&http);
}

#[test]
fn https_without_tls_says_what_is_missing() {
    let http = build("no-tls");
    let error = http.get("https://127.0.0.1/").unwrap_err();
    assert!(matches!(error, HttpError::NoTls { .. }), "{error:?}");
    assert!(
        error.to_string().contains("HttpPoolBuilder::tls"),
        "{error}"
    );
    assert_eq!(
        error.to_string().contains("feature"),
        !cfg!(feature = "tls"),
        "{error}"
    );
    leave(&http);
}

#[test]
fn after_close_requests_fail_and_a_body_that_is_out_is_still_readable() {
    let server = Server::plain();
    let http = build("closing");
    let mut out = http.get(server.url("/")).unwrap();
    http.close();
    assert!(http.is_closed());
    let error = fetch(&http, &server).unwrap_err();
    assert!(
        matches!(error, HttpError::Pool(GetError::Closed { .. })),
        "{error:?}"
    );
    let left = http.close_timeout(ms(20)).unwrap_err();
    assert_eq!(left.in_use, 1);
    let mut content = String::new();
    out.body_mut().read_to_string(&mut content).unwrap();
    assert_eq!(content, "ok");
    leave(&http);
}

#[test]
fn when_the_last_handle_is_dropped_its_connections_and_threads_are_gone() {
    let server = Server::plain();
    let http = build("last");
    let copy = http.clone();
    fetch_ok(&http, &server);
    drop(http);
    fetch_ok(&copy, &server);
    assert_eq!(server.connections(), 1);
    drop(copy);
    eventually(|| threads("last-") == 0 && server.open() == 0);
}

#[test]
fn a_panic_while_a_body_is_held_costs_that_connection_and_nothing_else() {
    let server = Server::plain();
    let http = build("panics");
    let (other, url) = (http.clone(), server.url("/"));
    let panicked = thread::spawn(move || {
        let _response = other.get(url).unwrap();
        panic!("on purpose");
    });
    assert!(panicked.join().is_err());
    eventually(|| http.stats().in_use == 0);
    assert_eq!(http.stats().evicted(EvictReason::Panicked), 1);
    fetch_ok(&http, &server);
    leave(&http);
}

#[test]
fn the_limit_of_a_head_is_exact() {
    let head = |fill: usize| {
        let fill = "x".repeat(fill);
        format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx: {fill}\r\n\r\nok")
    };
    let bare = head(0).len() - 2;
    for (length, fits) in [(300, true), (301, false)] {
        let response = head(length - bare);
        let server = Server::first(response);
        let http = pool("exact").max_header_bytes(300).build().unwrap();
        match fetch(&http, &server) {
            Ok((_, content)) => assert!(fits && content == b"ok"),
            Err(HttpError::HeadersTooLong { limit: 300, .. }) => assert!(!fits),
            Err(error) => panic!("{error:?}"),
        }
        leave(&http);
    }
}

#[test]
fn an_evicted_connection_does_not_keep_the_next_request_waiting_for_the_server() {
    let server = Server::start(|_, mut peer| {
        peer.request();
        // Half of the response, and no end.
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe");
        peer.end();
        thread::sleep(ms(300));
    });
    let http = pool("no-goodbye").max_per_host(1).build().unwrap();
    let ((), took) = timed(|| {
        for _ in 0..20 {
            drop(http.get(server.url("/")).unwrap());
        }
    });
    assert_eq!(server.connections(), 20);
    // A wait of 250 ms for each would be five seconds.
    assert!(took < secs(2) + common::noise(), "{took:?}");
    leave(&http);
}
