//! The lane against pingora's path: the same request and the same response, through both.

use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::client::{Answer, Client};
use crate::support::gateway::{OwnPath, Path, PingorasPath, Site};
use crate::support::origin::{Act, Origin, Seen};
use crate::support::wire::Fields;

/// Says something about the connection it came on, or the moment: not compared.
const OWN: &[&str] = &["date", "via", "x-request-id", "x-forwarded-port"];

#[derive(Clone, Debug)]
struct Message {
    fields: Vec<(String, String)>,
    body: Body,
}

/// Method, target, and the rest.
type Asked = (String, String, Message);

#[derive(Clone, Debug)]
enum Body {
    None,
    Length(Vec<u8>),
    Chunked(Vec<Vec<u8>>),
    /// A response's alone.
    UntilClose(Vec<u8>),
}

impl Message {
    /// Its bytes behind `start`.
    fn wire(&self, start: &str) -> Vec<u8> {
        let mut out = start.as_bytes().to_vec();
        for (name, value) in &self.fields {
            out.extend(format!("{name}: {value}\r\n").bytes());
        }
        match &self.body {
            Body::None => out.extend(b"\r\n"),
            Body::UntilClose(bytes) => out.extend([&b"\r\n"[..], bytes].concat()),
            Body::Length(bytes) => {
                out.extend(format!("Content-Length: {}\r\n\r\n", bytes.len()).bytes());
                out.extend(bytes);
            }
            Body::Chunked(chunks) => {
                out.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                for chunk in chunks {
                    out.extend(format!("{:x};x=y\r\n", chunk.len()).bytes());
                    out.extend([chunk, &b"\r\n"[..]].concat());
                }
                out.extend(b"0\r\nX-Trailer: t\r\n\r\n");
            }
        }
        out
    }
}

fn fields() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = prop::sample::select(vec![
        "Accept",
        "Cookie",
        "Connection",
        "Keep-Alive",
        "Proxy-Connection",
        "TE",
        "Trailer",
        "X-A",
        "x-a",
        "X-B",
        "Set-Cookie",
        "Server",
        "Via",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Path",
        "Forwarded",
        "X_Real_IP",
        "X-Real-IP",
        "X-Request-Id",
        "User-Agent",
        "HTTP2-Settings",
        "Proxy-Authorization",
        "Proxy-Authenticate",
        "Content-Type",
        "Proxy",
    ]);
    let value = prop::sample::select(vec![
        "",
        "1",
        "a, b",
        "x-a",
        "keep-alive",
        "close",
        "trailers",
        "text/html;q=0.5",
        "10.0.0.1",
        "\"quoted\"",
        "\u{e4}",
        "host",
        "x-b, keep-alive",
    ]);
    let field = (name, value).prop_map(|(name, value)| (name.to_owned(), value.to_owned()));
    prop::collection::vec(field, 0..8).prop_map(|mut fields| {
        // pingora looks at the first of several `Connection` fields only.
        let mut connections = 0;
        fields.retain(|(name, _)| {
            connections += usize::from(name == "Connection");
            name != "Connection" || connections == 1
        });
        fields
    })
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let size = prop_oneof![0..20usize, 4000..5000usize, 60_000..70_000usize];
    (size, any::<u8>())
        .prop_map(|(size, first)| (first..=255).chain(0..first).cycle().take(size).collect())
}

fn chunks() -> impl Strategy<Value = Body> {
    let chunk = bytes().prop_filter("an empty chunk is the last", |chunk| !chunk.is_empty());
    prop::collection::vec(chunk, 0..4).prop_map(Body::Chunked)
}

fn request() -> impl Strategy<Value = Asked> {
    let method = prop::sample::select(vec!["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"]);
    let target = prop::sample::select(vec![
        "/a",
        "/a/",
        "/a/x?y=z",
        "/a//b/../c",
        "/a/%41%2f%zz",
        "/a?",
        "/a/x;y",
        "/none",
        "http://h.example/a/x",
        "http://h.example?x",
        "/a/{b}|^",
        "/a/%00",
    ]);
    let body = prop_oneof![Just(Body::None), bytes().prop_map(Body::Length), chunks()];
    (method, target, fields(), body).prop_map(|(method, target, fields, body)| {
        (method.into(), target.into(), Message { fields, body })
    })
}

