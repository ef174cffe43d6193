"""What goes wrong between a client and a server.

VernierError
└── ClientError             unexpected_answer: what answered is not a Vernier server of this version
    ├── ApiError            the server answered with a problem
    └── ServerUnreachableError   no answer came
"""

from collections.abc import Mapping
from typing import Any

from runtime.errors import VernierError


class ClientError(VernierError):
    """A request that brought no usable answer."""

    code = "unexpected_answer"


class ApiError(ClientError):
    """The server's refusal: an RFC 9457 problem.

    Attributes:
        status: the HTTP status.
        code: the problem's stable name, such as `image_undecodable`; `http_404` and the like when what answered gave
            no problem.
        problem: the whole problem as the server sent it.
        retry_after_s: seconds that the server asks to wait, where it does.
    """

    def __init__(
        self, message: str, *, status: int, code: str, problem: Mapping[str, Any], retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, code=code)
        self.status = status
        self.problem = dict(problem)
        self.retry_after_s = retry_after_s


class ServerUnreachableError(ClientError):
    """No answer came: nothing listens there, the connection broke, or the time ran out."""

    code = "server_unreachable"
