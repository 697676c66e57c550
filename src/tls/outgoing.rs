//! TLS towards endpoints: whom we believe, how far, and who we say we are. Prepared when a table is
//! compiled, and shared by all connections on the same terms.

use std::fmt;
use std::sync::{Arc, OnceLock};

use pingora::utils::tls::{CertKey, WrappedX509, parse_x509};
use ring::digest::{Context, SHA256};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::depth::{Belief, Depth, client_config};
use crate::model::{Certificate, Invalid};
use crate::pem;

/// What a node believes where a service does not say.
#[derive(Clone, Debug)]
pub struct Trust {
    /// Whether endpoints' certificates are checked where a service leaves it open.
    pub verify: bool,
    /// The authorities of the system, or those that the operator named.
    pub roots: Arc<RootCertStore>,
    /// The certificate shown where neither a service nor its pool names one.
    pub shown: Option<Certificate>,
}

impl Default for Trust {
    /// Nobody, and nothing is checked.
    fn default() -> Self {
        Self {
            verify: false,
            roots: Arc::new(RootCertStore::empty()),
            shown: None,
        }
    }
}

/// What a service asks of the connections to its endpoints.
#[derive(Clone, Debug, Default)]
pub struct Terms<'a> {
    /// Whether the endpoint's certificate is checked; `None`: as the node does.
    pub verify: Option<bool>,
    /// The most authorities between the endpoint's certificate and a trusted one.
    pub depth: Option<u8>,
    /// The only authorities trusted, PEM; none: those of the node.
    pub authorities: Vec<&'a str>,
    /// The certificate shown to endpoints that ask for one; `None`: the node's.
    pub shown: Option<&'a Certificate>,
}

/// Who we say we are: a chain and its key.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: Arc<PrivateKeyDer<'static>>,
}

/// Terms as connections use them.
pub struct Outgoing {
    verify: bool,
    /// For pingora; `None`: the authorities of the node.
    authorities: Option<Arc<[WrappedX509]>>,
    shown: Option<Arc<CertKey>>,
    depth: Option<Depth>,
    fingerprint: Fingerprint,
    roots: Arc<RootCertStore>,
    identity: Option<Identity>,
    /// Made when it is asked for first.
    unnamed: OnceLock<Option<Arc<ClientConfig>>>,
}

/// Tells terms apart: SHA-256 over everything that they consist of.
pub type Fingerprint = [u8; 32];

impl Outgoing {
    /// # Errors
    /// [`Invalid`], naming the service's field, where a certificate or key cannot be used.
    pub fn new(terms: &Terms<'_>, trust: &Trust) -> Result<Self, Invalid> {
        let verify = terms.verify.unwrap_or(trust.verify);
        // Whom we would believe does not matter where we believe everybody.
        let authorities = match verify {
            true => authorities(&terms.authorities)?,
            false => Vec::new(),
        };
        let shown = terms.shown.or(trust.shown.as_ref());
        let identity = shown.map(Identity::of).transpose()?;
        let limit = terms.depth.filter(|_| verify);
        let fingerprint = fingerprint(verify, limit, &authorities, identity.as_ref());
        let roots = roots(&authorities, trust)?;
        let depth = limit.map(|limit| Depth::new(limit, Arc::clone(&roots), identity.as_ref()));
        Ok(Self {
            verify,
            authorities: believed(verify, &authorities, trust)?,
            shown: identity.as_ref().map(Identity::for_pingora),
            depth: depth.transpose()?,
            fingerprint,
            roots,
            identity,
            unnamed: OnceLock::new(),
        })
    }

    pub const fn verifies(&self) -> bool {
        self.verify
    }

    /// The only authorities trusted; `None`: those of the node.
    pub const fn authorities(&self) -> Option<&Arc<[WrappedX509]>> {
        self.authorities.as_ref()
    }

    /// The certificate shown to endpoints that ask for one.
    pub const fn shown(&self) -> Option<&Arc<CertKey>> {
        self.shown.as_ref()
    }

    /// How far an endpoint's certificate may be from an authority, where that is limited.
    pub const fn depth(&self) -> Option<&Depth> {
        self.depth.as_ref()
    }

