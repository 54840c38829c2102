//! `hookline` alone: what is the case, and so what is worth typing next.

use std::io::Write;

use super::NextArgs;
use super::client::Client;
use super::health::reasons;
use super::listing::{all_pages, entries, harmless};

/// What is the case.
#[derive(Debug)]
enum Situation {
    NobodyAnswers { why: String },
    NotReady { why: String },
    NoToken,
    Refused { why: String },
    NoModules,
    NoHooks,
    AtWork { modules: usize, hooks: usize },
}

pub(super) async fn next(args: &NextArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let (says, commands) = advice(&situation(args).await, &args.client.url);
    writeln!(out, "{}", harmless(&says))?;
    let width = commands.iter().map(|(command, _)| command.chars().count()).max().unwrap_or_default();
    for (command, does) in commands.iter().chain([&("hookline --help".to_owned(), "all commands")]) {
        writeln!(out, "  {command:width$}  {does}")?;
    }
    Ok(())
}

async fn situation(args: &NextArgs) -> Situation {
    let ready = async { Client::without_token(&args.client.url)?.open(&["readyz"]).await };
    match ready.await {
        Err(error) => return Situation::NobodyAnswers { why: format!("{error:#}") },
        Ok((status, answer)) if !status.is_success() => {
            return Situation::NotReady { why: reasons(&answer) };
        }
        Ok(_) => {}
    }
    let Ok(client) = Client::new(&args.client) else { return Situation::NoToken };
    let asked = async {
        let modules = client.get(&["modules"], &[]).await?;
        let hooks = all_pages(&client, &["hooks"], &[], usize::MAX).await?;
        anyhow::Ok((entries(&modules, "data").len(), hooks.len()))
    };
    match asked.await {
        Err(error) => Situation::Refused { why: format!("{error:#}") },
        Ok((0, _)) => Situation::NoModules,
        Ok((_, 0)) => Situation::NoHooks,
        Ok((modules, hooks)) => Situation::AtWork { modules, hooks },
    }
}

/// A sentence, and commands with what they do.
fn advice(situation: &Situation, url: &str) -> (String, Vec<(String, &'static str)>) {
    let commands = |commands: &[(&str, &'static str)]| {
        commands.iter().map(|&(command, does)| (command.to_owned(), does)).collect()
    };
    let token = [
        (
            "hookline modules --data DIR",
            "what the host has loaded; DIR is its data folder, for the token in it",
        ),
        ("HOOKLINE_TOKEN=TOKEN hookline modules", "the same with a token in hand"),
    ];
    match situation {
        Situation::NobodyAnswers { why } => (
            why.clone(),
            commands(&[
                ("hookline run", "start a host here, with the folders data and plugins"),
                ("hookline run --demo", "the same, and calls, hooks and a receiver to watch"),
                ("HOOKLINE_URL=URL hookline", "look for a host elsewhere"),
            ]),
        ),
        Situation::NotReady { why } => (
            format!("the host at {url} is not ready: {why}"),
            commands(&[("hookline health", "whether that has changed")]),
        ),
        Situation::NoToken => {
            (format!("a host answers at {url}; to ask it for more takes a token"), commands(&token))
        }
        Situation::Refused { why } => {
            (format!("a host answers at {url}, but not to this token: {why}"), commands(&token))
        }
        Situation::NoModules => (
            format!("the host at {url} has no modules, so no event causes anything"),
            commands(&[
                ("hookline modules", "files that were refused, with the reasons"),
                ("hookline config", "where it looks for them: plugins_dir"),
                ("hookline new NAME", "a module of your own"),
            ]),
        ),
        Situation::NoHooks => (
            format!("the host at {url} has modules and no hooks, so nobody is sent anything"),
            vec![
                ("hookline modules".to_owned(), "which events hooks can ask for"),
                (
                    format!("curl -X PUT {url}/v2/accounts/ACCOUNT/webhooks …"),
                    "a hook; README.md has it in full",
                ),
            ],
        ),
        Situation::AtWork { modules, hooks } => (
            format!("the host at {url} is at work with {modules} modules and {hooks} hooks"),
            commands(&[
                ("hookline modules", "what is loaded, what was refused"),
                ("hookline hooks", "who is sent what"),
                ("hookline publish FILE", "events from a file"),
                ("hookline backup FILE", "a copy of everything that it keeps"),
            ]),
        ),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    fn every() -> [Situation; 7] {
        let why = "because".to_owned();
        [
            Situation::NobodyAnswers { why: why.clone() },
            Situation::NotReady { why: why.clone() },
            Situation::NoToken,
            Situation::Refused { why },
            Situation::NoModules,
            Situation::NoHooks,
            Situation::AtWork { modules: 1, hooks: 2 },
        ]
    }

    #[test]
    fn what_is_advised_can_be_typed() {
        for situation in every() {
            let (_, commands) = advice(&situation, "http://h");
            for (command, _) in commands.iter().filter(|(command, _)| !command.starts_with("curl")) {
                let mut words: Vec<&str> = command.split(' ').filter(|word| !word.contains('=')).collect();
                if words.len() == 1 {
                    words.push("next");
                }
                Cli::try_parse_from(&words)
                    .unwrap_or_else(|error| panic!("{situation:?}: {command}: {error}"));
            }
        }
    }

    #[test]
    fn each_situation_is_told_with_its_reason_and_its_first_command() {
        let expected = [
            ("because", "hookline run"),
            ("the host at http://h is not ready: because", "hookline health"),
            ("a host answers at http://h; to ask it for more takes a token", "hookline modules --data DIR"),
            ("a host answers at http://h, but not to this token: because", "hookline modules --data DIR"),
            ("the host at http://h has no modules, so no event causes anything", "hookline modules"),
            ("the host at http://h has modules and no hooks, so nobody is sent anything", "hookline modules"),
            ("the host at http://h is at work with 1 modules and 2 hooks", "hookline modules"),
        ];
        for (situation, (says, first)) in every().iter().zip(expected) {
            let (said, commands) = advice(situation, "http://h");
            assert_eq!((said.as_str(), commands[0].0.as_str()), (says, first));
        }
    }
}
