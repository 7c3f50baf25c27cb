//! What goes over the wire for a request, and what is refused before it does.

mod common;
mod http;

use common::{Gate, assert_at, ms, timed};
use conpool::{
    HttpError, HttpPool, HttpRequestBody,
    http_types::{Method, Request},
};
use http::{Head, OK, Server, body, build, chain, fetch_ok, leave, pool};
use std::{
    borrow::Cow,
    io::{self, Cursor, Read},
    sync::{Arc, Mutex},
};

type Seen = Arc<Mutex<Vec<(Head, Vec<u8>)>>>;

/// Writes down every request and answers it with [`OK`].
fn recorder() -> (Server, Seen) {
    let seen = Seen::default();
    let log = Arc::clone(&seen);
    let server = Server::start(move |_, mut peer| {
        while let Some(request) = peer.request() {
            log.lock().unwrap().push(request);
            peer.send(OK);
        }
    });
    (server, seen)
}

fn post(server: &Server) -> conpool::http_types::request::Builder {
    Request::post(server.url("/"))
}

#[track_caller]
fn done<'a>(http: &HttpPool, request: Request<impl Into<HttpRequestBody<'a>>>) {
    assert_eq!(body(http.send(request).unwrap()).unwrap(), b"ok");
}

#[test]
fn a_body_of_known_length_is_announced_and_one_of_unknown_length_is_chunked() {
    let (server, seen) = recorder();
    let http = build("bodies");
    let borrowed = b"hello".to_vec();
    let text = String::from("hello");
    let content = || Cursor::new(b"hello world");
    done(&http, post(&server).body(()).unwrap());
    done(&http, post(&server).body("hello").unwrap());
    done(&http, post(&server).body(b"hello").unwrap());
    done(&http, post(&server).body(&borrowed).unwrap());
    done(&http, post(&server).body(&borrowed[..]).unwrap());
    done(&http, post(&server).body(&text).unwrap());
    done(&http, post(&server).body(text.clone()).unwrap());
    done(&http, post(&server).body(borrowed.clone()).unwrap());
    done(&http, post(&server).body(Cow::from(&borrowed[..])).unwrap());
    done(
        &http,
        post(&server)
            .body(HttpRequestBody::sized(content(), 5))
            .unwrap(),
    );
    let named = post(&server).header("content-length", "5");
    done(
        &http,
        named.body(HttpRequestBody::chunked(content())).unwrap(),
    );
    let chunked = HttpRequestBody::chunked(content().take(5));
    done(&http, post(&server).body(chunked).unwrap());
    let named = post(&server).header("transfer-encoding", "chunked");
    done(&http, named.body("hello").unwrap());

    let seen = seen.lock().unwrap();
    let framing = |head: &Head| (head.get("content-length"), head.get("transfer-encoding"));
    assert_eq!(framing(&seen[0].0), (Some("0".into()), None));
    for (head, content) in &seen[1..11] {
        assert_eq!(
            (framing(head), &content[..]),
            ((Some("5".into()), None), &b"hello"[..])
        );
    }
    for (head, content) in &seen[11..13] {
        assert_eq!(
            (framing(head), &content[..]),
            ((None, Some("chunked".into())), &b"hello"[..])
        );
    }
    assert_eq!((seen.len(), server.connections()), (13, 1));
    drop(seen);
    leave(&http);
}

#[test]
fn only_host_and_length_are_added_and_what_is_given_stays() {
    let (server, seen) = recorder();
    let http = build("headers");
    done(&http, Request::get(server.url("?q=1")).body(()).unwrap());
    let given = Request::delete(server.url("/a%20b?x#y"))
        .header("host", "other.example")
        .header("x-two", "1")
        .header("x-two", "2")
        .header("user-agent", "me");
    done(&http, given.body(()).unwrap());
    let seen = seen.lock().unwrap();
    let (first, second) = (&seen[0].0, &seen[1].0);
    assert_eq!(
        (first.method.as_str(), first.target.as_str()),
        ("GET", "/?q=1")
    );
    assert_eq!(
        first.headers,
        [("host".to_owned(), server.addr().to_string())]
    );
    assert_eq!(
        (second.method.as_str(), second.target.as_str()),
        ("DELETE", "/a%20b?x")
    );
    assert_eq!(second.get("host").as_deref(), Some("other.example"));
    assert_eq!(second.get("x-two").as_deref(), Some("1,2"));
    assert_eq!(second.headers.len(), 4);
    drop(seen);
    leave(&http);
}

/// Gives one, two, three bytes at a time, up to a thousand, then one again.
struct Uneven<'a>(&'a [u8], usize);
impl Read for Uneven<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.1 = self.1 % 1000 + 1;
        let most = self.1.min(out.len());
        self.0.read(&mut out[..most])
    }
}

