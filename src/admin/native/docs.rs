//! The documentation page: one file, nothing from elsewhere.

/// Reads `/api/openapi.json` and shows it.
pub(super) const PAGE: &str = include_str!("docs.html");

/// Nothing but itself and this API: what a name in the registry says is never run.
pub(super) const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; \
    script-src 'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_loads_nothing_from_elsewhere_and_writes_no_markup_from_data() {
        for foreign in [
            "http://",
            "https://",
            "//cdn",
            "@import",
            "src=",
            "innerHTML",
            "eval(",
        ] {
            assert!(!PAGE.contains(foreign), "{foreign}");
        }
    }
}
