"""Results of others, one file per kind of them.

A file defines `Config`, a frozen dataclass of its settings, and of these settings

* `contents(config)`: `contents.Contents` by dataset, and `definitions(config)`: the settings behind them, or None where
  they are not known; cheap, for they are asked while the Snakefile is parsed;
* `files(config)`: paths of what is read;
* `read(config, log)`: rows of a study's table (`study.COLUMNS`), and sentences by dataset that say what was left out;
* `tuned(config)`: chosen settings of trainers.
"""
