"""Clients that are not ours, against a real server: OpenAI's, and one that tries all that the OpenAPI document says."""

from base64 import b64decode, b64encode
from collections.abc import Iterator

import httpx
import hypothesis
import numpy as np
import openai
import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import positive_data_acceptance

from server.app import create_app
from server.settings import Settings
from tests.e2e.conftest import RunningServer, start_server
from tests.unit.server.drawing import jpeg


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with two items, for the whole file."""
    server = start_server(tmp_path_factory.mktemp("clients"))
    for colour in ("red", "green"):
        files = {"image": (f"{colour}.jpg", jpeg(colour)), "text": (None, f"a {colour} square")}
        assert httpx.put(f"{server.url}/galleries/default/items/{colour}", files=files).status_code == 201
    yield server
    assert server.stop() == 0
    assert not [line for line in server.log_lines() if line["level"] == "error"]


@pytest.fixture(scope="module")
def client(running: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key="none is needed here") as client:
        yield client


@pytest.mark.parametrize("encoding", ["float", "base64", openai.omit])
def test_openais_client_embeds_texts_and_pictures(client: openai.OpenAI, running: RunningServer, encoding: str) -> None:
    picture = "data:image/jpeg;base64," + b64encode(jpeg("red")).decode()
    answer = client.embeddings.create(model="any", input=["a red square", picture], encoding_format=encoding)
    assert answer.model == "fake"
    assert answer.usage.prompt_tokens == 5
    vectors = [
        np.frombuffer(b64decode(entry.embedding), "<f4") if isinstance(entry.embedding, str) else entry.embedding
        for entry in answer.data
    ]
    own = httpx.post(f"{running.url}/embed", json={"inputs": [{"text": "a red square"}]}).json()
    np.testing.assert_allclose(vectors[0], own["embeddings"][0], atol=1e-6)
    assert float(np.dot(vectors[0], vectors[1])) > 0.5
    assert [entry.index for entry in answer.data] == [0, 1]


def test_openais_client_understands_refusals(client: openai.OpenAI) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as error:
        client.embeddings.create(model="any", input="")
    assert error.value.body["code"] == "text_empty"
    with pytest.raises(openai.UnprocessableEntityError, match="dimensions"):
        client.embeddings.create(model="any", input="red", dimensions=7)
    with pytest.raises(openai.UnprocessableEntityError):
        client.embeddings.create(model="any", input=[[1, 2, 3]])


load_all_checks()
OPERATIONS = {
    found.ok().label: found.ok()
    for found in schemathesis.openapi.from_dict(create_app(Settings()).openapi()).get_all_operations()
}


CALLS = [(label, GenerationMode.POSITIVE) for label in OPERATIONS] + [
    (label, GenerationMode.NEGATIVE) for label, operation in OPERATIONS.items() if operation.body or operation.query
]  # elsewhere nothing can be sent that the document forbids


@pytest.mark.parametrize(("operation", "mode"), CALLS)
def test_the_document_says_what_happens(running: RunningServer, operation: str, mode: GenerationMode) -> None:
    @hypothesis.given(case=OPERATIONS[operation].as_strategy(generation_mode=mode))
    @hypothesis.settings(
        max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck)
    )
    def call(case: schemathesis.Case) -> None:
        # What is valid by the document may still be refused: base64 that is no picture, a text of blanks alone, …
        case.call_and_validate(base_url=running.url, excluded_checks=[positive_data_acceptance])

    call()