#[test]
fn large_bodies_and_heads_arrive_byte_exact() {
    let (server, seen) = recorder();
    let http = build("large-requests");
    let mut dice = common::Dice::new(7);
    let content: Vec<u8> = (0..2_000_003).map(|_| dice.roll(256) as u8).collect();
    let long = "x".repeat(40_000);
    let length = content.len() as u64;
    for request in [
        post(&server).body(HttpRequestBody::from(&content)).unwrap(),
        post(&server)
            .body(HttpRequestBody::sized(&content[..], length))
            .unwrap(),
        post(&server)
            .body(HttpRequestBody::chunked(&content[..]))
            .unwrap(),
        post(&server)
            .body(HttpRequestBody::chunked(Uneven(&content, 0)))
            .unwrap(),
        post(&server)
            .body(HttpRequestBody::sized(Uneven(&content, 0), length))
            .unwrap(),
        post(&server)
            .header("transfer-encoding", "chunked")
            .header("x-long", &long)
            .body(HttpRequestBody::from(&content))
            .unwrap(),
    ] {
        done(&http, request);
    }
    let seen = seen.lock().unwrap();
    assert!(seen.iter().all(|(_, got)| *got == content));
    assert_eq!(seen[5].0.get("x-long"), Some(long));
    assert_eq!((seen.len(), server.connections()), (6, 1));
    drop(seen);
    leave(&http);
}

#[test]
fn chunks_of_every_size_around_the_limits_are_whole() {
    let (server, seen) = recorder();
    let http = build("chunk-sizes");
    for length in (0..40)
        .chain(8180..8200)
        .chain(10_230..10_260)
        .chain(16_370..16_400)
    {
        let content = vec![b'x'; length];
        done(
            &http,
            post(&server)
                .body(HttpRequestBody::chunked(&content[..]))
                .unwrap(),
        );
        assert!(seen.lock().unwrap().pop().unwrap().1 == content, "{length}");
    }
    leave(&http);
}

#[test]
fn a_streaming_body_is_sent_as_it_is_read() {
    /// Gives its second piece only after the server has seen the first.
    struct Waiting(Gate, u8);
    impl Read for Waiting {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.1 += 1;
            match self.1 {
                1 => (&b"first"[..]).read(out),
                2 => {
                    self.0.pass();
                    (&b"second"[..]).read(out)
                }
                _ => Ok(0),
            }
        }
    }
    for chunked in [true, false] {
        let seen = Gate::default();
        let gate = seen.clone();
        let server = Server::start(move |_, mut peer| {
            let head = peer.head().unwrap();
            if chunked {
                assert_eq!(peer.line().unwrap(), "5");
            }
            assert_eq!(peer.exactly(5).unwrap(), b"first");
            gate.open();
            if chunked {
                assert_eq!(peer.line().unwrap(), "");
                assert_eq!(peer.body(&head).unwrap(), b"second");
            } else {
                assert_eq!(peer.exactly(6).unwrap(), b"second");
            }
            peer.send(OK);
            peer.end();
        });
        let http = build("as-read");
        let reader = Waiting(seen, 0);
        let content = match chunked {
            true => HttpRequestBody::chunked(reader),
            false => HttpRequestBody::sized(reader, 11),
        };
        done(&http, post(&server).body(content).unwrap());
        leave(&http);
    }
}

#[test]
fn what_is_no_request_is_refused_before_a_connection_is_taken() {
    let server = Server::plain();
    let http = build("refused");
    let request = |method: Method| Request::builder().method(method).uri(server.url("/"));
    let get = || request(Method::GET);
    let both = get()
        .header("content-length", "5")
        .header("transfer-encoding", "chunked");
    let twice = get()
        .header("content-length", "5")
        .header("content-length", "5");
    let two_hosts = get().header("host", "a").header("host", "b");
    for (refused, reason) in [
        (
            both.body("hello"),
            "both transfer-encoding and content-length",
        ),
        (twice.body("hello"), "more than one content-length"),
        (two_hosts.body(""), "more than one host"),
        (
            get().header("content-length", "6").body("hello"),
            "says 6, the body has 5",
        ),
        (
            get().header("content-length", "+5").body("hello"),
            "no number",
        ),
        (
            get().header("content-length", "").body("hello"),
            "no number",
        ),
        (
            get().header("transfer-encoding", "gzip").body("hello"),
            "chunked",
        ),
        (
            get()
                .header("transfer-encoding", "gzip, chunked")
                .body("hello"),
            "chunked",
        ),
        (
            request(Method::HEAD).body("hello"),
            "HEAD cannot have a body",
        ),
        (
            request(Method::TRACE).body("hello"),
            "TRACE cannot have a body",
        ),
        (request(Method::CONNECT).body(""), "CONNECT"),
        (
            get().version(conpool::http_types::Version::HTTP_2).body(""),
            "HTTP/1.1",
        ),
        (
            get()
                .version(conpool::http_types::Version::HTTP_10)
                .body(""),
            "HTTP/1.1",
        ),
    ] {
        let error = http.send(refused.unwrap()).unwrap_err();
        assert!(matches!(error, HttpError::Request { .. }), "{error:?}");
        assert!(chain(&error).contains(reason), "{}", chain(&error));
    }
    for uri in ["/path", "ftp://a/", "http://user@a/", "http://a:0/"] {
        let error = http.get(uri).unwrap_err();
        assert!(matches!(error, HttpError::Uri { .. }), "{error:?}");
    }
    let error = http.get("not a uri").unwrap_err();
    assert!(matches!(error, HttpError::Request { .. }), "{error:?}");
    assert_eq!((server.connections(), http.stats().created), (0, 0));
    leave(&http);
}

