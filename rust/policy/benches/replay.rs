//! Past decisions per second: recording, decoding, replay. Run: `cargo bench -p cordum-policy --bench replay`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark")]

use std::fmt::Write as _;
use std::hint::black_box;

use cordum_policy::replay::record::Call;
use cordum_policy::replay::{record, Replay, ReplaySpec, Segment};
use cordum_policy::{Policy, Source, SourceKind};
use cordum_wire::messages::{JobMetadata, PolicyCheckRequest};
use criterion::{criterion_group, criterion_main, Criterion, Throughput};
use prost::Message;

/// As in the extension module.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROWS: usize = 4096;

fn policy(rules: usize) -> Policy {
    let mut text = String::from("version: bench\nrules:\n");
    for i in 0..rules {
        writeln!(
            text,
            "  - {{id: r{i}, decision: {}, reason: rule {i}, match: {{topics: [\"job.team{}.*\"], capabilities: [cap{i}]}}}}",
            ["allow", "deny", "require_approval"][i % 3],
            i % 200
        )
        .unwrap();
    }
    let source = Source {
        kind: SourceKind::Base,
        content: text.as_bytes(),
    };
    Policy::compile(&[source]).unwrap()
}

fn request(i: usize, rules: usize) -> Vec<u8> {
    let rule = i * 7919 % rules;
    PolicyCheckRequest {
        job_id: format!("3f1c9a40-77aa-4b6e-9d21-{i:012}"),
        topic: format!("job.team{}.apply", rule % 200),
        tenant: "default".to_owned(),
        principal_id: format!("user-{}", i % 50),
        labels: [("env", "prod"), ("_source", "api"), ("region", "north")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into(),
        meta: Some(JobMetadata {
            capability: format!("cap{rule}"),
            risk_tags: vec!["write".to_owned()],
            ..JobMetadata::default()
        }),
        ..PolicyCheckRequest::default()
    }
    .encode_to_vec()
}

fn bench(criterion: &mut Criterion) {
    let policy = policy(1000);
    let requests: Vec<Vec<u8>> = (0..ROWS).map(|i| request(i, 1000)).collect();
    let answers: Vec<Vec<u8>> = requests
        .iter()
        .map(|r| policy.evaluate_bytes(r).unwrap())
        .collect();
    let calls: Vec<Call<'_>> = requests
        .iter()
        .zip(&answers)
        .map(|(request, answer)| Call {
            request,
            answer,
            time_us: 1,
            is_batch: false,
        })
        .collect();
    let bytes = record(&calls).remove(0).bytes;
    let raw: usize = requests.iter().chain(&answers).map(Vec::len).sum();
    println!(
        "{} bytes per decision, {} on the wire",
        bytes.len() / ROWS,
        raw / ROWS
    );
    let mut group = criterion.benchmark_group("replay");
    group.throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("record", |b| b.iter(|| record(black_box(&calls))));
    group.bench_function("decode", |b| {
        b.iter(|| Segment::decode(black_box(&bytes)).unwrap())
    });
    group.bench_function("replay from bytes, 1000 rules", |b| {
        b.iter(|| {
            let mut replay = Replay::new(ReplaySpec::default()).unwrap();
            replay.add(&policy, &Segment::decode(black_box(&bytes)).unwrap());
            assert_eq!(replay.summary().unchanged, ROWS as u64);
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(std::time::Duration::from_secs(1)).warm_up_time(std::time::Duration::from_millis(300));
    targets = bench
}
criterion_main!(benches);
