//! From settings as written to settings as meant: one line per key.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::mistake::nearest;
use super::parse::{self, Parsed};
use super::raw::{Environment, File, PREFIX, Value, variable};
use super::{Account, Admin, Balance, Format, Gateway, Level, Limits, Log, Mistake, Mistakes};
use super::{MaxScale, Place, Polaris, Proxy, Role, Settings, Token};
use crate::model::Secret;

const INSTANT: Duration = Duration::ZERO;
const TICK: Duration = Duration::from_millis(1);
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

const LEVELS: &[(&str, Level)] = &[
    ("error", Level::Error),
    ("warn", Level::Warn),
    ("info", Level::Info),
    ("debug", Level::Debug),
    ("trace", Level::Trace),
];
const FORMATS: &[(&str, Format)] = &[("text", Format::Text), ("json", Format::Json)];
const ACCESS: &[(&str, Option<Format>)] = &[
    ("off", None),
    ("text", Some(Format::Text)),
    ("json", Some(Format::Json)),
];
const BALANCES: &[(&str, Balance)] = &[
    ("random", Balance::Random),
    ("least_connections", Balance::LeastConnections),
    ("round_robin", Balance::RoundRobin),
];
const ROLES: &[(&str, Role)] = &[("read", Role::Read), ("write", Role::Write)];

impl Settings {
    /// Settings as meant: `file` (its path and text) over the defaults, `env` over both.
    /// Pure: neither is read here.
    ///
    /// # Errors
    /// Every mistake there is, each with its place and its fix.
    pub fn resolve(
        file: Option<(&Path, &str)>,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Mistakes> {
        let file = file.map_or_else(
            || Ok(File::default()),
            |(path, text)| File::parse(path, text),
        );
        let mut reader = Reader::new(file.map_err(Mistakes)?, Environment::of(env));
        let settings = reader.settings();
        reader.refuse_unknown();
        if reader.mistakes.is_empty() {
            reader.mistakes.extend(contradictions(&settings));
        }
        if reader.mistakes.is_empty() {
            Ok(settings)
        } else {
            Err(Mistakes(reader.mistakes))
        }
    }
}

/// Reads key by key, gathers what is wrong, and knows in the end which keys there are.
pub(super) struct Reader {
    file: File,
    env: Environment,
    pub(super) known: BTreeSet<String>,
    pub(super) mistakes: Vec<Mistake>,
}

impl Reader {
    pub(super) fn new(file: File, env: Environment) -> Self {
        Self {
            file,
            env,
            known: BTreeSet::new(),
            mistakes: Vec::new(),
        }
    }

    /// What is written for `key`, the environment first.
    fn written(&mut self, key: &str) -> Option<(Value, Place)> {
        self.known.insert(key.to_owned());
        let in_file = self.file.take(key);
        self.env.take(key).or(in_file)
    }

    /// Replaces the default where the key is written.
    pub(super) fn set<T>(&mut self, field: &mut T, key: &str, parse: impl Fn(&Value) -> Parsed<T>) {
        let Some((value, place)) = self.written(key) else {
            return;
        };
        match parse(&value) {
            Ok(meant) => *field = meant,
            Err(why) => self.mistakes.push(Mistake::new(place, why)),
        }
    }

    pub(super) fn refuse_unknown(&mut self) {
        let unknown = self.file.left(&self.known).map(|(key, place)| {
            let meant = nearest(key, &self.known).map(|near| format!("; did you mean {near:?}?"));
            Mistake::new(
                place,
                format!("unknown key {key:?}{}", meant.unwrap_or_default()),
            )
        });
        let mut found: Vec<_> = unknown.collect();
        // Compared without the prefix, which is no sign of likeness.
        let bare = |name: &str| name.trim_start_matches(PREFIX).to_owned();
        let variables: Vec<_> = self.known.iter().map(|key| bare(&variable(key))).collect();
        found.extend(self.env.left().map(|name| {
            let meant = nearest(&bare(name), &variables).map_or_else(
                || "unset it".to_owned(),
                |near| format!("did you mean {PREFIX}{near}?"),
            );
            let place = Place::Variable(name.to_owned());
            Mistake::new(place, format!("no such setting; {meant}"))
        }));
        self.mistakes.append(&mut found);
    }

