"""The config's section `label`: a campaign that labels one pool of images with people."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

from labelbench.common import names
from labelbench.common.errors import UserError, did_you_mean
from labelbench.common.provenance import canonical
from labelbench.data import contents, folders
from labelbench.labelling import answer_files, answers, identity, tabular
from labelbench.labelling import campaign as campaigns_state
from labelbench.labelling.campaign import NOTHING_LEARNT
from labelbench.planning import plan


@dataclass(frozen=True)
class Settings:
    """What the section `label` may say.

    campaign: its name, that of the folder `labelling/<campaign>`; images: a folder, or a table of paths; classes: a
    list, or a text file with one per line, in the order of the keys; encoder, selector, trainer, strategy: names of
    definitions; finetune: a trainer that trains the encoder end to end on all answers for the labels that are
    delivered, none where the last round's model labels; first: the strategy of the first batch, which has no model to
    ask; batch: images asked at once; audit:
    images drawn at random to judge the models by; complete: share of a batch that must be answered before the next one
    is proposed; near_copies: cosine above which two images of a batch are near-copies; existing: files or folders of
    labels that exist already, in any format of answers; target: accuracy in percent at which the campaign may end, 0
    for none; budget: labels at most, 0 for no limit; price: of a label; mistake: what a wrong
    label costs; currency: their word; wrong: percent of wrong
    labels that are promised at most on delivery, 0 for no promise; confidence: of intervals and promises, in percent;
    looks: assessments that the verdict allows for; folders: whether delivery
    also makes a folder of links for each class.
    """

    campaign: str
    images: str
    classes: list[str] | str
    encoder: str = "glyphclip"
    selector: str = "linear"
    trainer: str = "answers"
    finetune: str = ""
    strategy: str = "margin"
    first: str = "kmeans"
    batch: int = 100
    audit: int = 100
    complete: float = 1.0
    near_copies: float = 0.98
    existing: list[str] = field(default_factory=list)
    target: float = 0.0
    budget: int = 0
    price: float = 0.0
    mistake: float = 0.0
    currency: str = "USD"
    wrong: float = 0.0
    confidence: float = 95.0
    looks: int = 10
    folders: bool = False

    def __post_init__(self):
        if self.batch < 2:
            raise ValueError("batch is a number of images that people label at once: at least 2")
        if self.audit < 0 or self.budget < 0 or self.price < 0 or self.mistake < 0 or self.looks < 1:
            raise ValueError("audit, budget, price and mistake cannot be negative, and looks is at least 1")
        for name in ("complete", "near_copies"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share: above 0, at most 1")
        for name in ("target", "wrong"):
            if not 0 <= getattr(self, name) < 100:
                raise ValueError(f"{name} is a percentage: from 0 (none) to below 100")
        for name, least in (("target", 1), ("wrong", 0.1)):
            if 0 < (share := getattr(self, name)) < least:
                raise ValueError(f"{name} is a percentage: for a share of {share:g} write {100 * share:g}")
        if not 50 <= self.confidence < 100:
            raise ValueError("confidence is a percentage from 50 to below 100, such as 95")


@dataclass(frozen=True)
class Campaign:
    """A campaign, checked: `settings` with names, `classes` as a tuple, and the entries its names stand for."""

    settings: Settings
    seed: int
    classes: tuple
    encoder: plan.Entry
    selector: plan.Entry
    trainer: plan.Entry
    strategy: plan.Entry
    first: plan.Entry
    finetune: plan.Entry | None = None

    @property
    def name(self):
        return self.settings.campaign

    @property
    def needs_views(self):
        """Whether the trainer learns from unlabelled images, and so needs their weak and strong views."""
        return bool(self.trainer.module.unlabelled_batch(self.trainer.config))


def campaign(section, seed, defined):
    """The `Campaign` of the section `label`. Raises `UserError` for what cannot be meant so.

    defined: the `plan.Study`, whose definitions the section's names stand for.
    """
    where = "config, label"
    settings = plan.complete(where, Settings, {k: v for k, v in section.items() if v is not None})
    names.check(f"{where}: campaign", settings.campaign)
    entries = {}
    for key in ("encoder", "selector", "trainer"):
        section_of = getattr(defined, f"{key}s")
        (name,) = plan.chosen(f"{where}: {key}", [getattr(settings, key)], section_of)
        entries[key] = section_of[name]
    if plan.end_to_end(entries["selector"]) or settings.selector in defined.refreshes:
        raise UserError(
            f"{where}: selector: {settings.selector} trains the encoder itself in every round. Between two batches "
            "people wait: choose linear or shallow."
        )
    if getattr(entries["trainer"].module, "IMAGES_ONLY", False):
        raise UserError(f"{where}: trainer: {settings.trainer} trains an encoder; the rounds train on embeddings.")
    if settings.finetune:
        plan.chosen(f"{where}: finetune", [settings.finetune], defined.trainers)
        entries["finetune"] = defined.trainers[settings.finetune]
    for key in ("strategy", "first"):
        name = getattr(settings, key)
        plan.chosen(f"{where}: {key}", [name], defined.strategies)
        entries[key] = defined.strategies[name]
        _check_strategy(f"{where}: {key}", name, entries[key])
    if set(entries["first"].module.USES) - {"features"}:
        raise UserError(
            f"{where}: first: {settings.first} asks a model, and before the first answers there is none. Choose one "
            "that asks the embeddings alone, such as kmeans, typiclust, maxherding, probcover, or random."
        )
    identity.source(settings.images)  # a folder that is not there is said before anything runs
    return Campaign(settings, seed, _classes(f"{where}: classes", settings.classes), **entries)


def _check_strategy(where, name, entry):
    kind = plan.kind(entry)
    if kind == "sequential":
        raise UserError(
            f"{where}: {name} sees each label before it chooses the next image, so it cannot fill a batch for people. "
            "Choose another, such as margin, badge or typiclust."
        )
    if kind == "upper bound":
        raise UserError(
            f"{where}: {name} looks at the true labels of all images, which nobody knows yet. It is a bound for "
            "studies; choose another, such as margin, badge or typiclust."
        )
    if "shortlist" in entry.settings:
        raise UserError(
            f"{where}: {name} has a shortlist, which studies know and campaigns do not. Define one without."
        )


def _classes(where, classes):
    """The class names as a tuple, from a list or a text file."""
    if isinstance(classes, str):
        path = Path(contents.expanded(classes))
        if not path.is_file():
            raise UserError(
                f"{where}: there is no file {classes} with a name on each line. A list of names is written "
                "[heron, stork]."
            )
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{where}: {classes} cannot be read as UTF-8 text: {error}") from None
        classes = [line.strip() for line in lines if line.strip()]
    names = [str(name).strip() for name in classes]
    if len(names) < 2:
        raise UserError(f"{where}: name at least two classes.")
    folded = {}
    for name in names:
        if not name:
            raise UserError(f"{where}: a class has no name.")
        if (other := folded.setdefault(name.casefold(), name)) != name or names.count(name) > 1:
            raise UserError(f"{where}: {name!r} and {other!r} are one class to a reader. Keep one of them.")
    return tuple(names)


def _files_in(path):
    """The `identity.File` of a path, or of all below a folder, through links."""
    if not path.is_dir():
        return [contents.listed("", str(path))]
    found = folders.walk(path)
    names = [*(file.path for file in found.images), *found.others]
    return [contents.listed("", str(path / name)) for name in names]


def renames(folder, classes):
    """Classes that were renamed or merged, old name → one of `classes`, from `classes.csv` of a campaign's folder.

    Raises `UserError` for a line that leads to no class, or in a circle.
    """
    import csv

    path = Path(folder) / "classes.csv"
    if not path.exists():
        return {}
    try:
        text = tabular.decode(path.read_bytes())
    except tabular.Unreadable as error:
        raise UserError(f"{path} {error}") from None
    dialect = ";" if text.partition("\n")[0].count(";") else ","
    rows = [row for row in csv.reader(text.splitlines(), delimiter=dialect) if any(row)]
    if not rows or [cell.strip().lower() for cell in rows[0][:2]] != ["old", "new"]:
        raise UserError(f"{path}: its first line must be old{dialect}new, and every other line two names of classes.")
    new = {row[0].strip(): row[1].strip() for row in rows[1:] if len(row) > 1}
    found = {}
    for old in new:
        name, seen = new[old], {old}
        while name in new and name not in seen and new[name] != name:
            seen.add(name)
            name = new[name]
        if name in seen and name != new[name]:
            raise UserError(
                f"{path}: the names lead in a circle, {' → '.join([old, new[old]])} → …: keep one direction."
            )
        if name not in classes:
            hint = did_you_mean(name, classes)
            raise UserError(f"{path}: {old!r} becomes {name!r}, which is no class of the config.{hint}")
        if name != old:
            found[old] = name
    return found


def spec(campaign_):
    """The settings that models of the campaign depend on, as JSON values."""
    return {
        "seed": campaign_.seed,
        "classes": list(campaign_.classes),
        "encoder": campaign_.encoder.settings,
        "selector": campaign_.selector.settings,
        "trainer": campaign_.trainer.settings,
    }


def finetune_spec(campaign_):
    """The settings that the encoder trained end to end depends on, as JSON values."""
    settings = spec(campaign_)
    del settings["selector"]
    return settings | {"trainer": campaign_.finetune.settings}


def as_json(campaign_):
    """All settings of a campaign, for the jobs that propose and assess."""
    return {
        **dataclasses.asdict(campaign_.settings),
        **spec(campaign_),
        "strategy": campaign_.strategy.settings,
        "first": campaign_.first.settings,
    }


def missing():
    """The input of `snakemake label` where the config describes no campaign."""
    raise UserError(
        "The config has no section `label`, which says what images to label, with which classes. Copy "
        "config/label.yaml, name your folder there, and run `snakemake label -c2 --configfile config/<yours>.yaml`. "
        "docs/labelling.md explains it."
    )


class Labelling:
    """What the Snakefile asks about a campaign while it builds the DAG.

    Everything here is read from files: the folder of images, the batches and the answers.
    """

    def __init__(self, campaign_):
        self.campaign, self.settings = campaign_, campaign_.settings
        self.folder = Path("labelling") / campaign_.name
        self._state = {}

    def index_spec(self):
        """Settings of the index. It is made anew where a file is added, removed, renamed or changed, or found again."""
        files, absent = identity.listed(self.settings.images)
        named = {"campaign": self.campaign.name, "images": self.settings.images, "listing": identity.digest(files)}
        return canonical(named | ({"absent": absent} if absent else {}))

    def answer_files(self):
        """Files and folders that may hold answers, and how they look now.

        A `batch.csv` counts once it holds an answer, so that a new batch is no new answer. Its date says nothing: it
        is another one where a campaign was copied.
        """
        found = [Path(contents.expanded(path)) for path in self.settings.existing]
        if missing := [str(path) for path in found if not path.exists()]:
            raise UserError(f"config, label: existing: there is no {', '.join(missing)}.")
        _, table = identity.source(self.settings.images)
        if table and answers.labels(table):
            found.append(table)  # a table of paths may hold labels, too
        if (self.folder / "answers").is_dir():
            found.append(self.folder / "answers")
        for manifest in sorted(self.folder.glob("batch*/batch.json")):
            for path in sorted(manifest.parent.iterdir()):
                if path.name in answer_files.WRITTEN or path.name.startswith("."):
                    continue
                if path.name != "batch.csv" or answers.filled(path):
                    found.append(path)
        return found

    def answers_spec(self):
        """Settings of the answers, with the date and size of every file that may hold some."""
        files = self.answer_files()
        seen = [file for path in files for file in _files_in(path)]
        return canonical(
            {
                "campaign": self.campaign.name,
                "images": self.settings.images,
                "seed": self.campaign.seed,
                "files": [str(path) for path in files],
                "strays": campaigns_state.strays(self.folder),
                "listing": identity.digest(seen),
                "classes": list(self.campaign.classes),
                "renames": self.renames(),
            }
        )

    def renames(self):
        """`renames` of this campaign."""
        return renames(self.folder, self.campaign.classes)

    def state(self, path):
        """`labelling.campaign.State`, from the file of the answers that count, beside which the index stands."""
        path = Path(path)
        index = path.with_name("images.csv")
        key = str(path), path.stat().st_mtime_ns, index.exists() and index.stat().st_mtime_ns
        if key not in self._state:
            batches = campaigns_state.batches(self.folder)
            found = campaigns_state.read_answers(path)
            self._state[key] = campaigns_state.state(
                batches, found, self.campaign.seed, self.settings.complete, identity.gone(identity.read_index(index))
            )
        return self._state[key]

    def views(self, place, augmentations):
        """Embedding files of the augmented views, where the trainer learns from unlabelled images."""
        count = augmentations if self.campaign.needs_views else 0
        return [f"{place}/aug{number}.h5" for number in range(count)]

    @staticmethod
    def trained(state):
        """Numbers of the rounds that have a model: those that know at least two classes."""
        return [round_.number for round_ in state.rounds if campaigns_state.trainable(round_)]

    @staticmethod
    def last_round(state):
        """Number of the last round that has a model. `UserError` where there is none."""
        trained = Labelling.trained(state)
        if not trained:
            raise UserError(NOTHING_LEARNT)
        return trained[-1]

    @staticmethod
    def labels_of_round(state, number):
        """Digest of the labels that a round's model learns from."""
        (found,) = [round_.digest for round_ in state.rounds if round_.number == number]
        return found

    def left(self, state, images):
        """How many images could still be asked about."""
        return sum(identity.usable(i) and i.sha256 not in state.answers for i in identity.read_index(images))

    def next_batch(self, state, images):
        """The `batch.json` to make, or none: a batch waits for answers, the budget is spent, or nothing is left."""
        if not campaigns_state.asks(state, self.left(state, images), self.settings.budget):
            return []
        return str(self.folder / campaigns_state.folder_name(state.next) / "batch.json")

    def next_promise(self, state, images):
        """The `frozen.csv` of the last audit to make, or none.

        There is one to make where a promise is wanted and none was asked for, or where the last one let no label pass
        and a batch was answered since: another model is frozen then, and another audit drawn.
        """
        trained = self.trained(state)
        if not self.settings.wrong or not trained or not self.left(state, images):
            return []
        last = self.promise(state)
        if last and (not campaigns_state.answered(last, state) or trained[-1] <= last.number or self._kept(state)):
            return []
        return str(self.folder / campaigns_state.folder_name(len(state.batches) + 1) / "frozen.csv")

    def order_to_label(self, state, images):
        """What a person is to do next, with the batch that `snakemake label` makes where one is due."""
        if self.next_batch(state, images):
            return campaigns_state.page_order(state.next, False, self.folder)
        return campaigns_state.order(state, self.folder, self.left(state, images), self.settings.budget)

    def order_to_deliver(self, state, images):
        """What a person is to do before labels can be delivered; empty where they are."""
        if self.next_promise(state, images):
            return campaigns_state.page_order(len(state.batches) + 1, True, self.folder)
        last = self.promise(state)
        waits = last and self.left(state, images) and not campaigns_state.answered(last, state)
        return campaigns_state.waits(last, state, self.folder) if waits else ""

    def promise(self, state):
        """The `campaign.Batch` of the last promise that was asked for; None where there is none, or none is wanted."""
        asked = campaigns_state.promises(state.batches)
        return asked[-1] if asked and self.settings.wrong else None

    def frozen(self, state):
        """The promise whose frozen model labels: the last one, once its audit is answered; otherwise None."""
        last = self.promise(state)
        return last if last and campaigns_state.answered(last, state) else None

    def _kept(self, state):
        """Whether the last promise lets any label of its model pass."""
        from labelbench.labelling import promises  # SciPy takes a second, and few runs ask

        asked = campaigns_state.promises(state.batches)
        found, *_ = promises.of_audit(
            asked[-1], len(asked), state.answers, self.settings.wrong / 100, 1 - self.settings.confidence / 100,
            self.campaign.classes, self.renames(),
        )  # fmt: skip
        return found.threshold is not None

    def deliverable(self, state, images):
        """Whether labels can be delivered now: where a promise is wanted, its audit has its answers, and is the last.

        Without a model only people's labels are delivered, which needs no promise.
        """
        if not self.settings.wrong or not self.left(state, images) or not self.trained(state):
            return True
        last = self.promise(state)
        return bool(last) and campaigns_state.answered(last, state) and not self.next_promise(state, images)


