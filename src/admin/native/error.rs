//! What the registry refuses, as the native API says it.

use crate::admin::problem::{Details, Flaw, Reason};
use crate::model::{EntityRef, Refusal};
use crate::registry::Error;

/// Where an entity's field, or with an empty field the entity itself, stands in the request: what a
/// JSON pointer to it begins with, where it stands there at all.
pub(super) type Locate<'a> = &'a dyn Fn(EntityRef, &str) -> Option<String>;

/// The one translation of [`Error`] into statuses; exhaustive, so that a new error does not compile
/// until it has one.
pub(super) fn details(error: &Error, locate: Locate<'_>) -> Details {
    match error {
        Error::Refused(refusal) => refused(refusal, locate),
        Error::Problems(problems) => {
            let flaws = problems.iter().map(|problem| {
                let invalid = &problem.invalid;
                place(problem.at, &invalid.field, invalid.why.clone(), locate)
            });
            Details::invalid(flaws.collect())
        }
        Error::Bind { at, why } => Details::new(Reason::Address, why.clone())
            .with_flaws(vec![place(*at, "port", why.clone(), locate)]),
        Error::ReadOnly(why) => Details::new(Reason::ReadOnly, why.clone()),
        Error::Full(why) => Details::new(Reason::Full, why.clone()),
        Error::Unavailable(why) => Details::new(Reason::Unavailable, why.clone()),
    }
}

fn refused(refusal: &Refusal, locate: Locate<'_>) -> Details {
    let (reason, at, field, detail) = match refusal {
        Refusal::NotFound(at) => (Reason::NotFound, at, "", refusal.to_string()),
        Refusal::AlreadyExists {
            at,
            field,
            value,
            with,
        } => {
            let detail = format!("{field} {value:?} is taken by {with}");
            (Reason::AlreadyExists, at, *field, detail)
        }
        Refusal::Invalid { at, invalid } => {
            (Reason::Invalid, at, &*invalid.field, invalid.why.clone())
        }
        Refusal::Dangling { at, field, to } => {
            let detail = format!("{field} names {to}, which does not exist");
            (Reason::Invalid, at, *field, detail)
        }
        Refusal::NoNamespace { at, namespace } => {
            let detail = format!("namespace {:?} does not exist", namespace.as_str());
            (Reason::Invalid, at, "namespace", detail)
        }
        Refusal::InUse { at, .. } => (Reason::InUse, at, "", refusal.to_string()),
        Refusal::Stale { at, .. } => (Reason::Precondition, at, "", refusal.to_string()),
    };
    let flaw = place(*at, field, detail.clone(), locate);
    Details::new(reason, detail).with_flaws(vec![flaw])
}

/// A flaw at its place in the request; where its entity is not in the request, the text names it.
fn place(at: EntityRef, field: &str, detail: String, locate: Locate<'_>) -> Flaw {
    match locate(at, field) {
        Some(prefix) => Flaw::at_field(field, detail).within(&prefix),
        None if detail.contains(&at.id.to_string()) => Flaw::at_field("", detail),
        None if field.is_empty() => Flaw::at_field("", format!("{at}: {detail}")),
        None => Flaw::at_field("", format!("{at}: {field}: {detail}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Id, Invalid, Kind, NamespaceRef, Revision};

    #[test]
    fn every_refusal_has_its_status_and_place() {
        let at = EntityRef {
            kind: Kind::Route,
            id: Id::derived("a"),
        };
        let to = EntityRef {
            kind: Kind::Service,
            id: Id::derived("b"),
        };
        let invalid = Invalid::new("paths", "no");
        let cases = [
            (Refusal::NotFound(at), 404, ""),
            (
                Refusal::AlreadyExists {
                    at,
                    field: "name",
                    value: "x".into(),
                    with: to,
                },
                409,
                "/name",
            ),
            (Refusal::Invalid { at, invalid }, 422, "/paths"),
            (
                Refusal::Dangling {
                    at,
                    field: "service",
                    to,
                },
                422,
                "/service",
            ),
            (
                Refusal::NoNamespace {
                    at,
                    namespace: NamespaceRef::default(),
                },
                422,
                "/namespace",
            ),
            (Refusal::InUse { at, by: to }, 409, ""),
            (
                Refusal::Stale {
                    at,
                    expected: Revision(1),
                    found: Revision(2),
                },
                412,
                "",
            ),
        ];
        for (refusal, status, pointer) in cases {
            let details = details(&Error::Refused(refusal), &|_, _| Some("/document".into()));
            assert_eq!(details.reason.status().as_u16(), status, "{details:?}");
            assert_eq!(details.flaws[0].pointer, format!("/document{pointer}"));
        }
    }

    #[test]
    fn every_error_has_its_status() {
        let at = EntityRef {
            kind: Kind::Listener,
            id: Id::derived("a"),
        };
        let why = || "why".to_owned();
        let cases = [
            (Error::Bind { at, why: why() }, 409),
            (Error::ReadOnly(why()), 503),
            (Error::Unavailable(why()), 503),
            (Error::Full(why()), 507),
        ];
        for (error, status) in cases {
            assert_eq!(
                details(&error, &|_, _| None).reason.status().as_u16(),
                status
            );
        }
    }
}
