"""The derivatives of activations and losses: vjp and jvp as `_rules` says."""

from __future__ import annotations

from typing import Any

VJP: dict[str, Any] = {}
JVP: dict[str, Any] = {}
