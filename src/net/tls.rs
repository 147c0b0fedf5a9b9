//! TLS for clients: whom to trust, and the configurations made of that. rustls with the ring provider.
//!
//! CA files are read when this is made or by [`Tls::preload`], before traffic; a file that a request
//! names for the first time later is read then, once, and kept.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// Where distributions keep the CA certificates, in order of preference.
const SYSTEM_CA: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];
/// Largest CA file read.
const MAX_CA_FILE: u64 = 16 << 20;
/// Files of a CA directory, and configurations kept.
const MAX_FILES: usize = 1024;

/// What a connection demands of its server. Connections with different demands share nothing.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TlsOptions {
    /// Whether the certificate must be valid.
    pub verify_peer: bool,
    /// Whether it must name the host.
    pub verify_host: bool,
    /// File (or directory of files) with the CA certificates; `None` = the system's.
    pub ca_file: Option<String>,
    /// Name of the certificate that is shown if the server asks for one ([`Tls::set_identity`]).
    pub identity: Option<String>,
    /// The protocol to offer by ALPN (RFC 7301).
    pub alpn: Option<&'static str>,
}

/// CA certificates.
#[derive(Debug)]
struct Trust {
    roots: Arc<RootCertStore>,
    /// Certificates of an operator's own file: a server may also show one of these itself
    /// (self-signed ones usually call themselves a CA, which path building would refuse).
    pinned: Vec<CertificateDer<'static>>,
}

/// A certificate with its chain, and its private key.
#[derive(Clone, Debug)]
pub struct Identity(Arc<CertifiedKey>);

impl Identity {
    /// Reads PEM files: the certificate, followed by those that lead to its CA, and the key (PKCS#8, PKCS#1 or
    /// SEC1, not encrypted). They must belong together.
    pub fn load(certificate: &Path, key: &Path) -> Result<Identity, String> {
        let named = |path: &Path, why: String| format!("{}: {why}", path.display());
        let mut chain = Vec::new();
        read_certificates(certificate, &mut chain).map_err(|e| named(certificate, e))?;
        if chain.is_empty() {
            return Err(named(certificate, "it holds no certificate".into()));
        }
        let text = read_file(key).map_err(|e| named(key, e))?;
        let secret = PrivateKeyDer::from_pem_slice(&text)
            .map_err(|_| named(key, "it holds no private key that can be read without a password".into()))?;
        let both = CertifiedKey::from_der(chain, secret, &ring::default_provider());
        Ok(Identity(Arc::new(both.map_err(|e| named(certificate, e.to_string()))?)))
    }
}

/// The client configurations of one process.
pub struct Tls {
    provider: Arc<CryptoProvider>,
    system: Arc<Trust>,
    files: HashMap<String, Arc<Trust>>,
    identities: HashMap<String, Identity>,
    configs: HashMap<TlsOptions, Arc<ClientConfig>>,
}

impl Default for Tls {
    fn default() -> Self {
        Self::new()
    }
}

impl Tls {
    /// Reads the system's CA certificates. If there are none, verified connections fail with that reason.
    pub fn new() -> Tls {
        let system = SYSTEM_CA.iter().find_map(|f| read_trust(Path::new(f), false).ok());
        let system = system.unwrap_or_else(|| Trust { roots: Arc::new(RootCertStore::empty()), pinned: Vec::new() });
        Tls {
            provider: Arc::new(ring::default_provider()),
            system: Arc::new(system),
            files: HashMap::new(),
            identities: HashMap::new(),
            configs: HashMap::new(),
        }
    }

    /// Reads a CA file (or directory) ahead of its use.
    pub fn preload(&mut self, ca_file: &str) -> Result<(), String> {
        self.trust(ca_file).map(|_| ())
    }

    /// From now on, `name` stands for this certificate in [`TlsOptions::identity`].
    pub fn set_identity(&mut self, name: &str, identity: Identity) {
        self.identities.insert(name.to_string(), identity);
        self.configs.retain(|options, _| options.identity.as_deref() != Some(name));
    }

