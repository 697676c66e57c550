//! A request's body: JSON, a form, or a multipart form.

use axum::body::{Body, Bytes, to_bytes};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde_json::Value;

use super::failure::Failure;
use super::schema::{Document, FormError, Schema};
use crate::admin::json::BODY_BYTES_MAX;

/// What a body was written as.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Input {
    Document(Document),
    /// Names and texts, whose types the schema tells.
    Form(Vec<(String, String)>),
}

impl Input {
    /// The document, by the schema of what is written; `stored` is what it is to be merged into.
    ///
    /// # Errors
    /// A form of too many arguments.
    pub(super) fn document(
        self,
        schema: &Schema,
        stored: Option<&Document>,
    ) -> Result<Document, Failure> {
        match self {
            Self::Document(document) => Ok(document),
            Self::Form(form) => schema.infer(&form, stored).map_err(Failure::from),
        }
    }
}

impl From<FormError> for Failure {
    fn from(error: FormError) -> Self {
        Self::bad_request(&error.to_string())
    }
}

/// Reads a body. One without a content type is nothing, and so is a JSON array or text.
///
/// # Errors
/// 415 for other content types, 413 for more than the bound, 400 for what is not JSON.
pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Input, Failure> {
    let media = headers
        .get(CONTENT_TYPE)
        .map(|value| value.to_str().unwrap_or_default());
    let media = media.map(str::to_ascii_lowercase);
    let kind = media.as_deref().map(Media::of);
    if kind == Some(None) {
        return Err(Failure::media_type());
    }
    let Ok(bytes) = to_bytes(body, BODY_BYTES_MAX).await else {
        return Err(Failure::too_large());
    };
    match kind.flatten() {
        None if bytes.is_empty() => Ok(Input::Document(Document::new())),
        None => Err(Failure::media_type()),
        Some(Media::Json) => read_json(&bytes),
        Some(Media::Form) => Ok(Input::Form(pairs(&bytes))),
        Some(Media::Multipart) => {
            let written = headers
                .get(CONTENT_TYPE)
                .and_then(|value| value.to_str().ok());
            multipart(written.unwrap_or_default(), bytes).await
        }
    }
}

/// What a content type announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Media {
    Json,
    Form,
    Multipart,
}

impl Media {
    fn of(text: &str) -> Option<Self> {
        if text.starts_with("application/json") {
            Some(Self::Json)
        } else if text.starts_with("application/x-www-form-urlencoded") {
            Some(Self::Form)
        } else {
            text.starts_with("multipart/form-data")
                .then_some(Self::Multipart)
        }
    }
}

fn read_json(bytes: &[u8]) -> Result<Input, Failure> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(document)) => Ok(Input::Document(document)),
        Ok(Value::Array(_)) => Ok(Input::Document(Document::new())),
        Ok(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) | Err(_) => {
            Err(Failure::bad_request("Cannot parse JSON body"))
        }
    }
}

/// The pairs of a form or a query.
pub(super) fn pairs(text: &[u8]) -> Vec<(String, String)> {
    let pairs = form_urlencoded::parse(text);
    pairs
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect()
}

pub(super) async fn multipart(media: &str, bytes: Bytes) -> Result<Input, Failure> {
    let wrong = |_| Failure::bad_request("Cannot parse multipart body");
    let boundary = multer::parse_boundary(media).map_err(wrong)?;
    let whole = Body::from(bytes).into_data_stream();
    let mut parts = multer::Multipart::new(whole, boundary);
    let mut form = Vec::new();
    while let Some(part) = parts.next_field().await.map_err(wrong)? {
        let name = part.name().unwrap_or_default().to_owned();
        form.push((name, part.text().await.map_err(wrong)?));
    }
    Ok(Input::Form(form))
}
