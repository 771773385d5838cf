"""What a check tells of events: everything at once, and nothing that is not so."""

from pathlib import Path

import pytest

from headwater.data.check import Report, check_events
from headwater.data.events import Columns

GOOD = "".join(f"{user},{(user + at) % 5},{1_600_000_000 + at * 60}\n" for user in range(4) for at in range(5))
HEADER = "user_id,item_id,timestamp"


def check(folder: Path, text: str, **options: object) -> Report:
    path = folder / "events.csv"
    path.write_text(text, encoding="utf-8")
    return check_events(path, **options)  # type: ignore[arg-type]


def said(report: Report, severity: str) -> str:
    return "\n".join(str(finding) for finding in report.findings if finding.severity == severity)


def test_a_good_file_has_nothing_to_say_but_its_figures(tmp_path: Path) -> None:
    report = check(tmp_path, f"{HEADER}\n{GOOD}")
    assert report.findings == ()
    assert not report.has_errors
    assert report.statistics is not None
    assert (report.statistics.users, report.statistics.asked) == (4, 4)


def test_every_faulty_column_is_told_at_once(tmp_path: Path) -> None:
    text = f"{HEADER},behaviour,rating\n,a,-1,kick,nan\n1,b,2,click,1\n"
    report = check(tmp_path, text)
    assert report.has_errors
    assert report.statistics is None
    errors = said(report, "error")
    for part in ("'user_id': no id", "is negative", "unknown behaviour 'kick'", "is not a finite number"):
        assert part in errors
    assert errors.count("line 2") == 4


def test_missing_columns_and_bad_values_are_told_together(tmp_path: Path) -> None:
    errors = said(check(tmp_path, "user,item_id,timestamp\n1,a,-1\n"), "error")
    assert "no column 'user_id' for the user (the nearest is 'user')" in errors
    assert "is negative" in errors


def test_a_file_that_cannot_be_read_is_one_error(tmp_path: Path) -> None:
    report = check_events(tmp_path / "none.csv")
    assert [finding.severity for finding in report.findings] == ["error"]
    assert report.findings[0].where.endswith("none.csv")
    assert "no such file" in report.findings[0].what


def test_faults_of_both_attribute_files_are_told_with_the_warnings_of_the_events(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item,title\n0,a\n", encoding="utf-8")
    report = check(
        tmp_path, f"{HEADER}\n{GOOD}9,9,1600000000\n", items_file=tmp_path / "items.csv", users_file=tmp_path / "no.csv"
    )
    errors = said(report, "error")
    assert "items.csv: there is no column 'item_id'" in errors
    assert "no.csv: there is no such file" in errors
    assert "users with one interaction: 1 (20.0%)" in said(report, "warning")
    assert report.statistics is None


def test_repeated_events_are_a_warning(tmp_path: Path) -> None:
    first = GOOD.splitlines()[0]
    report = check(tmp_path, f"{HEADER}\n{GOOD}{first}\n{first}\n")
    assert "2 of 22 events repeat another" in said(report, "warning")
    assert not report.has_errors


def test_only_cold_users_are_a_warning(tmp_path: Path) -> None:
    report = check(tmp_path, f"{HEADER}\n1,a,1600000000\n2,a,1600000000\n2,b,1600000001\n")
    assert "only cold users: nobody has 3 interactions (the longest history has 2)" in said(report, "warning")
    assert report.statistics is not None
    assert report.statistics.asked == 0


def test_a_user_who_is_most_of_the_data_is_named(tmp_path: Path) -> None:
    few = "".join(f"{user},{item},{1_600_000_000 + item}\n" for user in range(30) for item in range(3))
    heavy = "".join(f"robot,{item},{1_600_000_000 + item}\n" for item in range(50))
    assert "user 'robot' alone has 50 interactions (35.7% of all)" in said(
        check(tmp_path, f"{HEADER}\n{few}{heavy}"), "warning"
    )


def test_times_that_look_like_positions_are_a_warning(tmp_path: Path) -> None:
    text = f"{HEADER}\n1,a,0\n1,b,1\n1,c,2\n"
    assert "events from before 1980: 3" in said(check(tmp_path, text), "warning")
    positions = check(tmp_path, text, time_unit="position", columns=Columns(time="timestamp"))
    assert said(positions, "warning") == ""


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (f"{HEADER}\n1,a,1600000000\n1,b,1600000000\n1,c,1600000001\n", "50.0% of a user's successive interactions"),
        (f"{HEADER},rating\n" + GOOD.replace("\n", ",3\n"), "every rating is 3"),
        (f"{HEADER}\n{GOOD}".replace("0000\n", "0000.5\n"), "times have fractions of a second"),
        (
            f"{HEADER},behaviour\n7,z,1600000000,impression\n" + GOOD.replace("\n", ",click\n"),
            "impressions: 1, counted and kept out",
        ),
        (f"{HEADER}\n{GOOD}8,x,1600000000\n8,y,1600000001\n8,z,1600000002\n", "20.00% of the items that leave-one-out"),
    ],
)
def test_what_is_good_to_know_is_a_note(text: str, note: str, tmp_path: Path) -> None:
    report = check(tmp_path, text)
    assert note in said(report, "note")
    assert not report.has_errors


def test_missing_attributes_are_counted(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id,title\n0,a\n1,\n", encoding="utf-8")
    notes = said(check(tmp_path, f"{HEADER}\n{GOOD}", items_file=tmp_path / "items.csv"), "note")
    assert "4 of 5 ids have no title" in notes
    assert "there is no column 'category'" in notes
