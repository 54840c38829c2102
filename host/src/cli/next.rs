//! `hookline` alone: what is the case, and so what is worth typing next.

use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use super::ClientArgs;
use super::client::HostClient;
use super::health::reasons;
use super::listing::{all_pages, cell, entries, harmless};

/// `hookline next`
#[derive(Debug, Clone, Args)]
pub struct NextArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// How to reach the host.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// What is the case.
#[derive(Debug)]
enum InstallSituation {
    NobodyAnswers { why: String },
    NotReady { why: String },
    NoToken,
    Refused { why: String },
    NoModules,
    NoHooks,
    AtWork { modules: usize, hooks: usize, untried: Option<NothingTried> },
}

/// A hook of which no request is known.
#[derive(Debug)]
struct NothingTried {
    account: String,
    hook: String,
}

/// How many hooks that were not tried since the host's start are asked for attempts of before.
const ASKED: usize = 5;

pub(super) async fn next(args: &NextArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let (says, commands) = advice(&situation(args).await, &args.client.url);
    let commands: Vec<_> =
        commands.into_iter().chain([("hookline --help".to_owned(), "all commands")]).collect();
    if args.json {
        let next = commands.iter().map(|(command, does)| json!({"command": command, "does": does}));
        writeln!(out, "{:#}", json!({"says": says, "next": next.collect::<Vec<Value>>()}))?;
        return Ok(());
    }
    writeln!(out, "{}", harmless(&says))?;
    let width = commands.iter().map(|(command, _)| command.chars().count()).max().unwrap_or_default();
    for (command, does) in &commands {
        writeln!(out, "  {command:width$}  {does}")?;
    }
    Ok(())
}

async fn situation(args: &NextArgs) -> InstallSituation {
    let ready = async { HostClient::without_token(&args.client.url)?.open(&["readyz"]).await };
    match ready.await {
        Err(error) => return InstallSituation::NobodyAnswers { why: format!("{error:#}") },
        Ok((status, answer)) if !status.is_success() => {
            return InstallSituation::NotReady { why: reasons(&answer).join("; ") };
        }
        Ok(_) => {}
    }
    let Ok(client) = HostClient::new(&args.client) else { return InstallSituation::NoToken };
    let asked = async {
        let modules = client.get(&["modules"], &[]).await?;
        let hooks = all_pages(&client, &["hooks"], &[], usize::MAX).await?;
        let untried = untried(&client, &hooks).await;
        anyhow::Ok((entries(&modules, "data").len(), hooks.len(), untried))
    };
    match asked.await {
        Err(error) => InstallSituation::Refused { why: format!("{error:#}") },
        Ok((0, ..)) => InstallSituation::NoModules,
        Ok((_, 0, _)) => InstallSituation::NoHooks,
        Ok((modules, hooks, untried)) => InstallSituation::AtWork { modules, hooks, untried },
    }
}

/// A hook that is on and that nothing was sent to as far as anybody knows: not since the host started, and no attempt
/// of before is on record. Tests are on record too.
async fn untried(client: &HostClient, hooks: &[Value]) -> Option<NothingTried> {
    let is = |hook: &Value, field: &str, value: bool| hook.get(field) == Some(&Value::Bool(value));
    let resting = hooks.iter().filter(|hook| is(hook, "enabled", true) && is(hook, "tried", false));
    for hook in resting.take(ASKED) {
        let (account, id) = (cell(hook, "account_id"), cell(hook, "id"));
        let path = ["v2", "accounts", &account, "webhooks", &id, "attempts"];
        let attempts = client.get(&path, &[("page_size", "1")]).await;
        if attempts.is_ok_and(|attempts| entries(&attempts, "data").is_empty()) {
            return Some(NothingTried { account, hook: id });
        }
    }
    None
}

/// Commands with what they do.
type TypedCommands = Vec<(String, &'static str)>;

/// A sentence, and commands with what they do.
fn advice(situation: &InstallSituation, url: &str) -> (String, TypedCommands) {
    match situation {
        InstallSituation::NobodyAnswers { why } => (
            why.clone(),
            typed(&[
                ("hookline run", "start a host here, with the folders data and plugins"),
                ("hookline run --demo", "the same, and calls, hooks and a receiver to watch"),
                ("HOOKLINE_URL=URL hookline", "look for a host elsewhere"),
            ]),
        ),
        InstallSituation::NotReady { why } => (
            format!("the host at {url} is not ready: {why}"),
            typed(&[("hookline health", "whether that has changed")]),
        ),
        InstallSituation::NoToken => {
            (format!("a host answers at {url}; to ask it for more takes a token"), with_a_token())
        }
        InstallSituation::Refused { why } => {
            (format!("a host answers at {url}, but not to this token: {why}"), with_a_token())
        }
        InstallSituation::NoModules => (
            format!("the host at {url} has no modules, so no event causes anything"),
            typed(&[
                ("hookline modules", "files that were refused, with the reasons"),
                ("hookline config", "where it looks for them: plugins_dir"),
                ("hookline new NAME", "a module of your own"),
            ]),
        ),
        InstallSituation::NoHooks => (
            format!("the host at {url} has modules and no hooks, so nobody is sent anything"),
            vec![
                ("hookline modules".to_owned(), "which events hooks can ask for"),
                (
                    format!("curl -X PUT {url}/v2/accounts/ACCOUNT/webhooks …"),
                    "a hook; README.md has it in full",
                ),
            ],
        ),
        InstallSituation::AtWork { modules, hooks, untried } => (
            format!("the host at {url} is at work with {modules} modules and {hooks} hooks"),
            at_work(untried.as_ref()),
        ),
    }
}

fn typed(commands: &[(&str, &'static str)]) -> TypedCommands {
    commands.iter().map(|&(command, does)| (command.to_owned(), does)).collect()
}

fn with_a_token() -> TypedCommands {
    typed(&[
        (
            "hookline modules --data DIR",
            "what the host has loaded; DIR is its data folder, for the token in it",
        ),
        ("HOOKLINE_TOKEN=TOKEN hookline modules", "the same with a token in hand"),
    ])
}

fn at_work(untried: Option<&NothingTried>) -> TypedCommands {
    let mut commands = typed(&[
        ("hookline modules", "what is loaded, what was refused"),
        ("hookline hooks", "who is sent what"),
    ]);
    commands.extend(untried.map(|NothingTried { account, hook }| {
        let command = format!("hookline hooks test --account {account} --hook {hook}");
        (command, "a sample to a hook that nothing is known to have been sent to")
    }));
    commands.extend(typed(&[
        ("hookline publish FILE", "events from a file"),
        ("hookline backup FILE", "a copy of everything that it keeps"),
    ]));
    commands
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    fn every() -> [InstallSituation; 8] {
        let why = "because".to_owned();
        [
            InstallSituation::NobodyAnswers { why: why.clone() },
            InstallSituation::NotReady { why: why.clone() },
            InstallSituation::NoToken,
            InstallSituation::Refused { why },
            InstallSituation::NoModules,
            InstallSituation::NoHooks,
            InstallSituation::AtWork { modules: 1, hooks: 2, untried: None },
            InstallSituation::AtWork {
                modules: 1,
                hooks: 2,
                untried: Some(NothingTried { account: "a1".to_owned(), hook: "h1".to_owned() }),
            },
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
            ("the host at http://h is at work with 1 modules and 2 hooks", "hookline modules"),
        ];
        for (situation, (says, first)) in every().iter().zip(expected) {
            let (said, commands) = advice(situation, "http://h");
            assert_eq!((said.as_str(), commands[0].0.as_str()), (says, first));
        }
    }
}
