//! Which events a module is tried with: files of its folder `tests`, and how each of them is called.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::event::Event;
use crate::harmless::harmless_path;
use crate::hooks::accounts::AccountRecord;
use crate::model::Document;

/// Where every file holds events, below the module's folder.
const EVENTS: &str = "tests/events";

/// Where files may hold events; others there are none of our business.
const TESTS: &str = "tests";

/// The file with the accounts of `hookline try`, which says who is above whom.
const ACCOUNTS: &str = "tests/accounts.json";

/// Bytes of one file.
const LARGEST_FILE: u64 = 8 << 20;

/// Events of one module.
const MOST_EVENTS: usize = 1_000;

/// One event that a module is tried with.
#[derive(Debug)]
pub(super) struct SampleEvent {
    /// Its file in the module's folder, and which one of it where there are several: `tests/events/calls.json#2`.
    pub(super) name: String,
    /// Its JSON text.
    pub(super) text: String,
    /// `Event-Category` and `Event-Name`.
    pub(super) kind: (String, String),
    /// The accounts that it names.
    accounts: Vec<String>,
}

/// What a module is tried with.
#[derive(Debug, Default)]
pub(super) struct SampleSet {
    /// In the order of their names.
    pub(super) events: Vec<SampleEvent>,
    /// What is said of files and events that cannot be used.
    pub(super) problems: Vec<String>,
    /// Accounts that are described; others that events name are known without anything else.
    described: Vec<AccountRecord>,
}

impl SampleSet {
    /// Reads the samples of a module. Blocks.
    pub(super) fn read(folder: &Path) -> Self {
        let mut samples = SampleSet::default();
        for (path, is_strict) in sample_files(folder) {
            samples.add_file(folder, &path, is_strict);
        }
        samples.add_accounts(&folder.join(ACCOUNTS));
        samples
    }

    /// The accounts that events name, by id.
    pub(super) fn accounts(&self) -> BTreeSet<&str> {
        self.events.iter().flat_map(|event| &event.accounts).map(String::as_str).collect()
    }

    /// The accounts that are described.
    pub(super) fn described(&self) -> &[AccountRecord] {
        &self.described
    }

    fn add_file(&mut self, folder: &Path, path: &Path, is_strict: bool) {
        let shown = harmless_path(path.strip_prefix(folder).unwrap_or(path));
        let text = match read_text(path) {
            Ok(text) => text,
            Err(why) if is_strict => return self.problems.push(format!("{shown} {why}")),
            Err(_) => return,
        };
        let texts = match texts_of(&text) {
            Ok(texts) => texts,
            Err(why) if is_strict => return self.problems.push(format!("{shown} {why}")),
            Err(_) => return,
        };
        let several = texts.len() > 1;
        for (nth, text) in (1..).zip(texts) {
            let name = if several { format!("{shown}#{nth}") } else { shown.clone() };
            match parsed(&name, text) {
                Ok(_) if self.events.len() == MOST_EVENTS => {
                    let why = format!("{name} and what follows is left out: {MOST_EVENTS} events are run");
                    return self.problems.push(why);
                }
                Ok(event) => self.events.push(event),
                Err(why) if is_strict => self.problems.push(format!("{name}: the event {why}")),
                Err(_) => {}
            }
        }
    }

    fn add_accounts(&mut self, file: &Path) {
        if !file.exists() {
            return;
        }
        let read = read_text(file).and_then(|text| {
            serde_json::from_str::<Vec<Document>>(&text)
                .map_err(|error| format!("is no JSON array of account documents: {error}"))
        });
        match read {
            Ok(documents) => {
                self.described = documents.iter().filter_map(AccountRecord::from_document).collect();
            }
            Err(why) => self.problems.push(format!("{ACCOUNTS} {why}")),
        }
    }
}

/// Files that hold events, and those that may.
fn sample_files(folder: &Path) -> Vec<(PathBuf, bool)> {
    let mut found = Vec::new();
    for (inside, is_strict) in [(EVENTS, true), (TESTS, false)] {
        let entries = std::fs::read_dir(folder.join(inside));
        let files = entries.into_iter().flatten().flatten().map(|entry| entry.path());
        let mut files: Vec<PathBuf> = files.filter(|path| path.is_file() && is_sample(path)).collect();
        files.sort();
        found.extend(files.into_iter().map(|path| (path, is_strict)));
    }
    found
}

fn is_sample(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden && path.extension().is_some_and(|ending| ending == "json" || ending == "ndjson")
}