#[test]
fn a_header_cannot_carry_a_second_one() {
    for value in ["a\r\nx: y", "a\nx: y", "a\rb", "a\0b"] {
        assert!(
            Request::get("http://a/")
                .header("x", value)
                .body(())
                .is_err(),
            "{value:?}"
        );
    }
    for uri in [
        "http://a/\r\nx: y",
        "http://a/ HTTP/1.1\r\nx:",
        "http://a\r\nb/",
    ] {
        assert!(Request::get(uri).body(()).is_err(), "{uri:?}");
    }
    assert!(Method::from_bytes(b"GET / HTTP/1.1\r\nx:").is_err());
}

#[test]
fn a_reader_that_fails_or_ends_early_is_an_error_and_the_server_does_not_take_it_for_the_whole() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is gone"))
        }
    }
    let partial = || (&b"hello"[..]).chain(Failing);
    for (content, reason) in [
        (HttpRequestBody::chunked(partial()), "the disk is gone"),
        (HttpRequestBody::sized(partial(), 10), "the disk is gone"),
        (
            HttpRequestBody::sized(&b"hello"[..], 10),
            "after 5 of 10 bytes",
        ),
        (HttpRequestBody::sized(&b""[..], 10), "after 0 of 10 bytes"),
    ] {
        let whole = Arc::new(Mutex::new(None));
        let seen = Arc::clone(&whole);
        let server = Server::start(move |number, mut peer| {
            if number == 0 {
                *seen.lock().unwrap() = Some(peer.request().is_some());
            }
            peer.answer(OK);
        });
        let http = build("failing");
        let error = http.send(post(&server).body(content).unwrap()).unwrap_err();
        assert!(chain(&error).contains(reason), "{}", chain(&error));
        common::eventually(|| whole.lock().unwrap().is_some());
        assert_eq!(*whole.lock().unwrap(), Some(false), "{reason}");
        fetch_ok(&http, &server);
        assert_eq!(server.connections(), 2);
        leave(&http);
    }
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
        // Longer than anyone would wait for nothing.
        let http = pool("expect")
            .expect_continue_timeout(common::SOON)
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
            .expect_continue_timeout(common::SOON)
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

/// Notes whether it was read.
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

/// With the body that the server wants to see.
fn fetch_ok_any(http: &HttpPool, server: &Server) {
    done(http, post(server).body("hello").unwrap());
}

#[test]
fn a_response_before_the_whole_request_ends_the_sending_and_costs_the_connection() {
    let server = Server::start(|number, mut peer| {
        if number > 0 {
            return peer.answer(OK);
        }
        peer.head();
        // Nothing of the body is read, and so it cannot all be sent.
        peer.send("HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno");
        peer.end();
    });
    let http = build("too-large");
    for endless in [false, true] {
        let server = if endless { &server } else { &again() };
        let content = match endless {
            true => HttpRequestBody::chunked(io::repeat(b'x')),
            false => HttpRequestBody::sized(io::repeat(b'x'), 1 << 40),
        };
        let response = http.send(post(server).body(content).unwrap()).unwrap();
        assert_eq!(response.status(), 413);
        assert_eq!(body(response).unwrap(), b"no");
        fetch_ok(&http, server);
        assert_eq!(server.connections(), 2);
    }
    leave(&http);
}

/// As the server above, but with a stop in between: the client is stuck in a write when it answers.
fn again() -> Server {
    Server::start(|number, mut peer| {
        if number > 0 {
            return peer.answer(OK);
        }
        peer.head();
        std::thread::sleep(ms(50));
        peer.send("HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno");
        peer.end();
    })
}

#[test]
fn the_last_words_of_a_server_that_ends_the_connection_are_heard() {
    let server = Server::start(|_, mut peer| {
        peer.head();
        peer.send("HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno");
        peer.fin();
        // What the client still sends meets a reset when this ends.
        peer.exactly(100_000);
    });
    let http = build("last-words");
    let content = HttpRequestBody::sized(io::repeat(b'x'), 1 << 40);
    let response = http.send(post(&server).body(content).unwrap()).unwrap();
    assert_eq!(response.status(), 413);
    assert_eq!(body(response).unwrap(), b"no");
    leave(&http);
}