@dataclass(frozen=True)
class Rehearsal:
    """The config's section `rehearsal`: whole campaigns of a simulated person, to check what campaigns claim.

    datasets, encoder, selector, trainer: names of definitions; variants: by name, settings in which campaigns differ
    (`first`, `strategy`, `mistakes`, `skips`, and `late`, the share of answers that come one batch too late);
    campaigns: of each; jobs: among which they are shared; pool: images of each campaign, half of all at most, drawn
    from all splits; rounds: until labels are delivered under the promise; further: rounds after it, which show what
    more labels give; batch, audit, target, wrong, confidence, looks: as of a campaign; forecast: percentages of
    accuracy whose labels are forecast in every round.
    """

    datasets: list[str]
    variants: dict
    encoder: str = "glyphclip"
    selector: str = "linear"
    trainer: str = "answers"
    campaigns: int = 300
    jobs: int = 2
    pool: int = 10_000
    rounds: int = 5
    further: int = 0
    batch: int = 100
    audit: int = 150
    target: float = 95.0
    wrong: float = 5.0
    confidence: float = 95.0
    looks: int = 10
    forecast: list[float] = field(default_factory=list)

    def __post_init__(self):
        for name in ("campaigns", "jobs", "pool", "rounds", "batch", "looks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1, not {getattr(self, name)}")
        if self.jobs > 1000:
            raise ValueError(f"jobs is at most 1000, not {self.jobs}")
        if not self.variants:
            raise ValueError("variants is empty: name at least one, such as {plain: {}}")


