"""Certificates and tokens for tests: an authority, those it signs, and the key of an issuer."""

import base64
import dataclasses
import datetime
import json
import pathlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


@dataclasses.dataclass
class Files:
    """A certificate and its key, as PEM files."""

    certificate: pathlib.Path
    key: pathlib.Path


class Authority:
    """Signs certificates, and writes them into a folder."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        self.certificate = self.sign(self.name, self.key, x509.BasicConstraints(True, None))
        self.path = folder / "authority.pem"
        self.path.write_bytes(pem(self.certificate))

    def sign(self, name: x509.Name, key, *extensions) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (x509.CertificateBuilder().subject_name(name).issuer_name(self.name)
                   .public_key(key.public_key()).serial_number(x509.random_serial_number())
                   .not_valid_before(now - DAY).not_valid_after(now + DAY))
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, name: str, uri: str | None = None) -> Files:
        """A new certificate for a name, also where it had one before."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = [x509.DNSName(name)]
        if uri:
            names.append(x509.UniformResourceIdentifier(uri))
        certificate = self.sign(subject, key, x509.SubjectAlternativeName(names))
        stem = f"{name}-{certificate.serial_number:x}"
        files = Files(self.folder / f"{stem}.pem", self.folder / f"{stem}.key")
        files.certificate.write_bytes(pem(certificate))
        files.key.write_bytes(key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption()))
        return files


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


class Issuer:
    """Issues tokens (RFC 7519), signed with RS256."""

    def __init__(self):
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def jwks(self) -> str:
        """The key that verifies them (RFC 7517)."""
        numbers = self.key.public_key().public_numbers()
        modulus, exponent = (base64url(number.to_bytes((number.bit_length() + 7) // 8, "big"))
                             for number in (numbers.n, numbers.e))
        key = {"kty": "RSA", "alg": "RS256", "kid": "test", "n": modulus, "e": exponent}
        return json.dumps({"keys": [key]})

    def token(self, **claims) -> str:
        parts = ({"alg": "RS256", "kid": "test"}, claims)
        signed = ".".join(base64url(json.dumps(part).encode()) for part in parts)
        signature = self.key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{base64url(signature)}"


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
