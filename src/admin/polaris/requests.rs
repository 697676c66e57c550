//! Requests as types, and the checks that need nothing but the request.
//!
//! Lengths are counted in characters. Where several things are wrong the first in Polaris' order is
//! told.

use super::answer::Failed;
use super::codes::{self, Code};
use super::fields::{Labels, Malformed, Message};
use super::names::Address;
use super::wire::{AliasMessage, InstanceMessage, NamespaceMessage, ServiceMessage};

const NAME_MAX: usize = 128;
const NAMESPACE_MAX: usize = 64;
const LABELS_MAX: usize = 64;
const LABEL_KEY_MAX: usize = 128;
const LABEL_VALUE_MAX: usize = 4096;

type Check = Result<(), Code>;

fn long(text: &str, max: usize) -> bool {
    text.len() > max && text.chars().nth(max).is_some()
}

/// At most so many characters, where there is a text at all.
fn within(text: Option<&str>, max: usize, code: Code) -> Check {
    match text {
        Some(text) if long(text, max) => Err(code),
        _ => Ok(()),
    }
}

/// Present, of the characters a name may have, and not longer than that.
fn named(text: Option<&str>, max: usize, code: Code) -> Check {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"./:_-".contains(&b);
    match text {
        Some(text) if !text.is_empty() && text.bytes().all(allowed) && text.len() <= max => Ok(()),
        _ => Err(code),
    }
}

fn few(labels: Option<&Labels>) -> Check {
    match labels {
        Some(labels) if labels.len() > LABELS_MAX => Err(codes::METADATA),
        _ => Ok(()),
    }
}

fn short(labels: Option<&Labels>) -> Check {
    match labels {
        Some(labels) if labels.keys().any(|key| long(key, LABEL_KEY_MAX)) => Err(codes::METADATA),
        Some(labels) if labels.values().any(|value| long(value, LABEL_VALUE_MAX)) => {
            Err(codes::METADATA)
        }
        _ => Ok(()),
    }
}

pub(super) fn service_name(name: Option<&str>) -> Check {
    named(name, NAME_MAX, codes::SERVICE_NAME)
}

pub(super) fn namespace_name(name: Option<&str>) -> Check {
    named(name, NAMESPACE_MAX, codes::NAMESPACE_NAME)
}

/// Who may write a resource, as a request changes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Grants {
    pub(super) user_ids: Vec<String>,
    pub(super) group_ids: Vec<String>,
    pub(super) remove_user_ids: Vec<String>,
    pub(super) remove_group_ids: Vec<String>,
}

impl Grants {
    fn read(message: &Message) -> Result<Self, Malformed> {
        Ok(Self {
            user_ids: message.texts("user_ids")?.unwrap_or_default(),
            group_ids: message.texts("group_ids")?.unwrap_or_default(),
            remove_user_ids: message.texts("remove_user_ids")?.unwrap_or_default(),
            remove_group_ids: message.texts("remove_group_ids")?.unwrap_or_default(),
        })
    }
}

/// A service of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ServiceRequest {
    pub(super) name: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) metadata: Option<Labels>,
    pub(super) ports: Option<String>,
    pub(super) business: Option<String>,
    pub(super) department: Option<String>,
    pub(super) cmdb: [Option<String>; 3],
    pub(super) comment: Option<String>,
    pub(super) owners: Option<String>,
    pub(super) token: Option<String>,
    pub(super) platform_id: Option<String>,
    pub(super) revision: Option<String>,
    pub(super) grants: Grants,
    pub(super) export_to: Vec<String>,
}

impl ServiceRequest {
    pub(super) fn read(message: &Message) -> Result<Self, Malformed> {
        for ignored in ["id", "ctime", "mtime"] {
            message.text(ignored)?;
        }
        let text = |name| message.text(name);
        Ok(Self {
            name: text("name")?,
            namespace: text("namespace")?,
            metadata: message.labels("metadata")?,
            ports: text("ports")?,
            business: text("business")?,
            department: text("department")?,
            cmdb: [text("cmdb_mod1")?, text("cmdb_mod2")?, text("cmdb_mod3")?],
            comment: text("comment")?,
            owners: text("owners")?,
            token: text("token")?,
            platform_id: text("platform_id")?,
            revision: text("revision")?,
            grants: Grants::read(message)?,
            export_to: message.texts("export_to")?.unwrap_or_default(),
        })
    }

