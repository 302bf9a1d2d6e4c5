"""Our package and the published one share the name `cordum` in one process (architecture §3)."""

import subprocess
import sys

import pytest

_OURS_FIRST = """
import cordum
import cap
import cap.runtime
from cordum.protocol.cap import BusPacket, JobRequest
from cordum.agent.v1 import job_pb2
from cap.pb.cordum.agent.v1 import job_pb2 as theirs
import cordum.scheduler.main, cordum.gateway.main, cordum.kernel.main, cordum._core
assert cordum.__version__
assert JobRequest.DESCRIPTOR is theirs.JobRequest.DESCRIPTOR is job_pb2.JobRequest.DESCRIPTOR
assert BusPacket(job_request=JobRequest(job_id="j")).job_request.job_id == "j"
"""

_THEIRS_FIRST = """
import cap
from cap.runtime import Agent
from cap.pb.cordum.agent.v1 import job_pb2
agent = Agent(nats_url="nats://127.0.0.1:1", redis_url="redis://127.0.0.1:1")
agent.job("job.default")(lambda context, data: data)
assert job_pb2.JobRequest(job_id="j").SerializeToString()
"""

_FROM_THE_SAME_PLACE = """
from cordum.protocol.cap import JobRequest
from cap.client import submit_job
from cap.runtime import Agent
assert JobRequest and submit_job and Agent
"""


@pytest.mark.parametrize(
    "program", [_OURS_FIRST, _THEIRS_FIRST, _FROM_THE_SAME_PLACE], ids=["ours first", "theirs first", "mixed"]
)
def test_both_packages_live_in_one_process(program: str) -> None:
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
