"""Seals a message so that only one browser can read it: RFC 8291, in one record of RFC 8188 (aes128gcm).

Owns: the derivation of keys and the header. The library that others use for it brings a part without a wheel; this is
two key derivations around `cryptography`, held to the RFC's own example in the tests.
"""

import hashlib
import hmac
import struct
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PAYLOAD_BYTES_MAX: Final = 3_993
"""What every push service has to take, less what sealing adds (RFC 8291 section 4)."""
_RECORD_BYTES: Final = 4_096
_LAST_RECORD: Final = b"\x02"


def seal(payload: bytes, *, to: bytes, auth: bytes, key: ec.EllipticCurvePrivateKey, salt: bytes) -> bytes:
    """`to` is the browser's public point, `auth` its secret. `key` and the 16 bytes of `salt` are for this message
    alone. ValueError if the payload is too long or the point is none of P-256."""
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise ValueError(f"a push message has at most {PAYLOAD_BYTES_MAX} bytes, not {len(payload)}")
    shared = key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), to))
    sender = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    secret = _derive(auth, shared, b"WebPush: info\x00" + to + sender, 32)
    content_key = _derive(salt, secret, b"Content-Encoding: aes128gcm\x00", 16)
    nonce = _derive(salt, secret, b"Content-Encoding: nonce\x00", 12)
    header = salt + struct.pack("!LB", _RECORD_BYTES, len(sender)) + sender
    return header + AESGCM(content_key).encrypt(nonce, payload + _LAST_RECORD, None)


def _derive(salt: bytes, secret: bytes, info: bytes, length: int) -> bytes:
    """HKDF with SHA-256 (RFC 5869); one block is enough for all that is derived here."""
    extracted = hmac.digest(salt, secret, hashlib.sha256)
    return hmac.digest(extracted, info + b"\x01", hashlib.sha256)[:length]
