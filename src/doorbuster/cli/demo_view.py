"""The live view of the demo and its summary.

Owns: how it looks. On a terminal it moves; elsewhere it says one line a second.
"""

import time
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from doorbuster.api.shapes import SaleView
from doorbuster.cli.demo_line import summary_of
from doorbuster.cli.demo_proof import Proof, euros
from doorbuster.rehearsal.crowd import Progress, Result

if TYPE_CHECKING:
    from doorbuster.cli.demo import DemoOptions

_BAR = 60
_LINE_EVERY_S = 1.0
_SUCCESSES = ("reserved", "done", "under way")


class DemoView:
    """A context manager; `show` is called a few times a second."""

    def __init__(self, console: Console, options: "DemoOptions", opens_in_s: float, *, live: bool) -> None:
        self._console = console
        self._options = options
        self._opens_at = time.monotonic() + opens_in_s
        self._moving = live and console.is_terminal
        self._lines = live and not self._moving
        self._live: Live | None = None
        self._said_at = 0.0
        self._requests = (time.monotonic(), 0)
        self._rate = 0.0
        self.timeline: dict[str, float] = {}

    def __enter__(self) -> Self:
        if self._moving:
            self._live = Live(console=self._console, refresh_per_second=8)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, sale: SaleView, progress: Progress | None) -> None:
        now = time.monotonic()
        self._note(sale, now)
        self._measure(progress, now)
        if self._live is not None:
            self._live.update(self._panel(sale, progress, now))
        elif self._lines and now - self._said_at >= _LINE_EVERY_S:
            self._said_at = now
            self._console.print(self._line(sale, progress, now), highlight=False, soft_wrap=True)

    def _note(self, sale: SaleView, now: float) -> None:
        """Moments of the sale, in seconds from its start."""
        shown, since = sale.availability, now - self._opens_at
        if shown.free == 0 and "all taken" not in self.timeline:
            self.timeline["all taken"] = since
        if shown.sold == self._options.units and "all paid" not in self.timeline:
            self.timeline["all paid"] = since

    def _measure(self, progress: Progress | None, now: float) -> None:
        if progress is None:
            return
        then, requests = self._requests
        if now - then >= 0.5:
            self._rate = (progress.requests - requests) / (now - then)
            self._requests = (now, progress.requests)

    def _phase(self, sale: SaleView, now: float) -> str:
        shown = sale.availability
        if now < self._opens_at:
            return f"opens in {self._opens_at - now:.1f} s"
        if shown.sold == self._options.units:
            return "sold out: every unit is paid for"
        if shown.free == 0:
            return "all held: what is not paid comes back"
        if sale.mode != "race" and sale.line_length:
            return "granting to the head of the line"
        return "selling"

    def _line(self, sale: SaleView, progress: Progress | None, now: float) -> str:
        shown = sale.availability
        numbers = f"sold {shown.sold:>6,}  held {shown.held:>6,}  free {shown.free:>6,}"
        if sale.mode != "race":
            numbers += f"  waiting {sale.line_length:>6,}"
            if progress is not None and progress.line is not None:
                numbers += f"  granted {progress.line.granted:>6,}"
        if progress is None:
            return f"{numbers}  {self._phase(sale, now)}"
        return (
            f"{numbers}  {self._rate:>7,.0f} req/s  p50 {progress.p50_ms:>6,.1f} ms  p99 {progress.p99_ms:>7,.1f} ms  "
            f"{self._phase(sale, now)}"
        )

    def _panel(self, sale: SaleView, progress: Progress | None, now: float) -> Panel:
        shown, units = sale.availability, self._options.units
        table = Table.grid(padding=(0, 3))
        table.add_row(
            Text(f"sold {shown.sold:,}", "bold green"), Text(f"held {shown.held:,}", "bold yellow"),
            Text(f"free {shown.free:,}", "bold"),
        )  # fmt: skip
        parts: list[Text | Table] = [_bar(shown.sold, shown.held, units), Text(), table]
        if sale.mode != "race":
            parts += [Text(), _standing(sale, progress, units)]
        if progress is not None:
            parts += [Text(), _traffic(progress, self._rate, self._options.buyers)]
        title = (
            f"{sale.title}, {sale.mode}: {units:,} units, {self._options.buyers:,} buyers, seed {self._options.seed}"
        )
        return Panel(Group(*parts), title=title, subtitle=self._phase(sale, now), padding=(1, 2))


