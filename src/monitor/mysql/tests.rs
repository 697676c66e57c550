//! The client against a scripted server.

mod key;

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use tokio::io::DuplexStream;

use super::packet::Packets;
use super::*;

/// What a server says in turn; before each piece but the first it hears a packet of the client's, of
/// which all are kept.
async fn told(script: Vec<Vec<Vec<u8>>>, stream: DuplexStream) -> Vec<Vec<u8>> {
    let (mut packets, mut heard) = (Packets::new(stream), Vec::new());
    for (n, piece) in script.into_iter().enumerate() {
        if n > 0 {
            match packets.read().await {
                Ok(packet) => heard.push(packet),
                Err(_) => return heard,
            }
        }
        for packet in piece {
            if packets.write(&packet).await.is_err() {
                return heard;
            }
        }
    }
    if let Ok(last) = packets.read().await {
        heard.push(last);
    }
    heard
}

const SCRAMBLE: &[u8; 20] = b"abcdefghijklmnopqrst";

fn greeting(version: &str, plugin: &str) -> Vec<u8> {
    let mut packet = vec![10];
    packet.extend(version.bytes().chain([0]));
    packet.extend([1, 0, 0, 0]);
    packet.extend(&SCRAMBLE[..8]);
    packet.extend([0, 0xff, 0xf7, 45, 2, 0, 0xff, 0x81, 21]);
    packet.extend([0; 10]);
    packet.extend(&SCRAMBLE[8..]);
    packet.push(0);
    packet.extend(plugin.bytes().chain([0]));
    packet
}

const OK: &[u8] = &[0, 0, 0, 2, 0, 0, 0];
const END: &[u8] = &[0xfe, 0, 0, 2, 0];

fn text(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap();
    [&[length], text.as_bytes()].concat()
}

fn column(name: &str) -> Vec<u8> {
    let parts = ["def", "", "", "", name, name].map(text).concat();
    [parts, vec![12, 45, 0, 0, 1, 0, 0, 253, 0, 0, 0, 0, 0]].concat()
}

type Heard = Vec<Vec<u8>>;

async fn logged_in(
    script: Vec<Vec<Vec<u8>>>,
    password: &str,
) -> (
    Result<Session<DuplexStream>, Error>,
    tokio::task::JoinHandle<Heard>,
) {
    let (near, far) = tokio::io::duplex(64 << 10);
    let server = tokio::spawn(told(script, far));
    let session = Session::begin(near, "u\0ser", &Secret::new(password)).await;
    (session, server)
}

async fn answer(rows: Vec<Vec<u8>>) -> Result<Rows, Error> {
    let script = vec![
        vec![greeting("8.0.30", "mysql_native_password")],
        vec![OK.into()],
        rows,
    ];
    let (session, _server) = logged_in(script, "").await;
    session.unwrap().ask("SELECT 1").await
}

/// What the server has of a password, and what it finds in a token.
fn knows(plugin: &str, password: &str, token: &[u8]) -> bool {
    let algorithm = match plugin {
        "mysql_native_password" => &SHA1_FOR_LEGACY_USE_ONLY,
        _ => &SHA256,
    };
    let hash = |bytes: &[u8]| digest(algorithm, bytes).as_ref().to_vec();
    let stored = hash(&hash(password.as_bytes()));
    let mask = match plugin {
        "mysql_native_password" => hash(&[&SCRAMBLE[..], &stored].concat()),
        _ => hash(&[&stored, &SCRAMBLE[..]].concat()),
    };
    let once: Vec<u8> = token.iter().zip(mask).map(|(a, b)| a ^ b).collect();
    hash(&once) == stored
}

/// User and token of a login.
fn login(packet: &[u8]) -> (&[u8], &[u8]) {
    let name = packet[32..].iter().position(|byte| *byte == 0).unwrap() + 32;
    let length = usize::from(packet[name + 1]);
    (&packet[32..name], &packet[name + 2..name + 2 + length])
}

