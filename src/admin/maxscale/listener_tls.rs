//! TLS of listeners: files that parameters name become entities, in the same write as the listener, and
//! go with it.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::DIALECT;
use super::answer::Failed;
use super::draft::Draft;
use super::parameters::Held;
use crate::model::{
    CaCertificate, Certificate, Entity, EntityRef, Id, Kind, Listener, Secret, Spec,
};

/// The parameters that name files: the certificate, its key, and who vouches for clients.
const FILES: [&str; 3] = ["ssl_cert", "ssl_key", "ssl_ca_cert"];

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The most authorities in one file.
const AUTHORITIES_MAX: usize = 64;

/// Parameters as a request has them, with those of TLS beside the others, and without what stands for
/// nothing: the form in which documents show them may be sent back.
pub(super) fn flattened(mut parameters: Map<String, Value>) -> Map<String, Value> {
    if let Some(Value::Object(tls)) = parameters.get("ssl").cloned() {
        parameters.insert("ssl".to_owned(), true.into());
        parameters.extend(tls);
    }
    for options in ["auth_options", "authenticator_options"] {
        if parameters.get(options).is_some_and(|value| value == "") {
            parameters.remove(options);
        }
    }
    parameters
}

/// The files that these parameters name.
pub(super) fn named_in(parameters: &Map<String, Value>) -> Vec<String> {
    let named = FILES
        .iter()
        .filter_map(|name| parameters.get(*name)?.as_str());
    named.map(str::to_owned).collect()
}

/// What files hold, or why they cannot be read.
#[derive(Debug, Default)]
pub(super) struct Files(HashMap<String, Result<String, String>>);

impl Files {
    pub(super) async fn read(names: Vec<String>) -> Self {
        if names.is_empty() {
            return Self::default();
        }
        let read = move || {
            let each = names.into_iter();
            each.map(|name| {
                let text = text(Path::new(&name));
                (name, text)
            })
            .collect()
        };
        let read = tokio::task::spawn_blocking(read).await;
        Self(read.unwrap_or_default())
    }

    fn of(&self, name: &str) -> Result<&str, Failed> {
        let why = match self.0.get(name) {
            Some(Ok(text)) => return Ok(text),
            Some(Err(why)) => why.as_str(),
            None => "it was not named when the request began; try again",
        };
        Err(Failed::refused(format!(
            "Unable to use file {name:?}: {why}"
        )))
    }
}

/// A file of text. Only plain ones: others may never end, or wait for somebody to write.
fn text(path: &Path) -> Result<String, String> {
    if !path.is_absolute() {
        return Err("its path is not absolute".into());
    }
    let about = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !about.is_file() {
        return Err("it is not a plain file".into());
    }
    if about.len() > FILE_BYTES_MAX {
        return Err(format!("it has more than {FILE_BYTES_MAX} bytes"));
    }
    let mut text = String::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    let read = file.take(FILE_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|error| error.to_string())?;
    Ok(text)
}

