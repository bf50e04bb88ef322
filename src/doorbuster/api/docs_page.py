"""The documentation as one HTML page: rendered here, without a script and without anything from elsewhere.

Owns: the look of /docs. It works offline, on a phone, with a screen reader and in dark mode, and needs no policy hole.
"""

import json
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; padding: 1rem; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.5rem; }
code, pre { font-family: ui-monospace, monospace; font-size: .9em; }
pre { overflow-x: auto; background: var(--soft); padding: .75rem; border-radius: .4rem; }
details { border: 1px solid var(--line); border-radius: .4rem; margin: .5rem 0; }
summary { cursor: pointer; padding: .6rem .8rem; }
summary:focus-visible { outline: 3px solid Highlight; }
details > div { padding: 0 .8rem .8rem; overflow-x: auto; }
.verb { display: inline-block; min-width: 4.5rem; font-weight: 700; }
table { border-collapse: collapse; } td, th { text-align: left; padding: .25rem .75rem .25rem 0; vertical-align: top; }
"""

_CALLERS = {"buyer": "Buyers", "operator": "Operators", "anyone": "Everybody"}


def page(document: dict[str, Any]) -> str:
    """The page for an OpenAPI document of ours."""
    info = document["info"]
    sections = "".join(_section(document, caller, title) for caller, title in _CALLERS.items())
    schemas = "".join(_schema(name, schema) for name, schema in document["components"]["schemas"].items())
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(info["title"])} API</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>'
        "<body><main>"
        f"<h1>{escape(info['title'])} API</h1><p>Version {escape(info['version'])}. "
        f"{_text(info['description'])} "
        f'The same as data: <a href="/openapi.json">openapi.json</a>.</p>{sections}'
        f"<h2>Shapes</h2>{schemas}</main></body></html>"
    )


def _section(document: dict[str, Any], caller: str, title: str) -> str:
    operations = [
        _operation(path, verb, operation)
        for path, verbs in document["paths"].items()
        for verb, operation in verbs.items()
        if caller in operation["tags"]
    ]
    return f"<h2>{title}</h2>{''.join(operations)}"


def _operation(path: str, verb: str, operation: dict[str, Any]) -> str:
    parameters = "".join(
        f"<tr><td><code>{escape(p['name'])}</code></td><td>{p['in']}</td>"
        f"<td>{_text(p.get('description', ''))}</td></tr>"
        for p in operation.get("parameters", [])
    )
    body = operation.get("requestBody")
    sent = f"<p>Body: {_reference(body['content']['application/json']['schema'])}</p>" if body else ""
    answers = "".join(_answer(status, answer) for status, answer in operation["responses"].items())
    table = f"<table><tr><th>Parameter</th><th>In</th><th></th></tr>{parameters}</table>" if parameters else ""
    return (
        f'<details id="{escape(operation["operationId"])}"><summary><span class="verb">{verb.upper()}</span> '
        f"<code>{escape(path)}</code> {_text(operation['summary'])}</summary><div>{table}{sent}"
        f"<table><tr><th>Status</th><th>Answer</th></tr>{answers}</table></div></details>"
    )


def _answer(status: str, answer: dict[str, Any]) -> str:
    shapes = {_reference(media["schema"]) for media in answer["content"].values() if "schema" in media}
    return f"<tr><td>{status}</td><td>{_text(answer['description'])} {' '.join(sorted(shapes))}</td></tr>"


def _reference(schema: dict[str, Any]) -> str:
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    return f'<a href="#shape-{escape(name)}">{escape(name)}</a>' if name else "<code>any</code>"


def _schema(name: str, schema: dict[str, Any]) -> str:
    text = escape(json.dumps(schema, indent=2))
    summary = f"<summary><code>{escape(name)}</code></summary>"
    return f'<details id="shape-{escape(name)}">{summary}<div><pre>{text}</pre></div></details>'


def _text(text: str) -> str:
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if at % 2 else part for at, part in enumerate(parts))
