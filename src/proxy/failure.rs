//! What went wrong while a request was forwarded: who failed, how, whether another attempt is safe,
//! and what the client is told. The one place where pingora's errors become ours.

use std::error::Error as StdError;
use std::io;

use http::Method;
use pingora::{Error, ErrorSource, ErrorType, RetryType};
use rustix::io::Errno;
use rustls::AlertDescription;

use crate::reply;
use crate::reply::Reply;
use crate::upstream::Outcome;

/// A reason of our own on its way through pingora's hooks.
pub fn error(kind: Kind) -> Box<Error> {
    Error::new(ErrorType::new(kind.label()))
}

/// Who failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    Client,
    Upstream,
    Gateway,
}

/// Declares every kind of failure with its side and its label.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident $side:ident $label:literal;)*) => {
        /// How it failed. The list is closed: it labels metrics and log lines.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $($(#[$doc])* $kind,)* }

        impl Kind {
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            pub const fn side(self) -> Side {
                match self { $(Self::$kind => Side::$side,)* }
            }

            /// The word in metrics and log lines.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$kind => $label,)* }
            }
        }
    };
}

kinds! {
    NoEndpoint Gateway "no_endpoint";
    NameResolution Gateway "name_resolution";
    Internal Gateway "internal";
    ConnectRefused Upstream "connect_refused";
    ConnectTimeout Upstream "connect_timeout";
    /// No route to the host or network.
    Unreachable Upstream "unreachable";
    ConnectFailed Upstream "connect_failed";
    TlsTimeout Upstream "tls_timeout";
    TlsHandshake Upstream "tls_handshake";
    /// The endpoint's certificate was not accepted.
    Certificate Upstream "certificate";
    /// The endpoint did not accept our certificate, or misses one.
    ClientCertificate Upstream "client_certificate";
    WriteTimeout Upstream "write_timeout";
    WriteFailed Upstream "write_failed";
    ReadTimeout Upstream "read_timeout";
    /// The connection ended in good order, but too early.
    Closed Upstream "closed";
    Reset Upstream "reset";
    InvalidResponse Upstream "invalid_response";
    /// HTTP/2 broke down; the stream or the connection was given up.
    Protocol Upstream "protocol";
    ClientGone Client "client_gone";
    ClientTimeout Client "client_timeout";
    ClientMalformed Client "client_malformed";
    BodyTooLarge Client "body_too_large";
}

/// Whether any byte of the request may have reached the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    Nothing,
    Something,
}

/// Whether the client has seen any byte of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    Nothing,
    Something,
}

/// Whether the request's body can be sent again from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    Replayable,
    Spent,
}

/// How far the attempt had come when it failed.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    pub method: &'a Method,
    pub sent: Sent,
    pub answered: Answered,
    pub body: Body,
}

/// What the endpoint has of a request when it says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// All that it needs for an answer.
    Asked,
    /// The client has more of its body to send, and nobody keeps it from doing so.
    Owed,
}

/// Whether another attempt is safe. Whether there is budget for one is the caller's to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    Safe,
    Never,
}

/// One failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    pub side: Side,
    pub kind: Kind,
    pub retry: Retry,
}

/// What the log says of a client that left before its answer (nginx's number).
pub const CLIENT_CLOSED_REQUEST: u16 = 499;

impl Failure {
    /// Judges `error`, which ended an attempt that had come as far as `progress` says.
    pub fn of(error: &Error, request: Request, progress: &Progress<'_>) -> Self {
        let kind = match (kind(error), request) {
            // The endpoint cannot answer what it has not been asked.
            (Kind::ReadTimeout, Request::Owed) => Kind::ClientTimeout,
            (kind, Request::Asked | Request::Owed) => kind,
        };
        let refused = kind == Kind::Protocol && matches!(error.retry, RetryType::Decided(true));
        Self::judge(kind, refused, progress)
    }

    /// A failure of this kind, which ended an attempt that had come as far as `progress` says.
    pub fn new(kind: Kind, progress: &Progress<'_>) -> Self {
        Self::judge(kind, false, progress)
    }

