"""Functional Map of the World (Christie et al. 2018, arXiv 1711.07846) as in WILDS: satellite images, 62 classes."""

from pathlib import Path

import numpy as np

from labelbench.data.datasets import _photos, _published, _variants, _wilds
from labelbench.data.datasets._wilds import Config  # noqa: F401

CATEGORIES = (
    "airport", "airport_hangar", "airport_terminal", "amusement_park", "aquaculture", "archaeological_site", "barn",
    "border_checkpoint", "burial_site", "car_dealership", "construction_site", "crop_field", "dam",
    "debris_or_rubble", "educational_institution", "electric_substation", "factory_or_powerplant", "fire_station",
    "flooded_road", "fountain", "gas_station", "golf_course", "ground_transportation_station", "helipad", "hospital",
    "impoverished_settlement", "interchange", "lake_or_pond", "lighthouse", "military_facility",
    "multi-unit_residential", "nuclear_powerplant", "office_building", "oil_or_gas_facility", "park",
    "parking_lot_or_garage", "place_of_worship", "police_station", "port", "prison", "race_track", "railway_bridge",
    "recreational_facility", "road_bridge", "runway", "shipyard", "shopping_mall", "single-unit_residential",
    "smokestack", "solar_farm", "space_facility", "stadium", "storage_tank", "surface_mine", "swimming_pool",
    "toll_booth", "tower", "tunnel_opening", "waste_disposal", "water_treatment_facility", "wind_farm", "zoo",
)  # fmt: skip
REGIONS = ("Asia", "Europe", "Africa", "Americas", "Oceania")
TEMPLATES = (
    "a satellite image of a {}.",
    "an aerial photo of a {}.",
    "a {} seen from above.",
    "overhead imagery that shows a {}.",
    "a satellite photo of a {} in Africa.",
    "a satellite photo of a {} in the Americas.",
    "a satellite photo of a {} in Asia.",
    "a satellite photo of a {} in Europe.",
    "a satellite photo of a {} in Oceania.",
)
FOLDER = "fmow_v1.1"
COLUMNS = {
    "rgb_metadata.csv": ["split", "category", "country_code", "timestamp"],
    "country_code_mapping.csv": ["alpha-3", "region"],
}
COUNTS = {"pool": 76_863, "val": 11_483, "test": 11_327, "test_ood": 22_108}
SIZES = _variants.Sizes(COUNTS["pool"], None, CATEGORIES)
HOW_TO_GET = _wilds.how_to_get(
    "fmow",
    FOLDER,
    "https://worksheets.codalab.org/rest/bundles/0xaec91eb7c9d548ebb15e1b5e60f966ab/contents/blob/",
)


def sources(config):
    """Paths of the two tables that define the dataset; of the images, only that they are there is checked."""
    return [str(Path(config.folder) / FOLDER / name) for name in COLUMNS]


def lead_metric(config):
    """The metric that leads the dataset's tables."""
    return _variants.lead_metric(config)


def _photos_of(config):
    """The `Photos`, with the continent as group, and lines on what is wrong in the table.

    Source positions are rows of rgb_metadata.csv, which number the image files as well. WILDS splits by the year too:
    pool, validation and test are from before 2013, `test_ood` from 2016 on. Its validation set of later years and the
    images that it holds back (split `seq`) are not used.
    """
    import pandas as pd

    root = Path(config.folder) / FOLDER
    table, countries = _published.tables("fMoW", root, COLUMNS, HOW_TO_GET)
    year = pd.to_datetime(table["timestamp"], utc=True, format="ISO8601", errors="coerce").dt.year.to_numpy()
    split, before, after = table["split"].to_numpy(), year < 2013, year >= 2016
    # Islands that are in no continent's list have no group, as in WILDS, which leaves them out of its worst region.
    region = table["country_code"].map(dict(zip(countries["alpha-3"], countries["region"], strict=True)))
    photos = _photos.Photos(
        [f"{root}/images/rgb_img_{row}.png" for row in range(len(table))],
        _positions(table["category"], CATEGORIES),
        {
            "pool": np.flatnonzero((split == "train") & before),
            "val": np.flatnonzero((split == "val") & before),
            "test": np.flatnonzero((split == "test") & before),
            "test_ood": np.flatnonzero((split == "test") & after),
        },
        _positions(region, REGIONS),
    )
    unknown = sorted(set(table["category"][photos.labels < 0].astype(str)))
    problems = [f"rgb_metadata.csv has the category {name!r}, which is none of fMoW's" for name in unknown]
    if undated := np.isnan(year).sum():
        problems.append(f"rgb_metadata.csv has {undated} rows whose timestamp is no date")
    return photos, problems


def _positions(names, known):
    """Positions (n,) int64 of a column's names among the known ones, −1 for others."""
    return names.map({name: at for at, name in enumerate(known)}).fillna(-1).to_numpy(np.int64)


def prepare(config):
    """The `Dataset`: pool, validation and test are WILDS' in-distribution splits, `test_ood` is its later test set."""
    photos, problems = _photos_of(config)
    class_names = [name.replace("_", " ") for name in CATEGORIES]
    return _photos.dataset("fMoW", config, photos, class_names, TEMPLATES, COUNTS, problems, HOW_TO_GET)


def images(config):
    """A function from a source position to a PIL image, 224×224, RGB."""
    photos, _ = _photos_of(config)
    return _photos.reader(photos, HOW_TO_GET)
