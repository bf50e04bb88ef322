"""Scaling by a command, by a webhook, and by `up` itself.

Owns: what each is told and how long it may take. All are told the number of gates wanted in all.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import aiohttp

from doorbuster.engine.day_ports import Detail, StepFailed

_COMMAND_S: Final = 60.0
_WEBHOOK_S: Final = 15.0
_SAID_MAX: Final = 200


class CommandScaler:
    """Runs a program with {gates} and {sale_id} filled in. No shell: nothing in an id is ever a command."""

    how = "command"

    def __init__(self, command: Sequence[str], *, within_s: float = _COMMAND_S) -> None:
        self._command = command
        self._within_s = within_s

    async def scale(self, gates: int, sale_id: str) -> Detail:
        arguments = [part.replace("{gates}", str(gates)).replace("{sale_id}", sale_id) for part in self._command]
        try:
            process = await asyncio.create_subprocess_exec(
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as problem:
            raise StepFailed(f"{arguments[0]} cannot be run: {problem.strerror}") from problem
        try:
            output, _ = await asyncio.wait_for(process.communicate(), self._within_s)
        except TimeoutError:
            raise StepFailed(f"{arguments[0]} was not done after {self._within_s:g} seconds and was ended") from None
        finally:
            if process.returncode is None:  # also when this step is stopped
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        lines = output.decode(errors="replace").strip().splitlines()
        said = lines[-1][:_SAID_MAX] if lines else ""
        if process.returncode:
            raise StepFailed(f"{arguments[0]} ended with {process.returncode}: {said}")
        return {"said": said}


class WebhookScaler:
    """Posts `{"gates": 12, "sale_id": "…"}`; anything but a 2xx is a refusal."""

    how = "webhook"

    def __init__(self, url: str, *, within_s: float = _WEBHOOK_S) -> None:
        self._url = url
        self._timeout = aiohttp.ClientTimeout(total=within_s)

    async def scale(self, gates: int, sale_id: str) -> Detail:
        body = {"gates": gates, "sale_id": sale_id}
        try:
            async with (
                aiohttp.ClientSession(timeout=self._timeout) as session,
                session.post(self._url, json=body, allow_redirects=False) as answer,
            ):
                status = answer.status
        except (aiohttp.ClientError, OSError) as problem:  # a time-out is an OSError
            raise StepFailed(f"the webhook does not answer: {type(problem).__name__}") from problem
        if not 200 <= status < 300:
            raise StepFailed(f"the webhook answered {status}")
        return {"status": status}


class FileScaler:
    """Tells `up`, which looks at this file."""

    how = "up"

    def __init__(self, file: Path) -> None:
        self._file = file

    async def scale(self, gates: int, sale_id: str) -> Detail:
        del sale_id
        try:
            draft = self._file.with_suffix(".new")
            draft.write_text(f"{gates}\n")
            draft.replace(self._file)
        except OSError as problem:
            raise StepFailed(f"{self._file} cannot be written: {problem.strerror}") from problem
        return {}
