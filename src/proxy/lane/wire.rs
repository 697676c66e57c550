//! Heads and chunks as bytes.

use std::io::Write as _;

use http::header::{CONNECTION, DATE, TRANSFER_ENCODING};
use http::{HeaderValue, StatusCode};
use pingora::protocols::http::date::get_cached_date;

use crate::proxy::edits::{Edits, Fields};
use crate::proxy::target::Head;

/// The line before a chunk's content.
pub(super) fn write_chunk_size(size: usize, out: &mut Vec<u8>) {
    write!(out, "{size:x}\r\n").expect("a vector takes everything");
}

/// A chunk; an empty one is the last.
pub(super) fn write_chunk(content: &[u8], out: &mut Vec<u8>) {
    write_chunk_size(content.len(), out);
    out.extend_from_slice(content);
    out.extend_from_slice(b"\r\n");
}

/// The head of a request to an endpoint.
pub(super) fn write_request(client: Head<'_>, target: &[u8], edits: &Edits, out: &mut Vec<u8>) {
    out.extend_from_slice(client.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    edits.write(client.headers, out);
    out.extend_from_slice(b"\r\n");
}

/// The head of a response to a client.
#[derive(Debug)]
pub(super) struct Outgoing<'a, F> {
    pub(super) status: StatusCode,
    /// `None`: the status's own.
    pub(super) reason: Option<&'a [u8]>,
    pub(super) fields: &'a F,
    pub(super) edits: Edits,
    /// Whether it offers another protocol, which it says twice (RFC 9110 §7.8).
    pub(super) offers: bool,
}

impl<F: Fields> Outgoing<'_, F> {
    /// What a final response says of its own connection. `chunks`: its body is to be framed so.
    pub(super) fn finish(&mut self, chunks: bool, keep: bool) {
        let options = match (self.offers, keep) {
            (false, true) => "keep-alive",
            (false, false) => "close",
            (true, true) => "Upgrade",
            (true, false) => "Upgrade, close",
        };
        self.edits
            .set(CONNECTION, HeaderValue::from_static(options));
        if !self.fields.has(&DATE) {
            self.edits.set(DATE, get_cached_date());
        }
        if chunks {
            self.edits
                .set(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }
}

pub(super) fn write_head(head: &Outgoing<'_, impl Fields>, out: &mut Vec<u8>) {
    let reason = head.status.canonical_reason().unwrap_or_default();
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(head.status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.reason.unwrap_or(reason.as_bytes()));
    out.extend_from_slice(b"\r\n");
    head.edits.write(head.fields, out);
    out.extend_from_slice(b"\r\n");
}
