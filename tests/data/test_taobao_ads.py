"""Taobao's display advertising in its published layout, as impressions for ranking and knowledge."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from published import archive
from typer.testing import CliRunner

from headwater.cli import app
from headwater.data import Impressions
from headwater.data.impression_log import load_log
from headwater.data.impressions import DAY
from headwater.data.readers.files import Files
from headwater.data.readers.taobao_ads import CHINA, read_taobao_ads
from headwater.errors import DatasetUnavailable
from headwater.knowledge.config import ExtractionConfig
from headwater.knowledge.extract import Extraction
from headwater.nn.settings import TrainingConfig

START = 1_494_000_000
"""2017-05-06 00:00 in China."""

SHOWN = [
    # user, seconds after START, ad, place, clicked
    (9, 90, 30, "430548_1007", 1),
    (4, 60, 10, "430539_1007", 0),
    (9, 90, 10, "430548_1007", 0),
    (9, DAY + 5, 20, "430539_1007", 1),
    (9, 50, 20, "430539_1007", 1),
]


def files(**changed: str) -> dict[str, bytes]:
    sample = "user,time_stamp,adgroup_id,pid,nonclk,clk\n" + "".join(
        f"{user},{START + at},{ad},{pid},{1 - click},{click}\n" for user, at, ad, pid, click in SHOWN
    )
    ads = (
        "adgroup_id,cate_id,campaign_id,customer,brand,price\n"
        "10,6406,83237,1,95471,170.0\n30,1,2,3,NULL,0.5\n99,1,1,1,1,1\n"
    )
    people = (
        "userid,cms_segid,cms_group_id,final_gender_code,age_level,pvalue_level,shopping_level,occupation,"
        "new_user_class_level \n9,0,5,2,5,,3,0,3\n77,0,5,2,5,1,3,0,\n"
    )
    content = {"raw_sample.csv": sample, "ad_feature.csv": ads, "user_profile.csv": people}
    return {f"taobao/{name}": text.encode() for name, text in (content | changed).items()}


def read(folder: Path, **changed: str) -> Impressions:
    with Files(archive(folder / "ads.zip", files(**changed))) as opened:
        return read_taobao_ads("ads", opened)


def test_every_impression_is_read_in_time_order_with_its_click_and_place(tmp_path: Path) -> None:
    found = read(tmp_path)
    assert (found.users.ids.tolist(), found.items.ids.tolist()) == ([4, 9], [10, 20, 30])
    assert (found.times - START).tolist() == [50, 60, 90, 90, DAY + 5]
    assert found.items.decode(found.item_codes) == [20, 10, 30, 10, 20], "ties as in the file"
    assert found.labels["click"].tolist() == [1, 0, 1, 0, 1]
    assert found.tasks == ("click",)
    assert found.days.tolist() == [0, 0, 0, 0, 1], "days change at midnight in China"
    assert set(found.context["hour"].tolist()) == {1}
    places = ["", "430539_1007", "430548_1007"]
    assert [places[level] for level in found.context["pid"]] == [places[1], places[1], places[2], places[2], places[1]]
    assert len(found.sub_domain("430548_1007")) == 2


def test_histories_are_the_users_clicks_before_the_second_of_the_impression(tmp_path: Path) -> None:
    found = read(tmp_path)
    starts, stops = found.history_slices()
    histories = [found.items.decode(found.history_items[start:stop]) for start, stop in zip(starts, stops, strict=True)]
    assert [list(history) for history in histories] == [[], [], [20], [20], [20, 30]]


def test_attributes_are_of_ads_and_profiles_and_what_is_not_known_is_null(tmp_path: Path) -> None:
    found = read(tmp_path)
    assert found.item_attributes.to_pylist() == [
        {"id": 10, "category": 6406, "campaign": 83237, "shop": 1, "brand": 95471, "price": 170.0},
        {"id": 20} | dict.fromkeys(("category", "campaign", "shop", "brand", "price")),
        {"id": 30, "category": 1, "campaign": 2, "shop": 3, "brand": None, "price": 0.5},
    ]
    nobody, nine = found.user_attributes.to_pylist()
    assert set(nobody.values()) == {4, None}
    assert (nine["new_user_class_level"], nine["pvalue_level"], nine["age_level"]) == (3, None, 5)


SAMPLE = files()["taobao/raw_sample.csv"].decode()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("raw_sample.csv", SAMPLE + "9,1494000000,10,430548_1007,1,1\n", "line 7: of clk and nonclk one must be 1"),
        ("raw_sample.csv", SAMPLE + "9,1494000000,10,430548_1007,1\n", "line 7: a field is missing"),
        ("raw_sample.csv", SAMPLE + "9,1494000000000,10,430548_1007,1,0\n", "line 7: time_stamp is no Unix second"),
        ("raw_sample.csv", SAMPLE + "9,then,10,430548_1007,1,0\n", "not in the published layout"),
        ("raw_sample.csv", SAMPLE.splitlines()[0] + "\n", "has no impression"),
        ("ad_feature.csv", "adgroup_id,cate_id\n1,2\n", "ad_feature.csv has no column 'campaign_id'"),
        (
            "ad_feature.csv",
            files()["taobao/ad_feature.csv"].decode() + "30,1,2,3,4,5\n",
            "line 3: adgroup_id 30 is not",
        ),
    ],
)
def test_a_log_that_is_not_as_published_is_told_by_line(name: str, content: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetUnavailable, match=said):
        read(tmp_path, **{name: content})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    some = {name: raw for name, raw in files().items() if "profile" not in name}
    with Files(archive(tmp_path / "ads.zip", some)) as opened, pytest.raises(DatasetUnavailable, match="user_profile"):
        read_taobao_ads("ads", opened)


def test_the_verb_keeps_them_and_knowledge_is_learned_from_them(tmp_path: Path) -> None:
    for name, raw in files().items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(raw)
    words = ["data", "import-impressions", str(tmp_path / "taobao"), "--layout", "taobao-ads", "--home", str(tmp_path)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "taobao: 5 impressions of 2 users and 3 items on days 0 to 1 (3 click)" in done.output
    kept = load_log("taobao", tmp_path)
    config: dict[str, Any] = {"dimension": 2, "user_dimension": 2, "hidden": (4, 3), "length": 4, "unit_hidden": 3}
    training = TrainingConfig(epochs=1, batch_size=2, device="cpu", threads=1)
    known = Extraction(ExtractionConfig(**config, training=training)).fit(kept).knowledge(kept)
    assert known.shape == (5, 2 + 6 + 3)
    assert np.isfinite(known).all()
    refused = CliRunner().invoke(app, [*words, "--click", "clk"])
    assert refused.exit_code != 0
    assert "says what every column is" in str(refused.output) + str(refused.exception)


def test_days_follow_the_clock_of_china(tmp_path: Path) -> None:
    assert read(tmp_path).day_zero == START
    assert (START + CHINA) % DAY == 0
