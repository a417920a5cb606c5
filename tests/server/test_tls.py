"""https by uvicorn's options."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import httpx
import pytest

from ragapp.config import ServerTable
from ragapp.errors import ConfigError
from ragapp.server.tls import tls_options
from tests.server.conftest import ServeWith


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    x509 = pytest.importorskip("cryptography.x509")
    import ipaddress

    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "127.0.0.1")])
    made = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(days=1)
    ).add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
    folder = tmp_path_factory.mktemp("tls")
    (folder / "cert.pem").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    )
    return folder / "cert.pem", folder / "key.pem"


def test_the_server_speaks_https(serve_with: ServeWith, pair: tuple[Path, Path]) -> None:
    certificate, key = pair
    server = serve_with(server__tls_certificate=str(certificate), server__tls_key=str(key))
    assert server.url.startswith("https://127.0.0.1:")
    with httpx.Client(verify=ssl.create_default_context(cafile=str(certificate))) as http:
        assert http.get(f"{server.url}/healthz").json() == {"status": "ok"}


def _settings(certificate: object, key: object = "") -> ServerTable:
    return ServerTable(tls_certificate=str(certificate), tls_key=str(key))  # type: ignore[call-arg]


def test_files_that_cannot_be_used_are_refused_before_anything_is_bound(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    certificate, key = pair
    for settings in (
        _settings(tmp_path / "nothing.pem"), _settings(certificate), _settings(key, key), _settings("", key),
        _settings(certificate, certificate),
    ):  # fmt: skip
        with pytest.raises(ConfigError):
            tls_options(settings)
    both = tmp_path / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    assert tls_options(_settings(both)) == {"ssl_certfile": str(both), "ssl_keyfile": None}
    assert tls_options(_settings("")) == {}