def _bar(sold: int, held: int, units: int) -> Text:
    green = round(_BAR * sold / units)
    yellow = round(_BAR * (sold + held) / units) - green
    bar = Text()
    bar.append("█" * green, "green")
    bar.append("▓" * yellow, "yellow")
    bar.append("░" * (_BAR - green - yellow), "bright_black")
    return bar


def _standing(sale: SaleView, progress: Progress | None, units: int) -> Table:
    """The line. The crowd knows what it was told; how many wait is the servers' own count."""
    table = Table.grid(padding=(0, 3))
    table.add_row("waiting", f"{sale.line_length:,} in line")
    line = None if progress is None else progress.line
    if line is not None:
        again = max(0, line.granted - units)
        table.add_row("granted", f"{line.granted:,} offers, {again:,} of them of units that came back")
        table.add_row("told", f"{line.told_over:,} that it is over; {line.left:,} left before")
    return table


def _traffic(progress: Progress, rate: float, buyers: int) -> Table:
    table = Table.grid(padding=(0, 3))
    table.add_row("buyers", f"{progress.arrived:,} of {buyers:,} have come, {progress.gone:,} have gone")
    table.add_row("requests", f"{progress.requests:,}, now {rate:,.0f} per second")
    table.add_row("latency", f"p50 {progress.p50_ms:,.1f} ms, p99 {progress.p99_ms:,.1f} ms, from the intended moment")
    table.add_row("accepted", f"{progress.orders:,} orders, {progress.paid:,} paid")
    table.add_row("refused", _refusals(progress))
    return table


def _refusals(progress: Progress) -> str:
    refused = sorted(
        ((count, code) for code, count in progress.answers.items() if code not in _SUCCESSES), reverse=True
    )
    if progress.unknown:
        refused.append((progress.unknown, "no answer"))
    return ", ".join(f"{code} {count:,}" for count, code in refused) or "nobody yet"


def print_summary(
    console: Console, options: "DemoOptions", result: Result, proof: Proof, timeline: dict[str, float]
) -> None:
    """What happened and whether it was right, for somebody who sees this for the first time."""
    console.print()
    console.print(
        f"[bold]{options.units:,} units, {options.buyers:,} buyers[/bold]: {result.requests:,} requests, "
        f"p50 {result.p50_ms:,.1f} ms, p99 {result.p99_ms:,.1f} ms, longest {result.max_ms:,.0f} ms"
    )
    if "all taken" in timeline:
        paid = f", all paid after {timeline['all paid']:.1f} s" if "all paid" in timeline else ""
        console.print(f"All units were taken {timeline['all taken']:.1f} s after the start{paid}.")
    orders = proof.counted.orders
    console.print(
        f"Of {sum(orders.values()):,} orders {orders.get('PAID', 0):,} were paid, {orders.get('EXPIRED', 0):,} ran out "
        f"and {orders.get('CANCELLED', 0):,} were given back; each unit that came back was sold again."
    )
    if proof.line is not None and result.seen is not None:
        for sentence in summary_of(proof.line, result.seen):
            console.print(sentence, highlight=False)
    console.print(f"Refused: {_refusals(result)}.")
    console.print(
        f"Captured: {euros(proof.captured_cents)}, refunded: {euros(proof.refunded_cents)}, "
        f"by the gateway's own book.\n"
    )
    for check in proof.checks:
        mark = "[bold green]✓[/bold green]" if check.held else "[bold red]✗[/bold red]"
        console.print(f"  {mark} {check.claim:<30} {check.figures}", highlight=False)
    mode = "" if options.mode == "race" else f" --mode {options.mode}"
    verdict = "[bold green]EXACT[/bold green]" if proof.held else "[bold red]NOT EXACT[/bold red]"
    console.print(f"\n{verdict}  (the same crowd again: doorbuster demo{mode} --seed {options.seed})")
