"""Numbers in sentences."""


def are(number):
    """`1 is`, `2 are`, `1,797 are`."""
    return f"{number:,} {'is' if number == 1 else 'are'}"


def counted(number, thing):
    """`1 image`, `2 images`, `1,797 images`; thing: its singular, with an s in the plural."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
