//! No circles of files: which file of the host uses which, by the paths that stand in it.
//!
//! An edge goes to the file that an item comes from. A name that a file passes on (`pub use`) leads to where it is taken
//! from, and to pass it on is no use of it; neither is `mod child;`. Using something of the child is.

use std::collections::{BTreeMap, BTreeSet};

use super::{files, none};

/// Files that may use another one although that closes a circle. None should; each is to go with the next change there.
const ALLOWED: [(&str, &str); 0] = [];

/// A file's place among the modules, as `["bus", "amqp"]`.
type ModulePath = Vec<String>;

/// What one file says of others.
#[derive(Default)]
struct SourceFile {
    children: BTreeSet<String>,
    /// Names that its `use` lines bring, with where from.
    imports: BTreeMap<String, ModulePath>,
    /// Of these, the ones that it passes on.
    passed_on: BTreeSet<String>,
    /// All paths in it, those of `use` lines too.
    paths: BTreeSet<ModulePath>,
}

/// Words and signs of the code: no comments, no texts, nothing that only tests see.
fn tokens(text: &str) -> Vec<String> {
    let signs: Vec<char> = text.chars().collect();
    let mut found: Vec<String> = Vec::new();
    let mut at = 0;
    let starts = |at: usize, word: &str| word.chars().enumerate().all(|(i, c)| signs.get(at + i) == Some(&c));
    while let Some(&sign) = signs.get(at) {
        if starts(at, "//") {
            at += signs[at..].iter().take_while(|c| **c != '\n').count();
        } else if starts(at, "r#\"") {
            at += 3;
            while at < signs.len() && !starts(at, "\"#") {
                at += 1;
            }
            at += 2;
        } else if sign == '"' {
            at += 1;
            while at < signs.len() && signs[at] != '"' {
                at += if signs[at] == '\\' { 2 } else { 1 };
            }
            at += 1;
        } else if sign == '\'' {
            // A character or a lifetime.
            let escaped = signs.get(at + 1) == Some(&'\\');
            let closing = if escaped { at + 3 } else { at + 2 };
            at = if signs.get(closing) == Some(&'\'') { closing + 1 } else { at + 1 };
        } else if sign.is_alphanumeric() || sign == '_' {
            let word: String = signs[at..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').collect();
            at += word.chars().count();
            found.push(word);
        } else if starts(at, "::") {
            at += 2;
            found.push("::".to_owned());
        } else {
            at += 1;
            if !sign.is_whitespace() {
                found.push(sign.to_string());
            }
        }
    }
    without_tests(&found)
}

fn without_tests(tokens: &[String]) -> Vec<String> {
    let marks = [&["#", "[", "cfg", "(", "test", ")"][..], &["#", "[", "cfg", "(", "all", "(", "test", ","]];
    let begins = |at: usize, mark: &[&str]| {
        tokens.len() > at + mark.len() && mark.iter().zip(&tokens[at..]).all(|(a, b)| a == b)
    };
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if marks.iter().any(|mark| begins(at, mark)) {
            at += item_length(&tokens[at..]);
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// How many tokens the item has that begins here: up to its semicolon, or the end of its body.
fn item_length(tokens: &[String]) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" if depth == 1 => return at + 1,
            "}" | ")" | "]" => depth -= 1,
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

impl SourceFile {
    fn read(text: &str) -> Self {
        let tokens = tokens(text);
        let mut file = Self::default();
        let mut words = BTreeSet::new();
        let mut at = 0;
        while at < tokens.len() {
            let follows_path = at > 0 && (tokens[at - 1] == "::" || tokens[at - 1] == ".");
            match tokens[at].as_str() {
                // `use<'a>` says what a type captures.
                "use" if tokens.get(at + 1).is_none_or(|next| next != "<") => {
                    // After a visibility, which ends so.
                    let passes_on = at > 0 && (tokens[at - 1] == "pub" || tokens[at - 1] == ")");
                    let mut brought = Self::default();
                    at += brought.read_use(&tokens[at + 1..], &[]);
                    if passes_on {
                        file.passed_on.extend(brought.imports.keys().cloned());
                    } else {
                        file.paths.extend(brought.imports.values().cloned());
                    }
                    file.imports.extend(brought.imports);
                }
                "mod" if tokens.get(at + 2).is_some_and(|next| next == ";") => {
                    file.children.insert(tokens[at + 1].clone());
                    at += 2;
                }
                word if is_word(word) && !follows_path => {
                    let path = path_at(&tokens[at..]);
                    at += path.len() * 2 - 2;
                    words.insert(path[0].clone());
                    if path.len() > 1 {
                        file.paths.insert(path);
                    }
                }
                _ => {}
            }
            at += 1;
        }
        let used = file.passed_on.intersection(&words).map(|name| file.imports[name].clone());
        file.paths.extend(used.collect::<Vec<_>>());
        file
    }

    /// Takes in a tree of a `use` line; answers how many tokens it had.
    fn read_use(&mut self, tokens: &[String], prefix: &[String]) -> usize {
        let mut path = prefix.to_vec();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            match token.as_str() {
                "{" => {
                    at += 1;
                    while tokens.get(at).is_some_and(|next| next != "}") {
                        at += self.read_use(&tokens[at..], &path);
                        at += usize::from(tokens.get(at).is_some_and(|next| next == ","));
                    }
                    return at + 1;
                }
                "as" => {
                    self.import(tokens[at + 1].clone(), path);
                    return at + 2;
                }
                "," | "}" | ";" => break,
                "::" => {}
                word => path.push(word.to_owned()),
            }
            at += 1;
        }
        let is_self = path.last().is_some_and(|last| last == "self") && path.len() > 1;
        if is_self {
            path.pop();
        }
        self.import(path.last().cloned().unwrap_or_default(), path);
        at
    }

    fn import(&mut self, name: String, path: ModulePath) {
        self.imports.insert(name, path);
    }
}

fn path_at(tokens: &[String]) -> ModulePath {
    let mut path = vec![tokens[0].clone()];
    for next in tokens[1..].chunks(2) {
        match next {
            [colons, word] if colons == "::" && is_word(word) => path.push(word.clone()),
            _ => break,
        }
    }
    path
}

/// The files of the host, each at its place.
struct FileGraph {
    files: BTreeMap<ModulePath, SourceFile>,
}

impl FileGraph {
    /// From paths like `bus/amqp.rs` and texts. Files that only tests declare are left out: they may use what they like.
    fn new<'a>(sources: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let place = |path: &str| match path {
            "lib.rs" => ModulePath::new(),
            path => path.trim_end_matches(".rs").split('/').map(str::to_owned).collect(),
        };
        let read: BTreeMap<ModulePath, SourceFile> =
            sources.map(|(path, text)| (place(path), SourceFile::read(text))).collect();
        let mut files = BTreeMap::new();
        // A parent comes before its children.
        for (place, file) in read {
            let declared = place.split_last().is_none_or(|(name, parent)| {
                files.get(parent).is_some_and(|parent: &SourceFile| parent.children.contains(name))
            });
            if declared {
                files.insert(place, file);
            }
        }
        Self { files }
    }

    /// The file that a path in the file `from` leads to, if it is one of the host's.
    fn target(&self, from: &[String], path: &[String], patience: usize) -> Option<ModulePath> {
        let (first, rest) = path.split_first()?;
        let mut rest = rest;
        let file = self.files.get(from);
        let mut place = match first.as_str() {
            "crate" => ModulePath::new(),
            "self" => from.to_vec(),
            "super" => {
                let mut up = from[..from.len().saturating_sub(1)].to_vec();
                while let Some(("super", after)) = rest.split_first().map(|(a, b)| (a.as_str(), b)) {
                    up.pop();
                    rest = after;
                }
                up
            }
            child if file?.children.contains(child) => [from, &[child.to_owned()]].concat(),
            name => {
                let imported = file?.imports.get(name).filter(|_| patience > 0)?;
                let whole = [imported.as_slice(), rest].concat();
                return self.target(from, &whole, patience - 1);
            }
        };
        while let Some((next, after)) = rest.split_first() {
            let deeper = [place.as_slice(), std::slice::from_ref(next)].concat();
            if self.files.contains_key(&deeper) {
                (place, rest) = (deeper, after);
                continue;
            }
            let passed_on = self.files.get(&place).and_then(|file| file.imports.get(next));
            return match passed_on.filter(|_| patience > 0) {
                Some(passed_on) => {
                    let whole = [passed_on.as_slice(), after].concat();
                    self.target(&place, &whole, patience - 1)
                }
                None => Some(place),
            };
        }
        // A module by itself: what is used of it is said elsewhere.
        None
    }

    /// Which file uses which.
    fn edges(&self) -> BTreeMap<ModulePath, BTreeSet<ModulePath>> {
        let uses = |(from, file): (&ModulePath, &SourceFile)| {
            let targets = file.paths.iter().filter_map(|path| self.target(from, path, 8));
            let others = targets.filter(|to| to != from && self.files.contains_key(to)).collect();
            (from.clone(), others)
        };
        self.files.iter().map(uses).collect()
    }

    /// For each file of a circle a shortest one, as `a.rs → b.rs → a.rs`, each told once.
    fn circles(&self, allowed: &[(&str, &str)]) -> BTreeSet<String> {
        let mut edges = self.edges();
        for (from, others) in &mut edges {
            others.retain(|to| !allowed.contains(&(shown(from).as_str(), shown(to).as_str())));
        }
        edges.keys().filter_map(|start| shortest_circle(&edges, start)).map(|circle| told(&circle)).collect()
    }
}

