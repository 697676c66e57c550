//! The one place that reads the environment and the settings' files.

use std::path::{Path, PathBuf};

use super::raw::File;
use super::resolve::{Reader, tokens};
use super::{Mistake, Mistakes, Place, Settings, Token};

/// Settings from `file`, else from the file that `SLUICEGATE_CONFIG` names, else from none; then the
/// environment; `data`, where it is given, stands for `SLUICEGATE_DATA`.
///
/// # Errors
/// Every mistake in them, or why a file cannot be read.
pub fn load(file: Option<&Path>, data: Option<&Path>) -> Result<Settings, Mistakes> {
    #[expect(clippy::disallowed_methods, reason = "the one place")]
    let env = std::env::vars_os().filter_map(|(name, value)| {
        Some((
            name.into_string().ok()?,
            value.to_string_lossy().into_owned(),
        ))
    });
    load_from(file, with_data(env.collect(), data))
}

fn with_data(mut env: Vec<(String, String)>, data: Option<&Path>) -> Vec<(String, String)> {
    if let Some(data) = data {
        env.retain(|(name, _)| name != DATA);
        env.push((DATA.to_owned(), data.to_string_lossy().into_owned()));
    }
    env
}

const DATA: &str = "SLUICEGATE_DATA";

fn load_from(file: Option<&Path>, env: Vec<(String, String)>) -> Result<Settings, Mistakes> {
    let named = env.iter().find(|(name, _)| name == "SLUICEGATE_CONFIG");
    let path = file
        .map(Path::to_owned)
        .or_else(|| named.map(|(_, path)| PathBuf::from(path)));
    let text = path.as_deref().map(read).transpose()?;
    let file = path.as_deref().zip(text.as_deref());
    let mut settings = Settings::resolve(file, env.into_iter())?;
    if let Some(path) = &settings.admin.token_file {
        let tokens = read_tokens(path, &settings.admin.tokens)?;
        settings.admin.tokens.extend(tokens);
    }
    Ok(settings)
}

/// The most bytes a file of settings may have.
const FILE_BYTES_MAX: u64 = 1 << 20;

fn read(path: &Path) -> Result<String, Mistakes> {
    let wrong = |why| Mistakes(vec![Mistake::new(Place::file(path, 0, None), why)]);
    let unreadable = |error| wrong(format!("cannot be read: {error}"));
    let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(wrong(format!("{bytes} bytes, at most {FILE_BYTES_MAX}")));
    }
    std::fs::read_to_string(path).map_err(unreadable)
}

/// The tokens of a file of their own, at least one, none named like those there already are.
fn read_tokens(path: &Path, others: &[Token]) -> Result<Vec<Token>, Mistakes> {
    let file = File::parse(path, &read(path)?).map_err(Mistakes)?;
    let mut reader = Reader::new(file, super::raw::Environment::default());
    let mut found = Vec::new();
    reader.set(&mut found, "tokens", tokens);
    reader.refuse_unknown();
    let place = Place::file(path, 0, None);
    if found.is_empty() && reader.mistakes.is_empty() {
        let why = "no token in it; write [[tokens]] with name, role and token";
        reader.mistakes.push(Mistake::new(place.clone(), why));
    }
    let clash = |token: &&Token| others.iter().any(|other| other.name == token.name);
    if let Some(twice) = found.iter().find(clash) {
        let why = format!("admin.tokens has a {:?}, too; rename one", twice.name);
        reader.mistakes.push(Mistake::new(place, why));
    }
    if reader.mistakes.is_empty() {
        Ok(found)
    } else {
        Err(Mistakes(reader.mistakes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(directory: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn the_named_file_goes_before_the_variable_s() {
        let directory = tempfile::tempdir().unwrap();
        let named = write(&directory, "a.toml", "data = \"a\"");
        let other = write(&directory, "b.toml", "data = \"b\"");
        let variable = || ("SLUICEGATE_CONFIG".to_owned(), other.display().to_string());
        let data = |file, env| load_from(file, env).unwrap().data;
        assert_eq!(data(Some(&*named), vec![variable()]), Path::new("a"));
        assert_eq!(data(None, vec![variable()]), Path::new("b"));
        assert_eq!(data(None, vec![]), Settings::default().data);
    }

    #[test]
    fn a_data_directory_that_is_given_goes_before_all_and_takes_what_lies_in_it_along() {
        let directory = tempfile::tempdir().unwrap();
        let file = write(&directory, "a.toml", "data = \"a\"");
        let env = vec![(DATA.to_owned(), "b".to_owned())];
        let settings = load_from(Some(&file), with_data(env, Some(Path::new("c")))).unwrap();
        assert_eq!(settings.data, Path::new("c"));
        assert_eq!(settings.upgrade.socket, Path::new("c/upgrade.sock"));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let missing = Path::new("/no/such/file.toml");
        let line = load_from(Some(missing), vec![]).unwrap_err().to_string();
        assert!(
            line.starts_with("/no/such/file.toml: cannot be read: "),
            "{line}"
        );
        let directory = tempfile::tempdir().unwrap();
        let long = write(&directory, "long.toml", &"#".repeat(1 << 21));
        let line = load_from(Some(&long), vec![]).unwrap_err().to_string();
        assert!(line.ends_with("2097152 bytes, at most 1048576"), "{line}");
    }

    #[test]
    fn tokens_of_a_file_join_the_others() {
        let directory = tempfile::tempdir().unwrap();
        let one = |name: &str| {
            format!(
                "[[tokens]]\nname = \"{name}\"\nrole = \"read\"\ntoken = \"0123456789abcdef\"\n"
            )
        };
        let load = |tokens: &str| {
            let tokens = write(&directory, "tokens.toml", tokens);
            let text = format!(
                "[admin]\nlisten = \"0.0.0.0:1\"\ntoken_file = {tokens:?}\n{}",
                one("a").replace("[[", "[[admin.")
            );
            let file = write(&directory, "g.toml", &text);
            load_from(Some(&file), vec![]).map(|settings| settings.admin.tokens.len())
        };
        assert_eq!(load(&one("b")), Ok(2));
        for (tokens, says) in [
            ("", "no token in it"),
            (&*one("a"), "admin.tokens has a \"a\", too"),
            (
                "[[token]]\n",
                "unknown key \"token\"; did you mean \"tokens\"?",
            ),
        ] {
            let lines = load(tokens).unwrap_err().to_string();
            assert!(lines.contains(says), "{lines}");
        }
    }
}
