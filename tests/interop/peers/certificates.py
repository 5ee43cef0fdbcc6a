"""Makes the certificates of one interop run: a root, a plain leaf, and a leaf too large for three client datagrams."""

import datetime
import ipaddress
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
now = datetime.datetime.now(datetime.timezone.utc)


def name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def build(subject, issuer, key, signer, extensions):
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=30))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(signer, hashes.SHA256())


def write(path, *parts):
    path.write_bytes(b"".join(parts))


def pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


root_key = ec.generate_private_key(ec.SECP256R1())
usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
root = build("interop root", "interop root", root_key, root_key, [
    (x509.BasicConstraints(ca=True, path_length=None), True),
    (usage, True),
    (x509.SubjectKeyIdentifier.from_public_key(root_key.public_key()), False),
])
write(folder / "root.pem", root.public_bytes(serialization.Encoding.PEM))


def leaf(file, names):
    key = ec.generate_private_key(ec.SECP256R1())
    alternatives = [x509.DNSName(n) for n in names]
    alternatives += [x509.IPAddress(ipaddress.ip_address(a)) for a in ("127.0.0.1", "::1")]
    certificate = build("localhost", "interop root", key, root_key, [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.SubjectAlternativeName(alternatives), False),
        (x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), False),
    ])
    write(folder / f"{file}.pem", certificate.public_bytes(serialization.Encoding.PEM))
    write(folder / f"{file}.key", pem(key))


leaf("plain", ["localhost"])
# 160 names of about 60 bytes: some 10 kB of certificate, so a server runs into 3 x 1200 bytes (RFC 9000 section 8.1).
leaf("large", ["localhost"] + [f"host-{i:04d}.a-rather-long-name-to-fill-the-certificate.example" for i in range(160)])