    /// The configuration for these demands.
    pub fn config(&mut self, options: &TlsOptions) -> Result<Arc<ClientConfig>, String> {
        if let Some(config) = self.configs.get(options) {
            return Ok(Arc::clone(config));
        }
        let trust = match &options.ca_file {
            Some(file) => self.trust(file)?,
            None => Arc::clone(&self.system),
        };
        let verifier = Verifier::new(trust, options, Arc::clone(&self.provider))?;
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &options.identity {
            Some(name) => {
                let Identity(key) =
                    self.identities.get(name).ok_or_else(|| format!("no certificate is named {name}"))?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(key))))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = options.alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        let config = Arc::new(config);
        if self.configs.len() < MAX_FILES {
            self.configs.insert(options.clone(), Arc::clone(&config));
        }
        Ok(config)
    }

    fn trust(&mut self, file: &str) -> Result<Arc<Trust>, String> {
        if let Some(trust) = self.files.get(file) {
            return Ok(Arc::clone(trust));
        }
        let trust = Arc::new(read_trust(Path::new(file), true).map_err(|e| format!("{file}: {e}"))?);
        if self.files.len() < MAX_FILES {
            self.files.insert(file.to_string(), Arc::clone(&trust));
        }
        Ok(trust)
    }
}

/// Reads the certificates of a file, or of the files of a directory.
fn read_trust(path: &Path, pin: bool) -> Result<Trust, String> {
    let mut certificates = Vec::new();
    if path.is_dir() {
        let entries = fs::read_dir(path).map_err(|e| e.to_string())?;
        for entry in entries.flatten().take(MAX_FILES) {
            if entry.path().is_file() {
                // What is no certificate is none of our business here.
                let _ = read_certificates(&entry.path(), &mut certificates);
            }
        }
    } else {
        read_certificates(path, &mut certificates)?;
    }
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(certificates.iter().cloned());
    if usable == 0 {
        return Err("it holds no CA certificate".into());
    }
    Ok(Trust { roots: Arc::new(roots), pinned: if pin { certificates } else { Vec::new() } })
}

fn read_certificates(path: &Path, out: &mut Vec<CertificateDer<'static>>) -> Result<(), String> {
    let text = read_file(path)?;
    for certificate in CertificateDer::pem_slice_iter(&text) {
        out.push(certificate.map_err(|e| format!("bad PEM: {e:?}"))?);
    }
    Ok(())
}

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    if fs::metadata(path).map_err(|e| e.to_string())?.len() > MAX_CA_FILE {
        return Err("it is larger than 16 MiB".into());
    }
    fs::read(path).map_err(|e| e.to_string())
}

/// Checks a server's certificate as far as is wanted. What is signed in the handshake is checked as soon as
/// anything is: a key that nobody vouches for proves nothing, and some database servers make themselves
/// certificates of X.509 version 1, whose signatures cannot be checked here.
#[derive(Debug)]
struct Verifier {
    /// `None`: any certificate will do.
    chain: Option<Arc<WebPkiServerVerifier>>,
    trust: Arc<Trust>,
    host: bool,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn new(trust: Arc<Trust>, options: &TlsOptions, provider: Arc<CryptoProvider>) -> Result<Verifier, String> {
        let chain = if options.verify_peer {
            let builder = WebPkiServerVerifier::builder_with_provider(Arc::clone(&trust.roots), Arc::clone(&provider));
            Some(builder.build().map_err(|_| "the system has no CA certificates: name a file with them".to_string())?)
        } else {
            None
        };
        Ok(Verifier { chain, trust, host: options.verify_host, provider })
    }

    /// Whether any server will do.
    fn anybody(&self) -> bool {
        self.chain.is_none() && !self.host
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let pinned = self.trust.pinned.iter().any(|p| p == certificate);
        if let Some(chain) = &self.chain
            && !pinned
        {
            return match chain.verify_server_cert(certificate, intermediates, name, ocsp, now) {
                Err(Error::InvalidCertificate(
                    CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
                )) if !self.host => Ok(ServerCertVerified::assertion()),
                result => result,
            };
        }
        if self.host {
            verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self.anybody() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self.anybody() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
