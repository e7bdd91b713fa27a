"""Numbers in sentences."""


def counted(number, thing):
    """`1 image`, `2 images`, `1,797 images`; thing: its singular, with an s in the plural."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
