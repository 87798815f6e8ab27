"""mix.yaml: which sources make a dataset, how many rows of what are wanted, and what every row must
pass. All of it is data."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self, Union

from pydantic import Field, model_validator

from common.errors import did_you_mean
from preprocess import sources
from preprocess.source import Part, Source, load

if TYPE_CHECKING:
    AnySource = Source
else:
    AnySource = Annotated[Union[tuple(sources.modules())], Field(discriminator="kind")]  # noqa: UP007


class Gates(Part):
    """What every row must pass."""

    # Tokens of a whole row, in Pixtral's vocabulary, images included.
    max_tokens: int = Field(gt=0)
    # Least share of common English words among the words, code and formulas left out.
    english: float
    # Largest share of a reply's six-word runs that stood in it before, code and formulas left out.
    repetition: float
    # Estimated Jaccard similarity of five-word runs from which a later row is dropped.
    near_duplicate: float
    # Public sets whose test split is kept out of the rows: the key of the problem in a record, by
    # the set's name.
    benchmarks: dict[str, str] = {}
    # Files of the evaluation's own questions, to be kept out too: globs relative to the dataset's
    # folder.
    questions: list[str] = []


class Diversity(Part):
    """The most that the replies of a category may repeat each other; see preprocess.diversity."""

    # Share of words that stand in sentences which recur.
    recurring: float = Field(gt=0, le=1)
    # Share of rows that are alike to one other row; what people wrote may be, the rest never is.
    alike: float = Field(ge=0, le=1)


class Target(Part):
    """A quality share. A row counts when it meets every condition that is given; of the phrases any
    one."""

    share: tuple[float, float]
    what: str  # the definition in words, for the report
    of: list[str] = []  # categories whose rows are counted; of all where it is empty
    reasoning_words: int = 0  # at least
    nudges: bool = False  # the answer is a nudge by common.behaviour's definition
    phrases: list[str] = []  # regular expressions
    phrases_in: Literal["reply", "reasoning"] = "reply"
    labels: list[str] = []  # category or tag, any
    # User turns of the whole conversation; the share is then one of conversations.
    turns: tuple[int, int] | None = None


Range = tuple[float, float | None]  # the least and the most; None where more is never too much


class Written(Part):
    """What the conversations written by hand shall be, counted on them alone; preprocess.written
    measures it."""

    conversations: dict[str, int]  # by category
    total: int
    replies: int  # that are trained
    pictured: int  # conversations that show a picture
    domains: int  # of work and life
    targets: dict[str, Range]  # shares of the mix's targets, by their name
    reasoning_words: dict[int, Range]  # share of replies whose reasoning has so many words or more
    code: dict[str, Range]  # share of a category's replies that show code in a language
    openings: Range  # share of replies that begin as another one does
    shared: Range  # share of words that stand in an eight-word run of another row


class Pairs(Part):
    """Where pairs of replies come from; globs relative to the dataset's folder."""

    # Answers that are worse than a row's own, written by hand: see preprocess.pairs.Entry.
    written: list[str] = []
    # Whole pairs, one a line: of `make pairs`, of `make chat`, of a person. They need not be there.
    whole: list[str] = []
    # Of the pairs, held out; the rows that are held out are among them.
    val_share: float = Field(gt=0, lt=1)


class Mix(Part):
    """A mix.yaml."""

    seed: int
    val_share: float = Field(gt=0, lt=1)
    licence: str
    gates: Gates | None = None
    diversity: Diversity | None = None
    total: int | None = None
    quotas: dict[str, int] = {}  # rows wanted of each category; without them every row is taken
    caps: dict[str, int] = {}  # most rows of an origin
    targets: dict[str, Target] = {}
    # Words that a quarter, a half and three quarters of the reasonings shall stay under.
    reasoning_quartiles: tuple[int, int, int] | None = None
    written: Written | None = None
    pairs: Pairs | None = None
    sources: list[AnySource] = Field(min_length=1)

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        origins = {origin for config in sources.modules() for origin in config.origins}
        for origin in self.caps:
            if origin not in origins:
                known = ", ".join(sorted(origins))
                raise ValueError(f"caps: {origin!r} is no origin; one of {known}")
        for name in self.written.targets if self.written else ():
            if name not in self.targets:
                raise ValueError(f"written: {name!r} is no target")
        if not self.quotas:
            return self
        wanted = sum(self.quotas.values())
        if wanted != self.total:
            raise ValueError(f"the quotas sum to {wanted:,}, total says {self.total}")
        for number, source in enumerate(self.sources):
            if source.category not in self.quotas:
                hint = did_you_mean(source.category, self.quotas)
                problem = f"no quota for category {source.category!r}{hint}"
                raise ValueError(f"sources.{number} ({source.kind}): {problem}")
        return self


def read(folder: Path) -> Mix:
    """The mix.yaml of a dataset's folder. Raises FileError or MixError."""
    return load(folder / "mix.yaml", Mix)
