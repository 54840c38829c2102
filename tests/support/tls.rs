//! An authority of the test's own, and a receiver that speaks TLS with its certificate.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::server::TlsStream;

/// An authority that no system knows.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// It cannot be made.
    #[must_use]
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        let folder = tempfile::tempdir().expect("a folder");
        // No two have the same name, as with the authorities of the world.
        let name = folder.path().display().to_string();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"));
        let authority = Authority { issuer: issuer.expect("a certificate"), folder };
        std::fs::write(authority.file(), authority.issuer.pem()).expect("a file");
        authority
    }

    /// Its certificate in a PEM file.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// What a server with a certificate for this name or address needs.
    pub(crate) async fn listener(&self, name: &str) -> TlsListener {
        let acceptor = self.acceptor(name, &[]);
        TlsListener { listener: TcpListener::bind("127.0.0.1:0").await.expect("a free port"), acceptor }
    }

    /// A certificate for this name or address and its key, in PEM files of its folder.
    ///
    /// # Panics
    /// They cannot be made.
    #[must_use]
    pub fn certificate_files(&self, name: &str) -> (PathBuf, PathBuf) {
        let (certificate, key) = self.certificate(name);
        let files = ["certificate.pem", "key.pem"].map(|file| self.folder.path().join(file));
        std::fs::write(&files[0], certificate.pem()).expect("a file");
        std::fs::write(&files[1], key.serialize_pem()).expect("a file");
        let [certificate, key] = files;
        (certificate, key)
    }

    fn certificate(&self, name: &str) -> (Certificate, KeyPair) {
        let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        let key = KeyPair::generate().expect("a key");
        (params.signed_by(&key, &self.issuer).expect("a certificate"), key)
    }

    /// TLS as a server with a certificate for this name or address, that speaks these protocols (ALPN).
    pub(crate) fn acceptor(&self, name: &str, protocols: &[&[u8]]) -> TlsAcceptor {
        let (certificate, key) = self.certificate(name);
        serving(&certificate, &key, protocols)
    }
}

/// TLS as a server whose certificate says that it is an authority's, as `openssl req -x509` makes them; and that
/// certificate.
pub(crate) async fn self_signed_listener(name: &str) -> (TlsListener, String) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    let acceptor = serving(&certificate, &key, &[]);
    (
        TlsListener { listener: TcpListener::bind("127.0.0.1:0").await.expect("a free port"), acceptor },
        certificate.pem(),
    )
}

fn serving(certificate: &Certificate, key: &KeyPair, protocols: &[&[u8]]) -> TlsAcceptor {
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(
        vec![certificate.der().clone()],
        PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
    );
    let mut config = config.expect("a certificate with its key");
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

pub(crate) struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((connection, address)) = self.listener.accept().await else { continue };
            // A client that does not trust us goes away here.
            if let Ok(stream) = self.acceptor.accept(connection).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}
