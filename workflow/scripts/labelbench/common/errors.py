"""The one exception that means: the user can mend this; and the hint its messages share."""

import difflib


class UserError(Exception):
    """A mistake in the configuration, the data or the files; the message says what, where and what to do.

    Job scripts end with the message alone; every other exception keeps its traceback.
    """


def did_you_mean(name, known):
    """A question with the nearest of the `known` names, to follow a sentence; empty where none is near."""
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
