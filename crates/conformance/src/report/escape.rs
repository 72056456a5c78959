//! Text of others, as a part of XML and HTML.

use std::fmt::{self, Write};

/// Text that is shown as it is, in an element or between quotation marks. What XML has no way to say is shown as U+FFFD.
pub struct Escaped<T>(pub T);

impl<T: fmt::Display> fmt::Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'f, 'a>(&'f mut fmt::Formatter<'a>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|character| match character {
            '&' => self.0.write_str("&amp;"),
            '<' => self.0.write_str("&lt;"),
            '>' => self.0.write_str("&gt;"),
            '"' => self.0.write_str("&quot;"),
            '\'' => self.0.write_str("&#39;"),
            '\t' | '\n' => self.0.write_char(character),
            '\0'..' ' | '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => self.0.write_char('\u{fffd}'),
            other => self.0.write_char(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_text() {
        assert_eq!(
            Escaped("<script>\"a\" & 'b'</script>\n").to_string(),
            "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;&lt;/script&gt;\n"
        );
        assert_eq!(
            Escaped("\0\u{1b}[31m\u{fffe}").to_string(),
            "\u{fffd}\u{fffd}[31m\u{fffd}"
        );
        assert_eq!(Escaped(7).to_string(), "7");
    }
}
