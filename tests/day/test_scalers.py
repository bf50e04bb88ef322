"""Those who start gates: a command, a webhook, a file, a cluster; what each may answer, and half a configuration."""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from doorbuster.adapters.scaling import build_scaler
from doorbuster.adapters.scaling.ways import CommandScaler, FileScaler, WebhookScaler
from doorbuster.config import load_settings
from doorbuster.engine.day_ports import StepFailed


async def test_command_is_told_the_number(tmp_path: Path) -> None:
    told = tmp_path / "told"
    script = (
        "import sys, pathlib; pathlib.Path(sys.argv[1]).write_text(' '.join(sys.argv[2:])); print('fine'); print('ok')"
    )
    scaler = CommandScaler([sys.executable, "-c", script, str(told), "--gates={gates}", "{sale_id}"])

    assert await scaler.scale(7, "$(reboot)") == {"said": "ok"}
    assert told.read_text() == "--gates=7 $(reboot)"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["/nowhere/to/be/found"], "cannot be run"),
        ([sys.executable, "-c", "print('quota'); raise SystemExit(3)"], "ended with 3: quota"),
        ([sys.executable, "-c", "import signal; signal.pause()"], "was not done"),
    ],
)
async def test_command_that_fails(command: list[str], words: str) -> None:
    with pytest.raises(StepFailed, match=words):
        await CommandScaler(command, within_s=2.0 if "pause" in command[-1] else 30.0).scale(2, "s")


@asynccontextmanager
async def server(handler: Any) -> AsyncGenerator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)  # one handler never answers
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_webhook() -> None:
    bodies: list[Any] = []

    async def hear(request: web.Request) -> web.Response:
        bodies.append(await request.json())
        return web.Response(status=202 if len(bodies) == 1 else 500)

    async with server(hear) as url:
        scaler = WebhookScaler(url)
        assert await scaler.scale(3, "s") == {"status": 202}
        with pytest.raises(StepFailed, match="answered 500"):
            await scaler.scale(3, "s")
    with pytest.raises(StepFailed, match="does not answer"):
        await scaler.scale(3, "s")
    assert bodies[0] == {"gates": 3, "sale_id": "s"}


async def test_webhook_that_never_answers() -> None:
    async def never(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with server(never) as url:
        with pytest.raises(StepFailed, match="does not answer"):
            await WebhookScaler(url, within_s=0.2).scale(1, "s")


async def test_file_of_up(tmp_path: Path) -> None:
    await FileScaler(tmp_path / "gates-wanted").scale(4, "s")
    assert (tmp_path / "gates-wanted").read_text() == "4\n"
    with pytest.raises(StepFailed, match="cannot be written"):
        await FileScaler(tmp_path / "no" / "folder").scale(4, "s")


class Cluster:
    """The two calls of Kubernetes' API that are needed."""

    def __init__(self) -> None:
        self.replicas = 2
        self.status = 200
        self.patches: list[Mapping[str, Any]] = []

    async def answer(self, request: web.Request) -> web.Response:
        assert request.path == "/apis/apps/v1/namespaces/shop/deployments/gates/scale"
        if self.status != 200:
            return web.json_response({"kind": "Status", "reason": "Forbidden"}, status=self.status, reason="Forbidden")
        if request.method == "PATCH":
            self.patches.append(json.loads(await request.text()))
            self.replicas = self.patches[-1]["spec"]["replicas"]
        body = {
            "apiVersion": "autoscaling/v1",
            "kind": "Scale",
            "metadata": {"name": "gates", "namespace": "shop"},
            "spec": {"replicas": self.replicas},
            "status": {"replicas": self.replicas},
        }
        return web.json_response(body)


def _kubeconfig(folder: Path, url: str) -> Path:
    file = folder / "kubeconfig"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    file.write_text(json.dumps(config))
    return file


async def test_kubernetes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster()
    scaler = build_scaler(load_settings(scale="kubernetes", scale_kubernetes_deployment="shop/gates"))
    assert scaler is not None
    async with server(cluster.answer) as url:
        monkeypatch.setenv("KUBECONFIG", str(_kubeconfig(tmp_path, url)))
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))
        assert await scaler.scale(6, "s") == {"replicas_before": 2}
        assert await scaler.scale(6, "s") == {"replicas_before": 6}
        cluster.status = 403
        with pytest.raises(StepFailed, match="403 Forbidden"):
            await scaler.scale(7, "s")
    assert cluster.patches == [{"spec": {"replicas": 6}}]
    with pytest.raises(StepFailed, match="does not answer"):
        await scaler.scale(7, "s")


@pytest.mark.parametrize(
    "settings",
    [
        {"scale": "command"},
        {"scale": "webhook", "scale_webhook_url": "ftp://x"},
        {"scale": "kubernetes"},
        {"scale": "kubernetes", "scale_kubernetes_deployment": "gates"},
    ],
)
def test_half_a_configuration_is_refused(settings: Mapping[str, Any]) -> None:
    with pytest.raises(ValueError, match="DOORBUSTER_SCALE"):
        build_scaler(load_settings(**settings))
