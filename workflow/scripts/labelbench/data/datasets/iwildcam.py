"""iWildCam 2020 as in WILDS 2.0 (Beery et al. 2021, arXiv 2105.03494): 203,029 camera-trap photos, 182 classes."""

from pathlib import Path

import numpy as np

from labelbench.data.datasets import _photos, _published, _variants, _wilds
from labelbench.data.datasets._wilds import Config  # noqa: F401

# The species of label y, by their English names: text encoders know few of the Latin ones in categories.csv. Four
# species stand there twice, under two spellings or numbers; they are two classes in WILDS and stay two here.
CLASSES = (
    "empty", "white-lipped peccary", "Central American agouti", "lowland paca", "cougar", "South American tapir",
    "collared peccary", "red brocket", "ocelot", "ruddy quail-dove", "South American coati", "nine-banded armadillo",
    "tayra", "common opossum", "crab-eating raccoon", "jaguar", "giant anteater", "great tinamou", "tapeti",
    "jaguarundi", "margay", "brown brocket", "gray four-eyed opossum", "wild goat", "cattle", "sheep", "wolf",
    "scrub hare", "olive baboon", "common genet", "Cape bushbuck", "slender mongoose", "African bush elephant",
    "Gambian pouched rat", "steenbok", "striped hyena", "impala", "spotted hyena", "caracal", "wild horse", "lion",
    "common eland", "waterbuck", "common warthog", "leopard", "white-tailed mongoose", "black-backed jackal",
    "African buffalo", "plains zebra", "giraffe", "hartebeest", "vervet monkey", "Günther's dik-dik", "bushpig",
    "Grant's gazelle", "Thomson's gazelle", "common ostrich", "aardvark", "cheetah", "white-bellied bustard",
    "wildcat", "East African oryx", "buff-crested bustard", "kori bustard", "black-bellied bustard", "great argus",
    "leopard cat", "banded palm civet", "Indian muntjac", "wild boar", "sun bear", "sambar deer", "Malayan porcupine",
    "Asian golden cat", "tiger", "three-striped ground squirrel", "common emerald dove", "Cape genet",
    "crested porcupine", "African wild dog", "rock hyrax", "dog", "unknown bird", "unknown bat", "Amazonian motmot",
    "black agouti", "quail-dove", "white-nosed coati", "northern tamandua", "opossum", "crested guan", "hummingbird",
    "plain parakeet", "dromedary", "bat-eared fox", "vulturine guineafowl", "Grévy's zebra", "aardwolf", "serval",
    "greater kudu", "hippopotamus", "spotted thick-knee", "masked palm civet", "marbled cat", "dhole",
    "Asian water monitor", "yellow-throated marten", "banded linsang", "crested partridge", "Salvadori's pheasant",
    "bronze-tailed peacock-pheasant", "Sunda pangolin", "Sumatran serow", "macaque", "handsome spurfowl",
    "L'Hoest's monkey", "black-fronted duiker", "African brush-tailed porcupine", "chimpanzee", "blue monkey",
    "mountain squirrel", "western yellow wagtail", "yellow-whiskered greenbul", "little greenbul",
    "charming thicket rat", "forest giant squirrel", "Boehm's bush squirrel", "yellow-backed duiker",
    "common rufous-nosed rat", "moustached grass warbler", "Peters's striped mouse", "African wading rat",
    "Stella wood mouse", "servaline genet", "side-striped jackal", "African pygmy mouse", "Ross's turaco",
    "tambourine dove", "Tullberg's soft-furred mouse", "big-eared swamp rat", "Egyptian goose", "link rat",
    "grey-winged francolin", "olive thrush", "brocket deer", "gray fox", "ocellated turkey", "great curassow",
    "lowland paca", "Baird's tapir", "raccoon", "white-tailed deer", "grey-headed dove",
    "Central American red brocket", "striped hog-nosed skunk", "Yucatan brown brocket", "plain chachalaca",
    "Thomas's langur", "Sunda clouded leopard", "Sumatran hog badger", "mouse-deer", "Sumatran treepie",
    "rufous-vented niltava", "silver-eared mesia", "red-billed partridge", "gallopheasant", "Javan whistling thrush",
    "crestless fireback", "crested serpent eagle", "blue whistling thrush", "collared mongoose", "crab-eating fox",
    "motorcycle", "deer mouse", "jaguarundi", "bare-throated tiger heron", "blue ground dove", "squirrel",
    "unknown bird", "grey-cowled wood rail", "unknown dove", "Central American red brocket",
)  # fmt: skip
TEMPLATES = (
    "a camera trap photo of {}.",
    "{} in front of a wildlife camera.",
    "a black and white night photo of {}, taken by a camera trap.",
    "a blurry photo of {} in its habitat.",
)
FOLDER = "iwildcam_v2.0"
COLUMNS = {"metadata.csv": ["split", "filename", "y", "location_remapped"]}
# WILDS' own validation set (`val`, new cameras) is not used: models are chosen on cameras of the pool, as in the paper.
SPLITS = {"pool": "train", "val": "id_val", "test": "id_test", "test_ood": "test"}
COUNTS = {"pool": 129_809, "val": 7_314, "test": 8_154, "test_ood": 42_791}
SIZES = _variants.Sizes(COUNTS["pool"], None, CLASSES)
HOW_TO_GET = _wilds.how_to_get(
    "iwildcam",
    FOLDER,
    "https://worksheets.codalab.org/rest/bundles/0x6313da2b204647e79a14b468131fcd64/contents/blob/",
)


def sources(config):
    """Path of the table that defines the dataset; of the photos, only that they are there is checked."""
    return [str(Path(config.folder) / FOLDER / name) for name in COLUMNS]


def lead_metric(config):
    """The metric that leads the dataset's tables: macro F1, which the data set's own benchmark and the paper report."""
    return "macro_f1"


def _photos_of(config):
    """The `Photos`, with the camera that took each as its group, and lines on what is wrong in the table.

    Source positions are rows of metadata.csv.
    """
    root = Path(config.folder) / FOLDER
    (table,) = _published.tables("iWildCam", root, COLUMNS, HOW_TO_GET)
    photos = _photos.Photos(
        [f"{root}/train/{name}" for name in table["filename"]],  # all splits lie in train/
        table["y"].fillna(-1).to_numpy(np.int64),
        {ours: np.flatnonzero((table["split"] == theirs).to_numpy()) for ours, theirs in SPLITS.items()},
        table["location_remapped"].fillna(-1).to_numpy(np.int64),
    )
    unknown = sorted(set(photos.labels.tolist()) - set(range(len(CLASSES))))
    return photos, [f"metadata.csv has the label {y}, and classes are 0 to {len(CLASSES) - 1}" for y in unknown]


def prepare(config):
    """The `Dataset`: pool, validation and test are WILDS' in-distribution splits (cameras of the pool, other days);
    `test_ood` has the cameras that the pool lacks.

    The published LabelBench runs merged all labels from 13 on into one class: `n_class: 14`.
    """
    photos, problems = _photos_of(config)
    return _photos.dataset("iWildCam", config, photos, CLASSES, TEMPLATES, COUNTS, problems, HOW_TO_GET)


def images(config):
    """A function from a source position to a PIL image, RGB, most of them 448 high."""
    photos, _ = _photos_of(config)
    return _photos.reader(photos, HOW_TO_GET)
