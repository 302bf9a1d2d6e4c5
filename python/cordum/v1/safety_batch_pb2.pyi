from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class BatchRequest(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, requests: _Optional[_Iterable[bytes]] = ...) -> None: ...

class BatchItem(_message.Message):
    __slots__ = ("response", "code", "error", "eval_us")
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    EVAL_US_FIELD_NUMBER: _ClassVar[int]
    response: bytes
    code: int
    error: str
    eval_us: int
    def __init__(self, response: _Optional[bytes] = ..., code: _Optional[int] = ..., error: _Optional[str] = ..., eval_us: _Optional[int] = ...) -> None: ...

class BatchResponse(_message.Message):
    __slots__ = ("items", "policy_snapshot", "rule_count")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    POLICY_SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    RULE_COUNT_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[BatchItem]
    policy_snapshot: str
    rule_count: int
    def __init__(self, items: _Optional[_Iterable[_Union[BatchItem, _Mapping]]] = ..., policy_snapshot: _Optional[str] = ..., rule_count: _Optional[int] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("request",)
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request: bytes
    def __init__(self, request: _Optional[bytes] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("response", "trace")
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    response: bytes
    trace: bytes
    def __init__(self, response: _Optional[bytes] = ..., trace: _Optional[bytes] = ...) -> None: ...

class PolicyBundle(_message.Message):
    __slots__ = ("id", "content")
    ID_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    id: str
    content: bytes
    def __init__(self, id: _Optional[str] = ..., content: _Optional[bytes] = ...) -> None: ...

class CheckPolicyRequest(_message.Message):
    __slots__ = ("bundles", "run_tests", "compare", "request")
    BUNDLES_FIELD_NUMBER: _ClassVar[int]
    RUN_TESTS_FIELD_NUMBER: _ClassVar[int]
    COMPARE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    bundles: _containers.RepeatedCompositeFieldContainer[PolicyBundle]
    run_tests: bool
    compare: bool
    request: bytes
    def __init__(self, bundles: _Optional[_Iterable[_Union[PolicyBundle, _Mapping]]] = ..., run_tests: bool = ..., compare: bool = ..., request: _Optional[bytes] = ...) -> None: ...

class PolicyProblem(_message.Message):
    __slots__ = ("path", "message", "line")
    PATH_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    path: str
    message: str
    line: int
    def __init__(self, path: _Optional[str] = ..., message: _Optional[str] = ..., line: _Optional[int] = ...) -> None: ...

class CheckPolicyResponse(_message.Message):
    __slots__ = ("problems", "warnings", "policy_snapshot", "tests", "diff", "response")
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    POLICY_SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    TESTS_FIELD_NUMBER: _ClassVar[int]
    DIFF_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    problems: _containers.RepeatedCompositeFieldContainer[PolicyProblem]
    warnings: _containers.RepeatedScalarFieldContainer[str]
    policy_snapshot: str
    tests: bytes
    diff: bytes
    response: bytes
    def __init__(self, problems: _Optional[_Iterable[_Union[PolicyProblem, _Mapping]]] = ..., warnings: _Optional[_Iterable[str]] = ..., policy_snapshot: _Optional[str] = ..., tests: _Optional[bytes] = ..., diff: _Optional[bytes] = ..., response: _Optional[bytes] = ...) -> None: ...

class BaseDocumentRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class BaseDocumentResponse(_message.Message):
    __slots__ = ("content", "name")
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    content: bytes
    name: str
    def __init__(self, content: _Optional[bytes] = ..., name: _Optional[str] = ...) -> None: ...

class ReplayRequest(_message.Message):
    __slots__ = ("tenant", "since_us", "until_us", "topic", "original_decision", "use_current_policy", "candidate_bundle_id", "candidate_content", "max_jobs", "max_changes")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    SINCE_US_FIELD_NUMBER: _ClassVar[int]
    UNTIL_US_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    ORIGINAL_DECISION_FIELD_NUMBER: _ClassVar[int]
    USE_CURRENT_POLICY_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_BUNDLE_ID_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_CONTENT_FIELD_NUMBER: _ClassVar[int]
    MAX_JOBS_FIELD_NUMBER: _ClassVar[int]
    MAX_CHANGES_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    since_us: int
    until_us: int
    topic: str
    original_decision: str
    use_current_policy: bool
    candidate_bundle_id: str
    candidate_content: bytes
    max_jobs: int
    max_changes: int
    def __init__(self, tenant: _Optional[str] = ..., since_us: _Optional[int] = ..., until_us: _Optional[int] = ..., topic: _Optional[str] = ..., original_decision: _Optional[str] = ..., use_current_policy: bool = ..., candidate_bundle_id: _Optional[str] = ..., candidate_content: _Optional[bytes] = ..., max_jobs: _Optional[int] = ..., max_changes: _Optional[int] = ...) -> None: ...

class ReplayResponse(_message.Message):
    __slots__ = ("result", "policy_snapshot", "warnings")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    POLICY_SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    result: bytes
    policy_snapshot: str
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, result: _Optional[bytes] = ..., policy_snapshot: _Optional[str] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class SimulateOutputRequest(_message.Message):
    __slots__ = ("request", "bundles", "use_bundles")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    BUNDLES_FIELD_NUMBER: _ClassVar[int]
    USE_BUNDLES_FIELD_NUMBER: _ClassVar[int]
    request: bytes
    bundles: _containers.RepeatedCompositeFieldContainer[PolicyBundle]
    use_bundles: bool
    def __init__(self, request: _Optional[bytes] = ..., bundles: _Optional[_Iterable[_Union[PolicyBundle, _Mapping]]] = ..., use_bundles: bool = ...) -> None: ...

class SimulateOutputResponse(_message.Message):
    __slots__ = ("result", "problems")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    result: bytes
    problems: _containers.RepeatedCompositeFieldContainer[PolicyProblem]
    def __init__(self, result: _Optional[bytes] = ..., problems: _Optional[_Iterable[_Union[PolicyProblem, _Mapping]]] = ...) -> None: ...

class OutputSettingsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class OutputSettingsResponse(_message.Message):
    __slots__ = ("is_active", "fail_mode", "policy_snapshot", "checks_errors")
    IS_ACTIVE_FIELD_NUMBER: _ClassVar[int]
    FAIL_MODE_FIELD_NUMBER: _ClassVar[int]
    POLICY_SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    CHECKS_ERRORS_FIELD_NUMBER: _ClassVar[int]
    is_active: bool
    fail_mode: str
    policy_snapshot: str
    checks_errors: bool
    def __init__(self, is_active: bool = ..., fail_mode: _Optional[str] = ..., policy_snapshot: _Optional[str] = ..., checks_errors: bool = ...) -> None: ...
