//! Settings from the outside: files and variables in, settings or mistakes out.

use std::path::Path;

use super::raw::File;
use super::resolve::Reader;
use super::*;

const REFERENCE: &str = include_str!("../../config/gateway.toml");
const MINIMAL: &str = include_str!("../../config/minimal.toml");
const TOKEN: &str = "0123456789abcdef";

fn resolve(text: &str, env: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let file = Some((Path::new("g.toml"), text));
    Settings::resolve(file, env.iter().map(owned))
        .map_err(|Mistakes(all)| all.iter().map(Mistake::to_string).collect())
}

fn mistakes(text: &str, env: &[(&str, &str)]) -> Vec<String> {
    resolve(text, env).unwrap_err()
}

/// The only mistake there is.
fn mistake(text: &str, env: &[(&str, &str)]) -> String {
    let all = mistakes(text, env);
    assert_eq!(all.len(), 1, "{all:?}");
    all.into_iter().next().unwrap()
}

fn known_keys() -> Vec<String> {
    let mut reader = Reader::new(File::default(), raw::Environment::default());
    reader.settings();
    reader.known.into_iter().collect()
}

#[test]
fn the_reference_file_says_the_defaults() {
    assert_eq!(resolve(REFERENCE, &[]).unwrap(), Settings::default());
    assert_eq!(resolve("", &[]).unwrap(), Settings::default());
    assert_eq!(
        Settings::resolve(None, std::iter::empty()).unwrap(),
        Settings::default()
    );
}

#[test]
fn the_reference_file_has_every_key_in_its_section() {
    let mut section = String::new();
    let mut found = Vec::new();
    for line in REFERENCE.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = format!("{name}.");
        } else if let Some((key, _)) = line.trim_start_matches("# ").split_once(" = ") {
            found.push(format!("{section}{key}"));
        }
    }
    for key in known_keys() {
        assert!(found.contains(&key), "{key} is missing");
    }
}

#[test]
fn the_minimal_file_is_taken() {
    assert_eq!(resolve(MINIMAL, &[]).unwrap(), Settings::default());
}

#[test]
fn every_key_has_a_variable_that_goes_before_the_file() {
    for key in known_keys() {
        let name = raw::variable(&key);
        // No key takes a text that is this long, empty between commas, and not a path or a title.
        let wrong = resolve("", &[(&name, "[")]);
        let free = [
            "data",
            "gateway.title",
            "gateway.version",
            "polaris.password",
            "polaris.user",
            "upgrade.socket",
        ];
        match free.contains(&&*key) || key.ends_with("_file") || key.ends_with("_path") {
            // Two of them come together only.
            true => assert!(
                wrong
                    .as_ref()
                    .err()
                    .is_none_or(|all| all[0].contains("give both or neither")),
                "{key}: {wrong:?}"
            ),
            false => {
                let all = wrong.unwrap_err();
                assert!(all[0].starts_with(&format!("variable {name}: ")), "{all:?}");
            }
        }
    }
    let file = "data = \"/file\"\n[proxy]\nworkers = 2\n";
    let env = [
        ("SLUICEGATE_DATA", "/env"),
        ("SLUICEGATE_PROXY_WORKERS", "3"),
        ("SLUICEGATE_CONFIG", "whatever"),
        ("HOME", "/root"),
    ];
    let settings = resolve(file, &env).unwrap();
    assert_eq!(settings.data, Path::new("/env"));
    assert_eq!(settings.upgrade.socket, Path::new("/env/upgrade.sock"));
    assert_eq!(settings.proxy.workers.unwrap().get(), 3);
}

