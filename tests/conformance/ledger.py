"""The whole battery for the three stores of a ledger."""

from conformance.actions import actions
from conformance.audit_facts import accounts
from conformance.ledger_bench import LedgerBench
from conformance.order_commits import commits
from conformance.order_endings import endings
from conformance.order_lapses import lapses
from conformance.rehearsals import rehearsals
from conformance.sale_images import fences
from conformance.sale_moves import moves
from conformance.suite import Suite
from conformance.timeline_claims import claims
from conformance.timeline_plans import plans
from conformance.waitlists import waitlists

exercise_sale_store = Suite[LedgerBench](moves, fences)
exercise_order_store = Suite[LedgerBench](commits, endings, lapses)
exercise_timeline_store = Suite[LedgerBench](plans, claims)
exercise_rehearsal_store = Suite[LedgerBench](rehearsals)
exercise_waitlist_store = Suite[LedgerBench](waitlists)
exercise_action_store = Suite[LedgerBench](actions)
exercise_audit_store = Suite[LedgerBench](accounts)
