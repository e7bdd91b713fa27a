# What the rules of label.smk ask about a campaign; what decides stands in planning/campaigns.py.
from types import SimpleNamespace

from labelbench.common import registry
from labelbench.planning import campaigns

try:
    CAMPAIGN = (
        campaigns.campaign(config["label"], STUDY.seed, STUDY)
        if config.get("label")
        else None
    )
    LABELLING = campaigns.Labelling(CAMPAIGN) if CAMPAIGN else None
except UserError as error:
    raise WorkflowError(str(error)) from None


def as_it_is(value):
    """An input or params function that gives this: in a plain text, Snakemake takes a user's braces for wildcards."""
    return lambda wildcards: value


def campaign_missing(wildcards):
    campaigns.missing()


if CAMPAIGN:
    _DERIVED = f"<results>/labelling/{CAMPAIGN.name}"
    _CAMPAIGN_LOG = f"<logs>/labelling/{CAMPAIGN.name}"

    _trained = SimpleNamespace(encoder=CAMPAIGN.settings.encoder)

    def gpus_of_campaign(wildcards):
        return gpus_of_encoder(_trained)

    def threads_of_campaign(wildcards):
        return threads_for(gpus_of_encoder(_trained), _MANY)

    def mem_mb_of_campaign(wildcards):
        return training_mb(_trained, threads_of_campaign(wildcards), _weights_mb())

    def decoded_mb_of_campaign(wildcards):
        return decoded_mb(_trained)

    def threads_to_embed(wildcards):
        return threads_for(gpu_if_here(wildcards), _MANY)

    def threads_to_predict(wildcards):
        return threads_for(any_gpu(wildcards), _MANY)

    def mem_mb_to_predict(wildcards):
        threads = max(threads_to_embed(wildcards), threads_to_predict(wildcards))
        estimate = requests.of_images(threads, _weights_mb(), requests.LOADED)
        return requests.asked(estimate, requests.COMPUTING)

    def images_of_campaign(input):
        """(images, width of their embeddings); guesses where there are no embeddings yet."""
        return pool_shape(str(input.clean)) or (_MANY, EMBEDDING_BYTES // 2)

    def mem_mb_to_learn(wildcards, input):
        images, _ = images_of_campaign(input)
        views = sum(_size(path) or 0 for path in [input.clean, *input.augmented])
        estimate = requests.of_proxy(views / 1e6) + requests.of_campaign(images)
        return requests.asked(estimate)

    def mem_mb_to_propose(wildcards, input):
        """Of the strategy that takes more: which one it is, answers decide."""
        images, dim = images_of_campaign(input)
        settings = CAMPAIGN.settings
        labelled = min(settings.batch * (int(wildcards.batch) - 1), images)
        sizes = memory.Sizes(
            images - labelled, labelled, len(CAMPAIGN.classes), dim, settings.batch
        )
        entries = CAMPAIGN.strategy, CAMPAIGN.first
        estimate = max(requests.of_selection(entry, sizes) for entry in entries)
        return requests.asked(estimate + requests.of_campaign(images))

    # How many images there are is not known before they are listed.
    _MANY = 100_000

    def _weights_mb():
        files = CAMPAIGN.encoder.module.files(CAMPAIGN.encoder.config)
        return weights_mb({"weights": files})

    def how_of_campaign(wildcards, input):
        return how_end_to_end(_trained, input)

    def campaign_state():
        """What the answers say; the run goes on from here once they are read."""
        return LABELLING.state(checkpoints.ingest_answers.get().output.answers)

    def campaign_images():
        return Path(checkpoints.ingest_answers.get().output.answers).with_name(
            "images.csv"
        )

    def campaign_models(wildcards):
        return [
            f"{_DERIVED}/round{number:02d}/model.safetensors"
            for number in LABELLING.trained(campaign_state())
        ]

    def last_round(wildcards):
        return LABELLING.last_round(campaign_state())

    def last_labels(wildcards):
        return LABELLING.labels_of_round(
            campaign_state(), LABELLING.last_round(campaign_state())
        )

    def labels_of_round(wildcards):
        return LABELLING.labels_of_round(campaign_state(), int(wildcards.round))

    def model_of_round_before(wildcards):
        before = [
            n for n in LABELLING.trained(campaign_state()) if n < int(wildcards.batch)
        ]
        return f"{_DERIVED}/round{before[-1]:02d}/model.safetensors" if before else []

    def next_batch(wildcards):
        return LABELLING.next_batch(campaign_state(), campaign_images())

    def next_promise(wildcards):
        return LABELLING.next_promise(campaign_state(), campaign_images())

    def order_to_label(wildcards):
        return LABELLING.order_to_label(campaign_state(), campaign_images())

    def order_to_deliver(wildcards):
        return LABELLING.order_to_deliver(campaign_state(), campaign_images())

    def delivering(wildcards):
        """What labels: the model frozen for a promise, kept with its batch, or the last one (nothing where none is)."""
        models = campaign_models(wildcards)
        return models[-1] if models and not LABELLING.frozen(campaign_state()) else []

    def finetuned(name):
        """A file of the encoder that was trained end to end, wherever it is that which labels."""
        if not CAMPAIGN.finetune:
            return []

        def path(wildcards):
            return f"{_DERIVED}/finetuned/{name}" if delivering(wildcards) else []

        return path

    def delivery(wildcards):
        if not LABELLING.deliverable(campaign_state(), campaign_images()):
            return []
        return f"labelling/{CAMPAIGN.name}/delivered.txt"