/// What a listener's parameters ask for.
enum Wish<'a> {
    /// They say nothing of TLS.
    Nothing,
    Off,
    /// Certificate, key and authorities.
    On([&'a str; 3]),
}

impl<'a> Wish<'a> {
    fn of(beside: &'a Map<String, Value>) -> Result<Self, Failed> {
        let named = FILES.map(|name| beside.get(name).and_then(Value::as_str));
        let switch = beside.get("ssl").and_then(Value::as_bool);
        match (named, switch) {
            (_, Some(false)) => Ok(Self::Off),
            ([None, None, None], None) => Ok(Self::Nothing),
            ([Some(cert), Some(key), Some(ca)], _) => Ok(Self::On([cert, key, ca])),
            _ => Err(Failed::refused(
                "TLS needs all of 'ssl_cert', 'ssl_key' and 'ssl_ca_cert'",
            )),
        }
    }
}

/// Makes the listener's certificates what its parameters say; what they were before is left for
/// [`clear`].
pub(super) fn settle(
    draft: &mut Draft,
    held: &mut Held<Listener>,
    files: &Files,
) -> Result<(), Failed> {
    match Wish::of(&held.beside)? {
        Wish::Nothing => {}
        Wish::Off => {
            held.spec.certificate = None;
            held.spec.client_authorities = Box::default();
            held.spec.client_certificate_required = false;
        }
        Wish::On([cert, key, ca]) => {
            let certificate = Certificate {
                cert: files.of(cert)?.into(),
                key: Secret::new(files.of(key)?),
                cert_alt: None,
                key_alt: None,
            };
            let authorities = authorities(draft, ca, files.of(ca)?)?;
            held.spec.certificate = Some(certified(draft, held.spec.certificate, certificate)?);
            held.spec.client_authorities = authorities.into();
            held.beside.insert("ssl".to_owned(), true.into());
        }
    }
    Ok(())
}

/// The entity of a certificate: the listener's own where it has one, else a new one.
fn certified(draft: &mut Draft, old: Option<Id>, certificate: Certificate) -> Result<Id, Failed> {
    let old = old.and_then(|id| draft.snapshot.entity(Kind::Certificate, id));
    if let Some(old) = old.filter(|old| is_ours(old)).cloned() {
        let spec = certificate.into();
        let entity = Entity {
            spec,
            ..Entity::clone(&old)
        };
        draft.replace(entity)?;
        return Ok(old.id);
    }
    make(draft, certificate)
}

/// The entities of all certificates in a file; one that is there already is shared.
fn authorities(draft: &mut Draft, file: &str, pem: &str) -> Result<Vec<Id>, Failed> {
    let blocks = blocks(pem);
    if blocks.is_empty() || blocks.len() > AUTHORITIES_MAX {
        let why = format!(
            "Unable to use file {file:?}: it holds {} certificates, and 1 to {AUTHORITIES_MAX} are needed",
            blocks.len()
        );
        return Err(Failed::refused(why));
    }
    let mut ids = Vec::with_capacity(blocks.len());
    for cert in blocks {
        let authority = CaCertificate { cert };
        let spec: Spec = authority.clone().into();
        let mut keys = spec.unique().into_iter();
        let held = keys.find_map(|key| draft.snapshot.holder(Kind::CaCertificate, key));
        let id = match held.map(|entity| entity.id) {
            Some(id) => id,
            None => make(draft, authority)?,
        };
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// The certificates of a file of text, one by one.
fn blocks(pem: &str) -> Vec<Box<str>> {
    let parts = pem.split(BEGIN).skip(1);
    let body = |part: &str| {
        let (body, _) = part.split_once(END)?;
        Some(format!("{BEGIN}{body}{END}\n").into())
    };
    parts.filter_map(body).collect()
}

fn make(draft: &mut Draft, spec: impl Into<Spec>) -> Result<Id, Failed> {
    let mut entity = Entity::new(Id::random(), spec);
    let ours = Map::from_iter([("listener".to_owned(), true.into())]);
    entity.set_attributes(DIALECT, ours);
    let id = entity.id;
    draft.create(entity)?;
    Ok(id)
}

/// Whether an entity was made for a listener here.
fn is_ours(entity: &Arc<Entity>) -> bool {
    let attributes = entity.attributes_of(DIALECT);
    attributes.is_some_and(|attributes| attributes.contains_key("listener"))
}

/// The certificates that a listener names.
pub(super) fn entities(listener: &Listener) -> Vec<EntityRef> {
    let at = |kind| move |id| EntityRef { kind, id };
    let certificate = listener.certificate.map(at(Kind::Certificate));
    let authorities = listener.client_authorities.iter().copied();
    let authorities = authorities.map(at(Kind::CaCertificate));
    certificate.into_iter().chain(authorities).collect()
}

/// Deletes those that were made for a listener and that nobody names any more.
pub(super) fn clear(draft: &mut Draft, before: &[EntityRef]) -> Result<(), Failed> {
    for at in before {
        let entity = draft.snapshot.entity(at.kind, at.id);
        let is_named = |kind: &Kind| draft.snapshot.mentioning(at.id, *kind).next().is_some();
        if entity.is_some_and(is_ours) && !Kind::ALL.iter().any(is_named) {
            draft.delete([*at])?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_shown_may_be_sent_back() {
        let shown =
            json!({"port": 1, "auth_options": "", "ssl": {"ssl_cert": "/c", "ssl_version": "MAX"}});
        let flat = flattened(shown.as_object().unwrap().clone());
        assert_eq!(
            Value::Object(flat),
            json!({"port": 1, "ssl": true, "ssl_cert": "/c", "ssl_version": "MAX"})
        );
    }

    #[test]
    fn only_plain_files_of_absolute_paths_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.pem");
        std::fs::write(&file, "text").unwrap();
        assert_eq!(text(&file).unwrap(), "text");
        assert!(text(Path::new("a.pem")).unwrap_err().contains("absolute"));
        assert!(text(folder.path()).unwrap_err().contains("plain"));
        assert!(text(Path::new("/dev/zero")).unwrap_err().contains("plain"));
        let large = File::create(&file).unwrap();
        large.set_len(FILE_BYTES_MAX + 1).unwrap();
        assert!(text(&file).unwrap_err().contains("more than"));
    }

    #[test]
    fn a_file_is_taken_apart_into_its_certificates() {
        let one = format!("{BEGIN}\nAAA\n{END}\n");
        let text = format!("# comment\n{one}{one}{BEGIN} broken");
        assert_eq!(blocks(&text).len(), 2);
        assert_eq!(&*blocks(&text)[0], one);
    }
}
