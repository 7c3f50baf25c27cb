//! The client with a real nginx. Without nginx the tests print so and pass.

#![cfg(unix)]

use crate::common;
use crate::http;

use common::{Rng, SOON, ms, secs};
use conpool::{EvictReason, HttpError, HttpPool, HttpRequestBody, http_types::Request};
use http::{body, build, leave, nginx::Nginx, pool};
use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Instant,
};

/// Locations that every server here has.
const PLAIN: &str = "location = /hello { default_type text/plain; return 200 'hello'; }\n";

fn bytes(length: usize) -> Vec<u8> {
    let mut rng = Rng::new(length as u64);
    (0..length).map(|_| rng.below(256) as u8).collect()
}

/// Sends a GET and reads the whole response.
fn get(http: &HttpPool, url: &str) -> Result<(u16, Vec<u8>), HttpError> {
    let response = http.get(url)?;
    Ok((response.status().as_u16(), body(response)?))
}

#[track_caller]
fn hello(http: &HttpPool, nginx: &Nginx) {
    let got = get(http, &nginx.url("/hello")).unwrap();
    assert_eq!(got, (200, b"hello".to_vec()));
}

#[test]
fn many_threads_use_no_more_connections_than_a_host_may_have() {
    let Some(nginx) = Nginx::start("threads", PLAIN) else {
        return;
    };
    let http = pool("threads").max_per_host(4).build().unwrap();
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| (0..40).for_each(|_| hello(&http, &nginx)));
        }
    });
    let seen = nginx.connections(640);
    assert!(seen <= 4, "{seen}");
    assert_eq!(http.stats().created, seen as u64);
    leave(&http);
}

#[test]
fn a_limit_of_requests_for_each_connection_is_not_noticed() {
    let Some(nginx) = Nginx::start("limit", &format!("{PLAIN} keepalive_requests 10;")) else {
        return;
    };
    let http = build("limit");
    for _ in 0..45 {
        hello(&http, &nginx);
    }
    assert_eq!(nginx.connections(45), 5);
    // The server sent `connection: close`, so no request had to be repeated.
    assert_eq!(http.stats().evicted(EvictReason::Broken), 4);
    leave(&http);
}

#[test]
fn connections_that_the_server_ends_while_they_are_idle_are_not_noticed() {
    let Some(nginx) = Nginx::start("idle", &format!("{PLAIN} keepalive_timeout 1s;")) else {
        return;
    };
    let http = build("idle");
    hello(&http, &nginx);
    thread::sleep(ms(1400));
    // A POST does not fail either.
    let request = Request::post(nginx.url("/hello")).body("x").unwrap();
    assert_eq!(http.send(request).unwrap().status(), 200);
    assert_eq!(nginx.connections(2), 2);
    assert_eq!(http.stats().evicted(EvictReason::HookFailed), 1);
    leave(&http);
}

#[test]
fn responses_without_a_body_leave_the_connection_in_step() {
    let config = "location = /none { return 204; }\nlocation = /file { etag on; }\n";
    let Some(nginx) = Nginx::start("bodies", &format!("{PLAIN} {config}")) else {
        return;
    };
    fs::write(nginx.www("file"), bytes(5000)).unwrap();
    let http = build("bodies");
    let send = |method, path: &str, etag: &str| {
        let request = Request::builder().method(method).uri(nginx.url(path));
        let request = request.header("if-none-match", etag).body(()).unwrap();
        let response = http.send(request).unwrap();
        let etag = response.headers().get("etag").cloned();
        let status = response.status().as_u16();
        (status, body(response).unwrap().len(), etag)
    };
    assert_eq!(send("GET", "/none", "-").0, 204);
    let (status, length, etag) = send("GET", "/file", "-");
    assert_eq!((status, length), (200, 5000));
    let etag = etag.unwrap();
    assert_eq!(send("GET", "/file", etag.to_str().unwrap()).0, 304);
    assert_eq!(
        (send("HEAD", "/file", "-").0, send("HEAD", "/file", "-").1),
        (200, 0)
    );
    assert_eq!(send("GET", "/missing", "-").0, 404);
    hello(&http, &nginx);
    assert_eq!(nginx.connections(7), 1);
    leave(&http);
}

