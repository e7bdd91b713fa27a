"""The two photo collections of WILDS (Koh et al. 2021, arXiv 2012.07421), in the folders that its package makes."""

from dataclasses import dataclass

from labelbench.data.datasets import _variants


@dataclass(frozen=True)
class Config(_variants.Variants):
    """folder: the `root_dir` that the WILDS package was given, where it made a folder for the dataset.

    verify: compare the numbers of images with the published ones.
    """

    folder: str
    verify: bool = True


def how_to_get(name, folder, address):
    """Where to get one of the datasets and what to write into the config then."""
    return (
        f"Get it with the WILDS package (https://wilds.stanford.edu), wilds.get_dataset('{name}', root_dir=FOLDER, "
        f"download=True), or from {address} and unpack it. Then name the folder that holds {folder} as `folder` of "
        "this dataset in the config."
    )
