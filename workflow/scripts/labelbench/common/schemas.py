"""JSON schemas, stricter than the standard: numbers are finite, `true` and 3.0 are no whole numbers, patterns are
matched whole; and what is wrong is said in words.
"""

import functools
import math
import re

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
    match error.validator:
        case "type" | "anyOf":
            return f"{told(value)} stands where {expected(error.schema)} is due.{_quotes(value, error.schema)}"
        case "enum" | "const":
            known = [rule] if error.validator == "const" else rule
            hint = did_you_mean(value, map(str, known)) if isinstance(value, str) else ""
            return f"{told(value)} is none of {', '.join(map(str, known))}.{hint}"
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
            if len(value):
                return f"{told(value)} has too few entries: {expected(error.schema)} is due."
            return f"{told(value)} is empty, and {expected(error.schema)} is due."
        case "uniqueItems":
            twice = next(item for at, item in enumerate(value) if item in value[:at])
            return f"{shortened(twice)} stands twice in the list."
        case "prefixItems" | "items":
            return f"{told(value)} has too many entries: {expected(error.schema)} is due."
        case "pattern":
            return f"{shortened(value)} is not {error.schema.get('description', f'of the form {rule}')}."
    return f"{error.message}."


def _quotes(value, schema):
    """A sentence on quotes where YAML may have made something else of a text: 7 of 007, true of yes."""
    parts = [schema, *schema.get("anyOf", [])]
    lists = any("string" in _kinds(part.get("items") or {}) for part in parts)
    texts = any("string" in _kinds(part) for part in parts)
    items = value if isinstance(value, list) and lists else [value] if texts else []
    if any(item is not None and not isinstance(item, str | list | dict) for item in items):
        return " Numbers, dates, yes and no are text in quotes only, such as '007'."
    return ""


def told(value):
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
    if "description" in schema and "pattern" in schema:
        return schema["description"]
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(expected(part) for part in schema["anyOf"]))
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}"
    if "prefixItems" in schema:
        inner = dict.fromkeys(expected(item).removeprefix("a ") for item in schema["prefixItems"])
        return f"a list of {len(schema['prefixItems'])}: {' or '.join(inner)} each"
    if _kinds(schema) == ["array"] and schema.get("items"):
        few = {"integer": "whole numbers", "number": "numbers", "string": "texts", "array": "lists"}
        known = _kinds(schema["items"])
        return f"a list of {few[known[0]]} ([…])" if len(known) == 1 and known[0] in few else _WORDS["array"]
    return " or ".join(_WORDS[kind] for kind in _kinds(schema)) or "something else"


def _kinds(schema):
    kinds = schema.get("type", [])
    return [kinds] if isinstance(kinds, str) else kinds


_WHOLE = re.compile(r"[-+]?[0-9]+")
_EXACT = 2**53  # below it a float64 holds every whole number
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")


def taken(value, schema, root=None):
    """A value with its texts as numbers, or true and false, wherever the schema asks for these and the text is one.

    `1e-3` is a text to YAML 1.1, and so is every number inside Snakemake's `--config run='{trials: 2}'`. Where a whole
    number is due, `1e3` and `1.0e+3`, a float to YAML, are 1000.
    root: the schema that `$ref`s point into.
    """
    root = root or schema
    if "$ref" in schema:
        place = root
        for key in schema["$ref"].removeprefix("#/").split("/"):
            place = place[key]
        value = taken(value, place, root)
    for part in schema.get("anyOf", []):
        if problem(value, part) is None:
            return value
    for part in schema.get("anyOf", []):
        if problem(other := taken(value, part, root), part) is None:
            return other
    if isinstance(value, str):
        return _number(value, _kinds(schema))
    if isinstance(value, float) and "number" not in _kinds(schema):
        return _whole(value) if "integer" in _kinds(schema) else value
    if isinstance(value, dict):
        named, others = schema.get("properties", {}), schema.get("additionalProperties")
        inner = {key: named.get(key, others) for key in value}
        return {key: taken(item, inner[key], root) if inner[key] else item for key, item in value.items()}
    if isinstance(value, list):
        items, first = schema.get("items"), schema.get("prefixItems", [])
        schemas = [*first, *[items] * (len(value) - len(first))]
        return [taken(item, of, root) if of else item for item, of in zip(value, schemas, strict=False)] + (
            value[len(schemas) :]
        )
    return value


def _number(text, kinds):
    if "integer" in kinds and _WHOLE.fullmatch(text):
        return int(text)
    if "number" in kinds and _NUMBER.fullmatch(text):
        return float(text)
    if "integer" in kinds and _NUMBER.fullmatch(text):
        number = _whole(float(text))
        return number if isinstance(number, int) else text
    if "boolean" in kinds and text in ("true", "false"):
        return text == "true"
    return text


def _whole(number):
    """A float as the whole number that it is; itself where it is none, or too large to say which."""
    return int(number) if number.is_integer() and abs(number) < _EXACT else number
