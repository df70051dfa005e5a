import re

import pytest

from schemas.contract import contract, contract_names
from schemas.docs import limits, render, rules

PAGE = render([contract(name) for name in contract_names()])


@pytest.mark.parametrize("name", contract_names())
def test_every_table_has_its_place_on_the_page_with_all_its_columns(name):
    section = re.search(rf'<section id="{name}">.*?</section>', PAGE, re.DOTALL)[0]
    agreed = contract(name)
    for column in agreed.columns:
        assert f"<code>{column.name}</code>" in section
    assert section.count('class="mark personal"') == len(agreed.personal_columns)
    assert agreed.version in section
    assert agreed.owner in section
    for check in agreed.live_checks:
        assert f"<code>{check.check}</code>" in section


def test_the_page_stands_alone_and_every_link_leads_somewhere_on_it():
    assert "<script" not in PAGE
    assert "src=" not in PAGE
    targets = set(re.findall(r'href="([^"]*)"', PAGE))
    assert targets == {f"#{name}" for name in contract_names()}


def test_what_a_contract_says_is_escaped(edited):
    def attack(document):
        document.schema_[0].description = "<script>alert(1)</script>"

    page = render([edited("listens", attack)])
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize(
    ("table", "column", "words"),
    [
        ("listens", "item_kind", "track, episode"),
        ("listens", "ms_played", "0 to 86,400,000"),
        ("listens", "event_id", "not empty"),
        ("listens", "played_at", ""),
        ("steps", "seconds", "at least 0"),
        ("track_vectors", "vector", "exactly 80 numbers"),
    ],
)
def test_limits_are_said_in_words(table, column, words):
    assert limits(contract(table)[column]) == words


def test_a_rule_says_what_happens_where_it_is_broken(edited):
    def soften(document):
        document.schema_[0].quality[0].severity = "warning"

    assert [consequence for _, consequence in rules(contract("onboarding"))] == [
        "the row goes to quarantine",
        "the row goes to quarantine",
    ]
    assert rules(contract("items"))[0][1] == "nothing is published"
    assert rules(edited("items", soften))[0][1] == "it is said"
