"""The governed demo: bring a system up, run real jobs of a real worker, print a verdict table.

    python examples/demo.py [--burst 2000]

Exit code 0 only if every verdict was as expected; nothing keeps running afterwards, in any case.
"""

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import httpx
from demo_system import DemoFailed, DemoSystem, wait_for
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

BATCH: Final = 250
PAGE: Final = 500
JOB_LIMIT_S: Final = 30.0
BURST_LIMIT_S: Final = 60.0
TERMINAL: Final = frozenset({"SUCCEEDED", "FAILED", "CANCELLED", "TIMEOUT", "DENIED", "OUTPUT_QUARANTINED"})

console = Console(highlight=False)


@dataclass(frozen=True)
class Verdict:
    """One row of the table."""

    step: str
    expected: str
    got: str

    @property
    def ok(self) -> bool:
        """Tell whether the system did what it should."""
        return self.expected == self.got


class Gateway:
    """The HTTP API as one principal sees it."""

    def __init__(self, url: str, key: str) -> None:
        self._client = httpx.Client(
            base_url=f"{url}/api/v1", headers={"X-API-Key": key}, timeout=20.0, trust_env=False
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get(self, path: str, **query: Any) -> Any:
        """GET and return the decoded body. Raises DemoFailed unless the status is 200."""
        reply = self._client.get(path, params=query)
        if reply.status_code != 200:
            raise DemoFailed(f"GET {path} answered {reply.status_code}: {reply.text[:300]}")
        return reply.json()

    def post(self, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
        """POST and return status and decoded body; every status is an answer."""
        reply = self._client.post(path, json=body)
        return reply.status_code, reply.json()

    def submit(self, topic: str, prompt: str, **more: Any) -> tuple[int, dict[str, Any]]:
        """Submit one job."""
        return self.post("/jobs", {"topic": topic, "prompt": prompt, **more})

    def job(self, job_id: str) -> dict[str, Any]:
        """Return the detail of a job."""
        return dict(self.get(f"/jobs/{job_id}"))


class Demo:
    """The scenarios; each adds its verdicts."""

    def __init__(self, system: DemoSystem, admin: Gateway, approver: Gateway) -> None:
        self._system = system
        self._admin = admin
        self._approver = approver
        self.verdicts: list[Verdict] = []

    def run(self, burst: int) -> None:
        """Run all scenarios."""
        self.allowed()
        self.denied()
        self.approved()
        self.quarantined()
        self.cancelled()
        self.burst(burst)

    def allowed(self) -> None:
        """An allowed job runs on the worker and its result is visible."""
        status, answer = self._admin.submit("job.demo.echo", "hello, governed world")
        self._note("allowed job: submit", "200", str(status))
        job = self._wait_state(_job_id(status, answer), TERMINAL)
        result = job.get("result")
        echoed = result.get("echo") if isinstance(result, dict) else result
        self._note("allowed job: state", "SUCCEEDED", str(job["state"]))
        self._note("allowed job: worker's result", "hello, governed world", str(echoed))

    def denied(self) -> None:
        """A denied job is refused at once, stored and dead-lettered."""
        status, answer = self._admin.submit("job.demo.blocked", "delete everything")
        self._note("denied job: submit", "403 policy_denied", f"{status} {answer.get('code')}")
        job_id = str(answer.get("job_id", ""))
        self._note("denied job: state", "DENIED", str(self._admin.job(job_id)["state"]))
        letters = {entry["job_id"] for entry in self._admin.get("/dlq")["items"]}
        self._note("denied job: in the dead letters", "yes", "yes" if job_id in letters else "no")

    def approved(self) -> None:
        """A held job waits for a person, who may not be the one who submitted it."""
        status, answer = self._admin.submit("job.demo.review", "pay the invoice")
        job_id = _job_id(status, answer)
        self._note("held job: submit", "200 approval_required", f"{status} {answer.get('status')}")
        waiting = {item["job_id"] for item in self._approver.get("/approvals")["items"]}
        self._note("held job: listed for approval", "yes", "yes" if job_id in waiting else "no")
        status, answer = self._admin.post(f"/approvals/{job_id}/approve")
        self._note("held job: own approval", "403 self_approval_denied", f"{status} {answer.get('code')}")
        state = str(self._admin.job(job_id)["state"])
        self._note("held job: still waits", "APPROVAL_REQUIRED", state)
        status, _ = self._approver.post(f"/approvals/{job_id}/approve", {"reason": "checked the invoice"})
        self._note("held job: approved by another", "200", str(status))
        job = self._wait_state(job_id, TERMINAL)
        self._note("held job: state", "SUCCEEDED", str(job["state"]))

    def quarantined(self) -> None:
        """A result that carries a credential is withheld, whatever the worker says."""
        # Put together here, so that no file holds something that looks like a key.
        leak = "AKIA" + "1234567890ABCDEF"
        status, answer = self._admin.submit("job.demo.echo", f"leak test {leak}")
        job = self._wait_state(_job_id(status, answer), TERMINAL)
        self._note("leaking job: state", "OUTPUT_QUARANTINED", str(job["state"]))
        safety = job.get("output_safety") or {}
        found = [finding.get("matched_pattern") for finding in safety.get("findings", [])]
        self._note("leaking job: found", "aws_access_key_id", ", ".join(map(str, found)))
        self._note("leaking job: dead letter", "output_quarantined", self._wait_letter(job["id"]))

    def cancelled(self) -> None:
        """A running job is cancelled; the worker's late answer changes nothing."""
        status, answer = self._admin.submit("job.demo.slow", "take your time", context={"seconds": 30})
        job_id = _job_id(status, answer)
        self._wait_state(job_id, {"DISPATCHED", "RUNNING"})
        status, answer = self._admin.post(f"/jobs/{job_id}/cancel")
        self._note("cancelled job: cancel", "200 CANCELLED", f"{status} {answer.get('state')}")
        self._note("cancelled job: state", "CANCELLED", str(self._admin.job(job_id)["state"]))

    def burst(self, count: int) -> None:
        """Many jobs at once, every one of them judged, run and stored."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        pending: set[str] = set()
        failed: set[str] = set()
        accepted = 0
        start = time.monotonic()
        with Progress(*columns, console=console) as progress:
            submitting = progress.add_task("submitted", total=count)
            finishing = progress.add_task("succeeded", total=count)

            def swept(*, everything: bool = False) -> bool | None:
                self._system.check()
                self._sweep("SUCCEEDED", pending, everything=everything)
                failed.update(self._sweep("FAILED", pending, everything=everything))
                progress.update(finishing, completed=accepted - len(pending) - len(failed))
                return None if pending else True

            for first in range(0, count, BATCH):
                ids = self._submit_batch(range(first, min(first + BATCH, count)))
                accepted += len(ids)
                pending.update(ids)
                progress.update(submitting, completed=accepted)
                swept()
            with contextlib.suppress(DemoFailed):  # the verdict below tells how many are missing
                wait_for("end of the burst", swept, BURST_LIMIT_S, poll_s=0.1)
            elapsed_s = time.monotonic() - start
            swept(everything=True)
        done = accepted - len(pending) - len(failed)
        console.print(
            f"{done} jobs in {elapsed_s:.2f} s: {done / elapsed_s:,.0f} jobs/s from submit to result"
        )
        others = f" ({len(failed)} failed, {len(pending)} unfinished)" if done < accepted else ""
        self._note(f"burst of {count} jobs: succeeded", str(count), f"{done}{others}")

    def _submit_batch(self, numbers: Iterable[int]) -> list[str]:
        """Submit one batch and return the ids of the accepted jobs."""
        jobs = [{"topic": "job.demo.echo", "prompt": f"burst {number}"} for number in numbers]
        status, answer = self._admin.post("/jobs/batch", {"jobs": jobs})
        if status != 200:
            raise DemoFailed(f"POST /jobs/batch answered {status}: {answer}")
        return [item["job_id"] for item in answer["results"] if item["http_status"] == 200]

    def _sweep(self, state: str, pending: set[str], *, everything: bool) -> set[str]:
        """Take the jobs that are in ``state`` out of ``pending`` and return them.

        Reads the newest pages first and stops at one that tells nothing new, unless ``everything`` is wanted.
        """
        cursor: Any = None
        taken: set[str] = set()
        while pending:
            query = {"state": state, "limit": PAGE} | ({"cursor": cursor} if cursor else {})
            page = self._admin.get("/jobs", **query)
            found = pending.intersection(item["id"] for item in page["items"])
            pending -= found
            taken |= found
            cursor = page.get("next_cursor")
            if not cursor or not (found or everything):
                break
        return taken

    def _wait_letter(self, job_id: str) -> str:
        """Wait until a job is among the dead letters; return why it is there."""

        def probe() -> str | None:
            letters = {entry["job_id"]: entry for entry in self._admin.get("/dlq")["items"]}
            return str(letters[job_id].get("reason_code")) if job_id in letters else None

        try:
            return wait_for("", probe, JOB_LIMIT_S)
        except DemoFailed:
            return "none"

    def _wait_state(self, job_id: str, states: Iterable[str]) -> dict[str, Any]:
        """Poll a job until it is in one of ``states``; return it."""
        wanted = frozenset(states)
        last: dict[str, Any] = {}

        def probe() -> dict[str, Any] | None:
            self._system.check()
            last.update(self._admin.job(job_id))
            return last if last["state"] in wanted else None

        try:
            return wait_for("", probe, JOB_LIMIT_S)
        except DemoFailed:
            if not last:
                raise
            raise DemoFailed(f"job {job_id} is still {last['state']} after {JOB_LIMIT_S:g} s") from None

    def _note(self, step: str, expected: str, got: str) -> None:
        verdict = Verdict(step, expected, got)
        self.verdicts.append(verdict)
        console.print(f"  {'ok ' if verdict.ok else 'BAD'} {step}: {got}")


def _job_id(status: int, answer: dict[str, Any]) -> str:
    if "job_id" not in answer:
        raise DemoFailed(f"a submission was answered {status}: {answer}")
    return str(answer["job_id"])


def table_of(verdicts: Iterable[Verdict]) -> Table:
    """Return the verdict table."""
    table = Table("step", "expected", "got", "ok", title="Verdicts")
    for verdict in verdicts:
        mark = "[green]yes[/green]" if verdict.ok else "[red]NO[/red]"
        table.add_row(verdict.step, verdict.expected, verdict.got, mark)
    return table


def run_demo(system: DemoSystem, burst: int) -> bool:
    """Start the system and the worker, run the scenarios, print the table; return whether all was right."""
    console.print("Starting the system (nats-server, redis-server, safety kernel, scheduler, gateway) …")
    started = time.monotonic()
    system.start()
    admin, approver = (Gateway(system.url, system.keys[name]) for name in ("admin", "approver"))
    with contextlib.closing(admin), contextlib.closing(approver):
        console.print(
            f"Ready after {time.monotonic() - started:.1f} s at {system.url}; starting the worker …"
        )
        system.start_worker()
        wait_for("registration of the worker", lambda: _worker(system, admin), JOB_LIMIT_S, poll_s=0.2)
        demo = Demo(system, admin, approver)
        try:
            demo.run(burst)
        finally:
            console.print(table_of(demo.verdicts))
        return all(verdict.ok for verdict in demo.verdicts)


def _worker(system: DemoSystem, gateway: Gateway) -> dict[str, Any] | None:
    system.check()
    online = [item for item in gateway.get("/workers")["items"] if item.get("online")]
    return online[0] if online else None


def _interrupt(number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt(number)


def main() -> int:
    """Run the demo and return the exit code: 0 as expected, 1 not, 130 interrupted."""
    parser = argparse.ArgumentParser(description="Run the governed demo.")
    parser.add_argument("--burst", type=int, default=2000, help="jobs of the burst (default 2000)")
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    system = DemoSystem()
    try:
        with system:
            if run_demo(system, arguments.burst):
                console.print("[green]Every verdict was as expected.[/green]")
                return 0
            raise DemoFailed("some verdicts were not as expected")
    except (DemoFailed, httpx.HTTPError) as error:
        console.print("demo failed:", str(error), markup=False, style="red", soft_wrap=True)
        console.print(f"logs: {system.root} (services: {system.data / 'logs'})", markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("interrupted; everything is stopped")
        return 130


if __name__ == "__main__":
    sys.exit(main())
