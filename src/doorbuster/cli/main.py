"""`doorbuster`: the command line. Every command imports what it needs when it runs.

Owns: the names of commands and options (a contract), and exit codes: 0 done, 1 refused or a promise broken, 2 it could
not be tried.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from doorbuster.cli.day import sale_app
from doorbuster.cli.keys import keys_app
from doorbuster.cli.options import DataDir, Json, Reason, Url
from doorbuster.cli.order import order_app
from doorbuster.cli.token import token_app
from doorbuster.cli.verify import verify_app
from doorbuster.cli.webhooks import webhook_app

app = typer.Typer(
    help="A flash-sale engine: a limited quantity, a short window, thousands of buyers, sold exactly.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(sale_app, name="sale")
app.add_typer(order_app, name="order")
app.add_typer(keys_app, name="keys")
app.add_typer(token_app, name="token")
app.add_typer(verify_app, name="verify")
app.add_typer(webhook_app, name="webhook")

DataDirOption = Annotated[Path | None, typer.Option(help="Where everything is kept. Default: .doorbuster.")]


def _title(title: str) -> None:
    """What `ps` shows."""
    import setproctitle  # noqa: PLC0415

    setproctitle.setproctitle(f"doorbuster {title}")


@app.command()
def up(
    *,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 picks one. Default: 8000.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. Default: 127.0.0.1.")] = None,
    gates: Annotated[int | None, typer.Option(help="Gate processes. Default: half the cores.")] = None,
    data_dir: DataDirOption = None,
    dev_identities: Annotated[
        bool | None, typer.Option("--dev-identities", help="Hand out buyer tokens to anyone who asks.")
    ] = None,
    log_format: Annotated[str | None, typer.Option(help="json, console or auto.")] = None,
    json_logs: Annotated[bool, typer.Option("--json-logs", help="The same as --log-format json.")] = False,
) -> None:
    """Run everything on this machine: servers, gates, worker, payment gateway."""
    from doorbuster.cli.up import run  # noqa: PLC0415

    _title("up")
    raise typer.Exit(
        run(
            port=port,
            host=host,
            gates=gates,
            data_dir=data_dir,
            dev_identities=dev_identities,
            log_format="json" if json_logs else log_format,
        )
    )


@app.command()
def gate(
    port: Annotated[int | None, typer.Option(help="Port to listen on. Default: 8000.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. Default: 127.0.0.1.")] = None,
    fd: Annotated[int | None, typer.Option(help="A listening socket to inherit instead.")] = None,
    metrics_fd: Annotated[int | None, typer.Option(hidden=True, help="One that serves only /metrics.")] = None,
    told_fd: Annotated[int | None, typer.Option(hidden=True, help="Read settings from there first.")] = None,
) -> None:
    """Run one gate: answers HTTP. Needs DOORBUSTER_DATABASE_URL and DOORBUSTER_VALKEY_URL."""
    _title("gate")
    from doorbuster.bootstrap.gate import run_gate  # noqa: PLC0415
    from doorbuster.cli.settings import for_process, wait_for  # noqa: PLC0415

    if told_fd is not None:
        wait_for(told_fd)

    settings = for_process(port=port, host=host)
    _title(f"gate {settings.host}:{settings.port}")
    run_gate(settings, fd=fd, metrics_fd=metrics_fd)


@app.command()
def worker() -> None:
    """Run one worker: images, expiry, releases, audits, interrupted payments."""
    _title("worker")
    from doorbuster.bootstrap.worker import run_worker  # noqa: PLC0415
    from doorbuster.cli.settings import for_process  # noqa: PLC0415

    run_worker(for_process())


@app.command()
def gateway(
    *,
    port: Annotated[int, typer.Option(help="Port to listen on; 0 picks one.")] = 8090,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    book: Annotated[Path, typer.Option(help="File that keeps the gateway's own book.")] = Path("gateway-book"),
    seed: Annotated[int, typer.Option(help="Seed of what it does at random.")] = 0,
    chaos: Annotated[str, typer.Option(help="Trouble it makes: none, mild, rough or storm.")] = "none",
    decline: Annotated[float, typer.Option(help="Share of charges it declines, whatever the method.")] = 0.0,
    webhook_url: Annotated[
        str, typer.Option(help="Where it sends its webhooks, signed with DOORBUSTER_GATEWAY_WEBHOOK_SECRETS.")
    ] = "",
    port_file: Annotated[Path | None, typer.Option(help="Write the port there once it answers.")] = None,
) -> None:
    """Run the simulated payment gateway alone. `GET /book` lists every charge."""
    _title(f"gateway {host}:{port}")
    from doorbuster.cli.gateway import serve  # noqa: PLC0415

    serve(
        host,
        port,
        book,
        seed=seed,
        chaos=chaos,
        decline=decline,
        webhook_url=webhook_url,
        port_file=port_file,
    )


@app.command()
def migrate(
    sql: Annotated[bool, typer.Option("--sql", help="Print the statements instead of executing them.")] = False,
) -> None:
    """Bring the database of DOORBUSTER_DATABASE_URL to this version's schema."""
    from doorbuster.cli.maintenance import run_migrate  # noqa: PLC0415

    raise typer.Exit(run_migrate(sql=sql))