fn read_text(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be opened: {error}"))?;
    let read = file.take(LARGEST_FILE + 1).read_to_string(&mut text);
    match read.map_err(|error| format!("cannot be read: {error}"))? as u64 {
        0..=LARGEST_FILE => Ok(text),
        _ => Err(format!("is larger than {} MiB", LARGEST_FILE >> 20)),
    }
}

/// The texts of the events in a file: one object, an array of them, or one a line.
fn texts_of(text: &str) -> Result<Vec<&str>, String> {
    let text = text.trim();
    if text.starts_with('[') {
        let events: Vec<&RawValue> =
            serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))?;
        return Ok(events.into_iter().map(RawValue::get).collect());
    }
    match serde_json::from_str::<&RawValue>(text) {
        Ok(_) => Ok(vec![text]),
        Err(error) => {
            let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
            let each = |line: &&str| serde_json::from_str::<&RawValue>(line).is_ok();
            match lines.len() > 1 && lines.iter().all(each) {
                true => Ok(lines),
                false => Err(format!("is not JSON: {error}")),
            }
        }
    }
}

fn parsed(name: &str, text: &str) -> Result<SampleEvent, String> {
    let event = Event::parse(Bytes::copy_from_slice(text.as_bytes())).map_err(|error| error.to_string())?;
    Ok(SampleEvent {
        name: name.to_owned(),
        text: text.to_owned(),
        kind: (event.category().to_owned(), event.name().to_owned()),
        accounts: event.accounts().map(str::to_owned).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"Event-Category":"a","Event-Name":"b","Account-ID":"acct1"}"#;

    fn read(files: &[(&str, &str)]) -> (Vec<String>, SampleSet) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let samples = SampleSet::read(folder.path());
        (samples.events.iter().map(|event| event.name.clone()).collect(), samples)
    }

    #[test]
    fn a_file_holds_an_event_an_array_or_one_a_line() {
        let several = format!("[{EVENT}, {EVENT}]");
        let lines = format!("{EVENT}\n\n{EVENT}\n");
        let (names, samples) = read(&[
            ("tests/events/c.json", EVENT),
            ("tests/events/b.json", &several),
            ("tests/events/a.ndjson", &lines),
            ("tests/events/.hidden.json", EVENT),
            ("tests/events/notes.txt", "-"),
        ]);
        assert_eq!(
            names,
            [
                "tests/events/a.ndjson#1",
                "tests/events/a.ndjson#2",
                "tests/events/b.json#1",
                "tests/events/b.json#2",
                "tests/events/c.json",
            ]
        );
        assert_eq!(samples.problems, Vec::<String>::new());
        assert_eq!(samples.accounts(), BTreeSet::from(["acct1"]));
        assert_eq!(samples.events[4].kind, ("a".to_owned(), "b".to_owned()));
    }

    #[test]
    fn beside_the_folder_of_events_only_what_is_one_counts() {
        let (names, samples) = read(&[
            ("tests/hooks.json", r#"[{"_id": "hook1"}]"#),
            ("tests/accounts.json", r#"[{"_id": "acct1", "pvt_tree": ["top"]}]"#),
            ("tests/old.json", EVENT),
            ("tests/broken.json", "{"),
        ]);
        assert_eq!(names, ["tests/old.json"]);
        assert_eq!(samples.problems, Vec::<String>::new());
        assert_eq!(samples.described().len(), 1);
    }

    #[test]
    fn what_should_be_an_event_and_is_none_is_told() {
        let (names, samples) = read(&[
            ("tests/events/broken.json", "{"),
            ("tests/events/nameless.json", r#"{"Event-Category": "a"}"#),
            ("tests/accounts.json", "7"),
        ]);
        assert_eq!(names, Vec::<String>::new());
        let [broken, nameless, accounts] = samples.problems.try_into().unwrap();
        assert!(broken.starts_with("tests/events/broken.json is not JSON: "), "{broken}");
        assert!(nameless.starts_with("tests/events/nameless.json: the event "), "{nameless}");
        assert!(
            accounts.starts_with("tests/accounts.json is no JSON array of account documents: "),
            "{accounts}"
        );
    }

    #[test]
    fn there_is_a_bound_on_events() {
        let lines = format!("{EVENT}\n").repeat(MOST_EVENTS + 1);
        let (names, samples) = read(&[("tests/events/many.ndjson", &lines)]);
        assert_eq!((names.len(), samples.problems.len()), (MOST_EVENTS, 1));
    }

    #[test]
    fn a_module_without_tests_has_none() {
        let (names, samples) = read(&[]);
        assert!(names.is_empty() && samples.problems.is_empty());
    }
}
