"""Pages of the site that are made when it is built (a hook of mkdocs): commands, HTTP fields, list of decisions."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    made = {
        "index.md": _home(),
        "reference/command-line.md": _commands(),
        "reference/http-fields.md": _http(),
        "adr/index.md": _decisions(),
    }
    for name, content in made.items():
        files.append(File.generated(config, name, content=content))
    return files


def _home() -> str:
    """The README, with its paths as seen from docs/."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.sub(r"(\]\(|src=\")docs/", r"\1", text)


def _decisions() -> str:
    titles = []
    for file in sorted((ROOT / "docs" / "adr").glob("0*.md")):
        title = file.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
        titles.append(f"- [{title}]({file.name})")
    return "# Decisions\n\nWhat was decided, why, and what follows from it.\n\n" + "\n".join(titles) + "\n"


def _commands() -> str:
    import typer

    from vernier.cli import app

    group: Any = typer.main.get_command(app)
    head = "# Command line\n\nExit status: 0 done, 1 it failed, 2 the call is wrong. Results go to stdout.\n"
    return head + "".join(_command(("vernier", *names), command) for names, command in _walk(group, ()))


def _walk(command: Any, names: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:  # noqa: ANN401  click's own
    if not hasattr(command, "commands"):
        yield names, command
        return
    for name, inner in command.commands.items():
        yield from _walk(inner, (*names, name))


def _command(names: tuple[str, ...], command: Any) -> str:  # noqa: ANN401
    shown = [parameter for parameter in command.params if parameter.name != "help"]
    arguments = " ".join(_argument(p) for p in shown if p.param_type_name == "argument")
    lines = [
        f"\n## {' '.join(names)}\n",
        f"```\n{' '.join(names)} {arguments} [OPTIONS]\n```\n",
        command.help or "",
        "",
    ]
    lines += ["| | |", "|---|---|"]
    for parameter in shown:
        is_argument = parameter.param_type_name == "argument"
        name = _argument(parameter) if is_argument else ", ".join(parameter.opts + parameter.secondary_opts)
        given = "" if is_argument or parameter.is_flag else f" {parameter.metavar or _choices(parameter)}"
        lines.append(f"| `{_cell(name + given)}` | {_cell(parameter.help or '')}{_default(parameter)} |")
    return "\n".join(lines) + "\n"


def _argument(parameter: Any) -> str:  # noqa: ANN401
    return (parameter.metavar or parameter.name.upper()) + ("…" if parameter.nargs == -1 else "")


def _choices(parameter: Any) -> str:  # noqa: ANN401
    """What may be given: the names of a choice, else the name of the type."""
    annotation = parameter.type_descriptor.annotation
    names = [name for name in (get_args(annotation) or ()) if isinstance(name, str)]
    return "|".join(names) or str(getattr(annotation, "__name__", "text")).upper()


def _default(parameter: Any) -> str:  # noqa: ANN401
    shown = getattr(parameter, "show_default", None)
    value = shown if isinstance(shown, str) else parameter.default
    return "" if value in (None, False, ()) or callable(value) else f" [{_cell(str(value))}]"


def _http() -> str:
    from server.app import create_app
    from server.settings import Settings

    document = create_app(Settings()).openapi()
    schemas = document["components"]["schemas"]
    lines = [
        "# HTTP, every field",
        "",
        "Made from the server's own document (`/openapi.json`). Examples: [HTTP](../http.md).",
        "",
    ]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            lines += [f"## {method.upper()} `{path}`", "", str(operation.get("description", "")), ""]
            bodies = operation.get("requestBody", {}).get("content", {})
            lines += _fields("request", bodies.get("application/json") or bodies.get("application/x-ndjson"), schemas)
            answer = operation["responses"].get("200") or operation["responses"].get("201") or {}
            lines += _fields("answer", answer.get("content", {}).get("application/json"), schemas)
    lines += ["## Models", ""]
    for name, schema in schemas.items():
        if schema.get("properties"):
            lines += [f"### {name}", "", _cell(schema.get("description", "")), "", *_table(schema)]
    return "\n".join(lines) + "\n"


def _fields(title: str, content: Mapping[str, Any] | None, schemas: Mapping[str, Any]) -> list[str]:
    name = str((content or {}).get("schema", {}).get("$ref", "")).rpartition("/")[2]
    return [f"{title.capitalize()}: [{name}](#{name.lower()})", ""] if name in schemas else []


def _table(schema: Mapping[str, Any]) -> list[str]:
    lines = ["| field | type | |", "|---|---|---|"]
    for name, field in schema["properties"].items():
        default = f" [{field['default']}]" if field.get("default") not in (None, [], {}) else ""
        lines.append(f"| `{name}` | {_type(field)} | {_cell(field.get('description', ''))}{_cell(default)} |")
    return [*lines, ""]


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"] if one.get("type") != "null")
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array" and "items" in schema:
        return f"list of {_type(schema['items'])}"
    return str(schema.get("type", "any JSON"))


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
