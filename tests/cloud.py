"""Keystone's part in tests of what calls other services of the cloud: real calls go to those, not to it."""

from dataclasses import dataclass, field

from autoscaler.errors import PermanentError


@dataclass(frozen=True)
class Project:
    project_id: str


@dataclass
class Cloud:
    """Tokens are ``token-TRUST-N``, N raised by each renewal; every trust is of a project of its own."""

    url: str = ""
    gone: set[str] = field(default_factory=set)
    renewals: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    async def token(self, trust_id: str = "") -> str:
        if trust_id in self.gone:
            raise PermanentError("the trust is gone")
        return f"token-{trust_id}-{self.renewals.get(trust_id, 1)}"

    async def renewed(self, refused: str, trust_id: str = "") -> str:
        assert refused == await self.token(trust_id)
        self.renewals[trust_id] = self.renewals.get(trust_id, 1) + 1
        return await self.token(trust_id)

    async def endpoint(self, service_type: str, trust_id: str = "") -> str:
        self.asked.append((service_type, trust_id))
        return self.url

    async def validate(self, token: str) -> Project | None:
        trust_id = token.split("-")[1]
        return Project(f"project-of-{trust_id or 'ours'}")