    /// On the same terms for connections of bytes: what is spoken inside is not named by us. `None`: our
    /// key is of no kind that signs.
    pub fn without_alpn(&self) -> Option<&Arc<ClientConfig>> {
        let made = self.unnamed.get_or_init(|| {
            let roots = Arc::clone(&self.roots);
            let limit = self.depth.as_ref().map_or(u8::MAX, Depth::limit);
            let belief = match self.verify {
                true => Belief::Within { limit, roots },
                false => Belief::Anybody,
            };
            let config = client_config(belief, self.identity.as_ref());
            config.ok().map(Arc::new)
        });
        made.as_ref()
    }

    pub const fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("verify", &self.verify)
            .field(
                "authorities",
                &self.authorities.as_ref().map(|all| all.len()),
            )
            .field("shows_certificate", &self.shown.is_some())
            .field("depth", &self.depth)
            .finish_non_exhaustive()
    }
}

impl Identity {
    fn of(certificate: &Certificate) -> Result<Self, Invalid> {
        let wrong = |invalid: Invalid| Invalid::new("client_certificate", invalid.to_string());
        super::certified(&certificate.cert, &certificate.key, &super::provider()).map_err(wrong)?;
        let flawed = |flaw: pem::Flaw| Invalid::new("client_certificate", flaw);
        let key = pem::private_key(certificate.key.reveal()).map_err(flawed)?;
        Ok(Self {
            chain: pem::certificates(&certificate.cert).map_err(flawed)?,
            key: Arc::new(key),
        })
    }

    fn for_pingora(&self) -> Arc<CertKey> {
        let chain = self.chain.iter().map(|der| der.to_vec()).collect();
        Arc::new(CertKey::new(chain, self.key.secret_der().to_vec()))
    }
}

fn wrong_authority(why: impl Into<String>) -> Invalid {
    Invalid::new("ca_certificates", why)
}

fn authorities(texts: &[&str]) -> Result<Vec<CertificateDer<'static>>, Invalid> {
    let read = texts.iter().map(|text| pem::certificates(text));
    let read: Result<Vec<_>, _> = read.collect();
    Ok(read.map_err(wrong_authority)?.concat())
}