#[tokio::test]
async fn a_password_is_shown_to_be_known() {
    for plugin in ["mysql_native_password", "caching_sha2_password"] {
        let script = vec![
            vec![greeting("5.5.5-10.11.6-MariaDB", plugin)],
            vec![OK.into()],
        ];
        let (session, server) = logged_in(script, "secret").await;
        assert_eq!(session.unwrap().version(), "10.11.6-MariaDB");
        let heard = server.await.unwrap();
        let (user, token) = login(&heard[0]);
        assert_eq!(user, b"u", "a NUL ends the name");
        assert!(knows(plugin, "secret", token), "{plugin}");
        assert!(!knows(plugin, "another", token), "{plugin}");
    }
}

#[tokio::test]
async fn a_server_may_switch_plugins() {
    let switch = [&b"\xfemysql_native_password\0"[..], SCRAMBLE, &[0]].concat();
    let script = vec![
        vec![greeting("8.0.30", "caching_sha2_password")],
        vec![switch],
        vec![OK.into()],
    ];
    let (session, server) = logged_in(script, "secret").await;
    drop(session.unwrap());
    let heard = server.await.unwrap();
    assert!(knows("mysql_native_password", "secret", &heard[1]));
}

#[tokio::test]
async fn nobody_gets_the_password_as_it_is() {
    for plugin in [
        "mysql_clear_password",
        "sha256_password",
        "mysql_old_password",
        "dialog",
        "",
    ] {
        let switch = [&[0xfe], plugin.as_bytes(), &[0]].concat();
        let script = vec![
            vec![greeting("8.0.30", "mysql_native_password")],
            vec![switch],
            vec![],
        ];
        let (session, server) = logged_in(script, "secret").await;
        let error = session.unwrap_err();
        assert!(matches!(&error, Error::Login(_)), "{plugin}: {error}");
        let said = server.await.unwrap().concat();
        assert!(!said.windows(6).any(|part| part == b"secret"), "{plugin}");
    }
}

#[tokio::test]
async fn a_hash_that_the_server_knows_already_is_enough() {
    let script = vec![
        vec![greeting("8.0.30", "caching_sha2_password")],
        vec![vec![1, 3], OK.into()],
    ];
    assert!(logged_in(script, "secret").await.0.is_ok());
}

#[tokio::test]
async fn a_password_is_sealed_for_a_server_that_does_not_know_its_hash() {
    let script = vec![
        vec![greeting("8.0.30", "caching_sha2_password")],
        vec![vec![1, 4]],
        vec![[&[1], key::PUBLIC.as_bytes()].concat()],
        vec![OK.into()],
    ];
    let (session, server) = logged_in(script, "secret").await;
    drop(session.unwrap());
    let heard = server.await.unwrap();
    assert_eq!(heard[1], [2], "it asks for the key");
    let opened = key::open(&heard[2]);
    let mixed = opened.iter().zip(SCRAMBLE).map(|(a, b)| a ^ b);
    assert_eq!(mixed.collect::<Vec<u8>>(), b"secret\0");
}

#[tokio::test]
async fn a_key_that_is_none_is_refused() {
    let garbage = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
    for key in ["", "no key", garbage] {
        let script = vec![
            vec![greeting("8.0.30", "caching_sha2_password")],
            vec![vec![1, 4]],
            vec![[&[1], key.as_bytes()].concat()],
        ];
        let (session, _) = logged_in(script, "secret").await;
        assert!(session.is_err(), "{key:?}");
    }
}

#[tokio::test]
async fn a_refusal_is_told_from_all_else() {
    let refused = b"\xff\x15\x04#28000Access denied for user".to_vec();
    let script = vec![
        vec![greeting("8.0.30", "mysql_native_password")],
        vec![refused],
    ];
    let error = logged_in(script, "secret").await.0.unwrap_err();
    assert!(error.is_denied(), "{error}");
    // Before it greets.
    let full = b"\xff\x10\x04Too many connections".to_vec();
    let error = logged_in(vec![vec![full]], "secret").await.0.unwrap_err();
    assert_eq!(error.to_string(), "error 1040: Too many connections");
    assert!(!error.is_denied());
}

