//! Responses that the gateway itself writes: status, headers, and a body in the format the client
//! asked for. Where and why they are written is decided elsewhere.

mod body;
mod negotiate;

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};

pub use negotiate::{Format, negotiate};

/// Whose clients read the reply, and so what its body looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Shape {
    /// `{"message": …, "request_id": …}`, or what `Accept` prefers.
    #[default]
    Native,
    /// FastAPI's `{"detail": …}`, always JSON: for traffic through the gateway dialect's port.
    Gateway,
    /// The native form with Kong's sentences.
    Kong,
}

/// Whether a connection is good for another request after the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Afterwards {
    Keep,
    /// The rest of what the client sends cannot be framed, or is not worth reading.
    Close,
}

/// Declares every kind of reply: its name, status, label, what becomes of the connection, and its
/// text for clients.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident $status:ident $label:literal $after:ident $text:literal;)*) => {
        /// Why the gateway answers by itself. The list is closed: it labels metrics and log lines.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $($(#[$doc])* $kind,)* }

        impl Kind {
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// The usual status; a redirect to HTTPS has its own.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$kind => StatusCode::$status,)* }
            }

            /// The word in metrics and log lines.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$kind => $label,)* }
            }

            pub const fn afterwards(self) -> Afterwards {
                match self { $(Self::$kind => Afterwards::$after,)* }
            }

            const fn text(self) -> &'static str {
                match self { $(Self::$kind => $text,)* }
            }
        }
    };
}

kinds! {
    BadRequest BAD_REQUEST "bad_request" Close "the request is malformed";
    NoRoute NOT_FOUND "no_route" Keep "no route matches this request";
    MethodNotAllowed METHOD_NOT_ALLOWED "method_not_allowed" Keep "this method is not allowed here";
    RequestTimeout REQUEST_TIMEOUT "request_timeout" Close "the request did not arrive in time";
    PayloadTooLarge PAYLOAD_TOO_LARGE "payload_too_large" Close "the request body is too large";
    UriTooLong URI_TOO_LONG "uri_too_long" Close "the request target is too long";
    /// The media type of the request is not gRPC's.
    GrpcRequired UNSUPPORTED_MEDIA_TYPE "grpc_required" Keep "this route takes gRPC calls only";
    HttpsRequired UPGRADE_REQUIRED "https_required" Keep "use HTTPS here";
    /// A gRPC call that is not HTTP/2.
    Http2Required UPGRADE_REQUIRED "http2_required" Keep "use HTTP/2 here";
    /// A gRPC call in clear.
    GrpcsRequired UPGRADE_REQUIRED "grpcs_required" Keep "use gRPC over TLS here";
    HeadTooLarge REQUEST_HEADER_FIELDS_TOO_LARGE "head_too_large" Close
        "the request header is too large";
    Internal INTERNAL_SERVER_ERROR "internal" Close "an unexpected error occurred";
    NotImplemented NOT_IMPLEMENTED "not_implemented" Close
        "the request uses a transfer coding that is not supported";
    BadGateway BAD_GATEWAY "bad_gateway" Keep "the upstream sent an invalid response";
    /// No connection to the service could be made.
    ConnectFailed BAD_GATEWAY "connect_failed" Keep "the upstream could not be reached";
    /// The route names no service.
    NoService SERVICE_UNAVAILABLE "no_service" Keep "this route has no service";
    /// The pool has no endpoint that may take traffic.
    NoEndpoint SERVICE_UNAVAILABLE "no_endpoint" Keep "no endpoint is available";
    NameResolutionFailed SERVICE_UNAVAILABLE "name_resolution_failed" Keep
        "name resolution failed";
    Unavailable SERVICE_UNAVAILABLE "unavailable" Keep "the service is unavailable";
    GatewayTimeout GATEWAY_TIMEOUT "gateway_timeout" Keep "the upstream did not answer in time";
    VersionNotSupported HTTP_VERSION_NOT_SUPPORTED "version_not_supported" Close
        "this version of HTTP is not supported";
    LoopDetected LOOP_DETECTED "loop_detected" Keep "the request came through here before";
}

/// A response that the gateway itself writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    kind: Kind,
    status: StatusCode,
    message: Cow<'static, str>,
    /// At most one header beyond those every reply has.
    header: Option<(HeaderName, HeaderValue)>,
}

