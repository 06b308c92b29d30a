"""Population based training: Jaderberg et al., arXiv:1711.09846, synchronous and repeatable.

Every model has for every seed a population of its own. Its members train side by side, each by a
recipe of its own; after each generation, of some epochs, the worst quarter goes on with the weights
and the recipe of members of the best quarter (section 3: "exploit", by truncation), and the numbers
that were taken over are multiplied by 0.8 or 1.25 ("explore", by perturbation).

A generation of a member is a trial, a segment, that names the one it goes on from. What the next
generation is follows from the space and from the ledger alone: nothing else is stored, and a run
that was killed comes to the decisions that it would have come to.

Deviations: generations wait for all members, where the paper's go on one by one; 1.25 where it has
1.2, so that two perturbations may cancel; no two members of a generation are the same trial.
"""

from __future__ import annotations

import itertools
import json
import math
import random
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sweep.ledger import Ledger
from sweep.plan import Plan, PlannedTrial, make_plan
from sweep.registry import TASKS
from sweep.spec.axes import Axis, drawn, recipe_axes
from sweep.spec.load import check_space
from sweep.spec.recipes import Recipe
from sweep.spec.schema import Space
from sweep.spec.trial import Segment
from sweep.training.checkpoint import Checkpoints

FACTORS = (0.8, 1.25)
"""Of which one multiplies each number that was taken over."""
REPLACED = 4
"""One in so many members goes on as another one."""
DRAWS = 100
"""Until what is drawn again and again counts as new."""

Values = dict[str, float]
"""Of the searched fields of a recipe."""


@dataclass(frozen=True)
class Member:
    """What a member of a generation goes on from, and as."""

    parent: int | None
    """Its place in the generation before; None in the first one."""
    values: Values


@dataclass
class _Line:
    """One population: the generations of one model and seed, each member in its place."""

    template: PlannedTrial
    generations: list[list[PlannedTrial]] = field(default_factory=list)
    members: list[Member] = field(default_factory=list)
    """Of the last generation."""

    @property
    def ids(self) -> list[str]:
        """The trials of the last generation."""
        return [planned.trial.trial_id for planned in self.generations[-1]]


class Population:
    """A source of the segments of a space; see ``sweep.orchestration.agenda.Source``.

    Args:
        space: a checked space with scheduler "pbt".
        ledger: where the segments stand.

    Raises:
        SpecError: what ``make_plan`` refuses.
    """

    def __init__(self, space: Space, ledger: Ledger) -> None:
        self.space, self.ledger = space, ledger
        self.found: Callable[[PlannedTrial], None] = lambda _: None
        """Is told of every trial before it is returned."""
        self.axes = recipe_axes(space.document)
        metric = TASKS[space.general.task].metric(space.metric)
        self.sign = 1 if metric.mode == "max" else -1
        self._whole = make_plan(_at_high_ends(space, self.axes))
        self._lines = [_Line(template) for template in self._whole.runnable]
        self._queue: deque[PlannedTrial] = deque()
        self._open: set[str] = set()
        """Trials that are to be returned, or were and have not ended."""
        for line in self._lines:
            line.members = first_generation(space.search.trials, self.axes, self._source())
            line.generations.append(list(self._segments(line)))
            self._advance(line)

    def next(self) -> PlannedTrial | None:
        if not self._queue:
            return None
        self.found(self._queue[0])
        return self._queue.popleft()

    def settled(self, trial_id: str) -> None:
        """Go on to the next generation if this one is over; what was lost keeps it waiting."""
        self._open.discard(trial_id)
        for line in self._lines:
            if trial_id in line.ids and self._open.isdisjoint(line.ids) and self._is_over(line):
                self._advance(line)
                self.clear()

    @property
    def exhausted(self) -> bool:
        return not self._open

    @property
    def plan(self) -> Plan:
        """The segments so far, generation by generation, and what cannot exist."""
        longest = max((len(line.generations) for line in self._lines), default=0)
        segments = {
            planned.trial.trial_id: planned
            for number in range(longest)
            for line in self._lines
            for planned in (line.generations[number] if number < len(line.generations) else ())
        }
        others = (*self._whole.refused, *self._whole.pruned)
        return self._whole.model_copy(update={"trials": (*segments.values(), *others)})

    def clear(self) -> None:
        """Remove the checkpoints that no segment needs any more."""
        for line in self._lines:
            over = line.generations if self._is_over(line) else line.generations[:-2]
            for planned in itertools.chain.from_iterable(over):
                if planned.trial.partial:
                    folder = self.ledger.checkpoint_folder(planned.trial.trial_id)
                    Checkpoints(folder).reduce("none")

    # Generations ---------------------------------------------------------------------------

    def _advance(self, line: _Line) -> None:
        """Go on to the first generation that is not over, if there is one."""
        while self._is_over(line):
            trial = line.generations[-1][0].trial
            scores = [self._score(planned) for planned in line.generations[-1]]
            source = self._source(line.template.trial.trial_id, len(line.generations))
            members = next_generation(line.members, scores, self.axes, source)
            if not trial.partial or not members:
                return
            line.members = members
            line.generations.append(list(self._segments(line)))
        wanted = {p.trial.trial_id: p for p in line.generations[-1]}
        self._open |= wanted.keys()
        self._queue += wanted.values()

    def _segments(self, line: _Line) -> Iterator[PlannedTrial]:
        """Yield the trials of the members of a new generation."""
        template = line.template.trial
        until = (len(line.generations) + 1) * self.space.scheduler.interval
        segment = Segment(until=min(until, template.recipe.epochs), parent=None)
        for number, member in enumerate(line.members, start=1):
            recipe = Recipe.model_validate({**template.recipe.model_dump(), **member.values})
            parent = None if member.parent is None else line.ids[member.parent]
            values = "-".join(f"{name}{value}" for name, value in member.values.items())
            update = {"recipe": recipe, "segment": segment.model_copy(update={"parent": parent})}
            yield line.template.model_copy(
                update={
                    "trial": template.model_copy(update=update),
                    "label": f"{line.template.label}-{values} "
                    f"(member {number}, to epoch {segment.until})",
                }
            )

    def _is_over(self, line: _Line) -> bool:
        return all(self.ledger.entry(trial_id).settled_for(scheduled=True) for trial_id in line.ids)

    def _score(self, planned: PlannedTrial) -> float | None:
        """Return how good a segment was at its end, more is better; None if it failed."""
        trial = planned.trial
        if self.ledger.entry(trial.trial_id).state == "failed":
            return None
        last = max(self.ledger.journal(trial.trial_id), key=lambda line: line.epoch)
        value = last.metrics[f"val_{trial.metric}"]
        return None if math.isnan(value) else self.sign * value

    def _source(self, *of: object) -> random.Random:
        """Return the random numbers of a decision; another search draws others."""
        ranges = {
            name: [float(axis.range.low), float(axis.range.high), axis.range.log]
            for name, axis in self.axes.items()
            if axis.range is not None
        }
        search = self.space.search
        return random.Random(json.dumps([search.seed, search.trials, ranges, *of]))


