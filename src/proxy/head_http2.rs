//! Whether the head of an HTTP/2 request keeps to the limits of one of HTTP/1, and means the same to
//! whoever reads it there.

use http::HeaderValue;
use http::uri::PathAndQuery;

use super::head::{HeadError, HeadLimits};
use super::headers::sole_length;
use super::target::Head;

/// Checks what the `h2` crate leaves open.
///
/// # Errors
/// The first thing found wrong.
pub(super) fn check_http2(head: Head<'_>, limits: &HeadLimits) -> Result<(), HeadError> {
    let target = head.uri.path_and_query().map_or("", PathAndQuery::as_str);
    if target.len() > limits.line_bytes_max {
        return Err(HeadError::LineTooLong);
    }
    if head.headers.len() > limits.fields_max {
        return Err(HeadError::TooManyFields);
    }
    for (name, value) in head.headers {
        if name.as_str().len() + value.len() > limits.field_bytes_max {
            return Err(HeadError::FieldTooLarge);
        }
        check_value(value)?;
    }
    sole_length(head.headers).map(drop)
}

/// White space around a value is malformed in HTTP/2 (RFC 9113 §8.2.1) and no part of it in HTTP/1: a
/// route that looks for the value would see another than the endpoint.
fn check_value(value: &HeaderValue) -> Result<(), HeadError> {
    let bytes = value.as_bytes();
    if bytes.trim_ascii().len() == bytes.len() {
        Ok(())
    } else {
        Err(HeadError::FieldValue)
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, Method, Uri, Version};

    use super::*;

    fn checked(target: &'static str, fields: &[(&'static str, &str)]) -> Result<(), HeadError> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(HeaderName::from_static(name), value);
        }
        let limits = HeadLimits {
            line_bytes_max: 8,
            field_bytes_max: 20,
            fields_max: 3,
            ..HeadLimits::DEFAULT
        };
        let head = Head {
            method: &Method::GET,
            uri: &Uri::from_static(target),
            version: Version::HTTP_2,
            headers: &headers,
        };
        check_http2(head, &limits)
    }

    #[test]
    fn heads_keep_to_the_limits_and_mean_one_thing() {
        assert_eq!(checked("/1234567", &[("content-length", "7")]), Ok(()));
        assert_eq!(checked("/12345678", &[]), Err(HeadError::LineTooLong));
        let (four, long) = ([("a", ""); 4], [("a", "12345678901234567890")]);
        assert_eq!(checked("/", &four), Err(HeadError::TooManyFields));
        assert_eq!(checked("/", &long), Err(HeadError::FieldTooLarge));
        for value in [" 1", "1 ", "1\t"] {
            assert_eq!(checked("/", &[("a", value)]), Err(HeadError::FieldValue));
        }
        for (lengths, error) in [
            (&["7", "7"][..], HeadError::LengthRepeated),
            (&["07"], HeadError::Length),
            (&["7, 7"], HeadError::Length),
        ] {
            let fields: Vec<_> = lengths.iter().map(|l| ("content-length", *l)).collect();
            assert_eq!(checked("/", &fields), Err(error));
        }
    }
}