    pub(super) fn settings(&mut self) -> Settings {
        let mut settings = Settings::default();
        // Named by whoever loads: where the file itself is.
        drop(self.env.take("config"));
        self.set(&mut settings.data, "data", parse::path);
        self.proxy(&mut settings.proxy);
        self.limits(&mut settings.limits);
        self.admin(&mut settings.admin);
        self.gateway(&mut settings.gateway);
        let kong = &mut settings.kong;
        self.set(&mut kong.enabled, "kong.enabled", parse::flag);
        self.set(&mut kong.database, "kong.database", parse::flag);
        self.set(&mut kong.traffic, "kong.traffic", parse::flag);
        self.set(&mut kong.debug_header, "kong.debug_header", parse::flag);
        self.polaris(&mut settings.polaris);
        self.maxscale(&mut settings.maxscale);
        self.log(&mut settings.log);
        settings.upgrade.socket = settings.data.join("upgrade.sock");
        self.set(&mut settings.upgrade.socket, "upgrade.socket", parse::path);
        settings
    }

    fn proxy(&mut self, to: &mut Proxy) {
        let addresses = || parse::list(parse::address);
        self.set(&mut to.http, "proxy.http", addresses());
        self.set(&mut to.https, "proxy.https", addresses());
        self.set(&mut to.stream, "proxy.stream", addresses());
        self.set(&mut to.stream_tls, "proxy.stream_tls", addresses());
        let workers = parse::or_auto(parse::workers);
        self.set(&mut to.workers, "proxy.workers", workers);
        let networks = parse::list(parse::network);
        self.set(&mut to.trusted_proxies, "proxy.trusted_proxies", networks);
        self.set(
            &mut to.retries_max,
            "proxy.retries_max",
            parse::count(0..=100),
        );
        let idle = parse::count(0..=1_000_000);
        self.set(&mut to.upstream_idle_max, "proxy.upstream_idle_max", idle);
        let time = parse::duration(TICK);
        self.set(
            &mut to.upstream_idle_timeout,
            "proxy.upstream_idle_timeout",
            time,
        );
        self.set(&mut to.lane, "proxy.lane", parse::flag);
        self.set(
            &mut to.drain_timeout,
            "proxy.drain_timeout",
            parse::duration(INSTANT),
        );
        self.set(&mut to.ca_file, "proxy.ca_file", parse::some(parse::path));
        self.set(&mut to.name_servers, "proxy.name_servers", addresses());
        self.set(&mut to.tls_verify, "proxy.tls_verify", parse::flag);
        let path = || parse::some(parse::path);
        self.set(&mut to.client_cert_file, "proxy.client_cert_file", path());
        self.set(&mut to.client_key_file, "proxy.client_key_file", path());
    }

    fn limits(&mut self, to: &mut Limits) {
        self.head_limits(to);
        self.body_limits(to);
        self.h2_limits(to);
        let most = parse::or_auto(parse::count(1..=10_000_000));
        self.set(&mut to.connections_max, "limits.connections_max", most);
        let each = parse::count(0..=10_000_000);
        self.set(
            &mut to.connections_per_address_max,
            "limits.connections_per_address_max",
            each,
        );
        let size = parse::size(KIB..=MIB);
        self.set(
            &mut to.upstream_header_max,
            "limits.upstream_header_max",
            size,
        );
        let count = parse::count(0..=1000);
        self.set(
            &mut to.upstream_informational_max,
            "limits.upstream_informational_max",
            count,
        );
        let rate = parse::count(1..=1_000_000);
        self.set(&mut to.admin_rate_max, "limits.admin_rate_max", rate);
    }

    fn head_limits(&mut self, to: &mut Limits) {
        // A head may not be longer than pingora's own bound, 1 MiB.
        let size = || parse::size(256..=MIB);
        self.set(&mut to.request_line_max, "limits.request_line_max", size());
        self.set(
            &mut to.header_section_max,
            "limits.header_section_max",
            size(),
        );
        // Nor have more fields than pingora's parser has room for.
        let count = parse::count(1..=256);
        self.set(&mut to.header_count_max, "limits.header_count_max", count);
        self.set(&mut to.header_field_max, "limits.header_field_max", size());
        let time = || parse::duration(TICK);
        self.set(&mut to.header_timeout, "limits.header_timeout", time());
        self.set(
            &mut to.keepalive_timeout,
            "limits.keepalive_timeout",
            time(),
        );
        self.set(
            &mut to.tls_handshake_timeout,
            "limits.tls_handshake_timeout",
            time(),
        );
    }

    fn body_limits(&mut self, to: &mut Limits) {
        let rate = || parse::size(0..=1024 * MIB);
        let time = || parse::duration(TICK);
        self.set(
            &mut to.body_max,
            "limits.body_max",
            parse::size(0..=u64::MAX),
        );
        self.set(&mut to.body_rate_min, "limits.body_rate_min", rate());
        self.set(
            &mut to.body_rate_grace,
            "limits.body_rate_grace",
            parse::duration(INSTANT),
        );
        self.set(
            &mut to.body_read_timeout,
            "limits.body_read_timeout",
            time(),
        );
        self.set(
            &mut to.response_stall_timeout,
            "limits.response_stall_timeout",
            time(),
        );
        let size = || parse::size(0..=MIB);
        self.set(
            &mut to.chunk_extension_max,
            "limits.chunk_extension_max",
            size(),
        );
        self.set(&mut to.trailer_max, "limits.trailer_max", size());
    }

