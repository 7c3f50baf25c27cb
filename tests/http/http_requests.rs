//! What goes over the wire for a request, and what is refused before it does.

use crate::common;
use crate::http;

use common::Gate;
use conpool::{
    HttpError, HttpPool, HttpRequestBody,
    http_types::{Method, Request},
};
use http::{Head, OK, Server, body, build, chain, fetch_ok, leave};
use std::{
    borrow::Cow,
    io::{self, Cursor, Read},
    sync::{Arc, Mutex},
};

type Seen = Arc<Mutex<Vec<(Head, Vec<u8>)>>>;

/// Records every request and answers it with [`OK`].
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

/// Returns one, two, three bytes at a time, up to a thousand, then one again.
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
    let mut rng = common::Rng::new(7);
    let content: Vec<u8> = (0..2_000_003).map(|_| rng.below(256) as u8).collect();
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
    /// Returns its second piece only after the server has seen the first.
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
