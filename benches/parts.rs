//! The pure parts of an append and a read under criterion: encode, check, scan. `cargo bench --features sim --bench parts`.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringwal::sim::work::{Segment, check, encode};

const PAYLOAD_BYTES: [usize; 4] = [128, 256, 1024, 16_384];

fn encoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    for bytes in PAYLOAD_BYTES {
        let payload = vec![7; bytes];
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(BenchmarkId::from_parameter(bytes), |bencher| {
            bencher.iter(|| encode(black_box(&payload), black_box(4096)));
        });
    }
}

fn checking(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("check");
    for bytes in PAYLOAD_BYTES {
        let payload = vec![7; bytes];
        let record = [&encode(&payload, 4096), &payload[..]].concat();
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(BenchmarkId::from_parameter(bytes), |bencher| {
            bencher.iter(|| check(black_box(&record), black_box(4096)));
        });
    }
}

fn scanning(criterion: &mut Criterion) {
    const RECORDS: usize = 4096;
    for (name, verify) in [("scan", false), ("verify", true)] {
        let mut group = criterion.benchmark_group(name);
        for bytes in PAYLOAD_BYTES {
            let segment = Segment::new(RECORDS, bytes);
            group.throughput(Throughput::Elements(RECORDS as u64));
            group.bench_function(BenchmarkId::from_parameter(bytes), |bencher| {
                bencher.iter(|| assert_eq!(black_box(&segment).scan(verify), RECORDS));
            });
        }
    }
}

criterion_group!(parts, encoding, checking, scanning);
criterion_main!(parts);