@dataclass(frozen=True)
class Variant:
    """In what campaigns differ: names of strategies, shares of answers from 0 to 1."""

    first: str = "kmeans"
    strategy: str = "margin"
    mistakes: float = 0.0
    skips: float = 0.0
    late: float = 0.0

    def __post_init__(self):
        for name in ("mistakes", "skips", "late"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share: from 0 to 1, not {getattr(self, name)}")


def rehearsal(section, defined):
    """(`Rehearsal`, spec of each variant's campaigns by name). Raises `UserError` for what cannot be meant so."""
    where = "config, rehearsal"
    found = plan.complete(where, Rehearsal, section)
    plan.chosen(f"{where}: datasets", found.datasets, defined.datasets)
    shared = {"seed": defined.seed, "near_copies": 1.0, "budget": 0}
    for key in ("encoder", "selector", "trainer"):
        plan.chosen(f"{where}: {key}", [getattr(found, key)], getattr(defined, f"{key}s"))
        shared[key] = getattr(defined, f"{key}s")[getattr(found, key)].settings
    plain = ("further", "batch", "audit", "confidence", "looks", "campaigns", "jobs", "pool")
    shared |= {key: getattr(found, key) for key in plain} | judged_by(found)
    specs = {}
    for name, settings in found.variants.items():
        names.check(f"{where}: variants", name)
        settings = dataclasses.asdict(plan.complete(f"{where}: variants: {name}", Variant, settings or {}))
        for key in ("first", "strategy"):
            plan.chosen(f"{where}: variants: {name}: {key}", [settings[key]], defined.strategies)
            entry = defined.strategies[settings[key]]
            _check_strategy(f"{where}: variants: {name}: {key}", settings[key], entry)
            settings[key] = entry.settings
        specs[name] = shared | settings
    return found, specs


def judged_by(rehearsal_):
    """The settings of a `Rehearsal` that its table depends on, as JSON values."""
    return {key: getattr(rehearsal_, key) for key in ("rounds", "target", "wrong", "forecast")}
