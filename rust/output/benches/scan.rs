//! Throughput of the scan (output policy spec §16.8): clean text, text full of hits, text made to hurt.

use std::hint::black_box;
use std::time::Duration;

use cordum_output::{Engine, Mask, ScanOptions};
use criterion::{criterion_group, criterion_main, Criterion, Throughput};

mod texts;

fn scan(criterion: &mut Criterion) {
    let engine = Engine::builtin();
    let masks: Vec<(&str, Mask)> = [
        ("secret", vec!["secret"]),
        ("pii", vec!["pii"]),
        ("values", vec!["secret", "pii"]),
    ]
    .into_iter()
    .map(|(name, scanners)| {
        let mut mask = Mask::new();
        scanners
            .iter()
            .for_each(|name| mask.union_with(&engine.scanner(name).unwrap_or_default()));
        (name, mask)
    })
    .chain([("all", engine.default_mask())])
    .collect();
    let texts = texts::all();
    let mut group = criterion.benchmark_group("scan");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600));
    for (text_name, text) in &texts {
        group.throughput(Throughput::Bytes(text.len() as u64));
        for (mask_name, mask) in &masks {
            group.bench_function(format!("{text_name}/{mask_name}"), |bencher| {
                bencher.iter(|| engine.scan(black_box(text), mask, &ScanOptions::default()));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, scan);
criterion_main!(benches);