    /// Which service is meant.
    pub(super) fn key(&self) -> Result<(&str, &str), Code> {
        let (name, namespace) = (self.name.as_deref(), self.namespace.as_deref());
        service_name(name)?;
        namespace_name(namespace)?;
        Ok((namespace.unwrap_or_default(), name.unwrap_or_default()))
    }

    pub(super) fn few_labels(&self) -> Check {
        few(self.metadata.as_ref())
    }

    pub(super) fn lengths(&self) -> Check {
        short(self.metadata.as_ref())?;
        let text = |text: &Option<String>, max, code| within(text.as_deref(), max, code);
        text(&self.ports, 8192, codes::SERVICE_PORTS)?;
        text(&self.business, 128, codes::SERVICE_BUSINESS)?;
        text(&self.department, 1024, codes::SERVICE_DEPARTMENT)?;
        for cmdb in &self.cmdb {
            text(cmdb, 1024, codes::SERVICE_CMDB)?;
        }
        text(&self.comment, 1024, codes::SERVICE_COMMENT)?;
        text(&self.owners, 1024, codes::SERVICE_OWNERS)?;
        text(&self.token, 2048, codes::SERVICE_TOKEN)?;
        text(&self.platform_id, 32, codes::PLATFORM_ID)
    }

    /// The request, as a failed item's answer repeats it.
    pub(super) fn echo(&self) -> ServiceMessage {
        let [cmdb_mod1, cmdb_mod2, cmdb_mod3] = self.cmdb.clone();
        ServiceMessage {
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            metadata: self.metadata.clone().unwrap_or_default(),
            ports: self.ports.clone(),
            business: self.business.clone(),
            department: self.department.clone(),
            cmdb_mod1,
            cmdb_mod2,
            cmdb_mod3,
            comment: self.comment.clone(),
            owners: self.owners.clone(),
            token: self.token.clone(),
            platform_id: self.platform_id.clone(),
            user_ids: self.grants.user_ids.clone(),
            group_ids: self.grants.group_ids.clone(),
            remove_user_ids: self.grants.remove_user_ids.clone(),
            remove_group_ids: self.grants.remove_group_ids.clone(),
            export_to: self.export_to.clone(),
            ..ServiceMessage::default()
        }
    }
}

/// What a request says about heartbeats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct HealthRequest {
    /// `enable_health_check`.
    pub(super) enabled: Option<bool>,
    /// The period of `health_check.heartbeat`, where there is one: 1 to 60 s, else 5 s.
    pub(super) ttl: Option<u32>,
}

/// The period of heartbeats that name none, in seconds.
const TTL_DEFAULT: u32 = 5;

impl HealthRequest {
    fn read(message: &Message) -> Result<Self, Malformed> {
        let enabled = message.flag(&["enableHealthCheck", "enable_health_check"])?;
        let Some(check) = message.message(&["healthCheck", "health_check"])? else {
            return Ok(Self { enabled, ttl: None });
        };
        check.word("type", &[("UNKNOWN", 0), ("HEARTBEAT", 1)])?;
        let Some(heartbeat) = check.message(&["heartbeat"])? else {
            return Ok(Self { enabled, ttl: None });
        };
        let ttl = heartbeat
            .number("ttl")?
            .filter(|ttl| (1..=60).contains(ttl));
        let ttl = Some(ttl.unwrap_or(TTL_DEFAULT));
        Ok(Self { enabled, ttl })
    }

    /// Of a new instance: on where a heartbeat is described and not switched off.
    pub(super) fn initial(self) -> Option<u32> {
        self.ttl.filter(|_| self.enabled != Some(false))
    }
}

/// An instance of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct InstanceRequest {
    pub(super) id: Option<String>,
    pub(super) service: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) vpc_id: Option<String>,
    pub(super) host: Option<String>,
    pub(super) port: Option<u32>,
    pub(super) protocol: Option<String>,
    pub(super) version: Option<String>,
    pub(super) logic_set: Option<String>,
    pub(super) priority: Option<u32>,
    pub(super) weight: Option<u32>,
    pub(super) healthy: Option<bool>,
    pub(super) isolate: Option<bool>,
    pub(super) health: HealthRequest,
    pub(super) location: Option<[String; 3]>,
    pub(super) metadata: Option<Labels>,
    pub(super) service_token: Option<String>,
}

