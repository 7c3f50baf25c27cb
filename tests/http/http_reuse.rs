//! After which responses a connection serves the next request, and after which it does not.

use crate::common;
use crate::http;

use common::{Gate, eventually};
use conpool::{EvictReason, HttpError, http_types::Request};
use http::{OK, Server, body, build, fetch, fetch_ok, leave};
use std::io::Read;

const REUSED: usize = 1;
const EVICTED: usize = 2;

/// The body of the response `first`, and the number of connections for this and the next request.
#[track_caller]
fn after(method: &str, first: &str, expected: &str, connections: usize) {
    let server = Server::first(first.to_owned());
    let http = build("reuse");
    let request = Request::builder().method(method).uri(server.url("/"));
    let response = http.send(request.body(()).unwrap()).unwrap();
    assert_eq!(body(response).unwrap(), expected.as_bytes(), "{first}");
    fetch_ok(&http, &server);
    assert_eq!(server.connections(), connections, "{method} {first}");
    assert_eq!(server.requests(), 2, "{method} {first}");
    let evicted = http.stats().evicted(EvictReason::Broken);
    assert_eq!(evicted as usize, connections - 1, "{method} {first}");
    leave(&http);
}

#[test]
fn a_complete_response_leaves_its_connection_to_the_next_request() {
    for (response, expected) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", "hello"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", ""),
        (
            "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno",
            "no",
        ),
        ("HTTP/1.1 500\r\ncontent-length: 2\r\n\r\nno", "no"),
        (
            "HTTP/1.1 302 Found\r\nlocation: /b\r\ncontent-length: 1\r\n\r\n.",
            ".",
        ),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok", "ok"),
        (
            "HTTP/1.1 200 OK\r\nconnection: keep-alive\r\ncontent-length: 1\r\n\r\n.",
            ".",
        ),
        (
            "HTTP/1.0 200 OK\r\nconnection: Keep-Alive\r\ncontent-length: 1\r\n\r\n.",
            ".",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n\
             5;name=\"a long value of an extension\"\r\nhello\r\n1\r\n!\r\n0\r\nexpires: never\r\n\r\n",
            "hello!",
        ),
        (
            "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
             HTTP/1.1 100 Continue\r\nx: y\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n.",
            ".",
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n", ""),
        ("HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n", ""),
        (
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 17\r\n\r\n",
            "",
        ),
        (
            "HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n",
            "",
        ),
    ] {
        after("GET", response, expected, REUSED);
    }
    for response in [
        "HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
    ] {
        after("HEAD", response, "", REUSED);
    }
    after(
        "PURGE",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n.",
        ".",
        REUSED,
    );
}

#[test]
fn a_response_after_which_nothing_is_certain_costs_its_connection() {
    for (response, expected) in [
        (
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\n.",
            ".",
        ),
        (
            "HTTP/1.1 200 OK\r\nconnection: x, CLOSE\r\ncontent-length: 1\r\n\r\n.",
            ".",
        ),
        ("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n.", "."),
        (
            "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n.",
            ".",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            "abc",
        ),
        ("HTTP/1.1 204 No Content\r\ncontent-length: 3\r\n\r\n", ""),
        (
            "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n",
            "",
        ),
        ("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n", ""),
        // More bytes than the response, at once.
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n.!", "."),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n.\r\n", "."),
        ("HTTP/1.1 204 No Content\r\n\r\nhello", ""),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n.\r\n0\r\n\r\n!",
            ".",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n.\
             HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfalse",
            ".",
        ),
    ] {
        after("GET", response, expected, EVICTED);
    }
    after(
        "HEAD",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno",
        "",
        EVICTED,
    );
}

#[test]
fn a_body_that_ends_with_its_connection_is_whole_and_the_next_request_has_another() {
    let server = Server::start(|number, mut peer| {
        if number == 0 {
            peer.request();
            peer.send("HTTP/1.1 200 OK\r\n\r\nall of it");
        } else {
            peer.answer(OK);
        }
    });
    let http = build("until-close");
    assert_eq!(fetch(&http, &server).unwrap().1, b"all of it");
    fetch_ok(&http, &server);
    assert_eq!(server.connections(), 2);
    leave(&http);
}

