//! Each fault of a server and the resulting error of the request: its kind, in time, and without a leak.

#[allow(dead_code, reason = "a part of it is used")]
use crate::bridge;
use crate::common;
use crate::http;
use crate::support;

use bridge::sockets_to;
use common::{assert_at, ms, noise, secs, timed};
use conpool::{
    ConbusError, EvictReason, GetError, HttpError, HttpPhase, TransportError, http_types::Request,
};
use http::{OK, Peer, Server, body, build, chain, fetch, fetch_ok, leave, pool, timed_out};
use std::{io, net::TcpListener, thread, time::Duration};
use support::sockets::{BlackHole, ClosedPort};

/// Long enough for every fault that is noticed at once.
const SECS: Duration = secs(30);

#[test]
fn a_refusal_is_an_error_at_once_and_says_who_refused() {
    let closed = ClosedPort::new().unwrap();
    let http = build("refusing");
    let url = format!("http://{}/", closed.addr());
    for _ in 0..2 {
        let (error, took) = timed(|| http.get(&url).unwrap_err());
        assert_at(took, ms(0));
        let HttpError::Pool(GetError::Create { error: cause, .. }) = &error else {
            panic!("{error:?}");
        };
        assert!(
            matches!(&**cause, TransportError::Tcp(ConbusError::Connect { peer, .. }) if *peer == closed.addr())
        );
        assert!(error.is_connect() && !error.is_timeout());
        assert!(chain(&error).contains("refused"), "{}", chain(&error));
    }
    leave(&http);
}

#[test]
fn a_server_that_comes_up_is_found_within_the_pause_between_attempts() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let http = build("comes-up");
    let url = format!("http://{addr}/");
    assert!(http.get(&url).unwrap_err().is_connect());
    let server = Server::on(TcpListener::bind(addr).unwrap(), |_, mut peer| {
        peer.answer(OK)
    });
    // The first pause is 20 ms; meanwhile callers get the last refusal again.
    common::eventually(|| http.get(&url).is_ok());
    fetch_ok(&http, &server);
    leave(&http);
}

#[test]
fn a_black_hole_costs_the_connect_timeout() {
    let hole = BlackHole::new().unwrap();
    let limit = ms(80);
    let http = pool("black-hole").connect_timeout(limit).build().unwrap();
    let url = format!("http://{}/", hole.addr());
    let (error, took) = timed(|| http.get(&url).unwrap_err());
    // The wait of a connect is rounded to milliseconds, so it may end a fraction early.
    assert_at(took + ms(1), limit);
    assert!(error.is_timeout() && error.is_connect(), "{error:?}");
    leave(&http);
}

#[test]
fn a_total_timeout_that_is_shorter_bounds_the_connect_too() {
    let hole = BlackHole::new().unwrap();
    let limit = ms(60);
    let http = pool("hole-total")
        .connect_timeout(ms(400))
        .total_timeout(limit);
    let http = http.build().unwrap();
    let (error, took) = timed(|| http.get(format!("http://{}/", hole.addr())).unwrap_err());
    assert_at(took, limit);
    assert!(
        matches!(error, HttpError::Pool(GetError::TimedOut(_))),
        "{error:?}"
    );
    assert!(error.is_timeout());
    leave(&http);
}

#[test]
fn a_name_that_does_not_resolve_is_an_error_at_once() {
    let http = build("no-name");
    let error = http.get("http://name.invalid/").unwrap_err();
    let text = chain(&error);
    assert!(
        text.contains("cannot resolve \"name.invalid:80\""),
        "{text}"
    );
    assert!(!error.is_timeout());
    leave(&http);
}

/// A server whose first connection has the fault; the others work.
fn faulty(fault: fn(Peer)) -> Server {
    Server::start(move |number, mut peer| match number {
        0 => fault(peer),
        _ => peer.answer(OK),
    })
}

/// The error of the first request. The next request succeeds on another connection.
#[track_caller]
fn first_error(fault: fn(Peer), timeout: Duration) -> (HttpError, Duration) {
    let server = faulty(fault);
    let http = build("fault");
    let request = Request::get(server.url("/")).body(()).unwrap();
    let (result, took) = timed(|| http.send_timeout(request, timeout).and_then(body));
    let error = result.unwrap_err();
    assert_eq!(http.stats().evicted(EvictReason::Broken), 1);
    let good = http.get(server.url("/")).unwrap();
    assert_eq!(body(good).unwrap(), b"ok");
    assert_eq!(server.connections(), 2);
    leave(&http);
    assert_eq!(sockets_to(server.addr()), 0);
    (error, took)
}