fn response() -> impl Strategy<Value = (String, Message)> {
    let start = prop::sample::select(vec![
        "HTTP/1.1 200 OK",
        "HTTP/1.1 201 Made Up",
        "HTTP/1.0 200 OK",
        "HTTP/1.1 404 ",
        "HTTP/1.1 204 No Content",
        "HTTP/1.1 304 Not Modified",
        "HTTP/1.1 500 Oh",
        "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK",
    ]);
    let body = prop_oneof![
        Just(Body::None),
        bytes().prop_map(Body::Length),
        bytes().prop_map(Body::UntilClose),
        chunks(),
    ];
    (start, fields(), body)
        .prop_map(|(start, fields, body)| (start.into(), Message { fields, body }))
}

/// One gateway in front of an origin that answers what it is told to.
struct Way<P> {
    gateway: Site<P>,
    origin: Origin,
    answer: Arc<Mutex<Vec<u8>>>,
}

impl<P: Path> Way<P> {
    fn new() -> Self {
        let answer = Arc::<Mutex<Vec<u8>>>::default();
        let told = Arc::clone(&answer);
        let origin = Origin::start(move |_| Act::Raw(told.lock().unwrap().clone()));
        let gateway = Site::<P>::start();
        gateway.serve("a", origin.address());
        Self {
            gateway,
            origin,
            answer,
        }
    }

    /// What arrived at the origin, if anything did, and what came back.
    fn ask(&self, request: &[u8], answer: &[u8]) -> (Option<Heard>, Option<Heard>) {
        answer.clone_into(&mut self.answer.lock().unwrap());
        let before = self.origin.seen().len();
        let mut client = Client::connect(self.gateway.http());
        client.send(request).unwrap();
        let head = request.starts_with(b"HEAD");
        let answered = if head {
            client.read_head()
        } else {
            client.read()
        };
        let heard = self.origin.seen().into_iter().nth(before);
        (heard.map(Heard::seen), answered.ok().map(Heard::answer))
    }
}

/// A message as far as it is compared.
#[derive(Debug, PartialEq)]
struct Heard {
    start: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Heard {
    fn new(start: String, fields: &Fields, body: Vec<u8>, origin: Option<&str>) -> Self {
        let mut fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .filter(|(name, value)| !OWN.contains(&name.as_str()) && Some(value.as_str()) != origin)
            .collect();
        fields.sort();
        Self {
            start,
            fields,
            body,
        }
    }

    fn seen(seen: Seen) -> Self {
        let origin = seen.header("host").map(str::to_owned);
        let start = format!("{} {}", seen.method, seen.target);
        Self::new(start, &seen.headers, seen.body, origin.as_deref())
    }

    fn answer(answer: Answer) -> Self {
        // The gateway's own replies quote the request's id: their length is compared.
        let own = answer.header("x-request-id").is_none();
        let body = if own {
            vec![0; answer.body.len()]
        } else {
            answer.body
        };
        Self::new(answer.status.to_string(), &answer.headers, body, None)
    }
}

#[test]
fn both_paths_send_and_answer_the_same() {
    let (lane, pingora) = (Way::<OwnPath>::new(), Way::<PingorasPath>::new());
    let mut runner = TestRunner::new(Config::with_cases(200));
    let cases = (request(), response());
    let run = |((method, target, asked), (start, answered)): (Asked, (String, Message))| {
        let request = asked.wire(&format!(
            "{method} {target} HTTP/1.1\r\nHost: h.example\r\n"
        ));
        let answer = answered.wire(&format!("{start}\r\n"));
        let (lane, pingora) = (lane.ask(&request, &answer), pingora.ask(&request, &answer));
        prop_assert_eq!(lane, pingora);
        Ok(())
    };
    if let Err(failed) = runner.run(&cases, run) {
        panic!("{failed}");
    }
}
