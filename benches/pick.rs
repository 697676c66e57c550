//! What choosing an endpoint costs, per algorithm, in pools of 1, 2 and 200 endpoints: pick, observe
//! a success, and let go.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use sluicegate::model::{Algorithm, Id, PassiveCheck};
use sluicegate::upstream::{Endpoints, Health, Member, Outcome, Policy, Pool, Tried, key};

const ALGORITHMS: [(&str, Algorithm); 5] = [
    ("round_robin", Algorithm::RoundRobin),
    ("least_connections", Algorithm::LeastConnections),
    ("consistent_hashing", Algorithm::ConsistentHashing),
    ("random", Algorithm::Random),
    ("latency", Algorithm::Latency),
];

fn pool(live: &Endpoints, algorithm: Algorithm, count: u16) -> Pool {
    let members = (1..=count).map(|port| Member {
        id: None,
        host: "10.0.0.1".into(),
        addr: SocketAddr::from(([10, 0, 0, 1], port)),
        weight: 100 + port % 3,
        server: None,
    });
    let passive = PassiveCheck::default();
    let policy = Policy {
        algorithm,
        passive: Some(&passive),
        ..Policy::direct(Id::derived("bench"))
    };
    Pool::build(&policy, members.collect(), live)
}

fn one(pool: &Pool, key: u64, tried: &Tried, now: Instant) {
    if let Ok(pick) = pool.pick(black_box(key), tried, now) {
        pick.observe(Outcome::Status(200), now);
        black_box(pick.addr());
    }
}

fn pick(c: &mut Criterion) {
    let (live, now, tried) = (Endpoints::new(), Instant::now(), Tried::default());
    let mut group = c.benchmark_group("pick");
    for (name, algorithm) in ALGORITHMS {
        for count in [1, 2, 200] {
            let pool = pool(&live, algorithm, count);
            let mut number = 0_u64;
            group.bench_function(BenchmarkId::new(name, count), |b| {
                b.iter(|| {
                    number = number.wrapping_add(1);
                    one(&pool, key(&number.to_be_bytes()), &tried, now);
                });
            });
        }
    }
    group.finish();
}

/// One endpoint of 200 was tried, half of the others are down.
fn retry(c: &mut Criterion) {
    let (live, now) = (Endpoints::new(), Instant::now());
    let mut group = c.benchmark_group("retry");
    for (name, algorithm) in ALGORITHMS {
        let pool = pool(&live, algorithm, 200);
        for endpoint in pool.endpoints().step_by(2) {
            endpoint.mark(Health::Unhealthy);
        }
        let mut tried = Tried::default();
        if let Ok(pick) = pool.pick(1, &tried, now) {
            tried.add(&pick);
        }
        group.bench_function(name, |b| b.iter(|| one(&pool, 1, &tried, now)));
    }
    group.finish();
}

fn build(c: &mut Criterion) {
    let live = Endpoints::new();
    let mut group = c.benchmark_group("build");
    for count in [1, 2, 200] {
        group.bench_function(BenchmarkId::new("round_robin", count), |b| {
            b.iter(|| black_box(pool(&live, Algorithm::RoundRobin, count)));
        });
    }
    group.finish();
}

criterion_group!(benches, pick, retry, build);
criterion_main!(benches);
