"""Who starts gates: implementations of `engine.scaling.Scaler`.

Owns: which one is configured. Read next: `ways.py`, `kubernetes.py`.
"""

import shlex

from doorbuster.adapters.scaling.ways import CommandScaler, FileScaler, WebhookScaler
from doorbuster.config import Settings
from doorbuster.engine.scaling import Scaler


def build_scaler(settings: Settings) -> Scaler | None:
    """The one that DOORBUSTER_SCALE names; None for `none`. ValueError if it is not fully configured."""
    match settings.scale:
        case "command":
            if not settings.scale_command:
                raise ValueError("DOORBUSTER_SCALE is `command`; set DOORBUSTER_SCALE_COMMAND")
            return CommandScaler(shlex.split(settings.scale_command))
        case "webhook":
            url = settings.scale_webhook_url.get_secret_value()
            if not url.startswith(("http://", "https://")):
                raise ValueError("DOORBUSTER_SCALE is `webhook`; set DOORBUSTER_SCALE_WEBHOOK_URL to an address")
            return WebhookScaler(url)
        case "kubernetes":
            from doorbuster.adapters.scaling.kubernetes import KubernetesScaler  # noqa: PLC0415 - an extra

            return KubernetesScaler(settings.scale_kubernetes_deployment)
        case "up":
            return FileScaler(settings.data_dir / "gates-wanted")
        case "none":
            return None
