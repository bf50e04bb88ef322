"""Payment gateways: which there are, and which one a configuration means."""

from doorbuster.config import Settings
from doorbuster.engine.payment_ports import Gateway

GATEWAYS = ("simulated", "stripe")


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
        case "stripe":
            key = settings.stripe_secret_key.get_secret_value()
            if not key:
                raise GatewayNotConfiguredError(
                    "DOORBUSTER_STRIPE_SECRET_KEY is not set; Stripe's dashboard shows it, beginning with sk_"
                )
            try:
                from doorbuster.adapters.payments.stripe import StripeGateway  # noqa: PLC0415
            except ImportError as problem:
                raise GatewayNotConfiguredError(
                    "Stripe's library is not installed: `make setup-stripe`, or pip install 'doorbuster[stripe]'"
                ) from problem

            hooks = settings.stripe_webhook_secrets.get_secret_value().split()
            return StripeGateway(key, webhook_secrets=hooks, api_base=settings.stripe_api_base)
        case other:
            raise GatewayNotConfiguredError(f"DOORBUSTER_PAYMENT_GATEWAY is {other!r}; there is {', '.join(GATEWAYS)}")
