//! Cost of planning as the fleet and the number of tenants grow. Run: `cargo bench -p cordum-dispatch --bench planning`.
//!
//! One round is a batch of new jobs from bytes to packed changes and publishes, with the kernel's answers given. Compare the
//! rows of a group: what counts is the ratio, not the time.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

use cordum_dispatch::config::Config;
use cordum_dispatch::reply::Reply;
use cordum_dispatch::submit::{SubmitPlan, Surroundings};
use cordum_dispatch::workers::WorkerTable;
use cordum_wire::messages::{
    BatchItem, BatchResponse, BusPacket, Heartbeat, JobRequest, Payload, PolicyCheckResponse, Timestamp,
};
use criterion::{criterion_group, criterion_main, Criterion, Throughput};
use prost::Message;

/// As in the extension module.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NOW: i64 = 1_800_000_000_000_000;
const TOPICS: usize = 64;

fn surroundings() -> Surroundings {
    let topics: BTreeMap<String, Vec<String>> = (0..TOPICS)
        .map(|topic| (format!("job.t{topic}"), vec![format!("p{}", topic % 8)]))
        .collect();
    let document = serde_json::json!({ "topics": topics });
    Surroundings {
        config: Arc::new(Config::parse(document.to_string().as_bytes()).unwrap()),
        instance: "bench".into(),
        partitions: 64,
        replicas: 1,
    }
}

fn fleet(workers: usize, config: &Config) -> WorkerTable {
    let mut table = WorkerTable::default();
    for worker in 0..workers {
        let beat = Heartbeat {
            worker_id: format!("worker-{worker}"),
            pool: format!("p{}", worker % 8),
            ..Heartbeat::default()
        };
        table.heartbeat(&beat, 0, NOW, config);
    }
    table
}

fn messages(jobs: usize, tenants: usize) -> Vec<Vec<u8>> {
    (0..jobs)
        .map(|job| {
            let mut request = JobRequest {
                job_id: format!("3f1c9a40-77aa-4b6e-9d21-{job:012}"),
                topic: format!("job.t{}", job % TOPICS),
                tenant_id: format!("tenant-{}", job * 7919 % tenants),
                priority: (job % 4) as i32,
                context_ptr: format!("redis://ctx:3f1c9a40-77aa-4b6e-9d21-{job:012}"),
                ..JobRequest::default()
            };
            for label in 0..8 {
                request.labels.insert(format!("label-{label}"), "v".repeat(80));
            }
            BusPacket {
                trace_id: format!("trace-{job}"),
                sender_id: "api-gateway".into(),
                created_at: Some(Timestamp::from_micros(NOW)),
                protocol_version: 1,
                payload: Some(Payload::JobRequest(request)),
                ..BusPacket::default()
            }
            .encode_to_vec()
        })
        .collect()
}

fn answer(jobs: usize) -> Vec<u8> {
    let response = PolicyCheckResponse {
        decision: 1,
        policy_snapshot: "v1:aa".into(),
        rule_id: "r".into(),
        ..PolicyCheckResponse::default()
    };
    let item = BatchItem {
        response: response.encode_to_vec(),
        ..BatchItem::default()
    };
    BatchResponse {
        items: vec![item; jobs],
        policy_snapshot: "v1:aa".into(),
    }
    .encode_to_vec()
}

/// Plan a batch and apply replies that grant everything; returns how many jobs were dispatched.
fn round(around: &Surroundings, table: &mut WorkerTable, messages: &[Vec<u8>], answer: &[u8]) -> usize {
    let slices: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
    let mut plan = SubmitPlan::new(around.clone(), &slices, &vec![1; slices.len()], Vec::new(), 7);
    let asked = plan.policy_batches().iter().map(Vec::len).sum();
    plan.decide(&[(asked, Some(answer))], "");
    plan.reservations(NOW);
    let planned = plan.commits(table, &vec![7; 4 * messages.len()], NOW);
    let replies: Vec<Reply> = planned
        .iter()
        .map(|_| Reply::Moved {
            state: "DISPATCHED".into(),
            rev: 2,
            attempts: 1,
            topic: String::new(),
            tenant: String::new(),
            created_at: NOW,
            worker_id: String::new(),
            pool: String::new(),
            saga: String::new(),
        })
        .collect();
    plan.apply(planned, &replies, table, NOW).dispatches.len()
}

fn by(criterion: &mut Criterion, name: &str, batch: usize, cases: &[(usize, usize)]) {
    let around = surroundings();
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(batch as u64));
    for (workers, tenants) in cases {
        let messages = messages(batch, *tenants);
        let answer = answer(batch);
        let label = format!("{workers} workers, {tenants} tenants");
        let mut table = fleet(*workers, &around.config);
        group.bench_function(label, |bencher| {
            bencher.iter(|| black_box(round(&around, &mut table, &messages, &answer)));
        });
    }
    group.finish();
}

fn workers(criterion: &mut Criterion) {
    let cases = [(10, 1), (100, 1), (1_000, 1), (10_000, 1)];
    by(criterion, "batch of 256 by workers", 256, &cases);
    by(criterion, "batch of 1 by workers", 1, &cases);
}

fn tenants(criterion: &mut Criterion) {
    let cases = [(200, 1), (200, 10), (200, 100), (200, 1_000)];
    by(criterion, "batch of 256 by tenants", 256, &cases);
}

criterion_group!(benches, workers, tenants);
criterion_main!(benches);
