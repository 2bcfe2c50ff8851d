"""What a Param takes, what it refuses, and in which words."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from engine.authoring.dag import DAG
from engine.authoring.exceptions import AuthoringError
from engine.authoring.params import Param, ParamValidationError, faults, validate
from engine.authoring.python import EmptyOperator
from engine.authoring.serialize import serialize
from engine.authoring.serialized import decode_dag, encode_dag

OBJECT = {"properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "good", "bad", "words"),
    [
        ({"type": "integer"}, [1, -2, 3.0], [1.5, "1", True, None], "of type integer"),
        ({"type": "number"}, [1, 1.5], ["1", False], "of type number"),
        ({"type": "string"}, ["", "x"], [1, None], "of type string"),
        ({"type": "boolean"}, [True, False], [0, "true"], "of type boolean"),
        ({"type": ["null", "string"]}, [None, "x"], [1], "of type null or string"),
        ({"enum": ["dev", "prod"]}, ["dev"], ["deu"], "one of 'dev', 'prod', not 'deu'. Did you mean 'dev'?"),
        ({"enum": [1, 2]}, [1], [True, 3], "one of 1, 2"),
        ({"const": 5}, [5], [6], "must be 5"),
        ({"minimum": 1, "maximum": 3}, [1, 2, 3, "x"], [0, 4], "at "),
        ({"exclusiveMinimum": 1, "exclusiveMaximum": 3}, [2], [1, 3], "than"),
        ({"multipleOf": 0.5}, [1, 1.5], [1.2], "a multiple of 0.5"),
        ({"minLength": 2, "maxLength": 3}, ["ab", "abc"], ["a", "abcd"], "characters"),
        ({"pattern": "^[a-z]+$"}, ["abc"], ["aBc", ""], "must match '^[a-z]+$'"),
        ({"format": "date"}, ["2026-02-03"], ["2026-02-30", "x"], "a date in ISO 8601"),
        ({"format": "date-time"}, ["2026-02-03T01:02:03+00:00"], ["yesterday"], "a date-time in ISO 8601"),
        ({"type": "array", "items": {"type": "integer"}, "maxItems": 2}, [[], [1, 2]], [["x"], [1, 2, 3]], ""),
        ({"type": "array", "uniqueItems": True}, [[1, True]], [[1, 1]], "the same item twice"),
        ({"type": "object", **OBJECT}, [{"a": 1}], [{}, {"a": "x"}, {"a": 1, "b": 2}], ""),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_a_schema_takes_what_it_says_and_names_what_it_does_not(
    schema: dict[str, Any], good: list[Any], bad: list[Any], words: str
) -> None:
    for value in good:
        assert list(faults("x", value, schema)) == [], value
    for value in bad:
        (fault, *_) = list(faults("x", value, schema))
        assert fault.startswith("x")
        assert words in fault


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"typ": "string"}, "Param has no argument 'typ'. Did you mean 'type'?"),
        ({"type": "int"}, "type='int' does not exist"),
        ({"minimum": "1"}, "minimum must be a number"),
        ({"minLength": -1}, "minLength must be at least 0"),
        ({"enum": "abc"}, "enum must be a list"),
        ({"pattern": "("}, "pattern='(' cannot be read"),
        ({"pattern": "(?=x)"}, "RE2 syntax holds"),
        ({"items": {"typ": "string"}}, "Param items has no argument 'typ'"),
        ({"anyOf": [{"type": "string"}]}, "Param has no argument 'anyOf'"),
    ],
    ids=str,
)
def test_a_schema_that_would_not_be_checked_is_refused(schema: dict[str, Any], words: str) -> None:
    with pytest.raises(AuthoringError) as caught:
        Param("x", **schema)
    assert words in str(caught.value)


def test_notes_for_people_are_taken_without_a_check() -> None:
    Param(1, "how many", type="integer", title="Number", section="More", examples=[1, 2], description_md="*how many*")


def make(schedule: str | None = None, **params: Any) -> DAG:
    with DAG("d", schedule=schedule, start_date=datetime(2026, 1, 1), params=params) as dag:  # noqa: DTZ001
        EmptyOperator(task_id="t")
    return dag


def test_defaults_and_schemas_are_stored_apart_and_read_back() -> None:
    stored = serialize(make(plain=1, n=Param(5, type="integer"), required=Param(type="string")))
    assert stored.params == {"plain": 1, "n": 5}
    assert stored.param_schemas == {"n": {"type": "integer"}, "required": {"type": "string"}}
    assert decode_dag(encode_dag(stored)) == stored


@pytest.mark.parametrize(
    ("param", "words"),
    [
        (Param(type="string"), "Param 'p' has no default and no value"),
        (Param("x", type="integer"), "Param 'p' must be of type integer, not 'x'."),
    ],
    ids=["none", "wrong"],
)
def test_a_scheduled_dag_needs_valid_defaults_and_a_manual_one_does_not(param: Param, words: str) -> None:
    with pytest.raises(AuthoringError) as caught:
        serialize(make("@daily", p=param))
    assert caught.value.message.startswith("DAG 'd' has a schedule, but the defaults of its params are not valid.")
    assert words in caught.value.message
    serialize(make(None, p=param))


def test_a_value_that_is_missing_or_wrong_is_told_with_its_name() -> None:
    schemas = {"n": {"type": "integer", "minimum": 1}}
    validate(schemas, {"n": 1, "other": object()})
    with pytest.raises(ParamValidationError, match="Param 'n' must be at least 1, not 0"):
        validate(schemas, {"n": 0})
    with pytest.raises(ParamValidationError, match="Param 'n' has no default and no value: give one in conf"):
        validate(schemas, {})
