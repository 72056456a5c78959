use roxmltree::Document;

use super::*;
use crate::{clause, device};

/// Evidence that a subject could have made up.
const HOSTILE: &str = "</script></style><img src=x onerror=alert(1)> & \"quoted\" ]]> \0\u{1b}[31m";

/// A report in which the checks of devices came to all verdicts, in turn.
fn report(subject: &str) -> Report {
    let verdicts = [
        |_: &'static str| Verdict::Pass,
        |clause| Verdict::Fail {
            clause,
            evidence: HOSTILE.into(),
        },
        |clause| Verdict::Advice {
            clause,
            evidence: HOSTILE.into(),
        },
        |_| Verdict::NotApplicable(HOSTILE.into()),
        |_| Verdict::NotSeen(HOSTILE.into()),
        |_| Verdict::Inconclusive(HOSTILE.into()),
    ];
    let records: Vec<Record> = device::checks()
        .zip(verdicts.iter().cycle())
        .map(|(check, verdict)| Record {
            check,
            verdict: verdict(check.clauses[0]),
            trace: vec!["status -> 0x0f".into(), HOSTILE.into()],
            took: Duration::from_millis(7),
        })
        .collect();
    let mut report = Report::new(subject.into(), "mmio".into(), Side::Device, &records);
    report.command = Some(format!("ringwright conform {HOSTILE}"));
    report
}

#[test]
fn a_record_is_read_as_it_was_written() {
    let report = report("a <subject>");
    let json = report.to_json().unwrap();
    assert_eq!(Report::from_json(&json).unwrap(), report);
    assert!(matches!(
        Report::from_json(&json.replace("\"format\": 1", "\"format\": 2")),
        Err(ReadError::Format(2))
    ));
    assert!(matches!(Report::from_json("{}"), Err(ReadError::Json(_))));
}

#[test]
fn traces_are_kept_of_what_says_something() {
    let report = report("a").without_idle_traces();
    for check in &report.checks {
        let idle = matches!(check.verdict, Word::Pass | Word::NotApplicable | Word::NotSeen);
        assert_eq!(check.trace.is_empty(), idle, "{}", check.name);
    }
}

#[test]
fn junit_is_xml_with_a_case_for_each_check() {
    let report = report("a <subject> & \"more\"");
    let xml = junit(&report);
    let document = Document::parse(&xml).unwrap();
    let count = |name: &str| {
        document
            .descendants()
            .filter(|node| node.has_tag_name(name))
            .count()
    };
    assert_eq!(count("testcase"), report.checks.len());
    assert_eq!(count("failure"), report.count(Word::Fail));
    assert_eq!(
        count("skipped"),
        report.count(Word::NotApplicable) + report.count(Word::NotSeen) + report.count(Word::Inconclusive)
    );
    let suite = document
        .descendants()
        .find(|node| node.has_tag_name("testsuite"))
        .unwrap();
    assert_eq!(suite.attribute("name"), Some("a <subject> & \"more\""));
    assert_eq!(
        suite.attribute("failures"),
        Some(report.count(Word::Fail).to_string().as_str())
    );
    assert_eq!(
        suite.attribute("skipped"),
        Some(count("skipped").to_string().as_str())
    );
    let failure = document
        .descendants()
        .find(|node| node.has_tag_name("failure"))
        .unwrap();
    assert!(
        failure
            .attribute("message")
            .unwrap()
            .contains("onerror=alert(1)> & \"quoted\"")
    );
}

#[test]
fn the_page_shows_what_a_subject_says_and_is_not_changed_by_it() {
    let page = html(&[report("<b>first</b>"), report("second")]);
    assert!(
        !page.contains("<img") && !page.contains("<b>first"),
        "markup of a subject"
    );
    assert!(page.contains("&lt;img src=x onerror=alert(1)&gt;"));
    assert!(page.contains("&lt;b&gt;first&lt;/b&gt;"));
    assert!(!page.contains("<script") && !page.contains("src=\"") && !page.contains("http://"));
    for check in device::checks() {
        for id in check.clauses {
            assert_eq!(page.matches(&format!("<tr id=\"{id}\"")).count(), 1, "{id}");
        }
    }
}

#[test]
fn pages_are_well_formed_but_for_what_html_lets_out() {
    // Every element that is not void is closed by what follows it: the parts that are written as XML are XML.
    let page = html(&[report("one")]);
    for name in [
        "table", "tbody", "details", "section", "div", "pre", "span", "code", "fieldset",
    ] {
        let opened = page.matches(&format!("<{name}>")).count() + page.matches(&format!("<{name} ")).count();
        assert_eq!(opened, page.matches(&format!("</{name}>")).count(), "{name}");
    }
}

#[test]
fn a_clause_is_broken_if_any_check_saw_it() {
    let mut report = report("a");
    let id = "dev:core:device-reset:01";
    report.checks.truncate(3);
    let checks = &mut report.checks;
    for check in &mut *checks {
        check.clauses = vec![id.into(), "dev:core:device-reset:02".into()];
    }
    checks[1].clause = Some(id.into());
    checks[2].verdict = Word::Inconclusive;
    checks[2].clause = None;
    let word = |report: &Report, id: &str| report.clause(clause(id).unwrap()).word;
    assert_eq!(word(&report, id), Some(Word::Fail));
    // The one that passed has seen the other clause through.
    assert_eq!(word(&report, "dev:core:device-reset:02"), Some(Word::Pass));
    report.checks.remove(0);
    let other = report.clause(clause("dev:core:device-reset:02").unwrap());
    assert_eq!(other.word, Some(Word::Inconclusive));
    assert_eq!(word(&report, "dev:core:feature-bits:01"), None);
}

#[test]
fn a_chapter_counts_each_of_its_clauses_once() {
    let report = report("a");
    for chapter in CHAPTERS {
        let (tally, unchecked) = report.tally(chapter);
        let all = clauses()
            .iter()
            .filter(|clause| clause.scope() == chapter.scope && clause.side == Side::Device)
            .count();
        assert_eq!(tally.iter().sum::<usize>() + unchecked, all, "{}", chapter.scope);
    }
}
