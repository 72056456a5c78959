//! Compares every constant and structure that the Linux UAPI headers of virtio define with this crate's.
//!
//! The headers are those of the folder in the environment variable RINGWRIGHT_UAPI (a `usr/include`), else of
//! /usr/include. A name that the headers define must be compared, or be among the exceptions with a reason; so what
//! newer headers add is noticed, and nothing drops out unnoticed.

mod constants;
mod exceptions;
mod headers;
mod pci;
mod singles;
mod structures;

use std::collections::BTreeMap;

use headers::{Answers, Header, Questions, Structure};
use structures::Counterpart;

#[test]
fn linux_agrees() {
    let (folder, newest) = headers::folder();
    println!("Linux UAPI headers: {}", folder.display());
    if !newest {
        println!("They may be old: RINGWRIGHT_UAPI is not set.");
    }
    let our_constants = constants::ours();
    let our_structures: BTreeMap<_, _> = structures::ours()
        .into_iter()
        .map(|ours| (ours.tag.to_owned(), ours))
        .collect();
    let mut found = Findings::default();
    for header in headers::read_all(&folder) {
        let mut questions = Questions::default();
        for name in &header.constants {
            let known = our_constants.get(name).is_some();
            if found.sort(&header, name, known, exceptions::constant(name)) {
                questions.constants.push(name.clone());
            }
        }
        for theirs in &header.structures {
            let tag = &theirs.tag;
            if found.sort(
                &header,
                tag,
                our_structures.contains_key(tag),
                exceptions::structure(tag),
            ) {
                let fields = theirs
                    .fields
                    .iter()
                    .map(|field| (field.name.clone(), field.flexible));
                questions.structures.push((tag.clone(), fields.collect()));
            }
        }
        let answers = headers::ask(&folder, &header, &questions);
        for (name, theirs) in &answers.constants {
            let our = our_constants.get(name).expect("only known names are asked for");
            match exceptions::different(name) {
                None if our == *theirs => {}
                Some(expected) if our != *theirs && expected == *theirs => {}
                _ => found
                    .complaints
                    .push(format!("{name} is {our:#x} here and {theirs:#x} in Linux")),
            }
        }
        for theirs in header
            .structures
            .iter()
            .filter(|theirs| answers.sizes.contains_key(&theirs.tag))
        {
            compare_structure(
                &our_structures[&theirs.tag],
                theirs,
                &answers,
                newest,
                &mut found.complaints,
            );
        }
        found.constants += answers.constants.len();
        found.structures += answers.sizes.len();
    }
    let Findings {
        constants,
        structures,
        complaints,
    } = found;
    println!("{constants} constants and {structures} structures compared");
    assert!(
        complaints.is_empty(),
        "{} differences:\n{}",
        complaints.len(),
        complaints.join("\n")
    );
    // The oldest headers worth comparing with, those of Linux 6.1, have more.
    assert!(
        constants >= 500 && structures >= 100,
        "only {constants} constants and {structures} structures"
    );
}

/// What the comparison has found.
#[derive(Default)]
struct Findings {
    constants: usize,
    structures: usize,
    complaints: Vec<String>,
}

impl Findings {
    /// Whether this name of a header is to be compared; complains unless it is that or an exception, and not both.
    fn sort(&mut self, header: &Header, name: &str, known: bool, exception: Option<&str>) -> bool {
        match (known, exception) {
            (true, Some(_)) => self
                .complaints
                .push(format!("{name} is both compared and an exception")),
            (false, None) => {
                self.complaints.push(format!(
                    "{}: {name} is neither compared nor an exception",
                    header.name
                ));
            }
            _ => {}
        }
        known && exception.is_none()
    }
}

/// Compares the size of a structure, and the offset and size of each of its fields. In headers that may not be the
/// newest, structures may lack their last fields.
fn compare_structure(
    ours: &Counterpart,
    theirs: &Structure,
    answers: &Answers,
    newest: bool,
    complaints: &mut Vec<String>,
) {
    let tag = &theirs.tag;
    let (our_size, their_size) = (ours.layout.size, answers.sizes[tag]);
    // A C compiler may pad a structure that ends with an array of unknown length; the array's offset tells.
    let open_ended = theirs.fields.last().is_some_and(|field| field.flexible);
    let as_expected = match (ours.shorter_in_linux, ours.behind) {
        (true, _) => their_size < our_size,
        (false, []) => their_size == our_size,
        (false, _) => their_size > our_size,
    };
    if !as_expected && !open_ended && (newest || their_size > our_size) {
        complaints.push(format!(
            "struct {tag} has {our_size} bytes here and {their_size} in Linux"
        ));
    }
    for field in &theirs.fields {
        let name = &field.name;
        let (offset, size) = answers.fields[&(tag.clone(), name.clone())];
        let same_name = ours
            .layout
            .fields
            .iter()
            .find(|ours| ours.name.trim_start_matches("r#") == name);
        let renamed = ours.renamed.iter().find(|(theirs, _)| theirs == name);
        let (our_offset, our_size) = match (renamed, same_name) {
            (Some((_, offset)), _) => (*offset, None),
            (None, Some(ours)) => (ours.offset, Some(ours.size)),
            (None, None) if field.flexible || ours.behind.contains(&name.as_str()) => {
                (ours.layout.size, None)
            }
            (None, None) => {
                complaints.push(format!("struct {tag}: field {name} has no counterpart"));
                continue;
            }
        };
        if our_offset != offset {
            complaints.push(format!(
                "struct {tag}: {name} is at {our_offset} here and at {offset} in Linux"
            ));
        }
        if let (Some(ours), Some(theirs)) = (our_size, size)
            && ours != theirs
        {
            complaints.push(format!(
                "struct {tag}: {name} has {ours} bytes here and {theirs} in Linux"
            ));
        }
    }
}
