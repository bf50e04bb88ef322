"""Says to a push service who sends: RFC 8292.

Owns: the key pair and the tokens signed with it. A token is good for half a day and for one service, so one is signed
for thousands of messages.
"""

from typing import Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from doorbuster.domain.push import decoded, encoded

_LIFE_S: Final = 12 * 3_600
"""Services take up to 24 h; half of it leaves room for clocks that differ."""
_RENEW_S: Final = 3_600
_KEY_BYTES: Final = 32


class Vapid:
    """`private_key` is 32 bytes in base64url, as other tools for VAPID write it. ValueError if it is none."""

    def __init__(self, private_key: str, subject: str) -> None:
        number = decoded(private_key.strip()) or b""
        if len(number) != _KEY_BYTES:
            raise ValueError(
                "DOORBUSTER_PUSH_PRIVATE_KEY is not 32 bytes in base64url; `doorbuster keys push` makes one"
            )
        if not subject.startswith(("mailto:", "https://")):
            raise ValueError("DOORBUSTER_PUSH_SUBJECT has to begin with mailto: or https://")
        self._key = ec.derive_private_key(int.from_bytes(number, "big"), ec.SECP256R1())
        self.subject = subject
        self._tokens: dict[str, tuple[str, int]] = {}
        self.public_key = encoded(self._key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))
        """What browsers subscribe with."""

    def authorization(self, origin: str, now_s: int) -> str:
        """The header's value for a push service."""
        token, good_until = self._tokens.get(origin, ("", 0))
        if good_until - now_s < _RENEW_S:
            good_until = now_s + _LIFE_S
            token = jwt.encode({"aud": origin, "exp": good_until, "sub": self.subject}, self._key, algorithm="ES256")
            self._tokens[origin] = (token, good_until)
        return f"vapid t={token}, k={self.public_key}"
