"""``params`` with a schema: ``Param(5, type="integer", minimum=1)``, checked wherever a run gets its values.

The schema is a part of JSON Schema, and closed: a keyword that would not be checked is refused when the DAG file is
read. A DAG with a schedule needs a valid default for each; other DAGs are checked when somebody triggers a run, with
the run's conf laid over the defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time
from types import MappingProxyType
from typing import Any, Final

from engine.authoring import arguments
from engine.authoring.exceptions import AirflowException, AuthoringError
from engine.authoring.suggest import did_you_mean

Schema = Mapping[str, Any]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


NO_DEFAULT: Final[Any] = object()
_TYPES: Final[Mapping[str, Callable[[Any], bool]]] = MappingProxyType(
    {
        "string": lambda value: isinstance(value, str),
        "integer": lambda value: _is_number(value) and float(value).is_integer(),
        "number": _is_number,
        "boolean": lambda value: isinstance(value, bool),
        "array": lambda value: isinstance(value, list),
        "object": lambda value: isinstance(value, dict),
        "null": lambda value: value is None,
    }
)
_FORMATS: Final[Mapping[str, Callable[[str], object]]] = MappingProxyType(
    {"date": date.fromisoformat, "date-time": datetime.fromisoformat, "time": time.fromisoformat}
)
_NOTES: Final = frozenset(  # for people and forms; nothing to check
    {"title", "section", "examples", "values_display", "description_md", "custom_html_form", "source"}
)
_NUMBERS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_COUNTS: Final = ("minLength", "maxLength", "minItems", "maxItems")
_CHECKED: Final = ("type", "enum", "const", "pattern", "format", "items", "uniqueItems", "properties", "required")
KEYWORDS: Final = frozenset({*_CHECKED, *_NUMBERS, *_COUNTS, "additionalProperties"})


class ParamValidationError(AirflowException):
    """A param's value does not fit its schema; the message names the param."""


class Param:
    """A default value (none: every run must bring one) and what values may be."""

    def __init__(self, default: Any = NO_DEFAULT, description: str | None = None, **schema: Any) -> None:
        schema = {**schema.pop("schema", {}), **schema}
        self.description = description
        self.default = default
        self.schema: dict[str, Any] = arguments.json_object("the schema of a Param", _plain(schema))
        check_schema("Param", self.schema)

    def __repr__(self) -> str:
        return f"Param({'' if self.default is NO_DEFAULT else repr(self.default)})"

    @property
    def has_value(self) -> bool:
        return self.default is not NO_DEFAULT


