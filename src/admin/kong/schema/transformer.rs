//! What request-transformer and response-transformer write into headers, arguments and bodies.

use super::rule::is_token;

pub(super) fn plain_header(text: &str) -> Result<(), String> {
    let name = text.split(':').next().unwrap_or_default();
    valid_header(name)
}

fn valid_header(name: &str) -> Result<(), String> {
    if is_token(name) {
        return Ok(());
    }
    Err(format!("'{name}' is not a valid header"))
}

/// `old:new`, both of them names of headers.
pub(super) fn renamed_header(text: &str) -> Result<(), String> {
    let (old, new) = text.split_once(':').unwrap_or((text, ""));
    valid_header(old)?;
    valid_header(new)
}

/// `name:value`, whose value may be a template.
pub(super) fn template_header(text: &str) -> Result<(), String> {
    let (name, value) = text.split_once(':').unwrap_or((text, ""));
    valid_header(name)?;
    template(value)
}

/// Text with `$(…)`, each of them closed and not empty.
pub(super) fn template(text: &str) -> Result<(), String> {
    let wrong = |why: &str| {
        Err(format!(
            "value '{text}' is not in supported format, error:{why}"
        ))
    };
    for rest in text.split("$(").skip(1) {
        match closing(rest) {
            None => return wrong("a '$(' without its ')'"),
            Some(end) if rest.get(..end).is_some_and(|inner| inner.trim().is_empty()) => {
                return wrong("nothing between '$(' and ')'");
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Where the parenthesis that is open at the start is closed.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 1_usize;
    text.char_indices().find_map(|(at, c)| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        (depth == 0).then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_closed_and_headers_named() {
        assert!(template("a:$(headers['x'] or f(1))/$(uri_captures.y)").is_ok());
        assert!(template("a:$(headers.x").is_err() && template("a:$( )").is_err());
        assert!(renamed_header("x-a:x-b").is_ok() && renamed_header("x-a:x b").is_err());
        assert!(template_header("x a:1").is_err() && plain_header("x-a").is_ok());
    }
}
