"""How live connections write places and sales: the API's shapes with a `type` in front.

Owns: nothing but the join of the two; see `line_shapes.py`.
"""

import msgspec

from doorbuster.api.line_shapes import place_view
from doorbuster.api.shapes import sale_view, stamp
from doorbuster.domain.place import Place
from doorbuster.domain.sale import Sale
from doorbuster.engine.watching import LineWatch

_encode = msgspec.json.Encoder().encode


class LiveViews:
    """One per gate."""

    def __init__(self, watch: LineWatch) -> None:
        self._watch = watch

    def place(self, place: Place, kind: str) -> bytes:
        return b'{"type":"%b",%b' % (kind.encode(), _encode(place_view(place))[1:])

    def sale(self, sale: Sale, now_ms: int) -> bytes:
        return b'{"type":"sale",%b' % _encode(sale_view(sale, now_ms, self._watch.waiting(sale)))[1:]

    def stamp(self, ms: int) -> str:
        return stamp(ms)
