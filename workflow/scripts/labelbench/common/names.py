"""The rule that every name obeys which becomes a part of a path, a wildcard of Snakemake or a title in a table."""

import re

from labelbench.common.errors import UserError

# ASCII on purpose: paths are compared as bytes, and TeX has to set them. No `..`, no slash, no brace, no line break.
RULE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?=[A-Za-z0-9_-])){0,99}")
IN_WORDS = "1 to 100 letters a–z or A–Z, digits, -, _ and single dots, a letter or digit first"


def obeys(name):
    """Whether `name`, the whole of it, is a name."""
    return isinstance(name, str) and RULE.fullmatch(name) is not None


def check(where, name):
    """Raise `UserError`, beginning with `where`, for what is no name."""
    if not obeys(name):
        raise UserError(f"{where}: {shortened(name)} is no name. Names are {IN_WORDS}.")


def shortened(value, longest=60):
    """A value for a message: its beginning, with everything that a terminal would act upon written out."""
    text = ascii(value) if isinstance(value, str) else repr(value)
    return text if len(text) <= longest else f"{text[:longest]}…"
