"""Streams as hypothesis makes them: any events in any order, and any end."""

from __future__ import annotations

from hypothesis import strategies as st

from jupyter_sse.events import (
    Delta,
    Done,
    Error,
    Log,
    Ping,
    Preview,
    Progress,
    Reasoning,
    Start,
    Step,
    Tool,
    Unknown,
    Usage,
)

texts = st.text('aس👩🏽‍🚀\n"', max_size=3)
ids = st.sampled_from(["1", "2", "message-1", "main"])
events = st.one_of(
    st.builds(Delta, text=texts),
    st.builds(Reasoning, text=texts),
    st.builds(Tool, id=ids, name=ids, phase=st.sampled_from(["call", "result"]), args=st.none() | st.just({"a": 1})),
    st.builds(Progress, bar=ids, n=st.integers(0, 9), state=st.none() | st.just("removed")),
    st.builds(Step, step=st.integers(1, 3), message=ids),
    st.builds(Log, text=texts),
    st.builds(Preview, mime=st.just("image/png"), data=st.just("aGk="), key=st.none() | ids),
    st.builds(Usage, input_tokens=st.integers(0, 9), output_tokens=st.integers(0, 9)),
    st.builds(Start, kind=ids, title=st.none() | texts),
    st.builds(Ping, ts=st.just(1.0)),
    st.just(Unknown("weather", {"wind": 3})),
)
dones = st.builds(
    Done, reason=st.sampled_from(["stop", "length", "cancelled", "timeout", "closed"]), result=st.none() | texts
)
ends = st.one_of(st.none(), dones, st.builds(Error, message=texts, code=ids))