    fn h2_limits(&mut self, to: &mut Limits) {
        let count = || parse::count(1..=1_000_000);
        self.set(&mut to.h2_streams_max, "limits.h2_streams_max", count());
        let size = parse::size(KIB..=MIB);
        self.set(
            &mut to.h2_header_list_max,
            "limits.h2_header_list_max",
            size,
        );
        self.set(
            &mut to.h2_control_frames_max,
            "limits.h2_control_frames_max",
            count(),
        );
        self.set(&mut to.h2_window, "limits.h2_window", parse::duration(TICK));
    }

    fn admin(&mut self, to: &mut Admin) {
        self.set(&mut to.listen, "admin.listen", parse::address);
        self.set(&mut to.tokens, "admin.tokens", tokens);
        self.set(
            &mut to.token_file,
            "admin.token_file",
            parse::some(parse::path),
        );
        let open = "admin.allow_unauthenticated";
        self.set(&mut to.allow_unauthenticated, open, parse::flag);
    }

    fn gateway(&mut self, to: &mut Gateway) {
        self.set(&mut to.enabled, "gateway.enabled", parse::flag);
        self.set(&mut to.listen, "gateway.listen", parse::address);
        self.set(
            &mut to.service_management,
            "gateway.service_management",
            parse::flag,
        );
        self.set(&mut to.proxy_traffic, "gateway.proxy_traffic", parse::flag);
        self.set(&mut to.legacy_bool, "gateway.legacy_bool", parse::flag);
        self.set(
            &mut to.drop_unreachable,
            "gateway.drop_unreachable",
            parse::flag,
        );
        let count = parse::count(1..=1000);
        self.set(
            &mut to.refresh_concurrency,
            "gateway.refresh_concurrency",
            count,
        );
        let time = parse::duration(TICK);
        self.set(&mut to.refresh_timeout, "gateway.refresh_timeout", time);
        self.set(&mut to.title, "gateway.title", parse::string);
        self.set(&mut to.version, "gateway.version", parse::string);
        self.set(&mut to.token, "gateway.token", parse::some(parse::token));
        let open = "gateway.allow_unauthenticated";
        self.set(&mut to.allow_unauthenticated, open, parse::flag);
    }

    fn polaris(&mut self, to: &mut Polaris) {
        self.set(&mut to.enabled, "polaris.enabled", parse::flag);
        self.set(&mut to.listen, "polaris.listen", parse::address);
        self.set(&mut to.expose, "polaris.expose", parse::flag);
        self.set(&mut to.auto_create, "polaris.auto_create", parse::flag);
        let balance = parse::word(BALANCES);
        self.set(&mut to.balance, "polaris.balance", balance);
        self.set(&mut to.user, "polaris.user", parse::string);
        let password = parse::some(password);
        self.set(&mut to.password, "polaris.password", password);
        self.set(&mut to.token, "polaris.token", parse::some(parse::token));
        self.set(&mut to.users, "polaris.users", parse::list(account));
        let open = "polaris.allow_unauthenticated";
        self.set(&mut to.allow_unauthenticated, open, parse::flag);
    }

    fn maxscale(&mut self, to: &mut MaxScale) {
        self.set(&mut to.enabled, "maxscale.enabled", parse::flag);
        self.set(&mut to.listen, "maxscale.listen", parse::address);
    }

