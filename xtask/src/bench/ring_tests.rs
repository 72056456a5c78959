use super::*;

fn row(subject: &'static str, format: &'static str, instructions: f64) -> Row {
    let nanoseconds = instructions / 10.0;
    Row {
        subject,
        end: "device",
        format,
        batch: 32,
        segments: 2,
        instructions,
        nanoseconds,
    }
}

#[test]
fn the_harness_of_the_same_case_is_taken_off() {
    let mut rows = vec![
        row(HARNESS, "split", 20.0),
        row(RINGWRIGHT, "split", 80.0),
        row(HARNESS, "packed", 30.0),
        row(RINGWRIGHT, "packed", 100.0),
    ];
    take_off_harness(&mut rows);
    let left: Vec<_> = rows
        .iter()
        .map(|row| (row.subject, row.instructions, row.nanoseconds))
        .collect();
    assert_eq!(left, [(RINGWRIGHT, 60.0, 6.0), (RINGWRIGHT, 70.0, 7.0)]);
}

#[test]
fn ours_is_compared_with_the_other_crate_whatever_the_format() {
    let rows = [
        row(RINGWRIGHT, "packed", 50.0),
        row("virtio-queue", "split", 500.0),
    ];
    assert_eq!(rival(&rows, &rows[0]).map(|row| row.instructions), Some(500.0));
    assert!(rival(&rows, &rows[1]).is_none());
}

#[test]
fn records_have_the_agreed_keys() {
    let record = record(&row(RINGWRIGHT, "split", 60.126));
    let keys: Vec<_> = record.as_object().unwrap().keys().map(String::as_str).collect();
    let mut agreed = [
        "bench",
        "subject",
        "end",
        "format",
        "batch",
        "segments",
        "instructions_per_chain",
        "nanoseconds_per_chain",
    ];
    agreed.sort();
    assert_eq!(keys, agreed);
    assert_eq!(record["instructions_per_chain"], 60.13);
}

#[test]
fn every_subject_has_a_harness() {
    let rows = rows(false);
    for row in rows.iter().filter(|row| row.subject != HARNESS) {
        assert!(
            rows.iter()
                .any(|share| share.subject == HARNESS && share.is_like(row))
        );
    }
}