impl InstanceRequest {
    pub(super) fn read(message: &Message) -> Result<Self, Malformed> {
        for ignored in ["ctime", "mtime", "revision"] {
            message.text(ignored)?;
        }
        let text = |name| message.text(name);
        Ok(Self {
            id: text("id")?,
            service: text("service")?,
            namespace: text("namespace")?,
            vpc_id: text("vpc_id")?,
            host: text("host")?,
            port: message.number("port")?,
            protocol: text("protocol")?,
            version: text("version")?,
            logic_set: text("logic_set")?,
            priority: message.number("priority")?,
            weight: message.number("weight")?,
            healthy: message.flag(&["healthy"])?,
            isolate: message.flag(&["isolate"])?,
            health: HealthRequest::read(message)?,
            location: message
                .message(&["location"])?
                .as_ref()
                .map(location)
                .transpose()?,
            metadata: message.labels("metadata")?,
            service_token: text("service_token")?,
        })
    }

    pub(super) fn check_new(&self) -> Result<Address, Code> {
        few(self.metadata.as_ref())?;
        self.lengths()?;
        self.address()
    }

    /// What of an update can be too long.
    pub(super) fn lengths(&self) -> Check {
        within(self.service.as_deref(), NAME_MAX, codes::SERVICE_NAME)?;
        within(
            self.namespace.as_deref(),
            NAMESPACE_MAX,
            codes::NAMESPACE_NAME,
        )?;
        within(self.host.as_deref(), 128, codes::INSTANCE_HOST)?;
        within(self.protocol.as_deref(), 32, codes::INSTANCE_PROTOCOL)?;
        within(self.version.as_deref(), 32, codes::INSTANCE_VERSION)?;
        within(self.logic_set.as_deref(), 128, codes::INSTANCE_LOGIC_SET)?;
        short(self.metadata.as_ref())?;
        if self.port.is_some_and(|port| port > 65535) {
            return Err(codes::INSTANCE_PORT);
        }
        if self.weight.is_some_and(|weight| weight > 65535) {
            return Err(codes::PARAMETER);
        }
        // Ids are kept and compared whole; Polaris' own have 40 characters.
        within(self.id.as_deref(), 128, codes::INSTANCE_ID)?;
        within(self.vpc_id.as_deref(), 128, codes::INSTANCE_ID)
    }

    pub(super) fn few_labels(&self) -> Check {
        few(self.metadata.as_ref())
    }

    /// The four fields that lead to one instance.
    pub(super) fn address(&self) -> Result<Address, Code> {
        let (service, namespace) = self.service()?;
        let host = self.host.as_deref().filter(|host| !host.is_empty());
        let host = host
            .filter(|host| !long(host, 128))
            .ok_or(codes::INSTANCE_HOST)?;
        let port = self.port.and_then(|port| u16::try_from(port).ok());
        Ok(Address {
            service: service.to_owned(),
            namespace: namespace.to_owned(),
            vpc_id: self.vpc_id.clone().unwrap_or_default(),
            host: host.to_owned(),
            port: port.ok_or(codes::INSTANCE_PORT)?,
        })
    }

    /// Its service and namespace.
    pub(super) fn service(&self) -> Result<(&str, &str), Code> {
        let (service, namespace) = (self.service.as_deref(), self.namespace.as_deref());
        service_name(service)?;
        namespace_name(namespace)?;
        Ok((service.unwrap_or_default(), namespace.unwrap_or_default()))
    }

    pub(super) fn echo(&self) -> InstanceMessage {
        InstanceMessage {
            id: self.id.clone(),
            service: self.service.clone(),
            namespace: self.namespace.clone(),
            vpc_id: self.vpc_id.clone(),
            host: self.host.clone(),
            port: self.port,
            ..InstanceMessage::default()
        }
    }
}

fn location(message: &Message) -> Result<[String; 3], Malformed> {
    let part = |name| Ok(message.text(name)?.unwrap_or_default());
    Ok([part("region")?, part("zone")?, part("campus")?])
}