@app.command()
def doctor(
    data_dir: DataDirOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Look for settings that void a promise, and say what to do. Exit code 1 if there are any."""
    from doorbuster.cli.doctor import run  # noqa: PLC0415

    raise typer.Exit(run(data_dir=data_dir, as_json=as_json))


@app.command()
def demo(
    *,
    units: Annotated[int, typer.Option(help="Units on sale.")] = 1000,
    buyers: Annotated[int, typer.Option(help="Buyers in the crowd.")] = 20_000,
    mode: Annotated[str, typer.Option(help="How units are given out: race, queue or draw.")] = "race",
    abandon: Annotated[float, typer.Option(help="Share of buyers who reserve and never pay.")] = 0.2,
    decline: Annotated[float, typer.Option(help="Share of buyers whose card is declined.")] = 0.05,
    gateway_chaos: Annotated[
        str, typer.Option(help="Trouble the payment gateway makes: none, mild, rough or storm.")
    ] = "none",
    seed: Annotated[
        int | None, typer.Option(help="The same seed gives the same crowd. Default: drawn and shown.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running afterwards.")] = False,
    port: Annotated[int, typer.Option(help="Port to listen on; 0 picks one.")] = 0,
    data_dir: Annotated[Path | None, typer.Option(help="Where to keep the data. Default: a temporary place.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document at the end, no live view.")] = False,
) -> None:
    """Watch a sale from start to sold out, against a simulated crowd over real HTTP. Exit code 0 only if exact."""
    from doorbuster.cli.demo import run  # noqa: PLC0415

    _title("demo")
    raise typer.Exit(
        run(
            units=units,
            buyers=buyers,
            mode=mode,
            abandon=abandon,
            decline=decline,
            gateway_chaos=gateway_chaos,
            seed=seed,
            keep=keep,
            port=port,
            data_dir=data_dir,
            as_json=as_json,
        )
    )


@app.command()
def rehearse(
    *,
    sale: Annotated[str, typer.Argument(help="The sale's id.")],
    multiple: Annotated[
        float | None,
        typer.Option(min=0.1, max=10, help="The crowd, in crowds that are expected. Default: the plan's."),
    ] = None,
    crowd: Annotated[int, typer.Option(min=0, max=100_000, help="So many buyers instead.")] = 0,
    seconds: Annotated[int, typer.Option(min=5, max=120, help="In which they come; fewer make it steeper.")] = 60,
    force: Annotated[bool, typer.Option("--force", help="Also while a real sale is on.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the one that is under way.")] = False,
    reason: Reason = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Rehearse a sale: a shadow of it, a crowd with bots, a verdict. Exit code 0 only if it is a go."""
    from doorbuster.cli.rehearse import run  # noqa: PLC0415

    wish = {"multiple": multiple, "buyers": crowd, "seconds": seconds, "force": force, "reason": reason}
    raise typer.Exit(run(sale, wish, stop=stop, url=url, folder=data_dir, as_json=as_json))


@app.command("gates")
def list_gates(url: Url = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """The gates that were heard of in the last ten seconds. Exit code 1 if none is ready."""
    from doorbuster.cli.day import show_gates  # noqa: PLC0415

    if not show_gates(url, data_dir, as_json=as_json):
        raise typer.Exit(1)


@app.command()
def version() -> None:
    """Print the version."""
    from doorbuster import __version__  # noqa: PLC0415

    print(__version__)


def main() -> None:
    """The entry point."""
    try:
        app()
    except BrokenPipeError:
        sys.exit(1)
