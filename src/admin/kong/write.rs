//! What a request changes. Pure: a view in, changes out; runs in the registry's writer.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::collection::Collection;
use super::failure::{Failure, chosen};
use super::lens;
use super::place::Family;
use super::schema::{Document, Operation, Surroundings, Violations};
use super::view::{View, as_id};
use crate::admin::page::hex;
use crate::model::{Change, Entity, EntityRef, Id, KeyAuth, Kind, Kinded, Route};
use crate::model::{RouteProtocol, Sni};

/// Changes, and the entity that the answer shows.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) changes: Vec<Change>,
    pub(super) shown: EntityRef,
}

/// One request to change a collection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writer<'a> {
    pub(super) view: View<'a>,
    pub(super) around: &'a Surroundings<'a>,
    pub(super) collection: &'static Collection,
}

impl Writer<'_> {
    /// POST.
    ///
    /// # Errors
    /// What is wrong with the document, or clashes with what is there.
    pub(super) fn insert(&self, input: Document) -> Result<Write, Failure> {
        let ttl = self.ttl(&input)?;
        let document = self.complete(Operation::Insert, input, None)?;
        self.settle(document, None, ttl, Secret::Fresh)
    }

    /// PUT: by id, or by the endpoint key.
    ///
    /// # Errors
    /// As [`Writer::insert`].
    pub(super) fn upsert(&self, key: &str, mut input: Document) -> Result<Write, Failure> {
        let before = self.address(key, &mut input)?;
        let ttl = self.ttl(&input)?;
        let document = self.complete(Operation::Upsert, input, None)?;
        self.settle(document, before, ttl, Secret::Fresh)
    }

    /// PUT below a parent: by id, or by the key that is unique there.
    ///
    /// # Errors
    /// As [`Writer::insert`].
    pub(super) fn upsert_below(
        &self,
        family: &Family,
        parent: &Entity,
        key: &str,
        mut input: Document,
    ) -> Result<Write, Failure> {
        if self.collection.kind == Kind::Acl && as_id(key).is_none() {
            input.insert("group".into(), key.into());
            let found = self
                .view
                .find_child(parent, family.child, family.field, key)?;
            let key = found.map_or_else(Id::random, |found| found.id);
            return self.upsert(&key.to_string(), input);
        }
        self.upsert(key, input)
    }

    /// Gives a document the key that its URL names; finds the entity of that key.
    fn address(&self, key: &str, input: &mut Document) -> Result<Option<&Arc<Entity>>, Failure> {
        if let Some(id) = as_id(key) {
            input.insert("id".into(), json!(id));
            return Ok(self.view.get(self.collection, id));
        }
        if self.collection.kind == Kind::Certificate {
            return Ok(self.address_by_server_name(key, input));
        }
        let field = self.collection.endpoint_key();
        let field = field.ok_or_else(|| Failure::invalid_key(key))?;
        let found = self.view.find(self.collection, key)?;
        input.insert(field.into(), key.into());
        if let Some(found) = found {
            input.insert("id".into(), json!(found.id));
        }
        Ok(found)
    }

    /// The server name of the URL joins those of the body, where it has any.
    fn address_by_server_name(&self, name: &str, input: &mut Document) -> Option<&Arc<Entity>> {
        if let Some(Value::Array(names)) = input.get_mut("snis")
            && !names.iter().any(|one| one == name)
        {
            names.push(name.into());
        }
        let found = self.view.find(self.collection, name).ok().flatten()?;
        input.insert("id".into(), json!(found.id));
        Some(found)
    }

    /// PATCH: `stored` is the document of `before`.
    ///
    /// # Errors
    /// As [`Writer::insert`].
    pub(super) fn update(
        &self,
        before: &Arc<Entity>,
        stored: &Document,
        input: Document,
    ) -> Result<Write, Failure> {
        let ttl = if input.contains_key("ttl") {
            self.ttl(&input)?
        } else {
            Ttl::Kept
        };
        let secret = if input.contains_key("password") {
            Secret::Fresh
        } else {
            Secret::Kept
        };
        let names = input.get("snis").cloned();
        let mut document = self.complete(Operation::Update, input, Some(stored))?;
        if self.collection.kind == Kind::Certificate && names.is_none() {
            document.insert("snis".into(), json!(self.view.server_names(before)));
        }
        self.settle(document, Some(before), ttl, secret)
    }

    /// DELETE.
    ///
    /// # Errors
    /// Where other entities need it.
    pub(super) fn delete(&self, entity: &Entity) -> Result<Vec<Change>, Failure> {
        let mut users = self.view.snapshot.mentioning(entity.id, Kind::Service);
        let user = users
            .next()
            .filter(|_| entity.kind() == Kind::CaCertificate);
        match user {
            Some(user) => Err(Failure::referenced_by_others(
                &entity.id.to_string(),
                "services",
                &user.id.to_string(),
            )),
            None => Ok(vec![Change::Delete(entity.at())]),
        }
    }

    pub(super) fn complete(
        &self,
        operation: Operation,
        input: Document,
        stored: Option<&Document>,
    ) -> Result<Document, Failure> {
        let schema = self.collection.schema();
        Ok(schema.complete(operation, input, stored, self.around)?)
    }

    pub(super) fn ttl(&self, input: &Document) -> Result<Ttl, Failure> {
        let seconds = self.collection.schema().ttl(input);
        let seconds = seconds.map_err(|why| Failure::bad_option("ttl", why))?;
        Ok(Ttl::Seconds(seconds))
    }

    /// From a complete document to changes.
    fn settle(
        &self,
        mut document: Document,
        before: Option<&Arc<Entity>>,
        ttl: Ttl,
        secret: Secret,
    ) -> Result<Write, Failure> {
        if before.is_none() {
            self.check_id(&document)?;
        }
        let entity = self.build(&mut document, before, ttl, secret)?;
        let mut changes = self.check_unique(&entity, &document)?;
        if entity.kind() == Kind::Certificate {
            changes.extend(self.server_names(&entity, &document)?);
        }
        let shown = entity.at();
        changes.push(Change::PutDated(Arc::new(entity)));
        Ok(Write { changes, shown })
    }

    /// The entity that a complete document means, in the place of `before`; what it mentions is there.
    ///
    /// # Errors
    /// Mentions of nothing, and what the model does not take.
    pub(super) fn build(
        &self,
        document: &mut Document,
        before: Option<&Arc<Entity>>,
        ttl: Ttl,
        secret: Secret,
    ) -> Result<Entity, Failure> {
        self.resolve(document)?;
        self.finish_credential(document, before, ttl, secret);
        self.check_plugin(document)?;
        let before = before.map(|before| &**before);
        Ok(lens::entity(self.collection, document, before)?)
    }

    /// Mentions by another unique field become mentions by id; what is mentioned must be there.
    fn resolve(&self, document: &mut Document) -> Result<(), Failure> {
        for (field, foreign) in self.collection.schema().foreign_fields() {
            let Some(Value::Object(mention)) = document.get(field) else {
                continue;
            };
            let Some(parent) = Collection::of_table(&foreign.table) else {
                continue;
            };
            let id = self.mentioned(field, parent, mention)?;
            document.insert(field.to_owned(), json!({ "id": id }));
        }
        self.resolve_authorities(document)
    }

    fn mentioned(
        &self,
        field: &str,
        parent: &'static Collection,
        mention: &Document,
    ) -> Result<Id, Failure> {
        if let Some(text) = mention.get("id").and_then(Value::as_str) {
            let found = as_id(text).and_then(|id| self.view.get(parent, id));
            let found = found.ok_or_else(|| Failure::dangling(field, text, parent.table))?;
            return Ok(found.id);
        }
        let by = mention.iter().find_map(|(by, value)| {
            let by = parent.schema().record.field(by)?;
            Some((&*by.name, value.as_str()?))
        });
        let (by, value) = by.unwrap_or(("id", ""));
        let found = self.view.holder(parent, by, value);
        let found = found.ok_or_else(|| Failure::unresolved(field, by, value, parent.table))?;
        Ok(found.id)
    }

    /// A service's list of authorities is no foreign field to Kong, but they must be there.
    fn resolve_authorities(&self, document: &Document) -> Result<(), Failure> {
        let Some(Value::Array(ids)) = document.get("ca_certificates") else {
            return Ok(());
        };
        for id in ids.iter().filter_map(Value::as_str) {
            let known = id.parse().ok();
            let known = known.and_then(|id| self.view.snapshot.entity(Kind::CaCertificate, id));
            if known.is_none() {
                let why = format!("the CA certificate '{id}' does not exist");
                return Err(Violations::of_field("ca_certificates", why).into());
            }
        }
        Ok(())
    }

    /// When a key ends, and what is kept of a password.
    fn finish_credential(
        &self,
        document: &mut Document,
        before: Option<&Arc<Entity>>,
        ttl: Ttl,
        secret: Secret,
    ) {
        match self.collection.kind {
            Kind::KeyAuth => {
                document.remove("ttl");
                let until = match ttl {
                    Ttl::Seconds(seconds) => lens::expiry(seconds, self.view.now),
                    Ttl::Kept => before.and_then(|b| b.as_kind::<KeyAuth>()?.expires_at),
                };
                if let Some(until) = until {
                    document.insert("expires_at".into(), json!(until));
                }
            }
            Kind::BasicAuth if secret == Secret::Fresh => hash_password(document),
            _ => {}
        }
    }

    /// A plugin speaks at least one protocol of the route, or of the service's routes.
    fn check_plugin(&self, document: &Document) -> Result<(), Failure> {
        if self.collection.kind != Kind::Plugin {
            return Ok(());
        }
        let own: Vec<&str> = texts(document.get("protocols"));
        let speaks = |route: &Arc<Entity>| {
            let route = route.as_kind::<Route>();
            route.is_some_and(|route| protocol_words(route).iter().any(|p| own.contains(&&**p)))
        };
        let mentioned = |field: &str| as_id(document.get(field)?.get("id")?.as_str()?);
        if let Some(route) =
            mentioned("route").and_then(|id| self.view.snapshot.entity(Kind::Route, id))
        {
            return if speaks(route) {
                Ok(())
            } else {
                Err(mismatch("must match the associated route's protocols"))
            };
        }
        let Some(service) = mentioned("service") else {
            return Ok(());
        };
        let mut routes = self
            .view
            .snapshot
            .mentioning(service, Kind::Route)
            .peekable();
        if routes.peek().is_none() || routes.any(speaks) {
            Ok(())
        } else {
            Err(mismatch(
                "must match the protocols of at least one route pointing to this Plugin's service",
            ))
        }
    }

    /// A new entity's id is nobody's, not even that of one which this dialect does not show.
    fn check_id(&self, document: &Document) -> Result<(), Failure> {
        let id = document.get("id").and_then(Value::as_str);
        let id = id.unwrap_or_default();
        let holder = as_id(id).and_then(|id| self.view.snapshot.entity(self.collection.kind, id));
        match holder.filter(|holder| !self.view.is_over(holder)) {
            Some(_) => Err(Failure::taken_id(id)),
            None => Ok(()),
        }
    }

    /// What another entity has already; one whose time has passed makes room.
    fn check_unique(&self, entity: &Entity, document: &Document) -> Result<Vec<Change>, Failure> {
        let mut room = Vec::new();
        for (field, key) in entity.spec.unique() {
            let holder = self.view.snapshot.holder(entity.kind(), (field, key));
            match holder.filter(|holder| holder.id != entity.id) {
                None => {}
                Some(holder) if self.view.is_over(holder) => {
                    room.push(Change::Delete(holder.at()));
                }
                Some(_) => {
                    let fields = self.collection.unique_fields(field);
                    return Err(Failure::taken(chosen(document, &fields)));
                }
            }
        }
        Ok(room)
    }

    /// The server names that a certificate gains and loses.
    fn server_names(
        &self,
        certificate: &Entity,
        document: &Document,
    ) -> Result<Vec<Change>, Failure> {
        let wrong = |why: String| Failure::from(Violations::of_field("snis", why));
        let mut wanted = BTreeSet::new();
        for name in texts(document.get("snis")) {
            if !wanted.insert(name.to_ascii_lowercase()) {
                return Err(wrong(format!("{name} is duplicated")));
            }
        }
        let snis = Collection::of_kind(Kind::Sni).ok_or_else(Failure::unexpected)?;
        let mut changes = Vec::new();
        for old in self.view.snapshot.mentioning(certificate.id, Kind::Sni) {
            let name = old.as_kind::<Sni>().map(|sni| sni.name.to_string());
            if name.is_some_and(|name| !wanted.remove(&name)) {
                changes.push(Change::Delete(old.at()));
            }
        }
        for name in wanted {
            if let Some(other) = self.view.holder(snis, "name", &name) {
                let owner = Sni::of(&other.spec).map(|sni| sni.certificate.to_string());
                let owner = owner.unwrap_or_default();
                return Err(wrong(format!(
                    "{name} already associated with existing certificate '{owner}'"
                )));
            }
            let name = name
                .parse()
                .map_err(|e: crate::model::Invalid| wrong(e.why))?;
            let certificate = certificate.id;
            let sni = Entity::new(Id::random(), Sni { name, certificate });
            changes.push(Change::Create(Arc::new(sni)));
        }
        Ok(changes)
    }
}

