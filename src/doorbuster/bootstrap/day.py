"""A sale's day, put together: which step is done by what, and the agents that do it.

Owns: the parts of a worker that only the day needs. Read next: `engine/running.py`.
"""

from collections.abc import Callable, Mapping, Sequence

import structlog

from doorbuster import tracing
from doorbuster.adapters.fetching import HttpFetcher
from doorbuster.adapters.notify import build_mailer, build_vapid
from doorbuster.adapters.notify.delivery import ByMail, ByPush
from doorbuster.adapters.notify.letters import Letters
from doorbuster.adapters.notify.push import WebPusher
from doorbuster.adapters.paging import OnCallPager
from doorbuster.adapters.postgres.fleet import PostgresPages
from doorbuster.adapters.scaling import build_scaler
from doorbuster.agents.loop import Agent
from doorbuster.agents.monitor import MonitorAgent
from doorbuster.agents.notifier import NotifierAgent
from doorbuster.agents.pager import PagerAgent
from doorbuster.agents.rehearser import RehearserAgent
from doorbuster.agents.timeline import TimelineAgent
from doorbuster.api.report_shapes import composed
from doorbuster.bootstrap.world import World
from doorbuster.domain.notices import Channel
from doorbuster.domain.timeline import StepName
from doorbuster.engine.day_ports import Asked, Detail, Step
from doorbuster.engine.day_steps import End, FinalAudit, Settle, Start, WarmUp
from doorbuster.engine.monitoring import Monitoring
from doorbuster.engine.notifying import Deliver, NoticeSender
from doorbuster.engine.paging import OnCall
from doorbuster.engine.prewarming import Prewarming
from doorbuster.engine.rehearsal_step import RehearsalStep
from doorbuster.engine.rehearsing import Rehearser
from doorbuster.engine.running import DayRunner
from doorbuster.engine.scaling import Scaling
from doorbuster.engine.wrapping_up import WrapUp
from doorbuster.rehearsal.process import CrowdProcess

log = structlog.get_logger(__name__)


class Day:
    """`stop` gives up what is under way; another worker goes on with it."""

    def __init__(self, world: World, wake: Callable[[str], None]) -> None:
        settings = world.settings
        self._world = world
        self._fetcher = HttpFetcher()
        self._mailer = build_mailer(settings)
        # A mailer of its own: a page waits behind no waitlist.
        pager = OnCallPager(settings.on_call_urls.get_secret_value().split(), build_mailer(settings))
        self.on_call = OnCall(PostgresPages(world.database), pager)
        self._scaling = Scaling(
            fleet=world.fleet,
            scaler=build_scaler(settings),
            sales=world.sales,
            timeline=world.timeline,
            on_call=self.on_call,
            capacity=settings.gate_capacity,
            least=settings.scale_gates_min,
            most=settings.scale_gates_max,
        )
        self._rehearser = Rehearser(
            store=world.rehearsals,
            sales=world.sales,
            stock=world.stock,
            rebuilder=world.rebuilder,
            auditing=world.auditing,
            fleet=world.fleet,
            timeline=world.timeline,
            crowd=CrowdProcess(),
            clock=world.clock,
            ids=world.ids,
            url=settings.public_url,
        )
        self._runner = DayRunner(
            store=world.timeline,
            sales=world.sales,
            steps=self._steps(),
            clock=world.clock,
            ids=world.ids,
            on_call=self.on_call,
            wake=lambda: wake(TimelineAgent.name),
        )
        self.agents: Sequence[Agent] = (
            TimelineAgent(self._runner),
            *self._notifiers(),
            PagerAgent(self.on_call),
            self._monitor(),
            RehearserAgent(self._rehearser),
        )

    def _notifiers(self) -> Sequence[Agent]:
        """Without a push key this worker leaves what is for browsers to others."""
        settings, letters = self._world.settings, Letters(self._world.settings)
        if not settings.smtp_url.get_secret_value():
            log.warning("mails are files and reach nobody: DOORBUSTER_SMTP_URL is not set")
        by_mail = self._notifier(Channel.MAIL, ByMail(letters, self._mailer), settings.mail_rate_per_second)
        vapid = build_vapid(settings)
        if vapid is None:
            return (by_mail,)
        if vapid.subject.endswith("@localhost"):
            log.warning("Apple's push service refuses who is at localhost: set DOORBUSTER_PUSH_SUBJECT")
        by_push = ByPush(letters, WebPusher(vapid))
        return by_mail, self._notifier(Channel.PUSH, by_push, settings.push_rate_per_second)

    def _notifier(self, channel: Channel, deliver: Deliver, rate_per_second: float) -> NotifierAgent:
        world = self._world
        sender = NoticeSender(
            store=world.notices,
            sales=world.sales,
            timeline=world.timeline,
            channel=channel,
            deliver=deliver,
            clock=world.clock,
            ids=world.ids,
        )
        return NotifierAgent(sender, world.clock, rate_per_second, f"notifier-{channel}", self.on_call)

    def _monitor(self) -> MonitorAgent:
        world = self._world
        monitoring = Monitoring(
            store=world.monitor,
            sales=world.sales,
            stock=world.stock,
            memory=world.stock,
            audits=world.audits,
            fleet=world.fleet,
            timeline=world.timeline,
            on_call=self.on_call,
            clock=world.clock,
            pool_share=world.database.worst_share,
        )
        return MonitorAgent(monitoring, world.monitor, self.on_call, world.clock)

    async def stop(self) -> None:
        await self._runner.stop()
        await self._rehearser.stop()
        await self._fetcher.close()
        await self._mailer.close()

    def _steps(self) -> Mapping[StepName, Step]:
        world = self._world
        steps: Mapping[StepName, Step] = {
            StepName.WARM_UP: WarmUp(world.sales, world.stock).step,
            StepName.NOTIFY_1H: world.notifying.in_an_hour,
            StepName.WAITLIST_OPEN: world.notifying.waitlist_open,
            StepName.NOTIFY_5M: world.notifying.in_five_minutes,
            StepName.CDN_PREWARM: Prewarming(self._fetcher, world.settings.cdn_base_url).step,
            StepName.START: Start().step,
            StepName.SCALE_UP: self._scaling.scale_up,
            StepName.SCALE_CHECK: self._scaling.scale_check,
            StepName.REHEARSAL: RehearsalStep(
                world.rehearsals, world.ids, self.on_call, world.settings.public_url
            ).step,
            StepName.END: End(self._scaling.stand_down, world.notifying.tell_results).step,
            StepName.SETTLE: Settle(world.sales, world.notifying.tell_results).step,
            StepName.FINAL_AUDIT: FinalAudit(world.sales, world.auditing, world.reconciler, world.rebuilder).step,
            StepName.REPORT: WrapUp(world.timeline, lambda sale_id: composed(world.reporting, sale_id)).step,
        }
        return {name: _traced(name, step) for name, step in steps.items()}


def _traced(name: StepName, step: Step) -> Step:
    """Steps are few and each is worth a trace."""

    async def run(asked: Asked) -> Detail:
        with tracing.whole(f"step {name}", {"doorbuster.sale_id": asked.sale.sale_id}, always=True):
            return await step(asked)

    return run
