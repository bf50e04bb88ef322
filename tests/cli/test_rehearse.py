"""`doorbuster rehearse` against a server that is played: what it makes of silence, of waiting and of the end."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from doorbuster.cli import rehearse

ASKED: dict[str, Any] = {"state": "asked", "progress": {}}
RUNNING: dict[str, Any] = {"state": "running", "progress": {}}
OVER: dict[str, Any] = {
    "state": "done", "progress": {}, "verdict": "go", "checks": [], "figures": {}, "differs": [], "reasons": []
}  # fmt: skip
AWAY = (503, {"code": "unavailable", "title": "a store does not answer"})
Answer = tuple[int, dict[str, Any]]
Played = Callable[..., int]


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Iterator[Played]:
    """The command, where looks are answered by these; its exit code. The last answer is given for ever."""
    answers: list[Answer] = []
    bodies: list[Any] = []

    class Talk(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self._say(202, ASKED)

        def do_GET(self) -> None:
            self._say(*(answers.pop(0) if len(answers) > 1 else answers[0]))

        def _say(self, status: int, body: dict[str, Any]) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Talk)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(rehearse, "_LOOK_S", 0.0)
    monkeypatch.setenv("DOORBUSTER_ADMIN_TOKEN", "a token")

    def command(*looks: Answer, sent: dict[str, Any] | None = None, **wish: Any) -> int:
        answers[:] = looks
        url = f"http://127.0.0.1:{server.server_port}"
        code = rehearse.run("s", wish, stop=False, url=url, folder=None, as_json=False)
        assert bodies == [sent or {}]
        return code

    yield command
    server.shutdown()
    server.server_close()


def test_silence_in_the_middle_is_no_verdict(played: Played) -> None:
    page: Answer = (502, {})
    assert played((200, RUNNING), AWAY, page, AWAY, (200, RUNNING), (200, OVER)) == 0


def test_who_is_not_answered_any_more_does_not_wait_for_ever(
    played: Played, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        played((200, RUNNING), AWAY)
    assert left.value.code == 2
    assert "--stop ends it" in capsys.readouterr().err


@pytest.mark.parametrize(("looks", "hints"), [(20, 1), (3, 0)])
def test_that_no_worker_takes_it_is_said_once(
    played: Played, capsys: pytest.CaptureFixture[str], looks: int, hints: int
) -> None:
    assert played(*[(200, ASKED)] * looks, (200, {**OVER, "verdict": "no-go"})) == 1
    assert capsys.readouterr().err.count("is one running?") == hints


def test_what_is_not_said_is_left_to_the_plan(played: Played) -> None:
    assert played((200, OVER), multiple=None, buyers=5, sent={"buyers": 5}) == 0
