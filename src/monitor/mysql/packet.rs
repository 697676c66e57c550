//! Packets: their frames on the wire, and what they are made of.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Error;

/// The longest packet that is read, in bytes.
pub(super) const PACKET_MAX: usize = 256 << 10;

/// A stream of packets, each with its length and its number.
#[derive(Debug)]
pub(super) struct Packets<S> {
    stream: S,
    next: u8,
}

impl<S> Packets<S> {
    pub(super) const fn new(stream: S) -> Self {
        Self { stream, next: 0 }
    }

    pub(super) const fn stream(&self) -> &S {
        &self.stream
    }

    /// Begins a conversation: packets are numbered from 0.
    pub(super) const fn begin(&mut self) {
        self.next = 0;
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Packets<S> {
    pub(super) async fn read(&mut self) -> Result<Vec<u8>, Error> {
        let [a, b, c, number] = {
            let mut head = [0; 4];
            self.stream.read_exact(&mut head).await?;
            head
        };
        let length = usize::try_from(u32::from_le_bytes([a, b, c, 0])).unwrap_or(usize::MAX);
        if length > PACKET_MAX {
            return Err(Error::Protocol("a packet is too long"));
        }
        self.next = number.wrapping_add(1);
        let mut packet = vec![0; length];
        self.stream.read_exact(&mut packet).await?;
        Ok(packet)
    }

    /// Writes a packet of less than 16 MiB.
    pub(super) async fn write(&mut self, packet: &[u8]) -> Result<(), Error> {
        let length = u32::try_from(packet.len()).unwrap_or(u32::MAX);
        let [a, b, c, 0] = length.to_le_bytes() else {
            return Err(Error::Protocol("what is to be sent is too long"));
        };
        let framed = [&[a, b, c, self.next], packet].concat();
        self.next = self.next.wrapping_add(1);
        self.stream.write_all(&framed).await?;
        Ok(self.stream.flush().await?)
    }
}

/// What a packet says by its first byte, where it is not an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Ok,
    Other,
}

/// # Errors
/// [`Error::Server`] where the packet is one, and [`Error::Protocol`] where it is empty.
pub(super) fn reply(packet: &[u8]) -> Result<Reply, Error> {
    match packet {
        [] => Err(Error::Protocol("an empty packet")),
        [0x00, ..] => Ok(Reply::Ok),
        [0xff, rest @ ..] => Err(refusal(rest)),
        [_, ..] => Ok(Reply::Other),
    }
}

/// Whether it ends columns or rows (`EOF_Packet`).
pub(super) const fn is_end(packet: &[u8]) -> bool {
    matches!(packet, [0xfe, ..]) && packet.len() < 9
}

/// The longest part of a server's message that is kept, in bytes.
const MESSAGE_MAX: usize = 512;

/// An error packet behind its first byte. The state (`#` and five characters) is left out by servers
/// that do not know their client yet.
fn refusal(packet: &[u8]) -> Error {
    let mut fields = Fields(packet);
    let Ok(code) = fields.u16() else {
        return Error::Protocol("an error without a code");
    };
    let text = match fields.0 {
        [b'#', _, _, _, _, _, text @ ..] => text,
        text => text,
    };
    let text = text.get(..MESSAGE_MAX).unwrap_or(text);
    let message = String::from_utf8_lossy(text).replace(char::is_control, " ");
    Error::Server { code, message }
}

/// What is left of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

const SHORT: Error = Error::Protocol("a packet is too short");

impl<'a> Fields<'a> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(SHORT)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        self.take(N)?.try_into().map_err(|_| SHORT)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Error> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_le_bytes)
    }

    /// Up to a NUL, which is taken too; or all that is left.
    pub(super) fn until_nul(&mut self) -> &'a [u8] {
        let mut parts = self.0.splitn(2, |byte| *byte == 0);
        let text = parts.next().unwrap_or_default();
        self.0 = parts.next().unwrap_or_default();
        text
    }

    /// A number of one to nine bytes; `None` for the mark of a value that is not there.
    pub(super) fn number(&mut self) -> Result<Option<u64>, Error> {
        let number = match self.u8()? {
            0xfb => return Ok(None),
            0xfc => u64::from(self.u16()?),
            0xfd => {
                let [a, b, c] = self.array()?;
                u64::from(u32::from_le_bytes([a, b, c, 0]))
            }
            0xfe => self.array().map(u64::from_le_bytes)?,
            0xff => return Err(Error::Protocol("a length that cannot be")),
            small => u64::from(small),
        };
        Ok(Some(number))
    }

    /// A text with its length before it; `None` where there is no value.
    pub(super) fn text(&mut self) -> Result<Option<&'a [u8]>, Error> {
        let Some(length) = self.number()? else {
            return Ok(None);
        };
        let length = usize::try_from(length).map_err(|_| SHORT)?;
        self.take(length).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_to_nine_bytes() {
        let number = |bytes: &[u8]| Fields(bytes).number();
        assert_eq!(number(&[250]).unwrap(), Some(250));
        assert_eq!(number(&[0xfb]).unwrap(), None);
        assert_eq!(number(&[0xfc, 1, 2]).unwrap(), Some(0x201));
        assert_eq!(number(&[0xfd, 1, 2, 3]).unwrap(), Some(0x0003_0201));
        let eight = [0xfe, 1, 0, 0, 0, 0, 0, 0, 1];
        assert_eq!(number(&eight).unwrap(), Some((1 << 56) + 1));
        for wrong in [&[][..], &[0xfc, 1], &[0xfe, 1], &[0xff]] {
            assert!(number(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_text_longer_than_its_packet_is_no_text() {
        assert_eq!(Fields(b"\x03abcd").text().unwrap(), Some(&b"abc"[..]));
        assert!(Fields(b"\x05abcd").text().is_err());
        let huge = [0xfe, 255, 255, 255, 255, 255, 255, 255, 255, 1];
        assert!(Fields(&huge).text().is_err());
    }

    #[test]
    fn an_error_is_read_with_its_state_and_without() {
        for packet in [&b"\xff\x15\x04#28000no"[..], b"\xff\x15\x04no"] {
            let error = reply(packet).unwrap_err();
            assert_eq!(error.to_string(), "error 1045: no");
            assert!(error.is_denied());
        }
        assert!(matches!(reply(b"\xff\x01"), Err(Error::Protocol(_))));
        assert!(matches!(reply(b""), Err(Error::Protocol(_))));
    }

    #[tokio::test]
    async fn a_packet_too_long_is_not_read() {
        let (mut near, far) = tokio::io::duplex(64);
        let [a, b, c, _] = u32::try_from(PACKET_MAX + 1).unwrap().to_le_bytes();
        near.write_all(&[a, b, c, 0]).await.unwrap();
        let read = Packets::new(far).read().await;
        assert!(matches!(read, Err(Error::Protocol(_))), "{read:?}");
    }
}
