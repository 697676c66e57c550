//! The parameters of a URL: only those a route declares, each once.

use axum::extract::Query as Pairs;
use http::Uri;

use crate::admin::problem::{Details, Reason};

/// A URL's parameters, decoded.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// # Errors
    /// 400 for a parameter that is not `declared`, or that is there twice, or that is not UTF-8.
    pub(super) fn parse(uri: &Uri, declared: &[&str]) -> Result<Self, Details> {
        let wrong = |detail: String| Details::new(Reason::Parameter, detail);
        let Pairs(pairs) = Pairs::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|error| wrong(error.to_string()))?;
        for (n, (name, _)) in pairs.iter().enumerate() {
            if !declared.contains(&name.as_str()) {
                let known = declared.join(", ");
                return Err(wrong(format!("parameter {name:?} is not one of [{known}]")));
            }
            if pairs.iter().take(n).any(|(earlier, _)| earlier == name) {
                return Err(wrong(format!("parameter {name:?} is there twice")));
            }
        }
        Ok(Self(pairs))
    }

    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let pair = self.0.iter().find(|(known, _)| known == name);
        pair.map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_declared_parameters_and_each_once() {
        let parse = |uri: &str| Query::parse(&uri.parse().unwrap(), &["limit", "tags"]);
        let query = parse("/x?limit=5&tags=a%2Cb").unwrap();
        assert_eq!(
            (query.value("limit"), query.value("tags")),
            (Some("5"), Some("a,b"))
        );
        assert_eq!(query.value("cursor"), None);
        assert!(parse("/x?limits=5").unwrap_err().detail.contains("limits"));
        assert!(
            parse("/x?tags=a&tags=b")
                .unwrap_err()
                .detail
                .contains("twice")
        );
        assert!(parse("/x").is_ok());
    }
}
