"""Settings: every one is an environment variable `DOORBUSTER_<NAME>` and, where it makes sense, an option of a command.

Owns: names, defaults and the check of values. A wrong value stops the process with a line that names it.
Addresses left empty mean the embedded servers of the data directory.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from doorbuster.domain import push


class Settings(BaseSettings):
    """What a process is told about the world. Read once at start."""

    model_config = SettingsConfigDict(env_prefix="DOORBUSTER_", env_file=None, extra="ignore", frozen=True)

    data_dir: Path = Path(".doorbuster")
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8000
    gates: Annotated[int, Field(ge=0, le=64)] = 0
    """Gate processes of `up`; 0 means half the cores, at least one."""

    database_url: str = ""
    """postgresql://… ; empty: the embedded server of data_dir."""
    valkey_url: str = ""
    """valkey:// redis:// rediss:// unix:// … ; empty: the embedded server of data_dir."""

    buyer_secret: SecretStr = SecretStr("")
    """HS256 secret of buyer tokens, at least 32 bytes; empty: `up` makes one in data_dir."""
    buyer_jwks_url: str = ""
    """Where the shop publishes its keys; may be set beside or instead of the secret."""
    buyer_audience: str = "doorbuster"
    admin_token: SecretStr = SecretStr("")
    """Operator token; empty: `up` makes one in data_dir/admin-token."""
    dev_identities: bool = False
    """Hand out buyer tokens to anyone who asks. For trying the pages by hand; never on a public address."""

    pass_audience: Annotated[str, Field(min_length=1, max_length=200)] = "shop"  # noqa: S105
    """`aud` of the passes that an existing shop is shown: the shop's own name."""
    pass_issuer: Annotated[str, Field(min_length=1, max_length=200)] = "doorbuster"  # noqa: S105
    """`iss` of the passes."""

    payment_gateway: str = "simulated"
    gateway_url: str = ""
    """Address of the simulated gateway; `up` starts one and sets it."""

    webhooks_allow_private: bool = False
    """Webhooks may go to private addresses, and by http. For trying by hand, and for shops in the same network."""

    gateway_webhook_secrets: SecretStr = SecretStr("")
    """Secrets that sign the simulated gateway's webhooks, separated by spaces: all of them are good, so one can be
    exchanged for another; empty: `up` makes one in data_dir."""
    gateway_chaos: Literal["none", "mild", "rough", "storm"] = "none"
    """Trouble that the simulated gateway which `up` starts makes: for rehearsals, never for a shop."""
    gateway_seed: int = 0
    """The same seed makes the same trouble for the same payments."""

    stripe_secret_key: SecretStr = SecretStr("")
    """Stripe's secret or restricted key, for payment_gateway `stripe`."""
    stripe_webhook_secrets: SecretStr = SecretStr("")
    """Signing secrets of the webhook endpoint at Stripe, separated by spaces: all of them are good, so one can be
    exchanged for another."""
    stripe_api_base: str = ""
    """Another address in place of Stripe's, for a proxy; empty: Stripe's."""

    allowed_origins: str = ""
    """Origins of pages that may open live connections, separated by spaces; those of the same host always may."""
    live_sockets_max: Annotated[int, Field(ge=0, le=1_000_000)] = 20_000
    """Live connections one gate takes, about 20 KB each; beyond them buyers poll."""

    public_url: str = ""
    """Where buyers reach the gates, as in https://sale.example.com, for links in mails; `up` sets its own address."""

    cdn_base_url: str = ""
    """Where the sale's page is delivered from; the paths of a plan are fetched there before the sale. Empty: paths are
    not fetched, whole addresses are."""

    smtp_url: SecretStr = SecretStr("")
    """smtp://user:password@host:587 (STARTTLS: where offered, always for a password), smtps://… (TLS), or
    smtp+plain://… (neither); empty: mails are written to files in data_dir/mail."""
    mail_from: str = "Doorbuster <doorbuster@localhost>"
    mail_rate_per_second: Annotated[float, Field(gt=0, le=100_000)] = 50.0
    """Mails of one worker; providers state what they take."""
    push_private_key: SecretStr = SecretStr("")
    """VAPID key of web push, 32 bytes in base64url; browsers are bound to it, so it is never changed without need.
    Empty: `up` makes one in data_dir; gates and workers without one offer no web push."""
    push_subject: str = ""
    """mailto:… or https://… where a push service reaches whoever sends; empty: the address of mail_from."""
    push_services: str = push.SERVICES_DEFAULT
    """Where push messages may go, separated by spaces: a host, *.domain, or a whole scheme://host:port."""
    push_rate_per_second: Annotated[float, Field(gt=0, le=100_000)] = 200.0
    """Push messages of one worker."""
    on_call_urls: SecretStr = SecretStr("")
    """Who is paged, separated by spaces: https://… gets a JSON POST, mailto:… a mail, any other address is Apprise's
    (`doorbuster[alerts]`). Empty: pages are only logged and shown in the timeline."""

    scale: Literal["none", "command", "webhook", "kubernetes", "up"] = "none"
    """Who starts gates when a sale comes; `up` starts its own unless another is named."""
    scale_command: str = ""
    """Program and arguments; {gates} and {sale_id} are filled in. No shell."""
    scale_webhook_url: SecretStr = SecretStr("")
    scale_kubernetes_deployment: str = ""
    """namespace/name of the gates' Deployment (`doorbuster[kubernetes]`)."""
    gate_capacity: Annotated[float, Field(gt=0, le=10_000_000)] = 1_000.0
    """Requests one gate answers in a second, as `make bench` measures it on your machines."""
    scale_gates_min: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Never ask for fewer gates than this, also after the sale."""
    scale_gates_max: Annotated[int, Field(ge=1, le=10_000)] = 64
    """Never ask for more gates than this."""

    beacon_url: Annotated[str, Field(pattern=r"^(https?://.*\{round\}.*)?$")] = (
        "https://api.drand.sh/52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971/public/{round}"
    )
    """Any server that has the rounds of drand's quicknet; asked only for draws that name a round. Empty: none."""
    beacon_timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = 10.0
    """How long a draw waits for its round before it is held without; the draw says so."""

    metrics_port: Annotated[int, Field(ge=0, le=65_535)] = 0
    """A second port that serves only /metrics, without a token; 0: only operators can read /metrics."""
    traces_url: str = ""
    """OpenTelemetry collector, as in http://collector:4318 (`doorbuster[otel]`); empty: nothing is traced."""
    traces_sample: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Share of requests traced that bring no decision of their caller's."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """json, console, or auto (console on a terminal)."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"


def load_settings(**overrides: object) -> Settings:
    """Read the environment, then the given overrides (None means not given)."""
    return Settings(**{name: value for name, value in overrides.items() if value is not None})  # pyright: ignore[reportArgumentType]
