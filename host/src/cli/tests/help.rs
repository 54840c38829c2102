//! What `--help`, shells, the manual and the README say of the commands.

use super::*;

/// Every command that people see, with the words that lead to it.
fn every_command() -> Vec<(Vec<String>, clap::Command)> {
    fn below(words: &[String], command: &clap::Command, found: &mut Vec<(Vec<String>, clap::Command)>) {
        for child in
            command.get_subcommands().filter(|child| !child.is_hide_set() && child.get_name() != "help")
        {
            let words = [words, &[child.get_name().to_owned()]].concat();
            below(&words, child, found);
            found.push((words, child.clone()));
        }
    }
    let mut program = Cli::command();
    program.build();
    let mut found = Vec::new();
    below(&[], &program, &mut found);
    found
}

fn flags(command: &clap::Command) -> Vec<String> {
    let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
    shown.filter_map(|argument| argument.get_long().map(str::to_owned)).collect()
}

fn printed(line: &str) -> String {
    let mut out = Vec::new();
    match parse(line).command {
        Command::Completions(args) => definition::completions(&args, Cli::command(), &mut out).unwrap(),
        Command::Man(args) => definition::man(&args, Cli::command(), &mut out).unwrap(),
        other => panic!("{other:?}"),
    }
    String::from_utf8(out).unwrap()
}

#[test]
fn what_is_promised_is_there() {
    let there: Vec<String> = every_command().into_iter().map(|(words, _)| words.join(" ")).collect();
    let promised = [
        "run",
        "check",
        "try",
        "new",
        "dev",
        "publish",
        "modules list",
        "modules show",
        "modules reload",
        "hooks list",
        "hooks show",
        "token create",
        "token list",
        "token revoke",
        "failures",
        "flush",
        "enable",
        "set",
        "attempts",
        "deliveries",
        "replay",
        "config",
        "backup",
        "restore",
    ];
    for command in promised {
        assert!(there.iter().any(|found| found == command), "{command} is missing in {there:?}");
    }
}

#[test]
fn shells_and_the_manual_know_every_command_and_every_flag() {
    let flag_in = [("bash", "--"), ("zsh", "--"), ("fish", "-l ")];
    for (shell, before) in flag_in {
        let script = printed(&format!("hookline completions {shell}"));
        for (words, command) in every_command() {
            assert!(script.contains(words.last().unwrap()), "{shell}: {words:?}");
            for flag in flags(&command) {
                assert!(script.contains(&format!("{before}{flag}")), "{shell}: {words:?} --{flag}");
            }
        }
    }
    for (words, command) in every_command() {
        let page = printed(&format!("hookline man {}", words.join(" ")));
        assert!(page.contains(&format!(".TH hookline-{} 1", words.join("-"))), "{words:?}: {page}");
        for flag in flags(&command) {
            let roff = format!("\\-\\-{}", flag.replace('-', "\\-"));
            assert!(page.contains(&roff), "{words:?} {roff}: {page}");
        }
    }
}

#[test]
fn the_manual_in_a_folder_has_a_page_for_every_command() {
    let folder = tempfile::tempdir().unwrap();
    printed(&format!("hookline man --all {}", folder.path().display()));

    let pages = std::fs::read_dir(folder.path()).unwrap().map(|page| page.unwrap().file_name());
    let mut pages: Vec<String> = pages.map(|page| page.into_string().unwrap()).collect();
    let mut expected: Vec<String> =
        every_command().iter().map(|(words, _)| format!("hookline-{}.1", words.join("-"))).collect();
    expected.push("hookline.1".to_owned());
    pages.sort();
    expected.sort();
    assert_eq!(pages, expected);
}

#[test]
fn the_readme_names_every_command() {
    let readme = include_str!("../../../../README.md");
    let (_, table) = readme.split_once("## The program").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    for (words, _) in every_command().iter().filter(|(words, _)| words.len() == 1) {
        assert!(table.contains(&format!("`hookline {}", words[0])), "README.md says nothing of {words:?}");
    }
}
