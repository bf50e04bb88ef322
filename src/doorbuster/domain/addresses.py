"""Which addresses of the network are nobody's but the outside world's, and which URLs may lead there.

Owns: the rule that keeps a shop's webhook from being aimed at the inside of the network it is sent from. Pure: names
are resolved elsewhere, and every address they have is judged here. Read next: `adapters/shop_webhooks.py`.
"""

import ipaddress
from typing import Final
from urllib.parse import SplitResult, urlsplit

URL_LENGTH_MAX: Final = 2_000
_LABEL_LENGTH_MAX: Final = 63
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_INSIDE: Final = tuple(
    map(
        ipaddress.ip_network,
        ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7"),
    )
)
"""Private, shared and loopback: somebody's own network."""
_NOWHERE: Final = tuple(
    map(
        ipaddress.ip_network,
        (
            "0.0.0.0/8",  # this host
            "169.254.0.0/16",  # link-local; clouds hand out credentials there
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",  # multicast, reserved, broadcast
        ),
    )
)
_WORLD_6: Final = ipaddress.ip_network("2000::/3")
"""All there is of public IPv6; everything outside it is refused without a list."""
_NOWHERE_6: Final = tuple(
    map(
        ipaddress.ip_network,
        (
            "2001::/23",  # protocol assignments, Teredo among them
            "2001:db8::/32",
            "2002::/16",  # 6to4: an IPv4 address in disguise
            "3fff::/20",
        ),
    )
)
_CARRIES_IPV4: Final = tuple(map(ipaddress.ip_network, ("::ffff:0:0/96", "64:ff9b::/96")))
"""Mapped, and NAT64: judged by the IPv4 address in the last four bytes."""


def address_problem(text: str, *, allow_private: bool) -> str | None:
    """Why nothing may be sent to this address; None if it may."""
    try:
        address: _Address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return f"{text!r} is no address"
    if isinstance(address, ipaddress.IPv6Address) and any(address in network for network in _CARRIES_IPV4):
        address = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    if any(address in network for network in _INSIDE if network.version == address.version):
        return None if allow_private else f"{text} is a private address"
    if isinstance(address, ipaddress.IPv4Address):
        outside = not any(address in network for network in _NOWHERE)
    else:
        outside = address in _WORLD_6 and not any(address in network for network in _NOWHERE_6)
    return None if outside else f"{text} is no public address"


def url_parts(url: str, name: str) -> SplitResult:
    """The parts of a URL that came from somebody; its port can be read. ValueError says of `name` what is wrong."""
    if len(url) > URL_LENGTH_MAX or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"{name} has to be at most {URL_LENGTH_MAX} printable ASCII characters, without spaces")
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - reading it is the check
    except ValueError as problem:
        raise ValueError(f"{name} cannot be read") from problem
    return parts


def has_host(parts: SplitResult) -> bool:
    """Whether there is a host that could be called, and only one way to read which. Labels of a name have 1 to 63
    characters (RFC 1035): others break whoever looks it up."""
    labels = (parts.hostname or "").removesuffix(".").split(".")
    named = all(1 <= len(label) <= _LABEL_LENGTH_MAX for label in labels)
    return named and parts.port != 0 and "\\" not in parts.netloc and "%" not in parts.netloc


def url_problem(url: str, *, allow_private: bool) -> str | None:
    """Why this cannot be the URL of an endpoint; None if it can. The addresses of a name are judged at each attempt."""
    try:
        parts = url_parts(url, "the url")
    except ValueError as problem:
        return str(problem)
    if parts.scheme != "https" and not (allow_private and parts.scheme == "http"):
        return "the url has to begin with https://"
    if "@" in parts.netloc or parts.fragment:
        return "the url must have neither a user name, nor a password, nor a fragment"
    if not has_host(parts):
        return "the url has no host that could be called"
    host = parts.hostname or ""
    if ":" in host or host.replace(".", "").isdigit():
        return address_problem(host, allow_private=allow_private)
    return None
