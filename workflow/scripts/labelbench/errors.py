"""The one exception that means: the user can mend this."""


class UserError(Exception):
    """A mistake in the configuration, the data or the files; the message says what, where and what to do.

    Job scripts end with the message alone; every other exception keeps its traceback.
    """
