"""Three examples of a replay source: as it is without settings, or as an experiment makes it."""

from __future__ import annotations

from recap.experiment.experiment import Experiment
from recap.experiment.prepare import sources_of
from registry.core import Entry
from registry.example import MalformedExample
from registry.replay.base import ReplaySource

SHOWN = 3
TRIED = 16  # rows, of which some may be malformed


def examples_alone(entry: Entry) -> list[str]:
    """Of a source that needs no data; else what to do."""
    try:
        source: ReplaySource = entry.target()
        return examples_of(source)
    except TypeError:  # needs parameters: a file, a data set
        return [
            f"examples: it needs settings; as an experiment has them: recap describe replay {entry.name} --file FILE"
        ]
    except (ValueError, ImportError) as error:
        return [f"examples: {error}"]


def examples_in(experiment: Experiment, entry: Entry) -> list[str]:
    """Of every source of an experiment that is this part.

    Raises:
        ValueError: the experiment has none, or it cannot be read; the message names its binding.
    """
    sources = sources_of(experiment)
    lines: list[str] = []
    for binding, source in sources.items():
        if type(source) is entry.original:
            try:
                source.check()
                heading, *examples = examples_of(source)
                lines += [f"{binding}: {heading}", *examples]
            except (ValueError, OSError) as error:
                raise ValueError(f"{binding}: {error}") from error
    if not lines:
        has = ", ".join(f"{binding} ({type(source).__name__})" for binding, source in sources.items())
        raise ValueError(f"no source of the experiment is a replay.{entry.name}; it has {has}")
    return lines


def examples_of(source: ReplaySource) -> list[str]:
    """How many there are, and the first three that can be used: id, question, target, picture."""
    length = source.length
    lines = [f"{'endless' if length is None else f'{length} examples'}, for instance:"]
    for position in range(TRIED if length is None else min(TRIED, length)):
        if len(lines) > SHOWN:
            break
        try:
            example = source.example(position)
        except MalformedExample as error:
            lines.append(f"  cannot be used: {error}")
            continue
        picture = f" ({len(example.images)} image, {example.images[0].size})" if example.images else ""
        lines.append(f"  {example.id}: {example.question!r} -> {example.supervised_target!r}{picture}")
    return lines
