"""State in Redis or Valkey, and a server of our own for those who have none."""

from __future__ import annotations

from autoscaler.adapters.redis.embedded import EmbeddedServer, FolderInUseError, running_url
from autoscaler.adapters.redis.servers import RedisTls
from autoscaler.adapters.redis.store import RedisStore

__all__ = ["EmbeddedServer", "FolderInUseError", "RedisStore", "RedisTls", "running_url"]
