"""Payment gateways: which there are, and which one a configuration means."""

from doorbuster.config import Settings
from doorbuster.engine.payment_ports import Gateway

GATEWAYS = ("simulated",)


class GatewayNotConfiguredError(ValueError):
    """The settings name a gateway that does not exist or lacks what it needs; the message says what to set."""


def build_gateway(settings: Settings) -> Gateway:
    """The gateway the settings mean. Libraries of the others are not loaded."""
    match settings.payment_gateway:
        case "simulated":
            if not settings.gateway_url:
                raise GatewayNotConfiguredError(
                    "DOORBUSTER_GATEWAY_URL is not set; `doorbuster gateway` starts a simulated gateway and says where"
                )
            from doorbuster.adapters.payments.simulated import SimulatedGateway  # noqa: PLC0415

            secrets = settings.gateway_webhook_secrets.get_secret_value().split()
            return SimulatedGateway(settings.gateway_url, secrets=secrets)
        case other:
            raise GatewayNotConfiguredError(f"DOORBUSTER_PAYMENT_GATEWAY is {other!r}; there is {', '.join(GATEWAYS)}")