#[test]
fn values_are_read_in_every_spelling() {
    let text = r#"
        [proxy]
        http = ["127.0.0.1:1", "[::1]:2"]
        https = []
        trusted_proxies = "10.0.0.0/8"
        drain_timeout = "0s"
        [limits]
        body_max = "1GiB"
        header_timeout = "1500ms"
        trailer_max = 7
        connections_max = 0x10
        [log]
        level = "trace"
        access = "json"
    "#;
    let env = [
        ("SLUICEGATE_PROXY_TRUSTED_PROXIES", "10.0.0.0/8, 192.0.2.1"),
        ("SLUICEGATE_GATEWAY_LEGACY_BOOL", "true"),
    ];
    let settings = resolve(text, &env).unwrap();
    assert_eq!(settings.proxy.http[1], "[::1]:2".parse().unwrap());
    assert!(settings.proxy.https.is_empty());
    let trusted: Vec<_> = settings
        .proxy
        .trusted_proxies
        .iter()
        .map(|n| n.to_string())
        .collect();
    assert_eq!(trusted, ["10.0.0.0/8", "192.0.2.1/32"]);
    assert_eq!(settings.proxy.drain_timeout, Duration::ZERO);
    assert_eq!(settings.limits.body_max, 1 << 30);
    assert_eq!(settings.limits.header_timeout, Duration::from_millis(1500));
    assert_eq!(settings.limits.trailer_max, 7);
    assert_eq!(settings.limits.connections_max, Some(16));
    assert_eq!(settings.log.level, Level::Trace);
    assert_eq!(settings.log.access, Some(Format::Json));
    assert!(settings.gateway.legacy_bool);
}

#[test]
fn a_mistake_names_file_line_key_value_and_fix() {
    for (text, says) in [
        (
            "[proxy]\nworkers = \"many\"",
            "g.toml:2: proxy.workers: \"many\" is not a whole number from 1 to 1024, and not \"auto\"",
        ),
        (
            "[admin]\nlisten = \"localhost:8001\"",
            "g.toml:2: admin.listen: \"localhost:8001\" is not an IP address with a port; write it like \"127.0.0.1:8001\" or \"[::1]:8001\"",
        ),
        (
            "[log]\n\nlevel = \"loud\"",
            "g.toml:3: log.level: \"loud\" is none of \"error\", \"warn\", \"info\", \"debug\", \"trace\"",
        ),
        (
            "[limits]\nbody_max = \"1 MB\"",
            "g.toml:2: limits.body_max: \"1 MB\" is not a size from 0 to 18446744073709551615 bytes; write it like \"64KiB\"",
        ),
        (
            "[limits]\nh2_window = 10",
            "g.toml:2: limits.h2_window: 10 is not a time from 1ms to 24h; write it like \"30s\" or \"500ms\"",
        ),
        (
            "[limits]\nh2_window = \"99999999999999999999h\"",
            "g.toml:2: limits.h2_window: \"99999999999999999999h\" is not a time from 1ms to 24h; write it like \"30s\" or \"500ms\"",
        ),
        (
            "[gateway]\nenabled = \"yes\"",
            "g.toml:2: gateway.enabled: \"yes\" is not true or false",
        ),
        (
            "[proxy]\ndrain_timout = \"1s\"",
            "g.toml:2: unknown key \"proxy.drain_timout\"; did you mean \"proxy.drain_timeout\"?",
        ),
        (
            "[colours]\nred = 1",
            "g.toml:2: unknown key \"colours.red\"",
        ),
    ] {
        assert_eq!(mistake(text, &[]), says);
    }
}

#[test]
fn an_unknown_variable_is_a_mistake() {
    assert_eq!(
        mistake("", &[("SLUICEGATE_PROXY_HTP", "0.0.0.0:80")]),
        "variable SLUICEGATE_PROXY_HTP: no such setting; did you mean SLUICEGATE_PROXY_HTTP?"
    );
    assert_eq!(
        mistake("", &[("SLUICEGATE_X", "")]),
        "variable SLUICEGATE_X: no such setting; unset it"
    );
}

#[test]
fn all_mistakes_are_told_at_once() {
    let text = "[proxy]\nworkers = 0\nretries = 1\n[log]\nformat = 7\n";
    let all = mistakes(
        text,
        &[("SLUICEGATE_LOG_LEVEL", "no"), ("SLUICEGATE_LOGG", "")],
    );
    assert_eq!(all.len(), 5, "{all:?}");
    let syntax = mistakes("a = \nb = 1\nb = 2", &[]);
    assert!(
        syntax.iter().all(|line| line.starts_with("g.toml:")),
        "{syntax:?}"
    );
    assert!(syntax.len() >= 2, "{syntax:?}");
}

