//! How much is kept of what a module makes, to be shown and compared: so many lines and bytes, and of the rest a count
//! and a digest, so that a change there is noticed, too.

use sha2::{Digest as _, Sha256};

/// Bytes of one line beyond which it is cut.
const LONGEST: usize = 2_000;

/// Lines that were put together, cut where they are too many.
pub(super) struct ShownLines {
    lines: Vec<String>,
    most: usize,
    bytes_left: usize,
    cut: u64,
    rest: Sha256,
}

impl ShownLines {
    /// Keeps so many lines, and so many bytes of them.
    pub(super) fn new(most: usize, bytes: usize) -> Self {
        ShownLines { lines: Vec::new(), most, bytes_left: bytes, cut: 0, rest: Sha256::new() }
    }

    /// Adds a line.
    pub(super) fn push(&mut self, line: &str) {
        let shown = shortened(line);
        // What comes behind a line that was cut is not to be taken for what comes right after the last one kept.
        let fits = self.cut == 0 && self.lines.len() < self.most && shown.len() <= self.bytes_left;
        if fits {
            self.bytes_left -= shown.len();
            self.lines.push(shown);
        } else {
            self.cut += 1;
            self.rest.update((line.len() as u64).to_le_bytes());
            self.rest.update(line);
        }
    }

    /// The lines, and behind them how many more there were.
    pub(super) fn finish(mut self) -> Vec<String> {
        if self.cut > 0 {
            let digest = short(&self.rest.finalize());
            self.lines.push(format!("… and {} more lines (sha256 {digest})", self.cut));
        }
        self.lines
    }
}

/// A line of a size that somebody can read.
pub(super) fn shortened(line: &str) -> String {
    if line.len() <= LONGEST {
        return line.to_owned();
    }
    let end = (0..=LONGEST).rev().find(|end| line.is_char_boundary(*end)).unwrap_or_default();
    let digest = short(&Sha256::digest(line));
    format!("{}… ({} bytes, sha256 {digest})", line.get(..end).unwrap_or_default(), line.len())
}

/// Enough of a digest to see that it is another one.
fn short(digest: &[u8]) -> String {
    digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(most: usize, bytes: usize, lines: &[&str]) -> Vec<String> {
        let mut shown = ShownLines::new(most, bytes);
        lines.iter().for_each(|line| shown.push(line));
        shown.finish()
    }

    #[test]
    fn what_fits_is_kept_as_it_is() {
        assert_eq!(shown(3, 100, &["a", "", "b"]), ["a", "", "b"]);
    }

    #[test]
    fn of_what_is_too_much_there_is_a_count_and_a_digest_of_all_of_it() {
        let cut = shown(2, 100, &["a", "b", "c", "d"]);
        assert_eq!(cut.len(), 3);
        assert!(cut[2].starts_with("… and 2 more lines (sha256 "), "{cut:?}");
        assert_ne!(cut, shown(2, 100, &["a", "b", "c", "e"]));
        assert_ne!(cut, shown(2, 100, &["a", "b", "cd", ""]));
        assert_eq!(shown(9, 2, &["a", "bc", "d"]).len(), 2, "nothing follows what was left out");
    }

    #[test]
    fn a_long_line_is_cut_between_characters_and_a_change_behind_the_cut_shows() {
        let long = "ü".repeat(LONGEST);
        let cut = shortened(&long);
        assert!(cut.len() < LONGEST + 60 && cut.contains("… (4000 bytes, sha256 "), "{cut}");
        assert_ne!(cut, shortened(&format!("{}x", &long[2..])));
        assert_eq!(shortened("short"), "short");
    }
}
