"""Reads the list of accounts that may not take part: JSON, or CSV as a shop's own tools export it.

Owns: which column is meant, and what the name of an account looks like. A list that is not wholly understood is
refused as a whole, and the refusal names the row: an account that was skipped would buy.
Read next: `reading.py`, `engine/operating.py`.
"""

import asyncio
import csv
from collections.abc import Iterator
from itertools import islice
from typing import Final

from doorbuster.api.acting import reason_of
from doorbuster.api.http import Request
from doorbuster.api.reading import body_of, checked_user, invalid, query_of
from doorbuster.api.shapes import BlocklistBody
from doorbuster.domain import limits

_COLUMN: Final = "user_id"


async def list_of(request: Request) -> tuple[list[str], str]:
    """The accounts, in the order given, and the reason. Read in parts: buyers are answered between them."""
    query = query_of(request, "reason")
    if (request.header(b"content-type") or b"").lower().startswith(b"text/csv"):
        if request.body_too_large:
            raise invalid("the list is larger than this route takes")
        parts, reason = _parts_of_csv(request.body), reason_of(query)
    elif query:
        raise invalid("the reason of a list in JSON stands in its body")
    else:
        body = body_of(request, BlocklistBody)
        parts, reason = _parts_of(body.user_ids), body.reason
    users: list[str] = []
    for part in parts:
        users += part
        await asyncio.sleep(0)
    return users, reason


def _parts_of(users: list[str]) -> Iterator[list[str]]:
    for at in range(0, len(users), limits.BLOCKLIST_CHUNK):
        yield _checked(users[at : at + limits.BLOCKLIST_CHUNK], "user_ids[{}]", at)


def _parts_of_csv(body: bytes) -> Iterator[list[str]]:
    """The column `user_id`; without that heading the only column there is."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise invalid("the list is not UTF-8") from problem
    lines = text.splitlines(keepends=True)
    if '"' not in text and "," not in text:  # a name a line: a million of them in a quarter of the time
        named = bool(lines) and lines[0].strip() == _COLUMN
        for at in range(int(named), len(lines), limits.BLOCKLIST_CHUNK):
            part = [line.strip() for line in lines[at : at + limits.BLOCKLIST_CHUNK]]
            yield [user for user in _checked(part, "row {}", at + 1) if user]
        return
    rows = csv.reader(lines, strict=True)
    try:
        heading = [field.strip() for field in next(rows, list[str]())]
        if _COLUMN in heading:
            found = _column(rows, heading.index(_COLUMN))
        elif any(heading[1:]):
            raise invalid(f"row 1 has several columns, and none is called {_COLUMN}")
        else:
            found = _only_column(heading, rows)
        while part := list(islice(found, limits.BLOCKLIST_CHUNK)):
            yield [checked_user(user, f"row {number}") for number, user in part]
    except csv.Error as problem:
        raise invalid(f"the list is not CSV: row {rows.line_num}: {problem}") from problem


def _column(rows: Iterator[list[str]], column: int) -> Iterator[tuple[int, str]]:
    for number, row in enumerate(rows, start=2):
        user = row[column].strip() if column < len(row) else ""
        if user:
            yield number, user
        elif any(field.strip() for field in row):
            raise invalid(f"row {number} has no {_COLUMN}")


def _only_column(heading: list[str], rows: Iterator[list[str]]) -> Iterator[tuple[int, str]]:
    if heading and heading[0]:
        yield 1, heading[0]
    for number, row in enumerate(rows, start=2):
        if any(field.strip() for field in row[1:]):
            raise invalid(f"row {number} has several columns; give the first row the heading {_COLUMN}")
        if row and row[0].strip():
            yield number, row[0].strip()


def _checked(users: list[str], where: str, at: int) -> list[str]:
    """As they are, if all are names; looked at together, and one by one only to say which is not."""
    if users and (len(max(users, key=len)) > limits.USER_ID_LENGTH_MAX or not "".join(users).isprintable()):
        for number, user in enumerate(users, start=at):
            checked_user(user, where.format(number))
    return users
