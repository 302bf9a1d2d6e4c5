//! Decisions per second at 10 to 10 000 rules of "topic glob + two attributes". Run: `cargo bench -p cordum-policy`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark")]

use std::fmt::Write as _;
use std::hint::black_box;

use cordum_policy::{Policy, Request, Source, SourceKind};
use cordum_wire::messages::{BatchRequest, JobMetadata, PolicyCheckRequest};
use criterion::{criterion_group, criterion_main, BenchmarkId, Criterion, Throughput};
use prost::Message;

/// As in the extension module.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TEAMS: usize = 200;
const REQUESTS: usize = 1024;

/// `capabilities` distinct values: as many as rules, or few, so that many rules share each.
fn policy(rules: usize, capabilities: usize) -> Policy {
    let mut text = String::from("version: bench\nrules:\n");
    for i in 0..rules {
        let decision = ["allow", "deny", "require_approval"][i % 3];
        writeln!(
            text,
            "  - {{id: r{i}, decision: {decision}, reason: rule {i}, match: {{topics: [\"job.team{}.*\"], \
             capabilities: [cap{}], risk_tags: [tag{}, money]}}}}",
            i % TEAMS,
            i % capabilities,
            i % 7
        )
        .unwrap();
    }
    let source = Source {
        kind: SourceKind::Base,
        content: text.as_bytes(),
    };
    Policy::compile(&[source]).unwrap()
}

/// A request that rule `i` decides.
fn request(i: usize) -> Vec<u8> {
    PolicyCheckRequest {
        job_id: format!("job-{i}"),
        topic: format!("job.team{}.apply", i % TEAMS),
        tenant: "default".to_owned(),
        labels: [("env", "prod"), ("_source", "api")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into(),
        meta: Some(JobMetadata {
            capability: format!("cap{i}"),
            risk_tags: vec![format!("tag{}", i % 7)],
            ..JobMetadata::default()
        }),
        ..PolicyCheckRequest::default()
    }
    .encode_to_vec()
}

fn bench(criterion: &mut Criterion) {
    for rules in [10usize, 100, 1000, 10_000] {
        let policy = policy(rules, rules);
        let uniform: Vec<Vec<u8>> = (0..REQUESTS).map(|i| request(i * 7919 % rules)).collect();
        let last = vec![request(rules - 1); REQUESTS];
        for (kind, bytes) in [("uniform", &uniform), ("last", &last)] {
            let decoded: Vec<Request<'_>> = bytes.iter().map(|b| Request::decode(b).unwrap()).collect();
            let mut group = criterion.benchmark_group(kind);
            group.throughput(Throughput::Elements(REQUESTS as u64));
            group.bench_with_input(BenchmarkId::new("decoded", rules), &decoded, |b, decoded| {
                b.iter(|| {
                    for request in decoded {
                        black_box(policy.evaluate(black_box(request)));
                    }
                });
            });
            group.bench_with_input(BenchmarkId::new("bytes", rules), bytes, |b, bytes| {
                b.iter(|| {
                    for request in bytes {
                        black_box(policy.evaluate_bytes(black_box(request)).unwrap());
                    }
                });
            });
            let batches: Vec<Vec<u8>> = bytes
                .chunks(256)
                .map(|requests| {
                    BatchRequest {
                        requests: requests.to_vec(),
                    }
                    .encode_to_vec()
                })
                .collect();
            group.bench_with_input(BenchmarkId::new("batch256", rules), &batches, |b, batches| {
                b.iter(|| {
                    for batch in batches {
                        black_box(policy.evaluate_batch(black_box(batch)).unwrap());
                    }
                });
            });
            group.finish();
        }
    }
}

/// No rule matches, but topic, capability and tag each admit many rules in every part of the policy: a long search.
fn bench_misses(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("shared_values_miss");
    group.throughput(Throughput::Elements(REQUESTS as u64));
    for rules in [10usize, 100, 1000, 10_000] {
        let policy = policy(rules, 50);
        let bytes: Vec<Vec<u8>> = (0..REQUESTS)
            .map(|i| {
                let mut request = PolicyCheckRequest::decode(request(i % TEAMS).as_slice()).unwrap();
                let meta = request.meta.get_or_insert_default();
                meta.capability = format!("cap{}", (i % TEAMS + 1) % 50);
                meta.risk_tags = vec!["money".to_owned()];
                request.encode_to_vec()
            })
            .collect();
        let decoded: Vec<Request<'_>> = bytes.iter().map(|b| Request::decode(b).unwrap()).collect();
        group.bench_with_input(BenchmarkId::new("decoded", rules), &decoded, |b, decoded| {
            b.iter(|| {
                for request in decoded {
                    black_box(policy.evaluate(black_box(request)));
                }
            });
        });
    }
    group.finish();
}

/// One content rule over 16 KiB of ordinary text in which it finds nothing, and the compilation of large policies.
fn bench_content(criterion: &mut Criterion) {
    let words = "the quick brown fox jumps over the lazy dog near the river bank and reports 42 items to the office. ";
    let content: String = words.chars().cycle().take(16 * 1024).collect();
    let request = PolicyCheckRequest {
        topic: "job.a".to_owned(),
        input_content: content.into_bytes(),
        ..PolicyCheckRequest::default()
    }
    .encode_to_vec();
    let mut group = criterion.benchmark_group("content_16k");
    for (name, detectors) in [
        ("keywords", "keywords: [explosive, ransom, password]"),
        (
            "patterns",
            r"content_patterns: ['(?i)begin\s+secret', 'AKIA[A-Z0-9]{16}']",
        ),
        ("secret", "scanners: [secret]"),
        ("pii", "scanners: [pii]"),
        ("prompt_injection", "scanners: [prompt_injection]"),
    ] {
        let text = format!("default_decision: allow\ninput_rules: [{{id: c, match: {{{detectors}}}}}]\n");
        let source = Source {
            kind: SourceKind::Base,
            content: text.as_bytes(),
        };
        let policy = Policy::compile(&[source]).unwrap();
        group.bench_function(name, |b| {
            b.iter(|| black_box(policy.evaluate_bytes(black_box(&request)).unwrap()))
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("compile");
    group.bench_function("10000", |b| b.iter(|| black_box(policy(10_000, 10_000))));
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(std::time::Duration::from_secs(1)).warm_up_time(std::time::Duration::from_millis(300));
    targets = bench, bench_misses, bench_content
}
criterion_main!(benches);
