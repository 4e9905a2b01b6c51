//! TLS 1.3: who may connect is judged at the handshake.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

/// What a server shows and whom it believes; PEM texts.
pub struct Material<'a> {
    /// Our certificate, then those between it and the authority.
    pub certificates: &'a [u8],
    /// Its private key, not encrypted: PKCS#8, SEC 1 or PKCS#1.
    pub private_key: &'a [u8],
    /// The authorities whose clients we believe.
    pub client_authorities: &'a [u8],
    /// Revocation lists of these; empty: none is asked.
    pub revocation_lists: &'a [u8],
    /// Whether a client without a certificate is refused.
    pub is_client_required: bool,
}

/// The part of the material that cannot be used, and why.
#[derive(Debug)]
pub struct Unusable {
    /// "certificate", "key", "authorities" or "revocation lists".
    pub part: &'static str,
    /// In the words of rustls; holds no secret.
    pub why: String,
}

impl fmt::Display for Unusable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.part, self.why)
    }
}

fn unusable(part: &'static str) -> impl Fn(&dyn fmt::Display) -> Unusable {
    move |why| Unusable {
        part,
        why: why.to_string(),
    }
}

/// Build what connections are accepted with.
///
/// Nothing is resumed: a client shows its certificate at every connection, so that one that has expired or been revoked
/// meanwhile is refused.
pub fn server_config(material: &Material<'_>) -> Result<Arc<ServerConfig>, Unusable> {
    let provider = Arc::new(default_provider());
    let mut roots = RootCertStore::empty();
    for authority in all::<CertificateDer<'_>>("authorities", material.client_authorities)? {
        roots
            .add(authority)
            .map_err(|error| unusable("authorities")(&error))?;
    }
    let lists =
        all::<CertificateRevocationListDer<'_>>("revocation lists", material.revocation_lists)?;
    let is_asked = !lists.is_empty();
    let mut clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .with_crls(lists);
    if is_asked {
        // Lists of the authorities' own certificates are another file's business; an old list still names who is revoked.
        clients = clients
            .only_check_end_entity_revocation()
            .allow_unknown_revocation_status();
    }
    if !material.is_client_required {
        clients = clients.allow_unauthenticated();
    }
    let clients = clients
        .build()
        .map_err(|error| unusable("authorities")(&error))?;
    let certificates = all::<CertificateDer<'_>>("certificate", material.certificates)?;
    if certificates.is_empty() {
        return Err(unusable("certificate")(&"there is none in it"));
    }
    let key = PrivateKeyDer::from_pem_slice(material.private_key)
        .map_err(|error| unusable("key")(&error))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| unusable("certificate")(&error))?
        .with_client_cert_verifier(clients)
        .with_single_cert(certificates, key)
        .map_err(|error| unusable("key")(&error))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn all<T: PemObject>(part: &'static str, pem: &[u8]) -> Result<Vec<T>, Unusable> {
    T::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(part)(&error))
}

/// The URIs among the names of a certificate that the handshake has verified.
pub fn uri_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    webpki::EndEntityCert::try_from(certificate).map_or_else(
        |_| Vec::new(),
        |certificate| certificate.valid_uri_names().map(str::to_owned).collect(),
    )
}
