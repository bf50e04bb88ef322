"""What the README tells a newcomer to type does what it says there."""

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
ADDRESS = "http://127.0.0.1:8000"


@pytest.fixture
def up_address(tmp_path: Path) -> Iterator[str]:
    """`doorbuster up --dev-identities` in a folder of its own, on a port of its own."""
    command = [sys.executable, "-m", "doorbuster", "up", "--dev-identities", "--port", "0"]
    tmp_path.chmod(0o755)
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as up:
        assert up.stdout is not None
        line = up.stdout.readline()
        assert line.startswith("Doorbuster is up at "), line
        yield line.split()[-1]
        up.send_signal(signal.SIGINT)
        up.communicate(timeout=30)
    assert up.returncode == 0


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_five_lines_of_curl_sell_a_unit(up_address: str, tmp_path: Path) -> None:
    lines = next(block for block in BLOCKS if ADDRESS in block)

    done = subprocess.run(
        ["sh", "-e", "-c", lines.replace(ADDRESS, up_address)],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip

    assert '"verdict":"in_step"' in done.stdout
    assert '"free":2,"held":0,"sold":1' in done.stdout


def test_commands_of_the_first_screen_are_targets_of_make() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (Path(__file__).parents[2] / "Makefile").read_text(), re.MULTILINE))

    named = set(re.findall(r"^make ([a-z-]+)", BLOCKS[0], re.MULTILINE))

    assert named == {"demo", "test"}
    assert named <= targets