#[tokio::test]
async fn what_does_not_speak_the_protocol_is_an_error() {
    for packet in [
        &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
        b"\x0a",
        b"\x0a8.0.30\0\x01\0\0\0abc",
        b"",
    ] {
        let error = logged_in(vec![vec![packet.into()]], "")
            .await
            .0
            .unwrap_err();
        assert!(matches!(error, Error::Protocol(_)), "{packet:?}: {error}");
    }
    let old = {
        let mut packet = greeting("3.23", "");
        let capabilities = packet.len() - 21 - 13 - 1 - 1;
        packet[capabilities - 10..]
            .iter_mut()
            .take(6)
            .for_each(|byte| *byte = 0);
        packet
    };
    assert!(logged_in(vec![vec![old]], "").await.0.is_err());
}

#[tokio::test]
async fn a_login_ends() {
    let switch = [&b"\xfemysql_native_password\0"[..], SCRAMBLE, &[0]].concat();
    let script = [vec![greeting("8.0.30", "mysql_native_password")]]
        .into_iter()
        .chain((0..100).map(|_| vec![switch.clone()]))
        .collect();
    let error = logged_in(script, "secret").await.0.unwrap_err();
    assert!(matches!(error, Error::Protocol(_)), "{error}");
}

#[tokio::test]
async fn rows_are_read_by_the_names_of_their_columns() {
    let null = vec![0xfb];
    let rows = vec![
        vec![2],
        column("Variable_name"),
        column("Value"),
        END.into(),
        [text("a"), text("1")].concat(),
        [text("b"), null].concat(),
        END.into(),
    ];
    let rows = answer(rows).await.unwrap();
    let read: Vec<_> = rows
        .iter()
        .map(|row| (row.text("variable_NAME"), row.at(1)))
        .collect();
    assert_eq!(read, [(Some("a"), Some("1")), (Some("b"), None)]);
    assert_eq!(rows.first().unwrap().text("no such column"), None);
    assert_eq!(answer(vec![OK.into()]).await.unwrap(), Rows::default());
}

#[tokio::test]
async fn a_question_that_is_refused_leaves_the_connection() {
    let script = vec![
        vec![greeting("8.0.30", "mysql_native_password")],
        vec![OK.into()],
        vec![b"\xff\xcb\x04#42000no".to_vec()],
        vec![vec![1], column("1"), END.into(), text("1"), END.into()],
        vec![
            vec![1],
            column("1"),
            END.into(),
            b"\xff\xcb\x04#42000no".to_vec(),
        ],
        vec![OK.into()],
    ];
    let (session, _server) = logged_in(script, "").await;
    let mut session = session.unwrap();
    assert!(session.ask("a").await.unwrap_err().is_answer());
    assert_eq!(session.ask("b").await.unwrap().iter().count(), 1);
    assert!(session.ask("c").await.unwrap_err().is_answer());
    assert!(session.ask("d").await.is_ok());
}

#[tokio::test]
async fn an_answer_that_cannot_be_is_an_error() {
    let short = vec![vec![1], column("a"), END.into(), vec![9, b'x']];
    let more = vec![vec![1], column("a"), column("b"), END.into(), END.into()];
    // As many as make a client reserve all the memory there is.
    let many = vec![vec![0xfe, 255, 255, 255, 255, 255, 255, 255, 127]];
    let file = vec![b"\xfb/etc/passwd".to_vec()];
    let empty = vec![Vec::new()];
    for rows in [short, more, many, file, empty] {
        let said = format!("{rows:?}");
        let error = answer(rows).await.unwrap_err();
        assert!(matches!(error, Error::Protocol(_)), "{said}: {error}");
    }
}

#[tokio::test]
async fn answers_are_bounded_in_rows_and_bytes() {
    let head = || vec![vec![1], column("a"), END.into()];
    let row = |length: u16| {
        [
            &[0xfc][..],
            &length.to_le_bytes(),
            &vec![b'x'; length.into()],
        ]
        .concat()
    };
    let rows = |count, length| {
        head()
            .into_iter()
            .chain((0..count).map(move |_| row(length)))
    };
    let ends = |rows: Vec<Vec<u8>>| [rows, vec![END.to_vec()]].concat();
    let fits = answer(ends(rows(1024, 500).collect())).await.unwrap();
    assert_eq!(fits.iter().count(), 1024);
    assert!(answer(ends(rows(1025, 500).collect())).await.is_err());
    assert!(answer(ends(rows(17, 65_000).collect())).await.is_err());
}
