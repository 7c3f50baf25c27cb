//! A request that met a dead idle connection is sent once more, on a new one, where that is safe.

use crate::common;
use crate::http;

use common::Gate;
use conpool::{
    HttpError, HttpPhase, HttpPool, HttpRequestBody,
    http_types::{Method, Request},
};
use http::{OK, Peer, Server, body, build, chain, fetch_ok, leave};
use std::{
    io::Cursor,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// The server's action on the second request of its first connection.
type Second = fn(Peer);

/// Reads the request and closes, so that the connection ends without an answer.
fn fin(mut peer: Peer) {
    peer.request();
}

fn rst(mut peer: Peer) {
    peer.request();
    peer.rst();
}

/// Answers once on its first connection, then runs `second`; on later ones `then` runs at once.
fn dying(second: Second, then: Option<Second>) -> Server {
    Server::start(move |number, mut peer| match then {
        Some(then) if number > 0 => then(peer),
        _ if number > 0 => peer.answer(OK),
        _ => {
            peer.request();
            peer.send(OK);
            second(peer);
        }
    })
}

/// A pool with one used idle connection, which dies with the next request.
fn warm(server: &Server) -> HttpPool {
    let http = build("retry");
    fetch_ok(&http, server);
    http
}

fn ask<'a>(
    http: &HttpPool,
    server: &Server,
    method: Method,
    content: impl Into<HttpRequestBody<'a>>,
) -> Result<Vec<u8>, HttpError> {
    let request = Request::builder().method(method).uri(server.url("/"));
    body(http.send(request.body(content.into()).unwrap())?)
}

/// Asserts that the connection was lost without a response.
#[track_caller]
fn lost(got: Result<Vec<u8>, HttpError>) {
    let error = got.unwrap_err();
    let lost = match &error {
        HttpError::Ended { .. } => true,
        HttpError::Io { phase, .. } => *phase != HttpPhase::Receiving,
        _ => false,
    };
    assert!(lost && !error.is_timeout(), "{}", chain(&error));
}

#[test]
fn an_idempotent_request_is_sent_again_on_a_new_connection() {
    for second in [fin as Second, rst] {
        for method in ["GET", "PUT", "DELETE", "OPTIONS", "TRACE"] {
            let server = dying(second, None);
            let http = warm(&server);
            let method = method.parse().unwrap();
            assert_eq!(ask(&http, &server, method, ()).unwrap(), b"ok");
            assert_eq!((server.connections(), server.requests()), (2, 3));
            leave(&http);
        }
    }
    let server = dying(fin, None);
    let http = warm(&server);
    let bytes = ask(&http, &server, Method::HEAD, ()).unwrap();
    assert_eq!((bytes.len(), server.connections()), (0, 2));
    leave(&http);
}

#[test]
fn bytes_are_sent_again_from_their_start() {
    for length in [5, 3_000_000] {
        let server = Server::start(|number, mut peer| {
            if number == 0 {
                peer.request();
                peer.send(OK);
                peer.head();
                // With unread bytes the close is a reset, in the middle of a large body.
                return;
            }
            while let Some((_, content)) = peer.request() {
                let length = content.len();
                peer.send(format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n"
                ));
                peer.send(content);
            }
        });
        let http = warm(&server);
        let content: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
        let got = ask(&http, &server, Method::PUT, &content).unwrap();
        assert!(got == content, "{} of {length} bytes", got.len());
        assert_eq!(server.connections(), 2);
        leave(&http);
    }
}

#[test]
fn a_request_that_is_not_idempotent_is_not_sent_again() {
    for second in [fin as Second, rst] {
        for method in ["POST", "PATCH", "LOCK"] {
            let server = dying(second, None);
            let http = warm(&server);
            lost(ask(&http, &server, method.parse().unwrap(), ()));
            assert_eq!((server.connections(), server.requests()), (1, 2));
            fetch_ok(&http, &server);
            leave(&http);
        }
    }
}

#[test]
fn a_request_on_a_new_connection_is_not_sent_again() {
    for end in [fin as Second, rst] {
        let server = Server::start(move |_, peer| end(peer));
        let http = build("retry-new");
        lost(ask(&http, &server, Method::GET, ()));
        assert_eq!((server.connections(), server.requests()), (1, 1));
        leave(&http);
    }
}

