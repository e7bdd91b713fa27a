"""Which image an answer is about: by content, or by whatever programs have made of its name."""

import difflib
import re
import unicodedata
from urllib.parse import unquote

UNKNOWN = "is no image of this campaign. Its answer is not used."

_UPLOAD = re.compile(r"^[0-9a-f]{8}-")
_HASH = re.compile(r"[0-9a-f]{64}")
_NEAR = 5000  # names that are compared for a hint


class Images:
    """Finds the image that an answer is about."""

    def __init__(self, images):
        self.hashes = {image.sha256 for image in images}
        self.paths = {}
        for image in sorted(images, key=lambda image: not image.present):  # a file's present content comes first
            for path in (image.path, *image.copies):
                self.paths.setdefault(nfc(path), image.sha256)
        self.bases, self.valid = {}, None
        for path, name in self.paths.items():
            self.bases.setdefault(path.rpartition("/")[2], []).append((path, name))

    def find(self, claim):
        """(hash, '') of a claim's image; ('', what is wrong) where none or several fit; (hash, text) as a warning."""
        if _HASH.fullmatch(claim.sha256):
            if claim.sha256 in self.hashes:
                named = self.paths.get(claim.names[0]) if claim.names and claim.row else None
                return claim.sha256, "" if named in (None, claim.sha256) else "another path"
            if any(self._by_name(name)[0] for name in claim.names):
                return "", (
                    "has another content (sha256) here than the answer is about: it was replaced, saved anew or "
                    "recompressed. The answer is not used; if it is right all the same, write it into a table without "
                    "the column sha256."
                )
            return "", UNKNOWN
        why = UNKNOWN if claim.names else "names no image. Its answer is not used."
        for name in claim.names:
            found, why = self._by_name(name)
            if found:
                return found, ""
        return "", why

    def _by_name(self, value):
        forms = _forms(value)
        for form in forms:
            if form in self.paths:
                return self.paths[form], ""
        why = UNKNOWN
        for form in forms:
            found = self._by_base(form, form.rpartition("/")[2])
            if len(found) == 1:
                return found.pop(), ""
            if found:
                why = f"fits {len(found)} images, by name alone. Write its path, or its sha256."
        return "", why

    def _by_base(self, path, base):
        """Hashes of images of this file name; those that share more of the path where there are any."""
        here = self.bases.get(base)
        if here is None and _UPLOAD.match(base):
            here = self.bases.get(base[9:])
            if here is None:
                if self.valid is None:
                    self.valid = {}
                    for name, places in self.bases.items():
                        self.valid.setdefault(_valid(name), []).extend(places)
                here = self.valid.get(base[9:])
        here = here or ()
        longer = {name for p, name in here if "/" in p and f"/{path}".endswith(f"/{p}")}
        longer = longer or {name for p, name in here if "/" in path and f"/{p}".endswith(f"/{path}")}
        return longer if len(longer) == 1 else {name for _, name in here}

    def near(self, claim):
        """A sentence with the names that are nearest to a claim's; empty where none is near."""
        if not claim.names:
            return ""
        base = _forms(claim.names[0])[-1].rpartition("/")[2]
        folded = base.casefold()
        names = [name for name in self.bases if name.casefold() == folded]
        stem = (base.rpartition(".")[0] or base).casefold()  # with another ending, or with none
        names = names or [name for name in self.bases if name.rpartition(".")[0].casefold() == stem]
        if not names:
            some = [name for name in self.bases if abs(len(name) - len(base)) < 3 and name[:1] == base[:1]][:_NEAR]
            names = difflib.get_close_matches(base, some, n=3)
        paths = [self.bases[name][0][0] for name in names[:3]]
        return f" The nearest: {', '.join(map(repr, paths))}." if paths else ""


def _valid(name):
    """A file name as Label Studio keeps it when it is uploaded."""
    return re.sub(r"[^-\w.]", "", name.strip().replace(" ", "_"))


def _forms(value):
    """What an image's name may have been before programs changed it, the likeliest first."""
    forms = [nfc(value)]
    text = value.strip()
    if "?d=" in text:
        text = text.partition("?d=")[2]
    elif "://" in text:
        text = text.partition("://")[2].partition("/")[2]
    for form in (text, unquote(text), unquote(unquote(text))):
        clean = form.replace("\\", "/")
        while clean.startswith(("/", "./")):
            clean = clean.removeprefix("./").removeprefix("/")
        forms.append(nfc(clean))
    return list(dict.fromkeys(forms))


def nfc(text):
    return text if text.isascii() else unicodedata.normalize("NFC", text)