def first_generation(count: int, axes: Mapping[str, Axis], source: random.Random) -> list[Member]:
    """Return members with values drawn from their ranges.

    Args:
        count: of members.
        axes: the ranges, by field.
        source: of random numbers.
    """

    def draw() -> Member:
        return Member(None, {name: float(a.value(drawn(a, source))) for name, a in axes.items()})

    members: list[Member] = []
    while len(members) < count:
        members.append(_new(members, draw))
    return members


def next_generation(
    members: Sequence[Member],
    scores: Sequence[float | None],
    axes: Mapping[str, Axis],
    source: random.Random,
) -> list[Member]:
    """Return what the members of a generation become: exploit and explore.

    Args:
        members: of the generation that is over.
        scores: theirs, more is better; None of those that failed, which are all replaced.
        axes: the ranges, by field; what is multiplied stays within.
        source: of random numbers.

    Returns:
        As many members, in the same places; none if all failed.
    """
    count = len(members) // REPLACED
    failed = {place for place, score in enumerate(scores) if score is None}
    ranked = sorted(range(len(members)), key=lambda at: (at in failed, -(scores[at] or 0)))
    best = [place for place in ranked[:count] if place not in failed]
    if not best:
        return []

    def draw() -> Member:
        place = source.choice(best)
        return Member(place, _perturbed(members[place].values, axes, source))

    replaced = {*ranked[-count:], *failed}
    found = {
        place: Member(place, member.values)
        for place, member in enumerate(members)
        if place not in replaced
    }
    for place in sorted(replaced):
        found[place] = _new(found.values(), draw)
    return [found[place] for place in range(len(members))]


def _perturbed(values: Values, axes: Mapping[str, Axis], source: random.Random) -> Values:
    perturbed = {}
    for name, axis in axes.items():
        assert axis.range is not None
        value = values[name] * source.choice(FACTORS)
        perturbed[name] = float(axis.value(min(max(value, axis.range.low), axis.range.high)))
    return perturbed


def _new(known: Collection[Member], draw: Callable[[], Member]) -> Member:
    """Return a member that is not known yet, if one is drawn before long."""
    for _ in range(DRAWS):
        member = draw()
        if member not in known:
            break
    return member


def _at_high_ends(space: Space, axes: Mapping[str, Axis]) -> Space:
    """Return the grid of a space's models, trained with the largest values of the ranges."""
    data = {k: v for k, v in space.document.data.items() if k not in ("search", "scheduler")}
    high = {name: axis.range.high for name, axis in axes.items() if axis.range is not None}
    data["recipe"] = {**data["recipe"], **high}
    return check_space(replace(space.document, data=data))
