"""How often a key may ask."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp.server import limits
from ragapp.server.limits import Buckets
from tests.server.conftest import Running, ServeWith


@given(st.sampled_from([1, 2, 3, 60]), st.lists(st.floats(0, 40), min_size=1, max_size=200))
def test_no_minute_has_more_than_twice_the_limit_and_none_is_refused_that_could_be_had(
    limit: int, pauses: list[float]
) -> None:
    """A full bucket, and what flows in meanwhile."""
    now, granted = 0.0, list[float]()
    buckets = Buckets(limit, lambda: now)
    for pause in pauses:
        now += pause
        told = buckets.take("a")
        assert 0 <= told.left <= limit
        if told.granted:
            granted.append(now)
        else:
            assert 0 < told.wait_s <= 60 / limit + 1e-6
            now += told.wait_s + 1e-6
            assert buckets.take("a").granted  # the wait that was told is enough
            granted.append(now)
    for begin in granted:
        assert sum(begin <= at < begin + 60 for at in granted) <= 2 * limit


def test_everybody_has_a_bucket_of_their_own_and_there_are_not_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_BUCKETS", 3)
    now = 0.0
    buckets = Buckets(1, lambda: now)
    assert [buckets.take(name).granted for name in "aab"] == [True, False, True]
    now = 1.0
    for name in "cde":
        assert buckets.take(name).granted
    assert len(buckets) == 3
    now = 100.0
    assert buckets.take("f").granted
    assert len(buckets) == 1


def _ask(server: Running, **headers: str) -> Any:
    return server.http.get("/v1/models", headers=headers)


def test_who_asks_too_often_is_told_when_to_come_back(serve_with: ServeWith) -> None:
    server = serve_with(server__requests_per_minute=3)
    left = [_ask(server).headers["x-ratelimit-remaining-requests"] for _ in range(3)]
    assert left == ["2", "1", "0"]
    refused = _ask(server)
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert 1 <= int(refused.headers["retry-after"]) <= 20
    assert refused.headers["x-ratelimit-limit-requests"] == "3"
    assert refused.headers["x-ratelimit-reset-requests"].endswith("s")
    # What costs nothing is always answered.
    for path in ("/healthz", "/readyz", "/"):
        assert server.http.get(path).status_code in (200, 503)


def test_keys_do_not_share_a_limit(serve_with: ServeWith) -> None:
    server = serve_with(server__requests_per_minute=2, server__api_key="secret")
    ring = server.server.config.app.state.house.keyring  # type: ignore[union-attr]
    _, other = ring.add("limits-other", "read")
    try:
        for _ in range(2):
            assert _ask(server, Authorization="Bearer secret").status_code == 200
        assert _ask(server, Authorization="Bearer secret").status_code == 429
        assert _ask(server, Authorization=f"Bearer {other}").status_code == 200
    finally:
        ring.revoke("limits-other")
        ring.forget("limits-other")


def test_without_the_setting_there_is_no_limit(real: Running) -> None:
    assert all(_ask(real).status_code == 200 for _ in range(50))
    assert "x-ratelimit-limit-requests" not in _ask(real).headers
