"""Talks to a running Doorbuster as its operator.

Owns: where it is and who we are (environment, else the data directory of `up`), and what an exit code means:
0 done, 1 refused, 2 could not be asked.
"""

import getpass
import json
import os
import sys
from pathlib import Path
from typing import Any, Final, NoReturn

_PATIENCE_S: Final = 60.0
"""Rebuilding the image of a sale with a million orders takes a quarter of this."""
_DATA_DIR: Final = ".doorbuster"
_NAME_LENGTH_MAX: Final = 64
"""That of `X-Operator`."""
_NOT_NOW: Final = frozenset({429, 500, 502, 503, 504})
REFUSED: Final = 1
NOT_ASKED: Final = 2
Body = dict[str, Any]


def fail(message: str, code: int = NOT_ASKED) -> NoReturn:
    """One line for a person, and the exit code."""
    print(f"doorbuster: {message}", file=sys.stderr)
    sys.exit(code)


def data_dir(given: Path | None) -> Path:
    return given or Path(os.environ.get("DOORBUSTER_DATA_DIR") or _DATA_DIR)


def secret_from(name: str, file: Path) -> str:
    """The secret in this variable, else in this file; ends the command if there is none."""
    found = os.environ.get(name, "")
    if found:
        return found
    try:
        return file.read_text().strip()
    except OSError as problem:
        fail(f"no secret in {name}, and {file} cannot be read ({problem.strerror}); set one, or give --data-dir")


def address(given: str | None, folder: Path) -> str:
    """Where a gate answers; ends the command if nobody told us."""
    found = given or os.environ.get("DOORBUSTER_URL", "")
    if not found:
        try:
            found = (folder / "address").read_text().strip()
        except OSError:
            fail(f"no doorbuster is running on {folder.absolute()}; start one, or give --url or DOORBUSTER_URL")
    if not found.startswith(("http://", "https://")):
        fail(f"{found!r} is not an address; write it as http://127.0.0.1:8000")
    return found.rstrip("/")


def _who() -> str:
    """The name that is kept with what we do. A container may have an account without one."""
    name = os.environ.get("DOORBUSTER_OPERATOR")
    if name is None:
        try:
            name = getpass.getuser()
        except (KeyError, OSError):
            return ""
    return "".join(letter for letter in name if letter.isascii() and letter.isprintable())[:_NAME_LENGTH_MAX].strip()


class _NoAnswer(Exception):
    """Nobody there, or nobody who speaks HTTP."""


class Operator:
    """The operator's calls. A refusal is said and ends the command with 1, silence with 2."""

    def __init__(self, url: str | None, folder: Path | None, *, as_json: bool) -> None:
        place = data_dir(folder)
        self._url = address(url, place)
        self._token = secret_from("DOORBUSTER_ADMIN_TOKEN", place / "admin-token")
        self._as_json = as_json

    def ask(self, method: str, path: str, body: Body | None = None) -> Body:
        """The answer's JSON."""
        content = None if body is None else json.dumps(body).encode()
        return self._ask(method, path, content, "application/json")

    def send_file(self, method: str, path: str, file: Path, media: str) -> Body:
        """As `ask`, with a file as the body."""
        try:
            content = file.read_bytes()
        except OSError as problem:
            fail(f"{file} cannot be read: {problem.strerror}")
        return self._ask(method, path, content, media)

    def _ask(self, method: str, path: str, content: bytes | None, media: str) -> Body:
        try:
            status, text = self._call(method, path, content, media)
        except _NoAnswer as problem:
            fail(f"{self._url} does not answer: {problem}")
        return self._read(status, text)

    def look(self, path: str) -> Body | None:
        """As `ask` with GET; None if nobody can say just now, for who waits for something and will look again."""
        try:
            status, text = self._call("GET", path)
        except _NoAnswer:
            return None
        return None if status in _NOT_NOW else self._read(status, text)

    def _read(self, status: int, text: str) -> Body:
        try:
            answer: Body = json.loads(text or "{}")
        except ValueError:
            fail(f"{self._url} answered {status} and no JSON; is this a doorbuster?")
        if status >= 400:
            self._refused(status, answer)
        return answer

    def _call(self, method: str, path: str, content: bytes | None = None, media: str = "") -> tuple[int, str]:
        """By the standard library: half of a command's time went into importing a better client."""
        from http.client import HTTPException  # noqa: PLC0415
        from urllib.error import HTTPError, URLError  # noqa: PLC0415
        from urllib.request import (  # noqa: PLC0415
            HTTPDefaultErrorHandler,
            HTTPErrorProcessor,
            HTTPHandler,
            HTTPSHandler,
            OpenerDirector,
            Request,
        )

        opener = OpenerDirector()  # follows nobody: the token is for whom it was given to
        for handler in (HTTPHandler, HTTPSHandler, HTTPErrorProcessor, HTTPDefaultErrorHandler):
            opener.add_handler(handler())
        who = _who()
        headers = {"Authorization": f"Bearer {self._token}", **({"X-Operator": who} if who else {})}
        if content is not None:
            headers["Content-Type"] = media
        try:
            request = Request(f"{self._url}/v1/admin{path}", content, headers, method=method)  # noqa: S310 - HTTP alone
            with opener.open(request, timeout=_PATIENCE_S) as answer:
                return answer.status, answer.read().decode(errors="replace")
        except HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode(errors="replace")
        except URLError as problem:
            raise _NoAnswer(str(problem.reason)) from problem
        except (HTTPException, OSError, ValueError) as problem:
            raise _NoAnswer(str(problem) or type(problem).__name__) from problem

    def _refused(self, status: int, problem: Body) -> NoReturn:
        if self._as_json:
            print(json.dumps(problem, indent=2))
            sys.exit(REFUSED)
        said = [str(problem.get(part)) for part in ("title", "detail", "advice") if problem.get(part)]
        fail(f"refused ({problem.get('code', status)}): {'; '.join(said)}", REFUSED)
