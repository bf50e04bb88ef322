"""What may stand in the URL of a server."""

import msgspec
import pytest

from doorbuster.adapters.valkey.address import Address, read_address


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://host", "begins with 'http'"),
        ("host:6379", "must begin with redis"),
        ("unix://", "names no socket file"),
        ("redis://host/x", "must be a number"),
        ("redis://host?db=-1", "must be a number"),
        ("redis://host?retries=3", "unknown setting 'retries'"),
        ("redis://host:port", "port"),
    ],
)
def test_url_that_cannot_be_used_is_explained(url: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        read_address(url)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://host", Address(host="host")),
        ("valkey://host:7000/2", Address(host="host", port=7000, database=2)),
        ("redis://:p%40ss@host", Address(host="host", password="p@ss")),
        (
            "redis://me:secret@[::1]:7000?db=4",
            Address(host="::1", port=7000, username="me", password="secret", database=4),
        ),
        ("rediss://host", Address(host="host", tls=True)),
        ("valkeys://host?ssl_cert_reqs=none", Address(host="host", tls=True, tls_verify=False)),
        ("rediss://host?ssl_ca_certs=/ca.pem", Address(host="host", tls=True, tls_ca="/ca.pem")),
        ("unix:///run/valkey.sock?db=1", Address(path="/run/valkey.sock", database=1)),
    ],
)
def test_url_is_read(url: str, address: Address) -> None:
    assert read_address(url) == address


def test_password_is_not_shown() -> None:
    address = read_address("redis://me:secret@[::1]:7000")

    assert str(address) == "redis://[::1]:7000"


def test_other_node_of_a_cluster_is_entered_alike() -> None:
    address = read_address("rediss://me:secret@seed:7000?ssl_cert_reqs=none")

    assert address.at("other", 7001) == msgspec.structs.replace(address, host="other", port=7001)
    assert address.at("", 7001).host == "seed"