/// Who gets a reply, and what it understands.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    pub method: &'a Method,
    /// gRPC is HTTP/2's: what calls itself so in another version hears HTTP.
    pub version: Version,
    /// The request's: `Accept` and `Content-Type` are looked at.
    pub headers: &'a HeaderMap,
    pub shape: Shape,
    /// Shown in the body, so that a client can quote it.
    pub request_id: Option<&'a str>,
}

/// How a client is told to come back by HTTPS.
#[derive(Clone, Copy, Debug)]
pub enum HttpsBy<'a> {
    /// 426 (RFC 9110 §15.5.22).
    Upgrade,
    /// A redirect: 301, 302, 307 or 308.
    Redirect {
        status: StatusCode,
        host: &'a str,
        /// Left out of the location where it is 443.
        port: u16,
        path_and_query: &'a str,
    },
}

impl From<Kind> for Reply {
    fn from(kind: Kind) -> Self {
        Self {
            kind,
            status: kind.status(),
            message: Cow::Borrowed(kind.text()),
            header: None,
        }
    }
}

/// 404: nothing in the table takes the request.
pub fn no_route() -> Reply {
    Kind::NoRoute.into()
}

/// 503: the route leads nowhere.
pub fn no_service() -> Reply {
    Kind::NoService.into()
}

/// 426, or a redirect to the same place by HTTPS.
pub fn https_required(by: HttpsBy<'_>) -> Reply {
    match by {
        HttpsBy::Upgrade => upgrade_required(),
        HttpsBy::Redirect {
            status,
            host,
            port,
            path_and_query,
        } => match location(host, port, path_and_query) {
            Some(location) => Reply {
                status,
                header: Some((LOCATION, location)),
                ..Kind::HttpsRequired.into()
            },
            None => upgrade_required(),
        },
    }
}

fn upgrade_required() -> Reply {
    let protocols = HeaderValue::from_static("TLS/1.2, HTTP/1.1");
    Reply::from(Kind::HttpsRequired).with_header(UPGRADE, protocols)
}

/// 415: only gRPC calls are taken.
pub fn grpc_required() -> Reply {
    Kind::GrpcRequired.into()
}

/// 426: gRPC needs HTTP/2.
pub fn http2_required() -> Reply {
    let protocols = HeaderValue::from_static("HTTP/2");
    Reply::from(Kind::Http2Required).with_header(UPGRADE, protocols)
}

/// For a gRPC call in clear where only TLS is taken: the call is cancelled.
pub fn grpcs_required() -> Reply {
    Kind::GrpcsRequired.into()
}

/// `None` where the parts make no header value.
fn location(host: &str, port: u16, path_and_query: &str) -> Option<HeaderValue> {
    let mut text = String::with_capacity(host.len() + path_and_query.len() + 14);
    text.push_str("https://");
    text.push_str(host);
    if port != 443 {
        text.push(':');
        text.push_str(itoa::Buffer::new().format(port));
    }
    text.push_str(path_and_query);
    HeaderValue::try_from(text).ok()
}

/// 400, saying what is wrong with the request.
pub fn bad_request(why: impl Into<Cow<'static, str>>) -> Reply {
    Reply {
        message: why.into(),
        ..Kind::BadRequest.into()
    }
}

/// 413.
pub fn payload_too_large() -> Reply {
    Kind::PayloadTooLarge.into()
}

/// 414.
pub fn uri_too_long() -> Reply {
    Kind::UriTooLong.into()
}

/// 431 (RFC 6585 §5).
pub fn head_too_large() -> Reply {
    Kind::HeadTooLarge.into()
}

/// 408: the client was too slow.
pub fn request_timeout() -> Reply {
    Kind::RequestTimeout.into()
}

/// 405 with the methods that would do (RFC 9110 §15.5.6).
pub fn method_not_allowed(allow: HeaderValue) -> Reply {
    Reply::from(Kind::MethodNotAllowed).with_header(ALLOW, allow)
}

/// 508: the request has been through here, or through too many hops.
pub fn loop_detected() -> Reply {
    Kind::LoopDetected.into()
}

/// 503: no endpoint of the pool may take traffic; `retry_after` in whole seconds.
pub fn no_endpoint(retry_after: u32) -> Reply {
    Reply::from(Kind::NoEndpoint).with_header(RETRY_AFTER, retry_after.into())
}

/// 503: the service's name has no address.
pub fn name_resolution_failed() -> Reply {
    Kind::NameResolutionFailed.into()
}

/// 502: the endpoint's answer was not HTTP, or broke off.
pub fn bad_gateway() -> Reply {
    Kind::BadGateway.into()
}