#[test]
fn a_request_that_says_close_has_its_connection_for_itself() {
    let server = Server::plain();
    let http = build("says-close");
    for value in ["close", "x, Close"] {
        let request = Request::get(server.url("/")).header("connection", value);
        let response = http.send(request.body(()).unwrap()).unwrap();
        assert_eq!(body(response).unwrap(), b"ok");
    }
    fetch_ok(&http, &server);
    assert_eq!(server.connections(), 3);
    leave(&http);
}

#[test]
fn bytes_that_come_while_a_connection_is_idle_mean_that_it_is_not_used_again() {
    let (idle, said) = (Gate::default(), Gate::default());
    let (when_idle, then_say) = (idle.clone(), said.clone());
    let server = Server::start(move |number, mut peer| {
        peer.request();
        peer.send(OK);
        if number == 0 {
            when_idle.pass();
            peer.send("HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n");
            then_say.open();
        }
        peer.answer(OK);
    });
    let http = build("late-bytes");
    fetch_ok(&http, &server);
    idle.open();
    said.pass();
    fetch_ok(&http, &server);
    assert_eq!(server.connections(), 2);
    assert_eq!(http.stats().evicted(EvictReason::HookFailed), 1);
    leave(&http);
}

#[test]
fn the_read_of_the_last_byte_gives_the_connection_back_and_not_the_drop() {
    let server = Server::plain();
    let http = build("last-byte");
    let mut body = http.get(server.url("/")).unwrap().into_body();
    assert_eq!((body.remaining(), body.holds_connection()), (Some(2), true));
    let mut byte = [0];
    body.read_exact(&mut byte).unwrap();
    assert_eq!((body.remaining(), http.stats().in_use), (Some(1), 1));
    body.read_exact(&mut byte).unwrap();
    assert_eq!((body.remaining(), http.stats().in_use), (Some(0), 0));
    assert!(!body.holds_connection());
    // Keeping the connection is fine.
    fetch_ok(&http, &server);
    assert_eq!(body.read(&mut byte).unwrap(), 0);
    assert_eq!(server.connections(), 1);
    leave(&http);
}

#[test]
fn a_response_without_a_body_holds_no_connection() {
    let server = Server::first("HTTP/1.1 204 No Content\r\n\r\n");
    let http = build("no-body");
    let response = http.get(server.url("/")).unwrap();
    assert_eq!(http.stats().idle, 1);
    assert!(!response.body().holds_connection());
    drop(response);
    leave(&http);
}

#[test]
fn a_body_dropped_unread_costs_its_connection_unless_the_rest_has_come() {
    let server = Server::start(|number, mut peer| {
        while peer.request().is_some() {
            if number == 0 {
                // In one write.
                peer.send(OK);
                continue;
            }
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n");
            // The rest of the response never comes.
            peer.end();
        }
    });
    let http = build("dropped");
    for _ in 0..3 {
        drop(http.get(server.url("/")).unwrap());
    }
    assert_eq!((server.connections(), http.stats().idle), (1, 1));
    http.clear();
    eventually(|| http.stats().size == 0);
    for connections in [2, 3] {
        drop(http.get(server.url("/")).unwrap());
        assert_eq!(server.connections(), connections);
    }
    assert_eq!(http.stats().evicted(EvictReason::Broken), 2);
    leave(&http);
}

#[test]
fn a_reader_that_fails_in_the_middle_of_a_body_costs_its_connection() {
    let server = Server::first("HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\nhello");
    let http = build("half-read");
    let mut response = http.get(server.url("/")).unwrap();
    let mut piece = [0; 5];
    response.body_mut().read_exact(&mut piece).unwrap();
    assert_eq!(&piece, b"hello");
    drop(response);
    fetch_ok(&http, &server);
    assert_eq!(server.connections(), 2);
    leave(&http);
}

#[test]
fn what_contradicts_itself_is_an_error_and_costs_its_connection() {
    for response in [
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n..",
        "HTTP/1.1 200 OK\r\ncontent-length: 1, 2\r\n\r\n..",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n.",
        "HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\n.",
        "HTTP/1.1 200 OK\r\ncontent-length: 1x\r\n\r\n.",
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n.",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n.",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-1\r\n.\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n+1\r\n.\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n..\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n.",
    ] {
        let server = Server::first(response);
        let http = build("contradiction");
        let error = fetch(&http, &server).unwrap_err();
        assert!(
            matches!(error, HttpError::Protocol { .. }),
            "{response}: {error:?}"
        );
        fetch_ok(&http, &server);
        assert_eq!(server.connections(), 2, "{response}");
        leave(&http);
    }
}
