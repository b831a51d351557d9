"""A label set in the language that was spoken."""

from golem_chain.shared.records import Label, LabelSet


def in_language(labels: LabelSet, language: str | None) -> LabelSet:
    """The set as its wording for that language puts it; the set itself where it has none, or the language is unknown.

    Phrasings, prompts, template and examples of the wording stand in the place of the set's own, and what the wording
    leaves out stays. Names stay in every case: an intent has one name in all languages. The result has no wordings.
    """
    if not labels.wordings:
        return labels
    wording = next((wording for wording in labels.wordings if wording.language == language), None)
    if wording is None:
        return labels.model_copy(update={"wordings": ()})
    said = {label.name: label for label in wording.labels}
    return labels.model_copy(
        update={
            "labels": tuple(_reworded(label, said.get(label.name)) for label in labels.labels),
            "template": wording.template or labels.template,
            "prompt": wording.prompt or labels.prompt,
            "turns": wording.turns or labels.turns,
            "wordings": (),
        }
    )


def _reworded(label: Label, said: Label | None) -> Label:
    if said is None:
        return label
    return Label(name=label.name, phrasings=said.phrasings or label.phrasings, prompt=said.prompt or label.prompt)
