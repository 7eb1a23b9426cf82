from __future__ import annotations

from autoscaler.engine.index import Index


def test_a_key_knows_what_was_added_and_not_dropped() -> None:
    index = Index()
    for id_ in ("a", "b", "a", "c"):
        index.add("k", id_)
    index.drop("k", "b")
    index.drop("k", "never-there")
    index.drop("other", "a")

    assert list(index.of("k")) == ["a", "c"]
    assert (index.beyond("k", {"a"}), index.beyond("k", {"a", "c"}), index.beyond("other", ())) == (["c"], [], ())


def test_a_key_that_knows_one_again_is_as_if_it_had_never_known_more() -> None:
    index, other = Index(), Index()
    for id_ in ("a", "b"):
        index.add("k", id_)
    index.drop("k", "a")
    other.add("k", "b")

    assert (list(index.of("k")), index.beyond("k", ()), index.beyond("k", {"b"})) == (["b"], ("b",), ())
    assert index == other
    index.drop("k", "a")
    assert list(index.of("k")) == ["b"]


def test_a_key_that_knows_nothing_any_more_is_gone() -> None:
    index = Index()
    index.add("k", "a")
    index.drop("k", "a")

    assert (len(index), index.of("k")) == (0, ())
