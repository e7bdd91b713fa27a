"""Which class an answer names, through renames, slips and words that mean no class."""

import unicodedata

from labelbench.common.errors import did_you_mean
from labelbench.labelling.image_lookup import nfc
from labelbench.labelling.records import Problem
from labelbench.labelling.tabular import WORDS

# What people write into the column of labels where they mean that there is none, without its spaces.
STATUSES = {"skip": "skip", "skipped": "skip", "?": "unsure", "??": "unsure", "unsure": "unsure", "notsure": "unsure"}
STATUSES |= {"none": "none", "noneofthese": "none", "noneofthem": "none"}


class Classes:
    """Finds the class that an answer names, and says so once per file and name where there is none."""

    def __init__(self, classes, renames):
        self.classes = [nfc(name) for name in classes]
        self.names = dict(zip(self.classes, classes, strict=True))
        self.folded = {_folded(name): name for name in classes}
        self.renames, self.problems = self._resolved({nfc(old): nfc(new) for old, new in renames.items()})
        self.unknown, self.words = {}, {}

    @staticmethod
    def _resolved(renames):
        """Each old name with the name at the end of its chain. Names that lead back to themselves are complained of."""
        found, problems, cyclic = {}, [], set()
        for old in renames:
            seen, name = [old], renames[old]
            while name in renames and renames[name] != name and name not in seen:
                seen.append(name)
                name = renames[name]
            if name in seen and renames[old] != old:
                if not cyclic & set(seen):
                    chain = " → ".join(map(repr, [*seen, name]))
                    problems.append(f"The renames lead in a circle and are not applied: {chain}. Remove one of them.")
                cyclic.update(seen)
            elif not name.strip():
                problems.append(f"The class {old!r} is renamed to nothing; this is not applied. Write a new name.")
            else:
                found[old] = name
        return found, problems

    def answer(self, claim, source):
        """(status, label, what is wrong or ''); no status where the claim is no answer."""
        status, label = claim.status, claim.labels[0] if claim.labels else ""
        status = {"labelled": "label", "labeled": "label", "skipped": "skip"}.get(status, status)
        if status == "empty":
            return "empty", "", ""
        if status == "several":
            names = [self.renamed(name) for name in claim.labels]
            if len(set(names)) > 1:
                joined = " | ".join(names)
                return "several", joined, f"Several labels for one image: {joined}. It counts as unsure; choose one."
            status, label = "label", names[0]
        if status in ("skip", "none", "unsure"):
            if label.strip():
                return "", "", f"The status is {status!r}, yet there is the label {label!r}. Empty one of the two."
            return status, "", ""
        if status not in ("", "label", "new"):
            return "", "", f"The status {status!r} is none of: label, skip, none, unsure, new. The row is not used."
        if not label.strip():
            return "", "", f"The status is {status!r}, but there is no label. Write the class, or empty the status."
        try:
            label.encode()
        except UnicodeEncodeError:
            return "", "", f"The label {label!r} is not readable text. Write it anew, and save the file as UTF-8."
        name = self.renamed(label)
        if name in self.names:
            return "label", self.names[name], ""
        if status != "new" and label in WORDS:
            return WORDS[label], "", ""
        where = source if claim.row else source.rpartition("/")[0]  # of an image in a class folder: that folder
        if status != "new" and _folded(name) in STATUSES:
            self.words.setdefault((where, label.strip()), []).append(claim.row)
            return "", "", ""
        # A new class that is only another spelling of one in the list is a slip; any other is what was meant.
        if status != "new" or _folded(name) in self.folded:
            self.unknown.setdefault((where, name), []).append(claim.row)
        return "new", name, ""

    def renamed(self, label):
        label = nfc(label).strip()  # as names of classes are, everywhere else
        return self.renames.get(label, label)

    def complaints(self):
        """A `Problem` for each file and name that is no class."""
        found = []
        for (source, word), rows in self.words.items():
            count = f" ({len(rows)} answers)" if len(rows) > 1 else ""
            status = STATUSES[_folded(word)]
            what = f"{word!r} is no class of the list{count}, and is not used. If no class is meant, write {status!r} "
            what += f"into the column `status` and leave the label empty; as a folder, call it `__{status}__`."
            found.append(Problem(source, rows[0], what))
        for (source, name), rows in self.unknown.items():
            near = self.folded.get(_folded(name)) or next((c for c in self.classes if _same_number(c, name)), None)
            hint = f" Did you mean {near!r}?" if near else did_you_mean(name, self.classes)
            count = f" ({len(rows)} answers)" if len(rows) > 1 else ""
            what = f"{name!r} is no class of the list{count}: it counts as a new class.{hint} "
            what += "Correct the answer, add the class to the list, or write both names into classes.csv (old,new)."
            found.append(Problem(source, rows[0], what))
        return found


def _folded(text):
    """A name without what the eye passes over: case, spaces, Unicode form."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def _same_number(one, other):
    """Whether two names are one number: Excel makes 7 of 007."""
    try:
        return float(one) == float(other)
    except ValueError:
        return False