#[test]
fn an_open_admin_address_is_refused_with_the_ways_out() {
    let open = "[admin]\nlisten = \"0.0.0.0:8001\"\n";
    assert_eq!(
        mistake(open, &[]),
        "settings: admin.listen = \"0.0.0.0:8001\" lets other machines administer without a token; \
         add one to admin.tokens, listen on 127.0.0.1, or set admin.allow_unauthenticated = true"
    );
    let token =
        format!("{open}tokens = [{{ name = \"a\", role = \"read\", token = \"{TOKEN}\" }}]");
    let file = format!("{open}token_file = \"tokens.toml\"");
    let allowed = format!("{open}allow_unauthenticated = true");
    for text in [
        token,
        file,
        allowed,
        "[admin]\nlisten = \"[::1]:8001\"".to_owned(),
    ] {
        resolve(&text, &[]).unwrap();
    }
}

#[test]
fn an_open_gateway_dialect_is_refused_unless_it_only_proxies() {
    let open = "[gateway]\nlisten = \"[::]:5000\"\n";
    assert!(mistake(open, &[]).contains("set gateway.token"));
    for way_out in [
        "enabled = false".to_owned(),
        "service_management = false".to_owned(),
        "allow_unauthenticated = true".to_owned(),
        format!("token = \"{TOKEN}\""),
    ] {
        resolve(&format!("{open}{way_out}"), &[]).unwrap();
    }
}

#[test]
fn a_certificate_and_its_key_come_together() {
    let (cert, key) = ("client_cert_file = \"a\"", "client_key_file = \"b\"");
    for one in [cert, key] {
        assert_eq!(
            mistake(&format!("[proxy]\n{one}"), &[]),
            "settings: proxy.client_cert_file and proxy.client_key_file belong together; \
             give both or neither"
        );
    }
    let both = resolve(&format!("[proxy]\n{cert}\n{key}"), &[]).unwrap();
    assert_eq!(both.proxy.client_key_file, Some("b".into()));
}

#[test]
fn two_keys_may_not_share_an_address() {
    let text = "[proxy]\nhttp = [\"127.0.0.1:8001\", \"127.0.0.1:0\"]\nhttps = \"127.0.0.1:0\"";
    assert_eq!(
        mistake(text, &[]),
        "settings: proxy.http and admin.listen both listen on 127.0.0.1:8001; give one another port"
    );
}

#[test]
fn tokens_are_whole_named_once_and_never_shown() {
    let list = |tokens: &str| format!("[admin]\ntokens = [{tokens}]");
    let one = format!("{{ name = \"a\", role = \"write\", token = \"{TOKEN}\" }}");
    let settings = resolve(&list(&one), &[]).unwrap();
    assert_eq!(settings.admin.tokens[0].role, Role::Write);
    assert!(!format!("{settings:?}").contains(TOKEN));
    let by_env = resolve("", &[("SLUICEGATE_ADMIN_TOKENS", &format!("[{one}]"))]).unwrap();
    assert_eq!(by_env.admin.tokens, settings.admin.tokens);
    let secret = "hunter2 hunter2 hunter2";
    for (tokens, says) in [
        (format!("{one}, {one}"), "two tokens are named \"a\""),
        (format!("\"{secret}\""), "a token is written"),
        (
            format!("{{ name = \"a\", token = \"{secret}\" }}"),
            "role is missing",
        ),
        (
            one.replace("write", "own"),
            "\"own\" is none of \"read\", \"write\"",
        ),
        (one.replace(TOKEN, secret), "openssl rand"),
        (one.replace(TOKEN, "short"), "at least 16"),
    ] {
        let line = mistake(&list(&tokens), &[]);
        assert!(line.contains(says) && !line.contains(secret), "{line}");
    }
}

#[test]
fn an_open_polaris_dialect_is_refused() {
    let open = "[polaris]\nlisten = \"[::]:8090\"\n";
    assert!(mistake(open, &[]).contains("set polaris.password"));
    for closed in [
        "password = \"x\"",
        "allow_unauthenticated = true",
        "enabled = false",
    ] {
        assert!(
            resolve(&format!("{open}{closed}\n"), &[]).is_ok(),
            "{closed}"
        );
    }
}

#[test]
fn accounts_have_a_name_and_a_password() {
    let users = r#"
        [polaris]
        users = [{ name = "ann", password = "secret" }]
    "#;
    let settings = resolve(users, &[]).unwrap();
    assert_eq!(settings.polaris.users[0].name, "ann");
    let short = "[polaris]\nusers = [{ name = \"ann\" }]\n";
    assert!(mistake(short, &[]).contains("password is missing"));
}
