//! A certificate authority of the server's own and a certificate for its names.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;

/// What the server serves with, and what clients need to trust it.
pub(crate) struct Tls {
    pub config: Arc<ServerConfig>,
    pub ca_pem: String,
}

/// Makes a fresh authority and a certificate for `names` and 127.0.0.1.
///
/// # Panics
/// When a name is none.
pub(crate) fn make(names: &[String]) -> Tls {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca.distinguished_name
        .push(DnType::CommonName, "ows-testkit CA");
    let ca_key = KeyPair::generate().expect("ring makes a key");
    let ca = CertifiedIssuer::self_signed(ca, ca_key).expect("the authority signs itself");

    let mut leaf = CertificateParams::new(names.to_vec()).expect("the names are DNS names");
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    leaf.subject_alt_names.push(SanType::IpAddress(loopback));
    leaf.distinguished_name
        .push(DnType::CommonName, "ows-testkit server");
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().expect("ring makes a key");
    let certificate = leaf
        .signed_by(&key, &ca)
        .expect("the authority signs the certificate");

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let private_key =
        PrivateKeyDer::try_from(key.serialize_der()).expect("rcgen writes a private key");
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the default protocol versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private_key)
        .expect("the key belongs to the certificate");
    Tls {
        config: Arc::new(config),
        ca_pem: ca.pem(),
    }
}
