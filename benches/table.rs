//! What finding a route costs, by the shape of the routes and their number.

mod scene;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use scene::{Asked, Scene, Shape};

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

criterion_group!(benches, find);
criterion_main!(benches);