/// The authorities as rustls believes them, which refuses some that are well-formed.
fn roots(
    authorities: &[CertificateDer<'static>],
    trust: &Trust,
) -> Result<Arc<RootCertStore>, Invalid> {
    if authorities.is_empty() {
        return Ok(Arc::clone(&trust.roots));
    }
    let mut roots = RootCertStore::empty();
    for der in authorities {
        let added = roots.add(der.clone());
        added.map_err(|error| wrong_authority(format!("cannot be trusted: {error}")))?;
    }
    Ok(Arc::new(roots))
}

/// What pingora is given. It builds a verifier even for connections that are not verified, and that
/// fails where there is no authority at all: on a system without any it gets one that vouches for
/// nobody.
fn believed(
    verify: bool,
    authorities: &[CertificateDer<'static>],
    trust: &Trust,
) -> Result<Option<Arc<[WrappedX509]>>, Invalid> {
    let wrapped = |der: &[u8]| WrappedX509::new(der.to_vec(), parse_x509);
    if !verify && trust.roots.is_empty() {
        let nobody = super::generate(&["nobody.invalid".to_owned()])?;
        let nobody = pem::certificates(&nobody.cert).map_err(wrong_authority)?;
        return Ok(Some(nobody.iter().map(|der| wrapped(der)).collect()));
    }
    let some = !authorities.is_empty();
    Ok(some.then(|| authorities.iter().map(|der| wrapped(der)).collect()))
}

fn fingerprint(
    verify: bool,
    depth: Option<u8>,
    authorities: &[CertificateDer<'_>],
    identity: Option<&Identity>,
) -> Fingerprint {
    let mut hash = Context::new(&SHA256);
    let mut put = |bytes: &[u8]| {
        // The length first, so that no two lists of parts read the same.
        hash.update(&(bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    put(&[u8::from(verify)]);
    put(depth.as_slice());
    put(&(authorities.len() as u64).to_be_bytes());
    authorities.iter().for_each(|der| put(der));
    // The key is the one that the chain certifies.
    for der in identity.iter().flat_map(|identity| &identity.chain) {
        put(der);
    }
    let mut out = Fingerprint::default();
    out.copy_from_slice(hash.finish().as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::generate;

    fn certificate() -> Certificate {
        generate(&["gateway.test".to_owned()]).unwrap()
    }

    fn outgoing(terms: &Terms<'_>) -> Outgoing {
        Outgoing::new(terms, &Trust::default()).unwrap()
    }

    #[test]
    fn terms_that_differ_are_told_apart() {
        let (one, two) = (certificate(), certificate());
        let verify = Some(true);
        let verified = || Terms {
            verify,
            authorities: vec![&one.cert],
            ..Terms::default()
        };
        let all = [
            Terms::default(),
            Terms {
                shown: Some(&one),
                ..Terms::default()
            },
            Terms {
                shown: Some(&two),
                ..Terms::default()
            },
            Terms {
                verify,
                ..Terms::default()
            },
            verified(),
            Terms {
                authorities: vec![&two.cert],
                ..verified()
            },
            Terms {
                authorities: vec![&one.cert, &two.cert],
                ..verified()
            },
            Terms {
                depth: Some(0),
                ..verified()
            },
            Terms {
                depth: Some(1),
                ..verified()
            },
            Terms {
                shown: Some(&two),
                ..verified()
            },
        ];
        let mut fingerprints: Vec<_> = all.iter().map(|t| *outgoing(t).fingerprint()).collect();
        let again = *outgoing(&verified()).fingerprint();
        assert!(fingerprints.contains(&again), "the same terms are the same");
        fingerprints.sort_unstable();
        fingerprints.dedup();
        assert_eq!(fingerprints.len(), all.len());
    }

    #[test]
    fn whom_we_would_believe_does_not_matter_where_we_believe_everybody() {
        let some = certificate();
        let terms = Terms {
            authorities: vec![&some.cert],
            depth: Some(1),
            ..Terms::default()
        };
        let open = outgoing(&terms);
        let bare = outgoing(&Terms::default());
        assert_eq!(open.fingerprint(), bare.fingerprint());
        assert!(open.depth().is_none() && !open.verifies());
        // Without any authority pingora cannot even build a verifier that is not asked.
        assert_eq!(open.authorities().map(|all| all.len()), Some(1));
        let trust = Trust {
            verify: true,
            ..Trust::default()
        };
        assert!(Outgoing::new(&terms, &trust).unwrap().verifies());
    }

    #[test]
    fn nothing_that_holds_a_key_shows_it() {
        let one = certificate();
        let terms = Terms {
            verify: Some(true),
            depth: Some(1),
            authorities: vec![&one.cert],
            shown: Some(&one),
        };
        let identity = Identity::of(&one).unwrap();
        let shown = crate::tls::Shown::of(&one, &crate::tls::provider()).unwrap();
        let made = outgoing(&terms);
        let texts = [
            format!("{one:?} {terms:?} {identity:?} {shown:?} {made:?}"),
            format!("{:?}", made.shown()),
        ];
        let der = identity.key.secret_der();
        let numbers = format!("{der:?}");
        let secrets = one
            .key
            .reveal()
            .lines()
            .filter(|line| !line.contains("-----"));
        for secret in secrets.chain([numbers.trim_matches(['[', ']'])]) {
            assert!(texts.iter().all(|text| !text.contains(secret)));
        }
    }

    #[test]
    fn what_cannot_be_used_names_the_service_s_field() {
        let (one, two) = (certificate(), certificate());
        let mixed = Certificate {
            key: two.key,
            ..one.clone()
        };
        for (terms, field) in [
            (
                Terms {
                    shown: Some(&mixed),
                    ..Terms::default()
                },
                "client_certificate",
            ),
            (
                Terms {
                    verify: Some(true),
                    authorities: vec![&one.cert, "rubbish"],
                    ..Terms::default()
                },
                "ca_certificates",
            ),
        ] {
            let wrong = Outgoing::new(&terms, &Trust::default()).unwrap_err();
            assert_eq!(wrong.field, field, "{wrong}");
        }
    }
}
