use serde_json::json;

use super::*;

/// A record with the requests per second and processor seconds of each round.
fn record(subject: &str, depth: u16, rounds: [[f64; 2]; 3]) -> Value {
    json!({
        "bench": "block", "subject": subject, "content": "memory", "operation": "read", "places": "random",
        "bytes": 4096, "depth": depth, "queues": 1, "requests_per_second": rounds[1][0],
        "cpu_seconds_per_million_requests": rounds[1][1], "rounds": rounds,
    })
}

#[test]
fn a_ratio_is_the_median_of_those_in_each_round() {
    // A round in which the machine was half as fast for both does not count for one of them only.
    let records = [
        record(RINGWRIGHT, 1, [[200.0, 1.0], [150.0, 1.0], [400.0, 2.0]]),
        record(QEMU, 1, [[100.0, 2.0], [50.0, 2.0], [190.0, 1.0]]),
    ];
    let cells: Vec<_> = cells(&records, Content::Memory).collect();
    assert_eq!(cells.len(), 1);
    assert!((cells[0].ratio(RINGWRIGHT).unwrap() - 400.0 / 190.0).abs() < 1e-9);
    assert_eq!(cells[0].cpu_ratio(RINGWRIGHT), Some(0.5));
    assert_eq!(cells[0].ratio(TRACKED), None);
}

#[test]
fn targets_that_are_missed_are_named() {
    let steady = |rate| [[rate, 1.0]; 3];
    let mut records = vec![
        record(RINGWRIGHT, 1, steady(300.0)),
        record(QEMU, 1, steady(100.0)),
        record(RINGWRIGHT, 32, steady(190.0)),
        record(KERNEL, 32, steady(195.0)),
        record(QEMU, 32, steady(100.0)),
    ];
    records.push(json!({ "bench": "block, idle", "resident_bytes": (8 << 20) + 1 }));
    let lines = targets(&records);
    assert_eq!(
        lines,
        [
            "memory, ringwright: requests per second 1.90 to 3.00 times, at least 2: MISSED in 1 of 2 cases",
            "  random read, depth 32, 1 queues: 1.90; the system alone 1.95 times as many",
            "memory, ringwright: processor time per request 1.00 to 1.00 times, not more than 1: met in 2 of 2 cases",
            "8.0 MiB resident with one queue idle, at most 8: MISSED",
        ]
    );
}
