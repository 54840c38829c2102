//! `hookline try`: one event through one module, without any network.

use std::io::{Read as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use serde_json::{Map, Value, json};

use super::check::alone;
use super::run::given;
use crate::config::{Config, ConfigErrors, LoadOptions};
use crate::delivery::queue::carried_hook;
use crate::delivery::request::{SharedBodies, UnsendableHook, WebhookHeaders};
use crate::event::Event;
use crate::harmless::{harmless, harmless_path};
use crate::hooks::accounts::{AccountRecord, Accounts};
use crate::hooks::matching::{HookCandidate, matching};
use crate::hooks::table::HookTable;
use crate::listener::webhook_id::{FiringCounts, webhook_id};
use crate::model::OutgoingRequest;
use crate::model::{AccountId, Document, Hook};
use crate::module::loading::ModuleLoading;
use crate::module::services::LendableServices;
use crate::module::settings::settings_for_modules;
use crate::module::{Firing, HookTarget};

/// `hookline try`
#[derive(Debug, Clone, Args)]
pub struct TryArgs {
    /// The module's file
    #[arg(long, value_name = "FILE")]
    pub plugin: PathBuf,
    /// The event, one JSON object; - reads it from standard input
    #[arg(long, value_name = "FILE")]
    pub event: PathBuf,
    /// Hook documents as they are stored, a JSON array
    #[arg(long, value_name = "FILE")]
    pub hooks: PathBuf,
    /// Account documents as they are stored, a JSON array; pvt_reseller_id names an account's reseller
    #[arg(long, value_name = "FILE")]
    pub accounts: Option<PathBuf>,
    /// Settings (TOML) over the defaults; the environment does not count here
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Whose rules the requests follow [setting: delivery.profile]
    #[arg(long, value_name = "PROFILE", value_parser = ["standard", "kazoo"])]
    pub profile: Option<String>,
    /// What payloads carry as cluster_id [setting: kazoo.cluster_id]
    #[arg(long, value_name = "ID")]
    pub cluster_id: Option<String>,
}

impl TryArgs {
    /// The settings under these flags: flags over the file over the defaults, whatever the environment says,
    /// so that the same files give the same requests everywhere.
    ///
    /// # Errors
    /// Every wrong setting.
    pub fn load_config(&self) -> Result<Config, ConfigErrors> {
        let flags = given([
            ("delivery.profile", self.profile.clone(), "--profile"),
            ("kazoo.cluster_id", self.cluster_id.clone(), "--cluster-id"),
        ]);
        let options = LoadOptions { file: self.config.clone(), flags, ..LoadOptions::default() };
        Config::load(options).map(|(config, _)| config)
    }
}

/// Prints each request that would be sent, one JSON object a line.
///
/// # Errors
/// A file that cannot be read, or an event, hook or module that cannot be used.
pub async fn try_event(args: &TryArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let config = args.load_config()?;
    let accounts = Arc::new(Accounts::new());
    if let Some(file) = &args.accounts {
        read_accounts(file, &accounts)?;
    }
    let table = HookTable::new();
    read_hooks(&args.hooks, &table)?;
    let event = Arc::new(read_event(&args.event)?);

    let copies = tempfile::tempdir().context("making a folder for a copy of the module")?;
    let lendable = LendableServices {
        settings: Arc::new(settings_for_modules(&config)),
        accounts: Arc::clone(&accounts),
    };
    let loading = ModuleLoading::new(copies.path().to_owned(), lendable, &alone(&config.modules));
    let loaded = loading.load(&args.plugin, 1).await;
    let (generation, _) = loaded.map_err(|refusal| anyhow!("{} {refusal}", harmless_path(&args.plugin)))?;
    let module = generation.module.clone();
    if !generation.answers(&event) {
        let pairs = generation.wants.responders.iter().map(|pair| format!("{}/{}", pair.category, pair.name));
        let (category, name) = (event.category(), event.name());
        let said = format!(
            "{module} does not answer {category}/{name}, so a host would not ask it; it answers: {}",
            pairs.collect::<Vec<_>>().join(", ")
        );
        writeln!(std::io::stderr(), "{}", harmless(&said))?;
    }
    let handled = tokio::task::spawn_blocking(move || generation.handle(&event).map(|fired| (event, fired)));
    let (event, firings) = handled.await?.map_err(|error| anyhow!("{module} on this event: {error}"))?;

    if firings.is_empty() {
        writeln!(std::io::stderr(), "no request: {module} fires nothing for this event")?;
    }
    let mut counts = FiringCounts::default();
    for firing in firings {
        let place = counts.place(&firing.target);
        let id = |hook: &Hook| webhook_id(event.identity(), module.as_str(), &place, hook.id.as_str());
        print_firing(firing, &id, &table, &accounts, &config, out)?;
    }
    Ok(())
}

fn print_firing(
    Firing { target, payload }: Firing,
    id: &dyn Fn(&Hook) -> String,
    table: &HookTable,
    accounts: &Accounts,
    config: &Config,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let hooks: Vec<Arc<Hook>> = match &target {
        HookTarget::Hooks { event: hook_event, account, internal_leg, filters } => {
            let candidate = HookCandidate { hook_event, account, internal_leg: *internal_leg, filters };
            let hooks = matching(table, accounts, &candidate, &payload);
            if hooks.is_empty() {
                let said = nobody_wants(hook_event, account, table, accounts);
                writeln!(std::io::stderr(), "no request: {}", harmless(&said))?;
            }
            hooks
        }
        HookTarget::Carried(document) => {
            vec![Arc::new(carried_hook(document).context("the hook that the event carries is not one")?)]
        }
    };
    let cluster_id = config.kazoo.cluster_id.clone().unwrap_or_default();
    let bodies = SharedBodies::new(config.delivery.profile, cluster_id, payload);
    for hook in hooks {
        let id = id(&hook);
        let timestamp = crate::clock::unix_now();
        match bodies.request(&hook, Some(WebhookHeaders { webhook_id: &id, timestamp })) {
            Ok(request) => writeln!(out, "{}", printed(&hook, &request)?)?,
            // A stored document has its secret encrypted, and the key of the host's store is not looked for here.
            Err(locked @ UnsendableHook::Locked(_)) => {
                writeln!(
                    std::io::stderr(),
                    "hook {} is passed over: {locked}; give it a \"secret\"",
                    hook.id
                )?;
            }
            Err(unsendable) => return Err(unsendable.into()),
        }
    }
    Ok(())
}

/// Why a firing reaches no hook, as far as it can be told.
fn nobody_wants(event: &str, account: &AccountId, table: &HookTable, accounts: &Accounts) -> String {
    if accounts.get(account).is_none() {
        return format!(
            "account {account} is not in a file of accounts (--accounts), and unknown accounts fire nothing"
        );
    }
    let wanted =
        |hook: &Arc<Hook>| hook.event.as_str() == "all" || hook.event.as_str().eq_ignore_ascii_case(event);
    match table.all().iter().any(wanted) {
        false => format!("no hook asks for {event:?}"),
        true => format!(
            "no hook that asks for {event:?} matches: look at its account (this event is of {account}), enabled, \
             custom_data and modifiers"
        ),
    }
}

fn printed(hook: &Hook, request: &OutgoingRequest) -> anyhow::Result<Value> {
    let headers: Map<String, Value> =
        request.headers.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    let body = std::str::from_utf8(&request.body).context("the body is not text")?;
    Ok(json!({
        "hook_id": hook.id.as_str(),
        "method": request.method.as_str(),
        "url": request.url,
        "headers": headers,
        "body": body,
    }))
}

fn read_event(file: &Path) -> anyhow::Result<Event> {
    let text = if file == Path::new("-") {
        let mut text = Vec::new();
        std::io::stdin().read_to_end(&mut text).context("reading the event from standard input")?;
        text
    } else {
        std::fs::read(file).with_context(|| format!("reading {}", file.display()))?
    };
    Event::parse(text.into()).map_err(|error| anyhow!("{}: the event {error}", file.display()))
}

fn read_accounts(file: &Path, accounts: &Accounts) -> anyhow::Result<()> {
    for (n, document) in read_documents(file)?.iter().enumerate() {
        let account = AccountRecord::from_document(document);
        let account = account.with_context(|| format!("{}: account {n} has no _id", file.display()))?;
        accounts.put(account);
    }
    Ok(())
}

fn read_hooks(file: &Path, table: &HookTable) -> anyhow::Result<()> {
    for (n, document) in read_documents(file)?.iter().enumerate() {
        // The host passes over a hook that it cannot use and serves the others; so does this.
        match Hook::from_document(document) {
            Ok(hook) => drop(table.put(hook)),
            Err(error) => {
                writeln!(std::io::stderr(), "{}: hook {n} is passed over: {error}", file.display())?
            }
        }
    }
    Ok(())
}

fn read_documents(file: &Path) -> anyhow::Result<Vec<Document>> {
    let text = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let value: Value =
        serde_json::from_slice(&text).with_context(|| format!("{} is not JSON", file.display()))?;
    let Value::Array(documents) = value else {
        bail!("{} should be a JSON array of documents", file.display());
    };
    let object = |(n, document)| match document {
        Value::Object(document) => Ok(document),
        other => Err(anyhow!("{}: entry {n} should be a JSON object and is {other}", file.display())),
    };
    documents.into_iter().enumerate().map(object).collect()
}