    /// `refused`: HTTP/2 said that the endpoint did not act on the request (REFUSED_STREAM, GOAWAY;
    /// RFC 9113 §8.7), which pingora marks as safe.
    fn judge(kind: Kind, refused: bool, progress: &Progress<'_>) -> Self {
        let unprocessed = progress.sent == Sent::Nothing || refused || kind.is_unprocessed();
        Self {
            side: kind.side(),
            kind,
            retry: retry(kind, unprocessed, progress),
        }
    }

    /// What the endpoint's passive check hears; nothing where it is not to blame.
    pub const fn observed(&self) -> Option<Outcome> {
        match self.kind {
            Kind::ConnectRefused
            | Kind::Unreachable
            | Kind::ConnectFailed
            | Kind::TlsHandshake
            | Kind::Certificate
            | Kind::ClientCertificate => Some(Outcome::ConnectFailed),
            Kind::ConnectTimeout | Kind::TlsTimeout | Kind::WriteTimeout | Kind::ReadTimeout => {
                Some(Outcome::TimedOut)
            }
            Kind::WriteFailed
            | Kind::Closed
            | Kind::Reset
            | Kind::InvalidResponse
            | Kind::Protocol => Some(Outcome::Broken),
            Kind::NoEndpoint
            | Kind::NameResolution
            | Kind::Internal
            | Kind::ClientGone
            | Kind::ClientTimeout
            | Kind::ClientMalformed
            | Kind::BodyTooLarge => None,
        }
    }

    /// The word in metrics and log lines.
    pub const fn cause(&self) -> &'static str {
        self.kind.label()
    }

    /// What the client is told; `None` where it is not there any more.
    pub fn reply(&self) -> Option<Reply> {
        Some(match self.kind {
            Kind::NoEndpoint => reply::no_endpoint(RETRY_AFTER_SECONDS),
            Kind::NameResolution => reply::name_resolution_failed(),
            Kind::Internal => reply::Kind::Internal.into(),
            Kind::ConnectRefused
            | Kind::Unreachable
            | Kind::ConnectFailed
            | Kind::TlsHandshake
            | Kind::Certificate
            | Kind::ClientCertificate => reply::connect_failed(),
            Kind::ConnectTimeout | Kind::TlsTimeout | Kind::WriteTimeout | Kind::ReadTimeout => {
                reply::gateway_timeout()
            }
            Kind::WriteFailed
            | Kind::Closed
            | Kind::Reset
            | Kind::InvalidResponse
            | Kind::Protocol => reply::bad_gateway(),
            Kind::ClientTimeout => reply::request_timeout(),
            Kind::ClientMalformed => reply::bad_request("the request body is malformed"),
            Kind::BodyTooLarge => reply::payload_too_large(),
            Kind::ClientGone => return None,
        })
    }

    /// The status for the log: the reply's in its native shape, or 499.
    pub fn status(&self) -> u16 {
        self.reply().map_or(CLIENT_CLOSED_REQUEST, |reply| {
            reply.status(reply::Shape::Native).as_u16()
        })
    }
}

/// When a client may ask again after no endpoint was available: about one round of health checks.
const RETRY_AFTER_SECONDS: u32 = 1;

/// Safe if nothing was sent, or if sending it twice means the same as once (RFC 9110 §9.2.2) and
/// there is something to send again; never once the client has seen an answer.
fn retry(kind: Kind, unprocessed: bool, progress: &Progress<'_>) -> Retry {
    let again = unprocessed || progress.method.is_idempotent();
    let possible =
        progress.answered == Answered::Nothing && progress.body == Body::Replayable && again;
    match kind.side() {
        // It has answered, and would answer so again.
        Side::Upstream if kind == Kind::InvalidResponse => Retry::Never,
        Side::Upstream if possible => Retry::Safe,
        Side::Upstream | Side::Client | Side::Gateway => Retry::Never,
    }
}

impl Kind {
    /// Whether the endpoint cannot have acted on the request, because no connection came about.
    const fn is_unprocessed(self) -> bool {
        match self {
            Self::ConnectRefused
            | Self::ConnectTimeout
            | Self::Unreachable
            | Self::ConnectFailed
            | Self::TlsTimeout
            | Self::TlsHandshake
            | Self::Certificate
            | Self::ClientCertificate => true,
            Self::NoEndpoint
            | Self::NameResolution
            | Self::Internal
            | Self::WriteTimeout
            | Self::WriteFailed
            | Self::ReadTimeout
            | Self::Closed
            | Self::Reset
            | Self::InvalidResponse
            | Self::Protocol
            | Self::ClientGone
            | Self::ClientTimeout
            | Self::ClientMalformed
            | Self::BodyTooLarge => false,
        }
    }