    fn log(&mut self, to: &mut Log) {
        self.set(&mut to.level, "log.level", parse::word(LEVELS));
        self.set(&mut to.format, "log.format", parse::word(FORMATS));
        self.set(&mut to.access, "log.access", parse::word(ACCESS));
        self.set(
            &mut to.access_path,
            "log.access_path",
            parse::some(parse::path),
        );
    }
}

/// Tokens of the settings or of a token file.
pub(super) fn tokens(value: &Value) -> Parsed<Vec<Token>> {
    let tokens = parse::list(token)(value)?;
    let mut names = BTreeSet::new();
    match tokens.iter().find(|token| !names.insert(&*token.name)) {
        Some(twice) => Err(format!(
            "two tokens are named {:?}; each needs a name of its own",
            twice.name
        )),
        None => Ok(tokens),
    }
}

fn token(value: &Value) -> Parsed<Token> {
    const FORM: &str =
        "a token is written { name = \"…\", role = \"read\" or \"write\", token = \"…\" }";
    let Value::Table(fields) = value else {
        return Err(FORM.to_owned());
    };
    let field = |name| {
        fields
            .get(name)
            .ok_or_else(|| format!("{name} is missing; {FORM}"))
    };
    if fields.len() > 3 {
        return Err(FORM.to_owned());
    }
    Ok(Token {
        name: parse::string(field("name")?)?,
        role: parse::word(ROLES)(field("role")?)?,
        token: parse::token(field("token")?)?,
    })
}

fn password(value: &Value) -> Parsed<Secret> {
    parse::string(value)
        .map(Secret::new)
        .map_err(|_| "a password is a text that is not empty".to_owned())
}

fn account(value: &Value) -> Parsed<Account> {
    const FORM: &str = "an account is written { name = \"…\", password = \"…\" }";
    let fields = match value {
        Value::Table(fields) if fields.len() <= 2 => fields,
        _ => return Err(FORM.to_owned()),
    };
    let field = |name| {
        let found = fields.get(name);
        found.ok_or_else(|| format!("{name} is missing; {FORM}"))
    };
    Ok(Account {
        name: parse::string(field("name")?)?,
        password: password(field("password")?)?,
    })
}

/// What no single key is to blame for.
fn contradictions(settings: &Settings) -> Vec<Mistake> {
    let mut found = shared_addresses(settings);
    found.extend(open_doors(settings));
    let limits = &settings.limits;
    if limits.header_field_max > limits.header_section_max {
        let why = "limits.header_field_max is greater than limits.header_section_max; lower the first or raise the second";
        found.push(why.to_owned());
    }
    if settings.proxy.client_cert_file.is_some() != settings.proxy.client_key_file.is_some() {
        let why = "proxy.client_cert_file and proxy.client_key_file belong together; give both or neither";
        found.push(why.to_owned());
    }
    let mistake = |why| Mistake::new(Place::Unwritten, why);
    found.into_iter().map(mistake).collect()
}

/// Every pair of keys that would bind the same address and port. Port 0 is a new one each time.
fn shared_addresses(settings: &Settings) -> Vec<String> {
    let named = |key| move |at: &SocketAddr| (key, *at);
    let proxy = &settings.proxy;
    let mut all: Vec<_> = proxy.http.iter().map(named("proxy.http")).collect();
    all.extend(proxy.https.iter().map(named("proxy.https")));
    all.extend(proxy.stream.iter().map(named("proxy.stream")));
    all.extend(proxy.stream_tls.iter().map(named("proxy.stream_tls")));
    all.push(("admin.listen", settings.admin.listen));
    if settings.gateway.enabled {
        all.push(("gateway.listen", settings.gateway.listen));
    }
    if settings.polaris.enabled {
        all.push(("polaris.listen", settings.polaris.listen));
    }
    if settings.maxscale.enabled {
        all.push(("maxscale.listen", settings.maxscale.listen));
    }
    let clash = |(n, (key, at)): (usize, &(&str, SocketAddr))| {
        let same = |(_, other): &&(&str, SocketAddr)| other == at && at.port() != 0;
        let (first, _) = all.iter().take(n).find(same)?;
        Some(format!(
            "{first} and {key} both listen on {at}; give one another port"
        ))
    };
    all.iter().enumerate().filter_map(clash).collect()
}

/// Addresses from which other machines could administer without saying who they are.
fn open_doors(settings: &Settings) -> impl Iterator<Item = String> {
    let Settings {
        admin,
        gateway,
        polaris,
        ..
    } = settings;
    let outside = |at: SocketAddr| !at.ip().to_canonical().is_loopback();
    let nobody = admin.tokens.is_empty() && admin.token_file.is_none();
    let admin_open = outside(admin.listen) && nobody && !admin.allow_unauthenticated;
    let admin = admin_open.then(|| {
        let at = admin.listen;
        format!("admin.listen = \"{at}\" lets other machines administer without a token; add one to admin.tokens, listen on 127.0.0.1, or set admin.allow_unauthenticated = true")
    });
    let manages = gateway.enabled && gateway.service_management;
    let nobody = gateway.token.is_none() && !gateway.allow_unauthenticated;
    let gateway = (manages && outside(gateway.listen) && nobody).then(|| {
        let at = gateway.listen;
        format!("gateway.listen = \"{at}\" lets other machines manage services without a token; set gateway.token, listen on 127.0.0.1, or set gateway.allow_unauthenticated = true")
    });
    let nobody = polaris.password.is_none() && !polaris.allow_unauthenticated;
    let polaris = (polaris.enabled && outside(polaris.listen) && nobody).then(|| {
        let at = polaris.listen;
        format!("polaris.listen = \"{at}\" lets other machines register services without a password; set polaris.password, listen on 127.0.0.1, or set polaris.allow_unauthenticated = true")
    });
    admin.into_iter().chain(gateway).chain(polaris)
}
