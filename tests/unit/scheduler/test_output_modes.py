"""Whether results are checked, and what is believed when documents cannot be read (output policy spec §2.1, §8.1)."""

from typing import cast

import pytest

from cordum.config.output_policy import OutputPolicySettings
from cordum.domain.errors import CordumError, Unavailable
from cordum.protocol.kernel_client import PolicyClient
from cordum.scheduler.output_modes import OutputModes
from cordum.store.config_documents import ConfigDocuments, Document
from cordum.v1.safety_batch_pb2 import OutputSettingsResponse


class Documents:
    """Documents by scope and id; an error is raised."""

    def __init__(self, **stored: object) -> None:
        self.stored = stored

    async def get(self, scope: str, scope_id: str) -> Document | None:
        found = self.stored.get(f"{scope}_{scope_id}")
        if isinstance(found, Exception):
            raise found
        return None if found is None else Document(scope, scope_id, data={"scheduler": found})


class Kernel:
    """A kernel whose policy wants a fail mode."""

    def __init__(self, fail_mode: str) -> None:
        self._fail_mode = fail_mode

    async def output_settings(self, _timeout_s: float) -> OutputSettingsResponse:
        return OutputSettingsResponse(fail_mode=self._fail_mode)


def modes_of(
    documents: Documents, *, fail_mode: str = "", policy: str = "", production: bool = False
) -> OutputModes:
    settings = OutputPolicySettings(enabled=False, fail_mode=fail_mode)
    return OutputModes(
        settings,
        cast(ConfigDocuments, documents),
        cast(PolicyClient, Kernel(policy)),
        production=production,
    )


@pytest.mark.parametrize(
    ("document", "environment", "policy", "production", "is_open"),
    [
        ("open", "closed", "closed", True, (True, True)),
        ("", "open", "closed", True, (True, True)),
        ("", "", "open", True, (True, True)),
        ("", "", "", True, (False, False)),
        ("", "", "", False, (True, False)),
        ("closed", "open", "open", False, (False, False)),
        # Only the exact word opens.
        ("OPEN", "open", "open", False, (False, False)),
        (" open", "open", "open", False, (False, False)),
    ],
)
async def test_the_first_that_says_something_decides_and_only_open_opens(
    document: str, environment: str, policy: str, production: bool, is_open: tuple[bool, bool]
) -> None:
    documents = Documents(system_default={"output_fail_mode": document})
    modes = modes_of(documents, fail_mode=environment, policy=policy, production=production)
    await modes.start()
    found = [await modes.open_tenants(["default"], phase) == ["default"] for phase in ("sync", "async")]
    assert tuple(found) == is_open


async def test_a_tenant_has_the_last_word_and_one_that_cannot_be_read_is_closed() -> None:
    documents = Documents(
        system_default={"output_fail_mode": "open"},
        org_strict={"output_fail_mode": "closed"},
        org_lost=Unavailable("store away"),
    )
    modes = modes_of(documents)
    await modes.start()
    assert await modes.open_tenants(["", "strict", "lost", "other"], "async") == ["", "other"]


async def test_a_document_switches_checks_on_where_the_environment_says_nothing() -> None:
    modes = modes_of(Documents(system_default={"output_policy_enabled": True}))
    assert not modes.enabled
    await modes.start()
    assert modes.enabled


async def test_nothing_starts_before_it_is_known_whether_results_are_checked() -> None:
    with pytest.raises(Unavailable):
        await modes_of(Documents(system_default=Unavailable("store away"))).start()
    modes = modes_of(Documents(system_default=CordumError("no document")))
    await modes.start()
    assert modes.enabled
    # What was read once stays as long as nothing else can be read.
    await modes.reload()
    assert modes.enabled