/// 502, and 503 in the gateway dialect's shape: no connection to the endpoint.
pub fn connect_failed() -> Reply {
    Kind::ConnectFailed.into()
}

/// 504.
pub fn gateway_timeout() -> Reply {
    Kind::GatewayTimeout.into()
}

/// 503; `retry_after` in whole seconds.
pub fn unavailable(retry_after: u32) -> Reply {
    Reply::from(Kind::Unavailable).with_header(RETRY_AFTER, retry_after.into())
}

/// Kong's own sentence, where it has one for this.
const fn kong_text(kind: Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::NoRoute => "no Route matched with those values",
        Kind::NoService => "no Service found with those values",
        Kind::HttpsRequired => "Please use HTTPS protocol",
        Kind::GrpcRequired => "Non-gRPC request matched gRPC route",
        Kind::Http2Required => "Please use HTTP2 protocol",
        Kind::GrpcsRequired => "gRPC request matched gRPCs route",
        Kind::BadGateway | Kind::ConnectFailed => {
            "An invalid response was received from the upstream server"
        }
        Kind::GatewayTimeout => "The upstream server is timing out",
        Kind::NoEndpoint => "failure to get a peer from the ring-balancer",
        Kind::NameResolutionFailed => "name resolution failed",
        Kind::PayloadTooLarge => "Payload too large",
        Kind::UriTooLong => "URI too long",
        Kind::Internal => "An unexpected error occurred",
        Kind::HeadTooLarge => "Request header or cookie too large",
        Kind::BadRequest => "Bad request",
        Kind::RequestTimeout => "Request timeout",
        Kind::MethodNotAllowed
        | Kind::NotImplemented
        | Kind::Unavailable
        | Kind::VersionNotSupported
        | Kind::LoopDetected => return None,
    })
}

impl Reply {
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Sets the one header that belongs to this reply.
    #[must_use]
    fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some((name, value));
        self
    }

    /// The status that a client of `shape` sees.
    pub fn status(&self, shape: Shape) -> StatusCode {
        match (shape, self.kind) {
            (Shape::Gateway, Kind::ConnectFailed) => StatusCode::SERVICE_UNAVAILABLE,
            _ => self.status,
        }
    }

    /// What the client is told. FastAPI's own sentences where its clients know them.
    pub fn message(&self, shape: Shape) -> &str {
        match (shape, self.kind) {
            (Shape::Native, _) => &self.message,
            (Shape::Kong, kind) => kong_text(kind).unwrap_or(&self.message),
            (Shape::Gateway, Kind::NoRoute) => "Not Found",
            (Shape::Gateway, Kind::MethodNotAllowed) => "Method Not Allowed",
            (Shape::Gateway, Kind::GatewayTimeout) => "Gateway timeout.",
            (
                Shape::Gateway,
                Kind::ConnectFailed
                | Kind::NoService
                | Kind::NoEndpoint
                | Kind::NameResolutionFailed
                | Kind::Unavailable,
            ) => "Service is unavailable.",
            (Shape::Gateway, _) => &self.message,
        }
    }

    /// The whole response. A `HEAD` gets the length and no body (RFC 9110 §9.3.2); a gRPC call gets
    /// its status in the header and no body (gRPC's "trailers-only"), with HTTP's status 200, or in
    /// Kong's shape with the status that other requests get.
    pub fn render(&self, asker: &Asker<'_>) -> Response<Bytes> {
        let format = match asker.shape {
            Shape::Native | Shape::Kong => negotiate(asker.headers, asker.version),
            Shape::Gateway => Format::Detail,
        };
        match format {
            Format::Grpc | Format::GrpcWeb => self.render_grpc(format, asker.shape),
            Format::Json | Format::Text | Format::Html | Format::Xml | Format::Detail => {
                self.render_http(format, asker)
            }
        }
    }

    fn render_http(&self, format: Format, asker: &Asker<'_>) -> Response<Bytes> {
        if asker.shape == Shape::Kong && self.status.is_redirection() {
            return self.render_redirect(format);
        }
        let page = body::Page {
            status: self.status(asker.shape),
            message: self.message(asker.shape),
            request_id: asker.request_id,
        };
        let body = page.render(format);
        let mut response = self.start(page.status, format);
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, body.len().into());
        if *asker.method != Method::HEAD {
            *response.body_mut() = body;
        }
        response
    }

    /// Kong says no more than where to.
    fn render_redirect(&self, format: Format) -> Response<Bytes> {
        let mut response = self.start(self.status, format);
        let headers = response.headers_mut();
        headers.remove(CONTENT_TYPE);
        headers.insert(CONTENT_LENGTH, 0.into());
        response
    }

    fn render_grpc(&self, format: Format, shape: Shape) -> Response<Bytes> {
        let status = match (shape, self.kind) {
            (Shape::Kong, kind) if kind != Kind::GrpcsRequired => self.status(shape),
            (Shape::Kong | Shape::Native | Shape::Gateway, _) => StatusCode::OK,
        };
        let mut response = self.start(status, format);
        let headers = response.headers_mut();
        let code = match self.kind {
            Kind::GrpcsRequired => GRPC_CANCELLED,
            _ => grpc_code(self.status(shape)),
        };
        headers.insert(HeaderName::from_static("grpc-status"), code.into());
        let message = body::percent_encoded(self.message(shape));
        if let Ok(message) = HeaderValue::try_from(message) {
            headers.insert(HeaderName::from_static("grpc-message"), message);
        }
        response
    }

    /// Status, content type, the reply's own header, and that nobody may store it: a 404 is
    /// otherwise cacheable (RFC 9110 §15.1) and would outlive the route's creation.
    fn start(&self, status: StatusCode, format: Format) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static(format.content_type()),
        );
        if !status.is_redirection() {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        if let Some((name, value)) = &self.header {
            headers.insert(name, value.clone());
            if *name == UPGRADE {
                headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            }
        }
        response
    }
}

