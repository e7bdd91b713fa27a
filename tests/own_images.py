"""Images of the user's own, as tests write them."""

from PIL import Image


def write_image(path, level=0):
    """A grey 6×4 image of one level, by which a test knows it again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (6, 4), level).save(path)


def write_folders(root, counts, first=0):
    """`counts` images of each class, `<class>/<class>-<i>.png`; levels count up over all."""
    level = first
    for name, count in counts.items():
        for i in range(count):
            write_image(root / name / f"{name.rpartition('/')[2]}-{i:02d}.png", level % 256)
            level += 1
    return root


def write_table(path, *lines):
    """A CSV file beside 12 images a0 … a11."""
    for i in range(12):
        write_image(path.parent / f"a{i}.png", 10 * i)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


ROWS = [f"a{i}.png,{'cat' if i % 2 else 'dog'},{'val' if i > 9 else 'test' if i > 7 else 'train'}" for i in range(12)]