#[test]
fn large_bodies_go_both_ways_byte_exact() {
    let config = "location /put/ { dav_methods PUT DELETE; client_max_body_size 0; }\n";
    let Some(nginx) = Nginx::start("large", config) else {
        return;
    };
    fs::create_dir(nginx.www("put")).unwrap();
    let content = bytes(6_000_011);
    let http = pool("large").total_timeout(secs(20)).build().unwrap();
    let length = content.len() as u64;
    for (number, sent) in [
        HttpRequestBody::from(&content),
        HttpRequestBody::sized(&content[..], length),
        HttpRequestBody::chunked(&content[..]),
    ]
    .into_iter()
    .enumerate()
    {
        let url = nginx.url(&format!("/put/{number}"));
        let response = http.send(Request::put(&url).body(sent).unwrap()).unwrap();
        assert_eq!(response.status(), 201);
        drop(response);
        let (status, got) = get(&http, &url).unwrap();
        assert_eq!(status, 200);
        assert!(got == content, "{} bytes", got.len());
    }
    assert_eq!(nginx.connections(6), 1);
    leave(&http);
}

#[test]
fn a_body_is_sent_after_the_100_and_not_at_all_after_a_refusal() {
    let config = "location /put/ { dav_methods PUT; client_max_body_size 10k; }\n";
    let Some(nginx) = Nginx::start("expect", &format!("{PLAIN} {config}")) else {
        return;
    };
    fs::create_dir(nginx.www("put")).unwrap();
    // Without the server's 100 this would take too long.
    let http = pool("expect")
        .expect_continue_timeout(secs(20))
        .build()
        .unwrap();
    let put = |length: usize| {
        let request = Request::put(nginx.url("/put/x")).header("expect", "100-continue");
        let response = http.send(request.body(bytes(length)).unwrap()).unwrap();
        let status = response.status().as_u16();
        drop(body(response).unwrap());
        status
    };
    assert_eq!((put(10_000), put(10_000)), (201, 204));
    assert_eq!(http.stats().created, 1);
    assert_eq!(put(20_000), 413);
    assert_eq!(put(10_000), 204);
    assert_eq!(http.stats().created, 2);
    leave(&http);
}

#[test]
fn an_upload_that_is_too_large_hears_so() {
    let config = "location /put/ { dav_methods PUT; client_max_body_size 10k; }\n";
    let Some(nginx) = Nginx::start("too-large", &format!("{PLAIN} {config}")) else {
        return;
    };
    let http = build("too-large");
    for content in [
        HttpRequestBody::from(bytes(3_000_000)),
        HttpRequestBody::sized(std::io::repeat(b'x'), 1 << 40),
        HttpRequestBody::chunked(std::io::repeat(b'x')),
    ] {
        let request = Request::put(nginx.url("/put/x")).body(content).unwrap();
        assert_eq!(http.send(request).unwrap().status(), 413);
        hello(&http, &nginx);
    }
    leave(&http);
}

#[test]
fn what_nginx_compresses_is_handed_on_untouched() {
    let config = "gzip on; gzip_min_length 1; gzip_types text/plain; default_type text/plain;\n";
    let Some(nginx) = Nginx::start("gzip", config) else {
        return;
    };
    let text = "the same words again and again\n".repeat(10_000);
    fs::write(nginx.www("text"), &text).unwrap();
    let http = build("gzip");
    for _ in 0..2 {
        let request = Request::get(nginx.url("/text")).header("accept-encoding", "gzip");
        let response = http.send(request.body(()).unwrap()).unwrap();
        assert_eq!(response.headers()["content-encoding"], "gzip");
        assert_eq!(response.headers()["transfer-encoding"], "chunked");
        let got = body(response).unwrap();
        assert_eq!(&got[..3], b"\x1f\x8b\x08");
        // The last four bytes hold the length of the text.
        let length = u32::from_le_bytes(got[got.len() - 4..].try_into().unwrap());
        assert_eq!(length as usize, text.len());
        assert_eq!(get(&http, &nginx.url("/text")).unwrap().1, text.as_bytes());
    }
    assert_eq!(nginx.connections(4), 1);
    leave(&http);
}

