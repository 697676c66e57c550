//! Logging in: the greeting, the answer to it, and the plugins that servers then may switch to.

use tokio::io::{AsyncRead, AsyncWrite};

use super::Error;
use super::packet::{Fields, Packets, Reply, reply};
use super::password::{self, Plugin};
use crate::model::Secret;

/// The longest version that is kept, in bytes.
const VERSION_MAX: usize = 256;

/// Packets of a server until it says yes or no; a switch of plugins takes three.
const STEPS_MAX: usize = 8;

/// What this client can: `LONG_PASSWORD`, `PROTOCOL_41`, `TRANSACTIONS`, `SECURE_CONNECTION` and
/// `PLUGIN_AUTH`.
const CAPABILITIES: u32 = 1 | NEEDED | 1 << 13 | 1 << 19;

/// `PROTOCOL_41` and `SECURE_CONNECTION`: what every server since 4.1 can.
const NEEDED: u32 = 1 << 9 | 1 << 15;

/// `utf8mb4_general_ci`.
const CHARSET: u8 = 45;

/// A server's first packet (protocol 10).
#[derive(Debug, PartialEq, Eq)]
struct Greeting {
    version: String,
    capabilities: u32,
    scramble: Vec<u8>,
    plugin: Vec<u8>,
}

impl Greeting {
    fn parse(packet: &[u8]) -> Result<Self, Error> {
        let mut fields = Fields(packet);
        if fields.u8()? != 10 {
            return Err(Error::Protocol("a greeting of another version"));
        }
        let version = fields.until_nul();
        let version = version.get(..VERSION_MAX).unwrap_or(version);
        let _thread = fields.take(4)?;
        let mut scramble = fields.take(8)?.to_vec();
        let _filler = fields.u8()?;
        let low = fields.u16()?;
        // The character set and the status.
        let _ = fields.take(3)?;
        let high = fields.u16()?;
        let length = usize::from(fields.u8()?);
        let _reserved = fields.take(10)?;
        let rest = fields.take(length.saturating_sub(8).max(13))?;
        scramble.extend(rest.iter().take(12));
        Ok(Self {
            version: String::from_utf8_lossy(version).replace(char::is_control, ""),
            capabilities: u32::from(high) << 16 | u32::from(low),
            scramble,
            plugin: fields.until_nul().to_vec(),
        })
    }
}

/// Logs in; answers the server's version.
///
/// # Errors
/// [`Error::Server`] where the server says no.
pub(super) async fn log_in<S: AsyncRead + AsyncWrite + Unpin>(
    packets: &mut Packets<S>,
    user: &str,
    password: &Secret,
) -> Result<String, Error> {
    let first = packets.read().await?;
    reply(&first)?;
    let greeting = Greeting::parse(&first)?;
    if greeting.capabilities & NEEDED != NEEDED {
        return Err(Error::Login("older than MySQL 4.1".into()));
    }
    // A plugin that is not known may be switched away from for this user.
    let plugin = Plugin::named(&greeting.plugin).unwrap_or(Plugin::Native);
    let mut login = Login {
        plugin,
        scramble: greeting.scramble,
        password,
    };
    packets.write(&login.response(user)).await?;
    for _ in 0..STEPS_MAX {
        let said = packets.read().await?;
        if reply(&said)? == Reply::Ok {
            return Ok(greeting.version);
        }
        if let Some(answer) = login.answer(&said)? {
            packets.write(&answer).await?;
        }
    }
    Err(Error::Protocol("it never says whether it lets us in"))
}

/// A login that goes on.
struct Login<'a> {
    plugin: Plugin,
    scramble: Vec<u8>,
    password: &'a Secret,
}

impl Login<'_> {
    /// The first answer to the greeting (`HandshakeResponse41`).
    fn response(&self, user: &str) -> Vec<u8> {
        const PACKET_MAX: u32 = 1 << 24;
        let token = self.token();
        let mut packet = CAPABILITIES.to_le_bytes().to_vec();
        packet.extend(PACKET_MAX.to_le_bytes());
        packet.push(CHARSET);
        packet.extend([0; 23]);
        // A NUL would end the name before its time.
        packet.extend(user.bytes().take_while(|byte| *byte != 0));
        packet.push(0);
        // The longest token is a SHA-256.
        packet.push(u8::try_from(token.len()).unwrap_or(0));
        packet.extend(token);
        packet.extend(self.plugin.name());
        packet.push(0);
        packet
    }

    fn token(&self) -> Vec<u8> {
        self.plugin.token(self.password.reveal(), &self.scramble)
    }

    /// What is said to a packet that neither lets us in nor refuses us.
    fn answer(&mut self, said: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        match said {
            [0xfe, rest @ ..] => self.switch(rest).map(Some),
            // Fast: the server knows the password's hash already, and says so in the next packet.
            [0x01, 0x03] if self.plugin == Plugin::CachingSha2 => Ok(None),
            // In full: by way of its public key.
            [0x01, 0x04] if self.plugin == Plugin::CachingSha2 => Ok(Some(vec![0x02])),
            [0x01, key @ ..] if self.plugin == Plugin::CachingSha2 => {
                let password = self.password.reveal();
                password::sealed(password, &self.scramble, key).map(Some)
            }
            _ => Err(Error::Protocol("an answer that no plugin knows")),
        }
    }

    /// Goes on with the plugin that the server asks for. One that wants the password as it is does not
    /// get it.
    fn switch(&mut self, asked: &[u8]) -> Result<Vec<u8>, Error> {
        let mut fields = Fields(asked);
        let name = fields.until_nul();
        let plugin = Plugin::named(name);
        self.plugin = plugin.ok_or_else(|| {
            let name = String::from_utf8_lossy(name.get(..64).unwrap_or(name)).into_owned();
            Error::Login(format!(
                "plugin {name:?}; give the monitor's user mysql_native_password or caching_sha2_password"
            ))
        })?;
        self.scramble = fields.0.iter().copied().take(20).collect();
        Ok(self.token())
    }
}
