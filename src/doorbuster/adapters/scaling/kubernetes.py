"""Scaling a Deployment of Kubernetes, by the official client (`doorbuster[kubernetes]`).

Owns: two calls: read and patch the scale of one Deployment, and nothing else, so the role it needs is small. The client
blocks, so it runs in a thread.
"""

import asyncio
from typing import Any, Final

from doorbuster.engine.day_ports import Detail, StepFailed

_TIMEOUT_S: Final = 10


class KubernetesScaler:
    """`deployment` is namespace/name. ValueError without the library, or if it is none."""

    how = "kubernetes"

    def __init__(self, deployment: str) -> None:
        try:
            import kubernetes  # noqa: PLC0415 - an extra
        except ImportError as problem:
            raise ValueError("DOORBUSTER_SCALE is `kubernetes`; install doorbuster[kubernetes]") from problem
        self._library: Any = kubernetes
        self._namespace, _, self._name = deployment.partition("/")
        if not self._namespace or not self._name or "/" in self._name:
            raise ValueError("DOORBUSTER_SCALE_KUBERNETES_DEPLOYMENT has to be namespace/name")

    async def scale(self, gates: int, sale_id: str) -> Detail:
        del sale_id
        return await asyncio.to_thread(self._scale, gates)

    def _scale(self, gates: int) -> Detail:
        library, place = self._library, {"name": self._name, "namespace": self._namespace}
        try:
            self._load()
            calls = library.client.AppsV1Api()
            before = calls.read_namespaced_deployment_scale(**place, _request_timeout=_TIMEOUT_S)
            had = before.spec.replicas or 0
            if had != gates:
                body = {"spec": {"replicas": gates}}
                calls.patch_namespaced_deployment_scale(**place, body=body, _request_timeout=_TIMEOUT_S)
        except library.config.ConfigException as problem:
            raise StepFailed(f"no cluster is configured: {problem}") from problem
        except library.client.ApiException as problem:
            raise StepFailed(f"Kubernetes answered {problem.status} {problem.reason}") from problem
        except Exception as problem:
            # urllib3's errors, and whatever else a cluster may answer with.
            raise StepFailed(f"Kubernetes does not answer: {type(problem).__name__}") from problem
        return {"replicas_before": had}

    def _load(self) -> None:
        """The service account of the pod we run in, else the kubeconfig."""
        config = self._library.config
        try:
            config.load_incluster_config()
        except config.ConfigException:
            config.load_kube_config()
