//! What becomes of replies that a real server seldom gives.

use std::future::{Future, poll_fn};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use highwater::remote::{Bucket, Created, ObjectStore, StoreError, StoreErrorKind, UploadId};

use crate::place::wait;

/// What the server says, and closes the connection.
type Answer = (u16, &'static str);

/// Closes the connection instead of saying anything.
const SILENCE: Answer = (0, "");

/// A bucket on a server that says `answer` to every request.
fn bucket(answer: Answer) -> Bucket {
    at(&serve(move |mut stream| {
        read_request(&mut stream);
        let (status, body) = answer;
        if answer != SILENCE {
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close", body.len());
            let _ = write!(stream, "{head}\r\nETag: \"e\"\r\n\r\n{body}");
        }
    }))
}

/// A server that does this with every connection; its URL.
fn serve(with: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || listener.incoming().map_while(Result::ok).for_each(with));
    url
}

fn read_request(stream: &mut TcpStream) {
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    while !is_whole(&request) {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(count) => request.extend_from_slice(&buffer[..count]),
        }
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.trim().parse().unwrap())
}

fn options<'a>(endpoint: &'a str, timeout: &'a str) -> [(&'static str, &'a str); 6] {
    [
        ("endpoint", endpoint),
        ("timeout", timeout),
        ("allow_http", "true"),
        ("access_key_id", "test"),
        ("secret_access_key", "not to be told"),
        ("region", "us-east-1"),
    ]
}

fn at(endpoint: &str) -> Bucket {
    let bucket = Bucket::at("s3://bucket/prefix", options(endpoint, "1s")).unwrap();
    assert!(!format!("{bucket:?}").contains("not to be told"));
    bucket
}

fn kind<T: std::fmt::Debug>(reply: Result<T, StoreError>) -> StoreErrorKind {
    let error = reply.unwrap_err();
    assert!(!error.to_string().contains("not to be told"), "{error}");
    error.kind()
}

const BODY: Bytes = Bytes::from_static(b"body");

pub(crate) fn what_is_not_known_to_be_undone_is_unknown() {
    use StoreErrorKind as K;
    for (answer, changed, read) in [
        ((500, "<Code>InternalError</Code>"), K::Unknown, K::Unavailable),
        ((502, ""), K::Unknown, K::Unavailable),
        ((503, "<Code>SlowDown</Code>"), K::Throttled, K::Throttled),
        ((503, "a proxy says so"), K::Unknown, K::Throttled),
        ((429, ""), K::Throttled, K::Throttled),
        ((408, ""), K::Unknown, K::Unavailable),
        ((400, "<Code>RequestTimeout</Code>"), K::Unknown, K::Unavailable),
        ((400, "<Code>AuthorizationHeaderMalformed</Code>"), K::Refused, K::Refused),
        ((401, ""), K::Refused, K::Refused),
        ((403, "<Code>AccessDenied</Code>"), K::Refused, K::Refused),
        (SILENCE, K::Unknown, K::Unavailable),
    ] {
        let bucket = bucket(answer);
        assert_eq!(kind(wait(bucket.create("m/1", BODY))), changed, "create: {answer:?}");
        assert_eq!(kind(wait(bucket.put("f/1", BODY))), changed, "put: {answer:?}");
        assert_eq!(kind(wait(bucket.get("m/1", 0..10))), read, "get: {answer:?}");
        if answer.0 != 400 {
            assert_eq!(kind(wait(bucket.size("m/1"))), read, "size: {answer:?}");
        }
        assert_eq!(kind(wait(bucket.list("m/"))), read, "list: {answer:?}");
    }
}

pub(crate) fn a_server_that_is_not_there_has_done_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let bucket = at(&endpoint);
    assert_eq!(kind(wait(bucket.create("m/1", BODY))), StoreErrorKind::Unavailable);
    assert_eq!(kind(wait(bucket.get("m/1", 0..1))), StoreErrorKind::Unavailable);
}

pub(crate) fn only_a_read_tells_what_a_taken_name_means() {
    for status in [412, 409] {
        assert_eq!(wait(bucket((status, "")).create("m/1", BODY)), Ok(Created::Exists), "{status}");
    }
    let put = kind(wait(bucket((409, "<Code>OperationAborted</Code>")).put("f/1", BODY)));
    assert_eq!(put, StoreErrorKind::Unavailable);
}

pub(crate) fn what_is_not_there_is_no_error_but_to_an_upload() {
    let bucket = bucket((404, "<Code>NoSuchUpload</Code>"));
    assert_eq!(wait(bucket.get("m/1", 0..1)), Ok(None));
    assert_eq!(wait(bucket.size("m/1")), Ok(None));
    let upload = UploadId("gone".to_owned());
    assert_eq!(kind(wait(bucket.put_part("f/1", &upload, 0, BODY))), StoreErrorKind::Refused);
    assert_eq!(kind(wait(bucket.complete_upload("f/1", &upload, &[]))), StoreErrorKind::Refused);
    assert_eq!(wait(bucket.abort_upload("f/1", &upload)), Ok(()));
}

pub(crate) fn a_server_that_says_nothing_is_not_waited_for() {
    let (tell, told) = channel();
    let endpoint = serve(move |stream| hang(stream, &tell));
    let bucket = at(&endpoint);
    assert_eq!(kind(wait(bucket.create("m/1", BODY))), StoreErrorKind::Unknown);
    assert_eq!(kind(wait(bucket.size("m/1"))), StoreErrorKind::Unavailable);
    for _ in 0..2 {
        told.recv_timeout(Duration::from_secs(60)).unwrap();
    }
}

pub(crate) fn a_caller_that_gives_up_takes_its_request_along() {
    let (tell, told) = channel();
    let (asked, heard) = channel();
    let endpoint = serve(move |stream| {
        asked.send(()).unwrap();
        hang(stream, &tell);
    });
    // Nothing but the end of its caller ends this one.
    let bucket = Bucket::at("s3://bucket", options(&endpoint, "1h")).unwrap();
    let mut request = Box::pin(bucket.size("m/1"));
    wait(poll_fn(|context| {
        assert!(request.as_mut().poll(context).is_pending());
        Poll::Ready(())
    }));
    heard.recv_timeout(Duration::from_secs(60)).unwrap();
    drop(request);
    told.recv_timeout(Duration::from_secs(60)).unwrap();
}

/// Says nothing until the other side closes the connection, and tells that.
fn hang(mut stream: TcpStream, tell: &Sender<()>) {
    while stream.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {}
    let _ = tell.send(());
}
