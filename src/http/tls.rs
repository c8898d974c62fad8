//! Whom to trust, and as whom to come.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::{Error, Result};

/// A client certificate, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, with the authorities between it and a root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// How the other side proves who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// A PEM file of the only authorities to trust; `None`: this system's.
    pub ca_file: Option<PathBuf>,
    /// What to show the other side where it asks.
    pub identity: Option<Identity>,
    /// Whether any certificate will do. Anybody between here and the cloud can then read and change everything.
    pub insecure: bool,
}

impl Trust {
    /// Where the authorities come from, for messages.
    pub(super) fn authorities(&self) -> String {
        match &self.ca_file {
            Some(file) => file.display().to_string(),
            None => "this system's store".to_owned(),
        }
    }

    /// The same as the TLS library takes it.
    ///
    /// # Errors
    /// `FailedPrecondition` naming the file that cannot be used.
    pub(crate) fn client_config(&self) -> Result<ClientConfig> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::internal("cannot set TLS up").caused_by(error))?;
        let builder = match self.insecure {
            true => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider))),
            false => builder.with_root_certificates(self.roots()?),
        };
        let Some(identity) = &self.identity else { return Ok(builder.with_no_client_auth()) };
        let chain = certificates(&identity.certificate)?;
        // The reader's own text may quote a line.
        let key = PrivateKeyDer::from_pem_file(&identity.key)
            .map_err(|_| bad(&identity.key, &"no private key could be read from it"))?;
        builder.with_client_auth_cert(chain, key).map_err(|error| {
            let (certificate, key) = (identity.certificate.display(), identity.key.display());
            Error::precondition(format!("{certificate} and {key} cannot be used together: {error}"))
        })
    }

    fn roots(&self) -> Result<RootCertStore> {
        let mut store = RootCertStore::empty();
        let Some(file) = &self.ca_file else {
            // Some of a system's certificates may be unusable, and a system may have none: a cloud without TLS needs
            // none, and one with TLS then says which host could not be trusted.
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            return Ok(store);
        };
        for certificate in certificates(file)? {
            store.add(certificate).map_err(|error| bad(file, &error))?;
        }
        Ok(store)
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let list: Result<Vec<_>, _> = match CertificateDer::pem_file_iter(file) {
        Ok(list) => list.collect(),
        Err(error) => Err(error),
    };
    let list = list.map_err(|error| bad(file, &error))?;
    if list.is_empty() {
        return Err(bad(file, &"no certificate is in it"));
    }
    Ok(list)
}

fn bad(file: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::precondition(format!("{} cannot be used as PEM: {why}", file.display()))
}

/// Takes any certificate, as the operator asked for.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
