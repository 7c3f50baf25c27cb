//! What a server sends before it has the whole request: a 100, a refusal, or the answer itself.

use crate::common;
use crate::http;

use common::{Gate, assert_at, ms, timed};
use conpool::{
    HttpPool, HttpRequestBody,
    http_types::{Request, request::Builder},
};
use http::{OK, Server, body, build, fetch_ok, leave, pool};
use std::{
    io::{self, Cursor, Read},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

fn post(server: &Server) -> Builder {
    Request::post(server.url("/"))
}

#[track_caller]
fn done<'a>(http: &HttpPool, request: Request<impl Into<HttpRequestBody<'a>>>) {
    assert_eq!(body(http.send(request).unwrap()).unwrap(), b"ok");
}

#[test]
fn a_body_waits_for_the_100_and_follows_it() {
    for hello in [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\nserver: x\r\n\r\n",
    ] {
        let server = Server::start(move |_, mut peer| {
            while let Some(head) = peer.head() {
                assert_eq!(head.get("expect").as_deref(), Some("100-continue"));
                peer.send(hello);
                assert_eq!(peer.body(&head).unwrap(), b"hello");
                peer.send(OK);
            }
        });
        // Longer than the test may take.
        let http = pool("expect")
            .expect_continue_timeout(common::secs(30))
            .build()
            .unwrap();
        for _ in 0..2 {
            let request = post(&server).header("expect", "100-continue");
            done(
                &http,
                request
                    .body(HttpRequestBody::chunked(&b"hello"[..]))
                    .unwrap(),
            );
            let request = post(&server).header("expect", "100-continue");
            done(&http, request.body("hello").unwrap());
        }
        assert_eq!(server.connections(), 1);
        leave(&http);
    }
}

#[test]
fn a_body_that_is_refused_is_not_sent_and_its_connection_is_not_used_again() {
    for response in [
        "HTTP/1.1 417 Expectation Failed\r\ncontent-length: 2\r\n\r\nno",
        "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: x\r\ncontent-length: 2\r\n\r\nno",
        "HTTP/1.1 200 OK\r\n\r\nno",
    ] {
        let left = Arc::new(Mutex::new(None));
        let log = Arc::clone(&left);
        let server = Server::start(move |number, mut peer| {
            if number > 0 {
                return peer.answer(OK);
            }
            peer.head();
            peer.send(response);
            if !response.contains("length") {
                peer.fin();
            }
            *log.lock().unwrap() = peer.end();
        });
        let http = pool("refusing")
            .expect_continue_timeout(common::secs(30))
            .build()
            .unwrap();
        let mut touched = false;
        let reader = Cursor::new(b"hello").take(5);
        let request = post(&server).header("expect", "100-continue");
        let request = request.body(HttpRequestBody::chunked(Marking(reader, &mut touched)));
        assert_eq!(body(http.send(request.unwrap()).unwrap()).unwrap(), b"no");
        assert!(!touched);
        fetch_ok(&http, &server);
        assert_eq!(server.connections(), 2);
        leave(&http);
        common::eventually(|| left.lock().unwrap().is_some());
        assert_eq!(left.lock().unwrap().as_deref(), Some(&b""[..]));
    }
}

/// Records whether it was read.
struct Marking<'a, R>(R, &'a mut bool);

impl<R: Read> Read for Marking<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        *self.1 = true;
        self.0.read(out)
    }
}

#[test]
fn a_server_that_says_nothing_to_the_expectation_gets_the_body_after_a_while() {
    let server = Server::start(|_, mut peer| peer.answer(OK));
    let wait = ms(60);
    let http = pool("silent")
        .expect_continue_timeout(wait)
        .build()
        .unwrap();
    for _ in 0..2 {
        let request = post(&server).header("expect", "100-continue");
        let request = request.body("hello").unwrap();
        let ((), took) = timed(|| done(&http, request));
        assert_at(took, wait);
    }
    assert_eq!(server.connections(), 1);
    leave(&http);
}

#[test]
fn a_100_that_comes_late_is_no_response() {
    let server = Server::start(|_, mut peer| {
        while let Some((_, content)) = peer.request() {
            assert_eq!(content, b"hello");
            peer.send("HTTP/1.1 100 Continue\r\n\r\n");
            peer.send(OK);
        }
    });
    let http = pool("late-100")
        .expect_continue_timeout(ms(0))
        .build()
        .unwrap();
    let request = post(&server).header("expect", "100-continue");
    done(&http, request.body("hello").unwrap());
    fetch_ok_any(&http, &server);
    assert_eq!(server.connections(), 1);
    leave(&http);
}

/// Fetches with the body that the server expects.
fn fetch_ok_any(http: &HttpPool, server: &Server) {
    done(http, post(server).body("hello").unwrap());
}

/// An endless body that counts how much of it was read.
struct Endless(Arc<AtomicUsize>);

impl Read for Endless {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        out.fill(b'x');
        self.0.fetch_add(out.len(), Ordering::SeqCst);
        Ok(out.len())
    }
}

/// Waits until reading has paused for longer than a client's polling interval.
fn wait_until_stuck(read: &AtomicUsize) {
    let mut before = usize::MAX;
    while before != read.load(Ordering::SeqCst) {
        before = read.load(Ordering::SeqCst);
        thread::sleep(ms(150));
    }
}

#[test]
fn a_response_before_the_whole_request_ends_the_sending_and_costs_the_connection() {
    for (stuck, endless) in [(false, false), (false, true), (true, false), (true, true)] {
        let (over, read) = (Gate::default(), Arc::new(AtomicUsize::new(0)));
        let (gate, sent) = (over.clone(), Arc::clone(&read));
        let server = Server::start(move |number, mut peer| {
            if number > 0 {
                return peer.answer(OK);
            }
            peer.head();
            if stuck {
                wait_until_stuck(&sent);
            }
            // The server reads nothing of the body, so the client cannot send all of it.
            peer.send("HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno");
            gate.pass();
        });
        let http = build("too-large");
        let content = match endless {
            true => HttpRequestBody::chunked(Endless(read)),
            false => HttpRequestBody::sized(Endless(read), 1 << 40),
        };
        let response = http.send(post(&server).body(content).unwrap()).unwrap();
        assert_eq!(response.status(), 413);
        assert_eq!(body(response).unwrap(), b"no");
        fetch_ok(&http, &server);
        assert_eq!(server.connections(), 2);
        leave(&http);
        over.open();
    }
}

#[test]
fn the_last_words_of_a_server_that_ends_the_connection_are_heard() {
    let server = Server::start(|_, mut peer| {
        peer.head();
        peer.send("HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno");
        peer.fin();
        // The rest of the client's body meets a reset when this returns.
        peer.exactly(100_000);
    });
    let http = build("last-words");
    let content = HttpRequestBody::sized(io::repeat(b'x'), 1 << 40);
    let response = http.send(post(&server).body(content).unwrap()).unwrap();
    assert_eq!(response.status(), 413);
    assert_eq!(body(response).unwrap(), b"no");
    leave(&http);
}
