"""The checker of the services' schemas refuses what breaks a rule: one that accepts all would prove nothing."""

from __future__ import annotations

from typing import Any

import pytest

from alerting import samples
from alerting.channels.services import PAYLOADS
from alerting.kinds import EventKind
from alerting.render import Renderer
from tests.integration.alerting.schemas import KEYWORDS, problems, problems_by

SHORT = {"$ref": "#/$defs/short", "$defs": {"short": {"maxLength": 2}}}
EITHER = {"oneOf": [{"type": "string"}, {"minimum": 3, "type": "integer"}, {"maximum": 9, "type": "integer"}]}
# keyword, schema, what it takes, what it refuses, and what is said then
CASES: list[tuple[str, dict[str, Any], Any, Any, str]] = [
    ("type", {"type": "integer"}, 1, True, "$: is no integer: True"),
    ("type", {"type": ["string", "null"]}, None, 1, "$: is no string or null: 1"),
    ("type", {"type": "object"}, {}, [], "$: is no object: []"),
    ("const", {"const": "danger"}, "danger", "Danger", "$: is not 'danger': 'Danger'"),
    ("enum", {"enum": ["a", "b"]}, "b", "c", "$: is none of ['a', 'b']: 'c'"),
    ("required", {"required": ["text"]}, {"text": ""}, {"txt": ""}, "$: lacks text"),
    ("properties", {"properties": {"a": {"type": "string"}}}, {"a": ""}, {"a": 1}, "$.a: is no string: 1"),
    ("additionalProperties", {"properties": {"a": {}}, "additionalProperties": False}, {"a": 1}, {"b": 1}, "$: has b"),
    ("items", {"items": {"type": "string"}}, ["a", "b"], ["a", 2], "$[1]: is no string: 2"),
    ("minItems", {"minItems": 1}, [1], [], "$: has 0, and at least 1 are taken"),
    ("maxItems", {"maxItems": 1}, [1], [1, 2], "$: has 2, and at most 1 are taken"),
    ("minLength", {"minLength": 1}, "a", "", "$: has 0, and at least 1 are taken"),
    ("maxLength", {"maxLength": 3}, "abc", "abcd", "$: has 4, and at most 3 are taken"),
    ("minimum", {"minimum": 0}, 0, -1, "$: is -1, beyond 0"),
    ("maximum", {"maximum": 5}, 5, 6, "$: is 6, beyond 5"),
    ("pattern", {"pattern": "^#[0-9a-f]{6}$"}, "#b42318", "b42318", "$: is not like ^#[0-9a-f]{6}$: 'b42318'"),
    ("oneOf", EITHER, 2, None, "$: fits not exactly one of 3"),
    ("oneOf", EITHER, "a", 5, "$: fits not exactly one of 3"),
    ("$ref", SHORT, "ab", "abc", "$: has 3, and at most 2 are taken"),
]


@pytest.mark.parametrize(("keyword", "schema", "good", "bad", "said"), CASES)
def test_a_broken_rule_is_told(keyword: str, schema: dict[str, Any], good: Any, bad: Any, said: str) -> None:
    assert problems_by(good, schema) == []
    assert [problem[: len(said)] for problem in problems_by(bad, schema)] == [said]


def test_every_rule_is_broken_here_at_least_once() -> None:
    assert {keyword for keyword, *_ in CASES} == set(KEYWORDS)


def test_a_rule_that_is_not_known_is_not_passed_over() -> None:
    with pytest.raises(ValueError, match="keyword multipleOf is not known"):
        problems_by(1, {"multipleOf": 2})


@pytest.mark.parametrize("service", [name for name in sorted(PAYLOADS) if name != "json"])
def test_the_schema_of_each_service_refuses_a_field_that_it_does_not_have(service: str) -> None:
    payload = PAYLOADS[service](Renderer(samples.tail, str).render(samples.event(EventKind.TASK_FAILED)))
    assert "has surprise" not in str(problems(payload, service))
    assert "$: has surprise" in str(problems(payload | {"surprise": 1}, service))
