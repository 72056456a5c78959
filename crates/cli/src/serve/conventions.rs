//! What QEMU's document asks of back-end programs of vhost-user (docs/interop/vhost-user.rst, "Backend program conventions").

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// A type of device: here, in the schema of the document's capabilities, and the optional features there.
const TYPES: [(&str, &str, &[&str]); 4] = [
    ("block", "block", &["read-only", "blk-file"]),
    ("console", "console", &[]),
    ("entropy", "rng", &[]),
    ("network", "net", &[]),
];

/// The command line that is meant. Management programs start a back-end as a program of its own, without commands: under the
/// name ringwright-block (a link to it), the program is `ringwright serve block`, and so for the other devices.
pub fn command_line(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = words.collect();
    let name = words
        .first()
        .and_then(|word| Path::new(word).file_name())
        .and_then(OsStr::to_str);
    let device = name.and_then(|name| name.strip_prefix("ringwright-"));
    if let Some((device, ..)) = TYPES.iter().find(|(own, ..)| device == Some(own)) {
        words.splice(1..1, ["serve".into(), device.into()]);
    }
    words
}

/// What `--print-capabilities` prints of the device that a command line is about, if it is there. Everything else is ignored
/// then, also what is missing.
pub fn capabilities(words: &[OsString]) -> Option<String> {
    if !words.iter().any(|word| word == "--print-capabilities") {
        return None;
    }
    let serve = words.iter().position(|word| word == "serve")?;
    let (_, name, features) = words[serve..]
        .iter()
        .find_map(|word| TYPES.iter().find(|(own, ..)| word == own))?;
    Some(serde_json::json!({ "type": name, "features": features }).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_a_command() {
        let line = |words: &str| {
            let words = command_line(words.split(' ').map(Into::into));
            words.join(OsStr::new(" ")).into_string().unwrap()
        };
        assert_eq!(
            line("/usr/libexec/ringwright-block --fd 3"),
            "/usr/libexec/ringwright-block serve block --fd 3"
        );
        for as_it_is in [
            "ringwright serve block --fd 3",
            "ringwright-floppy --fd 3",
            "ringwright",
        ] {
            assert_eq!(line(as_it_is), as_it_is);
        }
    }
}