/// A namespace of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct NamespaceRequest {
    pub(super) name: Option<String>,
    pub(super) comment: Option<String>,
    pub(super) owners: Option<String>,
    pub(super) grants: Grants,
    pub(super) service_export_to: Vec<String>,
}

impl NamespaceRequest {
    pub(super) fn read(message: &Message) -> Result<Self, Malformed> {
        for ignored in ["id", "token", "ctime", "mtime"] {
            message.text(ignored)?;
        }
        Ok(Self {
            name: message.text("name")?,
            comment: message.text("comment")?,
            owners: message.text("owners")?,
            grants: Grants::read(message)?,
            service_export_to: message.texts("service_export_to")?.unwrap_or_default(),
        })
    }

    pub(super) fn check(&self) -> Result<&str, Failed> {
        namespace_name(self.name.as_deref())?;
        let why = "a comment has at most 1024 characters";
        within(self.comment.as_deref(), 1024, codes::PARAMETER)
            .map_err(|code| Failed::saying(code, why))?;
        within(self.owners.as_deref(), 1024, codes::NAMESPACE_OWNERS)?;
        Ok(self.name.as_deref().unwrap_or_default())
    }

    pub(super) fn echo(&self) -> NamespaceMessage {
        NamespaceMessage {
            name: self.name.clone(),
            comment: self.comment.clone(),
            owners: self.owners.clone(),
            user_ids: self.grants.user_ids.clone(),
            group_ids: self.grants.group_ids.clone(),
            remove_user_ids: self.grants.remove_user_ids.clone(),
            remove_group_ids: self.grants.remove_group_ids.clone(),
            service_export_to: self.service_export_to.clone(),
            ..NamespaceMessage::default()
        }
    }
}

/// An alias of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct AliasRequest {
    pub(super) service: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) alias: Option<String>,
    pub(super) alias_namespace: Option<String>,
    pub(super) is_cl5: bool,
    pub(super) owners: Option<String>,
    pub(super) comment: Option<String>,
    pub(super) export_to: Vec<String>,
}

impl AliasRequest {
    pub(super) fn read(message: &Message) -> Result<Self, Malformed> {
        let kind = message.word("type", &[("DEFAULT", 0), ("CL5SID", 1)])?;
        message.text("service_token")?;
        Ok(Self {
            service: message.text("service")?,
            namespace: message.text("namespace")?,
            alias: message.text("alias")?,
            alias_namespace: message.text("alias_namespace")?,
            is_cl5: kind == Some("CL5SID"),
            owners: message.text("owners")?,
            comment: message.text("comment")?,
            export_to: message.texts("export_to")?.unwrap_or_default(),
        })
    }

    pub(super) fn check_new(&self) -> Check {
        service_name(self.service.as_deref())?;
        namespace_name(self.namespace.as_deref())?;
        namespace_name(self.alias_namespace.as_deref())?;
        if !self.is_cl5 {
            named(self.alias.as_deref(), NAME_MAX, codes::ALIAS)?;
        }
        self.lengths()
    }

    /// Whom it shall stand for is looked for, and so needs no check.
    pub(super) fn check_update(&self) -> Check {
        self.check_key()?;
        self.lengths()
    }

    /// Whether the alias itself is named well.
    pub(super) fn check_key(&self) -> Check {
        named(self.alias.as_deref(), NAME_MAX, codes::ALIAS)?;
        let namespace = self.alias_namespace.as_deref();
        named(namespace, NAMESPACE_MAX, codes::ALIAS_NAMESPACE)
    }

    fn lengths(&self) -> Check {
        within(self.comment.as_deref(), 1024, codes::ALIAS_COMMENT)?;
        within(self.owners.as_deref(), 1024, codes::ALIAS_OWNERS)
    }

    pub(super) fn echo(&self) -> AliasMessage {
        AliasMessage {
            service: self.service.clone(),
            namespace: self.namespace.clone(),
            alias: self.alias.clone(),
            alias_namespace: self.alias_namespace.clone(),
            kind: Some(if self.is_cl5 { "CL5SID" } else { "DEFAULT" }),
            owners: self.owners.clone(),
            comment: self.comment.clone(),
            export_to: self.export_to.clone(),
            ..AliasMessage::default()
        }
    }
}
