"""The whole battery for a line."""

from conformance.line_asks import asks
from conformance.line_bench import LineBench
from conformance.line_grants import grants
from conformance.line_leaving import leaving
from conformance.line_news import news
from conformance.line_rebuilds import rebuilds
from conformance.suite import Suite

exercise_line_store = Suite[LineBench](asks, leaving, grants, rebuilds, news)
