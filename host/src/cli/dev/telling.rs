//! How the author is told of each step: lines for people, with colours at a terminal only, or an object a line for programs;
//! and how many lines one run may print.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anstream::{AutoStream, ColorChoice};
use serde_json::{Value, json};

use crate::harmless::{harmless, harmless_path};

/// Lines that one run prints of its events.
const MOST_LINES: usize = 500;

const RED: &str = "\u{1b}[31m";
const GREEN: &str = "\u{1b}[32m";
const CYAN: &str = "\u{1b}[36m";
const BOLD: &str = "\u{1b}[1m";
const PLAIN: &str = "\u{1b}[0m";

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RunSum {
    pub(super) events: usize,
    pub(super) failed: usize,
    pub(super) firings: usize,
    pub(super) requests: usize,
    /// Events of which something is another than in the run before.
    pub(super) changed: usize,
    /// Whether there was a run before.
    pub(super) is_first: bool,
}

/// Tells whoever started the loop.
pub(super) struct DevTeller<'o> {
    out: &'o mut dyn Write,
    is_json: bool,
    is_coloured: bool,
    /// Lines of this run that may still be printed.
    left: usize,
    /// Lines of this run that were not.
    cut: usize,
}

impl<'o> DevTeller<'o> {
    /// Writes there.
    pub(super) fn new(out: &'o mut dyn Write, is_json: bool) -> Self {
        let is_coloured = !matches!(AutoStream::choice(&std::io::stdout()), ColorChoice::Never);
        DevTeller { out, is_json, is_coloured: is_coloured && !is_json, left: MOST_LINES, cut: 0 }
    }

    pub(super) fn began(&mut self, folder: &Path, url: &str, data: &Path) -> std::io::Result<()> {
        if self.is_json {
            let (folder, data) = (harmless_path(folder), harmless_path(data));
            return self.object(&json!({"step": "host", "folder": folder, "url": url, "data": data}));
        }
        let (folder, data) = (harmless_path(folder), harmless_path(data));
        self.line("", &format!("the module in {folder}; its private host is at {url}, its data in {data}"))
    }

    pub(super) fn changed(&mut self, files: &[PathBuf]) -> std::io::Result<()> {
        let shown: Vec<String> = files.iter().take(10).map(|file| harmless_path(file)).collect();
        if self.is_json {
            return self.object(&json!({"step": "change", "files": shown, "count": files.len()}));
        }
        let more = files.len() - shown.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        self.line("", &format!("\nchanged: {}{more}", shown.join(", ")))
    }

    pub(super) fn built(&mut self, ok: bool, took: Duration, serves: bool) -> std::io::Result<()> {
        if self.is_json {
            return self.object(&json!({"step": "build", "ok": ok, "ms": ms(took)}));
        }
        match (ok, serves) {
            (true, _) => self.line("", &format!("built in {}", seconds(took))),
            (false, true) => self.line(
                RED,
                &format!("the build failed after {}; the last good one goes on serving", seconds(took)),
            ),
            (false, false) => self.line(RED, &format!("the build failed after {}", seconds(took))),
        }
    }

    pub(super) fn loaded(&mut self, module: &str, generation: u64, took: Duration) -> std::io::Result<()> {
        if self.is_json {
            return self.object(&json!({
                "step": "load", "ok": true, "module": module, "generation": generation, "ms": ms(took),
            }));
        }
        self.line("", &format!("{module} serves as generation {generation} after {}", seconds(took)))
    }

    pub(super) fn refused(&mut self, reason: &str, took: Duration, serves: bool) -> std::io::Result<()> {
        if self.is_json {
            let load = json!({"step": "load", "ok": false, "reason": reason, "ms": ms(took)});
            return self.object(&load);
        }
        let goes_on = if serves { "; the last good build goes on serving" } else { "" };
        self.line(RED, &format!("not loaded after {}: {reason}{goes_on}", seconds(took)))
    }

    /// A run begins, which may print so much again.
    pub(super) fn running(&mut self) {
        (self.left, self.cut) = (MOST_LINES, 0);
    }

    pub(super) fn problem(&mut self, reason: &str) -> std::io::Result<()> {
        if self.is_json {
            return self.object(&json!({"step": "problem", "reason": reason}));
        }
        self.bounded(RED, reason)
    }

    /// What the module said meanwhile.
    pub(super) fn said(&mut self, lines: &[String]) -> std::io::Result<()> {
        for line in lines {
            match self.is_json {
                true => self.object(&json!({"step": "said", "line": line}))?,
                false => self.bounded("", &format!("  | {line}"))?,
            }
        }
        Ok(())
    }

    /// An event as it went, where there is nothing to compare it with.
    pub(super) fn event(&mut self, name: &str, lines: &[String]) -> std::io::Result<()> {
        if self.is_json {
            return Ok(());
        }
        self.bounded(BOLD, name)?;
        lines.iter().try_for_each(|line| {
            let colour = if line.starts_with("failed: ") { RED } else { "" };
            self.bounded(colour, &format!("  {line}"))
        })
    }

    /// What of an event is another than in the run before.
    pub(super) fn difference(&mut self, name: &str, diff: &[String]) -> std::io::Result<()> {
        if self.is_json || diff.is_empty() {
            return Ok(());
        }
        self.bounded(BOLD, &format!("--- {name} (before)"))?;
        self.bounded(BOLD, &format!("+++ {name} (now)"))?;
        diff.iter().try_for_each(|line| {
            let colour = match line.chars().next() {
                Some('+') => GREEN,
                Some('-') => RED,
                Some('@') => CYAN,
                _ => "",
            };
            self.bounded(colour, line)
        })
    }

