"""Bodies of `/galleries/{gallery}/migration`."""

from typing import Literal

from pydantic import Field, model_validator

from server.schemas.common import Answer, Problem, Request


class MigrationRequest(Request):
    """Where a gallery is to go: exactly one of `bundle` and `rollback`."""

    bundle: str | None = Field(default=None, description="name of a bundle in the operator's directory of bundles")
    rollback: bool = Field(default=False, description="back to the model that the gallery was moved from")

    @model_validator(mode="after")
    def _exactly_one(self) -> "MigrationRequest":
        if (self.bundle is not None) == self.rollback:
            raise ValueError("give exactly one of bundle and rollback")
        return self


class MigrationAnswer(Answer):
    """How far a gallery is on its way to another model."""

    state: Literal["none", "running", "done", "stopped", "failed"] = Field(
        description="of the last migration since the server started"
    )
    bundle: str | None = Field(default=None, description="the bundle that it goes to, or went to")
    done: int = Field(description="vectors that are made")
    total: int = Field(description="vectors that there will be")
    space: str = Field(description="the embedding space that the gallery answers from")
    other_space: str | None = Field(
        default=None,
        description="the space of the vectors kept beside: that to go back to, or one that is not whole yet",
    )
    problem: Problem | None = Field(default=None, description="why it failed or stopped")
