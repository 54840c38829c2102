//! How a stranger's text is shown at a terminal: whatever moves the cursor, hides, or turns text around is written as
//! an escape of JSON (`\u202e`). A name that somebody chose is not to play tricks on whoever reads a listing or a log.
//!
//! The escape is the same everywhere, so that JSON stays JSON of the same meaning: there such characters stand in texts
//! only.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;

/// Bytes of one character at most.
const LONGEST: usize = 4;

/// A text on one line without anything that a terminal obeys.
#[must_use]
pub fn harmless(text: &str) -> Cow<'_, str> {
    if text.chars().any(|c| c.is_control() || deceives(c)) {
        let mut shown = String::with_capacity(text.len() + 16);
        text.chars().for_each(|c| put(&mut shown, c, c.is_control() || deceives(c)));
        Cow::Owned(shown)
    } else {
        Cow::Borrowed(text)
    }
}

/// The name of a file. Bytes that are no UTF-8 are written as `\xff`.
#[must_use]
pub fn harmless_path(path: &Path) -> String {
    let mut shown = String::new();
    bytes(path.as_os_str().as_encoded_bytes(), &mut shown, |c| c.is_control() || deceives(c));
    shown
}

/// Characters that are no control characters and yet turn text around, hide it, break lines, or cannot be seen.
fn deceives(c: char) -> bool {
    matches!(c,
        // Soft hyphen, Arabic letter mark, Mongolian vowel separator.
        '\u{ad}' | '\u{61c}' | '\u{180e}'
        // Of no width, and marks of direction.
        | '\u{200b}'..='\u{200f}'
        // Ends of lines and paragraphs; turning text around.
        | '\u{2028}'..='\u{202e}'
        // Word joiner and invisible signs, isolates, old marks of format.
        | '\u{2060}'..='\u{206f}'
        // Fillers that look like nothing.
        | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}'
        // Byte order mark, marks of annotations, tags.
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// What a stream of whole lines is not to hold: as above, but what the program itself writes to end lines and to colour.
fn breaks_out(c: char) -> bool {
    matches!(c, '\u{7f}'..='\u{9f}') || deceives(c)
}

fn put(shown: &mut String, c: char, escaped: bool) {
    if !escaped {
        return shown.push(c);
    }
    match c {
        '\n' => shown.push_str("\\n"),
        '\r' => shown.push_str("\\r"),
        '\t' => shown.push_str("\\t"),
        _ => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String does not fail.
                _ = write!(shown, "\\u{unit:04x}");
            }
        }
    }
}

/// Appends bytes as text, with what `escaped` says and what is no UTF-8 escaped.
fn bytes(bytes: &[u8], shown: &mut String, escaped: impl Fn(char) -> bool) {
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|c| put(shown, c, escaped(c)));
        for byte in chunk.invalid() {
            _ = write!(shown, "\\x{byte:02x}");
        }
    }
}

/// Writes on what the program itself has put together, with what strangers have put into it made harmless. The ends of
/// lines and colours are the program's own.
#[derive(Debug)]
pub struct HarmlessWriter<W: Write> {
    to: W,
    /// The beginning of a character whose rest has not come.
    begun: Vec<u8>,
}

impl<W: Write> HarmlessWriter<W> {
    /// Writes to there.
    pub fn new(to: W) -> Self {
        HarmlessWriter { to, begun: Vec::with_capacity(LONGEST) }
    }

    fn put(&mut self, whole: &[u8]) -> io::Result<()> {
        if std::str::from_utf8(whole).is_ok_and(|text| !text.chars().any(breaks_out)) {
            return self.to.write_all(whole);
        }
        let mut shown = String::with_capacity(whole.len() + 16);
        bytes(whole, &mut shown, breaks_out);
        self.to.write_all(shown.as_bytes())
    }
}

impl<W: Write> Write for HarmlessWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let joined = if self.begun.is_empty() {
            Cow::Borrowed(bytes)
        } else {
            let mut joined = std::mem::take(&mut self.begun);
            joined.extend_from_slice(bytes);
            Cow::Owned(joined)
        };
        let (whole, begun) = joined.split_at(joined.len() - unfinished(&joined));
        self.put(whole)?;
        self.begun = begun.to_vec();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let begun = std::mem::take(&mut self.begun);
        self.put(&begun)?;
        self.to.flush()
    }
}

/// How many bytes at the end are the beginning of a character.
fn unfinished(bytes: &[u8]) -> usize {
    let cut = bytes.utf8_chunks().last().map(|chunk| chunk.invalid().len()).unwrap_or_default();
    let end = bytes.get(bytes.len() - cut..).unwrap_or_default();
    match std::str::from_utf8(end) {
        // No length of the error: the end came too early.
        Err(error) if error.error_len().is_none() => cut,
        _ => 0,
    }
}

/// A line of the log, which ends with the one end of line that is its own, and has no colours but where they are wanted.
#[must_use]
pub fn harmless_line(line: &[u8], coloured: bool) -> String {
    let (text, end) = match line.strip_suffix(b"\n") {
        Some(text) => (text, "\n"),
        None => (line, ""),
    };
    let mut shown = String::with_capacity(line.len() + 16);
    let colour = |c: char| coloured && c == '\u{1b}';
    bytes(text, &mut shown, |c| (c.is_control() && !colour(c)) || deceives(c));
    shown.push_str(end);
    shown
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[track_caller]
    fn check(text: &str, shown: &str) {
        assert_eq!(harmless(text), shown);
    }

    #[test]
    fn what_a_terminal_obeys_or_does_not_show_is_escaped_and_the_rest_stays() {
        check("Zürich 東京 🙂 e\u{301}", "Zürich 東京 🙂 e\u{301}");
        check("a\u{202e}b", "a\\u202eb");
        check("\u{2066}x\u{2069}\u{200b}\u{feff}", "\\u2066x\\u2069\\u200b\\ufeff");
        check("one\u{2028}two\u{2029}", "one\\u2028two\\u2029");
        check("\u{1b}[2Jgone\u{9b}31m\u{7f}", "\\u001b[2Jgone\\u009b31m\\u007f");
        check("a\nb\rc\td\0", "a\\nb\\rc\\td\\u0000");
        check("\u{e0041}\u{ad}", "\\udb40\\udc41\\u00ad");
    }

    #[test]
    fn a_path_that_is_no_text_is_shown_by_its_bytes() {
        let path = Path::new(OsStr::from_bytes(b"plugins/\xff\xc3\xbc\n.so"));
        assert_eq!(harmless_path(path), "plugins/\\xffü\\n.so");
    }

    #[test]
    fn a_stream_keeps_its_lines_and_colours_however_it_is_cut() {
        let text = "\u{1b}[31mrot\u{1b}[0m \u{202e}x \u{9b}ü\n{\"a\":\"\u{2028}\u{e0041}\"}\n".as_bytes();
        let expected = "\u{1b}[31mrot\u{1b}[0m \\u202ex \\u009bü\n{\"a\":\"\\u2028\\udb40\\udc41\"}\n";
        for cut in 0..text.len() {
            let mut writer = HarmlessWriter::new(Vec::new());
            writer.write_all(&text[..cut]).unwrap();
            writer.write_all(&text[cut..]).unwrap();
            assert_eq!(String::from_utf8(writer.to).unwrap(), expected, "cut at {cut}");
        }
        let mut writer = HarmlessWriter::new(Vec::new());
        text.iter().for_each(|byte| writer.write_all(&[*byte]).unwrap());
        assert_eq!(String::from_utf8(writer.to).unwrap(), expected);
    }
}
