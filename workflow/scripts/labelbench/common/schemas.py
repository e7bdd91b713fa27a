"""JSON schemas, stricter than the standard: numbers are finite, `true` and 3.0 are no whole numbers, patterns are
matched whole; and what is wrong is said in words.
"""

import functools
import math

import jsonschema

from labelbench.common import json_files
from labelbench.common.errors import did_you_mean
from labelbench.common.names import shortened

_WORDS = {
    "object": "settings by name ({name: value, …})",
    "array": "a list ([…])",
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "nothing",
}


def _is_integer(checker, value):
    return type(value) is int


def _is_number(checker, value):
    return json_files.is_number(value)


def _matches_whole(validator, pattern, value, schema):
    import re

    if isinstance(value, str) and not re.fullmatch(pattern, value):
        yield jsonschema.ValidationError(f"{shortened(value)} does not match {pattern}")


@functools.cache
def _validator():
    base = jsonschema.Draft202012Validator
    types = base.TYPE_CHECKER.redefine("integer", _is_integer).redefine("number", _is_number)
    return jsonschema.validators.extend(base, {"pattern": _matches_whole}, type_checker=types)


def problem(value, schema):
    """(where, what) is wrong first with a value, in words; None where it satisfies the schema.

    where: keys and positions from the outermost on, joined by `: `, empty for the value itself.
    """
    errors = sorted(_validator()(schema).iter_errors(value), key=lambda error: list(map(str, error.absolute_path)))
    if not errors:
        return None
    error = errors[0]
    return ": ".join(str(part) for part in error.absolute_path), _in_words(error)


def _in_words(error):
    value, rule = error.instance, error.validator_value
    if error.parent is not None and error.parent.validator == "propertyNames":
        error = error.parent
    match error.validator:
        case "type" | "anyOf":
            return f"{_told(value)} stands where {expected(error.schema)} is due."
        case "enum" | "const":
            known = [rule] if error.validator == "const" else rule
            hint = did_you_mean(value, map(str, known)) if isinstance(value, str) else ""
            return f"{_told(value)} is none of {', '.join(map(str, known))}.{hint}"
        case "additionalProperties" if rule is False:
            known = list(error.schema.get("properties", {}))
            unknown = next(key for key in value if key not in known)
            return f"there is no entry {shortened(unknown)}.{did_you_mean(str(unknown), known)} Known are: " + (
                f"{', '.join(known)}."
            )
        case "required":
            missing = next(key for key in rule if key not in value)
            return f"the entry {missing!r} is missing."
        case "minimum":
            return f"{value} is too small: it is at least {rule}."
        case "maximum":
            return f"{value} is too large: it is at most {rule}."
        case "exclusiveMinimum":
            return f"{value} is too small: it is above {rule}."
        case "minItems" | "minLength" | "minProperties":
            return f"{_told(value)} is empty: name at least {rule}." if rule == 1 else f"at least {rule} are due."
        case "uniqueItems":
            twice = next(item for at, item in enumerate(value) if item in value[:at])
            return f"{shortened(twice)} stands twice in the list."
        case "pattern":
            return f"{shortened(value)} is not {error.schema.get('description', f'of the form {rule}')}."
    return f"{error.message}."


def _told(value):
    """A value and what it is, as its writer would say."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value}, which is no number,"
    if value is None:
        return "nothing (null)"
    if isinstance(value, str):
        return f"the text {shortened(value)}"
    if isinstance(value, bool):
        return str(value).lower()
    return shortened(value)


def expected(schema):
    """What a schema asks for, in words."""
    if "description" in schema and "type" not in schema:
        return schema["description"]
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(expected(part) for part in schema["anyOf"]))
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}"
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds == ["array"] and (inner := schema.get("items", {})) and "type" in inner:
        few = {"integer": "whole numbers", "number": "numbers", "string": "texts"}.get(str(inner["type"]))
        return f"a list of {few} ([…])" if few else _WORDS["array"]
    return " or ".join(_WORDS[kind] for kind in kinds)
