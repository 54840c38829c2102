//! The host under test: the released program in a process of its own.

use std::fmt;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tests::{Home, Program};

use crate::books::{Server, proc};

/// The module that is replaced.
pub(crate) const MODULE: &str = "webhooks_versioned";

pub(crate) struct Host {
    program: Program,
    token: String,
    http: reqwest::Client,
}

/// What a process has.
pub(crate) struct Figures {
    pub(crate) resident_kib: u64,
    pub(crate) threads: u64,
    pub(crate) handles: usize,
    pub(crate) mappings: usize,
    pub(crate) keys: u64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} KiB resident, {} threads, {} file handles but sockets, {} mappings, {} thread-local keys",
            self.resident_kib, self.threads, self.handles, self.mappings, self.keys
        )
    }
}

impl Host {
    pub(crate) async fn start(settings: &str) -> anyhow::Result<Self> {
        let own = "[delivery]\nallow_targets = [\"127.0.0.0/8\"]\n[log]\nlevel = \"error\"\n\
                   [modules]\nreplay_failed = \"on_new_generation\"\n";
        let program = Home::new(&format!("{settings}{own}"), &[]).start().await;
        let token = program.token();
        let host = Host { program, token, http: reqwest::Client::new() };
        host.install(&tests::versioned(1))?;
        while host.ask("GET", &format!("/modules/{MODULE}"), None).await?.0 != 200 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Ok(host)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// The file that is replaced.
    pub(crate) fn file(&self) -> std::path::PathBuf {
        self.program.folder().join(format!("plugins/lib{MODULE}.so"))
    }

    pub(crate) fn install(&self, bytes: &[u8]) -> anyhow::Result<()> {
        let hidden = self.program.folder().join("plugins/.new");
        std::fs::write(&hidden, bytes)?;
        Ok(std::fs::rename(&hidden, self.file())?)
    }

    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<(u16, Value)> {
        let url = format!("{}{path}", self.program.url());
        let mut request = self.http.request(method.parse()?, url).header("x-auth-token", &self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        Ok((status, serde_json::from_slice(&answer.bytes().await?).unwrap_or_default()))
    }

    pub(crate) async fn account_with_hook(&self, receiver: &Server) -> anyhow::Result<String> {
        let (_, made) = self.ask("PUT", "/v2/accounts", Some(json!({"data": {"name": "soak"}}))).await?;
        let account = made["data"]["id"].as_str().context("an account")?.to_owned();
        let hook =
            json!({"data": {"name": "soak", "hook": "versioned", "uri": receiver.url, "format": "json"}});
        let (status, made) = self.ask("PUT", &format!("/v2/accounts/{account}/webhooks"), Some(hook)).await?;
        ensure!(status == 201, "no hook: {made}");
        Ok(account)
    }

    pub(crate) async fn module(&self) -> anyhow::Result<Value> {
        Ok(self.ask("GET", &format!("/modules/{MODULE}"), None).await?.1["data"].clone())
    }

    /// Puts a file in place that fails on nothing and has it handle what is left of what others failed on; says how many
    /// events were handled so, then and before.
    pub(crate) async fn mended(&self) -> anyhow::Result<u64> {
        let generation = self.module().await?["generation"].clone();
        self.install(&tests::versioned(900_002))?;
        let replay = format!("/modules/{MODULE}/replay");
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            let module = self.module().await?;
            if module["generation"] == generation {
                continue;
            }
            if module["failed_events"] == 0 && self.running().await? == 0 {
                break;
            }
            let (status, begun) = self.ask("POST", &replay, None).await?;
            ensure!(status == 202, "no replay: {begun}");
            // What is kept is counted once a second.
            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        }
        let text = self.http.get(format!("{}/metrics", self.program.url())).send().await?.text().await?;
        let series = format!("hookline_module_replayed_total{{module=\"{MODULE}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&series));
        Ok(line.and_then(|value| value.parse::<f64>().ok()).unwrap_or_default() as u64)
    }

    /// How many of its replays run.
    async fn running(&self) -> anyhow::Result<usize> {
        let (_, listed) = self.ask("GET", &format!("/modules/{MODULE}/replays"), None).await?;
        let jobs = listed["data"].as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(jobs.iter().filter(|job| job["state"] == "running").count())
    }

    pub(crate) async fn figures(&self) -> anyhow::Result<Figures> {
        let pid = self.program.pid();
        let status = proc(pid, "status")?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
        };
        let keys = self.thread_local_keys().await?;
        Ok(Figures {
            resident_kib: field("VmRSS:"),
            threads: field("Threads:"),
            // Connections come and go with the load.
            handles: std::fs::read_dir(format!("/proc/{pid}/fd"))?
                .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
                .filter(|target| !target.to_string_lossy().starts_with("socket:"))
                .count(),
            mappings: proc(pid, "maps")?.lines().count(),
            keys,
        })
    }

    /// The gauge of thread-local keys; 0 where the host does not show one.
    async fn thread_local_keys(&self) -> anyhow::Result<u64> {
        let text = self.http.get(format!("{}/metrics", self.program.url())).send().await?.text().await?;
        let line = text.lines().find_map(|line| line.strip_prefix("hookline_thread_local_keys "));
        Ok(line.and_then(|value| value.parse::<f64>().ok()).unwrap_or_default() as u64)
    }

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        let (said, _) = self.program.signalled("TERM").await;
        ensure!(said.code == Some(0), "the host should end well: {said:?}");
        Ok(())
    }
}