/// How long a key is to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ttl {
    Kept,
    /// None and 0: for ever.
    Seconds(Option<u64>),
}

/// Whether a document's password is one, or the hash of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secret {
    Fresh,
    Kept,
}

/// A password is kept as Kong keeps it: SHA-1 of it and the consumer's id, in hexadecimal.
fn hash_password(document: &mut Document) {
    let consumer = document.get("consumer").and_then(|c| c.get("id"));
    let consumer = consumer.and_then(Value::as_str).unwrap_or_default();
    let Some(password) = document.get("password").and_then(Value::as_str) else {
        return;
    };
    let salted = format!("{password}{consumer}");
    let algorithm = &ring::digest::SHA1_FOR_LEGACY_USE_ONLY;
    let digest = ring::digest::digest(algorithm, salted.as_bytes());
    document.insert("password".into(), hex(digest.as_ref()).into());
}

fn mismatch(why: &str) -> Failure {
    Violations::of_field("protocols", why.to_owned()).into()
}

fn texts(list: Option<&Value>) -> Vec<&str> {
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).collect()
}

fn protocol_words(route: &Route) -> Vec<String> {
    let protocols: &[RouteProtocol] = if route.protocols.is_empty() {
        &[RouteProtocol::Http, RouteProtocol::Https]
    } else {
        &route.protocols
    };
    let word = |protocol: &RouteProtocol| serde_json::to_value(protocol).ok();
    let words = protocols.iter().filter_map(word);
    words
        .filter_map(|word| Some(word.as_str()?.to_owned()))
        .collect()
}
