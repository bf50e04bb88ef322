"""Settings of a command, and the one line said when they are wrong."""

import json
import os
import sys

from pydantic import ValidationError

from doorbuster.adapters.notify import build_mailer, build_vapid
from doorbuster.config import Settings, load_settings
from doorbuster.tracing import exporter_of


def read(**overrides: object) -> Settings:
    """Environment and options. Exits with code 2 and one line per wrong value."""
    try:
        return load_settings(**overrides)
    except ValidationError as error:
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"]).upper()
            print(f"doorbuster: DOORBUSTER_{name}: {problem['msg']}", file=sys.stderr)
        sys.exit(2)


def for_process(**overrides: object) -> Settings:
    """Settings of a gate or worker, which start no servers of their own."""
    settings = read(**overrides)
    for name in ("database_url", "valkey_url"):
        if not getattr(settings, name):
            print(
                f"doorbuster: DOORBUSTER_{name.upper()} is not set; give the address of a server, "
                "or let `doorbuster up` start everything",
                file=sys.stderr,
            )
            sys.exit(2)
    return whole(settings)


def whole(settings: Settings) -> Settings:
    """The same, if what only its adapter can judge is right as well. Exits with code 2 and one line."""
    try:
        build_mailer(settings)
        build_vapid(settings)
        exporter_of(settings)
    except ValueError as problem:
        print(f"doorbuster: {problem}", file=sys.stderr)
        sys.exit(2)
    return settings


def wait_for(fd: int) -> None:
    """Wait until the supervisor has said the rest of the environment; the end if it never does."""
    with os.fdopen(fd, "rb") as told:
        text = told.read()
    if not text:
        sys.exit(0)
    os.environ.update(json.loads(text))
