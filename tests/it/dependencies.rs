//! What the dependencies may be: the rules of `deny.toml` that need nothing but what Cargo knows of them. What has become
//! known about their versions since is looked up by `.ci/nightly`.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The packages that are built here, as `cargo metadata` describes them.
fn packages() -> Vec<Value> {
    let mut cargo = Command::new("cargo");
    cargo.args(["metadata", "--format-version=1", "--locked", "--manifest-path"]);
    cargo.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
    if cfg!(target_os = "linux") {
        // Those of other systems would have to be fetched first.
        let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        cargo.args(["--filter-platform", &platform]);
    }
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let Value::Array(packages) = metadata["packages"].take() else { panic!("no packages") };
    assert!(packages.len() > 100);
    packages
}

fn rules() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../deny.toml")).unwrap()
}

/// The texts in a list of `deny.toml`.
fn texts<'a>(list: &'a str, rules: &'a str) -> Vec<&'a str> {
    let (_, list) = rules.split_once(&format!("\n{list} = [\n")).unwrap();
    let (list, _) = list.split_once("\n]").unwrap();
    list.split('"').skip(1).step_by(2).collect()
}

/// The words of a licence's expression; the slash is an old way to write OR.
fn words(expression: &str) -> Vec<String> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    spaced.split_whitespace().map(str::to_owned).collect()
}

type LicenceWords = Peekable<std::vec::IntoIter<String>>;

/// Whether an expression leaves a choice that is allowed throughout.
fn is_allowed(expression: &str, allowed: &[&str]) -> bool {
    let mut words = words(expression).into_iter().peekable();
    let answer = any_of(&mut words, allowed);
    assert_eq!(words.next(), None, "{expression}");
    answer
}

fn any_of(words: &mut LicenceWords, allowed: &[&str]) -> bool {
    let mut answer = all_of(words, allowed);
    while words.next_if(|word| word == "OR").is_some() {
        answer |= all_of(words, allowed);
    }
    answer
}

fn all_of(words: &mut LicenceWords, allowed: &[&str]) -> bool {
    let mut answer = one(words, allowed);
    while words.next_if(|word| word == "AND").is_some() {
        answer &= one(words, allowed);
    }
    answer
}

fn one(words: &mut LicenceWords, allowed: &[&str]) -> bool {
    let word = words.next().unwrap();
    if word == "(" {
        let answer = any_of(words, allowed);
        assert_eq!(words.next().as_deref(), Some(")"));
        return answer;
    }
    let licence = match words.next_if(|word| word == "WITH") {
        Some(with) => format!("{word} {with} {}", words.next().unwrap()),
        None => word,
    };
    allowed.contains(&licence.as_str())
}

#[test]
fn an_expression_is_allowed_where_it_leaves_an_allowed_choice() {
    let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"];
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("MIT AND GPL-3.0", false),
        ("MIT AND (GPL-3.0 OR ISC)", true),
        ("(GPL-3.0 OR MIT) AND GPL-3.0", false),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("Apache-2.0", false),
    ] {
        assert_eq!(is_allowed(expression, &allowed), expected, "{expression}");
    }
}

#[test]
fn every_package_has_a_licence_that_is_allowed() {
    let rules = rules();
    let allowed = texts("allow", &rules);
    // A crate's name, and then the licence that it alone may have.
    let alone = texts("exceptions", &rules);
    let mut broken = Vec::new();
    for package in packages() {
        let (name, licence) =
            (package["name"].as_str().unwrap(), package["license"].as_str().unwrap_or("none"));
        let excepted = alone.windows(2).any(|pair| pair == [name, licence]);
        if !excepted && !is_allowed(licence, &allowed) {
            broken.push(format!("{name}: {licence}"));
        }
    }
    assert!(broken.is_empty(), "licences that deny.toml does not allow:\n{}", broken.join("\n"));
}

#[test]
fn every_package_comes_from_the_registry_or_from_here() {
    let broken: Vec<String> = packages()
        .iter()
        .filter(|package| {
            let source = package["source"].as_str();
            source.is_some_and(|from| from != "registry+https://github.com/rust-lang/crates.io-index")
        })
        .map(|package| format!("{}: {}", package["name"], package["source"]))
        .collect();
    assert!(broken.is_empty(), "packages from elsewhere:\n{}", broken.join("\n"));
}

#[test]
fn no_package_of_ours_takes_any_version_of_another() {
    let mut broken = Vec::new();
    for package in packages().iter().filter(|package| package["source"].is_null()) {
        for dependency in package["dependencies"].as_array().unwrap() {
            if dependency["req"] == "*" && dependency["path"].is_null() {
                broken.push(format!("{}: {}", package["name"], dependency["name"]));
            }
        }
    }
    assert!(broken.is_empty(), "dependencies without a version:\n{}", broken.join("\n"));
}

/// What a build of these packages consists of: each crate with the features that it gets.
fn built_for(packages: &[&str]) -> BTreeSet<String> {
    let mut cargo = Command::new("cargo");
    cargo.args(["tree", "--locked", "--edges=normal,build", "--prefix=none", "--format={p} with {f}"]);
    cargo.arg(concat!("--manifest-path=", env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
    let output = cargo.args(packages.iter().map(|name| format!("--package={name}"))).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    // Known already, which is said behind it.
    tree.lines().map(|line| line.trim_end_matches(" (*)").to_owned()).collect()
}

/// Scripts build the modules together, so that what they share is compiled once.
#[test]
fn modules_that_are_built_together_get_what_they_get_alone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut modules = vec!["webhooks_skel".to_owned()];
    for folder in ["plugins", "tests/modules"] {
        let entries = std::fs::read_dir(root.join(folder)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        modules.extend(names.filter(|name| name.starts_with("webhooks_")));
    }
    let modules: Vec<&str> = modules.iter().map(String::as_str).collect();
    let together = built_for(&modules);

    for module in modules {
        let alone = built_for(&[module]);
        assert!(alone.len() > 10, "{alone:?}");
        let others: Vec<&String> = alone.difference(&together).collect();
        assert!(others.is_empty(), "alone {module} is built with {others:?}");
    }
}
