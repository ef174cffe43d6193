"""Every setting of the server: `VERNIER_*` environment variables, nothing else.

Nothing reads the environment at import; `load_settings` does, once, and lists every mistake at once.
"""

import hashlib
import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from runtime.errors import UsageError

PREFIX = "VERNIER_"
Scope = Literal["read", "write"]

_READ_ELSEWHERE = ("API_KEY", "CHROMIUM", "DATA", "DEBUG", "MILVUS_TOKEN", "SCREENSHOTS", "URL")
"""Variables of the command line, the client, the load tests and the tests."""


class ApiKey(BaseModel):
    """One key, kept as its digest alone. A write key may read too."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scope: Scope
    digest: bytes = Field(repr=False)

    @classmethod
    def parse(cls, entry: str) -> "ApiKey":
        """Read `read:KEY` or `write:KEY`; a key without a scope may only read.

        Raises:
            ValueError: the key is shorter than 16 characters or holds white space.
        """
        scope, colon, key = entry.partition(":")
        if not colon or scope not in ("read", "write"):
            scope, key = "read", entry
        if not re.fullmatch(r"[\x21-\x7e]{16,}", key):
            raise ValueError("a key is at least 16 visible ASCII characters, as in read:0123456789abcdef")
        return cls(scope="write" if scope == "write" else "read", digest=hashlib.sha256(key.encode()).digest())


class Settings(BaseSettings):
    """What the server is told from outside."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True)

    bundle: Path | None = Field(default=None, description="directory of the bundle to serve")
    galleries_dir: Path = Field(
        default=Path("galleries"), description="directory whose sub-directories are the galleries, made when missing"
    )
    gallery: str | None = Field(
        default=None,
        description="directory (or store address) of the gallery served as `default`; GALLERIES_DIR/default when unset",
    )
    bundles_dir: Path | None = Field(
        default=None,
        description="directory whose sub-directories are the bundles that galleries may be moved to; none when unset",
    )
    host: str = Field(default="127.0.0.1", description="address to listen on; 0.0.0.0 for every interface")
    port: int = Field(default=8000, ge=0, le=65535, description="TCP port to listen on; 0 takes a free one")

    api_keys_file: Path | None = Field(
        default=None, description="file that holds what API_KEYS would, a key a line; read at the start alone"
    )
    api_keys: Annotated[tuple[ApiKey, ...], NoDecode] = Field(
        default=(),
        validate_default=True,
        repr=False,
        description="comma-separated read:KEY or write:KEY; when set, every route but /health/* and the page wants one",
    )

    rate_limit: float = Field(
        default=0.0, ge=0, le=1e6, description="requests per second of each key (of each address without keys); 0: any"
    )
    rate_burst: int = Field(default=20, ge=1, le=1_000_000, description="requests of one key that may come at once")

    provider: Literal["auto", "tensorrt", "tensorrt-ep", "cuda", "cpu"] = Field(
        default="auto",
        description="where the graphs run; tensorrt takes what `vernier engines` built, tensorrt-ep builds at start",
    )
    provider_fallback: bool = Field(
        default=False, description="let another provider stand in, loudly, for one asked for that cannot be had"
    )
    gpu_search: Literal["auto", "off", "flat", "ivf-pq", "cagra"] = Field(
        default="auto",
        description="GPU index of large galleries; auto takes what FAISS and the card are shown to do, or the CPU",
    )
    engine_threads: int = Field(
        default=0,
        ge=0,
        le=256,
        description="threads within one engine call; 0: the cores divided by ENGINE_WORKERS",
    )
    engine_workers: int = Field(default=1, ge=1, le=64, description="batches that engines run at the same time")
    max_batch_ms: float = Field(
        default=100.0, gt=0, le=60_000, description="how long a batch of more than one input should take at most"
    )
    judge_workers: int = Field(
        default=4,
        ge=1,
        le=64,
        description="groundings and proofreadings at the same time; what they run is batched",
    )
    decode_workers: int = Field(
        default=0, ge=0, le=64, description="pictures decoded at the same time; 0: as many as there are cores"
    )
    store_workers: int = Field(default=2, ge=1, le=64, description="gallery reads and writes at the same time")
    search_workers: int = Field(default=1, ge=1, le=64, description="batches of searches at the same time")
    max_waiting: int = Field(
        default=256, ge=1, le=100_000, description="requests at work or waiting; one more is answered 429"
    )
    max_wait_ms: float | None = Field(
        default=None,
        gt=0,
        le=3_600_000,
        description="longest predicted wait to be let in; when unset, four usual requests (250 ms at least, "
        "50 ms while others are refused)",
    )
    request_timeout_s: float = Field(
        default=60.0, gt=0, le=3600, description="seconds until a request is answered 504 (bulk writes: none)"
    )
    canary_timeout_s: float = Field(
        default=20.0, gt=0, le=3600, description="seconds without a finished batch after which liveness fails"
    )
    shutdown_timeout_s: float = Field(
        default=20.0, gt=0, le=3600, description="seconds that requests at work may take to finish after SIGTERM"
    )

    url_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="comma-separated hosts that pictures may be fetched from, such as img.example.org, "
        "*.example.org or store.example.org:8080; when unset, an image reference with a url is refused",
    )
    url_private: bool = Field(
        default=False,
        description="fetch from those hosts also at private addresses, but never at link-local ones",
    )
    url_timeout_s: float = Field(default=10.0, gt=0, le=600, description="seconds of one fetch, redirects included")

    picture_px: int = Field(
        default=512, ge=64, le=8192, description="longest side of stored pictures, which a later model is shown again"
    )
    patch_tokens: Literal["none", "int8", "fp16"] = Field(
        default="int8",
        description="how galleries that are made here keep what belongs to pictures' patches, for rerank and explain",
    )
    cache_bytes: int = Field(
        default=64_000_000, ge=0, description="memory for what the encoders said of pictures and texts; 0: none is kept"
    )

    max_body_bytes: int = Field(default=10_000_000, ge=1_000, description="bytes of a request's body")
    max_bulk_bytes: int = Field(default=256_000_000, ge=1_000, description="bytes of a bulk write's body")
    max_pixels: int = Field(default=40_000_000, ge=1, description="pixels of a picture, checked before it is decoded")
    max_words: int = Field(default=2_000, ge=1, description="words of a text that is searched for or stored")
    max_judged_words: int = Field(default=100, ge=1, description="words of a text to proofread or to find phrases in")
    max_texts: int = Field(default=256, ge=1, description="inputs, queries or phrases of one request")
    ground_budget: int = Field(
        default=64,
        ge=0,
        description="masked pictures that a grounding looks at where the bundle is two encoders alone and the request "
        "names no budget",
    )
    max_ground_budget: int = Field(default=1_024, ge=0, description="the largest budget that a request may name")
    max_images: int = Field(default=32, ge=1, description="pictures among the inputs of one request")
    max_top_k: int = Field(default=1_000, ge=1, description="hits of one query")
    max_reranked: int = Field(default=200, ge=1, description="hits of one query that are re-scored or explained")

    otlp_endpoint: str | None = Field(
        default=None,
        validate_default=True,
        pattern=r"^https?://[^/\s]+(/\S*)?$",
        description="address of an OpenTelemetry collector (OTLP over HTTP) that traces are sent to, such as "
        "http://collector:4318; OTEL_EXPORTER_OTLP_ENDPOINT when unset",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="least severe log line")

    @field_validator("api_keys", mode="before")
    @classmethod
    def _parse_keys(cls, value: object, told: ValidationInfo) -> object:
        if file := told.data.get("api_keys_file"):
            if value:
                raise ValueError(f"keys come from {PREFIX}API_KEYS_FILE already; leave one of the two unset")
            value = _keys_in(file)
        value = _names(value)
        if isinstance(value, list | tuple):
            return tuple(ApiKey.parse(entry) if isinstance(entry, str) else entry for entry in value)
        return value

    @field_validator("otlp_endpoint", mode="before")
    @classmethod
    def _usual_endpoint(cls, value: object) -> object:
        return os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or None if value is None else value

    @field_validator("url_hosts", mode="before")
    @classmethod
    def _parse_hosts(cls, value: object) -> object:
        hosts = _names(value)
        for host in hosts if isinstance(hosts, list | tuple) else ():
            if not re.fullmatch(r"(\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?", str(host).lower()):
                raise ValueError("each host is a name such as img.example.org, *.example.org or img.example.org:8080")
        return hosts


