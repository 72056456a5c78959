//! Reads the Linux UAPI headers of virtio with the C compiler: which names they define, and the values, sizes and
//! offsets that the compiler gives them.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Names and structures that one header defines.
pub struct Header {
    /// Path to include.
    pub path: PathBuf,
    /// File name, as people call it.
    pub name: String,
    /// Macros and enumerators.
    pub constants: Vec<String>,
    /// Structures with a tag, at the top level.
    pub structures: Vec<Structure>,
}

/// A structure of a header.
pub struct Structure {
    /// Its tag.
    pub tag: String,
    /// Names of its fields; those of unnamed unions and structures stand for them.
    pub fields: Vec<CField>,
}

/// A field of a [`Structure`].
pub struct CField {
    /// Its name.
    pub name: String,
    /// Whether it is an array of unknown length, at the end of its structure.
    pub flexible: bool,
}

/// What to ask the compiler about one header.
#[derive(Default)]
pub struct Questions {
    /// Constants whose values are wanted.
    pub constants: Vec<String>,
    /// Structures whose size is wanted, with the fields whose offset and size are wanted; a flexible field has no size.
    pub structures: Vec<(String, Vec<(String, bool)>)>,
}

/// The compiler's answers: by constant, by structure, by structure and field.
#[derive(Default)]
pub struct Answers {
    /// Values, as unsigned 64-bit numbers.
    pub constants: BTreeMap<String, u64>,
    /// Sizes in bytes.
    pub sizes: BTreeMap<String, usize>,
    /// Offsets in bytes, and sizes of all but flexible fields.
    pub fields: BTreeMap<(String, String), (usize, Option<usize>)>,
}

/// The folder that contains `linux/virtio_ids.h`: that of the environment variable RINGWRIGHT_UAPI, else the system's.
/// The former is expected to hold the newest headers; whether it does is the second result.
pub fn folder() -> (PathBuf, bool) {
    let (folder, newest) = match env::var_os("RINGWRIGHT_UAPI") {
        Some(folder) => (PathBuf::from(folder), true),
        None => (PathBuf::from("/usr/include"), false),
    };
    assert!(
        folder.join("linux/virtio_ids.h").is_file(),
        "{} has no linux/virtio_ids.h: install linux-libc-dev, or point RINGWRIGHT_UAPI at the usr/include of one",
        folder.display()
    );
    (folder, newest)
}

