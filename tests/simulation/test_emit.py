"""What a play leaves is read by the product's own readers, and says what happened."""

from pathlib import Path

import numpy as np
import pytest

from headwater.data.events import Columns, read_events
from headwater.data.impression_log import LogColumns, read_impressions
from headwater.data.schema import Behaviour
from headwater.nearline import DirectorySource
from headwater.nearline.arrow import to_records
from headwater.nearline.records import UserEvent, Visit
from headwater.simulation.config import SCENARIOS, START
from headwater.simulation.emit import FolderSink, RankLogSink
from headwater.simulation.play import Page, Play
from headwater.simulation.world import World


@pytest.fixture(scope="module")
def left(small: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Page]]:
    folder = tmp_path_factory.mktemp("left")
    pages: list[Page] = []
    log = RankLogSink(folder / "log", small.catalogue, "arm-a")
    files = FolderSink(folder, small.users.integer_ids(), small.catalogue.items.integer_ids())

    def sink(page: Page) -> None:
        pages.append(page)
        log(page)
        files(page)

    play = Play(small)
    play.play_day(sink, log.flush)
    files.end_day(0)
    log.close()
    return folder, pages


def test_a_rank_log_holds_every_ranked_list_with_what_was_exposed_and_every_act(
    small: World, left: tuple[Path, list[Page]]
) -> None:
    folder, pages = left
    polled = DirectorySource(folder / "log").poll({}, 1_000_000)
    records = [record for block in polled.blocks for record in to_records(block.rows)]
    visits = {record.request_id: record for record in records if isinstance(record, Visit)}
    events = [record for record in records if isinstance(record, UserEvent)]
    assert len(visits) == sum(int((np.diff(page.ranked.offsets) > 0).sum()) for page in pages)
    for behaviour in ("clicks", "carts", "purchases"):
        expected = sum(int(getattr(page.outcome, behaviour).sum()) for page in pages)
        assert sum(event.behaviour == behaviour.removesuffix("s") for event in events) == expected
    page = max(pages, key=lambda page: len(page.ranked))
    row = int(np.argmax(np.diff(page.ranked.offsets)))
    user, time = int(page.queries.user_keys[row]), int(page.queries.request_times[row])
    (visit,) = [one for one in visits.values() if (one.user, one.timestamp) == (user, time)]
    assert visit.scenario == SCENARIOS[page.scenario]
    assert visit.arm == "arm-a"
    assert [item.item for item in visit.items] == small.catalogue.items.keys[page.ranked.of(row)].tolist()
    shown = int(np.diff(page.outcome.offsets)[row])
    assert [item.position for item in visit.items] == [*range(shown), *[None] * (len(visit.items) - shown)]
    assert sum(item.exposed for item in visit.items) == shown
    assert visit.items[0].channels == [SCENARIOS[page.scenario]]
    for event in events:
        of = visits[event.request_id or ""]
        assert event.item in {item.item for item in of.items if item.exposed}
        assert of.timestamp < event.timestamp <= of.timestamp + 3


def test_a_days_impressions_and_events_are_read_by_the_readers_of_logs(left: tuple[Path, list[Page]]) -> None:
    folder, pages = left
    path = folder / "impressions" / "day-00.parquet"
    read = read_impressions(path, LogColumns(context=("scenario", "position")), history=folder / "events" / path.name)
    impressions = read.impressions
    assert len(impressions) == sum(len(page.outcome.items) for page in pages)
    for task, name in (("click", "clicks"), ("cart", "carts"), ("conversion", "purchases")):
        assert impressions.labels[task].sum() == sum(int(getattr(page.outcome, name).sum()) for page in pages)
    assert set(impressions.context_levels["scenario"]) == {"", *SCENARIOS}
    assert impressions.day_zero == START
    events = read_events(folder / "events" / path.name, Columns(rating=None)).dataset
    assert (events.event_behaviours == Behaviour.PURCHASE).sum() == impressions.labels["conversion"].sum()