def split(place: str, params: object) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The default values and the schemas of a ``params`` argument; a plain value has no schema."""
    if params is None:
        return {}, {}
    if not isinstance(params, Mapping):
        raise AuthoringError(f"{place} must be a dict, not {params!r}.", "Write params={'n': 1}.")
    schemas = {str(name): param.schema for name, param in params.items() if isinstance(param, Param)}
    values = {
        name: param.default if isinstance(param, Param) else param
        for name, param in params.items()
        if not isinstance(param, Param) or param.has_value
    }
    return arguments.json_object(place, values), schemas


def _plain(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, (tuple, set)) else value for name, value in schema.items()}


def check_schema(place: str, schema: Schema) -> None:
    """Raise AuthoringError for a schema that could not be checked as it is written."""
    for keyword, value in schema.items():
        if keyword in _NOTES:
            continue
        if keyword not in KEYWORDS:
            hint = did_you_mean(keyword, KEYWORDS).strip() or f"There are {', '.join(sorted(KEYWORDS))}."
            raise AuthoringError(f"{place} has no argument {keyword!r}.", hint)
        _check_keyword(place, keyword, value)


def _check_keyword(place: str, keyword: str, value: Any) -> None:
    match keyword:
        case "type":
            for name in _type_names(value):
                if name not in _TYPES:
                    hint = did_you_mean(str(name), _TYPES).strip() or f"Use one of {', '.join(_TYPES)}."
                    raise AuthoringError(f"{place}: type={name!r} does not exist.", hint)
        case "pattern":
            _compiled(place, value)
        case "properties" if isinstance(value, dict):
            for name, schema in value.items():
                check_schema(f"{place}[{name!r}]", _subschema(place, name, schema))
        case "items":
            check_schema(f"{place} items", _subschema(place, "items", value))
        case "enum" if not isinstance(value, list) or not value:
            msg = f"{place}: enum must be a list of values, not {value!r}."
            raise AuthoringError(msg, "Write the values that are allowed: enum=['dev', 'prod'].")
        case "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" if not _is_number(value):
            raise AuthoringError(f"{place}: {keyword} must be a number, not {value!r}.", f"Write {keyword}=1, say.")
        case "minLength" | "maxLength" | "minItems" | "maxItems":
            arguments.whole_number(f"{place}: {keyword}", value, 0)


def _subschema(place: str, name: str, schema: object) -> Schema:
    if not isinstance(schema, dict):
        msg = f"{place}: the schema of {name!r} must be a dict, not {schema!r}."
        raise AuthoringError(msg, "Write a dict, such as {'type': 'integer'}.")
    return schema


def _compiled(place: str, pattern: Any) -> Any:
    import re2  # it takes linear time: values come from whoever may trigger a run

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except (re2.error, TypeError) as error:
        reason = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        raise AuthoringError(f"{place}: pattern={pattern!r} cannot be read: {reason}.", "RE2 syntax holds.") from None


def validate(schemas: Mapping[str, Schema], values: Mapping[str, Any]) -> None:
    """Raise ParamValidationError, naming the param, for the first value that does not fit, or is missing."""
    for name, schema in schemas.items():
        if name not in values:
            raise ParamValidationError(f"Param {name!r} has no default and no value: give one in conf.")
        for fault in faults(f"Param {name!r}", values[name], schema):
            raise ParamValidationError(fault)


def faults(place: str, value: Any, schema: Schema) -> Iterator[str]:
    """What is wrong with a value, a sentence each."""
    if "type" in schema and not any(_TYPES[name](value) for name in _type_names(schema["type"])):
        yield f"{place} must be of type {' or '.join(_type_names(schema['type']))}, not {value!r}."
        return
    if "enum" in schema and not _among(value, schema["enum"]):
        hint = did_you_mean(str(value), map(str, schema["enum"]))
        yield f"{place} must be one of {', '.join(map(repr, schema['enum']))}, not {value!r}.{hint}"
    if "const" in schema and not _among(value, [schema["const"]]):
        yield f"{place} must be {schema['const']!r}, not {value!r}."
    if _is_number(value):
        yield from _number_faults(place, value, schema)
    elif isinstance(value, str):
        yield from _text_faults(place, value, schema)
    elif isinstance(value, list):
        yield from _list_faults(place, value, schema)
    elif isinstance(value, dict):
        yield from _object_faults(place, value, schema)


def _number_faults(place: str, value: float, schema: Schema) -> Iterator[str]:
    if value < schema.get("minimum", value):
        yield f"{place} must be at least {schema['minimum']}, not {value}."
    if value > schema.get("maximum", value):
        yield f"{place} must be at most {schema['maximum']}, not {value}."
    if "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]:
        yield f"{place} must be more than {schema['exclusiveMinimum']}, not {value}."
    if "exclusiveMaximum" in schema and value >= schema["exclusiveMaximum"]:
        yield f"{place} must be less than {schema['exclusiveMaximum']}, not {value}."
    if schema.get("multipleOf") and not (value / schema["multipleOf"]).is_integer():
        yield f"{place} must be a multiple of {schema['multipleOf']}, not {value}."


def _text_faults(place: str, value: str, schema: Schema) -> Iterator[str]:
    yield from _size_faults(place, len(value), schema, "Length", "characters")
    if "pattern" in schema and not _compiled(place, schema["pattern"]).search(value):
        yield f"{place} must match {schema['pattern']!r}, not {value!r}."
    if reads := _FORMATS.get(schema.get("format", "")):
        try:
            reads(value)
        except ValueError:
            yield f"{place} must be a {schema['format']} in ISO 8601, not {value!r}."


def _list_faults(place: str, value: list[Any], schema: Schema) -> Iterator[str]:
    yield from _size_faults(place, len(value), schema, "Items", "items")
    if schema.get("uniqueItems") and any(_among(item, value[:index]) for index, item in enumerate(value)):
        yield f"{place} must not hold the same item twice: {value!r}."
    for index, item in enumerate(value):
        yield from faults(f"{place}[{index}]", item, schema.get("items", {}))


def _object_faults(place: str, value: dict[str, Any], schema: Schema) -> Iterator[str]:
    properties: Mapping[str, Schema] = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{place} misses {name!r}."
    for name, item in value.items():
        if name in properties:
            yield from faults(f"{place}[{name!r}]", item, properties[name])
        elif schema.get("additionalProperties") is False:
            yield f"{place} has {name!r}, which is not allowed.{did_you_mean(name, properties)}"


def _size_faults(place: str, size: int, schema: Schema, suffix: str, what: str) -> Iterator[str]:
    if size < (least := schema.get(f"min{suffix}", 0)):
        yield f"{place} must have at least {least} {what}, not {size}."
    if size > (most := schema.get(f"max{suffix}", size)):
        yield f"{place} must have at most {most} {what}, not {size}."


def _type_names(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [value]


def _among(value: Any, choices: list[Any]) -> bool:
    """As JSON compares: true is not 1."""
    return any(value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in choices)