def _names(value: object) -> object:
    """Split a comma-separated list; what is none is returned as it is."""
    if not isinstance(value, str):
        return value
    return tuple(entry for entry in (part.strip() for part in value.split(",")) if entry)


def _keys_in(file: Path) -> str:
    """Return the lines of a file of keys as a comma-separated list.

    Raises:
        ValueError: it cannot be read, or holds no key: an empty secret must not open the server to everybody.
    """
    try:
        keys = ",".join(file.read_text(encoding="ascii").split())
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not ASCII"
        raise ValueError(f"{file} ({PREFIX}API_KEYS_FILE) cannot be read: {why}") from None
    if not keys.strip(","):
        raise ValueError(f"{file} ({PREFIX}API_KEYS_FILE) holds no key")
    return keys


def load_settings(**overrides: object) -> Settings:
    """Read the environment; arguments win over it, and None leaves it as it is.

    Raises:
        UsageError: some settings cannot be meant; the message lists every one.
    """
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        mistakes = [
            f"{PREFIX}{'_'.join(str(part) for part in entry['loc'][:1]).upper()}: {entry['msg']}"
            for entry in error.errors(include_input=False, include_url=False)
        ]
        raise UsageError("these settings cannot be used:\n  " + "\n  ".join(mistakes)) from None


def unknown_variables() -> list[str]:
    """Return the names of `VERNIER_*` variables in the environment that nothing here reads: most likely misspelt."""
    known = {PREFIX + name for name in (*(field.upper() for field in Settings.model_fields), *_READ_ELSEWHERE)}
    return sorted(name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known)
