//! What finding a route costs, by the shape of the routes and their number; and what a request does
//! with its route besides.

mod scene;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use scene::{Asked, Scene, Shape};
use sluicegate::metrics::Outcome;
use sluicegate::table::Table;

/// The allocator decides what lies side by side.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn find(c: &mut Criterion) {
    let mut group = c.benchmark_group("find");
    for (name, shape) in Shape::ALL {
        for count in [10, 1_000, 10_000, 100_000] {
            let table = Scene::new(shape, count).table();
            let mut asked = Asked::new(shape, count);
            group.bench_function(BenchmarkId::new(name, count), |b| {
                b.iter(|| black_box(table.find(&asked.question(), &mut ()).is_some()));
            });
        }
    }
    group.finish();
}

/// Finds a route, counts a request as under way, and counts how it ended.
fn serve(table: &Table, asked: &mut Asked) {
    let Some(hit) = table.find(&asked.question(), &mut ()) else {
        return;
    };
    let (route, service) = (hit.take(), table.service(&hit));
    black_box((route.facts(), service));
    hit.begin().observe(&Outcome {
        status: 200,
        duration: Duration::from_micros(100),
        bytes_in: 0,
        bytes_out: 100,
    });
}

fn request(c: &mut Criterion) {
    let mut group = c.benchmark_group("request");
    for (name, shape) in [
        ("prefix", Shape::Prefix),
        ("host", Shape::Host),
        ("site", Shape::Site),
    ] {
        for count in [10, 10_000, 30_000, 100_000] {
            let table = Scene::new(shape, count).table();
            let mut asked = Asked::new(shape, count);
            group.bench_function(BenchmarkId::new(name, count), |b| {
                b.iter(|| serve(&table, &mut asked));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, find, request);
criterion_main!(benches);