#[test]
fn a_silent_server_costs_the_total_timeout_in_whatever_phase() {
    // Long enough for a loaded machine to reach the fault.
    let limit = ms(700);
    let cases: [(fn(Peer), HttpPhase); 5] = [
        (|mut peer| drop(peer.end()), HttpPhase::Waiting),
        (
            |mut peer| {
                peer.request();
                peer.send("HTTP/1.1 200");
                peer.end();
            },
            HttpPhase::Waiting,
        ),
        (
            |mut peer| {
                peer.request();
                peer.send("HTTP/1.1 100 Continue\r\n\r\n");
                peer.end();
            },
            HttpPhase::Waiting,
        ),
        (
            |mut peer| {
                peer.request();
                peer.send("HTTP/1.1 200 OK\r\n\r\nhello");
                peer.end();
            },
            HttpPhase::Receiving,
        ),
        (
            |mut peer| {
                peer.request();
                peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0");
                peer.end();
            },
            HttpPhase::Receiving,
        ),
    ];
    thread::scope(|scope| {
        for (fault, expected) in cases {
            scope.spawn(move || {
                let (error, took) = first_error(fault, limit);
                let HttpError::Timeout {
                    phase, limit: told, ..
                } = &error
                else {
                    panic!("{error:?}");
                };
                assert_eq!((*phase, *told), (expected, limit));
                assert!(error.is_timeout());
                assert_at(took, limit);
            });
        }
    });
}

#[test]
fn a_server_that_reads_nothing_costs_the_total_timeout_of_an_upload() {
    let over = common::Gate::default();
    let gate = over.clone();
    let server = Server::start(move |_, mut peer| {
        peer.request();
        peer.send(OK);
        gate.pass();
    });
    let http = build("no-reader");
    fetch_ok(&http, &server);
    let limit = ms(300);
    let content = conpool::HttpRequestBody::sized(io::repeat(b'x'), 1 << 40);
    let request = Request::put(server.url("/")).body(content).unwrap();
    let (error, took) = timed(|| http.send_timeout(request, limit).unwrap_err());
    timed_out(&error, HttpPhase::Sending);
    assert_at(took, limit);
    leave(&http);
    over.open();
}

#[test]
fn a_head_that_trickles_is_bounded_by_the_total_timeout() {
    let (error, took) = first_error(
        |mut peer| {
            peer.request();
            peer.send("HTTP/1.1 200 OK\r\n");
            for number in 0..2000 {
                if !peer.send(format!("x-{number}: y\r\n")) {
                    return;
                }
                thread::sleep(ms(15));
            }
        },
        ms(700),
    );
    timed_out(&error, HttpPhase::Waiting);
    assert_at(took, ms(700));
}

#[test]
fn a_connection_that_ends_or_is_reset_in_use_is_an_error() {
    let ended: [(fn(Peer), usize); 3] = [
        (|mut peer| drop(peer.request()), 0),
        (
            |mut peer| {
                peer.request();
                peer.send("HTTP/1.1 200 OK\r\n");
            },
            17,
        ),
        // Half of the response, then a half close.
        (
            |mut peer| {
                peer.request();
                peer.send("HTTP/1.1 2");
                peer.fin();
                peer.end();
            },
            10,
        ),
    ];
    for (fault, bytes) in ended {
        let (error, _) = first_error(fault, SECS);
        assert!(
            matches!(error, HttpError::Ended { received, .. } if received == bytes),
            "{error:?}"
        );
        assert!(!error.is_timeout() && !error.is_connect());
    }
    let (error, _) = first_error(
        |mut peer| {
            peer.request();
            peer.rst();
        },
        SECS,
    );
    assert!(matches!(error, HttpError::Io { .. }), "{error:?}");
    assert!(chain(&error).contains("reset"), "{}", chain(&error));
}