/// Runs threads that send requests until `meanwhile` ends. `meanwhile` gets the number of requests so far.
/// Each failed request is passed to `fails`, and must have ended within its timeout.
fn under_load(
    http: &HttpPool,
    nginx_url: &str,
    fails: impl Fn(HttpError) + Sync,
    meanwhile: impl FnOnce(&AtomicUsize),
) {
    let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    let start = Instant::now();
                    match get(http, nginx_url) {
                        Ok(got) => assert_eq!(got, (200, b"hello".to_vec())),
                        Err(error) => fails(error),
                    }
                    let took = start.elapsed();
                    assert!(took < SOON + common::noise(), "{took:?}");
                    done.fetch_add(1, Ordering::SeqCst);
                    // Leaves processor time to the server on a small machine.
                    thread::sleep(ms(1));
                }
            });
        }
        meanwhile(&done);
        stop.store(true, Ordering::SeqCst);
    });
}

#[test]
fn while_nginx_reloads_every_idempotent_request_succeeds() {
    let Some(nginx) = Nginx::start("reload", PLAIN) else {
        return;
    };
    let http = pool("reload").total_timeout(SOON).build().unwrap();
    let fails = |error: HttpError| panic!("{}", http::chain(&error));
    under_load(&http, &nginx.url("/hello"), fails, |done| {
        for _ in 0..5 {
            thread::sleep(ms(80));
            nginx.reload();
        }
        thread::sleep(ms(80));
        common::eventually(|| done.load(Ordering::SeqCst) > 50);
    });
    assert!(http.stats().created > 8, "{}", http.stats());
    leave(&http);
}

#[test]
fn while_nginx_restarts_every_request_succeeds_or_fails_in_time() {
    let Some(mut nginx) = Nginx::start("restart", PLAIN) else {
        return;
    };
    let http = pool("restart").total_timeout(SOON).build().unwrap();
    let failed = AtomicUsize::new(0);
    let fails = |error: HttpError| {
        failed.fetch_add(1, Ordering::SeqCst);
        // Refused while the server is down, or cut off when it stopped; never a wrong answer.
        let known = matches!(
            error,
            HttpError::Pool(_)
                | HttpError::Ended { .. }
                | HttpError::Io { .. }
                | HttpError::BodyTooShort { .. }
        );
        assert!(known, "{}", http::chain(&error));
    };
    let url = nginx.url("/hello");
    under_load(&http, &url, fails, |_| {
        for _ in 0..2 {
            thread::sleep(ms(80));
            nginx.stop();
            thread::sleep(ms(50));
            common::eventually(|| failed.load(Ordering::SeqCst) > 0);
            nginx.run();
            assert!(nginx.is_up());
        }
        common::eventually(|| get(&http, &url).is_ok());
        thread::sleep(ms(80));
    });
    hello(&http, &nginx);
    leave(&http);
}

#[cfg(feature = "tls")]
#[test]
fn https_keeps_its_connection_too() {
    let authority = http::authority::Authority::new();
    let identity = authority.identity();
    let config = "ssl_certificate FOLDER/cert.pem; ssl_certificate_key FOLDER/key.pem;\n\
                  location /put/ { dav_methods PUT; client_max_body_size 0; }\n";
    let files = [
        ("cert.pem", &*identity.certificate.pem()),
        ("key.pem", &*identity.key.serialize_pem()),
    ];
    let Some(nginx) = Nginx::start_with("https", &format!("{PLAIN} {config}"), &files) else {
        return;
    };
    fs::create_dir(nginx.www("put")).unwrap();
    let http = pool("https").tls(authority.trusted()).build().unwrap();
    let url = |path: &str| format!("https://localhost:{}{path}", nginx.port());
    for _ in 0..10 {
        assert_eq!(get(&http, &url("/hello")).unwrap().1, b"hello");
    }
    let content = bytes(2_000_003);
    let upload = HttpRequestBody::chunked(&content[..]);
    let response = http
        .send(Request::put(url("/put/x")).body(upload).unwrap())
        .unwrap();
    assert_eq!(response.status(), 201);
    assert!(get(&http, &url("/put/x")).unwrap().1 == content);
    assert_eq!(nginx.connections(12), 1);
    leave(&http);
}
