//! How long functions of the program may be.

use super::{files, none};

/// Lines of a body, from the one after its opening brace to the one before its closing one.
const LONGEST_BODY: usize = 60;

/// Functions that may be longer, by their file. Tables, each row of which is short.
const TABLES: [(&str, &str); 1] = [("host/src/event/identity.rs", "which_messages_are_the_same_event")];

/// Functions with the lines of their bodies. rustfmt has set each closing brace under the line that begins the function.
fn bodies(text: &str) -> Vec<(&str, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = declared(line) else { continue };
        let indentation = &line[..line.len() - line.trim_start().len()];
        let ends = |line: &&str| line.strip_prefix(indentation).is_some_and(|rest| rest.starts_with('}'));
        let Some(opened) = lines[at..].iter().position(|line| line.ends_with(['{', ';', '}'])) else {
            continue;
        };
        // One without a body, or with all of it on its line.
        if !lines[at + opened].ends_with('{') {
            continue;
        }
        let Some(length) = lines[at + opened + 1..].iter().position(ends) else { continue };
        found.push((name, length));
    }
    found
}

/// The name of the function that begins in this line.
fn declared(line: &str) -> Option<&str> {
    let (before, after) = line.trim_start().split_once("fn ")?;
    let begins = ["pub", "const", "async", "unsafe", "extern", "default"];
    let is_declaration = before.split_whitespace().all(|word| {
        begins.iter().any(|begins| word.starts_with(begins)) || word.starts_with('"') || word.ends_with(')')
    });
    let name = after.split(['(', '<']).next()?;
    (is_declaration && !name.is_empty()).then_some(name)
}

#[test]
fn no_function_is_longer_than_a_page() {
    let program = ["host/src/", "plugin-api/src/", "plugins/"];
    let mut broken = Vec::new();
    let mut tables = TABLES.to_vec();
    for (file, text) in files(".rs") {
        if !program.iter().any(|folder| file.starts_with(folder)) {
            continue;
        }
        for (name, length) in bodies(&text).into_iter().filter(|(_, length)| *length > LONGEST_BODY) {
            let known = tables.len();
            tables.retain(|table| *table != (file.as_str(), name));
            if tables.len() == known {
                broken.push(format!("{file}: {name} has {length} lines, {LONGEST_BODY} are allowed"));
            }
        }
    }
    none("functions that are too long", broken);
    let gone = tables.iter().map(|(file, name)| format!("{file}: {name}"));
    none("functions that are in the list of long ones and are not long, or are not there", gone.collect());
}

#[test]
fn the_lines_of_a_body_are_counted() {
    let text = "\
impl Word {
    pub(super) async fn long(
        self,
    ) -> Word
    where
        Self: Sized,
    {
        first();
        if second {
            third()
        }
    }

    fn short() {}

    fn none(&self);
}
// a fn in a comment {
fn outer() {
    let call = |fn_of: fn(u8)| fn_of(1);
}
";
    assert_eq!(bodies(text), [("long", 4), ("outer", 1)]);
}
