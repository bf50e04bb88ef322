"""The whole battery for what a ledger remembers of lines."""

from conformance.ledger_bench import LedgerBench
from conformance.line_ledger_claims import claims
from conformance.line_ledger_grants import grants
from conformance.line_ledger_marks import marks
from conformance.line_ledger_pulse import pulses
from conformance.suite import Suite

exercise_line_ledger = Suite[LedgerBench](marks, grants, claims, pulses)
