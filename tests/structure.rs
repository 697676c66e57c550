//! The shape of the source tree, checked. Each failure names the file and the rule.

use std::fs;
use std::path::{Path, PathBuf};

/// `module: modules it may name`. A missing edge is a design discussion, not a typo.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("live", &[]),
    ("metrics", &[]),
    ("reply", &[]),
    ("client", &[]),
    ("pem", &[]),
    ("pipe", &[]),
    ("config", &["model"]),
    ("store", &["model"]),
    ("tls", &["model", "pem"]),
    ("upstream", &["model", "live", "metrics", "client"]),
    ("table", &["model", "upstream", "tls", "live", "metrics"]),
    (
        "registry",
        &[
            "model", "store", "table", "tls", "upstream", "live", "metrics",
        ],
    ),
    (
        "proxy",
        &["model", "table", "upstream", "reply", "metrics", "pipe"],
    ),
    ("l4", &["model", "table", "upstream", "metrics", "pipe"]),
    (
        "net",
        &["model", "table", "proxy", "l4", "tls", "metrics", "pipe"],
    ),
    ("monitor", &["model", "registry", "upstream", "metrics"]),
    ("admin", &["model", "registry", "metrics", "client", "pem"]),
    (
        "transfer",
        &[
            "model", "registry", "config", "boot", "cli", "admin", "table",
        ],
    ),
    ("cli", &["boot", "config", "transfer"]),
    ("main", &["cli"]),
];

/// May name every module: it builds them all.
const FREE: &[&str] = &["boot", "lib"];

/// Files that may name one module more, with the reason.
const EXCEPT: &[(&str, &str, &str)] = &[
    (
        "admin/polaris/heartbeat.rs",
        "upstream",
        "a heartbeat is live state",
    ),
    (
        "admin/maxscale/live.rs",
        "upstream",
        "what a server is, is live state",
    ),
    (
        "admin/maxscale/live.rs",
        "monitor",
        "shows what monitors found",
    ),
    ("admin/maxscale/live.rs", "l4", "shows open sessions"),
];

/// Folders and files whose code takes time, randomness and I/O as arguments.
const PURE: &[&str] = &[
    "model/",
    "table/",
    "reply/",
    "monitor/rules/",
    "proxy/authority.rs",
    "proxy/failure.rs",
    "proxy/head.rs",
    "proxy/headers.rs",
    "proxy/request_id.rs",
    "proxy/target.rs",
    "proxy/trust.rs",
    "upstream/hash.rs",
    "upstream/health.rs",
    "upstream/pick.rs",
];
const IMPURE: &[&str] = &[
    "Instant::now",
    "SystemTime::now",
    "rand::",
    "tokio::",
    "std::fs",
];
/// What a pure file may do nevertheless, with the reason.
const IMPURE_EXCEPT: &[(&str, &str, &str)] = &[(
    "model/id.rs",
    "SystemTime::now",
    "the one reader of the wall clock",
)];

/// Names that say nothing.
const VAGUE_FILES: &[&str] = &[
    "utils", "util", "common", "helper", "helpers", "manager", "types",
];
const VAGUE_FUNCTIONS: &[&str] = &["fn get_", "fn do_", "fn handle_", "fn process_"];
/// Files whose vague names are another crate's, with the reason.
const VAGUE_EXCEPT: &[(&str, &str)] = &[
    ("net/io.rs", "pingora's I/O traits name their methods so"),
    (
        "net/streams.rs",
        "pingora's HttpServerApp names its method so",
    ),
];

const LINES_MAX: usize = 600;
/// Files allowed past `LINES_MAX`, with the reason.
const LONG: &[(&str, &str)] = &[];

/// One file of `src`, without comments and without its test module.
struct Source {
    /// Relative to `src`, with `/`.
    name: String,
    lines: Vec<String>,
}

impl Source {
    fn read(root: &Path, path: &Path) -> Self {
        let name = path.strip_prefix(root).expect("below src");
        let text = fs::read_to_string(path).expect("a readable file");
        let mut lines = Vec::new();
        let mut rest = text.lines();
        while let Some(line) = rest.next() {
            let of_tests = (line == "#[cfg(test)]").then(|| rest.next()).flatten();
            match of_tests {
                // The test module stands in the file, and ends it.
                Some(item) if item.starts_with("mod ") && item.ends_with('{') => break,
                Some(_) => lines.extend([String::new(), String::new()]),
                None => lines.push(line.split("//").next().unwrap_or("").to_owned()),
            }
        }
        Self {
            name: name.to_string_lossy().replace('\\', "/"),
            lines,
        }
    }

    /// The module at the top that this file belongs to.
    fn module(&self) -> &str {
        let first = self.name.split('/').next().unwrap_or_default();
        first.trim_end_matches(".rs")
    }