    /// What a read from the client that failed says of it: the transport's own verdicts are told by
    /// `io::ErrorKind`.
    pub const fn of_client_read(error: io::ErrorKind) -> Self {
        match error {
            io::ErrorKind::TimedOut => Self::ClientTimeout,
            io::ErrorKind::InvalidData => Self::ClientMalformed,
            _ => Self::ClientGone,
        }
    }

    /// A reset where it was one; else `otherwise`.
    pub const fn of_upstream(error: io::ErrorKind, otherwise: Self) -> Self {
        if is_reset_kind(error) {
            Self::Reset
        } else {
            otherwise
        }
    }

    /// Why a handshake of our own came to nothing.
    pub fn of_handshake(error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(rustls::Error::InvalidCertificate(_)) => Self::Certificate,
            Some(rustls::Error::AlertReceived(alert)) if REFUSALS.contains(alert) => {
                Self::ClientCertificate
            }
            Some(_) | None => Self::TlsHandshake,
        }
    }

    /// Why no connection came about. That we have no file or port left is not the endpoint's failure.
    pub fn of_connect(error: &io::Error) -> Self {
        let errno = error.raw_os_error().map(Errno::from_raw_os_error);
        if errno.is_some_and(|errno| OURS.contains(&errno)) {
            return Self::Internal;
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::ConnectRefused,
            io::ErrorKind::TimedOut => Self::ConnectTimeout,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Self::Unreachable,
            _ => Self::ConnectFailed,
        }
    }
}

/// What the system has no more of for us.
const OURS: [Errno; 5] = [
    Errno::MFILE,
    Errno::NFILE,
    Errno::NOBUFS,
    Errno::NOMEM,
    Errno::ADDRNOTAVAIL,
];

