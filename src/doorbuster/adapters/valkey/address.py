"""Reads the URL of a Valkey server: redis, rediss, valkey, valkeys and unix schemes.

Owns: what may stand in such a URL. Passwords are never shown: `str(address)` leaves them out.
"""

import ssl
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

_PLAIN: Final = {"redis", "valkey"}
_TLS: Final = {"rediss", "valkeys"}
_QUERY: Final = {"db", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs"}


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where a server is and how to enter. A `path` means a unix socket; then host and port are not used."""

    host: str = "127.0.0.1"
    port: int = 6379
    path: str = ""
    username: str = ""
    password: str = ""
    database: int = 0
    tls: bool = False
    tls_verify: bool = True
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss' if self.tls else 'redis'}://{host}:{self.port}"

    def at(self, host: str, port: int) -> "Address":
        """Another node of the same cluster: entered in the same way."""
        return msgspec.structs.replace(self, host=host or self.host, port=port, path="")

    def tls_context(self) -> ssl.SSLContext | None:
        if not self.tls:
            return None
        context = ssl.create_default_context(cafile=self.tls_ca or None)
        if not self.tls_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.tls_cert:
            context.load_cert_chain(self.tls_cert, self.tls_key or None)
        return context


def read_address(url: str) -> Address:
    """The address in this URL; ValueError says what is wrong with it, without the password."""
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    if scheme not in _PLAIN | _TLS | {"unix"}:
        message = f"the valkey url begins with {scheme!r}; it must begin with redis, rediss, valkey, valkeys or unix"
        raise ValueError(message)
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    unknown = sorted(set(query) - _QUERY)
    if unknown:
        message = f"the valkey url has an unknown setting {unknown[0]!r}; known are {', '.join(sorted(_QUERY))}"
        raise ValueError(message)
    path = unquote(parts.path)
    if scheme == "unix" and not path:
        message = "the valkey url names no socket file; write unix:///path/to/socket"
        raise ValueError(message)
    database = query.get("db", "0" if scheme == "unix" else path.strip("/") or "0")
    if not database.isdecimal():
        message = f"the database in the valkey url is {database!r}; it must be a number"
        raise ValueError(message)
    return Address(
        host=parts.hostname or "127.0.0.1",
        port=parts.port or 6379,
        path=path if scheme == "unix" else "",
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=int(database),
        tls=scheme in _TLS,
        tls_verify=query.get("ssl_cert_reqs", "required") != "none",
        tls_ca=query.get("ssl_ca_certs", ""),
        tls_cert=query.get("ssl_certfile", ""),
        tls_key=query.get("ssl_keyfile", ""),
    )
