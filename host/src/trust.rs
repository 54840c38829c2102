//! Which authorities are trusted where a certificate is shown to us, and what is said where one is not accepted.
//!
//! A machine without any authorities is no reason not to start: what needs none works, and what needs one says what
//! is missing.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{CertificateError, ClientConfig, Error, RootCertStore};

/// What a certificate is held against.
#[derive(Clone, Debug)]
pub struct TrustStore {
    roots: Arc<RootCertStore>,
    missing: Option<Arc<str>>,
}

impl TrustStore {
    /// The system's authorities, and those of a PEM file.
    ///
    /// # Errors
    /// The file cannot be read or holds no certificate. That the system has no authorities is none, see
    /// [`TrustStore::missing`].
    pub fn of_system(extra_ca: Option<&Path>) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        let (of_system, _) = roots.add_parsable_certificates(found.certs);
        if let Some(file) = extra_ca {
            for certificate in certificates(file)? {
                let named = || format!("delivery.extra_ca: {}", file.display());
                roots
                    .add(certificate)
                    .map_err(|error| anyhow::anyhow!(words_of(&error)))
                    .with_context(named)?;
            }
        }
        let missing = (of_system == 0).then(|| {
            let of = |variable| std::env::var(variable).ok();
            without_store(of("SSL_CERT_FILE").as_deref(), of("SSL_CERT_DIR").as_deref()).into()
        });
        Ok(TrustStore { roots: Arc::new(roots), missing })
    }

    /// What is missing where the system has no authorities, for people.
    #[must_use]
    pub fn missing(&self) -> Option<&str> {
        self.missing.as_deref()
    }

    /// Whether there is nobody at all whose word would be taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// TLS as a client that offers these protocols (ALPN), the first one rather.
    ///
    /// # Errors
    /// The TLS library cannot do it: a bug.
    pub fn client(&self, protocols: &[&[u8]]) -> anyhow::Result<ClientConfig> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .context("setting up TLS")?
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(config)
    }
}

/// The certificates of a PEM file.
fn certificates(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let named = || format!("delivery.extra_ca: {}", file.display());
    let pem = std::fs::read(file).with_context(named)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = found.map_err(|_| anyhow::anyhow!("a certificate in it is cut off or damaged"));
    let certificates = certificates.with_context(named)?;
    if certificates.is_empty() {
        bail!("{} holds no PEM certificate", named());
    }
    Ok(certificates)
}

/// What is said where no store of authorities was found, given what the environment names.
fn without_store(file: Option<&str>, folder: Option<&str>) -> String {
    let looked_at = match (file, folder) {
        (None, None) => {
            "the system's store, such as /etc/ssl/certs/ca-certificates.crt, is missing or empty: install the package \
             ca-certificates"
                .to_owned()
        }
        (file, folder) => {
            let named = [("SSL_CERT_FILE", file), ("SSL_CERT_DIR", folder)];
            let named = named.iter().filter_map(|(name, value)| Some(format!("{name}={}", (*value)?)));
            let named: Vec<String> = named.collect();
            format!("{} leads to no certificates: mend or unset it", named.join(" and "))
        }
    };
    format!(
        "no authorities for certificates (CA store): {looked_at}, or name a PEM file in delivery.extra_ca"
    )
}

/// What the TLS library says, for people who cannot know its names.
#[must_use]
pub fn words_of(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(reason) => format!("invalid peer certificate: {}", of_certificate(reason)),
        Error::AlertReceived(alert) => {
            let alert = format!("{alert:?}");
            format!("the other side ended the handshake: {alert}{}", hint_of_alert(&alert))
        }
        Error::NoCertificatesPresented => "the other side showed no certificate".to_owned(),
        Error::PeerIncompatible(_) => {
            "the other side speaks no TLS that is still safe (1.2 or 1.3 with a current cipher)".to_owned()
        }
        Error::PeerMisbehaved(_) | Error::InappropriateMessage { .. } => {
            "the other side does not keep to TLS".to_owned()
        }
        Error::InappropriateHandshakeMessage { .. } => "the other side does not keep to TLS".to_owned(),
        Error::InvalidMessage(_) => {
            "what came is no TLS: perhaps the port speaks plain HTTP (http:// in place of https://)"
                .to_owned()
        }
        Error::DecryptError => "what came cannot be decrypted: it was damaged on its way".to_owned(),
        Error::NoApplicationProtocol => "the other side speaks neither HTTP/1.1 nor HTTP/2".to_owned(),
        Error::FailedToGetCurrentTime => "the clock of this machine cannot be read".to_owned(),
        Error::UnsupportedNameType => "the address is no name that a certificate could be for".to_owned(),
        _ => "TLS could not be set up".to_owned(),
    }
}