/// Every virtio header of the folder.
pub fn read_all(folder: &Path) -> Vec<Header> {
    let mut paths: Vec<_> = fs::read_dir(folder.join("linux"))
        .expect("read the folder of headers")
        .map(|entry| entry.expect("read the folder of headers").path())
        .filter(|path| file_name(path).starts_with("virtio_") && file_name(path).ends_with(".h"))
        .collect();
    // The only header of channel I/O is one of the architecture.
    paths.extend(Some(folder.join("s390x-linux-gnu/asm/virtio-ccw.h")).filter(|path| path.is_file()));
    paths.sort();
    assert!(
        paths.len() >= 15,
        "only {} virtio headers in {}",
        paths.len(),
        folder.display()
    );
    paths.iter().map(|path| read(folder, path)).collect()
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Preprocesses one header, keeping its definitions, and takes from the result the lines that are its own.
fn read(folder: &Path, path: &Path) -> Header {
    let output = compiler(folder, &["-E", "-dD", "-x", "c"], path);
    let text = String::from_utf8_lossy(&output.stdout);
    let marker = format!("\"{}\"", path.display());
    let (mut own, mut constants, mut code) = (false, Vec::new(), String::new());
    for line in text.lines() {
        if line.starts_with("# ") {
            own = line.contains(&marker);
        } else if own && line.starts_with("#define ") {
            constants.extend(line.split([' ', '(']).nth(1).map(str::to_owned));
        } else if own && !line.starts_with('#') {
            code.push_str(line);
            code.push('\n');
        }
    }
    let mut structures = Vec::new();
    for (head, body) in blocks(&code) {
        let words: Vec<_> = head.split_whitespace().collect();
        match words.as_slice() {
            ["enum", ..] => constants.extend(body.split(',').map(first_word).filter(|name| !name.is_empty())),
            ["struct" | "union", tag, ..] => {
                structures.push(Structure {
                    tag: (*tag).to_owned(),
                    fields: fields(body),
                });
            }
            _ => {}
        }
    }
    Header {
        path: path.to_owned(),
        name: file_name(path),
        constants,
        structures,
    }
}

/// The brace blocks of `code` at the top level, each with the text before it, back to the last `;` or block.
fn blocks(code: &str) -> Vec<(&str, &str)> {
    let (mut found, mut depth, mut head, mut open) = (Vec::new(), 0, 0, 0);
    for (at, c) in code.char_indices() {
        match c {
            '{' => {
                if depth == 0 {
                    open = at;
                }
                depth += 1;
            }
            '}' => {
                depth -= 1;
                if depth == 0 {
                    found.push((&code[head..open], &code[open + 1..at]));
                    head = at + 1;
                }
            }
            ';' if depth == 0 => head = at + 1,
            _ => {}
        }
    }
    found
}

/// The fields that a structure's body declares; an unnamed union or structure contributes its own fields.
fn fields(body: &str) -> Vec<CField> {
    let (mut found, mut depth, mut start, mut inner) = (Vec::new(), 0, 0, None);
    for (at, c) in body.char_indices() {
        match c {
            '{' => {
                if depth == 0 {
                    start = at + 1;
                }
                depth += 1;
            }
            '}' => {
                depth -= 1;
                if depth == 0 {
                    inner = Some(&body[start..at]);
                    start = at + 1;
                }
            }
            ';' if depth == 0 => {
                let declared = body[start..at].trim();
                match inner.take() {
                    Some(inner) if declared.is_empty() => found.extend(fields(inner)),
                    _ => found.extend(declared.split(',').filter_map(declarator)),
                }
                start = at + 1;
            }
            _ => {}
        }
    }
    found
}

/// The name in a declarator such as `__le32 name[4]`.
fn declarator(text: &str) -> Option<CField> {
    let flexible = text.replace(' ', "").contains("[]") || text.replace(' ', "").contains("[0]");
    let name = text.split(['[', ':']).next()?.split_whitespace().next_back()?;
    Some(CField {
        name: name.trim_start_matches('*').to_owned(),
        flexible,
    })
}

fn first_word(text: &str) -> String {
    text.trim()
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect()
}

/// Compiles and runs a program that prints what is asked about a header.
pub fn ask(folder: &Path, header: &Header, questions: &Questions) -> Answers {
    let mut source = format!(
        "#include <stddef.h>\n#include <stdio.h>\n#include <linux/const.h>\n#include \"{}\"\nint main(void) {{\n",
        header.path.display()
    );
    for name in &questions.constants {
        source += &format!("printf(\"constant {name} %llu\\n\", (unsigned long long)({name}));\n");
    }
    for (tag, fields) in &questions.structures {
        source += &format!("printf(\"struct {tag} %zu\\n\", sizeof(struct {tag}));\n");
        for (field, flexible) in fields {
            let size = if *flexible {
                "(size_t)0".to_owned()
            } else {
                format!("sizeof(((struct {tag} *)0)->{field})")
            };
            source += &format!(
                "printf(\"field {tag} {field} %zu %zu {flexible}\\n\", offsetof(struct {tag}, {field}), {size});\n"
            );
        }
    }
    source += "return 0; }\n";

    let temporary = tempfile::tempdir().expect("a temporary folder");
    let file = temporary.path().join("ask.c");
    let program = temporary.path().join("ask");
    fs::write(&file, &source).expect("write the program");
    compiler(folder, &["-w", "-o", &program.display().to_string()], &file);
    let output = Command::new(&program).output().expect("run the program");
    assert!(
        output.status.success(),
        "the program about {} ended with {}",
        header.name,
        output.status
    );

    let mut answers = Answers::default();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let number = |text: &str| text.parse::<u64>().expect("a number");
        match line.split(' ').collect::<Vec<_>>().as_slice() {
            ["constant", name, value] => {
                answers.constants.insert((*name).to_owned(), number(value));
            }
            ["struct", tag, size] => {
                answers.sizes.insert((*tag).to_owned(), number(size) as usize);
            }
            ["field", tag, field, offset, size, flexible] => {
                let size = (*flexible == "false").then_some(number(size) as usize);
                answers.fields.insert(
                    ((*tag).to_owned(), (*field).to_owned()),
                    (number(offset) as usize, size),
                );
            }
            _ => panic!("unexpected line {line:?}"),
        }
    }
    answers
}

/// Runs the C compiler, with the folder's headers before the system's.
fn compiler(folder: &Path, arguments: &[&str], file: &Path) -> Output {
    let architecture = folder.join(format!("{}-linux-gnu", env::consts::ARCH));
    let output = Command::new("cc")
        .args(arguments)
        .arg("-I")
        .arg(folder)
        .arg("-I")
        .arg(architecture)
        .arg(file)
        .output()
        .unwrap_or_else(|error| panic!("cannot run the C compiler cc ({error}): install gcc or clang"));
    assert!(
        output.status.success(),
        "cc failed on {}:\n{}",
        file.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}
