//! What this dialect refuses, in the original's codes and words.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::reply::json;
use super::wire::{Detail, Note, Unfit};
use crate::model::Name;
use crate::registry;

/// Why a well-formed request was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Exists(Name),
    NoServices,
    NotFound(i128),
    NoPage,
    Marked(i128),
    Registry(registry::Error),
}

impl From<registry::Error> for Refusal {
    fn from(error: registry::Error) -> Self {
        Self::Registry(error)
    }
}

impl Refusal {
    /// Whether the documentation's first version would have answered `false`.
    pub(super) const fn is_answer(&self) -> bool {
        match self {
            Self::Exists(_) | Self::NotFound(_) | Self::Marked(_) => true,
            Self::NoServices | Self::NoPage | Self::Registry(_) => false,
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Registry(error) if error.is_retryable() => StatusCode::SERVICE_UNAVAILABLE,
            Self::Exists(_)
            | Self::NoServices
            | Self::NotFound(_)
            | Self::NoPage
            | Self::Marked(_)
            | Self::Registry(_) => StatusCode::CONFLICT,
        }
    }

    fn note(&self) -> Note {
        let msg = |code, text| Note {
            code,
            msg: Some(text),
            err_msg: None,
        };
        let err_msg = |code, text: &str| Note {
            code,
            msg: None,
            err_msg: Some(text.to_owned()),
        };
        match self {
            Self::Exists(name) => msg(1, format!("The \"{name}\" service already exists.")),
            Self::NoServices => err_msg(2, "Not a single service has been created yet."),
            Self::NotFound(id) => msg(3, format!("The service with id {id} was not found.")),
            Self::NoPage => err_msg(4, "Page not found."),
            Self::Marked(id) => msg(
                5,
                format!("Service {id} has already been marked as deleted."),
            ),
            Self::Registry(error) => msg(-1, error.to_string()),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let detail = self.note();
        json(self.status(), &Detail { detail })
    }
}

impl IntoResponse for Unfit {
    fn into_response(self) -> Response {
        match self {
            Self::Faults(detail) => json(StatusCode::UNPROCESSABLE_ENTITY, &Detail { detail }),
            Self::Body => json(
                StatusCode::BAD_REQUEST,
                &Detail {
                    detail: "There was an error parsing the body",
                },
            ),
        }
    }
}