const fn is_reset_kind(error: io::ErrorKind) -> bool {
    matches!(
        error,
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

fn kind(error: &Error) -> Kind {
    if let Some(kind) = own(&error.etype) {
        return kind;
    }
    match error.esource {
        ErrorSource::Downstream => client(error),
        ErrorSource::Upstream => upstream(error),
        // Connectors leave the source open; nobody else makes errors of their types.
        ErrorSource::Unset | ErrorSource::Internal => connecting(error).unwrap_or(Kind::Internal),
    }
}

/// Reasons that we ourselves gave.
fn own(etype: &ErrorType) -> Option<Kind> {
    Some(match etype {
        ErrorType::Custom(label) => {
            let mut kinds = Kind::ALL.iter();
            return kinds.find(|kind| kind.label() == *label).copied();
        }
        ErrorType::HTTPStatus(413) => Kind::BodyTooLarge,
        ErrorType::HTTPStatus(408) => Kind::ClientTimeout,
        ErrorType::HTTPStatus(400..=499) => Kind::ClientMalformed,
        ErrorType::HTTPStatus(502) => Kind::InvalidResponse,
        ErrorType::HTTPStatus(504) => Kind::ReadTimeout,
        _ => return None,
    })
}

fn client(error: &Error) -> Kind {
    match error.etype {
        ErrorType::ReadTimedout => Kind::ClientTimeout,
        ErrorType::ReadError => io_kinds(error)
            .map(Kind::of_client_read)
            .find(|kind| *kind != Kind::ClientGone)
            .unwrap_or(Kind::ClientGone),
        ErrorType::InvalidHTTPHeader
        | ErrorType::H1Error
        | ErrorType::InvalidH2
        | ErrorType::Custom(_)
        | ErrorType::CustomCode(..) => Kind::ClientMalformed,
        ErrorType::InternalError | ErrorType::UnknownError => Kind::Internal,
        // A reset stream, a broken connection, a reader that stopped reading: nobody to answer.
        _ => Kind::ClientGone,
    }
}

fn upstream(error: &Error) -> Kind {
    if let Some(kind) = connecting(error) {
        return kind;
    }
    match error.etype {
        ErrorType::ReadTimedout => Kind::ReadTimeout,
        ErrorType::WriteTimedout => Kind::WriteTimeout,
        // With TLS 1.3 an endpoint judges a client's certificate when the handshake is over for us.
        _ if is_refusal(error) => Kind::ClientCertificate,
        ErrorType::WriteError => Kind::WriteFailed,
        ErrorType::ReadError | ErrorType::ConnectionClosed if is_reset(error) => Kind::Reset,
        ErrorType::ReadError | ErrorType::ConnectionClosed => Kind::Closed,
        ErrorType::H2Error | ErrorType::InvalidH2 | ErrorType::H2Downgrade => Kind::Protocol,
        ErrorType::InternalError | ErrorType::UnknownError => Kind::Internal,
        _ => Kind::InvalidResponse,
    }
}

/// Failures on the way to an established connection.
fn connecting(error: &Error) -> Option<Kind> {
    Some(match error.etype {
        ErrorType::ConnectRefused => Kind::ConnectRefused,
        ErrorType::ConnectTimedout => Kind::ConnectTimeout,
        ErrorType::ConnectNoRoute => Kind::Unreachable,
        ErrorType::ConnectError
        | ErrorType::ConnectProxyFailure
        | ErrorType::SocketError
        | ErrorType::BindError => Kind::ConnectFailed,
        ErrorType::TLSHandshakeTimedout => Kind::TlsTimeout,
        ErrorType::InvalidCert => Kind::Certificate,
        ErrorType::TLSHandshakeFailure
        | ErrorType::TLSWantX509Lookup
        | ErrorType::HandshakeError => handshake(error),
        _ => return None,
    })
}

fn handshake(error: &Error) -> Kind {
    if is_about_certificate(error) {
        Kind::Certificate
    } else if is_refusal(error) {
        Kind::ClientCertificate
    } else {
        Kind::TlsHandshake
    }
}

/// The chain behind an error, the nearest cause first.
fn causes(error: &Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    let first = error
        .cause
        .as_deref()
        .map(|cause| -> &(dyn StdError + 'static) { cause });
    std::iter::successors(first, |cause| below(*cause))
}

/// pingora's errors and `io::Error` keep their cause beside `source`.
fn below<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    if let Some(error) = error.downcast_ref::<Box<Error>>() {
        return error.cause.as_deref().map(|cause| cause as _);
    }
    if let Some(error) = error.downcast_ref::<Error>() {
        return error.cause.as_deref().map(|cause| cause as _);
    }
    match error.downcast_ref::<io::Error>().map(io::Error::get_ref) {
        Some(Some(inner)) => Some(inner as _),
        Some(None) | None => error.source(),
    }
}

fn is_about_certificate(error: &Error) -> bool {
    let told = |text: &str| text.contains("invalid peer certificate");
    contexts(error).any(told) || causes(error).any(is_certificate)
}

/// Whether the endpoint refused who we say we are.
fn is_refusal(error: &Error) -> bool {
    let told = |text: &str| {
        let alert = text.split_once("received fatal alert: ");
        let named =
            |refusal: &AlertDescription, word: &str| word.starts_with(&format!("{refusal:?}"));
        alert.is_some_and(|(_, word)| REFUSALS.iter().any(|refusal| named(refusal, word)))
    };
    let seen = |cause: &(dyn StdError + 'static)| {
        let alert = match cause.downcast_ref::<rustls::Error>() {
            Some(rustls::Error::AlertReceived(alert)) => Some(alert),
            _ => None,
        };
        alert.is_some_and(|alert| REFUSALS.contains(alert))
    };
    contexts(error).any(told) || causes(error).any(seen)
}

/// Alerts about a certificate (RFC 8446 §6.2).
const REFUSALS: [AlertDescription; 8] = [
    AlertDescription::CertificateRequired,
    AlertDescription::BadCertificate,
    AlertDescription::UnsupportedCertificate,
    AlertDescription::CertificateRevoked,
    AlertDescription::CertificateExpired,
    AlertDescription::CertificateUnknown,
    AlertDescription::UnknownCA,
    AlertDescription::AccessDenied,
];

/// pingora keeps the error of a handshake as the text of a context only.
fn contexts(error: &Error) -> impl Iterator<Item = &str> {
    let inner = causes(error).filter_map(|cause| {
        let boxed = cause.downcast_ref::<Box<Error>>().map(|error| &**error);
        boxed.or_else(|| cause.downcast_ref::<Error>())
    });
    let errors = std::iter::once(error).chain(inner);
    errors.filter_map(|error| error.context.as_ref().map(|text| text.as_str()))
}

fn is_certificate(cause: &(dyn StdError + 'static)) -> bool {
    matches!(
        cause.downcast_ref::<rustls::Error>(),
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented)
    )
}

fn is_reset(error: &Error) -> bool {
    io_kinds(error).any(is_reset_kind)
}

/// The I/O errors that stand behind `error`.
fn io_kinds(error: &Error) -> impl Iterator<Item = io::ErrorKind> {
    causes(error)
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .map(io::Error::kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: Progress<'_> = Progress {
        method: &Method::GET,
        sent: Sent::Something,
        answered: Answered::Nothing,
        body: Body::Replayable,
    };
    const POST: Progress<'_> = Progress {
        method: &Method::POST,
        ..GET
    };

    fn own(kind: Kind) -> ErrorType {
        error(kind).etype
    }

    fn up(etype: ErrorType) -> Failure {
        Failure::of(&Error::new_up(etype), Request::Asked, &GET)
    }

    fn down(etype: ErrorType) -> Failure {
        Failure::of(&Error::new_down(etype), Request::Asked, &GET)
    }

    #[test]
    fn an_endpoint_that_waits_for_the_client_is_not_late() {
        let late = Error::new_up(ErrorType::ReadTimedout);
        let kind = |request| Failure::of(&late, request, &GET).kind;
        assert_eq!(kind(Request::Asked), Kind::ReadTimeout);
        assert_eq!(kind(Request::Owed), Kind::ClientTimeout);
    }

    #[test]
    fn labels_are_distinct() {
        let mut labels: Vec<_> = Kind::ALL.iter().map(|kind| kind.label()).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Kind::ALL.len());
    }

    #[test]
    fn each_upstream_failure_has_its_kind_and_status() {
        for (etype, kind, status) in [
            (ErrorType::ConnectRefused, Kind::ConnectRefused, 502),
            (ErrorType::ConnectNoRoute, Kind::Unreachable, 502),
            (ErrorType::ConnectError, Kind::ConnectFailed, 502),
            (ErrorType::ConnectTimedout, Kind::ConnectTimeout, 504),
            (ErrorType::TLSHandshakeFailure, Kind::TlsHandshake, 502),
            (ErrorType::TLSHandshakeTimedout, Kind::TlsTimeout, 504),
            (ErrorType::InvalidCert, Kind::Certificate, 502),
            (ErrorType::ReadTimedout, Kind::ReadTimeout, 504),
            (ErrorType::WriteTimedout, Kind::WriteTimeout, 504),
            (ErrorType::WriteError, Kind::WriteFailed, 502),
            (ErrorType::ConnectionClosed, Kind::Closed, 502),
            (ErrorType::InvalidHTTPHeader, Kind::InvalidResponse, 502),
            (
                ErrorType::Custom("InvalidChunk"),
                Kind::InvalidResponse,
                502,
            ),
            (ErrorType::H2Error, Kind::Protocol, 502),
            (own(Kind::NoEndpoint), Kind::NoEndpoint, 503),
            (own(Kind::NameResolution), Kind::NameResolution, 503),
            (own(Kind::InvalidResponse), Kind::InvalidResponse, 502),
        ] {
            let failure = up(etype);
            assert_eq!((failure.kind, failure.status()), (kind, status));
        }
    }

    #[test]
    fn each_client_failure_has_its_kind_and_status() {
        for (etype, kind, status) in [
            (ErrorType::ReadError, Kind::ClientGone, 499),
            (ErrorType::WriteError, Kind::ClientGone, 499),
            (ErrorType::WriteTimedout, Kind::ClientGone, 499),
            (ErrorType::ConnectionClosed, Kind::ClientGone, 499),
            (ErrorType::H2Error, Kind::ClientGone, 499),
            (ErrorType::ReadTimedout, Kind::ClientTimeout, 408),
            (own(Kind::ClientTimeout), Kind::ClientTimeout, 408),
            (ErrorType::InvalidHTTPHeader, Kind::ClientMalformed, 400),
            (
                ErrorType::Custom("InvalidChunk"),
                Kind::ClientMalformed,
                400,
            ),
            (ErrorType::HTTPStatus(413), Kind::BodyTooLarge, 413),
            (own(Kind::BodyTooLarge), Kind::BodyTooLarge, 413),
        ] {
            let failure = down(etype);
            assert_eq!((failure.kind, failure.status()), (kind, status));
            assert_eq!(failure.retry, Retry::Never);
            assert_eq!(failure.reply().is_none(), status == 499);
        }
    }

    #[test]
    fn causes_tell_a_reset_from_an_end_and_a_bad_certificate_from_a_bad_handshake() {
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        let error = Error::because(ErrorType::ReadError, "reading", reset).into_up();
        assert_eq!(Failure::of(&error, Request::Asked, &GET).kind, Kind::Reset);
        let wrapped = error.more_context("around it");
        assert_eq!(
            Failure::of(&wrapped, Request::Asked, &GET).kind,
            Kind::Reset
        );

        let bad = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        let bad = io::Error::new(io::ErrorKind::InvalidData, bad);
        let error = Error::because(ErrorType::TLSHandshakeFailure, "tls", bad).into_up();
        assert_eq!(
            Failure::of(&error, Request::Asked, &GET).kind,
            Kind::Certificate
        );
    }

    #[test]
    fn the_transports_verdict_on_a_body_is_kept() {
        let failure = |kind: io::ErrorKind| {
            let error = Error::because(ErrorType::ReadError, "reading", io::Error::from(kind));
            Failure::of(&error.into_down(), Request::Asked, &GET).kind
        };
        assert_eq!(failure(io::ErrorKind::TimedOut), Kind::ClientTimeout);
        assert_eq!(failure(io::ErrorKind::InvalidData), Kind::ClientMalformed);
        assert_eq!(failure(io::ErrorKind::ConnectionReset), Kind::ClientGone);
    }

    #[test]
    fn a_connector_need_not_say_whose_error_it_is() {
        let error = Error::new(ErrorType::ConnectRefused);
        assert_eq!(
            Failure::of(&error, Request::Asked, &GET).kind,
            Kind::ConnectRefused
        );
        let error = Error::new_in(ErrorType::InternalError);
        assert_eq!(Failure::of(&error, Request::Asked, &GET).status(), 500);
    }

    #[test]
    fn another_attempt_is_safe_only_if_nothing_was_sent_or_twice_means_once() {
        let retry = |etype: ErrorType, progress: Progress<'_>| {
            Failure::of(&Error::new_up(etype), Request::Asked, &progress).retry
        };
        let closed = || ErrorType::ConnectionClosed;
        let refused = || ErrorType::ConnectRefused;
        assert_eq!(retry(closed(), GET), Retry::Safe);
        assert_eq!(retry(closed(), POST), Retry::Never);
        assert_eq!(retry(refused(), POST), Retry::Safe);
        let sent = Sent::Nothing;
        assert_eq!(retry(closed(), Progress { sent, ..POST }), Retry::Safe);
        let body = Body::Spent;
        assert_eq!(retry(closed(), Progress { body, ..GET }), Retry::Never);
        assert_eq!(retry(refused(), Progress { body, ..GET }), Retry::Never);
        let answered = Answered::Something;
        assert_eq!(retry(closed(), Progress { answered, ..GET }), Retry::Never);
        assert_eq!(retry(own(Kind::NoEndpoint), GET), Retry::Never);
    }

    #[test]
    fn a_refused_http2_stream_is_safe_for_any_method() {
        let mut error = Error::new_up(ErrorType::H2Error);
        assert_eq!(
            Failure::of(&error, Request::Asked, &POST).retry,
            Retry::Never
        );
        error.set_retry(true);
        assert_eq!(
            Failure::of(&error, Request::Asked, &POST).retry,
            Retry::Safe
        );
    }
}
