"""Trainers, one file each: the loss of one training step, on cached embeddings and on images alike.

A file has `Config` (from `_common.Optimisation`), `unlabelled_batch(config)`, the unlabelled examples of a step, and
`objective(config, problem)`: (function (`steps.Model`, `training.Batch`, number of the step) → `training.Step`, the
tensors by name that this function changes in place, which checkpoints save). A step's loss is a function of the logits
that the model gives, of all examples of the step, also where several GPUs compute them. It may have `IMAGES_ONLY`, for
training end to end alone, and `prepare(config, model, features, labels, rng)`, which changes the model before that (see
`lora.py`).
"""