#[test]
fn what_is_no_response_is_an_error_at_once() {
    let garbage: [fn(Peer); 10] = [
        |mut peer| say(&mut peer, b"SSH-2.0-OpenSSH_9.2\r\n"),
        |mut peer| {
            say(
                &mut peer,
                b"\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            )
        },
        |mut peer| say(&mut peer, b"\x16\x03\x01\x02\x00\x01\x00"),
        |mut peer| say(&mut peer, b"HTTP/2 200\r\n\r\n"),
        |mut peer| say(&mut peer, b"HTTP/1.7 200 OK\r\n\r\n"),
        |mut peer| say(&mut peer, b"HTTP/1.1 099 OK\r\n\r\n"),
        |mut peer| say(&mut peer, b"HTTP/1.1 OK\r\n\r\n"),
        |mut peer| say(&mut peer, b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n"),
        |mut peer| say(&mut peer, b"HTTP/1.1 200 OK\r\na: b\r\n folded\r\n\r\n"),
        |mut peer| say(&mut peer, b"HTTP/1.1 200 OK\r\nbad name: b\r\n\r\n"),
    ];
    for (number, fault) in garbage.into_iter().enumerate() {
        let (error, took) = first_error(fault, SECS);
        assert!(
            matches!(error, HttpError::Protocol { .. }),
            "{number}: {error:?}"
        );
        assert!(took < noise(), "{number}: {took:?}");
    }
}

/// Sends the bytes, and waits until the client has read them.
fn say(peer: &mut Peer, bytes: &[u8]) {
    peer.request();
    peer.send(bytes);
    peer.end();
}

#[test]
fn what_a_server_says_before_it_is_asked_costs_the_connection() {
    let server = Server::start(|number, mut peer| {
        if number == 0 {
            peer.send("HTTP/1.1 400 Bad Request\r\ncontent-length: 6\r\n\r\nforged");
            peer.end();
        }
        peer.answer(OK);
    });
    let http = build("too-early");
    match fetch(&http, &server) {
        // The bytes came before the connection was handed out.
        Err(HttpError::Pool(GetError::Create { error, .. })) => {
            let unread = matches!(*error, TransportError::Tcp(ConbusError::Unread { .. }));
            assert!(unread, "{error:?}");
        }
        // After the checkout the bytes look like an answer.
        Ok((status, _)) => assert_eq!(status, 400),
        Err(error) => panic!("{error:?}"),
    }
    http.clear();
    common::eventually(|| http.get(server.url("/")).is_ok());
    fetch_ok(&http, &server);
    leave(&http);
}

#[test]
fn heads_without_end_are_refused_at_their_limit() {
    let endless: [fn(Peer); 4] = [
        |mut peer| {
            peer.request();
            peer.send("HTTP/1.1 200 OK\r\n");
            while peer.send("x: 0123456789012345678901234567890123456789012345678901234567890\r\n")
            {
            }
        },
        |mut peer| {
            peer.request();
            peer.send("HTTP/1.1 200 OK\r\nx: ");
            while peer.send([b'x'; 1000]) {}
        },
        |mut peer| {
            peer.request();
            peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n");
            while peer.send("x: y\r\n") {}
        },
        |mut peer| {
            peer.request();
            peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;");
            while peer.send([b'x'; 1000]) {}
        },
    ];
    for (number, fault) in endless.into_iter().enumerate() {
        let (error, _) = first_error(fault, SECS);
        let told = match &error {
            HttpError::HeadersTooLong { limit, .. } => *limit == 64 * 1024,
            // More than 128 headers, and a chunk's line.
            HttpError::Protocol { .. } => matches!(number, 0 | 3),
            _ => false,
        };
        assert!(told, "{number}: {error:?}");
    }
}

#[test]
fn informational_responses_without_end_are_refused() {
    let (error, _) = first_error(
        |mut peer| {
            peer.request();
            while peer.send("HTTP/1.1 102 Processing\r\n\r\n") {}
        },
        SECS,
    );
    assert!(chain(&error).contains("informational"), "{error:?}");
}

#[test]
fn a_server_that_ends_idle_connections_is_not_noticed() {
    // Each connection serves one request and ends by a FIN or a reset.
    let gone = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&gone);
    let server = Server::start(move |number, mut peer| {
        peer.request();
        peer.send(OK);
        if number % 2 == 0 {
            peer.rst();
        } else {
            drop(peer);
        }
        count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    });
    let http = build("idle-end");
    for round in 1..=20 {
        fetch_ok(&http, &server);
        common::eventually(|| gone.load(std::sync::atomic::Ordering::SeqCst) == round);
    }
    assert_eq!((server.connections(), server.requests()), (20, 20));
    assert_eq!(http.stats().evicted(EvictReason::HookFailed), 19);
    leave(&http);
}

#[test]
fn after_every_fault_no_descriptor_and_no_thread_is_left() {
    let server = Server::start(|number, mut peer| {
        let Some(_) = peer.request() else { return };
        let said = match number % 6 {
            0 => "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
            1 => "garbage",
            2 => return peer.rst(),
            3 => return,
            4 => "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            _ => "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        };
        peer.send(said);
        if number % 6 > 3 {
            peer.end();
        }
    });
    let http = build("left");
    for _ in 0..60 {
        let _ = fetch(&http, &server);
        // Otherwise the good connections would serve all remaining requests.
        http.clear();
    }
    assert!(server.connections() >= 60);
    leave(&http);
    assert_eq!(sockets_to(server.addr()), 0);
    common::eventually(|| server.open() == 0);
}
