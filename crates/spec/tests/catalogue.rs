//! The catalogue is written by hand beside the definitions; this compares it with the source, so that nothing is
//! missing from it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ringwright_spec::catalogue::MODULES;

/// Number of definitions by "module item", where the module is the outermost one: an inner module may be private, its
/// items being re-exported.
type Items = BTreeMap<(String, String), usize>;

#[test]
fn the_catalogue_has_every_definition_of_the_source() {
    let mut defined = Items::new();
    read_folder(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        None,
        &mut defined,
    );
    assert!(defined.len() > 100, "the source was not understood: {defined:?}");

    let mut listed = Items::new();
    for module in MODULES {
        let outermost = module.name.split("::").next().unwrap_or_default();
        let groups = module.groups.iter().map(|group| group.name);
        for name in groups.chain(module.layouts.iter().map(|layout| layout.name)) {
            *listed.entry((outermost.to_owned(), name.to_owned())).or_default() += 1;
        }
    }
    let missing: Vec<_> = defined
        .iter()
        .filter(|(item, count)| listed.get(*item) != Some(*count))
        .collect();
    assert!(
        missing.is_empty(),
        "not in the catalogue as often as in the source: {missing:?}"
    );
    assert_eq!(listed, defined);
}

fn read_folder(folder: &Path, outermost: Option<&str>, items: &mut Items) {
    for entry in fs::read_dir(folder).expect("read the folder of sources") {
        let path = entry.expect("read the folder of sources").path();
        let stem = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .expect("UTF-8 names");
        let module = outermost.unwrap_or(stem);
        if path.is_dir() {
            read_folder(&path, Some(module), items);
        } else if !["macros", "data", "tests"].contains(&stem) {
            read_file(&fs::read_to_string(&path).expect("read a source"), module, items);
        }
    }
}

/// Counts what stands in the macros of one source, which begin and end at the left margin.
fn read_file(source: &str, module: &str, items: &mut Items) {
    let mut of_macro = None;
    for line in source.lines() {
        match line {
            "wire! {" => of_macro = Some("pub struct "),
            "constants! {" | "flags! {" => of_macro = Some("pub "),
            "}" => of_macro = None,
            _ => {
                let Some(rest) = of_macro.and_then(|start| line.trim_start().strip_prefix(start)) else {
                    continue;
                };
                if !rest.ends_with('{') {
                    continue;
                }
                let name: String = rest.chars().take_while(char::is_ascii_alphanumeric).collect();
                *items.entry((module.to_owned(), name)).or_default() += 1;
            }
        }
    }
}
