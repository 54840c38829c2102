//! What modules log while they are called about an event: the latest lines, for whoever looks at a failure.

use std::collections::VecDeque;

use parking_lot::Mutex;

/// Lines of one module that are kept.
const LINES: usize = 20;

/// Bytes of a line that are kept.
const LINE_BYTES: usize = 500;

/// The latest lines of each module that was called about an event. Nothing is kept where none logs.
#[derive(Debug, Default)]
pub struct CallLog(Mutex<Vec<ModuleLines>>);

#[derive(Debug)]
struct ModuleLines {
    module: String,
    lines: VecDeque<String>,
}

impl CallLog {
    /// A module logged this.
    pub fn note(&self, module: &str, level: &str, text: &str) {
        let kept = &text[..text.floor_char_boundary(LINE_BYTES)];
        let line = format!("{level} {}", kept.replace(['\n', '\r'], " "));
        let mut modules = self.0.lock();
        let known = match modules.iter().position(|known| known.module == module) {
            Some(known) => known,
            None => {
                modules.push(ModuleLines { module: module.to_owned(), lines: VecDeque::new() });
                modules.len() - 1
            }
        };
        let Some(ModuleLines { lines, .. }) = modules.get_mut(known) else { return };
        if lines.len() == LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// The latest lines of a module, in their order, each ended by a line feed but the last.
    #[must_use]
    pub fn of(&self, module: &str) -> String {
        let modules = self.0.lock();
        let lines = modules.iter().find(|known| known.module == module).map(|known| &known.lines);
        lines.map_or_else(String::new, |lines| lines.iter().cloned().collect::<Vec<_>>().join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_lines_of_each_module_are_kept() {
        let log = CallLog::default();
        assert_eq!(log.of("webhooks_x"), "");
        log.note("webhooks_y", "warn", "of another");
        for n in 0..=LINES {
            log.note("webhooks_x", "info", &format!("line {n}\nand more"));
        }
        let lines = log.of("webhooks_x");
        let lines: Vec<&str> = lines.lines().collect();
        assert_eq!((lines.len(), lines[0]), (LINES, "info line 1 and more"));
        assert_eq!(log.of("webhooks_y"), "warn of another");
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let log = CallLog::default();
        log.note("webhooks_x", "info", &"ß".repeat(LINE_BYTES));
        assert_eq!(log.of("webhooks_x").len(), "info ".len() + LINE_BYTES);
    }
}
