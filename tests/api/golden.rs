//! Golden conversations: files of requests and the answers they must get.
//!
//! ```text
//! # a comment
//! @directive for the world
//! >>> POST /service
//! content-type: application/json
//!
//! {"name_service":"a"}
//! <<< 200
//!
//! {"details":{"code":0}}
//! ====
//! >>> GET /services
//! <<< 200
//! …
//! ```
//!
//! A step is comments, directives (which the world of the dialect understands), one request and its
//! answer. Behind `>>>` and `<<<`, headers come first, then an empty line, then the body. Of an
//! answer's headers `content-length` is never shown and `content-type` only where it is not JSON.
//! UUIDs are shown as `<id-1>`, `<id-2>`, … in order of appearance, and may be sent as that too;
//! times are shown as `<time>`, dates of HTTP and of C as `<date>`. A JSON body of more than 300 bytes is shown indented.
//!
//! `UPDATE=1 cargo test --test api` rewrites the answers; review is the diff.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, Request, Response};
use regex::Regex;
use tower::ServiceExt;

/// JSON longer than this is shown indented.
const LINE_MAX: usize = 300;

const BODY_MAX: usize = 16 << 20;

/// What a conversation is held with.
pub(crate) trait World {
    /// Does what a line beginning with `@` asks for.
    async fn direct(&mut self, words: &[&str]);

    /// Who answers now.
    fn router(&self) -> Router;
}

/// Every `.http` file of a folder below `tests/golden`, sorted.
pub(crate) fn conversations(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(folder);
    let entries = std::fs::read_dir(&folder).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| {
        file.extension()
            .is_some_and(|extension| extension == "http")
    });
    files.sort();
    assert!(
        !files.is_empty(),
        "no conversations in {}",
        folder.display()
    );
    files
}

/// Holds one conversation and says how it differed; with `UPDATE` set, writes what was said instead.
pub(crate) async fn play(file: &Path, world: &mut impl World) -> Result<(), String> {
    let written = std::fs::read_to_string(file).unwrap();
    let mut masks = Masks::default();
    let mut said = Vec::new();
    for step in written.split("\n====\n").map(Step::parse) {
        said.push(step.play(world, &mut masks).await);
    }
    let said = said.join("\n====\n") + "\n";
    if said == written {
        return Ok(());
    }
    #[expect(clippy::disallowed_methods, reason = "a test's own switch")]
    let updates = std::env::vars_os().any(|(name, _)| name == "UPDATE");
    if updates {
        std::fs::write(file, said).unwrap();
        return Ok(());
    }
    Err(difference(file, &written, &said))
}

fn difference(file: &Path, written: &str, said: &str) -> String {
    let lines = written.lines().zip(said.lines());
    let same = lines.take_while(|(a, b)| a == b).count();
    let around = |text: &str| {
        let lines = text.lines().skip(same.saturating_sub(6)).take(14);
        lines.collect::<Vec<_>>().join("\n")
    };
    format!(
        "{}:{}: expected\n{}\n---- but it was\n{}\n",
        file.display(),
        same + 1,
        around(written),
        around(said)
    )
}

/// One request, with what stands before it.
struct Step<'f> {
    /// Comments and directives.
    before: Vec<&'f str>,
    request: Vec<&'f str>,
}

impl<'f> Step<'f> {
    fn parse(text: &'f str) -> Self {
        let mut before = Vec::new();
        let mut request = Vec::new();
        for line in text.lines().take_while(|line| !line.starts_with("<<<")) {
            if request.is_empty() && !line.starts_with(">>> ") {
                before.push(line);
            } else {
                request.push(line);
            }
        }
        Self { before, request }
    }

    /// The step as it goes: everything as written, and the answer behind it.
    async fn play(&self, world: &mut impl World, masks: &mut Masks) -> String {
        for directive in self.before.iter().filter_map(|line| line.strip_prefix('@')) {
            let words: Vec<&str> = directive.split_whitespace().collect();
            world.direct(&words).await;
        }
        let mut lines: Vec<String> = self.before.iter().map(ToString::to_string).collect();
        lines.extend(self.request.iter().map(ToString::to_string));
        if !self.request.is_empty() {
            let request = self.request(masks);
            let answer = world.router().oneshot(request).await.unwrap();
            lines.push(render(answer, masks).await);
        }
        lines.join("\n")
    }

    fn request(&self, masks: &Masks) -> Request<Body> {
        let text = masks.put_back(&self.request.join("\n"));
        let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
        let mut lines = head.lines();
        let line = lines
            .next()
            .and_then(|line| line.strip_prefix(">>> "))
            .unwrap();
        let (method, target) = line.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(target);
        for header in lines {
            let (name, value) = header.split_once(": ").unwrap();
            request = request.header(name, value);
        }
        request.body(Body::from(body.to_owned())).unwrap()
    }
}

async fn render(answer: Response<Body>, masks: &mut Masks) -> String {
    let (head, body) = answer.into_parts();
    let body = to_bytes(body, BODY_MAX).await.unwrap();
    let mut text = format!("<<< {}", head.status.as_u16());
    let kind = kind(&head.headers);
    for (name, value) in &head.headers {
        let hidden = name == CONTENT_LENGTH || (name == CONTENT_TYPE && kind == "application/json");
        if !hidden {
            let value = String::from_utf8_lossy(value.as_bytes());
            write!(text, "\n{name}: {value}").unwrap();
        }
    }
    if !body.is_empty() {
        let shown = match kind.starts_with("text/html") {
            true => "(a page)".to_owned(),
            false => shown(&String::from_utf8_lossy(&body)),
        };
        write!(text, "\n\n{shown}").unwrap();
    }
    masks.mask(&text)
}

fn kind(headers: &HeaderMap) -> &str {
    headers
        .get(CONTENT_TYPE)
        .map_or("", |value| value.to_str().unwrap())
}

fn shown(body: &str) -> String {
    if body.len() <= LINE_MAX {
        return body.to_owned();
    }
    match serde_json::from_str::<serde_json::Value>(body) {
        Ok(value) => serde_json::to_string_pretty(&value).unwrap(),
        Err(_) => body.to_owned(),
    }
}

/// What differs from run to run, and what is shown for it.
struct Masks {
    uuid: Regex,
    time: Regex,
    date: Regex,
    ids: Vec<String>,
}

impl Default for Masks {
    fn default() -> Self {
        let uuid = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
        let time = r#"("(?:created|updated)_at": ?)[0-9]+"#;
        let date = "[A-Z][a-z]{2}(, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT| [A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8} [0-9]{4})";
        Self {
            uuid: Regex::new(uuid).unwrap(),
            time: Regex::new(time).unwrap(),
            date: Regex::new(date).unwrap(),
            ids: Vec::new(),
        }
    }
}

impl Masks {
    fn mask(&mut self, text: &str) -> String {
        for id in self.uuid.find_iter(text) {
            if !self.ids.iter().any(|known| known == id.as_str()) {
                self.ids.push(id.as_str().to_owned());
            }
        }
        let text = self.time.replace_all(text, "$1<time>");
        let mut text = self.date.replace_all(&text, "<date>").into_owned();
        for (n, id) in self.ids.iter().enumerate() {
            text = text.replace(id, &format!("<id-{}>", n + 1));
        }
        text
    }

    fn put_back(&self, text: &str) -> String {
        let ids = self.ids.iter().enumerate();
        ids.fold(text.to_owned(), |text, (n, id)| {
            text.replace(&format!("<id-{}>", n + 1), id)
        })
    }
}