/// The call was given up (gRPC's `statuscodes`).
const GRPC_CANCELLED: u16 = 1;

/// What a gRPC client makes of an HTTP status (gRPC's `http-grpc-status-mapping`).
pub const fn grpc_code(status: StatusCode) -> u16 {
    const UNKNOWN: u16 = 2;
    const PERMISSION_DENIED: u16 = 7;
    const UNIMPLEMENTED: u16 = 12;
    const INTERNAL: u16 = 13;
    const UNAVAILABLE: u16 = 14;
    const UNAUTHENTICATED: u16 = 16;
    match status.as_u16() {
        400 => INTERNAL,
        401 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        404 => UNIMPLEMENTED,
        429 | 502 | 503 | 504 => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::ACCEPT;

    fn asker<'a>(method: &'a Method, headers: &'a HeaderMap, shape: Shape) -> Asker<'a> {
        Asker {
            method,
            version: Version::HTTP_2,
            headers,
            shape,
            request_id: None,
        }
    }

    fn accepting(text: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(text))])
    }

    fn body(reply: &Reply, headers: &HeaderMap, shape: Shape) -> String {
        let response = reply.render(&asker(&Method::GET, headers, shape));
        String::from_utf8(response.into_body().to_vec()).unwrap()
    }

    #[test]
    fn every_kind_has_a_label_of_its_own_and_an_error_status() {
        let mut labels: Vec<_> = Kind::ALL.iter().map(|kind| kind.label()).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Kind::ALL.len());
        for kind in Kind::ALL {
            let status = kind.status();
            assert!(
                status.is_client_error() || status.is_server_error(),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn json_is_the_default_and_carries_the_request_id() {
        let headers = HeaderMap::new();
        let asker = Asker {
            request_id: Some("abc"),
            ..asker(&Method::GET, &headers, Shape::Native)
        };
        let response = no_route().render(&asker);
        assert_eq!(response.status(), 404);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
        assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
        let value: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(value["message"], "no route matches this request");
        assert_eq!(value["request_id"], "abc");
    }

    #[test]
    fn the_gateway_shape_is_fastapis_and_does_not_look_at_accept() {
        let html = accepting("text/html");
        for (reply, status, detail) in [
            (no_route(), 404, r#"{"detail":"Not Found"}"#),
            (
                connect_failed(),
                503,
                r#"{"detail":"Service is unavailable."}"#,
            ),
            (
                no_endpoint(1),
                503,
                r#"{"detail":"Service is unavailable."}"#,
            ),
            (gateway_timeout(), 504, r#"{"detail":"Gateway timeout."}"#),
            (
                method_not_allowed(HeaderValue::from_static("GET")),
                405,
                r#"{"detail":"Method Not Allowed"}"#,
            ),
            (
                bad_request("say \"why\""),
                400,
                r#"{"detail":"say \"why\""}"#,
            ),
        ] {
            assert_eq!(reply.status(Shape::Gateway), status);
            assert_eq!(body(&reply, &html, Shape::Gateway), detail);
        }
    }

    #[test]
    fn a_head_request_gets_the_length_and_no_body() {
        let headers = HeaderMap::new();
        let full = no_route().render(&asker(&Method::GET, &headers, Shape::Native));
        let head = no_route().render(&asker(&Method::HEAD, &headers, Shape::Native));
        assert!(head.body().is_empty());
        assert_eq!(head.headers(), full.headers());
        assert_eq!(
            head.headers()[CONTENT_LENGTH],
            full.body().len().to_string()
        );
    }

    #[test]
    fn a_grpc_call_gets_a_trailers_only_answer() {
        let headers = HeaderMap::from_iter([(
            CONTENT_TYPE,
            HeaderValue::from_static("application/grpc+proto"),
        )]);
        let response = no_endpoint(3).render(&asker(&Method::POST, &headers, Shape::Native));
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/grpc");
        assert_eq!(response.headers()["grpc-status"], "14");
        assert_eq!(
            response.headers()["grpc-message"],
            "no endpoint is available"
        );
        assert!(!response.headers().contains_key(CONTENT_LENGTH));
        assert!(response.body().is_empty());
    }

    #[test]
    fn a_grpc_call_hears_kong_s_status_and_one_that_is_not_http_2_hears_http() {
        let grpc = (CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        let headers = HeaderMap::from_iter([grpc]);
        let asker = asker(&Method::POST, &headers, Shape::Kong);
        for (reply, status, code) in [
            (no_route(), 404, "12"),
            (bad_gateway(), 502, "14"),
            (grpcs_required(), 200, "1"),
        ] {
            let response = reply.render(&asker);
            assert_eq!(response.status(), status);
            assert_eq!(response.headers()["grpc-status"], code);
        }
        let version = Version::HTTP_11;
        let response = http2_required().render(&Asker { version, ..asker });
        assert_eq!(response.status(), 426);
        assert_eq!(response.headers()[UPGRADE], "HTTP/2");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
    }

    #[test]
    fn https_is_asked_for_by_upgrade_or_by_redirect() {
        let headers = HeaderMap::new();
        let asker = asker(&Method::GET, &headers, Shape::Native);
        let upgrade = https_required(HttpsBy::Upgrade).render(&asker);
        assert_eq!(upgrade.status(), 426);
        assert_eq!(upgrade.headers()[CONNECTION], "Upgrade");
        assert_eq!(upgrade.headers()[UPGRADE], "TLS/1.2, HTTP/1.1");

        let redirect = |port, path_and_query| {
            https_required(HttpsBy::Redirect {
                status: StatusCode::PERMANENT_REDIRECT,
                host: "a.example",
                port,
                path_and_query,
            })
            .render(&asker)
        };
        let response = redirect(443, "/x?y=1");
        assert_eq!(response.status(), 308);
        assert_eq!(response.headers()[LOCATION], "https://a.example/x?y=1");
        assert!(!response.body().is_empty());
        let response = redirect(8443, "/");
        assert_eq!(response.headers()[LOCATION], "https://a.example:8443/");
        assert_eq!(redirect(443, "/\r\nx: y").status(), 426);
    }

    #[test]
    fn a_redirect_in_kong_s_shape_has_no_body() {
        let headers = HeaderMap::new();
        let asker = asker(&Method::GET, &headers, Shape::Kong);
        let redirect = https_required(HttpsBy::Redirect {
            status: StatusCode::FOUND,
            host: "a.example",
            port: 443,
            path_and_query: "/x",
        });
        let response = redirect.render(&asker);
        assert_eq!(response.headers()[LOCATION], "https://a.example/x");
        assert_eq!(response.headers()[CONTENT_LENGTH], "0");
        assert!(!response.headers().contains_key(CONTENT_TYPE));
        assert!(response.body().is_empty());
        let upgrade = https_required(HttpsBy::Upgrade).render(&asker);
        assert!(!upgrade.body().is_empty());
    }

    #[test]
    fn a_text_from_outside_cannot_leave_its_place_in_any_format() {
        let evil = "</p><script>\"&'\u{1}\\\r\n";
        for accept in [
            "application/json",
            "text/plain",
            "text/html",
            "application/xml",
        ] {
            let headers = accepting(accept);
            let body = body(&bad_request(evil), &headers, Shape::Native);
            if accept != "text/plain" && accept != "application/json" {
                assert!(!body.contains("<script>"), "{body}");
            }
            assert!(!body.contains('\u{1}') && !body.contains('\r'), "{body}");
        }
        let headers = accepting("application/json");
        let body = body(&bad_request(evil), &headers, Shape::Native);
        let value: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(value["message"], evil);
    }
}
