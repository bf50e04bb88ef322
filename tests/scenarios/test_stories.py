"""Every story, on the reference stores and on the real ones."""

from pathlib import Path

import pytest

from scenarios.playing import play
from scenarios.stage import Stage

STORIES = {path.stem: path.read_text() for path in sorted((Path(__file__).parent / "stories").glob("*.scenario"))}


@pytest.mark.parametrize("name", STORIES)
async def test_story(name: str, stage: Stage) -> None:
    await play(STORIES[name], stage)
