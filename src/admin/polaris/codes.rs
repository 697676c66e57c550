//! Six-digit codes and their standard texts, as of Polaris 1.18.1.

use http::StatusCode;

/// What a call, or one item of a batch, came to. The first three digits are the HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Code {
    pub(super) number: u32,
    pub(super) info: &'static str,
}

impl Code {
    const fn new(number: u32, info: &'static str) -> Self {
        Self { number, info }
    }

    /// `code / 1000`.
    pub(super) fn status(self) -> StatusCode {
        let status = u16::try_from(self.number / 1000).ok();
        status
            .and_then(|status| StatusCode::from_u16(status).ok())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub(super) const fn is_success(self) -> bool {
        self.number / 100_000 == 2
    }

    const fn is_our_failure(self) -> bool {
        self.number / 100_000 == 5
    }
}

macro_rules! codes {
    ($($name:ident = $number:literal, $info:literal;)*) => {
        $(pub(super) const $name: Code = Code::new($number, $info);)*

        #[cfg(test)]
        const ALL: &[Code] = &[$($name,)*];
    };
}

codes! {
    SUCCESS = 200_000, "execute success";
    NO_CHANGE = 200_001, "discover data is no change";
    NO_NEED_UPDATE = 200_002, "update data is no change, no need to update";
    BAD_REQUEST = 400_000, "bad request";
    PARSE = 400_001, "request decode failed";
    EMPTY_REQUEST = 400_002, "empty request";
    BATCH_SIZE = 400_003, "batch size over the limit";
    DISCOVER_RESOURCE = 400_004, "invalid discover resource";
    PARAMETER = 400_103, "invalid parameter";
    EMPTY_QUERY = 400_104, "query instance parameter is empty";
    INSTANCE_QUERY = 400_105, "query instance, service or namespace or host is required";
    NAMESPACE_NAME = 400_110, "invalid namespace name";
    NAMESPACE_OWNERS = 400_111, "invalid namespace owners";
    SERVICE_NAME = 400_120, "invalid service name";
    SERVICE_OWNERS = 400_121, "invalid service owners";
    SERVICE_TOKEN = 400_122, "invalid service token";
    SERVICE_PORTS = 400_124, "invalid service ports";
    SERVICE_BUSINESS = 400_125, "invalid service business";
    SERVICE_DEPARTMENT = 400_126, "invalid service department";
    SERVICE_CMDB = 400_127, "invalid service CMDB";
    SERVICE_COMMENT = 400_128, "invalid service comment";
    ALIAS_COMMENT = 400_129, "invalid service alias comment";
    INSTANCE_ID = 400_130, "invalid instance id";
    INSTANCE_HOST = 400_131, "invalid instance host";
    INSTANCE_PORT = 400_132, "invalid instance port";
    ALIAS = 400_133, "invalid service alias";
    ALIAS_NAMESPACE = 400_134, "request namespace is not allow to create sid type alias";
    ALIAS_OWNERS = 400_135, "invalid service alias owners";
    INSTANCE_PROTOCOL = 400_136, "invalid instance protocol";
    INSTANCE_VERSION = 400_137, "invalid instance version";
    INSTANCE_LOGIC_SET = 400_138, "invalid instance logic set";
    INSTANCE_ISOLATE = 400_139, "invalid instance isolate";
    METADATA = 400_150,
        "the length of metadata is too long or metadata contains invalid characters";
    PLATFORM_ID = 400_180, "invalid platform id";
    EXISTED_RESOURCE = 400_201, "existed resource";
    NOT_FOUND_RESOURCE = 400_202, "not found resource";
    NAMESPACE_EXISTED_SERVICES = 400_203, "some services existed in namespace";
    SERVICE_EXISTED_INSTANCES = 400_204, "some instances existed in service";
    SERVICE_EXISTED_ROUTINGS = 400_205, "some routings existed in service";
    SAME_INSTANCE = 400_208, "the same instance request";
    SERVICE_EXISTED_ALIAS = 400_210, "some aliases existed in service";
    NOT_FOUND_SERVICE = 400_301, "not found service";
    NOT_FOUND_INSTANCE = 400_303, "not found instances";
    NOT_FOUND_ALIAS = 400_304, "not found service alias";
    NOT_FOUND_NAMESPACE = 400_305, "not found namespace";
    NOT_FOUND_USER = 400_312, "not found user";
    NO_ALIAS_UPDATE = 400_501, "not allow service alias updating";
    ALIAS_FOR_ALIAS = 400_504, "only source service can create alias";
    NOT_ALLOWED = 401_001, "access is not approved";
    EMPTY_TOKEN = 401_002, "auth token empty";
    TOKEN_NOT_EXISTED = 401_004, "token not existed";
    TOKEN_FORBIDDEN = 403_001, "token verify exception";
    API_RATE = 403_003, "server limit the api access";
    EXCEPTION = 500_000, "execute exception";
    STORE = 500_001, "store layer exception";
}

/// The code of a batch from those of its items: all the same, or the worst kind among them.
pub(super) fn folded(items: &[Code]) -> Code {
    match items.split_first() {
        None => SUCCESS,
        Some((first, rest)) if rest.iter().all(|code| code == first) => *first,
        Some(_) if items.iter().any(|code| code.is_our_failure()) => EXCEPTION,
        Some(_) if items.iter().any(|code| !code.is_success()) => BAD_REQUEST,
        Some(_) => SUCCESS,
    }
}

/// The code of a batch of namespaces: the highest that is no success.
pub(super) fn highest(items: &[Code]) -> Code {
    let failed = items.iter().filter(|code| !code.is_success());
    let highest = failed.max_by_key(|code| code.number);
    highest.copied().unwrap_or(SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_its_own_and_has_a_status() {
        let mut numbers: Vec<u32> = ALL.iter().map(|code| code.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), ALL.len());
        for code in ALL {
            assert_eq!(u32::from(code.status().as_u16()), code.number / 1000);
        }
    }

    #[test]
    fn a_batch_has_its_items_code_or_their_kind() {
        assert_eq!(folded(&[EXISTED_RESOURCE; 2]), EXISTED_RESOURCE);
        assert_eq!(folded(&[NO_NEED_UPDATE; 2]), NO_NEED_UPDATE);
        assert_eq!(folded(&[SUCCESS, NO_NEED_UPDATE]), SUCCESS);
        assert_eq!(folded(&[SUCCESS, SERVICE_NAME]), BAD_REQUEST);
        assert_eq!(folded(&[NOT_ALLOWED, STORE]), EXCEPTION);
        assert_eq!(
            highest(&[SUCCESS, EXISTED_RESOURCE, NAMESPACE_NAME]),
            EXISTED_RESOURCE
        );
        assert_eq!(highest(&[SUCCESS]), SUCCESS);
    }
}
