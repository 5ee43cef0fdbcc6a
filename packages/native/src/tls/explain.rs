//! Says what TLS objected to in words an operator can act on, and which alert goes to the peer.
use rustls::{AlertDescription, CertificateError, Error};

/// RFC 8446 §6.2 internal_error, for failures that rustls gives no alert.
const INTERNAL_ERROR: u8 = 80;

pub fn alert_number(alert: Option<AlertDescription>) -> u8 {
    alert.map_or(INTERNAL_ERROR, u8::from)
}

pub fn explain(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(reason) => explain_certificate(reason),
        Error::NoApplicationProtocol => {
            "no application protocol (ALPN) in common; offer one that the other side supports".to_owned()
        }
        Error::NoCertificatesPresented => {
            "the peer sent no certificate though one is required; give it a certificate".to_owned()
        }
        other => format!("TLS: {other}"),
    }
}

fn explain_certificate(reason: &CertificateError) -> String {
    match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("the peer's certificate has expired ({reason}); renew it, or set this machine's clock")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("the peer's certificate is not valid yet ({reason}); set this machine's clock")
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "the peer's certificate is not signed by a trusted authority; trust its CA, pin the certificate, or use \
             the insecure option in a test"
                .to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("the peer's certificate is for another name ({reason}); connect by a name that it carries")
        }
        CertificateError::ApplicationVerificationFailure => {
            "the peer's certificate or key is not the pinned one; update the pin if the change was intended".to_owned()
        }
        other => format!("the peer's certificate was refused: {other}"),
    }
}