    /// How many `super::` lead to the top of the module.
    fn depth(&self) -> usize {
        let own = usize::from(!self.name.ends_with("mod.rs"));
        let folders = self.name.matches('/').count();
        (folders + own).saturating_sub(1)
    }

    fn is_pure(&self) -> bool {
        PURE.iter().any(|pure| self.name.starts_with(pure))
    }
}

fn files(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            files(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    files(&root, &mut paths);
    paths.sort();
    let of_tests = |path: &Path| {
        path.iter()
            .any(|part| part == "tests" || part == "tests.rs")
    };
    paths.retain(|path| !of_tests(path.strip_prefix(&root).expect("below src")));
    paths.iter().map(|path| Source::read(&root, path)).collect()
}

/// Runs `check` over every line of every file and fails with all it found.
fn sweep(check: impl Fn(&Source, &str) -> Option<String>) {
    let mut wrong = Vec::new();
    for source in sources() {
        for (n, line) in source.lines.iter().enumerate() {
            if let Some(why) = check(&source, line) {
                wrong.push(format!("src/{}:{}: {why}", source.name, n + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

fn identifier(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    &text[..end.unwrap_or(text.len())]
}

fn may_name(source: &Source, to: &str) -> bool {
    let module = source.module();
    let allowed = MAY_IMPORT.iter().find(|(name, _)| *name == module);
    let excepted = EXCEPT
        .iter()
        .any(|(file, name, _)| *file == source.name && *name == to);
    to == module
        || FREE.contains(&module)
        || excepted
        || allowed.is_some_and(|(_, names)| names.contains(&to))
}

#[test]
fn every_module_has_its_line_in_the_list() {
    let unlisted: Vec<_> = sources()
        .iter()
        .map(|source| source.module().to_owned())
        .filter(|module| !FREE.contains(&&**module))
        .filter(|module| !MAY_IMPORT.iter().any(|(name, _)| name == module))
        .collect();
    assert!(unlisted.is_empty(), "say what these may name: {unlisted:?}");
}

#[test]
fn a_module_names_only_the_modules_it_may() {
    sweep(|source, line| {
        let crates = line
            .split("crate::")
            .skip(1)
            .chain(line.split("sluicegate::").skip(1));
        let mut names = crates.map(identifier).filter(|name| !name.is_empty());
        let to = names.find(|to| !may_name(source, to))?;
        Some(format!("{} may not name {to}", source.module()))
    });
}

#[test]
fn imports_from_the_crate_are_one_module_each() {
    sweep(|_, line| {
        line.contains("crate::{")
            .then(|| "one `use crate::module` per module".into())
    });
}

#[test]
fn nobody_leaves_its_module_by_way_of_super() {
    sweep(|source, line| {
        let ups = (1..)
            .take_while(|n| line.contains(&"super::".repeat(*n)))
            .last()?;
        (ups > source.depth()).then(|| "`super::` leads out of the module".into())
    });
}

#[test]
fn pure_files_take_time_chance_and_io_as_arguments() {
    sweep(|source, line| {
        let excepted = |word: &str| {
            IMPURE_EXCEPT
                .iter()
                .any(|(file, name, _)| *file == source.name && *name == word)
        };
        let word = IMPURE
            .iter()
            .find(|word| line.contains(**word) && !excepted(word))?;
        source.is_pure().then(|| format!("{word} in a pure file"))
    });
}

#[test]
fn names_say_something() {
    sweep(|source, line| {
        let vague = VAGUE_FUNCTIONS
            .iter()
            .find(|prefix| line.contains(**prefix))?;
        let excepted = VAGUE_EXCEPT.iter().any(|(file, _)| *file == source.name);
        (!excepted).then(|| format!("`{vague}…`: begin with a verb that means something"))
    });
    for source in sources() {
        let vague = source
            .name
            .split('/')
            .map(|part| part.trim_end_matches(".rs"));
        let vague: Vec<_> = vague.filter(|part| VAGUE_FILES.contains(part)).collect();
        assert!(
            vague.is_empty(),
            "src/{}: {vague:?} says nothing",
            source.name
        );
    }
}

#[test]
fn a_file_answers_one_question() {
    let long: Vec<_> = sources()
        .iter()
        .filter(|source| source.lines.len() > LINES_MAX)
        .filter(|source| !LONG.iter().any(|(file, _)| *file == source.name))
        .map(|source| format!("src/{}: {} lines", source.name, source.lines.len()))
        .collect();
    assert!(
        long.is_empty(),
        "more than {LINES_MAX} lines above the tests: {long:?}"
    );
}

#[test]
fn exceptions_are_about_files_that_exist_or_are_gone() {
    let sources = sources();
    let listed = LONG
        .iter()
        .map(|(file, _)| *file)
        .chain(IMPURE_EXCEPT.iter().map(|(file, _, _)| *file));
    for file in listed {
        assert!(
            sources.iter().any(|source| source.name == file),
            "{file} is excepted, but gone"
        );
    }
}
