"""Resolve: raw affiliation strings in, canonical institution records out. A reader starts here.

fold → clean → parse → normalize → block → score → second pass → calibrate → (link) → cluster → consolidate
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from blocking import (
    BlockingResult,
    BlockingSettings,
    CandidatePairs,
    Encoder,
    block_between,
    block_in_detail,
    engine,
)
from blocking.encoders import AUTO
from blocking.neighbours import nearest_neighbours
from blocking.vectors import kept
from pipeline.artefacts import (
    CLUSTERS,
    FORMS,
    blocked_form,
    cleaned_form,
    consolidated_form,
    linking_form,
    mentions_form,
    scored_form,
)
from pipeline.calibration import PlattScaling, calibrate
from pipeline.cleaning import clean
from pipeline.clustering import (
    KMEANS,
    Clusters,
    Constraints,
    cluster,
    cluster_vectors,
    must_groups,
    set_siblings_apart,
    within_reach,
)
from pipeline.consolidation import Consolidated, consolidate, mention_ids
from pipeline.errors import UsageError
from pipeline.explanation import Background, Explanation, PairReasons, explain, weakest_links
from pipeline.folding import Folded, fold_values, sources_of
from pipeline.judgements import Judgements, hold
from pipeline.known_names import names_of
from pipeline.linked_tables import timeline_frame
from pipeline.linking import Linking, RegistryFacts, link_run, load_registry
from pipeline.model_list import load_named_encoder
from pipeline.normalization import normalize
from pipeline.parsing import load_tagger, parse
from pipeline.records import Forms, Int64s, Matches, Mentions, Progress, ScoredPairs
from pipeline.run_folder import check_output, fingerprint_of, finish, shown_of, write_tables
from pipeline.scoring import (
    NAMES,
    AdditiveModel,
    PairFeatures,
    PairRescorer,
    ScoringSettings,
    fit_vocabulary,
    load_rescorer,
    score_by,
)
from pipeline.settings import Settings
from pipeline.stage_log import Onward, StageLog
from pipeline.tables import (
    RunFrames,
    institutions_frame,
    judgements_frame,
    mentions_frame,
    pairs_frame,
    set_aside_frame,
)
from pipeline.workspace import staged_folder
from pipeline.writing import side_by_side, write_parquet

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def resolve(
    affiliations: Sequence[str | None] | pd.Series[Any] | Folded,
    settings: Settings | None = None,
    *,
    constraints: Constraints | None = None,
    judgements: Judgements | None = None,
    models: Models | None = None,
    stage_log: StageLog | None = None,
) -> Resolution:
    """Raw affiliation strings become institutions.

    Args:
        affiliations: strings (a list, a pandas column) or folded ones; None and blank rows are set aside.
        settings: a section a stage; all defaults when left out.
        constraints: must-links and cannot-links between mention numbers; they always hold.
        judgements: what people said of pairs of strings (`read_judgements`); it always holds, too.
        models: an encoder, a rescorer or a registry to use instead of those that settings name.
        stage_log: times each stage and tells progress bars of it.

    Raises:
        AffilError: bad settings, a model that cannot be loaded, contradictory constraints or judgements.
    """
    settings = settings or Settings()
    models = models or Models.load(settings)
    stage = stage_log or StageLog()
    with stage("fold"):
        folded, sources = _folded(affiliations)
    strings = folded.affiliations
    cleaned = stage.run("clean", partial(clean, strings, settings.cleaning), cleaned_form(strings))
    parsed = partial(parse, cleaned, settings.parsing, known_names=settings.normalization.known_names)
    mentions = stage.run("parse", parsed, mentions_form(strings))
    held, keys = _held(constraints, judgements, mentions)
    del cleaned  # Millions of texts.
    forms = stage.run("normalize", partial(normalize, mentions, settings.normalization), FORMS)
    encoder = models.encoder or load_named_encoder(settings.blocking, len(forms))
    candidates = partial(block_in_detail, forms.views, forms.keys, settings.blocking, encoder=encoder)
    blocked = stage.run("block", lambda tick: candidates(on_progress=tick), blocked_form(encoder))
    scored = _scored(blocked, forms, mentions, stage, (settings, models))
    # The scored pairs are these and more; millions are not held twice.
    blocked = replace(blocked, pairs=CandidatePairs.empty())
    with stage("calibrate"):
        matches = calibrate(scored, settings.calibration)
    linking, registry = None, models.registry or load_registry(settings.linking)
    if registry:
        to_records = partial(link_run, forms, registry, settings.linking, blocked.encoder, settings.blocking)
        linking = stage.run("link", to_records, linking_form(registry, settings.linking)).told(keys)
    if settings.clustering.clusterer != KMEANS:
        group = partial(cluster_matches, matches, mentions.affiliation, settings, held, linking)
    else:
        group = partial(_cluster_vectors, blocked, forms, settings, held)
    clusters = stage.run("cluster", group, CLUSTERS)
    to_institutions = partial(consolidate, mentions, forms, matches, clusters.label, settings.canonical)
    found = stage.run("consolidate", lambda _: to_institutions(), consolidated_form(mentions))
    if linking:
        found = linking.identified(found, clusters.label)
    return Resolution(
        settings=settings,
        folded=folded,
        parsed=mentions,
        forms=forms,
        matches=matches,
        clusters=clusters,
        consolidated=found,
        constraints=held,
        stage_log=stage,
        sources=sources,
        judgements=judgements or Judgements(),
        linking=linking,
        neighbours=blocked.report,
        engine=engine.current().description,
    )


def _held(
    constraints: Constraints | None, judgements: Judgements | None, mentions: Mentions
) -> tuple[Constraints, dict[int, str]]:
    """Constraints and judgements together, and the ids that mentions are said to be.

    Refused at once where they contradict each other.
    """
    held = constraints or Constraints.none()
    if not judgements:
        return held, {}
    said = hold(judgements, mention_ids(mentions))
    held += said.constraints
    must_groups(len(mentions), held)
    return held, said.registry_key


def _folded(affiliations: Sequence[str | None] | pd.Series[Any] | Folded) -> tuple[Folded, pa.Table | None]:
    """Distinct strings, and which of them each row holds, where rows were given."""
    if isinstance(affiliations, Folded):
        return affiliations, None
    return fold_values(affiliations), sources_of(affiliations)


@dataclass(frozen=True)
class Models:
    """Objects that stand in for the models, and the registry, that settings name."""

    encoder: Encoder | None = None
    rescorer: PairRescorer | None = None
    registry: RegistryFacts | None = None

    @classmethod
    def load(cls, settings: Settings) -> Models:
        """The models that settings name, so that a wrong name is refused before any work is done.

        Raises:
            AffilError, BlockingError: a model that is missing or of the wrong kind, a GPU that is not there.
        """
        blocking, scoring = settings.blocking, settings.scoring
        load_tagger(settings.parsing)
        names_of(settings.normalization.known_names)
        PlattScaling.load(settings.calibration.file)
        AdditiveModel.load(scoring.model, NAMES)
        if blocking.device == "cuda":
            asked = BlockingSettings(device="cuda", backend=blocking.backend)
            nearest_neighbours(np.eye(2, dtype=np.float32), 1, asked)
        registry = load_registry(settings.linking)
        if registry and settings.clustering.clusterer == KMEANS:
            raise UsageError("clusterer 'kmeans' makes no institutions to link; leave --registry out")
        # Which "auto" is, the number of mentions will tell; both are in the package.
        encoder = None if blocking.encoder == AUTO else load_named_encoder(blocking)
        return cls(encoder, load_rescorer(scoring), registry)


#: Scores pairs, and tells how far it is.
_Judge = Callable[[CandidatePairs, Progress | None], ScoredPairs]


def _judge(forms: Forms, settings: ScoringSettings, rescorer: PairRescorer | None) -> _Judge:
    """What scores pairs of these mentions; what it knows of them is made when the first pairs come."""
    features = cache(lambda: PairFeatures(forms, fit_vocabulary(forms, settings.model)))
    rescorer = rescorer or load_rescorer(settings)

    def judge(pairs: CandidatePairs, tick: Progress | None) -> ScoredPairs:
        return score_by(features(), pairs, settings, rescorer, tick)

    return judge


def _scored(
    blocked: BlockingResult, forms: Forms, mentions: Mentions, stage: StageLog, asked: tuple[Settings, Models]
) -> ScoredPairs:
    """Candidate pairs and those of the second pass, scored; a function of its own, to let go of the parts."""
    settings, models = asked
    judge = _judge(forms, settings.scoring, models.rescorer)
    scored = stage.run("score", partial(judge, blocked.pairs), scored_form(blocked.pairs))
    if settings.clustering.clusterer == KMEANS or not settings.blocking.n_group_neighbours:
        return scored
    between = partial(_score_between, scored, blocked, mentions, settings, judge)
    return scored.joined(stage.run("second pass", between, scored_form()))


def _score_between(
    scored: ScoredPairs,
    blocked: BlockingResult,
    mentions: Mentions,
    settings: Settings,
    judge: _Judge,
    tick: Progress | None,
) -> ScoredPairs:
    """What neighbours missed between provisional clusters, scored.

    These are made by the default settings and without constraints, so that a run at another threshold scores
    the same pairs.
    """
    told = Onward(tick)
    matches = calibrate(scored, settings.calibration)
    provisional = cluster_matches(matches, mentions.affiliation, Settings(), Constraints.none())
    more = block_between(blocked, provisional.label, settings.blocking, on_progress=told)
    return judge(more, told.next())


def cluster_matches(
    matches: Matches,
    affiliation: Int64s,
    settings: Settings,
    held: Constraints,
    linking: Linking | None = None,
    tick: Progress | None = None,
) -> Clusters:
    """Matches of mentions to the cluster of each.

    Args:
        matches: scored pairs with their probability.
        affiliation: the number of each mention's string, non-decreasing, shape (n mentions,).
        settings: of clustering.
        held: constraints between mention numbers.
        linking: what a registry says of the mentions.
        tick: called with (pairs whose component is clustered, pairs).
    """
    n, pairs = len(affiliation), matches.pairs
    held = linking.held(pairs.left, pairs.right, held) if linking else held
    least = settings.clustering.min_match_probability
    near = within_reach(
        *(n, pairs.left, pairs.right, matches.probability), min_probability=least, constraints=held
    )
    left, right, probability = (kept(c, near) for c in (pairs.left, pairs.right, matches.probability))
    evidence = set_siblings_apart(left, right, probability, affiliation)
    found = cluster(n, *evidence, settings.clustering, constraints=held, on_progress=tick)
    if linking is None:
        return found
    return replace(found, label=linking.settled(found.label, held))


def _cluster_vectors(
    blocked: BlockingResult, forms: Forms, settings: Settings, held: Constraints, tick: Progress | None
) -> Clusters:
    vectors = blocked.vectors_of(forms.context)
    return cluster_vectors(vectors, settings.clustering, constraints=held, on_progress=tick)


@dataclass(frozen=True)
class Resolution:
    """The result of a run; answers the next question without running a model again."""

    settings: Settings
    folded: Folded
    parsed: Mentions
    forms: Forms
    matches: Matches
    clusters: Clusters
    consolidated: Consolidated
    constraints: Constraints
    stage_log: StageLog
    sources: pa.Table | None = None
    judgements: Judgements = field(default_factory=Judgements)
    linking: Linking | None = None
    neighbours: dict[str, Any] = field(default_factory=dict)
    engine: str = engine.LOCAL.description

    @cached_property
    def mentions(self) -> pd.DataFrame:
        """One row a mention: string, organisation, place, role, entity and match probability."""
        return mentions_frame(self.parsed, self.forms, self.consolidated, self.linking)

    @cached_property
    def institutions(self) -> pd.DataFrame:
        """One row a canonical record, the most frequent first."""
        return institutions_frame(self.consolidated, has_registry=self.linking is not None)

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """One row a scored pair: both mention ids, rule, similarity, logit, probability."""
        return pairs_frame(self.matches, self.consolidated)

    @cached_property
    def set_aside(self) -> pd.DataFrame:
        """What was taken out of the data path: whole strings and pieces of strings, with the reason."""
        return set_aside_frame(self.folded.set_aside + self.parsed.set_aside, self.parsed.affiliations)

    @cached_property
    def judged(self) -> pd.DataFrame | None:
        """One row a judgement: what was said, by whom, whether this run has its strings; None without any."""
        return judgements_frame(self.judgements, self.consolidated) if self.judgements else None

    @cached_property
    def timeline(self) -> pd.DataFrame | None:
        """For mentions of institutions that others became, the registry's record of each year.

        One row a period, years included; mentions that are not here are one record in all years. None
        without a registry.
        """
        if self.linking is None:
            return None
        found = self.linking.timeline(self.forms, self.clusters.label)
        return timeline_frame(found, self.consolidated.mention_id, self.linking.facts.registry.id)

    @property
    def counts(self) -> dict[str, int]:
        """The figures of the summary."""
        sizes = np.bincount(self.clusters.label) if len(self.parsed) else np.zeros(1, np.int64)
        return {
            "rows": self.folded.n_rows,
            "distinct": len(self.folded.affiliations),
            "set_aside": int(self.set_aside.loc[self.set_aside["is_whole"], "n_occurrences"].sum()),
            "mentions": len(self.parsed),
            "pairs_proposed": len(self.matches),
            "pairs_rescored": int(np.count_nonzero(~np.isnan(self.matches.pairs.rescored))),
            "institutions": len(self.consolidated.institutions),
            "largest_cluster": int(sizes.max()),
            "largest_component": self.clusters.largest_component,
            "judgements": len(self.judgements),
            "judgements_unknown": 0 if self.judged is None else int((~self.judged["is_known"]).sum()),
        }

    def rethreshold(self, min_match_probability: float) -> Resolution:
        """The same scored pairs clustered at another threshold.

        Raises:
            UsageError: the clusterer is k-means, which has no threshold.
        """
        if self.settings.clustering.clusterer == KMEANS:
            raise UsageError("clusterer 'kmeans' has no threshold: resolve again with another n_clusters")
        settings = self.settings.with_values(clustering={"min_match_probability": min_match_probability})
        clusters = cluster_matches(
            self.matches, self.parsed.affiliation, settings, self.constraints, self.linking
        )
        found = consolidate(self.parsed, self.forms, self.matches, clusters.label, settings.canonical)
        if self.linking:
            found = self.linking.identified(found, clusters.label)
        return replace(self, settings=settings, clusters=clusters, consolidated=found)

    def weakest_links(self, n: int = 20) -> pd.DataFrame:
        """The `n` least probable links that hold an institution together: the ones most worth a look."""
        return weakest_links(self.mentions, self.pairs, n)

    def explain(self, left: str, right: str) -> Explanation:
        """Why two strings (or mention ids) are, or are not, one institution."""
        return explain(self.mentions, self.pairs, left, right, self._background)

    @property
    def reasons(self) -> PairReasons:
        """What each feature says of pairs of mention ids, for the report."""
        features, ids = self._features, self.consolidated.mention_id
        return PairReasons(features, ids, self.settings.scoring.model)

    @cached_property
    def _features(self) -> PairFeatures:
        return PairFeatures(self.forms, fit_vocabulary(self.forms, self.settings.scoring.model))

    @cached_property
    def _background(self) -> Background:
        return Background(self.settings, self.constraints, self._features)

    @property
    def frames(self) -> RunFrames:
        """The tables as a run folder holds them."""
        return RunFrames(
            *(self.mentions, self.institutions, self.pairs, self.set_aside, self.judged, self.timeline)
        )

    @property
    def manifest(self) -> dict[str, Any]:
        """Settings, counts, seconds and memory of every stage; silhouettes where k-means was used."""
        tried = self.clusters.silhouette or {}
        return {
            "settings": self.settings.to_dict(),
            "settings_fingerprint": self.settings.fingerprint(),
            "counts": self.counts,
            "calibration_shift": round(self.matches.shift, 6),
            "stages": self.stage_log.stages,
            "neighbours": self.neighbours,
            "engine": self.engine,
            "seconds": self.stage_log.seconds,
            "warnings": list(self.warnings),
            "silhouette": [{"n_clusters": n, "silhouette": round(value, 6)} for n, value in tried.items()],
        }

    @property
    def warnings(self) -> list[str]:
        """What a person should know before trusting the result."""
        counts, found = self.counts, []
        if counts["largest_cluster"] > max(1000, 0.2 * counts["mentions"]):
            found.append(
                f"the largest institution holds {counts['largest_cluster']:,} of {counts['mentions']:,}"
                " mentions; look at it in the report; if it is a chain, raise min_match_probability"
            )
        if counts["judgements_unknown"]:
            found.append(
                f"{counts['judgements_unknown']:,} of {counts['judgements']:,} judgements name a string that"
                " this run does not have; see is_known in judgements.parquet"
            )
        n_lacking = int((self.linking.said.record < 0).sum()) if self.linking else 0
        if n_lacking:
            found.append(
                f"{n_lacking:,} mentions are judged to be an id that the registry lacks;"
                " they have no registry_id"
            )
        return found

    def write(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write the run folder (see docs/data-contract.md), all of it or nothing; gives its path.

        Raises:
            UsageError: the folder holds something else, or another run and `overwrite` is not given.
            AffilError: it cannot be written.
        """
        output = Path(folder)
        fingerprint = self._fingerprint()
        if not check_output(output, fingerprint, overwrite):
            with staged_folder(output) as work:
                if self.sources is not None:
                    write_parquet(self.sources, work / "sources.parquet")
                frames = self.frames
                with side_by_side() as call:
                    write_tables(work, frames, call)
                    report = shown_of(frames, self.reasons)
                finish(work, frames, self.manifest | {"fingerprint": fingerprint, "inputs": []}, report)
        return output

    def _fingerprint(self) -> str:
        """Names strings, rows, settings and result: models and constraints may have been given as objects."""
        strings, digest = self.folded.affiliations, hashlib.sha256()
        digest.update("\n".join(strings.affiliation_id).encode())
        # Rounded: the last bits of a probability differ from machine to machine.
        for column in (strings.n_occurrences, self.clusters.label, np.round(self.matches.probability, 6)):
            digest.update(np.ascontiguousarray(column).tobytes())
        rows = [] if self.sources is None else self.sources["affiliation_id"].to_pylist()
        digest.update("\n".join(i or "" for i in rows).encode())
        digest.update(repr(self.judgements.items).encode())
        return fingerprint_of([], self.settings.to_dict() | {"result": digest.hexdigest()})
