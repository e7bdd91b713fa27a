"""Real text → embeddings that the dataset plug-in `features` reads: TF-IDF of words, then a truncated SVD.

    pip download --no-deps --no-binary :all: vaderSentiment==0.5     # MIT licence; its source package holds the texts
    python bench/text_features.py vaderSentiment-0.5.zip results/texts/data

23,703 sentences (Hutto & Gilbert, ICWSM 2014) come from four places: tweets, reviews of films, reviews of products, and
editorials of a newspaper. The label is the place. Writes `features.npy` (n, 128) float32 of unit length, and
`rows.csv` with the columns label and text. Neither sees a label: words and SVD are of all texts.
"""

import argparse
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np

PLACES = {
    "tweets": "tweet",
    "movieReviewSnippets": "film review",
    "amazonReviewSnippets": "product review",
    "nytEditorialSnippets": "editorial",
}


def texts(package):
    """(places, texts) of all sentences in the source package."""
    with zipfile.ZipFile(package) as files:
        name = next(name for name in files.namelist() if name.endswith("hutto_ICWSM_2014.tar.gz"))
        content = io.BytesIO(files.read(name))
    found = []
    with tarfile.open(fileobj=content) as archive:
        for name, place in PLACES.items():
            file = archive.extractfile(f"hutto_ICWSM_2014/{name}_GroundTruth.txt")
            lines = file.read().decode("latin-1").splitlines()
            found += [(place, line.split("\t", 2)[2].strip()) for line in lines if line.count("\t") >= 2]
    return zip(*found, strict=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path, help="vaderSentiment-0.5.zip")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dimensions", type=int, default=128)
    args = parser.parse_args()
    import pandas as pd
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    places, sentences = texts(args.package)
    words = TfidfVectorizer(sublinear_tf=True, min_df=3, ngram_range=(1, 2)).fit_transform(sentences)
    features = normalize(TruncatedSVD(args.dimensions, random_state=0).fit_transform(words))
    args.folder.mkdir(parents=True, exist_ok=True)
    np.save(args.folder / "features.npy", features.astype(np.float32))
    pd.DataFrame({"label": places, "text": sentences}).to_csv(args.folder / "rows.csv", index=False)
    print(f"{len(sentences)} sentences, {words.shape[1]} words, {features.shape[1]} dimensions")


if __name__ == "__main__":
    main()