fn of_certificate(reason: &CertificateError) -> String {
    use CertificateError as E;
    match reason {
        E::UnknownIssuer => {
            "UnknownIssuer: nobody here knows the authority that signed it (delivery.extra_ca can name it)"
                .to_owned()
        }
        E::NotValidForName | E::NotValidForNameContext { .. } => reason.to_string(),
        E::Expired | E::ExpiredContext { .. } => {
            "it has expired, or the clock of this machine is wrong".to_owned()
        }
        E::NotValidYet | E::NotValidYetContext { .. } => {
            "it is not valid yet, or the clock of this machine is wrong".to_owned()
        }
        E::BadEncoding => "it is damaged".to_owned(),
        E::Revoked => "its authority has revoked it".to_owned(),
        E::BadSignature => "its signature is wrong".to_owned(),
        E::UnhandledCriticalExtension => "it has a critical extension that is not known here".to_owned(),
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => {
            "it is not made for servers: reissue it with extendedKeyUsage serverAuth".to_owned()
        }
        // The library behind the library has names of its own for these.
        _ => of_inner_name(&format!("{reason:?}")).to_owned(),
    }
}

/// By the name that the library's own error has, wherever it stands in its text.
fn of_inner_name(debug: &str) -> &'static str {
    const KNOWN: [(&str, &str); 12] = [
        (
            "CaUsedAsEndEntity",
            "it is that of an authority (CA:TRUE) and cannot be a server's: reissue it with CA:FALSE (openssl req \
             -x509 -addext basicConstraints=critical,CA:FALSE)",
        ),
        (
            "EndEntityUsedAsCa",
            "the certificate that signed it is none of an authority: reissue that one with CA:TRUE",
        ),
        ("PathLenConstraintViolated", "more authorities stand between it and its root than the root allows"),
        ("NameConstraintViolation", "its authority may not sign for this name"),
        ("MaximumPathDepthExceeded", "too many authorities stand between it and its root"),
        ("MaximumSignatureChecksExceeded", "too many authorities stand between it and its root"),
        ("UnsupportedCertVersion", "it is of an old form (not version 3): reissue it"),
        (
            "UnsupportedSignature",
            "it is signed in a way that is not safe any more: reissue it with SHA-256 or better",
        ),
        (
            "UnsupportedCrlSignature",
            "it is signed in a way that is not safe any more: reissue it with SHA-256 or better",
        ),
        ("UnsupportedNameType", "it names nobody whom this machine could look for"),
        ("ExtensionValueInvalid", "one of its extensions is damaged"),
        ("UnknownRevocationStatus", "it is not known whether its authority has revoked it"),
    ];
    let found = KNOWN.iter().find(|(name, _)| debug.contains(name));
    found.map_or("it is not acceptable: look at it with openssl x509 -text", |(_, words)| words)
}

fn hint_of_alert(alert: &str) -> &'static str {
    match alert {
        "CertificateRequired" | "BadCertificate" | "UnknownCA" => {
            " (it may want a certificate of ours, which this host does not send)"
        }
        "UnrecognisedName" => " (it does not know the name that it was asked by)",
        "HandshakeFailure" | "ProtocolVersion" | "InsufficientSecurity" => {
            " (no common version or cipher of TLS)"
        }
        "NoApplicationProtocol" => " (it speaks neither HTTP/1.1 nor HTTP/2)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use tokio_rustls::rustls::{AlertDescription, OtherError, PeerMisbehaved};

    use super::*;

    #[derive(Debug)]
    struct Inner(&'static str);

    impl std::fmt::Display for Inner {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }
    }

    impl std::error::Error for Inner {}

    #[test]
    fn what_is_said_of_a_certificate_or_a_handshake_says_what_to_do() {
        #[derive(Debug)]
        struct CaUsedAsEndEntity;
        impl std::fmt::Display for CaUsedAsEndEntity {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("CaUsedAsEndEntity")
            }
        }
        impl std::error::Error for CaUsedAsEndEntity {}

        let other = CertificateError::Other(OtherError(Arc::new(CaUsedAsEndEntity)));
        for (error, expected) in [
            (Error::InvalidCertificate(other), "CA:FALSE"),
            (
                Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(Inner("Whatever"))))),
                "not acceptable",
            ),
            (Error::InvalidCertificate(CertificateError::UnknownIssuer), "delivery.extra_ca"),
            (Error::InvalidCertificate(CertificateError::Expired), "expired"),
            (Error::InvalidCertificate(CertificateError::InvalidPurpose), "serverAuth"),
            (Error::AlertReceived(AlertDescription::UnrecognisedName), "does not know the name"),
            (Error::AlertReceived(AlertDescription::InternalError), "ended the handshake"),
            (Error::PeerMisbehaved(PeerMisbehaved::IllegalTlsInnerPlaintext), "does not keep to TLS"),
            (Error::General("odd".to_owned()), "TLS could not be set up"),
        ] {
            let words = words_of(&error);
            assert!(words.contains(expected), "{error:?}: {words}");
            assert!(!words.contains("OtherError") && !words.contains("Other("), "{words}");
        }
    }

    #[test]
    fn a_missing_store_is_named() {
        assert!(without_store(None, None).contains("/etc/ssl/certs/ca-certificates.crt"));
        let named = without_store(Some("/no/file"), Some("/no/folder"));
        assert!(named.contains("SSL_CERT_FILE=/no/file and SSL_CERT_DIR=/no/folder"), "{named}");
        assert!(without_store(None, Some("/no/folder")).contains("SSL_CERT_DIR=/no/folder leads"));
    }
}