#[test]
fn a_request_is_sent_again_once_and_no_more() {
    let server = dying(fin, Some(fin));
    let http = warm(&server);
    lost(ask(&http, &server, Method::GET, ()));
    assert_eq!((server.connections(), server.requests()), (2, 3));
    leave(&http);
}

#[test]
fn after_a_byte_of_a_response_a_request_is_not_sent_again() {
    for part in [
        "H",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 102 Processing\r\n\r\n",
    ] {
        let server = Server::start(move |_, mut peer| {
            peer.request();
            peer.send(OK);
            peer.request();
            peer.send(part);
        });
        let http = warm(&server);
        let error = ask(&http, &server, Method::GET, ()).unwrap_err();
        assert!(matches!(error, HttpError::Ended { .. }), "{error:?}");
        assert_eq!((server.connections(), server.requests()), (1, 2));
        leave(&http);
    }
}

#[test]
fn a_response_that_ends_in_its_body_is_not_asked_for_again() {
    let server = Server::start(move |_, mut peer| {
        peer.request();
        peer.send(OK);
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe");
    });
    let http = warm(&server);
    let error = ask(&http, &server, Method::GET, ()).unwrap_err();
    assert!(
        matches!(
            error,
            HttpError::BodyTooShort {
                missing: Some(3),
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!((server.connections(), server.requests()), (1, 2));
    leave(&http);
}

#[test]
fn a_timeout_is_not_answered_with_another_try() {
    let server = dying(|mut peer| drop(peer.end()), None);
    let http = warm(&server);
    let request = Request::get(server.url("/")).body(()).unwrap();
    let error = http.send_timeout(request, common::ms(100)).unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    assert_eq!(server.connections(), 1);
    leave(&http);
}

#[test]
fn a_reader_that_was_read_is_not_sent_again() {
    for second in [fin as Second, rst] {
        let server = dying(second, None);
        let http = warm(&server);
        let content = HttpRequestBody::sized(Cursor::new(b"hello"), 5);
        lost(ask(&http, &server, Method::PUT, content));
        assert_eq!((server.connections(), server.requests()), (1, 2));
        leave(&http);
    }
}

#[test]
fn a_reader_that_was_not_read_yet_is_sent_on_the_new_connection() {
    let server = Server::start(|number, mut peer| {
        peer.request();
        peer.send(OK);
        if number == 0 {
            // The body would come after a 100.
            peer.head();
        }
    });
    let http = warm(&server);
    let request = Request::put(server.url("/")).header("expect", "100-continue");
    let content = HttpRequestBody::sized(Cursor::new(b"hello"), 5);
    let response = http.send(request.body(content).unwrap()).unwrap();
    assert_eq!(body(response).unwrap(), b"ok");
    assert_eq!((server.connections(), server.requests()), (2, 3));
    leave(&http);
}

#[test]
fn the_second_try_takes_no_other_idle_connection() {
    // Three connections become idle; then each dies with its next request.
    let together = Gate::default();
    let asked = Arc::new(AtomicUsize::new(0));
    let (gate, count) = (together.clone(), Arc::clone(&asked));
    let server = Server::start(move |number, mut peer| {
        if number >= 3 {
            return peer.answer(OK);
        }
        peer.request();
        count.fetch_add(1, Ordering::SeqCst);
        gate.pass();
        peer.send(OK);
        peer.request();
    });
    let http = build("retry-fresh");
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| fetch_ok(&http, &server));
        }
        common::eventually(|| asked.load(Ordering::SeqCst) == 3);
        together.open();
    });
    assert_eq!(http.stats().idle, 3);
    fetch_ok(&http, &server);
    assert_eq!((server.connections(), server.requests()), (4, 5));
    leave(&http);
}

#[test]
fn a_connection_whose_end_has_come_is_passed_over_without_a_try() {
    for reset in [false, true] {
        let gone = Gate::default();
        let done = gone.clone();
        let server = Server::start(move |number, mut peer| {
            if number > 0 {
                return peer.answer(OK);
            }
            peer.request();
            peer.send(OK);
            if reset {
                peer.rst();
            } else {
                drop(peer);
            }
            done.open();
        });
        let http = warm(&server);
        gone.pass();
        // A POST succeeds too.
        assert_eq!(ask(&http, &server, Method::POST, "x").unwrap(), b"ok");
        assert_eq!((server.connections(), server.requests()), (2, 2));
        leave(&http);
    }
}