    /// An event, for programs.
    pub(super) fn event_object(
        &mut self,
        name: &str,
        mut report: Value,
        diff: &[String],
    ) -> std::io::Result<()> {
        if !self.is_json {
            return Ok(());
        }
        if let Value::Object(fields) = &mut report {
            fields.insert("step".to_owned(), "event".into());
            fields.insert("event".to_owned(), name.into());
            fields.insert("diff".to_owned(), diff.iter().take(MOST_LINES).cloned().collect());
        }
        self.object(&report)
    }

    /// The end of a run.
    pub(super) fn ran(&mut self, sum: RunSum, took: Duration) -> std::io::Result<()> {
        let RunSum { events, failed, firings, requests, changed, is_first } = sum;
        if self.is_json {
            return self.object(&json!({
                "step": "run", "events": events, "failed": failed, "firings": firings, "requests": requests,
                "changed": (!is_first).then_some(changed), "ms": ms(took),
            }));
        }
        if self.cut > 0 {
            self.line("", &format!("… and {} more lines", self.cut))?;
        }
        let several =
            |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let news = match (is_first, changed) {
            (true, _) => String::new(),
            (false, 0) => "; nothing changed".to_owned(),
            (false, _) => format!("; {} changed", several(changed, "event")),
        };
        let failures = if failed > 0 { format!(", {failed} failed") } else { String::new() };
        let colour = if failed > 0 { RED } else { "" };
        self.line(
            colour,
            &format!(
                "ran {}{failures} in {}: {}, {}{news}",
                several(events, "event"),
                seconds(took),
                several(firings, "firing"),
                several(requests, "request"),
            ),
        )
    }

    fn bounded(&mut self, colour: &str, text: &str) -> std::io::Result<()> {
        if self.left == 0 {
            self.cut += 1;
            return Ok(());
        }
        self.left -= 1;
        self.line(colour, text)
    }

    fn line(&mut self, colour: &str, text: &str) -> std::io::Result<()> {
        let (empty, text) = match text.strip_prefix('\n') {
            Some(text) => ("\n", text),
            None => ("", text),
        };
        let text = harmless(text);
        match colour {
            "" => writeln!(self.out, "{empty}{text}")?,
            _ if !self.is_coloured => writeln!(self.out, "{empty}{text}")?,
            _ => writeln!(self.out, "{empty}{colour}{text}{PLAIN}")?,
        }
        self.out.flush()
    }

    fn object(&mut self, object: &Value) -> std::io::Result<()> {
        writeln!(self.out, "{object}")?;
        self.out.flush()
    }
}

fn seconds(took: Duration) -> String {
    format!("{:.2} s", took.as_secs_f64())
}

fn ms(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(is_coloured: bool, tell: impl FnOnce(&mut DevTeller<'_>) -> std::io::Result<()>) -> String {
        let mut out = Vec::new();
        let mut teller = DevTeller { is_coloured, ..DevTeller::new(&mut out, false) };
        tell(&mut teller).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn lines(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn a_difference_is_coloured_where_colours_are_wanted_and_nowhere_else() {
        let diff = lines(&["@@ -1,2 +1,2 @@", " a", "-b", "+\u{1b}[2Jc"]);
        assert_eq!(
            told(false, |teller| teller.difference("x.json", &diff)),
            "--- x.json (before)\n+++ x.json (now)\n@@ -1,2 +1,2 @@\n a\n-b\n+\\u001b[2Jc\n"
        );
        let coloured = told(true, |teller| teller.difference("x.json", &diff));
        assert!(
            coloured.contains("\u{1b}[31m-b\u{1b}[0m\n\u{1b}[32m+\\u001b[2Jc\u{1b}[0m\n"),
            "{coloured:?}"
        );
        assert_eq!(told(true, |teller| teller.difference("x.json", &[])), "");
    }

    #[test]
    fn a_run_prints_so_many_lines_and_counts_the_others() {
        let many = vec!["x".to_owned(); 3 * MOST_LINES];
        let shown = told(false, |teller| {
            teller.running();
            teller.event("x.json", &many)?;
            teller.ran(RunSum { events: 1, is_first: true, ..RunSum::default() }, Duration::from_millis(5))
        });
        let shown: Vec<&str> = shown.lines().collect();
        assert_eq!(shown.len(), MOST_LINES + 2);
        assert_eq!(
            shown[MOST_LINES..],
            [
                format!("… and {} more lines", 2 * MOST_LINES + 1).as_str(),
                "ran 1 event in 0.01 s: 0 firings, 0 requests"
            ]
        );
    }

    #[test]
    fn the_end_of_a_run_says_whether_anything_changed() {
        let ran = |changed, failed| {
            let sum = RunSum { events: 3, failed, firings: 1, requests: 2, changed, is_first: false };
            told(false, |teller| teller.ran(sum, Duration::from_secs(1)))
        };
        assert_eq!(ran(0, 0), "ran 3 events in 1.00 s: 1 firing, 2 requests; nothing changed\n");
        assert_eq!(ran(1, 2), "ran 3 events, 2 failed in 1.00 s: 1 firing, 2 requests; 1 event changed\n");
    }
}
