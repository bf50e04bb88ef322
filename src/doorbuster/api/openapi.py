"""Writes the OpenAPI 3.1 document from the table of routes.

Owns: how a route is described. The shapes come from the structs that decode and encode them, the refusals from the
table of outcomes: what is documented is what runs.
"""

from typing import Any

import msgspec

from doorbuster import __version__
from doorbuster.api import acting
from doorbuster.api.http import Problem
from doorbuster.api.routes import Caller, Route, Table
from doorbuster.domain.outcomes import RULES, Code

_SECURITY: dict[Caller, list[dict[str, list[str]]]] = {
    Caller.BUYER: [{"buyer": []}],
    Caller.OPERATOR: [{"operator": []}],
    Caller.ANYONE: [],
}
_WITH_RETRY = (
    "Seconds to wait before the same request may go differently; spread, so that a crowd does not return at once."
)


def document(table: Table) -> dict[str, object]:
    """The whole document as plain data."""
    types = [Problem]
    for route in table.routes:
        types += [shape for shape in (route.body, *route.answers.values()) if shape is not None]
    unique = list({id(shape): shape for shape in types}.values())
    schemas, components = msgspec.json.schema_components(unique, ref_template="#/components/schemas/{name}")
    by_type = {id(shape): schema for shape, schema in zip(unique, schemas, strict=True)}
    paths: dict[str, dict[str, object]] = {}
    for route in table.routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, by_type)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Doorbuster",
            "version": __version__,
            "description": "A flash-sale engine: a limited quantity, a short window, sold exactly. Every refusal is an "
            "RFC 9457 problem document with a stable `code`.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(components.items())),
            "securitySchemes": {
                "buyer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "The shop's token for a buyer: `sub` is the user id, with `exp` and `aud`.",
                },
                "operator": {"type": "http", "scheme": "bearer", "description": "The operator's token."},
            },
        },
    }


def codes_of(route: Route) -> list[Code]:
    """Every refusal the route can answer with, those of its caller's check included."""
    codes = list(route.codes)
    if route.caller is not Caller.ANYONE:
        codes.append(Code.UNAUTHENTICATED)
    if route.caller is Caller.OPERATOR:
        codes.append(Code.FORBIDDEN)
    if route.caller is Caller.BUYER:
        codes.append(Code.RATE_LIMITED)
    if route.idempotent_key:
        codes.append(Code.IDEMPOTENCY_KEY_MISSING)
    acts = route.caller is Caller.OPERATOR and route.method != "GET"
    if route.body is not None or route.query or route.idempotent_key or acts:
        codes.append(Code.INVALID_REQUEST)
    if route.path.startswith("/v1/") and route.path != "/v1/dev/buyers":
        codes.append(Code.UNAVAILABLE)
    return sorted(set(codes), key=list(Code).index)


def _operation(route: Route, by_type: dict[int, Any]) -> dict[str, object]:
    operation: dict[str, object] = {
        "operationId": route.name,
        "summary": route.summary,
        "tags": [route.caller.value],
        "security": _SECURITY[route.caller],
        "responses": _responses(route, by_type),
    }
    parameters = [*_path_parameters(route), *_query_parameters(route), *_header_parameters(route)]
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        content: dict[str, object] = {"application/json": _with_example(by_type[id(route.body)], route.example)}
        if route.csv_example:
            content["text/csv"] = _with_example({"type": "string"}, route.csv_example)
        operation["requestBody"] = {"required": route.body_required, "content": content}
    return operation


def _with_example(schema: object, example: object) -> dict[str, object]:
    return {"schema": schema} if example is None else {"schema": schema, "example": example}


def _responses(route: Route, by_type: dict[int, Any]) -> dict[str, object]:
    responses: dict[str, object] = {}
    for status, shape in route.answers.items():
        schema = {} if shape is None else {"schema": by_type[id(shape)]}
        done: dict[str, object] = {"description": "done", "content": {route.media: schema}}
        if status in route.headers:
            done["headers"] = {
                name: {"description": text, "schema": {"type": "string"}}
                for name, text in route.headers[status].items()
            }
        responses[str(status)] = done
    by_status: dict[int, list[Code]] = {}
    for code in codes_of(route):
        by_status.setdefault(RULES[code].status, []).append(code)
    for status, codes in sorted(by_status.items()):
        problem = {
            "schema": by_type[id(Problem)],
            "examples": {code.value: {"value": _example(code)} for code in codes},
        }
        response: dict[str, object] = {
            "description": "; ".join(f"`{code.value}`: {RULES[code].title}" for code in codes),
            "content": {"application/problem+json": problem},
        }
        if any(RULES[code].retry == "after" for code in codes):
            response["headers"] = {"Retry-After": {"description": _WITH_RETRY, "schema": {"type": "integer"}}}
        if Code.UNAUTHENTICATED in codes:
            response["headers"] = {"WWW-Authenticate": {"description": "Bearer", "schema": {"type": "string"}}}
        responses.setdefault(str(status), response)
    return responses


def _example(code: Code) -> dict[str, object]:
    rule = RULES[code]
    return {
        "type": f"urn:doorbuster:problem:{code.value}",
        "title": rule.title,
        "status": rule.status,
        "code": code.value,
        "advice": rule.advice,
    }


def _path_parameters(route: Route) -> list[dict[str, object]]:
    names = [part.strip("{}") for part in route.path.split("/") if part.startswith("{")]
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "format": "uuid"} if name.endswith("_id") else {"type": "string"},
        }
        for name in names
    ]


def _query_parameters(route: Route) -> list[dict[str, object]]:
    return [
        {"name": name, "in": "query", "required": False, "description": known.text, "schema": known.schema}
        for name, known in route.query.items()
    ]


def _header_parameters(route: Route) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    if route.idempotent_key:
        found.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": True,
                "description": "One per intent; repeat it on every retry of the same intent.",
                "schema": {"type": "string", "minLength": 1, "maxLength": 255},
            }
        )
    if route.caller is Caller.OPERATOR and route.method != "GET":
        found.append(
            {
                "name": acting.HEADER,
                "in": "header",
                "required": False,
                "description": "Who acts, of those who have the operator's token; kept with what is done.",
                "schema": {"type": "string", "maxLength": acting.NAME_LENGTH_MAX},
            }
        )
    return found
