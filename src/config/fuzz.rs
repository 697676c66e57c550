//! Fuzzing: arbitrary text as a file of settings.

use std::path::Path;

use super::Settings;

/// A file; panics where resolving does, or where a mistake is not one line.
pub fn config_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let file = Some((Path::new("gateway.toml"), text));
    let Err(mistakes) = Settings::resolve(file, std::iter::empty()) else {
        return;
    };
    assert!(!mistakes.0.is_empty());
    for mistake in &mistakes.0 {
        assert!(!mistake.to_string().contains('\n'), "{mistake}");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_is_settings_or_mistakes(
            text in "(\\[(proxy|log|limits|admin|nothing)\\]\n|[a-z_]{1,12} = [-0-9a-zé\"\\[\\]\n]{0,9}\n){0,8}",
        ) {
            super::config_file(text.as_bytes());
        }
    }
}
