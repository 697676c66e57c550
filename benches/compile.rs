//! What a change costs: the next snapshot and the next table, and a table from nothing.

mod scene;

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use scene::{Scene, Shape, route};
use sluicegate::model::{Change, Timestamp};
use sluicegate::upstream::Resolved;

const SHAPES: [(&str, Shape); 2] = [("prefix", Shape::Prefix), ("host", Shape::Host)];

/// Everything, as when a process starts.
fn full(c: &mut Criterion) {
    let mut group = c.benchmark_group("full");
    group.sample_size(10);
    for (name, shape) in SHAPES {
        for count in [1_000, 100_000] {
            let scene = Scene::new(shape, count);
            group.bench_function(BenchmarkId::new(name, count), |b| {
                b.iter_batched(|| (), |()| scene.table(), BatchSize::PerIteration);
            });
        }
    }
    group.finish();
}

/// One route more: what the registry's writer does for it, without the store.
fn one_change(c: &mut Criterion) {
    let mut group = c.benchmark_group("one_change");
    for (name, shape) in SHAPES {
        for count in [1_000, 100_000] {
            let scene = Scene::new(shape, count);
            let table = scene.table();
            let changes = [Change::Create(route(shape, count))];
            let change = || {
                let (next, touched) = scene
                    .snapshot
                    .with(&changes, Timestamp::default())
                    .expect("a route that fits");
                let resolved = Resolved::default();
                scene.compiler.next(&table, &next, &touched, &resolved)
            };
            group.bench_function(BenchmarkId::new(name, count), |b| {
                b.iter_with_large_drop(|| black_box(change()));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, full, one_change);
criterion_main!(benches);