fn shortest_circle(
    edges: &BTreeMap<ModulePath, BTreeSet<ModulePath>>,
    start: &ModulePath,
) -> Option<Vec<ModulePath>> {
    let mut seen = BTreeSet::new();
    let mut ways = std::collections::VecDeque::from([vec![start.clone()]]);
    while let Some(way) = ways.pop_front() {
        for next in &edges[way.last()?] {
            if next == start {
                return Some(way);
            }
            if seen.insert(next.clone()) {
                ways.push_back([way.as_slice(), std::slice::from_ref(next)].concat());
            }
        }
    }
    None
}

fn shown(place: &[String]) -> String {
    place.join("/") + ".rs"
}

/// The circle from its first file by name on, so that it is the same wherever it was entered.
fn told(circle: &[ModulePath]) -> String {
    let first = (0..circle.len()).min_by_key(|at| &circle[*at]).unwrap();
    let files = (0..=circle.len()).map(|step| shown(&circle[(first + step) % circle.len()]));
    files.collect::<Vec<_>>().join(" → ")
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let sources = files(".rs");
    let inside =
        sources.iter().filter_map(|(path, text)| Some((path.strip_prefix("host/src/")?, text.as_str())));
    let graph = FileGraph::new(inside);
    assert!(graph.files.len() > 100, "too few files were found");
    let edges = graph.edges();
    let is_there = |from: &str, to: &str| {
        edges
            .iter()
            .any(|(file, others)| shown(file) == from && others.iter().any(|other| shown(other) == to))
    };
    let gone = ALLOWED.iter().filter(|(from, to)| !is_there(from, to));
    none("allowed uses that are not there", gone.map(|(from, to)| format!("{from} → {to}")).collect());
    let circles = graph.circles(&ALLOWED);
    none("files that use each other in a circle", circles.into_iter().collect());
}

#[test]
fn a_circle_of_files_is_named() {
    let bus = "mod amqp;\nmod content;\npub mod kinds;\npub use kinds::Kind;\nfn f() -> amqp::Bus { \"self::content::x\" }";
    let amqp = "use super::{Kind, content::{self, Format}};\n// super::told\nfn g() { content::f() }";
    let content = "use std::fmt;\n#[cfg(test)]\nmod tests { use super::super::amqp::Bus; }";
    let graph = |content| {
        let sources = [
            ("lib.rs", "pub mod bus;"),
            ("bus.rs", bus),
            ("bus/amqp.rs", amqp),
            ("bus/content.rs", content),
            ("bus/kinds.rs", ""),
        ];
        FileGraph::new(sources.into_iter()).circles(&[])
    };
    assert_eq!(graph(content), BTreeSet::new());
    assert_eq!(
        graph("use crate::bus::amqp::Bus;").into_iter().collect::<Vec<_>>(),
        ["bus/amqp.rs → bus/content.rs → bus/amqp.rs"]
    );
    let up = graph("fn h() -> super::Missing {}");
    assert_eq!(up.into_iter().next().unwrap(), "bus.rs → bus/amqp.rs → bus/content.rs → bus.rs");
}
